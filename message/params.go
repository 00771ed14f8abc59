package message

import (
	"bytes"
	"strings"
)

// scratch is memory that parsing one field needs.
type scratch struct {
	pieces []piece
	text   []byte
}

// piece is a parameter as written: name*section*=value (RFC 2231 §7).
type piece struct {
	name, value span // in scratch.text
	section     int  // -1 without one
	extended    bool
	done        bool
}

// token reads type, disposition or encoding: lower case, ended by white space,
// a comment or one of the stops.
func (x *Indexer) token(l *lexer, stop string) span {
	l.space()
	at := len(x.arena)
	for _, c := range l.until(stop) {
		x.arena = append(x.arena, lower(c))
	}
	s := x.since(at)
	l.space()
	return s
}

// readType reads Content-Type into the record and returns the boundary. What
// does not parse is text/plain (RFC 2045 §5.2).
func (x *Indexer) readType(r *record, value []byte) (boundary span) {
	l := &lexer{b: value}
	typ := x.token(l, "/;(\"")
	if l.peek() == '/' {
		l.i++
	}
	subtype := x.token(l, "/;(\"")
	if typ.n == 0 || subtype.n == 0 {
		r.flags |= FlagBadType
		r.typ, r.subtype = x.put("text"), x.put("plain")
		return span{}
	}
	r.typ, r.subtype = typ, subtype
	r.params = x.readParams(l, &r.flags)
	for _, p := range x.params[r.params.off:] {
		if string(x.text(p.name)) == "boundary" {
			if p.extended {
				r.flags |= FlagExtendedBoundary
			}
			return p.value
		}
	}
	return span{}
}

// readParams reads the parameters up to the end of the value and appends them
// to x.params, their texts to the arena.
func (x *Indexer) readParams(l *lexer, flags *Flag) span {
	at := len(x.params)
	x.lex.split(l, x.lim, flags)
	x.lex.join(x.lim, flags, func(name, value []byte, extended bool) {
		if len(x.arena)+len(name)+len(value) > maxArena {
			*flags |= FlagLimit
			return
		}
		n := len(x.arena)
		x.arena = append(x.arena, name...)
		v := len(x.arena)
		x.arena = append(x.arena, value...)
		x.params = append(x.params, paramSpan{span{uint32(n), uint32(v - n)}, x.since(v), extended})
	})
	return span{uint32(at), uint32(len(x.params) - at)}
}

// ParseParams reads the parameters of a structured field value, from its first
// ";" on, with RFC 2231 pieces joined and charsets turned to UTF-8. The flags
// tell what was wrong with them.
func ParseParams(value []byte, lim Limits) ([]Param, Flag) {
	lim = lim.withDefaults()
	var s scratch
	var flags Flag
	var out []Param
	l := &lexer{b: value}
	s.split(l, lim, &flags)
	s.join(lim, &flags, func(name, value []byte, extended bool) {
		out = append(out, Param{string(name), string(value), extended})
	})
	return out, flags
}

// split cuts the rest of a value into pieces.
func (s *scratch) split(l *lexer, lim Limits, flags *Flag) {
	s.pieces, s.text = s.pieces[:0], s.text[:0]
	for {
		l.space()
		if l.end() {
			return
		}
		if l.peek() != ';' {
			*flags |= FlagBadParam
			l.skipTo(";")
			continue
		}
		l.i++
		l.space()
		if l.end() || l.peek() == ';' {
			continue // "a=b;" and ";;" are common and harmless
		}
		if len(s.pieces) >= lim.Params {
			*flags |= FlagLimit
			return
		}
		s.piece(l, flags)
	}
}

// skipTo moves to the next stop outside of quotes and comments.
func (l *lexer) skipTo(stop string) {
	for !l.end() {
		l.space()
		if l.peek() == '"' {
			l.skipQuoted()
			continue
		}
		l.until("(\"" + stop)
		if !l.end() && strings.IndexByte(stop, l.peek()) >= 0 {
			return
		}
	}
}

func (s *scratch) since(at int) span { return span{uint32(at), uint32(len(s.text) - at)} }

func (s *scratch) bytes(p span) []byte { return s.text[p.off : p.off+p.n] }

// piece reads name "=" value.
func (s *scratch) piece(l *lexer, flags *Flag) {
	name := l.until("=;(\"")
	l.space()
	if l.peek() != '=' || len(name) == 0 {
		*flags |= FlagBadParam
		l.skipTo(";")
		return
	}
	l.i++
	l.space()
	p := piece{section: -1}
	p.parseName(&name, flags)
	at := len(s.text)
	for _, c := range name {
		s.text = append(s.text, lower(c))
	}
	p.name = s.since(at)
	at = len(s.text)
	if l.peek() == '"' {
		var ok bool
		if s.text, ok = l.quoted(s.text); !ok {
			*flags |= FlagBadParam
		}
		p.value = s.since(at)
	} else {
		s.bare(l, flags)
		p.value = s.since(at)
	}
	s.pieces = append(s.pieces, p)
}

// bare reads an unquoted value. White space inside is wrong but common in file
// names: then everything up to the next ";" counts.
func (s *scratch) bare(l *lexer, flags *Flag) {
	at := len(s.text)
	s.text = append(s.text, l.until(";(")...)
	for {
		l.space()
		if l.end() || l.peek() == ';' {
			return
		}
		*flags |= FlagBadParam
		if len(s.text) > at {
			s.text = append(s.text, ' ')
		}
		s.text = append(s.text, l.until(";(")...)
	}
}

