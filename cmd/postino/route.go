package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type routeCmd struct {
	Add    routeAddCmd    `cmd:"" help:"Add a route, or replace the one of that name."`
	List   routeListCmd   `cmd:"" help:"List the routes."`
	Show   routeShowCmd   `cmd:"" help:"Show all of a route but its password."`
	Remove routeRemoveCmd `cmd:"" help:"Remove a route."`
	Test   routeTestCmd   `cmd:"" help:"Tell which way mail to an address would take, and why."`
}

type routeAddCmd struct {
	store
	Name  string   `arg:"" help:"Name: a-z, 0-9 and hyphen."`
	Hosts []string `arg:"" optional:"" help:"Hosts in order: host, host:port, [address]:port, mx:domain, unix:/path."`

	Domain string `help:"Domain of the recipients: example.org, .example.org for its sub-domains, * for all." default:"*"`
	Sender string `help:"Only mail from this sender: ana@example.org or @example.org." placeholder:"ADDRESS"`
	Action string `help:"direct, smarthost, lmtp, maildir, mbox, discard or hold; default smarthost with hosts, else direct." placeholder:"ACTION"`
	TLS    string `name:"tls" help:"opportunistic, required, verified, implicit or none; default verified with --user, else opportunistic." placeholder:"MODE"`

	User         string `help:"Log in to the hosts as this user." placeholder:"NAME"`
	PasswordFile string `help:"Read the password from the first line of this file; - is standard input." placeholder:"FILE"`

	Source        []string `help:"Send from this address of ours." placeholder:"IP"`
	Helo          string   `help:"Name to give in EHLO." placeholder:"NAME"`
	Fallback      string   `help:"Route to take when no host can be reached." placeholder:"ROUTE"`
	Connections   int      `help:"At most so many connections at once."`
	PerConnection int      `help:"At most so many messages in a connection."`
	Path          string   `help:"Directory of maildir, file of mbox." placeholder:"PATH"`
	Private       bool     `help:"Hosts may be on private and loopback addresses."`
}

// Help is shown below the flags.
func (*routeAddCmd) Help() string {
	return "Examples:\n\n  postino route add provider smtp.provider.example:587 --user ana --password-file secret\n\n" +
		"  postino route add inner 10.0.0.5 --domain customer.example --private\n\n  postino route add parked --domain old.example --action hold"
}

func (c *routeAddCmd) Run(e *env) error {
	r := app.Route{
		Name: c.Name, Domain: c.Domain, Sender: c.Sender, Action: c.Action, Hosts: c.Hosts, TLS: c.TLS, User: c.User, Source: c.Source, Helo: c.Helo,
		Fallback: c.Fallback, Connections: c.Connections, PerConnection: c.PerConnection, Path: c.Path, Private: c.Private,
	}
	if r.Action == "" {
		if r.Action = "direct"; len(r.Hosts) > 0 {
			r.Action = "smarthost"
		}
	}
	if r.User != "" {
		if r.TLS == "" {
			r.TLS = "verified"
		}
		var err error
		if r.Password, err = c.password(e); err != nil {
			return err
		}
	}
	if err := c.call(e, "route.add", r, nil); err != nil {
		return err
	}
	return said(e, "route %s added", c.Name)
}

// password reads the password of the hosts.
func (c *routeAddCmd) password(e *env) (string, error) {
	switch {
	case c.PasswordFile != "" && c.PasswordFile != "-":
		f, err := os.Open(c.PasswordFile)
		if err != nil {
			return "", postino.E(postino.Invalid, "read password", "", err)
		}
		defer f.Close()
		return firstLine(f)
	case c.PasswordFile == "-" || !isTerminal(e.in):
		return firstLine(e.in)
	}
	return ask(e, "Password of "+postino.Printable(c.User)+": ")
}

type routeListCmd struct {
	store
	listFlags
}

