package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/vfs"
)

// shelf is a transport that puts each recipient on a shelf of the store, and
// does to an item first what a test asks for.
type shelf struct {
	before func(b *Batch) error
	item   func(it *Item) (Outcome, error)

	mu      sync.Mutex
	batches []int
}

func (s *shelf) Deliver(ctx context.Context, b *Batch) error {
	s.mu.Lock()
	s.batches = append(s.batches, len(b.Items))
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(b); err != nil {
			return err
		}
	}
	return b.Update(ctx, nil, func(tx kv.Tx) error {
		for _, it := range b.Items {
			var outcomes []Outcome
			for i := range it.Pending() {
				o := Outcome{Result: Delivered, Where: "shelf"}
				if s.item != nil {
					var err error
					if o, err = s.item(it); err != nil {
						return err
					}
				}
				o.Rcpt = i
				outcomes = append(outcomes, o)
				if o.Result != Delivered {
					continue
				}
				key := binary.BigEndian.AppendUint64([]byte("shelf"), uint64(it.ID))
				key = append(key, byte(i))
				n := byte(1)
				if v, ok, err := tx.Get(key); err != nil {
					return err
				} else if ok {
					n = v[0] + 1
				}
				if err := tx.Set(key, []byte{n}); err != nil {
					return err
				}
			}
			if err := b.Finish(tx, it, outcomes...); err != nil {
				return err
			}
		}
		return nil
	})
}

type house struct {
	testing.TB
	db      kv.DB
	blobs   *blob.Store
	stories *story.Store
	ids     *postino.IDs
}

func newHouse(t testing.TB) *house { return buildHouse(t, lsm.Options{MemTableBytes: 4 << 20}) }

func buildHouse(t testing.TB, opts lsm.Options) *house {
	fs := vfs.Memory()
	db, err := lsm.Open(fs, "db", opts)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{TB: t, db: db, ids: new(postino.IDs)}
	if h.blobs, err = blob.New(db, fs, "blobs", blob.Options{IDs: h.ids}); err != nil {
		t.Fatal(err)
	}
	h.stories = story.New(db, story.Options{IDs: h.ids})
	t.Cleanup(func() {
		h.stories.Close()
		db.Close()
	})
	return h
}

// queue opens a queue over the house; opts may set Retry and Limits.
func (h *house) queue(t Transport, opts Options) *Queue {
	opts.IDs = h.ids
	opts.Transports = map[string]TransportOptions{"shelf": {Transport: t}}
	return New(h.db, h.blobs, h.stories, opts)
}

func (h *house) start(q *Queue) {
	q.Start()
	h.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := q.Stop(ctx); err != nil {
			h.Error("Stop: ", err)
		}
	})
}

func (h *house) put(q *Queue, rcpts int) *Item {
	h.Helper()
	w := h.blobs.Create(time.Now())
	defer w.Abort()
	fmt.Fprintf(w, "Subject: test\r\n\r\nhello\r\n")
	staged, err := w.Finish()
	if err != nil {
		h.Fatal(err)
	}
	it := &Item{Message: h.ids.Next(time.Now()), Transport: "shelf", From: postino.Address{Local: "ana", Domain: "a.example"}, Carry: "carried", CarryBytes: 7}
	for i := range rcpts {
		a := postino.Address{Local: fmt.Sprint("r", i), Domain: "b.example"}
		it.Rcpts = append(it.Rcpts, Rcpt{Recipient: postino.Recipient{Address: a}, User: a, Account: uint64(i + 1)})
	}
	err = q.Put(context.Background(), &Message{Staged: &staged, Items: []*Item{it},
		Events: []*story.Event{h.stories.Event(it.Message, story.Accepted, time.Now()).Address(story.Sender, it.From)}})
	if err != nil {
		h.Fatal(err)
	}
	return it
}

