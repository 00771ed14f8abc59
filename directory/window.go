package directory

import "time"

// shape is how a window counts. One slot more than the window is long is
// counted, so that a limit holds for every 60 minutes and every 24 hours.
type shape struct {
	slot  time.Duration
	slots int64
}

var (
	hourShape = shape{5 * time.Minute, 12 + 1}
	dayShape  = shape{time.Hour, 24 + 1}
)

// far is how far ahead the clock must have been for counts to be dropped that
// would else stay for as long.
const far = 48 * time.Hour

// window counts events in the slots up to Last, which is a number of slots since
// 1970. Counts is a ring: slot n is at n modulo its length.
type window struct {
	Last   int64
	Counts []uint32
}

// advance moves the window on to a slot. A clock that goes back a little changes
// nothing.
func (w *window) advance(slot int64, s shape) {
	if int64(len(w.Counts)) != s.slots || w.Last < 0 || w.Last-slot > int64(far/s.slot) {
		w.Last, w.Counts = slot, make([]uint32, s.slots)
	}
	if slot-w.Last >= s.slots {
		clear(w.Counts)
	} else {
		for n := w.Last + 1; n <= slot; n++ {
			w.Counts[n%s.slots] = 0
		}
	}
	w.Last = max(w.Last, slot)
}

func (w *window) add(n int) { w.Counts[w.Last%int64(len(w.Counts))] += uint32(n) }

func (w *window) sum() (n int) {
	for _, c := range w.Counts {
		n += int(c)
	}
	return n
}

// merge adds the counts of another window.
func (w *window) merge(o *window, s shape) {
	if int64(len(o.Counts)) != s.slots || o.Last < 0 {
		return
	}
	w.advance(o.Last, s)
	for n := max(0, w.Last-s.slots+1); n <= o.Last; n++ {
		w.Counts[n%s.slots] += o.Counts[n%s.slots]
	}
}

// tallies are the counts of one user.
type tallies struct{ Hour, Day window }

func (t *tallies) advance(now time.Time) {
	slot := func(s shape) int64 { return max(0, now.Unix()/int64(s.slot/time.Second)) }
	t.Hour.advance(slot(hourShape), hourShape)
	t.Day.advance(slot(dayShape), dayShape)
}

func (t *tallies) add(n int) {
	t.Hour.add(n)
	t.Day.add(n)
}

func (t *tallies) merge(o *tallies) {
	t.Hour.merge(&o.Hour, hourShape)
	t.Day.merge(&o.Day, dayShape)
}
