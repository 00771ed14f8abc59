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

// lane is a first-in-first-out list of items of one transport with a goroutine.
type lane struct {
	q         *Queue
	transport Transport
	wake      chan struct{}

	mu    sync.Mutex
	ready fifo[*Item]
}

func (l *lane) push(it *Item) {
	l.mu.Lock()
	l.ready.push(it)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take moves the next items to dst, as many as one batch may have. More tells
// that there were some, even if none of them is to be tried any more.
func (l *lane) take(dst []*Item) (items []*Item, more bool) {
	l.mu.Lock()
	rcpts := 0
	for l.ready.len() > 0 && len(dst) < l.q.opts.Limits.Batch {
		rcpts += len(l.ready.front().Rcpts)
		if len(dst) > 0 && rcpts > l.q.opts.Limits.BatchRcpts {
			break
		}
		it, _ := l.ready.pop()
		dst = append(dst, it)
	}
	l.mu.Unlock()
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	items = dst[:0]
	for _, it := range dst {
		if it.where != withdrawn {
			it.where = busy
			items = append(items, it)
		}
	}
	return items, len(dst) > 0
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
		var more bool
		if items, more = l.take(items[:0]); !more {
			select {
			case <-l.q.stop:
				return
			case <-l.wake:
			}
			continue
		}
		if len(items) > 0 {
			l.deliver(items)
			clear(items)
		}
	}
}

// deliver makes an attempt for all items together, then one by one for those
// that it left unfinished because of an error.
func (l *lane) deliver(items []*Item) {
	q := l.q
	for _, it := range items {
		it.tried, it.ended = nil, false
	}
	err, panicked := q.try(l.transport, &Batch{q: q, Items: items})
	ok := true
	if len(items) > 1 && err != nil && !stopped(err) {
		q.observe.split(len(items), err)
		for _, it := range items {
			if it.ended {
				q.settle(it, nil, false)
			} else {
				q.attempt(l.transport, &Batch{q: q, Items: make([]*Item, 1)}, it)
			}
			q.pass(it)
		}
		return
	}
	for _, it := range items {
		ok = q.settle(it, err, panicked) && ok
		q.pass(it)
	}
	if !ok { // the store takes no writes: do not spin
		q.pause(time.Second)
	}
}

// attempt tries one item, with b as memory for the batch. It returns false when
// no result could be written.
func (q *Queue) attempt(t Transport, b *Batch, it *Item) bool {
	b.Items[0], b.health, b.words, b.any = it, 0, "", false
	it.tried, it.ended = nil, false
	if q.tooLate(it, time.Now()) { // RFC 2852 §4.1.3: no further attempts may be made
		return q.settled(it, q.note(it))
	}
	err, panicked := q.try(t, b)
	return q.settle(it, err, panicked)
}

// try calls the transport and turns a panic into an error (G4).
func (q *Queue) try(t Transport, b *Batch) (err error, panicked bool) {
	b.now = time.Now()
	defer func() {
		if p := recover(); p != nil {
			b.forget()
			q.observe.panicked(b.Items, p, debug.Stack())
			err, panicked = fmt.Errorf("panic: %v", p), true
		}
	}()
	return t.Deliver(q.ctx, b), false
}

// stopped tells whether an error speaks of the store or the process as a whole
// rather than of an item.
func stopped(err error) bool {
	return errors.Is(err, kv.ErrStopped) || errors.Is(err, kv.ErrFull) || errors.Is(err, context.Canceled)
}

// settle ends the attempt for one item: recipients without outcome are
// deferred. It returns false when nothing could be written: the item is then as
// the store has it.
func (q *Queue) settle(it *Item, err error, panicked bool) bool {
	if !it.ended && !stopped(err) && !errors.Is(err, errGone) {
		err = q.postpone(it, err, panicked)
	}
	if it.ended && it.State == StateWaiting {
		q.mu.Lock()
		q.attempts.add(it.ID)
		q.mu.Unlock()
	}
	return q.settled(it, err)
}

// settled tells what became of work on an item.
func (q *Queue) settled(it *Item, err error) bool {
	switch {
	case it.ended:
		q.observe.ended(it)
	case errors.Is(err, errGone): // an administrator took it away
		it.State = stateGone
	default:
		q.observe.stuck(it, err)
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
	b := &Batch{Items: []*Item{it}, q: q}
	return b.Update(q.ctx, nil, func(tx kv.Tx) error {
		s := it.stage()
		if panicked {
			s.next.Panics++
		}
		if s.next.Panics >= q.opts.Limits.Panics {
			return q.quarantine(tx, it, b.now)
		}
		var outcomes []Outcome
		for i := range it.Pending() {
			outcomes = append(outcomes, Outcome{Rcpt: i, Result: Deferred, Reply: reply})
		}
		return b.Finish(tx, it, outcomes...)
	})
}

// quarantine keeps an item aside that brought its transport down too often.
func (q *Queue) quarantine(tx kv.Tx, it *Item, now time.Time) error {
	s := it.stage()
	s.ended = true
	s.next.State, s.next.Reason = StateHeld, "quarantined: handling it failed unexpectedly"
	s.next.Attempts++
	if err := q.write(tx, it); err != nil {
		return err
	}
	return q.stories.Append(tx, q.stories.Event(it.Message, story.Quarantined, now).
		Int(story.Count, int64(s.next.Panics)).Text(story.Item, it.ID.String()).Text(story.Rule, "G4"))
}
