package mailbox

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// chunkBits is the size of a chunk: it covers the UIDs with the same
// UID>>chunkBits. Which chunk a message is in follows from its UID alone, so
// every replay of the log gives the same chunks.
const (
	chunkBits = 9
	chunkSize = 1 << chunkBits
)

// maxSize is the largest message in octets: sizes are kept in 32 bits.
const maxSize = 1<<32 - 1

// columns hold up to chunkSize messages of a mailbox, ascending by UID, one
// slice for each property. Readers share them; once a snapshot holds a chunk,
// only the space behind its end is ever written, by whoever reserves it in used.
type columns struct {
	uids    []UID
	emails  []EmailID
	threads []ThreadID
	dates   []int64
	saved   []int64
	sizes   []uint32
	modseqs []ModSeq
	flags   [len(Mask{})][]uint64 // word w of the masks; nil when zero for all, flags[0] is never nil
}

// chunk is a version of columns.
type chunk struct {
	base    uint32 // UID>>chunkBits of all its messages
	stamp   ModSeq // when it was stored: records up to it are in it already
	touched ModSeq // the newest record that changed it
	owner   *edit  // the edit that may still change the columns in place
	used    *atomic.Int32
	columns
}

func (c *chunk) len() int { return len(c.uids) }

func (c *chunk) row(i int) Row {
	r := Row{
		UID: c.uids[i], Email: c.emails[i], Thread: c.threads[i], ModSeq: c.modseqs[i],
		Date: c.dates[i], Saved: c.saved[i], Size: int64(c.sizes[i]),
	}
	for w, words := range c.flags {
		if words != nil {
			r.Flags[w] = words[i]
		}
	}
	return r
}

// makeColumns returns columns of n rows with room for size.
func makeColumns(n, size int, words [len(Mask{})]bool) columns {
	c := columns{
		uids: make([]UID, n, size), emails: make([]EmailID, n, size), threads: make([]ThreadID, n, size),
		dates: make([]int64, n, size), saved: make([]int64, n, size), sizes: make([]uint32, n, size),
		modseqs: make([]ModSeq, n, size),
	}
	for w := range c.flags {
		if w == 0 || words[w] {
			c.flags[w] = make([]uint64, n, size)
		}
	}
	return c
}

// words tells which words of the masks are in use.
func (c *columns) words() (in [len(Mask{})]bool) {
	for w := range c.flags {
		in[w] = c.flags[w] != nil
	}
	return in
}

// copyRows copies rows [lo, hi) of src to the rows of c from at on.
func (c *columns) copyRows(at int, src *columns, lo, hi int) {
	copy(c.uids[at:], src.uids[lo:hi])
	copy(c.emails[at:], src.emails[lo:hi])
	copy(c.threads[at:], src.threads[lo:hi])
	copy(c.dates[at:], src.dates[lo:hi])
	copy(c.saved[at:], src.saved[lo:hi])
	copy(c.sizes[at:], src.sizes[lo:hi])
	copy(c.modseqs[at:], src.modseqs[lo:hi])
	for w := range c.flags {
		if src.flags[w] != nil {
			copy(c.flags[w][at:], src.flags[w][lo:hi])
		}
	}
}

// extend makes room for n more rows at the end of c and returns columns of the
// new length; the new rows are not yet written.
func (c *columns) extend(n int) {
	end := len(c.uids) + n
	c.uids, c.emails, c.threads = c.uids[:end], c.emails[:end], c.threads[:end]
	c.dates, c.saved, c.sizes, c.modseqs = c.dates[:end], c.saved[:end], c.sizes[:end], c.modseqs[:end]
	for w := range c.flags {
		if c.flags[w] != nil {
			c.flags[w] = c.flags[w][:end]
		}
	}
}

func (c *columns) setRow(i int, r *Row) {
	c.uids[i], c.emails[i], c.threads[i] = r.UID, r.Email, r.Thread
	c.dates[i], c.saved[i], c.sizes[i], c.modseqs[i] = r.Date, r.Saved, uint32(r.Size), r.ModSeq
	for w := range c.flags {
		if c.flags[w] != nil {
			c.flags[w][i] = r.Flags[w]
		}
	}
}

