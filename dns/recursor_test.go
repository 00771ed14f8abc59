package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

// TestRecursorOutcomes asks the same questions of the same zones as of a
// recursive server, and gets the same answers.
func TestRecursorOutcomes(t *testing.T) {
	kinds := map[string]struct {
		s    dnstest.Signing
		want string
	}{
		"good": {dnstest.Signed(), "secure"}, "nsec3": {dnstest.Signing{Algorithm: 15, NSEC3: true}, "secure"}, "rsa": {dnstest.Signing{Algorithm: 8}, "secure"},
		"unsigned": {dnstest.Signing{}, "insecure"}, "wrongds": {dnstest.BogusZone(), "bogus"}, "expired": {dnstest.Expired(), "bogus"},
	}
	zones := map[string]dnstest.Signing{}
	for name, k := range kinds {
		for _, parent := range []string{"test", "tld.test", "open.tld.test"} {
			zones[name+"."+parent] = k.s
		}
	}
	w := build(t, zones)
	for name, k := range kinds {
		for _, parent := range []string{"test", "tld.test", "open.tld.test"} {
			want := k.want
			if parent == "open.tld.test" { // nobody vouches for zones below
				want = "insecure"
			}
			v := w.Recursor(t)
			for _, q := range questions {
				full := want + q.is
				if want == "bogus" {
					full = want
				}
				expect(t, v, q.name+name+"."+parent, q.t, full)
			}
		}
	}
	expect(t, w.Recursor(t), "no.such.zone.example", dns.TypeMX, "secure nx")
	expect(t, w.Recursor(t, func(o *dns.ValidatorOptions) { o.NegativeAnchors = []string{"."} }), "mx.wrongds.test", dns.TypeA, "insecure")
}

// TestRecursorOverSockets: the servers are real ones, on loopback.
func TestRecursorOverSockets(t *testing.T) {
	w := build(t, map[string]dnstest.Signing{"good.test": dnstest.Signed()})
	dial := w.ServeServers(t)
	v := w.Recursor(t, func(o *dns.ValidatorOptions) { o.Dial = dial })
	expect(t, v, "_25._tcp.mx.good.test", dns.TypeTLSA, "secure")
	w.SetFault("good.test", dns.TypeMX, dnstest.Fault{Kind: dnstest.Truncate})
	expect(t, v, "good.test", dns.TypeMX, "secure")
	expect(t, v, "away.good.test", dns.TypeA, "insecure")
}

// TestRecursorServers: one good server is enough, whatever the others are (DN1).
func TestRecursorServers(t *testing.T) {
	good := netip.MustParseAddr("203.0.113.200")
	for _, fault := range []dnstest.FaultKind{
		dnstest.ServFail, dnstest.Refused, dnstest.Silent, dnstest.WrongID, dnstest.WrongName, dnstest.Garbage, dnstest.Truncate, dnstest.NoEDNS,
	} {
		w := dnstest.NewWorld(t).Zone("test", dnstest.Signed(), "").Zone("good.test", dnstest.Signed(),
			"@ NS ns1\n@ NS ns2\n@ NS ns3\nns1 A 203.0.113.198\nns2 A 203.0.113.199\nns3 A 203.0.113.200\nmx A 192.0.2.1\n")
		for _, a := range w.Servers("good.test") {
			if a != good {
				w.SetServerFault(a, dnstest.Fault{Kind: fault})
			}
		}
		v := w.Recursor(t, func(o *dns.ValidatorOptions) { o.Timeout = 50 * time.Millisecond; o.Attempts = 2 })
		for _, name := range []string{"mx.good.test", "ns1.good.test", "ns2.good.test", "x.good.test"} {
			if a, err := v.Lookup(t.Context(), name, dns.TypeA); a == nil || a.Security != dns.Secure {
				t.Errorf("fault %d: %s: %v, %v", fault, name, a, err)
			}
		}
	}
}

// TestRecursorRemembersLame asks a server that does not serve a zone only once.
func TestRecursorRemembersLame(t *testing.T) {
	w := dnstest.NewWorld(t).Zone("test", dnstest.Signing{}, "").Zone("good.test", dnstest.Signing{}, "@ NS ns.good.test.\nns A 203.0.113.1\n*.w A 192.0.2.1\n")
	w.SetServerFault(netip.MustParseAddr("203.0.113.1"), dnstest.Fault{Kind: dnstest.Refused})
	v := w.Recursor(t)
	expect(t, v, "a.w.good.test", dns.TypeA, "error")
	before := w.Asked()
	expect(t, v, "b.w.good.test", dns.TypeA, "error")
	if n := w.Asked() - before; n > 2 { // of the servers above
		t.Errorf("asked %d times", n)
	}
}

