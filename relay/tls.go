package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/tlspolicy"
)

// demand is what must hold of a connection before mail is given to it.
type demand struct {
	tlspolicy.Decision
	findings *tlspolicy.Findings
	wish     tlspolicy.Wish
	implicit bool // TLS from the first octet
}

// level is how much TLS a route wants.
func level(route *directory.Route) tlspolicy.Level {
	l := tlspolicy.Opportunistic
	switch route.TLS {
	case directory.TLSNone:
		l = tlspolicy.Clear
	case directory.TLSRequired:
		l = tlspolicy.Encrypted
	case directory.TLSVerified, directory.TLSImplicit:
		l = tlspolicy.Verified
	}
	if route.User != "" {
		l = max(l, tlspolicy.Encrypted) // a password never goes in clear
	}
	return l
}

// question asks what the domain of a host publishes.
func (w *way) question(t *target) tlspolicy.Question {
	q := tlspolicy.Question{Domain: t.domain, DomainName: t.alias, Host: t.Name, HostName: t.name, Port: t.Port, Addresses: t.security}
	if a, ok := literal(t.Name); ok {
		q.Host = a.String()
	}
	// The domain itself, or a host that a route names, needs no proof of the
	// name servers: the certificate is for the name that we were given.
	if t.Secure || t.Name == w.domain {
		q.MX = tlspolicy.Proven
	}
	return q
}

// demand works out what TLS a host must offer: what route, domain and message ask
// for. The error is one of our own store, or of ctx.
func (r *Relay) demand(ctx context.Context, w *way, q tlspolicy.Question, wish tlspolicy.Wish) (*demand, error) {
	d := &demand{findings: tlspolicy.Assume(q), wish: wish, implicit: w.route.TLS == directory.TLSImplicit}
	l := level(w.route)
	// What is in a network of our own publishes nothing for strangers.
	asks := r.opts.Policies != nil && q.Domain != "" && !w.route.Private && w.route.Action != directory.LMTP
	if asks && (l != tlspolicy.Clear || wish == tlspolicy.RequireTLS) {
		f, err := r.opts.Policies.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		d.findings = f
	}
	d.Decision = d.findings.Decide(l, wish)
	return d, nil
}

// unknown is the trouble of a demand that cannot be found out.
func unknown(q tlspolicy.Question, err error) *trouble {
	return ours(451, "4.7.5", "what TLS %s wants of %s cannot be found out: %v", q.Domain, q.Host, plainError(err))
}

// denied is the trouble of a host that may not even be connected to; nil when it may.
func (d *demand) denied() *trouble {
	switch d.Refuse {
	case tlspolicy.NoRefusal:
		return nil
	case tlspolicy.NotAuthentic: // RFC 8689 §4.2.1
		return ours(550, "5.7.10", "this message requires protection that %s does not give: %s", d.findings.Host, d.findings.Why(d.Refuse))
	}
	return ours(451, "4.7.5", "%s", d.findings.Why(d.Refuse))
}

// protect brings TLS to a session as the demand is.
func (r *Relay) protect(ctx context.Context, s *session, cfg *tls.Config, clear bool) *trouble {
	d := s.demand
	_, offered := s.Has("STARTTLS")
	switch {
	case s.TLS() != nil, d.Level == tlspolicy.Clear, clear:
	case !offered:
		s.fault = errNoTLS
		if d.Level > tlspolicy.Opportunistic {
			return d.refused(s.host.Name, "5.7.10", errNoTLS)
		}
	default:
		err := s.StartTLS(ctx, cfg)
		s.fault = err
		switch {
		case err == nil:
		case d.Level != tlspolicy.Opportunistic:
			return d.refused(s.host.Name, "5.7.10", err)
		case !s.Usable(): // else it said no and goes on in clear
			t := failed(s.host.Name, err)
			t.cause = errHandshake
			return t
		}
	}
	if d.wish != tlspolicy.RequireTLS {
		return nil
	}
	if _, ok := s.Has("REQUIRETLS"); !ok {
		return d.refused(s.host.Name, "5.7.30", errNoRequireTLS)
	}
	return nil
}

