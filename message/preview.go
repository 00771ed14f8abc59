package message

import (
	"bytes"
	"errors"
	"io"
	"unicode"
	"unicode/utf8"
)

const (
	// PreviewLength is how many characters a preview has at most (RFC 8970 §3.3).
	PreviewLength = 200
	// previewInput is how much text of a part is looked at, previewRaw how many
	// octets of it at most, and previewParts how many parts: previews cost about
	// the same for all messages.
	previewInput = 32 << 10
	previewRaw   = 256 << 10
	previewParts = 4
)

// Preview returns the beginning of what people read in the message whose octets
// are in src: of the first text that is not empty, plain text before HTML, with
// white space joined, without quoted lines and signature when there is more than these.
// It is UTF-8 without controls, at most [PreviewLength] characters, and empty when
// there is no text (RFC 8970 §3.2). The error is that of src.
func (x *Index) Preview(src io.ReaderAt) (string, error) {
	html, tried := -1, 0
	for i := 0; i < len(x.Parts); i++ {
		p := &x.Parts[i]
		if p.Message() { // what is in it speaks for itself
			i = p.Next - 1
		}
		if p.Type != "text" || p.Disposition == "attachment" || p.End == p.BodyStart {
			continue
		}
		if p.Subtype == "html" || p.Subtype == "xhtml+xml" {
			if html < 0 {
				html = i
			}
			continue
		}
		if p.Subtype != "plain" && p.Subtype != "enriched" {
			continue
		}
		if tried++; tried > previewParts {
			break
		}
		if s, err := p.preview(src); s != "" || err != nil {
			return s, err
		}
	}
	if html < 0 {
		return "", nil
	}
	return x.Parts[html].preview(src)
}

// preview makes the preview of one part.
func (p *Part) preview(src io.ReaderAt) (string, error) {
	cut := *p
	cut.End = min(cut.End, cut.BodyStart+previewRaw)
	text := make([]byte, 0, 2<<10)
	w := previewer{}
	r := io.LimitReader(cut.TextReader(src), previewInput)
	for !w.full() {
		n, err := r.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
		// The last line waits for its rest, unless there is no room for it.
		end := bytes.LastIndexByte(text, '\n') + 1
		if err != nil {
			end = len(text)
		} else if end == 0 && len(text) == cap(text) {
			end = WholeRunes(text)
		}
		for line := range bytes.Lines(text[:end]) {
			w.line(line)
		}
		text = text[:copy(text, text[end:])]
		if err != nil {
			break
		}
	}
	return w.result(), nil
}

// previewer gathers the lines of a preview. One line is held back, since it is
// left out when a quotation follows that it introduces.
type previewer struct {
	own, quoted gathered
	held        []byte
	ended       bool // the signature began
}

func (w *previewer) full() bool { return w.ended || w.own.n >= PreviewLength }

// line takes a line, or a piece of a very long one.
func (w *previewer) line(b []byte) {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0 || w.full():
	case string(b) == "--":
		w.ended = true
	case b[0] == '>':
		if n := len(w.held); n > 0 && w.held[n-1] == ':' {
			w.held = w.held[:0]
		}
		w.quoted.add(bytes.TrimLeft(b, "> "))
	default:
		w.own.add(w.held)
		w.held = append(w.held[:0], b...)
	}
}

func (w *previewer) result() string {
	w.own.add(w.held)
	if w.own.n > 0 {
		return string(w.own.text)
	}
	return string(w.quoted.text)
}

// gathered is text with its white space joined.
type gathered struct {
	text  []byte
	n     int // characters
	space bool
}

// add appends text as if after a space. Controls and characters that only steer how
// others look are left out; the joiner within emoji stays.
func (g *gathered) add(b []byte) {
	g.space = true
	for len(b) > 0 && g.n < PreviewLength {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case unicode.IsSpace(r):
			g.space = true
			continue
		case unicode.IsControl(r), r == '\u034f', r != '\u200d' && unicode.Is(unicode.Cf, r), r == '\u200d' && g.space:
			continue
		}
		if g.space && g.n > 0 {
			if g.n+2 > PreviewLength {
				g.n = PreviewLength // no room for a space and what follows it
				return
			}
			g.text = append(g.text, ' ')
			g.n++
		}
		g.space = false
		g.text = utf8.AppendRune(g.text, r)
		g.n++
	}
}
