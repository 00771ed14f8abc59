package mailbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
)

// Problem is something that Check found wrong in an account.
type Problem struct {
	Object string // "account", "mailbox 3", "email 17"
	What   string
}

// String reads as a sentence.
func (p Problem) String() string { return p.Object + ": " + p.What }

// checker gathers problems.
type checker struct {
	s        *Store
	r        kv.Reader
	id       AccountID
	head     head
	problems []Problem
	emails   map[EmailID]Row      // of all mailboxes
	statuses map[MailboxID]Status // of all mailboxes
}

func (c *checker) report(object, format string, args ...any) {
	c.problems = append(c.problems, Problem{object, fmt.Sprintf(format, args...)})
}

func (c *checker) equal(object, what string, got, want any) {
	if got != want {
		c.report(object, "%s is %v, should be %v", what, got, want)
	}
}

// Check compares an account's counters with a recount, its chunks with its log,
// and its mailboxes with its emails and their bodies (ST3, IM13). It changes
// nothing. An error means that the account could not be read.
func (s *Store) Check(ctx context.Context, id AccountID) ([]Problem, error) {
	var problems []Problem
	err := s.view(ctx, id, func(r kv.Reader) error {
		h, err := readHead(r, id)
		if err != nil {
			return err
		}
		c := &checker{s: s, r: r, id: id, head: h, emails: map[EmailID]Row{}, statuses: map[MailboxID]Status{}}
		if err := c.run(); err != nil {
			return err
		}
		problems = c.problems
		return nil
	})
	return problems, err
}

func (c *checker) run() error {
	var used Quota
	boxes, names := 0, map[string]bool{}
	err := c.s.eachTable(c.r, c.id, c.head, func(m *boxRow, t *table) error {
		boxes++
		if names[m.name] {
			c.report("account", "two mailboxes are named %q", m.name)
		}
		names[m.name] = true
		c.mailbox(m, t)
		c.statuses[m.id] = m.status
		if err := c.shared(m, t); err != nil {
			return err
		}
		used.Bytes += m.status.Size
		used.Messages += int64(m.status.Messages)
		return c.replay(m, t)
	})
	if err != nil {
		return err
	}
	subs, err := loadSubs(c.r, c.id)
	if err != nil {
		return err
	}
	c.equal("account", "number of mailboxes", c.head.boxes, boxes)
	c.equal("account", "number of subscriptions", c.head.subs, len(subs))
	c.equal("account", "used quota", c.head.used, used)
	notes, err := countNotes(c.r, c.id)
	if err != nil {
		return err
	}
	c.equal("account", "octets of metadata", c.head.notes, notes)
	if c.head.folded > c.head.modseq || c.head.floor > c.head.folded {
		c.report("account", "log positions out of order: %d, %d, %d", c.head.floor, c.head.folded, c.head.modseq)
	}
	if err := c.indexed(); err != nil {
		return err
	}
	if err := c.uidls(); err != nil {
		return err
	}
	return c.stored()
}

// mailbox recounts a mailbox.
func (c *checker) mailbox(m *boxRow, t *table) {
	object := fmt.Sprintf("mailbox %d", m.id)
	var got Status
	var highest ModSeq
	last := UID(0)
	for _, k := range t.chunks {
		for i := range k.len() {
			r := k.row(i)
			got.count(r.Flags[0], r.Size, 1)
			highest = max(highest, r.ModSeq)
			if r.UID <= last {
				c.report(object, "UID %d after %d", r.UID, last)
			}
			last = r.UID
			if old, ok := c.emails[r.Email]; ok && (old.Size != r.Size || old.Thread != r.Thread) {
				c.report(object, "copies of email %d differ", r.Email)
			}
			c.emails[r.Email] = r
			for bit := range r.Flags.Keywords() {
				if bit >= len(m.keywords) {
					c.report(object, "UID %d has keyword %d of %d", r.UID, bit, len(m.keywords))
				}
			}
		}
	}
	want := m.status
	want.UIDValidity, want.UIDNext, want.HighestModSeq = 0, 0, 0
	c.equal(object, "recount", want, got)
	if last >= m.status.UIDNext {
		c.report(object, "UID %d is not below UIDNEXT %d", last, m.status.UIDNext)
	}
	if highest > m.status.HighestModSeq || m.status.HighestModSeq > c.head.modseq {
		c.report(object, "mod-sequence %d, highest %d, account %d", highest, m.status.HighestModSeq, c.head.modseq)
	}
	if m.id >= c.head.nextMailbox || m.status.UIDValidity > c.head.lastValidity {
		c.report(object, "is beyond what the account has given out")
	}
}

