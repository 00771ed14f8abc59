package mailbox

import (
	"context"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// AppendMessage is a message that APPEND puts into a mailbox.
type AppendMessage struct {
	Message  *Message
	Prefix   []byte // see Delivery; usually none
	Flags    Flags
	Keywords []string
	Date     time.Time // INTERNALDATE; zero means now
}

// AppendResult tells where appended messages are.
type AppendResult struct {
	UIDValidity uint32
	UIDs        Range // consecutive, in the order given
	Emails      []EmailID
	ModSeq      ModSeq
}

// Append puts messages into a mailbox in one commit, all or none. NotFound when
// the mailbox does not exist, Full when they do not fit in the quota. Right i;
// flags as far as the viewer has their rights (RFC 4314 §4). Who may not read
// the mailbox is not told where the messages are (RFC 4315 §3).
func (a *Account) Append(ctx context.Context, box MailboxID, msgs []AppendMessage) (AppendResult, error) {
	var res AppendResult
	if len(msgs) == 0 {
		return res, postino.E(postino.Invalid, "append", "nothing", nil)
	}
	_, err := a.update(ctx, nil, func(w *writer) (err error) {
		res, err = w.appendAs(a, box, msgs)
		return err
	})
	return res, err
}

// appendAs appends messages for the holder of a handle.
func (w *writer) appendAs(a *Account, box MailboxID, msgs []AppendMessage) (res AppendResult, err error) {
	if err := a.may(w.st, box, actInsert); err != nil {
		return res, err
	}
	m, err := w.row(box)
	if err != nil {
		return res, err
	}
	rights := a.rightsOn(w.st.box(box))
	allowed := rights.flagsFor().System()
	var seen Ranges
	res.Emails = make([]EmailID, 0, len(msgs))
	for i := range msgs {
		p := &msgs[i]
		add := Delivery{Message: p.Message, Prefix: p.Prefix, Flags: p.Flags & allowed, Keywords: p.Keywords, Date: p.Date}
		if rights&RightWrite == 0 {
			add.Keywords = nil
		}
		if a.role == asGuest {
			add.Flags &^= Seen
		}
		d, err := w.deliver(m, &add)
		if err != nil {
			return res, err
		}
		if p.Flags&allowed&Seen != 0 {
			seen.Append(d.UID)
		}
		if i == 0 {
			res.UIDs.Lo = d.UID
		}
		res.UIDs.Hi, res.ModSeq = d.UID, d.ModSeq
		res.Emails = append(res.Emails, d.Email)
	}
	res.UIDValidity = m.status.UIDValidity
	if err := w.seeNew(a, m, seen); err != nil {
		return res, err
	}
	if rights&RightRead == 0 {
		res = AppendResult{}
	}
	return res, nil
}

// FlagOp says what [Account.Store] does with flags.
type FlagOp uint8

// The ways to change flags (RFC 9051 §6.4.6).
const (
	AddFlags FlagOp = iota
	RemoveFlags
	ReplaceFlags
)

// StoreRequest changes flags.
type StoreRequest struct {
	UIDs     Ranges // normalised; those without a message are skipped
	Op       FlagOp
	Flags    Flags
	Keywords []string
	// UnchangedSince, when set, leaves alone messages whose mod-sequence is
	// greater (RFC 7162 §3.1.3).
	UnchangedSince *ModSeq
}

// StoreResult tells what [Account.Store] did.
type StoreResult struct {
	ModSeq   ModSeq    // of all changed messages; 0 when none changed
	Changed  Ranges    // messages whose flags are different now
	Modified Ranges    // messages that failed UnchangedSince
	Snapshot *Snapshot // the mailbox right after
}

// Store changes the flags of messages: one small record in the log, whatever
// their number. NotFound when the mailbox does not exist, Full when it has no
// room for new keywords. It works on a full disk, since deleting begins with it.
// Rights r and, of s, t and w, those of the flags: the others stay as they are, and
// it is Denied when none is left (RFC 4314 §4 STORE). [ReplaceFlags] means all
// flags. A guest changes his own \Seen.
func (a *Account) Store(ctx context.Context, box MailboxID, req StoreRequest) (StoreResult, error) {
	var res StoreResult
	st, err := a.update(kv.Deleting(ctx), []MailboxID{box}, func(w *writer) error {
		res = StoreResult{}
		if err := a.may(w.st, box, actStore); err != nil {
			return err
		}
		m, err := w.row(box)
		if err != nil {
			return err
		}
		grow := req.Op != RemoveFlags && a.rightsOn(w.st.box(box))&RightWrite != 0
		mask, err := m.mask(req.Flags, req.Keywords, grow)
		if err != nil {
			return err
		}
		c := &Change{Kind: FlagsChanged, Mailbox: box, Added: mask}
		switch req.Op {
		case RemoveFlags:
			c.Added, c.Removed = Mask{}, mask
		case ReplaceFlags:
			c.Removed = everyFlag
		}
		if a.role == asGuest {
			res, err = w.storeAs(a, m, a.seen(w.st).box(box), c, &req)
			return err
		}
		res.Changed, res.Modified = m.flag(w.st.box(box), c, &req)
		if len(res.Changed) == 0 {
			delete(w.rows, box) // keywords that nothing carries are not kept
			return nil
		}
		c.UIDs = res.Changed
		res.ModSeq = w.record(c).ModSeq
		return nil
	})
	if err == nil {
		res.Snapshot = a.seen(st).box(box)
	}
	return res, err
}

// flag finds the messages that c changes and counts the change.
func (m *boxRow) flag(s *Snapshot, c *Change, req *StoreRequest) (changed, modified Ranges) {
	add, del := c.Added, c.Removed
	s.each(req.UIDs, func(k *chunk, i int) {
		if req.UnchangedSince != nil && k.modseqs[i] > *req.UnchangedSince {
			modified.Append(k.uids[i])
			return
		}
		differs := false
		for w := range k.flags {
			var old uint64
			if k.flags[w] != nil {
				old = k.flags[w][i]
			}
			differs = differs || old&^del[w]|add[w] != old
		}
		if !differs {
			return
		}
		changed.Append(k.uids[i])
		old := Flags(k.flags[0][i])
		now := old&^Flags(del[0]) | Flags(add[0])
		m.status.Unseen += uint32(btoi(now&Seen == 0) - btoi(old&Seen == 0))
		m.status.Deleted += uint32(btoi(now&Deleted != 0) - btoi(old&Deleted != 0))
	})
	return changed, modified
}

// each calls fn for the messages whose UIDs are in the set.
func (s *Snapshot) each(uids Ranges, fn func(c *chunk, i int)) {
	for lo, hi := range s.spans(uids) {
		k, at := s.table.locate(lo)
		for n := hi - lo; n > 0; k, at = k+1, 0 {
			c := s.table.chunks[k]
			end := min(c.len(), at+n)
			n -= end - at
			for ; at < end; at++ {
				fn(c, at)
			}
		}
	}
}

// CopyResult tells what was copied or moved.
type CopyResult struct {
	UIDValidity uint32 // of the destination
	// Source and Dest have the same number of UIDs, in the same order; both are
	// empty when there was nothing to copy.
	Source, Dest Ranges
	ModSeq       ModSeq
	Snapshot     *Snapshot // the source right after
}

// Copy puts messages of src into dst, all or none, without touching what is
// stored of them. UIDs without a message are skipped. NotFound when a mailbox
// does not exist, Full when they do not fit in the quota. Rights r on src and i on
// dst; flags, and what the result tells, as in Append.
func (a *Account) Copy(ctx context.Context, src MailboxID, uids Ranges, dst MailboxID) (CopyResult, error) {
	return a.transfer(ctx, src, uids, dst, false)
}

// Move takes messages from src to dst in one commit (RFC 6851 §3.3). It needs no
// room in the quota, and works on a full disk: it is how users throw away. Rights
// r, t and e on src, i on dst.
func (a *Account) Move(ctx context.Context, src MailboxID, uids Ranges, dst MailboxID) (CopyResult, error) {
	return a.transfer(kv.Deleting(ctx), src, uids, dst, true)
}

func (a *Account) transfer(ctx context.Context, src MailboxID, uids Ranges, dst MailboxID, move bool) (res CopyResult, err error) {
	st, err := a.update(ctx, []MailboxID{src}, func(w *writer) error {
		from := actRead
		if move {
			from = actMoveFrom
		}
		if err := a.may(w.st, src, from); err != nil {
			return err
		}
		if err := a.may(w.st, dst, actInsert); err != nil {
			return err
		}
		m, err := w.row(dst)
		if err != nil {
			return err
		}
		if res, err = w.transfer(a, a.seen(w.st).box(src), uids, m, move); err == nil && a.rightsOn(w.st.box(dst))&RightRead == 0 {
			res = CopyResult{ModSeq: res.ModSeq}
		}
		return err
	})
	if err == nil {
		res.Snapshot = a.seen(st).box(src)
	}
	return res, err
}

// transfer copies or moves messages of src, which is as the holder of a sees it,
// to the mailbox to.
func (w *writer) transfer(a *Account, src *Snapshot, uids Ranges, to *boxRow, move bool) (CopyResult, error) {
	res := CopyResult{UIDValidity: to.status.UIDValidity}
	var n, size int64
	for lo, hi := range src.spans(uids) {
		n += int64(hi - lo)
	}
	src.each(uids, func(c *chunk, i int) { size += int64(c.sizes[i]) })
	if err := to.room(int(n)); err != nil {
		return res, err
	}
	if !move && !w.head.fits(n, size) {
		return res, postino.E(postino.Full, "copy messages", "", postino.ErrQuota)
	}
	if n == 0 {
		return res, nil
	}
	translate := newTranslation(src.row, to)
	rights := a.rightsOn(w.st.box(to.id))
	if w.rows[to.id] != nil && w.st.box(to.id) == nil {
		rights = AllRights // made by this transaction: INBOX renamed by its owner
	}
	allowed := rights.flagsFor()
	own := src
	if src.of != nil {
		own = src.of
	}
	rows := make([]Row, 0, n)
	var seen Ranges
	for lo, hi := range src.spans(uids) {
		for i, r := range own.Rows(lo, hi) {
			rows = append(rows, r)
			res.Source.Append(r.UID)
			// The owner has seen the copy of what he has seen, whoever made it.
			mask := r.Flags.and(allowed)
			mask[0] |= r.Flags[0] & uint64(Seen)
			var err error
			if r.Flags, err = translate.mask(mask); err != nil {
				return res, err
			}
			added := w.add(to, r)
			if src.of != nil && rights&RightSeen != 0 && src.Row(i).Flags.System()&Seen != 0 {
				seen.Append(added.UID)
			}
			res.Dest.Append(added.UID)
			res.ModSeq = added.ModSeq
		}
	}
	if err := w.seeNew(a, to, seen); err != nil {
		return res, err
	}
	if move {
		m, err := w.row(src.row.id)
		if err != nil {
			return res, err
		}
		c, err := w.expunge(m, res.Source, rows)
		if err != nil {
			return res, err
		}
		res.ModSeq = c.ModSeq
	}
	return res, nil
}

// translation turns masks of one mailbox into those of another, whose keywords
// have other numbers.
type translation struct {
	from, to *boxRow
	known    map[Mask]Mask
}

func newTranslation(from, to *boxRow) *translation {
	return &translation{from, to, map[Mask]Mask{}}
}

func (t *translation) mask(m Mask) (Mask, error) {
	if m[0]>>systemFlags == 0 && m[1]|m[2]|m[3] == 0 || t.from.id == t.to.id {
		return m, nil
	}
	if out, ok := t.known[m]; ok {
		return out, nil
	}
	var names []string
	for n := range m.Keywords() {
		names = append(names, t.from.keywords[n])
	}
	out, err := t.to.mask(m.System(), names, true)
	t.known[m] = out
	return out, err
}

// ExpungeResult tells what left a mailbox.
type ExpungeResult struct {
	ModSeq   ModSeq // 0 when nothing left
	Expunged Ranges
	Snapshot *Snapshot // the mailbox right after
}

// Expunge removes those of the messages that have \Deleted; [All] for EXPUNGE,
// a set for UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9). Rights r and e.
func (a *Account) Expunge(ctx context.Context, box MailboxID, uids Ranges) (ExpungeResult, error) {
	return a.expunge(ctx, box, uids, Deleted, actExpunge)
}

// Destroy removes messages whatever their flags: POP3's QUIT, JMAP's destroy.
// Rights r, t and e.
func (a *Account) Destroy(ctx context.Context, box MailboxID, uids Ranges) (ExpungeResult, error) {
	return a.expunge(ctx, box, uids, 0, actDestroy)
}

func (a *Account) expunge(ctx context.Context, box MailboxID, uids Ranges, flags Flags, do action) (ExpungeResult, error) {
	var res ExpungeResult
	st, err := a.update(kv.Deleting(ctx), []MailboxID{box}, func(w *writer) error {
		res = ExpungeResult{}
		if err := a.may(w.st, box, do); err != nil {
			return err
		}
		m, err := w.row(box)
		if err != nil {
			return err
		}
		var rows []Row
		w.st.box(box).each(uids, func(c *chunk, i int) {
			if Flags(c.flags[0][i])&flags == flags {
				rows = append(rows, c.row(i))
				res.Expunged.Append(c.uids[i])
			}
		})
		if len(rows) > 0 {
			c, err := w.remove(m, res.Expunged, rows)
			if err != nil {
				return err
			}
			res.ModSeq = c.ModSeq
		}
		return nil
	})
	if err == nil {
		res.Snapshot = a.seen(st).box(box)
	}
	return res, err
}

// remove expunges rows whose emails go with them unless another mailbox has them:
// the sweep is told that there may be dead ones.
func (w *writer) remove(m *boxRow, uids Ranges, rows []Row) (*Change, error) {
	c, err := w.expunge(m, uids, rows)
	if err == nil {
		w.head.dead += int64(len(rows))
	}
	return c, err
}

// expunge records that the rows left mailbox m.
func (w *writer) expunge(m *boxRow, uids Ranges, rows []Row) (*Change, error) {
	for i := range rows {
		m.status.count(rows[i].Flags[0], rows[i].Size, -1)
		w.head.used.Bytes -= rows[i].Size
	}
	w.head.used.Messages -= int64(len(rows))
	c := w.record(&Change{Kind: Expunged, Mailbox: m.id, UIDs: uids})
	return c, w.forgetSeen(m.id, uids)
}