// shelved counts the recipients on the shelf; twice tells of one served twice.
func (h *house) shelved() (n int) {
	h.Helper()
	err := h.db.View(context.Background(), nil, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte("shelf")), func(_, v []byte) bool {
			if n++; v[0] != 1 {
				h.Error("a recipient was served twice (QU3)")
			}
			return true
		})
	})
	if err != nil {
		h.Fatal(err)
	}
	return n
}

// rows counts the rows below a prefix.
func (h *house) rows(prefix string) (n int) {
	h.Helper()
	err := h.db.View(context.Background(), nil, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte(prefix)), func(_, _ []byte) bool { n++; return true })
	})
	if err != nil {
		h.Fatal(err)
	}
	return n
}

func (h *house) eventually(what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatal("never: ", what)
		}
	}
}

func (h *house) kinds(message postino.ID) (kinds string) {
	h.Helper()
	events, err := h.stories.Get(context.Background(), message)
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range events {
		kinds += e.Kind.String() + " "
	}
	return kinds
}

func (h *house) held(q *Queue) []*Item {
	h.Helper()
	items, err := q.List(context.Background(), Filter{State: StateHeld})
	if err != nil {
		h.Fatal(err)
	}
	return items
}

func TestDelivered(t *testing.T) {
	h := newHouse(t)
	q := h.queue(&shelf{before: func(b *Batch) error {
		if b.Items[0].Carry != "carried" {
			t.Error("what acceptance handed along got lost")
		}
		return nil
	}}, Options{})
	h.start(q)
	it := h.put(q, 3)
	h.eventually("delivered", func() bool { return h.shelved() == 3 && q.Stats().InMemory == 0 })
	if n := h.rows("q"); n != 0 {
		t.Errorf("%d rows left in the queue", n)
	}
	if n := h.rows("br"); n != 0 {
		t.Errorf("%d references to the body left", n)
	}
	if got := h.kinds(it.Message); got != "accepted delivered " {
		t.Errorf("story: %s", got)
	}
}

