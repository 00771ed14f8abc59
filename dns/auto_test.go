package dns_test

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

// memory is a Keeper.
type memory struct {
	mu     sync.Mutex
	values map[string]string
}

func (m *memory) Load(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []byte(m.values[name]), nil
}

func (m *memory) Save(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string]string{}
	}
	m.values[name] = string(value)
	return nil
}

var (
	far   = netip.MustParseAddr("192.0.2.53")
	other = netip.MustParseAddr("192.0.2.54")
)

// towns is a world whose servers are probed.
func towns(t testing.TB) *dnstest.World {
	return dnstest.NewWorld(t).
		Zone("good.test", dnstest.Signed(), "@ A 192.0.2.1\n").
		Zone("bad.test", dnstest.BogusZone(), "@ A 192.0.2.2\n").
		Zone("open.test", dnstest.Signing{}, "@ A 192.0.2.3\n")
}

// auto opens the resolver of a node on the two servers.
func auto(t testing.TB, w *dnstest.World, change func(*dns.AutoOptions)) *dns.Auto {
	t.Helper()
	o := dns.AutoOptions{Signed: "good.test", Bogus: "bad.test"}
	o.Dial, o.Anchors, o.Timeout, o.Attempts = w.Dial, w.Anchors(), 100*time.Millisecond, 1
	for _, a := range []netip.Addr{far, other} {
		o.Servers = append(o.Servers, dns.Server{Addr: netip.AddrPortFrom(a, 53)})
	}
	if change != nil {
		change(&o)
	}
	a, err := dns.NewAuto(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func trusted(o *dns.AutoOptions) {
	for i := range o.Servers {
		o.Servers[i].Trusted = true
	}
}

func loopback(o *dns.AutoOptions) {
	o.Servers = []dns.Server{{Addr: netip.MustParseAddrPort("127.0.0.1:53")}}
}

func recursive(o *dns.AutoOptions) { o.Recursive = true }

// TestAutoFinds goes through all that two servers can be.
func TestAutoFinds(t *testing.T) {
	type outcomes [3]string // of good, bad, open
	var (
		proven = outcomes{"secure", "bogus", "insecure"}
		blind  = outcomes{"unknown", "unknown", "unknown"}
		asked  = outcomes{"unknown", "bogus", "unknown"} // the server refuses what it finds bogus
	)
	for _, c := range []struct {
		name     string
		first    dnstest.Behaviour
		second   dnstest.Behaviour
		change   func(*dns.AutoOptions)
		mode     dns.Mode
		want     outcomes
		clear    bool
		warnings string
	}{
		{"signatures", dnstest.Careless, dnstest.Careless, nil, dns.Validating, proven, true, ""},
		{"one strips", dnstest.Stripping, dnstest.Careless, nil, dns.Validating, proven, true, ""},
		{"one is dead", dnstest.Dead, dnstest.Careless, nil, dns.Validating, proven, true, ""},
		{"they strip", dnstest.Stripping, dnstest.Stripping, nil, dns.Unprotected, blind, true, "DANE is not used"},
		{"one strips, one is dead", dnstest.Dead, dnstest.Stripping, nil, dns.Starting, blind, false, "cannot be asked"},
		{"validating, not trusted", dnstest.Validating, dnstest.Validating, nil, dns.Validating, proven, true, ""},
		{"trusted", dnstest.Validating, dnstest.Validating, trusted, dns.Trusting, proven, true, ""},
		{"one of the trusted does not validate", dnstest.Stripping, dnstest.Validating, trusted, dns.Trusting, proven, true, ""},
		{"on loopback", dnstest.Dead, dnstest.Dead, loopback, dns.Validating, proven, true, ""}, // it may only hand on what others say
		{"on loopback, without signatures", dnstest.Dead, dnstest.Dead, func(o *dns.AutoOptions) { loopback(o); o.Anchors = dns.RootAnchors() }, dns.Trusting, proven, true, ""},
		{"none of the trusted does", dnstest.Careless, dnstest.Stripping, trusted, dns.Validating, proven, true, ""},
		{"trusted and stripping", dnstest.Stripping, dnstest.Stripping, trusted, dns.Unprotected, blind, true, "DANE is not used"},
		{"required", dnstest.Careless, dnstest.Validating, func(o *dns.AutoOptions) { trusted(o); o.Policy = dns.Required }, dns.Validating, proven, true, ""},
		{"required, stripping", dnstest.Stripping, dnstest.Stripping, func(o *dns.AutoOptions) { o.Policy = dns.Required }, dns.Validating, outcomes{"bogus", "bogus", "bogus"}, true, "mail to signed domains waits"},
		{"off", dnstest.Validating, dnstest.Validating, func(o *dns.AutoOptions) { trusted(o); o.Policy = dns.Off }, dns.Disabled, asked, true, ""},
		{"recursive", dnstest.Dead, dnstest.Dead, recursive, dns.Validating, proven, true, ""},
		{"recursive, off", dnstest.Dead, dnstest.Dead, func(o *dns.AutoOptions) { recursive(o); o.Policy = dns.Off }, dns.Disabled, blind, true, ""},
		{"negative anchor", dnstest.Careless, dnstest.Careless, func(o *dns.AutoOptions) { o.NegativeAnchors = []string{"bad.test"} }, dns.Validating, outcomes{"secure", "insecure", "insecure"}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := towns(t).Behave(far, c.first).Behave(other, c.second).Behave(netip.MustParseAddr("127.0.0.1"), dnstest.Validating)
			a := auto(t, w, func(o *dns.AutoOptions) {
				if c.change != nil {
					c.change(o)
				}
				if o.Recursive {
					o.Hints, o.Dial = w.Servers("."), w.DialServer
				}
			})
			if c.mode != dns.Disabled {
				if clear := a.Probe(t.Context()); clear != c.clear {
					t.Errorf("clear: %v", clear)
				}
			}
			s := a.Status()
			if s.Mode != c.mode || (s.Warning == "") != (c.warnings == "") || !strings.Contains(s.Warning, c.warnings) {
				t.Errorf("status is %+v, want %v and %q", s, c.mode, c.warnings)
			}
			for i, name := range []string{"good.test", "bad.test", "open.test"} {
				expect(t, a, name, dns.TypeA, c.want[i])
			}
		})
	}
}

// TestNoDowngrade: what could be proven once is never taken unproven because
// somebody on the way strips signatures, after a restart neither (TL3 rests on it).
func TestNoDowngrade(t *testing.T) {
	w, keep := towns(t), new(memory)
	with := func(o *dns.AutoOptions) { o.Keep = keep; o.MaxTTL = 1 }
	a := auto(t, w, with)
	expect(t, a, "good.test", dns.TypeA, "unknown")
	a.Probe(t.Context())
	expect(t, a, "good.test", dns.TypeA, "secure")
	w.Behave(far, dnstest.Stripping).Behave(other, dnstest.Stripping)
	if !a.Probe(t.Context()) {
		t.Error("the probe is not clear")
	}
	again := auto(t, w, with)
	for _, a := range []*dns.Auto{a, again} {
		for range 2 {
			expect(t, a, "good.test", dns.TypeMX, "bogus")
			a.Probe(t.Context())
			if s := a.Status(); s.Mode != dns.Validating || !strings.Contains(s.Warning, "waits") {
				t.Errorf("status is %+v", s)
			}
		}
	}
	elsewhere := auto(t, w, func(o *dns.AutoOptions) { with(o); o.Servers = o.Servers[:1] }) // the operator asks others now
	elsewhere.Probe(t.Context())
	expect(t, elsewhere, "good.test", dns.TypeMX, "unknown none")
	w.Behave(far, dnstest.Careless)
	for _, a := range []*dns.Auto{a, again, elsewhere} {
		a.Probe(t.Context())
		expect(t, a, "good.test", dns.TypeTXT, "secure none")
		if s := a.Status(); s.Warning != "" || len(s.Servers) == 0 || !s.Servers[0].Signs {
			t.Errorf("status is %+v", s)
		}
	}
	broken := &memory{values: map[string]string{"dnssec": "\x09\x02whatever"}} // of a later version
	expect(t, auto(t, w, func(o *dns.AutoOptions) { o.Keep = broken }), "good.test", dns.TypeA, "unknown")
}

// TestForwarderOnLoopback: what only hands on the AD bit of others cannot switch
// own validation off by handing out no signatures.
func TestForwarderOnLoopback(t *testing.T) {
	w := towns(t).Behave(netip.MustParseAddr("127.0.0.1"), dnstest.Validating)
	a := auto(t, w, func(o *dns.AutoOptions) { loopback(o); o.MaxTTL = 1 })
	a.Probe(t.Context())
	expect(t, a, "good.test", dns.TypeA, "secure")
	w.SetFault(".", dns.TypeDNSKEY, dnstest.Fault{Kind: dnstest.NoSignatures})
	a.Probe(t.Context())
	if s := a.Status(); s.Mode != dns.Validating || s.Servers[0].Signs || !s.Servers[0].Validates || s.Warning == "" {
		t.Errorf("status is %+v", s)
	}
}

// TestAutoRuns probes at once, again when questions fail, and ends with its context.
func TestAutoRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := towns(t).Behave(far, dnstest.Dead).Behave(other, dnstest.Dead)
		a := auto(t, w, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(time.Second)
		if s := a.Status(); s.Mode != dns.Starting || s.Warning == "" {
			t.Errorf("status is %+v", s)
		}
		w.Behave(far, dnstest.Careless)
		time.Sleep(time.Minute) // it tries again by itself
		if s := a.Status(); s.Mode != dns.Validating || s.Warning != "" {
			t.Errorf("status is %+v", s)
		}
		w.Behave(far, dnstest.Dead).Behave(other, dnstest.Careless) // the one that it now asks is gone
		time.Sleep(2 * time.Minute)
		expect(t, a, "good.test", dns.TypeA, "error")
		time.Sleep(time.Minute)
		expect(t, a, "good.test", dns.TypeA, "secure")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestTLS asks by TLS only, only who proves the name, and keeps the connection.
func TestTLS(t *testing.T) {
	w := towns(t)
	at, authorities := w.ServeTLS(t, "dns.test")
	ask := func(name string, o dns.Options) error {
		o.Servers = []dns.Server{{Addr: at, TLSName: name}}
		s := dns.NewStub(o)
		for _, t2 := range []dns.Type{dns.TypeA, dns.TypeMX, dns.TypeTXT} {
			if a, err := s.Lookup(t.Context(), "good.test", t2); a == nil {
				return err
			}
		}
		return nil
	}
	count := new(dialled)
	if err := ask("dns.test", dns.Options{TLS: authorities, Dial: count.dial}); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(maps.Keys(count.networks)); !slices.Equal(got, []string{"tcp"}) || count.networks["tcp"] != 1 {
		t.Errorf("dialled %v, want one connection by TCP", count.networks)
	}
	if err := ask("other.test", dns.Options{TLS: authorities, Attempts: 1}); err == nil {
		t.Error("a server with another name was believed")
	}
	if err := ask("dns.test", dns.Options{Attempts: 1}); err == nil {
		t.Error("an unknown authority was believed")
	}
}

func TestParseServer(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "192.0.2.1:5353": "192.0.2.1:5353", "::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:54": "[::1]:54",
		"tls://9.9.9.9#dns.quad9.net": "tls://9.9.9.9:853#dns.quad9.net", "tls://[2620:fe::fe]:8853#dns.quad9.net.": "tls://[2620:fe::fe]:8853#dns.quad9.net",
	} {
		s, err := dns.ParseServer(text)
		if err != nil || s.String() != want {
			t.Errorf("%s is read as %v, %v, want %s", text, s, err, want)
		}
		if again, err := dns.ParseServer(want); err != nil || again != s {
			t.Errorf("%s is read as %v, %v, want %v", want, again, err, s)
		}
	}
	for _, text := range []string{"", "dns.test", "tls://9.9.9.9", "tls://9.9.9.9#", "tls://#a.b", "192.0.2.1:x", "tls://1.2.3.4#a b"} {
		if s, err := dns.ParseServer(text); err == nil {
			t.Errorf("%q is read as %v", text, s)
		}
	}
}

func BenchmarkAutoCached(b *testing.B) {
	a := auto(b, towns(b), nil)
	a.Probe(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		if a, err := a.Lookup(b.Context(), "good.test", dns.TypeA); err != nil || a.Security != dns.Secure {
			b.Fatal(err)
		}
	}
}
