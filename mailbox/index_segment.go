package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"github.com/postino-mail/postino/kv"
)

// The index of an account is a row that names its segments, and their rows. A
// segment lives when that row names it; all others are what a crash or a merge
// left, and are swept by the next run.

const (
	manifestVersion = 1
	maxSpan         = 1 << 20  // numbers that a segment spans
	maxEmails       = 1 << 18  // emails of a segment that is merged further
	segmentEmails   = 1 << 12  // emails of a new segment
	segmentMemory   = 32 << 20 // octets of memory to build one
	indexTx         = 2 << 20  // octets of one transaction
)

// manifest names the segments of an account, by ascending emails.
type manifest struct {
	upTo     EmailID // emails up to here are in segments, or need not be
	segments []segment
}

// segment is an entry of the manifest.
type segment struct {
	number uint64 // unique, also among accounts that had the same number
	base   EmailID
	span   uint32
	emails uint32
	size   uint64 // octets of its rows
}

func (m *manifest) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, manifestVersion), uint64(m.upTo))
	dst = binary.AppendUvarint(dst, uint64(len(m.segments)))
	for _, g := range m.segments {
		for _, v := range [...]uint64{g.number, uint64(g.base), uint64(g.span), uint64(g.emails), g.size} {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	return dst
}

func decodeManifest(b []byte) (*manifest, error) {
	d := decoder{b: b}
	if err := d.version(manifestVersion, "index"); err != nil {
		return nil, err
	}
	m := &manifest{upTo: EmailID(d.uvarint())}
	next := EmailID(0)
	for range d.count(5) {
		g := segment{number: d.uvarint(), base: EmailID(d.uvarint()), span: uint32(d.upTo(maxSpan)), emails: uint32(d.upTo(maxSpan)), size: d.uvarint()}
		if g.base < next || g.span == 0 || g.emails > g.span || g.base+EmailID(g.span) < g.base || g.base+EmailID(g.span)-1 > m.upTo {
			d.fail()
		}
		next = g.base + EmailID(g.span)
		m.segments = append(m.segments, g)
	}
	return m, d.end("index")
}

// readManifest reads the row; an empty manifest when there is none, and when it
// cannot be read: then the index is built anew.
func readManifest(r kv.Reader, id AccountID) (*manifest, error) {
	v, ok, err := r.Get(accountKey(nil, id, keySegment))
	if err != nil || !ok {
		return &manifest{}, err
	}
	if b, ok := unseal(v); ok {
		if m, err := decodeManifest(b); err == nil {
			return m, nil
		}
	}
	return &manifest{}, nil
}

// segmentKey is the key of a row of a segment.
func segmentKey(id AccountID, number uint64, kind byte, page uint32) []byte {
	key := append(numberKey(make([]byte, 0, 32), id, keySegment, number), kind)
	return binary.BigEndian.AppendUint32(key, page)
}

// segmentHead is the first row of a segment.
type segmentHead struct {
	segment
	all, cut []byte // sets
	pages    [sections][][]byte
	// known are the emails whose terms are all there.
	known bitset
	count int // of known
}

func (h *segmentHead) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, segmentVersion), uint64(h.base))
	dst = binary.AppendUvarint(dst, uint64(h.span))
	dst = append(append(dst, h.all...), h.cut...)
	for _, pages := range h.pages {
		dst = binary.AppendUvarint(dst, uint64(len(pages)))
		for _, first := range pages {
			dst = appendBytes(dst, first)
		}
	}
	return dst
}

func decodeSegment(b []byte) (*segmentHead, error) {
	d := decoder{b: b}
	if err := d.version(segmentVersion, "segment"); err != nil {
		return nil, err
	}
	h := &segmentHead{}
	h.base, h.span = EmailID(d.uvarint()), uint32(d.upTo(maxSpan))
	from := d.b
	all := d.set()
	h.all, from = from[:len(from)-len(d.b)], d.b
	cut := d.set()
	h.cut = from[:len(from)-len(d.b)]
	h.known = make(bitset, h.span/64+1)
	if d.bad || h.span == 0 || !all.or(h.known, h.span) || !cut.each(h.span, func(n uint32) { h.known[n>>6] &^= 1 << (n & 63) }) {
		return nil, corrupt("segment")
	}
	h.count = h.known.count()
	for i := range h.pages {
		for range d.count(1) {
			h.pages[i] = append(h.pages[i], d.bytes())
		}
		if !slices.IsSortedFunc(h.pages[i], bytes.Compare) {
			d.fail()
		}
	}
	return h, d.end("segment")
}

