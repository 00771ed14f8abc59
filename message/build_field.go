package message

import (
	"encoding/base64"
	"strings"
	"time"
)

// Field writes an unstructured field, such as Subject. Controls, line ends among
// them, become spaces; what is not plain ASCII is written in encoded words
// (RFC 2047).
func (b *Builder) Field(name, text string) {
	if reserved(name) || len(text) > maxText {
		b.fail("write header field", name)
	}
	if !b.begin(name) {
		return
	}
	text = displayText(text)
	if plainText(text) {
		for word := range strings.SplitSeq(text, " ") {
			b.put(" ", word)
		}
	} else {
		b.encoded(text)
	}
	b.end()
}

// displayText makes text valid UTF-8 without controls.
func displayText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// plainText tells whether text survives folding and decoding as it is.
func plainText(s string) bool {
	if !isASCII([]byte(s)) || strings.Contains(s, "=?") || strings.Contains(s, "  ") || strings.Trim(s, " ") != s {
		return false
	}
	for word := range strings.SplitSeq(s, " ") {
		if len(word) > 76 {
			return false
		}
	}
	return true
}

// encoded writes text in encoded words: quoted-printable where that is shorter.
func (b *Builder) encoded(text string) {
	const frame = len("=?utf-8?q?") + len("?=")
	special := 0
	for i := range len(text) {
		if !wordChar(text[i]) {
			special++
		}
	}
	q := len(text)+2*special <= (len(text)+2)/3*4
	for first := true; first || len(text) > 0; first = false {
		room := 75 - frame
		if first {
			if room = 75 - frame - b.col; room < 20 {
				room = 75 - frame
			}
		}
		n := 0
		size := 0
		for i, r := range text {
			end := i + len(string(r))
			s := 0
			if q {
				for _, c := range []byte(text[i:end]) {
					s += 1
					if !wordChar(c) {
						s += 2
					}
				}
				size += s
			} else {
				size = (end + 2) / 3 * 4
			}
			if size > room {
				break
			}
			n = end
		}
		b.put(" ", encodeWord(text[:n], q))
		text = text[n:]
	}
}

func encodeWord(s string, q bool) string {
	if !q {
		return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
	}
	out := []byte("=?utf-8?q?")
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			out = append(out, '_')
		case wordChar(c):
			out = append(out, c)
		default:
			out = append(out, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(append(out, "?="...))
}

// wordChar tells whether an octet needs no encoding in a "Q" word anywhere, also
// in a phrase (RFC 2047 §5 (3)).
func wordChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(" !*+-/", c) >= 0
}

// Structured writes a field of tokens that are already in the syntax of the
// field, such as Received or Auto-Submitted. Anything but printable ASCII (or
// UTF-8, when the options allow it) is refused.
func (b *Builder) Structured(name, value string) {
	if reserved(name) {
		b.fail("write header field", name)
	}
	if !b.begin(name) {
		return
	}
	if value = strings.Trim(value, " "); !b.printable(value) {
		b.fail("write header field", name)
		return
	}
	b.words(value)
	b.end()
}

// words writes a value folded at its spaces.
func (b *Builder) words(value string) {
	value = " " + value
	for value != "" {
		n := len(value) - len(strings.TrimLeft(value, " "))
		m := strings.IndexByte(value[n:], ' ')
		if m < 0 {
			m = len(value) - n
		}
		b.put(value[:n], value[n:n+m])
		value = value[n+m:]
	}
}

// printable tells whether a value has only characters that a line may hold.
func (b *Builder) printable(s string) bool {
	return displayText(s) == s && (b.opt.UTF8 || isASCII([]byte(s)))
}

// Date writes a date field (RFC 5322 §3.3).
func (b *Builder) Date(name string, t time.Time) {
	if y := t.Year(); y < 1900 || y > 9999 {
		b.fail("write date", t.String())
		return
	}
	b.Structured(name, t.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
}

// IDs writes message ids, without angle brackets, as Message-ID, References or
// In-Reply-To want them. Without ids it writes nothing.
func (b *Builder) IDs(name string, ids ...string) {
	if len(ids) == 0 || !b.begin(name) {
		return
	}
	for _, id := range ids {
		if id == "" || len(id) > 900 || strings.ContainsAny(id, " <>\"\\") || !b.printable(id) {
			b.fail("write message id", id)
			return
		}
		b.put(" ", "<"+id+">")
	}
	b.end()
}

// Params writes a field with a token and parameters, such as Content-Disposition.
// Values that are not short and ASCII are written as RFC 2231 wants.
func (b *Builder) Params(name, token string, params ...Param) {
	if reserved(name) {
		b.fail("write header field", name)
	}
	b.params(name, token, params)
}

func (b *Builder) params(name, token string, params []Param) {
	if !b.begin(name) {
		return
	}
	typ, subtype, two := strings.Cut(token, "/")
	if !mimeToken(typ) || two && !mimeToken(subtype) {
		b.fail("write header field", name)
		return
	}
	b.put(" ", token)
	for _, p := range params {
		if !mimeToken(p.Name) || strings.ContainsAny(p.Name, "*'%") || len(p.Name) > 30 || len(p.Value) > 1000 {
			b.fail("write parameter", p.Name)
			return
		}
		b.put("", ";")
		b.param(p)
	}
	b.end()
}

func (b *Builder) param(p Param) {
	switch {
	case len(p.Value) <= 60 && mimeToken(p.Value) && !strings.Contains(p.Value, "=?"):
		b.put(" ", p.Name+"="+p.Value)
		return
	case len(p.Value) <= 60 && isASCII([]byte(p.Value)) && displayText(p.Value) == p.Value && !strings.Contains(p.Value, "=?") && strings.Trim(p.Value, " ") == p.Value:
		b.put(" ", p.Name+"="+quote(p.Value))
		return
	}
	value := string(appendExtended(nil, strings.ToValidUTF8(p.Value, "\uFFFD")))
	if len(value) <= 60 {
		b.put(" ", p.Name+"*="+value)
		return
	}
	for i := 0; value != ""; i++ {
		n := min(len(value), 40)
		for n < len(value) && (value[n-1] == '%' || value[n-2] == '%') {
			n++ // an escape is not cut
		}
		b.put(" ", p.Name+"*"+string(appendDecimal(nil, i))+"*="+value[:n])
		if value = value[n:]; value != "" {
			b.put("", ";")
		}
	}
}

func appendDecimal(dst []byte, n int) []byte {
	if n >= 10 {
		dst = appendDecimal(dst, n/10)
	}
	return append(dst, byte('0'+n%10))
}

// mimeToken tells whether s is a token of RFC 2045 §5.1.
func mimeToken(s string) bool {
	if s == "" || len(s) > 127 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?=", c) >= 0 {
			return false
		}
	}
	return true
}
