package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Limits of the work that others can cause (DN3; CVE-2023-50387 and -50868 are
// what happens without).
const (
	maxVerified   = 8   // signatures verified for one RRset
	maxSignatures = 32  // and for one message
	maxTotal      = 128 // and for one Lookup, chain of trust and all
	maxHashes     = 500 // NSEC3 hashes and digests of keys for one Lookup
	maxKeys       = 64  // records of a DNSKEY or DS RRset
	maxTwins      = 4   // keys of the same tag and algorithm
	maxFetches    = 80  // messages for one Lookup
)

// bogus says what was found wrong.
func bogus(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBogus, fmt.Sprintf(format, args...))
}

// work counts what one Lookup has cost.
type work struct {
	now               time.Time
	skew              time.Duration
	signatures, total int // of this message, of all
	hashes            int
	fetches           int
	trace             func(text string) // tells each step; nil: nobody asks

	// Of a recursor: questions to servers, those that were asked, and those to
	// be asked after all others.
	queries int
	used    []netip.Addr
	avoid   map[netip.Addr]bool
}

// next begins a message.
func (w *work) next() error {
	w.signatures = 0
	if w.fetches++; w.fetches > maxFetches {
		return bogus("more than %d messages needed", maxFetches)
	}
	return nil
}

// tell describes a step to who asked for an explanation.
func (w *work) tell(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf(format, args...))
	}
}

func (w *work) verify() error {
	w.signatures++
	w.total++
	if w.signatures > maxSignatures || w.total > maxTotal {
		return bogus("too many signatures to verify")
	}
	return nil
}

func (w *work) hash() error {
	if w.hashes++; w.hashes > maxHashes {
		return bogus("too many hashes to compute")
	}
	return nil
}

// rrset is what the library calls so, with the signatures over it. Names of
// owners and signers are in lower case and end with a dot, here and in all
// that validates.
type rrset struct {
	name    string
	t       uint16
	records []dns.RR
	sigs    []*dns.RRSIG
}

type setKey struct {
	name string
	t    uint16
}

// reply is a message sorted into sets.
type reply struct {
	rcode int
	sets  map[setKey]*rrset // of the answer and authority sections
	order []*rrset
}

// newReply sorts the records of a message; it takes the message.
func newReply(m *dns.Msg) *reply {
	r := &reply{rcode: m.Rcode, sets: map[setKey]*rrset{}}
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section[:min(len(section), maxRecords)] {
			h := rr.Header()
			if h.Class != dns.ClassINET {
				continue
			}
			h.Name = dns.CanonicalName(h.Name)
			sig, signature := rr.(*dns.RRSIG)
			t := h.Rrtype
			if signature {
				sig.SignerName = dns.CanonicalName(sig.SignerName)
				t = sig.TypeCovered
			}
			set := r.sets[setKey{h.Name, t}]
			if set == nil {
				set = &rrset{name: h.Name, t: t}
				r.sets[setKey{h.Name, t}] = set
				r.order = append(r.order, set)
			}
			if signature {
				set.sigs = append(set.sigs, sig)
			} else {
				set.records = append(set.records, rr)
			}
		}
	}
	return r
}

// find returns the set of the type at the name, or nil if it has no records.
func (r *reply) find(name string, t uint16) *rrset {
	if s := r.sets[setKey{name, t}]; s != nil && len(s.records) > 0 {
		return s
	}
	return nil
}

// signer is the deepest zone that claims to have signed the set; "" when none
// does that could.
func (s *rrset) signer() string {
	signer := ""
	for _, sig := range s.sigs {
		if dns.IsSubDomain(sig.SignerName, s.name) && len(sig.SignerName) > len(signer) {
			signer = sig.SignerName
		}
	}
	return signer
}

// key is a public key of a zone with its tag.
type key struct {
	*dns.DNSKEY
	tag uint16
}

// proven is what a verified signature says of a set.
type proven struct {
	ttl time.Duration
	// encloser is set when the records were made from the wildcard below it
	// (RFC 4035 §5.3.2).
	encloser string
}

