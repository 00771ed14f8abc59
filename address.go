package postino

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Lengths of RFC 5321 §4.5.3.1, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
)

// Address is a mailbox in its one canonical form: Local is the local part
// without quoting, in NFC; Domain is a domain name in lower-case A-labels
// (RFC 5890 §2.3.2.1) or an address literal in brackets. The case of Local is
// kept: only the host of the domain may fold it (RFC 5321 §2.4).
//
// The zero Address is the null sender. An address with an empty Domain is the
// <postmaster> of RFC 5321 §4.5.1; its Local is "postmaster".
type Address struct{ Local, Domain string }

// IsNull tells whether a is the null sender.
func (a Address) IsNull() bool { return a == Address{} }

// NeedsUTF8 tells whether a can be sent only with SMTPUTF8: its local part is
// not ASCII.
func (a Address) NeedsUTF8() bool { return !isASCII(a.Local) }

// String writes a as RFC 5321 §4.1.2 wants it, quoting the local part where
// needed, without angle brackets. The null sender is the empty string.
func (a Address) String() string { return string(a.Append(nil)) }

// Append appends what String returns to dst.
func (a Address) Append(dst []byte) []byte {
	dst = appendLocal(dst, a.Local)
	if a.Domain != "" {
		dst = append(append(dst, '@'), a.Domain...)
	}
	return dst
}

// Unicode is String with the domain in U-labels, for people.
func (a Address) Unicode() string {
	dst := appendLocal(nil, a.Local)
	if a.Domain == "" {
		return string(dst)
	}
	d := a.Domain
	if u, err := idna.Display.ToUnicode(d); err == nil && !strings.HasPrefix(d, "[") {
		d = u
	}
	return string(append(append(dst, '@'), d...))
}

// appendLocal appends a local part, as a Dot-string when it is one.
func appendLocal(dst []byte, local string) []byte {
	if local == "" || isDotString(local) {
		return append(dst, local...)
	}
	dst = append(dst, '"')
	for i := range len(local) {
		if c := local[i]; c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, local[i])
	}
	return append(dst, '"')
}

// ParseAddress reads one mailbox, local-part "@" domain, with nothing around
// it. Internationalised addresses are accepted (RFC 6531 §3.3). The error is
// of kind Invalid.
func ParseAddress(s string) (Address, error) {
	a, rest, err := parseMailbox(s, true)
	if err == nil && rest != "" {
		err = invalid(s, "text after the address")
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// ParsePath reads a Path of RFC 5321 §4.1.2 at the start of s, from "<" to ">",
// and returns what follows it. A source route is recognised and stripped
// (RFC 5321 §4.1.1.3, appendix C); "<>" is the null sender; "<postmaster>"
// needs no domain. Octets above 127 are accepted only when utf8 is true.
// The error is of kind Invalid.
func ParsePath(s string, utf8 bool) (a Address, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return a, s, invalid(s, "no < before the path")
	}
	in := s[1:]
	if strings.HasPrefix(in, ">") {
		return a, in[1:], nil
	}
	if len(in) >= 11 && strings.EqualFold(in[:11], "postmaster>") {
		return Address{Local: "postmaster"}, in[11:], nil
	}
	route := 0
	if strings.HasPrefix(in, "@") {
		if in, err = skipRoute(in, utf8); err != nil {
			return a, s, err
		}
		route = len(s) - 1 - len(in)
	}
	a, rest, err = parseMailbox(in, utf8)
	if err != nil {
		return Address{}, s, err
	}
	if !strings.HasPrefix(rest, ">") {
		return Address{}, s, invalid(s, "no > after the path")
	}
	if n := len(s) - len(rest) - 1 - route; n+2 > MaxPath {
		return Address{}, s, invalid(s, "path longer than 256 octets")
	}
	return a, rest[1:], nil
}

// skipRoute passes over an A-d-l and its colon: "@a,@b:".
func skipRoute(s string, utf8 bool) (string, error) {
	for {
		if !strings.HasPrefix(s, "@") {
			return s, invalid(s, "bad source route")
		}
		_, rest, err := parseDomain(s[1:], utf8)
		if err != nil {
			return s, err
		}
		switch {
		case strings.HasPrefix(rest, ","):
			s = rest[1:]
		case strings.HasPrefix(rest, ":"):
			return rest[1:], nil
		default:
			return s, invalid(s, "bad source route")
		}
	}
}

// parseMailbox reads local-part "@" domain from the start of s.
func parseMailbox(s string, utf8 bool) (a Address, rest string, err error) {
	local, rest, err := parseLocal(s, utf8)
	if err != nil {
		return a, s, err
	}
	if !strings.HasPrefix(rest, "@") {
		return a, s, invalid(s, "no @ after the local part")
	}
	domain, rest, err := parseDomain(rest[1:], utf8)
	if err != nil {
		return a, s, err
	}
	return Address{Local: local, Domain: domain}, rest, nil
}

// parseLocal reads a Dot-string or Quoted-string (RFC 5321 §4.1.2).
func parseLocal(s string, allow8 bool) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		local, rest, err = parseQuoted(s)
		if err != nil {
			return "", s, err
		}
	} else {
		n := 0
		for n < len(s) && (isAtext(s[n]) || s[n] == '.' || s[n] >= 0x80) {
			n++
		}
		local, rest = s[:n], s[n:]
		if !isDotString(local) {
			return "", s, invalid(s, "bad local part")
		}
	}
	if !isASCII(local) {
		if !allow8 {
			return "", s, invalid(s, "non-ASCII local part without SMTPUTF8")
		}
		if !cleanUTF8(local) {
			return "", s, invalid(s, "local part is not clean UTF-8")
		}
		local = norm.NFC.String(local)
	}
	if local == "" || len(local) > MaxLocal {
		return "", s, invalid(s, "local part empty or longer than 64 octets")
	}
	return local, rest, nil
}

