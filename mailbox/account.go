package mailbox

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino/kv"
)

// shared is what all handles of an account have in common. Its states form one
// line: published is what readers see and never holds what a power cut could
// take back; applied may be ahead of it by updates that are being synced, so
// that the next update need not wait for them.
type shared struct {
	s    *Store
	id   AccountID
	refs int   // handles; guarded by Store.mu
	size int64 // octets of memory when it became idle; guarded by Store.mu

	published atomic.Pointer[state]

	mu        sync.Mutex // guards what follows, and changes of published
	applied   *state
	listeners []*listener
	lenses    map[Viewer]*lens // of the guests who have handles
}

// listener is one call of Notify.
type listener struct {
	box  MailboxID // 0 for the whole account
	lens *lens     // of a guest
	fn   func()
}

// Account is a handle on an account; it is cheap, all handles share one state.
type Account struct {
	*shared
	role role
	lens *lens // of a guest
	once sync.Once
}

// Account opens an account with all rights, for the program itself; sessions of
// users take [Store.AccountFor]. NotFound when there is none. The caller closes it.
func (s *Store) Account(ctx context.Context, id AccountID) (*Account, error) {
	s.mu.Lock()
	sh := s.accounts[id]
	if sh == nil {
		sh = &shared{s: s, id: id}
		s.accounts[id] = sh
	}
	if sh.refs++; sh.refs == 1 {
		s.unidle(sh)
	}
	s.mu.Unlock()
	a := &Account{shared: sh, role: asSystem}
	if err := sh.refresh(ctx); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close gives the handle back. Views and notices of it must have ended.
func (a *Account) Close() {
	a.once.Do(func() {
		if a.lens != nil {
			a.unlens(a.lens)
		}
		a.s.release(a.shared)
	})
}

// release counts a handle down and keeps the state of an unused account in
// memory as long as there is room.
func (s *Store) release(sh *shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh.refs--; sh.refs > 0 {
		return
	}
	if sh.published.Load() == nil {
		delete(s.accounts, sh.id)
		return
	}
	s.idle = append(s.idle, sh)
	sh.size = sh.published.Load().size()
	s.idleSize += sh.size
	for s.idleSize > s.opts.Resident && len(s.idle) > 0 {
		s.forget(s.idle[0])
	}
}

// unidle takes an account off the list of those that nobody uses.
func (s *Store) unidle(sh *shared) {
	if i := slices.Index(s.idle, sh); i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
		s.idleSize -= sh.size
	}
}

// forget drops the state of an account that nobody uses.
func (s *Store) forget(sh *shared) {
	s.unidle(sh)
	delete(s.accounts, sh.id)
}

// size estimates the octets that a state takes.
func (st *state) size() int64 {
	n := int64(1024)
	for _, p := range st.private {
		n += 96 + int64(len(p.marks))*24
	}
	for _, s := range st.boxes {
		n += 256
		if s.table != nil {
			n += int64(s.table.len())*rowSize + int64(len(s.table.chunks))*512
		}
	}
	return n
}

// rowSize is what a message takes in columns.
const rowSize = 4 + 6*8 + 4

// refresh reads what changed and publishes it, with the columns of the needed
// mailboxes in memory. One read of the account's row when nothing changed.
func (a *shared) refresh(ctx context.Context, need ...MailboxID) error {
	for {
		var notify []func()
		err := a.s.view(ctx, a.id, func(r kv.Reader) error {
			fns, err := a.catchUp(r, need...)
			notify = append(notify, fns...)
			return err
		})
		call(notify)
		// Others may have published a newer state since the view began, which
		// serves as well if it has the columns.
		if !errors.Is(err, errBehind) {
			return err
		}
		if a.published.Load().has(need) {
			return nil
		}
	}
}

// has tells whether the columns of the mailboxes are in memory.
func (st *state) has(boxes []MailboxID) bool {
	for _, id := range boxes {
		if s := st.box(id); s == nil || s.table == nil {
			return false
		}
	}
	return true
}

// catchUp publishes what r shows and returns whom to tell.
func (a *shared) catchUp(r kv.Reader, need ...MailboxID) (notify []func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.published.Load()
	st, err := advance(r, a.id, old, need...)
	if err == nil && st != old {
		notify = a.publish(st)
	}
	return notify, err
}

// publish shows st to readers and returns whom to tell. It is called with mu
// held and with a state that descends from the published one.
func (a *shared) publish(st *state) (notify []func()) {
	old := a.published.Load()
	a.published.Store(st)
	if a.applied == nil || a.applied.head.modseq <= st.head.modseq {
		a.applied = st
	}
	if old == nil || old.head.modseq == st.head.modseq {
		return nil
	}
	for _, l := range a.listeners {
		if l.concerns(old, st) {
			notify = append(notify, l.fn)
		}
	}
	return notify
}

