package dns

import (
	"context"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

// link is what one name holds: records, an alias, or nothing.
type link struct {
	records  []dns.RR
	target   string
	none     error // ErrNXDomain or ErrNoData
	security Security
	ttl      time.Duration
}

// answer follows the chain of aliases, each link proven by itself.
func (l *lookup) answer(ctx context.Context, name string, t Type) (*Answer, error) {
	a := &Answer{Name: name, Security: Secure, TTL: seconds(1<<31 - 1)}
	for range maxChain + 1 {
		k, err := l.link(ctx, a.Name+".", uint16(t))
		if err != nil {
			return nil, err
		}
		a.Security, a.TTL = min(a.Security, k.security), min(a.TTL, k.ttl)
		switch {
		case k.none != nil:
			l.tell("%s: %v (%v).", a.Name, k.none, k.security)
			return a, postino.E(postino.NotFound, "look up "+dns.TypeToString[uint16(t)], name, k.none)
		case k.target != "":
			l.tell("%s is an alias of %s (%v).", a.Name, host(k.target), k.security)
			a.Name = host(k.target)
			continue
		}
		any := false
		for _, rr := range k.records {
			any = a.add(rr) || any
		}
		if !any {
			return nil, ErrServer // data that make no sense
		}
		l.tell("%s has %s records (%v).", a.Name, t, k.security)
		a.sort()
		return a, nil
	}
	return nil, ErrChain
}

// link finds what a name holds, from a reply of its own: what a server adds
// about the next links is not looked at.
func (l *lookup) link(ctx context.Context, name string, t uint16) (k link, err error) {
	r, err := l.fetch(ctx, name, t)
	if err != nil {
		return k, err
	}
	if s := r.alias(name); s != nil && s.t == dns.TypeDNAME {
		if k.security, k.ttl, err = l.judge(ctx, r, s); err != nil {
			return k, err
		}
		if k.target, err = substitute(name, s); err != nil || t != dns.TypeCNAME {
			return k, err
		}
		k.records = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET}, Target: k.target}}
		k.target = ""
		return k, nil
	}
	s := r.find(name, t)
	if s == nil {
		s = r.find(name, dns.TypeCNAME)
	}
	if s == nil {
		return l.nothing(ctx, r, name, t)
	}
	if k.security, k.ttl, err = l.judge(ctx, r, s); err != nil {
		return k, err
	}
	if k.records = s.records; s.t != t {
		c, ok := s.records[0].(*dns.CNAME)
		if !ok || len(s.records) != 1 { // RFC 2181 §10.1
			return k, bogus("%s has %d records", s, len(s.records))
		}
		k.target = dns.CanonicalName(c.Target)
	}
	return k, nil
}

// alias finds the DNAME above a name, or else the CNAME at it.
func (r *reply) alias(name string) *rrset {
	for _, s := range r.order {
		if s.t == dns.TypeDNAME && len(s.records) > 0 && s.name != name && dns.IsSubDomain(s.name, name) {
			return s
		}
	}
	return r.find(name, dns.TypeCNAME)
}

// substitute makes the name that a DNAME leads to (RFC 6672 §2.2). The CNAME
// that a server adds is not signed, and not needed.
func substitute(name string, s *rrset) (string, error) {
	d, ok := s.records[0].(*dns.DNAME)
	if !ok || len(s.records) != 1 {
		return "", bogus("%s has %d records", s, len(s.records))
	}
	target := name[:len(name)-len(strings.TrimPrefix(s.name, "."))]
	if to := dns.CanonicalName(d.Target); to != "." {
		target += to
	}
	if _, ok := dns.IsDomainName(target); !ok {
		return "", ErrServer // YXDOMAIN
	}
	return target, nil
}

// judge proves a set of records, or that its zone is not signed.
func (l *lookup) judge(ctx context.Context, r *reply, s *rrset) (Security, time.Duration, error) {
	signer := s.signer()
	scope := signer
	if signer == "" {
		scope = s.name
	}
	z, err := l.zone(ctx, scope)
	if err != nil {
		return Bogus, 0, err
	}
	if !z.secure() {
		s.records = dns.Dedup(s.records, nil)
		return Insecure, s.ttl(), nil
	}
	if signer == "" {
		return Bogus, 0, bogus("%s has no signature in the signed zone %s", s, z.zone)
	}
	ok, err := l.authenticate(s, z.zone, z.keys)
	if err != nil {
		return Bogus, 0, err
	}
	if ok.encloser != "" {
		insecure, err := l.unmatched(r, s.name, ok.encloser, z)
		if err != nil {
			return Bogus, 0, err
		}
		if insecure {
			return Insecure, ok.ttl, nil
		}
	}
	return Secure, ok.ttl, nil
}

// nothing proves that a name has no records of the type, or that its zone is
// not signed.
func (l *lookup) nothing(ctx context.Context, r *reply, name string, t uint16) (k link, err error) {
	scope := ""
	for _, s := range r.order {
		signer := s.signer()
		if (s.t == dns.TypeNSEC || s.t == dns.TypeNSEC3) && len(signer) > len(scope) && dns.IsSubDomain(signer, name) {
			scope = signer
		}
	}
	if scope == "" {
		scope = name
	}
	z, err := l.zone(ctx, scope)
	if err != nil {
		return k, err
	}
	if !z.secure() {
		return unsigned(r), nil
	}
	d, err := l.deny(r, name, t, z)
	if err != nil {
		return k, err
	}
	k = link{none: ErrNoData, security: Secure, ttl: d.ttl}
	if d.nx {
		k.none = ErrNXDomain
	}
	if d.insecure {
		k.security = Insecure
	}
	return k, nil
}

// unsigned takes the word of the server.
func unsigned(r *reply) link {
	k := link{none: ErrNoData, security: Insecure}
	if r.rcode == dns.RcodeNameError {
		k.none = ErrNXDomain
	}
	for _, s := range r.order {
		if s.t != dns.TypeSOA || len(s.records) == 0 {
			continue
		}
		if soa, ok := s.records[0].(*dns.SOA); ok {
			k.ttl = min(s.ttl(), seconds(min(soa.Minttl, 1<<31-1)))
		}
		break
	}
	return k
}
