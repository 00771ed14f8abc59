package imap

import (
	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

// append is APPEND (RFC 9051 §6.3.12) of one or several messages (RFC 3502), whose
// octets may come as literal8 (RFC 3516 §4.4). All are stored or none.
func (c *conn) append() error {
	mailbox, _, err := c.spMailbox()
	if err != nil {
		return err
	}
	var app Appender
	for n := 0; n == 0 || c.p.Peek() == ' ' && len(c.p.Rest()) > 1; n++ {
		m, l, err := c.appendArguments()
		if err == nil && n == c.lim.Messages {
			err = &Error{Code: "LIMIT", Text: "Too many messages in one APPEND"}
		}
		if err != nil {
			return err
		}
		if n == 0 {
			if app, err = c.sess.Append(c.ctx, AppendRequest{Mailbox: mailbox}); err != nil {
				return tryCreate(err)
			}
			defer app.Abort()
		}
		if err := c.appendMessage(app, m, l); err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	data, err := app.Commit(c.ctx)
	if err != nil {
		return tryCreate(err)
	}
	if len(data.UIDs) > 0 {
		c.setCode(func(o *output) {
			o.str("APPENDUID ")
			o.num(data.UIDValidity)
			o.str(" ")
			o.ranges(data.UIDs)
		})
	}
	return nil
}

// tryCreate answers for a destination that does not exist (RFC 9051 §7.1).
func tryCreate(err error) error {
	return withCode(err, postino.NotFound, "TRYCREATE", "No such mailbox, create it first")
}

// appendArguments reads what stands before a message's octets.
func (c *conn) appendArguments() (m AppendMessage, l wire.Literal, err error) {
	if err = c.p.SP(); err != nil {
		return m, l, err
	}
	if c.p.Peek() == '(' {
		if m.Flags, m.Keywords, err = c.flagList(false); err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return m, l, err
		}
	}
	if c.p.Peek() == '"' {
		if m.Date, err = c.p.DateTime(); err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return m, l, err
		}
	}
	l, err = c.p.LiteralHeader()
	m.Size, m.Binary = l.Size, l.Binary
	switch {
	case err != nil:
	case l.Size == 0:
		err = &Error{Code: "CANNOT", Text: "Empty message, APPEND is cancelled"} // RFC 3502 §6.3.11
	case l.Size > c.lim.Message:
		if l.NonSync {
			return m, l, c.die("[TOOBIG] Message too large")
		}
		err = &Error{Code: "TOOBIG", Text: "Message too large"}
	}
	return m, l, err
}

// appendMessage streams one message to the session. When that fails the octets
// are read all the same, because they are on their way.
func (c *conn) appendMessage(app Appender, m AppendMessage, l wire.Literal) error {
	w, err := app.Message(c.ctx, m)
	if err != nil {
		return err
	}
	c.invite(l)
	scratch := outputs.Get().(*[]byte)
	defer outputs.Put(scratch)
	failed, err := c.in.CopyN(w, l.Size, (*scratch)[:cap(*scratch)])
	if err != nil {
		return err
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	c.p.Reset(line)
	return failed
}
