package mailbox

import "encoding/binary"

// ChangeKind says what a log record tells.
type ChangeKind uint8

// The kinds of change.
const (
	Appended          ChangeKind = iota + 1 // Messages came into Mailbox: delivered, appended, copied or moved there
	FlagsChanged                            // the flags of UIDs: Removed taken away, then Added given
	Expunged                                // UIDs left Mailbox
	MailboxCreated                          // Mailbox with Names[0]
	MailboxDeleted                          // Mailbox
	MailboxRenamed                          // Boxes[i] is now Names[i]
	MailboxUpdated                          // the special use of Mailbox
	SubscriptionAdded                       // Names[0]
	SubscriptionEnded                       // Names[0]
	// Kinds of format version 2.
	ACLChanged         // the access list of Mailbox
	MetadataChanged    // entries Names of Mailbox, 0 for the account: those private to Viewer, or shared ones when Viewer is 0
	SeenChanged        // the \Seen of Viewer: UIDs got it (Added) or lost it (Removed)
	ViewerSubscribed   // Viewer subscribed to Mailbox
	ViewerUnsubscribed // and no more
)

// Change is one record of an account's log: the truth from which the columns
// of mailboxes are made.
type Change struct {
	ModSeq  ModSeq
	At      int64 // when it happened, Unix seconds
	Kind    ChangeKind
	Mailbox MailboxID
	// Messages of Appended; their UIDs are consecutive. ModSeq and Saved of each
	// are those of the record.
	Messages []Row
	// UIDs of FlagsChanged and Expunged: exactly the messages that existed and
	// changed. Those of SeenChanged may span numbers that no message has any more.
	UIDs           Ranges
	Added, Removed Mask
	Viewer         AccountID // a guest; the owner's private metadata have his own number
	Boxes          []MailboxID
	Names          []string
}

// append writes the record; the modseq is its key.
func (c *Change) append(dst []byte) []byte {
	version := byte(1)
	if c.Kind >= ACLChanged {
		version = 2
	}
	dst = append(dst, version, byte(c.Kind))
	dst = binary.AppendUvarint(dst, uint64(c.Mailbox))
	dst = binary.AppendVarint(dst, c.At)
	switch c.Kind {
	case Appended:
		dst = c.appendMessages(dst)
	case FlagsChanged, SeenChanged:
		if c.Kind == SeenChanged {
			dst = binary.AppendUvarint(dst, uint64(c.Viewer))
		}
		dst = appendMask(dst, c.Added)
		dst = appendMask(dst, c.Removed)
		dst = appendRanges(dst, c.UIDs)
	case Expunged:
		dst = appendRanges(dst, c.UIDs)
	default:
		if version == 2 {
			dst = binary.AppendUvarint(dst, uint64(c.Viewer))
		}
		dst = binary.AppendUvarint(dst, uint64(len(c.Boxes)))
		for _, b := range c.Boxes {
			dst = binary.AppendUvarint(dst, uint64(b))
		}
		dst = binary.AppendUvarint(dst, uint64(len(c.Names)))
		for _, n := range c.Names {
			dst = appendString(dst, n)
		}
	}
	return dst
}

// appendMessages writes each number as its distance from the one expected, so
// that a message delivered alone takes about 20 octets and a copied one 8.
func (c *Change) appendMessages(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.Messages)))
	if len(c.Messages) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(c.Messages[0].UID))
	var email EmailID
	date := c.At
	for i := range c.Messages {
		m := &c.Messages[i]
		dst = binary.AppendVarint(dst, int64(m.Email-email))
		dst = binary.AppendUvarint(dst, uint64(m.Email)-uint64(m.Thread))
		dst = appendMask(dst, m.Flags)
		dst = binary.AppendVarint(dst, m.Date-date)
		dst = binary.AppendUvarint(dst, uint64(m.Size))
		email, date = m.Email+1, m.Date
	}
	return dst
}

func (d *decoder) messages(c *Change) {
	n := d.count(5)
	if n == 0 {
		return
	}
	uid := d.upTo(1<<32 - 1)
	if uid == 0 || uid+uint64(n) > 1<<32 {
		d.fail()
		return
	}
	c.Messages = make([]Row, n)
	var email EmailID
	date := c.At
	for i := range c.Messages {
		m := &c.Messages[i]
		m.UID, m.ModSeq, m.Saved = UID(uid)+UID(i), c.ModSeq, c.At
		m.Email = email + EmailID(d.varint())
		m.Thread = ThreadID(uint64(m.Email) - d.uvarint())
		m.Flags = d.mask()
		m.Date = date + d.varint()
		m.Size = int64(d.upTo(maxSize))
		email, date = m.Email+1, m.Date
	}
}

// decodeChange reads the record under modseq.
func decodeChange(modseq ModSeq, b []byte) (*Change, error) {
	const what = "log record"
	d := decoder{b: b}
	if err := d.version(recordVersion, what); err != nil {
		return nil, err
	}
	c := &Change{ModSeq: modseq, Kind: ChangeKind(d.byte()), Mailbox: MailboxID(d.uvarint()), At: d.varint()}
	switch c.Kind {
	case Appended:
		d.messages(c)
	case FlagsChanged, SeenChanged:
		if c.Kind == SeenChanged {
			c.Viewer = AccountID(d.uvarint())
		}
		c.Added, c.Removed, c.UIDs = d.mask(), d.mask(), d.ranges()
	case Expunged:
		c.UIDs = d.ranges()
	case MailboxCreated, MailboxDeleted, MailboxRenamed, MailboxUpdated, SubscriptionAdded, SubscriptionEnded,
		ACLChanged, MetadataChanged, ViewerSubscribed, ViewerUnsubscribed:
		if c.Kind >= ACLChanged {
			c.Viewer = AccountID(d.uvarint())
		}
		for range d.count(1) {
			c.Boxes = append(c.Boxes, MailboxID(d.uvarint()))
		}
		for range d.count(1) {
			c.Names = append(c.Names, string(d.bytes()))
		}
		if c.Kind == MailboxRenamed && len(c.Boxes) != len(c.Names) {
			d.fail()
		}
	default:
		d.fail()
	}
	return c, d.end(what)
}
