package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How memory is given back: looked at every lookEvery; it is quiet when less
// than quietBytes were allocated since the last look, and worth it when
// garbageBytes, and half of what is live, were allocated since the last time.
const (
	lookEvery    = 2 * time.Second
	quietBytes   = 1 << 20
	garbageBytes = 8 << 20
)

// giveBack returns unused memory to the system when a burst of work is over. A
// login takes 19 MiB for a moment, and after it nothing makes the collector run
// for two minutes: without this, what many clients needed while they connected
// would stay with the process while they do nothing.
func giveBack(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var idle quiet
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if idle.look(readHeap()) {
			debug.FreeOSMemory()
		}
	}
}

// heap is what the runtime tells: octets allocated since the start, and live
// after the last collection.
type heap struct{ allocated, live uint64 }

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return heap{s[0].Value.Uint64(), s[1].Value.Uint64()}
}

// quiet decides when to give memory back.
type quiet struct{ last, freed uint64 } // allocated at the last look, when memory was given back

func (q *quiet) look(h heap) bool {
	busy := h.allocated-q.last >= quietBytes
	q.last = h.allocated
	if busy || h.allocated-q.freed < max(garbageBytes, h.live/2) {
		return false
	}
	q.freed = h.allocated
	return true
}
