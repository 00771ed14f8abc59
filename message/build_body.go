package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
)

// bodyPlace tells whether a body may be written.
func (b *Builder) bodyPlace(typ string) bool {
	if b.place != inFields {
		b.fail("write body", typ)
	}
	return b.err == nil
}

// Text writes a body of type text in UTF-8, with the encoding that suits it:
// 7bit, quoted-printable or base64. All line ends become CRLF, one at the end
// included.
func (b *Builder) Text(subtype, text string, params ...Param) {
	if !b.bodyPlace(subtype) {
		return
	}
	text = lineEnds(strings.ToValidUTF8(text, "\uFFFD"))
	charset := "utf-8"
	ascii := isASCII([]byte(text))
	if ascii {
		charset = "us-ascii"
	}
	params = append([]Param{{Name: "charset", Value: charset}}, params...)
	high := 0
	for i := range len(text) {
		if text[i] >= 0x80 {
			high++
		}
	}
	switch {
	case ascii && sevenBit(text):
		b.content("text/"+subtype, "7bit", params)
		b.write([]byte(text))
	case high*6 < len(text):
		b.content("text/"+subtype, "quoted-printable", params)
		b.write(appendQuotedPrintable(nil, text))
	default:
		b.content("text/"+subtype, "base64", params)
		b.base64(strings.NewReader(text))
	}
}

// lineEnds makes every line end CRLF and ends the last line.
func lineEnds(s string) string {
	out := make([]byte, 0, len(s)+len(s)/32+2)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r' && (i+1 == len(s) || s[i+1] != '\n'), c == '\n':
			out = append(out, '\r', '\n')
		case c != '\r':
			out = append(out, c)
		}
	}
	if n := len(out); n > 0 && out[n-1] != '\n' {
		out = append(out, '\r', '\n')
	}
	return string(out)
}

// sevenBit tells whether text with CRLF can go as it is: nothing on its way
// changes it, and no line looks like a delimiter.
func sevenBit(s string) bool {
	for line := range strings.SplitSeq(s, "\r\n") {
		if len(line) > 78 || strings.HasPrefix(line, "--") || strings.HasPrefix(line, "From ") || strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t") {
			return false
		}
		for i := range len(line) {
			if c := line[i]; c < ' ' && c != '\t' || c == 0x7f {
				return false
			}
		}
	}
	return true
}

// appendQuotedPrintable encodes text with CRLF (RFC 2045 §6.7).
func appendQuotedPrintable(dst []byte, s string) []byte {
	for line := range strings.SplitAfterSeq(s, "\r\n") {
		line, ended := strings.CutSuffix(line, "\r\n")
		col := 0
		for i := range len(line) {
			c := line[i]
			plain := c > ' ' && c < 0x7f && c != '=' || (c == ' ' || c == '\t') && i+1 < len(line)
			if col == 0 && (c == '-' || c == 'F' || c == '.') {
				plain = false // no delimiter, no mbox line, no end of data
			}
			size := 1
			if !plain {
				size = 3
			}
			if col+size > 75 {
				dst = append(dst, "=\r\n"...)
				col = 0
				if c == '-' || c == 'F' || c == '.' {
					plain, size = false, 3
				}
			}
			if col += size; plain {
				dst = append(dst, c)
			} else {
				dst = append(dst, '=', upperHex[c>>4], upperHex[c&15])
			}
		}
		if ended {
			dst = append(dst, "\r\n"...)
		}
	}
	return dst
}

// Body writes the octets of r as a body of the media type, in base64. A multipart
// or message type is refused: it could not be read (RFC 2045 §6.4).
func (b *Builder) Body(typ string, r io.Reader, params ...Param) {
	top := asciiLower(typ)
	if strings.HasPrefix(top, "multipart/") || strings.HasPrefix(top, "message/") || !strings.Contains(typ, "/") {
		b.fail("write body", typ)
	}
	if b.bodyPlace(typ) {
		b.content(typ, "base64", params)
		b.base64(r)
	}
}

func (b *Builder) base64(r io.Reader) {
	var in [57 * 64]byte
	var out []byte
	for b.err == nil {
		n, err := io.ReadFull(r, in[:])
		out = out[:0]
		for chunk := range chunks(in[:n], 57) {
			out = append(base64.StdEncoding.AppendEncode(out, chunk), "\r\n"...)
		}
		b.write(out)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return
		}
		if err != nil && b.err == nil {
			b.err = err
		}
	}
}

func chunks(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// Raw writes the octets as they are, for a message inside the message
// (message/rfc822, message/global, text/rfc822-headers). They must need no more
// than the encoding of the multipart around them, and hold none of its delimiters.
func (b *Builder) Raw(typ string, raw []byte, params ...Param) {
	if !b.bodyPlace(typ) {
		return
	}
	encoding := NeededEncoding(raw)
	for _, c := range b.outer {
		if rank(encoding) > rank(c.encoding) || bytes.Contains(raw, []byte("--"+c.boundary)) {
			b.fail("write body", typ)
			return
		}
	}
	if strings.HasPrefix(asciiLower(typ), "multipart/") || !strings.Contains(typ, "/") {
		b.fail("write body", typ)
		return
	}
	b.content(typ, encoding, params)
	b.write(raw)
}

// NeededEncoding returns the transfer encoding that octets need to stay as they
// are: "7bit", "8bit" or "binary" (RFC 2045 §2.7 to §2.9).
func NeededEncoding(raw []byte) string {
	encoding := "7bit"
	if !isASCII(raw) {
		encoding = "8bit"
	}
	if bytes.IndexByte(raw, 0) >= 0 {
		return "binary"
	}
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\n')
		line := raw
		if n >= 0 {
			if line = raw[:n]; n == 0 || raw[n-1] != '\r' {
				return "binary"
			}
			line = line[:n-1]
		}
		if len(line) > maxLine || bytes.IndexByte(line, '\r') >= 0 {
			return "binary"
		}
		if n < 0 {
			break
		}
		raw = raw[n+1:]
	}
	return encoding
}

// Report writes a body that is made of groups of fields, such as
// message/delivery-status (RFC 3464 §2.1). Values are written in one line of
// printable ASCII, others become "?" (RFC 6533 has UTF-8, when the options allow it).
func (b *Builder) Report(typ string, groups ...[]ReportField) {
	if !b.bodyPlace(typ) {
		return
	}
	encoding := "7bit" // RFC 3464 §2.1 wants it wherever it is enough
	for _, g := range groups {
		for _, f := range g {
			if b.opt.UTF8 && !isASCII([]byte(f.Value)) {
				encoding = "8bit"
			}
		}
	}
	for _, c := range b.outer {
		if rank(encoding) > rank(c.encoding) {
			b.fail("write body", typ)
			return
		}
	}
	b.content(typ, encoding, nil)
	b.place = inFields
	for i, g := range groups {
		if i > 0 {
			b.write([]byte("\r\n"))
		}
		for _, f := range g {
			if b.begin(f.Name) {
				b.words(b.reportValue(f.Value))
				b.end()
			}
		}
	}
	b.place = afterBody
}

// ReportField is a field of a report.
type ReportField struct{ Name, Value string }

func (b *Builder) reportValue(s string) string {
	s = strings.Join(strings.Fields(displayText(s)), " ")
	if !b.opt.UTF8 {
		s = strings.Map(func(r rune) rune {
			if r >= 0x80 {
				return '?'
			}
			return r
		}, s)
	}
	var out []string
	for w := range strings.SplitSeq(s, " ") { // no word longer than a line
		for len(w) > 900 {
			out, w = append(out, strings.ToValidUTF8(w[:900], "?")), w[900:]
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}
