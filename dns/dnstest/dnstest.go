package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// Zones are the texts that the suite uses.
const (
	signed = `
@            300 MX    20 mx2
@            300 MX    10 MX1.Example.org.
@           3600 TXT   "v=spf1 mx " "-all"
@           3600 TXT   "quote \" backslash \\ octet \200"
mx1          600 A     192.0.2.1
mx1          400 AAAA  2001:db8::1
mx2         3600 A     192.0.2.2
v6only      3600 AAAA  2001:db8::2
www         3600 CNAME web
web           60 CNAME host.other.example.
away        3600 CNAME nowhere.other.example.
loop        3600 CNAME loop2
loop2       3600 CNAME loop
_25._tcp.mx1 3600 TLSA 3 1 1 0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef
_imaps._tcp 3600 SRV   0 1 993 mx1
*.wild      3600 A     192.0.2.9
a.b.wild    3600 TXT   "closer"
@           3600 NS    ns1.example.net.
@           3600 SOA   ns1.example.net. host\.master.example.org. 7 3600 600 86400 300
@           3600 CAA   128 ISSUE "ca.example; accounturi=\"x\""
sub         3600 DS    20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
@           3600 DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=
odd\.name   3600 TXT   "a" "" "b"
big         3600 TXT   `
	other = `
host          30 A     198.51.100.1
null        3600 MX    0 .
`
)

// Run runs the suite over the resolvers that open makes. They must get their
// answers from f and believe what it says about security.
func Run(t *testing.T, open func(t *testing.T, f *dns.Fake) dns.Resolver) {
	setup := func(t *testing.T) (*dns.Fake, dns.Resolver) {
		f := dns.NewFake()
		add(t, f, "example.org", signed+strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 30), dns.Secure)
		add(t, f, "other.example", other, dns.Insecure)
		add(t, f, "2.0.192.in-addr.arpa", "1 PTR mx1.example.org.\n", dns.Secure)
		add(t, f, "8.b.d.0.1.0.0.2.ip6.arpa", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mx1.example.org.\n", dns.Secure)
		add(t, f, "bogus.example", "@ A 192.0.2.3\n", dns.Bogus)
		return f, open(t, f)
	}
	t.Run("answers", func(t *testing.T) { _, r := setup(t); answers(t, r) })
	t.Run("none", func(t *testing.T) { _, r := setup(t); none(t, r) })
	t.Run("chains", func(t *testing.T) { f, r := setup(t); chains(t, f, r) })
	t.Run("failures", func(t *testing.T) { f, r := setup(t); failures(t, f, r) })
	t.Run("addresses", func(t *testing.T) { _, r := setup(t); addresses(t, r) })
	t.Run("names", func(t *testing.T) { _, r := setup(t); names(t, r) })
}

