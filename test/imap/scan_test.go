package imap

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// grammarError is a deviation from the formal syntax.
type grammarError struct{ text string }

func (e *grammarError) Error() string { return e.text }

// scanner reads terminals off a connection, octet by octet. A deviation panics with
// a *grammarError, a broken connection with its error; response recovers both.
type scanner struct {
	r    *bufio.Reader
	seen bytes.Buffer // what was read of this response
	utf8 bool         // 8-bit is allowed in quoted strings and text
}

func (s *scanner) fail(format string, args ...any) {
	panic(&grammarError{fmt.Sprintf(format, args...) + fmt.Sprintf(" after %q", tail(s.seen.Bytes(), 300))})
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func (s *scanner) peek() byte {
	b, err := s.r.Peek(1)
	if err != nil {
		panic(err)
	}
	return b[0]
}

func (s *scanner) next() byte {
	b, err := s.r.ReadByte()
	if err != nil {
		panic(err)
	}
	s.seen.WriteByte(b)
	return b
}

// try reads c when it comes next.
func (s *scanner) try(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.next()
	return true
}

func (s *scanner) want(text string) {
	for i := range len(text) {
		if c := s.peek(); c != text[i] {
			s.fail("want %q, not %q", text[i:], c)
		}
		s.next()
	}
}

func (s *scanner) sp()   { s.want(" ") }
func (s *scanner) crlf() { s.want("\r\n") }

// run reads octets while is holds.
func (s *scanner) run(is func(byte) bool) string {
	at := s.seen.Len()
	for is(s.peek()) {
		s.next()
	}
	return string(s.seen.Bytes()[at:])
}

// RFC 9051 §9: ATOM-CHAR is any CHAR except atom-specials.
func atomChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`(){%*"\]`, rune(c)) || c == '}'
}
func astringChar(c byte) bool { return atomChar(c) || c == ']' }
func digit(c byte) bool       { return c >= '0' && c <= '9' }
func textChar(c byte) bool    { return c > 0 && c < 0x80 && c != '\r' && c != '\n' }
func labelChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || strings.ContainsRune("-_.:", rune(c))
}

func (s *scanner) atom() string {
	a := s.run(atomChar)
	if a == "" {
		s.fail("want an atom, not %q", s.peek())
	}
	return a
}

// word reads an atom in capitals.
func (s *scanner) word() string { return strings.ToUpper(s.atom()) }

// number reads a number: no leading zeros are forbidden by the syntax, yet a server
// that prints them is broken.
func (s *scanner) number64() uint64 {
	d := s.run(digit)
	n, err := strconv.ParseUint(d, 10, 63)
	if err != nil {
		s.fail("want a number64, not %q", d)
	}
	if len(d) > 1 && d[0] == '0' {
		s.fail("number %s begins with 0", d)
	}
	return n
}

func (s *scanner) number() uint32 {
	n := s.number64()
	if n > 1<<32-1 {
		s.fail("number %d has more than 32 bits", n)
	}
	return uint32(n)
}

func (s *scanner) nz() uint32 {
	n := s.number()
	if n == 0 {
		s.fail("zero where nz-number stands")
	}
	return n
}

func (s *scanner) nz64() uint64 {
	n := s.number64()
	if n == 0 {
		s.fail("zero where nz-number64 stands")
	}
	return n
}

// quoted is RFC 9051 §9 quoted; 8-bit only as UTF-8 where it is allowed.
func (s *scanner) quoted() string {
	s.want(`"`)
	var b []byte
	for {
		switch c := s.next(); {
		case c == '"':
			if !utf8.Valid(b) {
				s.fail("quoted string is not UTF-8")
			}
			return string(b)
		case c == '\\':
			c = s.next()
			if c != '\\' && c != '"' {
				s.fail("%q is quoted", c)
			}
			b = append(b, c)
		case c == 0 || c == '\r' || c == '\n' || c >= 0x80 && !s.utf8:
			s.fail("%q in a quoted string", c)
		default:
			b = append(b, c)
		}
	}
}

