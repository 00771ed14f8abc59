package queue

import (
	"hash/maphash"
	"time"

	"github.com/postino-mail/postino/kv"
)

// sender is who has items in memory: an account, or a reverse-path. It is
// guarded by Queue.mu.
type sender struct {
	key     uint64
	held    int         // items that have a seat
	flying  int         // of these, under way
	waiting fifo[*site] // sites that had only items of those who have their share
}

// senderOf returns the sender of an item. The lock is held.
func (q *Queue) senderOf(it *Item) *sender {
	key := maphash.Comparable(q.seed, it.User)
	if it.User == 0 {
		key = maphash.Comparable(q.seed, it.From)
	}
	u := q.senders[key]
	if u == nil {
		u = &sender{key: key}
		q.senders[key] = u
	}
	return u
}

// forgetSender drops a sender that has nothing in memory. The lock is held.
func (q *Queue) forgetSender(u *sender) {
	if u.held == 0 {
		delete(q.senders, u.key)
	}
}

// flow is the items of one sender and class for one site, in order.
type flow struct {
	key        flowKey
	sender     *sender
	head, tail *Item
}

type flowKey struct {
	site   *site
	sender *sender
	class  uint8
}

// ranks are the flows of one class, which are served in turn.
type ranks struct{ flows fifo[*flow] }

// list puts a seated item into the lists of its site. The lock is held.
func (q *Queue) list(it *Item) {
	s := it.site
	key := flowKey{s, it.sender, it.class()}
	f := q.flows[key]
	if f == nil {
		f = &flow{key: key, sender: it.sender}
		q.flows[key] = f
		s.ranks[key.class].flows.push(f)
	}
	if it.link = nil; f.head == nil {
		f.head = it
	} else {
		f.tail.link = it
	}
	f.tail = it
	s.ready++
	s.stuck = false
	if s.health == closed { // since the item got its seat
		q.shutOut(s)
	}
	s.line.wake(s)
}

// turns says in which order the classes are asked: the first one mostly comes
// first, but each has its turn, so that none starves.
var turns = [8][3]uint8{{0, 1, 2}, {1, 0, 2}, {0, 1, 2}, {0, 1, 2}, {2, 0, 1}, {1, 0, 2}, {0, 1, 2}, {0, 1, 2}}

// next takes the next item of a site out of its lists, or returns nil when none
// may go. The lock is held.
func (q *Queue) next(s *site, share int) *Item {
	s.turn++
	for _, class := range turns[s.turn%8] {
		flows := &s.ranks[class].flows
		for n := flows.len(); n > 0; n-- {
			f, _ := flows.pop()
			f.trim()
			if f.head != nil && f.sender.flying >= share {
				flows.push(f)
				continue
			}
			it := f.head
			if it != nil {
				f.head, it.link = it.link, nil
				f.trim()
			}
			if f.head != nil {
				flows.push(f)
			} else {
				delete(q.flows, f.key)
			}
			if it != nil {
				return it
			}
		}
	}
	return nil
}

// trim drops items that an administrator took away from the head of a flow.
func (f *flow) trim() {
	for f.head != nil && f.head.where == withdrawn {
		f.head, f.head.link = f.head.link, nil
	}
}

// wake puts a site into the ring if it may send. The lock is held.
func (ln *line) wake(s *site) {
	if !s.queued && !s.stuck && s.runnable() {
		s.queued = true
		ln.ring.push(s)
		ln.spawn()
	}
}

// spawn starts a slot if there is work and one is free. The lock is held.
func (ln *line) spawn() {
	if ln.ring.len() > 0 && ln.running < ln.opts.Slots && ln.q.active && !ln.unsure {
		ln.running++
		ln.q.done.Go(ln.work)
	}
}

