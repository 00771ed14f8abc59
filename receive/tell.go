package receive

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
)

// Reports takes what domains want to be told of their mail: a
// [reports.Collector].
type Reports interface {
	DMARC(reports.DMARCOutcome)
	DMARCFailure(reports.DMARCFailure)
}

// What a story keeps of a judgement.
const (
	maxFacts = 40  // answers of the DNS
	maxFact  = 240 // octets of one
)

// judged tells log, counters and the story what was found out, and what decided.
func (t *transaction) judged(r *ruling) {
	tr, o := t.trial, t.s.b.observe
	results := tr.Results()
	e := t.s.b.opts.Stories.Event(t.letter.ID, story.Judged, time.Now()).Text(story.Decision, r.String()).Text(story.Rule, r.rule)
	for _, why := range r.overrides {
		e.Text(story.Override, strings.TrimSpace(why.Type+" "+why.Comment))
	}
	if t.forged > 0 {
		e.Text(story.Reason, fmt.Sprintf("%d forged Authentication-Results removed", t.forged))
	}
	for i := range results {
		a := &results[i]
		o.judged.With(a.Method, string(a.Result)).Inc()
		e.Text(story.Method, a.Method).Text(story.Result, string(a.Result)).Text(story.About, about(a)).Text(story.Reason, tr.reason(a))
	}
	facts := tr.inquiry.Facts()
	for _, f := range facts[:min(len(facts), maxFacts)] {
		e.Text(story.DNS, dnsFact(&f))
	}
	if n := len(facts) - maxFacts; n > 0 {
		e.Text(story.DNS, fmt.Sprintf("and %d more", n))
	}
	t.events = append(t.events, e)
	if o.log.Enabled(context.Background(), slog.LevelInfo) {
		d := &tr.DMARC
		o.log.LogAttrs(context.Background(), slog.LevelInfo, "receive: judged", slog.String("message", t.letter.ID.String()), slog.String("remote", t.s.remote()),
			slog.String("from", postino.Printable(d.Author.Domain)), slog.String("spf", string(tr.SPF.MailFrom.Result)), slog.String("dkim", dkimSummary(tr.Verdict)),
			slog.String("dmarc", string(d.Result)), slog.String("policy", string(d.Policy)), slog.String("decision", r.String()), slog.String("rule", postino.Printable(r.rule)))
	}
}

// about is what a result is about, as Authentication-Results writes it.
func about(a *mailauth.AuthResult) string {
	var b strings.Builder
	for i, p := range a.Props {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.Type + "." + p.Name + "=" + p.Value)
	}
	return b.String()
}

// dkimSummary is the best result of the signatures.
func dkimSummary(v *mailauth.Verdict) string {
	best := mailauth.None
	for i := range v.DKIM {
		if r := v.DKIM[i].Result; i == 0 || r == mailauth.Pass {
			best = r
		}
	}
	return string(best)
}

// reason says in words why a result is what it is.
func (tr *trial) reason(a *mailauth.AuthResult) string {
	switch a.Method {
	case "spf":
		for _, p := range a.Props {
			if p.Name == "helo" {
				return tr.SPF.Helo.Reason
			}
		}
		return tr.SPF.MailFrom.Reason
	case "iprev":
		return tr.IPRev.Reason
	case "dmarc":
		return tr.DMARC.Reason
	case "dkim-adsp":
		return tr.ADSP.Reason
	}
	if a.Reason != "" {
		return a.Reason
	}
	return a.Comment
}

// dnsFact words an answer of the DNS.
func dnsFact(f *mailauth.Fact) string {
	out := f.Outcome
	if len(out) > maxFact {
		out = strings.ToValidUTF8(out[:maxFact], "") + "…"
	}
	b := f.Name + " " + f.Type.String() + " " + out
	if f.Security != dns.Unknown {
		b += " (" + f.Security.String() + ")"
	}
	return b
}

// report tells the domain of the author, if it wants to know (RFC 9989 §5.3.8).
func (t *transaction) report(r *ruling) {
	d, to := &t.trial.DMARC, t.s.b.opts.Reports
	if to == nil || d.Record == nil || d.Result != mailauth.Pass && d.Result != mailauth.Fail {
		return
	}
	out := t.outcome(r)
	if len(out.RUA) > 0 {
		to.DMARC(out)
	}
	if len(d.Record.RUF) > 0 && d.Record.PSD != 'y' && (!d.DKIM || !d.SPF) { // RFC 9991 §2
		to.DMARCFailure(t.failure(out))
	}
}

func uris(list []mailauth.ReportURI) []string {
	out := make([]string, len(list))
	for i := range list {
		if out[i] = list[i].URI; list[i].Limit != "" {
			out[i] += "!" + list[i].Limit
		}
	}
	return out
}

// outcome is the message as an aggregate report counts it.
func (t *transaction) outcome(r *ruling) reports.DMARCOutcome {
	tr := t.trial
	d, mail := &tr.DMARC, &tr.SPF.MailFrom
	out := reports.DMARCOutcome{
		Time: tr.client.Now, Source: tr.client.Remote, HeaderFrom: d.Author.Domain, EnvelopeFrom: t.letter.Envelope.From.Domain,
		Policy: policy(d), RUA: uris(d.Record.RUA), Disposition: r.disposition(d), DKIMAligned: d.DKIM, SPFAligned: d.SPF, Reasons: r.overrides,
		SPF: reports.SPFResult{Domain: mail.Domain, Result: mail.Result, Human: mail.Reason},
	}
	if out.HeaderFrom == "" && len(d.Author.Domains) > 0 {
		out.HeaderFrom = d.Author.Domains[0]
	}
	for i := range tr.Verdict.DKIM {
		s := &tr.Verdict.DKIM[i]
		out.DKIM = append(out.DKIM, reports.DKIMResult{Domain: s.Domain, Selector: s.Selector, Result: s.Result, Human: s.Reason})
	}
	if to := t.accepted[0].Domain; len(t.accepted) == 1 {
		out.EnvelopeTo = to
	}
	out.Report = !slices.ContainsFunc(t.accepted, func(a postino.Address) bool { return !directory.ReportAddress(a) })
	return out
}

// policy is the published one with its defaults.
func policy(d *mailauth.DMARC) reports.DMARCPolicy {
	letter := func(strict bool) string {
		if strict {
			return "s"
		}
		return "r"
	}
	p := reports.DMARCPolicy{
		Domain: d.Domain, P: reports.Disposition(d.Record.P), SP: reports.Disposition(d.Record.SP), NP: reports.Disposition(d.Record.NP),
		ADKIM: letter(d.Record.ADKIMStrict), ASPF: letter(d.Record.ASPFStrict), FO: d.Record.FO, Testing: "n", Discovery: "treewalk",
	}
	if d.Record.Testing {
		p.Testing = "y"
	}
	return p
}

// failure is the message as a report at once describes it.
func (t *transaction) failure(out reports.DMARCOutcome) reports.DMARCFailure {
	tr := t.trial
	return reports.DMARCFailure{
		DMARCOutcome: out, RUF: uris(tr.DMARC.Record.RUF), MailFrom: t.letter.Envelope.From, Header: tr.raw, SPFRecord: tr.SPF.MailFrom.Record, Message: t.letter.ID,
	}
}
