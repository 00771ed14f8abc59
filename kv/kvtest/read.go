package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/postino-mail/postino/kv"
)

// testOrder: keys are ordered as octets.
func testOrder(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	keys := []string{"t\x00", "t\x00\x00", "t\x01", "tA", "tAB", "tZ", "ta", "t\x7f", "t\x80", "t\xff", "t\xff\x00", "t\xff\xff"}
	update(t, db, func(tx kv.Tx) error {
		for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(keys)) {
			if err := set(tx, keys[i], fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, db, func(r kv.Reader) error {
		for _, reverse := range []bool{false, true} {
			var got []string
			rng := app
			rng.Reverse = reverse
			if err := r.Scan(rng, func(k, _ []byte) bool { got = append(got, string(k)); return true }); err != nil {
				return err
			}
			want := slices.Clone(keys)
			if reverse {
				slices.Reverse(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("reverse %v: %q", reverse, got)
			}
		}
		return nil
	})
}

// ranges is every combination of bounds around a few keys, with its answer.
func ranges(fn func(rng kv.Range, want string)) {
	stored := []string{"ta", "tb", "tc", "td"}
	bounds := []string{"t", "ta", "ta\x00", "tb", "tbb", "td", "te"}
	for _, start := range bounds {
		for _, end := range bounds {
			for _, reverse := range []bool{false, true} {
				for limit := range 4 {
					var want []string
					for _, k := range stored {
						if k >= start && k < end {
							want = append(want, k+"=1")
						}
					}
					if reverse {
						slices.Reverse(want)
					}
					if limit > 0 && len(want) > limit {
						want = want[:limit]
					}
					fn(kv.Range{Start: []byte(start), End: []byte(end), Reverse: reverse, Limit: limit}, strings.Join(want, " "))
				}
			}
		}
	}
}

// testRanges: bounds, direction and limit, over stored keys, over keys of the
// transaction, and over both.
func testRanges(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	undo := errors.New("undo")
	err := db.Update(ctx, nil, func(tx kv.Tx) error {
		if err := set(tx, "ta", "1", "td", "1", "tb", "1", "tc", "1"); err != nil {
			return err
		}
		ranges(func(rng kv.Range, want string) { wantDump(t, tx, rng, want) })
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	update(t, db, func(tx kv.Tx) error { return set(tx, "ta", "1", "tb", "0", "tbx", "1", "tc", "1") })
	err = db.Update(ctx, nil, func(tx kv.Tx) error {
		if err := errors.Join(set(tx, "tb", "1", "td", "1"), tx.Delete([]byte("tbx"))); err != nil {
			return err
		}
		ranges(func(rng kv.Range, want string) { wantDump(t, tx, rng, want) })
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	update(t, db, func(tx kv.Tx) error { return errors.Join(set(tx, "tb", "1", "td", "1"), tx.Delete([]byte("tbx"))) })
	view(t, db, func(r kv.Reader) error {
		ranges(func(rng kv.Range, want string) { wantDump(t, r, rng, want) })
		n := 0
		err := r.Scan(app, func(_, _ []byte) bool { n++; return n < 2 })
		if n != 2 {
			t.Errorf("the callback said stop at 2 and was called %d times", n)
		}
		return err
	})
}

// testModel compares random transactions with a map.
func testModel(t *testing.T, s Store) {
	for seed := range uint64(5) {
		db, stop := open(t, s)
		rng := rand.New(rand.NewPCG(seed, 7))
		model := map[string]string{}
		if seed > 0 {
			view(t, db, func(r kv.Reader) error {
				return r.Scan(app, func(k, v []byte) bool { model[string(k)] = string(v); return true })
			})
		}
		for range 60 {
			next := map[string]string{}
			for k, v := range model {
				next[k] = v
			}
			undo := rng.IntN(4) == 0
			err := db.Update(ctx, []kv.Scope{"s"}, func(tx kv.Tx) error {
				for range rng.IntN(30) {
					randomStep(t, rng, tx, next)
				}
				if undo {
					return errors.ErrUnsupported
				}
				return nil
			})
			if undo != (err != nil) {
				t.Fatal(err)
			}
			if !undo {
				model = next
			}
			view(t, db, func(r kv.Reader) error { wantDump(t, r, app, dumpModel(model, app)); return nil }, "s")
		}
		stop()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomStep(t *testing.T, rng *rand.Rand, tx kv.Tx, model map[string]string) {
	key := fmt.Sprintf("t%02d", rng.IntN(40))
	switch rng.IntN(6) {
	case 0:
		delete(model, key)
		if err := tx.Delete([]byte(key)); err != nil {
			t.Error(err)
		}
	case 1, 2:
		value := strings.Repeat("x", rng.IntN(40))
		model[key] = value
		// The engine copies what it is given.
		k, v := []byte(key), []byte(value)
		if err := tx.Set(k, v); err != nil {
			t.Error(err)
		}
		clear(k)
		clear(v)
	case 3, 4:
		want, ok := model[key]
		if !ok {
			want = "-"
		}
		if got, err := get(tx, key); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", key, got, want, err)
		}
	case 5:
		r := kv.Range{Start: []byte(key), End: fmt.Appendf(nil, "t%02d", rng.IntN(40)), Reverse: rng.IntN(2) == 0, Limit: rng.IntN(5)}
		wantDump(t, tx, r, dumpModel(model, r))
	}
}

func dumpModel(model map[string]string, rng kv.Range) string {
	var pairs []string
	for k, v := range model {
		if k >= string(rng.Start) && k < string(rng.End) {
			pairs = append(pairs, k+"="+v)
		}
	}
	slices.Sort(pairs)
	if rng.Reverse {
		slices.Reverse(pairs)
	}
	if rng.Limit > 0 && len(pairs) > rng.Limit {
		pairs = pairs[:rng.Limit]
	}
	return strings.Join(pairs, " ")
}

// testOwnWrites: a transaction sees its own writes, the last of each key, and
// nobody else sees them before the commit.
func testOwnWrites(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	update(t, db, func(tx kv.Tx) error { return set(tx, "ta", "old", "tb", "old") })
	update(t, db, func(tx kv.Tx) error {
		if err := errors.Join(set(tx, "ta", "1", "ta", "2", "tc", ""), tx.Delete([]byte("tb"))); err != nil {
			return err
		}
		wantDump(t, tx, app, "ta=2 tc=")
		view(t, db, func(r kv.Reader) error { wantDump(t, r, app, "ta=old tb=old"); return nil })
		if err := errors.Join(tx.Delete([]byte("tc")), set(tx, "tb", "new")); err != nil {
			return err
		}
		wantDump(t, tx, app, "ta=2 tb=new")
		// Enough writes that an engine wants an index.
		for i := range 50 {
			if err := set(tx, fmt.Sprintf("tx%02d", i), "1"); err != nil {
				return err
			}
		}
		for key, want := range map[string]string{"ta": "2", "tc": "-", "tx49": "1", "tx50": "-"} {
			if got, err := get(tx, key); err != nil || got != want {
				t.Errorf("%s is %q, want %q (%v)", key, got, want, err)
			}
		}
		return nil
	}, "s")
	view(t, db, func(r kv.Reader) error {
		wantDump(t, r, kv.Range{Start: []byte("t"), End: []byte("tx")}, "ta=2 tb=new")
		return nil
	})
}

// testScanWhileWriting: a scan shows the state at its beginning.
func testScanWhileWriting(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	update(t, db, func(tx kv.Tx) error { return set(tx, "ta", "1", "tb", "1", "tc", "1") })
	update(t, db, func(tx kv.Tx) error {
		seen := ""
		err := tx.Scan(app, func(k, v []byte) bool {
			seen += string(k) + "=" + string(v) + " "
			key := bytes.Clone(k)
			return errors.Join(tx.Set(append(key, 'x'), []byte("2")), tx.Set([]byte("tc"), []byte("2")), tx.Delete(key)) == nil
		})
		if seen != "ta=1 tb=1 tc=1 " {
			t.Errorf("the scan saw %q", seen)
		}
		return err
	})
	view(t, db, func(r kv.Reader) error { wantDump(t, r, app, "tax=2 tbx=2 tcx=2"); return nil })
}

// testNestedScan: scans and gets within a scan.
func testNestedScan(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	update(t, db, func(tx kv.Tx) error { return set(tx, "ta", "1", "tb", "2", "tc", "3") })
	view(t, db, func(r kv.Reader) error {
		got := ""
		err := r.Scan(app, func(k, _ []byte) bool {
			inner := r.Scan(kv.Range{Start: k, End: app.End, Reverse: true}, func(k2, v2 []byte) bool {
				v, err := get(r, string(k2))
				if err != nil || v != string(v2) {
					t.Errorf("get within scans: %q, %v", v, err)
				}
				got += string(k2[1:])
				return true
			})
			got += string(k)
			return inner == nil
		})
		if got != "cbatacbtbctc" {
			t.Errorf("nested scans gave %q", got)
		}
		return err
	})
}

// testLifetime: values of Get stay until the closure returns.
func testLifetime(t *testing.T, s Store) {
	db, stop := open(t, s)
	defer stop()
	sizes := []int{0, 1, 100, 5000, 20000, 100000}
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, sizes[i%len(sizes)]) }
	update(t, db, func(tx kv.Tx) error {
		for i := range 60 {
			if err := tx.Set(fmt.Appendf(nil, "t%02d", i), value(i)); err != nil {
				return err
			}
		}
		return nil
	})
	check := func(r kv.Reader) error {
		var kept [][]byte
		for i := range 60 {
			v, ok, err := r.Get(fmt.Appendf(nil, "t%02d", i))
			if err != nil || !ok {
				return fmt.Errorf("%d: %v", i, err)
			}
			kept = append(kept, v)
		}
		for i, v := range kept {
			if !bytes.Equal(v, value(i)) {
				t.Errorf("value %d changed", i)
			}
		}
		return nil
	}
	view(t, db, check)
	update(t, db, func(tx kv.Tx) error { return check(tx) })
}
