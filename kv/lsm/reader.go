package lsm

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// arenaBytes is what a reader keeps for the values of Get; a value above an
// eighth of it gets memory of its own.
const arenaBytes = 16 << 10

// reader is a kv.Reader over a snapshot or over the newest state. It keeps one
// iterator between scans, which is most of what a short scan costs.
type reader struct {
	src   pebble.Reader
	arena []byte
	iter  *pebble.Iterator
}

// Get implements kv.Reader.
func (r *reader) Get(key []byte) ([]byte, bool, error) {
	value, closer, err := r.src.Get(key)
	if err == pebble.ErrNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, readError("get", err)
	}
	kept := r.keep(value)
	if err := closer.Close(); err != nil {
		return nil, false, readError("get", err)
	}
	return kept, true, nil
}

// keep copies a value for as long as the closure runs.
func (r *reader) keep(value []byte) []byte {
	if len(value) > arenaBytes/8 {
		return bytes.Clone(value)
	}
	if len(value) > cap(r.arena)-len(r.arena) {
		// What was handed out keeps the old array.
		r.arena = make([]byte, 0, arenaBytes)
	}
	n := len(r.arena)
	r.arena = append(r.arena, value...)
	return r.arena[n:len(r.arena):len(r.arena)]
}

// Scan implements kv.Reader.
func (r *reader) Scan(rng kv.Range, fn func(key, value []byte) bool) error {
	if rng.End != nil && bytes.Compare(rng.Start, rng.End) >= 0 {
		return nil
	}
	it, err := r.take(rng.Start, rng.End)
	if err != nil {
		return readError("scan", err)
	}
	first, next := it.First, it.Next
	if rng.Reverse {
		first, next = it.Last, it.Prev
	}
	n := 0
	for ok := first(); ok; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			_ = it.Close()
			return readError("scan", err)
		}
		if !fn(it.Key(), value) {
			break
		}
		if n++; n == rng.Limit {
			break
		}
	}
	if err := it.Error(); err != nil {
		_ = it.Close()
		return readError("scan", err)
	}
	return r.give(it)
}

// take returns an iterator, the kept one when no scan around this one has it.
func (r *reader) take(lower, upper []byte) (*pebble.Iterator, error) {
	if it := r.iter; it != nil {
		r.iter = nil
		it.SetBounds(lower, upper)
		return it, nil
	}
	return r.src.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

func (r *reader) give(it *pebble.Iterator) error {
	if r.iter == nil {
		r.iter = it
		return nil
	}
	return it.Close()
}

// end gives everything back; the reader serves another closure after it.
func (r *reader) end() {
	if r.iter != nil {
		_ = r.iter.Close()
		r.iter = nil
	}
	r.src, r.arena = nil, r.arena[:0]
}

// readError classes what Pebble says about reading.
func readError(op string, err error) error {
	kind := postino.Internal
	if pebble.IsCorruptionError(err) {
		kind = postino.Corrupt
	}
	return postino.E(kind, op, "", err)
}
