package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

// relayFlags make a domain a relay domain.
type relayFlags struct {
	Relay      bool   `help:"Pass its mail on instead of delivering it here: backup MX, inner server."`
	Recipients string `help:"Recipients of a relay domain that are taken: any, list (see domain recipients), call-ahead (the next server is asked)." placeholder:"WAY"`
}

// relay returns the way in which recipients are known, "" without --relay.
func (f *relayFlags) relay() (string, error) {
	switch {
	case !f.Relay && f.Recipients != "":
		return "", postino.E(postino.Invalid, "add domain", "", fmt.Errorf("--recipients is for a domain with --relay"))
	case f.Relay && f.Recipients == "":
		return "any", nil
	}
	return f.Recipients, nil
}

// Help is shown below the flags.
func (*domainAddCmd) Help() string {
	return "Examples:\n\n  postino domain add example.org\n\n  postino domain add customer.example --relay --recipients list"
}

type domainChangeCmd struct {
	store
	Name       string  `arg:"" help:"Domain name."`
	CatchAll   *string `help:"Deliver mail for unknown recipients to this address; none: refuse it." placeholder:"ADDRESS"`
	Separator  *string `help:"Sub-addressing separator: + - _ = # or none." placeholder:"SIGN"`
	Recipients *string `help:"Make it a relay domain, or change which of its recipients are taken: any, list, call-ahead." placeholder:"WAY" xor:"relay"`
	Deliver    bool    `help:"Deliver its mail here, no longer pass it on." xor:"relay"`
}

// Help is shown below the flags.
func (*domainChangeCmd) Help() string {
	return "Example: postino domain change customer.example --recipients list"
}

func (c *domainChangeCmd) Run(e *env) error {
	nothing := ""
	change := app.DomainChange{Name: c.Name, CatchAll: c.CatchAll, Separator: c.Separator, Relay: c.Recipients}
	if c.CatchAll != nil && *c.CatchAll == "none" {
		change.CatchAll = &nothing
	}
	if c.Deliver {
		change.Relay = &nothing
	}
	if change == (app.DomainChange{Name: c.Name}) {
		return postino.E(postino.Invalid, "change domain", c.Name, fmt.Errorf("say what is to change"))
	}
	if err := c.call(e, "domain.change", change, nil); err != nil {
		return err
	}
	return said(e, "domain %s changed", c.Name)
}

type recipientsCmd struct {
	Add    recipientsAddCmd    `cmd:"" help:"Put addresses on the list."`
	Remove recipientsRemoveCmd `cmd:"" help:"Take addresses off the list."`
	List   recipientsListCmd   `cmd:"" help:"Print the list, one address a line."`
	Import recipientsImportCmd `cmd:"" help:"Put the addresses of a file on the list."`
}

type recipientsAddCmd struct {
	store
	Domain    string   `arg:"" help:"Relay domain."`
	Addresses []string `arg:"" help:"Addresses in it; @ and the domain may be left out."`
}

// Help is shown below the flags.
func (*recipientsAddCmd) Help() string {
	return "Example: postino domain recipients add customer.example ana bob@customer.example"
}

func (c *recipientsAddCmd) Run(e *env) error {
	var out app.Changed
	if err := c.call(e, "recipients.add", app.Recipients{Domain: c.Domain, Addresses: within(c.Domain, c.Addresses)}, &out); err != nil {
		return err
	}
	return said(e, "%d recipients added to %s", out.Changed, c.Domain)
}

// within completes addresses that lack their domain.
func within(domain string, list []string) []string {
	out := make([]string, len(list))
	for i, a := range list {
		if out[i] = a; !strings.Contains(a, "@") {
			out[i] = a + "@" + domain
		}
	}
	return out
}

type recipientsRemoveCmd struct {
	store
	Domain    string   `arg:"" help:"Relay domain."`
	Addresses []string `arg:"" optional:"" help:"Addresses in it; @ and the domain may be left out."`
	All       bool     `help:"Empty the list."`
}

// Help is shown below the flags.
func (*recipientsRemoveCmd) Help() string {
	return "Example: postino domain recipients remove customer.example ana"
}

func (c *recipientsRemoveCmd) Run(e *env) error {
	if c.All == (len(c.Addresses) > 0) {
		return postino.E(postino.Invalid, "remove recipients", c.Domain, fmt.Errorf("name addresses, or say --all"))
	}
	var out app.Changed
	args := app.Recipients{Domain: c.Domain, Addresses: within(c.Domain, c.Addresses), All: c.All}
	if err := c.call(e, "recipients.remove", args, &out); err != nil {
		return err
	}
	return said(e, "%d recipients removed from %s", out.Changed, c.Domain)
}

type recipientsListCmd struct {
	store
	listFlags
	Domain string `arg:"" help:"Relay domain."`
}

// Help is shown below the flags.
func (*recipientsListCmd) Help() string {
	return "Example: postino domain recipients list customer.example > recipients.txt"
}

func (c *recipientsListCmd) Run(e *env) error {
	all := []string{}
	w := bufio.NewWriter(e.out)
	err := c.session(e, func(admin app.Admin) error {
		for page := (app.Recipients{Domain: c.Domain}); ; {
			var out app.Recipients
			if err := admin.Call(e.ctx, "recipients.list", page, &out); err != nil {
				return err
			}
			if len(out.Addresses) == 0 {
				return nil
			}
			page.After = out.Addresses[len(out.Addresses)-1]
			if c.JSON {
				all = append(all, out.Addresses...)
				continue
			}
			for _, a := range out.Addresses {
				fmt.Fprintln(w, a)
			}
		}
	})
	if err == nil && c.JSON {
		return printJSON(e, all)
	}
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	return err
}

