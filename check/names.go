package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postino-mail/postino/dns"
)

// dnssec tells whether the domain is signed, and whether that holds.
func (r *run) dnssec(ctx context.Context) []Finding {
	const name = "dnssec.signed"
	a, err := r.Lookup(ctx, r.dom.Name, dns.TypeSOA)
	switch {
	case errors.Is(err, dns.ErrBogus):
		return []Finding{finding(Fix, name, "", "the signatures of %s are wrong (DNSSEC): many cannot find the domain at all", r.dom.Name)}
	case err != nil && !absent(err):
		return []Finding{unsure(name, "", "whether "+r.dom.Name+" is signed (DNSSEC)", err)}
	case a.Security == dns.Secure:
		return []Finding{finding(OK, name, "", "%s is signed (DNSSEC)", r.dom.Name)}
	case a.Security == dns.Insecure:
		return []Finding{finding(Advice, name, "", "%s is not signed (DNSSEC): sign it where its DNS is", r.dom.Name)}
	}
	return []Finding{unsure(name, "", "whether "+r.dom.Name+" is signed (DNSSEC)", errors.New("the name servers prove nothing"))}
}

// caa tells whether our certificate authority may make certificates for the names
// of this server (RFC 8659 §3).
func (r *run) caa(ctx context.Context, host, subject string) []Finding {
	const name = "caa.permits"
	if len(r.node.Issuers) == 0 {
		return nil
	}
	for at := host; strings.Contains(at, "."); _, at, _ = strings.Cut(at, ".") {
		a, err := r.Lookup(ctx, at, dns.TypeCAA)
		if absent(err) {
			continue
		}
		if err != nil {
			return []Finding{unsure(name, subject, "who may make certificates for "+host, err)}
		}
		if issuers, permits := r.permits(a.CAA); !permits {
			f := finding(Fix, name, subject, "the CAA records of %s do not permit %s to make certificates for %s", at, strings.Join(r.node.Issuers, " or "), host)
			rec := Record{Name: at, Type: "CAA", TTL: ttl, Value: fmt.Sprintf("0 issue %q", r.node.Issuers[0])}
			return []Finding{f.detail("permitted: %s", strings.Join(issuers, ", ")).publish(rec)}
		}
		return []Finding{finding(OK, name, subject, "the CAA records of %s permit our certificate authority", at)}
	}
	return []Finding{finding(OK, name, subject, "any certificate authority may make certificates for %s (no CAA)", host)}
}

// permits reads the issue properties of a set (RFC 8659 §4.2).
func (r *run) permits(set []dns.CAA) (issuers []string, ok bool) {
	restricted := false
	for _, c := range set {
		if !strings.EqualFold(c.Tag, "issue") {
			continue
		}
		restricted = true
		issuer, _, _ := strings.Cut(c.Value, ";")
		if issuer = strings.ToLower(strings.TrimSpace(issuer)); issuer == "" {
			issuer = "nobody"
		}
		issuers = append(issuers, issuer)
		ok = ok || slices.Contains(r.node.Issuers, issuer)
	}
	slices.Sort(issuers)
	return issuers, ok || !restricted
}

func (r *run) hostCAA(ctx context.Context) []Finding { return r.caa(ctx, r.node.Host, "") }

func (r *run) policyCAA(ctx context.Context) []Finding {
	if r.dom.STS == nil {
		return nil
	}
	return r.caa(ctx, "mta-sts."+r.dom.Name, "mta-sts")
}

// services checks where mail programs look for this server (RFC 6186, RFC 8314
// §5.1).
func (r *run) services(ctx context.Context) (list []Finding) {
	if !r.ours {
		return nil
	}
	for _, c := range clients() {
		if port := r.node.port(c.service); port != 0 {
			list = append(list, r.service(ctx, c, port))
		}
	}
	return list
}

func (r *run) service(ctx context.Context, c client, port uint16) Finding {
	const name = "clients.srv"
	owner := c.label + "." + r.dom.Name
	want := r.wanted(owner, "SRV")
	a, err := r.Lookup(ctx, owner, dns.TypeSRV)
	switch {
	case absent(err):
		return finding(Advice, name, c.service, "mail programs are not told where %s is", c.service).publish(want...)
	case err != nil:
		return unsure(name, c.service, "where mail programs look for "+c.service, err)
	}
	var elsewhere []string
	for _, s := range a.SRV {
		if s.Host == "" || s.Host == "." { // RFC 6186 §3.4: not offered
			return finding(Fix, name, c.service, "mail programs are told that there is no %s", c.service).publish(want...)
		}
		here, err := r.isHere(ctx, s.Host)
		switch {
		case err != nil:
			return unsure(name, c.service, "whether "+s.Host+" is this server", err)
		case here && s.Port == port:
			return finding(OK, name, c.service, "mail programs find %s at %s, port %d", c.service, s.Host, s.Port)
		case here:
			return finding(Fix, name, c.service, "mail programs look for %s at port %d, but it is at port %d", c.service, s.Port, port).publish(want...)
		}
		elsewhere = append(elsewhere, s.Host)
	}
	return finding(Advice, name, c.service, "mail programs look for %s at %s, not here", c.service, strings.Join(elsewhere, ", ")).publish(want...)
}

// mailboxes checks the addresses that every domain has (RFC 5321 §4.5.1, RFC 2142).
func (r *run) mailboxes(context.Context) (list []Finding) {
	if !r.ours || r.dom.Accepts == nil {
		return nil
	}
	for _, m := range []struct {
		local string
		s     Status
		why   string
	}{{"postmaster", Fix, "every domain must have it"}, {"abuse", Advice, "others write there about mail that should not be"}} {
		const name = "address.taken"
		a := m.local + "@" + r.dom.Name
		ok, err := r.dom.Accepts(m.local)
		switch {
		case err != nil:
			list = append(list, unsure(name, m.local, "whether "+a+" gets mail", err))
		case ok:
			list = append(list, finding(OK, name, m.local, "%s gets mail", a))
		default:
			list = append(list, finding(m.s, name, m.local, "%s gets no mail: %s", a, m.why))
		}
	}
	return list
}
