package mailbox

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/postino-mail/postino/message"
)

// A segment is stored in rows. Its terms, sorted, are cut into pages; each page
// has two rows, the dictionary with the terms, a NUL before and behind each, and
// the postings, which say for each of these terms in which emails it is. So "which
// terms contain this" is one pass of bytes.Index. An email is told by its
// distance from the first number of the segment.

// The sections of a segment: terms of texts that people look for, and those of
// all other header lines, of which there are many more (traces, signatures).
const (
	sectionText = iota
	sectionHeader
	sections
)

// The fields of sectionText, by bit; in sectionHeader there is bit 0 only. The
// first five are those of fieldOps.
const (
	fieldBody = 5
	fields    = 6
)

// The kinds of rows of a segment, in its keys.
const (
	rowHead     = 0
	rowDict     = 1 // + 2*section
	rowPostings = 2 // + 2*section
)

const (
	segmentVersion = 1
	dictPage       = 128 << 10 // octets after which a page ends
	postingsPage   = 128 << 10
	stride         = 16 // postings between two entries of their table
)

// postings are the emails of a term by field, ascending.
type postings [fields][]uint32

// pageWriter makes pages of one section of terms that come in order.
type pageWriter struct {
	section int
	span    uint32
	put     func(kind byte, page uint32, row []byte) error
	firsts  [][]byte // first term of each page
	terms   int
	dict    []byte
	table   []uint32
	entries []byte
	n       int // terms of the page
}

func (w *pageWriter) add(term []byte, p *postings) error {
	if w.n == 0 {
		w.firsts = append(w.firsts, bytes.Clone(term))
		w.dict = append(w.dict[:0], segmentVersion, 0)
		w.table, w.entries = w.table[:0], w.entries[:0]
	}
	w.dict = append(append(w.dict, term...), 0)
	if w.n%stride == 0 {
		w.table = append(w.table, uint32(len(w.entries)))
	}
	w.entries = p.append(w.entries, w.span)
	w.n++
	w.terms++
	if len(w.dict) >= dictPage || len(w.entries) >= postingsPage {
		return w.flush()
	}
	return nil
}

// flush ends the page.
func (w *pageWriter) flush() error {
	if w.n == 0 {
		return nil
	}
	row := make([]byte, 0, 16+4*len(w.table)+len(w.entries))
	row = binary.AppendUvarint(append(row, segmentVersion), uint64(w.n))
	for _, at := range w.table {
		row = binary.LittleEndian.AppendUint32(row, at)
	}
	row = append(row, w.entries...)
	page := uint32(len(w.firsts) - 1)
	w.n = 0
	if err := w.put(byte(rowDict+2*w.section), page, w.dict); err != nil {
		return err
	}
	return w.put(byte(rowPostings+2*w.section), page, row)
}

// append writes an octet with a bit for each field that has emails, and their
// sets.
func (p *postings) append(dst []byte, span uint32) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for f, list := range p {
		if len(list) > 0 {
			dst[at] |= 1 << f
			dst = appendSet(dst, list, span)
		}
	}
	return dst
}

// appendSet writes a set of ascending numbers below span: twice the octets that
// follow, plus one when they are bits; else they are the distances.
func appendSet(dst []byte, list []uint32, span uint32) []byte {
	size, last := 0, uint32(0)
	for _, n := range list {
		size += (bits.Len32((n-last)|1) + 6) / 7
		last = n
	}
	if dense := int(span+7) / 8; size > dense {
		dst = binary.AppendUvarint(dst, uint64(dense)<<1|1)
		at := len(dst)
		dst = append(dst, make([]byte, dense)...)
		for _, n := range list {
			dst[at+int(n>>3)] |= 1 << (n & 7)
		}
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(size)<<1)
	last = 0
	for _, n := range list {
		dst = binary.AppendUvarint(dst, uint64(n-last))
		last = n
	}
	return dst
}

// set is a stored set that was not read yet.
type set struct {
	b     []byte
	dense bool
}

func (d *decoder) set() set {
	n := d.uvarint()
	if n>>1 > uint64(len(d.b)) {
		d.fail()
		return set{}
	}
	return set{d.take(int(n >> 1)), n&1 != 0}
}

// each calls fn for the numbers of a set below span; false when it is damaged.
func (s set) each(span uint32, fn func(n uint32)) bool {
	if s.dense {
		if len(s.b) != int(span+7)/8 {
			return false
		}
		for i, b := range s.b {
			for ; b != 0; b &= b - 1 {
				n := uint32(i<<3 + bits.TrailingZeros8(b))
				if n >= span {
					return false
				}
				fn(n)
			}
		}
		return true
	}
	n := uint64(0)
	for b := s.b; len(b) > 0; {
		step, size := uint64(b[0]), 1
		if step >= 0x80 {
			if step, size = binary.Uvarint(b); size <= 0 {
				return false
			}
		}
		b = b[size:]
		if n += step; step > uint64(span) || n >= uint64(span) {
			return false
		}
		fn(uint32(n))
	}
	return true
}

