package mailbox

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/postino-mail/postino/kv"
)

// What sorting and threading compare is taken from the stored summaries once and
// kept as columns: a field of the emails of an account, already collated. An
// email never changes, so a column is never wrong; it may lack emails, which are
// then read. Columns are read in pages of neighbouring emails, one scan each.

// sortField is what a column holds of each email.
type sortField uint8

const (
	fieldSent     sortField = iota // the Date field in UTC, 8 octets; nothing when there is none
	fieldIDs                       // 1 when the subject is a reply's, hashes of the message-id (0: none) and of the references
	fieldSubject                   // the base subject, collated as all that follow
	fieldFrom                      // mailbox of the first address
	fieldTo                        //
	fieldCc                        //
	fieldFromName                  // RFC 5957 §3
	fieldToName                    //
)

// maxKey is how many octets of a collated text order messages. Of a longer one
// eight octets of hash follow, so that only equal texts are equal.
const maxKey = 512

const (
	pageBits  = 8 // emails of a page
	readPages = 8 // pages read in one transaction
)

// columnPage holds the emails whose numbers differ in the last pageBits only. It
// is immutable once it is published.
type columnPage struct {
	have [1 << pageBits >> 6]uint64
	ends [1 << pageBits]uint32
	text []byte
}

// at returns the text of an email, and whether the email was there.
func (p *columnPage) at(e EmailID) ([]byte, bool) {
	i := e & (1<<pageBits - 1)
	if p == nil || p.have[i>>6]>>(i&63)&1 == 0 {
		return nil, false
	}
	start := uint32(0)
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.text[start:p.ends[i]], true
}

func (p *columnPage) size() int64 { return int64(cap(p.text)) + 4<<pageBits + 64 }

// column has the pages by number. It is immutable once it is published.
type column map[EmailID]*columnPage

// lookup reads a column; neighbours are cheap.
type lookup struct {
	pages  column
	number EmailID
	page   *columnPage
}

func (l *lookup) at(e EmailID) ([]byte, bool) {
	if n := e >> pageBits; n != l.number || l.page == nil {
		l.number, l.page = n, l.pages[n]
	}
	return l.page.at(e)
}

// columnKey names a column. The collation of fields that are no text is 0.
type columnKey struct {
	account   AccountID
	field     sortField
	collation Collation
}

// columnCache keeps the columns that were used last.
type columnCache struct {
	limit int64
	seed  maphash.Seed // of the hashes in columns

	mu    sync.Mutex
	size  int64
	clock uint64
	kept  map[columnKey]*keptColumn
}

type keptColumn struct {
	pages column
	size  int64
	used  uint64
}

func newColumnCache(limit int64) *columnCache {
	return &columnCache{limit: limit, seed: maphash.MakeSeed(), kept: map[columnKey]*keptColumn{}}
}

// get returns what is kept of a column.
func (c *columnCache) get(k columnKey) column {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.kept[k]
	if kept == nil {
		return nil
	}
	c.clock++
	kept.used = c.clock
	return kept.pages
}

// put adds pages to a column and returns all of it. Columns that were not used
// for longest give way; one that is too large for all the room is not kept.
func (c *columnCache) put(k columnKey, fresh column) column {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &keptColumn{pages: fresh}
	if old := c.kept[k]; old != nil {
		next.pages = maps.Clone(old.pages)
		maps.Copy(next.pages, fresh)
		c.size -= old.size
		delete(c.kept, k)
	}
	for _, p := range next.pages {
		next.size += p.size()
	}
	if next.size > c.limit {
		return next.pages
	}
	c.clock++
	next.used = c.clock
	c.kept[k] = next
	c.size += next.size
	for c.size > c.limit {
		var oldest columnKey
		used := uint64(math.MaxUint64)
		for k, kept := range c.kept {
			if kept.used < used {
				oldest, used = k, kept.used
			}
		}
		c.size -= c.kept[oldest].size
		delete(c.kept, oldest)
	}
	return next.pages
}

// columns returns lookups for fields of emails, reading what is not kept.
func (a *Account) columns(ctx context.Context, emails []EmailID, fields []sortField, c Collation) ([]lookup, error) {
	found := make([]lookup, len(fields))
	keys := make([]columnKey, len(fields))
	for i, f := range fields {
		keys[i] = columnKey{a.id, f, c}
		if f < fieldSubject {
			keys[i].collation = 0
		}
		found[i].pages = a.s.columns.get(keys[i])
	}
	var lack []EmailID // numbers of pages
	for i := range found {
		for _, e := range emails {
			if _, ok := found[i].at(e); !ok && (len(lack) == 0 || lack[len(lack)-1] != e>>pageBits) {
				lack = append(lack, e>>pageBits)
			}
		}
	}
	if len(lack) == 0 {
		return found, nil
	}
	slices.Sort(lack)
	lack = slices.Compact(lack)
	r := columnReader{a: a, keys: keys, fresh: make([]column, len(fields))}
	for i := range r.fresh {
		r.fresh[i] = make(column, len(lack))
	}
	tell, all := progressOf(ctx), len(lack)
	for len(lack) > 0 {
		tell((all-len(lack))<<pageBits, all<<pageBits)
		n := 1
		for n < min(len(lack), readPages) && lack[n] == lack[n-1]+1 {
			n++
		}
		if err := r.read(ctx, lack[0]<<pageBits, (lack[n-1]+1)<<pageBits); err != nil {
			return nil, err
		}
		lack = lack[n:]
	}
	for i := range found {
		found[i] = lookup{pages: a.s.columns.put(keys[i], r.fresh[i])}
	}
	return found, nil
}

