package smtp

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/postino-mail/postino"
)

// What BURL answers (RFC 4468 §6).
var (
	replyNeedAuth  = &Reply{530, "5.7.0", "Authentication required"}
	replyNoURL     = &Reply{554, "5.6.6", "IMAP URL resolution failed"}
	replyURLTrust  = &Reply{554, "5.7.8", "URL resolution requires trust relationship"}
	replyURLLater  = &Reply{451, "4.4.1", "IMAP server unavailable"}
	errURLSize     = errors.New("content of URL is not as long as it was said to be")
	errNoURLReader = errors.New("no reader")
)

// doBurl is RFC 4468 §3.2: what the URL names stands in the content as a chunk
// of BDAT would. Any failure ends the transaction, so that a pipelined LAST
// cannot complete it without this piece.
func (c *Conn) doBurl(arg []byte) *Reply {
	if !c.burls() {
		return replyNotDone
	}
	url, end, last := bytes.Cut(arg, []byte(" "))
	var failure *Reply
	switch {
	case !isURI(url) || last && !bytes.EqualFold(end, []byte("LAST")):
		failure = replySyntax
	case c.tx.open() && c.identity == "":
		failure = replyNeedAuth
	default:
		failure = c.piece()
	}
	if failure == replyNeedMail || failure == replyNeedRcpt {
		return failure
	}
	had := c.tx.size
	if failure == nil {
		failure = c.fetch(string(url))
	}
	switch {
	case failure != nil && c.tx.open():
		return c.spoil(failure)
	case failure != nil:
		return failure
	case c.tx.size > had:
		c.idle = 0
	}
	return c.endPiece(nil, last, 1)
}

// isURI tells whether b can be an absolute URI (RFC 3986 §4.3, §2).
func isURI(b []byte) bool {
	scheme, rest, ok := bytes.Cut(b, []byte(":"))
	if !ok || len(scheme) == 0 || len(rest) == 0 || scheme[0] <= '9' {
		return false
	}
	for _, c := range scheme {
		if !isAlnum(c) && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	for _, c := range rest {
		if c <= ' ' || c > '~' || bytes.IndexByte([]byte(`"<>\^{|}`+"`"), c) >= 0 {
			return false
		}
	}
	return true
}

// fetch writes what url names into the transaction.
func (c *Conn) fetch(url string) *Reply {
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.lim.CommitTimeout)
	defer cancel()
	r, size, err := c.session.URL(ctx, url)
	if err == nil && r == nil {
		err = errNoURLReader
	}
	if err != nil {
		return c.urlFailed(err)
	}
	defer r.Close()
	if size > c.srv.lim.MessageBytes-c.tx.size {
		return replyTooBig
	}
	buf := c.srv.pool.Get().(*[bufferSize]byte)
	defer c.srv.pool.Put(buf)
	for got := int64(0); ; {
		n, err := r.Read(buf[:])
		if failure := c.write(buf[:n]); failure != nil {
			return failure
		}
		got += int64(n)
		switch {
		case err == io.EOF && size >= 0 && got != size:
			return c.urlFailed(errURLSize)
		case err == io.EOF:
			return nil
		case err == nil:
			err = ctx.Err()
		}
		if err != nil {
			return c.urlFailed(err)
		}
	}
}

// urlFailed maps an error of Session.URL or its reader.
func (c *Conn) urlFailed(err error) *Reply {
	r := c.failed("burl", err)
	if said := (*Reply)(nil); errors.As(err, &said) {
		if r.success() {
			return replyLocal
		}
		return r
	}
	switch postino.KindOf(err) {
	case postino.NotFound, postino.Invalid:
		return replyNoURL
	case postino.Denied:
		return replyURLTrust
	case postino.Transient:
		return replyURLLater
	}
	return r
}
