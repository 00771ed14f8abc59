package mailauth

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

// seal verifies a message as it arrives and seals it, with change between.
func seal(t testing.TB, z *texts, msg []byte, k SignKey, change func([]byte) []byte) []byte {
	t.Helper()
	v := verify(t, z, signedAt, msg)
	if change != nil {
		msg = change(msg)
	}
	head, body := split(msg)
	s, err := NewSealer(head, SealOptions{AuthServID: "mx." + k.Domain, Time: signedAt})
	if err != nil {
		t.Fatal(err)
	}
	s.Write(body)
	set, err := s.Seal(k, v.Results(), v.ARC)
	if err != nil {
		t.Fatal(err)
	}
	return append(set, msg...)
}

func arcKey(domain string) SignKey {
	return SignKey{Domain: domain, Selector: "rsa", Key: testKeys().rsa}
}

// TestARC: hosts seal in turn; the body and a field change on the way.
func TestARC(t *testing.T) {
	z := zone()
	msg := sign(t, crlfText(plain), rsaKey())
	one := seal(t, z, msg, arcKey("example.net"), nil)
	edit := func(m []byte) []byte {
		m = bytes.Replace(m, []byte("Subject: "), []byte("Subject: [list] "), 1)
		return append(m, "-- \r\nthe list\r\n"...)
	}
	two := seal(t, z, one, arcKey("example.com"), edit)
	three := seal(t, z, two, edKey(), nil)
	for i, m := range [][]byte{msg, one, two, three} {
		c := verify(t, z, signedAt, m).ARC
		want, oldest := Pass, 0
		if i == 0 {
			want = None
		}
		if i >= 2 {
			oldest = 2 // the list broke the first one
		}
		if c.Result != want || len(c.Sets) != i || c.OldestPass != oldest {
			t.Fatalf("%d sets: %s %q, %d, oldest pass %d\n%s", i, c.Result, c.Reason, len(c.Sets), c.OldestPass, m)
		}
	}
	sets := verify(t, z, signedAt, three).ARC.Sets
	r, err := ParseAuthResults(sets[0].Results, 0)
	if err != nil || r.ID != "mx.example.net" || r.Results[0].Method != "dkim" || r.Results[0].Result != Pass {
		t.Errorf("first results: %+v %v", r, err)
	}
	if sets[1].Seal.Domain != "example.com" || sets[2].Seal.Algorithm != "ed25519-sha256" {
		t.Errorf("seals: %+v", sets)
	}

	// A broken chain is sealed once as failed and never again (RFC 8617 §5.1, §5.1.2).
	broken := append([]byte("X: y\r\n"), bytes.Replace(three, []byte("lost"), []byte("won"), 1)...)
	four := seal(t, z, broken, arcKey("example.net"), nil)
	if !bytes.Contains(four, []byte("cv=fail")) || !bytes.Contains(four, []byte("i=4;")) {
		t.Errorf("not sealed as failed: %s", four[:400])
	}
	if c := verify(t, z, signedAt, four).ARC; c.Result != Fail || c.Reason == "" {
		t.Errorf("failed chain: %s", c.Result)
	}
	if five := seal(t, z, four, arcKey("example.net"), nil); !bytes.Equal(four, five) {
		t.Error("sealed again after cv=fail")
	}
}

func TestARCForged(t *testing.T) {
	z := zone()
	msg := seal(t, z, crlfText(plain), arcKey("example.net"), nil)
	msg = seal(t, z, msg, arcKey("example.com"), nil)
	line := func(name string, n int) string {
		for rest := string(msg); ; {
			i := strings.Index(rest, name)
			field := rest[i:]
			end := strings.Index(strings.ReplaceAll(field, "\r\n\t", "\t\t\t"), "\r\n") + 2
			if field = field[:end]; strings.Contains(field, fmt.Sprintf("i=%d;", n)) {
				return field
			}
			rest = rest[i+end:]
		}
	}
	for _, c := range []struct{ name, old, new string }{
		{"results changed", "dkim=none", "dkim=pass"},
		{"instance skipped", "i=2;", "i=3;"},
		{"instance 0", "i=1;", "i=0;"},
		{"instance with a zero", "i=1;", "i=01;"},
		{"no instance", "i=1;", ""},
		{"cv of the first", "cv=none", "cv=pass"},
		{"cv of the second", "cv=pass", "cv=none"},
		{"cv missing", "cv=pass;", ""},
		{"no results", line("ARC-Authentication-Results", 1), ""},
		{"no message signature", line("ARC-Message-Signature", 1), ""},
		{"no seal", line("ARC-Seal", 1), ""},
		{"no newest seal", line("ARC-Seal", 2), ""},
		{"a seal twice", line("ARC-Seal", 1), line("ARC-Seal", 1) + line("ARC-Seal", 1)},
		{"first set removed", line("ARC-Seal", 1) + line("ARC-Message-Signature", 1) + line("ARC-Authentication-Results", 1), ""},
		{"h= in a seal", "cv=none;", "cv=none; h=from;"},
		{"body changed", "lost", "won"},
		{"subject changed", "dinner", "lunch"},
		{"From added", "From:", "From: boss@example.com\r\nFrom:"},
		{"domain of a seal", "d=example.com", "d=example.org"},
		{"key gone", "s=rsa", "s=gone"},
	} {
		if !bytes.Contains(msg, []byte(c.old)) {
			t.Fatalf("%s: no %q in\n%s", c.name, c.old, msg)
		}
		got := verify(t, z, signedAt, []byte(strings.ReplaceAll(string(msg), c.old, c.new))).ARC
		if got.Result != Fail || got.Reason == "" {
			t.Errorf("%s: %s %s", c.name, got.Result, got.Reason)
		}
	}
	z.fail = true
	if c := verify(t, z, signedAt, msg).ARC; c.Result != Fail { // RFC 8617 §5.2.1
		t.Errorf("servfail: %s", c.Result)
	}
}

// TestARCLimit: MA6.
func TestARCLimit(t *testing.T) {
	z := zone()
	msg := crlfText(plain)
	for range 50 {
		msg = seal(t, z, msg, SignKey{Domain: "example.org", Selector: "ed", Key: testKeys().ed}, nil)
	}
	c := verify(t, z, signedAt, msg).ARC
	if c.Result != Pass || len(c.Sets) != 50 {
		t.Errorf("50 sets: %s %s", c.Result, c.Reason)
	}
	head, _ := split(msg)
	if _, err := NewSealer(head, SealOptions{Time: signedAt}); !postino.Is(err, postino.Full) {
		t.Errorf("set 51: %v", err)
	}
	more := strings.Replace(string(msg), "i=50;", "i=51;", 1) + ""
	if c := verify(t, z, signedAt, []byte("ARC-Seal: i=51; cv=pass\r\n"+more)).ARC; c.Result != Fail {
		t.Errorf("51 sets: %s", c.Result)
	}
}
