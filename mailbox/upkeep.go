package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// hint tells that a transaction that was to bring an account to a modseq was
// under way; it may have failed.
type hint struct {
	modseq ModSeq
	until  time.Time
}

// hintLife is how long a transaction of others may take to commit.
const hintLife = time.Minute

// noticed is told, before or after its commit, to which modseq a transaction of
// others brings an account.
func (s *Store) noticed(id AccountID, m ModSeq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh := s.accounts[id]; sh != nil && sh.refs > 0 {
		s.hints[id] = hint{max(m, s.hints[id].modseq), time.Now().Add(hintLife)}
	}
}

// weigh notes new emails for the index, and plans a checkpoint when the log's tail has grown long.
func (s *Store) weigh(id AccountID, h *head) {
	s.arrived(id, h.nextEmail, time.Now())
	if int(h.modseq-h.folded) >= s.opts.FoldRecords || h.tail >= s.opts.FoldBytes {
		s.mu.Lock()
		s.plan(id)
		s.mu.Unlock()
	}
}

// plan makes a checkpoint of the account due. mu is held.
func (s *Store) plan(id AccountID) {
	s.due[id] = true
	signal(s.wake)
}

// signal wakes whoever waits on c, which has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run keeps open accounts current, folds logs into checkpoints, trims them,
// sweeps what nothing refers to and builds the search index, until ctx ends. A store works without it; then
// open views do not hear of deliveries by themselves and logs only grow.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.runNotices(ctx) })
	g.Go(func() error { return s.runUpkeep(ctx) })
	g.Go(func() error { return s.runIndex(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// recheck is how soon accounts are looked at again whose change was announced
// but did not show with the notice of the store.
const recheck = 50 * time.Millisecond

// runNotices publishes what transactions of others changed in open accounts.
func (s *Store) runNotices(ctx context.Context) error {
	changed, stop := s.db.Watch([]byte{'a'})
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-s.behind:
		case <-timer.C:
		}
		if s.followHints(ctx) {
			timer.Reset(recheck)
		}
	}
}

// followHints refreshes the accounts that transactions of others changed; it
// tells whether some changes do not show yet.
func (s *Store) followHints(ctx context.Context) (more bool) {
	s.mu.Lock()
	var open []*shared
	var fns []func()
	now := time.Now()
	for id, h := range s.hints {
		sh := s.accounts[id]
		if sh == nil || sh.refs == 0 || now.After(h.until) || sh.reached(h.modseq) {
			delete(s.hints, id)
			continue
		}
		sh.refs++ // keeps it in memory
		open = append(open, sh)
	}
	s.mu.Unlock()
	if len(open) == 0 {
		return false
	}
	// One view without scopes for all: it does not wait for updates that are
	// being synced; their own notice will come.
	err := s.db.View(ctx, nil, func(r kv.Reader) error {
		for _, sh := range open {
			notify, err := sh.catchUp(r)
			if err != nil && !errors.Is(err, errBehind) && !postino.Is(err, postino.NotFound) {
				s.observeFailure("refresh account", sh.id, err)
			}
			fns = append(fns, notify...)
		}
		return nil
	})
	if err != nil {
		s.observeFailure("refresh accounts", 0, err)
	}
	call(fns)
	s.mu.Lock()
	for _, sh := range open {
		if h, ok := s.hints[sh.id]; ok && sh.reached(h.modseq) {
			delete(s.hints, sh.id)
		}
	}
	more = len(s.hints) > 0
	s.mu.Unlock()
	for _, sh := range open {
		s.release(sh)
	}
	return more
}

func (a *shared) reached(m ModSeq) bool {
	st := a.published.Load()
	return st != nil && st.head.modseq >= m
}

// How often the upkeep looks for emails whose grace is over, and at all accounts.
const (
	sweepEvery = time.Minute
	walkEvery  = 24 * time.Hour
)

// runUpkeep folds and sweeps.
func (s *Store) runUpkeep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var walked time.Time
	for {
		if now := time.Now(); now.Sub(walked) >= walkEvery {
			if err := s.walk(ctx); err != nil {
				s.observeFailure("look at accounts", 0, err)
			}
			walked = now
		}
		for _, id := range s.takeDue() {
			if err := s.Fold(ctx, id); err != nil && !postino.Is(err, postino.NotFound) {
				s.observeFailure("fold log", id, err)
			}
			if err := s.startSweep(ctx, id, time.Now()); err != nil && !postino.Is(err, postino.NotFound) {
				s.observeFailure("sweep account", id, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-tick.C:
			for _, id := range s.ripe(time.Now()) {
				if _, err := s.Sweep(ctx, id, time.Now()); err != nil {
					s.observeFailure("sweep account", id, err)
				}
			}
		}
	}
}

// takeDue empties due.
func (s *Store) takeDue() []AccountID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]AccountID, 0, len(s.due))
	for id := range s.due {
		ids = append(ids, id)
	}
	clear(s.due)
	return ids
}

// walk looks at every account once and plans what it needs.
func (s *Store) walk(ctx context.Context) error {
	ids, err := s.accountIDs(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			h, err := readHead(r, id)
			if err == nil {
				s.arrived(id, h.nextEmail, time.Time{})
			}
			if postino.Is(err, postino.NotFound) || err == nil && (h.dead > 0 || h.modseq > h.folded) {
				s.mu.Lock()
				s.plan(id)
				s.mu.Unlock()
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// accountIDs returns all accounts that have rows, also removed ones.
func (s *Store) accountIDs(ctx context.Context) (ids []AccountID, err error) {
	next := uint64(1)
	for {
		found := uint64(0)
		err = s.db.View(ctx, nil, func(r kv.Reader) error {
			found = 0
			start := accountKey(nil, AccountID(next), 0)
			return r.Scan(kv.Range{Start: start, End: []byte{'a' + 1}, Limit: 1}, func(k, _ []byte) bool {
				if len(k) >= 9 {
					found = binary.BigEndian.Uint64(k[1:9])
				}
				return false
			})
		})
		if err != nil || found == 0 {
			return ids, err
		}
		ids = append(ids, AccountID(found))
		if next = found + 1; next == 0 {
			return ids, nil
		}
	}
}
