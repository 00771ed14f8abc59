package imap

var errReadOnly = &Error{Code: "READ-ONLY", Text: "The mailbox is selected read-only"}

// store is STORE and UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
func (c *conn) store() error {
	req := StoreRequest{UID: c.uid}
	var err error
	if req.Set, err = c.spNumSet(); err != nil {
		return err
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	if c.p.Peek() == '(' {
		if err := c.storeModifiers(&req); err != nil {
			return err
		}
		if err := c.p.SP(); err != nil {
			return err
		}
	}
	switch {
	case c.p.Try('+'):
		req.Op = StoreAdd
	case c.p.Try('-'):
		req.Op = StoreRemove
	}
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	w := UpdateWriter{out: &c.out, uid: c.uid, readOnly: c.readOnly, track: c.tracked()}
	switch string(label) {
	case "FLAGS":
	case "FLAGS.SILENT":
		w.silent = true
	default:
		return syntax("Expected FLAGS")
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	if req.Flags, req.Keywords, err = c.flagList(true); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	if c.readOnly {
		return errReadOnly
	}
	if req.Conditional {
		c.enableCondStore()
	}
	data, err := c.sess.Store(c.ctx, &w, req)
	if data != nil && len(data.Modified) > 0 {
		c.setCode(func(o *output) {
			o.str("MODIFIED ")
			o.ranges(data.Modified)
		})
	}
	return c.limited(err)
}

// storeModifiers reads "(UNCHANGEDSINCE n)".
func (c *conn) storeModifiers(req *StoreRequest) error {
	return c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil || string(label) != "UNCHANGEDSINCE" {
			return syntax("Unknown modifier")
		}
		if err := c.p.SP(); err != nil {
			return err
		}
		req.Conditional = true
		req.UnchangedSince, err = c.p.Number(1<<63 - 1)
		return err
	})
}
