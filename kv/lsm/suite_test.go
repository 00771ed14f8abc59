package lsm

import (
	"sync/atomic"
	"testing"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/kvtest"
	"github.com/postino-mail/postino/vfs"
)

// crashable returns a store in memory for the suite.
func crashable(mem *vfs.Mem, opts Options) kvtest.Store {
	var before atomic.Pointer[func()]
	hooked := vfs.Hook(mem, func(op vfs.Op) error {
		if fn := before.Load(); fn != nil && op.Writes() {
			(*fn)()
		}
		return nil
	})
	return kvtest.Store{
		Open: func() (kv.DB, error) { return Open(hooked, "data", opts) },
		OnWrite: func(fn func()) {
			if fn == nil {
				before.Store(nil)
				return
			}
			before.Store(&fn)
		},
		Crash: func(percent int, seed uint64) kvtest.Store { return crashable(mem.Crash(percent, seed), opts) },
	}
}

func TestSuite(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kvtest.Store { return crashable(vfs.Memory(), small()) })
}

// TestSuiteSeparated runs it with large values in files of their own and
// memtables that turn over all the time.
func TestSuiteSeparated(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kvtest.Store {
		return crashable(vfs.Memory(), Options{CacheBytes: 1 << 20, MemTableBytes: 64 << 10, SeparateValues: 1024})
	})
}
