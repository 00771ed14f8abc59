package postino

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s fit for logs and replies: control characters, bidi
// controls, line separators and octets that are not UTF-8 are written as
// \xNN or \u{NNNN} (G6). Text that needs no change is returned as it is.
func Printable(s string) string {
	if clean(s) {
		return s
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < 0x80 && !printable(r):
			b.WriteString(`\x`)
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		case !printable(r):
			b.WriteString(`\u{`)
			for shift := 16; shift >= 0; shift -= 4 {
				b.WriteByte(hex[r>>shift&15])
			}
			b.WriteByte('}')
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func clean(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !printable(r) {
			return false
		}
	}
	return true
}

// printable refuses what could break a line or change the direction of text.
func printable(r rune) bool {
	return r == ' ' || unicode.IsGraphic(r) && r != 0x2028 && r != 0x2029
}
