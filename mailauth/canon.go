package mailauth

import (
	"bytes"
	"hash"
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

// Write takes a piece of the body; it never fails.
func (c *canon) Write(p []byte) (int, error) {
	n := len(p)
	if c.cr && n > 0 && p[0] != '\n' {
		c.octets(crlf[:1])
	}
	c.cr = c.cr && n == 0
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if p[len(p)-1] == '\r' {
				c.cr, p = true, p[:len(p)-1]
			}
			c.octets(p)
			break
		}
		end := i
		if i > 0 && p[i-1] == '\r' {
			end--
		}
		c.octets(p[:end])
		c.endLine()
		p = p[i+1:]
	}
	return n, nil
}

// octets takes a part of a line.
func (c *canon) octets(p []byte) {
	switch {
	case len(p) == 0:
	case c.simple:
		c.begin()
		c.out(p)
	case bytes.IndexByte(p, '\t') >= 0:
		c.reduce(p, tabOrSpace)
	default:
		c.reduce(p, space)
	}
}

func space(p []byte) int { return bytes.IndexByte(p, ' ') }

func tabOrSpace(p []byte) int {
	for i, b := range p {
		if b == ' ' || b == '\t' {
			return i
		}
	}
	return -1
}

// reduce makes one space of each run of white space, and nothing of one at the
// end of a line (RFC 6376 §3.4.4). find finds the first white space; single
// spaces do not interrupt the run that is copied.
func (c *canon) reduce(p []byte, find func([]byte) int) {
	for len(p) > 0 {
		if p[0] == ' ' || p[0] == '\t' {
			c.wsp = true
			p = p[1:]
			continue
		}
		c.begin()
		end := 0
		for {
			i := find(p[end:])
			if i < 0 {
				end = len(p)
				break
			}
			end += i
			if p[end] == '\t' || end+1 == len(p) || p[end+1] == ' ' || p[end+1] == '\t' {
				break
			}
			end++
		}
		c.out(p[:end])
		p = p[end:]
	}
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
		c.octets(crlf[:1])
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
