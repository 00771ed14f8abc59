package queue

import (
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// State says where an item stands; docs/queue.md draws the arrows.
type State uint8

// The states. The numbers are stored.
const (
	StateNew     State = iota + 1 // accepted, never tried
	StateWaiting                  // tried; due again at Item.Due
	StateHeld                     // not tried again until an administrator releases it
	stateGone                     // off the queue; never stored
)

// String names the state in lower case.
func (s State) String() string {
	switch s {
	case StateNew:
		return "new"
	case StateWaiting:
		return "waiting"
	case StateHeld:
		return "held"
	}
	return "gone"
}

// Local is the transport of recipients whose mailbox is here.
const Local = "local"

// Item is one message on its way to recipients that share a transport. What
// has no word about it is set by who makes the item and constant afterwards.
type Item struct {
	// ID names the item; Put gives one when it is zero.
	ID postino.ID
	// Message is the id under which the story is kept.
	Message postino.ID
	// Transport is the name in Options.Transports.
	Transport string

	From     postino.Address // reverse-path, zero for the null sender
	SMTPUTF8 bool
	Body     postino.Body
	EnvID    string
	Ret      postino.DSNReturn

	Blob     postino.BlobID // set by Put
	Size     int64          // octets of the blob; set by Put
	Received time.Time      // when the message was accepted
	// Prefix is whole header lines with CRLF that stand before the blob.
	Prefix []byte
	// Rcpts is at least one recipient; their State and Reply change by Finish.
	Rcpts []Rcpt

	State    State
	Attempts int       // attempts that ended
	Panics   int       // attempts that ended in a panic
	Due      time.Time // when a Waiting item is tried next
	Expires  time.Time // when recipients that still wait have failed
	Reason   string    // why it is held
	// Lease says who may work on the item in a cluster. Its Fence is compared
	// in the transaction of every result (QU9).
	Lease Lease

	// Carry is what acceptance hands to the transport in memory; it is nil
	// after a restart. CarryBytes is about its size.
	Carry      any
	CarryBytes int

	weight int     // octets of memory that its claim counts
	tried  []bool  // recipients with an outcome in this attempt
	staged *result // what the current transaction makes of the item
	ended  bool    // this attempt is over and its result durable
}

// Rcpt is a recipient of an item.
type Rcpt struct {
	postino.Recipient
	// Account is the mailbox it leads to and User that mailbox's address, for
	// local delivery.
	Account uint64
	User    postino.Address
	// Detail is the sub-address, without its separator.
	Detail string
	State  RcptState
	// Reply is the last answer about it.
	Reply string
}

// AppendTarget appends the address of the mailbox with the sub-address: what
// Delivered-To names (RFC 9228 §4), and what a message that comes back is known by.
func (r *Rcpt) AppendTarget(dst []byte) []byte {
	a := r.User
	if r.Detail != "" {
		a.Local += "+" + r.Detail
	}
	return a.Append(dst)
}

// RcptState says what became of a recipient.
type RcptState uint8

// The states of a recipient. The numbers are stored.
const (
	Pending RcptState = iota
	Done
	Failed
)

// Lease is the ownership of an item by a node. On one machine the process owns
// the store, and with it all items; the fields are then zero.
type Lease struct {
	Owner string
	Until time.Time
	Fence uint64
}

// Result is what an attempt did for a recipient.
type Result uint8

// The results.
const (
	Delivered Result = iota + 1 // in a mailbox, or taken by another server
	Deferred                    // to be tried again
	Rejected                    // never to be tried again
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
}

// result is what a transaction that has not committed yet makes of an item.
type result struct {
	state    State
	attempts int
	due      time.Time
	reason   string
	rcpts    []Rcpt // nil when the item is gone
	tried    []bool // recipients with an outcome in this attempt
	ended    bool
	held     bool // a mailbox took a reference to the body in this transaction
}

// Finish records outcomes in tx: recipients that are served leave the queue,
// the others stay, and the story is told. It is called inside the closure of
// [Batch.Update]. Recipients without an outcome stay as they are until a later
// Finish; when each of the pending ones had one the attempt is over.
func (b *Batch) Finish(tx kv.Tx, it *Item, outcomes ...Outcome) error {
	q := b.q
	if it.staged == &doneResult || it.staged == &storedResult || it.ended {
		return errGone // nothing is left to finish
	}
	if it.staged == nil && len(it.Rcpts) == 1 && len(outcomes) == 1 && outcomes[0].Result == Delivered {
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

// Pending walks the recipients that have no outcome yet in this attempt.
func (it *Item) Pending() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range it.Rcpts {
			if it.Rcpts[i].State == Pending && (it.tried == nil || !it.tried[i]) && !yield(i) {
				return
			}
		}
	}
}

// What is made of an item whose only recipient is served; in storedResult a
// mailbox holds the body now. Both are constant.
var (
	doneResult   = result{state: stateGone, ended: true}
	storedResult = result{state: stateGone, ended: true, held: true}
)

// Reroute puts others in the place of a pending recipient: its address leads
// elsewhere now. Like [Batch.Finish] it is called inside [Batch.Update], but for
// other recipients than those that are finished there. They are pending, and
// tried in this attempt.
func (b *Batch) Reroute(tx kv.Tx, it *Item, rcpt int, to []Rcpt) error {
	r := it.stage()
	r.rcpts[rcpt] = to[0]
	r.rcpts = append(r.rcpts, to[1:]...)
	r.tried = append(r.tried, make([]bool, len(to)-1)...)
	if len(r.rcpts) > b.q.opts.Limits.Rcpts {
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

// stage returns the result that the current transaction works on.
func (it *Item) stage() *result {
	if it.staged == nil {
		it.staged = &result{state: it.State, attempts: it.Attempts, due: it.Due, reason: it.Reason,
			rcpts: append([]Rcpt(nil), it.Rcpts...), tried: make([]bool, len(it.Rcpts))}
		copy(it.staged.tried, it.tried)
	}
	return it.staged
}

// apply works out what outcomes make of the item.
func (q *Queue) apply(it *Item, outcomes []Outcome, now time.Time) {
	r := it.stage()
	for _, o := range outcomes {
		rcpt := &r.rcpts[o.Rcpt]
		r.tried[o.Rcpt] = true
		rcpt.Reply = o.Reply
		r.held = r.held || o.UID != 0
		switch o.Result {
		case Delivered:
			rcpt.State = Done
		case Rejected:
			rcpt.State = Failed
		}
	}
	pending, failed := 0, 0
	for i := range r.rcpts {
		switch r.rcpts[i].State {
		case Pending:
			if pending++; !r.tried[i] {
				return // the attempt goes on
			}
		case Failed:
			failed++
		}
	}
	r.ended = true
	r.attempts++
	r.due = q.opts.Retry.next(r.attempts, now)
	switch {
	case pending > 0 && r.due.Before(it.Expires):
		r.state = StateWaiting
	case pending > 0 || failed > 0:
		r.state = StateHeld
		r.reason = "delivery failed"
		if pending > 0 {
			r.reason = "delivery failed: time is up"
		}
		for i := range r.rcpts {
			if r.rcpts[i].State == Pending {
				r.rcpts[i].State = Failed
			}
		}
	default:
		r.state = stateGone
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
	if !ok || len(v) < fenceEnd || v[0] == version && binary.BigEndian.Uint64(v[fenceStart:]) != it.Lease.Fence {
		return errGone
	}
	return nil
}

// write stores what apply worked out.
func (q *Queue) write(tx kv.Tx, it *Item) error {
	r := it.staged
	var kb [18]byte
	if r.state != it.State {
		if err := tx.Delete(itemKey(kb[:0], it.State, it.ID)); err != nil {
			return err
		}
	}
	if it.State == StateWaiting && (r.state != StateWaiting || !r.due.Equal(it.Due)) {
		if err := tx.Delete(dueKey(kb[:0], it.Due, it.ID)); err != nil {
			return err
		}
	}
	switch {
	case r.state == stateGone && r.held:
		return q.blobs.Handover(tx, it.Blob, blobRef(it.ID))
	case r.state == stateGone:
		return q.blobs.Unlink(tx, it.Blob, blobRef(it.ID))
	}
	next := *it
	next.State, next.Attempts, next.Due, next.Reason, next.Rcpts = r.state, r.attempts, r.due, r.reason, r.rcpts
	if err := tx.Set(itemKey(kb[:0], next.State, next.ID), next.appendRecord(nil)); err != nil {
		return err
	}
	if next.State == StateWaiting && r.ended {
		return tx.Set(dueKey(kb[:0], next.Due, next.ID), nil)
	}
	return nil
}

// promote makes the staged result the state of the item, after its commit.
func (it *Item) promote() {
	r := it.staged
	if r == nil {
		return
	}
	it.State, it.ended = r.state, r.ended
	if r.state != stateGone {
		it.Attempts, it.Due, it.Reason, it.Rcpts, it.tried = r.attempts, r.due, r.reason, r.rcpts, r.tried
	}
	it.staged = nil
}

// tell appends the events of outcomes: one per kind of result.
func (q *Queue) tell(tx kv.Tx, it *Item, outcomes []Outcome, now time.Time) error {
	for _, kind := range [...]struct {
		result Result
		event  story.Kind
	}{{Delivered, story.Delivered}, {Deferred, story.Deferred}, {Rejected, story.Failed}} {
		var e *story.Event
		for _, o := range outcomes {
			if o.Result != kind.result {
				continue
			}
			if e == nil {
				e = q.stories.Event(it.Message, kind.event, now)
			}
			e.Address(story.For, it.Rcpts[o.Rcpt].Address).Text(story.Where, o.Where)
			if o.UID != 0 {
				e.Int(story.UID, int64(o.UID))
			}
			e.Text(story.Reply, o.Reply)
		}
		if e == nil {
			continue
		}
		if r := it.staged; r.ended && r.state == StateWaiting && kind.result == Deferred {
			e.Int(story.Attempt, int64(r.attempts)).When(story.Next, r.due)
		}
		if err := q.stories.Append(tx, e); err != nil {
			return err
		}
	}
	if r := it.staged; r.state == StateHeld && r.ended {
		return q.stories.Append(tx, q.stories.Event(it.Message, story.Held, now).
			Text(story.Reason, r.reason).Text(story.Item, it.ID.String()))
	}
	return nil
}

// Keys.

// itemKey names the row of an item: 'q', its state, its id.
func itemKey(dst []byte, s State, id postino.ID) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 'q', " nwh"[s]), uint64(id))
}

// dueKey names the row that orders waiting items by time: 'q' 'd' due id.
func dueKey(dst []byte, due time.Time, id postino.ID) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, 'q', 'd'), uint64(max(0, due.UnixMilli())))
	return binary.BigEndian.AppendUint64(dst, uint64(id))
}

// blobRef is the reference by which an item holds its body.
func blobRef(id postino.ID) blob.Ref {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), 'q'), uint64(id))
}
