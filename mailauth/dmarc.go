package mailauth

import (
	"context"
	"errors"
	"strings"

	"github.com/postino-mail/postino/dns"
)

// DMARCOptions are the choices of CheckDMARC.
type DMARCOptions struct {
	Limits Limits
	// OlderLookup finds policies and organizational domains by RFC 7489 §3.2 and
	// §6.6.3, with the public suffix list, instead of the tree walk.
	OlderLookup bool
}

// DMARC is what the domain of a message's author says of it (RFC 9989).
type DMARC struct {
	// Result is Pass, Fail, None (no policy), TempError or PermError.
	Result Result
	Author Author
	// Domain is where Record was found; Org the organizational domain of the
	// author, empty when nobody had to know it. Record is nil without one.
	Domain, Org string
	Record      *DMARCRecord
	// Policy is the one that Record has for the author's domain, PolicyTag the tag
	// it is from: p, sp or np.
	Policy    DMARCPolicy
	PolicyTag string
	// Disposition is what the domain asks to be done with this message: its policy
	// if the message fails, but one level less with t=y; PolicyNone if it does not
	// fail. Who knows better may do otherwise (RFC 9989 §5.4).
	Disposition DMARCPolicy
	// NonExistent tells that the author's domain does not exist; it is asked for
	// only when np= matters.
	NonExistent bool
	// DKIM and SPF tell whether an aligned identifier passed.
	DKIM, SPF bool
	// Identifiers are what SPF and DKIM looked at.
	Identifiers []DMARCIdentifier
	// Reason says in plain English why the result is what it is; fit for logs.
	Reason string
}

// DMARCIdentifier is a domain that SPF or DKIM judged.
type DMARCIdentifier struct {
	Method           string // "dkim" or "spf"
	Domain, Selector string
	Result           Result
	// Aligned tells whether the domain belongs to the author's; it is found out for
	// Pass and TempError only.
	Aligned bool
}

// CheckDMARC judges a message by its raw header, the SPF result of its sender and
// the signatures; spf and v may be nil.
func CheckDMARC(ctx context.Context, q *Inquiry, rawHeader []byte, spf *SPF, v *Verdict, opts DMARCOptions) DMARC {
	c := dmarcCheck{walk: treeWalk{resolver: q, older: opts.OlderLookup}}
	c.Author = ReadAuthor(rawHeader, opts.Limits)
	c.Disposition = PolicyNone
	c.identify(spf, v)
	if c.Author.Domain == "" {
		c.several(ctx)
	} else {
		c.judge(ctx)
	}
	return c.DMARC
}

type dmarcCheck struct {
	DMARC
	walk treeWalk
}

func (c *dmarcCheck) set(r Result, reason string) { c.Result, c.Reason = r, reason }

// identify lists what SPF and DKIM say.
func (c *dmarcCheck) identify(spf *SPF, v *Verdict) {
	if v != nil {
		for i := range v.DKIM {
			if s := &v.DKIM[i]; s.Domain != "" {
				c.Identifiers = append(c.Identifiers, DMARCIdentifier{Method: "dkim", Domain: s.Domain, Selector: s.Selector, Result: s.Result})
			}
		}
	}
	// Only the identity of MAIL counts (RFC 9989 §4.4.2).
	if spf != nil && spf.MailFrom.Domain != "" {
		c.Identifiers = append(c.Identifiers, DMARCIdentifier{Method: "spf", Domain: spf.MailFrom.Domain, Result: spf.MailFrom.Result})
	}
}

// judge is for the message with one author.
func (c *dmarcCheck) judge(ctx context.Context) {
	if err := c.discover(ctx, c.Author.Domain); err != nil {
		c.set(TempError, "the DMARC policy of "+c.Author.Domain+" cannot be looked up now: "+dnsReason(err))
		return
	}
	switch {
	case c.Record == nil:
		c.set(None, c.Author.Domain+" has no DMARC policy")
		return
	case !c.Record.Valid:
		c.set(PermError, "the DMARC record of "+c.Domain+" has no valid policy")
		return
	}
	err := c.align(ctx)
	switch {
	case c.DKIM || c.SPF:
		c.set(Pass, c.passed()+" stands for "+c.Author.Domain)
	case err != nil:
		c.set(TempError, "nothing stands for "+c.Author.Domain+" yet, but not all can be looked up now: "+dnsReason(err))
	default:
		if err := c.choose(ctx, c.Author.Domain); err != nil {
			c.set(TempError, "it cannot be looked up now whether "+c.Author.Domain+" exists: "+dnsReason(err))
			return
		}
		c.set(Fail, c.failed()+" stands for "+c.Author.Domain)
		c.Disposition = c.applied()
	}
}

// discover finds the policy record for a domain (RFC 9989 §4.10.1).
func (c *dmarcCheck) discover(ctx context.Context, domain string) error {
	r, err := c.walk.record(ctx, domain)
	if err != nil {
		return err
	}
	at := domain
	if r == nil {
		if c.Org, at, r, err = c.walk.climb(ctx, domain); err != nil {
			return err
		}
	}
	if r == nil {
		return nil
	}
	c.Domain, c.Record = at, r
	c.Policy, c.PolicyTag = r.P, "p"
	if at != domain && r.SP != "" {
		c.Policy, c.PolicyTag = r.SP, "sp"
	}
	return nil
}

