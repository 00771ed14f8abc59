package mailbox

import (
	"fmt"

	"github.com/postino-mail/postino/kv"
)

// indexed checks that all rows of the segments are there and verify, that each
// dictionary fits its postings, and that the stored emails that should be in a
// segment are. Damage is made good by the next run of the index.
func (c *checker) indexed() error {
	m, err := readManifest(c.r, c.id)
	if err != nil {
		return err
	}
	if m.upTo >= c.head.nextEmail {
		c.report("index", "reaches beyond the emails, to %d", m.upTo)
	}
	var heads []*segmentHead
	for _, g := range m.segments {
		h, err := c.segment(g)
		if err != nil {
			c.report(fmt.Sprintf("segment %d", g.number), "%v", err)
			c.s.damage(c.id, errDamaged{g.number})
			return nil
		}
		heads = append(heads, h)
	}
	x := &indexed{segments: m.segments}
	all := make([]bitset, len(heads))
	for i, h := range heads {
		all[i] = make(bitset, len(h.known))
		in, _ := h.sets()
		for _, n := range in {
			all[i].add(uint64(n))
		}
	}
	for id := range c.emails {
		var at subject
		if x.place(&at, id); id <= m.upTo && (at.segment == 0 || !all[at.segment-1].has(uint64(at.distance))) {
			c.report(fmt.Sprintf("email %d", id), "is not indexed")
		}
	}
	return nil
}

// segment reads all rows of a segment.
func (c *checker) segment(g segment) (*segmentHead, error) {
	row, err := readIndexRow(c.r, c.id, g.number, rowHead, 0)
	if err != nil {
		return nil, err
	}
	h := row.(*segmentHead)
	if h.base != g.base || h.span != g.span {
		return nil, errDamaged{g.number}
	}
	for section, pages := range h.pages {
		for n := range pages {
			dict, err := readIndexRow(c.r, c.id, g.number, byte(rowDict+2*section), uint32(n))
			if err != nil {
				return nil, err
			}
			post, err := readIndexRow(c.r, c.id, g.number, byte(rowPostings+2*section), uint32(n))
			if err != nil {
				return nil, err
			}
			terms := 0
			dict.(dictionary).each(func(int, []byte) bool { terms++; return true })
			if terms != post.(*page).n {
				return nil, errDamaged{g.number}
			}
		}
	}
	return h, nil
}

func readIndexRow(r kv.Reader, id AccountID, number uint64, kind byte, page uint32) (any, error) {
	v, ok, err := r.Get(segmentKey(id, number, kind, page))
	if err != nil || !ok {
		return nil, errDamaged{number}
	}
	return decodeRow(kind, append([]byte(nil), v...))
}
