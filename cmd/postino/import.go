package main

import (
	"crypto/tls"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/mailfile"
)

type importCmd struct {
	Maildir importMaildirCmd `cmd:"" help:"From a Maildir, with its folders, and Dovecot's flags, keywords and UIDs."`
	Mbox    importMboxCmd    `cmd:"" help:"From an mbox file or a directory of such files."`
	EML     importEMLCmd     `cmd:"" name:"eml" help:"From a directory of files, each of which is a message."`
	IMAP    importIMAPCmd    `cmd:"" name:"imap" help:"From a live IMAP server."`
}

// importFlags are common to all sources.
type importFlags struct {
	store
	Mailbox   []string `help:"Only mailboxes with this name, in which * stands for anything; may be given several times." placeholder:"PATTERN"`
	Into      string   `help:"Put all below this mailbox; without it names stay as they are." placeholder:"MAILBOX"`
	Again     bool     `help:"Forget what came before from this source and import all of it once more."`
	SyncFlags bool     `help:"Give messages that came before the flags that they have in the source now."`
	FreshUIDs bool     `name:"fresh-uids" help:"Do not keep the UIDs of the source."`
	OverQuota bool     `help:"Store also what the quota has no room for."`
	DryRun    bool     `short:"n" help:"Tell what would be done, and change nothing."`
}

// run moves a source into an account and says what was done.
func (f *importFlags) run(e *env, admin app.Admin, src app.Source, address string) error {
	report, err := f.move(e, admin, src, address)
	f.tell(e, report)
	if err != nil && e.ctx.Err() != nil {
		return postino.E(postino.Transient, "import", address, errors.New("stopped; what was stored stays, the same command goes on from here"))
	}
	return err
}

func (f *importFlags) move(e *env, admin app.Admin, src app.Source, address string) (app.ImportReport, error) {
	bar := newBar(e)
	im := app.Import{
		Source: src, Store: app.Transfer{Admin: admin}, Account: address, Into: f.Into, Wanted: chosen(f.Mailbox),
		Again: f.Again, SyncFlags: f.SyncFlags, FreshUIDs: f.FreshUIDs, OverQuota: f.OverQuota, Try: f.DryRun,
		Progress: func(p app.ImportProgress) { bar.show(p.Mailbox, p.Done, p.Folders, p.Messages, p.Total, p.Octets) },
	}
	report, err := im.Run(e.ctx)
	bar.clear()
	return report, errors.Join(err, src.Close())
}

// tell prints what was done and what was not.
func (f *importFlags) tell(e *env, r app.ImportReport) {
	for _, n := range r.Notes {
		fmt.Fprintln(e.out, "note:", n)
	}
	verb := "imported"
	if f.DryRun {
		verb = "would be imported"
	}
	fmt.Fprintf(e.out, "%d messages (%v) %s from %d mailboxes", r.Imported, size(r.Octets), verb, r.Mailboxes)
	if r.Before > 0 {
		fmt.Fprintf(e.out, ", %d had come before", r.Before)
	}
	if r.Synced > 0 {
		fmt.Fprintf(e.out, ", flags of %d brought up to date", r.Synced)
	}
	if r.Failed > 0 {
		fmt.Fprintf(e.out, ", %d could not be read", r.Failed)
	}
	fmt.Fprintln(e.out)
}

// chosen tells for a name whether one of the patterns fits; without patterns all do.
func chosen(patterns []string) func(string) bool {
	if len(patterns) == 0 {
		return nil
	}
	return func(name string) bool {
		for _, p := range patterns {
			if like(p, name) {
				return true
			}
		}
		return false
	}
}

// like tells whether name is as the pattern, in which * stands for anything.
func like(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return strings.EqualFold(pattern, name)
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, last)
}

// root opens a directory so that no link in it leads out.
func root(dir string) (*os.Root, string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", postino.E(postino.Invalid, "open", dir, err)
	}
	r, err := os.OpenRoot(abs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, "", postino.E(postino.NotFound, "open", dir, err)
	case errors.Is(err, os.ErrPermission):
		return nil, "", postino.E(postino.Denied, "open", dir, err)
	case err != nil:
		return nil, "", postino.E(postino.Invalid, "open", dir, err)
	}
	return r, abs, nil
}

// tree opens a directory, or a zip archive, as files to read.
func tree(name string) (files fs.FS, abs string, c io.Closer, err error) {
	info, err := os.Stat(name)
	if err != nil || info.IsDir() {
		r, abs, err := root(name)
		if err != nil {
			return nil, "", nil, err
		}
		return r.FS(), abs, r, nil
	}
	if abs, err = filepath.Abs(name); err != nil {
		return nil, "", nil, postino.E(postino.Invalid, "open", name, err)
	}
	f, err := os.Open(abs)
	if err != nil {
		return nil, "", nil, postino.E(postino.Denied, "open", name, err)
	}
	if files, err = mailfile.OpenZip(f, info.Size()); err != nil {
		return nil, "", nil, errors.Join(err, f.Close())
	}
	return files, abs, f, nil
}

