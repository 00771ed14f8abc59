package dns_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

// records are what each zone of the tests holds.
const records = `
@            300 MX    10 mx
@           3600 TXT   "v=spf1 mx -all"
mx          3600 A     192.0.2.1
mx          3600 AAAA  2001:db8::1
_25._tcp.mx 3600 TLSA  3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
www         3600 CNAME mx
away        3600 CNAME mx.plain.test.
dead        3600 CNAME nowhere
loop        3600 CNAME loop2
loop2       3600 CNAME loop
*.wild      3600 A     192.0.2.9
*.alias     3600 CNAME mx
a.b.ent     3600 A     192.0.2.3
tree        3600 DNAME other.tld.test.
`

// build makes the tree: the root, test, tld.test, and zones below both.
func build(t testing.TB, zones map[string]dnstest.Signing) *dnstest.World {
	t.Helper()
	w := dnstest.NewWorld(t).
		Zone("test", dnstest.Signing{Algorithm: 8}, "").
		Zone("plain.test", dnstest.Signing{}, records).
		Zone("tld.test", dnstest.Signing{Algorithm: 15, NSEC3: true, OptOut: true}, "").
		Zone("other.tld.test", dnstest.Signed(), records).
		Zone("open.tld.test", dnstest.Signing{}, records)
	for origin, s := range zones {
		w.Zone(origin, s, records)
	}
	return w
}

// outcome names how a lookup went.
func outcome(a *dns.Answer, err error) string {
	switch {
	case errors.Is(err, dns.ErrBogus) && postino.Is(err, postino.Transient) && a == nil:
		return "bogus"
	case errors.Is(err, dns.ErrNXDomain):
		return a.Security.String() + " nx"
	case errors.Is(err, dns.ErrNoData):
		return a.Security.String() + " none"
	case err != nil:
		return "error"
	}
	return a.Security.String()
}

func expect(t *testing.T, r dns.Resolver, name string, kind dns.Type, want string) *dns.Answer {
	t.Helper()
	a, err := r.Lookup(t.Context(), name, kind)
	if got := outcome(a, err); got != want {
		t.Errorf("%s %d: %s (%v), want %s", name, kind, got, err, want)
	}
	return a
}

// questions are all that the zones answer, each with what to add to the
// outcome of the zone.
var questions = []struct {
	name string
	t    dns.Type
	is   string
}{
	{"mx.", dns.TypeA, ""}, {"mx.", dns.TypeAAAA, ""}, {"", dns.TypeMX, ""}, {"", dns.TypeTXT, ""},
	{"_25._tcp.mx.", dns.TypeTLSA, ""}, {"www.", dns.TypeCNAME, ""}, {"www.", dns.TypeA, ""},
	{"x.wild.", dns.TypeA, ""}, {"x.y.wild.", dns.TypeA, ""}, {"x.alias.", dns.TypeAAAA, ""},
	{"nowhere.", dns.TypeMX, " nx"}, {"below.nowhere.", dns.TypeTLSA, " nx"}, {"mx.", dns.TypeMX, " none"},
	{"_26._tcp.mx.", dns.TypeTLSA, " nx"}, {"_tcp.mx.", dns.TypeA, " none"}, {"x.wild.", dns.TypeMX, " none"},
	{"b.ent.", dns.TypeA, " none"}, {"dead.", dns.TypeTXT, " nx"}, {"", dns.TypeTLSA, " none"},
}

