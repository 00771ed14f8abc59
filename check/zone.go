package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/tlspolicy"
)

// Live is what the DNS has already and the records of [Zone] are merged with. The
// zero value is a domain without any.
type Live struct {
	// SPF, DMARC and TLSReports are the texts of the records.
	SPF, DMARC, TLSReports []string
	// Permitted tells that the SPF record permits what this server sends.
	Permitted bool
	// MX are the exchangers.
	MX []dns.MX
	// Addrs are where mail of this server leaves; none means those of the node.
	Addrs []netip.Addr
}

// Zone lists the records that a domain of this server should have: the one list
// that findings, zone files and first steps take theirs from. What the domain has
// of its own stays in them.
func Zone(n *Node, d *Domain, live *Live) []Record {
	z := zone{node: n, domain: d}
	addrs := live.Addrs
	if addrs == nil {
		addrs = public(n.Addrs)
	}
	for _, a := range addrs {
		z.add(n.Host, addressType(a), a.String())
	}
	if n.Host != d.Name {
		z.text(n.Host, hostSPF, nil)
	}
	z.exchangers(live.MX)
	z.text(d.Name, mergeSPF(live.SPF, live.Permitted), live.SPF)
	for _, k := range d.Keys {
		z.text(k.Selector+"._domainkey."+d.Name, k.Record, nil)
	}
	z.text("_dmarc."+d.Name, keep(live.DMARC, dmarcRecord(d)), live.DMARC)
	z.tls(live)
	z.clients()
	for _, issuer := range n.Issuers {
		z.add(n.Host, "CAA", fmt.Sprintf("0 issue %q", issuer))
	}
	for _, a := range addrs {
		z.add(dns.ReverseName(a), "PTR", n.Host+".")
		z.list[len(z.list)-1].Note = "by who gave you the address"
	}
	return z.list
}

// hostSPF is the record of our name: for HELO, and for what is forwarded (RFC 7208
// §2.3).
const hostSPF = "v=spf1 a -all"

// zone collects records.
type zone struct {
	node   *Node
	domain *Domain
	list   []Record
}

func (z *zone) add(name, kind, value string) {
	z.list = append(z.list, Record{Name: name, Type: kind, TTL: ttl, Value: value})
}

func (z *zone) ranked(name, kind string, priority uint16, value string) {
	z.add(name, kind, value)
	z.list[len(z.list)-1].Priority = &priority
}

// text adds a text in place of others.
func (z *zone) text(name, value string, old []string) {
	if value == "" {
		return
	}
	z.add(name, "TXT", value)
	if len(old) > 0 && (len(old) > 1 || old[0] != value) {
		z.list[len(z.list)-1].Replaces = strings.Join(old, "  +  ")
	}
}

// exchangers keeps those that are there if we are among them; else mail has gone
// elsewhere until now.
func (z *zone) exchangers(old []dns.MX) {
	if !slices.ContainsFunc(old, func(m dns.MX) bool { return m.Host == z.node.Host }) {
		z.ranked(z.domain.Name, "MX", 10, z.node.Host+".")
		return
	}
	seen := map[string]bool{"": true} // a null MX has no place beside others (RFC 7505 §3)
	for _, m := range old {
		if !seen[m.Host] {
			seen[m.Host] = true
			z.ranked(z.domain.Name, "MX", m.Preference, m.Host+".")
		}
	}
}

// tls adds what protects mail on its way here (RFC 8461, 8460, 6698).
func (z *zone) tls(live *Live) {
	d := z.domain
	if d.STS != nil {
		z.text("_mta-sts."+d.Name, d.STS.Record, nil)
		z.add("mta-sts."+d.Name, "CNAME", z.node.Host+".")
	}
	if d.TLSReports != "" || len(live.TLSReports) > 0 {
		z.text("_smtp._tls."+d.Name, keep(live.TLSReports, "v=TLSRPTv1; rua=mailto:"+d.TLSReports), live.TLSReports)
	}
	for _, t := range z.node.TLSA {
		z.add("_25._tcp."+z.node.Host, "TLSA", tlspolicy.FormatTLSA(t))
	}
}

// client is a service that clients look for by SRV records (RFC 6186, RFC 8314
// §5.1). A higher priority is the second choice (RFC 6186 §3.4).
type client struct {
	service, label string
	priority       uint16
}

func clients() []client {
	return []client{
		{"submissions", "_submissions._tcp", 0}, {"submission", "_submission._tcp", 10},
		{"imaps", "_imaps._tcp", 0}, {"imap", "_imap._tcp", 10}, {"pop3s", "_pop3s._tcp", 20}, {"pop3", "_pop3._tcp", 30},
	}
}

// port is where the node offers a service to clients, 0 for nowhere.
func (n *Node) port(service string) uint16 {
	for _, s := range n.Services {
		if s.Name == service && s.TLS && !s.Addr.Addr().IsLoopback() {
			return s.Addr.Port()
		}
	}
	return 0
}

