package mailbox

import (
	"bytes"
	"context"
	"math/bits"
	"slices"

	"github.com/postino-mail/postino/kv"
)

// mergeAt is how many segments of about the same size become one.
const mergeAt = 4

// level grows by one when a segment has four times as many emails.
func (g segment) level() int { return bits.Len32(g.emails/256) / 2 }

// mergeFrom returns the first of the last segments that are to be merged, len
// when none are.
func (m *manifest) mergeFrom() int {
	for from := range m.segments {
		rest := m.segments[from:]
		if len(rest) < mergeAt {
			break
		}
		level, emails := rest[0].level(), uint32(0)
		same := 0
		for _, g := range rest {
			emails += g.emails
			same += btoi(g.level() >= level)
		}
		last := rest[len(rest)-1]
		if span := last.base + EmailID(last.span) - rest[0].base; same >= mergeAt && emails <= maxEmails && span <= maxSpan {
			return from
		}
	}
	return len(m.segments)
}

// merge makes one segment of the last ones, from the given one on, without the
// emails that are no more.
func (s *Store) merge(ctx context.Context, id AccountID, m *manifest, from int, pace *pacer) (*manifest, error) {
	old := m.segments[from:]
	base, last := old[0].base, old[len(old)-1]
	span := uint32(last.base + EmailID(last.span) - base)
	live, err := s.living(ctx, id, base, span)
	if err != nil {
		return nil, err
	}
	r := &indexReader{s: s, ctx: ctx, id: id, cold: true}
	var all, cut []uint32
	inputs := make([]*mergeInput, len(old))
	for i, g := range old {
		h, err := r.head(g)
		if err != nil {
			return nil, err
		}
		inputs[i] = &mergeInput{r: r, number: g.number, head: h, shift: uint32(g.base - base), live: live}
		a, c := h.sets()
		all, cut = inputs[i].shifted(all, a), inputs[i].shifted(cut, c)
	}
	next := &manifest{upTo: m.upTo, segments: slices.Clone(m.segments[:from])}
	w := s.newSegment(ctx, id, pace)
	if len(all) == 0 {
		return next, w.commit(next)
	}
	w.begin(base, span, all, cut)
	for section := range sections {
		if err := mergeSection(inputs, section, w.section(section), pace); err != nil {
			return nil, err
		}
	}
	if err := w.end(); err != nil {
		return nil, err
	}
	next.segments = append(next.segments, w.head.segment)
	return next, w.commit(next)
}

// living marks the emails that are stored, by their distance from base.
func (s *Store) living(ctx context.Context, id AccountID, base EmailID, span uint32) (bitset, error) {
	live := make(bitset, span/64+1)
	end := uint64(base) + uint64(span)
	for next := uint64(base); next < end; {
		err := s.db.View(ctx, nil, func(r kv.Reader) error {
			n := 0
			rng := kv.Range{Start: numberKey(nil, id, keySummary, next), End: numberKey(nil, id, keySummary, end), Limit: scanPage}
			err := r.Scan(rng, func(k, _ []byte) bool {
				e := keyNumber(k)
				live.add(e - uint64(base))
				next = e + 1
				n++
				return true
			})
			if n < scanPage {
				next = end
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return live, nil
}

// mergeInput gives the terms of a segment in order, a page at a time.
type mergeInput struct {
	r       *indexReader
	number  uint64
	head    *segmentHead
	shift   uint32 // what is added to its distances
	live    bitset
	section int
	page    int // the next one
	rest    []byte
	place   int
	cursor  pageCursor
	term    []byte // nil at the end
}

// shifted adds distances that live to dst.
func (m *mergeInput) shifted(dst, list []uint32) []uint32 {
	for _, n := range list {
		if n += m.shift; m.live.has(uint64(n)) {
			dst = append(dst, n)
		}
	}
	return dst
}

func (m *mergeInput) begin(section int) error {
	m.section, m.page, m.rest = section, 0, nil
	return m.next()
}

// next goes to the next term.
func (m *mergeInput) next() error {
	if len(m.rest) == 0 {
		if m.page == len(m.head.pages[m.section]) {
			m.term = nil
			return nil
		}
		n := []uint32{uint32(m.page)}
		m.page++
		m.place = -1
		err := m.r.rows(m.number, byte(rowDict+2*m.section), n, func(_ uint32, row any) error {
			m.rest = row.(dictionary)[1:]
			return nil
		})
		if err == nil {
			err = m.r.rows(m.number, byte(rowPostings+2*m.section), n, func(_ uint32, row any) error {
				m.cursor = pageCursor{page: row.(*page)}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	n := bytes.IndexByte(m.rest, 0)
	m.term, m.rest = m.rest[:n], m.rest[n+1:]
	m.place++
	return nil
}

// take adds the postings of the term at hand and goes on.
func (m *mergeInput) take(p *postings) error {
	sets, ok := m.cursor.at(m.place)
	if !ok {
		return errDamaged{m.number}
	}
	for f := range p {
		if len(sets[f].b) == 0 {
			continue
		}
		ok := sets[f].each(m.head.span, func(n uint32) {
			if n += m.shift; m.live.has(uint64(n)) {
				p[f] = append(p[f], n)
			}
		})
		if !ok {
			return errDamaged{m.number}
		}
	}
	return m.next()
}

// mergeSection writes the terms of all inputs.
func mergeSection(inputs []*mergeInput, section int, w *pageWriter, pace *pacer) error {
	for _, m := range inputs {
		if err := m.begin(section); err != nil {
			return err
		}
	}
	var p postings
	var term []byte
	for n := 0; ; n++ {
		var least []byte
		for _, m := range inputs {
			if m.term != nil && (least == nil || bytes.Compare(m.term, least) < 0) {
				least = m.term
			}
		}
		if least == nil {
			return w.flush()
		}
		term = append(term[:0], least...)
		some := false
		for f := range p {
			p[f] = p[f][:0]
		}
		for _, m := range inputs {
			if m.term != nil && bytes.Equal(m.term, term) {
				if err := m.take(&p); err != nil {
					return err
				}
			}
		}
		for f := range p {
			some = some || len(p[f]) > 0
		}
		if some {
			if err := w.add(term, &p); err != nil {
				return err
			}
		}
		if n&0xfff == 0 {
			if err := pace.rest(inputs[0].r.ctx); err != nil {
				return err
			}
		}
	}
}
