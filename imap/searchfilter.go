package imap

import (
	"bytes"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

const (
	// filterDepth is how deeply filters may stand in filters; RFC 5466 §3.1 wants 3.
	filterDepth = 5
	// filterCount is how many FILTER keys a search may lead to in all.
	filterCount = 100
)

// filter reads the name of FILTER and puts the keys of the stored filter in its
// place (RFC 5466 §3.1), as one key.
func (p *searchParser) filter() (k SearchKey, err error) {
	name, err := p.p.Atom()
	if err != nil {
		return k, err
	}
	if bytes.IndexByte(name, '/') >= 0 {
		return k, syntax("Malformed filter name")
	}
	if p.charset != "" {
		return k, &Error{Bad: true, Code: badCharset, Text: "Filters are in UTF-8"}
	}
	if len(p.stack) > p.lim.Depth {
		return k, syntax("Search keys nested too deeply")
	}
	undefined := &Error{Code: "UNDEFINED-FILTER " + string(name), Text: "No such filter"}
	lower := strings.ToLower(string(name))
	p.fetched++
	if slices.Contains(p.filters, lower) || len(p.filters) == filterDepth || p.fetched > filterCount {
		return k, undefined
	}
	value, err := p.filterValue(lower)
	if value == nil || err != nil {
		if err == nil || postino.Is(err, postino.NotFound) || postino.Is(err, postino.Denied) {
			err = undefined
		}
		return k, err
	}
	outer := p.p
	defer func() { p.p = outer }()
	text := &filterText{rest: value}
	p.p = wire.Parser{Literals: text}
	p.p.Reset(text.line())
	p.filters = append(p.filters, lower)
	base := len(p.stack)
	k, err = p.parse()
	p.filters, p.stack = p.filters[:len(p.filters)-1], p.stack[:min(base, len(p.stack))]
	if err == nil && len(text.rest) > 0 {
		err = syntax("Line end in a filter")
	}
	if _, ok := err.(*wire.SyntaxError); ok {
		undefined.Text = "The filter is not a search"
		err = undefined
	}
	return k, err
}

// filterValue asks for the text of a filter: the user's own, or else the shared one.
func (p *searchParser) filterValue(name string) ([]byte, error) {
	entries := []string{"/private/filters/values/" + name, "/shared/filters/values/" + name}
	found, err := p.sess.Metadata(p.ctx, "", entries, 0)
	for _, e := range entries {
		for _, a := range found {
			if strings.EqualFold(a.Name, e) && a.Value != nil {
				return a.Value, err
			}
		}
	}
	return nil, err
}

// checkFilter tells whether a value is fit to be a filter (RFC 5466 §3.2).
func (c *conn) checkFilter(value []byte) error {
	outer := c.p
	defer func() { c.p = outer }()
	text := &filterText{rest: value}
	c.p = wire.Parser{Literals: text}
	c.p.Reset(text.line())
	p := searchParser{conn: c, req: &SearchRequest{}}
	_, err := p.parse()
	if err == nil && len(text.rest) > 0 {
		err = syntax("Line end in a filter")
	}
	return err
}

// filterText gives the literals of a filter's text, which stand in it as they do in
// a command.
type filterText struct{ rest []byte }

// line takes the next line, in a copy: the parser changes letters.
func (t *filterText) line() []byte {
	line, rest, _ := bytes.Cut(t.rest, []byte("\r\n"))
	t.rest = rest
	return bytes.Clone(line)
}

// ReadLiteral implements wire.Literals.
func (t *filterText) ReadLiteral(p *wire.Parser, l wire.Literal) ([]byte, error) {
	if l.Size > int64(len(t.rest)) {
		return nil, syntax("Literal without end")
	}
	b := t.rest[:l.Size]
	t.rest = t.rest[l.Size:]
	p.Reset(t.line())
	return b, nil
}
