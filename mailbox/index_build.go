package mailbox

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
)

// vocabulary gathers the terms of one section of a segment. A term that is in
// one email takes about 60 octets until it is written.
type vocabulary struct {
	numbers map[string]uint32
	terms   []string
	seen    []uint64 // by term: the email that it was last seen in, <<8, and the fields
	email   []uint32 // terms of the email at hand
	current uint64   // counts emails
	found   []uint64 // term<<32 | distance of the email<<8 | fields
	size    int      // octets of terms
}

func (v *vocabulary) add(term []byte, field int) {
	n, ok := v.numbers[string(term)]
	if !ok {
		n = uint32(len(v.terms))
		t := string(term)
		v.numbers[t] = n
		v.terms, v.seen = append(v.terms, t), append(v.seen, 0)
		v.size += len(t)
	}
	if v.seen[n]>>8 != v.current {
		v.seen[n] = v.current << 8
		v.email = append(v.email, n)
	}
	v.seen[n] |= 1 << field
}

// end ends an email; without keep it is as if it had no terms.
func (v *vocabulary) end(distance uint32, keep bool) {
	if keep {
		for _, n := range v.email {
			v.found = append(v.found, uint64(n)<<32|uint64(distance)<<8|v.seen[n]&0xff)
		}
	}
	v.email = v.email[:0]
	v.current++
}

// write gives the terms in order to w.
func (v *vocabulary) write(w *pageWriter) error {
	order := make([]uint32, len(v.terms))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(v.terms[a], v.terms[b]) })
	// The emails of each term, in the order in which they came.
	starts := make([]uint32, len(v.terms)+1)
	for _, f := range v.found {
		starts[f>>32+1]++
	}
	for i := range v.terms {
		starts[i+1] += starts[i]
	}
	sorted := make([]uint32, len(v.found))
	next := slices.Clone(starts)
	for _, f := range v.found {
		sorted[next[f>>32]] = uint32(f)
		next[f>>32]++
	}
	var p postings
	for _, n := range order {
		emails := sorted[starts[n]:starts[n+1]]
		if len(emails) == 0 {
			continue
		}
		for f := range p {
			p[f] = p[f][:0]
		}
		for _, e := range emails {
			for f := range p {
				if e>>f&1 != 0 {
					p[f] = append(p[f], e>>8)
				}
			}
		}
		if err := w.add([]byte(v.terms[n]), &p); err != nil {
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
		b.words[i] = vocabulary{numbers: map[string]uint32{}, current: 1}
	}
	b.emit = func(term []byte) { b.words[b.section].add(term, b.field) }
	return b
}

// size estimates the memory that is used.
func (b *builder) size() (n int) {
	for i := range b.words {
		v := &b.words[i]
		n += v.size + 60*len(v.terms) + 8*len(v.found)
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
