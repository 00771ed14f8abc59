package relay

import (
	"sync"
	"time"
)

// memory remembers values for a while: a map that never holds more than max
// entries (G10). When it is full and nothing in it is stale, any entry goes.
type memory[K comparable, V any] struct {
	max int
	mu  sync.Mutex
	m   map[K]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newMemory[K comparable, V any](max int) *memory[K, V] {
	return &memory[K, V]{max: max, m: map[K]remembered[V]{}}
}

// get returns what is remembered of a key.
func (m *memory[K, V]) get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.m[k]
	if ok && !time.Now().Before(e.until) {
		delete(m.m, k)
		return *new(V), false
	}
	return e.value, ok
}

// put remembers a value for a time.
func (m *memory[K, V]) put(k K, v V, life time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if _, ok := m.m[k]; !ok && len(m.m) >= m.max {
		m.shrink(now)
	}
	m.m[k] = remembered[V]{v, now.Add(life)}
}

// shrink makes room for one entry. It looks at a few for stale ones, so that
// each put into a full memory costs the same.
func (m *memory[K, V]) shrink(now time.Time) {
	seen := 0
	for k, e := range m.m {
		if !now.Before(e.until) {
			delete(m.m, k)
		}
		if seen++; seen == 16 {
			break
		}
	}
	for k := range m.m {
		if len(m.m) < m.max {
			return
		}
		delete(m.m, k)
	}
}
