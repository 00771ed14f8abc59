package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/postino-mail/postino/dns"
)

// listeners are the addresses of a service; a node that does not run has none, and
// so finds out nothing about them.
func (r *run) listeners(service string) (list []netip.AddrPort) {
	for _, s := range r.node.Services {
		if s.Name == service && s.Addr.IsValid() {
			list = append(list, s.Addr)
		}
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

// Certificates should be renewed that long before they end.
const (
	soon   = 20 * day
	urgent = 7 * day
)

// speaks tells whether certificates can shake hands with a service.
func speaks(service string) bool {
	switch service {
	case "smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s":
		return true
	}
	return false
}

// certificates shakes hands with each listener as a client of our name does.
func (r *run) certificates(ctx context.Context) (list []Finding) {
	if r.opts.Dial == nil {
		return []Finding{unsure("tls.certificate", "", "which certificates are shown", errNotKnown)}
	}
	for _, s := range r.node.Services {
		if !speaks(s.Name) {
			continue
		}
		if !s.TLS || !s.Addr.IsValid() {
			if s.Name == "smtp" {
				list = append(list, finding(Fix, "tls.offered", s.Name+" "+s.Addr.String(), "smtp at %s does not offer TLS: mail comes in clear", s.Addr))
			}
			continue
		}
		list = append(list, r.certificate(ctx, s))
	}
	return list
}

func (r *run) certificate(ctx context.Context, s Service) Finding {
	const name = "tls.certificate"
	at := s.Name + " " + s.Addr.String()
	d, err := r.dial(ctx, s.Addr)
	if err != nil {
		return unsure(name, at, "which certificate "+at+" has", err)
	}
	defer d.close()
	cs, err := d.startTLS(ctx, s.Name, r.node.Host)
	switch {
	case errors.Is(err, errNoSTARTTLS):
		return finding(Fix, name, at, "%s does not offer TLS", at)
	case err != nil:
		return unsure(name, at, "which certificate "+at+" has", err)
	case len(cs.PeerCertificates) == 0:
		return finding(Fix, name, at, "%s has no certificate", at)
	}
	return r.judgeCertificate(name, s, cs).detail("%s, %s", tls.VersionName(cs.Version), describe(cs.PeerCertificates[0]))
}

func describe(c *x509.Certificate) string {
	return fmt.Sprintf("issued by %s, ends %s", c.Issuer, c.NotAfter.UTC().Format(time.DateOnly))
}

func (r *run) judgeCertificate(name string, s Service, cs tls.ConnectionState) Finding {
	at := s.Name + " " + s.Addr.String()
	leaf := cs.PeerCertificates[0]
	opts := x509.VerifyOptions{DNSName: r.node.Host, Roots: r.opts.Roots, CurrentTime: r.now, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	left := leaf.NotAfter.Sub(r.now)
	_, err := leaf.Verify(opts)
	switch {
	case left <= 0:
		return finding(Fix, name, at, "the certificate of %s has ended", at)
	case errors.As(err, new(x509.HostnameError)):
		return finding(Fix, name, at, "the certificate of %s is not for %s", at, r.node.Host)
	case err != nil && s.Name == "smtp": // most other servers do not look (RFC 7435), but MTA-STS wants it
		return finding(Advice, name, at, "no authority vouches for the certificate of %s: servers that look refuse it", at)
	case err != nil:
		return finding(Fix, name, at, "no authority vouches for the certificate of %s: mail programs refuse it", at)
	case left < urgent:
		return finding(Fix, name, at, "the certificate of %s ends in %d days and was not renewed", at, left/day)
	case left < soon:
		return finding(Advice, name, at, "the certificate of %s ends in %d days and was not renewed", at, left/day)
	}
	return finding(OK, name, at, "the certificate of %s is for %s and good for %d days", at, r.node.Host, left/day)
}

// mailPort is where other servers deliver (RFC 5321 §4.5.4.2).
const mailPort = 25

// reached tells whether the addresses in the DNS are answered by this server: by
// one that shows the same certificate. Behind NAT nothing else proves it.
func (r *run) reached(ctx context.Context) (list []Finding) {
	if r.opts.Dial == nil || !slices.ContainsFunc(r.listeners("smtp"), func(a netip.AddrPort) bool { return a.Port() == mailPort }) {
		return nil
	}
	own, err := r.chain(ctx)
	if err != nil {
		return nil // the certificates tell
	}
	a, err := dns.LookupIP(ctx, r, r.node.Host)
	if err != nil {
		return nil // hostName has told
	}
	for _, ip := range public(a.Addrs) {
		list = append(list, r.reachedAt(ctx, ip, own[0]))
	}
	return list
}

func (r *run) reachedAt(ctx context.Context, ip netip.Addr, own *x509.Certificate) Finding {
	const name = "host.reached"
	at := ip.String()
	chain, err := r.chainAt(ctx, netip.AddrPortFrom(ip, mailPort))
	switch {
	case err != nil && slices.Contains(public(r.node.Addrs), ip):
		return finding(Fix, name, at, "no mail server answers at %s, port 25", at).detail("%s", why(err))
	case err != nil: // not every router lets a machine reach itself from inside
		return unsure(name, at, "whether "+at+", port 25, leads here", err)
	case !slices.Equal(chain[0].RawSubjectPublicKeyInfo, own.RawSubjectPublicKeyInfo):
		return finding(Fix, name, at, "another server answers at %s, port 25", at).detail("%s", describe(chain[0]))
	}
	return finding(OK, name, at, "this server answers at %s, port 25", at)
}
