package imapd

import (
	"cmp"
	"slices"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// span is a run of positions in the client's snapshot, hi not included.
type span struct{ lo, hi int }

// spans resolves a number set to ascending, disjoint runs of positions. A
// sequence number that the client cannot know is a protocol error (RFC 9051 §9,
// seq-number); UIDs that do not exist are passed over.
func (s *session) spans(set imap.NumSet) ([]span, error) {
	snap := s.sel.snap
	n := snap.Len()
	out := make([]span, 0, len(set.Ranges))
	for _, r := range set.Ranges {
		if !set.UID {
			lo, hi := r.Resolve(uint32(n))
			if lo == 0 || int64(hi) > int64(n) {
				return nil, &imap.Error{Bad: true, Text: "no such message sequence number"}
			}
			out = append(out, span{int(lo) - 1, int(hi)})
			continue
		}
		lo, hi := r.Resolve(lastUID(snap))
		i, _ := snap.Find(mailbox.UID(lo))
		j, found := snap.Find(mailbox.UID(hi))
		if found {
			j++
		}
		if i < j {
			out = append(out, span{i, j})
		}
	}
	return merge(out), nil
}

// lastUID is what "*" means in a set of UIDs, 0 in an empty mailbox.
func lastUID(snap *mailbox.Snapshot) uint32 {
	if n := snap.Len(); n > 0 {
		return uint32(snap.UID(n - 1))
	}
	return 0
}

// merge sorts runs and joins those that overlap or touch.
func merge(in []span) []span {
	slices.SortFunc(in, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	out := in[:0]
	for _, sp := range in {
		if k := len(out) - 1; k >= 0 && sp.lo <= out[k].hi {
			out[k].hi = max(out[k].hi, sp.hi)
		} else {
			out = append(out, sp)
		}
	}
	return out
}

// window leaves of runs the positions that p names, counted through them (RFC 9394
// §3.3).
func window(spans []span, p *imap.Partial) []span {
	if p == nil {
		return spans
	}
	lo, hi := p.Window(count(spans))
	var out []span
	for _, sp := range spans {
		if a, b := sp.lo+max(lo, 0), min(sp.lo+hi, sp.hi); a < b {
			out = append(out, span{a, b})
		}
		lo, hi = lo-(sp.hi-sp.lo), hi-(sp.hi-sp.lo)
	}
	return out
}

// count is how many positions there are.
func count(spans []span) (n int) {
	for _, sp := range spans {
		n += sp.hi - sp.lo
	}
	return n
}

// highest leaves of runs the last n positions; n is at most their count.
func highest(spans []span, n int) []span {
	for _, sp := range slices.Backward(spans) {
		if n <= sp.hi-sp.lo {
			return from(spans, sp.hi-n)
		}
		n -= sp.hi - sp.lo
	}
	return spans
}

// from leaves of runs the positions from lo on.
func from(spans []span, lo int) (out []span) {
	for _, sp := range spans {
		if sp.lo = max(sp.lo, lo); sp.lo < sp.hi {
			out = append(out, sp)
		}
	}
	return out
}

// limited leaves of runs as many positions as one command deals with, the last ones,
// and tells the client where it stopped (RFC 9738 §3.1).
func (s *session) limited(spans []span) ([]span, *imap.Limited) {
	if count(spans) <= s.conn.MessageLimit {
		return spans, nil
	}
	spans = highest(spans, s.conn.MessageLimit)
	return spans, &imap.Limited{UID: uint32(s.sel.snap.UID(spans[0].lo))}
}

// orNil makes an error of what may be none.
func orNil(l *imap.Limited) error {
	if l == nil {
		return nil
	}
	return l
}

// uids returns the UIDs at the positions, as ranges that hold no other message
// of the snapshot but may span numbers that do not exist.
func (s *session) uids(spans []span) mailbox.Ranges {
	out := make(mailbox.Ranges, 0, len(spans))
	for _, sp := range spans {
		if sp.lo < sp.hi {
			out = append(out, mailbox.Range{Lo: s.sel.snap.UID(sp.lo), Hi: s.sel.snap.UID(sp.hi - 1)})
		}
	}
	return out
}

// numbers turns UIDs to what the client asked in: UIDs or sequence numbers.
func (s *session) numbers(uid bool, r mailbox.Ranges) []imap.Range {
	if uid {
		return wireRanges(r)
	}
	var out []imap.Range
	for i := range s.sel.snap.Select(r) {
		out = imap.AppendRange(out, uint32(i+1))
	}
	return out
}

func wireRanges(r mailbox.Ranges) []imap.Range {
	out := make([]imap.Range, len(r))
	for i, x := range r {
		out[i] = imap.Range{Start: uint32(x.Lo), Stop: uint32(x.Hi)}
	}
	return out
}

// searchRanges resolves a set of a search key; numbers that do not exist match
// nothing there (RFC 9051 §6.4.4).
func searchRanges(snap *mailbox.Snapshot, set imap.NumSet) mailbox.Ranges {
	last := uint32(snap.Len())
	if set.UID {
		last = lastUID(snap)
	}
	out := make(mailbox.Ranges, 0, len(set.Ranges))
	for _, r := range set.Ranges {
		lo, hi := r.Resolve(last)
		if lo == 0 { // "*" of an empty mailbox
			if hi == 0 {
				continue
			}
			lo = 1
		}
		out = append(out, mailbox.Range{Lo: mailbox.UID(lo), Hi: mailbox.UID(hi)})
	}
	return out.Normalize()
}
