package mailbox

import (
	"encoding/binary"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
)

// writer changes one account within one transaction: the account's row and
// those of its mailboxes are read once, changed in memory and written by flush,
// with one log record for each change.
type writer struct {
	s    *Store
	tx   kv.Tx
	id   AccountID
	now  time.Time
	head head
	st   *state // set when an Account writes: gives rows and columns without reading
	rows map[MailboxID]*boxRow
	// lists and private are the access lists, and what guests have of their own,
	// as far as they changed.
	lists   map[MailboxID]acl
	private map[MailboxID]map[AccountID]*private
	// changes are the records, in the order of their modseqs; those of Appended
	// grow until flush writes them.
	changes  []*Change
	appended map[MailboxID]*Change
	// put are the bodies that this transaction has stored already.
	put      map[postino.BlobID]bool
	buf, key []byte
}

func newWriter(s *Store, tx kv.Tx, id AccountID, h head, now time.Time) *writer {
	return &writer{s: s, tx: tx, id: id, now: now, head: h, rows: map[MailboxID]*boxRow{}, put: map[postino.BlobID]bool{}}
}

// row returns a mailbox's row to be changed; NotFound when there is none.
func (w *writer) row(box MailboxID) (*boxRow, error) {
	if m, ok := w.rows[box]; ok {
		if m == nil {
			return nil, noMailbox(box)
		}
		return m, nil
	}
	var m *boxRow
	if w.st != nil {
		s := w.st.box(box)
		if s == nil {
			return nil, noMailbox(box)
		}
		m = s.row.clone()
	} else {
		var err error
		if m, err = readBox(w.tx, w.id, box); err != nil {
			return nil, err
		}
	}
	w.rows[box] = m
	return m, nil
}

// record adds a log record with the next modseq.
func (w *writer) record(c *Change) *Change {
	w.head.modseq++
	c.ModSeq, c.At = w.head.modseq, w.now.Unix()
	w.changes = append(w.changes, c)
	if m := w.rows[c.Mailbox]; m != nil {
		m.status.HighestModSeq = c.ModSeq
	}
	return c
}

// fits tells whether n more messages of size octets in all are within the quota;
// what adds nothing always is.
func (h *head) fits(n, size int64) bool {
	q, u := h.quota, h.used
	return (q.Bytes == 0 || size <= max(0, q.Bytes-u.Bytes)) && (q.Messages == 0 || n <= max(0, q.Messages-u.Messages))
}

// room returns an error when the mailbox cannot take n more messages.
func (m *boxRow) room(n int) error {
	if uint64(m.status.UIDNext)+uint64(n) > uint64(maxUID) {
		return postino.E(postino.Full, "add message to", m.name, nil)
	}
	return nil
}

// add puts a message at the end of a mailbox that has room for it; its UID and
// modseq are filled in.
func (w *writer) add(m *boxRow, r Row) *Row {
	c := w.appended[m.id]
	if c == nil || m.status.UIDNext != c.Messages[len(c.Messages)-1].UID+1 { // UIDs that were kept have gaps
		c = w.record(&Change{Kind: Appended, Mailbox: m.id})
		if w.appended == nil {
			w.appended = map[MailboxID]*Change{}
		}
		w.appended[m.id] = c
	}
	r.UID, r.ModSeq, r.Saved = m.status.UIDNext, c.ModSeq, c.At
	m.status.UIDNext++
	m.status.count(r.Flags[0], r.Size, 1)
	w.head.used.Bytes += r.Size
	w.head.used.Messages++
	c.Messages = append(c.Messages, r)
	return &c.Messages[len(c.Messages)-1]
}

// maxUID is never given, so that UIDNEXT always fits (RFC 9051 §2.3.1.1).
const maxUID = UID(1<<32 - 1)

// newEmail stores what is kept of a message beside mailboxes, and the
// reference to its body.
func (w *writer) newEmail(m *Message, prefix []byte, held bool) (email EmailID, thread ThreadID, err error) {
	email = w.head.nextEmail
	w.head.nextEmail++
	if thread, err = w.thread(email, &m.Summary); err != nil {
		return 0, 0, err
	}
	switch ref := w.s.BlobRef(w.id, email); {
	case m.Staged != nil:
		err = w.s.blobs.Put(w.tx, m.Staged, ref)
	case held:
		err = w.s.blobs.Share(w.tx, m.Blob, ref)
	default:
		err = w.s.blobs.Link(w.tx, m.Blob, ref)
	}
	if err != nil {
		return 0, 0, err
	}
	row := emailRow{
		blob: m.Blob, size: m.Size + int64(len(prefix)), received: w.now.Unix(), thread: thread,
		prefix: prefix, envelope: m.Envelope, bodyStructure: m.BodyStructure,
	}
	w.buf = row.append(w.buf[:0])
	if err = w.set(keyEmail, uint64(email), w.buf); err != nil {
		return 0, 0, err
	}
	if err = w.set(keyIndex, uint64(email), m.Index); err != nil {
		return 0, 0, err
	}
	w.s.met.messages.Inc()
	w.buf = m.Summary.append(w.buf[:0])
	return email, thread, w.set(keySummary, uint64(email), w.buf)
}

