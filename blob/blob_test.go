package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/vfs"
)

var ctx = context.Background()

// past is a moment before any grace time.
var past = time.Now().Add(-24 * time.Hour)

type house struct {
	*Store
	db *lsm.DB
	fs vfs.FS
}

func open(t testing.TB, fsys vfs.FS, opts Options) *house {
	t.Helper()
	db, err := lsm.Open(fsys, "kv", lsm.Options{CacheBytes: 8 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(db, fsys, "blobs", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &house{s, db, fsys}
}

func random(size int, seed uint64) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// stage writes body in pieces.
func (h *house) stage(t testing.TB, body []byte, now time.Time) (*Writer, Staged) {
	t.Helper()
	w := h.Create(now)
	for p := body; len(p) > 0; {
		n := min(len(p), 3000)
		if _, err := w.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	st, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return w, st
}

func (h *house) put(t testing.TB, body []byte, ref string, now time.Time) postino.BlobID {
	t.Helper()
	w, st := h.stage(t, body, now)
	defer w.Abort()
	if err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return h.Put(tx, &st, Ref(ref)) }); err != nil {
		t.Fatal(err)
	}
	return st.ID
}

func (h *house) unlink(t testing.TB, id postino.BlobID, ref string) {
	t.Helper()
	if err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return h.Unlink(tx, id, Ref(ref)) }); err != nil {
		t.Fatal(err)
	}
}

// read returns the whole body, over both ways of reading.
func (h *house) read(id postino.BlobID) ([]byte, error) {
	r, err := h.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	if n, err := r.WriteTo(&b); err != nil || n != r.Size() {
		return nil, fmt.Errorf("wrote %d of %d: %w", n, r.Size(), err)
	}
	again, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()+5))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b.Bytes()) {
		return nil, errors.New("ReadAt and WriteTo differ")
	}
	return b.Bytes(), nil
}

// files counts what lies in the directories.
func (h *house) files(t testing.TB) (n int) {
	t.Helper()
	outer, err := h.fs.List("blobs")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outer {
		inner, _ := h.fs.List("blobs/" + o)
		for _, i := range inner {
			names, _ := h.fs.List("blobs/" + o + "/" + i)
			n += len(names)
		}
	}
	return n
}

