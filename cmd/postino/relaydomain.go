package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
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
	Seal       *bool   `help:"Seal what its aliases send on to other servers (ARC), or do not." negatable:""`
	Deliver    bool    `help:"Deliver its mail here, no longer pass it on." xor:"relay"`
}

// Help is shown below the flags.
func (*domainChangeCmd) Help() string {
	return "Example: postino domain change customer.example --recipients list"
}

func (c *domainChangeCmd) Run(e *env) error {
	nothing := ""
	change := app.DomainChange{Name: c.Name, CatchAll: c.CatchAll, Separator: c.Separator, Relay: c.Recipients, Seal: c.Seal}
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
