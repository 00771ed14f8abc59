package smtp

import (
	"strings"
	"unicode/utf8"
)

// decodeXtext decodes xtext (RFC 3461 §4). What comes out is ASCII without
// controls, or it is refused (SS19).
func decodeXtext(s string) (string, bool) {
	text, ok := decodeXtextUTF8(s)
	return text, ok && isASCII(text)
}

// decodeXtextUTF8 takes UTF-8 as well, coded octet by octet.
func decodeXtextUTF8(s string) (string, bool) {
	if strings.IndexByte(s, '+') < 0 {
		return s, s != "" && isXchars(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := upperHex(s[i+1]), upperHex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
			if c < ' ' || c == 0x7f {
				return "", false
			}
		} else if !isXchars(s[i : i+1]) {
			return "", false
		}
		out = append(out, c)
	}
	text := string(out)
	return text, utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return 0x80 <= r && r < 0xa0 }) < 0
}

// decodeUTF8Address decodes utf-8-addr-xtext and utf-8-addr-unitext: \x{N} is
// a code point, UTF-8 stands for itself (RFC 6533 §3).
func decodeUTF8Address(s string) (string, bool) {
	if !utf8.ValidString(s) {
		return "", false
	}
	var b strings.Builder
	for s != "" {
		if rest, ok := strings.CutPrefix(s, `\x{`); ok {
			digits, after, ok := strings.Cut(rest, "}")
			if !ok || len(digits) < 2 || len(digits) > 6 {
				return "", false
			}
			v := 0
			for i := range len(digits) {
				h := upperHex(digits[i])
				if h < 0 {
					return "", false
				}
				v = v<<4 | h
			}
			if r := rune(v); !utf8.ValidRune(r) || r < ' ' || 0x7f <= r && r < 0xa0 {
				return "", false
			}
			b.WriteRune(rune(v))
			s = after
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == '\\' || r == '+' || r == '=' || r <= ' ' || 0x7f <= r && r < 0xa0 {
			return "", false
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String(), true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isXchars tells whether s consists of xchar: printable ASCII but + and =.
func isXchars(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			return false
		}
	}
	return true
}

// upperHex is the value of one HEXDIG; xtext has upper case only.
func upperHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
