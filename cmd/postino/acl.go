package main

import (
	"fmt"
	"io"

	"github.com/postino-mail/postino/app"
)

type aclCmd struct {
	List   aclListCmd   `cmd:"" help:"List who has rights on the mailboxes of an account."`
	Set    aclSetCmd    `cmd:"" help:"Give rights on a mailbox."`
	Remove aclRemoveCmd `cmd:"" help:"Take all rights on a mailbox away from somebody."`
}

type aclListCmd struct {
	store
	listFlags
	Owner   string `arg:"" help:"Address of the account."`
	Mailbox string `arg:"" optional:"" help:"Only this mailbox."`
}

func (c *aclListCmd) Run(e *env) error {
	var out []app.Access
	if err := c.call(e, "acl.list", app.Access{Owner: c.Owner, Mailbox: c.Mailbox}, &out); err != nil {
		return err
	}
	return c.table(e, out, "MAILBOX\tWHO\tRIGHTS", func(w io.Writer) {
		for _, a := range out {
			fmt.Fprintf(w, "%s\t%s\t%s\n", a.Mailbox, a.Who, a.Rights)
		}
	})
}

type aclSetCmd struct {
	store
	Owner   string `arg:"" help:"Address of the account."`
	Mailbox string `arg:"" help:"Name of the mailbox, INBOX."`
	Who     string `arg:"" help:"Address of a user, or anyone for all users of the owner's domain; with a - before it rights are taken away."`
	Rights  string `arg:"" help:"Letters of RFC 4314, or one of: read, write, all."`
}

// Help is shown below the flags.
func (*aclSetCmd) Help() string {
	return `Letters: l see, r read, s keep seen, w change flags, i insert, p post, k create below,
x delete mailbox, t mark deleted, e expunge, a give rights.
read is lrs, write is lrswite, all is every right.
Example: postino acl set sales@example.org INBOX ann@example.org write`
}

// rightsWords are the usual sets of rights.
var rightsWords = map[string]string{"read": "lrs", "write": "lrswite", "all": "lrswipkxtea"}

func (c *aclSetCmd) Run(e *env) error {
	rights := c.Rights
	if letters, ok := rightsWords[rights]; ok {
		rights = letters
	}
	if err := c.call(e, "acl.set", app.Access{Owner: c.Owner, Mailbox: c.Mailbox, Who: c.Who, Rights: rights}, nil); err != nil {
		return err
	}
	return said(e, "%s has %s on %s of %s", c.Who, rights, c.Mailbox, c.Owner)
}

type aclRemoveCmd struct {
	store
	Owner   string `arg:"" help:"Address of the account."`
	Mailbox string `arg:"" help:"Name of the mailbox."`
	Who     string `arg:"" help:"As in acl set."`
}

func (c *aclRemoveCmd) Run(e *env) error {
	if err := c.call(e, "acl.set", app.Access{Owner: c.Owner, Mailbox: c.Mailbox, Who: c.Who}, nil); err != nil {
		return err
	}
	return said(e, "%s has no rights of its own on %s of %s", c.Who, c.Mailbox, c.Owner)
}

// amount is a number, or "none".
type amount int64

// UnmarshalText reads a limit of things.
func (a *amount) UnmarshalText(b []byte) error {
	if string(b) == "none" {
		*a = 0
		return nil
	}
	var n int64
	if _, err := fmt.Sscanf(string(b), "%d", &n); err != nil || n <= 0 || fmt.Sprint(n) != string(b) {
		return fmt.Errorf("%q is no limit; give a number or none", b)
	}
	*a = amount(n)
	return nil
}

// sizeOrNone is a size, or "none".
type sizeOrNone size

// UnmarshalText reads a limit of octets.
func (s *sizeOrNone) UnmarshalText(b []byte) error {
	if string(b) == "none" {
		*s = 0
		return nil
	}
	return (*size)(s).UnmarshalText(b)
}

type userQuotaCmd struct {
	store
	listFlags
	Address   string      `arg:"" help:"Address of the user."`
	Storage   *sizeOrNone `help:"Octets of all messages, as 10GiB, or none." placeholder:"SIZE"`
	Messages  *amount     `help:"Number of messages, or none." placeholder:"N"`
	Mailboxes *amount     `help:"Number of mailboxes, or none." placeholder:"N"`
}

// Help is shown below the flags.
func (*userQuotaCmd) Help() string {
	return "Example: postino user quota ann@example.org --storage 10GiB --mailboxes 500"
}

func (c *userQuotaCmd) Run(e *env) error {
	var out app.Quota
	args := app.Quota{Address: c.Address, Bytes: (*int64)(c.Storage), Messages: (*int64)(c.Messages), Mailboxes: (*int64)(c.Mailboxes)}
	if err := c.call(e, "user.quota", args, &out); err != nil {
		return err
	}
	limit := func(n *int64, text func(int64) string) string {
		if n == nil || *n == 0 {
			return "none"
		}
		return text(*n)
	}
	octets := func(n int64) string { return size(n).String() }
	number := func(n int64) string { return fmt.Sprint(n) }
	return c.table(e, out, "RESOURCE\tUSED\tLIMIT", func(w io.Writer) {
		fmt.Fprintf(w, "storage\t%s\t%s\n", octets(out.UsedBytes), limit(out.Bytes, octets))
		fmt.Fprintf(w, "messages\t%d\t%s\n", out.UsedMessages, limit(out.Messages, number))
		fmt.Fprintf(w, "mailboxes\t%d\t%s\n", out.UsedMailboxes, limit(out.Mailboxes, number))
	})
}
