package wire

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7Encoding is the base64 of modified UTF-7: "," for "/", no padding, and
// no stray bits (RFC 3501 §5.1.3).
var utf7Encoding = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// AppendUTF7 prints a mailbox name in modified UTF-7 (RFC 3501 §5.1.3).
func AppendUTF7(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; 0x20 <= c && c < 0x7f {
			dst = append(dst, c)
			if c == '&' {
				dst = append(dst, '-')
			}
			i++
			continue
		}
		var units []byte
		for i < len(s) && (s[i] < 0x20 || s[i] >= 0x7f) {
			r, n := utf8.DecodeRuneInString(s[i:])
			i += n
			if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
				units = append(units, byte(r1>>8), byte(r1), byte(r2>>8), byte(r2))
			} else {
				units = append(units, byte(r>>8), byte(r))
			}
		}
		dst = append(dst, '&')
		dst = utf7Encoding.AppendEncode(dst, units)
		dst = append(dst, '-')
	}
	return dst
}

// DecodeUTF7 reads modified UTF-7. Only the one form that AppendUTF7 prints is
// accepted: ASCII in base64, adjacent base64 runs and lone surrogates are
// errors, so that no two names on the wire are one mailbox.
func DecodeUTF7(s string) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c := s[i]
		i++
		switch {
		case c < 0x20 || c >= 0x7f:
			return "", syntax("Mailbox name is not modified UTF-7")
		case c != '&':
			out = append(out, c)
		case i < len(s) && s[i] == '-':
			out = append(out, '&')
			i++
		default:
			end := i
			for end < len(s) && s[end] != '-' {
				end++
			}
			var err error
			if out, err = appendUTF16(out, s[i:end]); err != nil || end == len(s) {
				return "", syntax("Mailbox name is not modified UTF-7")
			}
			if i = end + 1; i+1 < len(s) && s[i] == '&' && s[i+1] != '-' {
				return "", syntax("Mailbox name is not modified UTF-7")
			}
		}
	}
	return string(out), nil
}

func appendUTF16(dst []byte, b64 string) ([]byte, error) {
	b, err := utf7Encoding.DecodeString(b64)
	if err != nil || len(b) == 0 || len(b)%2 != 0 || strings.ContainsAny(b64, "\r\n") { // which DecodeString skips
		return nil, syntax("bad base64")
	}
	for i := 0; i < len(b); i += 2 {
		r := rune(b[i])<<8 | rune(b[i+1])
		if utf16.IsSurrogate(r) {
			if i+4 > len(b) {
				return nil, syntax("lone surrogate")
			}
			i += 2
			if r = utf16.DecodeRune(r, rune(b[i])<<8|rune(b[i+1])); r == utf8.RuneError {
				return nil, syntax("lone surrogate")
			}
		}
		if 0x20 <= r && r < 0x7f {
			return nil, syntax("ASCII in base64")
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, nil
}