// TestOutcomes asks every question of every kind of zone; those with keys of one
// tag, with very many keys or with very many hashes are refused early (DN3).
func TestOutcomes(t *testing.T) {
	kinds := map[string]struct {
		s    dnstest.Signing
		want string // "" when only positive and negative answers differ
	}{
		"rsa":        {dnstest.Signing{Algorithm: 8}, "secure"},
		"ecdsa":      {dnstest.Signing{Algorithm: 13}, "secure"},
		"ed25519":    {dnstest.Signing{Algorithm: 15}, "secure"},
		"nsec3":      {dnstest.Signing{Algorithm: 13, NSEC3: true, Iterations: 5, Salt: "abcd"}, "secure"},
		"unsigned":   {dnstest.Signing{}, "insecure"},
		"island":     {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneNoDS}, "insecure"},
		"sha1":       {dnstest.Signing{Algorithm: 5}, "insecure"},
		"future":     {dnstest.Signing{Algorithm: 200}, "insecure"},
		"expired":    {dnstest.Signing{Algorithm: 13, From: -48 * time.Hour, Until: -time.Hour}, "bogus"},
		"early":      {dnstest.Signing{Algorithm: 13, From: time.Hour}, "bogus"},
		"skewed":     {dnstest.Signing{Algorithm: 13, From: time.Minute}, "secure"},
		"wrongds":    {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneWrongDS}, "bogus"},
		"boguskey":   {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneBogusKey}, "bogus"},
		"twins":      {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneTwinKeys}, "bogus"},
		"manykeys":   {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneManyKeys}, "bogus"},
		"revoked":    {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneRevoked}, "bogus"},
		"exempt":     {dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneWrongDS}, "insecure"},
		"iterations": {dnstest.Signing{Algorithm: 13, NSEC3: true, Iterations: 500}, "tired"},
		"exhausting": {dnstest.Signing{Algorithm: 13, NSEC3: true, Iterations: 501}, "bogus denial"},
	}
	for _, parent := range []string{"test", "tld.test"} {
		zones := map[string]dnstest.Signing{}
		for name, k := range kinds {
			zones[name+"."+parent+"."] = k.s
		}
		w := build(t, zones)
		for name, k := range kinds {
			origin := name + "." + parent
			t.Run(origin, func(t *testing.T) {
				v := w.Resolver(t, func(o *dns.ValidatorOptions) { o.NegativeAnchors = []string{"exempt.test", "exempt.tld.test"} })
				for _, q := range questions {
					proof := q.is != "" || strings.HasPrefix(q.name, "x.") // needs NSEC
					want := k.want + q.is
					switch {
					case k.want == "bogus":
						want = "bogus"
					case k.want == "tired" && proof:
						want = "insecure" + q.is
					case k.want == "bogus denial" && proof:
						want = "bogus"
					case k.want == "tired" || k.want == "bogus denial":
						want = "secure"
					}
					for range 2 {
						expect(t, v, q.name+origin, q.t, want)
					}
				}
			})
		}
	}
}

// TestReplyFaults spoils single replies (DN2, DN3: 32 signatures) of signed and unsigned zones.
func TestReplyFaults(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"good.test.": {Algorithm: 13}, "hash.test.": {Algorithm: 15, NSEC3: true}})
	for _, origin := range []string{"good.test", "hash.test", "plain.test", "open.tld.test"} {
		signed := origin == "good.test" || origin == "hash.test"
		for _, q := range questions {
			name := q.name + origin
			for _, kind := range []dnstest.FaultKind{
				dnstest.None, dnstest.ServFail, dnstest.Refused, dnstest.Truncate, dnstest.NoSignatures, dnstest.NoProof, dnstest.Empty, dnstest.Flood, dnstest.Forged,
			} {
				w.SetFault(name, q.t, dnstest.Fault{Kind: kind})
				want := "insecure" + q.is
				if signed {
					want = "secure" + q.is
				}
				proof := q.is != "" || strings.HasPrefix(q.name, "x.")
				chain := strings.HasPrefix(q.name, "dead.")
				switch kind {
				case dnstest.ServFail, dnstest.Refused:
					want = "error"
				case dnstest.NoSignatures, dnstest.Flood, dnstest.Forged:
					if signed {
						want = "bogus"
					}
				case dnstest.NoProof:
					if signed && proof && !chain {
						want = "bogus"
					}
				case dnstest.Empty:
					want = "insecure none"
					if q.is == " nx" {
						want = "insecure nx"
					}
					if signed {
						want = "bogus"
					}
				}
				expect(t, w.Resolver(t), name, q.t, want)
			}
			w.SetFault(name, q.t, dnstest.Fault{})
		}
	}
}