func (s *scanner) octets(binary bool) string {
	s.want("{")
	n := s.number64()
	s.want("}\r\n")
	if n > 64<<20 {
		s.fail("literal of %d octets", n)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = s.next()
		if b[i] == 0 && !binary {
			s.fail("NUL in a literal")
		}
	}
	return string(b)
}

func (s *scanner) string() string {
	if s.peek() == '{' {
		return s.octets(false)
	}
	return s.quoted()
}

func (s *scanner) isString() bool { c := s.peek(); return c == '"' || c == '{' }

// nstring returns nil for NIL.
func (s *scanner) nstring() *string {
	var v string
	switch s.peek() {
	case '"', '{':
		v = s.string()
	default:
		s.nil()
		return nil
	}
	return &v
}

func (s *scanner) nstring8() *string {
	if s.try('~') {
		v := s.octets(true)
		return &v
	}
	return s.nstring()
}

func (s *scanner) nil() { s.want("NIL") }

// astring; 1*ASTRING-CHAR is never NIL in a sane server, where it could be mistaken.
func (s *scanner) astring() string {
	if s.isString() {
		return s.string()
	}
	a := s.run(astringChar)
	if a == "" {
		s.fail("want an astring, not %q", s.peek())
	}
	return a
}

// text is RFC 9051 §9 text: at least one character.
func (s *scanner) text() string {
	t := s.run(func(c byte) bool { return textChar(c) || c >= 0x80 && s.utf8 })
	if t == "" {
		s.fail("want text, not %q", s.peek())
	}
	if !utf8.ValidString(t) {
		s.fail("text is not UTF-8")
	}
	return t
}

// list reads "(" [item *(SP item)] ")".
func (s *scanner) list(least int, item func()) {
	s.want("(")
	for n := 0; ; n++ {
		if n == 0 && least == 0 && s.try(')') {
			return
		}
		item()
		if n+1 >= least && s.try(')') {
			return
		}
		s.sp()
	}
}

// span is a range of numbers, lo ≤ hi.
type span struct{ lo, hi uint32 }

// set reads a sequence-set of a response: numbers and ranges, never "*".
func (s *scanner) set() []span {
	var out []span
	for {
		r := span{lo: s.nz()}
		r.hi = r.lo
		if s.try(':') {
			if r.hi = s.nz(); r.hi < r.lo {
				r.lo, r.hi = r.hi, r.lo
			}
		}
		if r.hi-r.lo > 1<<22 {
			s.fail("range %d:%d", r.lo, r.hi)
		}
		out = append(out, r)
		if !s.try(',') {
			return out
		}
	}
}

// expand lists the numbers of a set in its order.
func expand(set []span) []uint32 {
	var out []uint32
	for _, r := range set {
		for n := r.lo; ; n++ {
			out = append(out, n)
			if n == r.hi {
				break
			}
		}
	}
	return out
}

// flag reads one flag, in lower case.
func (s *scanner) flag(star bool) string {
	if s.try('\\') {
		if star && s.try('*') {
			return `\*`
		}
		f := `\` + strings.ToLower(s.atom())
		switch f {
		case `\answered`, `\flagged`, `\deleted`, `\seen`, `\draft`, `\recent`:
			return f
		}
		s.fail("flag %s is in no standard", f) // RFC 9051 §9 flag-extension
	}
	return strings.ToLower(s.atom())
}

// flags reads a list of flags, sorted, each once.
func (s *scanner) flags(star bool) map[string]bool {
	set := map[string]bool{}
	s.list(0, func() {
		f := s.flag(star)
		if set[f] {
			s.fail("flag %s twice", f)
		}
		set[f] = true
	})
	return set
}

// value reads a tagged-ext-val and drops it.
func (s *scanner) value() {
	if s.peek() != '(' {
		s.run(func(c byte) bool { return digit(c) || c == ':' || c == ',' || c == '-' })
		return
	}
	for depth := 0; ; {
		switch {
		case s.try('('):
			depth++
			if !s.try(')') {
				continue
			}
			depth--
		default:
			s.astring()
		}
		for depth > 0 && s.try(')') {
			depth--
		}
		if depth == 0 {
			return
		}
		s.sp()
	}
}
