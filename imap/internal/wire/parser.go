package wire

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// SyntaxError says what the parser missed; the text holds nothing of the input.
type SyntaxError struct{ Text string }

// Error returns the text.
func (e *SyntaxError) Error() string { return e.Text }

func syntax(text string) error { return &SyntaxError{text} }

// Literal is the announcement of a literal (RFC 9051 §4.3, RFC 7888 §3).
type Literal struct {
	Size    int64
	NonSync bool // {n+}: the client sends without being asked
	Binary  bool // literal8, ~{n}
}

// Literals gives a Parser the octets of literals.
type Literals interface {
	// ReadLiteral checks the announcement, invites the client when it waits for
	// that, reads the octets and sets the line that follows by [Parser.Reset].
	ReadLiteral(p *Parser, l Literal) ([]byte, error)
}

// Parser reads the tokens of one command. Every method either consumes what it
// names or returns an error, mostly a [*SyntaxError].
type Parser struct {
	Literals Literals
	line     []byte
	pos      int
}

// Reset sets the line to go on with.
func (p *Parser) Reset(line []byte) { p.line, p.pos = line, 0 }

// Rest is what is left of the line.
func (p *Parser) Rest() []byte { return p.line[p.pos:] }

// Advance skips n octets of Rest.
func (p *Parser) Advance(n int) { p.pos += n }

// Peek returns the next octet, 0 at the end of the line.
func (p *Parser) Peek() byte {
	if p.pos < len(p.line) {
		return p.line[p.pos]
	}
	return 0
}

