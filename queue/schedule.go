package queue

import (
	"math/rand/v2"
	"time"

	"github.com/postino-mail/postino"
)

// Schedule says when deferred recipients are tried again. A zero field means
// its default.
type Schedule struct {
	First      time.Duration // pause after the first attempt, doubling: 5 minutes
	Max        time.Duration // longest pause: 4 hours
	Life       time.Duration // from acceptance to failure: 5 days
	BounceLife time.Duration // the same for the null sender: 1 day
	Notice     time.Duration // until the sender is told of a delay: 4 hours
}

// jitter is the part of a pause by which it may be shorter or longer (QU7).
const jitter = 0.1

func (s *Schedule) setDefaults() {
	for _, d := range [...]struct {
		v   *time.Duration
		def time.Duration
	}{
		{&s.First, 5 * time.Minute}, {&s.Max, 4 * time.Hour}, {&s.Life, 5 * 24 * time.Hour},
		{&s.BounceLife, 24 * time.Hour}, {&s.Notice, 4 * time.Hour}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
}

// next returns when an item is due after so many attempts.
func (s *Schedule) next(attempts int, now time.Time) time.Time {
	pause := s.Max
	if n := attempts - 1; n < 20 {
		pause = min(s.Max, s.First<<n)
	}
	spread := 1 + jitter*(2*rand.Float64()-1)
	// Stored times are in milliseconds: a due time must read back as it was.
	return now.Add(time.Duration(float64(pause) * spread)).Truncate(time.Millisecond)
}

// least is the pause that the monotonic clock enforces between two attempts,
// whatever the wall clock does.
func (s *Schedule) least() time.Duration { return time.Duration(float64(s.First) * (1 - jitter)) }

// life is how long the item is tried.
func (s *Schedule) life(it *Item) time.Duration {
	if it.Bounce() {
		return min(s.Life, s.BounceLife)
	}
	return s.Life
}

// grace is how long after Start nothing that is parked expires: it may not have
// been tried because the process was not there.
func (s *Schedule) grace() time.Duration { return min(time.Hour, s.Life/10) }

// maxRecent bounds the memory of recent attempts.
const maxRecent = 65_536

// recent remembers when attempts ended, by the monotonic clock, so that a jump
// of the wall clock does not bring two of them too near (QU7).
type recent struct {
	ends  map[postino.ID]time.Time
	order fifo[postino.ID]
}

func (r *recent) add(id postino.ID) {
	if _, ok := r.ends[id]; !ok {
		if len(r.ends) >= maxRecent {
			return
		}
		r.order.push(id)
	}
	r.ends[id] = time.Now()
}

// prune forgets the attempts that ended longer ago than least.
func (r *recent) prune(least time.Duration) {
	for r.order.len() > 0 {
		id := r.order.front()
		end, ok := r.ends[id]
		if ok && time.Since(end) < least {
			return
		}
		r.order.pop()
		delete(r.ends, id)
	}
}

// tooEarly returns until when the item must not be tried.
func (q *Queue) tooEarly(id postino.ID) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	end, ok := q.attempts.ends[id]
	if !ok {
		return time.Time{}
	}
	return time.Now().Add(q.opts.Retry.least() - time.Since(end))
}
