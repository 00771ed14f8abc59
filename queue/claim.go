package queue

import (
	"errors"
	"hash/maphash"
	"time"

	"github.com/postino-mail/postino"
)

// claim notes that an item is in memory, if nobody did; seated tells whether
// it counts in the room of its line. The lock is held.
func (q *Queue) claim(it *Item, seated bool) bool {
	if _, ok := q.claimed[it.ID]; ok {
		return false
	}
	q.claimed[it.ID] = it
	it.where, it.seated, it.wish = busy, seated, nil
	if !seated {
		return true
	}
	r := &q.laneRoom
	if s := it.site; s != nil {
		r = &q.siteRoom
		s.held++
		it.sender.held++
		q.awake(s)
	}
	r.items++
	r.bytes += it.weight
	return true
}

// seat claims an item if its line has room for it. For sites the room that is
// free bounds what one of them and one sender may have: alone each gets half of
// it at most, and n of them leave 1/(n+1) free, so that none shuts others out
// (QU8). A newcomer does not overtake those who are parked, unless their senders
// have their share already. The lock is held.
func (q *Queue) seat(it *Item, newcomer bool) bool {
	ln := q.lines[it.Transport]
	if ln == nil {
		return false
	}
	l := &q.opts.Limits
	if !ln.opts.Sites {
		if q.laneRoom.items >= l.Ready || q.laneRoom.bytes+it.weigh() > l.ReadyBytes {
			return false
		}
		return q.claim(it, true)
	}
	free := l.Ready - q.siteRoom.items
	s := q.siteOf(ln, it.Dest)
	u := q.senderOf(it)
	if s.health == closed || newcomer && s.parked && !s.starved || s.held >= s.most(free) || u.held >= free || q.siteRoom.bytes+it.weigh() > l.ReadyBytes {
		q.forgetSender(u)
		q.look(s)
		return false
	}
	it.site, it.sender = s, u
	if !q.claim(it, true) {
		it.site, it.sender = nil, nil
		q.forgetSender(u)
		q.look(s)
		return false
	}
	return true
}

// most is how many items a site may have in memory.
func (s *site) most(free int) int {
	if s.health == halfOpen {
		return min(free, 2)
	}
	return free
}

// unseat gives the room of an item back; it stays claimed. The lock is held.
func (q *Queue) unseat(it *Item) {
	if !it.seated {
		return
	}
	it.seated = false
	r := &q.laneRoom
	s, u := it.site, it.sender
	if s != nil {
		r = &q.siteRoom
	}
	r.items--
	r.bytes -= it.weight
	if s != nil {
		it.site, it.sender = nil, nil
		s.held--
		u.held--
		q.forgetSender(u)
		q.look(s)
		if q.unseats++; q.unseats >= q.opts.Limits.Ready/64 || q.siteRoom.items == 0 {
			q.relieve()
		}
	}
}

// seatNew claims items before their commit, so that no scan takes them too.
// With park, those that find no room at their site are to be parked.
func (q *Queue) seatNew(items []*Item, park bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		if it.State != StateNew || q.seat(it, true) || !park || !q.lines[it.Transport].opts.Sites {
			continue
		}
		it.State, it.Reason, it.Due = StateParked, q.closedWords(it), q.lateAt(it)
	}
}

// handNew hands over items after their commit.
func (q *Queue) handNew(items []*Item) {
	q.mu.Lock()
	for _, it := range items {
		switch {
		case q.claimed[it.ID] == it:
			q.hand(it)
		case it.State == StateNew:
			q.noteMissed(it.ID)
		default:
			q.noteStored(it)
		}
	}
	q.pokeIfRoomy()
	q.mu.Unlock()
}

// noteStored makes scans find a Waiting or Parked item that leaves memory. The
// lock is held.
func (q *Queue) noteStored(it *Item) {
	switch it.State {
	case StateNew:
		q.noteMissed(it.ID)
	case StateWaiting:
		if q.nextDue.After(it.Due) {
			q.nextDue = it.Due
			q.poke()
		}
	case StateParked:
		if q.nextLate.After(it.Due) {
			q.nextLate = it.Due
			q.poke()
		}
		if ln := q.lines[it.Transport]; ln != nil {
			q.noteParked(ln, it.Dest, spot{it.class(), it.ID})
		}
	}
}

// noteMissed notes that the New item id is only in the store. The lock is held.
func (q *Queue) noteMissed(id postino.ID) {
	if q.missed == 0 || id < q.missed {
		q.missed = id
	}
}

// roomy tells whether the keeper has something to do for which there is room
// again. The lock is held.
func (q *Queue) roomy() bool {
	l := &q.opts.Limits
	return q.hungry.len() > 0 && q.siteRoom.items < l.Ready ||
		(q.missed != 0 || !q.nextDue.After(time.Now())) && q.laneRoom.items <= l.Ready/2
}

// pokeIfRoomy wakes the keeper if there is something for it. The lock is held.
func (q *Queue) pokeIfRoomy() {
	if q.roomy() {
		q.poke()
	}
}

// unclaim forgets items. What they carry may be collected.
func (q *Queue) unclaim(items ...*Item) {
	q.mu.Lock()
	for _, it := range items {
		q.release(it)
	}
	q.pokeIfRoomy()
	q.mu.Unlock()
}

// release is unclaim under the lock.
func (q *Queue) release(it *Item) {
	if q.claimed[it.ID] != it {
		return
	}
	delete(q.claimed, it.ID)
	q.unseat(it)
	it.Carry = nil
	if q.left != nil {
		q.left[it.ID] = true
	}
}

// withdraw takes an item out of the list that it is in. The lock is held.
func (q *Queue) withdraw(it *Item) {
	it.where = withdrawn
	if s := it.site; s != nil {
		q.unlist(s)
	}
	q.release(it)
}

// hand gives a seated item to its lane or site. The lock is held.
func (q *Queue) hand(it *Item) {
	it.where = listed
	if it.site != nil {
		q.list(it)
		return
	}
	lanes := q.lines[it.Transport].lanes
	lanes[q.laneOf(it)%uint64(len(lanes))].push(it)
}

// laneOf spreads items by the first mailbox they go to.
func (q *Queue) laneOf(it *Item) uint64 {
	r := &it.Rcpts[0]
	if r.Account != 0 {
		return maphash.Comparable(q.seed, r.Account)
	}
	return maphash.String(q.seed, r.Address.Domain)
}

// pass says goodbye to an item on which work ended: the clerks get it when a
// report is due, else it leaves memory.
func (q *Queue) pass(it *Item) {
	now := time.Now()
	q.mu.Lock()
	for it.wish != nil {
		why := *it.wish
		it.wish = nil
		q.mu.Unlock()
		if err := q.holdNow(it, why); err != nil && !errors.Is(err, errGone) {
			q.observe.stuck(it, err)
		}
		q.mu.Lock()
	}
	if d, _ := q.duty(it, now); it.State == StateWaiting && d == dutyReport && q.desk.len() < maxDesk && q.claimed[it.ID] == it {
		q.unseat(it)
		q.report(it)
	} else {
		q.release(it)
		q.noteStored(it)
	}
	q.pokeIfRoomy()
	q.mu.Unlock()
}
