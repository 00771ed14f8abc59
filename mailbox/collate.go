package mailbox

import (
	"bytes"
	"io"
	"sync"

	"github.com/postino-mail/postino/message"
)

// Collation says how texts compare in a search, a sort or a thread (RFC 5255 §4).
type Collation uint8

// The collations. UnicodeCasemap is [message.Fold], which is i;unicode-casemap
// (RFC 5051 §2) with three differences, all of which find more: what a character
// decomposes to is given its title case too, so that U+FB01 is "FI" and not "fi";
// a run of white space and controls is one space; octets that are no UTF-8 become
// U+FFFD instead of making the whole text an i;octet one, which concerns nothing
// here, for decoded texts are UTF-8. Marks that stand in an unusual order are not
// put right (RFC 5051 §4 leaves that open).
const (
	UnicodeCasemap Collation = iota // i;unicode-casemap
	ASCIICasemap                    // i;ascii-casemap (RFC 4790 §9.2)
	Octet                           // i;octet (RFC 4790 §9.3)
)

var collationNames = [...]string{"i;unicode-casemap", "i;ascii-casemap", "i;octet"}

// String returns the registered name.
func (c Collation) String() string {
	if int(c) >= len(collationNames) {
		return "unknown"
	}
	return collationNames[c]
}

// ParseCollation reads a registered name; no name, and "default" (RFC 5255
// §4.7), are i;unicode-casemap.
func ParseCollation(name string) (Collation, bool) {
	if name == "" || name == "default" {
		return UnicodeCasemap, true
	}
	for i, n := range collationNames {
		if n == name {
			return Collation(i), true
		}
	}
	return 0, false
}

// append appends text in the form whose octets compare as the collation says.
func (c Collation) append(dst, text []byte) []byte {
	switch c {
	case UnicodeCasemap:
		return message.Fold(dst, text)
	case ASCIICasemap:
		for _, b := range text {
			if 'a' <= b && b <= 'z' {
				b -= 'a' - 'A'
			}
			dst = append(dst, b)
		}
		return dst
	}
	return append(dst, text...)
}

// textMatcher finds a text in others.
type textMatcher interface {
	MatchString(string) bool
	Match(io.Reader) (bool, error)
}

// matcher returns what finds needle by a collation other than UnicodeCasemap. Two
// texts that are equal by one of these are equal by UnicodeCasemap, so what that
// excludes none of them finds.
func (c Collation) matcher(needle string) textMatcher {
	return &octetMatcher{c, c.append(nil, []byte(needle))}
}

// octetMatcher is the [textMatcher] of a collation that takes octet for octet.
type octetMatcher struct {
	c      Collation
	needle []byte
}

// MatchString implements textMatcher.
func (m *octetMatcher) MatchString(s string) bool {
	var buf [512]byte
	return bytes.Contains(m.c.append(buf[:0], []byte(s)), m.needle)
}

// matchBuffers are what Match reads and collates in.
type matchBuffers struct {
	in  [16 << 10]byte
	out []byte
}

var matchPool = sync.Pool{New: func() any { return new(matchBuffers) }}

// Match implements textMatcher; it keeps no more than a piece of r.
func (m *octetMatcher) Match(r io.Reader) (bool, error) {
	if len(m.needle) == 0 {
		return true, nil
	}
	bufs := matchPool.Get().(*matchBuffers)
	defer matchPool.Put(bufs)
	out := bufs.out[:0]
	defer func() { bufs.out = out }()
	for {
		n, err := r.Read(bufs.in[:])
		from := max(0, len(out)-len(m.needle)+1)
		out = append(out[:0], out[from:]...)
		out = m.c.append(out, bufs.in[:n])
		if bytes.Contains(out, m.needle) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}
