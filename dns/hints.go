package dns

import "net/netip"

// rootHints are the addresses of the root servers, A to M, as published at
// https://www.internic.net/domain/named.root; the first question asks one of
// them who they are today (RFC 9609 §3).
func rootHints() (all []netip.Addr) {
	for _, s := range []string{
		"198.41.0.4", "2001:503:ba3e::2:30", "170.247.170.2", "2801:1b8:10::b", "192.33.4.12", "2001:500:2::c",
		"199.7.91.13", "2001:500:2d::d", "192.203.230.10", "2001:500:a8::e", "192.5.5.241", "2001:500:2f::f",
		"192.112.36.4", "2001:500:12::d0d", "198.97.190.53", "2001:500:1::53", "192.36.148.17", "2001:7fe::53",
		"192.58.128.30", "2001:503:c27::2:30", "193.0.14.129", "2001:7fd::1", "199.7.83.42", "2001:500:9f::42",
		"202.12.27.33", "2001:dc3::35",
	} {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// notPublic are networks where no name server of the Internet is (RFC 6890 and
// what it was updated by), besides those that netip knows.
func notPublic() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2002::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}
