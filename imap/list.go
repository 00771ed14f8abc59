package imap

// listRequest is LIST or LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9).
type listRequest struct {
	lsub      bool
	extended  bool
	patterns  []pattern
	delimiter bool // LIST "" "": only the delimiter is asked for

	// Selection options.
	subscribed, specialUse, recursive bool
	// Return options; the cheap ones are always returned.
	returnSubscribed bool
	status           StatusItem
	myRights         bool             // RFC 8440
	metadata         *metadataRequest // RFC 9590
}

// list is LIST.
func (c *conn) list() error {
	req := listRequest{}
	if err := c.p.SP(); err != nil {
		return err
	}
	if c.p.Peek() == '(' {
		if err := c.listSelection(&req); err != nil {
			return err
		}
		if err := c.p.SP(); err != nil {
			return err
		}
	}
	if err := c.listPatterns(&req); err != nil {
		return err
	}
	if c.p.Try(' ') && c.p.Peek() != 0 {
		if err := c.listReturn(&req); err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.runList(&req)
}

// lsub is LSUB.
func (c *conn) lsub() error {
	req := listRequest{lsub: true, subscribed: true}
	if err := c.p.SP(); err != nil {
		return err
	}
	if err := c.listPatterns(&req); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.runList(&req)
}

// listSelection reads the selection options (RFC 9051 §6.3.9.1).
func (c *conn) listSelection(req *listRequest) error {
	req.extended = true
	err := c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		switch string(label) {
		case "SUBSCRIBED":
			req.subscribed, req.returnSubscribed = true, true
		case "SPECIAL-USE":
			req.specialUse = true
		case "RECURSIVEMATCH":
			req.recursive = true
		case "REMOTE": // there are none, and those a session has are always shown
		default:
			return syntax("Unknown selection option")
		}
		return nil
	})
	if err == nil && req.recursive && !req.subscribed && !req.specialUse {
		err = syntax("RECURSIVEMATCH needs another selection option")
	}
	return err
}

