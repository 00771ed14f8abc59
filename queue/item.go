package queue

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
)

// State says where an item stands; docs/queue.md draws the arrows.
type State uint8

// The states. The numbers are stored.
const (
	StateNew     State = iota + 1 // accepted, never tried
	StateWaiting                  // something is to be done about it at Item.Due
	StateHeld                     // not tried again until an administrator releases it
	StateParked                   // due, and kept aside until its site has room or opens
	stateGone                     // off the queue; never stored
)

// String names the state in lower case.
func (s State) String() string {
	if s >= StateNew && s <= StateParked {
		return [...]string{"new", "waiting", "held", "parked"}[s-StateNew]
	}
	return "gone"
}

// The transports by the names that items carry: Local serves recipients whose
// mailbox is here, Relay those elsewhere; Reader reads what others report.
const (
	Local  = "local"
	Relay  = "relay"
	Reader = "reports"
)

// Item is one message on its way to recipients that share a transport and a
// site. What has no word about it is set by who makes the item and constant
// afterwards.
type Item struct {
	// ID names the item; Put gives one when it is zero.
	ID postino.ID
	// Message is the id under which the story is kept.
	Message postino.ID
	// Transport is the name in Options.Transports.
	Transport string
	// Dest names the site that the item goes to: what shares connections,
	// limits and trouble. It is the recipients' domain or "route/NAME", and
	// empty for a transport that is served by lanes.
	Dest string
	// User is the account that submitted the message, 0 when none did.
	User uint64

	From     postino.Address // reverse-path, zero for the null sender
	SMTPUTF8 bool
	Body     postino.Body
	EnvID    string
	Ret      postino.DSNReturn
	// Terms are kept: HoldUntil, DeliverBy and Priority by the queue, the others
	// by the transport.
	postino.Terms

	Blob     postino.BlobID // set by Put
	Size     int64          // octets of the blob; set by Put
	Received time.Time      // when the message was accepted
	// Prefix is whole header lines with CRLF that stand before the blob.
	Prefix []byte
	// Junk puts it into the mailbox for junk of local recipients, instead of INBOX.
	Junk bool
	// Rcpts is at least one recipient; their state changes by Finish.
	Rcpts []Rcpt

	State    State
	Attempts int       // attempts that ended
	Panics   int       // attempts that ended in a panic
	Next     time.Time // when pending recipients are tried next; zero: they may be tried now
	// Due is when anything is to be done about a Waiting item: an attempt, a
	// notice, a report, the end of its time. For a Parked one it is when
	// something other than an attempt is.
	Due     time.Time
	Expires time.Time // when recipients that still wait have failed; set by Put when zero
	Reason  string    // why it is held or parked
	// ReportTries and ReportAt are how often making the report failed that the
	// item owes, and when that is tried next.
	ReportTries int
	ReportAt    time.Time
	// Lease says who may work on the item in a cluster. Its Fence is compared
	// in the transaction of every result (QU9).
	Lease Lease

	// Carry is what acceptance hands to the transport in memory; it is nil
	// after a restart. CarryBytes is about its size.
	Carry      any
	CarryBytes int

	weight int     // octets of memory that its claim counts
	tried  []bool  // recipients with an outcome in this attempt
	staged *staged // what the current transaction makes of the item
	ended  bool    // this attempt is over and its result durable

	// The following are guarded by Queue.mu.
	where  place
	seated bool    // it counts in the room of its line
	site   *site   // that it has a seat for, nil when it is served by lanes
	sender *sender // whose it is, with site
	link   *Item   // the next one in its flow
	wish   *string // an administrator wants it held for this reason, once the attempt ended
}

// place says where a claimed item is in memory.
type place uint8

const (
	busy      place = iota // somebody works on it
	listed                 // in a list, to be taken from there
	withdrawn              // still in a list, but no longer claimed: to be skipped
)

// Bounce tells whether the message has the null sender: it is never reported on.
func (it *Item) Bounce() bool { return it.From == postino.Address{} }

