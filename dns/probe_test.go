package dns_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

// TestProbe shows that AD counts from loopback and trusted servers only, and no
// more once such a server was found not to validate.
func TestProbe(t *testing.T) {
	f := dns.NewFake()
	for origin, s := range map[string]dns.Security{"good.example": dns.Secure, "bad.example": dns.Bogus, "open.example": dns.Insecure} {
		if err := f.AddZone(origin, "@ A 192.0.2.1\nx A 192.0.2.2\n", s); err != nil {
			t.Fatal(err)
		}
	}
	stub := dns.NewStub(dns.Options{Servers: []dns.Server{{Addr: serve(t, f)}}, Timeout: time.Second, Attempts: 1})
	expect(t, stub, "good.example", dns.TypeA, "secure")
	expect(t, stub, "open.example", dns.TypeA, "insecure")
	expect(t, stub, "bad.example", dns.TypeA, "bogus")
	if err := stub.Probe(t.Context(), "good.example", "bad.example"); err != nil {
		t.Errorf("good server: %v", err)
	}
	for _, names := range [][2]string{{"open.example", "bad.example"}, {"good.example", "x.good.example"}, {"good.example", "nowhere.good.example"}} {
		if err := stub.Probe(t.Context(), names[0], names[1]); !errors.Is(err, dns.ErrNotValidating) || !postino.Is(err, postino.Denied) {
			t.Errorf("%v: %v", names, err)
		}
		expect(t, stub, "good.example", dns.TypeA, "unknown")
		if err := stub.Probe(t.Context(), "good.example", "bad.example"); err != nil {
			t.Errorf("good server: %v", err)
		}
	}
	expect(t, stub, "x.good.example", dns.TypeA, "secure")
	f.SetFault("good.example", 0, dns.Fault{Kind: dns.FaultServFail})
	if err := stub.Probe(t.Context(), "good.example", "bad.example"); !postino.Is(err, postino.Transient) {
		t.Errorf("server that fails: %v", err)
	}
	expect(t, stub, "nowhere.good.example", dns.TypeA, "secure nx") // a failure takes no trust away

	w := dnstest.NewWorld(t)
	far := dns.Options{Dial: w.Dial, Servers: []dns.Server{{Addr: netip.MustParseAddrPort("192.0.2.53:53")}}}
	if err := dns.NewStub(far).Probe(t.Context(), "", ""); !errors.Is(err, dns.ErrNotValidating) {
		t.Errorf("no server is trusted: %v", err)
	}
	expect(t, dns.NewStub(far), "test", dns.TypeA, "unknown nx")
	far.Servers[0].Trusted = true
	if err := dns.NewStub(far).Probe(t.Context(), "", ""); !errors.Is(err, dns.ErrNotValidating) {
		t.Errorf("server that does not validate: %v", err)
	}
}