// sets reads the emails of a segment and those that are cut.
func (h *segmentHead) sets() (all, cut []uint32) {
	for i, b := range [...][]byte{h.all, h.cut} {
		list := []*[]uint32{&all, &cut}[i]
		d := decoder{b: b}
		d.set().each(h.span, func(n uint32) { *list = append(*list, n) })
	}
	return all, cut
}

// segmentWriter stores the rows of a segment, some at a time; commit makes it
// live.
type segmentWriter struct {
	s    *Store
	ctx  context.Context
	id   AccountID
	pace *pacer
	head segmentHead
	page *pageWriter
	rows []storedRow
	size int // octets of rows
}

type storedRow struct{ key, value []byte }

func (s *Store) newSegment(ctx context.Context, id AccountID, pace *pacer) *segmentWriter {
	w := &segmentWriter{s: s, ctx: ctx, id: id, pace: pace}
	w.head.number = uint64(time.Now().UnixNano())
	return w
}

func (w *segmentWriter) begin(base EmailID, span uint32, all, cut []uint32) {
	w.head.base, w.head.span, w.head.emails = base, span, uint32(len(all))
	w.head.all, w.head.cut = appendSet(nil, all, span), appendSet(nil, cut, span)
}

// section begins a section.
func (w *segmentWriter) section(i int) *pageWriter {
	w.endSection()
	w.page = &pageWriter{section: i, span: w.head.span, put: w.put}
	return w.page
}

func (w *segmentWriter) endSection() {
	if w.page != nil {
		w.head.pages[w.page.section] = w.page.firsts
	}
}

func (w *segmentWriter) end() error {
	w.endSection()
	return w.put(rowHead, 0, w.head.append(nil))
}

func (w *segmentWriter) put(kind byte, page uint32, row []byte) error {
	value := seal(row)
	w.rows = append(w.rows, storedRow{segmentKey(w.id, w.head.number, kind, page), value})
	w.size += len(value)
	w.head.size += uint64(len(value))
	if w.size < indexTx {
		return nil
	}
	if err := w.s.updateIndex(w.ctx, w.id, w.store); err != nil {
		return err
	}
	w.rows, w.size = nil, 0
	return w.pace.rest(w.ctx)
}

// seal copies a row of a segment and puts its CRC-32C behind it: a row that is
// not what was written must not change what searches find.
func seal(row []byte) []byte {
	value := make([]byte, 0, len(row)+4)
	value = append(value, row...)
	return binary.LittleEndian.AppendUint32(value, crc32.Checksum(row, castagnoli()))
}

// unseal returns the row, false when it is damaged.
func unseal(value []byte) ([]byte, bool) {
	n := len(value) - 4
	if n < 0 || binary.LittleEndian.Uint32(value[n:]) != crc32.Checksum(value[:n], castagnoli()) {
		return nil, false
	}
	return value[:n:n], true
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func (w *segmentWriter) store(tx kv.Tx) error {
	for _, r := range w.rows {
		if err := tx.Set(r.key, r.value); err != nil {
			return err
		}
	}
	return nil
}

// commit stores the last rows with the manifest that names the segment.
func (w *segmentWriter) commit(m *manifest) error {
	return w.s.updateIndex(w.ctx, w.id, func(tx kv.Tx) error {
		if err := w.store(tx); err != nil {
			return err
		}
		return m.write(tx, w.id)
	})
}

func (m *manifest) write(tx kv.Tx, id AccountID) error {
	return tx.Set(accountKey(nil, id, keySegment), seal(m.append(nil)))
}

// updateIndex runs fn in a transaction on an account that is there.
func (s *Store) updateIndex(ctx context.Context, id AccountID, fn func(kv.Tx) error) error {
	return s.db.Update(ctx, []kv.Scope{s.Scope(id)}, func(tx kv.Tx) error {
		if _, err := readHead(tx, id); err != nil {
			return err
		}
		return fn(tx)
	})
}
