package imap

import (
	"cmp"
	"slices"
)

// qresync reads the argument of the QRESYNC parameter (RFC 7162 §3.2.5):
// "(uidvalidity modseq [known-uids] [(sequence-set uid-set)])".
func (c *conn) qresync() (*QResync, error) {
	if err := c.p.SP(); err != nil {
		return nil, err
	}
	if !c.out.qresync {
		return nil, syntax("ENABLE QRESYNC first")
	}
	if err := c.p.Byte('('); err != nil {
		return nil, err
	}
	validity, err := c.p.Number(1<<32 - 1)
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return nil, err
	}
	q := &QResync{UIDValidity: uint32(validity)}
	q.ModSeq, err = c.p.Number(1<<63 - 1)
	if err == nil && (validity == 0 || q.ModSeq == 0) {
		err = syntax("Number out of range")
	}
	if err != nil {
		return nil, err
	}
	match := false
	if c.p.Try(' ') {
		if match = c.p.Peek() == '('; !match {
			if q.Known, err = c.knownSet(); err != nil {
				return nil, err
			}
			match = c.p.Try(' ')
		}
	}
	if match {
		if err := c.sequenceMatch(q); err != nil {
			return nil, err
		}
	}
	return q, c.p.Byte(')')
}

// sequenceMatch reads "(sequence-set uid-set)" (RFC 7162 §3.2.5.2).
func (c *conn) sequenceMatch(q *QResync) error {
	if err := c.p.Byte('('); err != nil {
		return err
	}
	if err := c.messageNumbers(); err != nil { // RFC 9586 §3.7
		return err
	}
	seqs, err := c.knownSet()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	uids, err := c.knownSet()
	if err != nil {
		return err
	}
	var ok bool
	if q.SeqMatch, q.UIDMatch, ok = pairRanges(seqs, uids); !ok {
		return syntax("Sequence numbers and UIDs do not match")
	}
	return c.p.Byte(')')
}

// knownSet reads a sequence-set without "*", and puts the ends of its ranges in order.
func (c *conn) knownSet() ([]Range, error) {
	ranges, n := parseRanges(c.p.Rest(), c.lim.Ranges)
	if n == 0 {
		return nil, syntax("Expected a sequence set")
	}
	c.p.Advance(n)
	for i, r := range ranges {
		if r.Start == 0 || r.Stop == 0 {
			return nil, syntax("\"*\" is not allowed here")
		}
		ranges[i] = Range{min(r.Start, r.Stop), max(r.Start, r.Stop)}
	}
	return ranges, nil
}

// pairRanges cuts two ascending sets of as many numbers into ranges of which those
// at the same place are equally long. There are fewer of them than in both together.
func pairRanges(a, b []Range) (as, bs []Range, ok bool) {
	var ra, rb, lastA, lastB Range
	for i, j := 0, 0; ; {
		if ra.Start == 0 && i < len(a) {
			ra, i = a[i], i+1
			ok = ra.Start > lastA.Stop
		}
		if rb.Start == 0 && j < len(b) {
			rb, j = b[j], j+1
			ok = ok && rb.Start > lastB.Stop
		}
		if ra.Start == 0 && rb.Start == 0 {
			return as, bs, true
		}
		if !ok || ra.Start == 0 || rb.Start == 0 {
			return nil, nil, false
		}
		n := min(ra.Stop-ra.Start, rb.Stop-rb.Start)
		ra, lastA = cut(ra, n)
		rb, lastB = cut(rb, n)
		as, bs = append(as, lastA), append(bs, lastB)
	}
}

// cut takes the first n+1 numbers off r; a rest of nothing is the zero Range.
func cut(r Range, n uint32) (rest, first Range) {
	first = Range{r.Start, r.Start + n}
	if first.Stop == r.Stop {
		return Range{}, first
	}
	return Range{first.Stop + 1, r.Stop}, first
}

// resync sends what changed since the client was here (RFC 7162 §3.2.5.1).
func (c *conn) resync(q *QResync, d *SelectData) error {
	if q == nil || q.UIDValidity != d.UIDValidity {
		return nil // the client learns it from UIDVALIDITY
	}
	w := UpdateWriter{out: &c.out, uid: true, readOnly: c.readOnly}
	return c.sess.Resync(c.ctx, &w, q)
}

// gone notes the UID of a message that was expunged, for VANISHED. Sessions tell them
// in descending order, so that they join to few ranges.
func (w *UpdateWriter) gone(uid uint32) {
	if i := len(w.vanished) - 1; i >= 0 {
		switch r := &w.vanished[i]; uid {
		case r.Start - 1:
			r.Start = uid
			return
		case r.Stop + 1:
			r.Stop = uid
			return
		}
	}
	w.vanished = append(w.vanished, Range{uid, uid})
}

// settle writes the UIDs gathered by gone. They come before all that counts on their
// having left (RFC 7162 §3.2.10.2).
func (w *UpdateWriter) settle() {
	if len(w.vanished) == 0 {
		return
	}
	gone := w.vanished
	w.vanished = nil
	slices.SortFunc(gone, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	n := 0
	for _, r := range gone[1:] {
		if gone[n].Stop+1 == r.Start {
			gone[n].Stop = r.Stop
		} else {
			n++
			gone[n] = r
		}
	}
	w.Vanished(gone[:n+1], false)
}