// refused is the trouble of a host that does not give the TLS that it must:
// permanent for a message that requires it (RFC 8689 §4.2.1), else it waits.
func (d *demand) refused(host, enhanced string, err error) *trouble {
	err = reason(err)
	who := "this way"
	switch {
	case d.wish == tlspolicy.RequireTLS:
		who = "this message"
	case d.By == tlspolicy.ByDANE, d.By == tlspolicy.BySTS:
		who = d.By.String()
	}
	if d.wish == tlspolicy.RequireTLS && !errors.Is(err, errTime) && !errors.Is(err, context.DeadlineExceeded) {
		return ours(550, enhanced, "%s requires protection that %s does not give: %v", who, host, err)
	}
	return ours(451, "4.7.5", "%s requires TLS that %s does not give: %v", who, host, err)
}

// reason is what a person needs of an error of TLS.
func reason(err error) error {
	var ce *smtp.ClientError
	if errors.As(err, &ce) {
		if ce.Reply != nil {
			return errors.New(words(*ce.Reply))
		}
		return cause(ce)
	}
	return plainError(err)
}

// tlsConfig makes the settings of a handshake, which records in s whether the
// certificate is good and fails for a bad one only where the demand says so.
func (r *Relay) tlsConfig(s *session) *tls.Config {
	return &tls.Config{
		ServerName:         s.demand.findings.Name(),
		MinVersion:         tls.VersionTLS12, // RFC 8996
		InsecureSkipVerify: true,             // VerifyConnection judges instead, on resumption too
		ClientSessionCache: r.tickets,
		VerifyConnection: func(cs tls.ConnectionState) error {
			s.proof, s.badCert = s.demand.findings.Verify(cs, s.demand.Decision, r.opts.Roots)
			if s.demand.Level == tlspolicy.Verified {
				return s.badCert
			}
			return nil
		},
	}
}

// meets tells whether a connection that was made under another demand is what
// this one wants, which then is its own.
func (s *session) meets(d *demand, r *Relay) bool {
	cs := s.TLS()
	switch {
	case d.Refuse != tlspolicy.NoRefusal, cs == nil && d.Level > tlspolicy.Opportunistic:
		return false
	case d.Decision == s.demand.Decision && d.findings.Same(s.demand.findings):
		return true
	case cs != nil:
		proof, err := d.findings.Verify(*cs, d.Decision, r.opts.Roots)
		if d.Level == tlspolicy.Verified && err != nil {
			return false
		}
		s.proof, s.badCert = proof, err
	}
	s.demand = d
	return true
}

// result puts how TLS went in the words of reports (RFC 8460 §4.3): what the host
// lacks, or else what is wrong with the policy.
func (s *session) result() (tlspolicy.Result, error) {
	d := s.demand
	switch {
	case errors.Is(s.fault, errNoTLS):
		return tlspolicy.NoSTARTTLS, nil
	case s.badCert != nil && d.findings.Judges(d.Decision):
		return tlspolicy.Classify(s.badCert), s.badCert
	case d.Problem != tlspolicy.Success:
		return d.Problem, nil
	case s.fault != nil && s.badCert == nil:
		return tlspolicy.ValidationFailure, reason(s.fault)
	}
	return tlspolicy.Success, nil
}

// tell tells reports and counters how TLS went with a host. A message that does
// not mind is no measure of it, and neither is a host that nobody asked about.
func (r *Relay) tell(d *demand, calls *calls, s *session, result tlspolicy.Result, why error) {
	if !calls.counts || d.wish == tlspolicy.TLSOptional || !d.findings.Asked() {
		return
	}
	p := d.findings.Report(d.Decision)
	r.observe.policy(p.Type, result)
	if r.opts.Reports == nil {
		return
	}
	o := reports.TLSOutcome{
		Time: time.Now(), Domain: d.findings.Domain, Result: string(result), Session: true, MXHost: d.findings.Host, Report: calls.own,
		Policy: reports.TLSPolicy{Type: p.Type, Domain: p.Domain, Strings: p.Strings, MX: p.MX},
	}
	if why != nil {
		o.Reason = why.Error()
	}
	if s != nil {
		o.SendingIP, o.ReceivingIP = s.from, s.to
		if s.Client != nil {
			if words := strings.Fields(s.Hello().Text); len(words) > 0 {
				o.MXHelo = postino.Printable(words[0])
			}
		}
	}
	r.opts.Reports.TLS(o)
}