// or adds the numbers of a set to dst, which has room for span.
func (s set) or(dst bitset, span uint32) bool {
	if !s.dense {
		return s.each(span, func(n uint32) { dst[n>>6] |= 1 << (n & 63) })
	}
	if len(s.b) != int(span+7)/8 || span%8 != 0 && len(s.b) > 0 && s.b[len(s.b)-1]>>(span%8) != 0 {
		return false
	}
	b := s.b
	for i := 0; len(b) > 0; i++ {
		if len(b) >= 8 {
			dst[i] |= binary.LittleEndian.Uint64(b)
			b = b[8:]
			continue
		}
		for k, c := range b {
			dst[i] |= uint64(c) << (8 * k)
		}
		break
	}
	return true
}

// dictionary is a row of terms, from the NUL before the first to the one behind
// the last.
type dictionary []byte

func decodeDictionary(row []byte) (dictionary, error) {
	d := decoder{b: row}
	if err := d.version(segmentVersion, "dictionary"); err != nil {
		return nil, err
	}
	if len(d.b) < 2 || d.b[0] != 0 || d.b[len(d.b)-1] != 0 {
		return nil, corrupt("dictionary")
	}
	return dictionary(d.b), nil
}

// find calls fn for the places of the terms that the pattern is in, ascending,
// until fn returns false.
func (d dictionary) find(p pattern, fn func(place int) bool) {
	place, counted, from := -1, 0, 0 // place: NULs before counted, less one
	f := newFinder(p)
	for {
		at := f.index(d[from:])
		if at < 0 {
			return
		}
		at += from
		if p[0] == 0 {
			at++ // into the term
		}
		place += bytes.Count(d[counted:at], []byte{0})
		counted = at
		if !fn(place) {
			return
		}
		// The next term begins behind the next NUL, which a pattern may begin with.
		from = at + bytes.IndexByte(d[at:], 0)
		if from == len(d)-1 {
			return
		}
		if p[0] != 0 {
			from++
		}
	}
}

// finder finds a pattern by its rarest octet, and as [bytes.Index] does where
// that one proves to be frequent.
type finder struct {
	p        pattern
	rare     int // place of the octet in the pattern
	seen     int // octets looked at
	mistaken int // how often the octet was there without the pattern
}

func newFinder(p pattern) finder {
	term := bytes.TrimLeft(p, "\x00")
	return finder{p: p, rare: len(p) - len(term) + message.Rarest(bytes.TrimRight(term, "\x00"))}
}

// index returns where in b the pattern is, -1 when it is not.
func (f *finder) index(b []byte) int {
	for at := 0; ; at++ {
		if f.mistaken > 64+f.seen/32 {
			if n := bytes.Index(b[at:], f.p); n >= 0 {
				return at + n
			}
			return -1
		}
		if len(b)-at < len(f.p) {
			return -1
		}
		n := bytes.IndexByte(b[at+f.rare:len(b)-len(f.p)+f.rare+1], f.p[f.rare])
		if n < 0 {
			return -1
		}
		f.seen += n
		if at += n; bytes.Equal(b[at:at+len(f.p)], f.p) {
			return at
		}
		f.mistaken++
	}
}

// each calls fn for the terms with their places.
func (d dictionary) each(fn func(place int, term []byte) bool) {
	for place, b := 0, d[1:]; len(b) > 0; place++ {
		n := bytes.IndexByte(b, 0)
		if !fn(place, b[:n:n]) {
			return
		}
		b = b[n+1:]
	}
}

// page is a row of postings.
type page struct {
	n       int
	table   []byte
	entries []byte
}

func decodePage(row []byte) (*page, error) {
	d := decoder{b: row}
	if err := d.version(segmentVersion, "postings"); err != nil {
		return nil, err
	}
	p := &page{n: d.count(1)}
	p.table = d.take((p.n + stride - 1) / stride * 4)
	p.entries = d.b
	if d.bad || p.n == 0 {
		return nil, corrupt("postings")
	}
	return p, nil
}

// pageCursor reads the postings of a page, at ascending places.
type pageCursor struct {
	*page
	d    decoder
	next int // place that d stands at
}

// at returns the sets of the term at a place, by field.
func (c *pageCursor) at(place int) (sets [fields]set, ok bool) {
	if place >= c.n || place < 0 {
		return sets, false
	}
	if c.d.b == nil || place < c.next || place/stride > c.next/stride {
		block := place / stride
		at := binary.LittleEndian.Uint32(c.table[4*block:])
		if int64(at) > int64(len(c.entries)) {
			return sets, false
		}
		c.d, c.next = decoder{b: c.entries[at:]}, block*stride
	}
	for {
		mask := c.d.byte()
		sets = [fields]set{}
		for f := range fields {
			if mask>>f&1 != 0 {
				sets[f] = c.d.set()
			}
		}
		if c.d.bad || mask>>fields != 0 {
			return sets, false
		}
		if c.next++; c.next > place {
			return sets, true
		}
	}
}