type recipientsImportCmd struct {
	store
	Domain string `arg:"" help:"Relay domain."`
	File   string `arg:"" optional:"" default:"-" help:"File, - for standard input."`
}

// Help is shown below the flags.
func (*recipientsImportCmd) Help() string {
	return "Each line begins with an address; what follows after a space is passed over, and so are empty lines and those that begin with #. " +
		"What is on the list stays there.\n\nExample: postino domain recipients import customer.example recipients.txt"
}

// importBatch is how many addresses go in one call.
const importBatch = 5000

func (c *recipientsImportCmd) Run(e *env) error {
	in := io.Reader(e.in)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return postino.E(postino.Invalid, "import recipients", c.File, err)
		}
		defer f.Close()
		in = f
	}
	lines := bufio.NewScanner(in)
	read, added := 0, 0
	err := c.session(e, func(admin app.Admin) error {
		for number := 0; ; {
			batch, err := c.batch(lines, &number)
			if err != nil || len(batch) == 0 {
				return err
			}
			var out app.Changed
			if err := admin.Call(e.ctx, "recipients.add", app.Recipients{Domain: c.Domain, Addresses: batch}, &out); err != nil {
				return err
			}
			read, added = read+len(batch), added+out.Changed
			if len(batch) == importBatch {
				fmt.Fprintf(e.err, "%d read, %d new\n", read, added)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("%w (%d recipients were added before)", err, added)
	}
	return said(e, "%d recipients read, %d added to %s", read, added, c.Domain)
}

// batch reads the next addresses; number counts the lines.
func (c *recipientsImportCmd) batch(lines *bufio.Scanner, number *int) (batch []string, err error) {
	for len(batch) < importBatch && lines.Scan() {
		*number++
		text, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(lines.Text()), "\t", " "), " ")
		if text == "" || text[0] == '#' {
			continue
		}
		text = within(c.Domain, []string{text})[0]
		if _, err := postino.ParseAddress(text); err != nil {
			return nil, postino.E(postino.Invalid, "import recipients", fmt.Sprintf("%s:%d", c.File, *number), err)
		}
		batch = append(batch, text)
	}
	if err := lines.Err(); err != nil {
		return nil, postino.E(postino.Invalid, "import recipients", fmt.Sprintf("%s:%d", c.File, *number+1), err)
	}
	return batch, nil
}

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

// limit is a number of recipients, "none" or "default".
type limit int

// UnmarshalText reads a limit of sending.
func (l *limit) UnmarshalText(b []byte) error {
	switch string(b) {
	case "none":
		*l = -1
	case "default":
		*l = 0
	default:
		n, err := strconv.Atoi(string(b))
		if err != nil || n <= 0 {
			return fmt.Errorf("%q is no limit; give a number, none or default", b)
		}
		*l = limit(n)
	}
	return nil
}

type userLimitsCmd struct {
	store
	listFlags
	Address string `arg:"" help:"Address of the user."`
	Hour    *limit `help:"Recipients in any 60 minutes: a number, none or default." placeholder:"N"`
	Day     *limit `help:"Recipients in any 24 hours: a number, none or default." placeholder:"N"`
}

// Help is shown below the flags.
func (*userLimitsCmd) Help() string {
	return "Example: postino user limits newsletter@example.org --hour 5000 --day 20000"
}

func (c *userLimitsCmd) Run(e *env) error {
	var out app.SendLimits
	args := app.SendLimits{Address: c.Address, Hour: (*int)(c.Hour), Day: (*int)(c.Day)}
	if err := c.call(e, "user.limits", args, &out); err != nil {
		return err
	}
	text := func(n *int) string {
		if n == nil || *n < 0 {
			return "none"
		}
		return strconv.Itoa(*n)
	}
	return c.table(e, out, "USER\tPERIOD\tRECIPIENTS\tLIMIT", func(w io.Writer) {
		fmt.Fprintf(w, "%s\thour\t%d\t%s\n", out.Address, out.SentHour, text(out.Hour))
		fmt.Fprintf(w, "%s\tday\t%d\t%s\n", out.Address, out.SentDay, text(out.Day))
	})
}

type userDelegateCmd struct {
	store
	listFlags
	Owner    string `arg:"" help:"User whose addresses are sent as."`
	Delegate string `arg:"" optional:"" help:"User who may send; without one the delegates are listed."`
	Remove   bool   `help:"Take the right away."`
}

// Help is shown below the flags.
func (*userDelegateCmd) Help() string {
	return "Example: postino user delegate boss@example.org secretary@example.org"
}

func (c *userDelegateCmd) Run(e *env) error {
	if c.Remove && c.Delegate == "" {
		return postino.E(postino.Invalid, "set delegate", c.Owner, fmt.Errorf("whose right is to be taken away?"))
	}
	out := []string{}
	if err := c.call(e, "user.delegate", app.Delegation{Owner: c.Owner, Delegate: c.Delegate, Remove: c.Remove}, &out); err != nil {
		return err
	}
	return c.table(e, out, "DELEGATE", func(w io.Writer) {
		for _, a := range out {
			fmt.Fprintln(w, a)
		}
	})
}