// parseQuoted reads a Quoted-string and unquotes it.
func parseQuoted(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\':
			i++
			if i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", s, invalid(s, "bad quoted pair")
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", s, invalid(s, "control character in a quoted string")
		default:
			b.WriteByte(c)
		}
		if b.Len() > MaxLocal {
			return "", s, invalid(s, "local part longer than 64 octets")
		}
	}
	return "", s, invalid(s, "unended quoted string")
}

// parseDomain reads a domain name or an address literal.
func parseDomain(s string, allow8 bool) (domain, rest string, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", s, invalid(s, "unended address literal")
		}
		lit, err := canonicalLiteral(s[1:end])
		return lit, s[end+1:], err
	}
	n := 0
	for n < len(s) && (isLetDig(s[n]) || s[n] == '-' || s[n] == '.' || s[n] >= 0x80) {
		n++
	}
	if !allow8 && !isASCII(s[:n]) {
		return "", s, invalid(s, "non-ASCII domain without SMTPUTF8")
	}
	domain, err = CanonicalDomain(s[:n])
	return domain, s[n:], err
}

// canonicalLiteral checks the inside of an address literal (RFC 5321 §4.1.3).
func canonicalLiteral(in string) (string, error) {
	v4, v6 := in, false
	if len(in) > 5 && strings.EqualFold(in[:5], "IPv6:") {
		v4, v6 = in[5:], true
	}
	ip, err := netip.ParseAddr(v4)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return "", invalid("["+in+"]", "bad address literal")
	}
	if v6 {
		return "[IPv6:" + ip.String() + "]", nil
	}
	return "[" + ip.String() + "]", nil
}

// CanonicalDomain returns a domain name in lower-case A-labels: letters, digits
// and inner hyphens, labels up to 63 octets, 255 octets in all, IDNA 2008 with
// the mapping of UTS #46 for labels that are not ASCII. An address literal
// in brackets is made canonical too. The error is of kind Invalid.
func CanonicalDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return canonicalLiteral(s[1 : len(s)-1])
	}
	if plainDomain(s) { // the common case needs no table
		return s, nil
	}
	if len(s) > MaxDomain {
		return "", invalid(s, "domain longer than 255 octets")
	}
	a, err := idna.Lookup.ToASCII(s)
	if err != nil || !plainDomain(a) {
		return "", invalid(s, "bad domain name")
	}
	return a, nil
}

// plainDomain tells whether s is already canonical and holds no A-label, which
// would have to be checked by IDNA.
func plainDomain(s string) bool {
	if s == "" || len(s) > MaxDomain {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			c := s[i]
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
				return false
			}
			continue
		}
		label := s[start:i]
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

// isDotString tells whether s can stand as a local part without quotes.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := range len(s) {
		if s[i] == '.' {
			if s[i-1] == '.' {
				return false
			}
		} else if !isAtext(s[i]) && s[i] < 0x80 {
			return false
		}
	}
	return true
}

// isAtext is atext of RFC 5322 §3.2.3.
func isAtext(c byte) bool {
	return isLetDig(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isLetDig(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// cleanUTF8 tells whether s is valid UTF-8 without control characters, bidi
// controls or the replacement character.
func cleanUTF8(s string) bool {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError, r < ' ', 0x7f <= r && r < 0xa0,
			r == 0x061c, 0x200e <= r && r <= 0x200f, 0x2028 <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
			return false
		}
		i += n
	}
	return true
}

func invalid(s, why string) error {
	if len(s) > 300 {
		s = s[:300]
	}
	return E(Invalid, "parse address", Printable(s), errorString(why))
}

type errorString string

func (e errorString) Error() string { return string(e) }
