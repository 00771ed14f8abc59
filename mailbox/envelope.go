package mailbox

import (
	"bytes"
	"strconv"

	"github.com/postino-mail/postino/message"
)

// maxSortText is how many octets of an address are kept for sorting.
const maxSortText = 1 << 10

// addresses are the first addresses of three fields, which sorting uses.
type addresses struct{ from, to, cc message.Address }

// texts returns what is kept of them, in the order of the fields of columns.
func (a *addresses) texts() [5]string {
	all := [...]string{sortMailbox(&a.from), sortMailbox(&a.to), sortMailbox(&a.cc), displayName(&a.from), displayName(&a.to)}
	for i, t := range all {
		all[i] = t[:min(len(t), maxSortText)]
	}
	return all
}

// sortMailbox is the addr-mailbox of an address; that of a group is its name.
func sortMailbox(a *message.Address) string {
	if a.Group == message.GroupStart {
		return a.Name
	}
	return a.Mailbox
}

// displayName is the value of DISPLAYFROM and DISPLAYTO (RFC 5957 §3).
func displayName(a *message.Address) string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Host != "":
		return a.Mailbox + "@" + a.Host
	}
	return a.Mailbox
}

// fromEnvelope derives the addresses from a stored ENVELOPE; none when it is nil.
func (row *sortRow) fromEnvelope(envelope []byte) {
	s := imapScanner{b: envelope}
	if kind, _ := s.next(); kind != '(' {
		return
	}
	var a addresses
	for i := range 7 { // date, subject, from, sender, reply-to, to, cc (RFC 9051 §7.5.2)
		switch i {
		case 2:
			a.from = s.firstAddress()
		case 5:
			a.to = s.firstAddress()
		case 6:
			a.cc = s.firstAddress()
		default:
			s.skip()
		}
	}
	for i, t := range a.texts() {
		row.texts[1+i] = []byte(t)
	}
}

// imapScanner reads what message.AppendEnvelope wrote.
type imapScanner struct{ b []byte }

// next returns the next token: '(' or ')', 's' with a string, 'n' for NIL, 0 at
// the end or where there is something else.
func (s *imapScanner) next() (kind byte, text []byte) {
	s.b = bytes.TrimLeft(s.b, " ")
	if len(s.b) == 0 {
		return 0, nil
	}
	switch c := s.b[0]; {
	case c == '(' || c == ')':
		s.b = s.b[1:]
		return c, nil
	case c == '"':
		return s.quoted()
	case c == '{':
		return s.literal()
	case bytes.HasPrefix(s.b, []byte("NIL")):
		s.b = s.b[3:]
		return 'n', nil
	}
	s.b = nil
	return 0, nil
}

func (s *imapScanner) quoted() (byte, []byte) {
	var text []byte
	for i := 1; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.b = s.b[i+1:]
			return 's', text
		case c == '\\' && i+1 < len(s.b):
			i++
			text = append(text, s.b[i])
		default:
			text = append(text, c)
		}
	}
	s.b = nil
	return 0, nil
}

func (s *imapScanner) literal() (byte, []byte) {
	size, rest, ok := bytes.Cut(s.b[1:], []byte("}\r\n"))
	n, err := strconv.Atoi(string(size))
	if !ok || err != nil || n < 0 || n > len(rest) {
		s.b = nil
		return 0, nil
	}
	s.b = rest[n:]
	return 's', rest[:n]
}

// skip passes over one value.
func (s *imapScanner) skip() {
	for depth := 0; ; {
		kind, _ := s.next()
		switch kind {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth <= 0 || kind == 0 {
			return
		}
	}
}

// firstAddress reads a list of addresses and returns the first one.
func (s *imapScanner) firstAddress() (a message.Address) {
	if kind, _ := s.next(); kind != '(' {
		return a
	}
	s.next() // '('
	var parts [4][]byte
	var isNil [4]bool
	for i := range parts {
		kind, text := s.next()
		parts[i], isNil[i] = text, kind == 'n'
	}
	for depth := 2; depth > 0; {
		switch kind, _ := s.next(); kind {
		case '(':
			depth++
		case ')':
			depth--
		case 0:
			return a
		}
	}
	if isNil[3] { // the bound of a group
		return message.Address{Group: message.GroupStart, Name: message.DecodeHeader(parts[2])}
	}
	return message.Address{Name: message.DecodeHeader(parts[0]), Mailbox: string(parts[2]), Host: string(parts[3])}
}
