package directory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// routeName tells whether s can name a route.
func routeName(s string) bool {
	return len(s) >= 1 && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// canonicalize checks all that can be checked without the store and brings the
// patterns and hosts into their one form. The first error is returned.
func (r *Route) canonicalize() error {
	if !routeName(r.Name) {
		return errors.New("the name of a route is 1 to 40 of a-z, 0-9 and -")
	}
	for _, step := range []func() error{r.checkPatterns, r.checkFields, r.checkHosts, r.checkLogin, r.checkWay} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Route) checkPatterns() (err error) {
	domain, sub := strings.CutPrefix(r.Domain, ".")
	if r.Domain != "*" {
		if domain, err = postino.CanonicalDomain(domain); err != nil || sub && strings.HasPrefix(domain, "[") {
			return errors.New(`the domain is "example.org", ".example.org" for its sub-domains, or "*" for all`)
		}
		r.Domain = r.Domain[:len(r.Domain)-len(strings.TrimPrefix(r.Domain, "."))] + domain
	}
	switch whole, ok := strings.CutPrefix(r.Sender, "@"); {
	case r.Sender == "":
	case ok:
		if whole, err = postino.CanonicalDomain(whole); err == nil {
			r.Sender = "@" + whole
		}
	default:
		var a postino.Address
		if a, err = postino.ParseAddress(r.Sender); err == nil {
			r.Sender = folded(a).String()
			_, err = senderPattern(r.Sender) // lower case may be longer
		}
	}
	if err != nil {
		return errors.New(`the sender is "user@example.org", "@example.org", or empty for all`)
	}
	return nil
}

// checkFields finds fields that the action needs or has no use for.
func (r *Route) checkFields() error {
	if r.Action > Hold {
		return errors.New("no such action")
	}
	if r.TLS > TLSNone {
		return errors.New("no such TLS mode")
	}
	toHosts, toFiles := r.Action == Smarthost || r.Action == LMTP, r.Action == Maildir || r.Action == Mbox
	for _, f := range []struct {
		name       string
		given, use bool
		need       bool
	}{
		{"hosts", len(r.Hosts) > 0, toHosts, toHosts},
		{"a user and password", r.User != "" || r.Password != "", toHosts, false},
		{"a TLS mode", r.TLS != TLSOpportunistic, r.reachesHosts(), false},
		{"source addresses", len(r.Source) > 0, r.reachesHosts(), false},
		{"a HELO name", r.Helo != "", r.reachesHosts(), false},
		{"a fallback", r.Fallback != "", r.reachesHosts(), false},
		{"limits of connections", r.Connections != 0 || r.PerConnection != 0, r.reachesHosts(), false},
		{"private hosts", r.Private, r.reachesHosts(), false},
		{"a path", r.Path != "", toFiles, toFiles},
	} {
		if f.given && !f.use {
			return fmt.Errorf("%s: the action %s has no use for that", f.name, r.Action)
		}
		if f.need && !f.given {
			return fmt.Errorf("the action %s needs %s", r.Action, f.name)
		}
	}
	if r.Path != "" && (len(r.Path) > 4096 || !cleanPath(r.Path)) {
		return errors.New("the path is not absolute, or has . or .. or unprintable characters in it")
	}
	return nil
}

func (r *Route) checkHosts() error {
	if len(r.Hosts) > maxRouteHosts {
		return fmt.Errorf("%d hosts, %d are possible", len(r.Hosts), maxRouteHosts)
	}
	r.Hosts = slices.Clone(r.Hosts)
	for i, s := range r.Hosts {
		h, err := ParseHost(s)
		switch {
		case err != nil:
			return err
		case h.private() && !r.Private:
			return fmt.Errorf("%s is a private address; allow private hosts if it is meant", h)
		case r.Action == LMTP && h.Socket == "" && (h.MX || h.Port == 0 || h.Port == 25): // RFC 2033 §5
			return fmt.Errorf("%s: LMTP needs a port other than 25, or a socket", h)
		case h.Socket != "" && r.TLS != TLSOpportunistic && r.TLS != TLSNone:
			return fmt.Errorf("%s: there is no TLS on a socket", h)
		}
		if r.Hosts[i] = h.String(); slices.Contains(r.Hosts[:i], r.Hosts[i]) {
			return fmt.Errorf("%s is there twice", h)
		}
	}
	return nil
}

func (r *Route) checkLogin() error {
	switch {
	case (r.User == "") != (r.Password == ""):
		return errors.New("a user needs a password, and a password a user")
	case r.User == "":
		return nil
	case r.TLS == TLSOpportunistic || r.TLS == TLSNone:
		return errors.New("a password is sent only when TLS is required, verified or implicit")
	case len(r.User) > maxText || postino.Printable(r.User) != r.User:
		return errors.New("the user name is too long or not printable text")
	case len(r.Password) > MaxPassword || !utf8.ValidString(r.Password) || strings.ContainsAny(r.Password, "\x00\r\n"):
		return errors.New("the password is too long, not UTF-8 or has control characters")
	}
	return nil
}

// checkWay checks from where and under which name hosts are reached.
func (r *Route) checkWay() error {
	if len(r.Source) > maxSources {
		return fmt.Errorf("%d source addresses, %d are possible", len(r.Source), maxSources)
	}
	for _, a := range r.Source {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("%s cannot be a source address", a)
		}
	}
	if r.Helo != "" {
		helo, err := postino.CanonicalDomain(r.Helo)
		if err != nil {
			return errors.New("the HELO name is no domain name")
		}
		r.Helo = helo
	}
	if r.Connections < 0 || r.PerConnection < 0 || r.Connections > maxConnection || r.PerConnection > maxConnection {
		return fmt.Errorf("limits of connections are 0 to %d", maxConnection)
	}
	return nil
}
