package mailauth

import (
	"bytes"
	"encoding/binary"
	"hash"
	"math/bits"
)

// Canonicalization is how a signature sees a header or a body (RFC 6376 §3.4).
type Canonicalization uint8

// The two that exist. Relaxed is the zero value since it survives transport.
const (
	Relaxed Canonicalization = iota
	Simple
)

// String names c as tags do.
func (c Canonicalization) String() string {
	if c == Simple {
		return "simple"
	}
	return "relaxed"
}

const canonBuffer = 8 << 10

var (
	crlf     = []byte("\r\n")
	oneSpace = []byte{' '}
)

// canon makes the canonical form of a body that comes in pieces and gives it to
// hashes. A line ends with LF, with or without CR before it, and leaves with CRLF:
// on the wire it has one (RFC 6376 §5.3).
type canon struct {
	simple bool
	cr     bool  // a CR was the last octet of the piece before
	wsp    bool  // relaxed: white space that counts if text follows in its line
	text   bool  // the line has text
	blank  int64 // empty lines that count if text follows
	size   int64 // octets that left
	buf    []byte
	sums   []*bodySum
}

// bodySum is the hash of a canonical body, or of its first limit octets.
type bodySum struct {
	hash.Hash
	limit int64 // negative: all
	size  int64 // octets of the whole canonical body, once it is closed
	sum   []byte
}

// Write takes a piece of the body; it never fails. Stretches that are canonical as
// they stand, of many lines in most bodies, go to the hashes uncopied.
func (c *canon) Write(p []byte) (int, error) {
	n := len(p)
	if c.cr && n > 0 {
		if c.cr = false; p[0] == '\n' {
			c.endLine()
			p = p[1:]
		} else {
			c.stretch(crlf[:1])
		}
	}
	if c.wsp {
		p = bytes.TrimLeft(p, wsp)
	}
	for len(p) > 0 {
		i := c.regular(p)
		c.stretch(p[:i])
		if p = p[i:]; len(p) == 0 {
			break
		}
		switch p[0] {
		case '\n':
			c.endLine()
			p = p[1:]
		case '\r':
			c.cr, p = true, p[1:] // what follows decides
		default:
			c.wsp, p = true, bytes.TrimLeft(p, wsp)
		}
	}
	return n, nil
}

// stretch takes octets that are canonical as they stand. Line ends at their end
// wait for text.
func (c *canon) stretch(p []byte) {
	if bytes.HasPrefix(p, crlf) {
		c.wsp = false
	}
	text := p
	for bytes.HasSuffix(text, crlf) {
		text = text[:len(text)-2]
	}
	if len(text) > 0 {
		c.begin()
		c.out(text)
	}
	for range (len(p) - len(text)) / 2 {
		c.endLine()
	}
}

// regular returns how many octets of p are canonical as they stand: up to a LF
// without CR, in the relaxed form (RFC 6376 §3.4.4) also to white space that is not
// one space inside of a line, or to the end of p where what follows decides.
func (c *canon) regular(p []byte) int {
	n := 0
	if c.simple {
		n = regularLines(p)
	} else {
		n = regularText(p)
	}
	if n == len(p) && n > 0 && (p[n-1] == '\r' || p[n-1] == ' ' && !c.simple) {
		n--
	}
	return n
}

func regularLines(p []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return len(p)
		}
		if at += i; at == 0 || p[at-1] != '\r' {
			return at
		}
		at++
	}
}

// Eight octets in a word.
const (
	ones   = 0x0101010101010101
	sevens = 0x7f * ones
)

// zeros has the highest bit of each octet of x that is zero.
func zeros(x uint64) uint64 { return ^(x&sevens + sevens | x | sevens) }

// regularText looks at eight octets at a time for controls and for spaces that
// follow one another.
func regularText(p []byte) int {
	before := uint64(0) // the lowest bit but 7 tells of a space before the word
	for i := 0; i < len(p); {
		if len(p)-i < 8 {
			return regularTail(p, i)
		}
		x := binary.LittleEndian.Uint64(p[i:])
		spaces := zeros(x ^ ' '*ones)
		controls := zeros(x & (0xe0 * ones))
		pairs := spaces & (spaces<<8 | before)
		found := controls | pairs
		if found == 0 {
			before = spaces >> 56
			i += 8
			continue
		}
		bit := bits.TrailingZeros64(found)
		i += bit / 8
		if pairs>>bit&1 != 0 {
			return i - 1
		}
		end, next := control(p, i)
		if next == 0 {
			return end
		}
		i, before = next, 0
	}
	return len(p)
}

