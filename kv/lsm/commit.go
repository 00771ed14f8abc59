package lsm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// maxGroup and maxGroupBytes bound the batches that share one sync, so that the
// first of them does not wait long.
const (
	maxGroup      = 256
	maxGroupBytes = 8 << 20
)

// group is a run of batches that become durable together, and the snapshot of
// the state after the last of them.
type group struct {
	txs     []*tx
	snap    *pebble.Snapshot
	seq     uint64
	size    int
	applied time.Time
}

// state is a durable state that views read.
type state struct {
	snap *pebble.Snapshot
	seq  uint64
	// refs counts the views, and one for being the published one.
	refs atomic.Int64
	// replaced is closed when a newer state is published.
	replaced chan struct{}
}

// published is the newest durable state.
type published struct {
	cur   atomic.Pointer[state]
	mu    sync.Mutex
	stale []*pebble.Snapshot // no longer read, to be closed by the committer
}

func (p *published) publish(snap *pebble.Snapshot, seq uint64) {
	s := &state{snap: snap, seq: seq, replaced: make(chan struct{})}
	s.refs.Store(1)
	if old := p.cur.Swap(s); old != nil {
		close(old.replaced)
		p.release(old)
	}
}

// acquire returns a durable state that holds batch seq, when it is there.
func (p *published) acquire(ctx context.Context, stopped <-chan struct{}, seq uint64) (*state, error) {
	for {
		s := p.cur.Load()
		if s.seq < seq {
			select {
			case <-s.replaced:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-stopped:
				return nil, errStopped
			}
		}
		for n := s.refs.Load(); n > 0; n = s.refs.Load() {
			if s.refs.CompareAndSwap(n, n+1) {
				return s, nil
			}
		}
	}
}

// release gives a state back. Closing its snapshot takes Pebble's lock, which
// may be held for ever after a failure, so that is left to the committer.
func (p *published) release(s *state) {
	if s.refs.Add(-1) == 0 {
		p.mu.Lock()
		p.stale = append(p.stale, s.snap)
		p.mu.Unlock()
	}
}

// maxStale is how many snapshots nobody reads wait to be closed together. When
// the oldest one is closed Pebble looks for a compaction, which costs more than
// the rest of a commit.
const maxStale = 16

// closeStale closes what nobody reads, when there are more than keep: the
// newest first, so that the oldest goes once.
func (p *published) closeStale(keep int) {
	p.mu.Lock()
	var stale []*pebble.Snapshot
	if len(p.stale) > keep {
		stale, p.stale = p.stale, nil
	}
	p.mu.Unlock()
	for _, s := range slices.Backward(stale) {
		_ = s.Close()
	}
}

// commitLoop applies what updates hand over. It is the only writer of Pebble,
// so a snapshot taken between two batches is exactly the state between them,
// and a write that never returns holds up nobody but this goroutine.
func (db *DB) commitLoop() {
	defer close(db.groups)
	// Pebble panics, holding its commit lock, when a log cannot be changed.
	defer func() {
		if r := recover(); r != nil {
			db.fail.hang(fmt.Errorf("commit: %v", r))
		}
	}()
	for {
		var t *tx
		var open bool
		select {
		case t, open = <-db.queue:
		case <-db.fail.stopped:
		}
		if !open {
			return
		}
		g := db.gather(t)
		for i, t := range g.txs {
			if !db.apply(t, i == len(g.txs)-1) {
				return
			}
		}
		g.seq, g.applied = db.seq.Load(), time.Now()
		db.views.closeStale(maxStale)
		g.snap = db.peb.NewSnapshot()
		select {
		case db.groups <- g:
		case <-db.fail.stopped:
			_ = g.snap.Close()
			return
		}
	}
}

// gather makes a group of t and of all that waits behind it.
func (db *DB) gather(t *tx) *group {
	g := &group{txs: []*tx{t}, size: t.size}
	for len(g.txs) < maxGroup && g.size < maxGroupBytes {
		select {
		case t, ok := <-db.queue:
			if !ok {
				return g
			}
			g.txs = append(g.txs, t)
			g.size += t.size
		default:
			return g
		}
	}
	return g
}

// apply makes the writes of t visible to later updates and gives back its
// locks. Only the last of a group asks for the sync: the log is synced in order.
func (db *DB) apply(t *tx, last bool) bool {
	// The sequence is raised before the writes can be seen, so that who saw
	// them and then asks for the newest sequence waits for them.
	seq := db.seq.Add(1)
	var err error
	if last {
		err = db.peb.ApplyNoSyncWait(t.batch, pebble.Sync)
	} else {
		err = db.peb.Apply(t.batch, pebble.NoSync)
	}
	if err != nil {
		db.fail.hang(fmt.Errorf("commit: %w", err))
	}
	if db.fail.isStopped() {
		return false
	}
	db.locks.applied(t.idx, seq)
	db.locks.unlock(t.idx)
	return true
}

// syncLoop waits for the syncs and acknowledges.
func (db *DB) syncLoop() {
	defer close(db.ended)
	for g := range db.groups {
		if err := g.txs[len(g.txs)-1].batch.SyncWait(); err != nil {
			db.fail.stop(fmt.Errorf("sync of the log: %w", err))
			_ = g.snap.Close()
			for g := range db.groups { // until the committer has ended
				_ = g.snap.Close()
			}
			return
		}
		db.met.durable(g)
		db.views.publish(g.snap, g.seq)
		for _, t := range g.txs {
			db.watches.notify(t.writes)
			_ = t.batch.Close()
			t.batch = nil
			t.done <- nil
		}
	}
}
