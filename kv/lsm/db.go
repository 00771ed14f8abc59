package lsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// formatKey holds the version of the layout of this package: one octet.
var formatKey = []byte("Mformat")

// format is the version that this code writes, and the newest that it reads.
const format = 1

// DB is an open store; it implements kv.DB.
type DB struct {
	peb  *pebble.DB
	dir  string
	lock io.Closer
	log  *slog.Logger
	met  meters

	locks   *locks
	watches watches
	guard   *guard
	fail    *failure
	ro      bool
	warned  atomic.Int64

	seq    atomic.Uint64 // of the batch applied last, or being applied
	views  published
	queue  chan *tx
	groups chan *group
	ended  chan struct{} // closed when the last group is acknowledged

	txs, readers sync.Pool

	mu      sync.Mutex
	running int
	closing bool
	idle    chan struct{} // closed when closing and nothing runs
}

var _ kv.DB = (*DB)(nil)

// unlocked is the file system that Pebble sees: the lock of the directory is
// ours, so that a store that hangs keeps it until the process ends.
type unlocked struct{ vfs.FS }

func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
func (u unlocked) Unwrap() vfs.FS               { return u.FS }

// Open opens or makes the store in dir. It fails when another process has it
// open and when it was written by a newer version.
func Open(fsys vfs.FS, dir string, opts Options) (*DB, error) {
	opts.setDefaults()
	db := &DB{
		dir: dir, log: opts.Logger, met: newMeters(opts.Metrics), ro: opts.ReadOnly,
		locks: newLocks(), fail: newFailure(opts.Logger),
		queue: make(chan *tx, maxGroup), groups: make(chan *group, 64),
		ended: make(chan struct{}), idle: make(chan struct{}),
	}
	db.txs.New = func() any { return &tx{done: make(chan error, 1)} }
	db.readers.New = func() any { return &reader{} }
	if err := db.open(fsys, &opts); err != nil {
		db.fail.stop(nil)
		if db.guard != nil {
			db.guard.close()
		}
		if db.lock != nil {
			err = errors.Join(err, db.lock.Close())
		}
		return nil, postino.E(postino.Internal, "open store", dir, err)
	}
	db.views.publish(db.peb.NewSnapshot(), 0)
	if db.ro {
		close(db.ended)
		return db, nil
	}
	go db.commitLoop()
	go db.syncLoop()
	return db, nil
}

func (db *DB) open(fsys vfs.FS, opts *Options) error {
	var err error
	if !db.ro {
		if err = vfs.MkdirAll(fsys, db.dir); err != nil {
			return err
		}
		if db.lock, err = fsys.Lock(fsys.PathJoin(db.dir, "LOCK")); err != nil {
			db.lock = nil
			return fmt.Errorf("cannot lock the directory %s (does another process use it?): %w", db.dir, err)
		}
	}
	if db.guard, err = newGuard(fsys, db.dir, opts); err != nil {
		return err
	}
	p := opts.pebble()
	p.FS = failStop{vfs.OnFull(unlocked{fsys}, db.guard.full), db.fail}
	p.Logger = logger{log: db.log, fail: db.fail}
	p.EventListener = db.listener()
	return db.openPebble(p)
}

// openPebble opens in a goroutine of its own, since one that meets a fatal
// failure is parked.
func (db *DB) openPebble(p *pebble.Options) error {
	opened := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				opened <- fmt.Errorf("%v", r)
			}
		}()
		peb, err := pebble.Open(db.dir, p)
		if err == nil {
			if err = db.checkFormat(peb); err != nil {
				err = errors.Join(err, peb.Close())
			}
		}
		db.peb = peb
		opened <- err
	}()
	select {
	case err := <-opened:
		return err
	case err := <-db.fail.told:
		return err
	}
}

// checkFormat refuses the data of a newer version and marks a new store.
func (db *DB) checkFormat(peb *pebble.DB) error {
	value, closer, err := peb.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		if db.ro {
			return nil
		}
		return peb.Set(formatKey, []byte{format}, pebble.Sync)
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	if len(value) != 1 || value[0] == 0 || value[0] > format {
		return postino.E(postino.Invalid, "read format version", db.dir,
			fmt.Errorf("the data has format %d, this program knows formats 1 to %d: use a newer program", value, format))
	}
	return nil
}

// enter counts a running transaction; it fails when the store is closed.
func (db *DB) enter() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closing {
		return errStopped
	}
	db.running++
	return nil
}

func (db *DB) leave() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.running--
	if db.closing && db.running == 0 {
		close(db.idle)
	}
}

