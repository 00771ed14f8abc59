package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// Batch is some items of a lane that a transport tries together.
type Batch struct {
	Items []*Item
	q     *Queue
	now   time.Time
}

// Update runs fn like kv.DB.Update, as one that may be written when the disk
// is nearly full, and makes what [Batch.Finish] staged true when it committed.
// Before fn it looks whether the items that are not finished are still in the
// store as they were read: the error is Conflict when one is not. It reads
// them all first because reads are cheaper before the first write.
func (b *Batch) Update(ctx context.Context, scopes []kv.Scope, fn func(tx kv.Tx) error) error {
	err := b.q.db.Update(kv.Deleting(ctx), scopes, func(tx kv.Tx) error {
		b.forget()
		b.now = time.Now()
		for _, it := range b.Items {
			if !it.ended {
				if err := checkFence(tx, it); err != nil {
					return err
				}
			}
		}
		return fn(tx)
	})
	if err != nil {
		b.forget()
		return err
	}
	for _, it := range b.Items {
		it.promote()
	}
	return nil
}

// forget drops what a run of the closure staged that did not commit.
func (b *Batch) forget() {
	for _, it := range b.Items {
		it.staged = nil
	}
}

// lane is a first-in-first-out list of items of one transport with a goroutine.
type lane struct {
	q         *Queue
	transport Transport
	wake      chan struct{}

	mu    sync.Mutex
	ready []*Item
	head  int
}

func (l *lane) push(it *Item) {
	l.mu.Lock()
	l.ready = append(l.ready, it)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take moves the next items to dst, as many as one batch may have.
func (l *lane) take(dst []*Item) []*Item {
	l.mu.Lock()
	defer l.mu.Unlock()
	rcpts := 0
	for l.head < len(l.ready) && len(dst) < l.q.opts.Limits.Batch {
		it := l.ready[l.head]
		rcpts += len(it.Rcpts)
		if len(dst) > 0 && rcpts > l.q.opts.Limits.BatchRcpts {
			break
		}
		dst = append(dst, it)
		l.ready[l.head] = nil
		l.head++
	}
	if l.head == len(l.ready) {
		l.ready, l.head = l.ready[:0], 0
	} else if l.head > 1024 && l.head > len(l.ready)/2 { // keep the list from growing for ever
		n := copy(l.ready, l.ready[l.head:])
		clear(l.ready[n:])
		l.ready, l.head = l.ready[:n], 0
	}
	return dst
}

// run delivers until Stop.
func (l *lane) run() {
	items := make([]*Item, 0, l.q.opts.Limits.Batch)
	for {
		select {
		case <-l.q.stop:
			return
		default:
		}
		if items = l.take(items[:0]); len(items) == 0 {
			select {
			case <-l.q.stop:
				return
			case <-l.wake:
			}
			continue
		}
		l.deliver(items)
		clear(items)
	}
}

// deliver makes an attempt for all items together, then one by one for those
// that it left unfinished because of an error.
func (l *lane) deliver(items []*Item) {
	for _, it := range items {
		it.tried, it.ended = nil, false
	}
	err, panicked := l.try(items)
	if len(items) > 1 && err != nil && !stopped(err) {
		l.q.observe.split(len(items), err)
		for _, it := range items {
			if it.ended {
				l.settle(it, nil, false)
				continue
			}
			err, panicked := l.try([]*Item{it})
			l.settle(it, err, panicked)
		}
		return
	}
	stuck := false
	for _, it := range items {
		if !l.settle(it, err, panicked) {
			stuck = true
		}
	}
	if stuck { // the store takes no writes: do not spin
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-l.q.stop:
		case <-t.C:
		}
	}
}

// try calls the transport and turns a panic into an error (G4).
func (l *lane) try(items []*Item) (err error, panicked bool) {
	b := &Batch{Items: items, q: l.q, now: time.Now()}
	defer func() {
		if p := recover(); p != nil {
			b.forget()
			l.q.observe.panicked(items, p, debug.Stack())
			err, panicked = fmt.Errorf("panic: %v", p), true
		}
	}()
	return l.transport.Deliver(l.q.ctx, b), false
}

// stopped tells whether an error speaks of the store or the process as a whole
// rather than of an item.
func stopped(err error) bool {
	return errors.Is(err, kv.ErrStopped) || errors.Is(err, kv.ErrFull) || errors.Is(err, context.Canceled)
}

// settle ends the attempt for one item: recipients without outcome are
// deferred, and the item leaves memory. It returns false when nothing could
// be written: the item is then as the store has it, and a later scan finds it.
func (l *lane) settle(it *Item, err error, panicked bool) bool {
	q := l.q
	if !it.ended && !stopped(err) && !errors.Is(err, errGone) {
		err = q.postpone(it, err, panicked)
	}
	q.unclaim(it)
	switch {
	case it.ended:
		q.observe.ended(it)
		if it.State == StateWaiting {
			q.wait(it)
		}
	case errors.Is(err, errGone): // an administrator took it away
	default:
		q.observe.stuck(it, err)
		q.findAgain(it)
		return false
	}
	return true
}

// errNoOutcome is the reason when a transport gave none.
var errNoOutcome = errors.New("no outcome")

// postpone writes that the recipients without outcome are deferred.
func (q *Queue) postpone(it *Item, cause error, panicked bool) error {
	if cause == nil {
		cause = errNoOutcome
	}
	reply := "4.3.0 " + cause.Error()
	if postino.Is(cause, postino.Full) {
		reply = "4.3.1 " + cause.Error()
	}
	b := &Batch{Items: []*Item{it}, q: q, now: time.Now()}
	panics := it.Panics
	err := b.Update(q.ctx, nil, func(tx kv.Tx) error {
		it.Panics = panics
		if panicked {
			it.Panics++
		}
		var outcomes []Outcome
		for i := range it.Pending() {
			outcomes = append(outcomes, Outcome{Rcpt: i, Result: Deferred, Reply: reply})
		}
		if it.Panics >= q.opts.Limits.Panics {
			return q.quarantine(tx, it)
		}
		return b.Finish(tx, it, outcomes...)
	})
	if err != nil {
		it.Panics = panics
	}
	return err
}

// quarantine keeps an item aside that brought its transport down too often.
func (q *Queue) quarantine(tx kv.Tx, it *Item) error {
	it.staged = &result{state: StateHeld, attempts: it.Attempts + 1, due: it.Due, rcpts: it.Rcpts,
		reason: "quarantined: handling it failed unexpectedly", ended: true}
	if err := q.write(tx, it); err != nil {
		return err
	}
	return q.stories.Append(tx, q.stories.Event(it.Message, story.Quarantined, time.Now()).
		Int(story.Count, int64(it.Panics)).Text(story.Item, it.ID.String()).Text(story.Rule, "G4"))
}
