package mailbox

import (
	"bytes"
	"container/list"
	"context"
	"sync"

	"github.com/postino-mail/postino/kv"
)

// rowKey names a row of a segment.
type rowKey struct {
	account AccountID
	number  uint64
	kind    byte
	page    uint32
}

// indexCache keeps decoded rows of segments, those used last.
type indexCache struct {
	mu    sync.Mutex
	max   int64
	size  int64
	rows  map[rowKey]*list.Element
	order list.List // of *cachedRow, last used first
}

type cachedRow struct {
	key  rowKey
	row  any // *segmentHead, dictionary or *page
	size int64
}

func newIndexCache(max int64) *indexCache {
	return &indexCache{max: max, rows: map[rowKey]*list.Element{}}
}

func (c *indexCache) get(k rowKey) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.rows[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cachedRow).row
}

func (c *indexCache) put(k rowKey, row any, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size += 256; c.rows[k] != nil || size > c.max {
		return
	}
	c.rows[k] = c.order.PushFront(&cachedRow{k, row, size})
	for c.size += size; c.size > c.max; {
		e := c.order.Back()
		old := c.order.Remove(e).(*cachedRow)
		delete(c.rows, old.key)
		c.size -= old.size
	}
}

// indexReader reads rows of the segments of an account.
type indexReader struct {
	s   *Store
	ctx context.Context
	id  AccountID
	// cold leaves the cache as it is.
	cold bool
}

// rowsPage is how many rows one view reads at most.
const rowsPage = 16

// rows calls fn for rows of one kind, of those pages that there are numbers of.
func (x *indexReader) rows(number uint64, kind byte, pages []uint32, fn func(page uint32, row any) error) error {
	for len(pages) > 0 {
		some := pages[:min(len(pages), rowsPage)]
		pages = pages[len(some):]
		found := make([]any, len(some))
		missing := false
		for i, n := range some {
			if !x.cold {
				found[i] = x.s.index.get(rowKey{x.id, number, kind, n})
			}
			missing = missing || found[i] == nil
		}
		if missing {
			if err := x.load(number, kind, some, found); err != nil {
				return err
			}
		}
		for i, n := range some {
			if err := fn(n, found[i]); err != nil {
				return err
			}
		}
		if err := x.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// load reads rows that were not cached.
func (x *indexReader) load(number uint64, kind byte, pages []uint32, found []any) error {
	values := make([][]byte, len(pages))
	err := x.s.view(x.ctx, x.id, func(r kv.Reader) error {
		for i, n := range pages {
			if found[i] != nil {
				continue
			}
			v, ok, err := r.Get(segmentKey(x.id, number, kind, n))
			if err != nil {
				return err
			}
			if !ok {
				return errDamaged{number}
			}
			values[i] = bytes.Clone(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, v := range values {
		if v == nil {
			continue
		}
		if found[i], err = decodeRow(kind, v); err != nil {
			return errDamaged{number}
		}
		if !x.cold {
			x.s.index.put(rowKey{x.id, number, kind, pages[i]}, found[i], int64(len(v)))
		}
	}
	return nil
}

func decodeRow(kind byte, value []byte) (any, error) {
	b, ok := unseal(value)
	if !ok {
		return nil, corrupt("row of the index")
	}
	switch {
	case kind == rowHead:
		return decodeSegment(b)
	case kind&1 == rowDict&1:
		return decodeDictionary(b)
	}
	return decodePage(b)
}

// errDamaged tells that a row of a segment is not there or cannot be read.
type errDamaged struct{ number uint64 }

func (errDamaged) Error() string { return "segment of the search index is damaged" }

// head reads the head of a segment and checks that it is the one that the
// manifest means.
func (x *indexReader) head(g segment) (h *segmentHead, err error) {
	err = x.rows(g.number, rowHead, []uint32{0}, func(_ uint32, row any) error {
		h = row.(*segmentHead)
		if h.base != g.base || h.span != g.span {
			return errDamaged{g.number}
		}
		return nil
	})
	return h, err
}
