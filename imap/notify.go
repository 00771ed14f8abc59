package imap

// Status tells the state of a mailbox that is not the selected one (RFC 5465 §5).
func (w *UpdateWriter) Status(mailbox string, items StatusItem, d *StatusData) {
	w.out.status(mailbox, items, d)
}

// Mailbox tells that a mailbox was made, renamed, (un)subscribed, or, with
// AttrNonExistent, deleted. oldName is what it was called before, or empty.
func (w *UpdateWriter) Mailbox(m Mailbox, oldName string) {
	o := w.out
	o.str("* LIST ")
	o.attrs(m.Attrs, nil)
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
