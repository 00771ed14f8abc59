package mailbox

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// The newest format versions of the stored values.
const (
	headVersion   = 2 // 2: limit of mailboxes, octets of metadata
	boxVersion    = 1
	recordVersion = 2 // 2: kinds from ACLChanged on; the others are still written as 1
	chunkVersion  = 1
	emailVersion  = 1
	threadVersion = 1
	uidlVersion   = 1
)

// head is the row of an account: what every change reads and writes.
type head struct {
	modseq       ModSeq    // of the newest log record
	folded       ModSeq    // the chunks are true up to here
	floor        ModSeq    // log records up to here were trimmed
	claim        ModSeq    // the newest position to which a fold of many transactions has begun
	nextEmail    EmailID   // the next to be given
	nextMailbox  MailboxID // the next to be given
	lastValidity uint32    // the newest UIDVALIDITY given
	boxes        int       // mailboxes
	subs         int       // subscriptions
	quota        Quota
	used         Quota // sums over all mailboxes; a copy counts again
	tail         int64 // octets of log records since the last fold
	log          int64 // octets of log records kept
	dead         int64 // rows expunged since the last sweep
	notes        int64 // octets of metadata
}

func (h *head) append(dst []byte) []byte {
	dst = append(dst, headVersion)
	for _, v := range [...]uint64{
		uint64(h.modseq), uint64(h.folded), uint64(h.floor), uint64(h.claim), uint64(h.nextEmail), uint64(h.nextMailbox),
		uint64(h.lastValidity), uint64(h.boxes), uint64(h.subs), uint64(h.quota.Bytes), uint64(h.quota.Messages),
		uint64(h.used.Bytes), uint64(h.used.Messages), uint64(h.tail), uint64(h.log), uint64(h.dead),
		uint64(h.quota.Mailboxes), uint64(h.notes),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func decodeHead(b []byte) (h head, err error) {
	d := decoder{b: b}
	if err := d.version(headVersion, "account row"); err != nil {
		return h, err
	}
	version := b[0]
	for _, p := range [...]*ModSeq{&h.modseq, &h.folded, &h.floor, &h.claim} {
		*p = ModSeq(d.uvarint())
	}
	h.nextEmail, h.nextMailbox = EmailID(d.uvarint()), MailboxID(d.uvarint())
	h.lastValidity = uint32(d.upTo(1<<32 - 1))
	h.boxes, h.subs = int(d.upTo(1<<31)), int(d.upTo(1<<31))
	for _, p := range [...]*int64{&h.quota.Bytes, &h.quota.Messages, &h.used.Bytes, &h.used.Messages, &h.tail, &h.log, &h.dead} {
		*p = int64(d.upTo(1<<63 - 1))
	}
	if version >= 2 {
		h.quota.Mailboxes, h.notes = int64(d.upTo(1<<63-1)), int64(d.upTo(1<<63-1))
	}
	return h, d.end("account row")
}

// readHead reads the row of an account; NotFound when there is none.
func readHead(r kv.Reader, id AccountID) (head, error) {
	var key [16]byte
	v, ok, err := r.Get(accountKey(key[:0], id, keyHead))
	if err != nil {
		return head{}, err
	}
	if !ok {
		return head{}, noAccount(id)
	}
	return decodeHead(v)
}

// usage returns the quota and what is used of it.
func (h *head) usage() Usage {
	used := h.used
	used.Mailboxes = int64(h.boxes)
	return Usage{h.quota, used}
}

func noAccount(id AccountID) error {
	return postino.E(postino.NotFound, "find account", strconv.FormatUint(uint64(id), 16), nil)
}

// boxRow is the row of a mailbox. It is immutable once a state holds it.
type boxRow struct {
	id       MailboxID
	name     string
	use      SpecialUse
	status   Status
	created  int64 // Unix seconds
	keywords []string
}

func (m *boxRow) append(dst []byte) []byte {
	dst = append(dst, boxVersion)
	dst = appendString(dst, m.name)
	dst = append(dst, byte(m.use))
	s := &m.status
	for _, v := range [...]uint64{
		uint64(s.UIDValidity), uint64(s.UIDNext), uint64(s.Messages), uint64(s.Unseen), uint64(s.Deleted),
		uint64(s.Size), uint64(s.HighestModSeq), uint64(m.created), uint64(len(m.keywords)),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	for _, k := range m.keywords {
		dst = appendString(dst, k)
	}
	return dst
}

func decodeBox(id MailboxID, b []byte) (*boxRow, error) {
	d := decoder{b: b}
	if err := d.version(boxVersion, "mailbox row"); err != nil {
		return nil, err
	}
	m := &boxRow{id: id, name: string(d.bytes()), use: SpecialUse(d.byte())}
	s := &m.status
	s.UIDValidity, s.UIDNext = uint32(d.upTo(1<<32-1)), UID(d.upTo(1<<32-1))
	s.Messages, s.Unseen, s.Deleted = uint32(d.upTo(1<<32-1)), uint32(d.upTo(1<<32-1)), uint32(d.upTo(1<<32-1))
	s.Size, s.HighestModSeq, m.created = int64(d.upTo(1<<63-1)), ModSeq(d.uvarint()), int64(d.upTo(1<<63-1))
	n := d.count(2)
	if n > MaxKeywords {
		d.fail()
		n = 0
	}
	if n > 0 {
		m.keywords = make([]string, n)
	}
	for i := range m.keywords {
		m.keywords[i] = string(d.bytes())
	}
	return m, d.end("mailbox row")
}

// readBox reads the row of a mailbox; NotFound when there is none.
func readBox(r kv.Reader, id AccountID, box MailboxID) (*boxRow, error) {
	var key [24]byte
	v, ok, err := r.Get(numberKey(key[:0], id, keyBox, uint64(box)))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noMailbox(box)
	}
	return decodeBox(box, v)
}

func noMailbox(box MailboxID) error {
	return postino.E(postino.NotFound, "find mailbox", strconv.FormatUint(uint64(box), 10), nil)
}

// clone returns a copy that may be changed; the keyword table only ever grows
// at its end, so it is shared.
func (m *boxRow) clone() *boxRow {
	c := *m
	c.keywords = slices.Clip(m.keywords)
	return &c
}

// keyword returns the bit of a keyword, -1 when the mailbox never had it.
// Names compare without regard to case (RFC 9051 §2.3.2).
func (m *boxRow) keyword(name string) int {
	for i, k := range m.keywords {
		if strings.EqualFold(k, name) {
			return systemFlags + i
		}
	}
	return -1
}

// mask turns flags into bits. With grow it adds new keywords to the table,
// otherwise unknown ones are left out.
func (m *boxRow) mask(flags Flags, keywords []string, grow bool) (Mask, error) {
	mask := Mask{uint64(flags & allSystem)}
	for _, k := range keywords {
		bit := m.keyword(k)
		if bit < 0 {
			if !grow {
				continue
			}
			if !ValidKeyword(k) {
				return mask, postino.E(postino.Invalid, "set keyword", "", nil)
			}
			if len(m.keywords) >= MaxKeywords {
				return mask, postino.E(postino.Full, "add keyword", k, nil)
			}
			bit = systemFlags + len(m.keywords)
			m.keywords = append(m.keywords, k)
		}
		mask.set(bit)
	}
	return mask, nil
}

// count adds a message with these flags to the counters n times; n is 1 or -1.
func (s *Status) count(flags uint64, size int64, n int) {
	s.Messages += uint32(n)
	if Flags(flags)&Seen == 0 {
		s.Unseen += uint32(n)
	}
	if Flags(flags)&Deleted != 0 {
		s.Deleted += uint32(n)
	}
	s.Size += size * int64(n)
}

// emailRow is the value under keyEmail: what FETCH answers without a body.
type emailRow struct {
	blob                            postino.BlobID
	size                            int64
	received                        int64
	thread                          ThreadID
	prefix, envelope, bodyStructure []byte
}

func (e *emailRow) append(dst []byte) []byte {
	dst = append(dst, emailVersion)
	dst = append(dst, e.blob[:]...)
	dst = binary.AppendUvarint(dst, uint64(e.size))
	dst = binary.AppendVarint(dst, e.received)
	dst = binary.AppendUvarint(dst, uint64(e.thread))
	dst = appendBytes(dst, e.prefix)
	dst = appendBytes(dst, e.envelope)
	return appendBytes(dst, e.bodyStructure)
}

// decodeEmail reads a row; its slices are parts of b.
func decodeEmail(b []byte) (e emailRow, err error) {
	d := decoder{b: b}
	if err := d.version(emailVersion, "email row"); err != nil {
		return e, err
	}
	copy(e.blob[:], d.take(len(e.blob)))
	e.size, e.received, e.thread = int64(d.upTo(1<<63-1)), d.varint(), ThreadID(d.uvarint())
	e.prefix, e.envelope, e.bodyStructure = d.bytes(), d.bytes(), d.bytes()
	return e, d.end("email row")
}
