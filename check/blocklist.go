package check

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/postino-mail/postino/dns"
)

// Blocklists are the lists that are asked by default: those that many servers heed
// and that anybody may ask.
func Blocklists() []string {
	return []string{"zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com", "bl.mailspike.net"}
}

var errDeadList = errors.New("the list fails its self-test: it is dead, refuses us, or somebody changes its answers")

// blocklists asks whether our addresses are listed.
func (r *run) blocklists(ctx context.Context) (list []Finding) {
	addrs := r.allAddrs(ctx)
	if len(addrs) == 0 {
		return nil
	}
	lists := *r
	lists.inquiry = newInquiry(ctx, r.opts.Lists, r.opts.Limits)
	for _, zone := range r.opts.Blocklists {
		list = append(list, lists.blocklist(ctx, zone, addrs)...)
	}
	return list
}

// blocklist asks one list, after the self-test of RFC 5782 §5: without it a name
// server that turns NXDOMAIN into an address lists the whole world (DN2).
func (r *run) blocklist(ctx context.Context, zone string, addrs []netip.Addr) (list []Finding) {
	const name = "blocklist.listed"
	var clean []netip.Addr
	for _, v4 := range []bool{true, false} {
		tested, test := false, error(nil)
		for _, a := range addrs {
			if a.Is4() != v4 {
				continue
			}
			if !tested {
				test, tested = r.selfTest(ctx, zone, v4), true
			}
			subject := zone + " " + a.String()
			listed, codes, err := false, "", test
			if err == nil {
				listed, codes, err = r.listed(ctx, zone, a)
			}
			switch {
			case errors.Is(err, errNoIPv6):
			case err != nil:
				list = append(list, unsure(name, subject, "whether "+zone+" lists "+a.String(), err))
			case listed:
				list = append(list, finding(Fix, name, subject, "%s lists %s: others will refuse your mail; ask there why and how to leave", zone, a).detail("%s %s", codes, r.reason(ctx, zone, a)))
			default:
				clean = append(clean, a)
			}
		}
	}
	if len(clean) > 0 {
		list = append(list, finding(OK, name, zone, "%s does not list %s", zone, addresses(clean)))
	}
	return list
}

var errNoIPv6 = errors.New("the list has no IPv6 addresses")

// selfTest asks for the entries that every list has and must not have.
func (r *run) selfTest(ctx context.Context, zone string, v4 bool) error {
	in, out := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")
	if !v4 {
		in, out = netip.MustParseAddr("::ffff:7f00:2"), netip.MustParseAddr("::ffff:7f00:1")
	}
	is, _, err := r.listed(ctx, zone, in)
	if err != nil {
		return err
	}
	isNot, _, err := r.listed(ctx, zone, out)
	switch {
	case err != nil:
		return err
	case !is && !isNot && !v4:
		return errNoIPv6
	case !is || isNot:
		return errDeadList
	}
	return nil
}

// listName is the name that stands for an address in a list (RFC 5782 §2.1, §2.4).
// A mapped address keeps its 32 nibbles here: it is the test entry of IPv6 lists.
func listName(zone string, a netip.Addr) string {
	if a.Is4In6() {
		const hex = "0123456789abcdef"
		b := a.As16()
		var name strings.Builder
		for _, c := range slices.Backward(b[:]) {
			name.Write([]byte{hex[c&15], '.', hex[c>>4], '.'})
		}
		return name.String() + zone
	}
	name := dns.ReverseName(a)
	name = strings.TrimSuffix(strings.TrimSuffix(name, "in-addr.arpa"), "ip6.arpa")
	return name + zone
}

var (
	listCodes = netip.MustParsePrefix("127.0.0.0/8")
	// refusals are how some lists say that they do not answer the asker.
	refusals = netip.MustParsePrefix("127.255.255.0/24")
)

// listed asks for one address. Only answers inside 127.0.0.0/8 count (DN2).
func (r *run) listed(ctx context.Context, zone string, a netip.Addr) (bool, string, error) {
	ans, err := r.Lookup(ctx, listName(zone, a), dns.TypeA)
	if absent(err) {
		return false, "", nil
	}
	if err != nil {
		return false, "", err
	}
	for _, code := range ans.Addrs {
		if !listCodes.Contains(code) || refusals.Contains(code) {
			return false, "", errDeadList
		}
	}
	return len(ans.Addrs) > 0, addresses(ans.Addrs), nil
}

// reason is what the list says about an entry (RFC 5782 §2.1).
func (r *run) reason(ctx context.Context, zone string, a netip.Addr) string {
	ans, err := r.Lookup(ctx, listName(zone, a), dns.TypeTXT)
	if err != nil || len(ans.TXT) == 0 {
		return ""
	}
	return ans.TXT[0][:min(len(ans.TXT[0]), 300)]
}
