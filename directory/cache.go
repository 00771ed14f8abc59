package directory

import "sync"

// cache is a bounded map of answers that hold for one generation of the
// directory. It keeps two maps: what was used lately, and what was used before
// that; when the first is full it becomes the second. So it holds at most
// twice max/2 entries and forgets what was not used for a while, with one map
// look-up for a hit.
type cache[K comparable, V any] struct {
	mu         sync.RWMutex
	max        int
	generation uint64
	young, old map[K]V
}

func newCache[K comparable, V any](max int) *cache[K, V] {
	return &cache[K, V]{max: max, young: map[K]V{}, old: map[K]V{}}
}

// get also returns the generation that a later put of this key belongs to.
func (c *cache[K, V]) get(k K) (v V, generation uint64, ok bool) {
	c.mu.RLock()
	v, ok = c.young[k]
	aged := false
	if !ok {
		v, aged = c.old[k]
	}
	generation = c.generation
	c.mu.RUnlock()
	if aged {
		c.put(generation, k, v)
	}
	return v, generation, ok || aged
}

// put stores an answer that was found out during generation; when the
// directory has changed since, the answer is dropped.
func (c *cache[K, V]) put(generation uint64, k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return
	}
	if len(c.young) >= c.max/2 {
		c.young, c.old = map[K]V{}, c.young
	}
	c.young[k] = v
}

// clear begins a new generation.
func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.young, c.old = map[K]V{}, map[K]V{}
}
