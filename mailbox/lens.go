package mailbox

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// lens shows the states of an account to one guest: the mailboxes that he may
// look up, with his own \Seen. All his handles share it. What did not change
// from one state to the next is the same in what it shows, so that snapshots
// compare as cheaply as the owner's.
type lens struct {
	Viewer
	grace time.Duration
	refs  int // handles; guarded by shared.mu

	mu    sync.Mutex
	base  *state // what shown was made of
	shown *state
	reach map[MailboxID]*reach
}

// reach is which emails a guest may read by number because they are, or a short
// while ago were, in a mailbox that he may read.
type reach struct {
	table  *table // those of it are in emails
	emails bitset
	until  time.Time // when it is made anew
}

// AccountFor opens an account for a viewer. The owner may do everything to his
// mailboxes; for others it is NotFound, as for an account that does not exist,
// unless a mailbox lets them look it up. All methods of the handle check the
// viewer's rights at every call, so a change of them holds at once (AU8). The
// caller closes it.
func (s *Store) AccountFor(ctx context.Context, owner AccountID, v Viewer) (*Account, error) {
	if v.Account == 0 {
		return nil, noAccount(owner)
	}
	if v.Account != owner {
		// An account that shares nothing with him costs no more than none.
		if shares, err := s.shares(ctx, owner, v); !shares || err != nil {
			return nil, cmp.Or(err, noAccount(owner))
		}
	}
	a, err := s.Account(ctx, owner)
	if err != nil {
		return nil, err
	}
	if v.Account == owner {
		a.role = asOwner
		return a, nil
	}
	a.role, a.lens = asGuest, a.lensFor(v)
	if len(a.current().boxes) == 0 {
		a.Close()
		return nil, noAccount(owner)
	}
	return a, nil
}

// lensFor returns the viewer's lens.
func (a *shared) lensFor(v Viewer) *lens {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lenses[v]
	if l == nil {
		l = &lens{Viewer: v, grace: a.s.opts.Grace, reach: map[MailboxID]*reach{}}
		if a.lenses == nil {
			a.lenses = map[Viewer]*lens{}
		}
		a.lenses[v] = l
	}
	l.refs++
	return l
}

// unlens gives a lens back.
func (a *shared) unlens(l *lens) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.refs--; l.refs == 0 {
		delete(a.lenses, l.Viewer)
	}
}

// current returns the published state as the holder of the handle sees it.
func (a *Account) current() *state {
	st := a.published.Load()
	if a.lens == nil {
		return a.seen(st)
	}
	a.lens.mu.Lock()
	defer a.lens.mu.Unlock()
	if st != a.lens.base {
		a.lens.shown, a.lens.base = a.lens.show(st), st
	}
	return a.lens.shown
}

// seen returns a state, which need not be published, as the holder sees it.
func (a *Account) seen(st *state) *state {
	if a.full() {
		return st
	}
	if a.lens == nil {
		return &state{head: st.head}
	}
	a.lens.mu.Lock()
	defer a.lens.mu.Unlock()
	if st == a.lens.base {
		return a.lens.shown
	}
	return a.lens.show(st)
}

// show makes the state that the guest sees. mu is held.
func (l *lens) show(st *state) *state {
	next := &state{head: st.head}
	for _, s := range st.boxes {
		has := s.acl.rights(l.Viewer)
		if has&RightLookup == 0 {
			continue
		}
		p := st.guest(s.row.id, l.Account)
		if p != nil && p.subscribed {
			next.subs = append(next.subs, s.row.name)
		}
		next.boxes = append(next.boxes, l.box(s, p, has&RightRead != 0))
	}
	slices.Sort(next.subs)
	return next
}

// box shows a mailbox; to who may not read it only that it is there.
func (l *lens) box(s *Snapshot, p *private, readable bool) *Snapshot {
	var old *Snapshot
	if l.shown != nil {
		old = l.shown.box(s.row.id)
	}
	if old != nil && old.of == s && old.private == p {
		return old // the same list of access, thus as readable
	}
	row := *s.row
	row.use = UseNone // the owner's uses are not the guest's
	next := &Snapshot{row: &row, modseq: s.modseq, acl: s.acl, of: s, private: p, lens: l}
	if !readable {
		row.status, row.keywords = Status{}, nil
		return next
	}
	row.status.Unseen = row.status.Messages
	if p != nil {
		row.status.Unseen -= p.seen
		row.status.HighestModSeq = max(row.status.HighestModSeq, p.highest)
		next.modseq = max(s.modseq, p.highest)
	}
	if s.table != nil {
		next.table = showTable(old, s, p)
	}
	return next
}

// showTable makes the columns that a guest sees, with the chunks of what he saw
// before as far as they are as they were.
func showTable(old, s *Snapshot, p *private) *table {
	t := &table{chunks: make([]*chunk, len(s.table.chunks)), starts: s.table.starts}
	var before []*chunk
	if old != nil && old.table != nil {
		before = old.of.table.chunks
	}
	j := 0
	for k, c := range s.table.chunks {
		for j < len(before) && before[j].base < c.base {
			j++
		}
		if j < len(before) && before[j] == c && p.same(old.private, c.base) {
			t.chunks[k] = old.table.chunks[j]
		} else {
			t.chunks[k] = p.show(c)
		}
	}
	return t
}

// readable returns which of the emails a guest may read: those in a mailbox that
// he may read now and that is open. Numbers that he guesses lead to nothing.
func (l *lens) readable(st *state, ids []EmailID) []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]bool, len(ids))
	now := time.Now()
	for box := range l.reach {
		if st.box(box) == nil || st.box(box).table == nil {
			delete(l.reach, box)
		}
	}
	for _, s := range st.boxes {
		if s.table == nil {
			continue
		}
		r := l.reach[s.row.id]
		if r == nil || now.After(r.until) {
			r = &reach{until: now.Add(l.grace), table: &table{starts: []int{0}}}
			l.reach[s.row.id] = r
		}
		r.add(s.table)
		for i, id := range ids {
			out[i] = out[i] || r.emails.has(uint64(id))
		}
	}
	return out
}

// add takes in the emails of t. What left the mailbox stays until the next time
// that r is made anew, for sessions that have not heard of it.
func (r *reach) add(t *table) {
	if r.table == t {
		return
	}
	j := 0
	old := r.table.chunks
	for _, c := range t.chunks {
		for j < len(old) && cmp.Compare(old[j].base, c.base) < 0 {
			j++
		}
		if j < len(old) && old[j] == c || c.len() == 0 {
			continue
		}
		r.emails = r.emails.grow(uint64(slices.Max(c.emails)))
		for _, e := range c.emails {
			r.emails.add(uint64(e))
		}
	}
	r.table = t
}

// grow returns b with room for n.
func (b bitset) grow(n uint64) bitset {
	if need := int(n>>6) + 1; need > len(b) {
		b = append(b, make(bitset, need-len(b))...)
	}
	return b
}
