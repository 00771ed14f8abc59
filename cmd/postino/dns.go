package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/postino-mail/postino/app"
)

type dnsCmd struct {
	store
	Name string `arg:"" help:"Domain name."`
	Type string `arg:"" optional:"" default:"MX" help:"Type of the records: A, AAAA, MX, TXT, TLSA, PTR, CNAME, NS, SOA, SRV, CAA, DS or DNSKEY."`
	JSON bool   `help:"Print JSON."`
}

// Help shows an example.
func (*dnsCmd) Help() string { return "Example: postino dns _25._tcp.mx.example.com TLSA" }

// Run looks a name up and explains the chain of trust.
func (c *dnsCmd) Run(e *env) error {
	var a app.NameAnswer
	if err := c.call(e, "dns", app.NameQuestion{Name: c.Name, Type: c.Type}, &a); err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(e, a); err != nil {
			return err
		}
	} else {
		printName(e, &a)
	}
	if a.Security == "bogus" || a.Security == "unknown" {
		return checked{errors.New("no answer that may be used")}
	}
	return nil
}

func printName(e *env, a *app.NameAnswer) {
	fmt.Fprintf(e.out, "%s %s: %s\n", a.Name, a.Type, a.Security)
	if a.Canonical != "" && a.Canonical != a.Name {
		fmt.Fprintf(e.out, "  alias of %s\n", a.Canonical)
	}
	for _, r := range a.Records {
		fmt.Fprintf(e.out, "  %s\n", r)
	}
	if a.Failure != "" {
		fmt.Fprintf(e.out, "  %s\n", a.Failure)
	}
	if a.TTL > 0 {
		fmt.Fprintf(e.out, "  for %s\n", a.TTL.Round(time.Second))
	}
	fmt.Fprintln(e.out, "Chain of trust:")
	for _, step := range a.Chain {
		fmt.Fprintf(e.out, "  %s\n", step)
	}
	fmt.Fprintf(e.out, "This server judges answers so: %s", a.Mode)
	if a.Judged != "" {
		fmt.Fprintf(e.out, "; this one: %s", a.Judged)
	}
	fmt.Fprintln(e.out)
	if a.Warning != "" {
		fmt.Fprintf(e.out, "Warning: %s\n", a.Warning)
	}
}
