package message

import (
	"strconv"
	"strings"
)

// AppendEnvelope appends the ENVELOPE of a message with the raw header in IMAP
// notation (RFC 9051 §7.5.2, RFC 3501 §7.4.2). The result is valid for both
// revisions: strings are quoted when they are 7-bit and literals otherwise. Of
// several fields of a name the first counts, but destination fields add up
// (RFC 5322 §4.5.3). An address without a host has the host "", since NIL would
// make it the bound of a group.
func AppendEnvelope(dst, header []byte) []byte {
	var lim Limits
	dst, _ = appendEnvelope(dst, header, lim.withDefaults().Addresses)
	return dst
}

// AppendEnvelope appends the ENVELOPE of the message, from [Index.Header].
func (x *Index) AppendEnvelope(dst []byte) []byte { return AppendEnvelope(dst, x.header) }

// nilEnvelope is the envelope of a message whose header is not at hand.
const nilEnvelope = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"

// appendEnvelope reads at most left addresses and returns how many it may still read.
func appendEnvelope(dst, header []byte, left int) ([]byte, int) {
	var date, subject, from, sender, replyTo, to, cc, bcc, inReplyTo, id values
	for f := range Fields(header) {
		switch sawBit(f.Name) {
		case sawDate:
			date.first(f.Value)
		case sawSubject:
			subject.first(f.Value)
		case sawFrom:
			from.first(f.Value)
		case sawSender:
			sender.first(f.Value)
		case sawReplyTo:
			replyTo.first(f.Value)
		case sawTo:
			to.add(f.Value)
		case sawCc:
			cc.add(f.Value)
		case sawBcc:
			bcc.add(f.Value)
		case sawInReplyTo:
			inReplyTo.first(f.Value)
		case sawMessageID:
			id.first(f.Value)
		}
	}
	dst = append(dst, '(')
	dst = date.appendString(dst)
	dst = subject.appendString(append(dst, ' '))
	var s addressScanner
	s.left = left
	dst = append(dst, ' ')
	at := len(dst)
	dst = from.appendAddresses(dst, &s)
	end := len(dst)
	for _, v := range [...]*values{&sender, &replyTo} {
		dst = append(dst, ' ')
		start := len(dst)
		dst = v.appendAddresses(dst, &s)
		if string(dst[start:]) == "NIL" {
			dst = append(dst[:start], dst[at:end]...)
		}
	}
	for _, v := range [...]*values{&to, &cc, &bcc} {
		dst = v.appendAddresses(append(dst, ' '), &s)
	}
	dst = inReplyTo.appendString(append(dst, ' '))
	dst = id.appendString(append(dst, ' '))
	return append(dst, ')'), s.left
}

// values are the values of the fields of one name.
type values struct {
	one  []byte
	more [][]byte
	set  bool
}

func (v *values) first(b []byte) {
	if !v.set {
		v.one, v.set = b, true
	}
}

func (v *values) add(b []byte) {
	if v.set {
		v.more = append(v.more, b)
	}
	v.first(b)
}

func (v *values) appendString(dst []byte) []byte {
	if !v.set {
		return append(dst, "NIL"...)
	}
	return appendString(dst, Unfold(v.one))
}

func (v *values) appendAddresses(dst []byte, s *addressScanner) []byte {
	at := len(dst)
	dst = append(dst, '(')
	for i := -1; i < len(v.more); i++ {
		s.l, s.inGroup = lexer{b: v.one}, false
		if i >= 0 {
			s.l.b = v.more[i]
		}
		for s.next() {
			dst = s.append(dst)
		}
	}
	if len(dst) == at+1 {
		return append(dst[:at], "NIL"...)
	}
	return append(dst, ')')
}

// append appends the address structure of the entry just read.
func (s *addressScanner) append(dst []byte) []byte {
	switch s.group {
	case GroupStart:
		return append(appendString(append(dst, "(NIL NIL "...), Unfold(s.name)), " NIL)"...)
	case GroupEnd:
		return append(dst, "(NIL NIL NIL NIL)"...)
	}
	dst = appendNString(append(dst, '('), s.name)
	dst = appendNString(append(dst, ' '), s.route)
	dst = appendString(append(dst, ' '), s.mailbox)
	dst = appendString(append(dst, ' '), s.host)
	return append(dst, ')')
}

// quotable is the longest text that is put in quotes: clients read lines into
// buffers, and literals of any length.
const quotable = 1000

// AppendIMAPString appends an IMAP string: quoted when it is 7-bit without CR, LF
// and NUL, else a literal in which NUL became "?" (RFC 9051 §4.3).
func AppendIMAPString[T string | []byte](dst []byte, s T) []byte { return appendString(dst, s) }

func appendString[T string | []byte](dst []byte, s T) []byte {
	ok, plain := len(s) <= quotable, true
	for i := 0; i < len(s) && ok; i++ {
		switch c := s[i]; {
		case c == 0 || c == '\r' || c == '\n' || c >= 0x80:
			ok = false
		case c == '"' || c == '\\':
			plain = false
		}
	}
	if !ok {
		dst = strconv.AppendInt(append(dst, '{'), int64(len(s)), 10)
		dst = append(dst, "}\r\n"...)
		at := len(dst)
		dst = append(dst, s...)
		for i := at; i < len(dst); i++ {
			if dst[i] == 0 {
				dst[i] = '?'
			}
		}
		return dst
	}
	dst = append(dst, '"')
	if plain {
		dst = append(dst, s...)
	} else {
		for i := range len(s) {
			if s[i] == '"' || s[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, s[i])
		}
	}
	return append(dst, '"')
}

