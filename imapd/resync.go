package imapd

import (
	"context"
	"sort"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// Resync tells a client that was away what happened meanwhile (RFC 7162 §3.2.5.1).
func (s *session) Resync(ctx context.Context, w *imap.UpdateWriter, q *imap.QResync) error {
	snap := s.sel.snap
	known := mailbox.Ranges{{Lo: 1, Hi: snap.Status().UIDNext - 1}}
	if q.Known != nil {
		known = fromRanges(q.Known)
	}
	changes, err := s.sel.view.Changes(ctx, snap, mailbox.ModSeq(q.ModSeq))
	if err != nil {
		return err
	}
	w.Vanished(wireRanges(vanished(snap, &changes, above(known, matched(snap, q)))), true)
	var names []string
	for i := range snap.Select(intersect(changes.Flagged, known)) {
		r := snap.Row(i)
		names = keywordNames(names[:0], r.Flags, snap.Keywords())
		w.Flags(uint32(i+1), uint32(r.UID), uint64(r.ModSeq), toWire(r.Flags.System()), names)
		if err := w.Err(); err != nil {
			return err
		}
	}
	return nil
}

// UID returns the UID at a sequence number.
func (s *session) UID(seq uint32) uint32 {
	if s.sel == nil || seq == 0 || int64(seq) > int64(s.sel.snap.Len()) {
		return 0
	}
	return uint32(s.sel.snap.UID(int(seq) - 1))
}

// fetchVanished answers the VANISHED modifier of UID FETCH (RFC 7162 §3.2.6).
func (s *session) fetchVanished(ctx context.Context, w *imap.FetchWriter, req *imap.FetchRequest) error {
	snap := s.sel.snap
	changes, err := s.sel.view.Changes(ctx, snap, mailbox.ModSeq(req.ChangedSince))
	if err != nil {
		return err
	}
	// "*" reaches the messages that were the last ones, too.
	last := max(lastUID(snap), uint32(snap.Status().UIDNext)-1)
	var asked mailbox.Ranges
	for _, r := range req.Set.Ranges {
		if lo, hi := r.Resolve(last); hi > 0 {
			asked = append(asked, mailbox.Range{Lo: mailbox.UID(max(lo, 1)), Hi: mailbox.UID(hi)})
		}
	}
	w.Vanished(wireRanges(vanished(snap, &changes, asked.Normalize())))
	return nil
}

// vanished returns those of the UIDs asked for that were expunged. When the log no
// longer tells them, they are all that do not exist and could have.
func vanished(snap *mailbox.Snapshot, c *mailbox.Changes, asked mailbox.Ranges) mailbox.Ranges {
	if c.Complete {
		return intersect(c.Vanished, asked)
	}
	var out mailbox.Ranges
	end := snap.Status().UIDNext // exclusive
	for _, r := range asked {
		lo := r.Lo
		for i, _ := snap.Find(lo); lo <= r.Hi && lo < end; i++ {
			next := end
			if r.Hi < end {
				next = r.Hi + 1
			}
			if i < snap.Len() {
				next = min(next, snap.UID(i))
			}
			if lo < next {
				out = append(out, mailbox.Range{Lo: lo, Hi: next - 1})
			}
			lo = next + 1
		}
	}
	return out.Normalize()
}

// matched returns the last UID of which the client still knows the right sequence
// number, 0 when there is none: it knows what was expunged up to there
// (RFC 7162 §3.2.5.2). Of pairs that grow together a right one has none but right
// ones before it.
func matched(snap *mailbox.Snapshot, q *imap.QResync) mailbox.UID {
	right := func(seq, uid uint32) bool {
		return int64(seq) <= int64(snap.Len()) && uint32(snap.UID(int(seq)-1)) == uid
	}
	for k := len(q.SeqMatch) - 1; k >= 0; k-- {
		seq, uid := q.SeqMatch[k], q.UIDMatch[k]
		if !right(seq.Start, uid.Start) {
			continue
		}
		wrong := sort.Search(int(seq.Stop-seq.Start)+1, func(i int) bool { return !right(seq.Start+uint32(i), uid.Start+uint32(i)) })
		return mailbox.UID(uid.Start + uint32(wrong) - 1)
	}
	return 0
}

// above returns the UIDs of a set that are greater than u.
func above(r mailbox.Ranges, u mailbox.UID) mailbox.Ranges {
	if u == 1<<32-1 {
		return nil
	}
	return intersect(r, mailbox.Ranges{{Lo: u + 1, Hi: 1<<32 - 1}})
}

// intersect returns what two sets share.
func intersect(a, b mailbox.Ranges) (out mailbox.Ranges) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		lo, hi := max(a[i].Lo, b[j].Lo), min(a[i].Hi, b[j].Hi)
		if lo <= hi {
			out = append(out, mailbox.Range{Lo: lo, Hi: hi})
		}
		if a[i].Hi < b[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// fromRanges is the set of UIDs in ranges without "*".
func fromRanges(in []imap.Range) mailbox.Ranges {
	out := make(mailbox.Ranges, len(in))
	for i, r := range in {
		out[i] = mailbox.Range{Lo: mailbox.UID(r.Start), Hi: mailbox.UID(r.Stop)}
	}
	return out.Normalize()
}
