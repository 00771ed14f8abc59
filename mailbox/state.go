package mailbox

import (
	"errors"
	"fmt"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// state is what memory holds of an account at one position of its log. It is
// immutable: a change makes a new one that shares what stayed the same.
type state struct {
	head  head
	boxes []*Snapshot // ascending by number; columns only of mailboxes that were opened
	subs  []string    // ascending
	// private is what guests have of their own, in the order of comparePrivate.
	private []*private
}

func (st *state) search(box MailboxID) (int, bool) {
	return slices.BinarySearchFunc(st.boxes, box, func(s *Snapshot, id MailboxID) int {
		return int(int64(s.row.id) - int64(id))
	})
}

// box returns the mailbox, nil when there is none.
func (st *state) box(id MailboxID) *Snapshot {
	if i, ok := st.search(id); ok {
		return st.boxes[i]
	}
	return nil
}

// byName returns the mailbox with a canonical name, nil when there is none.
func (st *state) byName(name string) *Snapshot {
	for _, s := range st.boxes {
		if s.row.name == name {
			return s
		}
	}
	return nil
}

// change builds the next state: rows that were read again or written, and
// records applied to the columns that are in memory.
type change struct {
	st    *state
	edits map[MailboxID]*edit
	rows  map[MailboxID]*boxRow // nil row: the mailbox was deleted
	subs  bool                  // subscriptions changed
	lists map[MailboxID]acl     // access lists that changed
	// guests are the mailboxes in which guests changed what is their own, with
	// all that it is now.
	guests map[MailboxID][]*private
}

func newChange(st *state) *change {
	return &change{
		st: st, edits: map[MailboxID]*edit{}, rows: map[MailboxID]*boxRow{},
		lists: map[MailboxID]acl{}, guests: map[MailboxID][]*private{},
	}
}

// apply takes in one record. The rows of the mailboxes that it names have to
// be put into rows, lists and guests afterwards.
func (ch *change) apply(c *Change) {
	switch c.Kind {
	case Appended, FlagsChanged, Expunged:
		if e := ch.edit(c.Mailbox); e != nil {
			e.apply(c)
		}
		ch.touch(c.Mailbox)
		if c.Kind == Expunged && len(ch.st.guests(c.Mailbox)) > 0 {
			ch.guests[c.Mailbox] = nil
		}
	case MailboxRenamed:
		for _, b := range c.Boxes {
			ch.touch(b)
		}
	case SubscriptionAdded, SubscriptionEnded:
		ch.subs = true
	case SeenChanged, ViewerSubscribed, ViewerUnsubscribed:
		ch.guests[c.Mailbox] = nil
	case MetadataChanged: // is not in memory
	case MailboxCreated, ACLChanged:
		ch.touch(c.Mailbox)
		ch.lists[c.Mailbox] = nil
	default: // MailboxDeleted, MailboxUpdated
		ch.touch(c.Mailbox)
		if len(ch.st.guests(c.Mailbox)) > 0 {
			ch.guests[c.Mailbox] = nil
		}
	}
}

func (ch *change) touch(box MailboxID) {
	if _, ok := ch.rows[box]; !ok {
		ch.rows[box] = nil
	}
}

// edit returns the edit of a mailbox's columns, nil when they are not in memory.
func (ch *change) edit(box MailboxID) *edit {
	if e := ch.edits[box]; e != nil {
		return e
	}
	s := ch.st.box(box)
	if s == nil || s.table == nil {
		return nil
	}
	e := newEdit(s.table)
	ch.edits[box] = e
	return e
}

// state returns the state after all that was applied.
func (ch *change) state(h head) *state {
	st := &state{head: h, boxes: ch.st.boxes, subs: ch.st.subs, private: ch.st.private}
	if len(ch.guests) > 0 {
		st.private = ch.privates()
	}
	if len(ch.rows) == 0 {
		return st
	}
	st.boxes = slices.Clone(st.boxes)
	for id, row := range ch.rows {
		i, ok := st.search(id)
		switch {
		case row == nil && ok:
			st.boxes = slices.Delete(st.boxes, i, i+1)
		case row == nil:
		default:
			s := &Snapshot{row: row, modseq: h.modseq}
			list, changed := ch.lists[id]
			if ok {
				s.table, s.acl = st.boxes[i].table, st.boxes[i].acl
				st.boxes[i] = s
			} else {
				st.boxes = slices.Insert(st.boxes, i, s)
			}
			if changed {
				s.acl = list
			}
			if e := ch.edits[id]; e != nil {
				s.table = e.table()
			}
		}
	}
	return st
}

// privates returns what guests have of their own after the change.
func (ch *change) privates() []*private {
	list := make([]*private, 0, len(ch.st.private)+1)
	for _, p := range ch.st.private {
		if _, changed := ch.guests[p.box]; !changed {
			list = append(list, p)
		}
	}
	for _, now := range ch.guests {
		list = append(list, now...)
	}
	slices.SortFunc(list, comparePrivate)
	return list
}

// loadState reads the rows of an account, without columns.
func loadState(r kv.Reader, id AccountID, h head) (*state, error) {
	st := &state{head: h}
	var fail error
	err := r.Scan(kv.Prefix(accountKey(nil, id, keyBox)), func(k, v []byte) bool {
		row, err := decodeBox(MailboxID(keyNumber(k)), v)
		if err != nil {
			fail = err
			return false
		}
		st.boxes = append(st.boxes, &Snapshot{row: row, modseq: h.modseq})
		return true
	})
	if err == nil {
		err = fail
	}
	if err != nil {
		return nil, err
	}
	if err = loadACLs(r, id, st); err != nil {
		return nil, err
	}
	if st.private, err = loadPrivate(r, id, 0); err != nil {
		return nil, err
	}
	st.subs, err = loadSubs(r, id)
	return st, err
}

func loadSubs(r kv.Reader, id AccountID) (subs []string, err error) {
	prefix := accountKey(nil, id, keySub)
	err = r.Scan(kv.Prefix(prefix), func(k, _ []byte) bool {
		subs = append(subs, string(k[len(prefix):]))
		return true
	})
	return subs, err
}

// scanLog calls fn for the records of (after, upTo] in order and fails when one
// is missing.
func scanLog(r kv.Reader, id AccountID, after, upTo ModSeq, fn func(*Change, int) error) error {
	if after >= upTo {
		return nil
	}
	next := after + 1
	var fail error
	rng := kv.Range{Start: numberKey(nil, id, keyLog, uint64(next)), End: numberKey(nil, id, keyLog, uint64(upTo)+1)}
	err := r.Scan(rng, func(k, v []byte) bool {
		c, err := decodeChange(ModSeq(keyNumber(k)), v)
		if err == nil && c.ModSeq != next {
			err = missing(id, next)
		}
		if err == nil {
			err = fn(c, len(v))
		}
		next++
		fail = err
		return err == nil
	})
	if err == nil {
		err = fail
	}
	if err == nil && next != upTo+1 {
		err = missing(id, next)
	}
	return err
}

func missing(id AccountID, m ModSeq) error {
	return postino.E(postino.Corrupt, "read log", fmt.Sprintf("account %x record %d", uint64(id), m), nil)
}

// errBehind tells that a reader shows an account before the state at hand.
var errBehind = errors.New("the store shows an older state of the account")

// advance returns the state that r shows, starting from st, which may be nil
// or old, with the columns of the needed mailboxes in memory.
func advance(r kv.Reader, id AccountID, st *state, need ...MailboxID) (*state, error) {
	h, err := readHead(r, id)
	if err != nil {
		return nil, err
	}
	switch {
	case st == nil || st.head.modseq < h.floor:
		st, err = loadState(r, id, h)
	case st.head.modseq < h.modseq:
		st, err = replay(r, id, st, h)
	case st.head.modseq > h.modseq:
		err = errBehind
	case st.head != h:
		st = &state{head: h, boxes: st.boxes, subs: st.subs, private: st.private}
	}
	if err != nil {
		return nil, err
	}
	for _, box := range need {
		if st, err = load(r, id, st, box); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// replay applies the log's tail to st.
func replay(r kv.Reader, id AccountID, st *state, h head) (*state, error) {
	ch := newChange(st)
	err := scanLog(r, id, st.head.modseq, h.modseq, func(c *Change, _ int) error {
		ch.apply(c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for box := range ch.rows {
		row, err := readBox(r, id, box)
		if err != nil && !postino.Is(err, postino.NotFound) {
			return nil, err
		}
		ch.rows[box] = row
	}
	if err := ch.reread(r, id); err != nil {
		return nil, err
	}
	next := ch.state(h)
	if ch.subs {
		next.subs, err = loadSubs(r, id)
	}
	return next, err
}

// reread reads the access lists and the guests' own of the mailboxes where they
// changed.
func (ch *change) reread(r kv.Reader, id AccountID) (err error) {
	for box := range ch.lists {
		if ch.lists[box], err = readACL(r, id, box); err != nil {
			return err
		}
	}
	for box := range ch.guests {
		if ch.guests[box], err = loadPrivate(r, id, box); err != nil {
			return err
		}
	}
	return nil
}

// load brings the columns of a mailbox into st: its chunks, and the log's tail.
func load(r kv.Reader, id AccountID, st *state, box MailboxID) (*state, error) {
	i, ok := st.search(box)
	if !ok {
		return nil, noMailbox(box)
	}
	if st.boxes[i].table != nil {
		return st, nil
	}
	t, err := loadTable(r, id, st.head, box, 0)
	if err != nil {
		return nil, err
	}
	s := *st.boxes[i]
	s.table = t
	if t.len() != int(s.row.status.Messages) {
		return nil, postino.E(postino.Corrupt, "open mailbox", s.row.name, fmt.Errorf("%d messages, the counter says %d", t.len(), s.row.status.Messages))
	}
	next := *st
	next.boxes = slices.Clone(st.boxes)
	next.boxes[i] = &s
	return &next, nil
}

// loadTable reads the chunks of a mailbox from base on and applies the log's
// tail to them. With a base above 0 the tail must not name messages below it.
func loadTable(r kv.Reader, id AccountID, h head, box MailboxID, base uint32) (*table, error) {
	e := &edit{}
	var fail error
	rng := kv.Range{Start: chunkKey(nil, id, box, base), End: kv.PrefixEnd(numberKey(nil, id, keyChunk, uint64(box)))}
	err := r.Scan(rng, func(k, v []byte) bool {
		c, err := decodeChunk(uint32(keyNumber(k)), v)
		if err == nil && c.stamp > h.modseq {
			err = corrupt("mailbox chunk")
		}
		if err != nil {
			fail = err
			return false
		}
		e.chunks = append(e.chunks, c)
		return true
	})
	if err == nil {
		err = fail
	}
	if err != nil {
		return nil, err
	}
	err = scanLog(r, id, h.folded, h.modseq, func(c *Change, _ int) error {
		if c.Mailbox == box {
			e.apply(c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e.table(), nil
}
