package imap

// notified is what a client asked for by NOTIFY of the selected mailbox. A connection
// without one is told what RFC 9051 has it told.
type notified struct {
	events  NotifyEvent // none: nothing is told but what the client's own commands removed
	delayed bool        // SELECTED-DELAYED: no EXPUNGE between commands
	fetch   *FetchRequest
	others  bool // the Session was asked for events of mailboxes
}

// notifies returns what NOTIFY asked for, nil before the first one.
func (c *conn) notifies() *notified {
	if c.extras == nil {
		return nil
	}
	return c.extras.notified
}

const (
	messageEvents = EventMessageNew | EventMessageExpunge | EventFlagChange
	// notifyStatus is what is told of a mailbox at once (RFC 5465 §3.1).
	notifyStatus = StatusMessages | StatusUIDNext | StatusUIDValidity | StatusUnseen | StatusHighestModSeq
	// supportedEvents stand in BADEVENT. There are no annotations of messages here.
	supportedEvents = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange"
)

var notifyEvents = map[string]NotifyEvent{
	"MESSAGENEW": EventMessageNew, "MESSAGEEXPUNGE": EventMessageExpunge, "FLAGCHANGE": EventFlagChange,
	"MAILBOXNAME": EventMailboxName, "SUBSCRIPTIONCHANGE": EventSubscription,
	"MAILBOXMETADATACHANGE": EventMailboxMetadata, "SERVERMETADATACHANGE": EventServerMetadata,
}

// notify is NOTIFY (RFC 5465 §3.1). After SET the connection listens: it is woken
// between commands as in IDLE.
func (c *conn) notify() error {
	req, n, err := c.notifyArguments()
	if err != nil {
		return err
	}
	data, err := c.sess.Notify(c.ctx, req)
	if err != nil {
		return err
	}
	c.extra().notified = n
	listens := n.others || n.events != 0
	if c.listening.Store(listens); listens {
		c.sess.Watch(c.wake)
	} else {
		c.sess.Watch(nil)
	}
	w := UpdateWriter{out: &c.out}
	for _, name := range data.NoAccess {
		w.Mailbox(Mailbox{Name: name, Attrs: AttrNoAccess}, "")
	}
	for _, name := range data.Status {
		if name == c.mailbox && c.state == selected {
			continue
		}
		if err := c.printStatus(name, notifyStatus); err != nil && replyFor(err).Code == "SERVERBUG" {
			return err // others are of mailboxes that are gone meanwhile
		}
	}
	return nil
}

func (c *conn) notifyArguments() (*NotifyRequest, *notified, error) {
	if err := c.p.SP(); err != nil {
		return nil, nil, err
	}
	label, err := c.p.Label()
	if err != nil {
		return nil, nil, err
	}
	req, n := &NotifyRequest{}, &notified{}
	switch string(label) {
	case "NONE":
		return req, n, c.end()
	case "SET":
	default:
		return nil, nil, syntax("Expected SET or NONE")
	}
	if err := c.p.SP(); err != nil {
		return nil, nil, err
	}
	if req.Status = c.word("STATUS"); req.Status {
		c.p.Advance(1)
	}
	names, chosen := 0, false
	for {
		g, fetch, err := c.notifyGroup()
		if err != nil {
			return nil, nil, err
		}
		if names += 1 + len(g.Filter.Names); names > c.lim.Items {
			return nil, nil, &Error{Code: "NOTIFICATIONOVERFLOW", Text: "Too many mailboxes to notify of"}
		}
		switch k := g.Filter.Kind; {
		case k != FilterSelected && k != FilterSelectedDelayed:
			req.Groups = append(req.Groups, g)
			n.others = n.others || g.Events != 0
		case chosen:
			return nil, nil, syntax("Selected mailbox named twice")
		default:
			chosen = true
			n.events, n.fetch, n.delayed = g.Events, fetch, k == FilterSelectedDelayed
		}
		if !c.p.Try(' ') {
			return req, n, c.end()
		}
	}
}

