package pop3d

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/pop3"
)

// window is how many messages one reading asks for; the store reads them by pages.
const window = 512

// skip is how many messages that nobody wants are read over.
const skip = 4

// maildrop is INBOX as it was at login.
type maildrop struct {
	desk *Desk
	user directory.User
	acct *mailbox.Account
	snap *mailbox.Snapshot
	ids  map[mailbox.UID]string // unique-ids that are not the usual ones

	// Reading ahead.
	last  int // the message that was asked for last
	at    int // the message that email is
	email *mailbox.Email
	end   int // the reading has messages up to this one
	next  func() (int, *mailbox.Email, bool)
	stop  func() // nil when nothing is being read
	err   error  // why it ended
}

// open locks the maildrop of u and takes its snapshot.
func (d *Desk) open(ctx context.Context, u directory.User) (pop3.Maildrop, error) {
	id, now := mailbox.AccountID(u.ID), time.Now()
	if err := d.lock(id, now); err != nil {
		return nil, err
	}
	m := &maildrop{desk: d, user: u, last: -1}
	if err := m.open(ctx, id); err != nil {
		m.Close()
		return nil, err
	}
	d.loggedIn(id, now)
	return m, nil
}

func (m *maildrop) open(ctx context.Context, id mailbox.AccountID) (err error) {
	viewer := mailbox.Viewer{Account: id, Domain: m.user.Address.Domain}
	if m.acct, err = m.desk.opts.Mailboxes.AccountFor(ctx, id, viewer); err != nil {
		return err
	}
	info, err := m.acct.Mailbox("INBOX")
	if err != nil {
		return err
	}
	view, err := m.acct.Open(ctx, info.ID)
	if err != nil {
		return err
	}
	m.snap = view.Snapshot()
	m.ids, err = m.acct.UIDLs(ctx, info.ID)
	return err
}

// User is the canonical address of who is logged in.
func (m *maildrop) User() string { return m.user.Address.String() }

// Stays implements pop3.Maildrop.
func (m *maildrop) Stays(ctx context.Context) (bool, error) {
	return m.desk.opts.Directory.Stays(ctx, m.user.Pass)
}

// Language is what the directory knows of the user.
func (m *maildrop) Language() string { return m.user.Language }

// Len is the number of messages.
func (m *maildrop) Len() int { return m.snap.Len() }

// Size is the number of octets of message n.
func (m *maildrop) Size(n int) int64 { return m.snap.Row(n).Size }

// AppendUID appends the unique-id of message n.
func (m *maildrop) AppendUID(dst []byte, n int) []byte {
	uid := m.snap.UID(n)
	if id, ok := m.ids[uid]; ok {
		return append(dst, id...)
	}
	return mailbox.AppendUIDL(dst, m.snap.Status().UIDValidity, uid)
}

// Retrieve writes message n to w.
func (m *maildrop) Retrieve(ctx context.Context, n int, w io.Writer) error {
	e, err := m.read(ctx, n)
	if err != nil {
		return err
	}
	if e.Body != nil {
		_, err = w.Write(e.Body)
		return err
	}
	b, err := m.acct.OpenBody(ctx, e)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = b.WriteTo(w)
	return err
}

// read returns message n, valid until the next call. Who asked for the message before
// it will want those behind it, too.
func (m *maildrop) read(ctx context.Context, n int) (*mailbox.Email, error) {
	turn := n == m.last+1 && m.last >= 0
	m.last = n
	if m.stop == nil || n < m.at || n >= m.end || n > m.at+skip {
		m.Rest()
		count := 1
		if turn {
			count = min(window, m.snap.Len()-n)
		}
		m.begin(ctx, n, count)
	}
	for m.at < n {
		var ok bool
		if m.at, m.email, ok = m.next(); !ok {
			m.Rest()
			if m.err != nil {
				return nil, m.err
			}
			m.at = n + 1
		}
	}
	if m.at != n {
		return nil, postino.E(postino.NotFound, "retrieve message", "expunged and swept", nil)
	}
	return m.email, nil
}

// begin begins a reading of messages [n, n+count). It goes on from call to call:
// what was read of a page lies in the store's buffer until then.
func (m *maildrop) begin(ctx context.Context, n, count int) {
	ids := make([]mailbox.EmailID, count)
	for i := range ids {
		ids[i] = m.snap.Email(n + i)
	}
	m.at, m.end, m.err = n-1, n+count, nil
	m.next, m.stop = iter.Pull2(func(yield func(int, *mailbox.Email) bool) {
		m.err = m.acct.Emails(ctx, ids, mailbox.WantBody, func(i int, e *mailbox.Email) bool { return yield(n+i, e) })
	})
}

// Rest ends the reading ahead.
func (m *maildrop) Rest() {
	if m.stop != nil {
		m.stop()
		m.next, m.stop, m.email = nil, nil, nil
	}
}

// Update does what the client came for.
func (m *maildrop) Update(ctx context.Context, deleted, retrieved iter.Seq[int]) error {
	m.Rest()
	_, err := m.acct.EndSession(ctx, m.snap.Mailbox(), m.uids(deleted), m.uids(retrieved))
	return err
}

func (m *maildrop) uids(numbers iter.Seq[int]) (r mailbox.Ranges) {
	for n := range numbers {
		r.Append(m.snap.UID(n))
	}
	return r
}

// Close unlocks the maildrop.
func (m *maildrop) Close() error {
	m.Rest()
	if m.acct != nil {
		m.acct.Close()
	}
	m.desk.unlock(mailbox.AccountID(m.user.ID))
	return nil
}
