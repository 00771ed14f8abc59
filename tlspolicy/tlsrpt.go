package tlspolicy

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// maxRUA is how many destinations of reports are used.
const maxRUA = 10

// TLSRPT is where a domain wants reports about TLS (RFC 8460 §3).
type TLSRPT struct {
	RUA []string // URIs, "mailto:" and "https:" only
}

// ParseTLSRPT reads the TXT records of _smtp._tls.DOMAIN. It is false when they do
// not ask for reports: not exactly one says so, or that one is not valid.
func ParseTLSRPT(texts []string) (TLSRPT, bool) {
	var found []string
	for _, t := range texts {
		if begins(t, tlsrptVersion) {
			found = append(found, t)
		}
	}
	if len(found) != 1 {
		return TLSRPT{}, false
	}
	r, err := ParseTLSRPTRecord(found[0])
	return r, err == nil
}

const tlsrptVersion = "v=TLSRPTv1"

// ParseTLSRPTRecord reads one such record. The error is Invalid and says why.
func ParseTLSRPTRecord(text string) (TLSRPT, error) {
	fields, err := parseRecord(text, tlsrptVersion)
	if err != nil {
		return TLSRPT{}, err
	}
	for _, f := range fields {
		if f.name != "rua" {
			continue
		}
		var r TLSRPT
		for uri := range strings.SplitSeq(f.value, ",") {
			uri = strings.Trim(uri, " \t")
			u, err := url.Parse(uri)
			if err != nil || u.Scheme == "" || strings.ContainsAny(uri, " \t!") { // RFC 8460 §3: "!" is encoded
				return TLSRPT{}, invalidRecord("rua holds what is no URI")
			}
			if (u.Scheme == "mailto" || u.Scheme == "https") && len(r.RUA) < maxRUA {
				r.RUA = append(r.RUA, uri)
			}
		}
		if len(r.RUA) == 0 {
			return TLSRPT{}, invalidRecord("rua has neither a mailto nor an https URI")
		}
		return r, nil
	}
	return TLSRPT{}, invalidRecord("there is no rua")
}

// LookupTLSRPT asks where a domain wants reports. NotFound means that it wants none.
func LookupTLSRPT(ctx context.Context, r dns.Resolver, domain string) (TLSRPT, error) {
	a, err := r.Lookup(ctx, "_smtp._tls."+domain, dns.TypeTXT)
	if err != nil {
		return TLSRPT{}, err
	}
	found, ok := ParseTLSRPT(a.TXT)
	if !ok {
		return TLSRPT{}, postino.E(postino.NotFound, "read TLSRPT record of", domain, errors.New("there is no valid one"))
	}
	return found, nil
}
