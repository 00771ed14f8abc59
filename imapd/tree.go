package imapd

import (
	"context"

	"github.com/postino-mail/postino"
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

// Mailboxes lists what exists, the user's own first, then what is only
// subscribed. Only owners see special uses: what somebody else sends goes to his
// own Sent.
func (s *session) Mailboxes(ctx context.Context) ([]imap.Mailbox, error) {
	accounts, err := s.accounts(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.acct.Sync(ctx); err != nil {
		return nil, err
	}
	var out []imap.Mailbox
	known := map[string]bool{}
	for _, o := range accounts {
		if o.root != "" {
			if err := o.acct.Sync(ctx); err != nil {
				return nil, err
			}
		}
		for _, m := range o.acct.Mailboxes() {
			b := imap.Mailbox{Name: o.root + m.Name, Attrs: attrs(m.SpecialUse), Subscribed: m.Subscribed}
			known[b.Name] = true
			out = append(out, b)
		}
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
	p, err := s.place(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := p.acct.Sync(ctx); err != nil {
		return nil, err
	}
	m, err := p.acct.Mailbox(p.name)
	if err == nil {
		m, err = p.acct.Status(m.ID) // which needs the right to read
	}
	if err != nil {
		return nil, err
	}
	d := &imap.StatusData{
		Messages: m.Messages, UIDNext: uint32(m.UIDNext), UIDValidity: m.UIDValidity, Unseen: m.Unseen,
		Deleted: m.Deleted, Size: m.Size, HighestModSeq: uint64(m.HighestModSeq),
		MailboxID: mailboxObjectID(p.acct.ID(), m.ID),
	}
	if items&imap.StatusDeletedStorage != 0 && m.Deleted > 0 {
		d.DeletedStorage, err = deletedStorage(ctx, p.acct, m.ID)
	}
	return d, err
}

// deletedStorage counts the octets of the messages that EXPUNGE would remove.
func deletedStorage(ctx context.Context, a *mailbox.Account, box mailbox.MailboxID) (sum int64, err error) {
	view, err := a.Open(ctx, box)
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
	p, err := s.place(ctx, req.Mailbox)
	if err != nil {
		return nil, err
	}
	info, err := p.acct.Create(ctx, p.name, use)
	if use != 0 && postino.Is(err, postino.Conflict) {
		if _, e := p.acct.Mailbox(p.name); postino.Is(e, postino.NotFound) { // so it is not the name that is taken
			return nil, &imap.Error{Code: "USEATTR", Text: "Another mailbox has the special use"} // RFC 6154 §3
		}
	}
	if err != nil {
		return nil, err
	}
	s.told(p.acct, info.Name)
	return &imap.CreateData{MailboxID: mailboxObjectID(p.acct.ID(), info.ID)}, nil
}

// Delete removes a mailbox and its messages.
func (s *session) Delete(ctx context.Context, name string) error {
	p, m, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := p.acct.Delete(ctx, m.ID); err != nil {
		return err
	}
	s.told(p.acct, m.Name)
	return nil
}

// Rename renames a mailbox and all below it.
func (s *session) Rename(ctx context.Context, from, to string) error {
	p, m, err := s.find(ctx, from)
	if err != nil {
		return err
	}
	q, err := s.place(ctx, to)
	if err != nil {
		return err
	}
	if p.acct != q.acct {
		return &imap.Error{Code: "CANNOT", Text: "A mailbox stays in its account"}
	}
	if err := p.acct.Rename(ctx, m.ID, q.name); err != nil {
		return err
	}
	s.told(p.acct, m.Name, q.name)
	return nil
}

// Subscribe adds a name to the subscriptions; it need not exist (RFC 9051 §6.3.7)
// unless it is in somebody else's account.
func (s *session) Subscribe(ctx context.Context, name string) error {
	p, err := s.place(ctx, name)
	if err != nil {
		return err
	}
	if err := p.acct.Subscribe(ctx, p.name); err != nil {
		return err
	}
	s.told(p.acct, p.name)
	return nil
}

// Unsubscribe takes a name off the subscriptions.
func (s *session) Unsubscribe(ctx context.Context, name string) error {
	p, err := s.place(ctx, name)
	if err != nil {
		return err
	}
	if err := p.acct.Unsubscribe(ctx, p.name); err != nil {
		return err
	}
	s.told(p.acct, p.name)
	return nil
}