// take returns the next item to be tried: the sites have their turn one after
// the other. Probe tells that it finds out how its site is. The lock is held.
func (ln *line) take() (it *Item, probe bool) {
	for ln.q.active && !ln.unsure {
		s, ok := ln.ring.pop()
		if !ok {
			return nil, false
		}
		s.queued = false
		u := s.chance
		s.chance = nil
		it := (*Item)(nil)
		if s.runnable() {
			if it = ln.q.next(s, ln.share()); it == nil {
				s.block()
			}
		}
		if u != nil && (it == nil || it.sender != u) && u.flying < ln.share() {
			u.unblock(1)
		}
		if it == nil {
			continue
		}
		ln.q.unlist(s)
		s.flying++
		it.sender.flying++
		it.where = busy
		if s.health == halfOpen {
			s.probing, probe = true, true
		}
		if s.runnable() && !s.queued {
			s.queued = true
			ln.ring.push(s)
		}
		ln.spawn()
		return it, probe
	}
	return nil, false
}

// block lets a site wait until one of its senders has less than its share.
// The lock is held.
func (s *site) block() {
	s.stuck = true
	for i := range s.ranks {
		flows := &s.ranks[i].flows
		for n := flows.len(); n > 0; n-- {
			f, _ := flows.pop()
			flows.push(f)
			f.sender.waiting.push(s)
		}
	}
}

// unblock lets n of the sites go on that wait for the sender: it has less than
// its share again. Each is a chance for the sender; a site that does not use it
// passes it on. The lock is held.
func (u *sender) unblock(n int) {
	for n > 0 {
		s, ok := u.waiting.pop()
		if !ok {
			return
		}
		if s.stuck {
			s.stuck = false
			if s.line.wake(s); s.queued {
				s.chance = u
				n--
			}
		}
	}
}

// unlist notes that an item left the lists of its site. The lock is held.
func (q *Queue) unlist(s *site) {
	if s.ready--; s.ready > 0 {
		return
	}
	for i := range s.ranks { // flows of withdrawn items
		for f, ok := s.ranks[i].flows.pop(); ok; f, ok = s.ranks[i].flows.pop() {
			delete(q.flows, f.key)
		}
	}
}

// left notes that an attempt for a site ended. The lock is held.
func (ln *line) left(s *site, u *sender, probe bool) {
	s.flying--
	if probe {
		s.probing = false
	}
	u.flying--
	u.unblock(ln.share() - u.flying)
	ln.wake(s)
}

// work is a slot: it tries one item after the other until none is left.
func (ln *line) work() {
	q := ln.q
	b := &Batch{q: q, Items: make([]*Item, 1)}
	q.mu.Lock()
	for {
		it, probe := ln.take()
		if it == nil {
			ln.running--
			q.mu.Unlock()
			return
		}
		s, u := it.site, it.sender
		q.mu.Unlock()
		ok := q.attempt(ln.opts.Transport, b, it)
		q.mu.Lock()
		if b.health == 0 && b.any {
			b.health = Fine
		}
		q.learn(s, b.health, b.words, probe)
		ln.left(s, u, probe)
		first := !ok && !ln.unsure
		ln.unsure = ln.unsure || first
		q.mu.Unlock()
		q.pass(it)
		if b.Items[0] = nil; first {
			q.makeSure(ln)
		}
		q.mu.Lock()
	}
}

// makeSure waits until the store takes writes. Meanwhile the line tries nothing: the
// result could not be recorded either, and what another server took would be sent to
// it again and again (SC6).
func (q *Queue) makeSure(ln *line) {
	for {
		q.pause(time.Second)
		select {
		case <-q.stop:
			return
		default:
		}
		err := q.db.Update(kv.Deleting(q.ctx), nil, func(tx kv.Tx) error { return tx.Delete([]byte{'q', 0}) })
		if err == nil {
			break
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	ln.unsure = false
}

// Site tells what the attempt found out about the site as a whole; reason is
// in words, and exact when the other side said it. Without it a site is Fine
// from which an outcome other than Deferred came.
func (b *Batch) Site(h Health, reason string) { b.health, b.words = h, reason }
