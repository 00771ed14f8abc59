package message

import (
	"io"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxToken bounds one token of HTML in octets; what follows a longer one is
// read as plain text.
const maxToken = 1 << 20

// HTMLText returns a reader of the text that a reader of the HTML in r, which is
// UTF-8, would see: entities decoded, white space as HTML joins it, a line end
// where an element begins a line, images by their alternative text. Scripts,
// styles and comments are left out. It keeps one token and no tree.
func HTMLText(r io.Reader) io.Reader {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(maxToken)
	return &htmlReader{r: r, z: z}
}

type htmlReader struct {
	r      io.Reader
	z      *html.Tokenizer
	out    []byte
	unread []byte
	skip   atom.Atom // the element whose content is left out
	begun  bool      // something was written
	space  byte      // white space to write before the next text
	err    error
}

func (h *htmlReader) Read(p []byte) (int, error) {
	for len(h.unread) == 0 {
		if h.err != nil {
			return 0, h.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		h.out = h.out[:0]
		for h.err == nil && len(h.out) < 4<<10 {
			h.token()
		}
		h.unread = h.out
	}
	n := copy(p, h.unread)
	h.unread = h.unread[n:]
	return n, nil
}

func (h *htmlReader) token() {
	switch h.z.Next() {
	case html.ErrorToken:
		h.end()
	case html.TextToken:
		if h.skip == 0 {
			h.text(h.z.Text())
		}
	case html.StartTagToken, html.SelfClosingTagToken:
		name, attrs := h.z.TagName()
		h.start(atom.Lookup(name), attrs)
	case html.EndTagToken:
		name, _ := h.z.TagName()
		a := atom.Lookup(name)
		if a != 0 && a == h.skip {
			h.skip = 0
		}
		h.breaks(a)
	}
}

// end ends the text, or goes on with plain text after a token that was too long.
func (h *htmlReader) end() {
	if h.err = h.z.Err(); h.err != html.ErrBufferExceeded {
		return
	}
	h.err = nil
	h.text(h.z.Raw())
	h.text(h.z.Buffered())
	h.z = html.NewTokenizer(h.r)
	h.z.SetMaxBuf(maxToken)
}

func (h *htmlReader) start(a atom.Atom, attrs bool) {
	switch a {
	case atom.Script, atom.Style, atom.Template, atom.Title:
		if h.skip == 0 {
			h.skip = a
		}
	case atom.Body:
		h.skip = 0
	case atom.Img:
		for attrs && h.skip == 0 {
			var key, value []byte
			key, value, attrs = h.z.TagAttr()
			if string(key) == "alt" {
				h.text(value)
			}
		}
	}
	h.breaks(a)
}

// breaks ends the line at the elements that begin or end one.
func (h *htmlReader) breaks(a atom.Atom) {
	switch a {
	case atom.Br, atom.P, atom.Div, atom.Tr, atom.Table, atom.Li, atom.Ul, atom.Ol, atom.Dl, atom.Dt, atom.Dd,
		atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Hr, atom.Pre, atom.Blockquote, atom.Form,
		atom.Section, atom.Article, atom.Header, atom.Footer, atom.Main, atom.Aside, atom.Nav, atom.Address,
		atom.Figure, atom.Center, atom.Option, atom.Fieldset, atom.Body:
		h.space = '\n'
	case atom.Td, atom.Th:
		if h.space == 0 {
			h.space = ' '
		}
	}
}

// text writes text with its white space joined.
func (h *htmlReader) text(b []byte) {
	for i := 0; i < len(b); {
		if isSpace(b[i]) || b[i] == '\f' {
			if h.space == 0 {
				h.space = ' '
			}
			i++
			continue
		}
		n := i + 1
		for n < len(b) && !isSpace(b[n]) && b[n] != '\f' {
			n++
		}
		if h.space != 0 && h.begun {
			h.out = append(h.out, h.space)
		}
		h.space, h.begun = 0, true
		h.out = append(h.out, b[i:n]...)
		i = n
	}
}
