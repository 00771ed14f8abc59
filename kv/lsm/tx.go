package lsm

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// write is one Set or Delete. Its slices point into the batch, whose octets do
// not change once written, even when the batch grows into another array.
type write struct {
	key, value []byte
	deleted    bool
}

// tx is a kv.Tx: a reader of the newest state, a batch, and a list of its
// writes so that reads see them. A transaction that reads after writing is
// rare and short, so the list has no index until a Get wants one.
type tx struct {
	reader
	batch  *pebble.Batch
	idx    []uint16 // stripes held
	writes []write
	byKey  map[string]int // newest write of each key, once len(writes) > fewWrites
	nIndex int            // writes that are in byKey
	size   int
	err    error // the first refused write: the transaction fails with it
	done   chan error
}

// fewWrites is how many writes a Get looks through before it wants an index.
const fewWrites = 8

func tooLarge(op, what string, size int) error {
	return postino.E(postino.Invalid, op, strconv.Itoa(size)+" octets", errors.New(what+" outside its limits"))
}

// grow checks the limits before memory is taken.
func (t *tx) grow(op string, key, value []byte) error {
	switch {
	case t.err != nil:
	case len(key) == 0 || len(key) > kv.MaxKey:
		t.err = tooLarge(op, "key", len(key))
	case len(value) > kv.MaxValue:
		t.err = tooLarge(op, "value", len(value))
	case t.size+len(key)+len(value) > kv.MaxTx:
		t.err = tooLarge(op, "transaction", t.size+len(key)+len(value))
	default:
		t.size += len(key) + len(value)
	}
	return t.err
}

// Set implements kv.Tx.
func (t *tx) Set(key, value []byte) error {
	if err := t.grow("set", key, value); err != nil {
		return err
	}
	op := t.batch.SetDeferred(len(key), len(value))
	copy(op.Key, key)
	copy(op.Value, value)
	t.writes = append(t.writes, write{key: op.Key, value: op.Value})
	return op.Finish()
}

// Delete implements kv.Tx.
func (t *tx) Delete(key []byte) error {
	if err := t.grow("delete", key, nil); err != nil {
		return err
	}
	op := t.batch.DeleteDeferred(len(key))
	copy(op.Key, key)
	t.writes = append(t.writes, write{key: op.Key, deleted: true})
	return op.Finish()
}

// written returns the newest write of key, or nil.
func (t *tx) written(key []byte) *write {
	if len(t.writes) <= fewWrites {
		for i := len(t.writes) - 1; i >= 0; i-- {
			if bytes.Equal(t.writes[i].key, key) {
				return &t.writes[i]
			}
		}
		return nil
	}
	if t.byKey == nil {
		t.byKey = make(map[string]int, 2*len(t.writes))
	}
	for ; t.nIndex < len(t.writes); t.nIndex++ {
		t.byKey[string(t.writes[t.nIndex].key)] = t.nIndex
	}
	if i, ok := t.byKey[string(key)]; ok {
		return &t.writes[i]
	}
	return nil
}

// Get implements kv.Reader.
func (t *tx) Get(key []byte) ([]byte, bool, error) {
	if w := t.written(key); w != nil {
		if w.deleted {
			return nil, false, nil
		}
		return w.value, true, nil
	}
	return t.reader.Get(key)
}

// Scan implements kv.Reader: it merges the writes so far into what is stored.
func (t *tx) Scan(r kv.Range, fn func(key, value []byte) bool) error {
	own := t.within(r)
	if len(own) == 0 {
		return t.reader.Scan(r, fn)
	}
	order := bytes.Compare
	if r.Reverse {
		order = func(a, b []byte) int { return bytes.Compare(b, a) }
	}
	left, going := r.Limit, true
	emit := func(key, value []byte) bool {
		going = fn(key, value)
		left--
		return going && left != 0
	}
	// before emits the own writes that come before key; a nil key is the end.
	before := func(key []byte) bool {
		for len(own) > 0 && (key == nil || order(own[0].key, key) < 0) {
			w := own[0]
			own = own[1:]
			if !w.deleted && !emit(w.key, w.value) {
				return false
			}
		}
		return true
	}
	stored := r
	stored.Limit = 0 // deletions hide stored keys, so the limit counts here
	ended := false
	err := t.reader.Scan(stored, func(key, value []byte) bool {
		if ended = !before(key); ended {
			return false
		}
		if len(own) > 0 && bytes.Equal(own[0].key, key) {
			w := own[0]
			own = own[1:]
			if w.deleted {
				return true
			}
			value = w.value
		}
		ended = !emit(key, value)
		return !ended
	})
	if err == nil && !ended {
		before(nil)
	}
	return err
}

// within returns the newest writes in r, each key once, in the order of r.
func (t *tx) within(r kv.Range) []write {
	var own []write
	for _, w := range t.writes {
		if bytes.Compare(w.key, r.Start) >= 0 && (r.End == nil || bytes.Compare(w.key, r.End) < 0) {
			own = append(own, w)
		}
	}
	own = inOrder(own)
	if r.Reverse {
		slices.Reverse(own)
	}
	return own
}

// inOrder sorts writes by key and keeps the newest of each key.
func inOrder(writes []write) []write {
	slices.SortStableFunc(writes, func(a, b write) int { return bytes.Compare(a.key, b.key) })
	n := 0
	for i := range writes { // of equal keys the last is the newest
		if i+1 < len(writes) && bytes.Equal(writes[i].key, writes[i+1].key) {
			continue
		}
		writes[n] = writes[i]
		n++
	}
	return writes[:n]
}

// manyWrites is how many writes are worth to be put in order.
const manyWrites = 32

// order makes the batch anew in the order of its keys. A memtable finds the
// place of a key that follows the one before at once, and that of any other by
// a search from the top through cold memory.
func (t *tx) order(to *pebble.Batch) error {
	t.writes = inOrder(t.writes)
	for i := range t.writes {
		w := &t.writes[i]
		var op *pebble.DeferredBatchOp
		if w.deleted {
			op = to.DeleteDeferred(len(w.key))
		} else {
			op = to.SetDeferred(len(w.key), len(w.value))
			copy(op.Value, w.value)
		}
		copy(op.Key, w.key)
		w.key, w.value = op.Key, op.Value
		if err := op.Finish(); err != nil {
			return err
		}
	}
	unordered := t.batch
	t.batch = to
	return unordered.Close()
}
