package directory

import "time"

// The windows that limits are about, in slots. One slot more than the window has is
// counted, so that the limit holds for every 60 minutes and every 24 hours.
const (
	hourSlot  = 5 * time.Minute
	hourSlots = 12 + 1
	daySlot   = time.Hour
	daySlots  = 24 + 1
)

// window counts events in the slots up to Last, which is a number of slots since
// 1970. Counts is a ring: slot n is at n modulo its length.
type window struct {
	Last   int64
	Counts []uint32
}

// advance moves the window on to a slot. A clock that goes back a little changes
// nothing; one that was far ahead must not keep the counts for ever.
func (w *window) advance(slot int64, slots int) {
	if len(w.Counts) != slots || w.Last < 0 || w.Last-slot > int64(slots) {
		w.Last, w.Counts = slot, make([]uint32, slots)
	}
	if slot-w.Last >= int64(slots) {
		clear(w.Counts)
	} else {
		for n := w.Last + 1; n <= slot; n++ {
			w.Counts[n%int64(slots)] = 0
		}
	}
	w.Last = max(w.Last, slot)
}

func (w *window) sum() (n int) {
	for _, c := range w.Counts {
		n += int(c)
	}
	return n
}

// merge adds the counts of another window.
func (w *window) merge(o *window, slots int) {
	if len(o.Counts) != slots {
		return
	}
	w.advance(o.Last, slots)
	for n := max(0, w.Last-int64(slots)+1); n <= o.Last; n++ {
		w.Counts[n%int64(slots)] += o.Counts[n%int64(slots)]
	}
}

// tallies are the counts of one user.
type tallies struct{ Hour, Day window }

func (t *tallies) advance(now time.Time) {
	t.Hour.advance(max(0, now.Unix()/int64(hourSlot/time.Second)), hourSlots)
	t.Day.advance(max(0, now.Unix()/int64(daySlot/time.Second)), daySlots)
}

func (t *tallies) add(n int) {
	t.Hour.Counts[t.Hour.Last%hourSlots] += uint32(n)
	t.Day.Counts[t.Day.Last%daySlots] += uint32(n)
}

func (t *tallies) merge(o *tallies) {
	t.Hour.merge(&o.Hour, hourSlots)
	t.Day.merge(&o.Day, daySlots)
}