// appendNString appends NIL for an empty string.
func appendNString[T string | []byte](dst []byte, s T) []byte {
	if len(s) == 0 {
		return append(dst, "NIL"...)
	}
	return appendString(dst, s)
}

// AppendBodyStructure appends BODYSTRUCTURE, or BODY when not extended, in IMAP
// notation (RFC 9051 §7.5.2). Every index gives a valid result:
//   - a multipart without parts was made text/plain by the indexer;
//   - a message/rfc822 whose content could not be read (encoded, or too deep) has
//     an envelope of NILs and an empty text/plain body;
//   - a parameter from RFC 2231 is written as one "name*" with the value
//     percent-encoded in UTF-8, which is 7-bit, so that clients of either revision
//     can read it.
func (x *Index) AppendBodyStructure(dst []byte, extended bool) []byte {
	// The walk keeps the way up in Parent: no stack grows with the depth.
	for i := 0; i < len(x.Parts); i++ {
		p := &x.Parts[i]
		dst = append(dst, '(')
		if p.Multipart() {
			if x.HasChildren(i) {
				continue
			}
			dst = appendEmptyBody(dst, extended) // only an index made elsewhere says so
		} else {
			dst = p.appendFields(dst)
			if p.Message() {
				dst = append(dst, ' ')
				if x.HasChildren(i) {
					dst = append(append(dst, orNil(x.Parts[i+1].envelope)...), ' ')
					continue
				}
				dst = appendEmptyBody(append(dst, nilEnvelope+" "...), extended)
			}
		}
		dst = p.appendEnd(dst, extended)
		for p.Parent >= 0 && x.Parts[p.Parent].Next == i+1 {
			p = &x.Parts[p.Parent]
			dst = p.appendEnd(dst, extended)
		}
	}
	return dst
}

// appendEmptyBody appends a text/plain body of no octets.
func appendEmptyBody(dst []byte, extended bool) []byte {
	dst = append(dst, `("text" "plain" NIL NIL NIL "7bit" 0 0`...)
	if extended {
		dst = append(dst, " NIL NIL NIL NIL"...)
	}
	return append(dst, ')')
}

func orNil(envelope string) string {
	if envelope == "" {
		return nilEnvelope
	}
	return envelope
}

// appendFields appends what a part that is no multipart begins with.
func (p *Part) appendFields(dst []byte) []byte {
	dst = appendString(dst, p.Type)
	dst = appendString(append(dst, ' '), p.Subtype)
	dst = appendParams(append(dst, ' '), p.Params)
	dst = appendNString(append(dst, ' '), p.ID)
	dst = appendNString(append(dst, ' '), p.Description)
	enc := p.Encoding
	if enc == "" {
		enc = "7bit"
	}
	dst = appendString(append(dst, ' '), enc)
	return strconv.AppendInt(append(dst, ' '), p.Size(), 10)
}

// appendEnd appends what follows the children and closes the part.
func (p *Part) appendEnd(dst []byte, extended bool) []byte {
	switch {
	case p.Multipart():
		dst = appendString(append(dst, ' '), p.Subtype)
	case p.Type == "text", p.Message():
		dst = strconv.AppendInt(append(dst, ' '), p.Lines, 10)
	}
	if extended {
		if p.Multipart() {
			dst = appendParams(append(dst, ' '), p.Params)
		} else {
			dst = appendNString(append(dst, ' '), p.MD5)
		}
		dst = append(dst, ' ')
		if p.Disposition == "" {
			dst = append(dst, "NIL"...)
		} else {
			dst = appendString(append(dst, '('), p.Disposition)
			dst = append(appendParams(append(dst, ' '), p.DispositionParams), ')')
		}
		dst = appendLanguage(append(dst, ' '), p.Language)
		dst = appendNString(append(dst, ' '), p.Location)
	}
	return append(dst, ')')
}

func appendLanguage(dst []byte, tags []string) []byte {
	switch len(tags) {
	case 0:
		return append(dst, "NIL"...)
	case 1:
		return appendString(dst, tags[0])
	}
	sep := byte('(')
	for _, t := range tags {
		dst = appendString(append(dst, sep), t)
		sep = ' '
	}
	return append(dst, ')')
}

func appendParams(dst []byte, params []Param) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i := range params {
		p := &params[i]
		if i == 0 {
			dst = append(dst, '(')
		} else {
			dst = append(dst, ' ')
		}
		if p.Extended && !isASCII([]byte(p.Value)) {
			dst = appendString(dst, p.Name+"*")
			dst = appendString(append(dst, ' '), appendExtended(nil, p.Value))
			continue
		}
		dst = appendString(dst, p.Name)
		dst = appendString(append(dst, ' '), p.Value)
	}
	return append(dst, ')')
}

// appendExtended appends UTF-8, two apostrophes and the text percent-encoded (RFC 2231 §4).
func appendExtended(dst []byte, s string) []byte {
	dst = append(dst, "UTF-8''"...)
	for i := range len(s) {
		if attributeChar(s[i]) {
			dst = append(dst, s[i])
		} else {
			dst = append(dst, '%', upperHex[s[i]>>4], upperHex[s[i]&15])
		}
	}
	return dst
}

const upperHex = "0123456789ABCDEF"

// attributeChar tells whether an octet stands for itself (RFC 2231 §7).
func attributeChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte("()<>@,;:\\\"/[]?=*'%", c) < 0
}
