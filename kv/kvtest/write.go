package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino/kv"
)

// testErrors: an error of the closure comes back as it is, and nothing is
// written; the store goes on.
func testErrors(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	mine := errors.New("mine")
	if err := db.Update(ctx, []kv.Scope{"s"}, func(tx kv.Tx) error { return errors.Join(set(tx, "ta", "1"), mine) }); !errors.Is(err, mine) {
		t.Errorf("update: %v", err)
	}
	if err := db.View(ctx, []kv.Scope{"s"}, func(kv.Reader) error { return mine }); err != mine {
		t.Errorf("view: %v", err)
	}
	update(t, db, func(tx kv.Tx) error { wantDump(t, tx, app, ""); return nil }, "s")
	update(t, db, func(tx kv.Tx) error { return tx.Delete([]byte("tnone")) }, "s")
}

// testPanic: a panic of the closure goes on, nothing is written, and the scope
// is free again.
func testPanic(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	for _, run := range []func(){
		func() {
			_ = db.Update(ctx, []kv.Scope{"s"}, func(tx kv.Tx) error { _ = set(tx, "ta", "1"); panic("mine") })
		},
		func() { _ = db.View(ctx, []kv.Scope{"s"}, func(kv.Reader) error { panic("mine") }) },
	} {
		func() {
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("recovered %v", r)
				}
			}()
			run()
		}()
	}
	update(t, db, func(tx kv.Tx) error { wantDump(t, tx, app, ""); return set(tx, "tb", "1") }, "s")
}

