package smtp

import (
	"bytes"
	"fmt"
)

// body turns content into what is sent: CRLF line ends only and, for DATA,
// stuffed dots (RFC 5321 §4.5.2, SC1). It works in one pass over whatever
// pieces it gets and knows a line end by two facts that survive a piece.
type body struct {
	buf   []byte               // what is to be sent; never grows
	flush func(p []byte) error // sends buf when it is full; nil: it must all fit
	stuff bool                 // DATA: dots at the start of lines are doubled
	raw   bool                 // BINARYMIME: octets are sent as they are
	size  int64                // how much must come; 0: any
	in    int64                // how much came
	bol   bool                 // at the begin of a line
	cr    bool                 // the last octet was a CR, which is not yet out
	mend  bool                 // a bare CR or LF became CRLF
	err   error                // from flush, or about the size; it stays
}

// Write takes the next piece of the content.
func (b *body) Write(p []byte) (int, error) {
	b.in += int64(len(p))
	if b.err == nil && (b.size > 0 || b.raw) && b.in > b.size {
		b.err = fmt.Errorf("%w: more than %d octets", ErrContent, b.size)
	}
	if b.raw {
		b.put(p)
	} else {
		b.text(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

// text takes a piece that is made of lines.
func (b *body) text(p []byte) {
	lf := bytes.IndexByte(p, '\n')
	for pos := 0; pos < len(p) && b.err == nil; {
		if b.cr {
			b.cr = false
			b.mend = b.mend || p[pos] != '\n'
			if b.end(); p[pos] == '\n' {
				pos++
				lf = next(p, pos, lf)
				continue
			}
		}
		line := p[pos:]
		if lf >= 0 {
			line = p[pos:lf]
		}
		if i := bytes.IndexByte(line, '\r'); i >= 0 && (lf < 0 || i < len(line)-1) {
			b.line(line[:i]) // a bare CR, or one whose LF comes with the next piece
			b.cr = true
			pos += i + 1
			continue
		}
		switch {
		case lf < 0:
			b.line(line)
			return
		case len(line) > 0 && line[len(line)-1] == '\r':
			b.line(p[pos : lf+1])
			b.bol = true
		default:
			b.mend = true
			b.line(line)
			b.end()
		}
		pos = lf + 1
		lf = next(p, pos, lf)
	}
}

// next finds the first LF from pos on, if the last one found is behind.
func next(p []byte, pos, lf int) int {
	if lf < 0 || lf >= pos {
		return lf
	}
	if i := bytes.IndexByte(p[pos:], '\n'); i >= 0 {
		return pos + i
	}
	return -1
}

// line sends octets of one line.
func (b *body) line(p []byte) {
	if len(p) == 0 {
		return
	}
	if b.bol && b.stuff && p[0] == '.' {
		b.put(dotCRLF[:1])
	}
	b.bol = false
	b.put(p)
}

// end ends the line.
func (b *body) end() {
	b.put(crlf)
	b.bol = true
}

// put sends octets as they are.
func (b *body) put(p []byte) {
	for len(p) > 0 && b.err == nil {
		n := min(len(p), cap(b.buf)-len(b.buf))
		b.buf = append(b.buf, p[:n]...)
		if p = p[n:]; len(p) == 0 {
			return
		}
		if b.flush == nil {
			b.err = fmt.Errorf("%w: it does not fit", ErrContent)
			return
		}
		b.err = b.flush(b.buf)
		b.buf = b.buf[:0]
	}
}

// finish ends the last line and tells whether the content is all there.
func (b *body) finish() error {
	if b.cr {
		b.mend = true
	}
	if !b.raw && (b.cr || !b.bol) {
		b.cr = false
		b.end()
	}
	if b.err == nil && (b.size > 0 || b.raw) && b.in != b.size {
		b.err = fmt.Errorf("%w: %d octets of %d", ErrContent, b.in, b.size)
	}
	return b.err
}
