package mailbox

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

func loadACLs(r kv.Reader, id AccountID, st *state) error {
	var fail error
	err := r.Scan(kv.Prefix(accountKey(nil, id, keyACL)), func(k, v []byte) bool {
		var l acl
		if l, fail = decodeACL(v); fail != nil {
			return false
		}
		if s := st.box(MailboxID(keyNumber(k))); s != nil {
			s.acl = l
		}
		return true
	})
	if err == nil {
		err = fail
	}
	return err
}

func readACL(r kv.Reader, id AccountID, box MailboxID) (acl, error) {
	v, ok, err := r.Get(numberKey(nil, id, keyACL, uint64(box)))
	if !ok || err != nil {
		return nil, err
	}
	return decodeACL(v)
}

// The index of shares tells whose accounts have something for somebody: a key
// without value for each entry that gives rights, written with the list. It lies
// outside of the accounts: 'w', the subject, the owner, the mailbox.

// subjectKey appends 'w' and a subject.
func subjectKey(dst []byte, s Subject) []byte {
	if s.Account != 0 {
		return binary.BigEndian.AppendUint64(append(dst, 'w', 'a'), uint64(s.Account))
	}
	return append(append(append(dst, 'w', 'd'), s.Domain...), 0)
}

func shareKey(s Subject, owner AccountID, box MailboxID) []byte {
	key := binary.BigEndian.AppendUint64(subjectKey(nil, s), uint64(owner))
	return binary.BigEndian.AppendUint64(key, uint64(box))
}

// setACL writes the access list of a mailbox, and what of it is in the index.
// was is the list before.
func (w *writer) setACL(box MailboxID, was, now acl) error {
	for _, e := range was {
		if !e.Negative && !slices.ContainsFunc(now, func(n ACLEntry) bool { return n.Subject == e.Subject && !n.Negative }) {
			if err := w.tx.Delete(shareKey(e.Subject, w.id, box)); err != nil {
				return err
			}
		}
	}
	for _, e := range now {
		if !e.Negative {
			if err := w.tx.Set(shareKey(e.Subject, w.id, box), nil); err != nil {
				return err
			}
		}
	}
	if w.lists == nil {
		w.lists = map[MailboxID]acl{}
	}
	w.lists[box] = now
	if len(now) == 0 {
		return w.tx.Delete(numberKey(nil, w.id, keyACL, uint64(box)))
	}
	w.buf = now.append(w.buf[:0])
	return w.set(keyACL, uint64(box), w.buf)
}

// listOf returns the access list of a mailbox as the transaction has left it.
func (w *writer) listOf(box MailboxID) acl {
	if l, ok := w.lists[box]; ok {
		return l
	}
	if w.st != nil {
		if s := w.st.box(box); s != nil {
			return s.acl
		}
	}
	return nil
}

// Rights returns what the viewer may do to a mailbox, from memory: nothing to one
// that is not there, or that he may not look up (RFC 4314 §3.5).
func (a *Account) Rights(box MailboxID) Rights {
	if r := a.rightsOn(a.published.Load().box(box)); r&RightLookup != 0 {
		return r
	}
	return 0
}

// ACL returns the access list of a mailbox, without the owner, who may do all
// (RFC 4314 §3.3). Right a.
func (a *Account) ACL(ctx context.Context, box MailboxID) ([]ACLEntry, error) {
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	st := a.published.Load()
	if err := a.may(st, box, actAdminister); err != nil {
		return nil, err
	}
	return slices.Clone(st.box(box).acl), nil
}

