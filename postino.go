// Package postino holds the words that all rooms of the mail system share:
// addresses, envelopes, identifiers and the classes of error. A newcomer reads
// this package first; it knows no protocol, no storage and no policy.
//
// Flow: an SMTP command becomes an [Address]; the mail transaction becomes an
// [Envelope]; acceptance gives the message an [ID] under which its story is
// kept; its octets get a [BlobID]. Errors carry a [Kind] that each protocol
// maps to its own reply codes in one table.
//
// Invariants: an Address has exactly one canonical form; an ID never repeats;
// a BlobID proves the octets that it names (SHA-256).
//
// Standards: RFC 5321 §4.1.2 (addresses), RFC 6531 §3.3 (internationalised
// addresses), RFC 5890 (A-labels), RFC 3461 (delivery status requests), RFC 2852,
// 4865, 6710, 7293, 8689 (what a sender may ask of the transport).
package postino

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// Body is the BODY parameter of MAIL (RFC 6152 §3, RFC 3030 §3).
type Body uint8

// The bodies a client can declare; BodyDefault is a MAIL without BODY=.
const (
	BodyDefault Body = iota
	Body7Bit
	Body8BitMIME
	BodyBinaryMIME
)

// Envelope is what a mail transaction says about a message: who sent it and
// to whom it goes, never what stands in its header (RFC 5321 §2.3.1).
type Envelope struct {
	// From is the reverse-path; the zero Address is the null sender <>.
	From Address
	// Rcpts are the forward-paths in the order in which they were accepted.
	Rcpts []Recipient
	// SMTPUTF8 tells that the client asked for it on MAIL (RFC 6531 §3.4).
	SMTPUTF8 bool
	// Body is what the client declared the content to be.
	Body Body
	// EnvID and Ret are the DSN parameters of MAIL, decoded (RFC 3461 §4.3, §4.4).
	EnvID string
	Ret   DSNReturn
	Terms
}

// Terms are what a sender asks of the transport of a message, hop by hop. The
// zero value asks for nothing.
type Terms struct {
	// RequireTLS wants every hop to be authenticated and encrypted, and to pass
	// the wish on (RFC 8689 §2).
	RequireTLS bool
	// TLSOptional is the header field "TLS-Required: No": delivery matters more
	// than the TLS policy of the destination (RFC 8689 §3).
	TLSOptional bool
	// HoldUntil is when the message may leave at the earliest (RFC 4865 §4).
	HoldUntil time.Time
	// DeliverBy is the time after which the message is of no use, or zero.
	// With DeliverByReturn it then comes back, else its sender is told of the
	// delay and it stays on its way; DeliverByTrace asks for a report from each
	// hop that passes it on (RFC 2852 §3, §4).
	DeliverBy       time.Time
	DeliverByReturn bool
	DeliverByTrace  bool
	// Priority is from -9 to 9 (RFC 6710 §3).
	Priority int8
}

// Recipient is one forward-path with its delivery status requests.
type Recipient struct {
	Address Address
	// Notify says which reports the sender wants (RFC 3461 §4.1).
	Notify DSNNotify
	// ORcpt is the original recipient, "addr-type;address", decoded; empty
	// when the client gave none (RFC 3461 §4.2).
	ORcpt string
	// ValidSince, when not zero, wants the message refused if the mailbox has
	// changed hands since then (RFC 7293 §3). With ValidSinceContinue a server
	// on the way that cannot pass the wish on goes on without it.
	ValidSince         time.Time
	ValidSinceContinue bool
}

// DSNReturn is the RET parameter: how much of the message a report returns.
type DSNReturn uint8

// The values of RET; DSNReturnUnset leaves the choice to the reporting server.
const (
	DSNReturnUnset DSNReturn = iota
	DSNReturnFull
	DSNReturnHeaders
)

// DSNNotify is the set of NOTIFY conditions; zero means the parameter was absent.
type DSNNotify uint8

// The NOTIFY conditions. DSNNever excludes all the others (RFC 3461 §4.1).
const (
	DSNNever DSNNotify = 1 << iota
	DSNSuccess
	DSNFailure
	DSNDelay
)

// ID is a 64-bit identifier that grows with time: 44 bits of milliseconds since
// 1970 above 20 bits that tell apart what one node makes within a millisecond.
// Messages, queue items and stories are named by it.
type ID uint64

// idAlphabet is Crockford's base 32: no letter is mistaken for a digit.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// String writes the ID as 13 characters that sort like the number.
func (id ID) String() string {
	var b [13]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idAlphabet[id&31]
		id >>= 5
	}
	return string(b[:])
}

// ParseID reads what String wrote; case does not matter.
func ParseID(s string) (ID, error) {
	if len(s) != 13 {
		return 0, E(Invalid, "parse id", s, nil)
	}
	var id ID
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		v := -1
		for j := range len(idAlphabet) {
			if idAlphabet[j] == c {
				v = j
				break
			}
		}
		if v < 0 || i == 0 && v > 15 {
			return 0, E(Invalid, "parse id", s, nil)
		}
		id = id<<5 | ID(v)
	}
	return id, nil
}

// Time returns the moment that the ID carries, to the millisecond.
func (id ID) Time() time.Time { return time.UnixMilli(int64(id >> 20)) }

// BlobID names immutable octets: eight octets of an ID, which keep bodies that
// arrived together near each other on disk, and the SHA-256 of the octets,
// which proves them.
type BlobID [8 + sha256.Size]byte

// NewBlobID joins the stamp of an ID and a digest.
func NewBlobID(stamp ID, sum [sha256.Size]byte) (b BlobID) {
	binary.BigEndian.PutUint64(b[:8], uint64(stamp))
	copy(b[8:], sum[:])
	return b
}

// Sum returns the SHA-256 of the octets.
func (b BlobID) Sum() (sum [sha256.Size]byte) {
	copy(sum[:], b[8:])
	return sum
}

// Stamp returns the ID that the blob was made with.
func (b BlobID) Stamp() ID { return ID(binary.BigEndian.Uint64(b[:8])) }

// IsZero tells whether b names nothing.
func (b BlobID) IsZero() bool { return b == BlobID{} }

// String writes the whole id in hexadecimal.
func (b BlobID) String() string { return hex.EncodeToString(b[:]) }
