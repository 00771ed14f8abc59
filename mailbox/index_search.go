package mailbox

import (
	"bytes"
	"context"
	"errors"
	"math/bits"
	"slices"
	"sort"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
)

func (b bitset) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// indexLookup is how a key is looked for in segments.
type indexLookup struct {
	patterns []pattern // rarest first, as far as one can tell
	loose    []looseWord
	exact    bool // what the index finds needs no look at the text
	where    [sections]uint8
	hits     []hits // by segment of an indexed
}

// hits are what one segment tells about one key.
type hits struct {
	known bitset
	found bitset
	exact bool
	// scores are those of a loose key by distance.
	scores []uint8
}

// scopes are the fields of each section that a key looks at.
func (k *key) scopes() (where [sections]uint8) {
	switch k.Op {
	case OpHeader:
		where[sectionHeader] = 1
	case OpBody:
		where[sectionText] = 1 << fieldBody
	case OpText:
		where[sectionText], where[sectionHeader] = 1<<fieldBody, 1
	default:
		where[sectionText] = 1 << (k.Op - OpSubject)
	}
	return where
}

// prepareLookup makes a text key ready for the index.
func (k *key) prepareLookup() {
	list, exact := patterns(k.needle)
	if len(list) == 0 {
		return
	}
	slices.SortStableFunc(list, func(a, b pattern) int { return rank(b) - rank(a) })
	// Of a header only the key knows which line is meant.
	k.lookup = &indexLookup{patterns: list, exact: exact && k.Op != OpHeader && k.collation == UnicodeCasemap, where: k.scopes()}
}

// rank orders patterns: those whose pages are known first, then long ones.
func rank(p pattern) int {
	n := len(p)
	if p[0] == 0 {
		n += 1000
	}
	return n
}

// asked answers a key from what the segments told.
func (k *key) asked(m *subject) answer {
	if m.segment == 0 || k.lookup == nil || len(k.lookup.hits) == 0 {
		return unknown
	}
	h := &k.lookup.hits[m.segment-1]
	switch {
	case !h.known.has(uint64(m.distance)):
		return unknown
	case !h.found.has(uint64(m.distance)):
		return no
	case h.exact:
		return yes
	}
	return unknown
}

// indexed are the segments that a search consults.
type indexed struct {
	segments []segment
}

// place tells a subject where its email is in the segments.
func (x *indexed) place(m *subject, e EmailID) {
	if x == nil || len(x.segments) == 0 {
		return
	}
	if m.segment == 0 || !x.segments[m.segment-1].has(e) {
		i, ok := slices.BinarySearchFunc(x.segments, e, segment.compare)
		if m.segment = 0; !ok {
			return
		}
		m.segment = i + 1
	}
	m.distance = uint32(e - x.segments[m.segment-1].base)
}

func (g segment) has(e EmailID) bool { return e >= g.base && e-g.base < EmailID(g.span) }

// compare tells on which side of e the segment is.
func (g segment) compare(e EmailID) int {
	switch {
	case g.has(e):
		return 0
	case g.base > e:
		return 1
	}
	return -1
}

// indexWorth is how many open messages of a segment make it worth asking,
// unless Store.indexWorth says otherwise; fewer are faster read.
const indexWorth = 32

// maxLookups is how many keys of a query the index is asked about; the others
// are answered by reading.
const maxLookups = 64

// consult asks the index about the text keys below root. A segment that cannot
// be read is not asked any more and will be built anew.
func (a *Account) consult(ctx context.Context, root *key, emails []EmailID) (*indexed, error) {
	var keys []*key
	if root.lookups(&keys); len(keys) == 0 || len(emails) == 0 {
		return nil, nil
	}
	keys = keys[:min(len(keys), maxLookups)]
	for range 3 {
		x, err := a.ask(ctx, keys, emails)
		var damaged errDamaged
		if !errors.As(err, &damaged) {
			return x, err
		}
		// A merge may have taken the segment away since the manifest was read.
		if gone, err := a.damaged(ctx, damaged); err != nil || !gone {
			break
		}
	}
	for _, k := range keys {
		k.lookup.hits = nil
	}
	return nil, ctx.Err()
}

// damaged looks at a segment that could not be read; gone tells that no
// manifest names it any more.
func (a *Account) damaged(ctx context.Context, d errDamaged) (gone bool, err error) {
	var m *manifest
	err = a.s.view(ctx, a.id, func(r kv.Reader) (err error) {
		m, err = readManifest(r, a.id)
		return err
	})
	if err != nil {
		return false, err
	}
	if gone = !slices.ContainsFunc(m.segments, func(g segment) bool { return g.number == d.number }); !gone {
		a.s.damage(a.id, d)
	}
	return gone, nil
}

// lookups gathers the keys that the index can be asked about.
func (k *key) lookups(list *[]*key) {
	if k.lookup != nil {
		*list = append(*list, k)
	}
	for _, sub := range k.subs {
		sub.lookups(list)
	}
}

