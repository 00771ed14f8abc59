package dns

import (
	"context"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// trust is what is proven of a name on the way down from the root.
type trust struct {
	zone    string // the zone that begins at the name; "" when none does
	keys    []key  // of the zone; none when it is not signed
	end     bool   // there is nothing below
	expires time.Time
}

// secure tells whether answers of the zone can be proven.
func (t *trust) secure() bool { return len(t.keys) > 0 }

// lookup is the work on one question with one source.
type lookup struct {
	*work
	v      *Validator
	source source
}

// fetch gets the reply to a question. Of failures only its rcode is looked at.
func (l *lookup) fetch(ctx context.Context, name string, t uint16) (*reply, error) {
	if err := l.next(); err != nil {
		return nil, err
	}
	m, err := l.source.fetch(ctx, l.work, strings.TrimSuffix(name, "."), Type(t))
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, serverError(m)
	}
	return newReply(m), nil
}

// zone finds the zone that a name is in, from the root downwards (RFC 4035
// §5); the first one that is not signed ends the way.
func (l *lookup) zone(ctx context.Context, name string) (*trust, error) {
	at, err := l.step(nil, ".", func() (*trust, error) {
		var anchors []*dns.DS
		for _, a := range *l.v.anchors.Load() {
			anchors = append(anchors, a.ds())
		}
		return l.enter(ctx, ".", anchors, maxTrust)
	})
	for n := 1; err == nil && at.secure() && n <= dns.CountLabel(name); n++ {
		child := ancestor(name, n)
		var next *trust
		next, err = l.step(at, child, func() (*trust, error) { return l.descend(ctx, at, child) })
		if err != nil || next.end {
			break
		}
		if next.zone != "" {
			at = next
		}
	}
	return at, err
}

// step asks the cache first, and the operator's exceptions before (RFC 7646).
func (l *lookup) step(parent *trust, name string, find func() (*trust, error)) (*trust, error) {
	if l.v.exempt[name] {
		l.tell("The zone %s counts as not signed: it is a negative anchor.", name)
		return &trust{zone: name}, nil
	}
	if t, ok := l.v.trusts.GetIfPresent(name); ok && t.expires.After(l.now) {
		return t, nil
	}
	t, err := find()
	if err != nil {
		return nil, err
	}
	if parent != nil && t.expires.After(parent.expires) {
		t.expires = parent.expires
	}
	if t.expires.After(l.now) {
		l.v.trusts.Set(name, t)
	}
	return t, nil
}

// maxTrust is how long a zone's keys are believed at most, and maxInside a
// proof that no signed zone begins at a name.
const (
	maxTrust  = 24 * time.Hour
	maxInside = time.Hour
)

// descend finds out whether a zone begins at child, which lies in the zone at.
func (l *lookup) descend(ctx context.Context, at *trust, child string) (*trust, error) {
	r, err := l.fetch(ctx, child, dns.TypeDS)
	if err != nil {
		return nil, err
	}
	if s := r.find(child, dns.TypeDS); s != nil {
		return l.delegated(ctx, at, s)
	}
	if s := r.alias(child); s != nil { // a name with an alias is no zone, nor is what is below a DNAME
		ok, err := l.authenticate(s, at.zone, at.keys)
		if err != nil {
			return nil, err
		}
		if ok.encloser != "" {
			if _, err := l.unmatched(r, s.name, ok.encloser, at); err != nil {
				return nil, err
			}
		}
		return &trust{end: true, expires: l.now.Add(min(ok.ttl, maxInside))}, nil
	}
	d, err := l.deny(r, child, dns.TypeDS, at)
	if err != nil {
		return nil, err
	}
	t := &trust{end: d.nx, expires: l.now.Add(min(d.ttl, maxInside))}
	if d.insecure || d.delegation {
		t.zone, t.end = child, false
		l.tell("%s is not signed: the zone %s proves that it has no DS record.", child, at.zone)
	}
	return t, nil
}

