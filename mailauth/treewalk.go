package mailauth

import (
	"context"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// LookupDMARC asks for the policy record at a domain itself, not above it. When n,
// the number of records, is not one, none counts (RFC 9989 §4.10): then the error
// is of kind NotFound, and text the first of several. What the DNS cannot tell now
// is Transient.
func LookupDMARC(ctx context.Context, r dns.Resolver, domain string) (text string, n int, err error) {
	a, err := r.Lookup(ctx, "_dmarc."+domain, dns.TypeTXT)
	if postino.Is(err, postino.Invalid) { // the name became too long
		err = postino.E(postino.NotFound, "look up DMARC record", domain, err)
	}
	if err != nil {
		return "", 0, err
	}
	for _, t := range a.TXT {
		if isDMARC(t) {
			if n++; n == 1 {
				text = t
			}
		}
	}
	if n != 1 {
		err = postino.E(postino.NotFound, "look up DMARC record", domain, nil)
	}
	return text, n, err
}

// OrganizationalDomain returns the domain at the top of those under the same
// administration as a domain in A-labels, by the DNS tree walk (RFC 9989 §4.10.2).
// The error is Transient.
func OrganizationalDomain(ctx context.Context, q *Inquiry, domain string) (string, error) {
	w := treeWalk{resolver: q}
	org, _, _, err := w.climb(ctx, domain)
	return org, err
}

// treeWalk finds policies and organizational domains. It asks for each record once.
type treeWalk struct {
	resolver dns.Resolver
	older    bool // by RFC 7489 §3.2, §6.6.3, with the public suffix list
	found    map[string]foundRecord
}

type foundRecord struct {
	record *DMARCRecord // nil without one
	err    error        // Transient
}

// record returns the record at a domain, nil without one. The error is Transient.
func (w *treeWalk) record(ctx context.Context, domain string) (*DMARCRecord, error) {
	if f, ok := w.found[domain]; ok {
		return f.record, f.err
	}
	var f foundRecord
	text, _, err := LookupDMARC(ctx, w.resolver, domain)
	switch {
	case err == nil:
		f.record, _ = ParseDMARC(text)
	case !postino.Is(err, postino.NotFound):
		f.err = err
	}
	if w.found == nil {
		w.found = make(map[string]foundRecord, walkLength)
	}
	w.found[domain] = f
	return f.record, f.err
}

// walkLength is how many names a tree walk asks for at most.
const walkLength = 8

// above returns the domain that a tree walk asks for after another one: its
// parent, but after the first one never with more than 7 labels (RFC 9989 §4.10,
// steps 4 and 7). It is empty at the end.
func above(domain string) string {
	_, parent, _ := strings.Cut(domain, ".")
	for n := strings.Count(parent, ".") + 1; n >= walkLength; n-- {
		_, parent, _ = strings.Cut(parent, ".")
	}
	return parent
}

// climb walks up from a domain. org is its organizational domain; record is what
// applies to the domain unless it has a record of its own: the one of the
// organizational domain or of the public suffix above it (RFC 9989 §4.10.1), found
// at the domain at.
func (w *treeWalk) climb(ctx context.Context, domain string) (org, at string, record *DMARCRecord, err error) {
	if w.older {
		return w.climbOlder(ctx, domain)
	}
	org = domain
	for target := domain; target != ""; target = above(target) {
		r, err := w.record(ctx, target)
		if err != nil {
			return "", "", nil, err
		}
		if r == nil {
			continue
		}
		if target != domain && (r.PSD == 'y' || r.PSD == 'u' && publicSuffix(target)) {
			if org = oneBelow(domain, target); at == org {
				return org, at, record, nil
			}
			return org, target, r, nil
		}
		org, at, record = target, target, r
		if r.PSD != 'u' {
			break
		}
	}
	return org, at, record, nil
}

// climbOlder finds the domain that was registered.
func (w *treeWalk) climbOlder(ctx context.Context, domain string) (org, at string, record *DMARCRecord, err error) {
	org, err = publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil { // it is a suffix itself
		org = domain
	}
	record, err = w.record(ctx, org)
	return org, org, record, err
}

// oneBelow is the domain one label below target on the way to domain.
func oneBelow(domain, target string) string {
	rest := domain[:len(domain)-len(target)-1]
	return domain[strings.LastIndexByte(rest, '.')+1:]
}

// publicSuffix tells whether registries hand out names below a domain, by the list
// of suffixes that ICANN's part of publicsuffix.org has. Such domains have records
// from the time of RFC 9091, which had no psd=: their registrants do not belong
// together.
func publicSuffix(domain string) bool {
	suffix, icann := publicsuffix.PublicSuffix(domain)
	return icann && suffix == domain
}
