package reports

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/postino-mail/postino"
)

// LimiterOptions bounds the reports that are sent (SC9). A zero field means the
// default that its comment names, never "unlimited".
type LimiterOptions struct {
	// PerDomain is how many go to one remote domain in an hour. Default 20.
	PerDomain int
	// Total is how many go out in an hour. Default 1,000.
	Total int
	// Same is how many an hour tell one sender the same status of the same
	// recipient. Default 3.
	Same int
	// Keys bounds what the limiter remembers of recipients; those that were
	// reported longest ago are forgotten first. Default 20,000, about 2 MiB.
	Keys int
	// Local tells the domains of this system, whose own users get the reports:
	// PerDomain is not for them. Nil: there are none.
	Local func(domain string) bool
}

// Limiter keeps a broken or forged sender from causing a storm of reports. Its
// memory is bounded (G10). It may be used by several goroutines.
type Limiter struct {
	o    LimiterOptions
	seed maphash.Seed

	mu      sync.Mutex
	total   window
	domains recent
	same    recent
}

// NewLimiter returns a limiter that has seen nothing.
func NewLimiter(o LimiterOptions) *Limiter {
	for field, def := range map[*int]int{&o.PerDomain: 20, &o.Total: 1000, &o.Same: 3, &o.Keys: 20000} {
		if *field <= 0 {
			*field = def
		}
	}
	return &Limiter{
		o: o, seed: maphash.MakeSeed(), total: make(window, 0, min(o.Total, 1000)),
		// A generation has room for as many domains as reports can be in the window.
		domains: recent{max: 2 * (o.Total + 1)}, same: recent{max: o.Keys},
	}
}

// Allow tells whether the report d may go to sender now, and if not why. A
// report that may go is counted. Each limit holds in any sixty minutes. A report
// of several recipients is the same as others only if all of its recipients are.
func (l *Limiter) Allow(sender postino.Address, d *DSN, now time.Time) (ok bool, why string) {
	if sender.IsNull() {
		return false, "the sender is null" // RFC 5321 §6.1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.domains.turn(now)
	l.same.turn(now)
	if l.total.full(now, l.o.Total) {
		return false, "too many reports in an hour"
	}
	domain := maphash.String(l.seed, sender.Domain)
	if l.domains.get(domain).full(now, l.o.PerDomain) {
		return false, "too many reports to " + sender.Domain + " in an hour"
	}
	fresh := len(d.Rcpts) == 0
	for i := range d.Rcpts {
		if fresh = !l.same.get(l.key(sender, &d.Rcpts[i])).full(now, l.o.Same); fresh {
			break
		}
	}
	if !fresh {
		return false, "the same report went to the sender before"
	}
	l.total.add(now, l.o.Total)
	if l.o.Local == nil || !l.o.Local(sender.Domain) {
		l.domains.add(domain, now, l.o.PerDomain)
	}
	for i := range d.Rcpts {
		l.same.add(l.key(sender, &d.Rcpts[i]), now, l.o.Same)
	}
	return true, ""
}

// key names a sender, recipient and status. The seed is secret, so that nobody
// can make keys that meet.
func (l *Limiter) key(sender postino.Address, r *DSNRcpt) uint64 {
	return maphash.Comparable(l.seed, [5]string{sender.Local, sender.Domain, r.Final.Local, r.Final.Domain, r.status()})
}

// window holds when the last events were, oldest first once it is full.
type window []int64

// full tells whether max events were in the hour before now. A clock that went
// back does not open it.
func (w window) full(now time.Time, max int) bool {
	return len(w) == max && w[0] > now.Add(-time.Hour).UnixNano()
}

func (w *window) add(now time.Time, max int) {
	if len(*w) == max {
		*w = (*w)[:copy(*w, (*w)[1:])]
	}
	*w = append(*w, now.UnixNano())
}

// recent remembers windows by key in two generations: one that was touched lives
// an hour at least, unless there are more than max.
type recent struct {
	max        int
	turned     time.Time
	young, old map[uint64]window
}

// turn forgets the older generation when the newer is an hour old or has its
// share of max.
func (r *recent) turn(now time.Time) {
	if r.young != nil && len(r.young) <= r.max/2 && now.Sub(r.turned) < time.Hour {
		return
	}
	r.old, r.young, r.turned = r.young, map[uint64]window{}, now
}

func (r *recent) get(key uint64) window {
	if w, ok := r.young[key]; ok {
		return w
	}
	return r.old[key]
}

func (r *recent) add(key uint64, now time.Time, max int) {
	w := r.get(key)
	w.add(now, max)
	if len(r.young) > r.max/2 {
		r.turn(now)
	}
	r.young[key] = w
	delete(r.old, key)
}