// TestChains crosses zones by CNAME and DNAME, and runs in circles.
func TestChains(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"good.test.": {Algorithm: 13}, "bad.test.": {Algorithm: 13, Fault: dnstest.ZoneWrongDS}})
	w.Zone("links.test", dnstest.Signing{Algorithm: 15}, "secure CNAME mx.good.test.\nbad CNAME mx.bad.test.\nto CNAME mx.tree.good.test.\n")
	v := w.Resolver(t)
	for range 2 {
		if a := expect(t, v, "away.good.test", dns.TypeA, "insecure"); a == nil || a.Name != "mx.plain.test" {
			t.Errorf("answer is %+v", a)
		}
		expect(t, v, "away.plain.test", dns.TypeA, "insecure")
		expect(t, v, "secure.links.test", dns.TypeA, "secure")
		expect(t, v, "bad.links.test", dns.TypeA, "bogus")
		expect(t, v, "bad.links.test", dns.TypeCNAME, "secure")
		if a := expect(t, v, "to.links.test", dns.TypeA, "secure"); a == nil || a.Name != "mx.other.tld.test" {
			t.Errorf("answer is %+v", a)
		}
		expect(t, v, "mx.tree.good.test", dns.TypeAAAA, "secure")
		if a := expect(t, v, "mx.tree.good.test", dns.TypeCNAME, "secure"); a == nil || len(a.Hosts) != 1 || a.Hosts[0] != "mx.other.tld.test" {
			t.Errorf("answer is %+v", a)
		}
		expect(t, v, "nowhere.tree.good.test", dns.TypeA, "secure nx")
		if _, err := v.Lookup(t.Context(), "loop.good.test", dns.TypeA); !errors.Is(err, dns.ErrChain) {
			t.Errorf("loop: %v", err)
		}
	}
}

// TestTransport truncates, delays and falls silent.
func TestTransport(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"good.test.": {Algorithm: 13}})
	for _, name := range []string{".", "test.", "good.test."} {
		w.SetFault(name, 0, dnstest.Fault{Kind: dnstest.Truncate})
	}
	expect(t, w.Resolver(t), "good.test", dns.TypeMX, "secure")
	w.SetFault("good.test.", 0, dnstest.Fault{})
	v := w.Resolver(t)
	expect(t, v, "good.test", dns.TypeMX, "secure")
	w.SetFault("good.test.", 0, dnstest.Fault{Kind: dnstest.Silent})
	short := func(o *dns.ValidatorOptions) { o.Timeout = 30 * time.Millisecond }
	expect(t, w.Resolver(t, short), "good.test", dns.TypeMX, "error")
	expect(t, v, "good.test", dns.TypeMX, "secure") // from the cache
	w.SetFault("good.test.", 0, dnstest.Fault{Kind: dnstest.Silent, Times: 1})
	expect(t, w.Resolver(t, short, func(o *dns.ValidatorOptions) { o.Attempts = 2 }), "good.test", dns.TypeMX, "secure")
}

// TestDelay waits for a reply as long as the timeout says.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, map[string]dnstest.Signing{"good.test.": {Algorithm: 13}})
		w.SetFault("good.test.", 0, dnstest.Fault{Delay: time.Second})
		expect(t, w.Resolver(t), "good.test", dns.TypeMX, "secure")
		w.SetFault("good.test.", 0, dnstest.Fault{Delay: time.Minute})
		expect(t, w.Resolver(t), "good.test", dns.TypeMX, "error")
		time.Sleep(2 * time.Minute)
	})
}