// regularTail is regularText for the octets from i on.
func regularTail(p []byte, i int) int {
	for i < len(p) {
		switch {
		case p[i] == ' ' && i > 0 && p[i-1] == ' ':
			return i - 1
		case p[i] >= ' ':
			i++
		default:
			end, next := control(p, i)
			if next == 0 {
				return end
			}
			i = next
		}
	}
	return len(p)
}

// control looks at the control at i: next is where to go on, or 0 when the text is
// regular up to end only.
func control(p []byte, i int) (end, next int) {
	space := i > 0 && p[i-1] == ' '
	switch {
	case p[i] == '\r' && (i+1 == len(p) || p[i+1] == '\n'):
		if end = i; space {
			end--
		}
		if space || i+1 == len(p) {
			return end, 0
		}
		return 0, i + 2
	case p[i] == '\t', p[i] == '\n':
		if end = i; space {
			end--
		}
		return end, 0
	}
	return 0, i + 1
}

// begin lets out what waited for text.
func (c *canon) begin() {
	for ; c.blank > 0; c.blank-- {
		c.out(crlf)
	}
	if c.wsp {
		c.out(oneSpace)
		c.wsp = false
	}
	c.text = true
}

func (c *canon) endLine() {
	if c.text {
		c.out(crlf)
	} else {
		c.blank++
	}
	c.text, c.wsp = false, false
}

func (c *canon) out(p []byte) {
	if c.buf == nil {
		c.buf = make([]byte, 0, canonBuffer)
	}
	if len(c.buf)+len(p) > canonBuffer {
		c.flush()
		if len(p) >= canonBuffer {
			c.give(p)
			return
		}
	}
	c.buf = append(c.buf, p...)
}

func (c *canon) flush() {
	c.give(c.buf)
	c.buf = c.buf[:0]
}

func (c *canon) give(p []byte) {
	for _, s := range c.sums {
		if s.limit < 0 {
			s.Write(p)
		} else if left := s.limit - c.size; left > 0 {
			s.Write(p[:min(int64(len(p)), left)])
		}
	}
	c.size += int64(len(p))
}

// close ends the body and makes the sums.
func (c *canon) close() {
	if c.cr {
		c.stretch(crlf[:1])
		c.cr = false
	}
	if c.text {
		c.endLine()
	}
	// An empty body is a line end in the simple form and nothing in the relaxed
	// one (RFC 6376 §3.4.3, §3.4.4).
	if c.simple && c.size == 0 && len(c.buf) == 0 {
		c.out(crlf)
	}
	c.flush()
	for _, s := range c.sums {
		s.size = c.size
		s.sum = s.Sum(nil)
	}
}

// appendField appends the canonical form of a raw field (RFC 6376 §3.4.1,
// §3.4.2), with its CRLF.
func appendField(dst, raw []byte, form Canonicalization) []byte {
	if form == Simple {
		return appendLines(dst, raw)
	}
	colon := bytes.IndexByte(raw, ':')
	for _, b := range bytes.TrimRight(raw[:max(colon, 0)], " \t\r\n") {
		dst = append(dst, lower(b))
	}
	dst = append(dst, ':')
	return append(appendReduced(dst, raw[colon+1:]), '\r', '\n')
}

// appendLines appends raw lines with CRLF at the end of each.
func appendLines(dst, raw []byte) []byte {
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte{'\n'})
		dst = append(append(dst, bytes.TrimSuffix(line, []byte{'\r'})...), '\r', '\n')
		raw = rest
	}
	return dst
}

// appendReduced appends a value unfolded, with one space for each run of white
// space and none at the ends. A CR that ends no line stays: it is text.
func appendReduced(dst, value []byte) []byte {
	wsp, text := false, false
	for i, b := range value {
		switch {
		case b == ' ' || b == '\t':
			wsp = true
		case b == '\n', b == '\r' && (i+1 == len(value) || value[i+1] == '\n'):
		default:
			if wsp && text {
				dst = append(dst, ' ')
			}
			dst = append(dst, b)
			wsp, text = false, true
		}
	}
	return dst
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b
}
