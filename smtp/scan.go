package smtp

import (
	"bytes"
	"errors"
)

// Faults of content. A bare CR or LF is answered and the connection dropped,
// since both sides may disagree on where the message ends (SS1).
var (
	errBare = errors.New("bare CR or LF in content")
	errLong = errors.New("line of content too long")
)

var (
	crlfDot = []byte("\r\n.")
	dotCRLF = []byte(".\r\n")
	crlf    = []byte("\r\n")
	cr      = []byte("\r")
)

// dots finds the end of DATA and takes out the stuffed dots (RFC 5321 §4.5.2).
// Only CRLF begins a line for it. It must be made with start true: the content
// begins after the CRLF of the command.
type dots struct{ start bool }

// scan consumes n octets of b and leaves the content in them at its front,
// b[:w]; end tells that they end with the final dot. Up to two octets that may
// begin a line or the end are not consumed: they must be given again with
// what follows. Runs of octets are moved, once, only after a stuffed dot.
func (d *dots) scan(b []byte) (w, n int, end bool) {
	for {
		if d.start {
			switch rest := b[n:]; {
			case len(rest) == 0 || len(rest) < 3 && string(rest) == ".\r"[:len(rest)]:
				return w, n, false
			case bytes.HasPrefix(rest, dotCRLF):
				return w, n + 3, true
			case rest[0] == '.':
				n++
			}
			d.start = false
		}
		keep := len(b) - n // octets from n on that are content
		if i := bytes.Index(b[n:], crlfDot); i >= 0 {
			keep, d.start = i+2, true
		} else if bytes.HasSuffix(b[n:], crlf) {
			d.start = true
		} else if bytes.HasSuffix(b[n:], cr) {
			keep--
		}
		if w != n {
			copy(b[w:], b[n:n+keep])
		}
		w, n = w+keep, n+keep
		if !d.start || n == len(b) {
			return w, n, false
		}
	}
}

// lines checks that text consists of lines ending in CRLF, none longer than
// limit octets.
type lines struct {
	limit int
	n     int  // octets of the current line so far
	cr    bool // the last octet was a CR
}

// check looks at the next octets of the text, whatever their boundaries. Every
// LF must follow a CR; then as many CRs as LFs means that no CR stands alone,
// and both counts are done by vectorised searches.
func (l *lines) check(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	open := bytes.Count(p, cr) // CRs whose LF is still to be seen
	if l.cr {
		open++
	}
	long := false
	for pos := 0; ; {
		i := bytes.IndexByte(p[pos:], '\n')
		if i < 0 {
			l.n += len(p) - pos
			long = long || l.n > l.limit
			break
		}
		at := pos + i
		if at > 0 && p[at-1] != '\r' || at == 0 && !l.cr {
			return errBare
		}
		long = long || l.n+i+1 > l.limit
		open--
		pos, l.n = at+1, 0
	}
	l.cr = p[len(p)-1] == '\r'
	if l.cr {
		open--
	}
	if open != 0 {
		return errBare
	}
	if long {
		return errLong
	}
	return nil
}

// normalisePiece bounds what is converted at once: it may double.
const normalisePiece = bufferSize / 2

// normaliser turns every bare CR and bare LF of a text into CRLF.
type normaliser struct {
	scratch []byte
	cr      bool // the last octet was a CR; its CRLF is already out
}

// convert returns the text of the next octets. It is valid until the next call.
func (z *normaliser) convert(p []byte) []byte {
	out := z.scratch[:0]
	for len(p) > 0 {
		if z.cr && p[0] == '\n' {
			p = p[1:]
		}
		z.cr = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			out = append(out, p...)
			break
		}
		out = append(append(out, p[:i]...), '\r', '\n')
		z.cr = p[i] == '\r'
		p = p[i+1:]
	}
	z.scratch = out
	return out
}
