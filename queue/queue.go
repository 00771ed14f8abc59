package queue

import (
	"container/list"
	"context"
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
	// For a site b has one item, and Deliver is called by many goroutines.
	Deliver(ctx context.Context, b *Batch) error
}

// TransportOptions says how a transport is served.
type TransportOptions struct {
	Transport Transport
	// Sites serves the transport by sites, one item at a time; else by lanes,
	// which give it batches.
	Sites bool
	// Slots is how many attempts are under way at once: 200. One site and one
	// sender have half of them at most (QU8).
	Slots int
	// SiteLimit returns how many attempts may be under way at once at a site; nil
	// or a result of 0 means 10 (SC8). It is called with a lock held: it does not
	// block and calls no method of the queue.
	SiteLimit func(dest string) int
}

// Limits bounds what the queue holds in memory and does at once. A zero field
// means its default.
type Limits struct {
	Ready      int // items in memory, for lanes and for sites each: 20,000
	ReadyBytes int // octets of memory of these: 256 MiB
	Batch      int // items given to a transport at once: 128
	BatchRcpts int // recipients given to a transport at once: 512
	Rcpts      int // recipients of an item: 10,000
	Lanes      int // lanes of a transport: 4
	Panics     int // attempts that may panic before an item is quarantined: 3
	Sites      int // sites remembered that have nothing in memory: 10,000
	Clerks     int // reports made at once: 16
}

// Options says what a [Queue] works with.
type Options struct {
	Logger  *slog.Logger
	Metrics *metric.Registry
	IDs     *postino.IDs
	// Transports by the name that items carry.
	Transports map[string]TransportOptions
	// Reporter makes the reports that are owed. Without one none is, and mail
	// that fails is held.
	Reporter Reporter
	Retry    Schedule
	Limits   Limits
}

// Queue is the queue. All methods may be called from any goroutine.
type Queue struct {
	db      kv.DB
	blobs   *blob.Store
	stories *story.Store
	opts    Options
	observe *observer
	seed    maphash.Seed
	lines   map[string]*line

	mu       sync.Mutex
	active   bool                 // between Start and Stop
	begun    time.Time            // when Start was called
	claimed  map[postino.ID]*Item // items in memory
	left     map[postino.ID]bool  // claims given up while a scan runs; else nil
	laneRoom room                 // what items for lanes take
	siteRoom room                 // what items for sites take
	missed   postino.ID           // no New item below it is outside memory; 0: none is
	nextDue  time.Time            // no waiting item outside memory is due before
	nextLate time.Time            // nor has a parked one anything else to be done
	attempts recent               // ends of recent attempts
	sites    map[siteKey]*site    // what is known of sites
	senders  map[uint64]*sender   // who has items in memory for sites
	flows    map[flowKey]*flow    // items in memory for sites
	idle     list.List            // sites with nothing in memory, the latest first
	hungry   fifo[*site]          // sites that take parked items
	starved  fifo[*site]          // sites whose parked items found no room
	unseats  int                  // seats given back since some of these were fed
	closing  fifo[*site]          // closed sites that have items in memory
	sweep    sweep                // the walk over sites with parked items
	desk     fifo[*Item]          // items that the clerks work on
	clerks   int                  // that work

	wake   chan struct{} // tells the keeper to look again
	ctx    context.Context
	cancel context.CancelFunc // ends attempts under way
	stop   chan struct{}      // closed by Stop
	once   sync.Once
	done   sync.WaitGroup
}

// line is a transport at work: by lanes, or by sites.
type line struct {
	q     *Queue
	name  string
	opts  TransportOptions
	lanes []*lane

	// Guarded by Queue.mu.
	ring    fifo[*site] // sites that may send, each once
	running int         // slots at work
	unsure  bool        // a result could not be written: nothing is tried
}

// room is what some items take of memory.
type room struct{ items, bytes int }

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
		{&l.Rcpts, 10_000}, {&l.Lanes, 4}, {&l.Panics, 3}, {&l.Sites, 10_000}, {&l.Clerks, 16}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	opts.Retry.setDefaults()
	q := &Queue{
		db: db, blobs: blobs, stories: stories, opts: opts, seed: maphash.MakeSeed(), lines: map[string]*line{},
		claimed: map[postino.ID]*Item{}, attempts: recent{ends: map[postino.ID]time.Time{}},
		sites: map[siteKey]*site{}, senders: map[uint64]*sender{}, flows: map[flowKey]*flow{},
		missed: 1, nextDue: longAgo, nextLate: longAgo, sweep: sweep{due: true}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	q.observe = newObserver(opts.Logger, opts.Metrics)
	q.ctx, q.cancel = context.WithCancel(context.Background())
	for name, t := range opts.Transports {
		if t.Slots <= 0 {
			t.Slots = 200
		}
		ln := &line{q: q, name: name, opts: t}
		if !t.Sites {
			for range l.Lanes {
				ln.lanes = append(ln.lanes, &lane{q: q, transport: t.Transport, wake: make(chan struct{}, 1)})
			}
		}
		q.lines[name] = ln
	}
	return q
}

// SetReporter is Options.Reporter for one that needs the queue itself; it is
// called before Start and before the first Put.
func (q *Queue) SetReporter(r Reporter) { q.opts.Reporter = r }

// Start begins to deliver: first what a former process left.
func (q *Queue) Start() {
	q.mu.Lock()
	q.active, q.begun = true, time.Now()
	for _, ln := range q.lines {
		ln.spawn()
	}
	q.mu.Unlock()
	for _, ln := range q.lines {
		for _, l := range ln.lanes {
			q.done.Go(l.run)
		}
	}
	q.done.Go(q.keep)
}

// Stop ends deliveries: no new attempt begins, those under way may end until
// ctx is done and are then cut off. It returns when all have ended (QU10).
// Nothing is lost: all that is not served is in the store.
func (q *Queue) Stop(ctx context.Context) error {
	q.once.Do(func() {
		q.mu.Lock()
		q.active = false
		for _, s := range q.sites {
			s.stopTimer()
		}
		q.mu.Unlock()
		close(q.stop)
	})
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

// poke wakes the keeper.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pause waits until the queue stops, or for d.
func (q *Queue) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-q.stop:
	case <-t.C:
	}
}
