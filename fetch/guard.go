package fetch

import "net/netip"

// Guard decides which addresses outside data may make this node connect to.
// The zero Guard refuses what is not of the public Internet.
type Guard struct {
	// Allow opens single addresses in spite of all else; nil opens none.
	Allow func(netip.Addr) bool
	// Own returns the addresses of this node; nil means none.
	Own func() []netip.Addr
}

// IsSelf is why Refuse refuses our own addresses.
const IsSelf = "our own"

// Refuse says why an address may not be connected to, empty when it may. What
// holds an IPv4 address is judged by that address. Nothing opens addresses that
// name no single host.
func (g Guard) Refuse(a netip.Addr) string {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.Unmap().IsMulticast():
		return "no host's address"
	case g.Allow != nil && g.Allow(a.Unmap()):
		return ""
	case g.isOwn(a):
		return IsSelf
	}
	return special(a)
}

// isOwn tells whether an address is one of this node.
func (g Guard) isOwn(a netip.Addr) bool {
	if g.Own == nil {
		return false
	}
	a = a.Unmap()
	for _, own := range g.Own() {
		if own.Unmap() == a {
			return true
		}
	}
	return false
}

// refuseFetch is Refuse for HTTP: an address that stands for another one has no
// business in the name of a web server (DN4).
func (g Guard) refuseFetch(a netip.Addr) string {
	why := g.Refuse(a)
	if why == "" && unwrap(a) != a && (g.Allow == nil || !g.Allow(a.Unmap())) {
		return "it stands for an IPv4 address"
	}
	return why
}

// Networks that no server of the Internet is in (RFC 6890 and the registries).
// The documentation networks are not here: nothing answers there, so they harm
// nobody.
var forbidden = [...]struct {
	net netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by carriers"}, // RFC 6598 §7
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},       // RFC 6890 §2.1
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},     // RFC 7526 §4
	{netip.MustParsePrefix("198.18.0.0/15"), "for measuring"}, // RFC 2544
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::/8"), "reserved"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "private"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo tunnel"}, // RFC 4380: the IPv4 address in it is the client's choice
}

// Where IPv6 addresses of the Internet are, and those that hold IPv4 addresses.
var (
	global     = netip.MustParsePrefix("2000::/3")
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1
	compatible = netip.MustParsePrefix("::/96")        // RFC 4291 §2.5.5.1
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056 §2
)

// unwrap returns the IPv4 address that an IPv6 address stands for: mapped (RFC
// 4291 §2.5.5.2), compatible, NAT64 or 6to4. Others come back as they are.
func unwrap(a netip.Addr) netip.Addr {
	a = a.WithZone("").Unmap()
	if a.Is4() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:]))
	case compatible.Contains(a) && b[12] != 0: // not :: and ::1
		return netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// special says why an address is none of the public Internet, empty when it is.
func special(a netip.Addr) string {
	if a.Zone() != "" {
		return "link-local"
	}
	a = unwrap(a)
	for _, f := range forbidden {
		if f.net.Contains(a) {
			return f.why
		}
	}
	if a.Is6() && !global.Contains(a) {
		return "reserved"
	}
	return ""
}