func (z *zone) clients() {
	for _, c := range clients() {
		if port := z.node.port(c.service); port != 0 {
			z.ranked(c.label+"."+z.domain.Name, "SRV", c.priority, fmt.Sprintf("1 %d %s.", port, z.node.Host))
		}
	}
}

// keep prefers the record that is there; of several, which nobody heeds, the first.
func keep(old []string, def string) string {
	if len(old) > 0 {
		return old[0]
	}
	return def
}

func dmarcRecord(d *Domain) string {
	s := "v=DMARC1; p=none" // first watch: reports show who sends in the domain's name
	if d.DMARCReports != "" {
		s += "; rua=mailto:" + d.DMARCReports
	}
	return s
}

// mergeSPF makes one record of those that are there, which permits this server
// too. What they permit stays, but not everybody.
func mergeSPF(old []string, permitted bool) string {
	if len(old) == 0 {
		return "v=spf1 mx -all"
	}
	var terms []string
	all, redirect := "", ""
	for _, text := range old {
		for _, term := range strings.Fields(text)[1:] {
			lower := strings.ToLower(term)
			switch {
			case slices.Contains(terms, term):
			case strings.TrimLeft(lower, "+-~?") == "all":
				all = weaker(all, lower)
				permitted = permitted && lower != "all" && lower != "+all" // not by that alone
			case everybody(lower):
				permitted = false
			case strings.HasPrefix(lower, "redirect="):
				redirect = term
			default:
				terms = append(terms, term)
			}
		}
	}
	if !permitted && !slices.Contains(terms, "mx") {
		terms = append([]string{"mx"}, terms...) // what is most often asked first
	}
	switch {
	case all != "":
		terms = append(terms, all)
	case redirect != "":
		terms = append(terms, redirect)
	default:
		terms = append(terms, "~all")
	}
	return strings.Join(append([]string{"v=spf1"}, terms...), " ")
}

// everybody tells whether a term permits every address.
func everybody(term string) bool {
	term = strings.TrimPrefix(term, "+")
	return strings.HasSuffix(term, "/0") && (strings.HasPrefix(term, "ip4:") || strings.HasPrefix(term, "ip6:"))
}

// weaker is the "all" that refuses less, but never everybody's welcome.
func weaker(a, b string) string {
	const order = "-~?"
	if b == "all" || b == "+all" {
		b = "~all"
	}
	if a == "" || strings.IndexByte(order, b[0]) > strings.IndexByte(order, a[0]) {
		return b
	}
	return a
}

// addressType is the type of record of an address.
func addressType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// public are the addresses of the Internet, in order.
func public(list []netip.Addr) []netip.Addr {
	out := []netip.Addr{}
	for _, a := range list {
		if a = a.Unmap(); special(a) == "" {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// askLive asks for what Zone merges with.
func (r *run) askLive(ctx context.Context) (*Live, error) {
	l := new(Live)
	for _, q := range []struct {
		to            *[]string
		name, version string
	}{
		{&l.SPF, r.dom.Name, "v=spf1"}, {&l.DMARC, "_dmarc." + r.dom.Name, "v=DMARC1"}, {&l.TLSReports, "_smtp._tls." + r.dom.Name, "v=TLSRPTv1"},
	} {
		var err error
		if *q.to, err = r.texts(ctx, q.name, q.version); err != nil {
			return nil, err
		}
	}
	a, err := r.Lookup(ctx, r.dom.Name, dns.TypeMX)
	if err != nil && !absent(err) {
		return nil, err
	}
	if err == nil {
		l.MX = a.MX
	}
	l.Addrs, _ = r.ownAddrs()
	err = nil
	if len(l.SPF) == 1 && r.ours {
		l.Permitted, err = r.permitted(ctx, l.Addrs)
	}
	return l, err
}

// askAddrs finds the addresses from which this server sends. Behind NAT the
// system does not know them; then those of the host name stand for them, and that
// is not sure.
func (r *run) askAddrs(ctx context.Context) ([]netip.Addr, bool) {
	own := public(r.node.Addrs)
	if len(own) > 0 {
		return own, true
	}
	a, err := dns.LookupIP(ctx, r, r.node.Host)
	if err != nil {
		return nil, false
	}
	return public(a.Addrs), false
}

// wanted are the records of a name that should be there; none of foreign domains,
// and none while it is not known what there is to merge with.
func (r *run) wanted(name string, kinds ...string) (list []Record) {
	if !r.ours {
		return nil
	}
	live, err := r.live()
	if err != nil {
		return nil
	}
	for _, rec := range Zone(&r.node, &r.dom, live) {
		if rec.Name == name && slices.Contains(kinds, rec.Type) {
			list = append(list, rec)
		}
	}
	return list
}
