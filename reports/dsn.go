package reports

import (
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
)

// MaxSize bounds a whole report in octets (SC9).
const MaxSize = 64 << 10

// Action is what became of a recipient (RFC 3464 §2.3.3).
type Action uint8

// The actions.
const (
	Failed    Action = iota + 1 // never to be tried again
	Delayed                     // not delivered yet
	Delivered                   // in the mailbox
	Relayed                     // passed to a server that sends no reports
	Expanded                    // sent on to the members of a list
)

var actionNames = [...]string{"", "failed", "delayed", "delivered", "relayed", "expanded"}

// String returns the word of RFC 3464 §2.3.3, empty for no action.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return ""
}

// class is the first digit of a status that fits the action (RFC 3463 §2).
func (a Action) class() byte {
	switch a {
	case Failed:
		return '5'
	case Delayed:
		return '4'
	}
	return '2'
}

// DSN is a delivery status notification: what became of a message, told to its
// sender. Texts may come from outside: nothing in them can add a field, a part
// or a line to the report (PA6).
type DSN struct {
	// Lang is the language tag of the reader (RFC 5646): English, Italian or
	// Romanian; for other languages the text is in English.
	Lang string
	// ReportingMTA is the name of this host. The report comes from MAILER-DAEMON there.
	ReportingMTA string
	// To is the reverse-path of the original. The null sender gets no reports
	// (RFC 5321 §6.1): it is refused.
	To postino.Address
	// EnvID is the envelope id that the sender gave, decoded; may be empty.
	EnvID string
	// Arrival is when the original was accepted; zero: not told.
	Arrival time.Time
	// DeliverBy is when the message was to be delivered at the latest (RFC 2852);
	// zero: not asked for.
	DeliverBy time.Time
	// ReceivedFrom is the name of the host that sent the original; may be empty.
	ReceivedFrom string
	// Ret is how much of the original comes back. All of it only if the sender
	// asked for it, a recipient failed (RFC 3461 §4.3) and it fits into MaxSize.
	Ret postino.DSNReturn
	// SMTPUTF8 tells that the original came with SMTPUTF8, so that the report may
	// need it as well: the types of RFC 6533 are used where something is not ASCII.
	SMTPUTF8 bool
	// Subject and MessageID, without brackets, of the original; taken from
	// Headers when empty.
	Subject, MessageID string
	// Date of the report; it must be given.
	Date time.Time
	// ID is the Message-ID of the report without brackets; random when empty.
	ID string
	// Rand gives the octets of boundaries and ids; nil means the system's source.
	Rand io.Reader
	// Rcpts is at least one recipient.
	Rcpts []DSNRcpt
	// Headers is the raw header of the original; when nil it is taken from Full.
	Headers []byte
	// Full is the original, of which at most MaxSize octets are read; nil: not at hand.
	Full io.Reader
}

// DSNRcpt is what a report says about one recipient.
type DSNRcpt struct {
	// Original is the recipient as the sender named it, "addr-type;address",
	// decoded (RFC 3461 §4.2); may be empty. ParseDSN also puts here a final
	// recipient that is no Internet address, and leaves Final zero.
	Original string
	// Final is the recipient as this host knew it.
	Final  postino.Address
	Action Action
	// Status is an enhanced status code (RFC 3463); one that is malformed
	// becomes 5.0.0, 4.0.0 or 2.0.0 by Action.
	Status string
	// RemoteMTA is the host that spoke; empty when none did.
	RemoteMTA string
	// Diagnostic is its reply, "550 5.1.1 …", lines joined in any way, or words of our own.
	Diagnostic string
	// LastAttempt is when delivery was tried last, WillRetryUntil until when it
	// will be; zero: not told.
	LastAttempt, WillRetryUntil time.Time
	// FinalLogID names the recipient in this host's logs; may be empty.
	FinalLogID string
}

// status returns a well-formed status code.
func (r *DSNRcpt) status() string {
	if s := enhanced(r.Status); s != "" {
		return s
	}
	return string(r.Action.class()) + ".0.0"
}

// Split returns the reports that are needed so that each fits into MaxSize and
// all recipients are told of: mostly d alone. The copies share what d points to;
// only the first carries Full, and only the first keeps ID.
func (d *DSN) Split() []*DSN {
	const (
		room  = MaxSize - 14<<10 // header, fields of the message, names in the text
		words = 900              // about one reason in the text
	)
	var all []*DSN
	start, size := 0, 0
	reasons := map[string]bool{}
	for i := range d.Rcpts {
		r := &d.Rcpts[i]
		n, why := r.leastSize(), r.Action.String()+r.why()
		if !reasons[why] {
			size += words
		}
		if size += n; size > room && i > start {
			all = append(all, d.part(start, i))
			start, size = i, n+words
			clear(reasons)
		}
		reasons[why] = true
	}
	if start == 0 {
		return []*DSN{d}
	}
	return append(all, d.part(start, len(d.Rcpts)))
}

func (d *DSN) part(from, to int) *DSN {
	one := *d
	one.Rcpts = d.Rcpts[from:to:to]
	if from > 0 {
		one.ID, one.Full = "", nil
	}
	return &one
}

// leastSize bounds the octets of the recipient's fields when all that can be
// left out is.
func (r *DSNRcpt) leastSize() int {
	n := len("Final-Recipient: utf-8; Action: delivered Status: 5.100.100") + 5*len("\r\n ") + escapedSize(r.Final.Local) + len(r.Final.Domain)
	if r.Original != "" {
		n += len("Original-Recipient: utf-8; \r\n ") + escapedSize(r.Original)
	}
	if r.RemoteMTA != "" {
		n += len("Remote-MTA: dns; \r\n ") + min(4*len(r.RemoteMTA), maxValue)
	}
	if r.Diagnostic != "" {
		n += len("Diagnostic-Code: x-postino; \r\n ") + leastWords
	}
	return n
}

// escapedSize bounds the octets of s in a field, whatever way it is written.
func escapedSize(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\"+=`, c) >= 0 {
			n += 7 // "\x{7f}", "\u{0007f}"
		}
	}
	return min(n, maxAddress)
}

// maxValue bounds a value from outside in a field, in octets. An address has room
// for the 500 octets of an ORCPT (RFC 3461 §4.2), each pair of them escaped.
const (
	maxValue   = 1000
	maxAddress = 2000
)

// clean returns text from outside on one line of at most max octets: controls
// and bidi marks escaped (G6), longer text cut with "...".
func clean(s string, max int) string {
	cut := len(s) > 4*max // no more work than the result needs
	if cut {
		s = s[:4*max]
	}
	s = postino.Printable(strings.Join(strings.Fields(s), " "))
	if len(s) <= max && !cut {
		return s
	}
	n := min(max-3, len(s))
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// asciiOnly tells whether s has no octet above 127.
func asciiOnly[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
