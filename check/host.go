package check

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/postino-mail/postino/dns"
)

// hostName checks that the name of this server leads to it.
func (r *run) hostName(ctx context.Context) []Finding {
	const name = "host.address"
	host := r.node.Host
	a, err := dns.LookupIP(ctx, r, host)
	switch {
	case absent(err):
		return []Finding{finding(Fix, name, "", "%s has no address in the DNS", host).publish(r.hostRecords(nil)...)}
	case err != nil:
		return []Finding{unsure(name, "", "where "+host+" leads", err)}
	}
	list := []Finding{finding(OK, name, "", "%s leads to %s", host, addresses(a.Addrs))}
	for _, ip := range a.Addrs {
		if why := special(ip); why != "" {
			list[0] = finding(Fix, name, "", "%s leads to %s, which is no address of the Internet (%s)", host, ip, why).publish(r.hostRecords(nil)...)
		}
	}
	if c, err := r.Lookup(ctx, host, dns.TypeCNAME); err == nil && len(c.Hosts) > 0 { // RFC 2181 §10.3: MX records name it
		list = append(list, finding(Fix, "host.alias", "", "%s is an alias of %s: MX records must not name it", host, c.Hosts[0]))
	}
	own := public(r.node.Addrs)
	for _, ip := range public(a.Addrs) {
		if sameKind(own, ip) && !slices.Contains(own, ip) {
			list = append(list, finding(Fix, "host.foreign", ip.String(), "%s leads to %s, which is no address of this machine", host, ip))
		}
	}
	for _, ip := range own {
		if !slices.Contains(a.Addrs, ip) {
			list = append(list, finding(Advice, "host.missing", ip.String(), "%s does not lead to %s, from which mail may leave", host, ip).publish(r.hostRecords(&ip)...))
		}
	}
	return list
}

// hostRecords are the addresses to publish: one, or all.
func (r *run) hostRecords(one *netip.Addr) (list []Record) {
	for _, a := range public(r.node.Addrs) {
		if one == nil || a == *one {
			list = append(list, Record{Name: r.node.Host, Type: addressType(a), TTL: ttl, Value: a.String()})
		}
	}
	return list
}

// sameKind tells whether there are addresses of the same kind. A machine may have
// one kind itself and the other behind NAT.
func sameKind(list []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
}

// reverse checks that addresses and name point at each other (RFC 1912 §2.1): many
// servers take no mail from those that do not.
func (r *run) reverse(ctx context.Context) (list []Finding) {
	for _, a := range r.allAddrs(ctx) {
		list = append(list, r.reverseOf(ctx, a))
	}
	return list
}

// allAddrs are the addresses of this machine and those that its name leads to.
func (r *run) allAddrs(ctx context.Context) []netip.Addr {
	list := public(r.node.Addrs)
	if a, err := dns.LookupIP(ctx, r, r.node.Host); err == nil {
		list = append(list, a.Addrs...)
	}
	return public(list)
}

func (r *run) reverseOf(ctx context.Context, a netip.Addr) Finding {
	const name = "host.ptr"
	at := a.String()
	want := Record{Name: dns.ReverseName(a), Type: "PTR", TTL: ttl, Value: r.node.Host + ".", Note: "by who gave you the address"}
	p, err := dns.LookupAddr(ctx, r, a)
	switch {
	case absent(err):
		return finding(Fix, name, at, "%s has no name (PTR): set it to %s where you got the address", a, r.node.Host).publish(want)
	case err != nil:
		return unsure(name, at, "the name of "+at+" (PTR)", err)
	}
	slices.Sort(p.Hosts)
	for _, host := range p.Hosts[:min(len(p.Hosts), 10)] {
		if host != r.node.Host && slices.Contains(p.Hosts, r.node.Host) {
			continue
		}
		back, err := dns.LookupIP(ctx, r, host)
		switch {
		case err != nil && !absent(err):
			return unsure(name, at, "whether "+host+" leads back to "+at, err)
		case err != nil || !slices.Contains(back.Addrs, a):
			continue
		case host != r.node.Host:
			return finding(Advice, name, at, "%s is called %s (PTR), not %s", a, host, r.node.Host).publish(want)
		}
		return finding(OK, name, at, "%s is called %s (PTR) and the name leads back", a, host)
	}
	return finding(Fix, name, at, "%s is called %s (PTR), which does not lead back to it", a, strings.Join(p.Hosts[:min(len(p.Hosts), 3)], ", ")).publish(want)
}

// clock checks that the time of the system is kept by others.
func (r *run) clock(context.Context) []Finding {
	synced, known := false, false
	if r.node.Clock != nil {
		synced, known = r.node.Clock()
	}
	switch {
	case !known:
		return []Finding{unsure("host.clock", "", "whether the clock is kept right", errors.New("the system does not say"))}
	case !synced:
		return []Finding{finding(Advice, "host.clock", "", "nothing keeps the clock right: signatures and certificates need the time; run an NTP client")}
	}
	return []Finding{finding(OK, "host.clock", "", "the clock is kept right")}
}

// resolver checks that answers are proven by DNSSEC, without which there is no DANE
// (RFC 7672 §2.1).
func (r *run) resolver(ctx context.Context) []Finding {
	const name = "host.resolver"
	a, err := r.Lookup(ctx, dns.ProbeSigned, dns.TypeA)
	if err != nil {
		return []Finding{unsure(name, "", "whether answers of the DNS are proven (DNSSEC)", err)}
	}
	_, err = r.Lookup(ctx, dns.ProbeBogus, dns.TypeA)
	switch {
	case a.Security != dns.Secure:
		return []Finding{finding(Advice, name, "", "answers of the DNS are not proven (DNSSEC): mail leaves without DANE").detail("%s is %s", dns.ProbeSigned, a.Security)}
	case err == nil || absent(err):
		return []Finding{finding(Fix, name, "", "the name servers call answers proven without proving them (DNSSEC)").detail("%s is believed", dns.ProbeBogus)}
	case !errors.Is(err, dns.ErrBogus) && !errors.Is(err, dns.ErrServer): // who validates elsewhere says SERVFAIL
		return []Finding{unsure(name, "", "whether forged answers of the DNS are refused", err)}
	}
	return []Finding{finding(OK, name, "", "answers of the DNS are proven (DNSSEC)")}
}
