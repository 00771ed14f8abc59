package message

import "bytes"

// Section says what of a part an IMAP section names (RFC 9051 §6.4.5.1).
type Section uint8

// The sections. SectionHeader serves HEADER.FIELDS and HEADER.FIELDS.NOT too,
// with [AppendHeaderFields].
const (
	SectionBody   Section = iota // BODY[], BODY[1]
	SectionHeader                // HEADER
	SectionText                  // TEXT
	SectionMIME                  // MIME
)

// Span is a range of octets of the message.
type Span struct{ Start, End int64 }

// Len is the number of octets.
func (s Span) Len() int64 { return s.End - s.Start }

// Part returns the position in Parts of the part with the IMAP part number;
// ok is false when there is none. Part 1 of a message that is no multipart is its
// body (RFC 9051 §6.4.5.1); the empty path is the message itself.
func (x *Index) Part(path []int) (i int, ok bool) {
	message := true // i stands for a message, not for a body part
	for _, n := range path {
		body := i
		if !message && x.Parts[i].Message() && x.HasChildren(i) {
			body, message = i+1, true
		}
		switch {
		case x.Parts[body].Multipart():
			if i, ok = x.child(body, n); !ok {
				return 0, false
			}
		case message && n == 1:
			i = body
		default:
			return 0, false
		}
		message = false
	}
	return i, true
}

// child returns the nth child, counted from 1.
func (x *Index) child(i, n int) (int, bool) {
	if n < 1 {
		return 0, false
	}
	for j := i + 1; j < x.Parts[i].Next; j = x.Parts[j].Next {
		if n--; n == 0 {
			return j, true
		}
	}
	return 0, false
}

// Path appends the IMAP part number of the part at position i to dst. The
// message itself, and a message in a message part, have none of their own: for
// them it is the number under which their body is found.
func (x *Index) Path(dst []int, i int) []int {
	at := len(dst)
	if p := &x.Parts[i]; !p.Multipart() && (p.Parent < 0 || x.Parts[p.Parent].Message()) {
		dst = append(dst, 1)
	}
	for ; x.Parts[i].Parent >= 0; i = x.Parts[i].Parent {
		parent := x.Parts[i].Parent
		if !x.Parts[parent].Multipart() {
			// A message part that is itself the only body of a message is number 1.
			if g := x.Parts[parent].Parent; g < 0 || x.Parts[g].Message() {
				dst = append(dst, 1)
			}
			continue
		}
		n := 1
		for j := parent + 1; j < i; j = x.Parts[j].Next {
			n++
		}
		dst = append(dst, n)
	}
	for a, b := at, len(dst)-1; a < b; a, b = a+1, b-1 {
		dst[a], dst[b] = dst[b], dst[a]
	}
	return dst
}

// Section returns the octets that an IMAP section names; ok is false when the
// message has no such section. HEADER and TEXT with a path exist for message
// parts alone, MIME needs a path (RFC 9051 §6.4.5.1).
func (x *Index) Section(path []int, what Section) (s Span, ok bool) {
	i, ok := x.Part(path)
	if !ok {
		return s, false
	}
	p := &x.Parts[i]
	switch what {
	case SectionBody:
		if len(path) == 0 {
			return Span{0, x.Size}, true
		}
		return Span{p.BodyStart, p.End}, true
	case SectionMIME:
		return Span{p.HeaderStart, p.BodyStart}, len(path) > 0
	}
	if len(path) > 0 {
		if !p.Message() || !x.HasChildren(i) {
			return s, false
		}
		p = &x.Parts[i+1]
	}
	if what == SectionHeader {
		return Span{p.HeaderStart, p.BodyStart}, true
	}
	return Span{p.BodyStart, p.End}, true
}

// AppendHeaderFields appends the fields of a raw header whose names are in the
// list, or with not those whose names are not, octet for octet and in their
// order, and the empty line if the header has one (RFC 9051 §6.4.5.1). Lines that
// are no fields have no name, hence match no list.
func AppendHeaderFields(dst, header []byte, names []string, not bool) []byte {
	match := matcher(names)
	for len(header) > 0 {
		if blank(header) {
			return append(dst, header[:bytes.IndexByte(header, '\n')+1]...)
		}
		f := Field{Raw: header[:fieldEnd(header)]}
		header = header[len(f.Raw):]
		f.split()
		if match(f.Name) != not {
			dst = append(dst, f.Raw...)
		}
	}
	return dst
}

// matcher returns a test for names without regard to case, for long lists
// with a table.
func matcher(names []string) func([]byte) bool {
	if len(names) > 8 {
		set := make(map[string]struct{}, len(names))
		for _, n := range names {
			set[asciiLower(n)] = struct{}{}
		}
		var buf []byte
		return func(name []byte) bool {
			buf = buf[:0]
			for _, c := range name {
				buf = append(buf, lower(c))
			}
			_, ok := set[string(buf)]
			return ok && len(name) > 0
		}
	}
	return func(name []byte) bool {
		for _, n := range names {
			if len(name) > 0 && equalFoldASCII(name, n) {
				return true
			}
		}
		return false
	}
}

func equalFoldASCII(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b)
}
