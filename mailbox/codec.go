package mailbox

import (
	"encoding/binary"
	"fmt"

	"github.com/postino-mail/postino"
)

// decoder reads varints and octets from a stored value; the first thing that
// does not fit marks it bad, and everything after reads as zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// upTo reads a uvarint that may not be over limit.
func (d *decoder) upTo(limit uint64) uint64 {
	v := d.uvarint()
	if v > limit {
		d.fail()
		return 0
	}
	return v
}

// count reads a number of things that take at least size octets each, so that
// a slice for them is never larger than what the value can fill.
func (d *decoder) count(size int) int { return int(d.upTo(uint64(len(d.b) / size))) }

// take returns the next n octets, a part of the value.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

// bytes reads a length and that many octets.
func (d *decoder) bytes() []byte { return d.take(int(d.upTo(uint64(len(d.b))))) }

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

// version reads the version octet of a value and refuses one that is newer
// than what this code writes.
func (d *decoder) version(newest byte, what string) error {
	v := d.byte()
	if d.bad || v == 0 {
		return corrupt(what)
	}
	if v > newest {
		return postino.E(postino.Invalid, "read "+what, "", fmt.Errorf("format version %d is newer than this program (%d)", v, newest))
	}
	return nil
}

// end returns an error unless the whole value was read.
func (d *decoder) end(what string) error {
	if d.bad || len(d.b) != 0 {
		return corrupt(what)
	}
	return nil
}

func corrupt(what string) error { return postino.E(postino.Corrupt, "read "+what, "", nil) }

func appendBytes(dst, p []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	return append(dst, p...)
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendMask writes the number of words up to the last one that is not zero,
// and the words.
func appendMask(dst []byte, m Mask) []byte {
	n := len(m)
	for n > 0 && m[n-1] == 0 {
		n--
	}
	dst = append(dst, byte(n))
	for _, w := range m[:n] {
		dst = binary.AppendUvarint(dst, w)
	}
	return dst
}

func (d *decoder) mask() (m Mask) {
	n := d.byte()
	if int(n) > len(m) {
		d.fail()
		return m
	}
	for i := range n {
		m[i] = d.uvarint()
	}
	return m
}

// appendRanges writes each range as its distance from the one before and its
// length.
func appendRanges(dst []byte, r Ranges) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r)))
	var last UID
	for _, x := range r {
		dst = binary.AppendUvarint(dst, uint64(x.Lo-last))
		dst = binary.AppendUvarint(dst, uint64(x.Hi-x.Lo))
		last = x.Hi
	}
	return dst
}

func (d *decoder) ranges() Ranges {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	r := make(Ranges, n)
	var last uint64
	for i := range r {
		lo := last + d.upTo(1<<32)
		hi := lo + d.upTo(1<<32)
		if hi >= 1<<32 || lo == last {
			d.fail()
			return nil
		}
		r[i] = Range{UID(lo), UID(hi)}
		last = hi
	}
	return r
}

// The kinds of key, the octet after 'a' and the account's number.
const (
	keyHead    = 'H' // the account: counters and positions
	keyBox     = 'M' // mailbox number: a mailbox
	keySub     = 'U' // name: a subscription
	keyLog     = 'L' // modseq: a change
	keyChunk   = 'C' // mailbox number, UID>>9: columns of up to 512 messages
	keyEmail   = 'E' // email number: what FETCH needs
	keyIndex   = 'I' // email number: the message's index
	keySummary = 'S' // email number: what SEARCH and threading need
	keyThread  = 'T' // hash: the thread that a message-id or a subject belongs to
	keyACL     = 'A' // mailbox number: who else may do what
	keyPrivate = 'V' // mailbox number, viewer: what a guest has of his own
	keyNote    = 'N' // mailbox number or 0, viewer or 0, name: an entry of metadata
	keySegment = 'J' // the manifest of the index; number, kind, page: a row of a segment
	keyUIDL    = 'P' // mailbox number, UID>>9: unique-ids of POP3 that messages brought along
	keyImport  = 'G' // hash of a source: mail that moved in; hash of an item: where the message is
	keyPast    = 'O' // name: the greatest UIDVALIDITY of a mailbox that had it once
	keyGone    = 'X' // the account was removed, its rows are being swept
)

// accountKey appends 'a', the account and the kind of key to dst.
func accountKey(dst []byte, id AccountID, kind byte) []byte {
	dst = append(dst, 'a')
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	if kind != 0 {
		dst = append(dst, kind)
	}
	return dst
}

// numberKey appends a key of the account that ends in a number.
func numberKey(dst []byte, id AccountID, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(accountKey(dst, id, kind), n)
}

func chunkKey(dst []byte, id AccountID, box MailboxID, base uint32) []byte {
	return binary.BigEndian.AppendUint32(numberKey(dst, id, keyChunk, uint64(box)), base)
}

// keyNumber reads the number at the end of a key.
func keyNumber(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
