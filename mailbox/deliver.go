package mailbox

import (
	"bytes"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Delivery is a message for one mailbox.
type Delivery struct {
	Message *Message
	// Mailbox is where it goes; 0, and one that was deleted meanwhile, mean INBOX.
	Mailbox MailboxID
	// Junk puts it into the mailbox for junk instead, whatever Mailbox says; one
	// is made and subscribed when there is none.
	Junk bool
	// Prefix are whole header lines, each ended by CRLF, that stand before the
	// octets of the blob: Return-Path, Delivered-To and the like. Thus one stored
	// body serves many recipients.
	Prefix   []byte
	Flags    Flags
	Keywords []string
	Date     time.Time // INTERNALDATE, kept to the second; zero means the time of the transaction
	// Held tells that the transaction knows of a reference to the blob which
	// stays until it commits, so that nobody has to look for one.
	Held bool
}

// Delivered tells where a message went.
type Delivered struct {
	Mailbox     MailboxID
	Name        string // of the mailbox
	UIDValidity uint32
	UID         UID
	Email       EmailID
	Thread      ThreadID
	ModSeq      ModSeq
}

// Deliver puts one message into an account within the caller's Update, which
// has the account's scope. Full when it would go over the quota, NotFound when
// there is no such account; nothing is written then.
func (s *Store) Deliver(tx kv.Tx, id AccountID, d Delivery) (Delivered, error) {
	b := s.Batch(tx)
	r, err := b.Deliver(id, d)
	if err != nil {
		return r, err
	}
	s.noticed(id, r.ModSeq)
	return r, b.Flush()
}

// Batch delivers many messages to many accounts in one transaction: rows of
// accounts and mailboxes are read and written once, and the messages that one
// mailbox gets are one record of the log.
type Batch struct {
	s       *Store
	tx      kv.Tx
	now     time.Time
	writers map[AccountID]*writer
	put     map[postino.BlobID]bool // see writer
}

// Batch begins a batch in the caller's Update, which has the scopes of all
// accounts that will be delivered to.
func (s *Store) Batch(tx kv.Tx) *Batch {
	return &Batch{s: s, tx: tx, now: time.Now(), writers: map[AccountID]*writer{}, put: map[postino.BlobID]bool{}}
}

// Deliver adds a message. After Full, NotFound or Invalid the batch goes on
// without it; after any other error the caller gives up the transaction.
func (b *Batch) Deliver(id AccountID, d Delivery) (Delivered, error) {
	w := b.writers[id]
	if w == nil {
		h, err := readHead(b.tx, id)
		if err != nil {
			return Delivered{}, err
		}
		w = newWriter(b.s, b.tx, id, h, b.now)
		w.put = b.put
		b.writers[id] = w
	}
	m, err := w.target(&d)
	if err != nil {
		return Delivered{}, err
	}
	return w.deliver(m, &d)
}

// target is the mailbox that a delivery goes to.
func (w *writer) target(d *Delivery) (*boxRow, error) {
	if d.Junk {
		return w.junk()
	}
	m, err := w.row(max(inbox, d.Mailbox))
	if postino.Is(err, postino.NotFound) {
		m, err = w.row(inbox)
	}
	return m, err
}

// junk finds the mailbox for junk: the one with that use (RFC 6154 §2), or else
// the one that has the name. When there is none it is made, beyond what the quota
// says of mailboxes: what is kept out of INBOX must not go there for want of it.
func (w *writer) junk() (*boxRow, error) {
	for _, m := range w.rows { // which this transaction may have made
		if m != nil && m.use&UseJunk != 0 {
			return m, nil
		}
	}
	for _, name := range [...]string{UseJunk.String(), junkName} {
		box, err := w.s.Lookup(w.tx, w.id, name)
		if err == nil {
			return w.row(box)
		}
		if !postino.Is(err, postino.NotFound) {
			return nil, err
		}
	}
	m, err := w.createBox(junkName, UseJunk)
	if err != nil {
		return nil, err
	}
	return m, w.subscribe(junkName)
}

// Flush writes what Deliver has gathered; it is called before the closure of
// the Update returns.
func (b *Batch) Flush() error {
	for _, w := range b.writers {
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// Committed shows the messages to open views. It is called once, after the
// Update returned without an error.
func (b *Batch) Committed() {
	for id, w := range b.writers {
		if len(w.changes) > 0 && !b.s.follow(id, w) {
			b.s.noticed(id, w.head.modseq)
			signal(b.s.behind)
		}
	}
}

// follow publishes what w committed, as far as anybody looks at the account. It
// does not when the published state is not the one that w began from: then the
// log has to be read.
func (s *Store) follow(id AccountID, w *writer) bool {
	s.mu.Lock()
	a := s.accounts[id]
	used := a != nil && a.refs > 0
	s.mu.Unlock()
	if !used {
		return true
	}
	a.mu.Lock()
	w.st = a.published.Load()
	if w.st == nil || w.st.head.modseq+1 != w.changes[0].ModSeq {
		a.mu.Unlock()
		return w.st != nil && w.st.head.modseq >= w.head.modseq
	}
	notify := a.publish(w.next())
	a.mu.Unlock()
	call(notify)
	return true
}

// deliver stores a message and puts it into mailbox m.
func (w *writer) deliver(m *boxRow, d *Delivery) (Delivered, error) {
	size := d.Message.Size + int64(len(d.Prefix))
	if size > maxSize || !validPrefix(d.Prefix, w.s.limits.Prefix) {
		return Delivered{}, postino.E(postino.Invalid, "store message", "", nil)
	}
	if err := m.room(1); err != nil {
		return Delivered{}, err
	}
	if !w.head.fits(1, size) {
		return Delivered{}, postino.E(postino.Full, "store message", "", postino.ErrQuota)
	}
	mask, err := m.mask(d.Flags, d.Keywords, true)
	if err != nil {
		return Delivered{}, err
	}
	email, thread, err := w.newEmail(d.Message, d.Prefix, d.Held)
	if err != nil {
		return Delivered{}, err
	}
	date := d.Date
	if date.IsZero() {
		date = w.now
	}
	r := w.add(m, Row{Email: email, Thread: thread, Flags: mask, Date: date.Unix(), Size: size})
	return Delivered{m.id, m.name, m.status.UIDValidity, r.UID, email, thread, r.ModSeq}, nil
}

// validPrefix tells whether p is nothing or whole header lines.
func validPrefix(p []byte, limit int) bool {
	return len(p) == 0 || len(p) <= limit && bytes.HasSuffix(p, []byte("\r\n")) &&
		!bytes.HasPrefix(p, []byte("\r\n")) && !bytes.Contains(p, []byte("\r\n\r\n"))
}

// applySubs returns the subscriptions after the changes.
func applySubs(subs []string, changes []*Change) []string {
	subs = slices.Clone(subs)
	for _, c := range changes {
		switch c.Kind {
		case SubscriptionAdded:
			if i, ok := slices.BinarySearch(subs, c.Names[0]); !ok {
				subs = slices.Insert(subs, i, c.Names[0])
			}
		case SubscriptionEnded:
			if i, ok := slices.BinarySearch(subs, c.Names[0]); ok {
				subs = slices.Delete(subs, i, i+1)
			}
		}
	}
	return subs
}
