package queue

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// spot is a place in the order in which the parked items of a site are taken.
type spot struct {
	class uint8
	id    postino.ID
}

func (a spot) before(b spot) bool { return a.class < b.class || a.class == b.class && a.id < b.id }

const (
	// parkBatch is how many items one commit parks.
	parkBatch = 512
	// mostFed is how many items a site gets at once from those that are parked.
	mostFed = 1024
	// feedSites is how many sites one round feeds.
	feedSites = 64
)

// mostSites bounds the sites in memory: each that has an item, and the idle ones.
func (q *Queue) mostSites() int { return q.opts.Limits.Ready + q.opts.Limits.Sites }

// noteParked notes that an item is parked at a spot. The lock is held.
func (q *Queue) noteParked(ln *line, dest string, at spot) {
	if q.sites[siteKey{ln.name, dest}] == nil && len(q.sites) >= q.mostSites() {
		q.sweep.due = true // the walk finds it when there is room
		return
	}
	s := q.siteOf(ln, dest)
	if !s.parked || at.before(s.from) {
		s.parked, s.from = true, at
	}
	q.look(s)
}

// appetite returns how many parked items a site should get now. The lock is held.
func (q *Queue) appetite(s *site) int {
	if !s.parked {
		return 0
	}
	free := q.opts.Limits.Ready - q.siteRoom.items
	want := max(4, min(mostFed, free/8))
	switch s.health {
	case closed:
		return 0
	case halfOpen:
		want = 1
	}
	if s.ready > want/4 {
		return 0
	}
	return min(want-s.ready, max(0, s.most(free)-s.held))
}

// feed brings parked items to memory for the sites that are hungry.
func (q *Queue) feed(ctx context.Context, _ time.Time) (more bool, err error) {
	for range feedSites {
		q.mu.Lock()
		if q.hungry.len() == 0 || q.siteRoom.items >= q.opts.Limits.Ready || q.siteRoom.bytes >= q.opts.Limits.ReadyBytes {
			q.mu.Unlock()
			return false, nil
		}
		s, _ := q.hungry.pop()
		s.hungry = false
		want, from := q.appetite(s), s.from
		if want == 0 {
			q.look(s)
			q.mu.Unlock()
			continue
		}
		s.parked = false // what is parked during the scan sets it again
		s.hungry = true  // and does not ask for another one
		q.left = map[postino.ID]bool{}
		q.mu.Unlock()
		fed, err := q.feedSite(ctx, s, from, want)
		q.mu.Lock()
		s.hungry = false
		if fed == 0 && s.parked && s.health != closed {
			s.starved = true
			q.starved.push(s)
		}
		q.look(s)
		q.mu.Unlock()
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// feedSite brings as many items of one site to memory as it wants.
func (q *Queue) feedSite(ctx context.Context, s *site, from spot, want int) (fed int, err error) {
	var found []*Item
	var next spot
	end := kv.PrefixEnd(parkKey(nil, s.hash, 0, 0)[:10])
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		found, next = found[:0], spot{}
		var getErr error
		err := tx.Scan(kv.Range{Start: parkKey(nil, s.hash, from.class, from.id), End: end}, func(key, _ []byte) bool {
			at := spot{key[10], postino.ID(binary.BigEndian.Uint64(key[11:]))}
			if len(found) == want {
				next = at
				return false
			}
			if q.isClaimed(at.id) {
				return true
			}
			var kb [10]byte
			var value []byte
			if value, _, getErr = tx.Get(itemKey(kb[:0], StateParked, at.id)); value != nil {
				found, _ = q.decode(found, 0, at.id, value)
			}
			return getErr == nil
		})
		if getErr != nil {
			return getErr
		}
		return err
	})
	fed, adoptErr := q.adopt(ctx, found)
	if err == nil {
		err = adoptErr
	}
	if err != nil {
		next = from
	}
	if next != (spot{}) {
		q.mu.Lock()
		q.noteParked(s.line, s.dest, next)
		q.mu.Unlock()
	}
	return fed, err
}

// relieve lets some of the sites try again whose parked items found no room: it
// is called now and then when seats were given back. The lock is held.
func (q *Queue) relieve() {
	q.unseats = 0
	for range feedSites {
		s, ok := q.starved.pop()
		if !ok {
			return
		}
		s.starved = false
		q.look(s)
	}
}

