package mailbox

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/postino-mail/postino/kv"
)

// \Seen in the columns is the owner's. Every guest has his own: a list of marks
// for each mailbox in which he saw something. Like the row of a mailbox it is
// written in the batch of the change that its log record tells of; messages
// without a mark are unseen. A mark carries the mod-sequence of the change, so
// that to the guest, and to nobody else, the messages in it changed then.

// private is what a guest has of his own in a mailbox. It is immutable once a
// state holds it.
type private struct {
	box        MailboxID
	viewer     AccountID
	subscribed bool
	seen       uint32 // messages that are there and that he saw
	highest    ModSeq // of his newest change
	marks      []mark // ascending, disjoint
}

// mark tells of messages that a guest saw, or saw and called unseen again. It may
// span UIDs that no message has any more.
type mark struct {
	lo, hi UID
	seen   bool
	modseq ModSeq
}

// maxMarks is how many marks are kept apart by their mod-sequence alone. Beyond
// that neighbours are joined and take the greater one: clients are told of some
// messages once more than needed.
const maxMarks = 256

func comparePrivate(a, b *private) int {
	return cmp.Or(cmp.Compare(a.box, b.box), cmp.Compare(a.viewer, b.viewer))
}

func privateKey(dst []byte, id AccountID, box MailboxID, viewer AccountID) []byte {
	return binary.BigEndian.AppendUint64(numberKey(dst, id, keyPrivate, uint64(box)), uint64(viewer))
}

const privateVersion = 1

func (p *private) append(dst []byte) []byte {
	dst = append(dst, privateVersion, byte(btoi(p.subscribed)))
	dst = binary.AppendUvarint(dst, uint64(p.seen))
	dst = binary.AppendUvarint(dst, uint64(p.highest))
	dst = binary.AppendUvarint(dst, uint64(len(p.marks)))
	var last UID
	for _, m := range p.marks {
		dst = binary.AppendUvarint(dst, uint64(m.lo-last))
		dst = binary.AppendUvarint(dst, uint64(m.hi-m.lo)<<1|uint64(btoi(m.seen)))
		dst = binary.AppendUvarint(dst, uint64(p.highest-m.modseq))
		last = m.hi
	}
	return dst
}

func decodePrivate(box MailboxID, viewer AccountID, b []byte) (*private, error) {
	const what = "private row"
	d := decoder{b: b}
	if err := d.version(privateVersion, what); err != nil {
		return nil, err
	}
	p := &private{box: box, viewer: viewer}
	p.subscribed = d.byte() == 1
	p.seen, p.highest = uint32(d.upTo(math.MaxUint32)), ModSeq(d.uvarint())
	if n := d.count(3); n > 0 {
		p.marks = make([]mark, n)
	}
	var last uint64
	for i := range p.marks {
		lo := last + d.upTo(math.MaxUint32)
		v := d.upTo(1 << 33)
		hi := lo + v>>1
		if lo == last || hi > math.MaxUint32 {
			d.fail()
			break
		}
		p.marks[i] = mark{UID(lo), UID(hi), v&1 != 0, p.highest - ModSeq(d.upTo(uint64(p.highest)))}
		last = hi
	}
	return p, d.end(what)
}

// loadPrivate reads what guests have of their own in a mailbox, in all with box 0.
func loadPrivate(r kv.Reader, id AccountID, box MailboxID) (list []*private, err error) {
	prefix := accountKey(nil, id, keyPrivate)
	if box != 0 {
		prefix = numberKey(nil, id, keyPrivate, uint64(box))
	}
	var fail error
	err = r.Scan(kv.Prefix(prefix), func(k, v []byte) bool {
		var p *private
		p, fail = decodePrivate(MailboxID(keyNumber(k[:len(k)-8])), AccountID(keyNumber(k)), v)
		list = append(list, p)
		return fail == nil
	})
	return list, cmp.Or(err, fail)
}

// guest returns what a viewer has of his own in a mailbox, nil when nothing.
func (st *state) guest(box MailboxID, viewer AccountID) *private {
	i, ok := slices.BinarySearchFunc(st.private, &private{box: box, viewer: viewer}, comparePrivate)
	if !ok {
		return nil
	}
	return st.private[i]
}

// guests returns what all guests have of their own in a mailbox.
func (st *state) guests(box MailboxID) []*private {
	lo, _ := slices.BinarySearchFunc(st.private, &private{box: box}, comparePrivate)
	hi, _ := slices.BinarySearchFunc(st.private, &private{box: box + 1}, comparePrivate)
	return st.private[lo:hi]
}

