package message

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// BuilderOptions are the choices of a [Builder].
type BuilderOptions struct {
	// Rand gives the octets of boundaries; nil means the system's source.
	Rand io.Reader
	// UTF8 lets addresses and structured values be UTF-8 (RFC 6532), which needs
	// SMTPUTF8 on the way. Text and names are encoded words even then.
	UTF8 bool
}

// Builder writes a message: header fields, then a body or a multipart of parts
// that have fields and bodies in turn. Lines end with CRLF and have at most 78
// octets where a value can be folded, 998 always. No value can bring in a field,
// a part or a line (PA6): octets that could are encoded, or the value is refused.
// The first error stays and makes the rest do nothing; [Builder.Close] returns it.
//
// Order of the calls: fields, then one of Text, Body, Raw, Report or Multipart;
// inside of a multipart, Part begins each part and End closes the multipart.
type Builder struct {
	w     io.Writer
	opt   BuilderOptions
	err   error
	buf   []byte // the field being written
	col   int    // octets in its last line
	place place
	outer []container // open multiparts
}

type place uint8

const (
	inFields place = iota // fields may be written
	afterBody
	inMultipart // a part must begin or the multipart end
)

type container struct {
	boundary string
	encoding string
}

// NewBuilder returns a builder that writes to w.
func NewBuilder(w io.Writer, opt BuilderOptions) *Builder {
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	return &Builder{w: w, opt: opt}
}

func (b *Builder) fail(op, object string) {
	if b.err == nil {
		b.err = postino.E(postino.Invalid, op, object, nil)
	}
}

func (b *Builder) write(p []byte) {
	if b.err == nil {
		_, b.err = b.w.Write(p)
	}
}

// maxName bounds the name of a field, so that its first word fits beside it.
const maxName = 60

// maxText bounds an unstructured value in octets.
const maxText = 16 << 10

// reserved are the fields that bodies write themselves.
func reserved(name string) bool {
	switch asciiLower(name) {
	case "content-type", "content-transfer-encoding", "mime-version":
		return true
	}
	return false
}

// begin starts a field; false means that it cannot be written.
func (b *Builder) begin(name string) bool {
	const op = "write header field"
	if b.err != nil {
		return false
	}
	if b.place != inFields || name == "" || len(name) > maxName {
		b.fail(op, name)
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			b.fail(op, name)
			return false
		}
	}
	b.buf = append(append(b.buf[:0], name...), ':')
	b.col = len(b.buf)
	return true
}

// put adds a word that must not be cut, after white space that may be folded.
func (b *Builder) put(space, word string) {
	if b.col+len(space)+len(word) > 78 && b.col > 1 && space != "" {
		b.buf = append(b.buf, "\r\n"...)
		b.col = 0
	}
	b.buf = append(append(b.buf, space...), word...)
	if b.col += len(space) + len(word); b.col > maxLine {
		b.fail("write header field", "with a word that is too long")
	}
}

func (b *Builder) end() {
	b.write(append(b.buf, "\r\n"...))
}

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

// content ends the header: type, transfer encoding, empty line.
func (b *Builder) content(typ, encoding string, params []Param) {
	if len(b.outer) == 0 {
		b.begin("MIME-Version")
		b.put(" ", "1.0")
		b.end()
	}
	b.params("Content-Type", typ, params)
	if encoding != "" && b.begin("Content-Transfer-Encoding") {
		b.put(" ", encoding)
		b.end()
	}
	b.write([]byte("\r\n"))
	b.place = afterBody
}

// Multipart begins a multipart, with the media subtype and parameters other than
// the boundary. encoding is what its parts may at most need, as Raw parts do:
// "", "8bit" or "binary" (RFC 2045 §6.4).
func (b *Builder) Multipart(subtype, encoding string, params ...Param) {
	if b.err != nil {
		return
	}
	var octets [16]byte
	if _, err := io.ReadFull(b.opt.Rand, octets[:]); err != nil {
		b.err = err
		return
	}
	if rank(encoding) < 0 || len(b.outer) > 0 && rank(encoding) > rank(b.outer[len(b.outer)-1].encoding) || lookup(params, "boundary") != "" {
		b.fail("begin multipart", subtype)
		return
	}
	// "=_" can stand in no encoded body (RFC 2045 §6.7).
	c := container{"=_" + hex.EncodeToString(octets[:]), encoding}
	b.content("multipart/"+subtype, encoding, append(params[:len(params):len(params)], Param{Name: "boundary", Value: c.boundary}))
	b.outer = append(b.outer, c)
	b.place = inMultipart
}

func rank(encoding string) int {
	switch encoding {
	case "", "7bit":
		return 0
	case "8bit":
		return 1
	case "binary":
		return 2
	}
	return -1
}

// Part begins the next part of the multipart.
func (b *Builder) Part() { b.delimiter("", inFields) }

// End closes the multipart.
func (b *Builder) End() {
	if b.delimiter("--", afterBody); b.err == nil {
		b.outer = b.outer[:len(b.outer)-1]
	}
}

func (b *Builder) delimiter(tail string, next place) {
	if len(b.outer) == 0 || b.place == inFields {
		b.fail("delimit part", "out of place")
	}
	if b.err != nil {
		return
	}
	start := "\r\n--"
	if b.place == inMultipart && tail == "" {
		start = "--"
	}
	b.write([]byte(start + b.outer[len(b.outer)-1].boundary + tail + "\r\n"))
	b.place = next
}

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
	encoding := needs(raw)
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

// needs returns the transfer encoding that octets need to stay as they are
// (RFC 2045 §2.7 to §2.9).
func needs(raw []byte) string {
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
	encoding := "7bit"
	if b.opt.UTF8 {
		encoding = "8bit"
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

// Close ends the message, with its open multiparts, and returns the first error.
func (b *Builder) Close() error {
	if b.err == nil && b.place == inFields {
		b.write([]byte("\r\n")) // a header alone
		b.place = afterBody
	}
	for b.err == nil && len(b.outer) > 0 {
		b.End()
	}
	return b.err
}