// sweep is a walk over the sites that have parked items, which makes those
// known that memory does not hold: all of them after a start.
type sweep struct {
	due bool
	at  uint64 // the hash from which on it goes
}

// walkSites is how many sites one step of the walk looks at.
const walkSites = 256

// walk makes the next sites known that have parked items.
func (q *Queue) walk(ctx context.Context, _ time.Time) (more bool, err error) {
	q.mu.Lock()
	at := q.sweep.at
	if !q.sweep.due || len(q.sites) >= q.mostSites() {
		q.mu.Unlock()
		return false, nil
	}
	if at == 0 {
		q.sweep.due = false // what is forgotten from here on sets it again
	}
	q.mu.Unlock()

	var found []*Item
	var next uint64
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		found, next = found[:0], at
		for range walkSites {
			var first []byte
			err := tx.Scan(kv.Range{Start: parkKey(nil, next, 0, 0), End: []byte("qc"), Limit: 1}, func(key, _ []byte) bool {
				first = append([]byte(nil), key...)
				return true
			})
			if err != nil {
				return err
			}
			if first == nil {
				next = 0
				return nil
			}
			hash, id := binary.BigEndian.Uint64(first[2:]), postino.ID(binary.BigEndian.Uint64(first[11:]))
			var kb [10]byte
			value, ok, err := tx.Get(itemKey(kb[:0], StateParked, id))
			if err != nil {
				return err
			}
			if ok {
				found, _ = q.decode(found, 0, id, value)
			}
			if next = hash + 1; hash == math.MaxUint64 {
				next = 0
				return nil
			}
		}
		return nil
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		q.sweep.due = true
		return false, err
	}
	for _, it := range found {
		if ln := q.lines[it.Transport]; ln != nil && ln.opts.Sites {
			q.noteParked(ln, it.Dest, spot{it.class(), it.ID})
		}
	}
	if q.sweep.at = next; next != 0 {
		q.sweep.due = true
	}
	return q.sweep.due && len(q.sites) < q.mostSites(), nil
}

// parkClosed parks items that a closed site has in memory.
func (q *Queue) parkClosed(ctx context.Context, _ time.Time) (more bool, err error) {
	var items []*Item
	q.mu.Lock()
	for q.closing.len() > 0 && len(items) < parkBatch {
		s := q.closing.front()
		it := (*Item)(nil)
		if s.health == closed && s.ready > 0 {
			it = q.next(s, math.MaxInt)
		}
		if it == nil {
			q.closing.pop()
			s.shut = false
			s.line.wake(s)
			continue
		}
		q.unlist(s)
		it.where = busy
		q.unseat(it)
		items = append(items, it)
	}
	more = q.closing.len() > 0
	q.mu.Unlock()
	return more, q.park(ctx, items)
}

// park moves claimed items to those that are parked for their site, in commits
// of many.
func (q *Queue) park(ctx context.Context, items []*Item) (err error) {
	for len(items) > 0 && err == nil {
		n := min(len(items), parkBatch)
		err = q.parkSome(ctx, items[:n])
		if postino.Is(err, postino.Conflict) && n > 1 { // one of them is gone: one by one
			err = nil
			for i := range n {
				if oneErr := q.parkSome(ctx, items[i:i+1]); oneErr != nil && !postino.Is(oneErr, postino.Conflict) {
					err = oneErr
				}
			}
		}
		for _, it := range items[:n] {
			q.pass(it)
		}
		items = items[n:]
	}
	for _, it := range items {
		q.pass(it)
	}
	if postino.Is(err, postino.Conflict) {
		return nil
	}
	return err
}

// parkSome parks items that are in the store as they are in memory.
func (q *Queue) parkSome(ctx context.Context, items []*Item) error {
	b := &Batch{Items: items, q: q}
	for _, it := range items {
		it.ended = false
	}
	return b.Update(ctx, nil, func(tx kv.Tx) error {
		for _, it := range items {
			n := it.stage().next
			n.State, n.Due = StateParked, q.lateAt(it)
			q.mu.Lock()
			n.Reason = q.closedWords(it)
			q.mu.Unlock()
			if err := q.replace(tx, it, n); err != nil {
				return err
			}
			if n.Reason == "" || it.Reason != "" && it.State == StateParked {
				continue
			}
			if err := q.stories.Append(tx, q.stories.Event(it.Message, story.Queued, b.now).Text(story.Reason, n.Reason)); err != nil {
				return err
			}
		}
		return nil
	})
}
