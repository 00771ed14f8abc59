package mailauth

import (
	"context"
	"errors"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// ADSP is what the domain of an author says of signatures that its mail lacks (RFC
// 5617). The standard is historic; the result is for the record.
type ADSP struct {
	// Result is Pass with a valid signature of the author's domain; without one
	// None (no practice published), Unknown, Fail (all mail is signed), Discard,
	// NXDomain, TempError or PermError.
	Result Result
	Domain string
	// Practice is unknown, all or discardable; empty without a valid record.
	Practice string
	// Record is the text in the DNS and Reason why the result is what it is, both
	// fit for logs.
	Record, Reason string
}

// CheckADSP judges the signatures of a message by the practice of its author's
// domain, which is in A-labels: Author.Domain. Without a domain there is no result.
func CheckADSP(ctx context.Context, q *Inquiry, fromDomain string, v *Verdict) ADSP {
	a := ADSP{Domain: fromDomain}
	if fromDomain != "" {
		a.Result, a.Reason = a.judge(ctx, q, v)
	}
	return a
}

func (a *ADSP) judge(ctx context.Context, q *Inquiry, v *Verdict) (Result, string) {
	if v != nil {
		for i := range v.DKIM {
			// RFC 5617 §2.7: the domains are the same, no more.
			if v.DKIM[i].Result == Pass && v.DKIM[i].Domain == a.Domain {
				return Pass, "the message is signed by " + a.Domain
			}
		}
	}
	// RFC 5617 §4.3: does the domain exist?
	_, err := q.Lookup(ctx, a.Domain, dns.TypeMX)
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return NXDomain, a.Domain + " does not exist"
	case postino.Is(err, postino.Invalid):
		return PermError, a.Domain + " is no name in the DNS"
	case err != nil && !postino.Is(err, postino.NotFound):
		return TempError, a.Domain + " cannot be looked up now: " + dnsReason(err)
	}
	answer, err := q.Lookup(ctx, "_adsp._domainkey."+a.Domain, dns.TypeTXT)
	switch {
	case postino.Is(err, postino.NotFound), postino.Is(err, postino.Invalid):
		return None, a.Domain + " publishes no signing practice"
	case err != nil:
		return TempError, "the signing practice of " + a.Domain + " cannot be looked up now: " + dnsReason(err)
	case len(answer.TXT) != 1:
		return PermError, a.Domain + " publishes several signing practices"
	}
	a.Record = postino.Printable(answer.TXT[0][:min(len(answer.TXT[0]), maxOutcome)])
	if a.Practice = parseADSP(answer.TXT[0]); a.Practice == "" {
		return PermError, "the signing practice of " + a.Domain + " is malformed"
	}
	return map[string]Result{"unknown": Unknown, "all": Fail, "discardable": Discard}[a.Practice],
		"the message has no signature of " + a.Domain + ", whose practice is " + a.Practice
}

// parseADSP returns the practice in a record, empty when it is none (RFC 5617
// §4.2.1). Practices that nobody knows count as unknown.
func parseADSP(text string) string {
	if len(text) > maxRecord {
		return ""
	}
	tags, err := parseTags([]byte(text))
	if err != nil || len(tags) == 0 || tags[0].name != "dkim" || len(tags[0].value) == 0 {
		return ""
	}
	switch p := strings.ToLower(string(tags[0].value)); p {
	case "all", "discardable":
		return p
	}
	return "unknown"
}

// Results is the result for Authentication-Results (RFC 5617 §5.4).
func (a *ADSP) Results() []AuthResult {
	if a.Result == "" {
		return nil
	}
	r := AuthResult{Method: "dkim-adsp", Result: a.Result, Props: []Prop{{"header", "from", a.Domain}}}
	if a.Result != Pass && a.Result != None {
		r.Reason = a.Reason
	}
	return []AuthResult{r}
}
