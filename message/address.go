package message

import "strings"

// Address is an entry of an address list as the header gives it.
type Address struct {
	// Name is the display name, unquoted, its encoded words decoded; for the start
	// of a group the name of the group.
	Name string
	// Route is the obsolete source route, "@a,@b" (RFC 5322 §4.4).
	Route string
	// Mailbox is the local part, unquoted; Host the domain as written. Either is
	// empty when missing.
	Mailbox, Host string
	// Group tells what the entry is.
	Group Group
}

// Group tells members of an address list from the bounds of a group.
type Group uint8

// The entries of an address list.
const (
	Member     Group = iota // an address, in a group or not
	GroupStart              // "name:", only Name is set
	GroupEnd                // ";"
)

// String writes local part and domain joined by "@", or what there is of them.
// A local part is in quotes where RFC 5322 §3.4.1 wants them, so that the text
// reads back as the same address.
func (a Address) String() string {
	local := a.Mailbox
	if local != "" && !dotAtom(local) {
		local = quote(local)
	}
	if a.Host == "" {
		return local
	}
	return local + "@" + a.Host
}

// ParseAddressList reads an address list, folded or not, with the obsolete
// forms of RFC 5322 §4.4 and the usual errors: a display name with "@" or
// without quotes, ";" between addresses, a name in a comment behind the
// address, missing brackets. It reads at most max entries; zero means 5,000.
func ParseAddressList(value []byte, max int) []Address {
	or(&max, 5000)
	s := addressScanner{l: lexer{b: value}, left: max}
	var out []Address
	for s.next() {
		a := Address{Group: s.group}
		switch s.group {
		case Member:
			a.Name = DecodeHeader(s.name)
			a.Route, a.Mailbox, a.Host = string(s.route), string(s.mailbox), string(s.host)
		case GroupStart:
			a.Name = DecodeHeader(s.name)
		}
		out = append(out, a)
	}
	return out
}

// addressScanner reads one entry at a time without allocating for each. The
// results point into its buffers and live until the next call.
type addressScanner struct {
	l       lexer
	left    int // entries that may still be read
	inGroup bool

	group                      Group
	name, route, mailbox, host []byte

	phrase  []byte // all words so far
	local   []byte // the last run of words joined by dots: a local part, if "@" follows
	joined  bool   // the next word goes on with local
	runs    int    // runs begun
	run     int    // where the run at hand begins in phrase
	at      bool   // "@" was read
	comment []byte
	buf     []byte // route and host
}

func (s *addressScanner) reset() {
	s.name, s.route, s.mailbox, s.host = nil, nil, nil, nil
	s.phrase, s.local, s.comment, s.buf = s.phrase[:0], s.local[:0], s.comment[:0], s.buf[:0]
	s.joined, s.at, s.runs, s.run = false, false, 0, 0
}

// next reads the next entry. It passes over empty list elements.
func (s *addressScanner) next() bool {
	if s.left <= 0 {
		if s.inGroup { // a group that was opened is always closed
			s.reset()
			s.inGroup, s.group = false, GroupEnd
			return true
		}
		return false
	}
	for {
		s.reset()
		s.group = Member
		if s.entry() {
			s.left--
			return true
		}
		if s.l.end() {
			if s.inGroup {
				s.inGroup, s.group = false, GroupEnd
				return true
			}
			return false
		}
	}
}

// entry reads up to the end of a list element; false means that it was empty.
func (s *addressScanner) entry() bool {
	l := &s.l
	for !l.end() {
		switch c := l.peek(); {
		case isSpace(c):
			l.i++
			s.gap()
		case c == '(':
			s.comment = l.comment(s.comment[:0], true)
			s.gap()
		case c == ',':
			l.i++
			return s.bare()
		case c == ';':
			if s.bare() {
				return true // the ";" comes again
			}
			l.i++
			if s.inGroup {
				s.inGroup, s.group = false, GroupEnd
				return true
			}
			return false
		case c == ':' && !s.inGroup && !s.at:
			l.i++
			s.inGroup, s.group, s.name = true, GroupStart, trimSpace(s.phrase)
			return true
		case c == '<':
			l.i++
			s.angle()
			return true
		case c == '@' && !s.at:
			l.i++
			s.address()
		case c == '"':
			s.word(func(dst []byte) []byte { dst, _ = l.quoted(dst); return dst })
		case c == '.':
			l.i++
			if s.phrase = append(s.phrase, '.'); !s.at {
				s.local, s.joined = append(s.local, '.'), true
			}
		default:
			n := l.i + 1
			for n < len(l.b) && !isSpace(l.b[n]) && strings.IndexByte("(),;:<@\".", l.b[n]) < 0 {
				n++
			}
			w := l.b[l.i:n]
			l.i = n
			s.word(func(dst []byte) []byte { return append(dst, w...) })
		}
	}
	return s.bare()
}

