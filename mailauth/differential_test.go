package mailauth

import (
	"bytes"
	"context"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

var differential = flag.Int("differential", 300, "messages to compare with go-msgauth")

// TestDifferential: what we sign passes go-msgauth, what it signs passes here, and
// after a change both refuse.
func TestDifferential(t *testing.T) {
	z := zone()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range *differential {
		msg := randomMessage(rng)
		key := rsaKey()
		if rng.IntN(4) > 0 {
			key = edKey()
		}
		key.Header, key.Body = Canonicalization(rng.IntN(2)), Canonicalization(rng.IntN(2))
		var signed []byte
		if i%2 == 0 {
			signed = signNow(t, msg, key)
		} else {
			signed = signForeign(t, msg, key)
		}
		if rng.IntN(2) == 0 {
			signed = change(rng, signed)
		}
		ours := verify(t, z, time.Now(), signed).DKIM
		foreign, err := dkim.VerifyWithOptions(bytes.NewReader(signed), &dkim.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) {
				a, err := z.Lookup(context.Background(), name, 0)
				return a.TXT, err
			}})
		if err != nil || len(foreign) != len(ours) {
			t.Fatalf("%d: %v, %d and %d signatures", i, err, len(ours), len(foreign))
		}
		for j, s := range ours {
			if (s.Result == Pass) != (foreign[j].Err == nil) {
				t.Fatalf("%d: %s %q, go-msgauth: %v\n%q", i, s.Result, s.Reason, foreign[j].Err, signed)
			}
		}
	}
}

// signNow signs now: go-msgauth compares x= with its own clock.
func signNow(t *testing.T, msg []byte, k SignKey) []byte {
	t.Helper()
	head, body := split(msg)
	s, err := NewSigner(head, SignOptions{Keys: []SignKey{k}, Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s.Write(body)
	fields, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return append(fields, msg...)
}

func signForeign(t *testing.T, msg []byte, k SignKey) []byte {
	t.Helper()
	var out bytes.Buffer
	err := dkim.Sign(&out, bytes.NewReader(msg), &dkim.SignOptions{Domain: k.Domain, Selector: k.Selector, Signer: k.Key,
		HeaderCanonicalization: dkim.Canonicalization(k.Header.String()), BodyCanonicalization: dkim.Canonicalization(k.Body.String())})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// randomMessage has lines as the wire has them: CRLF, and no CR elsewhere.
func randomMessage(rng *rand.Rand) []byte {
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	text := func() string {
		var b strings.Builder
		for range 1 + rng.IntN(10) {
			b.WriteString(pick("word", "a", "=20", "ü", "x:y", "(c)", "b=", ";") + pick(" ", "  ", "\t", ""))
		}
		return b.String()
	}
	var b strings.Builder
	for _, name := range []string{"Received", "From", "To", "Subject", "Date", "X-A", "Message-ID"} {
		b.WriteString(name + ":" + pick(" ", "", "  ", "\t") + "v" + text())
		for range rng.IntN(3) {
			b.WriteString("\r\n" + pick(" ", "\t") + "w" + text())
		}
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	for range rng.IntN(12) {
		b.WriteString(pick("", " ", text(), text()) + "\r\n")
	}
	return []byte(b.String())
}

// change replaces a letter somewhere behind the signature, or adds lines.
func change(rng *rand.Rand, msg []byte) []byte {
	msg = bytes.Clone(msg)
	switch rng.IntN(3) {
	case 0:
		return append(msg, "\r\n\r\n"...)
	case 1:
		return append(msg, "more\r\n"...)
	}
	// The name stands in h= too. A letter of b= may differ in bits that base64 leaves
	// over: we refuse that (RFC 4648 §3.5), go-msgauth does not.
	from := bytes.Index(msg, []byte("\r\nReceived:")) + 12
	for i := from + rng.IntN(len(msg)-from); i < len(msg); i++ {
		if 'a' <= msg[i] && msg[i] < 'z' {
			msg[i]++
			break
		}
	}
	return msg
}
