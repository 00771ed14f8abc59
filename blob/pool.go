package blob

import (
	"sync"
	"sync/atomic"
)

// budget bounds the octets in memory.
type budget struct{ left atomic.Int64 }

// take reserves n octets, or nothing when they are not there.
func (b *budget) take(n int64) bool {
	if b.left.Add(-n) < 0 {
		b.left.Add(n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.left.Add(n) }

// classes are the capacities of pooled buffers: a body mostly fits the second,
// and growing through all of them copies a third of the octets.
var classes = [...]int{4 << 10, 16 << 10, blockSize + headSize}

// pools hold buffers by class. They are shared by all stores: a buffer carries
// no state.
var pools [len(classes)]sync.Pool

// classFor returns the smallest class with room for n octets.
func classFor(n int) int {
	for i, size := range classes {
		if n <= size {
			return i
		}
	}
	return len(classes) - 1
}

// getBuffer returns a buffer of class c with length 0.
func getBuffer(c int) *[]byte {
	if b, ok := pools[c].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, classes[c])
	return &b
}

func putBuffer(c int, b *[]byte) {
	*b = (*b)[:0]
	pools[c].Put(b)
}