func add(t *testing.T, f *dns.Fake, origin, text string, s dns.Security) {
	t.Helper()
	if err := f.AddZone(origin, text, s); err != nil {
		t.Fatal(err)
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// answers checks every type.
func answers(t *testing.T, r dns.Resolver) {
	hour := time.Hour
	tlsa := []byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	tlsa = append(append(tlsa, tlsa...), append(tlsa, tlsa...)...)
	for _, c := range []struct {
		name string
		t    dns.Type
		want dns.Answer
	}{
		{"example.org", dns.TypeMX, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: 300 * time.Second, MX: []dns.MX{{Preference: 10, Host: "mx1.example.org"}, {Preference: 20, Host: "mx2.example.org"}}}},
		{"EXAMPLE.org.", dns.TypeMX, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: 300 * time.Second, MX: []dns.MX{{Preference: 10, Host: "mx1.example.org"}, {Preference: 20, Host: "mx2.example.org"}}}},
		{"example.org", dns.TypeTXT, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: hour, TXT: []string{"v=spf1 mx -all", "quote \" backslash \\ octet \xc8"}}},
		{"big.example.org", dns.TypeTXT, dns.Answer{Name: "big.example.org", Security: dns.Secure, TTL: hour, TXT: []string{strings.Repeat("x", 7500)}}},
		{"mx1.example.org", dns.TypeA, dns.Answer{Name: "mx1.example.org", Security: dns.Secure, TTL: 600 * time.Second, Addrs: []netip.Addr{ip("192.0.2.1")}}},
		{"mx1.example.org", dns.TypeAAAA, dns.Answer{Name: "mx1.example.org", Security: dns.Secure, TTL: 400 * time.Second, Addrs: []netip.Addr{ip("2001:db8::1")}}},
		{"_25._tcp.mx1.example.org", dns.TypeTLSA, dns.Answer{Name: "_25._tcp.mx1.example.org", Security: dns.Secure, TTL: hour, TLSA: []dns.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: tlsa}}}},
		{"_imaps._tcp.example.org", dns.TypeSRV, dns.Answer{Name: "_imaps._tcp.example.org", Security: dns.Secure, TTL: hour, SRV: []dns.SRV{{Priority: 0, Weight: 1, Port: 993, Host: "mx1.example.org"}}}},
		{"www.example.org", dns.TypeA, dns.Answer{Name: "host.other.example", Security: dns.Insecure, TTL: 30 * time.Second, Addrs: []netip.Addr{ip("198.51.100.1")}}},
		{"www.example.org", dns.TypeCNAME, dns.Answer{Name: "www.example.org", Security: dns.Secure, TTL: hour, Hosts: []string{"web.example.org"}}},
		{"example.org", dns.TypeNS, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: hour, Hosts: []string{"ns1.example.net"}}},
		{"example.org", dns.TypeSOA, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: hour, SOA: &dns.SOA{Primary: "ns1.example.net", Mailbox: "host\\.master.example.org",
			Serial: 7, Refresh: hour, Retry: 10 * time.Minute, Expire: 24 * time.Hour, Minimum: 5 * time.Minute}}},
		{"example.org", dns.TypeCAA, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: hour, CAA: []dns.CAA{{Flags: 128, Tag: "issue", Value: `ca.example; accounturi="x"`}}}},
		{"sub.example.org", dns.TypeDS, dns.Answer{Name: "sub.example.org", Security: dns.Secure, TTL: hour, DS: dns.RootAnchors()[:1]}},
		{"example.org", dns.TypeDNSKEY, dns.Answer{Name: "example.org", Security: dns.Secure, TTL: hour, Keys: []dns.Key{{Flags: 257, Algorithm: 15, KeyTag: 3613}}}},
		{"null.other.example", dns.TypeMX, dns.Answer{Name: "null.other.example", Security: dns.Insecure, TTL: hour, MX: []dns.MX{{Preference: 0, Host: ""}}}},
		{"any.thing.wild.example.org", dns.TypeA, dns.Answer{Name: "any.thing.wild.example.org", Security: dns.Secure, TTL: hour, Addrs: []netip.Addr{ip("192.0.2.9")}}},
	} {
		for range 2 { // the second may come from a cache
			a, err := r.Lookup(t.Context(), c.name, c.t)
			if err != nil {
				t.Errorf("%s %d: %v", c.name, c.t, err)
				continue
			}
			if a.TTL > c.want.TTL || a.TTL < c.want.TTL-10*time.Second {
				t.Errorf("%s %d: TTL is %v, want %v", c.name, c.t, a.TTL, c.want.TTL)
			}
			got := *a
			if got.TTL = c.want.TTL; !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s %d: answer is %+v, want %+v", c.name, c.t, got, c.want)
			}
		}
	}
}

// none checks definite negative answers (DN2).
func none(t *testing.T, r dns.Resolver) {
	for _, c := range []struct {
		name, canonical string
		t               dns.Type
		err             error
		s               dns.Security
	}{
		{"nowhere.example.org", "nowhere.example.org", dns.TypeA, dns.ErrNXDomain, dns.Secure},
		{"below.nowhere.example.org", "below.nowhere.example.org", dns.TypeMX, dns.ErrNXDomain, dns.Secure},
		{"v6only.example.org", "v6only.example.org", dns.TypeA, dns.ErrNoData, dns.Secure},
		{"b.wild.example.org", "b.wild.example.org", dns.TypeA, dns.ErrNoData, dns.Secure},
		{"x.b.wild.example.org", "x.b.wild.example.org", dns.TypeA, dns.ErrNXDomain, dns.Secure},
		{"away.example.org", "nowhere.other.example", dns.TypeA, dns.ErrNXDomain, dns.Insecure},
		{"www.example.org", "host.other.example", dns.TypeMX, dns.ErrNoData, dns.Insecure},
		{"unheard.of.example", "unheard.of.example", dns.TypeMX, dns.ErrNXDomain, dns.Insecure},
	} {
		for range 2 {
			a, err := r.Lookup(t.Context(), c.name, c.t)
			if !errors.Is(err, c.err) || !postino.Is(err, postino.NotFound) {
				t.Errorf("%s: error is %v, want %v", c.name, err, c.err)
			}
			if a == nil || a.Name != c.canonical || a.Security != c.s || a.TTL > 5*time.Minute {
				t.Errorf("%s: answer is %+v, want the name %s, %v", c.name, a, c.canonical, c.s)
			}
		}
	}
}

