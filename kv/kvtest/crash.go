package kvtest

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postino-mail/postino/kv"
)

func canCrash(t *testing.T, s Store) {
	if s.Crash == nil || s.OnWrite == nil {
		t.Skip("the engine cannot crash in a test")
	}
}

// testCrashDurable is QU1: what Update acknowledged survives when nothing that
// was not synced does.
func testCrashDurable(t *testing.T, s Store) {
	canCrash(t, s)
	db, stop := open(t, s)
	defer stop()
	want := ""
	for i := range 20 {
		update(t, db, func(tx kv.Tx) error { return set(tx, fmt.Sprintf("t%02d", i), "1") }, "s")
		want += fmt.Sprintf("t%02d=1 ", i)
		after, stopAfter := open(t, s.Crash(0, 0))
		view(t, after, func(r kv.Reader) error { wantDump(t, r, app, want[:len(want)-1]); return nil })
		stopAfter()
	}
}

// ledger is what the outside knows of the writers of a workload: each writer
// commits transactions 1, 2, 3, … that set two keys to their number.
type ledger struct {
	mu      sync.Mutex
	settled []int // the newest acknowledged transaction of each writer
}

func (l *ledger) snapshot() (settled []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(settled, l.settled...)
}

// point is a moment at which the power went.
type point struct {
	store   Store
	settled []int
}

// testCrashEverywhere is QU2: the power goes at each write of a workload, and
// none, a part or all of what was not synced is kept. What was acknowledged is
// there, each transaction is whole or absent, and those of one scope are a
// prefix of what was done.
func testCrashEverywhere(t *testing.T, s Store) {
	canCrash(t, s)
	const writers = 3
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	l := &ledger{settled: make([]int, writers)}
	var points []point
	var mu sync.Mutex
	k := uint64(0)
	s.OnWrite(func() {
		mu.Lock()
		defer mu.Unlock()
		k++
		// What was acknowledged before the cut is noted before it.
		settled := l.snapshot()
		points = append(points, point{s.Crash([]int{0, 30, 70, 100}[k%4], k), settled})
	})
	db, stop := open(t, s)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { crashWriter(t, db, l, w, rounds) })
	}
	wg.Wait()
	s.OnWrite(nil)
	stop()
	points = append(points, point{s.Crash(0, 0), l.snapshot()})
	for i, p := range points {
		if !judgeCrash(t, p, writers) {
			t.Fatalf("crash %d of %d", i, len(points))
		}
	}
	t.Logf("%d crashes", len(points))
}

// crashWriter makes values large enough that logs and tables turn over.
func crashWriter(t *testing.T, db kv.DB, l *ledger, w, rounds int) {
	for i := 1; i <= rounds; i++ {
		value := append(strconv.AppendInt(nil, int64(i), 10), bytes.Repeat([]byte{' '}, 3000*(w+1))...)
		err := db.Update(ctx, []kv.Scope{kv.Scope(fmt.Sprint("w", w))}, func(tx kv.Tx) error {
			if err := tx.Set(fmt.Appendf(nil, "t%d/%04d", w, i), value); err != nil {
				return err
			}
			if err := tx.Delete(fmt.Appendf(nil, "t%d/%04d", w, i-3)); err != nil {
				return err
			}
			return tx.Set(fmt.Appendf(nil, "tlast%d", w), value)
		})
		if err != nil {
			t.Error(err)
			return
		}
		l.mu.Lock()
		l.settled[w] = i
		l.mu.Unlock()
	}
}

func judgeCrash(t *testing.T, p point, writers int) bool {
	db, err := p.store.Open()
	if err != nil {
		t.Errorf("open: %v", err)
		return false
	}
	defer db.Close()
	for w := range writers {
		view(t, db, func(r kv.Reader) error {
			last := 0
			v, err := get(r, fmt.Sprintf("tlast%d", w))
			if err != nil {
				return err
			}
			if v != "-" {
				last, _ = strconv.Atoi(string(bytes.TrimSpace([]byte(v))))
			}
			if last < p.settled[w] {
				t.Errorf("writer %d: %d was acknowledged, %d is there", w, p.settled[w], last)
			}
			want := ""
			for i := max(1, last-2); i <= last; i++ {
				want += fmt.Sprintf("%04d ", i)
			}
			got := ""
			err = r.Scan(kv.Prefix(fmt.Appendf(nil, "t%d/", w)), func(k, _ []byte) bool {
				got += string(k[3:]) + " "
				return true
			})
			if got != want {
				t.Errorf("writer %d: last is %d, but there are %q", w, last, got)
			}
			return err
		})
	}
	// The store goes on.
	update(t, db, func(tx kv.Tx) error { return set(tx, "tafter", "1") })
	return !t.Failed()
}

// testViewIsDurable: nobody is shown what a power cut takes back. At every
// write the power goes for a copy, while readers note what they saw; the copy
// has all that was seen before.
func testViewIsDurable(t *testing.T, s Store) {
	canCrash(t, s)
	db, stop := open(t, s)
	var seen atomic.Int64 // the largest number that any reader was shown
	type cut struct {
		store Store
		seen  int64
	}
	var cuts []cut
	var mu sync.Mutex
	s.OnWrite(func() {
		mu.Lock()
		defer mu.Unlock()
		if len(cuts) < 100 {
			time.Sleep(200 * time.Microsecond) // readers get a chance to see too much
			n := seen.Load()
			cuts = append(cuts, cut{s.Crash(0, 0), n})
		}
	})
	note := func(r kv.Reader) (int64, error) {
		v, err := get(r, "tn")
		n, _ := strconv.ParseInt(v, 10, 64)
		return n, err
	}
	raise := func(n int64) {
		for old := seen.Load(); n > old && !seen.CompareAndSwap(old, n); old = seen.Load() {
		}
	}
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for range 15 {
				if err := db.Update(ctx, []kv.Scope{"n"}, func(tx kv.Tx) error { return add(tx, "tn", 1) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				var n int64
				var err error
				read := func(r kv.Reader) error { n, err = note(r); return err }
				switch i {
				case 0:
					err = db.View(ctx, []kv.Scope{"n"}, read)
				case 1:
					err = db.View(ctx, nil, read)
				case 2: // reads, writes nothing
					err = db.Update(ctx, []kv.Scope{"n"}, func(tx kv.Tx) error { return read(tx) })
				}
				if err != nil {
					t.Error(err)
					return
				}
				raise(n)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	s.OnWrite(nil)
	stop()
	for i, c := range cuts {
		after, stopAfter := open(t, c.store)
		view(t, after, func(r kv.Reader) error {
			n, err := note(r)
			if n < c.seen {
				t.Errorf("cut %d: %d was shown, %d is there", i, c.seen, n)
			}
			return err
		})
		stopAfter()
	}
}
