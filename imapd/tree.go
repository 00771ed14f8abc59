package imapd

import (
	"context"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// uses pairs the engine's special-use attributes with the mailboxes' own.
var uses = []struct {
	attr imap.MailboxAttr
	use  mailbox.SpecialUse
}{
	{imap.UseAll, mailbox.UseAll}, {imap.UseArchive, mailbox.UseArchive}, {imap.UseDrafts, mailbox.UseDrafts},
	{imap.UseFlagged, mailbox.UseFlagged}, {imap.UseImportant, mailbox.UseImportant}, {imap.UseJunk, mailbox.UseJunk},
	{imap.UseSent, mailbox.UseSent}, {imap.UseTrash, mailbox.UseTrash},
}

func attrs(u mailbox.SpecialUse) (out imap.MailboxAttr) {
	for _, p := range uses {
		if u&p.use != 0 {
			out |= p.attr
		}
	}
	return out
}

// Namespaces gives the one personal namespace; others come with shared mailboxes.
func (s *session) Namespaces(context.Context) (*imap.Namespaces, error) {
	return &imap.Namespaces{Personal: []imap.Namespace{{}}}, nil
}

// Mailboxes lists what exists, then what is only subscribed.
func (s *session) Mailboxes(ctx context.Context) ([]imap.Mailbox, error) {
	if err := s.acct.Sync(ctx); err != nil {
		return nil, err
	}
	infos := s.acct.Mailboxes()
	out := make([]imap.Mailbox, 0, len(infos))
	known := make(map[string]bool, len(infos))
	for i := range infos {
		m := &infos[i]
		known[m.Name] = true
		out = append(out, imap.Mailbox{Name: m.Name, Attrs: attrs(m.SpecialUse), Subscribed: m.Subscribed})
	}
	for _, name := range s.acct.Subscriptions() {
		if !known[name] {
			out = append(out, imap.Mailbox{Name: name, Attrs: imap.AttrNonExistent, Subscribed: true})
		}
	}
	return out, nil
}

// Status reads counters, and for DELETED-STORAGE the columns.
func (s *session) Status(ctx context.Context, name string, items imap.StatusItem) (*imap.StatusData, error) {
	if err := s.acct.Sync(ctx); err != nil {
		return nil, err
	}
	m, err := s.acct.Mailbox(name)
	if err != nil {
		return nil, err
	}
	d := &imap.StatusData{
		Messages: m.Messages, UIDNext: uint32(m.UIDNext), UIDValidity: m.UIDValidity, Unseen: m.Unseen,
		Deleted: m.Deleted, Size: m.Size, HighestModSeq: uint64(m.HighestModSeq),
		MailboxID: mailboxObjectID(s.acct.ID(), m.ID),
	}
	if items&imap.StatusDeletedStorage != 0 && m.Deleted > 0 {
		d.DeletedStorage, err = s.deletedStorage(ctx, m.ID)
	}
	return d, err
}

// deletedStorage counts the octets of the messages that EXPUNGE would remove.
func (s *session) deletedStorage(ctx context.Context, box mailbox.MailboxID) (sum int64, err error) {
	view, err := s.acct.Open(ctx, box)
	if err != nil {
		return 0, err
	}
	snap := view.Snapshot()
	for _, r := range snap.Rows(0, snap.Len()) {
		if r.Flags.System()&mailbox.Deleted != 0 {
			sum += r.Size
		}
	}
	return sum, nil
}

// Create makes a mailbox with the special uses asked for (RFC 6154 §3).
func (s *session) Create(ctx context.Context, req imap.CreateRequest) (*imap.CreateData, error) {
	use, known := mailbox.UseNone, imap.MailboxAttr(0)
	for _, p := range uses {
		if req.SpecialUse&p.attr != 0 {
			use |= p.use
		}
		known |= p.attr
	}
	if req.SpecialUse&^known != 0 {
		return nil, &imap.Error{Code: "USEATTR", Text: "Special use not supported"}
	}
	info, err := s.acct.Create(ctx, req.Mailbox, use)
	if err != nil {
		return nil, err
	}
	return &imap.CreateData{MailboxID: mailboxObjectID(s.acct.ID(), info.ID)}, nil
}

// Delete removes a mailbox and its messages.
func (s *session) Delete(ctx context.Context, name string) error {
	m, err := s.acct.Mailbox(name)
	if err != nil {
		return err
	}
	return s.acct.Delete(ctx, m.ID)
}

// Rename renames a mailbox and all below it.
func (s *session) Rename(ctx context.Context, from, to string) error {
	m, err := s.acct.Mailbox(from)
	if err != nil {
		return err
	}
	return s.acct.Rename(ctx, m.ID, to)
}

// Subscribe adds a name to the subscriptions; it need not exist (RFC 9051 §6.3.7).
func (s *session) Subscribe(ctx context.Context, name string) error {
	return s.acct.Subscribe(ctx, name)
}

// Unsubscribe takes a name off the subscriptions.
func (s *session) Unsubscribe(ctx context.Context, name string) error {
	return s.acct.Unsubscribe(ctx, name)
}