// TestRecursorGlueless finds servers in other zones, and refuses those that
// lead to each other.
func TestRecursorGlueless(t *testing.T) {
	w := dnstest.NewWorld(t).
		Zone("test", dnstest.Signed(), "").
		Zone("host.test", dnstest.Signed(), "ns A 203.0.113.9\nns6 AAAA 2001:db8:1::9\nalias CNAME ns\n").
		Zone("far.test", dnstest.Signed(), "@ NS ns.host.test.\nmx A 192.0.2.1\n").
		Zone("six.test", dnstest.Signed(), "@ NS ns6.host.test.\nmx A 192.0.2.1\n").
		Zone("alias.test", dnstest.Signed(), "@ NS alias.host.test.\nmx A 192.0.2.1\n").
		Zone("a.test", dnstest.Signed(), "@ NS ns.b.test.\nns A 203.0.113.10\n").
		Zone("b.test", dnstest.Signed(), "@ NS ns.a.test.\nns A 203.0.113.11\n").
		Zone("private.test", dnstest.Signed(), "@ NS ns\nns A 127.0.0.1\nns A 10.0.0.1\nns AAAA ::ffff:192.168.0.1\nns AAAA fd00::1\nmx A 192.0.2.1\n")
	v := w.Recursor(t)
	expect(t, v, "mx.far.test", dns.TypeA, "secure")
	expect(t, v, "mx.six.test", dns.TypeA, "secure")
	expect(t, v, "mx.alias.test", dns.TypeA, "error")
	for _, name := range []string{"mx.a.test", "mx.b.test"} {
		before := w.Asked()
		expect(t, v, name, dns.TypeA, "error")
		if n := w.Asked() - before; n > 30 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
	expect(t, v, "mx.private.test", dns.TypeA, "error") // DN4
	expect(t, w.Recursor(t, func(o *dns.ValidatorOptions) { o.AllowPrivate = netip.Addr.IsPrivate }), "mx.private.test", dns.TypeA, "secure")
}

// TestRecursorBudget: a zone whose servers have servers whose servers … costs a
// bounded number of questions (NXNSAttack), however wide it is (DN3).
func TestRecursorBudget(t *testing.T) {
	w := dnstest.NewWorld(t).Zone("test", dnstest.Signing{}, "")
	const wide, deep = 12, 4
	for level := range deep {
		for i := range wide {
			var text strings.Builder
			for j := range wide {
				fmt.Fprintf(&text, "@ NS ns%d.z%d-%d.test.\n", j, level+1, j)
			}
			w.Zone(fmt.Sprintf("z%d-%d.test", level, i), dnstest.Signing{}, text.String())
		}
	}
	before := w.Asked()
	if a, err := w.Recursor(t).Lookup(t.Context(), "mx.z0-0.test", dns.TypeA); err == nil {
		t.Errorf("answer is %+v", a)
	}
	if n := w.Asked() - before; n > 2*100 { // of each attempt
		t.Errorf("asked %d times", n)
	}
}

// TestRecursorBailiwick: a server is not believed about names that it does not
// serve (RFC 5452 §6).
func TestRecursorBailiwick(t *testing.T) {
	w := dnstest.NewWorld(t).Zone("test", dnstest.Signing{}, "").
		Zone("victim.test", dnstest.Signing{}, "@ NS ns\nns A 203.0.113.20\nmx A 192.0.2.1\n").
		Zone("evil.test", dnstest.Signing{}, "@ A 192.0.2.66\n").
		Zone("sub.evil.test", dnstest.Signing{}, "@ NS ns.victim.test.\nmx A 192.0.2.66\n").
		Zone("trap.evil.test", dnstest.Signing{}, "@ NS ns\nns A 203.0.113.66\n").
		Extra("evil.test", "ns.victim.test. A 203.0.113.66\nmx.victim.test. A 192.0.2.66\nvictim.test. NS ns.trap.evil.test.\n")
	v := w.Recursor(t)
	before := w.Asked()
	expect(t, v, "evil.test", dns.TypeA, "insecure")
	expect(t, v, "mx.sub.evil.test", dns.TypeA, "insecure") // 203.0.113.20 serves it too, as its NS says
	if a := expect(t, v, "mx.victim.test", dns.TypeA, "insecure"); a == nil || len(a.Addrs) != 1 || a.Addrs[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("answer is %+v", a)
	}
	if n := w.Asked() - before; n > 25 {
		t.Errorf("asked %d times", n)
	}
}

// TestRecursorMinimises: servers above a zone learn nothing of what is below it
// (RFC 9156), and long names do not take a question per label.
func TestRecursorMinimises(t *testing.T) {
	w := dnstest.NewWorld(t).Zone("test", dnstest.Signing{}, "").Zone("good.test", dnstest.Signing{}, "very.secret A 192.0.2.1\n").
		Zone("8.b.d.0.1.0.0.2.ip6.arpa", dnstest.Signing{}, strings.Repeat("1.", 23)+"0 PTR mx.good.test.\n")
	for _, top := range []string{".", "test"} {
		for _, a := range w.Servers(top) {
			w.OnQuestion(a, func(name string, _ dns.Type) {
				if strings.Contains(name, "secret") || strings.Count(name, ".") > 1 && top == "." && strings.Contains(name, "good") {
					t.Errorf("%s was asked for %s", top, name)
				}
			})
		}
	}
	v := w.Recursor(t)
	w.SetFault("secret.good.test", dns.TypeA, dnstest.Fault{Kind: dnstest.Refused}) // such servers exist
	expect(t, v, "very.secret.good.test", dns.TypeA, "insecure")
	before := w.Asked()
	expect(t, v, strings.Repeat("1.", 23)+"0.8.b.d.0.1.0.0.2.ip6.arpa", dns.TypePTR, "insecure")
	if n := w.Asked() - before; n > 45 {
		t.Errorf("asked %d times for a long name", n)
	}
}

// TestRecursorCaches asks the servers above a zone once a day (DN3).
func TestRecursorCaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, map[string]dnstest.Signing{"good.test": {Algorithm: 13, Until: 30 * 24 * time.Hour}})
		v := w.Recursor(t)
		for _, c := range []struct {
			name string
			most int
		}{{"good.test", 14}, {"mx.good.test", 2}, {"a.b.ent.good.test", 5}, {"mx.good.test", 0}} {
			before := w.Asked()
			v.Lookup(t.Context(), c.name, dns.TypeA)
			if n := w.Asked() - before; n > c.most {
				t.Errorf("%s: asked %d times, want %d", c.name, n, c.most)
			}
		}
		w.Zone("good.test", dnstest.Signed(), records) // it moves to another server, with other keys
		time.Sleep(25 * time.Hour)
		expect(t, v, "mx.good.test", dns.TypeA, "secure")
		time.Sleep(time.Minute)
	})
}