// spool copies a file of an archive to a temporary one.
func spool(f fs.File) (mailfile.SpooledFile, error) {
	tmp, err := os.CreateTemp("", "postino-import-")
	if err != nil {
		return nil, err
	}
	s := &spooled{tmp}
	if _, err := io.Copy(tmp, f); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

type spooled struct{ *os.File }

// Close removes the file.
func (s *spooled) Close() error { return errors.Join(s.File.Close(), os.Remove(s.Name())) }

type importMaildirCmd struct {
	importFlags
	Dir     string `arg:"" help:"The Maildir, or a zip archive of it."`
	Address string `arg:"" help:"Whose mailboxes the mail goes to."`
}

// Help is shown below the flags.
func (*importMaildirCmd) Help() string {
	return "Example: postino import maildir /home/ana/Maildir ana@example.org\n\nA second run imports what is new since the first."
}

func (c *importMaildirCmd) Run(e *env) error {
	files, abs, closer, err := tree(c.Dir)
	if err != nil {
		return err
	}
	src := app.FromFiles(&mailfile.MaildirTree{Files: files}, "maildir\x00"+abs, closer)
	return c.session(e, func(admin app.Admin) error { return c.run(e, admin, src, c.Address) })
}

type importMboxCmd struct {
	importFlags
	Variant string `help:"How lines that begin with From are written: auto, mboxo, mboxrd, mboxcl or mboxcl2." enum:"auto,mboxo,mboxrd,mboxcl,mboxcl2" default:"auto"`
	Name    string `help:"The mailbox that a file becomes; default its name." placeholder:"MAILBOX"`
	Path    string `arg:"" help:"The file, a directory of files, or a zip archive of them (.zip)."`
	Address string `arg:"" help:"Whose mailboxes the mail goes to."`
}

// Help is shown below the flags.
func (*importMboxCmd) Help() string {
	return "Example: postino import mbox --name INBOX /var/mail/ana ana@example.org\n\nLabels of an export of Gmail become mailboxes and flags."
}

func (c *importMboxCmd) Run(e *env) error {
	dir, name := c.Path, "."
	if info, err := os.Stat(c.Path); err == nil && !info.IsDir() && !strings.EqualFold(filepath.Ext(c.Path), ".zip") {
		dir, name = filepath.Dir(c.Path), filepath.Base(c.Path)
	}
	files, abs, closer, err := tree(dir)
	if err != nil {
		return err
	}
	variant, _ := mailfile.ParseVariant(c.Variant)
	boxes := &mailfile.MboxTree{Files: files, Path: name, Name: c.Name, Variant: variant, Spool: spool}
	src := app.FromFiles(boxes, "mbox\x00"+abs, closers{boxes, closer})
	return c.session(e, func(admin app.Admin) error { return c.run(e, admin, src, c.Address) })
}

// closers closes all.
type closers []io.Closer

func (c closers) Close() (err error) {
	for _, x := range c {
		err = errors.Join(err, x.Close())
	}
	return err
}

type importEMLCmd struct {
	importFlags
	Dir     string `arg:"" help:"The directory, or a zip archive of it; directories below it become mailboxes."`
	Address string `arg:"" help:"Whose mailboxes the mail goes to."`
}

func (c *importEMLCmd) Run(e *env) error {
	files, abs, closer, err := tree(c.Dir)
	if err != nil {
		return err
	}
	src := app.FromFiles(app.FromEML(files, "."), "eml\x00"+abs, closer)
	return c.session(e, func(admin app.Admin) error { return c.run(e, admin, src, c.Address) })
}

type importIMAPCmd struct {
	importFlags
	Host         string `help:"The server." required:"" placeholder:"NAME"`
	Port         int    `help:"Its port; default 993, 143 without implicit TLS." placeholder:"PORT"`
	TLS          string `help:"implicit, starttls, or none: password and mail go in clear." enum:"implicit,starttls,none" default:"implicit"`
	Insecure     bool   `help:"Do not check the certificate: whoever is on the way can read the password and all mail."`
	User         string `help:"Who to log in as there." placeholder:"NAME"`
	Authz        string `help:"Whose mail to read, when User is an administrator there." placeholder:"NAME"`
	PasswordFile string `help:"Read the password from the first line of this file; - is standard input." placeholder:"FILE" xor:"secret"`
	TokenFile    string `help:"Read an OAuth 2.0 access token from the first line of this file." placeholder:"FILE" xor:"secret"`
	AllMail      bool   `help:"Import mailboxes, too, that show messages of others, as Gmail's All Mail."`
	Shared       bool   `help:"Import mailboxes, too, that belong to other people there."`
	List         string `help:"Import many accounts: lines USER,PASSWORD,ADDRESS of this file." placeholder:"FILE"`
	Address      string `arg:"" optional:"" help:"Whose mailboxes the mail goes to."`
}

// Help is shown below the flags.
func (*importIMAPCmd) Help() string {
	return "Example: postino import imap --host imap.example.net --user ana --password-file - ana@example.org\n\n" +
		"Nothing is changed on the other server. A second run imports what is new since the first."
}

// account is one account to move.
type account struct{ user, password, token, address string }

func (c *importIMAPCmd) Run(e *env) error {
	list, err := c.accounts(e)
	if err != nil {
		return err
	}
	if c.Insecure {
		fmt.Fprintf(e.err, "postino: the certificate of %s is not checked: whoever is on the way can read the password and all mail\n", postino.Printable(c.Host))
	}
	return c.session(e, func(admin app.Admin) error {
		if c.List == "" {
			return c.run(e, admin, c.source(&list[0]), list[0].address)
		}
		return c.many(e, admin, list)
	})
}

func (c *importIMAPCmd) source(a *account) app.Source {
	o := app.IMAPSource{
		Host: c.Host, Port: c.Port, TLS: c.TLS, User: a.user, Authz: c.Authz, Password: a.password, Token: a.token, AllMail: c.AllMail, Shared: c.Shared,
	}
	if c.Insecure {
		o.Config = &tls.Config{InsecureSkipVerify: true}
	}
	return app.FromIMAP(o)
}

// many moves the accounts of a list, one after the other; one that fails does not
// stop the others.
func (c *importIMAPCmd) many(e *env, admin app.Admin, list []account) error {
	failed := 0
	for i := range list {
		a := &list[i]
		fmt.Fprintf(e.out, "%s -> %s\n", postino.Printable(a.user), a.address)
		if err := c.run(e, admin, c.source(a), a.address); err != nil {
			if e.ctx.Err() != nil {
				return err
			}
			failed++
			fmt.Fprintln(e.out, "failed:", postino.Printable(err.Error()))
		}
	}
	fmt.Fprintf(e.out, "%d of %d accounts imported\n", len(list)-failed, len(list))
	if failed > 0 {
		return checked{fmt.Errorf("%d accounts failed", failed)}
	}
	return nil
}

// accounts are those that the flags or the list name.
func (c *importIMAPCmd) accounts(e *env) ([]account, error) {
	bad := func(why string) ([]account, error) {
		return nil, postino.E(postino.Invalid, "import", "", errors.New(why))
	}
	if c.List != "" {
		if c.Address != "" || c.User != "" {
			return bad("--list names the users and addresses; leave --user and the address away")
		}
		f, err := os.Open(c.List)
		if err != nil {
			return nil, postino.E(postino.Invalid, "read list", c.List, err)
		}
		defer f.Close()
		return readAccounts(f)
	}
	if c.Address == "" || c.User == "" {
		return bad("say --user and the address, or --list")
	}
	a := account{user: c.User, address: c.Address}
	var err error
	if c.TokenFile != "" {
		a.token, err = secret(e, c.TokenFile)
	} else if c.PasswordFile == "" && isTerminal(e.in) {
		a.password, err = ask(e, "Password of "+postino.Printable(c.User)+" at "+postino.Printable(c.Host)+": ")
	} else {
		a.password, err = secret(e, c.PasswordFile)
	}
	return []account{a}, err
}

// secret is the first line of a file, or of standard input.
func secret(e *env, name string) (string, error) {
	if name == "" || name == "-" {
		return firstLine(e.in)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", postino.E(postino.Invalid, "read secret", "", err)
	}
	defer f.Close()
	return firstLine(f)
}

// readAccounts reads lines USER,PASSWORD,ADDRESS as CSV; what begins with # is a
// comment.
func readAccounts(r io.Reader) (list []account, err error) {
	in := csv.NewReader(r)
	in.Comment, in.FieldsPerRecord, in.TrimLeadingSpace = '#', 3, true
	for {
		rec, err := in.Read()
		if err == io.EOF {
			break
		}
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			return nil, postino.E(postino.Invalid, "read list", "", fmt.Errorf("line %d: %w; a line is USER,PASSWORD,ADDRESS", parse.Line, parse.Err))
		} else if err != nil {
			return nil, postino.E(postino.Invalid, "read list", "", err)
		}
		if _, err := postino.ParseAddress(rec[2]); err != nil {
			line, _ := in.FieldPos(2)
			return nil, postino.E(postino.Invalid, "read list", "", fmt.Errorf("line %d: %w", line, err))
		}
		list = append(list, account{user: rec[0], password: rec[1], address: rec[2]})
	}
	if len(list) == 0 {
		return nil, postino.E(postino.Invalid, "read list", "", errors.New("the list names no account"))
	}
	return list, nil
}
