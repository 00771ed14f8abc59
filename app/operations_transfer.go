package app

import (
	"context"
	"io"
	"io/fs"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/transfer"
)

// mover is the desk of mail that moves in and out.
func (s *Stores) mover() *transfer.Desk {
	return &transfer.Desk{Mailboxes: s.Mailboxes, Blobs: s.Blobs, Account: func(ctx context.Context, address string) (mailbox.AccountID, error) {
		a, err := postino.ParseAddress(address)
		if err != nil {
			return 0, err
		}
		u, err := s.Directory.User(ctx, a)
		return mailbox.AccountID(u.ID), err
	}}
}

func (s *Stores) importPrepare(ctx context.Context, p transfer.Prepare) (transfer.Prepared, error) {
	return s.mover().Prepare(ctx, p)
}

func (s *Stores) importKnown(ctx context.Context, q transfer.KnownQuery) (transfer.Known, error) {
	return s.mover().Known(ctx, q)
}

func (s *Stores) importPut(ctx context.Context, p transfer.Put, in io.Reader) (transfer.PutResult, error) {
	return s.mover().Put(ctx, p, in)
}

func (s *Stores) exportMailboxes(ctx context.Context, n Named) ([]transfer.Box, error) {
	return s.mover().Boxes(ctx, n.Name)
}

func (s *Stores) exportList(ctx context.Context, q transfer.ListQuery) ([]transfer.Listed, error) {
	return s.mover().List(ctx, q)
}

func (s *Stores) exportBodies(ctx context.Context, q transfer.BodiesQuery, out io.Writer) error {
	return s.mover().Bodies(ctx, q, out)
}

// Transfer is where mail is moved to and from by way of an Admin.
type Transfer struct{ Admin Admin }

// Prepare implements [transfer.Store].
func (t Transfer) Prepare(ctx context.Context, p transfer.Prepare) (out transfer.Prepared, err error) {
	err = t.Admin.Call(ctx, "import.prepare", p, &out)
	return out, err
}

// Known implements [transfer.Store].
func (t Transfer) Known(ctx context.Context, q transfer.KnownQuery) (out transfer.Known, err error) {
	err = t.Admin.Call(ctx, "import.known", q, &out)
	return out, err
}

// Put implements [transfer.Store].
func (t Transfer) Put(ctx context.Context, p transfer.Put, frames io.Reader) (out transfer.PutResult, err error) {
	err = t.Admin.Send(ctx, "import.put", p, frames, &out)
	return out, err
}

// Boxes implements [transfer.Outgoing].
func (t Transfer) Boxes(ctx context.Context, account string) (out []transfer.Box, err error) {
	err = t.Admin.Call(ctx, "export.mailboxes", Named{Name: account}, &out)
	return out, err
}

// List implements [transfer.Outgoing].
func (t Transfer) List(ctx context.Context, q transfer.ListQuery) (out []transfer.Listed, err error) {
	err = t.Admin.Call(ctx, "export.list", q, &out)
	return out, err
}

// ReadBodies implements [transfer.Outgoing].
func (t Transfer) ReadBodies(ctx context.Context, q transfer.BodiesQuery, fn func(io.Reader) error) error {
	return t.Admin.Receive(ctx, "export.bodies", q, fn)
}

// What the command line moves mail with.
type (
	Import         = transfer.Import
	ImportProgress = transfer.Progress
	ImportReport   = transfer.Report
	IMAPSource     = transfer.IMAPOptions
	Source         = transfer.Source
	Export         = transfer.Export
)

// FromFiles is a source of files; see [transfer.Files].
func FromFiles(r mailfile.Reader, key string, closer io.Closer) Source {
	return transfer.Files(r, key, closer)
}

// FromEML reads a directory of messages, one in a file.
func FromEML(tree fs.FS, dir string) mailfile.Reader { return transfer.EML(tree, dir) }

// FromIMAP is a live source.
func FromIMAP(o IMAPSource) Source { return transfer.IMAP(o) }