// View implements kv.DB. Without scopes it sees all that was acknowledged.
func (db *DB) View(ctx context.Context, scopes []kv.Scope, fn func(kv.Reader) error) error {
	if err := db.enter(); err != nil {
		return err
	}
	defer db.leave()
	var few [8]uint16
	s, err := db.views.acquire(ctx, db.fail.stopped, db.locks.newest(db.locks.indexes(few[:0], scopes)))
	if err != nil {
		return err
	}
	defer db.views.release(s)
	r := db.readers.Get().(*reader)
	r.src = s.snap
	defer func() {
		r.end()
		db.readers.Put(r)
	}()
	return fn(r)
}

// Update implements kv.DB.
func (db *DB) Update(ctx context.Context, scopes []kv.Scope, fn func(kv.Tx) error) error {
	if err := db.enter(); err != nil {
		return err
	}
	defer db.leave()
	if db.ro || db.fail.isStopped() {
		return errStopped
	}
	if err := db.guard.check(kv.IsDeleting(ctx)); err != nil {
		db.met.full.Inc()
		return err
	}
	t := db.txs.Get().(*tx)
	t.idx = db.locks.indexes(t.idx[:0], scopes)
	if err := db.locks.lock(ctx, db.fail.stopped, t.idx); err != nil {
		db.txs.Put(t)
		return err
	}
	if wrote, err := db.run(t, fn); !wrote {
		db.reuse(t)
		return db.settled(ctx, err)
	}
	return db.commit(t)
}

// retain lets the memory of batches up to a large MULTIAPPEND be used again:
// faulting in fresh pages costs as much as filling them.
var retain = pebble.WithMaxRetainedSizeBytes(maxGroupBytes)

// run runs the closure. When there is nothing to commit, or it panics, the
// locks are given back.
func (db *DB) run(t *tx, fn func(kv.Tx) error) (wrote bool, err error) {
	t.src, t.batch = db.peb, db.peb.NewBatch(retain)
	defer func() {
		t.reader.end()
		if !wrote {
			_ = t.batch.Close()
			db.locks.unlock(t.idx)
		}
	}()
	if err = fn(t); err == nil {
		err = t.err
	}
	if err == nil && len(t.writes) >= manyWrites {
		err = t.order(db.peb.NewBatch(retain))
	}
	return err == nil && len(t.writes) > 0, err
}

// settled waits until all that the closure may have read is durable, so that
// its result tells of nothing that a power cut takes back.
func (db *DB) settled(ctx context.Context, result error) error {
	s, err := db.views.acquire(ctx, db.fail.stopped, db.seq.Load())
	if err != nil {
		return errors.Join(err, result)
	}
	db.views.release(s)
	return result
}

// commit hands t to the committer and waits for its sync, whatever becomes of
// the caller's context: the outcome must be known.
func (db *DB) commit(t *tx) error {
	size := t.size
	select {
	case db.queue <- t:
	case <-db.fail.stopped:
		return errStopped // the locks are of no use any more
	}
	select {
	case err := <-t.done:
		db.reuse(t)
		db.guard.spend(int64(size))
		return err
	case <-db.fail.stopped:
	}
	select {
	case err := <-t.done:
		return err
	default:
		return errStopped
	}
}

// reuse forgets a transaction and keeps its memory.
func (db *DB) reuse(t *tx) {
	clear(t.writes)
	t.batch, t.writes, t.byKey, t.nIndex, t.size, t.err = nil, t.writes[:0], nil, 0, 0, nil
	if cap(t.writes) <= 1024 {
		db.txs.Put(t)
	}
}

// Watch implements kv.DB.
func (db *DB) Watch(prefix []byte) (<-chan struct{}, func()) { return db.watches.add(prefix) }

// Failed gives the error when the store stopped writing: the process should
// end and start again. It is closed, without an error, by Close.
func (db *DB) Failed() <-chan error { return db.fail.told }

// Metrics returns Pebble's own account of the store.
func (db *DB) Metrics() *pebble.Metrics { return db.peb.Metrics() }

// Admit tells whether n octets may be written beside the store, on the same
// file system, and counts them; the error is kv.ErrFull.
func (db *DB) Admit(n int64) error {
	if err := db.guard.check(false); err != nil {
		return err
	}
	db.guard.spend(n)
	return nil
}

// Close implements kv.DB. After a failure that left Pebble hanging the lock of
// the directory is kept, since something may still write there.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closing {
		db.mu.Unlock()
		return nil
	}
	db.closing = true
	if db.running == 0 {
		close(db.idle)
	}
	db.mu.Unlock()
	<-db.idle
	close(db.queue)
	db.guard.close()
	closed := make(chan error, 1)
	go func() {
		<-db.ended
		db.views.release(db.views.cur.Load())
		db.views.closeStale(0)
		closed <- db.peb.Close()
	}()
	select {
	case <-db.fail.hung:
		return errStopped
	case err := <-closed:
		db.fail.stop(nil)
		if db.lock != nil {
			err = errors.Join(err, db.lock.Close())
		}
		if err != nil {
			return postino.E(postino.Internal, "close store", db.dir, err)
		}
		return nil
	}
}