// delegated follows the DS records of a zone.
func (l *lookup) delegated(ctx context.Context, at *trust, s *rrset) (*trust, error) {
	if len(s.records) > maxKeys {
		return nil, bogus("%s has %d records", s, len(s.records))
	}
	ok, err := l.authenticate(s, at.zone, at.keys)
	if err != nil {
		return nil, err
	}
	var usable []*dns.DS
	for _, rr := range s.records {
		if ds, is := rr.(*dns.DS); is && supported(ds.Algorithm) && (ds.DigestType == dns.SHA256 || ds.DigestType == dns.SHA384) {
			usable = append(usable, ds)
		}
	}
	ttl := min(ok.ttl, maxTrust)
	if len(usable) == 0 { // RFC 4035 §5.2: signed in ways that we do not know is not signed
		l.tell("The zone %s counts as not signed: its DS records name only algorithms that prove nothing.", s.name)
		return &trust{zone: s.name, expires: l.now.Add(ttl)}, nil
	}
	return l.enter(ctx, s.name, usable, ttl)
}

// supported tells which algorithms prove something (RFC 9904 §3.1). Those with
// SHA-1 do not any more (RFC 9905 §2); Ed448 is not in the library.
func supported(algorithm uint8) bool {
	switch algorithm {
	case dns.RSASHA256, dns.RSASHA512, dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519:
		return true
	}
	return false
}

// enter gets the keys of a zone, and proves them by what its parent says.
func (l *lookup) enter(ctx context.Context, zone string, parents []*dns.DS, ttl time.Duration) (*trust, error) {
	r, err := l.fetch(ctx, zone, dns.TypeDNSKEY)
	if err != nil {
		return nil, err
	}
	keys, entry, ok, err := l.prove(r, zone, parents)
	if err != nil {
		return nil, err
	}
	l.tell("The zone %s is secure: %s its key %d.", zone, voucher(zone), entry[0].tag)
	return &trust{zone: zone, keys: keys, expires: l.now.Add(min(ttl, ok.ttl))}, nil
}

// prove proves the keys of a zone by DS records (RFC 4035 §5.2), and tells which
// of them those name.
func (l *lookup) prove(r *reply, zone string, parents []*dns.DS) (keys, entry []key, ok proven, err error) {
	s := r.find(zone, dns.TypeDNSKEY)
	if s == nil {
		return nil, nil, ok, bogus("the zone %s has no keys", zone)
	}
	if len(s.records) > maxKeys {
		return nil, nil, ok, bogus("%s has %d records", s, len(s.records))
	}
	for _, rr := range s.records {
		k, is := rr.(*dns.DNSKEY)
		if !is || k.Protocol != 3 || k.Flags&dns.ZONE == 0 || k.Flags&dns.REVOKE != 0 || !supported(k.Algorithm) { // RFC 5011 §2.1
			continue
		}
		named := key{k, k.KeyTag()}
		keys = append(keys, named)
		vouched, err := l.vouched(named, parents)
		if err != nil {
			return nil, nil, ok, err
		}
		if vouched {
			entry = append(entry, named)
		}
	}
	if len(entry) == 0 {
		return nil, nil, ok, bogus("no key of the zone %s is the one that its parent names", zone)
	}
	ok, err = l.authenticate(s, zone, entry)
	return keys, entry, ok, err
}

// voucher names who says that the keys of a zone are its own.
func voucher(zone string) string {
	if zone == "." {
		return "a trust anchor names"
	}
	return "the DS record at its parent names"
}

// vouched tells whether a DS record is that of the key.
func (l *lookup) vouched(k key, parents []*dns.DS) (bool, error) {
	for _, ds := range parents {
		if ds.KeyTag != k.tag || ds.Algorithm != k.Algorithm {
			continue
		}
		if err := l.hash(); err != nil {
			return false, err
		}
		if own := k.ToDS(ds.DigestType); own != nil && strings.EqualFold(own.Digest, ds.Digest) {
			return true, nil
		}
	}
	return false, nil
}
