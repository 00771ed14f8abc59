package queue

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Schedule says when deferred recipients are tried again. A zero field means
// its default.
type Schedule struct {
	First time.Duration // pause after the first attempt, doubling: 5 minutes
	Max   time.Duration // longest pause: 4 hours
	Life  time.Duration // from acceptance to failure: 5 days
}

// jitter is the part of a pause by which it may be shorter or longer (QU7).
const jitter = 0.1

func (s *Schedule) setDefaults() {
	for _, d := range [...]struct {
		v   *time.Duration
		def time.Duration
	}{
		{&s.First, 5 * time.Minute}, {&s.Max, 4 * time.Hour}, {&s.Life, 5 * 24 * time.Hour}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
}

// next returns when an item is due after so many attempts.
func (s *Schedule) next(attempts int, now time.Time) time.Time {
	pause := s.Max
	if n := attempts - 1; n < 20 {
		pause = min(s.Max, s.First<<n)
	}
	spread := 1 + jitter*(2*rand.Float64()-1)
	// Stored times are in milliseconds: a due time must read back as it was.
	return now.Add(time.Duration(float64(pause) * spread)).Truncate(time.Millisecond)
}

// least is the pause that the monotonic clock enforces between two attempts,
// whatever the wall clock does.
func (s *Schedule) least() time.Duration { return time.Duration(float64(s.First) * (1 - jitter)) }

const (
	// look is how long the clock sleeps at most, so that it notices when the
	// wall clock was set forward.
	look = time.Minute
	// scan is how many items one scan brings to memory at most.
	scan = 1024
	// maxAttempts bounds the memory of recent attempts.
	maxAttempts = 65_536
)

// clock brings items from the store to the lanes: New ones that found no room
// in memory, Waiting ones that are due.
func (q *Queue) clock() {
	for {
		sleep := look
		more, err := q.fillNew(q.ctx)
		if err == nil {
			var moreDue bool
			moreDue, err = q.fillDue(q.ctx, time.Now())
			more = more || moreDue
		}
		switch {
		case err != nil:
			q.observe.scanFailed(err)
			sleep = time.Second
		case more:
			sleep = 0
		default:
			q.mu.Lock()
			sleep = min(sleep, time.Until(q.nextDue))
			if q.room() == 0 { // whoever leaves wakes us
				sleep = look
			}
			q.mu.Unlock()
		}
		t := time.NewTimer(max(0, sleep))
		select {
		case <-q.stop:
			t.Stop()
			return
		case <-q.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// room returns how many items a scan may bring to memory; it waits for half
// of the room to be free, so that scans are worth their while. The lock is held.
func (q *Queue) room() int {
	if len(q.claimed) > q.opts.Limits.Ready/2 || q.bytes > q.opts.Limits.ReadyBytes/2 {
		return 0
	}
	return min(scan, q.opts.Limits.Ready-len(q.claimed))
}

// fillNew brings New items to memory. More tells that a further call is due.
func (q *Queue) fillNew(ctx context.Context) (more bool, err error) {
	q.mu.Lock()
	from, room := q.missed, q.room()
	if from == 0 || room == 0 {
		q.mu.Unlock()
		return false, nil
	}
	q.missed = 0
	q.left = map[postino.ID]struct{}{}
	q.mu.Unlock()

	r := kv.Range{Start: itemKey(nil, StateNew, from), End: kv.PrefixEnd([]byte("qn"))}
	var found []*Item
	weight := 0
	next := postino.ID(0) // where the next scan goes on; 0: this one saw all
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		found, weight, next = found[:0], 0, 0
		return tx.Scan(r, func(key, value []byte) bool {
			id := postino.ID(binary.BigEndian.Uint64(key[2:]))
			if len(found) == room || weight > q.opts.Limits.ReadyBytes/2 {
				next = id
				return false
			}
			if !q.isClaimed(id) {
				found, weight = q.decode(found, weight, id, value)
			}
			return true
		})
	})
	q.adopt(found)
	q.mu.Lock()
	if err != nil {
		next = from
	}
	if next != 0 {
		q.noteMissed(next)
	}
	more = err == nil && q.missed != 0 && q.room() > 0
	q.mu.Unlock()
	return more, err
}

// fillDue brings Waiting items to memory that are due.
func (q *Queue) fillDue(ctx context.Context, now time.Time) (more bool, err error) {
	q.mu.Lock()
	room := q.room()
	if room == 0 || now.Before(q.nextDue) && now.After(q.nextDue.Add(-q.opts.Retry.Max*2)) {
		q.mu.Unlock()
		return false, nil
	}
	q.nextDue = now.Add(q.opts.Retry.Max) // what is deferred during the scan brings it forward
	q.left = map[postino.ID]struct{}{}
	early := q.tooEarly()
	q.mu.Unlock()

	var found []*Item
	weight := 0
	next := time.Time{} // when the next scan is worth while; zero: nothing waits
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		found, weight, next = found[:0], 0, time.Time{}
		var readErr error
		err := tx.Scan(kv.Prefix([]byte("qd")), func(key, _ []byte) bool {
			due := time.UnixMilli(int64(binary.BigEndian.Uint64(key[2:])))
			id := postino.ID(binary.BigEndian.Uint64(key[10:]))
			if due.After(now) || len(found) == room || weight > q.opts.Limits.ReadyBytes/2 {
				next = earlier(next, due)
				return false
			}
			if until, ok := early[id]; ok {
				next = earlier(next, until)
				return true
			}
			if q.isClaimed(id) {
				return true
			}
			var kb [10]byte
			value, ok, err := tx.Get(itemKey(kb[:0], StateWaiting, id))
			if err != nil {
				readErr = err
				return false
			}
			if ok {
				found, weight = q.decode(found, weight, id, value)
			}
			return true
		})
		if readErr != nil {
			return readErr
		}
		return err
	})
	q.adopt(found)
	q.mu.Lock()
	if err != nil {
		next = now
	}
	if !next.IsZero() {
		q.nextDue = earlier(q.nextDue, next)
	}
	more = err == nil && !q.nextDue.After(now) && q.room() > 0
	q.mu.Unlock()
	return more, err
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// tooEarly returns the items whose last attempt ended less than the least pause
// ago by the monotonic clock, and when that pause ends. The lock is held.
func (q *Queue) tooEarly() map[postino.ID]time.Time {
	early := map[postino.ID]time.Time{}
	least := q.opts.Retry.least()
	for id, ended := range q.attempts {
		if left := least - time.Since(ended); left > 0 {
			early[id] = time.Now().Add(left)
		} else {
			delete(q.attempts, id)
		}
	}
	return early
}

// decode appends a stored item to found and adds up their weight. One that cannot be read stays where
// it is, for `check` to find, and is reported.
func (q *Queue) decode(found []*Item, weight int, id postino.ID, value []byte) ([]*Item, int) {
	it, err := decodeItem(id, value)
	if err != nil {
		q.observe.unreadable(id, err)
		return found, weight
	}
	return append(found, it), weight + it.weigh()
}

func (q *Queue) isClaimed(id postino.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.claimed[id]
	return ok
}

// adopt claims items that a scan found and hands them over, except those that
// came to memory or left it while the scan ran.
func (q *Queue) adopt(found []*Item) {
	q.mu.Lock()
	kept := found[:0]
	for _, it := range found {
		_, here := q.claimed[it.ID]
		_, left := q.left[it.ID]
		switch {
		case here || left:
		case len(q.claimed) < q.opts.Limits.Ready:
			q.claimed[it.ID] = struct{}{}
			q.bytes += it.weigh()
			kept = append(kept, it)
		case it.State == StateNew: // the room was filled meanwhile
			q.noteMissed(it.ID)
		default:
			q.nextDue = longAgo
		}
	}
	q.left = nil
	q.mu.Unlock()
	for _, it := range kept {
		q.hand(it)
	}
}

// wait notes when an item is due again.
func (q *Queue) wait(it *Item) {
	q.mu.Lock()
	if len(q.attempts) < maxAttempts {
		q.attempts[it.ID] = time.Now()
	}
	sooner := q.nextDue.After(it.Due)
	if sooner {
		q.nextDue = it.Due
	}
	q.mu.Unlock()
	if sooner {
		q.poke()
	}
}

// findAgain makes the next scan find an item whose result could not be stored.
func (q *Queue) findAgain(it *Item) {
	if it.State == StateNew {
		q.miss(it.ID)
		return
	}
	q.lookNow()
}

// longAgo as the next due time makes the clock look at once.
var longAgo = time.UnixMilli(1)

func (q *Queue) lookNow() {
	q.mu.Lock()
	q.nextDue = longAgo
	q.mu.Unlock()
	q.poke()
}