// age makes all idle bodies idle since the past.
func (h *house) age(t testing.TB) {
	t.Helper()
	err := h.db.Update(ctx, nil, func(tx kv.Tx) error {
		var keys [][]byte
		err := tx.Scan(kv.Prefix([]byte{'b', idleRow}), func(k, _ []byte) bool {
			keys = append(keys, bytes.Clone(k))
			return true
		})
		for _, k := range keys {
			v := make([]byte, 9)
			v[0] = version
			if err := tx.Set(k, v); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRoundTrip is PA7: what was written is what is read, at every edge.
func TestRoundTrip(t *testing.T) {
	h := open(t, vfs.Memory(), Options{})
	for i, size := range []int{0, 1, 4090, 4096, 16384, blockSize - 1, blockSize, blockSize + 1, 2 * blockSize, 1<<20 + 17} {
		body := random(size, uint64(i))
		w, st := h.stage(t, body, time.Now())
		if st.Size != int64(size) || w.Size() != int64(size) || st.ID.Sum() != sha256.Sum256(body) {
			t.Errorf("%d octets: staged %d, id %s", size, st.Size, st.ID)
		}
		if in := st.Bytes(); (in != nil) != (size <= blockSize) || in != nil && !bytes.Equal(in, body) {
			t.Errorf("%d octets: %d in memory", size, len(in))
		}
		err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return h.Put(tx, &st, Ref("q1")) })
		if err != nil {
			t.Fatal(err)
		}
		w.Abort()
		w.Abort()
		if got, err := h.read(st.ID); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d octets: read %d, %v", size, len(got), err)
		}
		r, err := h.Open(ctx, st.ID)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			off := rand.IntN(size + 1)
			p := make([]byte, rand.IntN(size-off+1))
			if _, err := r.ReadAt(p, int64(off)); err != nil && !(err == io.EOF && off == size) || !bytes.Equal(p, body[off:off+len(p)]) {
				t.Errorf("%d octets: ReadAt %d+%d: %v", size, off, len(p), err)
			}
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
	}
	if left := h.memory.left.Load(); left != h.opts.MemoryBudget {
		t.Errorf("budget is %d short", h.opts.MemoryBudget-left)
	}
	if err := h.Scrub(ctx, nil); err != nil {
		t.Error(err)
	}
}

// TestBudget is SS16: memory is reserved before it is taken.
func TestBudget(t *testing.T) {
	h := open(t, vfs.Memory(), Options{MemoryBudget: 100 << 10})
	a, b := h.Create(time.Now()), h.Create(time.Now())
	if _, err := a.Write(make([]byte, 60<<10)); err != nil {
		t.Fatal(err)
	}
	_, err := b.Write(make([]byte, 60<<10))
	if !postino.Is(err, postino.Full) {
		t.Errorf("over budget: %v", err)
	}
	if _, again := b.Finish(); again != err {
		t.Errorf("finish after failure: %v", again)
	}
	b.Abort()
	a.Abort()
	c := h.Create(time.Now())
	if _, err := c.Write(make([]byte, 60<<10)); err != nil {
		t.Error(err)
	}
	c.Abort()
}

func TestFullDisk(t *testing.T) {
	faults := vfs.NewFaults(vfs.Memory())
	full := errors.New("nearly full")
	var refuse error
	h := open(t, faults, Options{Admit: func(int64) error { return refuse }})
	try := func() error {
		w := h.Create(time.Now())
		defer w.Abort()
		_, err := w.Write(random(300<<10, 1))
		if err == nil {
			_, err = w.Finish()
		}
		return err
	}
	refuse = full
	if err := try(); !postino.Is(err, postino.Full) || !errors.Is(err, full) {
		t.Errorf("not admitted: %v", err)
	}
	refuse = nil
	faults.FailIf(func(op vfs.Op) bool { return op.Kind == vfs.OpWrite && strings.Contains(op.Path, "tmp-") }, syscall.ENOSPC)
	if err := try(); !postino.Is(err, postino.Full) {
		t.Errorf("full disk: %v", err)
	}
	faults.FailIf(func(op vfs.Op) bool { return op.Kind == vfs.OpSync && strings.Contains(op.Path, "tmp-") }, syscall.EIO)
	if err := try(); !errors.Is(err, syscall.EIO) {
		t.Errorf("failed sync: %v", err)
	}
	faults.FailIf(nil, nil)
	if n := h.files(t); n != 0 {
		t.Errorf("%d files stay", n)
	}
	if err := try(); err != nil {
		t.Error(err)
	}
}

func TestReferences(t *testing.T) {
	h := open(t, vfs.Memory(), Options{})
	small, large := h.put(t, random(100, 1), "q1", past), h.put(t, random(200<<10, 2), "q1", past)
	sweep := func() {
		t.Helper()
		h.age(t)
		if err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []postino.BlobID{small, large} {
		// Handing over: the new holder first, then the old one goes.
		err := h.db.Update(ctx, nil, func(tx kv.Tx) error {
			return errors.Join(h.Link(tx, id, Ref("m1")), h.Unlink(tx, id, Ref("q1")))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	for _, id := range []postino.BlobID{small, large} {
		if _, err := h.read(id); err != nil {
			t.Errorf("held body: %v", err)
		}
		h.unlink(t, id, "m1")
		if err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := h.read(id); err != nil {
			t.Errorf("body within grace: %v", err)
		}
		err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return h.Link(tx, id, Ref("m2")) })
		if !postino.Is(err, postino.NotFound) {
			t.Errorf("link to a body without holder: %v", err)
		}
	}
	// An idle row beside a reference is a race of two transactions: the second
	// look keeps the body.
	raced := h.put(t, []byte("raced"), "m1", past)
	if err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return setIdle(tx, raced) }); err != nil {
		t.Fatal(err)
	}
	sweep()
	for _, id := range []postino.BlobID{small, large} {
		if _, err := h.read(id); !postino.Is(err, postino.NotFound) {
			t.Errorf("swept body: %v", err)
		}
	}
	if _, err := h.read(raced); err != nil {
		t.Errorf("raced body: %v", err)
	}
	if n := h.files(t); n != 0 {
		t.Errorf("%d files stay", n)
	}
	for _, ref := range []string{"", strings.Repeat("x", 33)} {
		err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return h.Link(tx, raced, Ref(ref)) })
		if err == nil {
			t.Errorf("reference of %d octets taken", len(ref))
		}
	}
}

