package mailbox

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMarks compares marks with a list of all messages.
func TestMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type message struct {
			uid    UID
			seen   bool
			modseq ModSeq
		}
		var list []message
		e := &edit{}
		gap := UID(rapid.IntRange(2, 9).Draw(t, "gap"))
		for u := UID(1); u < 1500; u++ {
			if u%gap == 0 {
				continue
			}
			e.add([]Row{{UID: u, ModSeq: 1}})
			list = append(list, message{uid: u})
		}
		s := &Snapshot{row: &boxRow{}, table: e.table()}
		p := &private{}
		at := ModSeq(1)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			at++
			lo, n := rapid.IntRange(0, len(list)-1).Draw(t, "from"), rapid.IntRange(1, len(list)).Draw(t, "number")
			step := rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "step")
			if rapid.IntRange(0, 3).Draw(t, "expunge") == 0 {
				var uids []UID
				for i := lo; i < len(list) && len(uids) < n/4; i += step {
					uids = append(uids, list[i].uid)
				}
				p = p.expunge(RangesOf(uids))
				list = slices.DeleteFunc(list, func(m message) bool { return slices.Contains(uids, m.uid) })
				e := newEdit(s.table)
				e.expunge(RangesOf(uids), at)
				s = &Snapshot{row: s.row, table: e.table()}
				if len(list) == 0 {
					return
				}
				continue
			}
			seen := rapid.Bool().Draw(t, "seen")
			var rs Ranges
			more := 0
			for i := lo; i < len(list) && i < lo+n; i += step {
				m := &list[i]
				more += btoi(seen) - btoi(m.seen)
				m.seen, m.modseq = seen, at
				rs.Append(m.uid)
			}
			p = p.set(s, s.close(rs), seen, more, at)
		}
		count := uint32(0)
		i := 0
		for _, c := range s.table.chunks {
			c = p.show(c)
			for k := range c.len() {
				m := list[i]
				i++
				if c.uids[k] != m.uid || Flags(c.flags[0][k])&Seen != 0 != m.seen || c.modseqs[k] < m.modseq || c.modseqs[k] > at {
					t.Fatalf("UID %d flags %x modseq %d, want %+v", c.uids[k], c.flags[0][k], c.modseqs[k], m)
				}
				count += uint32(btoi(m.seen))
			}
		}
		equal(t, "seen", p.seen, count)
		again, err := decodePrivate(p.box, p.viewer, p.append(nil))
		if err != nil || !slices.Equal(again.marks, p.marks) || again.seen != p.seen {
			t.Fatal(err)
		}
		for i, m := range p.marks {
			if m.lo > m.hi || i > 0 && m.lo <= p.marks[i-1].hi {
				t.Fatalf("marks %v", p.marks)
			}
		}
	})
}

// TestMarksStayFew: reading one message after the other takes a bounded row.
func TestMarksStayFew(t *testing.T) {
	e := &edit{}
	const n = 5000
	for u := UID(1); u <= n; u++ {
		e.add([]Row{{UID: 3 * u, ModSeq: 1}})
	}
	s := &Snapshot{row: &boxRow{}, table: e.table()}
	p := &private{}
	for u := UID(1); u <= n; u++ {
		p = p.set(s, Ranges{{3 * u, 3 * u}}, true, 1, ModSeq(u))
		if len(p.marks) > maxMarks {
			t.Fatalf("%d marks", len(p.marks))
		}
	}
	equal(t, "seen", p.seen, n)
}

func BenchmarkGuest(b *testing.B) {
	w, a, _ := benchWorld(b, 100_000)
	if err := a.SetACL(ctx, inbox, Subject{Account: carol}, false, ReplaceFlags, AllRights); err != nil {
		b.Fatal(err)
	}
	g := w.guest(asCarol)
	b.Cleanup(g.Close)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			ok[*View](b)(g.Open(ctx, inbox))
		}
	})
	op := AddFlags
	b.Run("see10000", func(b *testing.B) {
		for b.Loop() {
			ok[StoreResult](b)(g.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{30_000, 39_999}}, Op: op, Flags: Seen}))
			op = RemoveFlags - op
		}
	})
	b.Run("rights", func(b *testing.B) {
		for b.Loop() {
			g.Rights(inbox)
		}
	})
}

// TestGuestStoresBoth: a guest's STORE that changes the flags of some messages and
// his \Seen of others reaches every one of them.
func TestGuestStoresBoth(t *testing.T) {
	w := newWorld(t, Options{})

	a := w.account()
	defer a.Close()
	for i := range 7 { // Draft: 3, 5, 7, with \Seen of 1 no run of numbers
		w.append(a, inbox, 1, Flags(btoi(i > 0 && i%2 == 0))*Draft)
	}
	w.grant(asCarol, inbox, "lrswt")
	g := w.guest(asCarol)
	defer g.Close()
	ok[StoreResult](t)(g.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{1, 1}}, Op: AddFlags, Flags: Seen}))
	res := ok[StoreResult](t)(g.Store(ctx, inbox, StoreRequest{UIDs: All(), Op: ReplaceFlags}))
	for i := range res.Snapshot.Len() {
		if r := res.Snapshot.Row(i); !r.Flags.IsZero() {
			t.Errorf("message %d has flags %v after all were taken", r.UID, r.Flags)
		}
	}
	w.check()
}
