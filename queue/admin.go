package queue

import (
	"context"
	"errors"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// Changes counts what was done. Busy are items of which an attempt was under way.
type Changes struct {
	Seen, Matched, Changed, Busy int
	Octets                       int64 // of the items that matched
}

// Progress is told of long work after each of its transactions. It may be nil.
type Progress func(Changes)

func (p Progress) tell(d Changes) {
	if p != nil {
		p(d)
	}
}

// errBusy tells an administrator that an attempt is under way.
var errBusy = errors.New("an attempt is under way right now")

// change stages what an operation makes of the stored item, and says it in the
// story; it returns false when it leaves the item as it is.
type change func(tx kv.Tx, it *Item, now time.Time) (bool, error)

// alter runs fn on the items that are meant, some in one transaction. Items in
// memory are taken from there first. Those that are being tried are counted as
// busy, or given to busy, which says whether it dealt with them.
func (q *Queue) alter(ctx context.Context, f Filter, p Progress, fn change, busy func(*Item) bool) (d Changes, err error) {
	err = q.pages(ctx, &f, func(seen int, found []*Item) error {
		d.Seen += seen
		d.Matched += len(found)
		changed, inFlight, err := q.alterPage(ctx, &f, found, fn, busy)
		d.Changed += changed
		d.Busy += inFlight
		for _, it := range found {
			d.Octets += it.Size
		}
		p.tell(d)
		return err
	})
	if err == nil && len(f.IDs) > 0 && d.Changed == 0 && d.Busy > 0 {
		err = postino.E(postino.Conflict, "change queue item", f.IDs[0].String(), errBusy)
	}
	return d, err
}

func (q *Queue) alterPage(ctx context.Context, f *Filter, found []*Item, fn change, inFlight func(*Item) bool) (changed, busyItems int, err error) {
	var mine []*Item
	q.mu.Lock()
	for _, it := range found {
		if c := q.claimed[it.ID]; c != nil && c.where == listed {
			q.withdraw(c)
		} else if c != nil {
			if inFlight != nil && inFlight(c) {
				changed++
			} else {
				busyItems++
			}
			continue
		}
		q.claim(it, false)
		mine = append(mine, it)
	}
	q.mu.Unlock()
	if len(mine) == 0 {
		return changed, busyItems, nil
	}
	n := 0
	now := time.Now()
	after := make([]*Item, len(mine))
	err = q.db.Update(kv.Deleting(ctx), nil, func(tx kv.Tx) error {
		n = 0
		for i, it := range mine {
			cur, err := get(tx, it.ID)
			if postino.Is(err, postino.NotFound) { // served meanwhile
				after[i] = &Item{State: stateGone}
				continue
			}
			if err != nil {
				return err
			}
			after[i] = cur
			if !f.matches(cur, now) {
				continue
			}
			did, err := fn(tx, cur, now)
			if err != nil {
				return err
			}
			if did {
				n++
			}
			switch s := cur.staged; {
			case s == nil:
			case s.next == nil:
				after[i] = &Item{State: stateGone}
			default:
				after[i] = s.next
			}
		}
		return nil
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, it := range mine {
		q.release(it)
		if err == nil {
			it = after[i]
		}
		if it.State == StateWaiting {
			delete(q.attempts.ends, it.ID)
		}
		q.noteStored(it)
	}
	q.poke()
	if err != nil {
		return changed, busyItems, err
	}
	return changed + n, busyItems, nil
}

// Hold sets items aside, whatever their state, until they are released. One that
// is being tried is held when the attempt ends, unless that serves it.
func (q *Queue) Hold(ctx context.Context, f Filter, reason string, p Progress) (Changes, error) {
	return q.alter(ctx, f, p, func(tx kv.Tx, it *Item, now time.Time) (bool, error) {
		return it.State != StateHeld, q.hold(tx, it, reason, now)
	}, func(it *Item) bool {
		it.wish = &reason
		return true
	})
}

// hold stages that an item is held.
func (q *Queue) hold(tx kv.Tx, it *Item, reason string, now time.Time) error {
	if it.State == StateHeld {
		return nil
	}
	s := it.stage()
	s.held, s.next.Reason = true, reason
	return q.end(tx, it, now)
}

// holdNow holds an item whose attempt has ended.
func (q *Queue) holdNow(it *Item, reason string) error {
	if it.State == stateGone || it.State == StateHeld {
		return nil
	}
	it.ended = false
	b := &Batch{Items: []*Item{it}, q: q}
	return b.Update(q.ctx, nil, func(tx kv.Tx) error { return q.hold(tx, it, reason, b.now) })
}

// Release makes held items due now. Recipients that had failed are tried again,
// for the whole life of a message, unless their sender was told: he sent the
// message again, or gave it up.
func (q *Queue) Release(ctx context.Context, f Filter, p Progress) (Changes, error) {
	return q.alter(ctx, f, p, func(tx kv.Tx, it *Item, now time.Time) (bool, error) {
		if it.State != StateHeld {
			return false, nil
		}
		s := it.stage()
		n := s.next
		for i := range n.Rcpts {
			if r := &n.Rcpts[i]; r.State == Failed && r.Told&OwedFailed == 0 {
				r.State, r.Expired, r.Owed = Pending, false, 0
			}
		}
		n.Expires, n.Panics, n.Reason = now.Add(q.opts.Retry.life(it)), 0, ""
		n.Next = now.Truncate(time.Millisecond)
		if err := q.end(tx, it, now); err != nil {
			return false, err
		}
		return true, q.stories.Append(tx, q.stories.Event(it.Message, story.Released, now).Text(story.Item, it.ID.String()))
	}, nil)
}

// Retry makes waiting items due now, also those that are to be held back until
// later. With open the trouble of the sites that they go to is forgotten; without,
// items for a closed site go on waiting for it.
func (q *Queue) Retry(ctx context.Context, f Filter, open bool, p Progress) (Changes, error) {
	sites := map[siteKey]bool{}
	d, err := q.alter(ctx, f, p, func(tx kv.Tx, it *Item, now time.Time) (bool, error) {
		if open && len(sites) < q.mostSites() {
			sites[siteKey{it.Transport, it.Dest}] = true
		}
		if it.State != StateWaiting {
			return open && it.State == StateParked, nil
		}
		s := it.stage()
		s.next.Next = now.Truncate(time.Millisecond)
		return true, q.end(tx, it, now)
	}, nil)
	for key := range sites {
		q.OpenSite(key.transport, key.dest)
	}
	return d, err
}

// Remove takes items off the queue without delivering them and without a
// report; why is for the story.
func (q *Queue) Remove(ctx context.Context, f Filter, why string, p Progress) (Changes, error) {
	return q.alter(ctx, f, p, func(tx kv.Tx, it *Item, now time.Time) (bool, error) {
		it.staged = &doneResult
		if err := q.write(tx, it); err != nil {
			return false, err
		}
		return true, q.stories.Append(tx, q.stories.Event(it.Message, story.Removed, now).
			Text(story.Item, it.ID.String()).Text(story.Reason, why))
	}, nil)
}
