package main

import (
	"fmt"
	"io"

	"github.com/postino-mail/postino/app"
)

type trustCmd struct {
	Add    trustAddCmd    `cmd:"" help:"Trust a forwarder, a mailing list or an ARC sealer."`
	Remove trustRemoveCmd `cmd:"" help:"Trust it no longer."`
	List   trustListCmd   `cmd:"" help:"List who is trusted."`
}

// trustArgs name somebody.
type trustArgs struct {
	Kind string `arg:"" help:"forwarder: a host that passes mail of our users on to here. list: a mailing list. sealer: who proves by ARC what mail was worth when it came there."`
	Name string `arg:"" help:"Domain, with all below it; of a forwarder also an address or a network."`
}

func (a *trustArgs) trust() app.Trust { return app.Trust{Kind: a.Kind, Name: a.Name} }

type trustAddCmd struct {
	store
	trustArgs
}

// Help is shown below the flags.
func (*trustAddCmd) Help() string {
	return `Mail that fails DMARC is refused or put into Junk when the domain in From says so.
Forwarders and mailing lists make good mail fail. What comes by way of one that
is trusted is delivered all the same, and the domain is told why in its report.

  forwarder  by network, or by a name that leads to the client's address and back
  list       by a DKIM signature of the domain, or of one above it for its List-Id
  sealer     by an ARC chain whose newest seals are all of trusted domains, and
             which says that the message passed for the domain in From

Examples:

  postino trust add forwarder 192.0.2.0/24
  postino trust add forwarder alumni.example.edu
  postino trust add list lists.example.net
  postino trust add sealer example.com`
}

// whatFor says what a new entry does.
var whatFor = map[string]string{
	"forwarder": "mail from %s is delivered whatever DMARC says",
	"list":      "mail that %s has signed is delivered whatever DMARC says",
	"sealer":    "mail is delivered whatever DMARC says when %s proves by ARC that it passed there",
}

func (c *trustAddCmd) Run(e *env) error {
	if err := c.call(e, "trust.add", c.trust(), nil); err != nil {
		return err
	}
	return said(e, "%s %s is trusted: "+whatFor[c.Kind], c.Kind, c.Name, c.Name)
}

type trustRemoveCmd struct {
	store
	trustArgs
}

func (c *trustRemoveCmd) Run(e *env) error {
	if err := c.call(e, "trust.remove", c.trust(), nil); err != nil {
		return err
	}
	return said(e, "%s %s is no longer trusted", c.Kind, c.Name)
}

type trustListCmd struct {
	store
	listFlags
}

func (c *trustListCmd) Run(e *env) error {
	var out []app.Trust
	if err := c.call(e, "trust.list", app.None{}, &out); err != nil {
		return err
	}
	return c.table(e, out, "KIND\tNAME\tSINCE", func(w io.Writer) {
		for _, t := range out {
			fmt.Fprintf(w, "%s\t%s\t%s\n", t.Kind, t.Name, t.Added.Local().Format("2006-01-02"))
		}
	})
}