// notifyGroup reads an event-group (RFC 5465 §8).
func (c *conn) notifyGroup() (g NotifyGroup, fetch *FetchRequest, err error) {
	if err = c.p.Byte('('); err != nil {
		return g, nil, err
	}
	if g.Filter, err = c.mailboxFilter(); err == nil {
		err = c.p.SP()
	}
	switch k := g.Filter.Kind; {
	case err != nil:
		return g, nil, err
	case k == FilterSubtreeOne: // of RFC 7377 alone
		return g, nil, syntax("Unknown mailbox filter")
	}
	if c.p.Peek() == '(' {
		err = c.parenthesised(func() error { return c.notifyEvent(&g, &fetch) })
		if err == nil && g.Events == 0 {
			err = syntax("Expected an event")
		}
	} else if label, e := c.p.Label(); e != nil || string(label) != "NONE" {
		err = syntax("Expected an event")
	}
	if err == nil {
		err = c.p.Byte(')')
	}
	// RFC 5465 §5: whoever wants to hear of flags has to know the messages.
	if both := EventMessageNew | EventMessageExpunge; err == nil && g.Events&messageEvents != 0 && g.Events&both != both {
		err = syntax("Events of messages come together")
	}
	return g, fetch, err
}

// notifyEvent reads one event, MessageNew with data items (RFC 5465 §5.2).
func (c *conn) notifyEvent(g *NotifyGroup, fetch **FetchRequest) error {
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	e := notifyEvents[string(label)]
	ofSelected := g.Filter.Kind == FilterSelected || g.Filter.Kind == FilterSelectedDelayed
	switch {
	case e == 0:
		return &Error{Code: "BADEVENT (" + supportedEvents + ")", Text: "Unknown event"}
	case ofSelected && e&messageEvents == 0:
		return syntax("This event is not one of the selected mailbox")
	}
	g.Events |= e
	if rest := c.p.Rest(); e != EventMessageNew || len(rest) < 2 || rest[0] != ' ' || rest[1] != '(' {
		return nil
	}
	if !ofSelected {
		return syntax("Data items are for the selected mailbox only")
	}
	c.p.Advance(1)
	req := &FetchRequest{}
	err = c.parenthesised(func() error { return c.fetchItem(req, false) })
	if err == nil && req.Items == 0 && len(req.Sections) == 0 {
		err = syntax("Expected a data item")
	}
	if req.Items&FetchModSeq != 0 && err == nil {
		c.enableCondStore()
	}
	req.MarkSeen = false // nobody has seen what was only announced
	*fetch = req
	return err
}

// notice tells between two commands what changed.
func (c *conn) notice() {
	c.cmd, c.name, c.uid, c.seqs = nil, "", false, false
	c.lose(c.poll())
}

// restrict makes w write what NOTIFY asked for, open: with a mailbox selected, and tells whether anything may be
// written at all, and expunged.
func (n *notified) restrict(w *UpdateWriter, cmd *command, expunge, open bool) (any, exp bool) {
	w.uid = true // RFC 5465 §5.1
	w.noFlags = n.events&EventFlagChange == 0
	// What the client's own command removed is its answer, not an event.
	w.others = !open || n.events == 0 && (cmd == nil || !cmd.removes)
	if cmd == nil && n.delayed {
		expunge = false
	}
	return !w.others || n.others, expunge
}

// fetchNew sends what NOTIFY asked for of messages that came.
func (c *conn) fetchNew(n *notified, first uint32) error {
	if n.fetch == nil || first == 0 || first > c.out.exists {
		return nil
	}
	req := *n.fetch
	req.Set = NumSet{Ranges: []Range{{first, c.out.exists}}}
	w := FetchWriter{out: &c.out, modseq: req.Items&FetchModSeq != 0}
	return withoutLimited(c.sess.Fetch(c.ctx, &w, req))
}