// gap notes white space between words: it ends a run unless a dot is at either side.
func (s *addressScanner) gap() {
	if n := len(s.phrase); n > 0 && s.phrase[n-1] != ' ' {
		s.phrase = append(s.phrase, ' ')
	}
	if n := len(s.local); n > 0 && s.local[n-1] != '.' {
		s.joined = false
	}
}

func (s *addressScanner) word(read func([]byte) []byte) {
	n := len(s.phrase)
	s.phrase = read(s.phrase)
	if s.at {
		return // the local part is complete
	}
	if !s.joined {
		s.local, s.run = s.local[:0], n
		s.runs++
	}
	s.local, s.joined = append(s.local, s.phrase[n:]...), true
}

// address reads the domain after "local@" outside of angle brackets.
func (s *addressScanner) address() {
	s.at = true
	s.mailbox, s.name = s.local, trimSpace(s.phrase[:s.run])
	s.buf = s.domain(s.buf[:0])
	s.host = s.buf
	s.phrase = append(append(s.phrase, '@'), s.host...) // it may turn out to be a name
}

// bare ends an entry without angle brackets.
func (s *addressScanner) bare() bool {
	if s.at {
		if len(s.name) == 0 {
			s.name = s.comment
		}
		return len(s.mailbox) > 0 || len(s.host) > 0 || len(s.name) > 0
	}
	switch {
	case s.runs == 0 && len(s.local) == 0:
		return false
	case s.runs < 2:
		s.mailbox, s.name = s.local, s.comment
	default:
		s.name = trimSpace(s.phrase)
	}
	return true
}

// angle reads [route] local@domain ">" after "<".
func (s *addressScanner) angle() {
	l := &s.l
	s.name = trimSpace(s.phrase)
	s.host, s.mailbox, s.at = nil, nil, false
	s.buf = s.buf[:0]
	l.space()
	if l.peek() == '@' {
		s.readRoute()
	}
	s.local, s.joined = s.local[:0], true
	host := len(s.buf)
loop:
	for !l.end() {
		switch c := l.peek(); {
		case isSpace(c) || c == '(':
			l.space()
		case c == '>':
			break loop
		case (c == ',' || c == ';') && (s.at || len(s.local) == 0):
			break loop // the ">" is missing
		case c == '@' && !s.at:
			l.i++
			s.at = true
			s.buf = s.domain(s.buf)
			s.host = s.buf[host:len(s.buf):len(s.buf)]
		case s.at:
			l.i++ // junk after the address
		case c == '"':
			s.local, _ = l.quoted(s.local)
		default:
			s.local = append(s.local, c)
			l.i++
		}
	}
	s.mailbox = s.local
	if l.peek() == '>' {
		l.i++
		s.tail()
	}
	s.route = s.buf[:host:host]
	if len(s.name) == 0 {
		s.name = s.comment
	}
}

// tail passes over what follows an address up to the end of the list element.
func (s *addressScanner) tail() {
	l := &s.l
	for !l.end() {
		switch c := l.peek(); {
		case c == '(':
			s.comment = l.comment(s.comment[:0], true)
		case c == ',':
			l.i++
			return
		case c == ';' || c == '<':
			return
		case c == '"':
			l.skipQuoted()
		default:
			l.i++
		}
	}
}

// readRoute reads "@a,@b:" into buf.
func (s *addressScanner) readRoute() {
	l := &s.l
	start := l.i
	for !l.end() {
		switch c := l.peek(); {
		case isSpace(c) || c == '(':
			l.space()
		case c == ':':
			l.i++
			return
		case c == '>' || c == '<' || c == '"':
			s.buf, l.i = s.buf[:0], start // no route: an address without local part
			return
		default:
			s.buf = append(s.buf, c)
			l.i++
		}
	}
	s.buf = s.buf[:0]
}

// domain reads a domain or domain literal and appends it without white space
// and comments (RFC 5322 §3.4.1, §4.4).
func (s *addressScanner) domain(dst []byte) []byte {
	l := &s.l
	l.space()
	if l.peek() == '[' {
		for !l.end() {
			c := l.peek()
			if c == '>' || c == ',' || c == ';' {
				return dst
			}
			l.i++
			if !isSpace(c) {
				dst = append(dst, c)
			}
			if c == ']' {
				return dst
			}
		}
		return dst
	}
	for !l.end() {
		dst = append(dst, l.until("(),;:<>@\".")...)
		at := l.i
		if l.space(); l.peek() != '.' {
			l.i = at // a comment that follows may be the name
			return dst
		}
		dst = append(dst, '.')
		l.i++
		l.space()
	}
	return dst
}