// Help is shown below the flags.
func (*routeListCmd) Help() string { return "Example: postino route list --json" }

func (c *routeListCmd) Run(e *env) error {
	var out []app.Route
	if err := c.call(e, "route.list", app.None{}, &out); err != nil {
		return err
	}
	return c.table(e, out, "ROUTE\tDOMAIN\tSENDER\tACTION\tTO\tTLS", func(w io.Writer) {
		for _, r := range out {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Domain, dash(r.Sender), r.Action, dash(destination(&r)), dash(r.TLS))
		}
	})
}

func destination(r *app.Route) string {
	if r.Path != "" {
		return r.Path
	}
	return strings.Join(r.Hosts, ", ")
}

type routeShowCmd struct {
	store
	listFlags
	Name string `arg:"" help:"Name of the route."`
}

// Help is shown below the flags.
func (*routeShowCmd) Help() string { return "Example: postino route show provider" }

func (c *routeShowCmd) Run(e *env) error {
	var r app.Route
	if err := c.call(e, "route.show", app.Named{Name: c.Name}, &r); err != nil {
		return err
	}
	number := func(n int) string {
		if n == 0 {
			return "default"
		}
		return strconv.Itoa(n)
	}
	return c.table(e, r, "ROUTE\t"+r.Name, func(w io.Writer) {
		for _, f := range [][2]string{
			{"domain", r.Domain}, {"sender", dash(r.Sender)}, {"action", r.Action}, {"to", dash(destination(&r))}, {"tls", dash(r.TLS)},
			{"user", dash(postino.Printable(r.User))}, {"source", dash(strings.Join(r.Source, ", "))}, {"helo", dash(r.Helo)}, {"fallback", dash(r.Fallback)},
			{"connections", number(r.Connections)}, {"per connection", number(r.PerConnection)}, {"private", strconv.FormatBool(r.Private)},
		} {
			fmt.Fprintf(w, "%s\t%s\n", f[0], f[1])
		}
	})
}

type routeRemoveCmd struct {
	store
	Name string `arg:"" help:"Name of the route."`
}

// Help is shown below the flags.
func (*routeRemoveCmd) Help() string { return "Example: postino route remove provider" }

func (c *routeRemoveCmd) Run(e *env) error {
	if err := c.call(e, "route.remove", app.Named{Name: c.Name}, nil); err != nil {
		return err
	}
	return said(e, "route %s removed", c.Name)
}

type routeTestCmd struct {
	store
	Address string `arg:"" help:"Recipient."`
	From    string `help:"Sender of the message." placeholder:"ADDRESS"`
	User    string `help:"User who submits it." placeholder:"ADDRESS"`
	JSON    bool   `help:"Print JSON."`
}

// Help is shown below the flags.
func (*routeTestCmd) Help() string {
	return "Nothing is sent.\n\nExample: postino route test someone@example.com --from ana@example.org"
}

func (c *routeTestCmd) Run(e *env) error {
	var out app.Ways
	if err := c.call(e, "route.test", app.RouteQuery{Address: c.Address, From: c.From, User: c.User}, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	for _, m := range out.Mailboxes {
		fmt.Fprintf(e.out, "%s: delivered here, to the mailbox of %s\n", c.Address, m)
	}
	if out.Relay {
		fmt.Fprintf(e.out, "%s: in a relay domain\n", c.Address)
	}
	if out.CallAhead {
		fmt.Fprintf(e.out, "%s: the next server is asked whether it takes the recipient\n", c.Address)
	}
	for _, w := range out.Ways {
		if w.Route == nil {
			fmt.Fprintf(e.out, "%s: direct\n", w.Address)
		} else {
			fmt.Fprintf(e.out, "%s: route %s, %s %s\n", w.Address, w.Route.Name, w.Route.Action, destination(w.Route))
		}
		fmt.Fprintf(e.out, "  because %s\n", w.Why)
	}
	return nil
}
