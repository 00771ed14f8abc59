package mailbox

import (
	"encoding/binary"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/message"
)

// Message is what is kept about a message beside its octets. It is made once
// and shared by all recipients; it is immutable.
type Message struct {
	Blob postino.BlobID
	Size int64 // octets of the blob
	// Staged is the blob when it is yet to be stored, in the same transaction;
	// nil when it is stored already and the email becomes one more holder of it,
	// beside one that it has at that moment.
	Staged *blob.Staged
	// Index is the encoded [message.Index]; its offsets count from the beginning
	// of the blob.
	Index []byte
	// Envelope and BodyStructure (with extension data) are in IMAP notation.
	Envelope, BodyStructure []byte
	Summary                 Summary
}

// NewMessage renders what is kept of the message with index ix, whose octets
// are the blob. header is the beginning of them up to the end of the header.
func NewMessage(id postino.BlobID, ix *message.Index, header []byte) *Message {
	m := &Message{Blob: id, Size: ix.Size}
	// One allocation in most cases: the three lie behind each other.
	buf := make([]byte, 0, 1024)
	buf = ix.AppendBinary(buf)
	i := len(buf)
	buf = message.AppendEnvelope(buf, header)
	j := len(buf)
	buf = ix.AppendBodyStructure(buf, true)
	m.Index, m.Envelope, m.BodyStructure = buf[:i:i], buf[i:j:j], buf[j:]
	m.Summary = summarize(header)
	return m
}

const messageVersion = 1

// AppendBinary writes m, without Staged, so that a queue can carry it.
func (m *Message) AppendBinary(dst []byte) []byte {
	dst = append(dst, messageVersion)
	dst = append(dst, m.Blob[:]...)
	dst = binary.AppendUvarint(dst, uint64(m.Size))
	dst = appendBytes(dst, m.Index)
	dst = appendBytes(dst, m.Envelope)
	dst = appendBytes(dst, m.BodyStructure)
	return m.Summary.append(dst)
}

// DecodeMessage reads what AppendBinary wrote; the slices are parts of b.
func DecodeMessage(b []byte) (*Message, error) {
	d := decoder{b: b}
	if err := d.version(messageVersion, "message"); err != nil {
		return nil, err
	}
	m := &Message{}
	copy(m.Blob[:], d.take(len(m.Blob)))
	m.Size = int64(d.upTo(1<<63 - 1))
	m.Index, m.Envelope, m.BodyStructure = d.bytes(), d.bytes(), d.bytes()
	if d.bad {
		return nil, corrupt("message")
	}
	var err error
	m.Summary, err = decodeSummary(d.b)
	return m, err
}

// Summary is what threads, searches and sorting need of a message's header.
type Summary struct {
	MessageID             string
	InReplyTo, References []string // without angle brackets, oldest first, at most 100 of each
	BaseSubject           string   // RFC 5256 §2.1
	Reply                 bool     // the subject was that of a reply or a forward
	Sent                  int64    // the Date field, Unix seconds; 0 when there is none
	Zone                  int      // its offset from UTC in seconds
	// The decoded fields, folded for comparison ([message.Fold]); repeated
	// fields are separated by a line feed.
	Subject, From, To, Cc, Bcc string
	// Cut tells that one of them was longer than what is kept.
	Cut bool
	// Of the first address of From, To and Cc, decoded: its mailbox (the local
	// part; of a group the name), and what DISPLAYFROM and DISPLAYTO sort by (RFC
	// 5957 §3). At most 1 KiB each. Rows of format 1 lack them; sorting takes them
	// from the envelope then.
	FromMailbox, ToMailbox, CcMailbox, FromDisplay, ToDisplay string

	bare bool // read from format 1
}

const (
	summaryVersion = 2
	maxIDs         = 100     // message-ids of one field
	maxFolded      = 4 << 10 // octets of one folded field; a search for what is behind reads the message
)

