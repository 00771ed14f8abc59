package queue

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/postino-mail/postino"
)

// Health is what an attempt learnt about a site as a whole.
type Health uint8

// The healths.
const (
	Fine Health = iota + 1 // it answered as it should, also when it refused recipients
	Busy                   // it wants fewer connections: 421 or 4xx as greeting
	Down                   // none of its hosts could be reached
)

// health says whether a site may be tried.
type health uint8

const (
	open     health = iota
	paused          // it was busy: until its pause is over
	closed          // it was down too often: until its time is over
	halfOpen        // that time is over: one attempt finds out how it is
)

func (h health) String() string { return [...]string{"open", "paused", "closed", "probing"}[h] }

// How a site is treated.
const (
	startLimit   = 2  // attempts at once at the beginning
	defaultLimit = 10 // at most, SC8
	breakAfter   = 5  // times Down in a row that close it, SC8
	pauseMin     = time.Second
	pauseMax     = time.Minute
	closedMin    = time.Minute
	closedMax    = 30 * time.Minute
)

type siteKey struct{ transport, dest string }

// site is what is known of a destination. It is guarded by Queue.mu.
type site struct {
	line *line
	dest string
	hash uint64

	held   int      // items that have a seat
	ready  int      // of these, in the lists
	flying int      // of these, under way
	ranks  [3]ranks // the lists, by class of priority
	turn   uint8
	queued bool    // in the ring of its line
	stuck  bool    // all its senders have as many slots as they may
	chance *sender // for whom it went on when it was stuck

	limit, max int
	health     health
	probing    bool
	failures   int       // times Down in a row
	closures   int       // times closed in a row
	pauses     int       // times paused in a row
	since      time.Time // of its trouble
	until      time.Time // when it is paused or closed
	words      string    // that told of the trouble
	timer      *time.Timer

	parked  bool // items are parked from this spot on
	from    spot
	hungry  bool          // in Queue.hungry
	starved bool          // in Queue.starved: what is parked found no room
	shut    bool          // in Queue.closing
	elem    *list.Element // in Queue.idle
}

// siteOf returns the site of a destination, which comes into being with it.
// The lock is held.
func (q *Queue) siteOf(ln *line, dest string) *site {
	key := siteKey{ln.name, dest}
	s := q.sites[key]
	if s == nil {
		s = &site{line: ln, dest: dest, hash: siteHash(ln.name, dest)}
		s.setMax()
		s.limit = min(startLimit, s.max)
		q.sites[key] = s
	}
	return s
}

// setMax asks how many attempts the site bears.
func (s *site) setMax() {
	n := 0
	if f := s.line.opts.SiteLimit; f != nil {
		n = f(s.dest)
	}
	if n <= 0 {
		n = defaultLimit
	}
	s.max = min(n, s.line.share())
}

// share is how many slots one site or one sender may have (QU8).
func (ln *line) share() int { return max(1, ln.opts.Slots/2) }

// runnable tells whether an attempt may begin.
func (s *site) runnable() bool {
	switch s.health {
	case open:
		return s.ready > 0 && s.flying < s.limit
	case halfOpen:
		return s.ready > 0 && !s.probing
	}
	return false
}

// awake notes that the site has something to do. The lock is held.
func (q *Queue) awake(s *site) {
	if s.elem != nil {
		q.idle.Remove(s.elem)
		s.elem = nil
		s.setMax()
		s.limit = min(s.limit, s.max)
	}
}

// look finds out what a site needs after a change: parked items, or to be put
// with the idle ones. Of these the latest are remembered. The lock is held.
func (q *Queue) look(s *site) {
	if !s.hungry && !s.starved && q.appetite(s) > 0 {
		s.hungry = true
		q.hungry.push(s)
		q.awake(s)
		q.poke()
	}
	if s.held > 0 || s.hungry || s.starved || s.elem != nil {
		return
	}
	if s.health == open && s.failures == 0 && s.limit <= startLimit && !s.parked {
		q.drop(s)
		return
	}
	s.elem = q.idle.PushFront(s)
	if q.idle.Len() > q.opts.Limits.Sites {
		last := q.idle.Back()
		q.idle.Remove(last)
		q.drop(last.Value.(*site))
	}
}