// columnReader makes pages of columns from stored summaries.
type columnReader struct {
	a     *Account
	keys  []columnKey
	fresh []column

	buf       []byte
	ids       []EmailID
	rows      []span             // summaries of ids
	envelopes map[EmailID][]byte // of those whose summaries lack the addresses
}

// read makes the pages of the emails [first, end).
func (r *columnReader) read(ctx context.Context, first, end EmailID) error {
	if err := r.a.s.view(ctx, r.a.id, func(kr kv.Reader) error { return r.scan(kr, first, end) }); err != nil {
		return err
	}
	for i, k := range r.keys {
		var page *columnPage
		next := EmailID(0) // in page: what is before has its end
		for n, id := range r.ids {
			if page == nil || n > 0 && r.ids[n-1]>>pageBits != id>>pageBits {
				page.finish(next)
				page, next = &columnPage{text: make([]byte, 0, 4<<10)}, 0
				r.fresh[i][id>>pageBits] = page
			}
			row, err := decodeSortRow(r.buf[r.rows[n].start:r.rows[n].end])
			if err != nil {
				return err
			}
			if row.bare {
				row.fromEnvelope(r.envelopes[id])
			}
			at := id & (1<<pageBits - 1)
			for ; next < at; next++ {
				page.ends[next] = uint32(len(page.text))
			}
			page.have[at>>6] |= 1 << (at & 63)
			page.text = r.append(page.text, k, &row)
		}
		page.finish(next)
	}
	return ctx.Err()
}

// finish closes the emails from next on and gives back the memory that is not used.
func (p *columnPage) finish(next EmailID) {
	if p == nil {
		return
	}
	for ; next < 1<<pageBits; next++ {
		p.ends[next] = uint32(len(p.text))
	}
	p.text = slices.Clone(p.text)
}

// scan reads the summaries of the emails [first, end), and the envelopes of
// those that are of an old format.
func (r *columnReader) scan(kr kv.Reader, first, end EmailID) error {
	r.buf, r.ids, r.rows, r.envelopes = r.buf[:0], r.ids[:0], r.rows[:0], nil
	rng := kv.Range{Start: numberKey(nil, r.a.id, keySummary, uint64(first)), End: numberKey(nil, r.a.id, keySummary, uint64(end))}
	old := false
	err := kr.Scan(rng, func(key, value []byte) bool {
		r.ids = append(r.ids, EmailID(keyNumber(key)))
		r.rows = append(r.rows, span{len(r.buf), len(r.buf) + len(value)})
		r.buf = append(r.buf, value...)
		old = old || len(value) > 0 && value[0] < 2
		return true
	})
	addresses := slices.ContainsFunc(r.keys, func(k columnKey) bool { return k.field > fieldSubject })
	if err != nil || !old || !addresses {
		return err
	}
	r.envelopes = map[EmailID][]byte{}
	for i, id := range r.ids {
		if r.buf[r.rows[i].start] >= 2 {
			continue
		}
		v, ok, err := kr.Get(numberKey(nil, r.a.id, keyEmail, uint64(id)))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		row, err := decodeEmail(v)
		if err != nil {
			return err
		}
		r.envelopes[id] = slices.Clone(row.envelope)
	}
	return nil
}

// append writes what a column holds of an email.
func (r *columnReader) append(dst []byte, k columnKey, row *sortRow) []byte {
	switch k.field {
	case fieldSent:
		if row.sent != 0 {
			dst = binary.BigEndian.AppendUint64(dst, uint64(row.sent))
		}
		return dst
	case fieldIDs:
		return row.appendIDs(dst, r.a.s.columns.seed)
	}
	at := len(dst)
	dst = k.collation.append(dst, row.texts[k.field-fieldSubject])
	if len(dst)-at > maxKey {
		sum := maphash.Bytes(r.a.s.columns.seed, dst[at:])
		dst = binary.BigEndian.AppendUint64(dst[:at+maxKey], sum)
	}
	return dst
}

// sortRow is what sorting and threading need of a stored Summary; slices of it.
type sortRow struct {
	sent      int64
	reply     bool
	bare      bool // of format 1: no addresses
	messageID []byte
	refs      decoder   // at the references
	texts     [6][]byte // the fields from fieldSubject on
}

func decodeSortRow(b []byte) (row sortRow, err error) {
	d := decoder{b: b}
	if err := d.version(summaryVersion, "message summary"); err != nil {
		return row, err
	}
	row.bare = b[0] < 2
	for range 5 {
		d.bytes()
	}
	row.sent, _ = d.varint(), d.varint()
	row.reply = d.byte()&2 != 0
	row.texts[0] = d.bytes()
	row.messageID = d.bytes()
	d.skipList() // In-Reply-To
	row.refs = d
	if !row.bare {
		d.skipList()
		for i := range row.texts[1:] {
			row.texts[1+i] = d.bytes()
		}
	}
	if d.bad {
		return row, corrupt("message summary")
	}
	return row, nil
}

// skipList passes over a list of texts.
func (d *decoder) skipList() {
	for n := d.count(1); n > 0; n-- {
		d.bytes()
	}
}

// appendIDs writes the reply mark and the hashes of the ids, eight octets each.
func (row *sortRow) appendIDs(dst []byte, seed maphash.Seed) []byte {
	hash := func(id []byte) {
		sum := uint64(0)
		if len(id) > 0 {
			sum = max(1, maphash.Bytes(seed, id)) // 0 is no id
		}
		dst = binary.LittleEndian.AppendUint64(dst, sum)
	}
	dst = append(dst, byte(btoi(row.reply)))
	hash(row.messageID)
	refs := row.refs
	for n := refs.count(1); n > 0; n-- {
		if id := refs.bytes(); len(id) > 0 {
			hash(id)
		}
	}
	return dst
}
