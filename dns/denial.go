package dns

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Bounds of NSEC3 iterations (RFC 9276 §3.2, Appendix A): above the first a
// zone counts as unsigned, above the second its denials are refused.
const (
	maxIterations  = 100
	hardIterations = 500
)

// denial is what the NSEC or NSEC3 records of a zone prove of a name.
type denial struct {
	nx         bool // it does not exist; else it has no such records
	delegation bool // its parent says that it is a zone of its own
	insecure   bool // the zone leaves it open (opt-out), or hashes too often
	ttl        time.Duration
}

// span is an NSEC or NSEC3 record: there is nothing between its owner and next.
// For NSEC3 both are hashes.
type span struct {
	owner, next string
	types       []uint16
	optOut      bool
}

func (s *span) has(t uint16) bool { return slices.Contains(s.types, t) }

// parental tells that the owner is where another zone begins, seen from above:
// of that zone the span knows nothing (RFC 6840 §4.1).
func (s *span) parental() bool { return s.has(dns.TypeNS) && !s.has(dns.TypeSOA) }

// none checks that the owner has no records of the type and no CNAME, and may
// say so: the parent of a zone speaks of DS, the zone itself of all else.
func (s *span) none(name string, t uint16) (denial, error) {
	switch {
	case s.has(t) || s.has(dns.TypeCNAME):
		return denial{}, bogus("%s is denied and proven at once", name)
	case t == dns.TypeDS && s.has(dns.TypeSOA) && name != ".":
		return denial{}, bogus("the zone %s denies what its parent has to", name)
	case t != dns.TypeDS && s.parental():
		return denial{}, bogus("the parent of the zone %s denies what is in it", name)
	}
	return denial{delegation: s.parental()}, nil
}

// proofs are the authentic spans of a reply: either plain or hashed.
type proofs struct {
	w             *work
	zone          string
	plain, hashed []span
	salt          string
	iterations    uint16
	ttl           time.Duration
	why           error // why others do not count
}

// proofs verifies the denials that the zone signed.
func (w *work) proofs(r *reply, z *trust) (*proofs, error) {
	p := &proofs{w: w, zone: z.zone, ttl: 1<<63 - 1, why: errors.New("no proof in the answer")}
	for _, s := range r.order {
		if s.t != dns.TypeNSEC && s.t != dns.TypeNSEC3 || len(s.records) == 0 || s.signer() != z.zone {
			continue
		}
		ok, err := w.authenticate(s, z.zone, z.keys)
		if w.total > maxTotal || w.signatures > maxSignatures {
			return nil, err
		}
		if err != nil || len(s.records) != 1 {
			p.why = err
			continue
		}
		p.ttl = min(p.ttl, ok.ttl)
		p.add(s.records[0])
	}
	if p.iterations > hardIterations {
		return nil, bogus("NSEC3 with %d iterations", p.iterations)
	}
	return p, nil
}

// add takes a record in.
func (p *proofs) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.NSEC:
		p.plain = append(p.plain, span{owner: rr.Hdr.Name, next: dns.CanonicalName(rr.NextDomain), types: rr.TypeBitMap})
	case *dns.NSEC3:
		if rr.Hash != dns.SHA1 || rr.Flags > 1 || above(rr.Hdr.Name) != p.zone { // RFC 5155 §8.1, §8.2
			return
		}
		if len(p.hashed) == 0 {
			p.salt, p.iterations = rr.Salt, rr.Iterations
		} else if p.salt != rr.Salt || p.iterations != rr.Iterations {
			return
		}
		owner, _, _ := strings.Cut(rr.Hdr.Name, ".")
		p.hashed = append(p.hashed, span{strings.ToUpper(owner), strings.ToUpper(rr.NextDomain), rr.TypeBitMap, rr.Flags&1 != 0})
	}
}

// tired tells that the zone hashes too often to be followed.
func (p *proofs) tired() bool { return len(p.hashed) > 0 && p.iterations > maxIterations }

// hash is the NSEC3 hash of a name (RFC 5155 §5).
func (p *proofs) hash(name string) (string, error) {
	return dns.HashName(name, dns.SHA1, p.iterations, p.salt), p.w.hash()
}

// match finds the span whose owner the key is: a name, or its hash.
func match(spans []span, key string) *span {
	for i := range spans {
		if spans[i].owner == key {
			return &spans[i]
		}
	}
	return nil
}

// covering finds the NSEC that proves that a name of the zone is not there.
func (p *proofs) covering(name string) *span {
	for i := range p.plain {
		s := &p.plain[i]
		if order(s.owner, name) >= 0 || s.next != p.zone && order(name, s.next) >= 0 {
			continue
		}
		if dns.IsSubDomain(s.owner, name) && (s.parental() || s.has(dns.TypeDNAME)) {
			continue // RFC 6840 §4.1
		}
		return s
	}
	return nil
}

// coveringHash finds the NSEC3 that proves that a hash is not there.
func (p *proofs) coveringHash(name string) (*span, error) {
	h, err := p.hash(name)
	if err != nil {
		return nil, err
	}
	for i := range p.hashed {
		s := &p.hashed[i]
		after, before := s.owner < h, h < s.next
		if after && before || s.owner >= s.next && s.owner != h && (after || before) {
			return s, nil
		}
	}
	return nil, nil
}

