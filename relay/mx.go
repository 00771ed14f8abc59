package relay

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
)

// Bounds of one attempt (SC7).
const (
	maxHosts = 10
	maxAddrs = 20
)

// Host is a server that may take mail for a domain.
type Host struct {
	// Name is the host name in lower-case A-labels, an address literal in
	// brackets, or the path of a Unix socket.
	Name string
	// Preference is that of the MX record; 0 where there is none.
	Preference uint16
	// Port is that of TCP.
	Port uint16
	// Secure tells that DNSSEC proves that the domain is served by this host, or
	// that a route of our own names it.
	Secure bool
}

// target is a host with what was found out about its addresses.
type target struct {
	Host
	domain   string       // whose policy counts; empty: none does
	alias    string       // where the aliases of the domain lead
	name     string       // where the aliases of the host lead
	security dns.Security // of its addresses
	addrs    []netip.Addr // those that may be tried
	skipped  []string     // those that may not, with the reason
	self     bool         // its name or one of its addresses is ours
	socket   string       // path of a Unix socket, in the place of addresses
	err      error        // why it has no addresses, or nil
}

// resolve finds the hosts of a domain, best first, as RFC 5321 §5.1 says. With a
// trouble there is none to be tried. private is what a route allows of addresses.
func (r *Relay) resolve(ctx context.Context, domain string, private bool) ([]target, *trouble) {
	if addr, ok := literal(domain); ok {
		t := target{Host: Host{Name: domain, Port: portSMTP, Secure: true}}
		r.sift(&t, []netip.Addr{addr}, private)
		return r.usable(domain, beforeSelf([]target{t}), false)
	}
	a, err := r.opts.DNS.Lookup(ctx, domain, dns.TypeMX)
	switch {
	case err == nil:
	case errors.Is(err, dns.ErrNXDomain):
		return nil, ours(550, "5.1.2", "the domain %s does not exist", domain)
	case postino.Is(err, postino.NotFound): // the implicit MX
		a = &dns.Answer{Name: a.Name, MX: []dns.MX{{Host: domain}}, Security: a.Security}
	case postino.Is(err, postino.Invalid):
		return nil, ours(550, "5.1.2", "%s is no domain name", domain)
	default: // never an A record instead, never a bounce (SC7, DN2)
		return nil, unanswered(domain, err)
	}
	implicit := err != nil
	records := r.order(a.MX)
	if len(records) == 0 { // RFC 7505 §3
		return nil, ours(556, "5.1.10", "the domain %s accepts no mail (null MX)", domain)
	}
	targets := make([]target, len(records))
	for i, m := range records {
		targets[i] = target{
			Host:   Host{Name: m.Host, Preference: m.Preference, Port: portSMTP, Secure: a.Security == dns.Secure},
			domain: domain, alias: a.Name, self: r.ownName(m.Host),
		}
	}
	targets = beforeSelf(targets)
	targets = targets[:min(len(targets), maxHosts)]
	r.locate(ctx, targets, private)
	return r.usable(domain, beforeSelf(targets), implicit)
}

// order sorts MX records: by preference, in random order where it is equal
// (RFC 5321 §5.1). The answer of the resolver is shared and stays as it is.
func (r *Relay) order(records []dns.MX) []dns.MX {
	records = slices.DeleteFunc(slices.Clone(records), func(m dns.MX) bool { return m.Host == "" })
	r.opts.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b dns.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return records
}

// beforeSelf keeps the hosts that are preferred to the best one which is us, of
// hosts in order (RFC 5321 §5.1).
func beforeSelf(targets []target) []target {
	self := slices.IndexFunc(targets, func(t target) bool { return t.self })
	if self < 0 {
		return targets
	}
	limit := targets[self].Preference
	end := slices.IndexFunc(targets, func(t target) bool { return t.Preference >= limit })
	return targets[:end]
}

// usable keeps the hosts that can be tried. When none is left it says for how
// long that holds: RFC 5321 §5.1 wants it reported as an error, unless a name
// server may know better later.
func (r *Relay) usable(domain string, targets []target, implicit bool) ([]target, *trouble) {
	if len(targets) == 0 {
		return nil, ours(554, "5.4.6", "mail for %s loops back to myself", domain)
	}
	var later error
	var skipped []string
	for _, t := range targets {
		if t.err != nil && !postino.Is(t.err, postino.NotFound) && !postino.Is(t.err, postino.Invalid) {
			later = t.err
		}
		skipped = append(skipped, t.skipped...)
	}
	targets = slices.DeleteFunc(targets, func(t target) bool { return len(t.addrs) == 0 })
	switch {
	case len(targets) > 0:
		return targets, nil
	case later != nil:
		return nil, unanswered(domain, later)
	case len(skipped) > 0:
		return nil, ours(550, "5.4.4", "the servers of %s are at addresses that no mail is sent to: %s", domain, strings.Join(skipped, ", "))
	case implicit:
		return nil, ours(550, "5.1.2", "the domain %s has neither mail servers nor an address", domain)
	}
	return nil, ours(550, "5.4.4", "none of the mail servers of %s has an address", domain)
}

// unanswered is the trouble of a question that got no definite answer (DN2).
func unanswered(domain string, err error) *trouble {
	return ours(451, "4.4.3", "the servers of %s cannot be looked up: %v", domain, err)
}

// locate finds the addresses of hosts, all at once.
func (r *Relay) locate(ctx context.Context, targets []target, private bool) {
	var wg sync.WaitGroup
	for i := range targets {
		t := &targets[i]
		if t.self {
			continue
		}
		wg.Go(func() {
			a, err := dns.LookupIP(ctx, r.opts.DNS, t.Name)
			if err != nil {
				t.err = err
				return
			}
			t.name, t.security = a.Name, a.Security
			r.sift(t, a.Addrs, private)
		})
	}
	wg.Wait()
}

// sift takes the addresses that may be tried.
func (r *Relay) sift(t *target, addrs []netip.Addr, private bool) {
	for _, a := range addrs {
		switch why := r.guard(a, private); why {
		case "":
			t.addrs = append(t.addrs, a.Unmap())
		case fetch.IsSelf:
			t.self = true
			fallthrough
		default:
			t.skipped = append(t.skipped, a.String()+" ("+why+")")
		}
	}
}

// guard says why an address may not be connected to, empty when it may (SC7).
// private is what an explicit route says.
func (r *Relay) guard(a netip.Addr, private bool) string {
	g := fetch.Guard{Allow: r.opts.AllowPrivate, Own: r.opts.OwnAddrs}
	if private {
		g.Allow = func(netip.Addr) bool { return true }
	}
	return g.Refuse(a)
}

// literal reads an address literal as postino.Address has it (RFC 5321 §4.1.3).
func literal(domain string) (netip.Addr, bool) {
	in, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	in, ok = strings.CutSuffix(in, "]")
	a, err := netip.ParseAddr(strings.TrimPrefix(in, "IPv6:"))
	return a, ok && err == nil
}

// ownName tells whether a host name is one of this node.
func (r *Relay) ownName(name string) bool {
	same := func(own string) bool { return strings.EqualFold(name, strings.TrimSuffix(own, ".")) }
	return same(r.opts.Hostname) || slices.ContainsFunc(r.opts.OwnNames, same)
}

// portSMTP is that of mail exchangers.
const portSMTP = 25