// Rcpt is a recipient of an item.
type Rcpt struct {
	postino.Recipient
	// Account is the mailbox it leads to and User that mailbox's address, for
	// local delivery.
	Account uint64
	User    postino.Address
	// Detail is the sub-address, without its separator.
	Detail string
	State  RcptState
	// Expired tells that it failed because time was up (status 5.4.7); Reply is
	// then the last temporary answer.
	Expired bool
	// Reply is the last answer about it, Remote the host that gave it (empty when
	// the words are ours), and Last when that was.
	Reply  string
	Remote string
	Last   time.Time
	// Owed are the reports that its sender must get, Told those that were made
	// or found not to be due.
	Owed, Told Reports
}

// AppendTarget appends the address of the mailbox with the sub-address: what
// Delivered-To names (RFC 9228 §4), and what a message that comes back is known by.
func (r *Rcpt) AppendTarget(dst []byte) []byte {
	a := r.User
	if r.Detail != "" {
		a.Local += "+" + r.Detail
	}
	return a.Append(dst)
}

// RcptState says what became of a recipient.
type RcptState uint8

// The states of a recipient. The numbers are stored.
const (
	Pending RcptState = iota
	Done
	Failed
)

// Lease is the ownership of an item by a node. On one machine the process owns
// the store, and with it all items; the fields are then zero.
type Lease struct {
	Owner string
	Until time.Time
	Fence uint64
}

// Pending walks the recipients that have no outcome yet in this attempt.
func (it *Item) Pending() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range it.Rcpts {
			if it.Rcpts[i].State == Pending && (it.tried == nil || !it.tried[i]) && !yield(i) {
				return
			}
		}
	}
}

// count tells how many recipients are pending and failed, and whether any
// report is owed.
func (it *Item) count() (pending, failed int, owed bool) {
	for i := range it.Rcpts {
		switch it.Rcpts[i].State {
		case Pending:
			pending++
		case Failed:
			failed++
		}
		owed = owed || it.Rcpts[i].Owed != 0
	}
	return pending, failed, owed
}

// class is the rank of an item's priority (RFC 6710 §4.1): three are enough for
// MTAs that do not promise more.
func (it *Item) class() uint8 {
	switch {
	case it.Priority > 0:
		return 0
	case it.Priority == 0:
		return 1
	}
	return 2
}

// weigh estimates the memory that an item takes.
func (it *Item) weigh() int {
	it.weight = 512 + 256*len(it.Rcpts) + len(it.Prefix) + it.CarryBytes
	return it.weight
}

// Keys.

// itemKey names the row of an item: 'q', its state, its id.
func itemKey(dst []byte, s State, id postino.ID) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 'q', " nwhp"[s]), uint64(id))
}

// dueKey names the row that orders waiting items by time: 'q' 'd' due id.
func dueKey(dst []byte, due time.Time, id postino.ID) []byte { return timeKey(dst, 'd', due, id) }

// lateKey names the row that orders parked items by time: 'q' 't' due id.
func lateKey(dst []byte, due time.Time, id postino.ID) []byte { return timeKey(dst, 't', due, id) }

func timeKey(dst []byte, table byte, t time.Time, id postino.ID) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, 'q', table), uint64(max(0, t.UnixMilli())))
	return binary.BigEndian.AppendUint64(dst, uint64(id))
}

// parkKey names the row that orders parked items by site: 'q' 'b' hash class id.
func parkKey(dst []byte, hash uint64, class uint8, id postino.ID) []byte {
	dst = append(binary.BigEndian.AppendUint64(append(dst, 'q', 'b'), hash), class)
	return binary.BigEndian.AppendUint64(dst, uint64(id))
}

// siteHash is the stored name of a site. It is cut from a cryptographic hash, as
// senders choose domains and must not choose whose fate they share.
func siteHash(transport, dest string) uint64 {
	var buf [320]byte
	b := append(append(append(buf[:0], transport...), 0), dest...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// blobRef is the reference by which an item holds its body.
func blobRef(id postino.ID) blob.Ref {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), 'q'), uint64(id))
}