// Items that gather while a batch is under way share the next one.
func TestGroupWork(t *testing.T) {
	h := newHouse(t)
	hold := make(chan struct{})
	s := &shelf{before: func(*Batch) error { <-hold; return nil }}
	q := h.queue(s, Options{Limits: Limits{Batch: 8}})
	h.start(q)
	for range 17 {
		h.put(q, 1)
	}
	close(hold)
	h.eventually("delivered", func() bool { return h.shelved() == 17 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) > 4 {
		t.Errorf("batches of %v items", s.batches)
	}
	for _, n := range s.batches {
		if n > 8 {
			t.Errorf("a batch of %d items", n)
		}
	}
}

// One that fails or panics does not hurt the others; the one that panics is
// quarantined after three attempts (G4), never deleted.
func TestPanicQuarantine(t *testing.T) {
	h := newHouse(t)
	var bad postino.ID
	var mu sync.Mutex
	s := &shelf{item: func(it *Item) (Outcome, error) {
		mu.Lock()
		defer mu.Unlock()
		if it.ID == bad {
			panic("cannot bear it")
		}
		return Outcome{Result: Delivered}, nil
	}}
	q := h.queue(s, Options{Retry: Schedule{First: time.Millisecond, Max: time.Millisecond}})
	var items []*Item
	for range 9 {
		items = append(items, h.put(q, 1))
	}
	bad = items[4].ID
	h.start(q)
	h.eventually("quarantined", func() bool { return h.shelved() == 8 && len(h.held(q)) == 1 })
	it := h.held(q)[0]
	if it.ID != bad || it.Panics != 3 || it.Attempts != 3 {
		t.Errorf("held: %+v", it)
	}
	if got := h.kinds(it.Message); got != "accepted deferred deferred quarantined " {
		t.Errorf("story: %s", got)
	}
	if h.rows("br") != 1 {
		t.Error("its body is no longer referenced")
	}
	mu.Lock()
	bad = 0
	mu.Unlock()
	if err := only(q.Release(context.Background(), Filter{IDs: []postino.ID{it.ID}}, nil)); err != nil {
		t.Fatal(err)
	}
	h.eventually("delivered after release", func() bool { return h.shelved() == 9 && h.rows("q") == 0 })
}

func TestErrorOfOneMember(t *testing.T) {
	h := newHouse(t)
	var bad postino.ID
	tries := 0
	s := &shelf{item: func(it *Item) (Outcome, error) {
		if it.ID == bad {
			if tries++; tries < 3 {
				return Outcome{}, errors.New("no luck")
			}
		}
		return Outcome{Result: Delivered}, nil
	}}
	q := h.queue(s, Options{Retry: Schedule{First: time.Millisecond, Max: time.Millisecond}, Limits: Limits{Lanes: 1}})
	var items []*Item
	for range 5 {
		items = append(items, h.put(q, 2))
	}
	bad = items[2].ID
	h.start(q)
	h.eventually("delivered", func() bool { return h.shelved() == 10 && h.rows("q") == 0 })
	if got := h.kinds(items[2].Message); got != "accepted deferred delivered " {
		t.Errorf("story: %s", got)
	}
}

// Recipients are independent: the delivered one is never served again, the
// rejected one holds the item.
func TestPerRecipient(t *testing.T) {
	h := newHouse(t)
	attempt := 0
	s := &shelf{}
	s.item = func(it *Item) (Outcome, error) { return Outcome{Result: Delivered}, nil }
	tr := transportFunc(func(ctx context.Context, b *Batch) error {
		attempt++
		return b.Update(ctx, nil, func(tx kv.Tx) error {
			var o []Outcome
			for i := range b.Items[0].Pending() {
				switch {
				case i == 0:
					o = append(o, Outcome{Rcpt: 0, Result: Delivered})
				case i == 1:
					o = append(o, Outcome{Rcpt: 1, Result: Rejected, Reply: "5.1.1 gone"})
				case attempt < 3:
					o = append(o, Outcome{Rcpt: 2, Result: Deferred, Reply: "4.2.2 full"})
				default:
					o = append(o, Outcome{Rcpt: 2, Result: Delivered})
				}
			}
			return b.Finish(tx, b.Items[0], o...)
		})
	})
	q := h.queue(tr, Options{Retry: Schedule{First: time.Millisecond, Max: time.Millisecond}})
	h.start(q)
	it := h.put(q, 3)
	h.eventually("held", func() bool { return len(h.held(q)) == 1 })
	got := h.held(q)[0]
	if got.Rcpts[0].State != Done || got.Rcpts[1].State != Failed || got.Rcpts[2].State != Done || got.Rcpts[1].Reply != "5.1.1 gone" {
		t.Errorf("recipients: %+v", got.Rcpts)
	}
	if k := h.kinds(it.Message); k != "accepted delivered deferred failed deferred delivered held " {
		t.Errorf("story: %s", k)
	}
	if err := only(q.Remove(context.Background(), Filter{IDs: []postino.ID{it.ID}}, "test", nil)); err != nil {
		t.Fatal(err)
	}
	if h.rows("q") != 0 || h.rows("br") != 0 {
		t.Error("rows are left after Remove")
	}
}

type transportFunc func(context.Context, *Batch) error

func (f transportFunc) Deliver(ctx context.Context, b *Batch) error { return f(ctx, b) }

// A recipient that is never served fails when its time is up, and is held.
func TestExpiry(t *testing.T) {
	h := newHouse(t)
	s := &shelf{item: func(*Item) (Outcome, error) { return Outcome{Result: Deferred, Reply: "4.2.2 full"}, nil }}
	q := h.queue(s, Options{Retry: Schedule{First: time.Millisecond, Max: 4 * time.Millisecond, Life: 100 * time.Millisecond}})
	h.start(q)
	h.put(q, 1)
	h.eventually("held", func() bool { return len(h.held(q)) == 1 })
	if it := h.held(q)[0]; it.Rcpts[0].State != Failed || it.Attempts < 2 || h.rows("qd") != 0 {
		t.Errorf("held: %+v", it)
	}
}

// A new process finds what the former one left, and memory stays bounded while
// it works it off (QU6).
func TestRestartAndOverflow(t *testing.T) {
	h := newHouse(t)
	s := &shelf{}
	old := h.queue(s, Options{Limits: Limits{Ready: 16}}) // never started
	for range 300 {
		h.put(old, 1)
	}
	if st := old.Stats(); st.InMemory > 16 || !st.Backlog {
		t.Errorf("stats: %+v", st)
	}
	q := h.queue(&shelf{before: func(b *Batch) error {
		if b.Items[0].State != StateNew {
			t.Errorf("state %v", b.Items[0].State)
		}
		return nil
	}}, Options{Limits: Limits{Ready: 16, Batch: 4}})
	h.start(q)
	var wg sync.WaitGroup
	for range 4 { // and new ones come in meanwhile
		wg.Go(func() {
			for range 50 {
				h.put(q, 1)
				if n := q.Stats().InMemory; n > 16 {
					t.Errorf("%d items in memory", n)
				}
			}
		})
	}
	wg.Wait()
	h.eventually("all delivered", func() bool { return h.shelved() == 500 && h.rows("q") == 0 })
	h.eventually("memory empty", func() bool { return q.Stats() == Stats{} })
}

func TestStopLeavesNothingHalf(t *testing.T) { // QU10
	h := newHouse(t)
	q := h.queue(&shelf{}, Options{Limits: Limits{Batch: 2, Lanes: 1}})
	for range 100 {
		h.put(q, 1)
	}
	q.Start()
	if err := q.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if done, left := h.shelved(), h.rows("qn"); done+left != 100 {
		t.Errorf("%d delivered and %d queued, want 100 in all", done, left)
	}
}

// The fence of the stored item decides, not what a paused worker remembers.
func TestFence(t *testing.T) { // QU9
	h := newHouse(t)
	q := h.queue(&shelf{}, Options{})
	it := h.put(q, 1)
	taken := *it
	taken.Lease = Lease{Owner: "other", Fence: 1}
	err := h.db.Update(context.Background(), nil, func(tx kv.Tx) error {
		return tx.Set(itemKey(nil, StateNew, it.ID), taken.appendRecord(nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &Batch{Items: []*Item{it}, q: q}
	err = b.Update(context.Background(), nil, func(tx kv.Tx) error { return b.Finish(tx, it, Outcome{Result: Delivered}) })
	if !postino.Is(err, postino.Conflict) || h.rows("qn") != 1 {
		t.Errorf("a stale fence finished the item: %v", err)
	}
}

// An item in memory can be managed; only an attempt that is under way stands in
// the way, and a hold waits for its end.
func TestChangeInMemory(t *testing.T) {
	h := newHouse(t)
	begun, end := make(chan struct{}), make(chan struct{})
	q := h.queue(&shelf{before: func(*Batch) error { begun <- struct{}{}; <-end; return errors.New("no luck") }}, Options{})
	it := h.put(q, 1) // in a lane of a queue that does not run
	if got, err := q.Get(t.Context(), it.ID); err != nil || got.ID != it.ID {
		t.Errorf("Get = %v, %v", got, err)
	}
	if err := only(q.Remove(t.Context(), Filter{IDs: []postino.ID{it.ID}}, "test", nil)); err != nil || h.rows("q") != 0 {
		t.Errorf("Remove: %v", err)
	}
	if err := only(q.Remove(t.Context(), Filter{IDs: []postino.ID{99}}, "test", nil)); !postino.Is(err, postino.NotFound) {
		t.Errorf("Remove of an unknown item: %v", err)
	}
	it = h.put(q, 1)
	h.start(q)
	<-begun
	byID := Filter{IDs: []postino.ID{it.ID}}
	if err := only(q.Remove(t.Context(), byID, "test", nil)); !postino.Is(err, postino.Conflict) {
		t.Errorf("Remove during an attempt: %v", err)
	}
	if d, err := q.Hold(t.Context(), byID, "look at it", nil); err != nil || d.Changed != 1 {
		t.Errorf("Hold during an attempt: %+v, %v", d, err)
	}
	close(end)
	h.eventually("held", func() bool { return len(h.held(q)) == 1 && q.Stats() == Stats{} })
	if got := h.held(q)[0]; got.Reason != "look at it" || got.Attempts != 1 {
		t.Errorf("held: %+v", got)
	}
}

// only drops what an operation counted.
func only(_ Changes, err error) error { return err }

func TestBadMessages(t *testing.T) {
	h := newHouse(t)
	q := h.queue(&shelf{}, Options{})
	for name, items := range map[string][]*Item{
		"no items":      nil,
		"no recipients": {{Transport: "shelf"}},
		"no transport":  {{Transport: "pigeon", Rcpts: make([]Rcpt, 1)}},
	} {
		if err := q.Put(context.Background(), &Message{Staged: &blob.Staged{}, Items: items}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchedule(t *testing.T) { // QU7
	var s Schedule
	s.setDefaults()
	now := time.Now()
	for _, tc := range []struct {
		attempt int
		pause   time.Duration
	}{{1, 5 * time.Minute}, {2, 10 * time.Minute}, {5, 80 * time.Minute}, {6, 160 * time.Minute}, {7, 4 * time.Hour}, {100, 4 * time.Hour}} {
		for range 50 {
			got := s.next(tc.attempt, now).Sub(now)
			if got < tc.pause*9/10-time.Second || got > tc.pause*11/10+time.Second {
				t.Errorf("attempt %d: pause %v, want about %v", tc.attempt, got, tc.pause)
			}
		}
	}
}

// A wall clock that was set forward does not make attempts come too soon.
func TestLeastPause(t *testing.T) { // QU7
	h := newHouse(t)
	s := &shelf{item: func(*Item) (Outcome, error) { return Outcome{Result: Deferred}, nil }}
	q := h.queue(s, Options{})
	h.start(q)
	h.put(q, 1)
	h.eventually("deferred", func() bool { return h.rows("qd") == 1 && q.Stats().InMemory == 0 })
	q.mu.Lock()
	q.nextDue = longAgo
	q.mu.Unlock()
	if _, err := q.fillDue(context.Background(), time.Now().Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	items, err := q.List(context.Background(), Filter{State: StateWaiting})
	if err != nil || len(items) != 1 || items[0].Attempts != 1 || q.Stats().InMemory != 0 {
		t.Errorf("the item was taken again: %+v, %v", items, err)
	}
}

func BenchmarkPutDeliver(b *testing.B) {
	h := newHouse(b)
	q := h.queue(&shelf{}, Options{})
	h.start(q)
	b.ReportAllocs()
	b.SetParallelism(25)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.put(q, 1)
		}
	})
	h.eventually("delivered", func() bool { return q.Stats().InMemory == 0 && !q.Stats().Backlog })
}

// BenchmarkRestart measures how long a queue of 100,000 items takes from start to
// the first delivery and to the last (QU6).
func BenchmarkRestart(b *testing.B) {
	for range b.N {
		b.StopTimer()
		h := newHouse(b)
		old := h.queue(&shelf{}, Options{Limits: Limits{Ready: 1}}) // never started
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for range 500 {
					h.put(old, 1)
				}
			})
		}
		wg.Wait()
		var first sync.Once
		var begin time.Time
		q := h.queue(&shelf{before: func(*Batch) error {
			first.Do(func() { b.ReportMetric(float64(time.Since(begin).Microseconds()), "µs-to-first") })
			return nil
		}}, Options{})
		b.StartTimer()
		begin = time.Now()
		q.Start()
		h.eventually("delivered", func() bool { return q.Stats() == Stats{} })
		b.StopTimer()
		if err := q.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
