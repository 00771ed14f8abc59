package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// Message is what [Queue.Put] takes: a body, one item for each transport and
// site that its recipients need, and the events to be kept with it.
type Message struct {
	// Staged is the body; nil when each item names the Blob and Size of one that
	// has a reference already.
	Staged *blob.Staged
	Items  []*Item
	Events []*story.Event
	// Done is called once the queue needs Staged no more, if the message came
	// from a [Reporter]; else whoever put it knows. It may be nil.
	Done func()
}

// encoders holds buffers for records, so that Put allocates none.
var encoders = sync.Pool{New: func() any { return new([]byte) }}

// Put takes responsibility for a message: when it returns nil, body, items and
// story are on stable storage. The kind of an error is Full when there is no
// room, Transient when the store stopped, Invalid for an item without
// recipients or with an unknown transport.
func (q *Queue) Put(ctx context.Context, m *Message) error {
	if err := q.prepare(m); err != nil {
		return err
	}
	q.seatNew(m.Items, true)
	err := q.db.Update(ctx, nil, func(tx kv.Tx) error { return q.store(tx, m) })
	if err != nil {
		q.unclaim(m.Items...)
		return storeError("queue message", err)
	}
	q.observe.accepted(len(m.Items))
	q.handNew(m.Items)
	return nil
}

// PutIn is Put as part of the caller's transaction, which is what it depends on:
// it may be called again when the closure runs again. After the commit the last
// function that it returned is to be called, which hands the items over in
// memory; should that be missed, they are found by the next start.
func (q *Queue) PutIn(tx kv.Tx, m *Message) (committed func(), err error) {
	if err := q.prepare(m); err != nil {
		return nil, err
	}
	if err := q.store(tx, m); err != nil {
		return nil, err
	}
	return func() {
		q.observe.accepted(len(m.Items))
		q.seatNew(m.Items, false)
		q.handNew(m.Items)
	}, nil
}

// prepare fills in and checks the items of m.
func (q *Queue) prepare(m *Message) error {
	if len(m.Items) == 0 {
		return postino.E(postino.Invalid, "queue message", "", errors.New("no items"))
	}
	now := time.Now()
	for _, it := range m.Items {
		if len(it.Rcpts) == 0 || len(it.Rcpts) > q.opts.Limits.Rcpts {
			return postino.E(postino.Invalid, "queue message", it.Message.String(), errors.New("bad number of recipients"))
		}
		if q.lines[it.Transport] == nil {
			return postino.E(postino.Invalid, "queue message", it.Message.String(), errors.New("unknown transport "+it.Transport))
		}
		if it.ID == 0 {
			it.ID = q.opts.IDs.Next(now)
		}
		if m.Staged != nil {
			it.Blob, it.Size = m.Staged.ID, m.Staged.Size
		}
		if it.Received.IsZero() {
			it.Received = now
		}
		if it.Expires.IsZero() {
			it.Expires = it.start().Add(q.opts.Retry.life(it))
		}
		it.State = StateNew
		if it.HoldUntil.After(now) { // RFC 4865 §4
			it.State = StateWaiting
			it.Next = it.HoldUntil.Truncate(time.Millisecond)
			it.Due = q.dueOf(it, now)
		}
	}
	return nil
}

// start is when the time of the item began to run.
func (it *Item) start() time.Time {
	if it.HoldUntil.After(it.Received) {
		return it.HoldUntil
	}
	return it.Received
}

// store writes a message that was prepared.
func (q *Queue) store(tx kv.Tx, m *Message) error {
	buf := encoders.Get().(*[]byte)
	defer encoders.Put(buf)
	for i, it := range m.Items {
		var err error
		if i == 0 && m.Staged != nil {
			err = q.blobs.Put(tx, m.Staged, blobRef(it.ID))
		} else {
			err = q.blobs.Link(tx, it.Blob, blobRef(it.ID))
		}
		if err != nil {
			return err
		}
		if err := q.insert(tx, it, buf); err != nil {
			return err
		}
		if it.State == StateParked && it.Reason != "" {
			if err := q.stories.Append(tx, q.stories.Event(it.Message, story.Queued, it.Received).Text(story.Reason, it.Reason)); err != nil {
				return err
			}
		}
	}
	for _, e := range m.Events {
		if err := q.stories.Append(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// storeError gives an error of the store its kind.
func storeError(op string, err error) error {
	switch {
	case errors.Is(err, kv.ErrFull):
		return postino.E(postino.Full, op, "", err)
	case errors.Is(err, kv.ErrStopped), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return postino.E(postino.Transient, op, "", err)
	}
	return postino.E(postino.Internal, op, "", err)
}