// TestRecursorWithoutIPv6: where there is no way to IPv6, its servers cost little.
func TestRecursorWithoutIPv6(t *testing.T) {
	w := dnstest.NewWorld(t)
	for i := range 8 {
		w.Zone(fmt.Sprintf("z%d", i), dnstest.Signing{}, fmt.Sprintf("@ NS ns\nns A 203.0.113.%d\nns AAAA 2001:db8:2::%d\nns AAAA 2001:db8:3::%d\nmx A 192.0.2.1\n", i+1, i+1, i+1))
	}
	six := 0
	v := w.Recursor(t, func(o *dns.ValidatorOptions) {
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				six++
				return nil, syscall.ENETUNREACH
			}
			return w.DialServer(ctx, network, address)
		}
	})
	for i := range 8 {
		expect(t, v, fmt.Sprintf("mx.z%d", i), dns.TypeA, "insecure")
	}
	if six > 6 {
		t.Errorf("%d servers were tried by IPv6", six)
	}
}

// TestRecursorDepth: servers whose servers have servers of their own are followed
// down to a depth, and not for ever.
func TestRecursorDepth(t *testing.T) {
	w := dnstest.NewWorld(t)
	const deep = 25
	for i := range deep {
		w.Zone(fmt.Sprintf("z%d", i), dnstest.Signing{}, fmt.Sprintf("@ NS ns.z%d.\nns A 203.0.113.%d\nmx A 192.0.2.1\n", i+1, i+1))
	}
	w.Zone(fmt.Sprintf("z%d", deep), dnstest.Signing{}, "@ NS ns\nns A 203.0.113.99\n")
	expect(t, w.Recursor(t), "mx.z20", dns.TypeA, "insecure")
	before := w.Asked()
	expect(t, w.Recursor(t), "mx.z0", dns.TypeA, "error")
	if n := w.Asked() - before; n > 2*100 {
		t.Errorf("asked %d times", n)
	}
}

// FuzzRecursor spoils what the servers of the zones say: nothing panics, and what
// is called Secure is what the zone holds.
func FuzzRecursor(f *testing.F) {
	w := dnstest.NewWorld(f).Zone("test", dnstest.Signed(), "").Zone("good.test", dnstest.Signing{Algorithm: 15, NSEC3: true}, "mx A 192.0.2.1\n")
	f.Add(uint16(40), byte(1), []byte("x"))
	f.Add(uint16(2), byte(3), []byte("\x80\x00\x00\x01\x00\x00\x00\x05"))
	f.Fuzz(func(t *testing.T, at uint16, which byte, with []byte) {
		n := byte(0)
		w.Tamper(func(b []byte) []byte {
			if n++; n-1 != which%16 {
				return b
			}
			i := min(max(int(at)%max(len(b), 1), 2), len(b))
			return append(append(b[:i:i], with...), b[min(len(b), i+len(with)):]...)
		})
		defer w.Tamper(nil)
		v := w.Recursor(t, func(o *dns.ValidatorOptions) { o.Timeout = 20 * time.Millisecond })
		a, err := v.Lookup(t.Context(), "mx.good.test", dns.TypeA)
		if a != nil && (err != nil || a.Security != dns.Secure || len(a.Addrs) != 1 || a.Addrs[0] != netip.MustParseAddr("192.0.2.1")) {
			t.Errorf("answer is %+v, %v", a, err)
		}
	})
}

// BenchmarkRecursorCold finds a TLSA record below three zone cuts with nothing in
// any cache, and proves it.
func BenchmarkRecursorCold(b *testing.B) {
	w := build(b, map[string]dnstest.Signing{"mail.tld.test": dnstest.Signed()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Recursor(b).Lookup(b.Context(), "_25._tcp.mx.mail.tld.test", dns.TypeTLSA); err != nil {
			b.Fatal(err)
		}
	}
}
