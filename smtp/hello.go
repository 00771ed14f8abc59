package smtp

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// handshake turns the connection into TLS (SS6, SS12). first are the octets of
// the client's that were already read.
func (c *Conn) handshake(first []byte) error {
	raw := c.raw
	if len(first) > 0 {
		raw = &preceded{Conn: raw, first: first}
	}
	t := tls.Server(raw, c.srv.tls)
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
		early := c.buffered() > 0 || c.tls == nil && talks(c.raw)
		if opts.GreetDelay > 0 && !early {
			c.raw.SetDeadline(time.Now().Add(opts.GreetDelay))
			early = c.read() == nil
		}
		if early {
			c.drop(replyEarly)
			return
		}
	}
	c.out = c.greeting().appendTo(c.out)
}

func (c *Conn) greeting() *Reply {
	protocol := " ESMTP Postino"
	if c.srv.opts.LMTP {
		protocol = " LMTP Postino"
	}
	return &Reply{Code: 220, Text: c.srv.opts.Hostname + protocol}
}

// forget undoes what was learnt of a client.
func (c *Conn) forget() {
	c.hello, c.esmtp, c.authable, c.identity, c.forward, c.holdUntil = "", false, false, "", nil, time.Time{}
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

// doHello is EHLO, HELO and LHLO (RFC 5321 §4.1.1.1, RFC 2033 §4.1). Any word is taken for a name:
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
	announce := func(on bool, keyword string, args ...string) {
		if on {
			ext = append(ext, strings.Join(append([]string{keyword}, args...), " "))
		}
	}
	announce(opts.BinaryMIME, "BINARYMIME")
	announce(opts.DSN, "DSN")
	announce(c.srv.tls != nil && c.tls == nil, "STARTTLS")
	mechs := c.mechanisms()
	c.authable = len(mechs) > 0
	announce(c.authable && c.identity == "", "AUTH", mechs...)
	announce(c.requireTLS(), "REQUIRETLS")
	if hold := c.longestHold(); hold > 0 {
		c.holdUntil = time.Now().Add(hold).UTC().Truncate(time.Second)
		announce(true, "FUTURERELEASE", fmt.Sprint(int64(hold/time.Second)), c.holdUntil.Format(time.RFC3339))
	}
	announce(opts.DeliverBy, "DELIVERBY", deliverByArgs(opts.DeliverByMin)...)
	announce(opts.Priority, "MT-PRIORITY", strings.Fields(opts.PriorityPolicy)...)
	announce(opts.NoSoliciting != nil, "NO-SOLICITING", strings.Fields(strings.Join(opts.NoSoliciting, ","))...)
	announce(opts.RRVS, "RRVS")
	announce(opts.ETRN && !opts.LMTP, "ETRN")
	announce(c.burls() && c.identity == "", "BURL") // RFC 4468 §3.3: whose URLs, only after AUTH
	announce(c.burls() && c.identity != "", "BURL", "imap://"+opts.Hostname)
	announce(c.xclient, "XCLIENT", xclientNames)
	announce(c.xforward, "XFORWARD", xforwardNames)
	return append(ext, fmt.Sprintf("LIMITS MAILMAX=%d RCPTMAX=%d", min(c.maxMails(), maxLimit), min(lim.Recipients, maxLimit)))
}

// requireTLS tells whether MAIL may say REQUIRETLS now (RFC 8689 §2).
func (c *Conn) requireTLS() bool { return c.srv.opts.RequireTLSOption && c.tls != nil }

// longestHold is how long a message may be held, in whole seconds; 0 without
// FUTURERELEASE.
func (c *Conn) longestHold() time.Duration {
	if c.srv.opts.LMTP {
		return 0
	}
	return min(c.srv.opts.FutureRelease, maxInterval).Truncate(time.Second)
}

// burls tells whether BURL is spoken.
func (c *Conn) burls() bool { return c.srv.opts.BURL && !c.srv.opts.LMTP }

// deliverByArgs is deliverby-param (RFC 2852 §2).
func deliverByArgs(least time.Duration) []string {
	if least < time.Second {
		return nil
	}
	return []string{fmt.Sprint(int64(min(least, maxInterval) / time.Second))}
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
	c.forget()
	c.out = replyReadyTLS.appendTo(c.out)
	c.push()
	c.shrink()
	if c.state != talking {
		return nil
	}
	if err := c.handshake(nil); err != nil {
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
