package lsm

import (
	"context"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/postino-mail/postino/kv"
)

// stripes is the number of scope locks. It is a power of two.
const stripes = 1024

// locks are the scope locks. A lock is a channel with room for one, since the
// committer, another goroutine than the one that took it, gives it back.
type locks struct {
	seed   maphash.Seed
	stripe [stripes]stripe
}

type stripe struct {
	held chan struct{}
	// last is the sequence of the newest batch applied under the lock.
	last atomic.Uint64
}

func newLocks() *locks {
	l := &locks{seed: maphash.MakeSeed()}
	for i := range l.stripe {
		l.stripe[i].held = make(chan struct{}, 1)
	}
	return l
}

// indexes appends to dst the stripes of scopes, in order and each once.
func (l *locks) indexes(dst []uint16, scopes []kv.Scope) []uint16 {
	for _, s := range scopes {
		dst = append(dst, uint16(maphash.String(l.seed, string(s))%stripes))
	}
	if len(dst) > 1 {
		slices.Sort(dst)
		dst = slices.Compact(dst)
	}
	return dst
}

// lock takes the stripes in their order, so that no two updates wait for each
// other. On an error it holds none.
func (l *locks) lock(ctx context.Context, stopped <-chan struct{}, idx []uint16) error {
	for n, i := range idx {
		select {
		case l.stripe[i].held <- struct{}{}:
			continue
		default:
		}
		var err error
		select {
		case l.stripe[i].held <- struct{}{}:
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case <-stopped:
			err = errStopped
		}
		l.unlock(idx[:n])
		return err
	}
	return nil
}

func (l *locks) unlock(idx []uint16) {
	for _, i := range idx {
		<-l.stripe[i].held
	}
}

// applied notes that batch seq was applied under the stripes.
func (l *locks) applied(idx []uint16, seq uint64) {
	for _, i := range idx {
		l.stripe[i].last.Store(seq)
	}
}

// newest returns the sequence of the newest batch applied under the stripes.
func (l *locks) newest(idx []uint16) (seq uint64) {
	for _, i := range idx {
		seq = max(seq, l.stripe[i].last.Load())
	}
	return seq
}
