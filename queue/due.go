package queue

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

const (
	// scan is how many items one scan brings to memory at most.
	scan = 1024
	// look is how long the keeper sleeps at most, so that it notices when the
	// wall clock was set forward.
	look = time.Minute
)

// keep brings items from the store to memory, until Stop: New ones that
// found no room, Waiting ones that are due, Parked ones whose site has room; and
// it parks those that have no business in memory.
func (q *Queue) keep() {
	aged := time.Now()
	for {
		now := time.Now()
		if now.Sub(aged) >= look {
			aged = now
			q.takeAged(now)
			q.mu.Lock()
			q.relieve()
			q.mu.Unlock()
		}
		more, err := q.round(now)
		sleep := time.Duration(0)
		if err != nil {
			q.observe.scanFailed(err)
			sleep = time.Second
		} else if !more {
			sleep = q.rest()
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

// round takes one step of each kind; more tells that some has further to go.
func (q *Queue) round(now time.Time) (more bool, err error) {
	for _, step := range [...]func(context.Context, time.Time) (bool, error){
		q.fillNew, q.fillDue, q.fillLate, q.parkClosed, q.feed, q.walk} {
		again, stepErr := step(q.ctx, now)
		more = more || again
		if stepErr != nil {
			err = stepErr
		}
	}
	return more, err
}

// rest returns how long there is nothing to do.
func (q *Queue) rest() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	sleep := look
	if q.room() > 0 { // else whoever leaves wakes us
		sleep = min(sleep, time.Until(q.nextDue))
	}
	if q.desk.len() < maxDesk {
		sleep = min(sleep, time.Until(q.nextLate))
	}
	return sleep
}

// room returns how many items a scan may bring to memory; it waits for half
// of the room to be free, so that scans are worth their while. The lock is held.
func (q *Queue) room() int {
	l := &q.opts.Limits
	if q.laneRoom.items > l.Ready/2 || q.laneRoom.bytes > l.ReadyBytes/2 || q.desk.len() > maxDesk/2 {
		return 0
	}
	return min(scan, l.Ready-q.laneRoom.items)
}

// fillNew brings New items to memory. More tells that a further call is due.
func (q *Queue) fillNew(ctx context.Context, _ time.Time) (more bool, err error) {
	q.mu.Lock()
	from, room := q.missed, q.room()
	if from == 0 || room == 0 {
		q.mu.Unlock()
		return false, nil
	}
	q.missed = 0
	q.left = map[postino.ID]bool{}
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
	_, adoptErr := q.adopt(ctx, found)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		err = adoptErr
	}
	if err != nil {
		next = from
	}
	if next != 0 {
		q.noteMissed(next)
	}
	return err == nil && q.missed != 0 && q.room() > 0, err
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
	q.left = map[postino.ID]bool{}
	q.attempts.prune(q.opts.Retry.least())
	q.mu.Unlock()

	var found []*Item
	weight := 0
	next := time.Time{} // when the next scan is worth while; zero: nothing waits
	err = q.scanTimes(ctx, 'd', StateWaiting, func(due time.Time, id postino.ID, get func() []byte) bool {
		if due.After(now) || len(found) == room || weight > q.opts.Limits.ReadyBytes/2 {
			next = earlier(next, due)
			return false
		}
		if q.isClaimed(id) {
			return true
		}
		n, before := len(found), weight
		if value := get(); value != nil {
			found, weight = q.decode(found, weight, id, value)
		}
		if until := q.tooEarly(id); len(found) > n && until.After(now) {
			if d, _ := q.duty(found[n], now); d == dutyAttempt {
				found, weight = found[:n], before
				next = earlier(next, until)
			}
		}
		return true
	}, func() { found, weight, next = found[:0], 0, time.Time{} })
	_, adoptErr := q.adopt(ctx, found)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		err = adoptErr
	}
	if err != nil {
		next = now
	}
	if !next.IsZero() {
		q.nextDue = earlier(q.nextDue, next)
	}
	return err == nil && !q.nextDue.After(now) && q.room() > 0, err
}

