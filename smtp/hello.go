package smtp

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// handshake turns the connection into TLS (SS6, SS12).
func (c *Conn) handshake() error {
	t := tls.Server(c.raw, c.srv.tls)
	c.raw.SetDeadline(time.Now().Add(c.srv.lim.HandshakeTimeout))
	if err := t.HandshakeContext(c.ctx); err != nil {
		c.srv.log.handshakeFailed(c, err)
		return err
	}
	state := t.ConnectionState()
	c.conn, c.tls = t, &state
	return nil
}

// greet makes the session and says 220, unless the client talks first (SS17)
// or the session refuses it.
func (c *Conn) greet() {
	opts := &c.srv.opts
	s, err := opts.Backend.NewSession(c.ctx, c)
	if err != nil {
		c.refuse(err)
		return
	}
	c.session = s
	if !opts.LaxPipelining {
		early := c.tls == nil && talks(c.raw)
		if opts.GreetDelay > 0 && !early {
			c.raw.SetDeadline(time.Now().Add(opts.GreetDelay))
			early = c.read() == nil
		}
		if early {
			c.drop(replyEarly)
			return
		}
	}
	c.out = (&Reply{Code: 220, Text: opts.Hostname + " ESMTP Postino"}).appendTo(c.out)
}

// refuse says what NewSession answered. After a 554 the client may still say
// QUIT and everything else is 503 (RFC 5321 §3.1).
func (c *Conn) refuse(err error) {
	r := ReplyFor(err)
	c.srv.log.failed(c, "greeting", err, r)
	if r.Code != 554 {
		if r.Code < 400 {
			r = replyLocal
		}
		c.end(dropping, r)
		return
	}
	c.refusal = replySequence
	c.out = r.appendTo(c.out)
}

// doHello is EHLO and HELO (RFC 5321 §4.1.1.1). Any word is taken for a name:
// RFC 5321 §4.1.4 forbids to refuse mail for it.
func (c *Conn) doHello(arg []byte, esmtp bool) *Reply {
	if len(arg) == 0 || len(arg) > postino.MaxDomain || bytes.IndexByte(arg, ' ') >= 0 {
		return replySyntax
	}
	name := string(arg)
	if err := c.session.Hello(c.ctx, name, esmtp); err != nil {
		if r := c.failed("hello", err); !r.success() {
			return r // and all stays as it was (RFC 5321 §4.1.4)
		}
	}
	c.endTransaction()
	c.hello, c.esmtp, c.authable = name, esmtp, false
	if !esmtp {
		return &Reply{Code: 250, Text: c.srv.opts.Hostname}
	}
	return &Reply{Code: 250, Text: c.srv.opts.Hostname + "\n" + strings.Join(c.extensions(), "\n")}
}

// extensions lists what EHLO announces, only what is complete, and notes it.
func (c *Conn) extensions() []string {
	opts, lim := &c.srv.opts, &c.srv.lim
	ext := []string{"PIPELINING", fmt.Sprint("SIZE ", lim.MessageBytes), "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"}
	if opts.BinaryMIME {
		ext = append(ext, "BINARYMIME")
	}
	if opts.DSN {
		ext = append(ext, "DSN")
	}
	if c.srv.tls != nil && c.tls == nil {
		ext = append(ext, "STARTTLS")
	}
	mechs := c.mechanisms()
	if c.authable = len(mechs) > 0; c.authable && c.identity == "" {
		ext = append(ext, "AUTH "+strings.Join(mechs, " "))
	}
	return append(ext, fmt.Sprintf("LIMITS MAILMAX=%d RCPTMAX=%d", min(c.maxMails(), maxLimit), min(lim.Recipients, maxLimit)))
}

// maxLimit is what LIMITS can say: six digits (RFC 9422 §4.1).
const maxLimit = 999999

// maxMails is how many MAIL commands the client may send.
func (c *Conn) maxMails() int {
	if c.trusted {
		return maxLimit
	}
	return c.srv.lim.Transactions
}

// doStartTLS is RFC 3207 §4. All that was learnt before is forgotten: a new
// Session takes over.
func (c *Conn) doStartTLS(arg []byte) *Reply {
	switch {
	case c.srv.tls == nil:
		return replyNotDone
	case c.tls != nil:
		return replySequence
	case len(arg) > 0:
		return replyNoArgs
	}
	c.endSession()
	c.hello, c.esmtp, c.authable, c.identity = "", false, false, ""
	c.out = replyReadyTLS.appendTo(c.out)
	c.push()
	c.shrink()
	if c.state != talking {
		return nil
	}
	if err := c.handshake(); err != nil {
		c.state = closing
		return nil
	}
	s, err := c.srv.opts.Backend.NewSession(c.ctx, c)
	if err != nil {
		r := ReplyFor(err)
		c.srv.log.failed(c, "starttls", err, r)
		c.refusal = r // to the next command, since TLS has no greeting
		return nil
	}
	c.session = s
	return nil
}