// Try consumes c when it is next.
func (p *Parser) Try(c byte) bool {
	if p.pos < len(p.line) && p.line[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// Byte consumes c.
func (p *Parser) Byte(c byte) error {
	if !p.Try(c) {
		return syntax(fmt.Sprintf("Expected %q", c))
	}
	return nil
}

// SP consumes exactly one space (RFC 9051 §9 note 2).
func (p *Parser) SP() error {
	if !p.Try(' ') {
		return syntax("Expected a space")
	}
	return nil
}

// End wants the end of the line. One trailing space is forgiven, as old
// clients send it.
func (p *Parser) End() error {
	p.Try(' ')
	if p.pos != len(p.line) {
		return syntax("Unexpected text after the command")
	}
	return nil
}

// Octet classes of RFC 9051 §9.
const (
	classAtom    = 1 << iota // ATOM-CHAR
	classAString             // ASTRING-CHAR: also "]"
	classTag                 // ASTRING-CHAR without "+"
	classList                // list-char: also "%" and "*"
	classLabel               // keyword of a command or option: letters, digits, ".", "-", "_"
)

var class = func() (t [256]uint8) {
	for c := byte('!'); c < 0x7f; c++ {
		switch c {
		case '(', ')', '{', '"', '\\':
			continue
		case '%', '*':
			t[c] = classList
			continue
		case ']':
			t[c] = classAString | classTag | classList
			continue
		case '+':
			t[c] = classAtom | classAString | classList
			continue
		}
		t[c] = classAtom | classAString | classTag | classList
		if c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'A' <= c&^0x20 && c&^0x20 <= 'Z' {
			t[c] |= classLabel
		}
	}
	return t
}()

func (p *Parser) span(set uint8) []byte {
	start := p.pos
	for p.pos < len(p.line) && class[p.line[p.pos]]&set != 0 {
		p.pos++
	}
	return p.line[start:p.pos]
}

// Tag reads a command's tag.
func (p *Parser) Tag() ([]byte, error) {
	if t := p.span(classTag); len(t) > 0 {
		return t, nil
	}
	return nil, syntax("Expected a tag")
}

// Atom reads an atom.
func (p *Parser) Atom() ([]byte, error) {
	if a := p.span(classAtom); len(a) > 0 {
		return a, nil
	}
	return nil, syntax("Expected an atom")
}

// Label reads the name of a command, option or item, which ends before "[" or
// "<" too, and turns it to capitals in place.
func (p *Parser) Label() ([]byte, error) {
	a := p.span(classLabel)
	if len(a) == 0 {
		return nil, syntax("Expected a name")
	}
	for i, c := range a {
		if 'a' <= c && c <= 'z' {
			a[i] = c - 0x20
		}
	}
	return a, nil
}

// Number reads a number of at most max.
func (p *Parser) Number(max uint64) (uint64, error) {
	start, v := p.pos, uint64(0)
	for ; p.pos < len(p.line); p.pos++ {
		d := uint64(p.line[p.pos] - '0')
		if d > 9 {
			break
		}
		if v > (max-d)/10 {
			return 0, syntax("Number out of range")
		}
		v = v*10 + d
	}
	if p.pos == start {
		return 0, syntax("Expected a number")
	}
	return v, nil
}

// AString reads an astring.
func (p *Parser) AString() (string, error) { return p.stringOr(classAString) }

// ListMailbox reads a list-mailbox: an astring that may hold wildcards.
func (p *Parser) ListMailbox() (string, error) { return p.stringOr(classList) }

func (p *Parser) stringOr(set uint8) (string, error) {
	if c := p.Peek(); c == '"' || c == '{' {
		return p.String()
	}
	if s := p.span(set); len(s) > 0 {
		return string(s), nil
	}
	return "", syntax("Expected a string")
}

// String reads a quoted string or a literal without NUL.
func (p *Parser) String() (string, error) {
	switch p.Peek() {
	case '"':
		return p.quoted()
	case '{':
		l, err := p.LiteralHeader()
		if err != nil {
			return "", err
		}
		b, err := p.Literals.ReadLiteral(p, l)
		if err != nil {
			return "", err
		}
		if bytes.IndexByte(b, 0) >= 0 {
			return "", syntax("NUL in a literal")
		}
		return string(b), nil
	}
	return "", syntax("Expected a quoted string or a literal")
}

// quoted reads a quoted string. Octets above ASCII are taken when they are
// UTF-8: RFC 9051 §4.3 wants that after ENABLE, and passwords come before it.
func (p *Parser) quoted() (string, error) {
	body := p.line[p.pos+1:]
	end := bytes.IndexAny(body, "\"\\")
	if end >= 0 && body[end] == '"' {
		return p.finishQuoted(body[:end], end+2)
	}
	var out []byte
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case '"':
			return p.finishQuoted(out, i+2)
		case '\\':
			if i++; i == len(body) || body[i] != '"' && body[i] != '\\' {
				return "", syntax("Wrong escape in a quoted string")
			}
			out = append(out, body[i])
		default:
			out = append(out, c)
		}
	}
	return "", syntax("Quoted string without end")
}

func (p *Parser) finishQuoted(s []byte, n int) (string, error) {
	if bytes.IndexByte(s, 0) >= 0 || bytes.IndexByte(s, '\r') >= 0 || !utf8.Valid(s) {
		return "", syntax("Octet not allowed in a quoted string")
	}
	p.pos += n
	return string(s), nil
}

// LiteralHeader reads the announcement of a literal, which is the last thing on
// its line.
func (p *Parser) LiteralHeader() (Literal, error) {
	var l Literal
	l.Binary = p.Try('~')
	if err := p.Byte('{'); err != nil {
		return l, err
	}
	n, err := p.Number(1<<63 - 1)
	if err != nil {
		return l, err
	}
	l.Size, l.NonSync = int64(n), p.Try('+')
	if !p.Try('}') || p.pos != len(p.line) {
		return l, syntax("Malformed literal")
	}
	return l, nil
}

// PendingLiteral tells whether the line ends with the announcement of a literal.
// When the command is refused before it was read, the octets that follow a
// non-synchronising one are its, not commands (RFC 7888 §4).
func PendingLiteral(line []byte) (Literal, bool) {
	if !bytes.HasSuffix(line, []byte("}")) {
		return Literal{}, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return Literal{}, false
	}
	p := Parser{line: line, pos: i}
	l, err := p.LiteralHeader()
	return l, err == nil
}

// Line is the whole present line.
func (p *Parser) Line() []byte { return p.line }