// TestUnput: what a Writer staged and did not commit goes.
func TestUnput(t *testing.T) {
	h := open(t, vfs.Memory(), Options{})
	w, _ := h.stage(t, random(200<<10, 1), past)
	if err := h.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := h.files(t); n != 1 {
		t.Errorf("%d files while in hand", n)
	}
	w.Abort()
	if n := h.files(t); n != 0 {
		t.Errorf("%d files after Abort", n)
	}
	w, st := h.stage(t, random(200<<10, 2), past)
	failed := errors.New("no")
	err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return errors.Join(h.Put(tx, &st, Ref("q1")), failed) })
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	w.Abort()
	if err := h.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := h.files(t); n != 0 {
		t.Errorf("%d files after the sweep", n)
	}
}

// TestCorrupt is ST2: a wrong octet is reported, the rest is served.
func TestCorrupt(t *testing.T) {
	mem := vfs.Memory()
	h := open(t, mem, Options{})
	good := h.put(t, random(150<<10, 1), "m1", time.Now())
	file := h.put(t, random(150<<10, 2), "m1", time.Now())
	small := h.put(t, random(1000, 3), "m1", time.Now())
	lost := h.put(t, random(150<<10, 4), "m1", time.Now())
	f, err := mem.OpenReadWrite(h.path(file), vfs.Category)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("wrong"), 70<<10); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), mem.Remove(h.path(lost))); err != nil {
		t.Fatal(err)
	}
	key := appendKey(nil, bodyRow, small)
	err = h.db.Update(ctx, nil, func(tx kv.Tx) error {
		v, _, err := tx.Get(key)
		v = bytes.Clone(v)
		v[500] ^= 1
		return errors.Join(err, tx.Set(key, v))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []postino.BlobID{file, small, lost} {
		if _, err := h.read(id); !postino.Is(err, postino.Corrupt) {
			t.Errorf("corrupt body: %v", err)
		}
	}
	if _, err := h.read(good); err != nil {
		t.Error(err)
	}
	r, err := h.Open(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.ReadAt(make([]byte, 64<<10), 0); err != nil {
		t.Errorf("good block of a bad file: %d, %v", n, err)
	}
	bad := map[postino.BlobID]bool{}
	err = h.Scrub(ctx, func(p Progress) {
		if p.Err != nil {
			bad[p.ID] = true
		}
	})
	if !postino.Is(err, postino.Corrupt) || len(bad) != 3 || bad[good] {
		t.Errorf("scrub: %v, bad %d", err, len(bad))
	}
}

func TestGetMany(t *testing.T) {
	h := open(t, vfs.Memory(), Options{})
	var all []postino.BlobID
	bodies := map[postino.BlobID]string{}
	for i := range 200 {
		body := fmt.Sprint("body ", i)
		id := h.put(t, []byte(body), "m1", time.Now())
		all, bodies[id] = append(all, id), body
	}
	large := h.put(t, random(100<<10, 1), "m1", time.Now())
	for trial := range 50 {
		rng := rand.New(rand.NewPCG(uint64(trial), 1))
		var ids []postino.BlobID
		for range rng.IntN(60) {
			id := all[rng.IntN(len(all))]
			switch rng.IntN(8) {
			case 0:
				id = large
			case 1:
				id[47-8]++ // a missing neighbour
			}
			ids = append(ids, id)
		}
		seen := make([]int, len(ids))
		err := h.db.View(ctx, nil, func(r kv.Reader) error {
			return h.GetMany(r, ids, func(i int, body []byte) error {
				seen[i]++
				if string(body) != bodies[ids[i]] {
					t.Errorf("%d is %q, not %q", i, body, bodies[ids[i]])
				}
				one, ok, err := h.Get(r, ids[i], nil)
				if ok != (body != nil) || string(one) != string(body) {
					t.Errorf("Get says %v %q", ok, one)
				}
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range seen {
			if n != 1 {
				t.Errorf("%d seen %d times", i, n)
			}
		}
	}
}

// TestCrash is QU1 and ST1: at each write of a workload the power goes. What
// was acknowledged is there whole, the rest is swept, and a crash during the
// sweep does no harm.
func TestCrash(t *testing.T) {
	mem := vfs.Memory()
	type point struct {
		fs    *vfs.Mem
		acked int
	}
	var mu sync.Mutex
	var points []point
	var acked []postino.BlobID
	gone := map[postino.BlobID]int{} // when its last reference went
	seed := uint64(0)
	hooked := vfs.Hook(mem, func(op vfs.Op) error {
		if op.Writes() && (op.N%5 == 0 || !testing.Short()) {
			mu.Lock()
			defer mu.Unlock()
			seed++
			points = append(points, point{mem.Crash([]int{0, 50, 100}[seed%3], seed), len(acked)})
		}
		return nil
	})
	h := open(t, hooked, Options{})
	for i := range 8 {
		size := 300
		if i%2 == 0 {
			size = 90<<10 + i
		}
		w, st := h.stage(t, random(size, uint64(i)), past)
		err := h.db.Update(ctx, nil, func(tx kv.Tx) error { return h.Put(tx, &st, Ref("m1")) })
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		acked = append(acked, st.ID)
		mu.Unlock()
		w.Abort()
		if i == 5 {
			gone[acked[2]] = len(acked)
			h.unlink(t, acked[2], "m1")
		}
	}
	h.stage(t, random(80<<10, 99), past) // never put
	points = append(points, point{mem.Crash(0, 0), len(acked)})
	_ = h.db.Close()
	for n, p := range points {
		judge := func(h *house, step string) {
			t.Helper()
			for i, id := range acked[:p.acked] {
				if at, ok := gone[id]; ok && p.acked >= at {
					continue
				}
				if got, err := h.read(id); err != nil || len(got) == 0 {
					t.Fatalf("crash %d, %s: acknowledged %d lost: %v", n, step, i, err)
				}
			}
			if err := h.Scrub(ctx, nil); err != nil {
				t.Fatalf("crash %d, %s: %v", n, step, err)
			}
		}
		h := open(t, p.fs, Options{})
		judge(h, "restart")
		h.age(t)
		// The second crash: in the middle of the sweep.
		k, mid := rand.Int64N(6)+1, (*vfs.Mem)(nil)
		_ = h.db.Close()
		h = open(t, vfs.Hook(p.fs, func(op vfs.Op) error {
			if op.Kind == vfs.OpRemove && strings.HasPrefix(op.Path, "blobs") || op.Kind == vfs.OpSync {
				mu.Lock()
				defer mu.Unlock()
				if k--; k == 0 {
					mid = p.fs.Crash(50, uint64(n))
				}
			}
			return nil
		}), Options{})
		if err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		judge(h, "sweep")
		_ = h.db.Close()
		if mid == nil {
			continue
		}
		h = open(t, mid, Options{})
		judge(h, "crash in the sweep")
		h.age(t)
		if err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		judge(h, "second sweep")
		records := 0
		err := h.db.View(ctx, nil, func(r kv.Reader) error {
			return r.Scan(kv.Prefix([]byte{'b', fileRow}), func(_, _ []byte) bool { records++; return true })
		})
		if err != nil {
			t.Fatal(err)
		}
		if files := h.files(t); files != records {
			t.Fatalf("crash %d: %d files, %d records", n, files, records)
		}
		_ = h.db.Close()
	}
	t.Logf("%d crashes", len(points))
}
