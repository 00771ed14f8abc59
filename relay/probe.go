package relay

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/tlspolicy"
)

// Severity says how good a step of a probe went.
type Severity string

// The severities. A warning is what does not stop mail but should be known.
const (
	OK      Severity = "ok"
	Info    Severity = "info"
	Warning Severity = "warning"
	Failed  Severity = "failed"
)

// Step is one thing that a probe found out.
type Step struct {
	// Kind is route, mx, policy, connect, greeting, tls, ehlo, auth, session (it
	// could not be used), mail, rcpt or verdict.
	Kind     string   `json:"kind"`
	Severity Severity `json:"severity"`
	// Host is the name of the host, from "connect" on with its address.
	Host string `json:"host,omitempty"`
	Text string `json:"text"`
	// Preference and Addresses are of an "mx" step, Skipped the addresses that no
	// mail is sent to, with the reason.
	Preference uint16   `json:"preference,omitempty"`
	Addresses  []string `json:"addresses,omitempty"`
	Skipped    []string `json:"skipped,omitempty"`
	// Certificate is of a "tls" step.
	Certificate *Certificate  `json:"certificate,omitempty"`
	Took        time.Duration `json:"took,omitempty"`
}

// Certificate is what a server showed.
type Certificate struct {
	Names    []string  `json:"names"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"notAfter"`
	// Problem says why it does not prove the host; empty when it does.
	Problem string `json:"problem,omitempty"`
}

// step tells what TLS a host is to offer.
func (d *demand) step(t *target) Step {
	s := Step{Kind: "policy", Severity: Info, Host: t.Name, Text: "TLS is " + d.Level.String()}
	if d.By != tlspolicy.Nobody {
		s.Text += ", wanted by " + d.By.String()
	}
	if basis := d.findings.Basis(); basis != "" {
		s.Text += " (" + basis + ")"
	}
	return s
}

// tlsStep tells how a session is protected.
func (s *session) tlsStep() Step {
	cs := s.TLS()
	if cs == nil {
		return Step{Kind: "tls", Severity: Warning, Host: s.at, Text: "mail goes in clear"}
	}
	step := Step{Kind: "tls", Severity: OK, Host: s.at, Text: tls.VersionName(cs.Version) + ", " + tls.CipherSuiteName(cs.CipherSuite)}
	if len(cs.PeerCertificates) > 0 {
		leaf := cs.PeerCertificates[0]
		c := &Certificate{Issuer: postino.Printable(leaf.Issuer.String()), NotAfter: leaf.NotAfter}
		for _, name := range leaf.DNSNames[:min(len(leaf.DNSNames), 100)] {
			c.Names = append(c.Names, postino.Printable(name))
		}
		for _, ip := range leaf.IPAddresses[:min(len(leaf.IPAddresses), 100)] {
			c.Names = append(c.Names, ip.String())
		}
		if s.badCert != nil {
			c.Problem = postino.Printable(s.badCert.Error())
			step.Severity = Info
			step.Text += ", certificate not proven: " + c.Problem
		} else {
			step.Text += ", " + s.proof
		}
		step.Certificate = c
	}
	return step
}

// Probe goes the way of a message for a as far as RCPT and reports each step;
// the last one, "verdict", says in a sentence what would become of mail from the
// null sender. Nothing is sent. An error is one of our own store, or of ctx.
func (r *Relay) Probe(ctx context.Context, a postino.Address, report func(Step)) error {
	route, err := r.opts.Routes.RouteFor(ctx, postino.Address{}, 0, a)
	if err != nil {
		return err
	}
	step := Step{Kind: "route", Severity: Info}
	if route == nil {
		route = noRoute
		step.Text = "no route: directly, by the mail exchangers of " + a.Domain
	} else {
		step.Text = fmt.Sprintf("route %s: %s %s", route.Name, route.Action, strings.Join(route.Hosts, ", "))
	}
	report(step)
	w := &way{route: route, domain: a.Domain, site: Dest(route, a)}
	p := &probe{r: r, w: w, rcpt: a, calls: calls{budget: maxAddrs, report: report}}
	p.run(ctx)
	return ctx.Err()
}

// probe is one run of Probe.
type probe struct {
	r     *Relay
	w     *way
	rcpt  postino.Address
	calls calls
}

func (p *probe) run(ctx context.Context) {
	if !p.w.hosts() {
		p.verdict(Info, "mail would go by route %s: %s %s", p.w.route.Name, p.w.route.Action, p.w.route.Path)
		return
	}
	began := time.Now()
	targets, t := p.r.targets(ctx, p.w)
	if t != nil {
		p.calls.say(Step{Kind: "mx", Severity: Failed, Host: p.w.domain, Text: t.words(), Took: time.Since(began)})
		p.trouble(t)
		return
	}
	for i := range targets {
		p.calls.say(targets[i].step(time.Since(began)))
	}
	var last *trouble
	for i := range targets {
		for t := &targets[i]; t.untried() && p.calls.budget > 0 && ctx.Err() == nil; {
			s, trouble := p.r.open(ctx, p.w, t, tlspolicy.NoWish, &p.calls)
			if trouble == nil {
				trouble = p.ask(ctx, s)
			}
			if trouble == nil || trouble.permanent() {
				p.trouble(trouble)
				return
			}
			last = trouble
		}
	}
	if last == nil {
		last = ours(451, "4.4.1", "no server of %s could be asked", p.w.domain)
	}
	p.trouble(last)
}

// step tells of a host and its addresses.
func (t *target) step(took time.Duration) Step {
	s := Step{Kind: "mx", Severity: OK, Host: t.Name, Preference: t.Preference, Skipped: t.skipped, Took: took, Text: "not proven by DNSSEC"}
	if t.Secure {
		s.Text = "proven by DNSSEC or named by a route"
	}
	for _, a := range interleave(t.addrs) {
		s.Addresses = append(s.Addresses, a.String())
	}
	if len(t.skipped) > 0 {
		s.Severity = Warning
	}
	return s
}

// ask says MAIL and RCPT, and takes them back. A nil trouble means that mail
// would be taken.
func (p *probe) ask(ctx context.Context, s *session) *trouble {
	defer p.r.pool.dismiss(s)
	began := time.Now()
	reply, err := s.Verify(ctx, postino.Address{}, p.rcpt)
	if err != nil && reply.Code == 0 {
		t := failed(s.host.Name, err)
		p.calls.say(Step{Kind: "rcpt", Severity: Failed, Host: s.at, Text: t.words(), Took: time.Since(began)})
		return t
	}
	step := Step{Kind: "rcpt", Severity: OK, Host: s.at, Text: words(reply), Took: time.Since(began)}
	if !reply.Success() {
		step.Severity = Failed
	}
	p.calls.say(step)
	if reply.Success() {
		p.verdict(OK, "%s takes mail for %s, %s", s.at, postino.Printable(p.rcpt.String()), s.secured())
		return nil
	}
	return &trouble{reply: reply, remote: s.host.Name}
}

// trouble gives the verdict about a recipient that nobody takes now; nil gives none.
func (p *probe) trouble(t *trouble) {
	switch {
	case t == nil:
	case t.permanent():
		p.verdict(Failed, "mail for %s would come back: %s", postino.Printable(p.rcpt.String()), t.words())
	default:
		p.verdict(Warning, "mail for %s would wait: %s", postino.Printable(p.rcpt.String()), t.words())
	}
}

func (p *probe) verdict(s Severity, format string, args ...any) {
	p.calls.say(Step{Kind: "verdict", Severity: s, Text: fmt.Sprintf(format, args...)})
}