func (w *writer) set(kind byte, n uint64, value []byte) error {
	w.key = numberKey(w.key[:0], w.id, kind, n)
	return w.tx.Set(w.key, value)
}

// createBox makes the row of a mailbox whose name is canonical and free.
func (w *writer) createBox(name string, use SpecialUse) (*boxRow, error) {
	if w.head.boxes >= w.s.limits.Mailboxes {
		return nil, postino.E(postino.Full, "create mailbox", name, nil)
	}
	// UIDVALIDITY grows strictly over the life of the account, so that a name
	// that is used again never gets an old one (RFC 9051 §2.3.1.1).
	validity := max(uint32(max(w.now.Unix(), 1)), w.head.lastValidity+1)
	w.head.lastValidity = validity
	m := &boxRow{id: w.head.nextMailbox, name: name, use: use, created: w.now.Unix()}
	m.status.UIDValidity, m.status.UIDNext = validity, 1
	w.head.nextMailbox++
	w.head.boxes++
	w.rows[m.id] = m
	w.record(&Change{Kind: MailboxCreated, Mailbox: m.id, Names: []string{name}})
	return m, nil
}

// subscribe adds a name to the subscriptions.
func (w *writer) subscribe(name string) error {
	key := append(accountKey(nil, w.id, keySub), name...)
	if _, ok, err := w.tx.Get(key); ok || err != nil {
		return err
	}
	if w.head.subs >= w.s.limits.Subscriptions {
		return postino.E(postino.Full, "subscribe", name, nil)
	}
	w.head.subs++
	w.record(&Change{Kind: SubscriptionAdded, Names: []string{name}})
	return w.tx.Set(key, nil)
}

func (w *writer) unsubscribe(name string) error {
	key := append(accountKey(nil, w.id, keySub), name...)
	if _, ok, err := w.tx.Get(key); !ok || err != nil {
		return err
	}
	w.head.subs--
	w.record(&Change{Kind: SubscriptionEnded, Names: []string{name}})
	return w.tx.Delete(key)
}

// flush writes the log records and the rows; nothing when nothing changed.
func (w *writer) flush() error {
	if len(w.changes) == 0 {
		return nil
	}
	for _, c := range w.changes {
		w.buf = c.append(w.buf[:0])
		w.head.tail += int64(len(w.buf))
		w.head.log += int64(len(w.buf))
		if err := w.set(keyLog, uint64(c.ModSeq), w.buf); err != nil {
			return err
		}
	}
	for id, m := range w.rows {
		if m == nil {
			continue
		}
		w.buf = m.append(w.buf[:0])
		if err := w.set(keyBox, uint64(id), w.buf); err != nil {
			return err
		}
	}
	if err := w.writeHead(); err != nil {
		return err
	}
	w.s.met.changes.Add(float64(len(w.changes)))
	w.s.weigh(w.id, &w.head)
	return nil
}

func (w *writer) writeHead() error {
	w.buf = w.head.append(w.buf[:0])
	w.key = accountKey(w.key[:0], w.id, keyHead)
	return w.tx.Set(w.key, w.buf)
}

// next returns the account's state after the transaction.
func (w *writer) next() *state {
	if len(w.changes) == 0 {
		return w.st
	}
	ch := newChange(w.st)
	for _, c := range w.changes {
		ch.apply(c)
	}
	for id := range ch.rows {
		ch.rows[id] = w.rows[id]
	}
	for id := range ch.lists {
		ch.lists[id] = w.listOf(id)
	}
	for id := range ch.guests {
		ch.guests[id] = w.guestsOf(id)
	}
	st := ch.state(w.head)
	if ch.subs {
		st.subs = applySubs(st.subs, w.changes)
	}
	return st
}

// BlobRef names an email as the holder of its blob: 'm', account, email.
func (s *Store) BlobRef(id AccountID, e EmailID) blob.Ref {
	ref := append(make([]byte, 0, 17), 'm')
	ref = binary.BigEndian.AppendUint64(ref, uint64(id))
	return binary.BigEndian.AppendUint64(ref, uint64(e))
}
