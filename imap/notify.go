package imap

// Others tells a Poll to leave the selected mailbox alone, so that the client's picture
// of it stays as it is, and to write only what [Session.Notify] asked for.
func (w *UpdateWriter) Others() bool { return w.others }

// CondStore tells whether the client knows mod-sequences: then changes of flags in
// other mailboxes are told by theirs (RFC 5465 §5.1).
func (w *UpdateWriter) CondStore() bool { return w.out.condstore }

// Overflow tells the client that it is asked too much of: as after NOTIFY NONE nothing is
// told any more (RFC 5465 §5.8). The Session forgets what Notify asked for.
func (w *UpdateWriter) Overflow() {
	w.settle()
	w.overflow = true
	w.out.str("* OK [NOTIFICATIONOVERFLOW")
	w.out.codeEnd("Notifications stopped")
}

// Status tells the state of a mailbox that is not the selected one (RFC 5465 §5), with
// its mod-sequence where the client knows of them.
func (w *UpdateWriter) Status(mailbox string, items StatusItem, d *StatusData) {
	w.settle()
	if items &^= StatusHighestModSeq; w.out.condstore {
		items |= StatusHighestModSeq
	}
	w.out.status(mailbox, items, d)
}

// Mailbox tells that a mailbox was made, renamed, (un)subscribed, or, with
// AttrNonExistent, deleted. oldName is what it was called before, or empty.
func (w *UpdateWriter) Mailbox(m Mailbox, oldName string) {
	w.settle()
	o := w.out
	o.str("* LIST ")
	if m.Subscribed {
		o.attrs(m.Attrs, []string{`\Subscribed`})
	} else {
		o.attrs(m.Attrs, nil)
	}
	o.str(` "/" `)
	o.mailbox(m.Name)
	if oldName != "" {
		o.str(` ("OLDNAME" (`)
		o.mailbox(oldName)
		o.str("))")
	}
	o.str("\r\n")
	o.flushFull()
}

// Annotations tells that entries of a mailbox, or of the server when the name is
// empty, changed (RFC 5464 §4.4.2).
func (w *UpdateWriter) Annotations(mailbox string, names []string) {
	o := w.out
	o.str("* METADATA ")
	o.mailbox(mailbox)
	for _, n := range names {
		o.str(" ")
		o.string(n)
	}
	o.str("\r\n")
	o.flushFull()
}