// A column is stored as its least value, the width of the differences from it
// in octets (0, 1, 2, 4 or 8; 0 when all are the same) and the differences,
// little-endian: decoding is a loop without branches.
func appendColumn[T ~int64 | ~uint64 | ~uint32](dst []byte, col []T) []byte {
	lo, hi := slices.Min(col), slices.Max(col)
	dst = binary.AppendVarint(dst, int64(lo))
	width := columnWidth(uint64(hi) - uint64(lo))
	dst = append(dst, width)
	switch width {
	case 1:
		for _, v := range col {
			dst = append(dst, byte(v-lo))
		}
	case 2:
		for _, v := range col {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(v-lo))
		}
	case 4:
		for _, v := range col {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(v-lo))
		}
	case 8:
		for _, v := range col {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v)-uint64(lo))
		}
	}
	return dst
}

func columnWidth(span uint64) byte {
	switch {
	case span == 0:
		return 0
	case span < 1<<8:
		return 1
	case span < 1<<16:
		return 2
	case span < 1<<32:
		return 4
	}
	return 8
}

func readColumn[T ~int64 | ~uint64 | ~uint32](d *decoder, col []T) {
	lo := T(d.varint())
	width := int(d.byte())
	if width > 8 || width&(width-1) != 0 {
		d.fail()
	}
	b := d.take(width * len(col))
	if d.bad {
		return
	}
	switch width {
	case 0:
		for i := range col {
			col[i] = lo
		}
	case 1:
		for i := range col {
			col[i] = lo + T(b[i])
		}
	case 2:
		for i := range col {
			col[i] = lo + T(binary.LittleEndian.Uint16(b[2*i:]))
		}
	case 4:
		for i := range col {
			col[i] = lo + T(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case 8:
		for i := range col {
			col[i] = lo + T(binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
}

// append writes the chunk as it is at modseq.
func (c *chunk) append(dst []byte, at ModSeq) []byte {
	dst = append(dst, chunkVersion)
	dst = binary.AppendUvarint(dst, uint64(at))
	dst = binary.AppendUvarint(dst, uint64(c.len()))
	dst = appendColumn(dst, c.uids)
	dst = appendColumn(dst, c.emails)
	dst = appendColumn(dst, c.threads)
	dst = appendColumn(dst, c.dates)
	dst = appendColumn(dst, c.saved)
	dst = appendColumn(dst, c.sizes)
	dst = appendColumn(dst, c.modseqs)
	var words byte
	for w := range c.flags {
		if c.flags[w] != nil {
			words |= 1 << w
		}
	}
	dst = append(dst, words)
	for _, col := range c.flags {
		if col != nil {
			dst = appendColumn(dst, col)
		}
	}
	return dst
}

// decodeChunk reads the chunk stored under base.
func decodeChunk(base uint32, b []byte) (*chunk, error) {
	const what = "mailbox chunk"
	d := decoder{b: b}
	if err := d.version(chunkVersion, what); err != nil {
		return nil, err
	}
	c := &chunk{base: base, stamp: ModSeq(d.uvarint())}
	c.touched = c.stamp
	n := int(d.upTo(chunkSize))
	if n == 0 {
		return nil, corrupt(what)
	}
	c.columns = makeColumns(n, n, [len(Mask{})]bool{})
	readColumn(&d, c.uids)
	readColumn(&d, c.emails)
	readColumn(&d, c.threads)
	readColumn(&d, c.dates)
	readColumn(&d, c.saved)
	readColumn(&d, c.sizes)
	readColumn(&d, c.modseqs)
	words := d.byte()
	if words&1 == 0 || words >= 1<<len(c.flags) {
		d.fail()
	}
	for w := range c.flags {
		if words>>w&1 == 0 {
			continue
		}
		if c.flags[w] == nil {
			c.flags[w] = make([]uint64, n)
		}
		readColumn(&d, c.flags[w])
	}
	if err := d.end(what); err != nil {
		return nil, err
	}
	for i, u := range c.uids {
		if uint32(u)>>chunkBits != base || u == 0 || i > 0 && u <= c.uids[i-1] {
			return nil, corrupt(what)
		}
	}
	return c, nil
}