// ask looks for keys in the segments that have enough of the emails.
func (a *Account) ask(ctx context.Context, keys []*key, emails []EmailID) (*indexed, error) {
	var m *manifest
	err := a.s.view(ctx, a.id, func(r kv.Reader) (err error) {
		m, err = readManifest(r, a.id)
		return err
	})
	if err != nil {
		return nil, err
	}
	x := &indexed{segments: m.segments}
	counts := make([]int, len(m.segments))
	var at subject
	for _, e := range emails {
		if x.place(&at, e); at.segment > 0 {
			counts[at.segment-1]++
		}
	}
	x.segments = nil
	for i, n := range counts {
		if n >= a.s.indexWorth {
			x.segments = append(x.segments, m.segments[i])
		}
	}
	if len(x.segments) == 0 {
		return nil, nil
	}
	r := &indexReader{s: a.s, ctx: ctx, id: a.id}
	for _, k := range keys {
		k.lookup.hits = k.lookup.hits[:0]
	}
	for _, g := range x.segments {
		h, err := r.head(g)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			found, err := k.lookup.find(r, g.number, h)
			if err != nil {
				return nil, err
			}
			k.lookup.hits = append(k.lookup.hits, found)
		}
	}
	return x, nil
}

// find looks for all patterns in a segment.
func (l *indexLookup) find(r *indexReader, number uint64, h *segmentHead) (hits, error) {
	if l.loose != nil {
		return l.findLoose(r, number, h)
	}
	result := hits{known: h.known, exact: l.exact}
	for i, p := range l.patterns {
		found := make(bitset, len(h.known))
		for section, fields := range l.where {
			if fields != 0 {
				if err := h.find(r, number, section, fields, p, found); err != nil {
					return hits{}, err
				}
			}
		}
		if i > 0 {
			for n := range found {
				found[n] &= result.found[n]
			}
		}
		if result.found = found; found.count() == 0 {
			break
		}
	}
	return result, nil
}

// pagesOf returns the pages of a section that may have the pattern.
func (h *segmentHead) pagesOf(section int, p pattern) (list []uint32) {
	firsts := h.pages[section]
	lo, hi := 0, len(firsts)
	if p[0] == 0 {
		start := bytes.TrimRight(p[1:], "\x00")
		lo = max(0, sort.Search(len(firsts), func(i int) bool { return bytes.Compare(firsts[i], start) > 0 })-1)
		for hi = lo; hi < len(firsts) && (hi == lo || bytes.Compare(firsts[hi], start) <= 0 || bytes.HasPrefix(firsts[hi], start)); {
			hi++
		}
	}
	for ; lo < hi; lo++ {
		list = append(list, uint32(lo))
	}
	return list
}

// find adds the emails to dst in which a pattern is.
func (h *segmentHead) find(r *indexReader, number uint64, section int, fields uint8, p pattern, dst bitset) error {
	var places []int
	full := errors.New("all emails are found")
	err := r.rows(number, byte(rowDict+2*section), h.pagesOf(section, p), func(n uint32, row any) error {
		places = places[:0]
		row.(dictionary).find(p, func(place int) bool { places = append(places, place); return true })
		if len(places) == 0 {
			return nil
		}
		err := r.rows(number, byte(rowPostings+2*section), []uint32{n}, func(_ uint32, row any) error {
			c := pageCursor{page: row.(*page)}
			for _, place := range places {
				sets, ok := c.at(place)
				for f := 0; ok && f < len(sets); f++ {
					ok = fields>>f&1 == 0 || sets[f].or(dst, h.span)
				}
				if !ok {
					return errDamaged{number}
				}
			}
			return nil
		})
		if err == nil && len(places) > 256 && dst.count() >= h.count {
			return full
		}
		return err
	})
	if err == full {
		return nil
	}
	return err
}

// emailsOf returns the emails of messages, which are all when open is nil.
func (s *Snapshot) emailsOf(open []int) []EmailID {
	list := make([]EmailID, 0, max(len(open), btoi(open == nil)*s.Len()))
	if open == nil {
		for _, c := range s.table.chunks {
			list = append(list, c.emails...)
		}
		return list
	}
	for _, i := range open {
		list = append(list, s.Email(i))
	}
	return list
}

// decide judges messages by what the index told: all messages when open is nil.
func (a *Account) decide(ctx context.Context, s *Snapshot, root *key, open []int) (x *indexed, found, left []int, err error) {
	emails := s.emailsOf(open)
	if x, err = a.consult(ctx, root, emails); err != nil {
		return nil, nil, nil, err
	}
	var m subject
	for n, e := range emails {
		i := n
		if open != nil {
			i = open[n]
		}
		if m.index = i; root.columns {
			m.row = s.Row(i)
		}
		x.place(&m, e)
		switch root.match(&m) {
		case yes:
			found = append(found, i)
		case unknown:
			left = append(left, i)
		}
	}
	return x, found, left, nil
}

// matchPrefix tells whether the text is in the prefix of a message.
func (k *key) matchPrefix(prefix []byte) bool {
	for f := range message.Fields(prefix) {
		if k.matcher.MatchString(string(fieldText(f))) {
			return true
		}
	}
	return false
}