// matchHash finds the NSEC3 of a name.
func (p *proofs) matchHash(name string) (*span, error) {
	h, err := p.hash(name)
	return match(p.hashed, h), err
}

// deny finds what the zone proves of records of the type at a name. The proof
// decides, not the response code, which nobody signs.
func (w *work) deny(r *reply, name string, t uint16, z *trust) (d denial, err error) {
	p, err := w.proofs(r, z)
	if err != nil {
		return d, err
	}
	switch {
	case p.tired():
		d = denial{insecure: true, nx: r.rcode == dns.RcodeNameError}
	case len(p.hashed) > 0:
		d, err = p.denyHashed(name, t, r.rcode)
	default:
		d, err = p.denyPlain(name, t)
	}
	d.ttl = min(p.ttl, w.negativeTTL(r, z))
	return d, err
}

// negativeTTL is how long the zone lets a denial be kept (RFC 2308 §5); not at
// all if it does not say so authentically.
func (w *work) negativeTTL(r *reply, z *trust) time.Duration {
	s := r.find(z.zone, dns.TypeSOA)
	if s == nil || len(s.records) != 1 {
		return 0
	}
	ok, err := w.authenticate(s, z.zone, z.keys)
	soa, is := s.records[0].(*dns.SOA)
	if err != nil || !is {
		return 0
	}
	return min(ok.ttl, seconds(min(soa.Minttl, 1<<31-1)))
}

// denyPlain is RFC 4035 §5.4.
func (p *proofs) denyPlain(name string, t uint16) (denial, error) {
	if s := match(p.plain, name); s != nil {
		return s.none(name, t)
	}
	s := p.covering(name)
	if s == nil {
		return denial{}, bogus("%s is not proven absent: %v", name, p.why)
	}
	if dns.IsSubDomain(name, s.next) { // there are names below it, so it exists (RFC 4592 §2.2.2)
		return denial{}, nil
	}
	encloser := ancestor(name, max(dns.CompareDomainName(name, s.owner), dns.CompareDomainName(name, s.next)))
	wild := below("*", encloser)
	if s := match(p.plain, wild); s != nil {
		return s.none(wild, t)
	}
	if p.covering(wild) == nil {
		return denial{}, bogus("%s is not proven absent: %v", wild, p.why)
	}
	return denial{nx: true}, nil
}

// denyHashed is RFC 5155 §8.4 to §8.7.
func (p *proofs) denyHashed(name string, t uint16, rcode int) (denial, error) {
	s, err := p.matchHash(name)
	if err != nil {
		return denial{}, err
	}
	if s != nil {
		return s.none(name, t)
	}
	encloser, closer, err := p.encloser(name)
	if err != nil {
		return denial{}, err
	}
	cover, err := p.coveringHash(closer)
	if err != nil {
		return denial{}, err
	}
	if cover == nil {
		return denial{}, bogus("%s is not proven absent: %v", closer, p.why)
	}
	wild := below("*", encloser)
	if s, err = p.matchHash(wild); err != nil {
		return denial{}, err
	}
	if s != nil {
		d, err := s.none(wild, t)
		d.insecure = cover.optOut
		return d, err
	}
	if s, err = p.coveringHash(wild); err != nil {
		return denial{}, err
	}
	switch {
	case s != nil:
		return denial{nx: true, insecure: cover.optOut}, nil // RFC 5155 §9.2
	case cover.optOut && (t == dns.TypeDS || rcode == dns.RcodeSuccess):
		return denial{insecure: true}, nil // RFC 5155 §8.6, and names above unsigned zones
	}
	return denial{}, bogus("%s is not proven absent: %v", wild, p.why)
}

// encloser finds the closest name above that exists, and the name one label
// longer (RFC 5155 §8.3).
func (p *proofs) encloser(name string) (encloser, closer string, err error) {
	for closer = name; closer != p.zone && closer != "."; closer = encloser {
		encloser = above(closer)
		s, err := p.matchHash(encloser)
		if err != nil {
			return "", "", err
		}
		if s != nil {
			if s.parental() || s.has(dns.TypeDNAME) {
				return "", "", bogus("%s is above %s, which another zone denies", encloser, name)
			}
			return encloser, closer, nil
		}
	}
	return "", "", bogus("no name above %s is proven to exist: %v", name, p.why)
}

// unmatched proves that a wildcard below encloser was right to answer for the
// name: nothing closer exists (RFC 4035 §5.3.4, RFC 5155 §8.8).
func (w *work) unmatched(r *reply, name, encloser string, z *trust) (insecure bool, err error) {
	p, err := w.proofs(r, z)
	if err != nil || p.tired() {
		return true, err
	}
	closer := ancestor(name, dns.CountLabel(encloser)+1)
	if len(p.hashed) > 0 {
		s, err := p.coveringHash(closer)
		if err != nil {
			return false, err
		}
		if s != nil {
			return s.optOut, nil
		}
	} else if s := p.covering(closer); s != nil && !dns.IsSubDomain(closer, s.next) {
		return false, nil
	}
	return false, bogus("%s is not proven absent beside a wildcard: %v", closer, p.why)
}
