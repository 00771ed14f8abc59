package mailbox

import (
	"slices"
	"sync/atomic"
)

// table is a mailbox's messages: its chunks in order and where each begins.
// It is immutable.
type table struct {
	chunks  []*chunk
	starts  []int    // index of the first message of each chunk, and the number of all
	dropped []uint32 // bases of chunks that became empty and may still be stored
}

func (t *table) len() int { return t.starts[len(t.starts)-1] }

// locate returns the chunk that holds message i and its place there.
func (t *table) locate(i int) (k, at int) {
	k, ok := slices.BinarySearch(t.starts, i)
	if !ok {
		k--
	}
	return k, i - t.starts[k]
}

// find returns the index of the first message with UID ≥ uid.
func (t *table) find(uid UID) (i int, exact bool) {
	k, _ := slices.BinarySearchFunc(t.chunks, uint32(uid)>>chunkBits, func(c *chunk, base uint32) int {
		return int(int64(c.base) - int64(base))
	})
	if k == len(t.chunks) {
		return t.len(), false
	}
	at, ok := slices.BinarySearch(t.chunks[k].uids, uid)
	return t.starts[k] + at, ok
}

// edit makes a new table out of an old one by applying log records. Chunks
// that it does not change are shared with the old one.
type edit struct {
	chunks  []*chunk
	shared  bool // the slice of chunks still belongs to the old table
	dropped []uint32
}

func newEdit(t *table) *edit {
	return &edit{chunks: t.chunks, shared: true, dropped: slices.Clip(t.dropped)}
}

// table ends the edit.
func (e *edit) table() *table {
	t := &table{chunks: e.chunks, dropped: e.dropped, starts: make([]int, len(e.chunks)+1)}
	for k, c := range e.chunks {
		c.disown(e)
		t.starts[k+1] = t.starts[k] + c.len()
	}
	return t
}

func (c *chunk) disown(e *edit) {
	if c.owner == e {
		c.owner = nil
	}
}

// apply applies one record about the messages of the mailbox.
func (e *edit) apply(c *Change) {
	switch c.Kind {
	case Appended:
		e.add(c.Messages)
	case FlagsChanged:
		for _, r := range c.UIDs {
			e.flag(r, c)
		}
	case Expunged:
		e.expunge(c.UIDs, c.ModSeq)
	}
}

func (e *edit) own() {
	if e.shared {
		e.chunks = append(make([]*chunk, 0, len(e.chunks)+1), e.chunks...)
		e.shared = false
	}
}

// search returns the position of the first chunk with a base of at least base.
func (e *edit) search(base uint32) int {
	k, _ := slices.BinarySearchFunc(e.chunks, base, func(c *chunk, base uint32) int {
		return int(int64(c.base) - int64(base))
	})
	return k
}

// add appends messages, whose UIDs are above all that are there.
func (e *edit) add(rows []Row) {
	e.own()
	for len(rows) > 0 {
		base := uint32(rows[0].UID) >> chunkBits
		n := 1
		for n < len(rows) && uint32(rows[n].UID)>>chunkBits == base {
			n++
		}
		// Almost always the last chunk or a new one behind it; but after a
		// checkpoint that was cut short later chunks may be stored already.
		k := e.search(base)
		if k == len(e.chunks) || e.chunks[k].base != base {
			c := &chunk{base: base, owner: e, used: new(atomic.Int32)}
			c.columns = makeColumns(0, roomFor(n), wordsOf(rows[:n]))
			e.chunks = slices.Insert(e.chunks, k, c)
		}
		if rows[0].ModSeq > e.chunks[k].stamp {
			e.chunks[k] = e.grow(e.chunks[k], rows[:n])
		}
		rows = rows[n:]
	}
}

// grow returns c with rows at its end. Where the space behind c's end is free
// it is used, though older versions of c lie in the same memory: they never
// look there.
func (e *edit) grow(c *chunk, rows []Row) *chunk {
	n, words := c.len(), wordsOf(rows)
	fits := c.used != nil && cap(c.uids) >= n+len(rows)
	for w := range words {
		fits = fits && (!words[w] || c.flags[w] != nil)
	}
	if fits && c.used.CompareAndSwap(int32(n), int32(n+len(rows))) {
		g := *c
		c = &g
	} else {
		c = c.clone(e, len(rows), words)
		c.used.Store(int32(n + len(rows)))
	}
	c.extend(len(rows))
	for i := range rows {
		c.setRow(n+i, &rows[i])
	}
	c.touched = max(c.touched, rows[len(rows)-1].ModSeq)
	return c
}

