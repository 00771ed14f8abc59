package reports

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Keys, all below 'R'. Days are counted from 1970 in UTC, in 2 octets; domains
// end with a zero octet.
//
//	'R' 'm' day kind domain 0          → what is known of a domain and day we report about
//	'R' 'r' day kind domain 0 hash(16) → one row of it
//	'R' 'd' day                        → how much is stored of that day
//	'R' 's' day kind domain 0          → what became of the report
//	'R' 'b' domain 0                   → reports to that domain that came back
//	'R' 'i' day kind domain 0 hash(16) → a report that came in
//	'R' 'v' day                        → how much came in that day
const (
	metaRow    = 'm'
	recordRow  = 'r'
	dayRow     = 'd'
	sentRow    = 's'
	bounceRow  = 'b'
	inRow      = 'i'
	inDayRow   = 'v'
	dmarcKind  = 'd'
	tlsKind    = 't'
	rowVersion = 1
	// jsonVersion stands before JSON.
	jsonVersion = 1
)

// scope is that of all rows.
const scope = kv.Scope("reports")

// plainDomain tells whether a domain can stand in a key.
func plainDomain(s string) bool {
	return s != "" && len(s) <= maxName && strings.IndexByte(s, 0) < 0
}

// dayOf is the day in UTC as a number.
func dayOf(t time.Time) uint64 { return uint64(max(0, t.Unix()) / 86400) }

// dayStart is when a day begins.
func dayStart(day uint64) time.Time { return time.Unix(int64(day)*86400, 0).UTC() }

// domainKey names a row of a domain and day.
func domainKey(b []byte, row, kind byte, day uint64, domain string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 'R', row), uint16(day))
	return append(append(append(b, kind), domain...), 0)
}

// keyDay is the day in such a key.
func keyDay[K string | []byte](key K) uint64 { return uint64(key[2])<<8 | uint64(key[3]) }

// rowKey names a row of the domain and day whose key is domain.
func rowKey(b []byte, domain, row string) []byte {
	sum := sha256.Sum256([]byte(row))
	return append(append(append(b, 'R', recordRow), domain[2:]...), sum[:16]...)
}

func dayKey(b []byte, day uint64) []byte {
	return binary.BigEndian.AppendUint16(append(b, 'R', dayRow), uint16(day))
}

// newer refuses what a later program wrote.
func newer(what string, version byte) error {
	return postino.E(postino.Invalid, "read", what, fmt.Errorf("version %d is not known to this program", version))
}
