package dns

import (
	"context"
	"iter"
	"net/netip"

	"github.com/miekg/dns"
)

// servers goes through the addresses of the servers of a zone, the best first:
// those that its parent gave, and only then those that must be asked for, which
// may make work of others (CVE-2020-12662).
func (e *errand) servers(ctx context.Context, at *cut) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		var known []netip.Addr
		var unknown []string
		for _, host := range at.hosts {
			if len(at.glue[host]) > 0 {
				known = append(known, at.glue[host]...)
			} else if !dns.IsSubDomain(at.zone, host) { // else only its own servers would know
				unknown = append(unknown, host)
			}
		}
		each := func(addrs []netip.Addr) bool {
			for _, a := range e.byMerit(at.zone, addrs, e.avoid, e.now) {
				if !yield(a) {
					return false
				}
			}
			return true
		}
		if !each(known) {
			return
		}
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			for _, host := range unknown[:min(len(unknown), maxGlueless)] {
				if !each(e.addresses(ctx, host, t)) {
					return
				}
			}
		}
		if len(known) <= 2 { // a lost packet is no reason to give up
			each(known)
		}
	}
}

// addresses asks for those of a name server. Nobody has to prove them: what
// comes from there is proven.
func (e *errand) addresses(ctx context.Context, host string, t uint16) []netip.Addr {
	k := hostKey{host, t}
	if h, ok := e.hosts.GetIfPresent(k); ok && h.expires.After(e.now) {
		return h.addrs
	}
	if e.pending[k] || len(e.pending) >= maxDepth || e.queries >= maxQueries { // servers that are known only by each other
		return nil
	}
	e.pending[k] = true
	defer delete(e.pending, k)
	h := hostAddrs{expires: e.now.Add(leastKept)}
	m, err := e.resolve(ctx, host, t)
	if err != nil {
		if len(e.pending) == 1 && ctx.Err() == nil && e.queries < maxQueries { // else it may be the fault of the way here
			e.hosts.Set(k, h)
		}
		return nil
	}
	ttl := mostKept
	for _, rr := range m.Answer[:min(len(m.Answer), maxRecords)] {
		if dns.CanonicalName(rr.Header().Name) == host { // an alias does not count (RFC 2181 §10.3)
			h.addrs = e.address(h.addrs, rr)
			ttl = min(ttl, seconds(lifetime(rr)))
		}
	}
	if len(h.addrs) > 0 {
		h.expires = e.now.Add(max(ttl, leastKept))
	}
	e.hosts.Set(k, h)
	return h.addrs
}
