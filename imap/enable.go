package imap

// enableTable is what ENABLE knows (RFC 9051 §6.3.1), each by the flag that tells
// whether it is on and by what turns it on.
var enableTable = []struct {
	name   string
	on     func(o *output) *bool
	enable func(c *conn)
}{
	{"IMAP4rev2", func(o *output) *bool { return &o.rev2 }, nil},
	{"CONDSTORE", func(o *output) *bool { return &o.condstore }, (*conn).enableCondStore},
	{"QRESYNC", func(o *output) *bool { return &o.qresync }, (*conn).enableCondStore}, // RFC 7162 §3.2.3
	{"UTF8=ACCEPT", func(o *output) *bool { return &o.utf8 }, nil},                    // RFC 9755 §3
	{"UIDONLY", func(o *output) *bool { return &o.uidOnly }, nil},                     // RFC 9586 §3.1
}

// enable is ENABLE: what is unknown is ignored, and ENABLED names what this command
// turned on (RFC 5161 §3.1). All of it holds from the tagged reply on, and in
// what is written before it.
func (c *conn) enable() error {
	asked := make([]bool, len(enableTable))
	for n := 0; n == 0 || c.p.Peek() != 0; n++ {
		if err := c.p.SP(); err != nil {
			return err
		}
		name, err := c.p.Atom()
		if err != nil {
			return err
		}
		for i := range enableTable {
			asked[i] = asked[i] || equalFold(name, enableTable[i].name)
		}
	}
	c.out.str("* ENABLED")
	for i := range enableTable {
		if asked[i] = asked[i] && !*enableTable[i].on(&c.out); asked[i] {
			c.out.str(" ")
			c.out.str(enableTable[i].name)
		}
	}
	c.out.str("\r\n")
	for i := range enableTable {
		if !asked[i] {
			continue
		}
		if e := enableTable[i]; e.enable != nil {
			e.enable(c)
		}
		*enableTable[i].on(&c.out) = true
	}
	return nil
}

// enableCondStore notes that the client knows mod-sequences. When a mailbox is
// selected already it is told where it stands (RFC 7162 §3.1).
func (c *conn) enableCondStore() {
	if c.out.condstore {
		return
	}
	c.out.condstore = true
	if c.state != selected {
		return
	}
	st, err := c.sess.Status(c.ctx, c.mailbox, StatusHighestModSeq)
	if err != nil {
		return // the mailbox is gone; the poll that follows says so
	}
	c.out.str("* OK [HIGHESTMODSEQ ")
	c.out.modseq(st.HighestModSeq)
	c.out.codeEnd("Mod-sequences enabled")
}

// errMessageNumber answers message numbers once UIDONLY is on (RFC 9586 §3).
var errMessageNumber = &Error{Bad: true, Code: "UIDREQUIRED", Text: "Message numbers are not allowed with UIDONLY"}

// messageNumbers refuses message numbers once UIDONLY is on.
func (c *conn) messageNumbers() error {
	if c.out.uidOnly {
		return errMessageNumber
	}
	return nil
}