// parseName takes the RFC 2231 signs off the name: "*", "*1" or "*1*".
func (p *piece) parseName(name *[]byte, flags *Flag) {
	base, signs, ok := bytes.Cut(*name, []byte{'*'})
	if !ok || len(base) == 0 {
		return
	}
	section, extended := bytes.CutSuffix(signs, []byte{'*'})
	if len(signs) == 0 {
		section, extended = nil, true
	}
	n := -1
	if len(section) > 0 {
		n = 0
		for _, c := range section {
			if c < '0' || c > '9' || n > 9999 {
				*flags |= FlagBadParam
				return
			}
			n = n*10 + int(c-'0')
		}
	} else if len(signs) > 0 {
		*flags |= FlagBadParam // "name**"
		return
	}
	*name, p.section, p.extended = base, n, extended
}

// join gives out each parameter once. Of several forms of a value the pieces
// win over the extended one, which wins over the plain one.
func (s *scratch) join(lim Limits, flags *Flag, out func(name, value []byte, extended bool)) {
	for i := range s.pieces {
		p := &s.pieces[i]
		if p.done {
			continue
		}
		plain, ext, first := -1, -1, -1
		for j := i; j < len(s.pieces); j++ {
			q := &s.pieces[j]
			if q.done || !bytes.Equal(s.bytes(q.name), s.bytes(p.name)) {
				continue
			}
			which := &plain
			switch {
			case q.section > 0:
				continue // taken with the first piece
			case q.section == 0:
				which = &first
			case q.extended:
				which = &ext
			}
			if q.done = true; *which >= 0 {
				*flags |= FlagDuplicateParam
			} else {
				*which = j
			}
		}
		name := s.bytes(p.name)
		var value []byte
		var extended bool
		switch {
		case first >= 0:
			value, extended = s.assemble(i, first, lim, flags)
		case ext >= 0:
			value, extended = s.decode(s.bytes(s.pieces[ext].value)), true
		case plain >= 0:
			value = s.bytes(s.pieces[plain].value)
		default: // pieces without a first one
			*flags |= FlagBadParam
			value, extended = s.assemble(i, -1, lim, flags)
		}
		for j := i; j < len(s.pieces); j++ { // pieces that a better form made needless
			if q := &s.pieces[j]; q.section > 0 && !q.done && bytes.Equal(s.bytes(q.name), name) {
				q.done = true
				*flags |= FlagDuplicateParam
			}
		}
		if plain >= 0 && (first >= 0 || ext >= 0) && !bytes.Equal(DecodeHeaderBytes(s.bytes(s.pieces[plain].value)), value) {
			*flags |= FlagConflictingName
		}
		out(name, value, extended)
	}
}

// assemble joins the numbered pieces of the parameter at i, from number 0 as
// long as none is missing (RFC 2231 §3, §4.1). first is the piece 0, or -1.
func (s *scratch) assemble(i, first int, lim Limits, flags *Flag) (value []byte, extended bool) {
	var order [101]int
	for k := range order {
		order[k] = -1
	}
	n, highest := min(lim.ParamPieces, len(order)-1), 0
	if first >= 0 {
		order[0] = first
	}
	for j := i; j < len(s.pieces); j++ {
		q := &s.pieces[j]
		if q.section <= 0 || q.done || !bytes.Equal(s.bytes(q.name), s.bytes(s.pieces[i].name)) {
			continue
		}
		q.done = true
		switch {
		case q.section >= n:
			*flags |= FlagLimit
		case order[q.section] >= 0:
			*flags |= FlagDuplicateParam
		default:
			order[q.section] = j
			highest = max(highest, q.section)
		}
	}
	at := len(s.text)
	charset := ""
	for k := 0; k <= highest; k++ {
		if order[k] < 0 {
			*flags |= FlagBadParam
			continue
		}
		q := s.pieces[order[k]]
		v := s.bytes(q.value)
		if q.extended {
			if k == 0 {
				extended = true
				charset, v = cutCharset(v)
			}
			s.text = appendPercent(s.text, v)
		} else {
			s.text = append(s.text, v...)
		}
	}
	if value = s.text[at:]; extended {
		value = s.toUTF8(charset, value)
	}
	return value, extended
}

// decode turns charset'language'percent-encoded into UTF-8 (RFC 2231 §4).
func (s *scratch) decode(v []byte) []byte {
	charset, v := cutCharset(v)
	at := len(s.text)
	s.text = appendPercent(s.text, v)
	return s.toUTF8(charset, s.text[at:])
}

func (s *scratch) toUTF8(charset string, v []byte) []byte {
	at := len(s.text)
	s.text = AppendUTF8(s.text, charset, v)
	return s.text[at:]
}

// cutCharset takes charset and language off an extended value. Without the two
// apostrophes the whole is the value.
func cutCharset(v []byte) (charset string, rest []byte) {
	a := bytes.IndexByte(v, '\'')
	if a < 0 {
		return "", v
	}
	b := bytes.IndexByte(v[a+1:], '\'')
	if b < 0 {
		return "", v
	}
	return string(v[:a]), v[a+b+2:]
}

func appendPercent(dst, v []byte) []byte {
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) {
			if h, l := unhex(v[i+1]), unhex(v[i+2]); h >= 0 && l >= 0 {
				dst = append(dst, byte(h<<4|l))
				i += 2
				continue
			}
		}
		dst = append(dst, v[i])
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// splitList cuts a list at its commas.
func splitList(s string) []string {
	var out []string
	for v := range strings.SplitSeq(s, ",") {
		if v = strings.Trim(v, " \t"); v != "" {
			out = append(out, v)
		}
	}
	return out
}