// shared checks what a mailbox keeps for guests, and the index of shares.
func (c *checker) shared(m *boxRow, t *table) error {
	object := fmt.Sprintf("mailbox %d", m.id)
	list, err := readACL(c.r, c.id, m.id)
	if err != nil {
		return err
	}
	for _, e := range list {
		if _, ok, err := c.r.Get(shareKey(e.Subject, c.id, m.id)); err != nil {
			return err
		} else if !ok && !e.Negative {
			c.report(object, "is not in the index of what is shared with %v", e.Subject)
		}
	}
	guests, err := loadPrivate(c.r, c.id, m.id)
	if err != nil {
		return err
	}
	for _, p := range guests {
		if p.highest > c.head.modseq {
			c.report(object, "mod-sequence %d of guest %x is beyond the account's", p.highest, uint64(p.viewer))
		}
		var got Status
		for _, k := range t.chunks {
			k = p.show(k)
			for i := range k.len() {
				got.count(k.flags[0][i], 0, 1)
			}
		}
		c.equal(object, fmt.Sprintf("messages that guest %x has seen", uint64(p.viewer)), p.seen, got.Messages-got.Unseen)
	}
	return nil
}

// uidls checks the unique-ids of POP3: each is of a mailbox and a UID that there were,
// in the row of its chunk, and no other message of the mailbox has the same.
func (c *checker) uidls() error {
	all := map[MailboxID]map[UID]string{}
	err := c.r.Scan(kv.Prefix(accountKey(nil, c.id, keyUIDL)), func(k, v []byte) bool {
		row := k[len(k)-12:]
		box, base := MailboxID(binary.BigEndian.Uint64(row)), binary.BigEndian.Uint32(row[8:])
		object := fmt.Sprintf("unique-ids %d of mailbox %d", base, box)
		m, ok := c.statuses[box]
		ids, err := decodeUIDLs(v)
		switch {
		case err != nil:
			c.report(object, "%v", err)
			return true
		case !ok:
			c.report(object, "are of no mailbox")
			return true
		case all[box] == nil:
			all[box] = map[UID]string{}
		}
		for uid, s := range ids {
			if uint32(uid)>>chunkBits != base || uid >= m.UIDNext {
				c.report(object, "have UID %d", uid)
			}
			all[box][uid] = s
		}
		return true
	})
	for box, ids := range all {
		if err := distinct(ids, c.statuses[box].UIDValidity); err != nil {
			c.report(fmt.Sprintf("mailbox %d", box), "%v", err)
		}
	}
	return err
}

// replay makes the mailbox from the whole log, if that is still there, and
// compares.
func (c *checker) replay(m *boxRow, t *table) error {
	if c.head.floor > 0 {
		return nil
	}
	e := &edit{}
	err := scanLog(c.r, c.id, 0, c.head.modseq, func(ch *Change, _ int) error {
		if ch.Mailbox == m.id {
			e.apply(ch)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fromLog := e.table()
	object := fmt.Sprintf("mailbox %d", m.id)
	if fromLog.len() != t.len() {
		c.report(object, "chunks have %d messages, the log %d", t.len(), fromLog.len())
		return nil
	}
	a, b := &Snapshot{table: fromLog}, &Snapshot{table: t}
	for i, row := range a.Rows(0, a.Len()) {
		if got := b.Row(i); !reflect.DeepEqual(got, row) {
			c.report(object, "message %d is %v, by the log %v", i, got, row)
		}
	}
	return nil
}

// stored checks that every email of a mailbox has its rows and its body.
func (c *checker) stored() error {
	for id, r := range c.emails {
		object := fmt.Sprintf("email %d", id)
		if id >= c.head.nextEmail {
			c.report(object, "is beyond what the account has given out")
		}
		v, ok, err := c.r.Get(numberKey(nil, c.id, keyEmail, uint64(id)))
		if err != nil {
			return err
		}
		if !ok {
			c.report(object, "is not stored")
			continue
		}
		row, err := decodeEmail(v)
		if err != nil {
			c.report(object, "%v", err)
			continue
		}
		c.equal(object, "size", row.size, r.Size)
		c.equal(object, "thread", row.thread, r.Thread)
		if err := c.body(object, id, &row); err != nil {
			return err
		}
		if v, ok, err = c.r.Get(numberKey(nil, c.id, keyIndex, uint64(id))); err != nil {
			return err
		} else if ix, err := message.DecodeIndex(v); !ok || err != nil {
			c.report(object, "index: %v", err)
		} else {
			c.equal(object, "size by its index", ix.Size+int64(len(row.prefix)), row.size)
		}
		if v, ok, err = c.r.Get(numberKey(nil, c.id, keySummary, uint64(id))); err != nil {
			return err
		} else if _, err := decodeSummary(v); !ok || err != nil {
			c.report(object, "summary: %v", err)
		}
	}
	return nil
}

// body checks that the blob of an email knows its holder and has its size.
func (c *checker) body(object string, id EmailID, row *emailRow) error {
	// The row of a reference is as the doc of package blob says.
	ref := append(append([]byte("br"), row.blob[:]...), c.s.BlobRef(c.id, id)...)
	_, held, err := c.r.Get(ref)
	if err != nil {
		return err
	}
	if !held {
		c.report(object, "its body %v is not held", row.blob)
	}
	body, inline, err := c.s.blobs.Get(c.r, row.blob, nil)
	if err != nil {
		c.report(object, "%v", err)
	} else if inline {
		c.equal(object, "size of its body", int64(len(body)+len(row.prefix)), row.size)
	}
	return nil
}