// testLimits: the sizes of kv are taken, what is above is refused, also when
// the closure does not look.
func testLimits(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	key := make([]byte, kv.MaxKey)
	copy(key, "t")
	update(t, db, func(tx kv.Tx) error { return tx.Set(key, make([]byte, kv.MaxValue)) })
	view(t, db, func(r kv.Reader) error {
		v, ok, err := r.Get(key)
		if !ok || len(v) != kv.MaxValue {
			t.Errorf("largest value: %v %d", ok, len(v))
		}
		return err
	})
	update(t, db, func(tx kv.Tx) error { return tx.Delete(key) })
	for name, write := range map[string]func(kv.Tx) error{
		"empty key":       func(tx kv.Tx) error { return tx.Set(nil, nil) },
		"empty deletion":  func(tx kv.Tx) error { return tx.Delete(nil) },
		"long key":        func(tx kv.Tx) error { return tx.Set(make([]byte, kv.MaxKey+1), nil) },
		"long deletion":   func(tx kv.Tx) error { return tx.Delete(make([]byte, kv.MaxKey+1)) },
		"large value":     func(tx kv.Tx) error { return tx.Set(key, make([]byte, kv.MaxValue+1)) },
		"too much in all": fillTx,
	} {
		err := db.Update(ctx, nil, func(tx kv.Tx) error {
			if err := set(tx, "ta", "1"); err != nil {
				return err
			}
			if write(tx) == nil {
				t.Errorf("%s: no error", name)
			}
			return nil
		})
		if err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	view(t, db, func(r kv.Reader) error { wantDump(t, r, app, ""); return nil })
}

func fillTx(tx kv.Tx) error {
	value := make([]byte, kv.MaxValue)
	for i := range kv.MaxTx/kv.MaxValue + 1 {
		if err := tx.Set(fmt.Appendf(nil, "tf%d", i), value); err != nil {
			return err
		}
	}
	return nil
}

// testLostUpdate: updates that share a scope are serial, whatever other scopes
// they name and in which order.
func testLostUpdate(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			scopes := []kv.Scope{"shared", kv.Scope(fmt.Sprint("own", w))}
			if w%2 == 0 {
				scopes[0], scopes[1] = scopes[1], scopes[0]
			}
			for range rounds {
				err := db.Update(ctx, scopes, func(tx kv.Tx) error { return add(tx, "tn", 1) })
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	view(t, db, func(r kv.Reader) error {
		wantDump(t, r, app, fmt.Sprintf("tn=%d", workers*rounds))
		return nil
	}, "shared")
}

// add adds d to the number under key.
func add(tx kv.Tx, key string, d int) error {
	v, err := get(tx, key)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(v)
	return set(tx, key, strconv.Itoa(n+d))
}

// testManyScopes: transfers between accounts, each under two scopes, neither
// wait for each other for ever nor lose money; every View sees it all.
func testManyScopes(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	const accounts = 12
	scope := func(i int) kv.Scope { return kv.Scope(fmt.Sprint("a/", i)) }
	key := func(i int) string { return fmt.Sprintf("t%02d", i) }
	update(t, db, func(tx kv.Tx) error {
		for i := range accounts {
			if err := set(tx, key(i), "100"); err != nil {
				return err
			}
		}
		return nil
	})
	sum := func(r kv.Reader) error {
		total := 0
		err := r.Scan(app, func(_, v []byte) bool {
			n, _ := strconv.Atoi(string(v))
			total += n
			return true
		})
		if total != 100*accounts {
			t.Errorf("there is %d", total)
		}
		return err
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for range 25 {
				a, b := rng.IntN(accounts), rng.IntN(accounts)
				err := db.Update(ctx, []kv.Scope{scope(a), scope(b), scope(a)}, func(tx kv.Tx) error {
					return errors.Join(add(tx, key(a), -7), add(tx, key(b), 7))
				})
				if err == nil {
					err = db.View(ctx, nil, sum)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	view(t, db, sum)
}

// testSnapshot: a View sees one state, however long it lasts, and the next one
// sees what was acknowledged before it began.
func testSnapshot(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	for i := range 20 {
		want := fmt.Sprint(i)
		update(t, db, func(tx kv.Tx) error { return set(tx, "ta", want, "tb", want) }, "s")
		scopes := [][]kv.Scope{nil, {"s"}, {"other", "s"}}[i%3]
		err := db.View(ctx, scopes, func(r kv.Reader) error {
			wantDump(t, r, app, "ta="+want+" tb="+want)
			update(t, db, func(tx kv.Tx) error { return set(tx, "ta", "x", "tc", "x") }, "s")
			wantDump(t, r, app, "ta="+want+" tb="+want)
			v, err := get(r, "ta")
			if v != want {
				t.Errorf("get after an update saw %q", v)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		update(t, db, func(tx kv.Tx) error { return tx.Delete([]byte("tc")) }, "s")
	}
}

// testContext: who waits for a scope can give up.
func testContext(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		err := db.Update(ctx, []kv.Scope{"s"}, func(tx kv.Tx) error {
			if first {
				close(inside)
				first = false
			}
			<-leave
			return set(tx, "ta", "1")
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	err := db.Update(short, []kv.Scope{"s"}, func(tx kv.Tx) error { return set(tx, "tb", "1") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a scope: %v", err)
	}
	close(leave)
	wg.Wait()
	view(t, db, func(r kv.Reader) error { wantDump(t, r, app, "ta=1"); return nil }, "s")
}

// wait waits for a notice.
func wait(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("no notice")
	}
}

// testWatch: a notice comes for each durable change under the prefix, merged,
// and not for others; who reads after it sees the change.
func testWatch(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	changed, end := db.Watch([]byte("ta"))
	all, endAll := db.Watch(nil)
	for i := range 10 {
		update(t, db, func(tx kv.Tx) error { return set(tx, "ta/1", fmt.Sprint(i), "tb", "x") })
		wait(t, changed)
		wait(t, all)
		view(t, db, func(r kv.Reader) error {
			if v, err := get(r, "ta/1"); err != nil || v != fmt.Sprint(i) {
				t.Errorf("after notice %d: %q, %v", i, v, err)
			}
			return nil
		})
	}
	update(t, db, func(tx kv.Tx) error { return set(tx, "tb", "y", "t", "z", "tA", "1") })
	wait(t, all) // given after, or with, what the other would have been given
	_ = db.Update(ctx, nil, func(tx kv.Tx) error { _ = set(tx, "ta", "1"); return errors.ErrUnsupported })
	update(t, db, func(tx kv.Tx) error { return set(tx, "tb", "z") })
	wait(t, all)
	select {
	case <-changed:
		t.Error("notice without a change")
	default:
	}
	update(t, db, func(tx kv.Tx) error { return tx.Delete([]byte("ta/1")) })
	wait(t, changed)
	end()
	end()
	endAll()
	update(t, db, func(tx kv.Tx) error { return set(tx, "ta", "2") })
}

// testWatchMany: thousands of listeners, each told of its own.
func testWatchMany(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	const n = 2000
	name := func(i int) string { return fmt.Sprintf("t/%04d%s", i, "--"[:i%3]) }
	var chans [n]<-chan struct{}
	for i := range n {
		c, end := db.Watch([]byte(name(i)))
		defer end()
		chans[i] = c
	}
	for _, i := range []int{0, 1, 2, 777, n - 1} {
		update(t, db, func(tx kv.Tx) error { return set(tx, name(i)+"/x", "1") })
		wait(t, chans[i])
		for j, c := range chans {
			select {
			case <-c:
				t.Errorf("a change for %d told %d", i, j)
			default:
			}
		}
	}
}

// testClose: Close waits for what runs; after it nothing is taken.
func testClose(t *testing.T, s Store) {
	db, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		once := sync.OnceFunc(func() { close(inside) })
		err := db.Update(ctx, nil, func(tx kv.Tx) error { once(); <-leave; return set(tx, "ta", "1") })
		if err != nil {
			t.Errorf("update during close: %v", err)
		}
	})
	<-inside
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(10 * time.Millisecond) // lets Close begin, most times
	close(leave)
	wg.Wait()
	if err := db.Update(ctx, nil, func(tx kv.Tx) error { return set(tx, "tb", "1") }); !errors.Is(err, kv.ErrStopped) {
		t.Errorf("update after close: %v", err)
	}
	if err := db.View(ctx, nil, func(kv.Reader) error { return nil }); err == nil {
		t.Error("view after close")
	}
	if err := db.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	db, stop := open(t, s)
	defer stop()
	view(t, db, func(r kv.Reader) error { wantDump(t, r, app, "ta=1"); return nil })
}

// testReopen: what was committed is there after Close and Open.
func testReopen(t *testing.T, s Store) {
	want := ""
	for i := range 5 {
		db, stop := open(t, s)
		view(t, db, func(r kv.Reader) error { wantDump(t, r, app, want); return nil })
		update(t, db, func(tx kv.Tx) error { return set(tx, fmt.Sprint("t", i), "1") })
		if want != "" {
			want += " "
		}
		want += fmt.Sprintf("t%d=1", i)
		stop()
	}
}
