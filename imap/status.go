package imap

// statusNames are the items of STATUS. HIGHESTMODSEQ is last because the number may
// enable mod-sequences (RFC 7162 §3.1.7).
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
	data, err := c.sess.Status(c.ctx, name, items)
	if err != nil {
		return err
	}
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
		if items&s.item != 0 {
			o.str(sep)
			o.str(s.name)
			o.str(" ")
			o.modseq(s.get(d))
			sep = " "
		}
	}
	o.str(")\r\n")
	o.flushFull()
}
