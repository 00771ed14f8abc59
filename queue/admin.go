package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// Stats is a picture of what the queue holds in memory.
type Stats struct {
	InMemory int  // items in the lanes or being delivered
	Backlog  bool // New items wait in the store for room in memory
}

// Stats returns what the queue holds in memory now.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{InMemory: len(q.claimed), Backlog: q.missed != 0}
}

// Filter says which items [Queue.List] returns.
type Filter struct {
	State State      // 0: all
	After postino.ID // only items of the state with a greater id: the next page
	Limit int        // 0: 100
}

// List returns stored items by state and id.
func (q *Queue) List(ctx context.Context, f Filter) (items []*Item, err error) {
	states := []State{StateNew, StateWaiting, StateHeld}
	if f.State != 0 {
		states = []State{f.State}
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		items = nil
		for _, s := range states {
			r := kv.Range{Start: itemKey(nil, s, f.After+1), End: kv.PrefixEnd(itemKey(nil, s, 0)[:2])}
			err := tx.Scan(r, func(key, value []byte) bool {
				if len(items) < limit {
					items, _ = q.decode(items, 0, postino.ID(binary.BigEndian.Uint64(key[2:])), value)
				}
				return len(items) < limit
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

// Get returns a stored item; the error is NotFound when there is none.
func (q *Queue) Get(ctx context.Context, id postino.ID) (it *Item, err error) {
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		it, err = get(tx, id)
		return err
	})
	return it, err
}

func get(r kv.Reader, id postino.ID) (*Item, error) {
	var kb [10]byte
	for _, s := range [...]State{StateNew, StateWaiting, StateHeld} {
		v, ok, err := r.Get(itemKey(kb[:0], s, id))
		if err != nil {
			return nil, err
		}
		if ok {
			return decodeItem(id, v)
		}
	}
	return nil, postino.E(postino.NotFound, "find queue item", id.String(), nil)
}

// Release makes a Held or Waiting item due now. Recipients that had failed are
// tried again, for the whole life of a message.
func (q *Queue) Release(ctx context.Context, id postino.ID) error {
	now := time.Now()
	err := q.change(ctx, id, func(tx kv.Tx, it *Item) error {
		rcpts := append([]Rcpt(nil), it.Rcpts...)
		for i := range rcpts {
			if rcpts[i].State == Failed {
				rcpts[i].State = Pending
			}
		}
		next := *it
		next.Expires, next.Panics = now.Add(q.opts.Retry.Life), 0
		next.staged = &result{state: StateWaiting, attempts: it.Attempts, due: now.Truncate(time.Millisecond), rcpts: rcpts, ended: true}
		if err := q.write(tx, &next); err != nil {
			return err
		}
		return q.stories.Append(tx, q.stories.Event(it.Message, story.Released, now).Text(story.Item, id.String()))
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	delete(q.attempts, id)
	q.mu.Unlock()
	q.lookNow()
	return nil
}

// Remove takes an item off the queue without delivering it; why is for the
// story.
func (q *Queue) Remove(ctx context.Context, id postino.ID, why string) error {
	return q.change(kv.Deleting(ctx), id, func(tx kv.Tx, it *Item) error {
		it.staged = &doneResult
		if err := q.write(tx, it); err != nil {
			return err
		}
		return q.stories.Append(tx, q.stories.Event(it.Message, story.Removed, time.Now()).
			Text(story.Item, id.String()).Text(story.Reason, why))
	})
}

// errBusy tells an administrator that an attempt is under way.
var errBusy = errors.New("it is being delivered right now")

// change claims a stored item, as a lane would, and runs fn on it. The error
// is Conflict while the item is in a lane.
func (q *Queue) change(ctx context.Context, id postino.ID, fn func(tx kv.Tx, it *Item) error) error {
	q.mu.Lock()
	_, taken := q.claimed[id]
	if !taken {
		q.claimed[id] = struct{}{}
	}
	q.mu.Unlock()
	if taken {
		return postino.E(postino.Conflict, "change queue item", id.String(), errBusy)
	}
	defer q.unclaim(&Item{ID: id})
	return q.db.Update(ctx, nil, func(tx kv.Tx) error {
		it, err := get(tx, id)
		if err != nil {
			return err
		}
		return fn(tx, it)
	})
}
