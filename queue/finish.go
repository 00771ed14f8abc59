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

// Result is what an attempt did for a recipient.
type Result uint8

// The results.
const (
	Delivered Result = iota + 1 // in a mailbox
	Deferred                    // to be tried again
	Rejected                    // never to be tried again
	Relayed                     // another server took it
	Expanded                    // others took its place: a list, several forwards (RFC 3461 §5.2.7)
	Held                        // the item is set aside for an administrator; Reply says why
)

// Outcome is the result of an attempt for one recipient.
type Outcome struct {
	Rcpt   int // index in Item.Rcpts
	Result Result
	// Where is the mailbox or server that has the message now.
	Where string
	// UID is the message's UID there, 0 when it has none. With a UID the mailbox
	// took a reference to the body in the same transaction.
	UID uint32
	// Reply is what the other side said, or our own reason in its form:
	// "4.2.2 mailbox full".
	Reply string
	// Remote is the host that said it, empty when the words are ours.
	Remote string
	// DSN tells of a Relayed recipient that the host took over the duty to report
	// (RFC 3461 §5.2.1), By that it offered DELIVERBY (RFC 2852 §4.1.4.2).
	DSN, By bool
}

// served tells whether nothing more is to be done for the recipient.
func (o *Outcome) served() bool {
	return o.Result == Delivered || o.Result == Relayed || o.Result == Expanded
}

// Batch is what a transport tries together: some items of a lane, or one item
// for a site.
type Batch struct {
	Items []*Item
	q     *Queue
	now   time.Time

	health Health // what the transport said about the site
	words  string
	any    bool // an outcome other than Deferred became durable
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
		if it.staged != nil {
			b.any = b.any || it.staged.answered
			it.promote()
		}
	}
	return nil
}

// forget drops what a run of the closure staged that did not commit.
func (b *Batch) forget() {
	for _, it := range b.Items {
		it.staged = nil
	}
}

// staged is what a transaction that has not committed yet makes of an item.
type staged struct {
	next     *Item // nil: off the queue
	ended    bool
	stored   bool  // a mailbox took a reference to the body in this transaction
	answered bool  // there was an outcome other than Deferred
	held     bool  // an outcome wants the item held
	expired  []int // recipients whose time was up
	silent   bool  // it failed and nobody is told
}

// What is made of an item whose only recipient is served; in storedResult a
// mailbox holds the body now. Both are constant.
var (
	doneResult   = staged{ended: true, answered: true}
	storedResult = staged{ended: true, answered: true, stored: true}
)

// Finish records outcomes in tx: recipients that are served leave the queue,
// the others stay, reports become owed, and the story is told. It is called
// inside the closure of [Batch.Update]. Recipients without an outcome stay as
// they are until a later Finish; when each of the pending ones had one the
// attempt is over.
func (b *Batch) Finish(tx kv.Tx, it *Item, outcomes ...Outcome) error {
	q := b.q
	if it.ended || it.staged != nil && it.staged.next == nil {
		return errGone // nothing is left to finish
	}
	if it.staged == nil && len(it.Rcpts) == 1 && len(outcomes) == 1 && outcomes[0].served() &&
		q.owedFor(it, &it.Rcpts[0], &outcomes[0], b.now) == 0 {
		it.staged = &doneResult // the common case copies nothing
		if outcomes[0].UID != 0 {
			it.staged = &storedResult
		}
	} else {
		q.apply(it, outcomes, b.now)
	}
	if err := q.write(tx, it); err != nil {
		return err
	}
	return q.tell(tx, it, outcomes, b.now)
}

// Reroute puts others in the place of a pending recipient: its address leads
// elsewhere now. Like [Batch.Finish] it is called inside [Batch.Update], but for
// other recipients than those that are finished there. They are pending, and
// tried in this attempt.
func (b *Batch) Reroute(tx kv.Tx, it *Item, rcpt int, to []Rcpt) error {
	n := it.stage().next
	n.Rcpts[rcpt] = to[0]
	n.Rcpts = append(n.Rcpts, to[1:]...)
	n.tried = append(n.tried, make([]bool, len(to)-1)...)
	if len(n.Rcpts) > b.q.opts.Limits.Rcpts {
		return postino.E(postino.Full, "reroute", it.ID.String(), errors.New("too many recipients"))
	}
	if err := b.q.write(tx, it); err != nil {
		return err
	}
	e := b.q.stories.Event(it.Message, story.Queued, b.now)
	for i := range to {
		e.Address(story.For, to[i].User)
	}
	return b.q.stories.Append(tx, e.Text(story.Reason, "the address leads elsewhere now"))
}

