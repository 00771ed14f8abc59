package directory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// sendsScope serialises the writers of the counts; they are few.
const sendsScope = kv.Scope("d/sends")

const (
	saveEvery = 10 * time.Second
	saveBatch = 1000 // users in one transaction
)

// sender is what is known of a user who sends.
type sender struct {
	all     tallies // what is stored and what is not yet
	unsaved tallies
	pending int // recipients in unsaved
	alarmed time.Time
}

// sends counts in memory what users send and writes it behind: the counts of a user
// once he sent to a tenth of his hourly limit since the last time, all others every
// saveEvery. So a crash forgets at most that much, and a message costs no write
// of its own. What is written is added to what is stored, so nodes that
// share a store know of each other after saveEvery.
type sends struct {
	db  kv.DB
	max int

	mu    sync.Mutex
	users map[uint64]*sender

	saving sync.Mutex // one save at a time; held while the store writes
}

func newSends(db kv.DB, max int) *sends {
	return &sends{db: db, max: max, users: map[uint64]*sender{}}
}

// or fills in what is zero.
func (l SendLimits) or(defaults SendLimits) SendLimits {
	if l.Hour == 0 {
		l.Hour = defaults.Hour
	}
	if l.Day == 0 {
		l.Day = defaults.Day
	}
	return l
}

// allow refuses n recipients more than the limits allow.
func (l SendLimits) allow(t *tallies, n int) error {
	for _, w := range []struct {
		limit  int
		window *window
		name   string
	}{{l.Hour, &t.Hour, "an hour"}, {l.Day, &t.Day, "a day"}} {
		if w.limit >= 0 && w.window.sum()+n > w.limit {
			return fmt.Errorf("limit of %d recipients in %s reached", w.limit, w.name)
		}
	}
	return nil
}

// TakeSend counts recipients that a user sends to at a time (SS22). Full: with
// them a limit would be passed, and nothing is counted; the cause is text for
// the client. The first refusal in an hour is an alert. Account 0, which is
// nobody, and users of AcceptAny have no limits.
func (d *Directory) TakeSend(ctx context.Context, user uint64, rcpts int, now time.Time) error {
	const op = "send"
	if user == 0 || rcpts <= 0 || d.opts.AcceptAny != nil {
		return nil
	}
	u, err := d.person(ctx, user)
	if err != nil {
		return err
	}
	limits := u.Sends.or(d.opts.Sends)
	refusal, alarm, save, err := d.sends.take(ctx, user, rcpts, limits, now)
	if err != nil {
		return err
	}
	if alarm {
		d.obs.sendsTooMuch(u.User, refusal)
	}
	if refusal != nil {
		return postino.E(postino.Full, op, name(u.Address), refusal)
	}
	if save {
		if err := d.sends.save(ctx, user); err != nil { // tried again with the others
			d.obs.sendsNotSaved(err)
		}
	}
	return nil
}

// SendCounts returns how many recipients a user sent to in the last hour and the
// last day, with the limits that hold.
func (d *Directory) SendCounts(ctx context.Context, user uint64, now time.Time) (sent, limits SendLimits, err error) {
	u, err := d.person(ctx, user)
	if err != nil {
		return sent, limits, err
	}
	err = d.sends.with(ctx, user, func(s *sender) {
		s.all.advance(now)
		sent = SendLimits{Hour: s.all.Hour.sum(), Day: s.all.Day.sum()}
	})
	return sent, u.Sends.or(d.opts.Sends), err
}

// take counts n recipients, or says why not; alarm for the first refusal within an
// hour, save when the counts are to be written now.
func (s *sends) take(ctx context.Context, user uint64, n int, limits SendLimits, now time.Time) (refusal error, alarm, save bool, err error) {
	err = s.with(ctx, user, func(u *sender) {
		u.all.advance(now)
		if refusal = limits.allow(&u.all, n); refusal != nil {
			if alarm = now.Sub(u.alarmed) >= time.Hour; alarm {
				u.alarmed = now
			}
			return
		}
		u.unsaved.advance(now)
		u.all.add(n)
		u.unsaved.add(n)
		u.pending += n
		save = limits.Hour >= 0 && u.pending*10 >= limits.Hour
	})
	return refusal, alarm, save, err
}