// drop forgets a site. The lock is held.
func (q *Queue) drop(s *site) {
	s.stopTimer()
	delete(q.sites, siteKey{s.line.name, s.dest})
	if s.parked {
		q.sweep.due = true
	}
	if q.sweep.due && len(q.sites) < q.mostSites()/2 {
		q.poke()
	}
}

// learn takes in what an attempt found out. The lock is held.
func (q *Queue) learn(s *site, h Health, words string, probe bool) {
	if words != "" && h != Fine {
		s.words = words
		if s.since.IsZero() {
			s.since = time.Now()
		}
	}
	switch h {
	case Fine:
		s.pauses = 0
		switch {
		case s.health == closed || s.health == halfOpen:
			q.reopen(s)
		case s.flying >= s.limit && s.limit < s.max:
			s.limit++
		}
		if s.failures = 0; s.health == open {
			s.closures, s.since, s.words = 0, time.Time{}, ""
		}
	case Busy:
		s.failures = 0
		if s.health != paused {
			s.limit = max(1, s.limit/2)
			q.shutFor(s, paused, min(pauseMax, pauseMin<<min(s.pauses, 10)))
			s.pauses++
		}
	case Down:
		s.failures++
		if s.health == halfOpen && probe || s.failures >= breakAfter && s.health != halfOpen && s.health != closed {
			s.limit = min(startLimit, s.max)
			q.shutFor(s, closed, min(closedMax, closedMin<<min(s.closures, 10)))
			s.closures++
		}
	}
}

// shutFor pauses or closes a site. The lock is held.
func (q *Queue) shutFor(s *site, h health, d time.Duration) {
	spread := 1 + jitter*(2*rand.Float64()-1)
	d = time.Duration(float64(d) * spread)
	s.health, s.until = h, time.Now().Add(d)
	s.stopTimer()
	if q.active {
		s.timer = time.AfterFunc(d, func() { q.elapsed(s) })
	}
	if h == closed {
		q.observe.siteClosed(s)
		q.shutOut(s)
	}
}

// shutOut lets the keeper park what a closed site has in memory. The lock is held.
func (q *Queue) shutOut(s *site) {
	if s.ready > 0 && !s.shut {
		s.shut = true
		q.closing.push(s)
		q.poke()
	}
}

func (s *site) stopTimer() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// elapsed lets a site go on whose pause is over.
func (q *Queue) elapsed(s *site) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Now().Before(s.until) { // it was shut again
		return
	}
	switch s.health {
	case paused:
		s.health = open
	case closed:
		s.health, s.probing = halfOpen, false
	}
	s.line.wake(s)
	q.look(s)
}

// reopen forgets the trouble of a site. The lock is held.
func (q *Queue) reopen(s *site) {
	s.stopTimer()
	s.health, s.limit, s.probing = open, min(startLimit, s.max), false
	s.failures, s.closures, s.pauses = 0, 0, 0
	s.since, s.until, s.words = time.Time{}, time.Time{}, ""
	q.observe.siteOpened(s)
	s.line.wake(s)
	q.look(s)
}

// closedWords says why an item's site takes none now, or "". The lock is held.
func (q *Queue) closedWords(it *Item) string {
	s := q.sites[siteKey{it.Transport, it.Dest}]
	if s == nil || s.health != closed {
		return ""
	}
	return fmt.Sprintf("4.4.1 destination not reachable since %s, next try at %s: %s", s.since.UTC().Format(time.RFC3339),
		s.until.UTC().Format(time.RFC3339), postino.Printable(s.words))
}
