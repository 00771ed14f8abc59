package app

import (
	"bytes"
	"context"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
)

// devUser is who a developer's mail program may be signed in as.
var devUser = postino.Address{Local: "dev", Domain: "localhost"}

const welcomeText = `Welcome to Postino.

Every address has a mailbox here: send to anybody, then log in as that
address with the same password as here. Nothing leaves this machine.

Why a message was taken or refused, and where it went:
postino trace shows it for a server on disk; a development server
prints a line for each message.
`

// Welcome puts a first message into the mailbox of dev@localhost, unless there
// is mail already.
func (n *Node) Welcome(ctx context.Context) error {
	u, err := n.Directory.Authenticate(ctx, directory.Credentials{
		User: devUser.String(), Password: n.opts.Stores.AnyUser.Password, Service: directory.ServiceIMAP, Secure: true,
	})
	if err != nil {
		return err
	}
	a, err := n.Mailboxes.Account(ctx, mailbox.AccountID(u.ID))
	if err != nil {
		return err
	}
	defer a.Close()
	inbox, err := a.Mailbox("INBOX")
	if err != nil || inbox.Messages > 0 {
		return err
	}
	now := time.Now()
	var text bytes.Buffer
	b := message.NewBuilder(&text, message.BuilderOptions{})
	b.Addresses("From", message.Address{Name: "Postino", Mailbox: "postino", Host: "localhost"})
	b.Addresses("To", message.Address{Mailbox: devUser.Local, Host: devUser.Domain})
	b.Field("Subject", "Welcome to Postino")
	b.Date("Date", now)
	b.IDs("Message-ID", n.IDs.Next(now).String()+"@localhost")
	b.Text("plain", welcomeText)
	if err := b.Close(); err != nil {
		return err
	}
	w := n.Mailboxes.Stage(now)
	defer w.Abort()
	if _, err := w.Write(text.Bytes()); err != nil {
		return err
	}
	m, err := w.Finish()
	if err != nil {
		return err
	}
	_, err = a.Append(ctx, inbox.ID, []mailbox.AppendMessage{{Message: m, Date: now}})
	return err
}
