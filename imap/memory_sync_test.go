package imap

import (
	"context"
	"slices"
)

// vanished returns which UIDs of a set were expunged after a mod-sequence.
func (s *memSession) vanished(set NumSet, since uint64) (out []Range) {
	defer s.lock()()
	var uids []uint32
	for _, g := range s.box.gone {
		if g.modseq > since && set.Contains(g.uid, s.box.next-1) {
			uids = append(uids, g.uid)
		}
	}
	slices.Sort(uids)
	for _, u := range uids {
		out = AppendRange(out, u)
	}
	return out
}

func (s *memSession) Resync(_ context.Context, w *UpdateWriter, q *QResync) error {
	known := NumSet{UID: true, Ranges: []Range{{1, 0}}}
	if q.Known != nil {
		known.Ranges = q.Known
	}
	w.Vanished(s.vanished(known, q.ModSeq), true)
	for i, k := range s.known {
		if m := s.box.byUID(k.uid); m != nil && m.modseq > q.ModSeq && known.Contains(m.uid, s.box.next-1) {
			w.Flags(uint32(i+1), m.uid, m.modseq, m.flags, m.keywords)
		}
	}
	return w.Err()
}

func (s *memSession) UID(seq uint32) uint32 {
	if seq == 0 || int(seq) > len(s.known) {
		return 0
	}
	return s.known[seq-1].uid
}
