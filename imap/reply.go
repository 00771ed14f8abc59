package imap

import (
	"errors"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/imap/internal/wire"
)

// finish sends the tagged reply, after what the mailbox has to tell.
func (c *conn) finish(err error) {
	if c.readErr != nil || c.out.err != nil || err == errReplied {
		return
	}
	var lost error
	if (c.state == selected || c.listening.Load()) && c.cmd != nil && !c.noPoll {
		lost = c.poll()
	}
	if c.out.err != nil {
		return
	}
	if lost != nil { // after the tagged reply: the command may have done its work
		defer c.lose(lost)
	}
	if err == nil {
		c.tellLimit()
	}
	c.out.buf = append(c.out.buf, c.tag...)
	if err == nil {
		c.out.str(" OK ")
		c.out.buf = append(c.out.buf, c.code...)
		c.out.str(c.name)
		c.out.text(" completed")
		c.out.str("\r\n")
		c.out.flushFull()
		return
	}
	c.refuse(err)
}

// lose ends the connection when the client's picture of its mailbox can no longer be kept
// true: the mailbox was deleted, may no longer be read, or cannot be.
func (c *conn) lose(err error) {
	if err != nil && !c.quit {
		c.bye("[" + replyFor(err).Code + "] " + lostText)
	}
}

const lostText = "Mailbox is not available any more"

// poll writes what else happened in the mailbox. Sequence numbers stay as they
// are after FETCH, STORE and SEARCH, and while a command is not complete because the
// literal that it announced was refused (RFC 9051 §7.5.1). After an error lose is to follow.
func (c *conn) poll() error {
	w := UpdateWriter{out: &c.out, uid: c.uid, readOnly: c.readOnly, track: c.tracked()}
	_, incomplete := wire.PendingLiteral(c.p.Line())
	expunge, n := c.cmd == nil || (c.uid && !c.seqs || !c.cmd.numbered) && !incomplete, c.notifies()
	if n != nil {
		c.changed.Store(!expunge) // what cannot be told now wakes at once
		var any bool
		if any, expunge = n.restrict(&w, c.cmd, expunge, c.state == selected); !any {
			return nil
		}
	}
	err := c.sess.Poll(c.ctx, &w, expunge)
	w.settle()
	if err != nil {
		if replyFor(err).Code == "SERVERBUG" {
			c.srv.observe.internalError(c, "poll", err)
		}
		return err
	}
	if w.overflow {
		n = &notified{}
		c.extras.notified = n
		c.listening.Store(false)
		c.sess.Watch(nil)
	}
	if w.track != nil {
		c.updateContexts(w.track)
	}
	if n != nil {
		if err := c.fetchNew(n, w.fresh); err != nil && replyFor(err).Code == "SERVERBUG" {
			c.srv.observe.internalError(c, "notify", err)
		}
	}
	return nil
}

// refuse answers BAD or NO.
func (c *conn) refuse(err error) {
	var syn *wire.SyntaxError
	reply := &Error{Bad: true}
	if errors.As(err, &syn) {
		reply.Text = syn.Text
	} else if reply = replyFor(err); postino.KindOf(err) == postino.Internal && reply == &replies[postino.Internal] {
		c.srv.observe.internalError(c, c.name, err)
	}
	if reply.Bad {
		c.out.str(" BAD ")
	} else {
		c.out.str(" NO ")
	}
	if reply.Code != "" {
		c.out.str("[")
		c.out.str(reply.Code)
		c.out.str("] ")
	} else {
		c.out.buf = append(c.out.buf, c.code...)
	}
	c.out.text(cleanText(reply.Text))
	c.out.str("\r\n")
	if reply.Bad {
		c.countBad()
	}
	c.skipLiterals()
}

// countBad ends the session of a client that does not speak IMAP (IM1, IM4).
func (c *conn) countBad() {
	c.srv.observe.bad.Inc()
	c.bad++
	if c.bad >= c.lim.Errors || c.state == notAuthenticated && c.bad >= c.lim.LoginErrors {
		c.die("Too many errors")
	}
}

// cleanText keeps a reply on its line and in ASCII, whoever wrote it (G6).
func cleanText(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return quote(s)
		}
	}
	if s == "" {
		return "Failed"
	}
	return s
}