// choose looks whether np= is the policy that applies (RFC 9989 §3.2.13, §A.4).
func (c *dmarcCheck) choose(ctx context.Context, domain string) error {
	if np := c.Record.NP; np == "" || c.Domain == domain {
		return nil
	}
	_, err := c.walk.resolver.Lookup(ctx, domain, dns.TypeMX)
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		c.NonExistent = true
		c.Policy, c.PolicyTag = c.Record.NP, "np"
	case err != nil && !errors.Is(err, dns.ErrNoData) && c.Record.NP != c.Policy:
		return err
	}
	return nil
}

// applied is the policy that fits the wish to test (RFC 9989 §4.7, t).
func (c *dmarcCheck) applied() DMARCPolicy {
	if c.Record.Testing {
		return c.Policy.weaker()
	}
	return c.Policy
}

// align finds out which identifiers belong to the author's domain. The error is of
// the first lookup that could have made a pass.
func (c *dmarcCheck) align(ctx context.Context) error {
	var failed error
	for i := range c.Identifiers {
		id := &c.Identifiers[i]
		if id.Result != Pass && id.Result != TempError {
			continue
		}
		strict := c.Record.ADKIMStrict
		if id.Method == "spf" {
			strict = c.Record.ASPFStrict
		}
		var err error
		id.Aligned, err = c.aligned(ctx, id.Domain, strict)
		switch {
		case err == nil && id.Aligned && id.Result == TempError:
			err = errJudgedLater
		case id.Aligned && id.Method == "dkim":
			c.DKIM = true
		case id.Aligned:
			c.SPF = true
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// errJudgedLater is why an aligned identifier is neither pass nor fail yet.
var errJudgedLater = errors.New("SPF or DKIM need an answer that is missing")

// aligned tells whether an identifier has the organizational domain of the author
// (RFC 9989 §4.10.2).
func (c *dmarcCheck) aligned(ctx context.Context, domain string, strict bool) (bool, error) {
	if domain == c.Author.Domain || strict {
		return domain == c.Author.Domain, nil
	}
	if c.Org == "" {
		org, _, _, err := c.walk.climb(ctx, c.Author.Domain)
		if err != nil {
			return false, err
		}
		c.Org = org
	}
	if domain != c.Org && !strings.HasSuffix(domain, "."+c.Org) {
		return false, nil // its organizational domain is another one, whatever its records say
	}
	org, _, _, err := c.walk.climb(ctx, domain)
	return org == c.Org, err
}

// several is for the message whose From is not one address that all read alike: it
// never passes, and the strictest of the policies applies (MA1, RFC 9989 §11.5).
func (c *dmarcCheck) several(ctx context.Context) {
	c.set(PermError, c.Author.Reason)
	var failed error
	worst := c.DMARC
	for _, domain := range c.Author.Domains {
		c.Domain, c.Org, c.Record, c.Policy, c.PolicyTag, c.NonExistent = "", "", nil, "", "", false
		err := c.discover(ctx, domain)
		if err == nil && c.Record != nil && c.Record.Valid {
			err = c.choose(ctx, domain)
		}
		switch {
		case err != nil:
			failed = err
		case c.Record != nil && c.Record.Valid && (worst.Record == nil || c.applied().weight() > worst.Disposition.weight()):
			c.Disposition = c.applied()
			c.set(Fail, c.Author.Reason+"; "+domain+" has a DMARC policy")
			worst = c.DMARC
		}
	}
	c.DMARC = worst
	switch {
	case c.Disposition == PolicyReject:
	case c.Author.More:
		// Nobody has so many authors: one of them may want it refused.
		c.set(Fail, c.Author.Reason+", of more domains than can be asked")
		c.Disposition = PolicyReject
	case failed != nil:
		// The one that is missing may be the strictest.
		c.set(TempError, c.Author.Reason+", and a DMARC policy cannot be looked up now: "+dnsReason(failed))
		c.Domain, c.Org, c.Record, c.Policy, c.PolicyTag, c.NonExistent = "", "", nil, "", "", false
		c.Disposition = PolicyNone
	}
}

// passed names what passed.
func (c *dmarcCheck) passed() string {
	for _, id := range c.Identifiers {
		if id.Aligned && id.Result == Pass && id.Method == "dkim" {
			return "the signature of " + id.Domain
		}
	}
	for _, id := range c.Identifiers {
		if id.Aligned && id.Result == Pass {
			return "SPF of " + id.Domain
		}
	}
	return "nothing"
}

// failed names what did not help.
func (c *dmarcCheck) failed() string {
	var list []string
	for _, id := range c.Identifiers {
		if len(list) == 4 {
			list = append(list, "…")
			break
		}
		list = append(list, id.Method+"="+string(id.Result)+" for "+id.Domain)
	}
	if len(list) == 0 {
		return "nothing"
	}
	return "none of " + strings.Join(list, ", ")
}

// Results is the result for Authentication-Results (RFC 9989 §9.1).
func (d *DMARC) Results() []AuthResult {
	if d.Result == "" {
		return nil
	}
	r := AuthResult{Method: "dmarc", Result: d.Result}
	if d.Result != Pass {
		r.Reason = d.Reason
	}
	if d.Policy != "" {
		r.Comment = d.PolicyTag + "=" + string(d.Policy)
		if d.Record.Testing {
			r.Comment += ", testing"
		}
	}
	if d.Author.Domain != "" {
		r.Props = append(r.Props, Prop{"header", "from", d.Author.Domain})
	}
	if d.Record != nil {
		r.Props = append(r.Props, Prop{"policy", "dmarc", string(d.Disposition)})
	}
	return []AuthResult{r}
}
