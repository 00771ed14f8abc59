package pop3

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// retrieved plays the client: it takes the reply to RETR apart as the package's
// documentation says and returns the message, and what follows.
func retrieved(t interface{ Fatalf(string, ...any) }, b []byte, stored []byte) (msg, rest []byte) {
	head := fmt.Sprintf("+OK %d octets follow\r\n", len(stored))
	b, ok := bytes.CutPrefix(b, []byte(head))
	if !ok {
		t.Fatalf("reply %.80q, want %q", b, head)
	}
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			t.Fatalf("no end in %.80q", b)
		}
		line := b[:i+1]
		b = b[i+1:]
		// As careless as a client can be: any line that is a dot ends the message.
		if strings.TrimRight(string(line), "\r\n") == "." {
			break
		}
		if line[0] == '.' {
			line = line[1:]
		}
		msg = append(msg, line...)
	}
	if !bytes.HasSuffix(stored, []byte("\r\n")) && len(stored) > 0 {
		msg = bytes.TrimSuffix(msg, []byte("\r\n"))
	}
	return msg, b
}

// octets draws messages that are hard to send.
func octets() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"\r\n", "\r\n.", ".", "\n", "\r", "\r\n.\r\n", "a", "Subject: x\r\n", "\r\n\r\n", "\x00", "\xff", ".\r", "\n.\n"}), 0, 40).Draw(t, "words")
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			words = append(words, strings.Repeat("0123456789\r\n.", 20_000))
		}
		return []byte(strings.Join(words, ""))
	})
}

// TestRetrieveIsByteExact: whatever is stored, in whatever pieces it comes, the
// client holds it after taking the reply apart, and finds the next reply behind it (PA7).
func TestRetrieveIsByteExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stored := octets().Draw(t, "stored")
		store := newMemStore(string(stored))
		store.piece = rapid.SampledFrom([]int{0, 1, 2, 3, 7, 4096}).Draw(t, "piece")
		in := login
		if rapid.Bool().Draw(t, "utf8") {
			in = "UTF8\r\n" + in
		}
		if len(stored) > 10_000 && store.piece > 0 {
			store.piece = 4096
		}
		out := talk(store, nil, in+"RETR 1\r\nNOOP\r\n")
		_, reply, _ := strings.Cut(out, "locked and ready\r\n")
		msg, rest := retrieved(t, []byte(reply), stored)
		if !bytes.Equal(msg, stored) {
			t.Fatalf("got %q, stored %q", msg, stored)
		}
		if string(rest) != "+OK Nothing done\r\n" {
			t.Fatalf("after the message came %q", rest)
		}
	})
}

// TestTop: TOP is a beginning of RETR, with as many lines of the body as asked for.
func TestTop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"a\r\n", ".\r\n", "\r\n", "b\n"}), 0, 8).Draw(t, "lines")
		n := rapid.IntRange(0, 9).Draw(t, "n")
		head := "A: b\r\nC: d\r\n\r\n"
		store := newMemStore(head + strings.Join(lines, ""))
		store.piece = rapid.IntRange(0, 5).Draw(t, "piece")
		want := newMemStore(head + strings.Join(lines[:min(n, len(lines))], ""))
		_, got, _ := strings.Cut(talk(store, nil, login+fmt.Sprintf("TOP 1 %d\r\n", n)), "message follows\r\n")
		_, all, _ := strings.Cut(talk(want, nil, login+"RETR 1\r\n"), "octets follow\r\n")
		if got != all {
			t.Fatalf("got %q, want %q", got, all)
		}
	})
}

// TestSurrogate: RFC 6858 §2.
func TestSurrogate(t *testing.T) {
	body := "Grüße\r\n.\r\n"
	message := "Received: from x\r\n" +
		"From: Jürgen <jürgen@bücher.example>\r\n" +
		"To: Ana <ana@shop.example>, ștefan@shop.example\r\n" +
		"Subject: Grüße\r\n" +
		"X-Note: größer\r\n" +
		"Content-Type: text/plain; charset=utf-8; name=\"ü;x\"; format=flowed\r\n" +
		"Content-Transfer-Encoding: 8bit\r\n\r\n" + body
	want := "+OK 309 octets follow\r\n" +
		"Received: from x\r\n" +
		"From: =?utf-8?b?SsO8cmdlbiAoasO8cmdlbkBiw7xjaGVyLmV4YW1wbGUp?=\r\n <invalid@internationalized-address.invalid>\r\n" +
		"To: Ana <ana@shop.example>, =?utf-8?q?=C8=99tefan=40shop=2Eexample?=\r\n <invalid@internationalized-address.invalid>\r\n" +
		"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n" +
		"Content-Type: text/plain;\r\n charset=utf-8;\r\n format=flowed\r\n" +
		"Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n..\r\n.\r\n"
	store := newMemStore(message)
	for _, store.piece = range []int{0, 1, 100} {
		out := talk(store, nil, login+"RETR 1\r\n")
		if got := out[strings.Index(out, "+OK 2"):]; got != strings.Replace(want, "309", fmt.Sprint(len(message)), 1) {
			t.Errorf("in pieces of %d got\n%s\nwant\n%s", store.piece, got, want)
		}
		out = talk(store, nil, "UTF8\r\n"+login+"RETR 1\r\n")
		if !strings.Contains(out, strings.TrimSuffix(message, ".\r\n")) {
			t.Errorf("with UTF8 got %s", out)
		}
	}
	// Octets that are no UTF-8 are nobody's characters.
	legacy := "Subject: gr\xfc\xdfe\r\n\r\n"
	if out := talk(newMemStore(legacy), nil, login+"RETR 1\r\n"); !strings.Contains(out, legacy) {
		t.Errorf("got %q", out)
	}
}

// TestSurrogateIsASCII: whatever the header, what a client without UTF8 gets of one in
// UTF-8 is ASCII, in whole lines.
func TestSurrogateIsASCII(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"From", "To", "Subject", "Content-Type", "X-ü", "Résumé", "Return-Path", "Content-Disposition", "no field"})
		var b strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "fields") {
			b.WriteString(names.Draw(t, "name") + ": " + rapid.StringMatching(`[a-zü€<>@",;:= ()\\]{0,40}`).Draw(t, "value") + "\r\n")
		}
		b.WriteString("X: é\r\n\r\n")
		got := surrogate([]byte(b.String()))
		if !ascii(got) || !bytes.HasSuffix(got, []byte("\r\n")) {
			t.Fatalf("%q became %q", b.String(), got)
		}
	})
}
