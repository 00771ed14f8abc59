package directory

import (
	"net/netip"
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

func TestTrust(t *testing.T) { // MA6
	d, _ := open(t, Options{})
	ctx := t.Context()
	now := time.Unix(1_700_000_000, 0).UTC()
	for _, in := range []Trust{
		{TrustForwarder, "192.0.2.7", now}, {TrustForwarder, "2001:DB8:1::/48", now}, {TrustForwarder, "Forward.example.", now},
		{TrustList, "lists.bücher.example", now}, {TrustSealer, "seal.example", now},
	} {
		ok(t, d.AddTrust(ctx, in))
		want(t, d.AddTrust(ctx, in), postino.Conflict, "")
	}
	for _, in := range []Trust{
		{Kind: 0, Name: "a.example"}, {Kind: 9, Name: "a.example"}, {Kind: TrustForwarder, Name: "0.0.0.0/0"}, {Kind: TrustForwarder, Name: "::/0"},
		{Kind: TrustForwarder, Name: "192.0.2.0/99"}, {Kind: TrustList, Name: "192.0.2.1"}, {Kind: TrustSealer, Name: "192.0.2.0/24"},
		{Kind: TrustList, Name: ""}, {Kind: TrustList, Name: "com"}, {Kind: TrustSealer, Name: "a..b"}, {Kind: TrustList, Name: "[192.0.2.1]"},
	} {
		want(t, d.AddTrust(ctx, in), postino.Invalid, "")
	}
	list, err := d.Trusts(ctx)
	ok(t, err)
	var names []string
	for _, one := range list {
		names = append(names, one.Kind.String()+" "+one.Name)
		if !one.Added.Equal(now) {
			t.Errorf("%s was added %v", one.Name, one.Added)
		}
	}
	equalStrings(t, names, "forwarder 192.0.2.7/32", "forwarder 2001:db8:1::/48", "forwarder forward.example", "list lists.xn--bcher-kva.example", "sealer seal.example")

	table, err := d.Trusted(ctx)
	ok(t, err)
	for _, tc := range []struct{ addr, name, want string }{
		{"192.0.2.7", "", "192.0.2.7/32"}, {"::ffff:192.0.2.7", "", "192.0.2.7/32"}, {"192.0.2.8", "", ""}, {"2001:db8:1:2::3", "", "2001:db8:1::/48"},
		{"198.51.100.1", "mx.forward.example", "forward.example"}, {"198.51.100.1", "forward.example", "forward.example"},
		{"198.51.100.1", "notforward.example", ""}, {"198.51.100.1", "forward.example.evil.example", ""}, {"198.51.100.1", "example", ""},
	} {
		if got := table.Forwarder(netip.MustParseAddr(tc.addr), tc.name); got != tc.want {
			t.Errorf("%s %s is the forwarder %q", tc.addr, tc.name, got)
		}
	}
	if got := table.List("go.lists.xn--bcher-kva.example"); got != "lists.xn--bcher-kva.example" || table.List("seal.example") != "" {
		t.Errorf("list %q", got)
	}
	if table.Sealer("seal.example") == "" || table.Sealer("forward.example") != "" || table.Sealer("") != "" {
		t.Error("the sealer is not known, or another is")
	}
	var none *TrustTable
	if none.Forwarder(netip.MustParseAddr("192.0.2.7"), "forward.example") != "" || none.List("a.example") != "" || !none.Empty(TrustSealer) {
		t.Error("no table trusts somebody")
	}

	ok(t, d.RemoveTrust(ctx, Trust{Kind: TrustForwarder, Name: "192.0.2.7"})) // at once
	want(t, d.RemoveTrust(ctx, Trust{Kind: TrustForwarder, Name: "192.0.2.7"}), postino.NotFound, "")
	if table, err = d.Trusted(ctx); err != nil || table.Forwarder(netip.MustParseAddr("192.0.2.7"), "") != "" || table.Empty(TrustForwarder) || !table.Empty(0) {
		t.Errorf("after the removal: %v, %v", table, err)
	}
}

func equalStrings(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}
