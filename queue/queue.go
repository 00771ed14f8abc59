package queue

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/story"
)

// Transport serves the recipients of items.
type Transport interface {
	// Deliver tries the items of b. What it does to them counts only by
	// [Batch.Finish] inside [Batch.Update]; recipients that are still pending
	// after it returned are deferred, with the error as the reason. When it
	// returns an error and b has several items, those that are not finished
	// are tried again one by one. Items of one lane are delivered in order.
	Deliver(ctx context.Context, b *Batch) error
}

// Limits bounds what the queue holds in memory and does at once. A zero field
// means its default.
type Limits struct {
	Ready      int // items in memory: 20,000
	ReadyBytes int // octets of memory of these: 256 MiB
	Batch      int // items given to a transport at once: 128
	BatchRcpts int // recipients given to a transport at once: 512
	Rcpts      int // recipients of an item: 10,000
	Lanes      int // lanes of a transport: 4
	Panics     int // attempts that may panic before an item is quarantined: 3
}

// Options says what a [Queue] works with.
type Options struct {
	Logger  *slog.Logger
	Metrics *metric.Registry
	IDs     *postino.IDs
	// Transports by the name that items carry.
	Transports map[string]Transport
	Retry      Schedule
	Limits     Limits
}

// Queue is the queue. All methods may be called from any goroutine.
type Queue struct {
	db      kv.DB
	blobs   *blob.Store
	stories *story.Store
	opts    Options
	observe *observer
	seed    maphash.Seed

	mu       sync.Mutex
	claimed  map[postino.ID]struct{}  // items in memory
	left     map[postino.ID]struct{}  // claims given up while a scan runs; else nil
	bytes    int                      // weight of claimed items
	lanes    map[string][]*lane       // by transport
	missed   postino.ID               // no New item below it is outside memory; 0: none is
	nextDue  time.Time                // no waiting item outside memory is due before
	attempts map[postino.ID]time.Time // ends of recent attempts, by the monotonic clock

	wake   chan struct{} // tells the clock to look again
	ctx    context.Context
	cancel context.CancelFunc // ends attempts under way
	stop   chan struct{}      // closed by Stop
	once   sync.Once
	done   sync.WaitGroup
}