// fillLate brings Parked items to the clerks about which something is to be
// done: a notice, or the end of their time. It begins when the process has run
// for a while: after a long rest mail is tried before it is given up.
func (q *Queue) fillLate(ctx context.Context, now time.Time) (more bool, err error) {
	q.mu.Lock()
	room := min(scan, maxDesk-q.desk.len())
	grace := q.opts.Retry.grace() - time.Since(q.begun)
	if grace > 0 {
		q.nextLate = now.Add(grace)
	}
	if room < maxDesk/8 || now.Before(q.nextLate) && now.After(q.nextLate.Add(-q.opts.Retry.Max*2)) {
		q.mu.Unlock()
		return false, nil
	}
	q.nextLate = now.Add(q.opts.Retry.Max)
	q.left = map[postino.ID]bool{}
	q.mu.Unlock()

	var found []*Item
	next := time.Time{}
	err = q.scanTimes(ctx, 't', StateParked, func(due time.Time, id postino.ID, get func() []byte) bool {
		if due.After(now) || len(found) == room {
			next = earlier(next, due)
			return false
		}
		if q.isClaimed(id) {
			next = earlier(next, now.Add(look))
		} else if value := get(); value != nil {
			found, _ = q.decode(found, 0, id, value)
		}
		return true
	}, func() { found, next = found[:0], time.Time{} })
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range found {
		if !q.left[it.ID] && q.claim(it, false) {
			q.report(it)
		}
	}
	q.left = nil
	if err != nil {
		next = now
	}
	if !next.IsZero() {
		q.nextLate = earlier(q.nextLate, next)
	}
	return err == nil && !q.nextLate.After(now) && q.desk.len() < maxDesk/2, err
}

// scanTimes walks a table of times and calls fn with the time, the id, and a
// function that reads the record of the item in that state. It calls begin when
// it starts, and each time that it starts again.
func (q *Queue) scanTimes(ctx context.Context, table byte, s State, fn func(time.Time, postino.ID, func() []byte) bool, begin func()) error {
	return q.db.View(ctx, nil, func(tx kv.Reader) error {
		begin()
		var getErr error
		err := tx.Scan(kv.Prefix([]byte{'q', table}), func(key, _ []byte) bool {
			id := postino.ID(binary.BigEndian.Uint64(key[10:]))
			going := fn(time.UnixMilli(int64(binary.BigEndian.Uint64(key[2:]))), id, func() []byte {
				var kb [10]byte
				var value []byte
				value, _, getErr = tx.Get(itemKey(kb[:0], s, id))
				return value
			})
			return going && getErr == nil
		})
		if getErr != nil {
			return getErr
		}
		return err
	})
}

// takeAged gives the items in memory to the clerks about which something is to
// be done while they wait for a slot.
func (q *Queue) takeAged(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.begun) < q.opts.Retry.grace() {
		return
	}
	for _, it := range q.claimed {
		if it.where == listed && it.site != nil && q.late(it, now) && q.desk.len() < maxDesk {
			again := it.copy()
			q.withdraw(it)
			q.claim(again, false)
			q.report(again)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// longAgo as the next due time makes the keeper look at once.
var longAgo = time.UnixMilli(1)

// decode appends a stored item to found and adds up their weight. One that
// cannot be read stays where it is, for `check` to find, and is reported.
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
	return q.claimed[id] != nil
}

// adopt claims items that a scan found and hands them over, except those that
// came to memory or left it while the scan ran. Those for which their site has
// no room are parked.
func (q *Queue) adopt(ctx context.Context, found []*Item) (seated int, err error) {
	if len(found) == 0 {
		return 0, nil
	}
	now := time.Now()
	var park []*Item
	q.mu.Lock()
	for _, it := range found {
		if q.claimed[it.ID] != nil || q.left[it.ID] {
			continue
		}
		ln := q.lines[it.Transport]
		d, until := q.duty(it, now)
		switch {
		case d == dutyReport:
			if q.desk.len() < maxDesk {
				q.claim(it, false)
				q.report(it)
			} else {
				q.noteStored(it)
			}
		case ln == nil: // its transport is no longer configured: it stays
			q.observe.noTransport(it)
		case d == dutyNone:
			q.nextDue = earlier(q.nextDue, until)
		case q.seat(it, false):
			seated++
			q.hand(it)
		case it.State == StateParked || !ln.opts.Sites:
			q.noteStored(it) // the room was filled meanwhile
		default:
			q.claim(it, false)
			park = append(park, it)
		}
	}
	q.left = nil
	q.mu.Unlock()
	return seated, q.park(ctx, park)
}
