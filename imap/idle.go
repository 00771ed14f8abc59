package imap

import "errors"

// idle is IDLE (RFC 9051 §6.3.13). It begins here and goes on in stepIdle, one turn
// at a time, so that an idle client holds no more than its conn.
func (c *conn) idle() error {
	if err := c.end(); err != nil {
		return err
	}
	c.out.str("+ ")
	c.out.text("idling")
	c.out.str("\r\n")
	c.idling.Store(true)
	if c.state == selected || c.listening.Load() {
		c.sess.Watch(c.wake)
		c.lose(c.poll()) // what came before Watch
	}
	return errReplied
}

// stepIdle writes what changed, and ends IDLE at DONE.
func (c *conn) stepIdle() {
	if c.changed.Swap(false) && (c.state == selected || c.listening.Load()) {
		c.lose(c.poll())
	}
	if c.in.Buffered() == 0 {
		return
	}
	line, err := c.in.Line(c.lim.LoginLine)
	switch {
	case errors.Is(err, errWake):
		c.readErr = nil
		return
	case err != nil:
		if c.readErr == nil {
			c.die("Line too long")
		}
		return
	}
	c.p.Reset(line)
	c.idling.Store(false)
	if c.state == selected && !c.listening.Load() {
		c.sess.Watch(nil)
	}
	c.changed.Store(false)
	if equalFold(line, "DONE") {
		c.finish(nil)
		return
	}
	c.finish(syntax("Expected DONE"))
}
