package mailbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
)

// vocabulary gathers the terms of one section of a segment. Most of building an
// index is to find a term again here, and most of that is to wait for memory: so
// all that is known of a term lies together, and a table without pointers leads there.
type vocabulary struct {
	seed    maphash.Seed
	slots   []uint64 // upper half of the hash<<32 | where the record is; 0 is none; a power of two
	records []byte   // of terms, see below; begins with one octet that is none
	terms   []uint32 // where the records are
	email   []uint32 // records of the terms of the email at hand
	current uint32   // counts emails, up to maxSpan
	found   []uint64 // number of the term<<32 | distance of the email<<8 | fields
}

// A record has the email that the term was last seen in, <<8, with the fields; the
// number of the term; its length, up to maxTerm; the term.
const (
	recordNumber = 4
	recordLength = 8
	recordTerm   = 9
)

func newVocabulary() vocabulary {
	return vocabulary{seed: maphash.MakeSeed(), slots: make([]uint64, 1<<10), records: make([]byte, 1), current: 1}
}

// term returns the term of a record.
func (v *vocabulary) term(at uint32) []byte {
	r := v.records[at:]
	return r[recordTerm:][:r[recordLength]]
}

func (v *vocabulary) add(term []byte, field int) {
	at := v.record(term)
	seen := binary.LittleEndian.Uint32(v.records[at:])
	if seen>>8 != v.current {
		seen = v.current << 8
		v.email = append(v.email, at)
	}
	binary.LittleEndian.PutUint32(v.records[at:], seen|1<<field)
}

// record returns where the record of a term is, which it makes for a new one.
func (v *vocabulary) record(term []byte) uint32 {
	hash := maphash.Bytes(v.seed, term)
	i := hash
	for ; ; i++ {
		s := v.slots[i&uint64(len(v.slots)-1)]
		if s == 0 {
			break
		}
		if s>>32 == hash>>32 && bytes.Equal(v.term(uint32(s)), term) {
			return uint32(s)
		}
	}
	at := uint32(len(v.records))
	v.slots[i&uint64(len(v.slots)-1)] = hash>>32<<32 | uint64(at)
	v.records = binary.LittleEndian.AppendUint32(v.records, 0)
	v.records = binary.LittleEndian.AppendUint32(v.records, uint32(len(v.terms)))
	v.records = append(append(v.records, byte(len(term))), term...)
	v.terms = append(v.terms, at)
	if 2*len(v.terms) > len(v.slots) {
		v.grow()
	}
	return at
}

// grow makes room in the table.
func (v *vocabulary) grow() {
	v.slots = make([]uint64, 4*len(v.slots))
	mask := uint64(len(v.slots) - 1)
	for _, at := range v.terms {
		hash := maphash.Bytes(v.seed, v.term(at))
		i := hash
		for v.slots[i&mask] != 0 {
			i++
		}
		v.slots[i&mask] = hash>>32<<32 | uint64(at)
	}
}

// end ends an email; without keep it is as if it had no terms.
func (v *vocabulary) end(distance uint32, keep bool) {
	if keep {
		for _, at := range v.email {
			r := v.records[at:][:recordTerm]
			v.found = append(v.found, uint64(binary.LittleEndian.Uint32(r[recordNumber:]))<<32|uint64(distance)<<8|uint64(r[0]))
		}
	}
	v.email = v.email[:0]
	v.current++
}

// size estimates the memory that is used, also by write.
func (v *vocabulary) size() int {
	return len(v.records) + 28*len(v.terms) + 8*len(v.slots) + 12*len(v.found)
}

// order returns the numbers of the terms in order.
func (v *vocabulary) order() []uint32 {
	type entry struct {
		first  uint64 // octets of the term
		number uint32
	}
	entries := make([]entry, len(v.terms))
	for n := range entries {
		var first [8]byte
		copy(first[:], v.term(v.terms[n]))
		entries[n] = entry{binary.BigEndian.Uint64(first[:]), uint32(n)}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.first != b.first {
			return cmp.Compare(a.first, b.first)
		}
		return bytes.Compare(v.term(v.terms[a.number]), v.term(v.terms[b.number]))
	})
	order := make([]uint32, len(entries))
	for i, e := range entries {
		order[i] = e.number
	}
	return order
}

// write gives the terms in order to w.
func (v *vocabulary) write(w *pageWriter) error {
	// The emails of each term, in the order in which they came: those of term n are
	// from ends[n] to ends[n+1] before they are filled in, and up to ends[n] after.
	ends := make([]uint32, len(v.terms)+1)
	for _, f := range v.found {
		ends[f>>32+1]++
	}
	for i := range v.terms {
		ends[i+1] += ends[i]
	}
	emails := make([]uint32, len(v.found))
	for _, f := range v.found {
		emails[ends[f>>32]] = uint32(f)
		ends[f>>32]++
	}
	var p postings
	for _, n := range v.order() {
		from := uint32(0)
		if n > 0 {
			from = ends[n-1]
		}
		if from == ends[n] {
			continue
		}
		for f := range p {
			p[f] = p[f][:0]
		}
		for _, e := range emails[from:ends[n]] {
			for fields := uint8(e); fields != 0; fields &= fields - 1 {
				f := bits.TrailingZeros8(fields)
				p[f] = append(p[f], e>>8)
			}
		}
		if err := w.add(v.term(v.terms[n]), &p); err != nil {
			return err
		}
	}
	return w.flush()
}