// authenticate verifies the set with the keys of the zone (RFC 4035 §5.3); one
// good signature is enough (RFC 6840 §5.4, §5.11).
func (w *work) authenticate(s *rrset, zone string, keys []key) (proven, error) {
	s.records = dns.Dedup(s.records, nil) // the data of an answer are a set
	tries, why := 0, errors.New("no signature of the zone "+zone)
	for _, sig := range s.sigs {
		if sig.SignerName != zone {
			continue
		}
		if err := w.usable(s, sig); err != nil {
			why = err
			continue
		}
		twins := 0
		for _, k := range keys {
			if k.tag != sig.KeyTag || k.Algorithm != sig.Algorithm {
				continue
			}
			if twins++; twins > maxTwins { // KeyTrap
				return proven{}, bogus("more than %d keys of the zone %s have the tag %d", maxTwins, zone, k.tag)
			}
			if tries++; tries > maxVerified {
				return proven{}, bogus("more than %d signatures over %s do not verify", maxVerified, s)
			}
			if err := w.verify(); err != nil {
				return proven{}, err
			}
			if err := sig.Verify(k.DNSKEY, s.records); err != nil {
				why = err
				continue
			}
			w.tell("%s %s is signed with key %d (%s), until %s.", s.name, dns.Type(s.t), k.tag, dns.AlgorithmToString[k.Algorithm],
				time.Unix(int64(sig.Expiration), 0).UTC().Format(time.DateOnly))
			return w.bounded(s, sig), nil
		}
	}
	return proven{}, bogus("%s: %v", s, why)
}

// usable tells whether the signature can hold for the set now.
func (w *work) usable(s *rrset, sig *dns.RRSIG) error {
	labels := dns.CountLabel(s.name)
	if strings.HasPrefix(s.name, "*.") {
		labels-- // RFC 4034 §3.1.3
	}
	if int(sig.Labels) > labels || int(sig.Labels) < dns.CountLabel(sig.SignerName) {
		return errors.New("signature over another number of labels")
	}
	if int(sig.Labels) < labels && slices.Contains(neverWild, s.t) {
		return errors.New("made from a wildcard")
	}
	now, skew := uint32(w.now.Unix()), int32(w.skew/time.Second)
	switch { // serial numbers: RFC 4034 §3.1.5
	case int32(sig.Expiration-sig.Inception) < 0:
		return errors.New("signature ends before it begins")
	case int32(sig.Inception-now) > skew:
		return errors.New("signature is not valid yet")
	case int32(now-sig.Expiration) > skew:
		return errors.New("signature has expired")
	}
	return nil
}

// neverWild are the types that no wildcard may supply: a denial moved to
// another name would deny what exists there.
var neverWild = []uint16{dns.TypeNSEC, dns.TypeNSEC3, dns.TypeDS, dns.TypeDNSKEY, dns.TypeSOA, dns.TypeDNAME}

// bounded limits the TTL by what was signed (RFC 4035 §5.3.3).
func (w *work) bounded(s *rrset, sig *dns.RRSIG) proven {
	ttl := min(s.ttl(), seconds(min(sig.OrigTtl, 1<<31-1)))
	left := time.Duration(int32(sig.Expiration-uint32(w.now.Unix()))) * time.Second
	p := proven{ttl: max(0, min(ttl, left))}
	labels := dns.SplitDomainName(s.name)
	expanded := len(labels) - int(sig.Labels)
	if expanded > 1 || expanded == 1 && labels[0] != "*" {
		p.encloser = ancestor(s.name, int(sig.Labels))
	}
	return p
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// ttl is the least of the records.
func (s *rrset) ttl() time.Duration {
	ttl := uint32(1<<31 - 1)
	for _, rr := range s.records {
		ttl = min(ttl, lifetime(rr))
	}
	return seconds(ttl)
}

// String names the set for messages about it.
func (s *rrset) String() string { return s.name + " " + dns.TypeToString[s.t] }

// ancestor is the last n labels of a name.
func ancestor(name string, n int) string {
	if n == 0 {
		return "."
	}
	i, _ := dns.PrevLabel(name, n)
	return name[i:]
}

// above is the name without its first label.
func above(name string) string { return ancestor(name, dns.CountLabel(name)-1) }

// below puts a label before a name.
func below(label, name string) string {
	if name == "." {
		return label + "."
	}
	return label + "." + name
}

// order compares names as RFC 4034 §6.1 has it: by labels from the right.
func order(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	for i := 1; i <= min(len(x), len(y)); i++ {
		if c := strings.Compare(unescape(x[len(x)-i]), unescape(y[len(y)-i])); c != 0 {
			return c
		}
	}
	return len(x) - len(y)
}
