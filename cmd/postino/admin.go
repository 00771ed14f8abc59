package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
)

// store finds the data that a command works on.
type store struct {
	Config string `short:"c" default:"postino.toml" help:"Configuration file." placeholder:"FILE"`
}

// call does one operation.
func (s *store) call(e *env, op string, args, result any) error {
	return s.session(e, func(admin app.Admin) error { return admin.Call(e.ctx, op, args, result) })
}

// session does operations, by the running server if there is one.
func (s *store) session(e *env, fn func(app.Admin) error) error {
	cfg, err := loadConfig(s.Config)
	if err != nil {
		return err
	}
	admin, err := app.Dial(e.ctx, cfg.DataDir())
	if err == nil {
		return fn(admin)
	}
	if !postino.Is(err, postino.NotFound) {
		return err
	}
	stores, err := cfg.OpenStores(quietLogger(e))
	if err != nil {
		return err
	}
	err = fn(stores)
	if cerr := stores.Close(); err == nil {
		err = cerr
	}
	return err
}

// configError is an error of the configuration file.
type configError struct{ error }

func loadConfig(path string) (*app.Config, error) {
	cfg, err := app.LoadConfig(path)
	if err != nil {
		return nil, configError{err}
	}
	return cfg, nil
}

func printJSON(e *env, v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

type listFlags struct {
	JSON bool `help:"Print JSON."`
}

// table prints rows, or v as JSON.
func (l *listFlags) table(e *env, v any, head string, rows func(w io.Writer)) error {
	if l.JSON {
		return printJSON(e, v)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	rows(w)
	return w.Flush()
}

// said prints what was done.
func said(e *env, format string, args ...any) error {
	_, err := fmt.Fprintf(e.out, format+"\n", args...)
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type domainCmd struct {
	Add        domainAddCmd    `cmd:"" help:"Add a domain."`
	Change     domainChangeCmd `cmd:"" help:"Change a domain."`
	List       domainListCmd   `cmd:"" help:"List the domains."`
	Remove     domainRemoveCmd `cmd:"" help:"Remove a domain that has no users and aliases."`
	MTASTS     domainSTSCmd    `cmd:"" name:"mta-sts" help:"Say what senders may expect of us (MTA-STS): show, off, none, testing, enforce."`
	Recipients recipientsCmd   `cmd:"" help:"Listed recipients of a relay domain: add, remove, list, import."`
}

type domainAddCmd struct {
	store
	Name      string `arg:"" help:"Domain name, example.org."`
	CatchAll  string `help:"Deliver mail for unknown recipients to this address." placeholder:"ADDRESS"`
	Separator string `help:"Sub-addressing separator: + - _ = # or none." default:"+"`
	Seal      bool   `help:"Seal what its aliases send on to other servers (ARC)."`
	relayFlags
}

func (c *domainAddCmd) Run(e *env) error {
	relay, err := c.relay()
	if err != nil {
		return err
	}
	if err := c.call(e, "domain.add", app.Domain{Name: c.Name, CatchAll: c.CatchAll, Separator: c.Separator, Relay: relay, Seal: c.Seal}, nil); err != nil {
		return err
	}
	return said(e, "domain %s added", c.Name)
}

type domainListCmd struct {
	store
	listFlags
}

func (c *domainListCmd) Run(e *env) error {
	var out []app.Domain
	if err := c.call(e, "domain.list", app.None{}, &out); err != nil {
		return err
	}
	return c.table(e, out, "DOMAIN\tCATCH-ALL\tSEPARATOR\tRELAY\tSEALS", func(w io.Writer) {
		for _, d := range out {
			seals := ""
			if d.Seal {
				seals = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Name, dash(d.CatchAll), dash(d.Separator), dash(d.Relay), dash(seals))
		}
	})
}

type domainRemoveCmd struct {
	store
	Name string `arg:"" help:"Domain name."`
}

func (c *domainRemoveCmd) Run(e *env) error {
	if err := c.call(e, "domain.remove", app.Named{Name: c.Name}, nil); err != nil {
		return err
	}
	return said(e, "domain %s removed", c.Name)
}

type userCmd struct {
	Add         userAddCmd      `cmd:"" help:"Add a user."`
	List        userListCmd     `cmd:"" help:"List the users with what they store."`
	Remove      userRemoveCmd   `cmd:"" help:"Remove a user and all of its mail."`
	Passwd      userPasswdCmd   `cmd:"" help:"Set a user's password."`
	Change      userChangeCmd   `cmd:"" help:"Change name, language or role, disable or enable a user."`
	AppPassword appPasswordCmd  `cmd:"" help:"Passwords for single programs: add, list, remove."`
	Token       tokenCmd        `cmd:"" help:"Make a token that opens for an hour at most."`
	Sessions    sessionsCmd     `cmd:"" help:"List the sessions and tokens of a user."`
	SignOut     signOutCmd      `cmd:"" help:"End sessions and tokens of a user."`
	Quota       userQuotaCmd    `cmd:"" help:"Show or change how much a user may store."`
	Limits      userLimitsCmd   `cmd:"" help:"Show or change how many recipients a user may send to."`
	Delegate    userDelegateCmd `cmd:"" help:"Let a user send as another one, or list who may."`
}

// passwordFlags say where a password comes from.
type passwordFlags struct {
	Generate     bool   `help:"Make a random password and print it." xor:"password"`
	PasswordFile string `help:"Read the password from the first line of this file; - is standard input." placeholder:"FILE" xor:"password"`
}

// password asks for a password, twice when a person types it. An empty one is refused:
// nobody could log in, and nothing would tell why.
func (p *passwordFlags) password(e *env) (string, error) {
	secret, err := p.given(e)
	if err == nil && secret == "" {
		err = postino.E(postino.Invalid, "set password", "", errors.New("it is empty; give it on standard input or with --password-file, or let --generate make one"))
	}
	return secret, err
}

func (p *passwordFlags) given(e *env) (string, error) {
	switch {
	case p.Generate:
		return strings.ToLower(rand.Text()), nil
	case p.PasswordFile != "" && p.PasswordFile != "-":
		f, err := os.Open(p.PasswordFile)
		if err != nil {
			return "", postino.E(postino.Invalid, "read password", "", err)
		}
		defer f.Close()
		return firstLine(f)
	case p.PasswordFile == "-" || !isTerminal(e.in):
		return firstLine(e.in)
	}
	one, err := ask(e, "Password: ")
	if err != nil {
		return "", err
	}
	two, err := ask(e, "Again: ")
	if err == nil && one != two {
		err = postino.E(postino.Invalid, "set password", "", fmt.Errorf("the two passwords differ"))
	}
	return one, err
}

// done prints what was done, and the password if it was made here.
func (p *passwordFlags) done(e *env, secret, format string, args ...any) error {
	if err := said(e, format, args...); err != nil || !p.Generate {
		return err
	}
	return said(e, "password: %s", secret)
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", postino.E(postino.Invalid, "read password", "", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type userAddCmd struct {
	store
	passwordFlags
	Address string `arg:"" help:"Address, ana@example.org; its domain must exist."`
	Name    string `help:"Display name."`
	Admin   bool   `help:"The user is an administrator and gets postmaster's mail."`
	Quota   size   `help:"Quota, as 10GiB; default none." placeholder:"SIZE"`
	Shared  bool   `help:"A shared account: nobody logs in as it, others get rights on its mailboxes (postino acl)."`
}

func (c *userAddCmd) Run(e *env) error {
	if c.Shared {
		u := app.User{Address: c.Address, Name: c.Name, Quota: int64(c.Quota), Shared: true}
		if err := c.call(e, "user.add", u, nil); err != nil {
			return err
		}
		return said(e, "shared account %s added; give rights on it with: postino acl set %s INBOX WHO RIGHTS", c.Address, c.Address)
	}
	secret, err := c.password(e)
	if err != nil {
		return err
	}
	u := app.User{Address: c.Address, Name: c.Name, Password: secret, Admin: c.Admin, Quota: int64(c.Quota)}
	if err := c.call(e, "user.add", u, nil); err != nil {
		return err
	}
	return c.done(e, secret, "user %s added", c.Address)
}

type userListCmd struct {
	store
	listFlags
	Domain string `arg:"" optional:"" help:"Only the users of this domain."`
}

func (c *userListCmd) Run(e *env) error {
	var out []app.User
	if err := c.call(e, "user.list", app.Named{Name: c.Domain}, &out); err != nil {
		return err
	}
	return c.table(e, out, "USER\tNAME\tROLE\tMESSAGES\tUSED\tQUOTA\tCREATED", func(w io.Writer) {
		for _, u := range out {
			role := "user"
			if u.Admin {
				role = "admin"
			}
			if u.Shared {
				role = "shared"
			}
			if u.Disabled {
				role += ", disabled"
			}
			quota := "-"
			if u.Quota > 0 {
				quota = size(u.Quota).String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", u.Address, dash(postino.Printable(u.Name)), role, u.Messages, size(u.Used), quota,
				u.Created.Format(time.DateOnly))
		}
	})
}

type userRemoveCmd struct {
	store
	Address string `arg:"" help:"Address of the user."`
	Yes     bool   `help:"Do not ask." short:"y"`
}

func (c *userRemoveCmd) Run(e *env) error {
	if !c.Yes {
		if !isTerminal(e.in) {
			return postino.E(postino.Invalid, "remove user", c.Address, fmt.Errorf("all mail of the user goes; say --yes"))
		}
		fmt.Fprintf(e.out, "Remove %s and all of its mail? [y/N] ", c.Address)
		answer, err := firstLine(e.in)
		if err != nil {
			return err
		}
		if !strings.EqualFold(answer, "y") {
			return said(e, "aborted, no changes made")
		}
	}
	if err := c.call(e, "user.remove", app.Named{Name: c.Address}, nil); err != nil {
		return err
	}
	return said(e, "user %s removed", c.Address)
}

type userPasswdCmd struct {
	store
	passwordFlags
	Address string `arg:"" help:"Address of the user."`
}

func (c *userPasswdCmd) Run(e *env) error {
	secret, err := c.password(e)
	if err != nil {
		return err
	}
	if err := c.call(e, "user.passwd", app.User{Address: c.Address, Password: secret}, nil); err != nil {
		return err
	}
	return c.done(e, secret, "password of %s changed", c.Address)
}

type aliasCmd struct {
	Add    aliasAddCmd    `cmd:"" help:"Add an alias, or replace its targets."`
	List   aliasListCmd   `cmd:"" help:"List the aliases."`
	Remove aliasRemoveCmd `cmd:"" help:"Remove an alias."`
}

type aliasAddCmd struct {
	store
	Address string   `arg:"" help:"Address, or @example.net for a whole domain."`
	Targets []string `arg:"" help:"Where its mail goes: addresses, here or elsewhere, or @example.org for a whole domain."`

	MembersSend bool `help:"Every member may send as this address; without it only a single target may."`
}

// Help is shown below the flags.
func (*aliasAddCmd) Help() string {
	return "Example: postino alias add sales@example.org ana@example.org bob@elsewhere.example"
}

func (c *aliasAddCmd) Run(e *env) error {
	if err := c.call(e, "alias.add", app.Alias{Address: c.Address, Targets: c.Targets, MembersSend: c.MembersSend}, nil); err != nil {
		return err
	}
	return said(e, "alias %s -> %s added", c.Address, strings.Join(c.Targets, ", "))
}

type aliasListCmd struct {
	store
	listFlags
	Domain string `arg:"" optional:"" help:"Only the aliases of this domain."`
}

func (c *aliasListCmd) Run(e *env) error {
	var out []app.Alias
	if err := c.call(e, "alias.list", app.Named{Name: c.Domain}, &out); err != nil {
		return err
	}
	return c.table(e, out, "ALIAS\tTARGETS", func(w io.Writer) {
		for _, a := range out {
			fmt.Fprintf(w, "%s\t%s\n", a.Address, strings.Join(a.Targets, ", "))
		}
	})
}

type aliasRemoveCmd struct {
	store
	Address string `arg:"" help:"Address, or @example.net for a whole domain."`
}

func (c *aliasRemoveCmd) Run(e *env) error {
	if err := c.call(e, "alias.remove", app.Named{Name: c.Address}, nil); err != nil {
		return err
	}
	return said(e, "alias %s removed", c.Address)
}

type traceCmd struct {
	store
	Query string `arg:"" help:"Message-ID, address, or the id that stands in the server's reply."`
	Limit int    `help:"At most so many messages, newest first." default:"20"`
	JSON  bool   `help:"Print JSON."`
}

func (c *traceCmd) Run(e *env) error {
	var out []app.Story
	if err := c.call(e, "trace", app.TraceQuery{Text: c.Query, Limit: c.Limit}, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e, out)
	}
	if len(out) == 0 {
		return postino.E(postino.NotFound, "trace", c.Query, fmt.Errorf("no message is known by that"))
	}
	for i, s := range out {
		if i > 0 {
			fmt.Fprintln(e.out)
		}
		fmt.Fprintln(e.out, s.ID)
		for _, ev := range s.Events {
			fmt.Fprintf(e.out, "  %s  %s\n", ev.Time.Local().Format("2006-01-02 15:04:05.000"), ev.Text)
			for _, line := range ev.Details {
				fmt.Fprintf(e.out, "  %23s      %s\n", "", line)
			}
		}
	}
	return nil
}
