package receive

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/smtp"
)

// Enforcement says what becomes of a message that is not of the domain in From,
// when that domain publishes what it wants for such messages (DMARC).
type Enforcement uint8

// The ways.
const (
	// Enforce does what the domain asks for: refuse, or put into Junk.
	Enforce Enforcement = iota
	// QuarantineOnly puts into Junk what would be refused (RFC 9989 §7.4).
	QuarantineOnly
	// Record writes down what was found and does nothing.
	Record
)

// ruling is what becomes of a message.
type ruling struct {
	refusal *smtp.Reply // nil: it is taken
	junk    bool
	// rule is what decided, in words, and overrides why it is not what the domain
	// wanted.
	rule      string
	overrides []reports.Override
}

// disposition is the ruling as reports tell it.
func (r *ruling) disposition(d *mailauth.DMARC) reports.Disposition {
	switch {
	case r.refusal != nil && d.Result == mailauth.Fail:
		return reports.Reject
	case r.junk:
		return reports.Quarantine
	case d.Result == mailauth.Pass && (d.Policy == mailauth.PolicyReject || d.Policy == mailauth.PolicyQuarantine):
		return reports.Passed
	}
	return reports.None
}

// String names what becomes of the message.
func (r *ruling) String() string {
	switch {
	case r.refusal != nil && r.refusal.Code < 500:
		return "put off"
	case r.refusal != nil:
		return "refused"
	case r.junk:
		return "taken as junk"
	}
	return "taken"
}

// rule decides about a message that was judged. An error: nobody knows now whom
// we trust.
func (tr *trial) rule(ctx context.Context, o *Options) (ruling, error) {
	d := &tr.DMARC
	r := ruling{rule: "no policy is against it"}
	wants := d.Disposition
	unknown := d.Result == mailauth.TempError && !tr.provable() && (d.Record == nil || d.Policy != mailauth.PolicyNone)
	forged := tr.sendsNothing() && d.Result != mailauth.Pass
	if d.Result == mailauth.Fail && d.Record != nil && d.Record.Testing && d.Policy != d.Disposition {
		r.overrides = append(r.overrides, reports.Override{Type: reports.TestMode}) // RFC 9989 §4.7, t=
	}
	if wants != mailauth.PolicyReject && wants != mailauth.PolicyQuarantine && !unknown && !forged {
		return r, nil
	}
	table, err := o.Directory.Trusted(ctx)
	if err != nil {
		return r, err
	}
	if why := tr.vouched(ctx, table); why != nil {
		r.rule = "trusted " + why.Comment
		r.overrides = append(r.overrides, *why)
		return r, nil
	}
	switch {
	case o.DMARC == Record:
		r.rule = "policies are recorded only"
		r.overrides = append(r.overrides, reports.Override{Type: reports.LocalPolicy, Comment: r.rule})
	case wants == mailauth.PolicyReject && o.DMARC == Enforce:
		r.rule = "DMARC policy of " + d.Domain
		r.refusal = tr.rejected()
	case wants == mailauth.PolicyReject:
		r.junk, r.rule = true, "DMARC policy of "+d.Domain+", refusing is off"
		r.overrides = append(r.overrides, reports.Override{Type: reports.LocalPolicy, Comment: "reject is treated as quarantine"})
	case wants == mailauth.PolicyQuarantine:
		r.junk, r.rule = true, "DMARC policy of "+d.Domain
	case unknown: // DN2: what cannot be known is not passed; RFC 9989 §7.2 advises 4yz
		r.rule = "DMARC cannot be known"
		r.refusal = &smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: "DMARC of " + tr.domain() + " cannot be known now, try again later: " + d.Reason}
	default: // RFC 7208 §8.4, RFC 7372 §3.2
		r.rule = "SPF record of " + tr.SPF.MailFrom.Domain
		r.refusal = &smtp.Reply{Code: 550, Enhanced: "5.7.23", Text: "SPF validation failed: " + tr.SPF.MailFrom.Domain + " says that it sends no mail"}
	}
	return r, nil
}

// domain names the author's domain for people.
func (tr *trial) domain() string {
	if d := tr.DMARC.Author.Domain; d != "" {
		return d
	}
	return "the author's domain"
}

// rejected words a refusal by policy (RFC 9989 §7.2), and by MA1.
func (tr *trial) rejected() *smtp.Reply {
	d := &tr.DMARC
	if d.Author.Domain == "" {
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: fmt.Sprintf("Email rejected per DMARC policy for %s: a message has one author in one From field (%s)", cmp.Or(d.Domain, tr.domain()), d.Author.Reason)}
	}
	dkim := mailauth.None
	for i := range tr.Verdict.DKIM {
		if s := &tr.Verdict.DKIM[i]; i == 0 || s.Result == mailauth.Pass {
			dkim = s.Result
		}
	}
	return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: fmt.Sprintf("Email rejected per DMARC policy for %s: neither SPF (%s) nor DKIM (%s) shows that it is from %s",
		d.Domain, tr.SPF.MailFrom.Result, dkim, d.Author.Domain)}
}

// provable tells that whatever the policy says the message would pass: the very
// domain in From sent or signed it.
func (tr *trial) provable() bool {
	a := tr.DMARC.Author.Domain
	if a == "" {
		return false
	}
	if s := &tr.SPF.MailFrom; s.Result == mailauth.Pass && s.Domain == a {
		return true
	}
	return slices.ContainsFunc(tr.Verdict.DKIM, func(s mailauth.Signature) bool { return s.Result == mailauth.Pass && s.Domain == a })
}

