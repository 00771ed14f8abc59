package tlspolicy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// Question asks what TLS a host must offer for the mail of a domain.
type Question struct {
	// Domain is the one whose policy counts: that of the recipients, or the name of
	// a smart host (RFC 8461 §3.4); DomainName is where its aliases lead.
	Domain, DomainName string
	// Host is the name of the server, HostName where its aliases lead.
	Host, HostName string
	Port           uint16
	// MX tells how far it is proven that the host serves the domain, Addresses how
	// far the addresses of the host are.
	MX        Proof
	Addresses dns.Security
}

// Findings are what the name servers and the policy of a domain say about a host.
// They are not changed after they were made.
type Findings struct {
	Question
	facts  Facts
	tlsa   tlsaFound
	usable []dns.TLSA
	sts    stsFound
	none   bool // nobody was asked
}

// Find looks all up that a decision about a host needs. What the name servers do
// not say, or what is bogus, is a finding; an error is one of our own store, or of
// ctx. A host without a name has no policy (RFC 7672 §2.2, RFC 8461 §3.4).
func (p *Policies) Find(ctx context.Context, q Question) (*Findings, error) {
	f := &Findings{Question: q, facts: Facts{MX: q.MX}}
	if q.MX == Proven {
		f.tlsa = lookupTLSA(ctx, p.opts.DNS, &q)
		f.dane()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	if f.sts, err = p.sts(ctx, q.Domain); err != nil {
		return nil, err
	}
	f.facts.STS = f.stsFact()
	return f, nil
}

// Assume are the findings where nobody is asked: only what the question holds.
func Assume(q Question) *Findings { return &Findings{Question: q, facts: Facts{MX: q.MX}, none: true} }

// Asked tells whether anybody was asked.
func (f *Findings) Asked() bool { return !f.none }

// Same tells whether other findings lead to the same decisions and judgements.
func (f *Findings) Same(g *Findings) bool {
	return f.Question == g.Question && f.facts == g.facts && f.tlsa.base == g.tlsa.base && slices.EqualFunc(f.usable, g.usable, sameTLSA)
}

func sameTLSA(a, b dns.TLSA) bool {
	return a.Usage == b.Usage && a.Selector == b.Selector && a.Matching == b.Matching && bytes.Equal(a.Data, b.Data)
}

// dane works out what the TLSA records come to.
func (f *Findings) dane() {
	f.usable = UsableTLSA(f.tlsa.records)
	switch {
	case f.tlsa.err != nil:
		f.facts.Host, f.facts.DANE = Proven, TLSALost
	case len(f.usable) > 0:
		f.facts.Host, f.facts.DANE = Proven, Usable
	case len(f.tlsa.records) > 0:
		f.facts.Host, f.facts.DANE = Proven, Unusable
	case f.Addresses == dns.Secure:
		f.facts.Host = Proven
	}
}

// stsFact works out what the policy of the domain says about the host.
func (f *Findings) stsFact() STS {
	p := f.sts.policy
	if p == nil {
		return f.sts.fact
	}
	switch in := p.Match(f.Host); {
	case p.Mode == Enforce && in:
		return EnforceIn
	case p.Mode == Enforce:
		return EnforceOut
	case p.Mode == Testing && in:
		return TestingIn
	case p.Mode == Testing:
		return TestingOut
	}
	return NoSTS
}

// Decide decides about the host for a message.
func (f *Findings) Decide(route Level, w Wish) Decision {
	facts := f.facts
	facts.Route, facts.Wish = route, w
	d := Decide(facts)
	if d.Problem == STSFetchError {
		d.Problem = f.sts.result // which failure of fetching
	}
	return d
}

// Name is what the host is called in the handshake (SNI): the TLSA base domain
// (RFC 7671 §10.2), or else its name.
func (f *Findings) Name() string {
	if f.tlsa.base != "" {
		return f.tlsa.base
	}
	return f.Host
}

// Verify judges the certificate of a connection as a decision wants. proof says in
// a few words what proves the server: "certificate matches TLSA 3 1 1 4F2C…".
func (f *Findings) Verify(cs tls.ConnectionState, d Decision, roots *x509.CertPool) (proof string, err error) {
	if !d.DANE {
		return "certificate valid for " + f.Host, VerifyPKIX(cs, roots, f.Host)
	}
	r, err := VerifyTLSA(f.usable, cs.PeerCertificates, f.names(), time.Now())
	if err != nil {
		return "", err
	}
	return "certificate matches TLSA " + short(r), nil
}

// names are the reference identifiers of a certificate under a trust anchor (RFC
// 7672 §3.2.2).
func (f *Findings) names() []string {
	var names []string
	for _, n := range []string{f.tlsa.base, f.Domain, f.DomainName} {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// short writes a record for people, who compare the first octets.
func short(r dns.TLSA) string {
	s := FormatTLSA(r)
	if len(s) > 30 {
		s = s[:30] + "…"
	}
	return s
}

// Basis says on what decisions rest, for people; empty when nobody was asked.
func (f *Findings) Basis() string {
	if f.none {
		return ""
	}
	var parts []string
	switch {
	case f.facts.MX != Proven:
		parts = append(parts, "no DANE: the mail exchangers are not proven by DNSSEC")
	case f.facts.DANE == Usable:
		parts = append(parts, fmt.Sprintf("DANE: TLSA %s at %s", f.shortTLSA(), f.tlsa.base))
	case f.facts.DANE == Unusable:
		parts = append(parts, fmt.Sprintf("DANE: none of the TLSA records at %s can be used (%s)", f.tlsa.base, f.shortTLSA()))
	case f.facts.DANE == TLSALost:
		parts = append(parts, "DANE: the TLSA records cannot be looked up: "+clean(f.tlsa.err))
	case f.facts.Host != Proven:
		parts = append(parts, "no DANE: the addresses of the host are not proven by DNSSEC")
	default:
		parts = append(parts, "no DANE: no TLSA records")
	}
	return strings.Join(append(parts, f.stsBasis()), "; ")
}

// stsBasis says what MTA-STS says.
func (f *Findings) stsBasis() string {
	s := &f.sts
	switch {
	case s.policy != nil:
		text := fmt.Sprintf("MTA-STS: %s, id %s", s.policy.Mode, s.id)
		if !s.policy.Match(f.Host) && s.policy.Mode != None {
			text += ", names " + strings.Join(s.policy.MX[:min(len(s.policy.MX), 10)], ", ")
		}
		if s.cached {
			text += ", as fetched before: " + clean(s.err)
		}
		return text
	case s.fact == NoSTS:
		return "no MTA-STS"
	}
	return "MTA-STS: no policy can be had: " + clean(s.err)
}

// shortTLSA lists the records that count, or else all.
func (f *Findings) shortTLSA() string {
	list := f.usable
	if len(list) == 0 {
		list = f.tlsa.records
	}
	var texts []string
	for _, r := range list[:min(len(list), 4)] {
		texts = append(texts, short(r))
	}
	return strings.Join(texts, ", ")
}

// Why says why a host is refused, for people.
func (f *Findings) Why(r Refusal) string {
	switch r {
	case DNSFailed:
		if f.facts.STS == STSBogus && f.facts.DANE != TLSALost {
			return fmt.Sprintf("whether %s has an MTA-STS policy cannot be known: %s", f.Domain, clean(f.sts.err))
		}
		return fmt.Sprintf("the TLSA records of %s cannot be looked up, or are not authentic: %s", f.Host, clean(f.tlsa.err))
	case NotInPolicy:
		return fmt.Sprintf("%s is none of the hosts of the MTA-STS policy of %s (enforce, id %s: %s)", f.Host, f.Domain, f.sts.id,
			strings.Join(f.sts.policy.MX[:min(len(f.sts.policy.MX), 10)], ", "))
	case PolicyLost:
		return fmt.Sprintf("the MTA-STS policy of %s, which could prove %s, cannot be had now: %s", f.Domain, f.Host, clean(f.sts.err))
	case NotAuthentic:
		return fmt.Sprintf("nothing proves that %s serves %s (neither DNSSEC nor MTA-STS)", f.Host, f.Domain)
	}
	return ""
}

// clean writes an error that may hold words of others.
func clean(err error) string {
	if err == nil {
		return "no answer"
	}
	return postino.Printable(err.Error())
}

// Policy names the policy that a decision is about, for people: "DANE", "MTA-STS
// testing". It is empty when there is none.
func (f *Findings) Policy(d Decision) string {
	switch {
	case d.Policy == BySTS && f.sts.policy != nil:
		return "MTA-STS " + f.sts.policy.Mode.String()
	case d.DANE:
		return "DANE"
	case d.Policy == ByDANE:
		return "DANE without a usable TLSA record"
	}
	return ""
}

// Judges tells whether a policy judges the certificate, and not only route or
// message, if anybody.
func (f *Findings) Judges(d Decision) bool {
	return d.DANE || d.Policy == BySTS && f.sts.policy != nil
}

// Report is the policy that reports name (RFC 8460 §4.4).
type Report struct {
	Type    string // "tlsa", "sts" or "no-policy-found"
	Domain  string // that the policy is defined for
	Strings []string
	MX      []string // patterns, of "sts"
}

// Report returns the policy that a decision is about.
func (f *Findings) Report(d Decision) Report {
	switch {
	case d.Policy == ByDANE:
		r := Report{Type: "tlsa", Domain: f.Name()} // RFC 8460 §1.1: the TLSA base domain
		for _, t := range f.tlsa.records {
			r.Strings = append(r.Strings, FormatTLSA(t))
		}
		return r
	case d.Policy == BySTS && f.sts.policy != nil:
		return Report{Type: "sts", Domain: f.Domain, Strings: f.sts.policy.Lines, MX: f.sts.policy.MX}
	case d.Policy == BySTS:
		return Report{Type: "sts", Domain: f.Domain}
	}
	return Report{Type: "no-policy-found", Domain: f.Domain}
}
