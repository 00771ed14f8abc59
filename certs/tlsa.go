package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// TLSA is the record that vouches for a certificate by its key, so that it stays
// true when the certificate is renewed: DANE-EE(3) SPKI(1) SHA2-256(1) (RFC 7671
// §5.1, RFC 7672 §3.1.1).
func TLSA(leaf *x509.Certificate) []dns.TLSA { return tlsaOf(leaf.RawSubjectPublicKeyInfo) }

func tlsaOf(spki []byte) []dns.TLSA {
	sum := sha256.Sum256(spki)
	return []dns.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: sum[:]}}
}

// TLSARecord writes a TLSA record of a host's port as in a zone file.
func TLSARecord(host string, port uint16, t dns.TLSA) string {
	return fmt.Sprintf("%s. IN TLSA %d %d %d %x", tlsaName(host, port), t.Usage, t.Selector, t.Matching, t.Data)
}

func tlsaName(host string, port uint16) string { return fmt.Sprintf("_%d._tcp.%s", port, host) }

// Matches tells whether a record vouches for a chain, leaf first: DANE-EE for the
// leaf, DANE-TA for one of the others (RFC 7671 §5). Other usages and what is not
// known match nothing (RFC 7672 §3.1.3).
func Matches(t dns.TLSA, chain []*x509.Certificate) bool {
	switch {
	case len(chain) == 0:
		return false
	case t.Usage == 3:
		return vouches(t, chain[0])
	case t.Usage == 2:
		return slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool { return vouches(t, c) })
	}
	return false
}

// vouches compares what the record selects of a certificate (RFC 6698 §2.1).
func vouches(t dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	switch t.Selector {
	case 0:
	case 1:
		data = c.RawSubjectPublicKeyInfo
	default:
		return false
	}
	switch t.Matching {
	case 0:
		return bytes.Equal(t.Data, data)
	case 1:
		sum := sha256.Sum256(data)
		return bytes.Equal(t.Data, sum[:])
	case 2:
		sum := sha512.Sum512(data)
		return bytes.Equal(t.Data, sum[:])
	}
	return false
}

// rollover knows which keys DNS vouches for, so that a key changes only when
// nobody trusts the old one alone.
type rollover struct {
	mu    sync.Mutex
	dns   dns.Resolver
	ports []uint16
	seen  map[string]sighting // by public key
}

// sighting is when DNS was first seen to vouch for a certificate, and for how long
// others may still know what it said before.
type sighting struct {
	at   time.Time
	wait time.Duration
}

// maxWait bounds how long records are given to reach everybody.
const maxWait = 48 * time.Hour

// Watch makes changes wait for TLSA records: those of the names of a certificate
// at the ports. Without it keys change at once.
func (s *Source) Watch(r dns.Resolver, ports []uint16) {
	s.roll.mu.Lock()
	defer s.roll.mu.Unlock()
	s.roll.dns, s.roll.ports, s.roll.seen = r, slices.Compact(slices.Sorted(slices.Values(ports))), map[string]sighting{}
}

// hold tells why e cannot take the place of what is in use for its names, or "".
func (r *rollover) hold(ctx context.Context, inUse *set, e *entry) (why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dns == nil {
		return ""
	}
	for _, name := range e.names {
		old := inUse.named(name)
		if strings.HasPrefix(name, "*.") || len(old) == 0 || old[0].hash == e.hash || !time.Now().Before(old[0].chain[0].NotAfter) {
			continue
		}
		for _, port := range r.ports {
			if why := r.judge(ctx, tlsaName(name, port), old[0].chain, e.chain); why != "" {
				return why
			}
		}
	}
	return ""
}

// judge looks at the records of one port. They hold the change back when they
// vouch for the old chain and not for the new one, and for two TTLs after they
// began to vouch for both (RFC 7671 §8.1).
func (r *rollover) judge(ctx context.Context, name string, before, after []*x509.Certificate) string {
	key := string(after[0].RawSubjectPublicKeyInfo)
	a, err := r.dns.Lookup(ctx, name, dns.TypeTLSA)
	switch {
	case postino.Is(err, postino.NotFound):
		return ""
	case err != nil:
		return fmt.Sprintf("the TLSA records at %s cannot be asked for: %v", name, err)
	case a.Security == dns.Insecure: // nobody believes them (RFC 7672 §2.2)
		return ""
	}
	old, next := false, false
	for _, t := range a.TLSA {
		was, is := Matches(t, before), Matches(t, after)
		if was && is {
			return "" // one record vouches for both
		}
		old, next = old || was, next || is
	}
	switch {
	case !old:
		return "" // it can only get better
	case !next:
		delete(r.seen, key)
		return fmt.Sprintf("DNS vouches for the old key alone: publish beside it\n  %s. IN TLSA 3 1 1 %x", name, TLSA(after[0])[0].Data)
	}
	s, known := r.seen[key]
	if !known {
		s = sighting{time.Now(), min(2*a.TTL, maxWait)}
		r.seen[key] = s
	}
	if left := s.wait - time.Since(s.at); left > 0 {
		return fmt.Sprintf("the TLSA records at %s are good; the key changes at %s, when nobody knows the old ones any more", name, s.at.Add(s.wait).UTC().Format(time.RFC3339))
	}
	return ""
}

// vouchedFor tells whether DNS has a record for a chain at one of the ports.
func (r *rollover) vouchedFor(ctx context.Context, name string, chain []*x509.Certificate) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dns == nil {
		return false
	}
	return slices.ContainsFunc(r.ports, func(port uint16) bool {
		a, err := r.dns.Lookup(ctx, tlsaName(name, port), dns.TypeTLSA)
		return err == nil && slices.ContainsFunc(a.TLSA, func(t dns.TLSA) bool { return Matches(t, chain) })
	})
}

// Unpublished lists the names among those of the certificates in use whose TLSA
// records vouch for something else, with the record that is missing.
func (s *Source) Unpublished(ctx context.Context) (records []string, err error) {
	s.roll.mu.Lock()
	r, ports := s.roll.dns, s.roll.ports
	s.roll.mu.Unlock()
	if r == nil {
		return nil, nil
	}
	var errs []error
	for _, e := range s.inUse.Load().entries {
		for _, name := range e.names {
			if strings.HasPrefix(name, "*.") || s.inUse.Load().named(name)[0] != e {
				continue
			}
			for _, port := range ports {
				a, err := r.Lookup(ctx, tlsaName(name, port), dns.TypeTLSA)
				if err != nil {
					if !postino.Is(err, postino.NotFound) {
						errs = append(errs, err)
					}
				} else if !slices.ContainsFunc(a.TLSA, func(t dns.TLSA) bool { return Matches(t, e.chain) }) {
					records = append(records, TLSARecord(name, port, TLSA(e.chain[0])[0]))
				}
			}
		}
	}
	return records, errors.Join(errs...)
}
