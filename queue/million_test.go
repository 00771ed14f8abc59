package queue

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/vfs"
)

// fates is a transport whose site dead.example cannot be reached.
type fates struct {
	sink
	sent  atomic.Int64
	first sync.Map // site → when it got its first item
	mu    sync.Mutex
	slow  []time.Duration // from Put to delivery, of items that carry when they were put
}

func (f *fates) Deliver(ctx context.Context, b *Batch) error {
	it := b.Items[0]
	if it.Dest == "dead.example" {
		b.Site(Down, "no route to host")
		return fmt.Errorf("no route to host")
	}
	f.first.LoadOrStore(it.Dest, time.Now())
	if put, ok := it.Carry.(time.Time); ok {
		f.mu.Lock()
		f.slow = append(f.slow, time.Since(put))
		f.mu.Unlock()
	}
	f.sent.Add(1)
	return f.sink.Deliver(ctx, b)
}

// TestMillion fills the queue with a million items for a thousand sites, half of
// them for one that is dead, and starts a new process on it: what it costs of
// memory and time, and whether the dead site slows the others (QU6, SC8). It
// prints figures, and asserts on memory and completeness only.
func TestMillion(t *testing.T) { // QU6 SC8
	if os.Getenv("POSTINO_LONG") == "" {
		t.Skip("set POSTINO_LONG=1")
	}
	const items, sites = 1_000_000, 1000
	dir := t.TempDir()
	ids := new(postino.IDs)
	open := func() *house {
		db, err := lsm.Open(vfs.OS(), dir+"/db", lsm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h := &house{TB: t, db: db, ids: ids}
		if h.blobs, err = blob.New(db, vfs.OS(), dir+"/blobs", blob.Options{IDs: ids}); err != nil {
			t.Fatal(err)
		}
		h.stories = story.New(db, story.Options{IDs: ids})
		return h
	}
	shut := func(h *house) {
		h.stories.Close()
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
	}
	f := &fates{}
	relay := func(h *house) *Queue {
		return New(h.db, h.blobs, h.stories, Options{IDs: ids, Reporter: h, Transports: map[string]TransportOptions{remote: {Transport: f, Sites: true}}})
	}
	var most atomic.Uint64
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.Sys-m.HeapReleased))
			}
		}
	}()

	h := open()
	q := relay(h) // never started
	begin := time.Now()
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for i := n.Add(1); i <= items; i = n.Add(1) {
				dest := "dead.example"
				if i%2 == 0 {
					dest = fmt.Sprintf("d%d.example", i/2%(sites-1))
				}
				h.post(q, letter(dest, func(it *Item) { it.User = uint64(i % 50) }))
			}
		})
	}
	wg.Wait()
	t.Logf("filled in %v, %d MiB at most", time.Since(begin), most.Swap(0)>>20)
	shut(h)

	begin = time.Now()
	h = open()
	opened := time.Since(begin)
	q = relay(h)
	q.Start()
	for f.sent.Load() == 0 {
		time.Sleep(100 * time.Microsecond)
	}
	first := time.Since(begin)
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for i := range 2000 { // newcomers to sites of their own, while the rest is sent
		h.post(q, letter(fmt.Sprintf("new%d.example", i%200), func(it *Item) { it.User, it.Carry = 1000, time.Now() }))
		<-pace.C
	}
	for f.sent.Load() < items/2+2000 && time.Since(begin) < 5*time.Minute {
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("opened in %v, first delivery after %v, %d deliveries after %v, %d MiB at most", opened, first, f.sent.Load(), time.Since(begin), most.Load()>>20)
	var firsts []time.Duration
	f.first.Range(func(_, v any) bool { firsts = append(firsts, v.(time.Time).Sub(begin)); return true })
	slices.Sort(firsts)
	f.mu.Lock()
	slices.Sort(f.slow)
	if len(f.slow) > 0 {
		t.Logf("newcomers: p50 %v, p99 %v; last of %d sites had its first delivery after %v", f.slow[len(f.slow)/2], f.slow[len(f.slow)*99/100], len(firsts), firsts[len(firsts)-1])
	}
	f.mu.Unlock()
	if most.Load() > 1<<30 {
		t.Errorf("%d MiB of memory (QU6)", most.Load()>>20)
	}
	if f.sent.Load() < items/2+2000 {
		t.Errorf("%d delivered", f.sent.Load())
	}
	st := q.Site(remote, "dead.example")
	t.Logf("the dead site: %+v, %+v", st, q.Stats())
	if d, err := q.Count(t.Context(), Filter{Dest: "dead.example"}, nil); err != nil || d.Matched != items/2 {
		t.Errorf("%d items of the dead site, %v", d.Matched, err)
	}
	begin = time.Now()
	groups, err := q.Summary(t.Context(), 10, nil)
	t.Logf("summary in %v: %d groups, %v", time.Since(begin), len(groups), err)
	if err := q.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	shut(h)
}

// hanging is a transport on which attempts for dead.example hang until they
// fail, as connections to a host do that drops packets.
type hanging struct{ fates }

func (f *hanging) Deliver(ctx context.Context, b *Batch) error {
	if b.Items[0].Dest == "dead.example" {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	} else {
		<-time.After(2 * time.Millisecond)
	}
	return f.fates.Deliver(ctx, b)
}

// TestDeadSite sends at an even pace to a thousand sites, of which one hangs and
// gets a tenth of all mail or none does, in turn, and prints how long mail to the
// others takes (SC8). It asserts on completeness only.
func TestDeadSite(t *testing.T) { // SC8
	if os.Getenv("POSTINO_LONG") == "" {
		t.Skip("set POSTINO_LONG=1")
	}
	const items, every = 10_000, 2 * time.Millisecond
	for round := range 6 {
		dead := round%2 == 1
		h := newHouse(t)
		f := &hanging{}
		q := New(h.db, h.blobs, h.stories, Options{IDs: h.ids, Reporter: h, Transports: map[string]TransportOptions{remote: {Transport: f, Sites: true}}})
		q.Start()
		pace := time.NewTicker(every)
		live := int64(0)
		for i := range items {
			dest := fmt.Sprintf("d%d.example", i%999)
			if dead && i%10 == 0 {
				dest = "dead.example"
			} else {
				live++
			}
			h.post(q, letter(dest, func(it *Item) { it.User, it.Carry = uint64(i%50), time.Now() }))
			<-pace.C
		}
		pace.Stop()
		for end := time.Now().Add(time.Minute); f.sent.Load() < live && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if f.sent.Load() != live {
			t.Errorf("%d of %d delivered", f.sent.Load(), live)
		}
		f.mu.Lock()
		slices.Sort(f.slow)
		t.Logf("dead site %-5v: p50 %v, p99 %v, most %v", dead, f.slow[len(f.slow)/2], f.slow[len(f.slow)*99/100], f.slow[len(f.slow)-1])
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = q.Stop(ctx) // cuts off what hangs
		cancel()
	}
}