// SetACL changes the rights in one entry of an access list; one without rights
// goes (RFC 4314 §3.1, §3.2). Right a. Invalid for the owner, whose rights are
// always all, and for a subject or rights that cannot be; Full when there are too
// many entries.
func (a *Account) SetACL(ctx context.Context, box MailboxID, s Subject, negative bool, op FlagOp, r Rights) error {
	if fewer := op == RemoveFlags || op == ReplaceFlags && r == 0; fewer != negative {
		ctx = kv.Deleting(ctx) // rights can be taken away on a full disk
	}
	_, err := a.update(ctx, nil, func(w *writer) error {
		if err := a.may(w.st, box, actAdminister); err != nil {
			return err
		}
		if (s.Account == 0) == (s.Domain == "") || len(s.Domain) > 255 || strings.IndexByte(s.Domain, 0) >= 0 || s.Account == a.id || r&^AllRights != 0 || op > ReplaceFlags {
			return postino.E(postino.Invalid, "set rights", "", nil)
		}
		was := w.st.box(box).acl
		now := was.change(s, negative, op, r)
		if slices.Equal(was, now) {
			return nil
		}
		if len(now) > w.s.limits.ACLEntries {
			return postino.E(postino.Full, "set rights", "too many entries", nil)
		}
		if _, err := w.row(box); err != nil {
			return err
		}
		w.record(&Change{Kind: ACLChanged, Mailbox: box})
		return w.setACL(box, was, now)
	})
	return err
}

// inherit gives a new mailbox the access list of its parent (RFC 4314 §4 CREATE).
func (w *writer) inherit(m, parent *boxRow) error {
	l := w.listOf(parent.id)
	if len(l) == 0 {
		return nil
	}
	w.record(&Change{Kind: ACLChanged, Mailbox: m.id})
	return w.setACL(m.id, nil, l)
}

