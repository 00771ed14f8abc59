package postino

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParsePath(t *testing.T) { // SS18, SS19
	good := []struct{ in, out, rest string }{
		{"<>", "", ""},
		{"<ana@example.org>", "ana@example.org", ""},
		{"<Ana@Example.ORG> SIZE=1", "Ana@example.org", " SIZE=1"},
		{"<postmaster>", "postmaster", ""},
		{"<PostMaster> X", "postmaster", " X"},
		{`<"ana"@example.org>`, "ana@example.org", ""},
		{`<"a b\"c"@example.org>`, `"a b\"c"@example.org`, ""},
		{`<"@a"@example.org>`, `"@a"@example.org`, ""},
		{"<@a.example,@b.example:ana@example.org>", "ana@example.org", ""},
		{"<a@[192.0.2.1]>", "a@[192.0.2.1]", ""},
		{"<a@[IPv6:2001:DB8::1]>", "a@[IPv6:2001:db8::1]", ""},
		{"<grå@blåbær.example>", "grå@xn--blbr-roah.example", ""},
		{"<a%b!c@example.org>", "a%b!c@example.org", ""},
	}
	for _, c := range good {
		a, rest, err := ParsePath(c.in, true)
		if err != nil || a.String() != c.out || rest != c.rest {
			t.Errorf("ParsePath(%q) = %q, %q, %v", c.in, a.String(), rest, err)
		}
	}
	bad := []string{"", "ana@example.org", "<ana>", "<ana@>", "<@example.org>", "<ana@example.org", "<a@b@c.example>",
		"<.a@example.org>", "<a..b@example.org>", "<a.@example.org>", `<"a@example.org>`, "<\"a\x00\"@example.org>", "<a b@example.org>",
		"<a@-x.example>", "<a@x-.example>", "<a@x..example>", "<a@example.org.>", "<a@[192.0.2.300]>", "<a@[2001:db8::1]>", "<a@[IPv6:fe80::1%eth0]>",
		"<a@under_score.example>", "<" + strings.Repeat("a", 65) + "@example.org>", "<a@" + strings.Repeat("a", 64) + ".example>",
		"<a@" + strings.Repeat("abcdefg.", 32) + "example>", "<\xff@example.org>", "<a\u202eb@example.org>", "<@a.example;b@example.org>"}
	for _, in := range bad {
		if a, _, err := ParsePath(in, true); err == nil || !Is(err, Invalid) {
			t.Errorf("ParsePath(%q) = %q, %v; want an Invalid error", in, a, err)
		}
	}
	for _, in := range []string{"<grå@example.org>", "<a@blåbær.example>"} {
		if _, _, err := ParsePath(in, false); err == nil {
			t.Errorf("ParsePath(%q) accepted without SMTPUTF8", in)
		}
	}
}

func TestAddressUnicode(t *testing.T) {
	a, err := ParseAddress("gra\u030a@xn--blbr-roah.example")
	if err != nil || a.Local != "gr\u00e5" || a.Unicode() != "grå@blåbær.example" || !a.NeedsUTF8() {
		t.Errorf("got %q %q %v", a.Local, a.Unicode(), err)
	}
}

// FuzzParsePath holds that what is accepted prints to a form that parses to
// the same address: one canonical form.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b.example>", `<"a\\b c"@[192.0.2.1]>`, "<@x.example:å@ø.example> A=B", "<postmaster>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, rest, err := ParsePath(s, true)
		if err != nil {
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Fatalf("rest %q is no suffix of %q", rest, s)
		}
		again, rest, err := ParsePath("<"+a.String()+">", true)
		if err != nil || again != a || rest != "" {
			t.Fatalf("%q → %q → %q, %q, %v", s, a.String(), again.String(), rest, err)
		}
		if strings.ContainsAny(a.String(), "\r\n\x00") {
			t.Fatalf("control character in %q", a.String())
		}
	})
}

func TestIDs(t *testing.T) {
	var g IDs
	now := time.UnixMilli(1_800_000_000_000)
	g.Observe(ID(5) | ID(now.UnixMilli())<<20)
	last := g.Next(now)
	if last.Time() != now {
		t.Errorf("time %v", last.Time())
	}
	for i := range 1000 {
		id := g.Next(now.Add(-time.Duration(i) * time.Second)) // the clock goes back
		if id <= last {
			t.Fatalf("%v after %v", id, last)
		}
		back, err := ParseID(strings.ToUpper(id.String()))
		if err != nil || back != id {
			t.Fatalf("%v reads back as %v, %v", id, back, err)
		}
		if id.String() <= last.String() {
			t.Fatalf("strings do not sort: %v after %v", id, last)
		}
		last = id
	}
	for _, s := range []string{"", "0", "zzzzzzzzzzzzz", "000000000000u", "00000000000000"} {
		if _, err := ParseID(s); !Is(err, Invalid) {
			t.Errorf("ParseID(%q): %v", s, err)
		}
	}
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("outer: %w", E(Full, "append", "INBOX", errors.New("quota")))
	if KindOf(err) != Full || !Is(err, Full) || Is(nil, Internal) || KindOf(errors.New("x")) != Internal {
		t.Errorf("kind of %v is %v", err, KindOf(err))
	}
	if got := E(Internal, "deliver", "", err); got.Kind != Full {
		t.Errorf("a cause's kind is lost: %v", got.Kind)
	}
	if got := E(NotFound, "open blob", "x", nil).Error(); got != "open blob x: not found" {
		t.Errorf("got %q", got)
	}
}

func TestPrintable(t *testing.T) { // G6
	for in, want := range map[string]string{"plain grå": "plain grå", "a\r\nb": `a\x0d\x0ab`, "\x1b[31m\x00": `\x1b[31m\x00`,
		"\xff": `\xff`, "a\u202eb": `a\u{0202e}b`, "\u2028": `\u{02028}`} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkParsePath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParsePath("<sender17@client.test> SIZE=4096", false); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLinear: hostile paths of any length cost no more allocations than short
// ones, and time that grows with the length (G2, in time for the eye).
func TestLinear(t *testing.T) {
	for name, s := range map[string]func(n int) string{
		"dots":    func(n int) string { return "<" + strings.Repeat("a.", n/2) + "@example.org>" },
		"quoted":  func(n int) string { return `<"` + strings.Repeat(`\"`, n/2) + `"@example.org>` },
		"labels":  func(n int) string { return "<a@" + strings.Repeat("b.", n/2) + "org>" },
		"route":   func(n int) string { return "<" + strings.Repeat("@a,", n/3) + "@a:b@example.org>" },
		"unicode": func(n int) string { return "<" + strings.Repeat("é", n/2) + "@example.org>" },
		"literal": func(n int) string { return "<a@[" + strings.Repeat("1", n) + "]>" },
	} {
		var allocs []float64
		for _, n := range []int{4 << 10, 4 << 20} {
			text := s(n)
			begin := time.Now()
			allocs = append(allocs, testing.AllocsPerRun(2, func() { _, _, _ = ParsePath(text, true) }))
			t.Logf("%s, %d octets: %v", name, n, time.Since(begin)/3)
		}
		if allocs[1] > 2.6*(allocs[0]+1) {
			t.Errorf("%s: %v allocations for 4 KiB, %v for 4 MiB", name, allocs[0], allocs[1])
		}
	}
}
