package mailauth

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func FuzzVerify(f *testing.F) {
	z := zone()
	f.Add(sign(f, crlfText(plain), rsaKey(), edKey()))
	f.Add(seal(f, z, crlfText(plain), arcKey("example.net"), nil))
	f.Add(handMade(rsaKey(), "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=rsa; h=from; l=3; i=@a.example.org", "From: a\n", "abcdef\n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		head, body := split(msg)
		v := NewVerifier(head, VerifyOptions{Resolver: z, Now: signedAt})
		v.Write(body)
		whole := v.Verify(t.Context())
		v = NewVerifier(head, VerifyOptions{Resolver: z, Now: signedAt})
		for i := range body {
			v.Write(body[i : i+1])
		}
		pieces := v.Verify(t.Context())
		for i, s := range whole.DKIM {
			if s.Result == "" || (s.Result == Pass) != (s.Reason == "") || pieces.DKIM[i].Result != s.Result {
				t.Fatalf("%s %q, in pieces %s", s.Result, s.Reason, pieces.DKIM[i].Result)
			}
		}
		AppendAuthResults(nil, "mx", whole.Results())
		RemoveAuthResults(nil, head, oneOf("mx"))
	})
}

func FuzzTags(f *testing.F) {
	f.Add([]byte("v=DKIM1; k=rsa; p=AAAA; t=y:s"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseTags(b)
		if err != nil {
			return
		}
		for _, g := range list {
			if !tagName([]byte(g.name)) || !bytes.Equal(bytes.Trim(b[g.start:g.end], fws), g.value) {
				t.Fatalf("%+v in %q", g, b)
			}
		}
		k := &publicKey{}
		if k.parse(string(b)); (k.key == nil) != (k.result != "") {
			t.Fatalf("key %v, %s", k.key, k.result)
		}
	})
}

// TestBodyAllocations: hashing takes no memory for lines, however many there are,
// so that the work grows with the octets alone (G2).
func TestBodyAllocations(t *testing.T) {
	for _, atom := range []string{"line of a text, with  two spaces\r\n", "\r\n", " \t", "a \t b\n", "\r"} {
		allocs := func(n int) float64 {
			body := []byte(strings.Repeat(atom, n/len(atom)))
			return testing.AllocsPerRun(3, func() { hashOf(Relaxed, body, 32<<10) })
		}
		if small, large := allocs(4<<10), allocs(1<<20); large > small {
			t.Errorf("%q: %v allocations in 4 KiB, %v in 1 MiB", atom, small, large)
		}
	}
}

func BenchmarkVerify9K(b *testing.B) {
	msg := sign(b, crlfText(plain+strings.Repeat("A line of a text that somebody wrote to somebody else.\n", 160)), rsaKey())
	z := zone()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if s := verify(b, z, signedAt, msg).DKIM[0]; s.Result != Pass {
			b.Fatal(s.Reason)
		}
	}
}

func BenchmarkBodyHash(b *testing.B) {
	for name, line := range map[string]string{"text": "A line of a text that somebody wrote to somebody else, with words.\r\n",
		"base64": strings.Repeat("QUJD", 19) + "\r\n"} {
		body := []byte(strings.Repeat(line, 1_400_000/len(line)))
		for _, form := range []Canonicalization{Relaxed, Simple} {
			b.Run(fmt.Sprintf("%s/%s", name, form), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					hashOf(form, body, 64<<10)
				}
			})
		}
	}
}