// New returns a queue that takes mail; Start begins to deliver it.
func New(db kv.DB, blobs *blob.Store, stories *story.Store, opts Options) *Queue {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.IDs == nil {
		opts.IDs = new(postino.IDs)
	}
	l := &opts.Limits
	for _, d := range [...]struct {
		v   *int
		def int
	}{{&l.Ready, 20_000}, {&l.ReadyBytes, 256 << 20}, {&l.Batch, 128}, {&l.BatchRcpts, 512},
		{&l.Rcpts, 10_000}, {&l.Lanes, 4}, {&l.Panics, 3}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	opts.Retry.setDefaults()
	q := &Queue{
		db: db, blobs: blobs, stories: stories, opts: opts, seed: maphash.MakeSeed(),
		claimed: map[postino.ID]struct{}{}, lanes: map[string][]*lane{}, attempts: map[postino.ID]time.Time{},
		missed: 1, nextDue: longAgo, wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	q.observe = newObserver(opts.Logger, opts.Metrics)
	q.ctx, q.cancel = context.WithCancel(context.Background())
	for name, t := range opts.Transports {
		for range l.Lanes {
			q.lanes[name] = append(q.lanes[name], &lane{q: q, transport: t, wake: make(chan struct{}, 1)})
		}
	}
	return q
}

// Start begins to deliver: first what a former process left.
func (q *Queue) Start() {
	for _, lanes := range q.lanes {
		for _, l := range lanes {
			q.done.Go(l.run)
		}
	}
	q.done.Go(q.clock)
}

// Stop ends deliveries: no new attempt begins, those under way may end until
// ctx is done and are then cut off. It returns when all have ended (QU10).
// Nothing is lost: all that is not served is in the store.
func (q *Queue) Stop(ctx context.Context) error {
	q.once.Do(func() { close(q.stop) })
	ended := make(chan struct{})
	go func() { q.done.Wait(); close(ended) }()
	defer q.cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		q.cancel()
		<-ended
		return ctx.Err()
	}
}

// Message is what [Queue.Put] takes: a body, one item for each transport that
// its recipients need, and the events to be kept with it.
type Message struct {
	Staged *blob.Staged
	Items  []*Item
	Events []*story.Event
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
	buf := encoders.Get().(*[]byte)
	defer encoders.Put(buf)
	held := q.claim(m.Items)
	err := q.db.Update(ctx, nil, func(tx kv.Tx) error {
		for i, it := range m.Items {
			var err error
			if i == 0 {
				err = q.blobs.Put(tx, m.Staged, blobRef(it.ID))
			} else {
				err = q.blobs.Link(tx, it.Blob, blobRef(it.ID))
			}
			if err != nil {
				return err
			}
			var kb [10]byte
			*buf = it.appendRecord((*buf)[:0])
			if err := tx.Set(itemKey(kb[:0], StateNew, it.ID), *buf); err != nil {
				return err
			}
		}
		for _, e := range m.Events {
			if err := q.stories.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		q.unclaim(held...)
		return storeError("queue message", err)
	}
	q.observe.accepted(len(m.Items))
	if held == nil {
		q.miss(m.Items[0].ID)
		return nil
	}
	for _, it := range held {
		q.hand(it)
	}
	return nil
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
		if q.lanes[it.Transport] == nil {
			return postino.E(postino.Invalid, "queue message", it.Message.String(), errors.New("unknown transport "+it.Transport))
		}
		if it.ID == 0 {
			it.ID = q.opts.IDs.Next(now)
		}
		it.Blob, it.Size, it.State = m.Staged.ID, m.Staged.Size, StateNew
		if it.Received.IsZero() {
			it.Received = now
		}
		if it.Expires.IsZero() {
			it.Expires = it.Received.Add(q.opts.Retry.Life)
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

// claim notes that items are in memory and returns them, or nil when there is
// no room for them. It precedes their commit, so that no scan takes them too.
func (q *Queue) claim(items []*Item) []*Item {
	bytes := 0
	for _, it := range items {
		bytes += it.weigh()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.claimed)+len(items) > q.opts.Limits.Ready || q.bytes+bytes > q.opts.Limits.ReadyBytes {
		return nil
	}
	q.bytes += bytes
	for _, it := range items {
		q.claimed[it.ID] = struct{}{}
	}
	return items
}

// unclaim forgets items. What they carry may be collected.
func (q *Queue) unclaim(items ...*Item) {
	q.mu.Lock()
	for _, it := range items {
		q.release(it)
	}
	low := (q.missed != 0 || !q.nextDue.After(time.Now())) && len(q.claimed) <= q.opts.Limits.Ready/2
	q.mu.Unlock()
	if low {
		q.poke()
	}
}

// weigh estimates the memory that an item takes.
func (it *Item) weigh() int {
	it.weight = 512 + 256*len(it.Rcpts) + len(it.Prefix) + it.CarryBytes
	return it.weight
}

// release is unclaim under the lock.
func (q *Queue) release(it *Item) {
	if _, ok := q.claimed[it.ID]; !ok {
		return
	}
	delete(q.claimed, it.ID)
	q.bytes -= it.weight
	it.Carry = nil
	if q.left != nil {
		q.left[it.ID] = struct{}{}
	}
}

// miss notes that the New item id is only in the store.
func (q *Queue) miss(id postino.ID) {
	q.mu.Lock()
	q.noteMissed(id)
	low := len(q.claimed) <= q.opts.Limits.Ready/2
	q.mu.Unlock()
	if low {
		q.poke()
	}
}

// noteMissed is miss under the lock.
func (q *Queue) noteMissed(id postino.ID) {
	if q.missed == 0 || id < q.missed {
		q.missed = id
	}
}

// poke wakes the clock.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// hand gives a claimed item to its lane.
func (q *Queue) hand(it *Item) {
	lanes := q.lanes[it.Transport]
	if len(lanes) == 0 { // its transport is no longer configured: it stays
		q.observe.unreadable(it.ID, errors.New("unknown transport "+it.Transport))
		q.unclaim(it)
		return
	}
	lanes[q.laneOf(it)%uint64(len(lanes))].push(it)
}

// laneOf spreads items by the first mailbox they go to.
func (q *Queue) laneOf(it *Item) uint64 {
	r := &it.Rcpts[0]
	if r.Account != 0 {
		return maphash.Comparable(q.seed, r.Account)
	}
	return maphash.String(q.seed, r.Address.Domain)
}
