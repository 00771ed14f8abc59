package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type setupCmd struct {
	passwordFlags
	Address  string `arg:"" help:"Address of the first user, the administrator; its domain becomes the first domain."`
	Config   string `short:"c" default:"postino.toml" help:"Configuration file to write." placeholder:"FILE"`
	Hostname string `help:"Name of this host as others see it; default the system's name." placeholder:"NAME"`
	DataDir  string `help:"Directory for all data." default:"/var/lib/postino" placeholder:"DIR"`
}

// Run writes the file and makes the first domain and user. What is there
// already is not overwritten; when a step fails the file is removed again.
func (c *setupCmd) Run(e *env) error {
	admin, err := postino.ParseAddress(c.Address)
	if err != nil {
		return err
	}
	host, err := c.hostname()
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return postino.E(postino.Invalid, "find data directory", c.DataDir, err)
	}
	secret, err := c.password(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.Config, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return postino.E(postino.Conflict, "write", c.Config, errors.New("the file exists; remove it to begin anew, or add users with postino user add"))
	}
	if err != nil {
		return postino.E(postino.Denied, "write", c.Config, err)
	}
	var keys []app.DKIMKey
	_, err = f.Write(app.ExampleConfig(host, dir))
	if err = errors.Join(err, f.Close()); err == nil {
		keys, err = c.first(e, admin, secret)
	}
	if err != nil {
		return errors.Join(err, os.Remove(c.Config))
	}
	if err := c.done(e, secret, "%s written, domain %s and user %s added", c.Config, admin.Domain, admin); err != nil {
		return err
	}
	return said(e, "\nPublish these DNS records:\n\n%s\nThen: postino serve --config %s", records(admin.Domain, host, keys), c.Config)
}

func (c *setupCmd) hostname() (string, error) {
	name := c.Hostname
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", postino.E(postino.Invalid, "find host name", "", err)
		}
	}
	host, err := postino.CanonicalDomain(name)
	if err == nil && !strings.Contains(host, ".") {
		err = postino.E(postino.Invalid, "set up", host, errors.New("the host needs its full name, like --hostname mail.example.org"))
	}
	return host, err
}

// first makes the first domain and its administrator, and returns the keys of the
// domain.
func (c *setupCmd) first(e *env, admin postino.Address, secret string) (keys []app.DKIMKey, err error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return nil, err
	}
	stores, err := cfg.OpenStores(quietLogger(e))
	if err != nil {
		return nil, err
	}
	err = stores.Call(e.ctx, "domain.add", app.Domain{Name: admin.Domain}, nil)
	if err == nil || postino.Is(err, postino.Conflict) {
		err = stores.Call(e.ctx, "user.add", app.User{Address: admin.String(), Password: secret, Admin: true}, nil)
	}
	if err == nil {
		err = stores.Call(e.ctx, "dkim.list", app.DKIMDomain{Domain: admin.Domain}, &keys)
	}
	return keys, errors.Join(err, stores.Close())
}

// records lists what mail for the domain needs in DNS today; SPF says that only
// this host sends.
func records(domain, host string, keys []app.DKIMKey) string {
	var b strings.Builder
	row := func(name, kind, value string) { fmt.Fprintf(&b, "  %-40s IN %-5s %s\n", name+".", kind, value) }
	row(host, "A", "<IPv4 address of this host>")
	row(host, "AAAA", "<IPv6 address of this host, if it has one>")
	row(host, "TXT", `"v=spf1 a -all"`) // of what is forwarded and of HELO (RFC 7208 §2.3)
	row(domain, "MX", "10 "+host+".")
	row(domain, "TXT", `"v=spf1 mx -all"`)
	for _, k := range keys {
		fmt.Fprintf(&b, "  %s\n", k.Zone)
	}
	row("_submission._tcp."+domain, "SRV", "0 1 587 "+host+".")
	row("_submissions._tcp."+domain, "SRV", "0 1 465 "+host+".")
	row("_imap._tcp."+domain, "SRV", "0 1 143 "+host+".")
	row("_imaps._tcp."+domain, "SRV", "0 1 993 "+host+".")
	row("_pop3._tcp."+domain, "SRV", "10 1 110 "+host+".") // a higher number than IMAP's: the second choice (RFC 6186 §3.4)
	row("_pop3s._tcp."+domain, "SRV", "10 1 995 "+host+".")
	b.WriteString("\n  and have the address point back: PTR of the IP addresses = " + host + ".\n")
	return b.String()
}
