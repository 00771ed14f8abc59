package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Bounds of what one Lookup may make a recursor do (CVE-2020-12662 and
// CVE-2020-8616 are what happens without).
const (
	maxQueries   = 100              // questions to servers
	maxDepth     = 16               // servers whose address is asked for to ask for an address
	maxNS        = 16               // servers of a zone that are used
	maxGlueless  = 4                // of them, those whose addresses are asked for
	maxPerHost   = 4                // addresses of a server
	maxTries     = 8                // servers asked for one reply
	maxErrand    = 20 * time.Second // for one question of the validator
	firstWait    = 800 * time.Millisecond
	leastWait    = 300 * time.Millisecond
	maxMinimised = 10 // questions about parts of the name (RFC 9156 §2.3)
	singleLabels = 4  // of them, with one label more than the last
)

// recursor asks the name servers of the zones themselves, from the root down
// (RFC 1034 §5.3.3). Nobody learns more of a name than he needs (RFC 9156). It
// judges nothing: that is for the Validator, whose source it is.
type recursor struct {
	*client
	infra
	timeout   time.Duration
	hints     []netip.Addr
	notPublic []netip.Prefix
	private   func(netip.Addr) bool
}

func newRecursor(o ValidatorOptions) *recursor {
	r := &recursor{client: o.client(), infra: newInfra(), timeout: o.Timeout, hints: o.Hints, notPublic: notPublic(), private: o.AllowPrivate}
	if r.hints == nil {
		r.hints = rootHints()
	}
	return r
}

func (r *recursor) String() string { return "recursive" }

// fetch implements source.
func (r *recursor) fetch(ctx context.Context, w *work, name string, t Type) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, maxErrand)
	defer cancel()
	e := &errand{recursor: r, work: w, pending: map[hostKey]bool{}}
	return e.resolve(ctx, name+".", uint16(t))
}

// errand is the work for one question.
type errand struct {
	*recursor
	*work
	pending map[hostKey]bool // addresses that are being asked for
}

// resolve goes from zone to zone until one answers the question.
func (e *errand) resolve(ctx context.Context, name string, t uint16) (*dns.Msg, error) {
	at, down, err := e.begin(ctx, name, t)
	if err != nil {
		return nil, err
	}
	known, asked := dns.CountLabel(down), 0 // the labels down to which there is no other zone
	for {
		known, asked = known+stride(dns.CountLabel(name)-known, asked), asked+1
		question, kind := name, t
		if known < dns.CountLabel(name) {
			question, kind = ancestor(name, known), dns.TypeA // RFC 9156 §2.1
		}
		final := question == name
		m, err := e.ask(ctx, at, question, kind, final)
		if err != nil && !final && ctx.Err() == nil && e.queries < maxQueries {
			known = dns.CountLabel(name) // some servers answer about names with records only
			continue
		}
		if err != nil {
			e.cuts.Invalidate(at.zone) // its parent may know better
			return nil, err
		}
		next := e.referral(m, at, question)
		switch {
		case next != nil && (t != dns.TypeDS || next.zone != name):
			e.cuts.Set(next.zone, next)
			at, known = next, dns.CountLabel(next.zone)
		case final:
			return within(m, at.zone), nil
		case m.Rcode != dns.RcodeSuccess: // by RFC 8020 that is all, but some servers do not know it
			known = dns.CountLabel(name)
		default:
			e.inside(question, at, e.now)
		}
	}
}

// stride is how many labels more the next question has: one, and of long names
// in the end several.
func stride(left, asked int) int {
	switch {
	case asked < singleLabels:
		return 1
	case asked >= maxMinimised:
		return left
	}
	return max(1, left/(maxMinimised-asked))
}

// begin finds where to begin: at the deepest zone that is known. What a zone's
// parent says of it, others must be asked for.
func (e *errand) begin(ctx context.Context, name string, t uint16) (at *cut, down string, err error) {
	if t == dns.TypeDS && name != "." {
		name = above(name)
	}
	if at, down = e.closest(name, e.now); at != nil {
		return at, down, nil
	}
	hint := &cut{zone: ".", hosts: []string{"."}, glue: map[string][]netip.Addr{".": e.hints}, expires: e.now.Add(maxInside)}
	m, err := e.ask(ctx, hint, ".", dns.TypeNS, true) // RFC 9609 §3
	if err != nil {
		return nil, "", err
	}
	root := e.delegation(m.Answer, m.Extra, ".", ".", e.now)
	if root == nil || len(root.glue) == 0 {
		root = hint
	}
	e.cuts.Set(".", root)
	return root, ".", nil
}

// referral is the zone that a reply leads to, or nil if it answers.
func (e *errand) referral(m *dns.Msg, at *cut, name string) *cut {
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 {
		return nil
	}
	zone := ""
	for _, rr := range m.Ns[:min(len(m.Ns), maxRecords)] {
		owner := dns.CanonicalName(rr.Header().Name)
		switch rr.(type) {
		case *dns.SOA:
			return nil
		case *dns.NS:
			if owner != at.zone && dns.IsSubDomain(at.zone, owner) && dns.IsSubDomain(owner, name) {
				zone = owner
			}
		}
	}
	if zone == "" {
		return nil
	}
	return e.delegation(m.Ns, m.Extra, zone, at.zone, e.now)
}

