package imap

import (
	"fmt"
	"io"

	"github.com/postino-mail/postino"
)

// catenate reads the parts of a message and streams them to w, one after another
// (RFC 4469 §3).
func (c *conn) catenate(w io.Writer) error {
	var total int64
	err := c.parenthesised(func() error {
		label, err := c.p.Label()
		if err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return err
		}
		var n int64
		switch string(label) {
		case "URL":
			n, err = c.catenateURL(w, total)
		case "TEXT":
			n, err = c.catenateText(w, total)
		default:
			err = syntax("Expected URL or TEXT")
		}
		total += n
		return err
	})
	if err == nil && total == 0 {
		err = errEmpty
	}
	return err
}

// catenateText adds octets that the client sends.
func (c *conn) catenateText(w io.Writer, before int64) (int64, error) {
	l, err := c.p.LiteralHeader()
	if err == nil {
		err = c.checkMessage(l, before)
	}
	if c.literals++; err == nil && c.literals > c.lim.Literals {
		err = c.die("Too many literals")
	}
	if err != nil {
		return 0, err
	}
	return l.Size, c.readMessage(w, l)
}

// catenateURL adds octets that are on the server, without looking at them.
func (c *conn) catenateURL(w io.Writer, before int64) (int64, error) {
	text, err := c.p.AString()
	if err != nil {
		return 0, err
	}
	if len(text) > c.lim.URL {
		return 0, syntax("URL too long")
	}
	data, err := c.openURL(text)
	if err != nil {
		return 0, err
	}
	if data.Close != nil {
		defer data.Close()
	}
	if data.Size > c.lim.Message-before {
		return 0, errTooBig
	}
	scratch := outputs.Get().(*[]byte)
	defer outputs.Put(scratch)
	// The bare types, so that the copy goes through scratch.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.NewSectionReader(data, 0, data.Size)}, (*scratch)[:cap(*scratch)])
	if err == nil && n < data.Size {
		err = postino.E(postino.Corrupt, "read", text, io.ErrUnexpectedEOF)
	}
	return n, err
}

// openURL opens what a URL without a server names (RFC 4469 §3).
func (c *conn) openURL(text string) (*URLData, error) {
	u, err := ParseURL(text, *c.lim)
	if err != nil || u.Host != "" {
		return nil, badURL(text, err)
	}
	data, err := c.sess.OpenURL(c.ctx, u)
	switch postino.KindOf(err) {
	case postino.NotFound, postino.Denied, postino.Invalid:
		if err != nil {
			err = badURL(text, err)
		}
	}
	return data, err
}

// badURL answers for a URL that leads nowhere (RFC 4469 §4.1). What a URL cannot
// hold, and a response code neither, is encoded.
func badURL(text string, cause error) error {
	code := []byte("BADURL ")
	for i := range len(text) {
		if b := text[i]; b <= ' ' || b > '~' || b == ']' || b == '\\' || b == '"' {
			code = fmt.Appendf(code, "%%%02X", b)
		} else {
			code = append(code, b)
		}
	}
	return &Error{Code: string(code), Text: "No message or part of one there", Err: cause}
}
