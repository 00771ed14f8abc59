package queue

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/postino-mail/postino"
)

// The stored item: version, state, fence at a fixed place, then the fields in
// the order below. Strings are a uvarint length and octets, times are
// milliseconds since 1970. Version 1 had no site, terms and reports, version 2 no
// junk.
const (
	version    = 3
	fenceStart = 2
	fenceEnd   = fenceStart + 8
)

// Bits of a stored recipient.
const (
	rcptStateMask = 3
	rcptSameUser  = 1 << 2 // User equals the address
	rcptReports   = 1 << 3 // Notify and ORcpt follow
	rcptDetail    = 1 << 4
	rcptReply     = 1 << 5
	rcptMore      = 1 << 6 // the second octet of bits follows; since version 2
)

// Bits of the second octet of a stored recipient.
const (
	rcptOwed = 1 << iota // Owed and Told follow
	rcptRemote
	rcptLast
	rcptValidSince
	rcptExpired
)

// Bits of what a sender or an account asks of an item; since version 2.
const (
	termRequireTLS = 1 << iota
	termTLSOptional
	termReturn
	termTrace
	termMore  // HoldUntil, DeliverBy and Priority follow
	termTries // ReportTries and ReportAt follow
	termJunk  // Item.Junk; since version 3
)

// appendRecord appends the stored form of the item.
func (it *Item) appendRecord(b []byte) []byte {
	b = append(b, version, byte(it.State))
	b = binary.BigEndian.AppendUint64(b, it.Lease.Fence)
	b = appendString(b, it.Lease.Owner)
	b = appendTime(b, it.Lease.Until)
	b = binary.BigEndian.AppendUint64(b, uint64(it.Message))
	b = appendString(b, it.Transport)
	b = appendAddress(b, it.From)
	utf8 := byte(0)
	if it.SMTPUTF8 {
		utf8 = 1
	}
	b = append(b, utf8, byte(it.Body), byte(it.Ret))
	b = appendString(b, it.EnvID)
	b = append(b, it.Blob[:]...)
	b = binary.AppendUvarint(b, uint64(it.Size))
	b = appendTime(b, it.Received)
	b = appendTime(b, it.Expires)
	b = appendTime(b, it.Due)
	b = binary.AppendUvarint(b, uint64(it.Attempts))
	b = binary.AppendUvarint(b, uint64(it.Panics))
	b = appendString(b, it.Reason)
	b = appendString(b, string(it.Prefix))
	b = appendString(b, it.Dest)
	b = binary.AppendUvarint(b, it.User)
	b = appendTime(b, it.Next)
	b = it.appendTerms(b)
	b = binary.AppendUvarint(b, uint64(len(it.Rcpts)))
	for i := range it.Rcpts {
		b = it.Rcpts[i].appendRecord(b)
	}
	return b
}

// bit returns b if set, else 0.
func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

func (it *Item) appendTerms(b []byte) []byte {
	more := !it.HoldUntil.IsZero() || !it.DeliverBy.IsZero() || it.Priority != 0
	tries := it.ReportTries != 0 || !it.ReportAt.IsZero()
	b = append(b, bit(it.RequireTLS, termRequireTLS)|bit(it.TLSOptional, termTLSOptional)|bit(it.DeliverByReturn, termReturn)|
		bit(it.DeliverByTrace, termTrace)|bit(more, termMore)|bit(tries, termTries)|bit(it.Junk, termJunk))
	if more {
		b = append(appendTime(appendTime(b, it.HoldUntil), it.DeliverBy), byte(it.Priority))
	}
	if tries {
		b = appendTime(binary.AppendUvarint(b, uint64(it.ReportTries)), it.ReportAt)
	}
	return b
}

