package message

import (
	"bytes"
	"strings"
)

// lexer reads the lexical tokens that structured fields share (RFC 5322 §3.2).
// It accepts folding anywhere and never fails: what is left open is taken to
// end with the value.
type lexer struct {
	b []byte
	i int
}

func (l *lexer) end() bool { return l.i >= len(l.b) }

// peek returns the next octet, 0 at the end; callers know NUL for an octet
// that no token takes.
func (l *lexer) peek() byte {
	if l.i < len(l.b) {
		return l.b[l.i]
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// space skips white space and comments, and tells whether there was any.
func (l *lexer) space() bool {
	start := l.i
	for l.i < len(l.b) {
		switch c := l.b[l.i]; {
		case isSpace(c):
			l.i++
		case c == '(':
			l.comment(nil, false)
		default:
			return l.i > start
		}
	}
	return l.i > start
}

// comment reads a comment that begins here, nested ones included, and appends
// its text to dst if it is to be kept.
func (l *lexer) comment(dst []byte, keep bool) []byte {
	depth := 0
	for l.i < len(l.b) {
		c := l.b[l.i]
		l.i++
		switch c {
		case '(':
			depth++
			if depth == 1 {
				continue
			}
		case ')':
			depth--
			if depth == 0 {
				return dst
			}
		case '\\':
			if l.i < len(l.b) {
				c = l.b[l.i]
				l.i++
			}
		case '\r', '\n':
			continue
		}
		if keep {
			dst = append(dst, c)
		}
	}
	return dst
}

// quoted reads a quoted-string that begins here and appends what it means to
// dst; ok tells whether it was closed.
func (l *lexer) quoted(dst []byte) (_ []byte, ok bool) {
	l.i++
	for l.i < len(l.b) {
		rest := l.b[l.i:]
		n := bytes.IndexAny(rest, "\"\\\r\n")
		if n < 0 {
			l.i = len(l.b)
			return append(dst, rest...), false
		}
		dst = append(dst, rest[:n]...)
		l.i += n + 1
		switch rest[n] {
		case '"':
			return dst, true
		case '\\':
			if n+1 < len(rest) && rest[n+1] != '\r' && rest[n+1] != '\n' {
				dst = append(dst, rest[n+1])
				l.i++
			}
		}
	}
	return dst, false
}

// skipQuoted passes over a quoted-string that begins here.
func (l *lexer) skipQuoted() {
	for l.i++; l.i < len(l.b); l.i++ {
		switch l.b[l.i] {
		case '"':
			l.i++
			return
		case '\\':
			l.i++
		}
	}
	l.i = len(l.b)
}

// until returns what stands before the first octet of stop or white space.
func (l *lexer) until(stop string) []byte {
	start := l.i
	for l.i < len(l.b) && !isSpace(l.b[l.i]) && strings.IndexByte(stop, l.b[l.i]) < 0 {
		l.i++
	}
	return l.b[start:l.i]
}
