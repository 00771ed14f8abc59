package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/app"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/vfs"
)

type exportCmd struct {
	Maildir exportMaildirCmd `cmd:"" help:"As a Maildir with folders, and UIDs, keywords and subscriptions as Dovecot has them."`
	Mbox    exportMboxCmd    `cmd:"" help:"As an mbox file for each mailbox, quoted as mboxrd, with UIDs, flags and keywords."`
	EML     exportEMLCmd     `cmd:"" name:"eml" help:"As a file for each message, exactly as it is stored."`
	Zip     exportZipCmd     `cmd:"" help:"As a zip archive of such files."`
}

// exportFlags are common to all formats.
type exportFlags struct {
	store
	Out     string   `help:"The directory to write to, or the file for a zip archive." required:"" type:"path" placeholder:"PATH"`
	Mailbox []string `help:"Only mailboxes with this name, in which * stands for anything; may be given several times." placeholder:"PATTERN"`
	Address string   `arg:"" help:"Whose mailboxes are exported."`
}

// Help is shown below the flags.
func (*exportFlags) Help() string {
	return "Example: postino export maildir --out /backup/ana ana@example.org\n\nThe same command once more writes what is new, and goes on where it was stopped."
}

// run writes an account's mail and says what was done.
func (f *exportFlags) run(e *env, to mailfile.Writer) error {
	return f.session(e, func(admin app.Admin) error {
		bar := newBar(e)
		x := app.Export{
			Store: app.Transfer{Admin: admin}, Account: f.Address, Wanted: chosen(f.Mailbox), To: to,
			Progress: func(p app.ImportProgress) { bar.show(p.Mailbox, p.Done, p.Folders, p.Messages, p.Total, p.Octets) },
		}
		r, err := x.Run(e.ctx)
		bar.clear()
		for _, n := range r.Notes {
			fmt.Fprintln(e.out, "note:", n)
		}
		fmt.Fprintf(e.out, "%d messages (%v) exported from %d mailboxes", r.Exported, size(r.Octets), r.Mailboxes)
		if r.Before > 0 {
			fmt.Fprintf(e.out, ", %d were there", r.Before)
		}
		if r.Gone > 0 {
			fmt.Fprintf(e.out, ", %d were deleted meanwhile", r.Gone)
		}
		fmt.Fprintln(e.out)
		if err != nil && e.ctx.Err() != nil {
			return postino.E(postino.Transient, "export", f.Address, errors.New("stopped; the same command goes on from here"))
		}
		return err
	})
}

// dir makes the directory to write to.
func (f *exportFlags) dir() (string, error) {
	abs, err := filepath.Abs(f.Out)
	if err == nil {
		err = vfs.MkdirAll(vfs.OS(), abs)
	}
	if err != nil {
		return "", postino.E(postino.Invalid, "make directory", f.Out, err)
	}
	return abs, nil
}

func setTime(path string, t time.Time) error { return os.Chtimes(path, t, t) }

type exportMaildirCmd struct{ exportFlags }

func (c *exportMaildirCmd) Run(e *env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	return c.run(e, &mailfile.MaildirWriter{Files: vfs.OS(), Dir: dir, SetTime: setTime})
}

type exportMboxCmd struct{ exportFlags }

func (c *exportMboxCmd) Run(e *env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	return c.run(e, &mailfile.MboxWriter{Files: vfs.OS(), Dir: dir})
}

type exportEMLCmd struct{ exportFlags }

func (c *exportEMLCmd) Run(e *env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	return c.run(e, &mailfile.EMLWriter{Files: vfs.OS(), Dir: dir, SetTime: setTime})
}

type exportZipCmd struct{ exportFlags }

func (c *exportZipCmd) Run(e *env) error {
	abs, err := filepath.Abs(c.Out)
	if err != nil {
		return postino.E(postino.Invalid, "export", c.Out, err)
	}
	return c.run(e, &mailfile.ZipWriter{Files: vfs.OS(), Path: abs})
}