// stage returns what the current transaction works on: a copy of the item.
func (it *Item) stage() *staged {
	if it.staged == nil {
		it.staged = &staged{next: it.copy()}
	}
	return it.staged
}

// copy returns the item as a transaction may change it.
func (it *Item) copy() *Item {
	n := &Item{ID: it.ID, Message: it.Message, Transport: it.Transport, Dest: it.Dest, User: it.User, From: it.From,
		SMTPUTF8: it.SMTPUTF8, Body: it.Body, EnvID: it.EnvID, Ret: it.Ret, Terms: it.Terms, Blob: it.Blob, Size: it.Size,
		Received: it.Received, Prefix: it.Prefix, Junk: it.Junk, Lease: it.Lease}
	n.take(it)
	n.Rcpts = append([]Rcpt(nil), it.Rcpts...)
	n.tried = make([]bool, len(it.Rcpts))
	copy(n.tried, it.tried)
	return n
}

// take makes what changes in the life of an item that of n.
func (it *Item) take(n *Item) {
	it.State, it.Attempts, it.Panics, it.Next, it.Due, it.Expires = n.State, n.Attempts, n.Panics, n.Next, n.Due, n.Expires
	it.Reason, it.ReportTries, it.ReportAt = n.Reason, n.ReportTries, n.ReportAt
	it.Rcpts, it.tried = n.Rcpts, n.tried
}

// promote makes the staged result the state of the item, after its commit.
func (it *Item) promote() {
	it.ended = it.staged.ended
	if n := it.staged.next; n != nil {
		it.take(n)
	} else {
		it.State = stateGone
	}
	it.staged = nil
}

// apply works out what outcomes make of the item.
func (q *Queue) apply(it *Item, outcomes []Outcome, now time.Time) {
	s := it.stage()
	n := s.next
	for i := range outcomes {
		o := &outcomes[i]
		r := &n.Rcpts[o.Rcpt]
		n.tried[o.Rcpt] = true
		r.Reply, r.Remote, r.Last = o.Reply, o.Remote, now.Truncate(time.Millisecond)
		s.stored = s.stored || o.UID != 0
		s.answered = s.answered || o.Result != Deferred
		switch {
		case o.served():
			r.State = Done
		case o.Result == Rejected:
			r.State = Failed
		case o.Result == Held:
			s.held, n.Reason = true, o.Reply
			continue
		default:
			continue
		}
		r.Owed = r.Owed&^OwedDelayed | q.owedFor(n, r, o, now)
	}
	for i := range n.Rcpts {
		if n.Rcpts[i].State == Pending && !n.tried[i] {
			return // the attempt goes on
		}
	}
	s.ended = true
	n.Attempts++
	n.Next = q.opts.Retry.next(n.Attempts, now)
	if !n.Next.Before(n.Expires) && !s.held {
		q.expire(s, now)
	}
	if !s.held {
		n.Reason = ""
	}
	q.conclude(s, now)
}

// conclude decides where an item stands with which nothing more is done now.
func (q *Queue) conclude(s *staged, now time.Time) {
	n := s.next
	pending, failed, owed := n.count()
	switch {
	case s.held:
		n.State = StateHeld
	case owed || pending > 0:
		n.State = StateWaiting
		n.Due = q.dueOf(n, now)
	case failed > 0 && q.opts.Reporter == nil:
		n.State = StateHeld
		n.Reason = "delivery failed"
		if len(s.expired) > 0 {
			n.Reason = "delivery failed: time is up"
		}
	default:
		s.silent = failed > 0
		for i := range n.Rcpts {
			s.silent = s.silent && n.Rcpts[i].Told&OwedFailed == 0
		}
		s.next = nil
	}
}

// errGone is the cause when an item is no longer what the caller believes.
var errGone = postino.E(postino.Conflict, "finish", "queue item", nil)

// checkFence reads the stored item: it must exist in the same state and with
// the same fence.
func checkFence(tx kv.Tx, it *Item) error {
	var kb [10]byte
	v, ok, err := tx.Get(itemKey(kb[:0], it.State, it.ID))
	if err != nil {
		return err
	}
	if !ok || len(v) < fenceEnd || binary.BigEndian.Uint64(v[fenceStart:]) != it.Lease.Fence {
		return errGone
	}
	return nil
}

// write stores what the current transaction makes of the item.
func (q *Queue) write(tx kv.Tx, it *Item) error {
	s := it.staged
	if s.next != nil {
		return q.replace(tx, it, s.next)
	}
	if err := q.erase(tx, it, nil); err != nil {
		return err
	}
	if s.stored {
		return q.blobs.Handover(tx, it.Blob, blobRef(it.ID))
	}
	return q.blobs.Unlink(tx, it.Blob, blobRef(it.ID))
}