// builder gathers emails for a new segment.
type builder struct {
	s     *Store
	base  EmailID
	span  uint32
	words [sections]vocabulary
	all   []uint32 // emails of the segment
	cut   []uint32 // those that it does not know all terms of
	tokenizer
	section, field int
}

func newBuilder(s *Store, base EmailID) *builder {
	b := &builder{s: s, base: base}
	for i := range b.words {
		b.words[i] = newVocabulary()
	}
	b.emit = func(term []byte) { b.words[b.section].add(term, b.field) }
	return b
}

// size estimates the memory that is used.
func (b *builder) size() (n int) {
	for i := range b.words {
		n += b.words[i].size()
	}
	return n
}

// add takes an email.
func (b *builder) add(id EmailID, f *folded, t *source) {
	distance := uint32(id - b.base)
	b.span = distance + 1
	b.left = b.s.limits.IndexText
	whole := b.texts(f, t) && b.left >= 0 &&
		len(b.words[sectionText].email)+len(b.words[sectionHeader].email) <= b.s.limits.IndexTerms
	b.all = append(b.all, distance)
	if !whole {
		b.cut = append(b.cut, distance)
	}
	for i := range b.words {
		b.words[i].end(distance, whole)
	}
}

// maxIndexedHeader is the largest header that is indexed: of one that is
// larger, texts have a part only.
const maxIndexedHeader = 256 << 10

// texts takes all that searching looks at; false when something could not be
// read. A nil source is one that could not be opened.
func (b *builder) texts(f *folded, t *source) bool {
	if f.cut || t == nil {
		return false
	}
	for i, text := range f.fields {
		b.section, b.field = sectionText, i
		b.terms(text)
	}
	b.section, b.field = sectionHeader, 0
	for line := range message.Fields(t.prefix) {
		b.text(fieldText(line))
	}
	if len(t.index.Parts) > 0 && t.index.Parts[0].BodyStart > maxIndexedHeader {
		return false
	}
	for text := range t.index.Texts(t.blob, message.TextAll) {
		if b.section, b.field = sectionHeader, 0; !text.Header {
			b.section, b.field = sectionText, fieldBody
		}
		if b.read(text) != nil || b.left < 0 {
			return false
		}
	}
	return true
}

// fieldText is a field as texts of a header show it.
func fieldText(f message.Field) []byte {
	return append(append(bytes.Clone(f.Name), ": "...), message.DecodeHeaderBytes(f.Value)...)
}

// write makes a segment of what was gathered.
func (b *builder) write(w *segmentWriter) error {
	w.begin(b.base, b.span, b.all, b.cut)
	for i := range b.words {
		if err := b.words[i].write(w.section(i)); err != nil {
			return err
		}
	}
	return w.end()
}

// emailsPage is how many emails are read at once.
const emailsPage = 64

// gather reads emails from first up to below end into a new builder, until it is
// full; it returns the first that it did not read.
func (s *Store) gather(ctx context.Context, id AccountID, first, end EmailID, pace *pacer) (*builder, EmailID, error) {
	b := newBuilder(s, first)
	p := newPager(&Account{shared: &shared{s: s, id: id}, role: asSystem}, WantRow|WantIndex|WantSummary|WantBody)
	defer p.release()
	var ids []EmailID
	for first < end && len(b.all) < segmentEmails && b.size() < segmentMemory && first-b.base+emailsPage < maxSpan {
		ids = ids[:0]
		for range emailsPage {
			if first < end {
				ids = append(ids, first)
				first++
			}
		}
		if err := s.view(ctx, id, func(r kv.Reader) error { return p.read(r, ids) }); err != nil {
			return nil, 0, err
		}
		for i := range p.slots {
			if err := s.take(ctx, b, p, &p.slots[i]); err != nil {
				return nil, 0, err
			}
		}
		if err := pace.rest(ctx); err != nil {
			return nil, 0, err
		}
	}
	return b, first, nil
}

// take adds the email in a slot to a builder. One that is no more is passed
// over; one that cannot be read is marked as not known.
func (s *Store) take(ctx context.Context, b *builder, p *pager, slot *slot) error {
	if slot.summary.end == 0 || slot.row.end == 0 || slot.index.end == 0 {
		return nil
	}
	f, err := decodeFolded(p.bytes(slot.summary))
	if err != nil {
		f.cut = true
	}
	t, err := s.source(ctx, p, slot)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t = nil
	}
	b.add(slot.id, &f, t)
	if t != nil && t.closer != nil {
		return t.closer.Close()
	}
	return nil
}

// source opens the message in a slot that has its row and its index.
func (s *Store) source(ctx context.Context, p *pager, slot *slot) (*source, error) {
	row, err := decodeEmail(p.bytes(slot.row))
	if err != nil {
		return nil, err
	}
	t := &source{prefix: row.prefix}
	if t.index, err = message.DecodeIndex(p.bytes(slot.index)); err != nil {
		return nil, err
	}
	if slot.body.end != 0 {
		t.octets = p.bytes(slot.body)[len(row.prefix):]
		t.blob = bytes.NewReader(t.octets)
		return t, nil
	}
	b, err := s.blobs.Open(ctx, row.blob)
	if err != nil {
		return nil, err
	}
	t.blob, t.closer = b, b
	return t, nil
}
