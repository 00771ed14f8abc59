package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	ACME     bool   `name:"acme" help:"Get certificates from Let's Encrypt, and agree to its terms (https://letsencrypt.org/repository/); ports 80 and 443 must lead here."`
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
	var zone app.CheckZone
	_, err = f.Write(app.ExampleConfig(host, dir, c.acme(admin)))
	if err = errors.Join(err, f.Close()); err == nil {
		zone, err = c.first(e, admin, secret)
	}
	if err != nil {
		return errors.Join(err, os.Remove(c.Config))
	}
	if err := c.done(e, secret, "%s written, domain %s and user %s added", c.Config, admin.Domain, admin); err != nil {
		return err
	}
	return said(e, "\nPublish these DNS records:\n\n%s\nThen: postino serve --config %s\nand:  postino check --watch --config %[2]s", withAddresses(zone, host), c.Config)
}

// acme is where the authority writes to, "" when none is asked.
func (c *setupCmd) acme(admin postino.Address) string {
	if !c.ACME {
		return ""
	}
	return admin.String()
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

// first makes the first domain and its administrator, and returns the records
// that the domain needs in DNS.
func (c *setupCmd) first(e *env, admin postino.Address, secret string) (zone app.CheckZone, err error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return zone, err
	}
	stores, err := cfg.OpenStores(quietLogger(e))
	if err != nil {
		return zone, err
	}
	err = stores.Call(e.ctx, "domain.add", app.Domain{Name: admin.Domain}, nil)
	if err == nil || postino.Is(err, postino.Conflict) {
		err = stores.Call(e.ctx, "user.add", app.User{Address: admin.String(), Password: secret, Admin: true}, nil)
	}
	if err == nil {
		err = stores.Call(e.ctx, "check.new-zone", app.Named{Name: admin.Domain}, &zone)
	}
	return zone, errors.Join(err, stores.Close())
}

// withAddresses is the zone as text, with room for the addresses that this machine
// does not know, as behind NAT.
func withAddresses(z app.CheckZone, host string) string {
	if slices.ContainsFunc(z.Records, func(r app.CheckRecord) bool { return r.Type == "A" || r.Type == "AAAA" }) {
		return string(z.Text())
	}
	return string(z.Text()) + "; and the addresses of this host, which it does not know itself:\n" +
		"; " + host + ". IN A <IPv4 address>\n; " + host + ". IN AAAA <IPv6 address, if it has one>\n; and PTR records of these addresses with " + host + ".\n"
}