// listPatterns reads the reference and the patterns. The canonical pattern is the
// one appended to the other.
func (c *conn) listPatterns(req *listRequest) error {
	ref, err := c.p.AString()
	if err != nil {
		return err
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	add := func() error {
		s, err := c.p.ListMailbox()
		if err != nil {
			return err
		}
		if s == "" { // of no meaning in the extended syntax
			req.delimiter = !req.extended && !req.lsub
			return nil
		}
		// A pattern that cannot be decoded matches nothing.
		if s, err = c.decodeName(ref + s); err == nil {
			req.patterns = append(req.patterns, compilePattern(s))
		}
		return nil
	}
	if c.p.Peek() == '(' && !req.lsub {
		req.extended = true
		return c.parenthesised(add)
	}
	return add()
}

// listReturn reads the return options (RFC 9051 §6.3.9.2).
func (c *conn) listReturn(req *listRequest) error {
	req.extended, req.delimiter = true, false
	label, err := c.p.Label()
	if err != nil || string(label) != "RETURN" {
		return syntax("Expected RETURN")
	}
	if err := c.p.SP(); err != nil {
		return err
	}
	return c.parenthesised(func() error {
		label, err := c.p.Label()
		if err != nil {
			return err
		}
		switch string(label) {
		case "SUBSCRIBED":
			req.returnSubscribed = true
		case "CHILDREN", "SPECIAL-USE": // always returned
		case "STATUS":
			if err := c.p.SP(); err != nil {
				return err
			}
			items, err := c.statusItems()
			req.status |= items
			return err
		case "MYRIGHTS":
			req.myRights = true
		case "METADATA":
			if err := c.p.SP(); err != nil {
				return err
			}
			if c.p.Peek() != '(' {
				return syntax("Expected a list of entries")
			}
			if req.metadata == nil {
				req.metadata = &metadataRequest{maxSize: -1}
			}
			return c.metadataEntries(req.metadata)
		default:
			return syntax("Unknown return option")
		}
		return nil
	})
}

func (c *conn) runList(req *listRequest) error {
	if req.delimiter {
		c.out.str("* LIST (\\Noselect) \"/\" \"\"\r\n")
		return nil
	}
	if len(req.patterns) == 0 {
		return nil
	}
	mailboxes, err := c.sess.Mailboxes(c.ctx)
	if err != nil {
		return err
	}
	if req.status&StatusHighestModSeq != 0 {
		c.enableCondStore()
	}
	entries := listTree(mailboxes)
	req.judge(entries)
	for i := range entries {
		e := &entries[i]
		if !req.shows(e) {
			continue
		}
		c.printList(req, e)
		if e.exists && e.selected && e.Attrs&AttrNoSelect == 0 {
			c.printListed(req, e.Name)
		}
	}
	return nil
}

// printListed prints what else is to be told of a mailbox. One that the user may not
// look into has no such response (RFC 5819 §2, RFC 8440 §3, RFC 9590 §3).
func (c *conn) printListed(req *listRequest, name string) {
	if req.status != 0 {
		_ = c.printStatus(name, req.status)
	}
	if req.myRights {
		_ = c.printMyRights(name)
	}
	if req.metadata != nil {
		_ = c.printMetadata(name, req.metadata)
	}
}

var attrNames = []struct {
	attr MailboxAttr
	name string
}{
	{AttrNoInferiors, `\Noinferiors`},
	{AttrMarked, `\Marked`},
	{AttrUnmarked, `\Unmarked`},
	{AttrRemote, `\Remote`},
	{UseAll, `\All`},
	{UseArchive, `\Archive`},
	{UseDrafts, `\Drafts`},
	{UseFlagged, `\Flagged`},
	{UseJunk, `\Junk`},
	{UseSent, `\Sent`},
	{UseTrash, `\Trash`},
	{UseImportant, `\Important`},
	{UseMemos, `\Memos`},
	{UseScheduled, `\Scheduled`},
	{UseSnoozed, `\Snoozed`},
	{AttrNoSelect, `\Noselect`},
	{AttrNonExistent, `\NonExistent`},
	{AttrHasChildren, `\HasChildren`},
	{AttrHasNoChildren, `\HasNoChildren`},
	{AttrNoAccess, `\NoAccess`},
}

// attrs prints attributes, with the one of extra that is not empty.
func (o *output) attrs(a MailboxAttr, extra []string) {
	sep := "("
	for _, n := range attrNames {
		if a&n.attr != 0 {
			o.str(sep)
			o.str(n.name)
			sep = " "
		}
	}
	for _, s := range extra {
		o.str(sep)
		o.str(s)
		sep = " "
	}
	if sep == "(" {
		o.str(sep)
	}
	o.str(")")
}

func (c *conn) printList(req *listRequest, e *listEntry) {
	attrs := e.Attrs &^ (AttrNoSelect | AttrNonExistent)
	// At most one of the attributes about selecting (RFC 9051 §9 mbx-list-sflag).
	switch {
	case e.Attrs&AttrNonExistent != 0 && (req.extended || c.out.rev2):
		attrs = attrs&^(AttrMarked|AttrUnmarked) | AttrNonExistent
	case e.Attrs&(AttrNoSelect|AttrNonExistent) != 0 && !(req.lsub && e.selected && e.Attrs&AttrNoSelect == 0):
		attrs = attrs&^(AttrMarked|AttrUnmarked) | AttrNoSelect
	}
	if req.lsub && !e.selected {
		attrs = AttrNoSelect
	}
	var extra []string
	switch {
	case req.lsub || e.Attrs&AttrNoInferiors != 0:
	case e.children:
		extra = append(extra, `\HasChildren`)
	default:
		extra = append(extra, `\HasNoChildren`)
	}
	if req.returnSubscribed && e.Subscribed {
		extra = append(extra, `\Subscribed`)
	}
	if req.lsub {
		c.out.str("* LSUB ")
	} else {
		c.out.str("* LIST ")
	}
	c.out.attrs(attrs, extra)
	c.out.str(` "/" `)
	c.out.mailbox(e.Name)
	if req.recursive && e.childSelected {
		c.out.str(` ("CHILDINFO" (`)
		switch {
		case req.subscribed && req.specialUse:
			c.out.str(`"SUBSCRIBED" "SPECIAL-USE"`)
		case req.subscribed:
			c.out.str(`"SUBSCRIBED"`)
		default:
			c.out.str(`"SPECIAL-USE"`)
		}
		c.out.str("))")
	}
	c.out.str("\r\n")
	c.out.flushFull()
}
