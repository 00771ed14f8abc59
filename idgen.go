package postino

import (
	"sync/atomic"
	"time"
)

// IDs makes identifiers that grow strictly within one process and do not
// repeat over a restart, as long as the clock does not go back by more than
// the time that the process was down. The zero value is ready.
type IDs struct{ last atomic.Uint64 }

// Next returns the next identifier for the moment now. When the clock stands
// still or goes back the sequence goes on counting from the last one.
func (g *IDs) Next(now time.Time) ID {
	want := uint64(now.UnixMilli()) << 20
	for {
		last := g.last.Load()
		next := max(want, last+1)
		if g.last.CompareAndSwap(last, next) {
			return ID(next)
		}
	}
}

// Observe tells the generator of an identifier that is already in use, so that
// none up to it is given again: stores call it with their newest at start.
func (g *IDs) Observe(id ID) {
	for {
		last := g.last.Load()
		if last >= uint64(id) || g.last.CompareAndSwap(last, uint64(id)) {
			return
		}
	}
}
