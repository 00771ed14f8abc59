package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/postino-mail/postino/check"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
)

// startChecked runs a node with a domain; relay says who may relay.
func startChecked(t *testing.T, relay func(netip.Addr) bool) *Node {
	t.Helper()
	names := dns.NewFake()
	if err := names.AddZone("example.org", "@ MX 10 mx\nmx A 203.0.113.7\n", dns.Insecure); err != nil {
		t.Fatal(err)
	}
	opts, err := Dev(DevOptions{PortBase: -1, Password: "dev"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	opts.Hostname, opts.Relay, opts.Stores.AnyUser = "mx.example.org", relay, nil
	opts.Stores.Outward = Outward{DNS: names, Addresses: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("203.0.113.7")} }}
	n, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := n.Directory.AddDomain(t.Context(), directory.Domain{Name: "example.org"}); err != nil {
		t.Fatal(err)
	}
	return n
}

// SS18: our own server stands the test that an open one fails, and it is not
// tried where the configuration lets the tester relay.
func TestCheckOfRunningServer(t *testing.T) {
	for _, c := range []struct {
		relay func(netip.Addr) bool
		want  check.Status
	}{{nil, check.OK}, {func(netip.Addr) bool { return true }, check.Unknown}} {
		n := startChecked(t, c.relay)
		told := 0
		ctx := WithProgress(t.Context(), func(json.RawMessage) { told++ })
		var reports []CheckReport
		if err := n.Call(ctx, "check", CheckQuery{}, &reports); err != nil {
			t.Fatal(err)
		}
		found := map[string]check.Finding{}
		all := 0
		for _, r := range reports {
			all += len(r.Findings)
			for _, f := range r.Findings {
				found[f.Name] = f
			}
		}
		if len(reports) != 2 || reports[0].Domain != "" || reports[1].Domain != "example.org" || told != all {
			t.Fatalf("%d findings of %d were told: %+v", told, all, reports)
		}
		for name, want := range map[string]check.Status{
			"relay.closed": c.want, "host.address": check.OK, "mx.here": check.OK, "host.ptr": check.Fix, "tls.certificate": check.Fix,
		} {
			if f := found[name]; f.Status != want {
				t.Errorf("%s: %s %s %s, want %s", name, f.Status, f.Text, f.Detail, want)
			}
		}
	}
}

// Without a server the store and the DNS still tell; foreign domains show what
// everybody can see.
func TestCheckZone(t *testing.T) {
	n := startChecked(t, nil)
	var zones []CheckZone
	if err := n.Call(t.Context(), "check.zone", CheckQuery{}, &zones); err != nil || len(zones) != 1 {
		t.Fatal(zones, err)
	}
	fake := dns.NewFake()
	if err := fake.AddZone("example.org", string(zones[0].Text()), dns.Insecure); err != nil {
		t.Fatal(err)
	}
	a, err := fake.Lookup(t.Context(), "example.org", dns.TypeMX)
	if err != nil || a.MX[0].Host != "mx.example.org" {
		t.Errorf("%+v %v in %s", a, err, zones[0].Text())
	}
	var reports []CheckReport
	if err := n.Call(t.Context(), "check", CheckQuery{Domains: []string{"Other.Example"}}, &reports); err != nil || len(reports) != 1 || reports[0].Domain != "other.example" {
		t.Error(reports, err)
	}
	if err := n.Call(t.Context(), "check", CheckQuery{Domains: []string{"no domain"}}, &reports); err == nil {
		t.Error("no domain was checked")
	}
}
