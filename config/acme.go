package config

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
)

// checkACME looks at how certificates are got.
func (p *parser) checkACME() {
	a := &p.config.ACME
	if !a.AgreeTerms {
		return
	}
	for key, u := range map[string]string{"directory": a.Directory, "fallback": a.Fallback} {
		if u == "" {
			continue
		}
		if parsed, err := url.Parse(u); err != nil || parsed.Scheme != "https" || parsed.Host == "" { // RFC 8555 §6.1
			p.fail(p.at["acme."+key], "acme."+key, "%q is not the https URL of a directory. Example: %s = %q", u, key, keyNamed("acme", "directory").def)
		}
	}
	if a.Email != "" {
		if _, err := postino.ParseAddress(a.Email); err != nil {
			p.fail(p.at["acme.email"], "acme.email", "%q is no mail address. Example: email = \"postmaster@example.org\"", a.Email)
		}
	}
	for key, pair := range map[string]string{"eab": a.EAB, "fallback_eab": a.FallbackEAB} {
		id, secret, ok := strings.Cut(pair, ":")
		_, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(secret, "="))
		if pair != "" && (!ok || id == "" || secret == "" || err != nil) {
			p.fail(p.at["acme."+key], "acme."+key, "this is an id, a colon and a key in base64url. Example: %s = \"id:key\"", key)
		}
	}
	p.checkChallenges(a)
}

// checkChallenges makes sure that there is a way that can work.
func (p *parser) checkChallenges(a *ACME) {
	if !p.checkUpdates("acme", &a.DNSServer, a.DNSKey) {
		return
	}
	offers := func(k Kind) bool {
		return slices.ContainsFunc(p.config.Listeners, func(l Listener) bool { return l.Kind == k })
	}
	ways := []struct {
		name, needs string
		can         bool
	}{
		{"http-01", "a [[listener]] of kind http", offers(HTTP)},
		{"tls-alpn-01", "a [[listener]] of kind https", offers(HTTPS)},
		{"dns-01", "dns_server and dns_key", a.DNSServer != ""},
	}
	any := false
	for _, w := range ways {
		any = any || w.can
		if slices.Contains(a.Challenges, w.name) && !w.can {
			p.fail(p.at["acme.challenges"], "acme.challenges", "%s needs %s", w.name, w.needs)
		}
	}
	if !any {
		p.fail(p.at["acme"], "acme", "there is no way to prove that the hostname is ours: it takes a [[listener]] of kind http or https, or dns_server")
	}
}

// keyNamed finds a key of the table.
func keyNamed(table, name string) key {
	return keys[slices.IndexFunc(keys, func(k key) bool { return k.table == table && k.name == name })]
}

// checkUpdates looks at the server and the key with which a table changes the DNS.
// It is false when one of them is missing.
func (p *parser) checkUpdates(table string, at *string, key string) bool {
	if (*at == "") != (key == "") {
		p.fail(p.at[table], table, "dns_server and dns_key come together")
		return false
	}
	if *at == "" {
		return true
	}
	a, err := server(*at)
	if err != nil {
		p.fail(p.at[table+".dns_server"], table+".dns_server", "%s. Example: dns_server = \"192.0.2.53\"", err)
	}
	*at = a
	if strings.Count(key, ":") != 2 {
		p.fail(p.at[table+".dns_key"], table+".dns_key", "this is an algorithm, a name and a secret in base64. Example: dns_key = \"hmac-sha256:postino:c2VjcmV0\"")
	}
	return true
}