// with runs fn on a user under the lock, after reading what is stored.
func (s *sends) with(ctx context.Context, user uint64, fn func(*sender)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.users[user] == nil {
		full := len(s.users) >= s.max
		s.mu.Unlock()
		var err error
		if full {
			err = s.evict(ctx)
		}
		var stored tallies
		if err == nil {
			err = s.db.View(ctx, []kv.Scope{sendsScope}, func(r kv.Reader) error {
				stored = tallies{}
				_, err := getRecord(r, idKey('s', user), &stored)
				return err
			})
		}
		s.mu.Lock()
		if err != nil {
			return err
		}
		if s.users[user] == nil && len(s.users) < s.max {
			s.users[user] = &sender{all: stored}
		}
	}
	fn(s.users[user])
	return nil
}

// evict makes room: what is saved can be read again.
func (s *sends) evict(ctx context.Context) error {
	s.saving.Lock() // so that nothing is on its way to the store
	defer s.saving.Unlock()
	err := s.saveAll(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.users {
		if u.pending == 0 && len(s.users) > s.max/2 {
			delete(s.users, id)
		}
	}
	return err
}

// save writes the counts of one user.
func (s *sends) save(ctx context.Context, user uint64) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	return s.write(ctx, []uint64{user})
}

// saveAll writes what is to be written. The caller holds saving.
func (s *sends) saveAll(ctx context.Context) error {
	var users []uint64
	s.mu.Lock()
	for id, u := range s.users {
		if u.pending > 0 {
			users = append(users, id)
		}
	}
	s.mu.Unlock()
	for batch := range slices.Chunk(users, saveBatch) {
		if err := s.write(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// written is what one save took from a user.
type written struct {
	id      uint64
	unsaved tallies
	pending int
	stored  tallies // after the save
}

// write adds the counts of users to what is stored. The caller holds saving.
func (s *sends) write(ctx context.Context, users []uint64) error {
	var batch []written
	s.mu.Lock()
	for _, id := range users {
		if u := s.users[id]; u != nil && u.pending > 0 {
			batch = append(batch, written{id: id, unsaved: u.unsaved, pending: u.pending})
			u.unsaved, u.pending = tallies{}, 0
		}
	}
	s.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := s.db.Update(ctx, []kv.Scope{sendsScope}, func(tx kv.Tx) error {
		for i := range batch {
			b := &batch[i]
			b.stored = tallies{}
			if _, ok, err := tx.Get(idKey('u', b.id)); err != nil || !ok { // removed: ids do not come back
				if err != nil {
					return err
				}
				continue
			}
			if _, err := getRecord(tx, idKey('s', b.id), &b.stored); err != nil {
				return err
			}
			b.stored.merge(&b.unsaved)
			if err := setRecord(tx, idKey('s', b.id), b.stored); err != nil {
				return err
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		b := &batch[i]
		u := s.users[b.id]
		if err != nil {
			u.unsaved.merge(&b.unsaved)
			u.pending += b.pending
			continue
		}
		b.stored.merge(&u.unsaved) // taken while it was written
		u.all = b.stored
	}
	return err
}

// saveSends writes the counts every now and then, and once more at the end.
func (d *Directory) saveSends() {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		stop := false
		select {
		case <-tick.C:
		case <-d.quit:
			stop = true
		}
		d.sends.saving.Lock()
		if err := d.sends.saveAll(context.Background()); err != nil {
			d.obs.sendsNotSaved(err)
		}
		d.sends.saving.Unlock()
		if stop {
			return
		}
	}
}
