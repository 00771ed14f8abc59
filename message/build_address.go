package message

import (
	"strings"
)

// Addresses writes an address list; Route is left out, as RFC 5322 §4.4 wants. An
// address that is not local part and domain is refused, and one beyond ASCII
// unless the options allow it. Without addresses it writes nothing.
func (b *Builder) Addresses(name string, list ...Address) {
	if len(list) == 0 || !b.begin(name) {
		return
	}
	comma, inGroup := false, false
	for _, a := range list {
		switch a.Group {
		case GroupStart:
			if inGroup {
				b.fail("write group", a.Name)
				return
			}
			b.comma(&comma, false)
			b.phrase(a.Name)
			b.put("", ":")
			inGroup = true
		case GroupEnd:
			if !inGroup {
				b.fail("write group", a.Name)
				return
			}
			b.put("", ";")
			comma, inGroup = true, false
		default:
			spec, bare := b.addrSpec(a)
			if spec == "" {
				b.fail("write address", a.String())
				return
			}
			b.comma(&comma, true)
			if display := strings.Trim(displayText(a.Name), " "); display != "" {
				b.phrase(display)
			} else if bare {
				b.put(" ", spec)
				continue
			}
			b.put(" ", "<"+spec+">")
		}
	}
	if inGroup {
		b.put("", ";")
	}
	b.end()
}

func (b *Builder) comma(comma *bool, next bool) {
	if *comma {
		b.put("", ",")
	}
	*comma = next
}

// phrase writes a display name as atoms, a quoted-string or encoded words.
func (b *Builder) phrase(name string) {
	name = strings.Trim(displayText(name), " ")
	switch {
	case len(name) > 60 || strings.Contains(name, "=?") || !isASCII([]byte(name)):
		if len(name) > maxText {
			b.fail("write display name", "too long")
			return
		}
		b.encoded(name)
	case name != "" && strings.IndexFunc(name, func(r rune) bool { return r != ' ' && !atext(byte(r)) }) < 0 && !strings.Contains(name, "  "):
		b.words(name)
	default:
		b.put(" ", quote(name))
	}
}

// atext tells whether an octet may stand in an atom (RFC 5322 §3.2.3, RFC 6532 §3.2).
func atext(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80 || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func dotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !atext(atom[i]) {
				return false
			}
		}
	}
	return true
}

func quote(s string) string {
	out := []byte{'"'}
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			out = append(out, '\\')
		}
		out = append(out, s[i])
	}
	return string(append(out, '"'))
}

// addrSpec returns local@domain, empty when it cannot be written; bare tells
// that it needs no angle brackets to be read again.
func (b *Builder) addrSpec(a Address) (spec string, bare bool) {
	if a.Mailbox == "" || len(a.Mailbox) > 256 || len(a.Host) > 256 || !b.printable(a.Mailbox) || !b.printable(a.Host) {
		return "", false
	}
	literal := len(a.Host) > 2 && a.Host[0] == '[' && a.Host[len(a.Host)-1] == ']' && !strings.ContainsAny(a.Host[1:len(a.Host)-1], "[]\\ <>,;")
	if !literal && !dotAtom(a.Host) {
		return "", false
	}
	if dotAtom(a.Mailbox) {
		return a.Mailbox + "@" + a.Host, true
	}
	return quote(a.Mailbox) + "@" + a.Host, false
}