// concerns tells whether a listener sees a difference between two states.
func (l *listener) concerns(old, st *state) bool {
	if l.box == 0 {
		return true
	}
	if old.box(l.box) != st.box(l.box) {
		return true
	}
	return l.lens != nil && old.guest(l.box, l.lens.Account) != st.guest(l.box, l.lens.Account)
}

func call(fns []func()) {
	for _, fn := range fns {
		fn()
	}
}

// update runs fn in one transaction on the account and publishes what it made.
// The columns of the needed mailboxes are in w.st, as far as the holder of the
// handle may read them: one that is hidden from him costs no more than one that
// does not exist. The state it returns is the one right after the transaction.
func (a *Account) update(ctx context.Context, need []MailboxID, fn func(w *writer) error) (*state, error) {
	var w *writer
	var next *state
	err := a.s.db.Update(ctx, []kv.Scope{a.s.Scope(a.id)}, func(tx kv.Tx) (err error) {
		if w, err = a.writer(tx); err != nil {
			return err
		}
		for _, box := range need {
			if a.may(w.st, box, actRead) != nil {
				continue // fn will say so
			}
			if w.st, err = load(tx, a.id, w.st, box); err != nil {
				return err
			}
		}
		if err = fn(w); err != nil {
			return err
		}
		if err = w.flush(); err != nil {
			return err
		}
		next = w.next()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return next, a.committed(ctx, w, next)
}

// writer begins a change of the account in tx.
func (a *shared) writer(tx kv.Tx) (*writer, error) {
	st, err := advance(tx, a.id, a.newest())
	if err != nil {
		return nil, err
	}
	w := newWriter(a.s, tx, a.id, st.head, time.Now())
	w.st = st
	return w, nil
}

// committed publishes next, which w made.
func (a *shared) committed(ctx context.Context, w *writer, next *state) error {
	if len(w.changes) == 0 {
		// What was seen may not be durable yet: a view waits for it.
		return a.refresh(ctx)
	}
	a.mu.Lock()
	old := a.published.Load()
	switch {
	case next.head.modseq < old.head.modseq:
		a.mu.Unlock()
	case !next.covers(old):
		// A mailbox was opened since fn began and next lacks its columns.
		a.mu.Unlock()
		return a.refresh(ctx)
	default:
		notify := a.publish(next)
		a.mu.Unlock()
		call(notify)
	}
	return nil
}

// newest returns the state to begin an update from.
func (a *shared) newest() *state {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied
}

// covers tells whether st has the columns of all mailboxes that old has them of.
func (st *state) covers(old *state) bool {
	for _, s := range old.boxes {
		if s.table == nil {
			continue
		}
		if t := st.box(s.row.id); t != nil && t.table == nil {
			return false
		}
	}
	return true
}

// ID returns the account's number.
func (a *Account) ID() AccountID { return a.id }

// ModSeq returns the position in the log up to which changes are visible.
func (a *Account) ModSeq() ModSeq { return a.published.Load().head.modseq }

// Floor returns the position up to which the log was trimmed: changes up to it
// are no longer known one by one.
func (a *Account) Floor() ModSeq { return a.published.Load().head.floor }

// Usage returns the account's quota and what is used of it; nothing of either to
// a guest.
func (a *Account) Usage() Usage {
	if !a.full() {
		return Usage{}
	}
	return a.published.Load().head.usage()
}

// Sync makes visible all that was durable before the call.
func (a *Account) Sync(ctx context.Context) error { return a.refresh(ctx) }

// Notify calls fn after any change of the account became visible, until stop.
// fn must not block and must not call into this package; sending on a channel
// of size one without waiting is the usual thing. Notices are merged.
func (a *Account) Notify(fn func()) (stop func()) { return a.notify(0, fn) }

func (a *Account) notify(box MailboxID, fn func()) (stop func()) {
	l := &listener{box, a.lens, fn}
	a.mu.Lock()
	a.listeners = append(a.listeners, l)
	a.mu.Unlock()
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if i := slices.Index(a.listeners, l); i >= 0 {
			a.listeners = slices.Delete(a.listeners, i, i+1)
		}
	}
}

// Changes calls fn for the records of the log after since, in order, until it
// returns false. Conflict when the log was trimmed beyond since. A guest gets
// only what he may see, as he sees it. fn runs outside of any transaction.
func (a *Account) Changes(ctx context.Context, since ModSeq, fn func(*Change) bool) error {
	const page = 1000
	for {
		var list []*Change
		var newest ModSeq
		err := a.s.view(ctx, a.id, func(r kv.Reader) error {
			list = list[:0]
			h, err := readHead(r, a.id)
			if err != nil {
				return err
			}
			if since < h.floor {
				return errTrimmed(a.id)
			}
			newest = h.modseq
			return scanLog(r, a.id, since, min(newest, since+page), func(c *Change, _ int) error {
				list = append(list, c)
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, c := range list {
			since = c.ModSeq
			if c = a.tell(c); c != nil && !fn(c) {
				return nil
			}
		}
		if since >= newest {
			return nil
		}
	}
}
