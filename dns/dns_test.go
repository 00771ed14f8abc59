package dns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) } // G11

// serve puts f on loopback sockets of one port.
func serve(t testing.TB, f *dns.Fake) netip.AddrPort {
	t.Helper()
	for {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err != nil { // somebody has the port
			tcp.Close()
			continue
		}
		t.Cleanup(f.Serve(udp, tcp))
		return tcp.Addr().(*net.TCPAddr).AddrPort()
	}
}

func stub(t testing.TB, f *dns.Fake) *dns.Stub {
	return dns.NewStub(dns.Options{Servers: []dns.Server{{Addr: serve(t, f)}}})
}

func TestFake(t *testing.T) {
	dnstest.Run(t, func(_ *testing.T, f *dns.Fake) dns.Resolver { return f })
}

func TestStub(t *testing.T) {
	dnstest.Run(t, func(t *testing.T, f *dns.Fake) dns.Resolver { return stub(t, f) })
}

func fake(t testing.TB, security dns.Security) *dns.Fake {
	f := dns.NewFake()
	if err := f.AddZone("example.org", "@ 60 A 192.0.2.1\nlong 172801 A 192.0.2.2\nzero 0 A 192.0.2.3\nneg 60 CNAME nowhere\n", security); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWireFaults(t *testing.T) { // DN1
	for _, c := range []struct {
		fault dns.FaultKind
		ok    bool
	}{
		{dns.FaultTruncate, true}, {dns.FaultLowerCase, true}, {dns.FaultNoEDNS, true},
		{dns.FaultWrongID, false}, {dns.FaultWrongName, false}, {dns.FaultGarbage, false},
	} {
		f := fake(t, dns.Secure)
		f.SetFault("example.org", 0, dns.Fault{Kind: c.fault})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if c.ok {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		}
		a, err := stub(t, f).Lookup(ctx, "example.org", dns.TypeA)
		cancel()
		if (err == nil) != c.ok {
			t.Errorf("fault %d: %v, %v", c.fault, a, err)
		}
	}
}

// A fault that hits the first packets only is survived by asking again.
func TestAsksAgain(t *testing.T) {
	f := fake(t, dns.Secure)
	f.SetFault("example.org", 0, dns.Fault{Kind: dns.FaultServFail, Times: 1})
	if _, err := stub(t, f).Lookup(t.Context(), "example.org", dns.TypeA); err != nil {
		t.Error(err)
	}
}

func TestSecondServer(t *testing.T) {
	broken, good := fake(t, dns.Secure), fake(t, dns.Secure)
	broken.SetFault("example.org", 0, dns.Fault{Kind: dns.FaultRefused})
	r := dns.NewStub(dns.Options{Servers: []dns.Server{{Addr: serve(t, broken)}, {Addr: serve(t, good)}}})
	if _, err := r.Lookup(t.Context(), "example.org", dns.TypeA); err != nil {
		t.Error(err)
	}
}

// AD counts only from loopback and from servers that the operator trusts.
func TestTrust(t *testing.T) {
	far := netip.MustParseAddrPort("192.0.2.53:53")
	for _, c := range []struct {
		trusted  bool
		zone     dns.Security
		security dns.Security
	}{{false, dns.Secure, dns.Unknown}, {true, dns.Secure, dns.Secure}, {true, dns.Insecure, dns.Insecure}} {
		near := serve(t, fake(t, c.zone))
		r := dns.NewStub(dns.Options{
			Servers: []dns.Server{{Addr: far, Trusted: c.trusted}},
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, near.String())
			},
		})
		a, err := r.Lookup(t.Context(), "example.org", dns.TypeA)
		if err != nil || a.Security != c.security {
			t.Errorf("%+v: %+v, %v", c, a, err)
		}
	}
}

func TestCache(t *testing.T) { // DN3
	f := fake(t, dns.Secure)
	r := stub(t, f)
	look := func(name string, typ dns.Type) time.Duration {
		a, err := r.Lookup(t.Context(), name, typ)
		if a == nil {
			t.Fatal(err)
		}
		return a.TTL
	}
	questions := func(want int, what string) {
		t.Helper()
		if got := f.Asked(); got != want {
			t.Errorf("%s: %d questions were asked, want %d", what, got, want)
		}
	}
	look("example.org", dns.TypeA)
	look("EXAMPLE.ORG", dns.TypeA)
	questions(1, "same name")
	look("zero.example.org", dns.TypeA)
	look("zero.example.org", dns.TypeA)
	questions(3, "TTL 0")
	look("long.example.org", dns.TypeA)
	if left := look("long.example.org", dns.TypeA); left > 24*time.Hour {
		t.Errorf("kept for %v", left)
	}
	questions(4, "long TTL")
	look("neg.example.org", dns.TypeA)
	look("nowhere.example.org", dns.TypeMX)      // the end of the chain does not exist
	look("sub.nowhere.example.org", dns.TypeTXT) // and nothing below it
	questions(5, "RFC 8020")
}

func TestParseResolvConf(t *testing.T) {
	o := dns.ParseResolvConf("# comment\nsearch x.example\nnameserver 127.0.0.53\nnameserver bad\nnameserver fe80::1%eth0\noptions edns0 trust-ad timeout:99 attempts:3 rotate\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
	if len(o.Servers) != 3 || o.Servers[0].Addr.String() != "127.0.0.53:53" || !o.Servers[2].Trusted || o.Timeout != 30*time.Second || o.Attempts != 3 {
		t.Errorf("options are %+v", o)
	}
	if o := dns.ParseResolvConf(""); len(o.Servers) != 0 {
		t.Errorf("options are %+v", o)
	}
}

func TestBadZone(t *testing.T) {
	f := dns.NewFake()
	for _, text := range []string{"@ A 192.0.2", "other.example. A 192.0.2.1", "$INCLUDE /etc/passwd"} {
		if err := f.AddZone("example.org", text, dns.Insecure); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestCancelled(t *testing.T) {
	f := fake(t, dns.Secure)
	f.SetFault("example.org", 0, dns.Fault{Kind: dns.FaultSilent})
	for _, r := range []dns.Resolver{f, stub(t, f)} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		if _, err := r.Lookup(ctx, "example.org", dns.TypeA); err == nil || errors.Is(err, dns.ErrNoData) {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%T ended %v after the start", r, took)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	r := stub(b, fake(b, dns.Secure))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Lookup(b.Context(), "long.example.org", dns.TypeA); err != nil {
			b.Fatal(err)
		}
	}
}

// dialled counts connections by network.
type dialled struct {
	mu       sync.Mutex
	networks map[string]int
}

func (d *dialled) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.networks == nil {
		d.networks = map[string]int{}
	}
	d.networks[network]++
	return new(net.Dialer).DialContext(ctx, network, address)
}
