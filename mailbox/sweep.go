package mailbox

import (
	"context"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// No email counts its mailboxes. When messages were expunged, a sweep marks
// the emails that are in some mailbox; the others are dead, and stay so, since
// only what is in a mailbox can be copied. They are removed after a grace, in
// which sessions that have not heard of the expunge can still read them. The
// list of the dead is kept in memory only: after a restart it is made again.

// sentence are the dead emails of an account.
type sentence struct {
	ripe    time.Time // when they are removed
	emails  []EmailID
	count   int64  // head.dead when they were found
	threads bitset // threads that had an email
	upTo    EmailID
}

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(n uint64) bool { return n>>6 < uint64(len(b)) && b[n>>6]>>(n&63)&1 != 0 }
func (b bitset) add(n uint64)      { b[n>>6] |= 1 << (n & 63) }

// sweepTx is how many emails one transaction removes; scanPage how many keys
// one view looks at.
const (
	sweepTx  = 200
	scanPage = 4096
)

// ripe returns the accounts whose dead emails can be removed at now.
func (s *Store) ripe(now time.Time) (ids []AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, d := range s.doomed {
		if !now.Before(d.ripe) {
			ids = append(ids, id)
		}
	}
	return ids
}

// startSweep marks when messages were expunged from the account and no sweep is
// under way, and finishes the removal of an account.
func (s *Store) startSweep(ctx context.Context, id AccountID, now time.Time) error {
	s.mu.Lock()
	_, running := s.doomed[id]
	s.mu.Unlock()
	if running {
		return nil
	}
	var h head
	err := s.view(ctx, id, func(r kv.Reader) (err error) {
		h, err = readHead(r, id)
		return err
	})
	if err == nil && h.dead == 0 {
		return nil
	}
	_, err = s.Sweep(ctx, id, now)
	return err
}

// Sweep removes the emails that were found dead by an earlier call at least
// Grace before now, and otherwise looks for dead ones. Of an account that was
// removed it takes away everything at once. It returns how many emails it
// removed.
func (s *Store) Sweep(ctx context.Context, id AccountID, now time.Time) (removed int, err error) {
	s.mu.Lock()
	d := s.doomed[id]
	if d != nil && !now.Before(d.ripe) {
		delete(s.doomed, id)
	}
	s.mu.Unlock()
	if d == nil {
		return s.condemn(ctx, id, now)
	}
	if now.Before(d.ripe) {
		return 0, nil
	}
	if removed, err = s.removeEmails(ctx, id, d.emails); err != nil {
		return removed, err
	}
	if err := s.forgetThreads(ctx, id, d); err != nil {
		return removed, err
	}
	err = s.db.Update(kv.Deleting(ctx), []kv.Scope{s.Scope(id)}, func(tx kv.Tx) error {
		h, err := readHead(tx, id)
		if err != nil {
			return err
		}
		h.dead = max(0, h.dead-d.count)
		return newWriter(s, tx, id, h, now).writeHead()
	})
	if postino.Is(err, postino.NotFound) {
		err = nil // removed meanwhile
	}
	s.observeSwept(id, removed)
	return removed, err
}

// condemn finds the dead emails of an account.
func (s *Store) condemn(ctx context.Context, id AccountID, now time.Time) (int, error) {
	d := &sentence{ripe: now.Add(s.opts.Grace)}
	var live bitset
	err := s.view(ctx, id, func(r kv.Reader) error {
		h, err := readHead(r, id)
		if err != nil {
			return err
		}
		d.count, d.upTo = h.dead, h.nextEmail
		live, d.threads = make(bitset, h.nextEmail>>6+1), make(bitset, h.nextEmail>>6+1)
		return s.eachTable(r, id, h, func(_ *boxRow, t *table) error {
			for _, c := range t.chunks {
				for i, e := range c.emails {
					live.add(uint64(e))
					d.threads.add(uint64(c.threads[i]))
				}
			}
			return nil
		})
	})
	if postino.Is(err, postino.NotFound) {
		return s.sweepRemoved(ctx, id)
	}
	if err != nil {
		return 0, err
	}
	// Emails stored since are above upTo; a view for each page is enough.
	for next := EmailID(1); next < d.upTo; {
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			n := 0
			rng := kv.Range{Start: numberKey(nil, id, keySummary, uint64(next)), End: numberKey(nil, id, keySummary, uint64(d.upTo)), Limit: scanPage}
			dead := d.emails
			err := r.Scan(rng, func(k, _ []byte) bool {
				e := keyNumber(k)
				if !live.has(e) {
					dead = append(dead, EmailID(e))
				}
				next = EmailID(e) + 1
				n++
				return true
			})
			if n < scanPage {
				next = d.upTo
			}
			d.emails = dead
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	s.doomed[id] = d
	s.mu.Unlock()
	return 0, nil
}

// eachTable calls fn for every mailbox with its messages as r shows them.
func (s *Store) eachTable(r kv.Reader, id AccountID, h head, fn func(*boxRow, *table) error) error {
	st, err := loadState(r, id, h)
	if err != nil {
		return err
	}
	for _, box := range st.boxes {
		t, err := loadTable(r, id, h, box.row.id, 0)
		if err != nil {
			return err
		}
		if err := fn(box.row, t); err != nil {
			return err
		}
	}
	return nil
}

// removeEmails removes the rows of emails and gives back their bodies.
func (s *Store) removeEmails(ctx context.Context, id AccountID, emails []EmailID) (removed int, err error) {
	for page := range slices.Chunk(emails, sweepTx) {
		n := 0
		err := s.db.Update(kv.Deleting(ctx), []kv.Scope{s.Scope(id)}, func(tx kv.Tx) error {
			n = 0
			for _, e := range page {
				ok, err := s.removeEmail(tx, id, e)
				if err != nil {
					return err
				}
				n += btoi(ok)
			}
			return nil
		})
		if err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}

func (s *Store) removeEmail(tx kv.Tx, id AccountID, e EmailID) (bool, error) {
	v, ok, err := tx.Get(numberKey(nil, id, keyEmail, uint64(e)))
	if !ok || err != nil {
		return false, err
	}
	row, err := decodeEmail(v)
	if err != nil {
		return false, err
	}
	if err := s.blobs.Unlink(tx, row.blob, s.BlobRef(id, e)); err != nil {
		return false, err
	}
	for _, kind := range []byte{keyEmail, keyIndex, keySummary} {
		if err := tx.Delete(numberKey(nil, id, kind, uint64(e))); err != nil {
			return false, err
		}
	}
	return true, nil
}

// forgetThreads removes what threading remembers of threads without emails.
func (s *Store) forgetThreads(ctx context.Context, id AccountID, d *sentence) error {
	start := accountKey(nil, id, keyThread)
	end := kv.PrefixEnd(start)
	for {
		var keys [][]byte
		n := 0
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			keys, n = keys[:0], 0
			var last []byte
			err := r.Scan(kv.Range{Start: start, End: end, Limit: scanPage}, func(k, v []byte) bool {
				last = append(last[:0], k...)
				n++
				t, err := decodeThread(v)
				if err == nil && EmailID(t.thread) < d.upTo && !d.threads.has(uint64(t.thread)) {
					keys = append(keys, slices.Clone(k))
				}
				return true
			})
			start = append(last, 0)
			return err
		})
		if err == nil {
			err = s.deleteKeys(ctx, id, keys)
		}
		if err != nil || n < scanPage {
			return err
		}
	}
}

func (s *Store) deleteKeys(ctx context.Context, id AccountID, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	return s.db.Update(kv.Deleting(ctx), []kv.Scope{s.Scope(id)}, func(tx kv.Tx) error {
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepRemoved takes away all that is left of a removed account, its tombstone
// last.
func (s *Store) sweepRemoved(ctx context.Context, id AccountID) (removed int, err error) {
	gone := accountKey(nil, id, keyGone)
	err = s.db.View(ctx, nil, func(r kv.Reader) error {
		_, ok, err := r.Get(gone)
		if err == nil && !ok {
			err = noAccount(id)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := s.forgetGuests(ctx, id); err != nil {
		return 0, err
	}
	prefix := accountKey(nil, id, 0)
	for {
		var keys [][]byte
		var emails []EmailID
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			keys, emails = keys[:0], emails[:0]
			rng := kv.Prefix(prefix)
			rng.Limit = sweepTx
			return r.Scan(rng, func(k, _ []byte) bool {
				switch k[9] {
				case keyEmail:
					emails = append(emails, EmailID(keyNumber(k)))
				case keyGone:
				default:
					keys = append(keys, slices.Clone(k))
				}
				return true
			})
		})
		if err == nil {
			err = s.deleteKeys(ctx, id, keys)
		}
		if err != nil {
			return removed, err
		}
		n, err := s.removeEmails(ctx, id, emails)
		if removed += n; err != nil {
			return removed, err
		}
		if len(keys)+len(emails) == 0 {
			return removed, s.deleteKeys(ctx, id, [][]byte{gone})
		}
	}
}
