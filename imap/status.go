package imap

// statusNames are the items of STATUS. HIGHESTMODSEQ is last because the number may
// enable mod-sequences (RFC 7162 §3.1.7). MAILBOXID, which is no number, has no get.
var statusNames = []struct {
	name string
	item StatusItem
	get  func(*StatusData) uint64
}{
	{"MESSAGES", StatusMessages, func(d *StatusData) uint64 { return uint64(d.Messages) }},
	{"UIDNEXT", StatusUIDNext, func(d *StatusData) uint64 { return uint64(d.UIDNext) }},
	{"UIDVALIDITY", StatusUIDValidity, func(d *StatusData) uint64 { return uint64(d.UIDValidity) }},
	{"UNSEEN", StatusUnseen, func(d *StatusData) uint64 { return uint64(d.Unseen) }},
	{"DELETED", StatusDeleted, func(d *StatusData) uint64 { return uint64(d.Deleted) }},
	{"SIZE", StatusSize, func(d *StatusData) uint64 { return uint64(d.Size) }},
	{"DELETED-STORAGE", StatusDeletedStorage, func(d *StatusData) uint64 { return uint64(d.DeletedStorage) }},
	{"APPENDLIMIT", StatusAppendLimit, func(d *StatusData) uint64 { return uint64(d.appendLimit) }},
	{"MAILBOXID", StatusMailboxID, nil},
	{"RECENT", StatusRecent, func(d *StatusData) uint64 { return uint64(d.Recent) }},
	{"HIGHESTMODSEQ", StatusHighestModSeq, func(d *StatusData) uint64 { return d.HighestModSeq }},
}

// status is STATUS (RFC 9051 §6.3.11).
func (c *conn) status() error {
	name, _, err := c.spMailbox()
	if err == nil {
		err = c.p.SP()
	}
	if err != nil {
		return err
	}
	items, err := c.statusItems()
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if items&StatusHighestModSeq != 0 {
		c.enableCondStore()
	}
	if c.state == selected && name == c.mailbox { // RFC 5530 §3, RFC 9051 §6.3.11
		c.setCode(func(o *output) { o.str("CLIENTBUG") })
	}
	return c.printStatus(name, items)
}

// printStatus prints the STATUS response of a mailbox. APPENDLIMIT is the same for
// all of them (RFC 7889 §3).
func (c *conn) printStatus(name string, items StatusItem) error {
	data, err := c.sess.Status(c.ctx, name, items&^StatusAppendLimit)
	if err != nil {
		return err
	}
	data.appendLimit = c.lim.Message
	c.out.status(name, items, data)
	return nil
}

func (c *conn) statusItems() (items StatusItem, err error) {
	err = c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		for _, s := range statusNames {
			if s.name == string(label) {
				items |= s.item
				return nil
			}
		}
		return syntax("Unknown status item")
	})
	if err == nil && items == 0 {
		err = syntax("Expected a status item")
	}
	return items, err
}

func (o *output) status(name string, items StatusItem, d *StatusData) {
	o.str("* STATUS ")
	o.mailbox(name)
	sep := " ("
	for _, s := range statusNames {
		if items&s.item == 0 {
			continue
		}
		o.str(sep)
		o.str(s.name)
		o.str(" ")
		if s.get != nil {
			o.modseq(s.get(d))
		} else {
			o.str("(")
			o.str(d.MailboxID)
			o.str(")")
		}
		sep = " "
	}
	o.str(")\r\n")
	o.flushFull()
}
