package mailauth

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

var (
	srsNow  = time.Date(2026, 3, 7, 12, 0, 0, 0, time.UTC)
	testSRS = &SRS{Domain: "fwd.example", Secrets: [][]byte{[]byte("0123456789abcdef"), []byte("an older secret.")}}
)

// forward is Forward that must be true.
func forward(t *testing.T, s *SRS, a string) postino.Address {
	t.Helper()
	addr, err := postino.ParseAddress(a)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := s.Forward(addr, srsNow)
	if !ok {
		t.Fatalf("%s is not rewritten", a)
	}
	return f
}

func TestSRSForms(t *testing.T) {
	first, second := &SRS{Domain: "first.example", Secrets: testSRS.Secrets}, &SRS{Domain: "second.example", Secrets: testSRS.Secrets}
	a := forward(t, first, "ana@example.org")
	b := forward(t, second, a.String())
	c := forward(t, testSRS, b.String())
	rest := strings.TrimPrefix(a.Local, "SRS0")
	for _, x := range []struct{ got, prefix, suffix string }{
		{a.String(), "SRS0=", "=" + srsStamp(srsNow) + "=example.org=ana@first.example"},
		{b.String(), "SRS1=", "=first.example=" + rest + "@second.example"},
		{c.String(), "SRS1=", "=first.example=" + rest + "@fwd.example"},
	} {
		if !strings.HasPrefix(x.got, x.prefix) || !strings.HasSuffix(x.got, x.suffix) || len(x.got) != len(x.prefix)+8+len(x.suffix) {
			t.Errorf("%s is not %s…%s", x.got, x.prefix, x.suffix)
		}
	}
	for _, x := range []struct {
		s          *SRS
		from, want postino.Address
	}{{testSRS, c, a}, {second, b, a}, {first, a, postino.Address{Local: "ana", Domain: "example.org"}}} {
		if got, err := x.s.Reverse(x.from, srsNow); err != nil || got != x.want {
			t.Errorf("%s became %s, %v", x.from, got, err)
		}
	}
	// The other separators are of other hosts.
	for _, foreign := range []string{"SRS0+HH=TT=example.org=ana@first.example", "srs0-HH=TT=example.org=ana@first.example"} {
		got, err := testSRS.Reverse(forward(t, testSRS, foreign), srsNow)
		if err != nil || !strings.EqualFold(got.String(), foreign) {
			t.Errorf("%s came back as %s, %v", foreign, got, err)
		}
	}
}

func TestSRSUnchanged(t *testing.T) {
	for _, a := range []postino.Address{{}, {Local: "ana", Domain: "fwd.example"}} {
		if got, ok := testSRS.Forward(a, srsNow); !ok || got != a {
			t.Errorf("%q became %q, %v", a, got, ok)
		}
	}
	long := postino.Address{Local: strings.Repeat("x", 40), Domain: "example.org"}
	if got, ok := testSRS.Forward(long, srsNow); ok || got != long {
		t.Errorf("a local part beyond SS19: %s, %v", got, ok)
	}
	ana := postino.Address{Local: "ana", Domain: "example.org"}
	if got, ok := (&SRS{Domain: "fwd.example", Secrets: [][]byte{{}}}).Forward(ana, srsNow); ok || got != ana {
		t.Errorf("without secret: %s, %v", got, ok)
	}
}

// address draws an address whose rewritten form is short enough.
func address(t *rapid.T) postino.Address {
	local := rapid.StringMatching(`[a-zA-Z0-9=+ ."ü-]{1,16}`).Draw(t, "local")
	domain := rapid.SampledFrom([]string{"example.org", "a.b.example", "[192.0.2.1]", "xn--bcher-kva.example"}).Draw(t, "domain")
	if version, _ := srsCut(local); version != 0 {
		local = "x" + local
	}
	return postino.Address{Local: local, Domain: domain}
}

func TestSRSRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := address(t)
		made := srsNow.Add(time.Duration(rapid.IntRange(-500, 3000).Draw(t, "day")) * srsDay)
		f, ok := testSRS.Forward(a, made)
		if !ok {
			t.Fatalf("%s is not rewritten", a)
		}
		if parsed, err := postino.ParseAddress(f.String()); err != nil || parsed != f {
			t.Fatalf("%s is no address: %v", f, err)
		}
		rotated := &SRS{Domain: "fwd.example", Secrets: append([][]byte{[]byte("the newest secret")}, testSRS.Secrets...)}
		for _, days := range []int{-1, 0, 1, 21} {
			if got, err := rotated.Reverse(f, made.Add(time.Duration(days)*srsDay)); err != nil || got != a {
				t.Fatalf("after %d days %s became %s, %v", days, f, got, err)
			}
		}
		for _, days := range []int{-2, 22, 300, 1000} {
			if _, err := testSRS.Reverse(f, made.Add(time.Duration(days)*srsDay)); !postino.Is(err, postino.Denied) {
				t.Fatalf("after %d days: %v", days, err)
			}
		}
		lower := postino.Address{Local: asciiLower(f.Local), Domain: f.Domain}
		if got, err := testSRS.Reverse(lower, made); err != nil || !strings.EqualFold(got.String(), a.String()) {
			t.Fatalf("in lower case %s became %s, %v", lower, got, err)
		}
	})
}

// TestSRSForged: whatever octet is changed, added or cut, no address comes out.
func TestSRSForged(t *testing.T) {
	for _, from := range []string{"ana@example.org", "SRS0=HH=TT=b.example=ana@a.example"} {
		f := forward(t, testSRS, from)
		for i := range f.Local {
			for _, forged := range []string{f.Local[:i], f.Local[:i] + f.Local[i+1:], f.Local[:i] + "#" + f.Local[i+1:], f.Local[:i] + "=" + f.Local[i:]} {
				if got, err := testSRS.Reverse(postino.Address{Local: forged, Domain: f.Domain}, srsNow); err == nil && forged != f.Local {
					t.Errorf("%s became %s", forged, got)
				}
			}
		}
		for name, s := range map[string]*SRS{
			"secret": {Domain: "fwd.example", Secrets: [][]byte{[]byte("another secret..")}},
			"none":   {Domain: "fwd.example", Secrets: [][]byte{{}}},
		} {
			if _, err := s.Reverse(f, srsNow); !postino.Is(err, postino.Denied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		other := &SRS{Domain: "other.example", Secrets: testSRS.Secrets}
		if _, err := other.Reverse(postino.Address{Local: f.Local, Domain: "other.example"}, srsNow); !postino.Is(err, postino.Denied) {
			t.Errorf("made for another domain: %v", err)
		}
	}
	for _, a := range []postino.Address{{}, {Local: "ana", Domain: "fwd.example"}, {Local: "SRS0", Domain: "fwd.example"}, {Local: "SRS2=a=b=c=d", Domain: "fwd.example"}, {Local: "SRS0=a=b=c=d", Domain: "example.org"}} {
		if _, err := testSRS.Reverse(a, srsNow); !postino.Is(err, postino.NotFound) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestSRSMaxAge(t *testing.T) {
	s := *testSRS
	s.MaxAge = 36 * time.Hour
	f := forward(t, &s, "ana@example.org")
	for days, want := range map[int]bool{0: true, 2: true, 3: false} {
		if _, err := s.Reverse(f, srsNow.Add(time.Duration(days)*srsDay)); (err == nil) != want {
			t.Errorf("after %d days: %v", days, err)
		}
	}
}

func FuzzSRS(f *testing.F) {
	for _, local := range []string{"SRS0=ABCDEFGH=AA=example.org=ana", "SRS1=ABCDEFGH=first.example==HH=AA=example.org=ana", "srs1-", "SRS0=", "SRS1===", "SRS1+0=!=+"} {
		f.Add(local)
	}
	f.Fuzz(func(t *testing.T, local string) {
		if _, err := testSRS.Reverse(postino.Address{Local: local, Domain: "fwd.example"}, srsNow); err == nil {
			t.Errorf("%q was not signed and is reversed", local)
		}
		from, err := postino.ParseAddress(local + "@example.org")
		if err != nil {
			return
		}
		to, ok := testSRS.Forward(from, srsNow)
		if !ok {
			return
		}
		back, err := testSRS.Reverse(to, srsNow)
		if err != nil {
			t.Fatalf("%s became %s: %v", from, to, err)
		}
		if version, _ := srsCut(from.Local); version == 0 && back != from {
			t.Fatalf("%s became %s and then %s", from, to, back)
		}
	})
}

func BenchmarkSRS(b *testing.B) {
	a := postino.Address{Local: "ana", Domain: "example.org"}
	b.ReportAllocs()
	for b.Loop() {
		f, _ := testSRS.Forward(a, srsNow)
		if _, err := testSRS.Reverse(f, srsNow); err != nil {
			b.Fatal(err)
		}
	}
}
