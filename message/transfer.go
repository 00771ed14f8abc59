package message

import (
	"bytes"
	"io"

	"github.com/postino-mail/postino"
)

// base64Values maps the alphabet of RFC 4648 §4 to its values; 64 is "=", all
// else 255.
var base64Values = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range 64 {
		t["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i]] = byte(i)
	}
	t['='] = 64
	return t
}()

// base64State decodes base64 in pieces. Octets outside of the alphabet are
// passed over; "=" ends a quantum, and need not be there.
type base64State struct {
	bits   uint32
	n      int
	padded bool
	junk   bool
}

func (s *base64State) append(dst, b []byte) []byte {
	for len(b) > 0 {
		if s.n == 0 { // whole quanta, four octets at a time
			for len(b) >= 4 {
				v0, v1, v2, v3 := base64Values[b[0]], base64Values[b[1]], base64Values[b[2]], base64Values[b[3]]
				if v0|v1|v2|v3 > 63 {
					break
				}
				v := uint32(v0)<<18 | uint32(v1)<<12 | uint32(v2)<<6 | uint32(v3)
				dst = append(dst, byte(v>>16), byte(v>>8), byte(v))
				b = b[4:]
				s.junk = s.junk || s.padded
			}
			if len(b) == 0 {
				break
			}
		}
		c := b[0]
		b = b[1:]
		switch v := base64Values[c]; {
		case v < 64:
			s.junk = s.junk || s.padded
			s.bits = s.bits<<6 | uint32(v)
			if s.n += 6; s.n >= 8 {
				s.n -= 8
				dst = append(dst, byte(s.bits>>s.n))
				if s.n == 0 {
					s.bits = 0
				}
			}
		case v == 64:
			s.junk = s.junk || s.n == 0 && !s.padded || s.n == 6
			s.bits, s.n, s.padded = 0, 0, true
		case !isSpace(c):
			s.junk = true
		}
	}
	return dst
}

func appendBase64(dst, b []byte) []byte {
	var s base64State
	return s.append(dst, b)
}

// qpState decodes quoted-printable in pieces (RFC 2045 §6.7).
type qpState struct {
	space []byte // white space that matters only if no line end follows
	code  []byte // "=" and what followed
	junk  bool
}

// maxSpace bounds the white space that is held back.
const maxSpace = 1000

var qpPlain = func() (t [256]bool) {
	for i := range t {
		t[i] = i != '=' && i != ' ' && i != '\t' && i != '\r' && i != '\n'
	}
	return t
}()

func (s *qpState) append(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		if len(s.code) > 0 {
			var used bool
			if dst, used = s.escape(dst, b[i]); used {
				i++
			}
			continue
		}
		switch c := b[i]; {
		case qpPlain[c] || c == '=':
			dst = append(dst, s.space...)
			s.space = s.space[:0]
			if c == '=' {
				s.code = append(s.code, c)
				i++
				continue
			}
			n := i + 1
			for n < len(b) && qpPlain[b[n]] {
				n++
			}
			dst = append(dst, b[i:n]...)
			i = n
		case c == '\n': // white space before a line end was added on the way
			if n := len(s.space); n > 0 && s.space[n-1] == '\r' {
				dst = append(dst, '\r')
			}
			s.space = s.space[:0]
			dst = append(dst, '\n')
			i++
		default:
			if len(s.space) >= maxSpace {
				dst = append(dst, s.space...)
				s.space = s.space[:0]
			}
			s.space = append(s.space, c)
			i++
		}
	}
	return dst
}

// escape takes the next octet after "="; used is false when it belongs to what
// comes after a broken escape.
func (s *qpState) escape(dst []byte, c byte) (_ []byte, used bool) {
	switch n := len(s.code); {
	case n == 1 && unhex(c) >= 0:
		s.code = append(s.code, c)
		return dst, true
	case n == 2 && unhex(s.code[1]) >= 0 && unhex(c) >= 0:
		dst = append(dst, byte(unhex(s.code[1])<<4|unhex(c)))
		s.code = s.code[:0]
		return dst, true
	case c == '\n' && (n == 1 || isSpace(s.code[1])):
		s.code = s.code[:0]
		return dst, true
	case isSpace(c) && c != '\n' && n < maxSpace && (n == 1 || isSpace(s.code[1])):
		s.code = append(s.code, c)
		return dst, true
	}
	s.junk = true
	dst = append(dst, s.code...)
	s.code = s.code[:0]
	return dst, false
}

// uuState decodes uuencode in pieces: the lines between "begin" and "end".
type uuState struct {
	line  []byte
	begun bool
	ended bool
	junk  bool
}

// maxUULine bounds a line; a data line has at most 61 octets.
const maxUULine = 1000

func (s *uuState) append(dst, b []byte) []byte {
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n')
		part := b
		if n >= 0 {
			part = b[:n+1]
		}
		b = b[len(part):]
		s.line = append(s.line, part[:min(len(part), maxUULine-len(s.line))]...)
		if n >= 0 {
			dst = s.take(dst, bytes.TrimRight(s.line, " \t\r\n"))
			s.line = s.line[:0]
		}
	}
	return dst
}

