package reports

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
)

// destination is where a report is to go.
type destination struct {
	to   postino.Address
	url  string // of a POST, when to is zero
	size int64  // octets that are taken at most; 0: not said
}

// maxDestinations is how many URIs of a record are looked at.
const maxDestinations = 10

// parseURI reads one report URI as records have it: "mailto:a@example.org!10m".
// The size is of RFC 7489 §6.2. ok is false for what is no address and no https
// URL.
func parseURI(s string) (d destination, ok bool) {
	s = strings.TrimSpace(s)
	if at := strings.LastIndexByte(s, '!'); at >= 0 {
		if d.size, ok = parseSize(s[at+1:]); !ok {
			return d, false
		}
		s = s[:at]
	}
	scheme, rest, _ := strings.Cut(s, ":")
	switch strings.ToLower(scheme) {
	case "mailto":
		rest, _, _ = strings.Cut(rest, "?")
		rest, err := url.PathUnescape(rest)
		if err != nil {
			return d, false
		}
		d.to, err = postino.ParseAddress(rest)
		return d, err == nil && !strings.HasPrefix(d.to.Domain, "[")
	case "https":
		u, err := url.Parse(s)
		d.url = s
		return d, err == nil && u.Host != "" && u.User == nil
	}
	return d, false
}

// parseSize reads octets with a unit k, m, g or t.
func parseSize(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	shift := 0
	if at := strings.IndexByte("kmgt", s[len(s)-1]|0x20); at >= 0 {
		shift, s = 10*(at+1), s[:len(s)-1]
	}
	n, err := strconv.ParseUint(s, 10, 22)
	return int64(n) << shift, err == nil && n > 0
}

// Verifier finds out which of the destinations that a record names want the
// reports (RFC 9990 §4; MA8).
type Verifier struct {
	DNS dns.Resolver
	// Limits bounds the questions for one report (MA7).
	Limits mailauth.Limits
}

// destinations returns those of uris that take reports for the policy domain, in
// their order; tag is "rua" or "ruf". Transient: it could not be found out now.
func (v *Verifier) destinations(ctx context.Context, domain, tag string, uris []string) (all []destination, err error) {
	q := mailauth.NewInquiry(v.DNS, v.Limits)
	for _, uri := range uris[:min(len(uris), maxDestinations)] {
		d, ok := parseURI(uri)
		if !ok || d.url != "" { // RFC 9990 §3.5.3: no scheme but mailto has been registered
			continue
		}
		more, err := external(ctx, q, domain, tag, d)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// external asks the host of a destination whether it wants reports for domain,
// unless both are of one organization. It may name another address of its own.
func external(ctx context.Context, q *mailauth.Inquiry, domain, tag string, d destination) ([]destination, error) {
	host := d.to.Domain
	same, err := sameOrganization(ctx, q, domain, host)
	if err != nil || same {
		return []destination{d}, err
	}
	name := domain + "._report._dmarc." + host
	if len(name) > 253 { // step 4
		return nil, nil
	}
	answer, err := q.Lookup(ctx, name, dns.TypeTXT)
	switch {
	case postino.Is(err, postino.NotFound):
		return nil, nil
	case err != nil:
		return nil, postino.E(postino.Transient, "verify destination of reports", host, err)
	}
	wanted, moved := false, []destination(nil)
	for _, text := range answer.TXT {
		record, _ := mailauth.ParseDMARC(text)
		if record == nil { // step 6
			continue
		}
		wanted = true
		uris := record.RUA
		if tag == "ruf" {
			uris = record.RUF
		}
		for _, uri := range uris {
			other, ok := parseURI(uri.URI)
			if !ok || other.to.Domain != host { // neither the original nor this one
				return nil, nil
			}
			moved = append(moved, other)
		}
	}
	switch {
	case !wanted:
		return nil, nil
	case len(moved) > 0:
		return moved[:min(len(moved), maxDestinations)], nil
	}
	return []destination{d}, nil
}

func sameOrganization(ctx context.Context, q *mailauth.Inquiry, a, b string) (bool, error) {
	if a == b {
		return true, nil
	}
	orgA, err := mailauth.OrganizationalDomain(ctx, q, a)
	if err != nil {
		return false, err
	}
	orgB, err := mailauth.OrganizationalDomain(ctx, q, b)
	return orgA == orgB, err
}
