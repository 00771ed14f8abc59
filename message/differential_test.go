package message

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"
	"github.com/emersion/go-message/mail"
	"pgregory.net/rapid"
)

// G13: on well-formed mail an independent reader sees what we see.
func TestDifferential(t *testing.T) {
	plain := []string{"a", "word", "two words", "é", "日本語", "😊 x", "Hello, world.", strings.Repeat("long ", 40), strings.Repeat("é", 80), "line\nline\n", "=", "--", "From me"}
	rapid.Check(t, func(t *rapid.T) {
		text := func() string { return rapid.SampledFrom(plain).Draw(t, "text") }
		oneLine := func() string { return strings.TrimSpace(displayText(text())) }
		var out bytes.Buffer
		b := NewBuilder(&out, BuilderOptions{})
		subject, name := oneLine(), oneLine()
		date := time.Unix(int64(rapid.Int32().Draw(t, "date")), 0).In(time.FixedZone("", rapid.IntRange(-23, 23).Draw(t, "zone")*1800))
		b.Field("Subject", subject)
		b.Addresses("From", Address{Name: name, Mailbox: "a b", Host: "example.org"}, Address{Mailbox: "c", Host: "example.net"})
		b.Date("Date", date)
		var body func(depth int)
		body = func(depth int) {
			switch k := rapid.IntRange(0, 3).Draw(t, "kind"); {
			case k == 0 && depth < 3:
				b.Multipart(rapid.SampledFrom([]string{"mixed", "alternative", "related"}).Draw(t, "subtype"), "")
				for range rapid.IntRange(1, 3).Draw(t, "parts") {
					b.Part()
					body(depth + 1)
				}
				b.End()
			case k == 1:
				b.Params("Content-Disposition", "attachment", Param{Name: "filename", Value: oneLine()})
				b.Body("application/octet-stream", strings.NewReader(text()))
			default:
				b.Text("plain", text())
			}
		}
		body(0)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		raw := out.Bytes()
		ours, err := ourTree(raw)
		if err != nil {
			t.Fatal(err)
		}
		e, err := gomessage.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		var theirs []string
		err = e.Walk(func(path []int, e *gomessage.Entity, err error) error {
			if err != nil {
				return err
			}
			typ, _, _ := e.Header.ContentType()
			_, params, _ := e.Header.ContentDisposition()
			var content []byte
			if !strings.HasPrefix(typ, "multipart/") {
				if content, err = io.ReadAll(e.Body); err != nil {
					return err
				}
			}
			theirs = append(theirs, fmt.Sprintf("%s %q %q", typ, params["filename"], content))
			return nil
		})
		if err != nil || !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("%v\nours   %q\ntheirs %q\n%s", err, ours, theirs, raw)
		}
		s := Summarize(Parse(raw, Limits{}).Header())
		h := mail.Header{Header: e.Header}
		if got, err := h.Subject(); err != nil || got != s.Subject() || got != subject {
			t.Fatalf("subject %q %v, ours %q, meant %q", got, err, s.Subject(), subject)
		}
		if got, err := h.Date(); err != nil || !got.Equal(s.Sent) || !got.Equal(date) {
			t.Fatalf("date %v %v, ours %v", got, err, s.Sent)
		}
		list, err := h.AddressList("From")
		if err != nil || len(list) != 2 || list[0].Name != s.From()[0].Name || list[1].Address != s.From()[1].String() {
			t.Fatalf("from %v %v, ours %v", list, err, s.From())
		}
	})
}

func ourTree(raw []byte) (out []string, err error) {
	x := Parse(raw, Limits{})
	if err := verify(raw, x); err != nil {
		return nil, err
	}
	for i := range x.Parts {
		p := &x.Parts[i]
		var content []byte
		if !p.Multipart() {
			d := NewDecoder(bytes.NewReader(raw[p.BodyStart:p.End]), p.Encoding)
			if content, err = io.ReadAll(d); err != nil || d.Junk() {
				return nil, fmt.Errorf("part %d: %v, junk %v", i, err, d.Junk())
			}
		}
		out = append(out, fmt.Sprintf("%s/%s %q %q", p.Type, p.Subtype, p.Filename(), content))
	}
	return out, nil
}