// set returns the marks after messages of s in rs, of which n more are seen
// than before, became seen or unseen.
func (p *private) set(s *Snapshot, rs Ranges, seen bool, n int, at ModSeq) *private {
	next := *p
	next.seen += uint32(n)
	next.highest = at
	next.marks = make([]mark, 0, len(p.marks)+2*len(rs))
	old := slices.Clone(p.marks)
	for _, r := range rs {
		for len(old) > 0 && old[0].lo < r.Lo {
			m := old[0]
			if m.hi < r.Lo {
				old = old[1:]
			} else {
				m.hi, old[0].lo = r.Lo-1, r.Lo
			}
			next.marks = append(next.marks, m)
		}
		for len(old) > 0 && old[0].hi <= r.Hi {
			old = old[1:]
		}
		if len(old) > 0 && old[0].lo <= r.Hi {
			old[0].lo = r.Hi + 1
		}
		next.marks = append(next.marks, mark{r.Lo, r.Hi, seen, at})
	}
	next.marks = append(next.marks, old...)
	next.join(s, false)
	if len(next.marks) > maxMarks {
		next.join(s, true)
	}
	return &next
}

// join makes one of neighbours between which no message of s lies: those that are
// the same but for their place or, when coarse, their mod-sequence.
func (p *private) join(s *Snapshot, coarse bool) {
	out := p.marks[:0]
	for _, m := range p.marks {
		if n := len(out); n > 0 && out[n-1].seen == m.seen && (coarse || out[n-1].modseq == m.modseq) && s.empty(out[n-1].hi, m.lo) {
			out[n-1].hi, out[n-1].modseq = m.hi, max(m.modseq, out[n-1].modseq)
			continue
		}
		out = append(out, m)
	}
	p.marks = out
}

// empty tells whether it is known that no message lies between two UIDs.
func (s *Snapshot) empty(lo, hi UID) bool {
	if lo+1 == hi || s.table == nil {
		return lo+1 == hi
	}
	i, _ := s.Find(lo + 1)
	return i == s.Len() || s.UID(i) >= hi
}

// expunge returns p without messages that are no more; p itself when it has no
// mark for any of them.
func (p *private) expunge(rs Ranges) *private {
	next := *p
	next.marks = nil
	touched := false
	for _, m := range p.marks {
		for len(rs) > 0 && rs[0].Hi < m.lo {
			rs = rs[1:]
		}
		lo, hi := m.lo, m.hi
		for _, r := range rs {
			if r.Lo > m.hi {
				break
			}
			touched = true
			if m.seen {
				next.seen -= uint32(min(r.Hi, m.hi)-max(r.Lo, m.lo)) + 1
			}
			if r.Lo <= lo {
				lo = r.Hi + 1
			} else if r.Hi >= hi {
				hi = r.Lo - 1
			}
		}
		if lo <= hi {
			next.marks = append(next.marks, mark{lo, hi, m.seen, m.modseq})
		}
	}
	if !touched {
		return p
	}
	return &next
}

// within returns the marks that reach into a chunk. p may be nil.
func (p *private) within(base uint32) []mark {
	if p == nil {
		return nil
	}
	first, last := UID(base)<<chunkBits, UID(base)<<chunkBits|(chunkSize-1)
	lo, _ := slices.BinarySearchFunc(p.marks, first, func(m mark, u UID) int { return cmp.Compare(m.hi, u) })
	hi := lo
	for hi < len(p.marks) && p.marks[hi].lo <= last {
		hi++
	}
	return p.marks[lo:hi]
}

// same tells whether p and o mark the messages of a chunk alike.
func (p *private) same(o *private, base uint32) bool {
	if p == o {
		return true
	}
	a, b := p.within(base), o.within(base)
	first, last := UID(base)<<chunkBits, UID(base)<<chunkBits|(chunkSize-1)
	return slices.EqualFunc(a, b, func(a, b mark) bool {
		return max(a.lo, first) == max(b.lo, first) && min(a.hi, last) == min(b.hi, last) && a.seen == b.seen && a.modseq == b.modseq
	})
}

// show returns a chunk as the guest sees it: all columns but flags and modseqs
// are shared with the owner's. p may be nil.
func (p *private) show(c *chunk) *chunk {
	d := *c
	d.owner, d.used = nil, nil
	d.modseqs = slices.Clone(c.modseqs)
	d.flags[0] = make([]uint64, c.len())
	for i, f := range c.flags[0] {
		d.flags[0][i] = f &^ uint64(Seen)
	}
	for _, m := range p.within(c.base) {
		lo, hi := c.span(Range{m.lo, m.hi})
		for i := lo; i < hi; i++ {
			d.modseqs[i] = max(d.modseqs[i], m.modseq)
			d.flags[0][i] |= uint64(btoi(m.seen)) // Seen is bit 0
		}
	}
	return &d
}
