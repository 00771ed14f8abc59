package message

import (
	"bytes"
	"encoding/binary"
	"iter"
	"unicode/utf8"
)

// Field is one header field as it stands in the message.
type Field struct {
	// Name without white space before the colon; empty for a line that is no
	// field, with the lines that continue it.
	Name []byte
	// Value is what follows the colon, folded, without the last line end.
	Value []byte
	// Raw is the whole field with its line ends.
	Raw []byte
}

// Is tells whether the field has the name, given in lower case.
func (f *Field) Is(name string) bool { return equalFold(f.Name, name) }

// equalFold compares in ASCII without regard to case; s is in lower case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != s[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Fields iterates over the fields of a raw header, to its empty line or its
// end. The slices point into the header.
func Fields(header []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for len(header) > 0 && !blank(header) {
			n := fieldEnd(header)
			f := Field{Raw: header[:n]}
			header = header[n:]
			f.split()
			if !yield(f) {
				return
			}
		}
	}
}

// blank tells whether the line at the start of b is empty.
func blank(b []byte) bool {
	return b[0] == '\n' || len(b) > 1 && b[0] == '\r' && b[1] == '\n'
}

// fieldEnd finds the end of the field at the start of b: the next line that
// does not begin with white space.
func fieldEnd(b []byte) int {
	n := 0
	for n < len(b) {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		n += i + 1
		if n < len(b) && b[n] != ' ' && b[n] != '\t' {
			break
		}
	}
	return n
}

// split finds name and value. White space before the colon is obsolete syntax
// (RFC 5322 §4.5).
func (f *Field) split() {
	i := bytes.IndexByte(f.Raw, ':')
	if i < 0 {
		return
	}
	name := bytes.TrimRight(f.Raw[:i], " \t")
	if len(name) == 0 {
		return
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return
		}
	}
	f.Name, f.Value = name, trimEOL(f.Raw[i+1:])
}

func trimEOL(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte{'\n'})
	return bytes.TrimSuffix(b, []byte{'\r'})
}

// FirstField returns the value of the first field with the name, given in
// lower case, folded as it stands; ok tells whether there is one.
func FirstField(header []byte, name string) (value []byte, ok bool) {
	for f := range Fields(header) {
		if f.Is(name) {
			return f.Value, true
		}
	}
	return nil, false
}

// appendUnfolded appends a field value without its line ends and without white
// space around it (RFC 5322 §2.2.3).
func appendUnfolded(dst, value []byte) []byte {
	value = trimSpace(value)
	for len(value) > 0 {
		i := bytes.IndexByte(value, '\n')
		if i < 0 {
			return append(dst, value...)
		}
		dst = append(dst, trimEOL(value[:i+1])...)
		value = value[i+1:]
	}
	return dst
}

// Unfold returns a field value on one line, without white space around it.
func Unfold(value []byte) []byte {
	value = trimSpace(value)
	if bytes.IndexByte(value, '\n') < 0 {
		return value
	}
	return appendUnfolded(make([]byte, 0, len(value)), value)
}

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

// isASCII tells whether no octet is above 127, eight at a time.
func isASCII(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		if (binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|
			binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]))&high != 0 {
			return false
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// HeaderEnd returns where the header of a message or part in b ends, after its
// empty line; len(b) when there is none.
func HeaderEnd(b []byte) int {
	for n := 0; n < len(b); {
		if blank(b[n:]) {
			return n + bytes.IndexByte(b[n:], '\n') + 1
		}
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			break
		}
		n += i + 1
	}
	return len(b)
}
