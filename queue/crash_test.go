package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// openHouse opens what fs holds.
func openHouse(t testing.TB, fs vfs.FS) *house {
	db, err := lsm.Open(fs, "db", lsm.Options{MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{TB: t, db: db, ids: new(postino.IDs)}
	if h.blobs, err = blob.New(db, fs, "blobs", blob.Options{IDs: h.ids}); err != nil {
		t.Fatal(err)
	}
	h.stories = story.New(db, story.Options{IDs: h.ids})
	return h
}

// ledger is a transport by sites that writes in the transaction of the result
// what became of each recipient: "end" item recipient → how often, and for a
// report "end" of those that it tells of, which its EnvID names.
type ledger struct{}

func (ledger) Deliver(ctx context.Context, b *Batch) error {
	it := b.Items[0]
	return b.Update(ctx, nil, func(tx kv.Tx) error {
		var outcomes []Outcome
		for i := range it.Pending() {
			o := Outcome{Rcpt: i, Result: Relayed, DSN: true}
			switch kind := (it.User + uint64(i)) % 4; {
			case it.Bounce():
			case kind == 1:
				o = Outcome{Rcpt: i, Result: Rejected, Reply: "550 no"}
			case kind == 2 && it.Attempts < 2:
				o = Outcome{Rcpt: i, Result: Deferred, Reply: "450 later"}
			}
			if o.Result == Relayed && !it.Bounce() {
				if err := enter(tx, fmt.Sprintf("end%v/%d", it.ID, i)); err != nil {
					return err
				}
			}
			outcomes = append(outcomes, o)
		}
		if it.Bounce() {
			if err := enter(tx, "end"+it.EnvID); err != nil {
				return err
			}
		}
		return b.Finish(tx, it, outcomes...)
	})
}

// enter counts one more time that something came to its end.
func enter(tx kv.Tx, key string) error {
	v, ok, err := tx.Get([]byte(key))
	if err != nil {
		return err
	}
	n := byte(1)
	if ok {
		n += v[0]
	}
	return tx.Set([]byte(key), []byte{n})
}

// Report implements Reporter: one report about one recipient.
func (h *house) Report(_ context.Context, it *Item, owed []int) (*Message, string, error) {
	w := h.blobs.Create(time.Now())
	fmt.Fprintf(w, "Subject: report\r\n\r\n%v\r\n", it.ID)
	staged, err := w.Finish()
	if err != nil {
		return nil, "", err
	}
	m := &Message{Staged: &staged, Done: w.Abort}
	for _, i := range owed {
		m.Items = append(m.Items, letter("sender.example", func(r *Item) {
			r.From, r.EnvID, r.Message = postino.Address{}, fmt.Sprintf("%v/%d", it.ID, i), h.ids.Next(time.Now())
		}))
	}
	return m, "", nil
}

func (h *house) ledger() *Queue {
	return New(h.db, h.blobs, h.stories, Options{IDs: h.ids, Reporter: h, Limits: Limits{Ready: 24},
		Retry:      Schedule{First: time.Millisecond, Max: 2 * time.Millisecond},
		Transports: map[string]TransportOptions{remote: {Transport: ledger{}, Sites: true}}})
}

// TestCrash cuts the power at random moments while mail is relayed, refused,
// parked and reported. Each recipient that was accepted before ends in exactly one
// way: relayed, or reported to its sender.
func TestCrash(t *testing.T) { // QU2 QU3
	const points, letters, rcpts = 12, 240, 3
	type point struct {
		fs    *vfs.Mem
		acked []postino.ID
	}
	mem := vfs.Memory()
	var mu sync.Mutex
	var acked []postino.ID
	var taken []point
	writes := 0
	fs := vfs.Hook(mem, func(op vfs.Op) error {
		if !op.Writes() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if writes++; len(taken) < points && rand.IntN(25) == 0 && len(acked) > 5 {
			known := append([]postino.ID(nil), acked...)
			taken = append(taken, point{mem.Crash(rand.IntN(101), rand.Uint64()), known})
		}
		return nil
	})
	h := openHouse(t, fs)
	q := h.ledger()
	q.Start()
	var wg sync.WaitGroup
	for s := range 4 {
		wg.Go(func() {
			for i := range letters / 4 {
				it := h.post(q, letter(fmt.Sprintf("d%d.example", i%7), func(it *Item) {
					it.User = uint64(4*i + s + 1)
					for len(it.Rcpts) < rcpts {
						it.Rcpts = append(it.Rcpts, it.Rcpts[0])
					}
				}))
				mu.Lock()
				acked = append(acked, it.ID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	h.finish(q, acked, rcpts)
	t.Logf("%d writes, %d crash points", writes, len(taken))
	if len(taken) < points/2 {
		t.Errorf("only %d crash points", len(taken))
	}
	for _, p := range taken {
		h := openHouse(t, p.fs)
		q := h.ledger()
		q.Start()
		h.finish(q, p.acked, rcpts)
	}
}

// finish waits until the queue is empty, and looks into the ledger.
func (h *house) finish(q *Queue, acked []postino.ID, rcpts int) {
	h.Helper()
	h.eventually("the queue is empty", func() bool { return h.rows("q") == 0 })
	for _, id := range acked {
		for i := range rcpts {
			key := fmt.Sprintf("end%v/%d", id, i)
			err := h.db.View(context.Background(), nil, func(r kv.Reader) error {
				if v, ok, err := r.Get([]byte(key)); err != nil || !ok || v[0] != 1 {
					h.Errorf("recipient %s: ended %v times, %v", key, v, err)
				}
				return nil
			})
			if err != nil {
				h.Fatal(err)
			}
		}
	}
	if n := h.rows("br"); n != 0 {
		h.Errorf("%d references to bodies left", n)
	}
	if err := q.Stop(context.Background()); err != nil {
		h.Error(err)
	}
	h.stories.Close()
	h.db.Close()
}
