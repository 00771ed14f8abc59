package mailbox

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// pacer lets background work rest, so that it takes a share of one core, and while
// there is better to do for a minute at most. Nil does not rest.
type pacer struct {
	share int // percent
	since time.Time
	busy  func() bool
}

func (p *pacer) rest(ctx context.Context) error {
	if p == nil || p.share >= 100 {
		return ctx.Err()
	}
	pause := time.Since(p.since) * time.Duration(100-p.share) / time.Duration(p.share)
	timer := time.NewTimer(min(pause, time.Second))
	defer timer.Stop()
	for range 60 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if !p.busy() {
			break
		}
		timer.Reset(time.Second)
	}
	p.since = time.Now()
	return nil
}

// freshness is what is known about emails of an account that are not indexed.
type freshness struct {
	next EmailID // the number after the newest one
	upTo EmailID // indexed up to here; guessed low
	last time.Time
	// damaged is a segment that could not be read.
	damaged uint64
}

// freshOf returns the entry of an account. mu is held.
func (s *Store) freshOf(id AccountID) *freshness {
	f := s.fresh[id]
	if f == nil {
		f = &freshness{}
		s.fresh[id] = f
	}
	return f
}

// arrived notes that an account has emails below next, the last one stored at a
// moment.
func (s *Store) arrived(id AccountID, next EmailID, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.freshOf(id)
	if next <= f.next {
		return
	}
	f.next, f.last = next, at
	if f.upTo > 0 && int(f.next-f.upTo) > flood*s.opts.IndexEmails {
		signal(s.indexWake)
	}
}

// comes tells whether an account gets mail at this moment.
func (s *Store) comes(id AccountID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fresh[id]
	return f != nil && time.Since(f.last) < time.Second
}

// damage plans that a segment is made again.
func (s *Store) damage(id AccountID, d errDamaged) {
	s.observeDamaged(id)
	s.mu.Lock()
	s.freshOf(id).damaged = d.number
	s.mu.Unlock()
	signal(s.indexWake)
}

const (
	// indexEvery is how often accounts are looked for whose emails rest.
	indexEvery = 5 * time.Second
	// calm is how long nothing came when an account is indexed: whoever moves mail in
	// has the machine for himself, and one large segment is cheaper than many.
	calm = 3 * time.Second
	// flood, times Options.IndexEmails, is what is indexed without calm.
	flood = 200
)

// runIndex keeps the index of all accounts current.
func (s *Store) runIndex(ctx context.Context) error {
	tick := time.NewTicker(indexEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.indexWake:
		case <-tick.C:
		}
		for _, id := range s.stale(time.Now()) {
			err := s.bringUp(ctx, id, &pacer{s.opts.IndexShare, time.Now(), func() bool { return s.comes(id) }})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && !postino.Is(err, postino.NotFound) {
				s.observeFailure("index account", id, err)
			}
		}
	}
}

// stale returns the accounts whose index is to be brought up to date.
func (s *Store) stale(now time.Time) (ids []AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.fresh {
		n := int(f.next) - 1 - int(f.upTo)
		quiet := now.Sub(f.last)
		if f.damaged > 0 || n >= flood*s.opts.IndexEmails || n >= s.opts.IndexEmails && quiet >= calm ||
			n > s.opts.IndexEmails/8 && quiet >= s.opts.IndexDelay {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Index brings the search index of an account up to date, without rests.
// NotFound when there is no such account. [Store.Run] does it by itself when
// enough emails have come.
func (s *Store) Index(ctx context.Context, id AccountID) error { return s.bringUp(ctx, id, nil) }

// bringUp indexes the emails of an account that are not, and merges segments.
func (s *Store) bringUp(ctx context.Context, id AccountID, pace *pacer) error {
	select {
	case s.indexing <- struct{}{}: // one at a time: it takes memory
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.indexing }()
	for range 3 {
		m, err := s.extend(ctx, id, pace)
		var damaged errDamaged
		if errors.As(err, &damaged) {
			s.damage(id, damaged)
			continue
		}
		if err == nil {
			err = s.sweepSegments(ctx, id, m)
		}
		s.mu.Lock()
		if f := s.freshOf(id); err == nil {
			f.upTo = m.upTo
		} else if postino.Is(err, postino.NotFound) {
			delete(s.fresh, id)
		} else {
			f.last = time.Now() // not again at once
			f.upTo, f.damaged = max(f.upTo, f.next-1), 0
		}
		s.mu.Unlock()
		return err
	}
	return postino.E(postino.Corrupt, "index account", "", nil)
}

// extend makes segments of the emails that are in none.
func (s *Store) extend(ctx context.Context, id AccountID, pace *pacer) (*manifest, error) {
	for {
		began := time.Now()
		var h head
		var m *manifest
		err := s.view(ctx, id, func(r kv.Reader) (err error) {
			if h, err = readHead(r, id); err == nil {
				m, err = readManifest(r, id)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		s.forgetDamaged(id, m)
		if from := m.mergeFrom(); from < len(m.segments) {
			if _, err := s.merge(ctx, id, m, from, pace); err != nil {
				return nil, err
			}
			s.met.merges.Inc()
			continue
		}
		if m.upTo+1 >= h.nextEmail {
			return m, nil
		}
		b, next, err := s.gather(ctx, id, m.upTo+1, h.nextEmail, pace)
		if err != nil {
			return nil, err
		}
		m.upTo = next - 1
		w := s.newSegment(ctx, id, pace)
		if len(b.all) > 0 {
			if err := b.write(w); err != nil {
				return nil, err
			}
			m.segments = append(m.segments, w.head.segment)
		}
		if err := w.commit(m); err != nil {
			return nil, err
		}
		s.observeIndexed(id, &w.head, len(b.cut), h.nextEmail-next, time.Since(began))
	}
}

// forgetDamaged takes a damaged segment, and those after it, out of a manifest:
// their emails are indexed again.
func (s *Store) forgetDamaged(id AccountID, m *manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.freshOf(id)
	if i := slices.IndexFunc(m.segments, func(g segment) bool { return g.number == f.damaged }); i >= 0 {
		m.upTo = m.segments[i].base - 1
		m.segments = m.segments[:i]
	}
	f.damaged = 0
}

// sweepSegments removes the rows of segments that the manifest does not name.
func (s *Store) sweepSegments(ctx context.Context, id AccountID, m *manifest) error {
	rng := kv.Prefix(accountKey(nil, id, keySegment))
	rng.Start = append(rng.Start, 0) // behind the manifest
	rng.Limit = rowsPage
	for {
		var keys [][]byte
		n := 0
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			keys, n = keys[:0], 0
			return r.Scan(rng, func(k, _ []byte) bool {
				n++
				number := keyNumber(k[:len(accountKey(nil, id, keySegment))+8])
				if slices.ContainsFunc(m.segments, func(g segment) bool { return g.number == number }) {
					rng.Start = numberKey(nil, id, keySegment, number+1)
					return false
				}
				keys = append(keys, slices.Clone(k))
				rng.Start = append(slices.Clone(k), 0)
				return true
			})
		})
		if err == nil {
			err = s.deleteKeys(ctx, id, keys)
		}
		if err != nil || n == 0 {
			return err
		}
	}
}