// delegation reads who serves a zone, from records of the zone bailiwick: that
// knows no addresses of names outside of it (RFC 5452 §6).
func (r *recursor) delegation(records, extra []dns.RR, zone, bailiwick string, now time.Time) *cut {
	c := &cut{zone: zone, glue: map[string][]netip.Addr{}}
	ttl := mostKept
	for _, rr := range records[:min(len(records), maxRecords)] {
		ns, ok := rr.(*dns.NS)
		if !ok || dns.CanonicalName(rr.Header().Name) != zone {
			continue
		}
		ttl = min(ttl, seconds(lifetime(rr)))
		if host := dns.CanonicalName(ns.Ns); len(c.hosts) < maxNS && !slices.Contains(c.hosts, host) {
			c.hosts = append(c.hosts, host)
		}
	}
	if len(c.hosts) == 0 {
		return nil
	}
	for _, rr := range extra[:min(len(extra), maxRecords)] {
		host := dns.CanonicalName(rr.Header().Name)
		if slices.Contains(c.hosts, host) && dns.IsSubDomain(bailiwick, host) {
			c.glue[host] = r.address(c.glue[host], rr)
		}
	}
	c.expires = now.Add(max(ttl, leastKept))
	return c
}

// address adds that of an A or AAAA record, if it may be asked.
func (r *recursor) address(list []netip.Addr, rr dns.RR) []netip.Addr {
	var a Answer
	switch rr.(type) {
	case *dns.A, *dns.AAAA:
		a.add(rr)
	}
	for _, addr := range a.Addrs {
		if addr = addr.Unmap(); len(list) < maxPerHost && r.public(addr) {
			list = append(list, addr)
		}
	}
	return list
}

// public tells whether a name server may be at the address: nobody's records
// make us ask what is in our own network (DN4).
func (r *recursor) public(a netip.Addr) bool {
	if r.private != nil && r.private(a) {
		return true
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(r.notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

// within leaves out what is not in the zone that was asked: it would be hearsay.
func within(m *dns.Msg, zone string) *dns.Msg {
	for _, section := range []*[]dns.RR{&m.Answer, &m.Ns} {
		*section = slices.DeleteFunc(*section, func(rr dns.RR) bool { return !dns.IsSubDomain(zone, dns.CanonicalName(rr.Header().Name)) })
	}
	m.Extra = nil
	return m
}

// ask goes through the servers of a zone until one gives an answer that it may
// give. Those that do not serve the zone are remembered, if the question is the
// one to be answered.
func (e *errand) ask(ctx context.Context, at *cut, name string, t uint16, final bool) (*dns.Msg, error) {
	why, tries := errors.New("none has an address"), 0
	var second *dns.Msg // from a server that knows no EDNS, and so has no proofs
	for a := range e.servers(ctx, at) {
		if tries++; tries > maxTries || ctx.Err() != nil {
			break
		}
		if e.queries++; e.queries > maxQueries {
			return nil, fmt.Errorf("%w: more than %d questions needed", ErrServer, maxQueries)
		}
		m, err := e.try(ctx, a, name, t)
		e.used = append(e.used, a)
		if err == nil {
			if err = lame(m, at, name); err == nil {
				if m.IsEdns0() != nil {
					return m, nil
				}
				second = m
				continue
			}
			switch {
			case !final:
			case m.Rcode == dns.RcodeServerFailure: // that may pass
				e.failed(a, e.now)
			default:
				e.infra.lame.Set(lameKey{a, at.zone}, e.now.Add(keepLame))
			}
		}
		why = fmt.Errorf("%v: %w", a, err)
	}
	if second != nil {
		return second, nil
	}
	return nil, fmt.Errorf("%w: no server of the zone %s answers about %s: %w", ErrServer, at.zone, name, why)
}

// lame tells why a reply is none that a server of the zone would give.
func lame(m *dns.Msg, at *cut, name string) error {
	switch {
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return errors.New("it answers " + dns.RcodeToString[m.Rcode])
	case m.Authoritative, len(m.Answer) > 0 && !m.RecursionAvailable: // some forget to say so
		return nil
	}
	for _, rr := range m.Ns { // a referral leads downwards
		owner := dns.CanonicalName(rr.Header().Name)
		if _, ok := rr.(*dns.NS); ok && owner != at.zone && dns.IsSubDomain(at.zone, owner) && dns.IsSubDomain(owner, name) {
			return nil
		}
	}
	return errors.New("it does not serve the zone")
}

// try asks one server.
func (e *errand) try(ctx context.Context, a netip.Addr, name string, t uint16) (*dns.Msg, error) {
	s, _ := e.states.GetIfPresent(a)
	wait := firstWait
	if s.rtt > 0 {
		wait = max(leastWait, 4*s.rtt)
	}
	wait = min(wait<<min(s.failed, 3), e.timeout)
	tctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	f := iterative | withProof
	if s.noEDNS {
		f = iterative
	}
	start := time.Now()
	ask := func() (*dns.Msg, error) {
		return e.client.fetch(tctx, Server{Addr: netip.AddrPortFrom(a, 53)}, name[:len(name)-1], Type(t), f)
	}
	m, err := ask()
	if err == nil && f != iterative && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) { // RFC 6891 §7
		f = iterative
		if m, err = ask(); err == nil {
			s.noEDNS = true
			e.states.Set(a, s)
		}
	}
	switch {
	case err == nil:
		e.answered(a, time.Since(start))
	case ctx.Err() == nil:
		e.failed(a, e.now)
	}
	return m, err
}