// sendsNothing tells that the domain in the reverse-path says that it never sends
// mail. A host that says so of its own name may still report by the null sender.
func (tr *trial) sendsNothing() bool {
	s := &tr.SPF.MailFrom
	return s.Result == mailauth.Fail && !tr.SPF.NullSender && slices.Equal(strings.Fields(strings.ToLower(s.Record)), []string{"v=spf1", "-all"})
}

// vouched finds somebody who is trusted and stands for the message. A message of
// several authors is nobody's to stand for (MA1).
func (tr *trial) vouched(ctx context.Context, t *directory.TrustTable) *reports.Override {
	if tr.DMARC.Author.Domain == "" && len(tr.DMARC.Author.Domains) > 0 {
		return nil
	}
	if f := t.Forwarder(tr.client.Remote, tr.IPRev.Name); f != "" {
		return &reports.Override{Type: reports.TrustedForwarder, Comment: "forwarder " + f}
	}
	if l := tr.list(t); l != "" {
		return &reports.Override{Type: reports.MailingList, Comment: "list " + l}
	}
	if n := tr.sealed(ctx, t); n > 0 {
		return &reports.Override{Type: reports.LocalPolicy, Comment: tr.chain()}
	}
	return nil
}

// list finds a known list whose signature the message has: one of its domain, or
// one above the List-Id that it signed (RFC 2919 §3).
func (tr *trial) list(t *directory.TrustTable) string {
	if t.Empty(directory.TrustList) {
		return ""
	}
	id := listID(tr.raw)
	for i := range tr.Verdict.DKIM {
		s := &tr.Verdict.DKIM[i]
		if s.Result != mailauth.Pass {
			continue
		}
		if l := t.List(s.Domain); l != "" {
			return l
		}
		if l := t.List(id); l != "" && under(id, s.Domain) && slices.Contains(s.Fields, "list-id") {
			return l
		}
	}
	return ""
}

// listID reads the name of the list, "" when there is none or more than one.
func listID(header []byte) string {
	id, n := "", 0
	for f := range message.Fields(header) {
		if !f.Is("list-id") {
			continue
		}
		if n++; n > 1 {
			return ""
		}
		v := string(message.Unfold(f.Value))
		v = v[strings.LastIndexByte(v, '<')+1:]
		v, _, _ = strings.Cut(v, ">")
		if d, err := postino.CanonicalDomain(strings.TrimSpace(v)); err == nil {
			id = d
		}
	}
	return id
}

// under tells whether a name is a domain or below it.
func under(name, domain string) bool {
	return domain != "" && (name == domain || strings.HasSuffix(name, "."+domain))
}

// sealed returns the set of the ARC chain that shows that the message was its
// author's when a trusted sealer had it; all who sealed it since are trusted too
// (MA6, RFC 8617 §7.2.1). 0: there is none.
func (tr *trial) sealed(ctx context.Context, t *directory.TrustTable) int {
	c := &tr.Verdict.ARC
	if c.Result != mailauth.Pass || t.Empty(directory.TrustSealer) {
		return 0
	}
	for i := len(c.Sets) - 1; i >= 0 && t.Sealer(c.Sets[i].Seal.Domain) != ""; i-- {
		was, err := mailauth.ParseAuthResults(c.Sets[i].Results, 0)
		if err == nil && slices.ContainsFunc(was.Results, func(r mailauth.AuthResult) bool { return tr.shows(ctx, r) }) {
			return i + 1
		}
	}
	return 0
}

// shows tells whether a result proves the domain in From.
func (tr *trial) shows(ctx context.Context, r mailauth.AuthResult) bool {
	if r.Result != mailauth.Pass {
		return false
	}
	return slices.ContainsFunc(r.Props, func(p mailauth.Prop) bool {
		value := p.Value[strings.LastIndexByte(p.Value, '@')+1:]
		domain, err := postino.CanonicalDomain(value)
		if err != nil {
			return false
		}
		d := &tr.DMARC
		switch r.Method + " " + p.Type + "." + p.Name {
		case "dmarc header.from":
			return domain == d.Author.Domain
		case "dkim header.d":
			return tr.aligned(ctx, domain, d.Record != nil && d.Record.ADKIMStrict)
		case "spf smtp.mailfrom":
			return tr.aligned(ctx, domain, d.Record != nil && d.Record.ASPFStrict)
		}
		return false
	})
}

// aligned tells whether a domain stands for the author's (RFC 9989 §4.4).
func (tr *trial) aligned(ctx context.Context, domain string, strict bool) bool {
	author := tr.DMARC.Author.Domain
	if domain == author || strict {
		return domain == author
	}
	one, err := mailauth.OrganizationalDomain(ctx, tr.inquiry, author)
	if err != nil || !under(domain, one) {
		return false
	}
	other, err := mailauth.OrganizationalDomain(ctx, tr.inquiry, domain)
	return err == nil && one == other
}

// chain tells of the chain as reports want it (RFC 8617 §7.2.2).
func (tr *trial) chain() string {
	c := &tr.Verdict.ARC
	b := []byte("arc=" + c.Result)
	for i := len(c.Sets) - 1; i >= 0 && len(b) < 400; i-- {
		s := &c.Sets[i].Seal
		b = fmt.Appendf(b, " as[%d].d=%s as[%d].s=%s", i+1, s.Domain, i+1, s.Selector)
	}
	if len(c.Sets) > 0 {
		if first, err := mailauth.ParseAuthResults(c.Sets[0].Results, 0); err == nil {
			for _, r := range first.Results {
				for _, p := range r.Props {
					if p.Type == "smtp" && (p.Name == "remote-ip" || p.Name == "client-ip") {
						return postino.Printable(string(b) + " remote-ip[1]=" + p.Value)
					}
				}
			}
		}
	}
	return postino.Printable(string(b))
}
