package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/smtp"
)

// wish is what a message wants of TLS, beyond route and policy.
type wish uint8

const (
	noWish  wish = iota
	wantTLS      // REQUIRETLS (RFC 8689 §2)
	anyhow       // TLS-Required: No (RFC 8689 §3)
)

// demand is what must hold of a connection before mail is given to it.
type demand struct {
	TLSPolicy
	wish wish
}

// verifies tells whether the certificate must be good.
func (d *demand) verifies() bool {
	return d.Mode == directory.TLSVerified || d.Mode == directory.TLSImplicit
}

// demand works out what TLS a host must offer: the most of what the route, the
// policy of the domain and the message ask for.
func (r *Relay) demand(ctx context.Context, w *way, t *target, wish wish) (demand, *trouble) {
	d := demand{TLSPolicy: TLSPolicy{Mode: w.route.TLS}, wish: wish}
	// The domain itself, or a host that a route names, needs no proof of the
	// name servers: the certificate is for the name that we were given.
	d.Authentic = t.Secure || t.Name == w.domain
	if w.direct() && r.opts.Policy != nil && d.Mode != directory.TLSNone && wish != anyhow {
		p, err := r.opts.Policy(ctx, w.domain, t.Host)
		if err != nil {
			return d, ours(451, "4.7.5", "what TLS %s wants of %s cannot be found out: %v", w.domain, t.Name, err)
		}
		if p.Mode == directory.TLSVerified || d.Mode == directory.TLSOpportunistic {
			d.Mode, d.Verify, d.Source = p.Mode, p.Verify, p.Source
		}
		d.Authentic = d.Authentic || p.Authentic
	}
	switch {
	case wish == wantTLS && !d.verifies():
		d.Mode = directory.TLSVerified
	case w.route.User != "" && (d.Mode == directory.TLSOpportunistic || d.Mode == directory.TLSNone):
		d.Mode = directory.TLSRequired // a password never goes in clear
	}
	return d, nil
}

// protect brings TLS to a session as the demand is.
func (r *Relay) protect(ctx context.Context, s *session, cfg *tls.Config, d *demand, clear bool) *trouble {
	_, offered := s.Has("STARTTLS")
	switch {
	case s.TLS() != nil, d.Mode == directory.TLSNone, clear, !offered && d.Mode == directory.TLSOpportunistic:
	case !offered:
		return d.refused(s.host.Name, "5.7.10", errNoTLS)
	default:
		err := s.StartTLS(ctx, cfg)
		switch {
		case err == nil:
		case d.Mode != directory.TLSOpportunistic:
			return d.refused(s.host.Name, "5.7.10", err)
		case !s.Usable(): // else it said no and goes on in clear
			t := failed(s.host.Name, err)
			t.cause = errHandshake
			return t
		}
	}
	if d.wish != wantTLS {
		return nil
	}
	if _, ok := s.Has("REQUIRETLS"); !ok {
		return d.refused(s.host.Name, "5.7.30", errNoRequireTLS)
	}
	if !d.Authentic { // RFC 8689 §4.2.1
		return d.refused(s.host.Name, "5.7.10", errNotAuthentic)
	}
	return nil
}

// refused is the trouble of a host that does not give the TLS that it must:
// permanent for a message that requires it (RFC 8689 §4.2.1), else it waits.
func (d *demand) refused(host, enhanced string, err error) *trouble {
	var ce *smtp.ClientError
	if errors.As(err, &ce) {
		if ce.Reply != nil {
			err = errors.New(words(*ce.Reply))
		} else {
			err = cause(ce)
		}
	}
	who := "this way"
	switch {
	case d.wish == wantTLS:
		who = "this message"
	case d.Source != "":
		who = d.Source
	}
	if d.wish == wantTLS && !errors.Is(err, errTime) && !errors.Is(err, context.DeadlineExceeded) {
		return ours(550, enhanced, "%s requires protection that %s does not give: %v", who, host, plainError(err))
	}
	return ours(451, "4.7.5", "%s requires TLS that %s does not give: %v", who, host, plainError(err))
}

// tlsConfig makes the settings of a handshake, which records in s whether the
// certificate is good and fails for a bad one only where the demand says so.
func (r *Relay) tlsConfig(s *session, addr netip.Addr, d *demand) *tls.Config {
	name := s.host.Name
	if addr.IsValid() && literalName(name) {
		name = addr.String()
	}
	return &tls.Config{
		ServerName:         name,
		MinVersion:         tls.VersionTLS12, // RFC 8996
		InsecureSkipVerify: true,             // VerifyConnection judges instead, on resumption too
		ClientSessionCache: r.tickets,
		VerifyConnection: func(cs tls.ConnectionState) error {
			verify := d.Verify
			if verify == nil {
				verify = func(cs tls.ConnectionState) error { return r.verifyName(cs, name) }
			}
			s.badCert = verify(cs)
			if d.verifies() {
				return s.badCert
			}
			return nil
		},
	}
}

// verifyName checks the certificate chain for a server name: only subject
// alternative names count (RFC 9525 §6.3, TL4).
func (r *Relay) verifyName(cs tls.ConnectionState, name string) error {
	if len(cs.PeerCertificates) == 0 {
		return errNoCertificate
	}
	opts := x509.VerifyOptions{Roots: r.opts.Roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}
