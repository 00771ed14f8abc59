package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postino-mail/postino"
	"pgregory.net/rapid"
)

// zeros makes boundaries foreseeable.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBuilderWrites(t *testing.T) {
	var out bytes.Buffer
	b := NewBuilder(&out, BuilderOptions{Rand: zeros{}})
	b.Date("Date", time.Date(2024, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)))
	b.Addresses("From", Address{Name: "Zoë", Mailbox: "zoe", Host: "example.org"})
	b.Addresses("To", Address{Name: "Doe, John", Mailbox: "john doe", Host: "example.org"}, Address{Mailbox: "b", Host: "c.example"},
		Address{Name: "friends", Group: GroupStart}, Address{Group: GroupEnd})
	b.Field("Subject", "Caffè\r\nBcc: all@example.org")
	b.IDs("Message-ID", "1@example.org")
	b.Structured("Auto-Submitted", "auto-replied")
	b.Multipart("mixed", "8bit")
	b.Part()
	b.Text("plain", "Hello\n--\nthere")
	b.Part()
	b.Params("Content-Disposition", "attachment", Param{Name: "filename", Value: "fête.png"})
	b.Body("image/png", strings.NewReader("PNG"))
	b.Part()
	b.Raw("message/rfc822", []byte("Subject: \xc3\xa9\r\n\r\n"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want := crlf(`Date: Tue, 2 Jan 2024 03:04:05 +0100
From: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>
To: "Doe, John" <"john doe"@example.org>, b@c.example, friends:;
Subject: =?utf-8?q?Caff=C3=A8__Bcc=3A_all=40example=2Eorg?=
Message-ID: <1@example.org>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_00000000000000000000000000000000"
Content-Transfer-Encoding: 8bit

--=_00000000000000000000000000000000
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: quoted-printable

Hello
=2D-
there

--=_00000000000000000000000000000000
Content-Disposition: attachment; filename*=UTF-8''f%C3%AAte.png
Content-Type: image/png
Content-Transfer-Encoding: base64

UE5H

--=_00000000000000000000000000000000
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: é


--=_00000000000000000000000000000000--
`)
	if got := out.String(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	x := mustVerify(t, out.Bytes())
	if x.Flags&^(Flag8BitHeader|Flag8BitBody) != 0 {
		t.Errorf("flags %b", x.Flags)
	}
}

// PA6: what cannot be written safely is refused, and the error stays.
func TestBuilderRefuses(t *testing.T) {
	for name, f := range map[string]func(b *Builder){
		"line end in a name":       func(b *Builder) { b.Field("A\r\nB", "x") },
		"colon in a name":          func(b *Builder) { b.Field("A:B", "x") },
		"empty name":               func(b *Builder) { b.Field("", "x") },
		"content type":             func(b *Builder) { b.Field("content-Type", "x") },
		"structured line end":      func(b *Builder) { b.Structured("A", "x\r\nB: y") },
		"structured NUL":           func(b *Builder) { b.Structured("A", "x\x00") },
		"structured 8-bit":         func(b *Builder) { b.Structured("A", "é") },
		"id with space":            func(b *Builder) { b.IDs("References", "a b@c") },
		"id with bracket":          func(b *Builder) { b.IDs("References", "a>\r\nB: <c") },
		"address without host":     func(b *Builder) { b.Addresses("To", Address{Mailbox: "a"}) },
		"address with line end":    func(b *Builder) { b.Addresses("To", Address{Mailbox: "a\r\nB", Host: "c"}) },
		"host with comma":          func(b *Builder) { b.Addresses("To", Address{Mailbox: "a", Host: "b,c@d"}) },
		"8-bit address":            func(b *Builder) { b.Addresses("To", Address{Mailbox: "é", Host: "b"}) },
		"group in a group":         func(b *Builder) { b.Addresses("To", Address{Group: GroupStart}, Address{Group: GroupStart}) },
		"group end alone":          func(b *Builder) { b.Addresses("To", Address{Group: GroupEnd}) },
		"parameter name":           func(b *Builder) { b.Params("A", "x", Param{Name: "a;b", Value: "c"}) },
		"token":                    func(b *Builder) { b.Params("A", "x y") },
		"year":                     func(b *Builder) { b.Date("Date", time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"field after body":         func(b *Builder) { b.Text("plain", "x"); b.Field("A", "x") },
		"two bodies":               func(b *Builder) { b.Text("plain", "x"); b.Text("plain", "x") },
		"part without multipart":   func(b *Builder) { b.Part() },
		"boundary of the caller":   func(b *Builder) { b.Multipart("mixed", "", Param{Name: "boundary", Value: "b"}) },
		"8-bit in a 7-bit whole":   func(b *Builder) { b.Multipart("mixed", ""); b.Part(); b.Raw("message/rfc822", []byte("\r\n\xff")) },
		"binary in an 8-bit whole": func(b *Builder) { b.Multipart("mixed", "8bit"); b.Part(); b.Raw("message/rfc822", []byte("\n")) },
		"delimiter in a raw body": func(b *Builder) {
			b.Multipart("mixed", "")
			b.Part()
			b.Raw("message/rfc822", []byte("--=_"+strings.Repeat("0", 32)))
		},
		"base64 of a multipart":  func(b *Builder) { b.Body("multipart/mixed", strings.NewReader("")) },
		"media type with a line": func(b *Builder) { b.Body("a/b\r\nC: d", strings.NewReader("")) },
		"8-bit report in a 7-bit whole": func(b *Builder) {
			b.opt.UTF8 = true
			b.Multipart("report", "")
			b.Part()
			b.Report("message/global-delivery-status", []ReportField{{"A", "é"}})
		},
		"report with a broken name": func(b *Builder) { b.Report("message/delivery-status", []ReportField{{"A\nB", "x"}}) },
	} {
		b := NewBuilder(io.Discard, BuilderOptions{Rand: zeros{}})
		f(b)
		if err := b.Close(); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fail := errors.New("disk")
	b := NewBuilder(io.Discard, BuilderOptions{})
	b.Body("a/b", iotest.ErrReader(fail))
	if err := b.Close(); !errors.Is(err, fail) {
		t.Errorf("read error: %v", err)
	}
}

// PA6: a report is read again as the groups that went in (SC9: nothing escapes).
func TestBuilderReport(t *testing.T) {
	var out bytes.Buffer
	b := NewBuilder(&out, BuilderOptions{})
	b.Report("message/delivery-status", []ReportField{{"Reporting-MTA", "dns; mx.example"}},
		[]ReportField{{"Final-Recipient", "rfc822; a@b"}, {"Diagnostic-Code", "smtp; 550\r\n\r\nX: caffè " + strings.Repeat("x", 2000)}})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	body := out.Bytes()[HeaderEnd(out.Bytes()):]
	var names []string
	for len(body) > 0 {
		for f := range Fields(body) {
			names = append(names, string(f.Name))
			if len(f.Value) > 80 && !bytes.HasPrefix(Unfold(f.Value), []byte("smtp; 550 X: caff? xxx")) {
				t.Errorf("value %q", f.Value)
			}
		}
		body = body[HeaderEnd(body):]
	}
	if !reflect.DeepEqual(names, []string{"Reporting-MTA", "Final-Recipient", "Diagnostic-Code"}) {
		t.Errorf("fields %q", names)
	}
	if x := Parse(out.Bytes(), Limits{}); x.Flags != 0 {
		t.Errorf("flags %b", x.Flags)
	}
}

// intended is what a random message is to hold.
type intended struct {
	fields  [][2]string
	from    []Address
	parts   []string // decoded bodies
	names   []string // file names
	created bool
}

// build makes a message of texts that come from outside and returns what is
// to be read again; created is false when the builder refused something.
func build(texts []string, utf8 bool) (raw []byte, in intended) {
	next := func() string {
		if len(texts) == 0 {
			return ""
		}
		s := texts[0]
		texts = texts[1:]
		return s
	}
	var out bytes.Buffer
	b := NewBuilder(&out, BuilderOptions{UTF8: utf8})
	for range 3 {
		name, text := "X-"+next(), next()
		b.Field(name, text)
		in.fields = append(in.fields, [2]string{name, displayText(text)})
	}
	in.from = []Address{
		{Name: next(), Mailbox: next(), Host: "example.org"}, {Name: next(), Mailbox: "a", Host: next()},
		{Name: next(), Group: GroupStart}, {Mailbox: next() + "x", Host: "y"}, {Group: GroupEnd},
	}
	b.Addresses("From", in.from...)
	for i := range in.from {
		in.from[i].Name = strings.Trim(displayText(in.from[i].Name), " ")
	}
	b.Multipart("mixed", "")
	for range 2 {
		b.Part()
		text := next()
		b.Text("plain", text)
		in.parts = append(in.parts, lineEnds(strings.ToValidUTF8(text, "\uFFFD")))
		b.Part()
		name, octets := next(), next()
		b.Params("Content-Disposition", "attachment", Param{Name: "filename", Value: name})
		b.Body("application/octet-stream", strings.NewReader(octets))
		in.parts, in.names = append(in.parts, octets), append(in.names, strings.ToValidUTF8(name, "\uFFFD"))
	}
	in.created = b.Close() == nil
	return out.Bytes(), in
}

// checkBuilt compares a message with what it was to be.
func checkBuilt(raw []byte, in intended) error {
	x := Parse(raw, Limits{})
	if err := verify(raw, x); err != nil {
		return err
	}
	if x.Flags&^(Flag8BitHeader) != 0 {
		return fmt.Errorf("flags %b", x.Flags)
	}
	var fields [][2]string
	var from []Address
	for f := range Fields(x.Header()) {
		switch {
		case f.Is("from"):
			from = ParseAddressList(f.Value, 0)
		case bytes.HasPrefix(f.Name, []byte("X-")):
			fields = append(fields, [2]string{string(f.Name), DecodeHeader(f.Value)})
		case !f.Is("mime-version") && !f.Is("content-type"):
			return fmt.Errorf("a field %q that nobody wanted", f.Name)
		}
		for line := range bytes.SplitSeq(f.Raw, []byte("\r\n")) {
			if len(line) > maxLine {
				return fmt.Errorf("line of %d", len(line))
			}
		}
	}
	if !reflect.DeepEqual(fields, in.fields) {
		return fmt.Errorf("fields\n got %q\nwant %q", fields, in.fields)
	}
	if !reflect.DeepEqual(from, in.from) {
		return fmt.Errorf("addresses\n got %+v\nwant %+v", from, in.from)
	}
	var parts, names []string
	for _, p := range x.Parts[1:] {
		body, err := io.ReadAll(NewDecoder(bytes.NewReader(raw[p.BodyStart:p.End]), p.Encoding))
		if err != nil {
			return err
		}
		parts = append(parts, string(body))
		if p.Disposition != "" {
			names = append(names, p.Filename())
		}
	}
	for i := range in.parts { // the line end before a delimiter belongs to it
		if i%2 == 0 && len(parts) > i && strings.HasSuffix(parts[i], "\r\n") == false && in.parts[i] != "" {
			return fmt.Errorf("part %d lost its end", i)
		}
	}
	if !reflect.DeepEqual(parts, in.parts) || !reflect.DeepEqual(names, in.names) {
		return fmt.Errorf("parts\n got %q %q\nwant %q %q", parts, names, in.parts, in.names)
	}
	return nil
}

var nasty = []string{"\r\n", "\n", "\r", "\x00", "\r\n\r\n", "\r\n--=_", "--", "=?utf-8?q?x?=", "=?", "?=", "é", "日本語", "😊", "\xff", " ", "  ", "\t",
	"\"", "\\", "(", ")", "<", ">", "@", ",", ";", ":", "a", "word", ".", "From ", "=", "=20", "Bcc: x@y", "\u2028", "\x7f", "%", "'", "*",
	strings.Repeat("long ", 30), strings.Repeat("x", 100), strings.Repeat("é", 60), strings.Repeat(".", 80)}

// PA6: generated messages are read again as exactly what they were to be.
func TestBuilderProperty(t *testing.T) {
	made := 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Map(rapid.SliceOfN(rapid.SampledFrom(nasty), 0, 8), func(s []string) string { return strings.Join(s, "") })
		texts := rapid.SliceOfN(text, 17, 17).Draw(t, "texts")
		for i, plain := range map[int]string{0: "a", 2: "b", 4: "c", 7: "local", 9: "host.example", 11: "m"} {
			if rapid.IntRange(0, 9).Draw(t, "plain") > 0 { // most of what is refused by its nature is not drawn
				texts[i] = plain
			}
		}
		if raw, in := build(texts, rapid.Bool().Draw(t, "utf8")); in.created {
			made++
			if err := checkBuilt(raw, in); err != nil {
				t.Fatalf("%v\n%q", err, raw)
			}
		}
	})
	if made == 0 {
		t.Error("no message was built")
	}
}
