package app

import "testing"

// TestQuiet: memory is given back once after a burst, and not while one lasts.
func TestQuiet(t *testing.T) {
	const mib = 1 << 20
	var q quiet
	for i, x := range []struct {
		allocated, live uint64
		want            bool
	}{
		{50 * mib, 10 * mib, false},   // a burst
		{90 * mib, 10 * mib, false},   // goes on
		{90 * mib, 10 * mib, true},    // and is over
		{91 * mib, 10 * mib, false},   // little happens
		{91*mib + 1, 10 * mib, false}, // nothing
		{97 * mib, 10 * mib, false},   // a small burst
		{97 * mib, 10 * mib, false},   // is not worth it
		{100 * mib, 10 * mib, false},  // together with another
		{100*mib + 9, 10 * mib, true}, // it is
		{300 * mib, 500 * mib, false}, // much is live
		{300 * mib, 500 * mib, false}, // then it must be more
		{400 * mib, 500 * mib, false}, // as now
		{400*mib + 1, 500 * mib, true},
	} {
		if got := q.look(heap{x.allocated, x.live}); got != x.want {
			t.Errorf("look %d: %v", i, got)
		}
	}
}

// TestReadHeap: the runtime knows these figures.
func TestReadHeap(t *testing.T) {
	before := readHeap()
	sink := make([]byte, 1<<20)
	if after := readHeap(); after.allocated < before.allocated+uint64(len(sink)) || after.allocated < after.live {
		t.Error(before, after)
	}
}