func (s *uuState) take(dst, line []byte) []byte {
	switch {
	case s.ended || len(line) == 0:
	case !s.begun:
		s.begun = bytes.HasPrefix(line, []byte("begin "))
	case string(line) == "end":
		s.ended = true
	default:
		want := int(line[0]-' ') & 63
		var v uint32
		for i, c := range line[1:] {
			s.junk = s.junk || c < ' ' || c > '`'
			v = v<<6 | uint32(c-' ')&63
			// Only whole octets: what is not there is not made up.
			if k := i & 3; k > 0 && want > 0 {
				dst = append(dst, byte(v>>(6-2*k)))
				want--
			}
		}
		s.junk = s.junk || want > 0
	}
	return dst
}

// Decoder reads a body with its transfer encoding taken off (RFC 2045 §6). It
// never gives more octets than it reads (PA3) and makes the best of broken input.
type Decoder struct {
	r      io.Reader
	kind   uint8
	b64    base64State
	qp     qpState
	uu     uuState
	in     []byte
	out    []byte
	unread []byte // of out
	err    error
}

const (
	kindIdentity = iota
	kindBase64
	kindQP
	kindUU
	kindUnknown
)

// NewDecoder returns a decoder for a Content-Transfer-Encoding in lower case.
// With an unknown one the octets come as they are.
func NewDecoder(r io.Reader, encoding string) *Decoder {
	d := &Decoder{r: r}
	switch encoding {
	case "", "7bit", "8bit", "binary":
	case "base64":
		d.kind = kindBase64
	case "quoted-printable":
		d.kind = kindQP
	case "x-uuencode", "uuencode", "x-uue", "uue":
		d.kind = kindUU
	default:
		d.kind = kindUnknown
	}
	return d
}

// Known tells whether the encoding is known; IMAP answers UNKNOWN-CTE to BINARY
// when it is not (RFC 9051 §7.1).
func (d *Decoder) Known() bool { return d.kind != kindUnknown }

// Junk tells whether what was read so far held octets that the encoding does
// not allow or was cut short (PA4).
func (d *Decoder) Junk() bool { return d.b64.junk || d.qp.junk || d.uu.junk }

// Read reads decoded octets.
func (d *Decoder) Read(p []byte) (int, error) {
	if d.kind == kindIdentity || d.kind == kindUnknown {
		return d.r.Read(p)
	}
	for len(d.unread) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if d.in == nil {
			d.in = make([]byte, pieceSize(d.r))
			d.out = make([]byte, 0, len(d.in))
		}
		var n int
		n, d.err = d.r.Read(d.in)
		d.decode(d.in[:n])
	}
	n := copy(p, d.unread)
	d.unread = d.unread[n:]
	return n, nil
}

// pieceSize is how much to read at a time: no more than there is, where r tells.
func pieceSize(r io.Reader) int64 {
	if s, ok := r.(interface{ Size() int64 }); ok {
		return max(64, min(16<<10, s.Size()+1))
	}
	return 16 << 10
}

func (d *Decoder) decode(b []byte) {
	d.out = d.out[:0]
	switch d.kind {
	case kindBase64:
		d.out = d.b64.append(d.out, b)
		if d.err == io.EOF && d.b64.n > 0 {
			d.b64.junk = true // a quantum without its end
		}
	case kindQP:
		d.out = d.qp.append(d.out, b)
		if d.err == io.EOF && len(d.qp.code) == 2 && !isSpace(d.qp.code[1]) {
			d.qp.junk = true
			d.out = append(d.out, d.qp.code...)
		}
	case kindUU:
		d.out = d.uu.append(d.out, b)
		if d.err == io.EOF && len(d.uu.line) > 0 {
			d.out = d.uu.take(d.out, bytes.TrimRight(d.uu.line, " \t\r\n"))
		}
		if d.err == io.EOF && !d.uu.ended {
			d.uu.junk = true
		}
	}
	d.unread = d.out
}

// Decode copies a decoded body of at most limit octets to dst and returns their
// number. Beyond the limit it stops with [postino.Full]; with an unknown encoding
// it copies nothing and gives [postino.Invalid].
func Decode(dst io.Writer, r io.Reader, encoding string, limit int64) (int64, error) {
	d := NewDecoder(r, encoding)
	if !d.Known() {
		return 0, postino.E(postino.Invalid, "decode transfer encoding", "unknown", nil)
	}
	n, err := io.Copy(dst, io.LimitReader(d, limit))
	if err != nil || n < limit {
		return n, err
	}
	var one [1]byte
	if k, _ := io.ReadFull(d, one[:]); k > 0 {
		return n, postino.E(postino.Full, "decode transfer encoding", "limit", nil)
	}
	return n, nil
}
