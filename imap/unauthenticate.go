package imap

import "time"

// unauthenticate is UNAUTHENTICATE (RFC 8437 §3): all that the connection came by
// since it began goes, except TLS. There is no NO to it.
func (c *conn) unauthenticate() error {
	if err := c.end(); err != nil {
		return err
	}
	sess, err := c.srv.opts.NewSession(c.ctx, &c.info)
	if err != nil {
		return c.die(replyFor(err).Text)
	}
	c.sess.Watch(nil)
	c.sess.Close()
	c.srv.conns.Logout(c)
	c.sess, c.state, c.mailbox, c.readOnly, c.saved = sess, notAuthenticated, "", false, nil
	c.loginUntil, c.bad = time.Now().Add(c.lim.LoginTime), 0
	c.out.buf = append(c.out.buf, c.tag...)
	c.out.str(" OK ")
	c.out.str(c.name)
	c.out.text(" completed")
	c.out.str("\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	// Compression ends behind the reply (§4.1).
	c.uncompress()
	c.extras, c.collation = nil, ""
	c.listening.Store(false)
	c.changed.Store(false)
	c.out.enabled = enabled{}
	return errReplied
}
