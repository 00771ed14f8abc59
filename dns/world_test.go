package dns_test

import (
	"errors"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

// TestWorldServes validates over sockets, whatever goes wrong on them (DN1).
func TestWorldServes(t *testing.T) {
	w := dnstest.NewWorld(t).Zone("example.org", dnstest.Signed(), "@ MX 10 mx\nmx A 192.0.2.1\n")
	server := dns.Server{Addr: w.Serve(t)}
	for fault, want := range map[dnstest.FaultKind]string{
		dnstest.None: "secure", dnstest.Truncate: "secure", dnstest.Forged: "bogus", dnstest.NoSignatures: "bogus",
		dnstest.WrongID: "error", dnstest.WrongName: "error", dnstest.NoEDNS: "error", dnstest.Garbage: "error",
	} {
		w.SetFault("mx.example.org", dns.TypeA, dnstest.Fault{Kind: fault})
		r := w.Resolver(t, func(o *dns.ValidatorOptions) {
			o.Dial, o.Servers, o.Timeout = nil, []dns.Server{server}, 300*time.Millisecond
		})
		if a, err := r.Lookup(t.Context(), "mx.example.org", dns.TypeA); outcome(a, err) != want {
			t.Errorf("fault %d: %+v, %v, want %s", fault, a, err, want)
		}
	}
	w.SetFault("example.org", dns.TypeMX, dnstest.Fault{Kind: dnstest.NoEDNS})
	stub := dns.NewStub(dns.Options{Servers: []dns.Server{server}})
	expect(t, stub, "example.org", dns.TypeMX, "insecure") // loopback would say so, and this server does not validate
	w.SetFault("example.org", dns.TypeMX, dnstest.Fault{Kind: dnstest.Silent, Times: 1})
	if _, err := w.Resolver(t, func(o *dns.ValidatorOptions) { o.Timeout = 50 * time.Millisecond }).Lookup(t.Context(), "example.org", dns.TypeMX); !postino.Is(err, postino.Transient) || errors.Is(err, dns.ErrBogus) {
		t.Errorf("silence: %v", err)
	}
}

// TestZoneTypes asks for what zones say of themselves.
func TestZoneTypes(t *testing.T) {
	w := dnstest.NewWorld(t).Zone("example.org", dnstest.Signed(), "@ CAA 0 issue \"ca.example\"\n").Zone("plain.example.org", dnstest.Signing{}, "")
	r := w.Resolver(t)
	if a := expect(t, r, "example.org", dns.TypeDS, "secure"); a == nil || len(a.DS) != 1 || a.DS[0].Algorithm != 13 || len(a.DS[0].Hash) != 32 {
		t.Errorf("DS: %+v", a)
	}
	if a := expect(t, r, "example.org", dns.TypeDNSKEY, "secure"); a == nil || len(a.Keys) != 2 {
		t.Errorf("DNSKEY: %+v", a)
	}
	if a := expect(t, r, "example.org", dns.TypeSOA, "secure"); a == nil || a.SOA == nil || a.SOA.Minimum != 5*time.Minute {
		t.Errorf("SOA: %+v", a)
	}
	if a := expect(t, r, "example.org", dns.TypeNS, "secure"); a == nil || len(a.Hosts) != 1 {
		t.Errorf("NS: %+v", a)
	}
	expect(t, r, "example.org", dns.TypeCAA, "secure")
	expect(t, r, "plain.example.org", dns.TypeDS, "secure none")
	expect(t, r, "plain.example.org", dns.TypeDNSKEY, "insecure none")
	if s := dns.TypeCAA.String() + " " + dns.TypeDNSKEY.String(); s != "CAA DNSKEY" {
		t.Errorf("types are called %q", s)
	}
}