func (r *Rcpt) appendRecord(b []byte) []byte {
	bits := byte(r.State)
	if r.User == r.Address {
		bits |= rcptSameUser
	}
	if r.Notify != 0 || r.ORcpt != "" {
		bits |= rcptReports
	}
	if r.Detail != "" {
		bits |= rcptDetail
	}
	if r.Reply != "" {
		bits |= rcptReply
	}
	more := bit(r.Owed != 0 || r.Told != 0, rcptOwed) | bit(r.Remote != "", rcptRemote) | bit(!r.Last.IsZero(), rcptLast) |
		bit(!r.ValidSince.IsZero(), rcptValidSince) | bit(r.Expired, rcptExpired)
	if more != 0 {
		b = append(b, bits|rcptMore, more)
	} else {
		b = append(b, bits)
	}
	b = appendAddress(b, r.Address)
	b = binary.AppendUvarint(b, r.Account)
	if bits&rcptSameUser == 0 {
		b = appendAddress(b, r.User)
	}
	if bits&rcptReports != 0 {
		b = appendString(append(b, byte(r.Notify)), r.ORcpt)
	}
	if bits&rcptDetail != 0 {
		b = appendString(b, r.Detail)
	}
	if bits&rcptReply != 0 {
		b = appendString(b, r.Reply)
	}
	if more&rcptOwed != 0 {
		b = append(b, byte(r.Owed), byte(r.Told))
	}
	if more&rcptRemote != 0 {
		b = appendString(b, r.Remote)
	}
	if more&rcptLast != 0 {
		b = appendTime(b, r.Last)
	}
	if more&rcptValidSince != 0 {
		b = appendTime(b, r.ValidSince)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAddress(b []byte, a postino.Address) []byte {
	return appendString(appendString(b, a.Local), a.Domain)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(max(1, t.UnixMilli())))
}

var (
	errRecord  = errors.New("damaged queue item")
	errVersion = errors.New("queue item written by a newer version")
)

// decodeItem reads a stored item. It keeps no part of b.
func decodeItem(id postino.ID, b []byte) (*Item, error) {
	d := decoder{b: b}
	v := d.byte()
	switch {
	case len(b) == 0 || v == 0:
		return nil, postino.E(postino.Corrupt, "read queue item", id.String(), errRecord)
	case v > version:
		return nil, postino.E(postino.Corrupt, "read queue item", id.String(), errVersion)
	}
	it := &Item{ID: id}
	it.State = State(d.byte())
	it.Lease.Fence = d.uint64()
	it.Lease.Owner = d.string()
	it.Lease.Until = d.time()
	it.Message = postino.ID(d.uint64())
	it.Transport = d.string()
	it.From = d.address()
	it.SMTPUTF8 = d.byte() == 1
	it.Body = postino.Body(d.byte())
	it.Ret = postino.DSNReturn(d.byte())
	it.EnvID = d.string()
	copy(it.Blob[:], d.take(uint64(len(it.Blob))))
	it.Size = int64(d.uvarint())
	it.Received, it.Expires, it.Due = d.time(), d.time(), d.time()
	it.Attempts, it.Panics = int(d.uvarint()), int(d.uvarint())
	it.Reason = d.string()
	if p := d.string(); p != "" {
		it.Prefix = []byte(p)
	}
	if v == 1 {
		it.Next = it.Due
	} else {
		it.Dest, it.User, it.Next = d.string(), d.uvarint(), d.time()
		d.terms(it)
	}
	n := d.uvarint()
	if n == 0 || n > uint64(len(d.b)) { // a recipient takes more than one octet
		d.bad = true
	}
	for range n {
		if d.bad {
			break
		}
		it.Rcpts = append(it.Rcpts, d.rcpt())
	}
	if d.bad || len(d.b) > 0 || it.State < StateNew || it.State > StateParked || it.Size < 0 || it.Attempts < 0 || it.Panics < 0 || it.ReportTries < 0 {
		return nil, postino.E(postino.Corrupt, "read queue item", id.String(), errRecord)
	}
	return it, nil
}

// decoder takes fields off the front of b; after the first that does not fit
// it is bad and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); len(v) == 1 {
		return v[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(uint64(n))
	return v
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) address() postino.Address {
	return postino.Address{Local: d.string(), Domain: d.string()}
}

func (d *decoder) time() time.Time {
	ms := d.uvarint()
	if ms == 0 {
		return time.Time{}
	}
	if ms > 1<<52 {
		d.bad = true
	}
	return time.UnixMilli(int64(ms))
}

func (d *decoder) terms(it *Item) {
	bits := d.byte()
	it.RequireTLS, it.TLSOptional = bits&termRequireTLS != 0, bits&termTLSOptional != 0
	it.DeliverByReturn, it.DeliverByTrace, it.Junk = bits&termReturn != 0, bits&termTrace != 0, bits&termJunk != 0
	if bits&termMore != 0 {
		it.HoldUntil, it.DeliverBy, it.Priority = d.time(), d.time(), int8(d.byte())
	}
	if bits&termTries != 0 {
		it.ReportTries, it.ReportAt = int(d.uvarint()), d.time()
	}
}

func (d *decoder) rcpt() (r Rcpt) {
	bits, more := d.byte(), byte(0)
	if bits&rcptMore != 0 {
		more = d.byte()
	}
	r.State = RcptState(bits & rcptStateMask)
	r.Address = d.address()
	r.Account = d.uvarint()
	r.User = r.Address
	if bits&rcptSameUser == 0 {
		r.User = d.address()
	}
	if bits&rcptReports != 0 {
		r.Notify = postino.DSNNotify(d.byte())
		r.ORcpt = d.string()
	}
	if bits&rcptDetail != 0 {
		r.Detail = d.string()
	}
	if bits&rcptReply != 0 {
		r.Reply = d.string()
	}
	if more&rcptOwed != 0 {
		r.Owed, r.Told = Reports(d.byte()), Reports(d.byte())
	}
	if more&rcptRemote != 0 {
		r.Remote = d.string()
	}
	if more&rcptLast != 0 {
		r.Last = d.time()
	}
	if more&rcptValidSince != 0 {
		r.ValidSince = d.time()
	}
	r.Expired = more&rcptExpired != 0
	if r.State > Failed {
		d.bad = true
	}
	return r
}