// TestAnchors refuses a root that others signed: by default, the Internet's
// keys are the only ones.
func TestAnchors(t *testing.T) {
	w := build(t, nil)
	expect(t, w.Resolver(t, func(o *dns.ValidatorOptions) { o.Anchors = nil }), "plain.test", dns.TypeMX, "bogus")
	if a := dns.RootAnchors(); len(a) != 2 || a[0].KeyTag != 20326 || a[1].KeyTag != 38696 || len(a[0].Hash) != 32 || len(a[1].Hash) != 32 {
		t.Errorf("anchors are %v", a)
	}
	if _, err := dns.NewValidator(dns.ValidatorOptions{NegativeAnchors: []string{"a..b"}}); !postino.Is(err, postino.Invalid) {
		t.Errorf("negative anchor that is no name: %v", err)
	}
}

// TestTTL bounds the TTL by the end of the signature.
func TestTTL(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"brief.test.": {Algorithm: 13, Until: time.Minute}})
	a := expect(t, w.Resolver(t), "mx.brief.test", dns.TypeA, "secure")
	if a == nil || a.TTL > time.Minute+time.Second || a.TTL < 40*time.Second {
		t.Errorf("answer is %+v", a)
	}
}

// TestCaches asks little again: DN3.
func TestCaches(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"good.test.": {Algorithm: 13}, "bad.test.": {Algorithm: 13, Fault: dnstest.ZoneWrongDS}})
	v := w.Resolver(t)
	for _, c := range []struct {
		name string
		t    dns.Type
		most int
	}{
		{"good.test", dns.TypeMX, 6}, {"good.test", dns.TypeMX, 0}, {"mx.good.test", dns.TypeA, 1}, {"nowhere.good.test", dns.TypeA, 1},
		{"x.nowhere.good.test", dns.TypeA, 0}, {"bad.test", dns.TypeMX, 3}, {"bad.test", dns.TypeMX, 0},
	} {
		before := w.Asked()
		v.Lookup(t.Context(), c.name, c.t)
		if n := w.Asked() - before; n > c.most {
			t.Errorf("%s %d: asked %d times, want %d", c.name, c.t, n, c.most)
		}
	}
}

// TestFlippedOctets changes every octet of replies, one at a time: what is then
// called Secure is what the zone holds (TL3 rests on it).
func TestFlippedOctets(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"good.test.": {Algorithm: 15}, "hash.test.": {Algorithm: 15, NSEC3: true}})
	r := rand.New(rand.NewPCG(1, 2))
	for _, q := range []struct {
		name string
		t    dns.Type
	}{
		{"good.test", dns.TypeMX}, {"_25._tcp.mx.good.test", dns.TypeTLSA}, {"x.wild.good.test", dns.TypeA}, {"x.wild.hash.test", dns.TypeA},
		{"good.test", dns.TypeTLSA}, {"nowhere.good.test", dns.TypeA}, {"nowhere.hash.test", dns.TypeTLSA}, {"www.good.test", dns.TypeA},
	} {
		w.Tamper(nil)
		want, wantErr := w.Resolver(t).Lookup(t.Context(), q.name, q.t)
		if want == nil || want.Security != dns.Secure {
			t.Fatalf("%s: %v, %v", q.name, want, wantErr)
		}
		secure, steps := 0, 0
		once := func(v *dns.Validator, flip func(b []byte) bool) bool {
			done := false
			w.Tamper(func(b []byte) []byte {
				if !done {
					done = flip(b)
				}
				return b
			})
			defer w.Tamper(nil)
			a, err := v.Lookup(t.Context(), q.name, q.t)
			steps++
			if a != nil && a.Security == dns.Insecure {
				t.Errorf("%s: downgraded to %+v, %v", q.name, a, err)
			}
			if a == nil || a.Security != dns.Secure {
				return done
			}
			secure++
			got, wanted := *a, *want
			if got.TTL > wanted.TTL {
				t.Errorf("%s: TTL is %v, more than %v", q.name, got.TTL, wanted.TTL)
			}
			got.TTL, wanted.TTL = 0, 0
			if !reflect.DeepEqual(got, wanted) || outcome(a, err) != outcome(want, wantErr) {
				t.Errorf("%s: %+v, %v, want %+v", q.name, got, err, wanted)
			}
			return done
		}
		// Of the answer, with the chain of trust in the cache, every octet ...
		fast := func(o *dns.ValidatorOptions) { o.Timeout, o.MaxTTL, o.MaxNegativeTTL = 5*time.Millisecond, 1, 1 }
		v := w.Resolver(t, fast)
		for at := 2; ; at++ { // another id is another message
			warm(t, v)
			if !once(v, func(b []byte) bool {
				if at >= len(b) {
					return false
				}
				b[at] ^= byte(1 + r.IntN(255))
				return true
			}) {
				break
			}
			v = w.Resolver(t, fast)
			if testing.Short() {
				at += r.IntN(12)
			}
		}
		// ... and of the whole chain, some.
		for range 40 {
			n, which, at := 0, r.IntN(7), r.Uint32()
			once(w.Resolver(t, fast), func(b []byte) bool {
				if n++; n-1 != which {
					return false
				}
				b[2+at%uint32(len(b)-2)] ^= byte(1 + r.IntN(255))
				return true
			})
		}
		t.Logf("%s: %d of %d changed replies were still secure", q.name, secure, steps)
	}
}

