package lsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/vfs"
)

func small() Options { return Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20} }

func mustOpen(t *testing.T, fsys vfs.FS, opts Options) *DB {
	t.Helper()
	db, err := Open(fsys, "data", opts)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func set(db *DB, key, value string, scopes ...kv.Scope) error {
	return db.Update(context.Background(), scopes, func(tx kv.Tx) error { return tx.Set([]byte(key), []byte(value)) })
}

func get(t *testing.T, db *DB, key string) string {
	t.Helper()
	var got string
	err := db.View(context.Background(), nil, func(r kv.Reader) error {
		v, _, err := r.Get([]byte(key))
		got = string(v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestSyncFailure is QU4: a failed sync is never acknowledged, later updates
// are refused, views go on, and the log has what was acknowledged.
func TestSyncFailure(t *testing.T) {
	mem := vfs.Memory()
	faults := vfs.NewFaults(mem)
	db := mustOpen(t, faults, small())
	if err := set(db, "a", "1", "s"); err != nil {
		t.Fatal(err)
	}
	faults.FailSync(".log")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := set(db, fmt.Sprint("b", i), "2", "s")
			if !errors.Is(err, kv.ErrStopped) || postino.KindOf(err) != postino.Transient {
				t.Errorf("update during failure: %v", err)
			}
		})
	}
	wg.Wait()
	if err := <-db.Failed(); err == nil || !strings.Contains(err.Error(), syscall.EIO.Error()) {
		t.Errorf("Failed gave %v", err)
	}
	faults.FailIf(nil, nil)
	if err := set(db, "c", "3"); !errors.Is(err, kv.ErrStopped) {
		t.Errorf("update after failure: %v", err)
	}
	if got := get(t, db, "a") + get(t, db, "b0"); got != "1" {
		t.Errorf("view after failure saw %q", got)
	}
	err := db.View(context.Background(), []kv.Scope{"s"}, func(kv.Reader) error { return nil })
	if err != nil && !errors.Is(err, kv.ErrStopped) {
		t.Errorf("view of the scope: %v", err)
	}
	_ = db.Close()
	db = mustOpen(t, mem.Crash(0, 0), small())
	if got := get(t, db, "a"); got != "1" {
		t.Errorf("after restart a is %q", got)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestFatal lets each kind of write fail, one after the other, in a workload
// that flushes and compacts: no update hangs and none is acknowledged falsely.
func TestFatal(t *testing.T) {
	step := int64(7)
	if testing.Short() {
		step = 43
	}
	for n := int64(1); ; n += step {
		mem := vfs.Memory()
		faults := vfs.NewFaults(mem)
		faults.FailNth(n, syscall.EIO)
		opts := small()
		opts.MemTableBytes = 256 << 10
		acked := -1
		db, err := Open(faults, "data", opts)
		if err == nil {
			value := strings.Repeat("x", 8<<10)
			for i := range 100 {
				if set(db, fmt.Sprintf("k%03d", i), value, "s") != nil {
					break
				}
				acked = i
			}
			_ = db.Close()
		}
		seen := faults.Writes()
		db, err = Open(mem.Crash(0, 0), "data", opts)
		if err != nil {
			t.Fatalf("write %d failed: cannot open again: %v", n, err)
		}
		for i := range acked + 1 {
			if get(t, db, fmt.Sprintf("k%03d", i)) == "" {
				t.Fatalf("write %d failed: lost acknowledged %d", n, i)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if seen < n {
			return
		}
	}
}

func TestFormat(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.Memory()
	db := mustOpen(t, mem, small())
	if err := set(db, string(formatKey), "\x02"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(mem, "data", small()); err == nil || !strings.Contains(err.Error(), "format") {
		t.Errorf("newer format: %v", err)
	}
}

// TestLock is ST4: one process per directory, files of mode 0600.
func TestLock(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), "data")
	opts := small()
	opts.Guard.Ballast = -1
	db, err := Open(vfs.OS(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := set(db, "a", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(vfs.OS(), dir, opts); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("second open: %v", err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o", path, got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadOnly is a part of QU6: a store opens where nothing can be written.
func TestReadOnly(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.Memory()
	db := mustOpen(t, mem, small())
	if err := set(db, "a", "1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	opts := small()
	opts.ReadOnly = true
	faults := vfs.NewFaults(mem)
	faults.FailIf(func(op vfs.Op) bool { return op.Writes() }, syscall.EROFS)
	db = mustOpen(t, faults, opts)
	if got := get(t, db, "a"); got != "1" {
		t.Errorf("read %q", got)
	}
	if err := set(db, "b", "2"); !errors.Is(err, kv.ErrStopped) {
		t.Errorf("update: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestGuard is QU5.
func TestGuard(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const gib = 1 << 30
	faults := vfs.NewFaults(vfs.Memory())
	usage := func(free uint64) vfs.Usage { return vfs.Usage{Free: free, Total: 16 * gib} }
	faults.SetUsage(usage(4 * gib))
	opts := small()
	opts.Guard.Interval = time.Hour // the test looks itself
	db := mustOpen(t, faults, opts)
	deleting := kv.Deleting(context.Background())
	free := func() error {
		return db.Update(deleting, nil, func(tx kv.Tx) error { return tx.Delete([]byte("a")) })
	}
	ballast := func() bool { _, err := faults.Stat("data/ballast"); return err == nil }
	for _, step := range []struct {
		free          uint64
		inodes        uint64
		add, del, has bool
	}{
		{4 * gib, 100, true, true, true},
		{gib - 1, 100, false, true, true},
		{gib + gib/20, 100, false, true, true}, // hysteresis
		{gib + gib/9, 100, true, true, true},
		{512<<20 - 1, 100, false, true, false},
		{64<<20 - 1, 100, false, false, false},
		{66 << 20, 100, false, false, false},
		{80 << 20, 100, false, true, false},
		{gib + gib/9, 100, true, true, false}, // no room for the ballast yet
		{gib + gib/2, 100, true, true, true},
		{4 * gib, 4, false, true, true}, // inodes
		{4 * gib, 6, true, true, true},
	} {
		u := usage(step.free)
		u.FreeInodes, u.TotalInodes = step.inodes, 100
		faults.SetUsage(u)
		db.guard.look()
		add := set(db, "a", "1")
		if (add == nil) != step.add || add != nil && (!errors.Is(add, kv.ErrFull) || !postino.Is(add, postino.Full)) {
			t.Errorf("free %d: update: %v", step.free, add)
		}
		if err := db.Admit(1); (err == nil) != step.add {
			t.Errorf("free %d: admit: %v", step.free, err)
		}
		if err := free(); (err == nil) != step.del {
			t.Errorf("free %d: deleting update: %v", step.free, err)
		}
		if ballast() != step.has {
			t.Errorf("free %d: ballast is there: %v", step.free, ballast())
		}
	}
	// What is written between two looks counts.
	faults.SetUsage(usage(2 * gib))
	db.guard.look()
	faults.SetUsage(usage(gib / 2))
	if err := db.Admit(gib); err != nil {
		t.Error(err)
	}
	if err := db.Admit(1); !errors.Is(err, kv.ErrFull) {
		t.Errorf("after much was written: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestDiskFull meets ENOSPC itself: the ballast goes, the write is tried again,
// nothing acknowledged is lost and the store goes on.
func TestDiskFull(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.Memory()
	faults := vfs.NewFaults(mem)
	faults.SetUsage(vfs.Usage{Free: 4 << 30, Total: 16 << 30})
	opts := small()
	opts.Guard.Interval = time.Hour
	released := false
	fsys := vfs.Hook(faults, func(op vfs.Op) error {
		if op.Kind == vfs.OpRemove && strings.HasSuffix(op.Path, "ballast") {
			released = true
			faults.SetRoom(-1)
		}
		return nil
	})
	db := mustOpen(t, fsys, opts)
	faults.SetRoom(20 << 10)
	value := strings.Repeat("x", 8<<10)
	acked := 0
	for i := range 10 {
		if err := set(db, fmt.Sprint("k", i), value); err != nil {
			if !errors.Is(err, kv.ErrFull) {
				t.Fatalf("%d: %v", i, err)
			}
			break
		}
		acked++
	}
	if !released || acked < 3 {
		t.Errorf("ballast released: %v, %d written", released, acked)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, mem.Crash(0, 0), opts)
	for i := range acked {
		if get(t, db, fmt.Sprint("k", i)) != value {
			t.Errorf("lost %d", i)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestCorrupt is ST2: a wrong octet in a table is an error for who reads it, of
// kind Corrupt, and the rest is served and written.
func TestCorrupt(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.Memory()
	reg := metric.New()
	opts := small()
	opts.Metrics = reg
	db := mustOpen(t, mem, opts)
	rng := rand.NewChaCha8([32]byte{})
	const n = 100
	for i := range n {
		value := make([]byte, 4000)
		_, _ = rng.Read(value)
		if err := set(db, fmt.Sprintf("k%03d", i), string(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.peb.Flush(), db.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("data")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			f, err := mem.OpenReadWrite("data/"+name, vfs.Category)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte("wrong"), 150_000)
			if err = errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	db = mustOpen(t, mem, opts)
	good, bad := 0, 0
	for i := 0; i < n; i++ {
		err := db.View(context.Background(), nil, func(r kv.Reader) error {
			_, _, err := r.Get(fmt.Appendf(nil, "k%03d", i))
			return err
		})
		switch {
		case err == nil:
			good++
		case postino.Is(err, postino.Corrupt):
			bad++
			i += 8 // Pebble looks long for the wrong bit: once for a block is enough
		default:
			t.Errorf("%d: %v", i, err)
		}
	}
	if bad == 0 || good < n/2 {
		t.Errorf("%d good, %d corrupt", good, bad)
	}
	err = db.View(context.Background(), nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte("k")), func(_, _ []byte) bool { return true })
	})
	if !postino.Is(err, postino.Corrupt) {
		t.Errorf("scan: %v", err)
	}
	if err := set(db, "z", "1"); err != nil {
		t.Error(err)
	}
	rec := httptest.NewRecorder()
	reg.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if strings.Contains(rec.Body.String(), "postino_kv_corrupt_total 0\n") || !strings.Contains(rec.Body.String(), "postino_kv_commits_total 101\n") {
		t.Errorf("metrics:\n%s", rec.Body)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// On a small disk logs and memtables are small too, so that they do not fill
// what the guard keeps free (QU5).
func TestSmallDiskSmallMemTables(t *testing.T) {
	for total, want := range map[uint64]int64{100 << 20: 1 << 20, 600 << 20: 600 << 20 / memTableShare, 1 << 40: 64 << 20} {
		mem := vfs.Memory()
		mem.SetUsage(vfs.Usage{Free: total, Total: total})
		var opts Options
		opts.setDefaults()
		g, err := newGuard(mem, "", &opts)
		if err != nil {
			t.Fatal(err)
		}
		g.close()
		if opts.MemTableBytes != want {
			t.Errorf("a disk of %d octets: memtables of %d, want %d", total, opts.MemTableBytes, want)
		}
		if 6*opts.MemTableBytes > g.opts.Low && total > 200<<20 {
			t.Errorf("a disk of %d octets: memtables of %d, low at %d", total, opts.MemTableBytes, g.opts.Low)
		}
	}
}