// clone returns a copy of c that e may change, with room for more rows.
func (c *chunk) clone(e *edit, more int, words [len(Mask{})]bool) *chunk {
	for w, in := range c.words() {
		words[w] = words[w] || in
	}
	n := c.len()
	d := &chunk{base: c.base, stamp: c.stamp, touched: c.touched, owner: e, used: new(atomic.Int32)}
	d.columns = makeColumns(n, roomFor(n+more), words)
	d.copyRows(0, &c.columns, 0, n)
	d.used.Store(int32(n))
	return d
}

// roomFor returns how many rows to make room for when n are needed.
func roomFor(n int) int { return max(n, min(max(16, 2*n), chunkSize)) }

func wordsOf(rows []Row) (in [len(Mask{})]bool) {
	for i := range rows {
		for w := 1; w < len(in); w++ {
			in[w] = in[w] || rows[i].Flags[w] != 0
		}
	}
	return in
}

// flag changes the flags of the messages in r.
func (e *edit) flag(r Range, change *Change) {
	var grow [len(Mask{})]bool
	for w := 1; w < len(grow); w++ {
		grow[w] = change.Added[w] != 0
	}
	for k := e.search(uint32(r.Lo) >> chunkBits); k < len(e.chunks) && e.chunks[k].base <= uint32(r.Hi)>>chunkBits; k++ {
		c := e.chunks[k]
		lo, hi := c.span(r)
		if lo == hi || change.ModSeq <= c.stamp {
			continue
		}
		if c.owner != e {
			e.own()
			c = c.cloneFlags(e)
			e.chunks[k] = c
		}
		for w := range c.flags {
			if c.flags[w] == nil {
				if !grow[w] {
					continue
				}
				c.flags[w] = make([]uint64, c.len(), cap(c.uids))
			}
			add, del := change.Added[w], change.Removed[w]
			for i := lo; i < hi; i++ {
				c.flags[w][i] = c.flags[w][i]&^del | add
			}
		}
		for i := lo; i < hi; i++ {
			c.modseqs[i] = change.ModSeq
		}
		c.touched = max(c.touched, change.ModSeq)
	}
}

// span returns the rows of c that are in r.
func (c *chunk) span(r Range) (lo, hi int) {
	lo, _ = slices.BinarySearch(c.uids, r.Lo)
	hi, ok := slices.BinarySearch(c.uids, r.Hi)
	if ok {
		hi++
	}
	return lo, hi
}

// cloneFlags returns a copy of c with flags and modseqs of its own; the other
// columns never change and are shared.
func (c *chunk) cloneFlags(e *edit) *chunk {
	d := *c
	d.owner = e
	n := c.len()
	d.modseqs = append(make([]ModSeq, 0, cap(c.uids)), c.modseqs[:n]...)
	for w := range d.flags {
		if c.flags[w] != nil {
			d.flags[w] = append(make([]uint64, 0, cap(c.uids)), c.flags[w][:n]...)
		}
	}
	return &d
}

// expunge takes the messages in rs out.
func (e *edit) expunge(rs Ranges, modseq ModSeq) {
	if len(rs) == 0 {
		return
	}
	e.own()
	k := e.search(uint32(rs[0].Lo) >> chunkBits)
	out := k
	for ; k < len(e.chunks); k++ {
		c := e.chunks[k]
		for len(rs) > 0 && rs[0].Hi < c.uids[0] {
			rs = rs[1:]
		}
		if len(rs) == 0 {
			break
		}
		if c = c.without(rs, modseq); c == nil {
			e.dropped = append(e.dropped, e.chunks[k].base)
			continue
		}
		e.chunks[out] = c
		out++
	}
	e.chunks = slices.Delete(e.chunks, out, k)
}

// without returns c without the messages in rs: c itself when it has none of
// them, nil when nothing is left.
func (c *chunk) without(rs Ranges, modseq ModSeq) *chunk {
	left := c.len()
	for _, r := range rs {
		if uint32(r.Lo)>>chunkBits > c.base {
			break
		}
		lo, hi := c.span(r)
		left -= hi - lo
	}
	if left == c.len() || modseq <= c.stamp {
		return c
	}
	if left == 0 {
		return nil
	}
	d := &chunk{base: c.base, stamp: c.stamp, touched: max(c.touched, modseq), used: new(atomic.Int32)}
	d.columns = makeColumns(left, left, c.words())
	from, at := 0, 0
	for _, r := range rs {
		if uint32(r.Lo)>>chunkBits > c.base {
			break
		}
		lo, hi := c.span(r)
		d.copyRows(at, &c.columns, from, lo)
		at += lo - from
		from = hi
	}
	d.copyRows(at, &c.columns, from, c.len())
	d.used.Store(int32(left))
	return d
}
