package imap

import (
	"io"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

// append is APPEND (RFC 9051 §6.3.12) of one or several messages (RFC 3502), whose
// octets may come as literal8 (RFC 3516 §4.4) or in parts (RFC 4469). All are
// stored or none.
func (c *conn) append() error { return c.appendMessages(nil) }

// replace is REPLACE and UID REPLACE (RFC 8508 §3.2): an APPEND of one message
// that takes another one away.
func (c *conn) replace() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	saved := c.p.Peek() == '$'
	set, err := c.numSet()
	if err == nil && (saved || len(set.Ranges) != 1 || set.Ranges[0].Start != set.Ranges[0].Stop) {
		err = syntax("Expected the number of one message")
	}
	if err != nil {
		return err
	}
	return c.appendMessages(&set)
}

// appendMessages reads the mailbox and the messages and stores them.
func (c *conn) appendMessages(replace *NumSet) error {
	mailbox, _, err := c.spMailbox()
	if err != nil {
		return err
	}
	var app Appender
	for n := 0; n == 0 || replace == nil && c.p.Peek() == ' ' && len(c.p.Rest()) > 1; n++ {
		m, d, err := c.appendArguments()
		switch {
		case err != nil:
		case n == c.lim.appended():
			err = &Error{Code: messageLimit(c.lim.appended(), 0), Text: "Too many messages in one APPEND"} // RFC 9738 §3.1
		case n == 0 && replace != nil && c.readOnly:
			err = errReadOnly
		case n == 0:
			if app, err = c.sess.Append(c.ctx, AppendRequest{Mailbox: mailbox, Replace: replace}); err == nil {
				defer app.Abort()
			}
			err = tryCreate(err)
		}
		if err == nil {
			err = c.appendMessage(app, m, d)
		}
		if err != nil {
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
		c.appended(data, replace != nil)
	}
	return nil
}

// appended prints APPENDUID in the tagged reply; after REPLACE before that, so that it
// comes before EXPUNGE (RFC 8508 §4.3).
func (c *conn) appended(data *AppendData, replaced bool) {
	print := func(o *output) {
		o.str("APPENDUID ")
		o.num(data.UIDValidity)
		o.str(" ")
		o.ranges(data.UIDs)
	}
	if !replaced {
		c.setCode(print)
		return
	}
	c.out.str("* OK [")
	print(&c.out)
	c.out.codeEnd("Replacement message ready")
}

// tryCreate answers for a destination that does not exist (RFC 9051 §7.1).
func tryCreate(err error) error {
	return withCode(err, postino.NotFound, "TRYCREATE", "No such mailbox, create it first")
}

// appendData tells how the octets of a message come.
type appendData struct {
	literal  wire.Literal // announced, unless catenate
	wrapped  bool         // within "UTF8 (" and ")"
	catenate bool         // in parts; "CATENATE " is read
}

// appendArguments reads what stands before a message's octets.
func (c *conn) appendArguments() (m AppendMessage, d appendData, err error) {
	if err = c.p.SP(); err != nil {
		return m, d, err
	}
	if c.p.Peek() == '(' {
		if m.Flags, m.Keywords, err = c.flagList(false); err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return m, d, err
		}
	}
	if c.p.Peek() == '"' {
		if m.Date, err = c.p.DateTime(); err == nil {
			err = c.p.SP()
		}
		if err != nil {
			return m, d, err
		}
	}
	if b := c.p.Peek(); b != '{' && b != '~' {
		if err = c.appendItem(&d); err != nil || d.catenate {
			m.Size = -1
			return m, d, err
		}
	}
	if d.literal, err = c.p.LiteralHeader(); err == nil {
		err = c.checkMessage(d.literal, 0)
	}
	if err == nil && d.literal.Size == 0 {
		err = errEmpty
	}
	m.Size, m.Binary = d.literal.Size, d.literal.Binary
	return m, d, err
}

var errEmpty = &Error{Code: "CANNOT", Text: "Empty message, APPEND is cancelled"} // RFC 3502 §6.3.11

// appendItem reads "CATENATE " (RFC 4469 §5), or "UTF8 (" before a literal8 as
// clients send it that were made for RFC 6855 §4 (RFC 9755 appendix B.1).
func (c *conn) appendItem(d *appendData) error {
	label, err := c.p.Label()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	switch string(label) {
	case "CATENATE":
		d.catenate = true
		return nil
	case "UTF8":
		if !c.out.unicode() {
			return syntax("Enable UTF8=ACCEPT first")
		}
		d.wrapped = true
		if err := c.p.Byte('('); err != nil || c.p.Peek() == '~' {
			return err
		}
		return syntax("Expected a literal8")
	}
	return syntax("Expected a message")
}

var errTooBig = &Error{Code: "TOOBIG", Text: "Message too large"}

// checkMessage refuses a literal that makes a message, of which there are so many
// octets already, too large (IM2). One that comes unasked cannot be refused.
func (c *conn) checkMessage(l wire.Literal, before int64) error {
	if l.Size <= c.lim.Message-before {
		return nil
	}
	if l.NonSync {
		return c.die("[TOOBIG] Message too large")
	}
	return errTooBig
}

// appendMessage gives one message to the session.
func (c *conn) appendMessage(app Appender, m AppendMessage, d appendData) error {
	w, err := app.Message(c.ctx, m)
	switch {
	case err != nil:
	case d.catenate:
		err = c.catenate(w)
	default:
		err = c.readMessage(w, d.literal)
	}
	if err == nil && d.wrapped {
		err = c.p.Byte(')')
	}
	return err
}

// readMessage streams a literal to w, and then reads the line that follows. When
// w fails the octets are read all the same, because they are on their way.
func (c *conn) readMessage(w io.Writer, l wire.Literal) error {
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
