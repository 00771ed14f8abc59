package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type certCmd struct {
	List    certListCmd    `cmd:"" help:"List the certificates in use, and the names that certificates are asked for."`
	TLSA    certTLSACmd    `cmd:"" name:"tlsa" help:"Print the TLSA records to publish, for DANE."`
	Check   certCheckCmd   `cmd:"" help:"Tell what is not well: certificates that end, TLSA records that do not fit. Exits with 3 then."`
	NextKey certNextKeyCmd `cmd:"" help:"Make the key that comes next, and print its TLSA records to publish first."`
	Rotate  certRotateCmd  `cmd:"" help:"Change the key as soon as DNS does not speak against it."`
}

type certListCmd struct {
	store
	listFlags
}

func (c *certListCmd) Run(e *env) error {
	var out app.CertificateList
	if err := c.call(e, "cert.list", app.None{}, &out); err != nil {
		return err
	}
	err := c.table(e, out, "NAMES\tENDS\tFROM\tISSUER", func(w io.Writer) {
		for _, t := range out.Certificates {
			ends := t.NotAfter.UTC().Format(time.DateOnly)
			if t.Alarm != "" {
				ends += " (soon)"
			}
			from := t.Origin
			if t.From != "" {
				from += " " + t.From
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", dash(strings.Join(t.Names, " ")), ends, postino.Printable(from), postino.Printable(t.Issuer))
		}
	})
	if err != nil || c.JSON {
		return err
	}
	if out.Held != "" {
		fmt.Fprintf(e.out, "\nThe files hold a new certificate that is not in use: %s\n", out.Held)
	}
	for _, n := range out.Names {
		switch {
		case n.Problem != "":
			fmt.Fprintf(e.out, "\n%s: %s\n  next try %s\n", n.Name, n.Problem, n.Retry.Local().Format(time.DateTime))
		case !n.Renew.IsZero():
			fmt.Fprintf(e.out, "\n%s: renewed at %s\n", n.Name, n.Renew.Local().Format(time.DateTime))
		}
	}
	return nil
}

// tlsaFlags say which records are wanted.
type tlsaFlags struct {
	Name string   `arg:"" optional:"" help:"Host name; default this host's."`
	Port []uint16 `help:"Ports; mail between servers uses 25 alone." default:"25"`
}

func (f *tlsaFlags) query() app.TLSAQuery { return app.TLSAQuery{Name: f.Name, Ports: f.Port} }

type certTLSACmd struct {
	store
	tlsaFlags
}

func (c *certTLSACmd) Run(e *env) error {
	var out app.TLSARecords
	if err := c.call(e, "cert.tlsa", c.query(), &out); err != nil {
		return err
	}
	if out.Fleeting {
		return postino.E(postino.Invalid, "make TLSA records", out.Name, errors.New("its certificate is of our own making, with another key at each start"))
	}
	for _, r := range out.Records {
		fmt.Fprintln(e.out, r)
	}
	for _, r := range out.Next {
		fmt.Fprintf(e.out, "%s ; the next key\n", r)
	}
	return nil
}

type certCheckCmd struct {
	store
	JSON bool `help:"Print JSON."`
}

func (c *certCheckCmd) Run(e *env) error {
	var out app.CertificateFindings
	if err := c.call(e, "cert.check", app.None{}, &out); err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(e, out); err != nil {
			return err
		}
	} else {
		for _, f := range out.Fix {
			fmt.Fprintf(e.out, "fix     %s\n", printableLines(f))
		}
		for _, a := range out.Advice {
			fmt.Fprintf(e.out, "advice  %s\n", printableLines(a))
		}
		if len(out.Fix)+len(out.Advice) == 0 {
			return said(e, "ok      all certificates are well")
		}
	}
	if len(out.Fix) > 0 {
		return checked{errors.New("certificates are not well")}
	}
	return nil
}

type certNextKeyCmd struct {
	store
	tlsaFlags
}

func (c *certNextKeyCmd) Run(e *env) error {
	var out app.TLSARecords
	if err := c.call(e, "cert.next-key", c.query(), &out); err != nil {
		return err
	}
	for _, r := range out.Next {
		fmt.Fprintln(e.out, r)
	}
	return said(e, "\nPublish this beside the records that are there. The key changes by itself when it has been there for two TTLs;\nthen remove the old records.")
}

type certRotateCmd struct {
	store
	Name string `arg:"" optional:"" help:"Host name; default this host's."`
}

func (c *certRotateCmd) Run(e *env) error {
	if err := c.call(e, "cert.rotate", app.Named{Name: c.Name}, nil); err != nil {
		return err
	}
	return said(e, "the key changes with the next certificate, which is asked for now unless TLSA records in DNS know the old key alone")
}

type domainSTSCmd struct {
	store
	Domain string   `arg:"" help:"Domain name."`
	Mode   string   `arg:"" optional:"" help:"testing: failures are reported. enforce: mail is not delivered to other servers, or without valid certificates. none: the policy is taken back. off: there is none." enum:"off,none,testing,enforce," default:""`
	MX     []string `name:"mx" help:"Servers of the domain besides this one." placeholder:"HOST"`
	JSON   bool     `help:"Print JSON."`
}

// Help is shown below the flags.
func (*domainSTSCmd) Help() string {
	return "Without a mode, shows the policy and the records to publish. Example: postino domain mta-sts example.org testing"
}

func (c *domainSTSCmd) Run(e *env) error {
	if c.Mode == "" && len(c.MX) > 0 {
		return postino.E(postino.Invalid, "change MTA-STS", c.Domain, errors.New("--mx needs a mode"))
	}
	var out app.DomainSTS
	if err := c.call(e, "domain.mta-sts", app.DomainSTS{Domain: c.Domain, Mode: c.Mode, MX: c.MX}, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	if out.Record == "" {
		return said(e, "%s has no MTA-STS policy", out.Domain)
	}
	fmt.Fprintf(e.out, "Policy of %s, at https://%s/.well-known/mta-sts.txt:\n\n", out.Domain, out.Host)
	for line := range strings.Lines(out.Policy) {
		fmt.Fprintf(e.out, "  %s\n", strings.TrimRight(line, "\r\n"))
	}
	fmt.Fprintf(e.out, "\nPublish, and publish the TXT record again whenever the policy changes:\n\n  _mta-sts.%s. IN TXT %q\n  %s. IN CNAME %s.\n", out.Domain, out.Record, out.Host, out.Server)
	for _, w := range out.Warnings {
		fmt.Fprintf(e.out, "\nBeware: %s.\n", postino.Printable(w))
	}
	return nil
}

// printableLines keeps line feeds.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = postino.Printable(l)
	}
	return strings.Join(lines, "\n")
}