// SharedWith returns the owners who let a viewer see something, ascending. It may
// name one who does so no more: [Store.AccountFor] tells.
func (s *Store) SharedWith(ctx context.Context, v Viewer) ([]AccountID, error) {
	var owners []AccountID
	err := s.db.View(ctx, nil, func(r kv.Reader) error {
		owners = owners[:0]
		for _, sub := range v.subjects() {
			prefix := subjectKey(nil, sub)
			for next := prefix; next != nil; {
				rng := kv.Range{Start: next, End: kv.PrefixEnd(prefix), Limit: 1}
				next = nil
				err := r.Scan(rng, func(k, _ []byte) bool {
					owners = append(owners, AccountID(keyNumber(k[:len(k)-8])))
					next = kv.PrefixEnd(slices.Clone(k[:len(k)-8])) // one look for each owner
					return false
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	slices.Sort(owners)
	owners = slices.DeleteFunc(slices.Compact(owners), func(id AccountID) bool { return id == v.Account })
	return owners, err
}

// shares tells whether the index says that an account shares something with a viewer.
func (s *Store) shares(ctx context.Context, owner AccountID, v Viewer) (found bool, err error) {
	err = s.db.View(ctx, []kv.Scope{s.Scope(owner)}, func(r kv.Reader) error {
		found = false
		for _, sub := range v.subjects() {
			rng := kv.Prefix(binary.BigEndian.AppendUint64(subjectKey(nil, sub), uint64(owner)))
			rng.Limit = 1
			if err := r.Scan(rng, func(_, _ []byte) bool { found = true; return false }); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// subjects returns the subjects that mean v.
func (v Viewer) subjects() (list []Subject) {
	if v.Account != 0 {
		list = append(list, Subject{Account: v.Account})
	}
	if v.Domain != "" {
		list = append(list, Subject{Domain: v.Domain})
	}
	return list
}

// tell returns a record as the holder of the handle may see it, nil when he may
// not.
func (a *Account) tell(c *Change) *Change {
	if a.full() {
		return c
	}
	if a.lens == nil {
		return nil
	}
	st := a.current()
	if c.Kind == MailboxRenamed {
		told := *c
		told.Boxes, told.Names = nil, nil
		for i, b := range c.Boxes {
			if a.may(st, b, actLookup) == nil {
				told.Boxes, told.Names = append(told.Boxes, b), append(told.Names, c.Names[i])
			}
		}
		if len(told.Boxes) == 0 {
			return nil
		}
		return &told
	}
	private := c.Kind >= MetadataChanged && c.Viewer != 0
	if private && c.Viewer != a.lens.Account {
		return nil
	}
	if c.Mailbox == 0 && private {
		return c // metadata of his own beside mailboxes
	}
	do := actRead
	switch c.Kind {
	case MailboxCreated, MailboxDeleted, MailboxUpdated, ACLChanged, MetadataChanged, ViewerSubscribed, ViewerUnsubscribed:
		do = actLookup
	}
	if a.may(st, c.Mailbox, do) != nil {
		return nil
	}
	return withoutSeen(c)
}

// withoutSeen returns a record without the owner's \Seen, nil when that is all.
func withoutSeen(c *Change) *Change {
	if c.Kind != Appended && c.Kind != FlagsChanged {
		return c
	}
	told := *c
	told.Added[0] &^= uint64(Seen)
	told.Removed[0] &^= uint64(Seen)
	if c.Kind == FlagsChanged && told.Added.Or(told.Removed).IsZero() {
		return nil
	}
	told.Messages = slices.Clone(c.Messages)
	for i := range told.Messages {
		told.Messages[i].Flags[0] &^= uint64(Seen)
	}
	return &told
}

// forgetGuests removes, from the index, what a removed account shared, and what
// others shared with it.
func (s *Store) forgetGuests(ctx context.Context, id AccountID) error {
	type share struct {
		owner AccountID
		box   MailboxID
	}
	var keys [][]byte
	var from []share
	err := s.db.View(ctx, nil, func(r kv.Reader) error {
		keys, from = nil, nil
		var fail error
		err := r.Scan(kv.Prefix(accountKey(nil, id, keyACL)), func(k, v []byte) bool {
			var l acl
			l, fail = decodeACL(v)
			for _, e := range l {
				if !e.Negative {
					keys = append(keys, shareKey(e.Subject, id, MailboxID(keyNumber(k))))
				}
			}
			return fail == nil
		})
		if err != nil || fail != nil {
			return err // what cannot be read is left: the index may be stale
		}
		return r.Scan(kv.Prefix(subjectKey(nil, Subject{Account: id})), func(k, _ []byte) bool {
			from = append(from, share{AccountID(keyNumber(k[:len(k)-8])), MailboxID(keyNumber(k))})
			keys = append(keys, slices.Clone(k))
			return true
		})
	})
	if err != nil {
		return err
	}
	for _, f := range from {
		if err := s.withdraw(ctx, f.owner, f.box, id); err != nil {
			return err
		}
	}
	return s.deleteKeys(ctx, id, keys)
}

// withdraw removes all that a mailbox keeps for a guest whose account is no more.
func (s *Store) withdraw(ctx context.Context, owner AccountID, box MailboxID, guest AccountID) error {
	a, err := s.Account(kv.Deleting(ctx), owner)
	if err == nil {
		defer a.Close()
		_, err = a.update(kv.Deleting(ctx), nil, func(w *writer) error {
			if _, err := w.row(box); err != nil {
				return err
			}
			was := w.st.box(box).acl
			now := slices.DeleteFunc(slices.Clone(was), func(e ACLEntry) bool { return e.Account == guest })
			w.record(&Change{Kind: ACLChanged, Mailbox: box})
			if p := w.st.guest(box, guest); p != nil {
				w.record(&Change{Kind: ViewerUnsubscribed, Mailbox: box, Viewer: guest})
				if err := w.setPrivate(&private{box: box, viewer: guest}); err != nil {
					return err
				}
			}
			if err := w.deleteNotes(append(numberKey(nil, owner, keyNote, uint64(box)), binary.BigEndian.AppendUint64(nil, uint64(guest))...)); err != nil {
				return err
			}
			return w.setACL(box, was, now)
		})
	}
	if postino.Is(err, postino.NotFound) {
		return nil
	}
	return err
}
