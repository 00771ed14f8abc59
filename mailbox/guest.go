package mailbox

import (
	"context"
	"slices"

	"github.com/postino-mail/postino"
)

// What guests change: their own \Seen instead of the owner's, and only the flags
// that their rights are for.

// flagsFor returns all flags that somebody with rights r may change (RFC 4314 §4).
func (r Rights) flagsFor() Mask {
	var m Mask
	if r&RightWrite != 0 {
		m = everyFlag
		m[0] &^= uint64(Seen | Deleted)
	}
	if r&RightSeen != 0 {
		m[0] |= uint64(Seen)
	}
	if r&RightDeleted != 0 {
		m[0] |= uint64(Deleted)
	}
	return m
}

// and returns the flags that are in both.
func (m Mask) and(o Mask) Mask {
	for i := range m {
		m[i] &= o[i]
	}
	return m
}

// setPrivate writes what a guest has of his own in a mailbox.
func (w *writer) setPrivate(p *private) error {
	if w.private == nil {
		w.private = map[MailboxID]map[AccountID]*private{}
	}
	if w.private[p.box] == nil {
		w.private[p.box] = map[AccountID]*private{}
	}
	w.private[p.box][p.viewer] = p
	w.key = privateKey(w.key[:0], w.id, p.box, p.viewer)
	if len(p.marks) == 0 && !p.subscribed {
		return w.tx.Delete(w.key)
	}
	w.buf = p.append(w.buf[:0])
	return w.tx.Set(w.key, w.buf)
}

// guest returns what a viewer has of his own as the transaction has left it;
// never nil.
func (w *writer) guest(box MailboxID, viewer AccountID) *private {
	if p := w.private[box][viewer]; p != nil {
		return p
	}
	if p := w.st.guest(box, viewer); p != nil {
		return p
	}
	return &private{box: box, viewer: viewer}
}

// guestsOf returns what all guests have of their own after the transaction.
func (w *writer) guestsOf(box MailboxID) (list []*private) {
	if m, known := w.rows[box]; known && m == nil {
		return nil // deleted
	}
	now := w.private[box]
	for _, p := range w.st.guests(box) {
		if now[p.viewer] == nil {
			list = append(list, p)
		}
	}
	for _, p := range now {
		if len(p.marks) > 0 || p.subscribed {
			list = append(list, p)
		}
	}
	return list
}

// see records that a guest saw, or unsaw, messages of s: those in uids, of which
// n more are seen than before.
func (w *writer) see(s *Snapshot, viewer AccountID, uids Ranges, seen bool, n int) (*Change, error) {
	c := &Change{Kind: SeenChanged, Mailbox: s.row.id, Viewer: viewer, UIDs: uids}
	if seen {
		c.Added[0] = uint64(Seen)
	} else {
		c.Removed[0] = uint64(Seen)
	}
	w.record(c)
	return c, w.setPrivate(w.guest(s.row.id, viewer).set(s, uids, seen, n, c.ModSeq))
}

// forgetSeen takes messages that left a mailbox from what guests saw.
func (w *writer) forgetSeen(box MailboxID, uids Ranges) error {
	for _, p := range w.st.guests(box) {
		p = w.guest(box, p.viewer)
		if next := p.expunge(uids); next != p {
			if err := w.setPrivate(next); err != nil {
				return err
			}
		}
	}
	return nil
}

// storeAs does a Store for a guest: s is the mailbox as he sees it.
func (w *writer) storeAs(a *Account, m *boxRow, s *Snapshot, c *Change, req *StoreRequest) (res StoreResult, err error) {
	allowed := a.rightsOn(s).flagsFor()
	named := c.Added.Or(c.Removed)
	if len(req.Keywords) > 0 {
		named.set(systemFlags) // also those that the mailbox does not know
	}
	if named.and(allowed).IsZero() && !named.IsZero() {
		return res, denied(m.id)
	}
	c.Added, c.Removed = c.Added.and(allowed), c.Removed.and(allowed)
	seeing := Flags(c.Added[0]|c.Removed[0])&Seen != 0
	seen := Flags(c.Added[0])&Seen != 0
	var pass, spans Ranges // that pass UnchangedSince; that change their \Seen
	n := 0
	s.each(req.UIDs, func(k *chunk, i int) {
		if req.UnchangedSince != nil && k.modseqs[i] > *req.UnchangedSince {
			res.Modified.Append(k.uids[i])
			return
		}
		pass.Append(k.uids[i])
		if seeing && Flags(k.flags[0][i])&Seen != 0 != seen {
			spans.Append(k.uids[i])
			n++
		}
	})
	c.Added[0] &^= uint64(Seen)
	c.Removed[0] &^= uint64(Seen)
	res.Changed, _ = m.flag(s.of, c, &StoreRequest{UIDs: pass})
	if len(res.Changed) > 0 {
		c.UIDs = res.Changed
		res.ModSeq = w.record(c).ModSeq
	} else {
		delete(w.rows, m.id)
	}
	if n == 0 {
		return res, nil
	}
	if !seen {
		n = -n
	}
	// All messages that changed get one mod-sequence, that of the second record.
	// The first record keeps its own UIDs: they are not to be sorted among these.
	res.Changed = slices.Concat(res.Changed, spans).Normalize()
	c, err = w.see(s, a.lens.Account, s.close(res.Changed), seen, n)
	res.ModSeq = c.ModSeq
	return res, err
}

// close joins ranges between which s has no message.
func (s *Snapshot) close(rs Ranges) (out Ranges) {
	for _, r := range rs {
		if n := len(out); n > 0 && s.empty(out[n-1].Hi, r.Lo) {
			out[n-1].Hi = r.Hi
		} else {
			out = append(out, r)
		}
	}
	return out
}

// seeNew marks as seen messages that a guest has just put into a mailbox.
func (w *writer) seeNew(a *Account, m *boxRow, uids Ranges) error {
	if a.role != asGuest || len(uids) == 0 {
		return nil
	}
	_, err := w.see(&Snapshot{row: m}, a.lens.Account, uids, true, int(uids.Count()))
	return err
}

// subscribeAs changes the subscription of a guest, which belongs to the mailbox.
func (a *Account) subscribeAs(ctx context.Context, name string, on bool) error {
	if a.lens == nil {
		return noAccount(a.id)
	}
	name, err := a.s.CanonicalName(name)
	if err != nil {
		return err
	}
	_, err = a.update(ctx, nil, func(w *writer) error {
		s := w.st.byName(name)
		if on && (s == nil || a.may(w.st, s.row.id, actLookup) != nil) {
			return postino.E(postino.NotFound, "find mailbox", name, nil)
		}
		if s == nil {
			return nil
		}
		p := *w.guest(s.row.id, a.lens.Account)
		if p.subscribed == on {
			return nil
		}
		kind := ViewerUnsubscribed
		if p.subscribed = on; on {
			kind = ViewerSubscribed
		}
		w.record(&Change{Kind: kind, Mailbox: s.row.id, Viewer: a.lens.Account})
		return w.setPrivate(&p)
	})
	return err
}
