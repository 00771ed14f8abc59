package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// Reporter makes the reports that senders are owed.
type Reporter interface {
	// Report returns the message that tells the sender of it about the
	// recipients owed: indexes in it.Rcpts, of which Owed says what is due. The
	// message goes on the queue in the commit that clears the debt. A nil message
	// tells that none is due, and why says so in the story. After an error it is
	// called again by the schedule. The item stays as it is, and its body is
	// there until that commit.
	Report(ctx context.Context, it *Item, owed []int) (m *Message, why string, err error)
}

// maxDesk is how many items wait for the clerks in memory at most.
const maxDesk = 4096

// report gives a claimed item to the clerks. The lock is held.
func (q *Queue) report(it *Item) {
	it.where = listed
	q.desk.push(it)
	if q.active && q.clerks < q.opts.Limits.Clerks {
		q.clerks++
		q.done.Go(q.clerk)
	}
}

// clerk does what time and debts ask for, until nothing is left.
func (q *Queue) clerk() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.active {
		it, ok := q.desk.pop()
		if !ok {
			break
		}
		if it.where == withdrawn {
			continue
		}
		it.where = busy
		q.mu.Unlock()
		err := q.note(it)
		if err == nil {
			err = q.settleDebts(it)
		}
		switch {
		case err == nil:
		case errors.Is(err, errGone): // an administrator took it away
			it.State = stateGone
		default:
			q.observe.stuck(it, err)
		}
		q.pass(it)
		if it.State != stateGone && err != nil { // the store takes no writes: do not spin
			q.pause(time.Second)
		}
		q.mu.Lock()
		if q.desk.len() == maxDesk/2 {
			q.poke()
		}
	}
	q.clerks--
}

// note writes what the time did to an item.
func (q *Queue) note(it *Item) error {
	it.ended, it.tried = false, nil
	b := &Batch{Items: []*Item{it}, q: q}
	now := time.Now()
	if pending, _, owed := it.count(); !q.late(it, now) && (pending > 0 || owed) {
		return nil
	}
	return b.Update(q.ctx, nil, func(tx kv.Tx) error {
		s := it.stage()
		q.age(s, now)
		return q.end(tx, it, now)
	})
}

// end writes what was staged of an item with which nothing more is done now.
func (q *Queue) end(tx kv.Tx, it *Item, now time.Time) error {
	s := it.staged
	s.ended = true
	q.conclude(s, now)
	if err := q.write(tx, it); err != nil {
		return err
	}
	return q.tellEnd(tx, it, now)
}

// maxReport is how many recipients one report is about: it has to fit into 64
// KiB (SC9).
const maxReport = 100

// settleDebts has the reports made that an item owes.
func (q *Queue) settleDebts(it *Item) error {
	for it.State != stateGone && it.State != StateHeld {
		var owed []int
		for i := range it.Rcpts {
			if it.Rcpts[i].Owed != 0 && len(owed) < maxReport {
				owed = append(owed, i)
			}
		}
		if len(owed) == 0 || it.ReportAt.After(time.Now()) {
			return nil
		}
		if err := q.settleSome(it, owed); err != nil {
			return err
		}
	}
	return nil
}

// settleSome has one report made, and puts it on the queue in the commit that clears
// the debt.
func (q *Queue) settleSome(it *Item, owed []int) error {
	m, why, err := q.ask(it, owed)
	if m != nil && m.Done != nil {
		defer m.Done()
	}
	if err == nil {
		err = q.clear(it, owed, m, why)
		if err == nil || stopped(err) || errors.Is(err, errGone) {
			return err
		}
	}
	if stopped(err) {
		return err
	}
	q.observe.reportFailed(it, err)
	return q.askLater(it)
}

// ask calls the reporter and turns a panic into an error (G4).
func (q *Queue) ask(it *Item, owed []int) (m *Message, why string, err error) {
	defer func() {
		if p := recover(); p != nil {
			q.observe.panicked([]*Item{it}, p, debug.Stack())
			m, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	if q.opts.Reporter == nil {
		return nil, "", errNoReporter
	}
	return q.opts.Reporter.Report(q.ctx, it, owed)
}

var errNoReporter = errors.New("nobody makes reports")

// clear puts the report on the queue and takes the debt off the item.
func (q *Queue) clear(it *Item, owed []int, m *Message, why string) error {
	it.ended = false
	b := &Batch{Items: []*Item{it}, q: q}
	var committed func()
	err := b.Update(q.ctx, nil, func(tx kv.Tx) error {
		n := it.stage().next
		e := q.stories.Event(it.Message, story.Bounced, b.now)
		if m == nil {
			e = q.stories.Event(it.Message, story.Note, b.now).Text(story.Reason, "no report: "+why)
		}
		for _, i := range owed {
			r := &n.Rcpts[i]
			r.Owed, r.Told = 0, r.Told|r.Owed
			e.Address(story.For, r.Address)
		}
		n.ReportTries, n.ReportAt = 0, time.Time{}
		if m != nil {
			var err error
			if committed, err = q.PutIn(tx, m); err != nil {
				return err
			}
			e.Text(story.Item, m.Items[0].ID.String())
		}
		if err := q.stories.Append(tx, e); err != nil {
			return err
		}
		return q.end(tx, it, b.now)
	})
	if err == nil {
		q.observe.reported(m != nil)
		if committed != nil {
			committed()
		}
	}
	return err
}

// askLater notes that making a report failed.
func (q *Queue) askLater(it *Item) error {
	it.ended = false
	b := &Batch{Items: []*Item{it}, q: q}
	return b.Update(q.ctx, nil, func(tx kv.Tx) error {
		n := it.stage().next
		n.ReportTries++
		n.ReportAt = q.opts.Retry.next(n.ReportTries, b.now)
		return q.end(tx, it, b.now)
	})
}
