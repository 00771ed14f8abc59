package message

import (
	"bytes"
	"io"
	"iter"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// TextScope says which texts of a message are meant.
type TextScope uint8

// IMAP's SEARCH BODY means TextBody, SEARCH TEXT means both (RFC 9051 §6.4.4).
const (
	TextHeader TextScope = 1 << iota // headers of the message and of its parts
	TextBody                         // bodies of text parts, and the file names of all parts
	TextAll    = TextHeader | TextBody
)

// Text is a text in a message: a whole header, the file name of a part, or the
// body of a text part. Read gives it decoded, in UTF-8, HTML without its marks.
type Text struct {
	// Part is the position in [Index.Parts].
	Part int
	// Header tells a header from a body.
	Header bool
	io.Reader
}

// Texts iterates over the texts of a message whose octets are in src. Nothing
// is read before a text is.
func (x *Index) Texts(src io.ReaderAt, what TextScope) iter.Seq[Text] {
	return func(yield func(Text) bool) {
		for i := range x.Parts {
			p := &x.Parts[i]
			if what&TextHeader != 0 && p.BodyStart > p.HeaderStart {
				r := io.NewSectionReader(src, p.HeaderStart, p.BodyStart-p.HeaderStart)
				if !yield(Text{i, true, &headerReader{r: r}}) {
					return
				}
			}
			if what&TextBody != 0 {
				if name := p.Filename(); name != "" && !yield(Text{i, false, strings.NewReader(name)}) {
					return
				}
			}
			readable := p.Type == "text" || p.Type == "message" && !x.HasChildren(i)
			if what&TextBody != 0 && readable && p.End > p.BodyStart {
				if !yield(Text{i, false, p.TextReader(src)}) {
					return
				}
			}
		}
	}
}

// TextReader returns the body of the part, whose message is in src, decoded to
// UTF-8; of HTML the visible text.
func (p *Part) TextReader(src io.ReaderAt) io.Reader {
	d := NewDecoder(io.NewSectionReader(src, p.BodyStart, p.Size()), p.Encoding)
	r := UTF8Reader(d, p.Param("charset"))
	if p.Subtype == "html" || p.Subtype == "xhtml+xml" {
		return HTMLText(r)
	}
	return r
}

// headerReader gives a header with its fields decoded, each on a line.
type headerReader struct {
	r    *io.SectionReader
	text []byte
	done bool
}

func (h *headerReader) Read(p []byte) (int, error) {
	if !h.done {
		h.done = true
		var lim Limits
		raw := make([]byte, min(h.r.Size(), lim.withDefaults().HeaderBytes))
		if _, err := io.ReadFull(h.r, raw); err != nil {
			return 0, err
		}
		for f := range Fields(raw) {
			h.text = append(append(h.text, f.Name...), ": "...)
			h.text = append(append(h.text, DecodeHeaderBytes(f.Value)...), '\n')
		}
	}
	if len(h.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.text)
	h.text = h.text[n:]
	return n, nil
}

// Fold appends text in the form in which it is compared: each character in its
// title case and decomposed (i;unicode-casemap, RFC 5051 §2, with the
// compatibility mappings that it names), and each run of white space and
// controls as one space, so that line breaks do not hide a phrase. Octets that
// are no UTF-8 become U+FFFD.
func Fold(dst []byte, text []byte) []byte {
	var f folder
	return f.append(dst, text)
}

// FoldString is [Fold] for strings.
func FoldString(s string) string { return string(Fold(make([]byte, 0, len(s)), []byte(s))) }

// folder folds a text in pieces that end between characters.
type folder struct{ space bool }

func (f *folder) append(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		c := b[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(b[i:])
			i += n
			if unicode.IsSpace(r) {
				dst = f.blank(dst)
				continue
			}
			f.space = false
			dst = appendFolded(dst, r)
			continue
		}
		i++
		switch {
		case c <= ' ' || c == 0x7f:
			dst = f.blank(dst)
			continue
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		f.space = false
		dst = append(dst, c)
	}
	return dst
}

func (f *folder) blank(dst []byte) []byte {
	if f.space {
		return dst
	}
	f.space = true
	return append(dst, ' ')
}

func appendFolded(dst []byte, r rune) []byte {
	var buf [utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], unicode.ToTitle(r))
	d := norm.NFKD.Properties(buf[:n]).Decomposition()
	if d == nil {
		return append(dst, buf[:n]...)
	}
	for len(d) > 0 { // what a ligature decomposes to has a case of its own
		r, n := utf8.DecodeRune(d)
		dst = utf8.AppendRune(dst, unicode.ToTitle(r))
		d = d[n:]
	}
	return dst
}

// Matcher finds a text in others without regard to case, accents' encoding and
// white space. It may be used by several goroutines.
type Matcher struct{ needle, word []byte }

// NewMatcher returns a matcher for a text in UTF-8. An empty one is in every text
// (RFC 9051 §6.4.4).
func NewMatcher(needle string) *Matcher {
	folded := Fold(nil, []byte(needle))
	return &Matcher{folded, longestWord(folded)}
}

// MatchString tells whether the text is in s.
func (m *Matcher) MatchString(s string) bool {
	var buf [512]byte
	return bytes.Contains(Fold(buf[:0], []byte(s)), m.needle)
}

// matchBuffers are what Match reads and folds in.
type matchBuffers struct {
	in  [16 << 10]byte
	out []byte
}

var matchPool = sync.Pool{New: func() any { return new(matchBuffers) }}

// Match tells whether the text is in what r gives, in UTF-8. It reads no further
// than to the first match and keeps no more than a piece of r.
func (m *Matcher) Match(r io.Reader) (bool, error) {
	if len(m.needle) == 0 {
		return true, nil
	}
	bufs := matchPool.Get().(*matchBuffers)
	defer matchPool.Put(bufs)
	var f folder
	out, held := bufs.out[:0], 0
	defer func() { bufs.out = out }()
	for {
		n, err := r.Read(bufs.in[held:])
		n += held
		// A character cut at the end waits for its rest.
		whole := n
		if err == nil {
			whole = WholeRunes(bufs.in[:n])
		}
		from := max(0, len(out)-len(m.needle)+1)
		out = append(out[:0], out[from:]...)
		out = f.append(out, bufs.in[:whole])
		if bytes.Contains(out, m.needle) {
			return true, nil
		}
		held = copy(bufs.in[:], bufs.in[whole:n])
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// WholeRunes returns the length of b without a character cut at its end, for those
// who fold a text in pieces.
func WholeRunes(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}