// warm fills the cache with the chain of trust.
func warm(t *testing.T, v *dns.Validator) {
	for _, name := range []string{"good.test", "hash.test"} {
		v.Lookup(t.Context(), name, dns.TypeTXT)
	}
}

// FuzzReply makes whatever comes of a signed answer: it is never Secure with
// other data, and nothing panics.
func FuzzReply(f *testing.F) {
	w := build(f, map[string]dnstest.Signing{"good.test.": {Algorithm: 15, NSEC3: true}})
	f.Add(uint16(40), byte(1), []byte("x"))
	f.Add(uint16(7), byte(0), []byte("\x00\x2e\x00\x01\x00\x00\x0e\x10"))
	f.Fuzz(func(t *testing.T, at uint16, which byte, with []byte) {
		n := byte(0)
		w.Tamper(func(b []byte) []byte {
			if n++; n-1 != which%8 {
				return b
			}
			i := min(max(int(at)%max(len(b), 1), 2), len(b))
			return append(append(b[:i:i], with...), b[min(len(b), i+len(with)):]...)
		})
		defer w.Tamper(nil)
		v := w.Resolver(t, func(o *dns.ValidatorOptions) { o.Timeout = 20 * time.Millisecond })
		a, err := v.Lookup(t.Context(), "mx.good.test", dns.TypeA)
		if a != nil && (err != nil || a.Security != dns.Secure || len(a.Addrs) != 1 || a.Addrs[0] != netip.MustParseAddr("192.0.2.1")) {
			t.Errorf("answer is %+v, %v", a, err)
		}
	})
}

func BenchmarkValidatorCached(b *testing.B) {
	v := build(b, nil).Resolver(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Lookup(b.Context(), "other.tld.test", dns.TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidatorColdChain(b *testing.B) {
	w := build(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Resolver(b).Lookup(b.Context(), "other.tld.test", dns.TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidatorWarmZone(b *testing.B) {
	v := build(b, nil).Resolver(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := v.Lookup(b.Context(), fmt.Sprintf("n%d.wild.other.tld.test", i), dns.TypeA); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkValidatorColdTLSA proves a TLSA record below three zone cuts with
// nothing in any cache; the world signs once.
func BenchmarkValidatorColdTLSA(b *testing.B) {
	w := build(b, map[string]dnstest.Signing{"mail.tld.test": dnstest.Signed()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Resolver(b).Lookup(b.Context(), "_25._tcp.mx.mail.tld.test", dns.TypeTLSA); err != nil {
			b.Fatal(err)
		}
	}
}
