package mailbox

import (
	"context"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// A checkpoint brings the stored chunks up to the log: those that records of
// the tail touched are written again, stamped with the modseq up to which they
// are true, and at last the account's row says that the tail begins there.
// Until that last step the old tail still counts; a chunk that was written
// already is passed over by its replay, so a checkpoint that was cut short
// costs nothing.

// foldTx is about how many octets of chunks one transaction of a fold writes,
// unless Store.foldTx says otherwise.
const foldTx = 8 << 20

// trimTx is how many log records one fold removes at most.
const trimTx = 4096

// folding is what a checkpoint will write.
type folding struct {
	head   head  // as it was read
	tail   int64 // octets of the records that it folds
	writes []chunkWrite
}

// chunkWrite stores a chunk, or removes it when chunk is nil.
type chunkWrite struct {
	box   MailboxID
	base  uint32
	chunk *chunk
	next  UID // UIDNEXT when the chunk was read
}

// Fold makes a checkpoint of an account now and trims its log.
func (s *Store) Fold(ctx context.Context, id AccountID) error {
	var f *folding
	err := s.view(ctx, id, func(r kv.Reader) (err error) {
		f, err = s.readFolding(r, id)
		return err
	})
	if err != nil {
		return err
	}
	ctx = kv.Deleting(ctx)
	for first := true; ; first = false {
		done, lost := 0, false
		err := s.db.Update(ctx, []kv.Scope{s.Scope(id)}, func(tx kv.Tx) error {
			lost = false
			h, err := readHead(tx, id)
			if err != nil {
				return err
			}
			// Another fold that began later has the right of way.
			if h.folded != f.head.folded || h.claim > f.head.modseq || !first && h.claim < f.head.modseq {
				lost = true
				return nil
			}
			w := newWriter(s, tx, id, h, time.Now())
			if done, err = w.writeChunks(f); err != nil {
				return err
			}
			if done < len(f.writes) {
				w.head.claim = f.head.modseq
			} else {
				w.head.folded = f.head.modseq
				w.head.tail = max(0, w.head.tail-f.tail)
				if err := w.trim(); err != nil {
					return err
				}
			}
			if w.head == h {
				return nil
			}
			return w.writeHead()
		})
		if err != nil || lost {
			return err
		}
		if f.writes = f.writes[done:]; len(f.writes) == 0 {
			s.observeFold(id, f)
			return nil
		}
	}
}

// writeChunks stores chunks that changed and removes those that became empty,
// until the transaction is large enough; it returns how many it has dealt with.
func (w *writer) writeChunks(f *folding) (done int, err error) {
	exists := map[MailboxID]bool{} // a mailbox may have been deleted since
	for size := 0; done < len(f.writes) && size < w.s.foldTx; done++ {
		c := &f.writes[done]
		there, known := exists[c.box]
		if !known {
			_, err := readBox(w.tx, w.id, c.box)
			if err != nil && !postino.Is(err, postino.NotFound) {
				return 0, err
			}
			there = err == nil
			exists[c.box] = there
		}
		if !there {
			continue
		}
		if err := w.pruneUIDLs(c); err != nil {
			return 0, err
		}
		w.key = chunkKey(w.key[:0], w.id, c.box, c.base)
		if c.chunk == nil {
			err = w.tx.Delete(w.key)
		} else {
			w.buf = c.chunk.append(w.buf[:0], f.head.modseq)
			size += len(w.buf)
			err = w.tx.Set(w.key, w.buf)
		}
		if err != nil {
			return 0, err
		}
	}
	return done, nil
}

// readFolding finds the mailboxes that the log's tail touched, and what of them
// is to be written.
func (s *Store) readFolding(r kv.Reader, id AccountID) (*folding, error) {
	h, err := readHead(r, id)
	if err != nil {
		return nil, err
	}
	f := &folding{head: h}
	touched := map[MailboxID]uint32{} // mailbox → lowest chunk that the tail touches
	err = scanLog(r, id, h.folded, h.modseq, func(c *Change, n int) error {
		f.tail += int64(n)
		low := UID(0)
		switch {
		case c.Kind == Appended && len(c.Messages) > 0:
			low = c.Messages[0].UID
		case (c.Kind == FlagsChanged || c.Kind == Expunged) && len(c.UIDs) > 0:
			low = c.UIDs[0].Lo
		default:
			return nil
		}
		base := uint32(low) >> chunkBits
		if old, ok := touched[c.Mailbox]; !ok || base < old {
			touched[c.Mailbox] = base
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	st := s.resident(r, id, h)
	for box, base := range touched {
		row, err := readBox(r, id, box)
		if postino.Is(err, postino.NotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		var t *table
		if st != nil && st.box(box) != nil {
			t = st.box(box).table
		}
		if t == nil {
			if t, err = loadTable(r, id, h, box, base); err != nil {
				return nil, err
			}
		}
		f.plan(row, t)
	}
	return f, nil
}

// resident returns the state in memory when it is exactly at h's position, else nil.
func (s *Store) resident(r kv.Reader, id AccountID, h head) *state {
	s.mu.Lock()
	sh := s.accounts[id]
	s.mu.Unlock()
	if sh == nil || sh.published.Load() == nil {
		return nil
	}
	st, err := advance(r, id, sh.published.Load())
	if err != nil || st.head.modseq != h.modseq {
		return nil
	}
	return st
}

// plan adds what must be written of a mailbox.
func (f *folding) plan(m *boxRow, t *table) {
	for _, base := range t.dropped {
		_, there := slices.BinarySearchFunc(t.chunks, base, func(c *chunk, b uint32) int {
			return int(int64(c.base) - int64(b))
		})
		if !there {
			f.writes = append(f.writes, chunkWrite{m.id, base, nil, m.status.UIDNext})
		}
	}
	for _, c := range t.chunks {
		if c.touched > f.head.folded {
			f.writes = append(f.writes, chunkWrite{m.id, c.base, c, m.status.UIDNext})
		}
	}
}

// trim removes log records from the oldest on that are too old, or too many
// octets, and that the chunks hold.
func (w *writer) trim() error {
	oldest := w.now.Add(-w.s.opts.LogAge).Unix()
	n := 0
	for n < trimTx && w.head.floor < w.head.folded {
		key := numberKey(nil, w.id, keyLog, uint64(w.head.floor+1))
		v, ok, err := w.tx.Get(key)
		if err != nil {
			return err
		}
		if !ok {
			return missing(w.id, w.head.floor+1)
		}
		d := decoder{b: v}
		d.take(2)
		d.uvarint()
		if at := d.varint(); at >= oldest && w.head.log <= w.s.opts.LogBytes {
			return nil
		}
		if err := w.tx.Delete(key); err != nil {
			return err
		}
		w.head.log -= int64(len(v))
		w.head.floor++
		n++
	}
	return nil
}
