package imap

// copy is COPY and UID COPY (RFC 9051 §6.4.7).
func (c *conn) copy() error {
	set, to, err := c.copyArguments()
	if err != nil {
		return err
	}
	data, err := c.sess.Copy(c.ctx, set, to)
	if err = c.limited(err); err != nil {
		return tryCreate(err)
	}
	if len(data.Source) > 0 {
		c.setCode(func(o *output) { copyUID(o, data) })
	}
	return nil
}

// move is MOVE and UID MOVE (RFC 9051 §6.4.8). COPYUID comes before the messages
// leave, in an untagged OK; the poll that follows sends EXPUNGE.
func (c *conn) move() error {
	set, to, err := c.copyArguments()
	if err != nil {
		return err
	}
	if c.readOnly {
		return errReadOnly
	}
	data, err := c.sess.Move(c.ctx, set, to)
	if err = c.limited(err); err != nil {
		return tryCreate(err)
	}
	if len(data.Source) > 0 {
		c.out.str("* OK [")
		copyUID(&c.out, data)
		c.out.codeEnd("Moved")
	}
	if data.HighestModSeq > 0 {
		c.highestModSeq(data.HighestModSeq) // RFC 6851 §4.4, RFC 7162 §3.2.9
	}
	return nil
}

func (c *conn) copyArguments() (set NumSet, to string, err error) {
	if set, err = c.spNumSet(); err == nil {
		to, err = c.oneMailbox()
	}
	return set, to, err
}

// copyUID prints the response code that maps old UIDs to new ones (RFC 4315 §3).
func copyUID(o *output, d *CopyData) {
	o.str("COPYUID ")
	o.num(d.UIDValidity)
	o.str(" ")
	o.ranges(d.Source)
	o.str(" ")
	o.ranges(d.Dest)
}

// expunge is EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9); the poll that follows
// tells which messages went.
func (c *conn) expunge() error {
	var uids *NumSet
	if c.uid {
		set, err := c.spNumSet()
		if err != nil {
			return err
		}
		uids = &set
	}
	if err := c.end(); err != nil {
		return err
	}
	if c.readOnly {
		return errReadOnly
	}
	data, err := c.sess.Expunge(c.ctx, uids)
	if err = c.limited(err); err == nil && data.HighestModSeq > 0 {
		c.highestModSeq(data.HighestModSeq)
	}
	return err
}

// highestModSeq makes the tagged OK tell the mod-sequence after an expunge, which
// clients of QRESYNC need (RFC 7162 §3.2.7).
func (c *conn) highestModSeq(n uint64) {
	if !c.out.condstore {
		return
	}
	c.setCode(func(o *output) {
		o.str("HIGHESTMODSEQ ")
		o.modseq(n)
	})
}
