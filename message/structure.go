package message

import (
	"unicode/utf8"
)

// Bits for the fields seen in one header.
const (
	sawType = 1 << iota
	sawEncoding
	sawDisposition
	sawID
	sawVersion
	sawDescription
	sawMD5
	sawLanguage
	sawLocation
	sawFrom
	sawSender
	sawReplyTo
	sawTo
	sawCc
	sawBcc
	sawDate
	sawSubject
	sawMessageID
	sawInReplyTo
	sawReferences

	structural = sawFrom - 1
)

func sawBit(name []byte) uint32 {
	var buf [32]byte
	if len(name) > len(buf) {
		return 0
	}
	for i, c := range name {
		buf[i] = lower(c)
	}
	switch string(buf[:len(name)]) {
	case "content-type":
		return sawType
	case "content-transfer-encoding":
		return sawEncoding
	case "content-disposition":
		return sawDisposition
	case "content-id":
		return sawID
	case "mime-version":
		return sawVersion
	case "content-description":
		return sawDescription
	case "content-md5":
		return sawMD5
	case "content-language":
		return sawLanguage
	case "content-location":
		return sawLocation
	case "from":
		return sawFrom
	case "sender":
		return sawSender
	case "reply-to":
		return sawReplyTo
	case "to":
		return sawTo
	case "cc":
		return sawCc
	case "bcc":
		return sawBcc
	case "date":
		return sawDate
	case "subject":
		return sawSubject
	case "message-id":
		return sawMessageID
	case "in-reply-to":
		return sawInReplyTo
	case "references":
		return sawReferences
	}
	return 0
}

// readHeader reads the header in x.hdr into the record of its part and returns
// the boundary that it declares.
func (x *Indexer) readHeader(r *record) (boundary span) {
	if !isASCII(x.hdr) {
		x.flags |= Flag8BitHeader
		if !utf8.Valid(x.hdr) {
			x.flags |= FlagNonUTF8Header
		}
	}
	seen, fields := uint32(0), 0
	over := r.bodyStart-r.headerStart > x.lim.HeaderBytes
	for f := range Fields(x.hdr) {
		if fields++; fields > x.lim.Fields {
			over = true
			break
		}
		if int64(len(f.Raw)) > x.lim.FieldBytes {
			over = true
			continue
		}
		if f.Name == nil {
			r.flags |= FlagBadHeader
			continue
		}
		bit := sawBit(f.Name)
		if bit == 0 {
			continue
		}
		if seen&bit != 0 {
			switch {
			case bit&structural != 0:
				r.flags |= FlagDuplicateField
			case x.beginsMessage(r):
				r.flags |= FlagDuplicateOriginator
			}
			continue
		}
		seen |= bit
		if b := x.readField(r, bit, f.Value); bit == sawType {
			boundary = b
		}
	}
	if over {
		r.flags |= FlagLimit
		if r.parent < 0 {
			r.flags |= FlagHeaderLimit
		}
	}
	x.defaultType(r, seen)
	x.compareNames(r)
	if r.parent >= 0 && x.beginsMessage(r) {
		x.keepEnvelope(r)
	}
	return boundary
}

// beginsMessage tells whether the part is the message itself or the message in
// a message part.
func (x *Indexer) beginsMessage(r *record) bool {
	return r.parent < 0 || string(x.text(x.parts[r.parent].typ)) == "message"
}

// defaultType gives a part without Content-Type the type that its place implies
// (RFC 2045 §5.2, RFC 2046 §5.1.5).
func (x *Indexer) defaultType(r *record, seen uint32) {
	if seen&sawType != 0 {
		return
	}
	if r.parent >= 0 {
		p := &x.parts[r.parent]
		if string(x.text(p.typ)) == "multipart" && string(x.text(p.subtype)) == "digest" {
			r.typ, r.subtype = x.put("message"), x.put("rfc822")
			return
		}
	}
	r.typ, r.subtype = x.put("text"), x.put("plain")
}

func (x *Indexer) readField(r *record, bit uint32, value []byte) (boundary span) {
	switch bit {
	case sawType:
		return x.readType(r, value)
	case sawEncoding:
		r.encoding = x.token(&lexer{b: value}, ";(\"")
		if !knownEncoding(string(x.text(r.encoding))) {
			r.flags |= FlagUnknownEncoding
		}
	case sawDisposition:
		l := &lexer{b: value}
		if l.space(); l.peek() == '"' { // seen in the wild: "attachment"
			l.i++
		}
		r.disposition = x.token(l, ";(\"=")
		switch l.peek() {
		case '"':
			l.i++
		case '=': // a parameter where the type should be
			r.disposition = span{}
			l = &lexer{b: append([]byte{';'}, value...)}
		}
		r.dparams = x.readParams(l, &r.flags)
		if r.disposition.n == 0 && r.dparams.n > 0 {
			r.disposition = x.put("attachment") // RFC 2183 §2.8
			r.flags |= FlagBadParam
		}
	case sawID:
		r.id = x.putUnfolded(r, value)
	case sawDescription:
		r.description = x.putUnfolded(r, value)
	case sawMD5:
		r.md5 = x.putUnfolded(r, value)
	case sawLanguage:
		r.language = x.putUnfolded(r, value)
	case sawLocation:
		r.location = x.putUnfolded(r, value)
	}
	return span{}
}

func (x *Indexer) putUnfolded(r *record, value []byte) span {
	at := len(x.arena)
	if at+len(value) > maxArena {
		r.flags |= FlagLimit
		return span{}
	}
	x.arena = appendUnfolded(x.arena, value)
	return x.since(at)
}

// compareNames flags a part whose two file names differ.
func (x *Indexer) compareNames(r *record) {
	find := func(list span, name string) ([]byte, bool) {
		for _, p := range x.params[list.off : list.off+list.n] {
			if string(x.text(p.name)) == name {
				return x.text(p.value), p.extended
			}
		}
		return nil, false
	}
	if r.params.n == 0 || r.dparams.n == 0 {
		return
	}
	a, aext := find(r.params, "name")
	b, bext := find(r.dparams, "filename")
	if a == nil || b == nil || string(a) == string(b) {
		return
	}
	if !aext {
		a = DecodeHeaderBytes(a)
	}
	if !bext {
		b = DecodeHeaderBytes(b)
	}
	if string(a) != string(b) {
		r.flags |= FlagConflictingName
	}
}

// keepEnvelope renders the envelope of a message inside the message, because
// its header is not at hand when BODYSTRUCTURE is.
func (x *Indexer) keepEnvelope(r *record) {
	at := len(x.arena)
	if at+len(x.hdr) > maxArena {
		r.flags |= FlagLimit
		return
	}
	x.arena, x.addresses = appendEnvelope(x.arena, x.hdr, x.addresses)
	if len(x.arena) > maxArena {
		x.arena = x.arena[:at]
		r.flags |= FlagLimit
		return
	}
	r.envelope = x.since(at)
}