// replace stores next in the place of it.
func (q *Queue) replace(tx kv.Tx, it, next *Item) error {
	if err := q.erase(tx, it, next); err != nil {
		return err
	}
	return q.insert(tx, next, nil)
}

// erase deletes the rows of the item, except those that next has too.
func (q *Queue) erase(tx kv.Tx, it, next *Item) error {
	var kb [19]byte
	if next == nil || next.State != it.State {
		if err := tx.Delete(itemKey(kb[:0], it.State, it.ID)); err != nil {
			return err
		}
	}
	same := next != nil && next.State == it.State && next.Due.Equal(it.Due)
	switch {
	case it.State == StateWaiting && !same:
		return tx.Delete(dueKey(kb[:0], it.Due, it.ID))
	case it.State == StateParked:
		if !same {
			if err := tx.Delete(lateKey(kb[:0], it.Due, it.ID)); err != nil {
				return err
			}
		}
		if next == nil || next.State != StateParked || next.Transport != it.Transport || next.Dest != it.Dest {
			return tx.Delete(parkKey(kb[:0], siteHash(it.Transport, it.Dest), it.class(), it.ID))
		}
	}
	return nil
}

// insert stores the rows of an item, with buf as memory for its record.
func (q *Queue) insert(tx kv.Tx, it *Item, buf *[]byte) error {
	if buf == nil {
		buf = new([]byte)
	}
	var kb [19]byte
	*buf = it.appendRecord((*buf)[:0])
	if err := tx.Set(itemKey(kb[:0], it.State, it.ID), *buf); err != nil {
		return err
	}
	switch it.State {
	case StateWaiting:
		return tx.Set(dueKey(kb[:0], it.Due, it.ID), nil)
	case StateParked:
		if err := tx.Set(lateKey(kb[:0], it.Due, it.ID), nil); err != nil {
			return err
		}
		return tx.Set(parkKey(kb[:0], siteHash(it.Transport, it.Dest), it.class(), it.ID), nil)
	}
	return nil
}

// tell appends the events of outcomes: one per kind of result.
func (q *Queue) tell(tx kv.Tx, it *Item, outcomes []Outcome, now time.Time) error {
	s := it.staged
	for _, kind := range [...]story.Kind{story.Delivered, story.Deferred, story.Failed} {
		var e *story.Event
		for i := range outcomes {
			o := &outcomes[i]
			if o.kind() != kind {
				continue
			}
			if e == nil {
				e = q.stories.Event(it.Message, kind, now)
			}
			e.Address(story.For, it.Rcpts[o.Rcpt].Address).Text(story.Where, o.Where)
			if o.UID != 0 {
				e.Int(story.UID, int64(o.UID))
			}
			e.Text(story.Remote, o.Remote).Text(story.Reply, o.Reply)
		}
		if e == nil {
			continue
		}
		if kind == story.Deferred && s.ended && s.next != nil && s.next.State == StateWaiting && len(s.expired) == 0 {
			e.Int(story.Attempt, int64(s.next.Attempts)).When(story.Next, s.next.Next)
		}
		if err := q.stories.Append(tx, e); err != nil {
			return err
		}
	}
	return q.tellEnd(tx, it, now)
}

// kind is the event that tells of the outcome; 0: none does.
func (o *Outcome) kind() story.Kind {
	switch {
	case o.served():
		return story.Delivered
	case o.Result == Deferred:
		return story.Deferred
	case o.Result == Rejected:
		return story.Failed
	}
	return 0
}

// tellEnd appends what follows from outcomes or the time: recipients that
// expired, an item that is held, mail that fails without anybody being told.
func (q *Queue) tellEnd(tx kv.Tx, it *Item, now time.Time) error {
	s := it.staged
	if len(s.expired) > 0 && q.opts.Reporter != nil {
		e := q.stories.Event(it.Message, story.Failed, now)
		for _, i := range s.expired {
			e.Address(story.For, it.Rcpts[i].Address)
		}
		if err := q.stories.Append(tx, e.Text(story.Reason, "time is up")); err != nil {
			return err
		}
	}
	switch {
	case !s.ended:
	case s.next != nil && s.next.State == StateHeld:
		return q.stories.Append(tx, q.stories.Event(it.Message, story.Held, now).
			Text(story.Reason, s.next.Reason).Text(story.Item, it.ID.String()))
	case s.silent:
		why := "no report: the sender wants none"
		if it.Bounce() {
			why = "no report: it has the null sender"
		}
		return q.stories.Append(tx, q.stories.Event(it.Message, story.Note, now).Text(story.Reason, why).Text(story.Item, it.ID.String()))
	}
	return nil
}