// summarize reads a header.
func summarize(header []byte) Summary {
	h := message.Summarize(header)
	s := Summary{
		MessageID: h.MessageID, InReplyTo: newest(h.InReplyTo), References: newest(h.References),
		BaseSubject: h.Base, Reply: h.Reply,
	}
	if !h.Sent.IsZero() {
		s.Sent = h.Sent.Unix()
		_, s.Zone = h.Sent.Zone()
	}
	var buf []byte
	var first addresses
	from := false
	for f := range message.Fields(header) {
		var folded *string
		switch {
		case f.Is("subject"):
			folded = &s.Subject
		case f.Is("from"):
			if folded = &s.From; !from { // the first field counts, as in ENVELOPE
				takeFirst(&first.from, f.Value)
			}
			from = true
		case f.Is("to"):
			folded = &s.To
			takeFirst(&first.to, f.Value)
		case f.Is("cc"):
			folded = &s.Cc
			takeFirst(&first.cc, f.Value)
		case f.Is("bcc"):
			folded = &s.Bcc
		default:
			continue
		}
		buf = buf[:0]
		if *folded != "" {
			buf = append(append(buf, *folded...), '\n')
		}
		buf = message.Fold(buf, message.DecodeHeaderBytes(f.Value))
		if len(buf) > maxFolded {
			buf, s.Cut = buf[:maxFolded], true
		}
		*folded = string(buf)
	}
	for i, t := range first.texts() {
		*s.sortTexts()[i] = t
	}
	return s
}

// takeFirst sets a to the first address of a list, unless it has one.
func takeFirst(a *message.Address, list []byte) {
	if *a != (message.Address{}) {
		return
	}
	if all := message.ParseAddressList(list, 1); len(all) > 0 {
		*a = all[0]
	}
}

// sortTexts are the fields that format 2 added, in the order of addresses.texts.
func (s *Summary) sortTexts() [5]*string {
	return [...]*string{&s.FromMailbox, &s.ToMailbox, &s.CcMailbox, &s.FromDisplay, &s.ToDisplay}
}

// newest returns the last maxIDs of ids.
func newest(ids []string) []string { return ids[max(0, len(ids)-maxIDs):] }

func (s *Summary) append(dst []byte) []byte {
	dst = append(dst, byte(summaryVersion-btoi(s.bare)))
	// What searches of many messages look at stands first.
	for _, t := range [...]string{s.Subject, s.From, s.To, s.Cc, s.Bcc} {
		dst = appendString(dst, t)
	}
	dst = binary.AppendVarint(dst, s.Sent)
	dst = binary.AppendVarint(dst, int64(s.Zone))
	dst = append(dst, byte(btoi(s.Cut)|btoi(s.Reply)<<1))
	dst = appendString(dst, s.BaseSubject)
	dst = appendString(dst, s.MessageID)
	for _, ids := range [...][]string{s.InReplyTo, s.References} {
		dst = binary.AppendUvarint(dst, uint64(len(ids)))
		for _, id := range ids {
			dst = appendString(dst, id)
		}
	}
	if !s.bare {
		for _, t := range s.sortTexts() {
			dst = appendString(dst, *t)
		}
	}
	return dst
}

func decodeSummary(b []byte) (s Summary, err error) {
	d := decoder{b: b}
	if err := d.version(summaryVersion, "message summary"); err != nil {
		return s, err
	}
	s.bare = b[0] == 1
	for _, t := range [...]*string{&s.Subject, &s.From, &s.To, &s.Cc, &s.Bcc} {
		*t = string(d.bytes())
	}
	s.Sent, s.Zone = d.varint(), int(d.varint())
	marks := d.byte()
	s.Cut, s.Reply = marks&1 != 0, marks&2 != 0
	s.BaseSubject, s.MessageID = string(d.bytes()), string(d.bytes())
	for _, ids := range [...]*[]string{&s.InReplyTo, &s.References} {
		n := d.count(1)
		if n > maxIDs {
			d.fail()
			n = 0
		}
		for range n {
			*ids = append(*ids, string(d.bytes()))
		}
	}
	if !s.bare {
		for _, t := range s.sortTexts() {
			*t = string(d.bytes())
		}
	}
	return s, d.end("message summary")
}
