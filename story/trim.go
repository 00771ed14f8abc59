package story

import (
	"context"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// page is how many rows one View walks: a long one would hold back compaction.
const page = 8192

// measure adds up what the stories take.
func (s *Store) measure(ctx context.Context) error {
	r := kv.Prefix([]byte{'s'})
	r.Limit = page
	for {
		n, total := 0, int64(0)
		err := s.db.View(ctx, nil, func(tx kv.Reader) error {
			return tx.Scan(r, func(key, value []byte) bool {
				n++
				total += int64(len(key) + len(value))
				if n == page {
					r.Start = append(append([]byte(nil), key...), 0)
				}
				return true
			})
		})
		s.bytes.Add(total)
		if err != nil || n < page {
			return err
		}
	}
}

// Trim removes the stories of messages that came before now - MaxAge, then the
// oldest ones until all fit in MaxBytes. The background writer calls it.
func (s *Store) Trim(ctx context.Context, now time.Time) error {
	ctx = kv.Deleting(ctx)
	cutoff := postino.ID(max(0, now.Add(-s.opts.MaxAge).UnixMilli())) << 20
	removed := 0
	for ctx.Err() == nil {
		oldest, err := s.oldest(ctx)
		if err != nil {
			return err
		}
		for len(oldest) > 0 && oldest[len(oldest)-1].Message >= cutoff && s.bytes.Load() <= s.opts.MaxBytes {
			oldest = oldest[:len(oldest)-1]
		}
		if len(oldest) == 0 {
			break
		}
		if err := s.remove(ctx, oldest); err != nil {
			return err
		}
		removed += len(oldest)
	}
	s.observe.trimmed(removed)
	return ctx.Err()
}

// oldest returns the first events of the store.
func (s *Store) oldest(ctx context.Context) (events []*Event, err error) {
	r := kv.Prefix([]byte{'s', 'e'})
	r.Limit = batch
	err = s.db.View(ctx, nil, func(tx kv.Reader) error {
		events = nil
		return tx.Scan(r, func(key, value []byte) bool {
			message, seq, ok := parseKey(key)
			if !ok {
				return true
			}
			e, err := decode(postino.ID(message), postino.ID(seq), value)
			if err != nil { // unreadable, but as old as its key says
				e = newEvent(postino.ID(message), postino.ID(seq), Note)
			}
			events = append(events, e)
			return true
		})
	})
	return events, err
}

// remove deletes events and their index rows.
func (s *Store) remove(ctx context.Context, events []*Event) error {
	var size int64
	err := s.db.Update(ctx, nil, func(tx kv.Tx) error {
		var kb [18]byte
		size = 0
		for _, e := range events {
			if err := tx.Delete(eventKey(kb[:0], e.Message, e.Seq)); err != nil {
				return err
			}
			size += int64(len(kb) + len(e.packed))
			var err error
			eachHash(e, func(h uint64) bool {
				size += int64(len(kb))
				err = tx.Delete(indexKey(kb[:0], h, e.Message))
				return err == nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.bytes.Add(-size)
	}
	return err
}
