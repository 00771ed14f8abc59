package lsm

import (
	"slices"
	"sync"
	"sync/atomic"
)

// watches are the listeners, by prefix. A commit looks its keys up once per
// distinct length of prefix, however many listeners there are.
type watches struct {
	count    atomic.Int64
	mu       sync.Mutex
	byPrefix map[string][]chan struct{}
	lengths  []int       // distinct lengths of the keys of byPrefix, ascending
	ofLength map[int]int // prefixes of each length
}

func (w *watches) add(prefix []byte) (<-chan struct{}, func()) {
	p, c := string(prefix), make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byPrefix == nil {
		w.byPrefix, w.ofLength = map[string][]chan struct{}{}, map[int]int{}
	}
	if len(w.byPrefix[p]) == 0 {
		if w.ofLength[len(p)]++; w.ofLength[len(p)] == 1 {
			at, _ := slices.BinarySearch(w.lengths, len(p))
			w.lengths = slices.Insert(w.lengths, at, len(p))
		}
	}
	w.byPrefix[p] = append(w.byPrefix[p], c)
	w.count.Add(1)
	return c, sync.OnceFunc(func() { w.remove(p, c) })
}

func (w *watches) remove(p string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.Add(-1)
	list := w.byPrefix[p]
	if at := slices.Index(list, c); at >= 0 {
		list = slices.Delete(list, at, at+1)
	}
	if len(list) > 0 {
		w.byPrefix[p] = list
		return
	}
	delete(w.byPrefix, p)
	if w.ofLength[len(p)]--; w.ofLength[len(p)] == 0 {
		delete(w.ofLength, len(p))
		at, _ := slices.BinarySearch(w.lengths, len(p))
		w.lengths = slices.Delete(w.lengths, at, at+1)
	}
}

// notify wakes those who watch a key of the writes.
func (w *watches) notify(writes []write) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range writes {
		key := writes[i].key
		for _, n := range w.lengths {
			if n > len(key) {
				break
			}
			for _, c := range w.byPrefix[string(key[:n])] {
				select {
				case c <- struct{}{}:
				default: // a notice waits already
				}
			}
		}
	}
}