// chains checks that eight CNAMEs are followed and nine are not (DN1).
func chains(t *testing.T, f *dns.Fake, r dns.Resolver) {
	var zone strings.Builder
	for i := range 9 {
		fmt.Fprintf(&zone, "c%d CNAME c%d\n", i, i+1)
	}
	add(t, f, "chain.example", zone.String()+"c9 A 192.0.2.4\n", dns.Insecure)
	if a, err := r.Lookup(t.Context(), "c1.chain.example", dns.TypeA); err != nil || a.Name != "c9.chain.example" {
		t.Errorf("eight links: %v, %v", a, err)
	}
	for _, name := range []string{"c0.chain.example", "loop.example.org"} {
		if a, err := r.Lookup(t.Context(), name, dns.TypeA); !errors.Is(err, dns.ErrChain) || !postino.Is(err, postino.Transient) || a != nil {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

// failures checks that what may change is Transient, and is asked again (DN2).
func failures(t *testing.T, f *dns.Fake, r dns.Resolver) {
	for _, c := range []struct {
		fault dns.FaultKind
		want  error
	}{
		{dns.FaultServFail, dns.ErrServer}, {dns.FaultRefused, dns.ErrServer}, {dns.FaultBogus, dns.ErrBogus}, {dns.FaultSilent, nil},
	} {
		f.SetFault("mx2.example.org", 0, dns.Fault{Kind: c.fault})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		a, err := r.Lookup(ctx, "mx2.example.org", dns.TypeA)
		cancel()
		if !postino.Is(err, postino.Transient) || a != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("fault %d: %v, %v", c.fault, a, err)
		}
	}
	f.SetFault("mx2.example.org", 0, dns.Fault{})
	if _, err := r.Lookup(t.Context(), "mx2.example.org", dns.TypeA); err != nil {
		t.Errorf("a failure was kept: %v", err)
	}
	if _, err := r.Lookup(t.Context(), "bogus.example", dns.TypeA); !errors.Is(err, dns.ErrBogus) || !postino.Is(err, postino.Transient) {
		t.Errorf("bogus zone: %v", err)
	}
	f.SetFault("web.example.org", 0, dns.Fault{Kind: dns.FaultNXDomain})
	if _, err := r.Lookup(t.Context(), "web.example.org", dns.TypeTXT); !errors.Is(err, dns.ErrNXDomain) {
		t.Errorf("scripted NXDOMAIN: %v", err)
	}
}

// addresses checks what is made of several questions.
func addresses(t *testing.T, r dns.Resolver) {
	a, err := dns.LookupIP(t.Context(), r, "mx1.example.org")
	if err != nil || len(a.Addrs) != 2 || a.Addrs[0] != ip("192.0.2.1") || a.Addrs[1] != ip("2001:db8::1") || a.Security != dns.Secure || a.TTL > 400*time.Second {
		t.Errorf("both kinds: %+v, %v", a, err)
	}
	a, err = dns.LookupIP(t.Context(), r, "v6only.example.org")
	if err != nil || len(a.Addrs) != 1 || a.Addrs[0] != ip("2001:db8::2") {
		t.Errorf("one kind: %+v, %v", a, err)
	}
	if _, err = dns.LookupIP(t.Context(), r, "example.org"); !errors.Is(err, dns.ErrNoData) {
		t.Errorf("no kind: %v", err)
	}
	for _, s := range []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"} {
		if a, err := dns.LookupAddr(t.Context(), r, ip(s)); err != nil || len(a.Hosts) != 1 || a.Hosts[0] != "mx1.example.org" {
			t.Errorf("name of %s: %+v, %v", s, a, err)
		}
	}
}

// names checks that only names are asked for.
func names(t *testing.T, r dns.Resolver) {
	for _, name := range []string{"", ".", "a..b", ".a", "a b", "a\\.b", "a\x00b", "é.example", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 130) + "example"} {
		if _, err := r.Lookup(t.Context(), name, dns.TypeA); !postino.Is(err, postino.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
