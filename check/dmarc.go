package check

import (
	"context"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
)

// dmarc reads the DMARC record as receivers do (RFC 9989).
func (r *run) dmarc(ctx context.Context) []Finding {
	const name = "dmarc.record"
	text, n, err := mailauth.LookupDMARC(ctx, r, r.dom.Name)
	want := r.wanted("_dmarc."+r.dom.Name, "TXT")
	switch {
	case n > 1: // RFC 9989 §4.10.1
		return []Finding{finding(Fix, name, "", "%d DMARC records stand where one should be: none counts", n).publish(want...)}
	case absent(err):
		return r.dmarcAbove(ctx, want)
	case err != nil:
		return []Finding{unsure(name, "", "what the DMARC record says", err)}
	}
	record, problems := mailauth.ParseDMARC(text)
	if record == nil {
		return []Finding{finding(Fix, name, "", "the DMARC record cannot be read").publish(want...)}
	}
	f, bad := r.problems(finding(Fix, name, "", "receivers pass over a part of the DMARC record"), problems)
	if !record.Valid {
		f.Text = "receivers pass over the DMARC record: it has no valid p="
	}
	if !bad && record.Valid {
		f = finding(OK, name, "", "the DMARC record is right").detail("%s", record.Text)
		if g, some := advise(finding(Advice, name, "", "the DMARC record could be better"), problems); some {
			f = g
		}
	}
	return append([]Finding{f, r.dmarcPolicy(record)}, r.dmarcReports(ctx, record)...)
}

// dmarcAbove looks for the record of the organization, which stands for those that
// its subdomains do not have (RFC 9989 §4.10).
func (r *run) dmarcAbove(ctx context.Context, want []Record) []Finding {
	const name = "dmarc.record"
	org, err := mailauth.OrganizationalDomain(ctx, r.inquiryFor(), r.dom.Name)
	if err == nil && org != r.dom.Name {
		_, _, err = mailauth.LookupDMARC(ctx, r, org)
		if err == nil {
			return []Finding{finding(OK, name, "", "the DMARC record of %s holds for %s", org, r.dom.Name)}
		}
	}
	if err != nil && !absent(err) {
		return []Finding{unsure(name, "", "whether a DMARC record holds for "+r.dom.Name, err)}
	}
	s := Advice
	if r.ours { // the large providers want one of whoever sends them much
		s = Fix
	}
	return []Finding{finding(s, name, "", "%s has no DMARC record: anybody may send in its name", r.dom.Name).publish(want...)}
}

// dmarcPolicy advises to tighten.
func (r *run) dmarcPolicy(d *mailauth.DMARCRecord) Finding {
	const name = "dmarc.policy"
	tighter := func(from, to mailauth.DMARCPolicy) []Record {
		tags := strings.Split(d.Text, ";")
		for i, tag := range tags {
			if name, value, _ := strings.Cut(tag, "="); strings.EqualFold(strings.TrimSpace(name), "p") && strings.TrimSpace(value) == string(from) {
				tags[i] = name + "=" + string(to)
			}
		}
		value := strings.Join(tags, ";")
		if !r.ours || value == d.Text {
			return nil
		}
		return []Record{{Name: "_dmarc." + r.dom.Name, Type: "TXT", TTL: ttl, Value: value, Replaces: d.Text}}
	}
	switch {
	case d.P == mailauth.PolicyNone || d.P == "":
		return finding(Advice, name, "", "p=none only watches: once reports show no mail but yours, tighten it to quarantine, later to reject").
			publish(tighter(mailauth.PolicyNone, mailauth.PolicyQuarantine)...)
	case d.Testing:
		return finding(Advice, name, "", "t=y asks receivers to be milder than p=%s: leave it out once reports are clean", d.P)
	case d.SP == mailauth.PolicyNone || d.NP == mailauth.PolicyNone:
		return finding(Advice, name, "", "anybody may send in the name of subdomains (sp=none or np=none)")
	}
	return finding(OK, name, "", "receivers are asked to %s forged mail", map[mailauth.DMARCPolicy]string{mailauth.PolicyQuarantine: "set aside", mailauth.PolicyReject: "refuse"}[d.P])
}

// dmarcReports tells whether reports arrive (RFC 9990 §4).
func (r *run) dmarcReports(ctx context.Context, d *mailauth.DMARCRecord) (list []Finding) {
	const name = "dmarc.reports"
	if len(d.RUA) == 0 {
		return []Finding{finding(Advice, name, "", "nobody is told who sends in the name of %s: add rua=mailto:…", r.dom.Name)}
	}
	seen := map[string]bool{}
	for _, u := range append(d.RUA[:len(d.RUA):len(d.RUA)], d.RUF...) {
		to := u.Mailto
		if to.IsNull() || seen[to.String()] {
			continue
		}
		seen[to.String()] = true
		list = append(list, r.dmarcReport(ctx, name, to))
	}
	return list
}

func (r *run) dmarcReport(ctx context.Context, name string, to postino.Address) Finding {
	at := to.String()
	if f, ok := r.arrives(ctx, name, to); !ok {
		return f
	}
	if Within(to.Domain, r.dom.Name) || Within(r.dom.Name, to.Domain) {
		return finding(OK, name, at, "reports go to %s", at)
	}
	ours, err := mailauth.OrganizationalDomain(ctx, r.inquiryFor(), r.dom.Name)
	theirs := ""
	if err == nil {
		theirs, err = mailauth.OrganizationalDomain(ctx, r.inquiryFor(), to.Domain)
	}
	if err != nil {
		return unsure(name, at, "whether reports may go to "+at, err)
	}
	if ours == theirs {
		return finding(OK, name, at, "reports go to %s", at)
	}
	owner := r.dom.Name + "._report._dmarc." + to.Domain
	a, err := r.Lookup(ctx, owner, dns.TypeTXT)
	if err != nil && !absent(err) {
		return unsure(name, at, "whether "+to.Domain+" takes reports about "+r.dom.Name, err)
	}
	if err == nil {
		for _, text := range a.TXT {
			if d, _ := mailauth.ParseDMARC(text); d != nil {
				return finding(OK, name, at, "reports go to %s, which wants them", at)
			}
		}
	}
	return finding(Fix, name, at, "nobody sends reports to %s: %s does not say that it takes those about %s", at, to.Domain, r.dom.Name).
		publish(Record{Name: owner, Type: "TXT", TTL: ttl, Value: "v=DMARC1", Note: "by who holds " + to.Domain})
}

// arrives tells whether an address takes mail, if it is one of ours; the finding is
// for when it does not.
func (r *run) arrives(ctx context.Context, name string, to postino.Address) (Finding, bool) {
	if r.opts.Domain == nil {
		return Finding{}, true
	}
	d, err := r.opts.Domain(ctx, to.Domain)
	if absent(err) {
		return Finding{}, true
	}
	ok := false
	if err == nil && d.Accepts != nil {
		ok, err = d.Accepts(to.Local)
	}
	switch {
	case err != nil:
		return unsure(name, to.String(), "whether "+to.String()+" gets mail", err), false
	case !ok:
		return finding(Fix, name, to.String(), "reports go to %s, which gets no mail", to), false
	}
	return Finding{}, true
}
