package imap

import "github.com/postino-mail/postino"

// selectMailbox is SELECT (RFC 9051 §6.3.2).
func (c *conn) selectMailbox() error { return c.open(false) }

// examine is EXAMINE (RFC 9051 §6.3.3).
func (c *conn) examine() error { return c.open(true) }

func (c *conn) open(readOnly bool) error {
	name, _, err := c.spMailbox()
	if err != nil {
		return err
	}
	var condstore bool
	var q *QResync
	if c.p.Try(' ') {
		err := c.parenthesised(func() error {
			label, err := c.p.Label()
			switch {
			case err != nil:
			case string(label) == "CONDSTORE": // RFC 7162 §3.1.8
				condstore = true
			case string(label) == "QRESYNC":
				q, err = c.qresync()
			default:
				err = syntax("Unknown parameter")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	c.out.condstore = c.out.condstore || condstore
	// What was selected is closed even if the new one cannot be opened.
	if c.state == selected {
		if err := c.leaveMailbox(); err != nil {
			return err
		}
		c.out.str("* OK [CLOSED] ")
		c.out.text("Previous mailbox is closed")
		c.out.str("\r\n")
	}
	data, err := c.sess.Select(c.ctx, SelectRequest{Mailbox: name, ReadOnly: readOnly, CondStore: c.out.condstore})
	if err != nil {
		return err
	}
	c.state, c.mailbox, c.mailboxID, c.readOnly, c.noPoll = selected, name, data.MailboxID, readOnly || data.ReadOnly, true
	if c.listening.Load() {
		c.sess.Watch(c.wake)
	}
	c.printSelect(data)
	if err := c.resync(q, data); err != nil {
		c.leaveMailbox()
		return err
	}
	c.code = append(c.code[:0], "[READ-WRITE] "...)
	if c.readOnly {
		c.code = append(c.code[:0], "[READ-ONLY] "...)
	}
	return nil
}

func (c *conn) printSelect(d *SelectData) {
	o := &c.out
	o.mailboxFlags(d.Keywords, d.Permanent, d.NewKeywords, c.readOnly)
	w := UpdateWriter{out: o}
	w.Exists(d.Messages)
	w.Recent(d.Recent)
	if d.FirstUnseen > 0 && !o.rev2 { // RFC 9051 appendix E: gone from IMAP4rev2
		o.str("* OK [UNSEEN ")
		o.num(d.FirstUnseen)
		o.codeEnd("First unseen")
	}
	o.str("* OK [UIDVALIDITY ")
	o.num(d.UIDValidity)
	o.codeEnd("UIDs valid")
	o.str("* OK [UIDNEXT ")
	o.num(d.UIDNext)
	o.codeEnd("Next UID")
	o.str("* OK [HIGHESTMODSEQ ")
	o.modseq(d.HighestModSeq)
	o.codeEnd("Highest mod-sequence")
	if d.MailboxID != "" { // RFC 8474 §4.2
		o.str("* OK [MAILBOXID (")
		o.str(d.MailboxID)
		o.str(")")
		o.codeEnd("Mailbox id")
	}
	if o.rev2 {
		o.str("* LIST ")
		o.attrs(d.Attrs, nil)
		o.str(` "/" `)
		o.mailbox(d.Name)
		o.str("\r\n")
	}
}

// leaveMailbox goes back to the authenticated state.
func (c *conn) leaveMailbox() error {
	c.state, c.mailbox, c.mailboxID, c.saved = authenticated, "", "", nil
	if c.extras != nil {
		c.extras.contexts = searchContexts{} // RFC 5267 §4.3
	}
	return c.sess.Unselect(c.ctx)
}

// unselect is UNSELECT (RFC 9051 §6.4.2).
func (c *conn) unselect() error {
	if err := c.end(); err != nil {
		return err
	}
	return c.leaveMailbox()
}

// close is CLOSE (RFC 9051 §6.4.1): EXPUNGE without telling, then UNSELECT.
func (c *conn) close() error {
	if err := c.end(); err != nil {
		return err
	}
	if !c.readOnly {
		// Who may not expunge closes without it (RFC 4314 §4).
		if _, err := c.sess.Expunge(c.ctx, nil); err != nil && !postino.Is(err, postino.Denied) {
			return err
		}
	}
	return c.leaveMailbox()
}
