package smtp

import (
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// doMail begins a transaction (RFC 5321 §4.1.1.2).
func (c *Conn) doMail(arg []byte, ascii bool) *Reply {
	c.mails++
	switch {
	case c.hello == "":
		return replyHelloFirst
	case c.tx.open():
		return replyNested
	case c.mails > c.maxMails():
		return &Reply{421, "4.7.0", c.srv.opts.Hostname + " Too many transactions"}
	}
	path, ok := cutKeyword(string(arg), "FROM:")
	if !ok {
		return replySyntax
	}
	from, params, err := postino.ParsePath(path, true)
	if err != nil || from.Domain == "" && !from.IsNull() {
		return replyBadSender
	}
	var o MailOptions
	ext := c.announced()
	if r := parseMailParams(params, &ext, &o); r != nil {
		return r
	}
	if !ascii && !o.SMTPUTF8 {
		return replyNotUTF8
	}
	t, err := c.session.Mail(c.ctx, from, o)
	r := replyMail
	if ext.lowered {
		r = replyNoPriority
	}
	if err != nil {
		r = c.failed("mail", err)
	}
	if t != nil && r.success() {
		c.tx = transaction{t: t, utf8: o.SMTPUTF8, binary: o.Body == postino.BodyBinaryMIME}
		return r
	}
	if t != nil {
		t.Close()
	}
	if r.success() { // no error and no transaction either
		return replyLocal
	}
	return r
}

// announced says which parameters may stand in MAIL and RCPT.
func (c *Conn) announced() extensions {
	opts := &c.srv.opts
	return extensions{
		dsn: opts.DSN, binary: opts.BinaryMIME, auth: c.authable, requireTLS: c.requireTLS(), rrvs: opts.RRVS,
		deliverBy: opts.DeliverBy, deliverByMin: opts.DeliverByMin, priority: opts.Priority, raise: c.trusted || c.identity != "",
		solicit: opts.NoSoliciting != nil, unwanted: opts.NoSoliciting,
		holdFor: c.longestHold(), holdUntil: c.holdUntil, size: c.srv.lim.MessageBytes, now: time.Now(),
	}
}

// doRcpt adds a recipient (RFC 5321 §4.1.1.3).
func (c *Conn) doRcpt(arg []byte, ascii bool) *Reply {
	switch {
	case !c.tx.open():
		return replyNeedMail
	case c.tx.sink != nil: // after the first BDAT
		return replySequence
	}
	path, ok := cutKeyword(string(arg), "TO:")
	if !ok {
		return replySyntax
	}
	if !ascii && !c.tx.utf8 {
		return replyNotUTF8
	}
	var to postino.Recipient
	var params string
	var err error
	to.Address, params, err = postino.ParsePath(path, c.tx.utf8)
	if err != nil || to.Address.IsNull() {
		return replyBadRcpt
	}
	if params != "" {
		ext := c.announced()
		if r := parseRcptParams(params, &ext, &to); r != nil {
			return r
		}
	}
	if c.tx.rcpts >= c.srv.lim.Recipients {
		return replyTooManyRcpt // RFC 5321 §4.5.3.1.10
	}
	r := replyRcpt
	if err := c.tx.t.Rcpt(c.ctx, to); err != nil {
		if r = c.failed("rcpt", err); !r.success() {
			return r
		}
	}
	c.tx.rcpts++
	c.idle = 0
	return r
}

// cutKeyword takes "FROM:" or "TO:" and the spaces that some clients send
// after it off s.
func cutKeyword(s, keyword string) (rest string, ok bool) {
	if len(s) < len(keyword) || !strings.EqualFold(s[:len(keyword)], keyword) {
		return "", false
	}
	return strings.TrimLeft(s[len(keyword):], " "), true
}

// doVerify is VRFY and EXPN (RFC 5321 §3.5, RFC 6531 §3.7.4.2).
func (c *Conn) doVerify(v verb, arg []byte, ascii bool) *Reply {
	name := string(arg)
	const flag = " SMTPUTF8"
	if n := len(name) - len(flag); n > 0 && strings.EqualFold(name[n:], flag) {
		name = strings.TrimRight(name[:n], " ")
	} else if !ascii {
		return replyNotUTF8
	}
	if name == "" {
		return replySyntax
	}
	ask, r := c.session.Verify, replyCannotVerify
	if v == expn {
		ask, r = c.session.Expand, replyCannotExpand
	}
	if err := ask(c.ctx, name); err != nil {
		return c.failed("verify", err)
	}
	return r
}
