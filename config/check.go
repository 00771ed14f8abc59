package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// check finds what is wrong between keys. It looks only at keys that are right
// on their own, so that one mistake is told once.
func (p *parser) check() {
	c := p.config
	p.checkRequired()
	if at, ok := p.at["server.hostname"]; ok && c.Server.Hostname != "" {
		name, err := postino.CanonicalDomain(c.Server.Hostname)
		if err != nil || strings.HasPrefix(name, "[") || !strings.ContainsFunc(name, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
			p.fail(at, "server.hostname", "%q is not a host name. Example: hostname = \"mail.example.org\"", c.Server.Hostname)
		}
		c.Server.Hostname = name
	}
	used := map[netip.AddrPort]int{}
	for i := range c.Listeners {
		p.checkListener(i, used)
	}
	p.checkTLS()
	p.checkUpdates("dkim", &c.DKIM.DNSServer, c.DKIM.DNSKey)
	if x := &c.PKCS11; (x.Module == "") != (x.Token == "") || x.Module == "" && x.PINFile != "" {
		p.fail(p.at["pkcs11"], "pkcs11", "module and token come together, and pin_file with them")
	}
	if s := c.DNS.Servers; len(s) > 1 && slices.Contains(s, Recursive) {
		p.fail(p.at["dns.servers"], "dns.servers", "\"recursive\" stands alone: then no server is in between")
	}
	p.checkACME()
	if from := c.Reports.From; from != "" {
		if _, err := postino.ParseAddress(from); err != nil {
			p.fail(p.at["reports.from"], "reports.from", "%q is no mail address. Example: from = \"postmaster@example.org\"", from)
		}
	}
}

func (p *parser) checkRequired() {
	for _, k := range keys {
		if !k.required || k.table == "listener" {
			continue
		}
		if _, ok := p.at[k.path()]; !ok {
			p.fail(p.at[k.table], k.path(), "missing. Write under [%s]: %s = %s", k.table, k.name, k.example())
		}
	}
	if _, ok := p.at["listener"]; !ok {
		p.fail(0, "listener", "missing: nothing would be offered. Write [[listener]] and under it kind = \"smtp\"")
	}
}

// beginsTLS tells whether a kind speaks TLS from the first octet.
func (k Kind) beginsTLS() bool { return k == Submissions || k == IMAPS || k == POP3S || k == HTTPS }

// logsIn tells whether users log in at a kind.
func (k Kind) logsIn() bool { return k != LMTP && k != Metrics && k != HTTP && k != HTTPS }

// checkListener fills in what the kind implies.
func (p *parser) checkListener(i int, used map[netip.AddrPort]int) {
	l := &p.config.Listeners[i]
	place := func(name string) (at int, said bool) {
		at, said = p.at[listenerPath(i, name)]
		if !said {
			at = p.at[listenerPath(i, "")]
		}
		return at, said
	}
	at, said := place("kind")
	if l.Kind == "" {
		if !said {
			p.fail(at, "listener.kind", "missing. Write one of %s", strings.Join(kinds(), ", "))
		}
		return
	}
	tlsAt, tlsSaid := place("tls")
	if l.Kind.beginsTLS() && !l.TLS {
		p.fail(tlsAt, "listener.tls", "%s always begins with TLS", l.Kind)
		l.TLS = true
	}
	if l.Kind == Metrics || l.Kind == LMTP || l.Kind == HTTP {
		if tlsSaid && l.TLS {
			p.fail(tlsAt, "listener.tls", "%s is offered in clear", l.Kind)
		}
		l.TLS = false
	}
	if caAt, said := place("client_ca"); said && (!l.TLS || !l.Kind.logsIn()) {
		p.fail(caAt, "listener.client_ca", "certificates log users in under TLS only, and to smtp, submission and imap")
	}
	for _, u := range usual {
		if l.Address == "" && u.kind == l.Kind {
			l.Address = u.address
		}
	}
	at, _ = place("address")
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		if l.Kind != LMTP || !strings.HasPrefix(path, "/") || len(path) > 100 { // the kernel's limit is 107
			p.fail(at, "listener.address", "a socket is for lmtp, at an absolute path of at most 100 octets. Example: \"unix:/run/postino/lmtp.sock\"")
		}
		return
	}
	a, err := parseAddress(l.Address)
	if err != nil {
		p.fail(at, "listener.address", "%s. Examples: \":25\", \"127.0.0.1:25\", \"[::1]:25\"", err)
		return
	}
	if first, twice := used[a]; twice && a.Port() != 0 {
		p.fail(at, "listener.address", "%s is listener %d's already", l.Address, first)
	}
	used[a] = i + 1
	private := a.Addr().Unmap().IsLoopback()
	if (l.Kind == Metrics || l.Kind == LMTP) && !private { // AD1
		p.fail(at, "listener.address", "%s is offered on loopback only. Example: address = \"127.0.0.1:%d\"", l.Kind, a.Port())
	}
	if (l.Kind == Submission || l.Kind == IMAP143 || l.Kind == POP110) && !l.TLS && !private { // SS22
		p.fail(tlsAt, "listener.tls", "without TLS passwords would cross the network in clear: leave this out, or use a loopback address")
	}
}

// parseAddress reads "ip:port" or ":port", which is the zero address.
func parseAddress(s string) (netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q has no port from 0 to 65535", s)
		}
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(n)), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an IP address and port", s)
	}
	return a, nil
}

// checkTLS looks for the certificate that the listeners need.
func (p *parser) checkTLS() {
	t := p.config.TLS
	files := len(t.Cert) > 0
	switch {
	case len(t.Cert) != len(t.Key):
		p.fail(p.at["tls"], "tls", "cert and key come together: there must be as many of one as of the other")
	case files && t.SelfSigned:
		p.fail(p.at["tls.self_signed"], "tls.self_signed", "there is a certificate in cert and key: leave out one or the other")
	case p.config.ACME.AgreeTerms && t.SelfSigned:
		p.fail(p.at["tls.self_signed"], "tls.self_signed", "certificates come by [acme], and one of our own stands in until they are there: leave this out")
	case !files && !t.SelfSigned && !p.config.ACME.AgreeTerms:
		for i, l := range p.config.Listeners {
			if l.Kind != "" && l.TLS {
				p.fail(p.at[listenerPath(i, "")], "listener",
					"%s needs a certificate. Write under [acme] agree_terms = true, or under [tls] cert and key, or self_signed = true", l.Kind)
				return
			}
		}
	}
}
