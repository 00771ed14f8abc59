package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

type userChangeCmd struct {
	store
	Address  string  `arg:"" help:"Address of the user."`
	Name     *string `help:"Display name."`
	Language *string `help:"Language of what is written to the user: en, it, ro." placeholder:"TAG"`
	Admin    *bool   `help:"Administrator, who gets postmaster's mail." negatable:""`
	Disable  bool    `help:"No login any more; open sessions end within 30 seconds, mail is still delivered." xor:"able"`
	Enable   bool    `help:"Let the user in again." xor:"able"`
}

func (c *userChangeCmd) Run(e *env) error {
	change := app.UserChange{Address: c.Address, Name: c.Name, Language: c.Language, Admin: c.Admin}
	if c.Disable || c.Enable {
		change.Disabled = &c.Disable
	}
	if err := c.call(e, "user.change", change, nil); err != nil {
		return err
	}
	return said(e, "user %s changed", c.Address)
}

type appPasswordCmd struct {
	Add    appPasswordAddCmd    `cmd:"" help:"Make a password for one program; it is shown once."`
	List   appPasswordListCmd   `cmd:"" help:"List a user's app passwords with their last use."`
	Remove appPasswordRemoveCmd `cmd:"" help:"Take an app password away; sessions opened with it end within 30 seconds."`
}

// forFlag says what a secret opens.
type forFlag struct {
	For []string `help:"What it opens: smtp, imap, pop3; default all." placeholder:"SERVICE" sep:","`
}

func (f forFlag) services() string { return strings.Join(f.For, " ") }

type appPasswordAddCmd struct {
	store
	forFlag
	Address string `arg:"" help:"Address of the user."`
	Name    string `arg:"" help:"What the password is for, \"phone\"."`
}

func (c *appPasswordAddCmd) Run(e *env) error {
	var out app.AppPassword
	if err := c.call(e, "app-password.add", app.AppPassword{Address: c.Address, Name: c.Name, Services: c.services()}, &out); err != nil {
		return err
	}
	return said(e, "%s", out.Secret)
}

type appPasswordListCmd struct {
	store
	listFlags
	Address string `arg:"" help:"Address of the user."`
}

func (c *appPasswordListCmd) Run(e *env) error {
	var out []app.AppPassword
	if err := c.call(e, "app-password.list", app.Named{Name: c.Address}, &out); err != nil {
		return err
	}
	return c.table(e, out, "ID\tNAME\tFOR\tCREATED\tLAST USE", func(w io.Writer) {
		for _, p := range out {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", p.ID, postino.Printable(p.Name), p.Services, day(p.Created), day(p.LastUse))
		}
	})
}

// day writes the day of a moment, in the local zone.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateOnly)
}

type appPasswordRemoveCmd struct {
	store
	Address string `arg:"" help:"Address of the user."`
	ID      uint64 `arg:"" help:"Number of the app password in the list."`
}

func (c *appPasswordRemoveCmd) Run(e *env) error {
	if err := c.call(e, "app-password.remove", app.AppPassword{Address: c.Address, ID: c.ID}, nil); err != nil {
		return err
	}
	return said(e, "app password %d of %s removed", c.ID, c.Address)
}

type tokenCmd struct {
	store
	forFlag
	Address string        `arg:"" help:"Address of the user."`
	Name    string        `arg:"" optional:"" help:"What the token is for, \"nightly script\"."`
	Life    time.Duration `help:"How long it opens; at most 1h." default:"1h"`
}

// Help is shown below the flags.
func (*tokenCmd) Help() string {
	return "The token is printed once, for programs that log in by OAUTHBEARER or XOAUTH2. The server takes it when [auth] tokens is true."
}

func (c *tokenCmd) Run(e *env) error {
	var out app.Grant
	if err := c.call(e, "grant.token", app.Grant{Address: c.Address, Name: c.Name, Services: c.services(), Life: c.Life}, &out); err != nil {
		return err
	}
	return said(e, "%s", out.Secret)
}

type sessionsCmd struct {
	store
	listFlags
	Address string `arg:"" help:"Address of the user."`
}

func (c *sessionsCmd) Run(e *env) error {
	var out []app.Grant
	if err := c.call(e, "grant.list", app.Named{Name: c.Address}, &out); err != nil {
		return err
	}
	return c.table(e, out, "ID\tKIND\tNAME\tFOR\tFROM\tLAST USE\tEXPIRES", func(w io.Writer) {
		for _, g := range out {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, g.Kind, dash(postino.Printable(g.Name)), dash(g.Services), dash(g.Remote),
				g.Used.Local().Format("2006-01-02 15:04"), g.Expires.Local().Format("2006-01-02 15:04"))
		}
	})
}

type signOutCmd struct {
	store
	Address string `arg:"" help:"Address of the user."`
	ID      uint64 `arg:"" optional:"" help:"Number of one session or token in the list; without it all end."`
}

func (c *signOutCmd) Run(e *env) error {
	var ended int
	if err := c.call(e, "grant.end", app.Grant{Address: c.Address, ID: c.ID}, &ended); err != nil {
		return err
	}
	return said(e, "%d sessions and tokens of %s ended", ended, c.Address)
}
