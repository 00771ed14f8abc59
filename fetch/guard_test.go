package fetch

import (
	"net/netip"
	"testing"
)

func addrs(texts ...string) (list []netip.Addr) {
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

// DN4, SC7: what is not of the public Internet is refused, in all its disguises.
func TestGuard(t *testing.T) {
	own := addrs("198.51.100.1", "2001:db8::1")
	g := Guard{Own: func() []netip.Addr { return own }}
	for _, a := range addrs("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"100.64.0.1", "100.127.255.255", "169.254.169.254", "192.0.0.8", "192.88.99.1", "198.18.0.1", "198.19.255.255", "224.0.0.1",
		"239.1.2.3", "240.0.0.1", "255.255.255.255", "::", "::1", "::2", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1",
		"ff02::1", "2001:0:1:2::3", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
		"2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::", "4000::1", "100::1", "198.51.100.1", "::ffff:198.51.100.1", "2001:db8::1") {
		if g.Refuse(a) == "" {
			t.Errorf("%s may be connected to", a)
		}
		if g.refuseFetch(a) == "" {
			t.Errorf("%s may be fetched from", a)
		}
	}
	if g.Refuse(netip.Addr{}) == "" {
		t.Error("no address may be connected to")
	}
	for _, a := range addrs("192.0.2.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2a00::1", "2606:4700::1111") {
		if why := g.Refuse(a) + g.refuseFetch(a); why != "" {
			t.Errorf("%s: %s", a, why)
		}
	}
	// What stands for a public IPv4 address takes mail, behind NAT64, and serves no policies.
	for _, a := range addrs("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1") {
		if why := g.Refuse(a); why != "" {
			t.Errorf("%s: %s", a, why)
		}
		if g.refuseFetch(a) == "" {
			t.Errorf("%s may be fetched from", a)
		}
	}
}

// What the operator lists is open, our own addresses too; what names no single
// host never is.
func TestGuardAllow(t *testing.T) {
	open := netip.MustParsePrefix("127.0.0.0/8")
	g := Guard{Allow: open.Contains, Own: func() []netip.Addr { return addrs("127.0.0.1") }}
	for _, a := range addrs("127.0.0.1", "127.0.0.2", "::ffff:127.0.0.3") {
		if why := g.Refuse(a) + g.refuseFetch(a); why != "" {
			t.Errorf("%s: %s", a, why)
		}
	}
	if g.Refuse(netip.MustParseAddr("10.0.0.1")) == "" {
		t.Error("what is not listed is open")
	}
	g.Allow = func(netip.Addr) bool { return true }
	for _, a := range addrs("0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:224.0.0.1") {
		if g.Refuse(a) == "" {
			t.Errorf("%s is open", a)
		}
	}
}
