package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type dkimCmd struct {
	List    dkimListCmd    `cmd:"" help:"List the keys of a domain, or of all."`
	Records dkimRecordsCmd `cmd:"" help:"Print the DNS records to publish, as lines of a zone file."`
	Check   dkimCheckCmd   `cmd:"" help:"Ask the DNS for the records now; keys that wait for them move on."`
	Rotate  dkimRotateCmd  `cmd:"" help:"Make the next keys of a domain and print their records."`
	Retire  dkimRetireCmd  `cmd:"" help:"Stop signing with a key, whatever comes after it."`
	Remove  dkimRemoveCmd  `cmd:"" help:"Destroy a key that does not sign."`
}

type dkimListCmd struct {
	store
	listFlags
	Domain string `arg:"" optional:"" help:"Domain name; default all."`
}

// Help is shown below the flags.
func (*dkimListCmd) Help() string {
	return "A key is planned until its record is in DNS, published until caches know it, signing, and retiring for a week after another one " +
		"took its place; then its record may go.\n\nExample: postino dkim list example.org"
}

func (c *dkimListCmd) Run(e *env) error {
	var out []app.DKIMKey
	if err := c.call(e, "dkim.list", app.DKIMDomain{Domain: c.Domain}, &out); err != nil {
		return err
	}
	return dkimTable(e, &c.listFlags, out)
}

func dkimTable(e *env, l *listFlags, keys []app.DKIMKey) error {
	return l.table(e, keys, "DOMAIN\tSELECTOR\tSTATE\tSINCE\tDNS", func(w io.Writer) {
		for _, k := range keys {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.Domain, k.Selector, k.State, k.Since.Format(time.DateOnly), inDNS(k))
		}
	})
}

// inDNS words what is known of a record.
func inDNS(k app.DKIMKey) string {
	text := "ok"
	switch {
	case k.Trouble != "":
		text = postino.Printable(k.Trouble)
	case k.Looked.IsZero():
		text = "-"
	}
	if !k.Due.IsZero() && text != "ok" {
		text += "; publish it by " + k.Due.Format(time.DateOnly)
	}
	return text
}

type dkimRecordsCmd struct {
	store
	Domain string `arg:"" optional:"" help:"Domain name; default all."`
}

// Help is shown below the flags.
func (*dkimRecordsCmd) Help() string {
	return "All keys that are not removed are printed: those that retire must stay in DNS.\n\nExample: postino dkim records example.org"
}

func (c *dkimRecordsCmd) Run(e *env) error {
	var out []app.DKIMKey
	if err := c.call(e, "dkim.list", app.DKIMDomain{Domain: c.Domain}, &out); err != nil {
		return err
	}
	for _, k := range out {
		if err := said(e, "%s", k.Zone); err != nil {
			return err
		}
	}
	return nil
}

type dkimCheckCmd struct {
	store
	listFlags
	Domain string `arg:"" optional:"" help:"Domain name; default all."`
	Now    bool   `help:"Let keys sign whose records are right, although caches may not know them yet."`
}

// Help is shown below the flags.
func (*dkimCheckCmd) Help() string {
	return "The exit code is 3 when a record is missing or wrong.\n\nExample: postino dkim check example.org"
}

func (c *dkimCheckCmd) Run(e *env) error {
	var out []app.DKIMKey
	if err := c.call(e, "dkim.check", app.DKIMDomain{Domain: c.Domain, Now: c.Now}, &out); err != nil {
		return err
	}
	if err := dkimTable(e, &c.listFlags, out); err != nil {
		return err
	}
	for _, k := range out {
		if k.Trouble != "" {
			return checked{errors.New("a record is missing or wrong")}
		}
	}
	return nil
}

type dkimRotateCmd struct {
	store
	Domain string `arg:"" help:"Domain name."`
	Now    bool   `help:"Change to new keys at once if their records are in DNS."`
}

// Help is shown below the flags.
func (*dkimRotateCmd) Help() string {
	return "The server sees by itself when the records are published, changes to the new keys an hour later, and forgets the old ones after a week.\n\n" +
		"Example: postino dkim rotate example.org"
}

func (c *dkimRotateCmd) Run(e *env) error {
	var out []app.DKIMKey
	if err := c.call(e, "dkim.rotate", app.DKIMDomain{Domain: c.Domain, Now: c.Now}, &out); err != nil {
		return err
	}
	waiting := false
	for _, k := range out {
		if k.State != "planned" {
			continue
		}
		if !waiting {
			waiting = true
			if err := said(e, "Publish these records:\n"); err != nil {
				return err
			}
		}
		if err := said(e, "%s", k.Zone); err != nil {
			return err
		}
	}
	if !waiting {
		return said(e, "the next keys of %s are published; postino dkim list %s shows when they sign", c.Domain, c.Domain)
	}
	return nil
}

type dkimRetireCmd struct {
	store
	Domain   string `arg:"" help:"Domain name."`
	Selector string `arg:"" help:"Selector of the key."`
}

// Help is shown below the flags.
func (*dkimRetireCmd) Help() string {
	return "For a key that others may know. Mail goes without its signature until another key signs: see dkim rotate --now. " +
		"Take the record of a stolen key out of DNS at once.\n\nExample: postino dkim retire example.org 2026a-rsa"
}

func (c *dkimRetireCmd) Run(e *env) error {
	if err := c.call(e, "dkim.retire", app.DKIMSelector{Domain: c.Domain, Selector: c.Selector}, nil); err != nil {
		return err
	}
	return said(e, "%s signs no more for %s", c.Selector, c.Domain)
}

type dkimRemoveCmd struct {
	store
	Domain   string `arg:"" help:"Domain name."`
	Selector string `arg:"" help:"Selector of the key."`
}

// Help is shown below the flags.
func (*dkimRemoveCmd) Help() string {
	return "The private key is gone for good; take its record out of DNS. Messages on their way that it signed cannot be verified then.\n\n" +
		"Example: postino dkim remove example.org 2026a-rsa"
}

func (c *dkimRemoveCmd) Run(e *env) error {
	if err := c.call(e, "dkim.remove", app.DKIMSelector{Domain: c.Domain, Selector: c.Selector}, nil); err != nil {
		return err
	}
	return said(e, "%s of %s removed", c.Selector, c.Domain)
}
