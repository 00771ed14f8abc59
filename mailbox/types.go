package mailbox

import (
	"iter"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// AccountID names an account; the directory chooses it, it is never 0 and never
// given to another account.
type AccountID uint64

// MailboxID names a mailbox of an account over all its renames; never 0, never
// reused. It is the MAILBOXID of RFC 8474 §4.
type MailboxID uint64

// EmailID names a stored message of an account. It grows with arrival and is
// never reused; copies in several mailboxes share it (EMAILID, RFC 8474 §5.1).
type EmailID uint64

// ThreadID names a conversation: the EmailID of the message that began it. The
// thread of an email never changes (THREADID, RFC 8474 §5.2).
type ThreadID uint64

// UID is a message's unique identifier in its mailbox (RFC 9051 §2.3.1.1).
type UID uint32

// ModSeq is the change number of an account: every log record takes the next
// one. It serves all mailboxes of the account as mod-sequence (RFC 7162 §3).
type ModSeq uint64

// Flags is a set of system flags (RFC 9051 §2.3.2).
type Flags uint8

// The system flags; they are bits 0 to 4 of [Mask].
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	systemFlags = 5
	allSystem   = Flags(1<<systemFlags - 1)
)

// MaxKeywords is the number of different keywords that a mailbox can hold.
const MaxKeywords = 64*len(Mask{}) - systemFlags

// maxKeyword is the longest name of a keyword in octets.
const maxKeyword = 100

// Mask holds all flags of a message as bits: the system flags in bits 0 to 4,
// keyword n of the mailbox's table in bit 5+n.
type Mask [4]uint64

// System returns the system flags of m.
func (m Mask) System() Flags { return Flags(m[0]) & allSystem }

// Has tells whether the bit is set.
func (m Mask) Has(bit int) bool { return m[bit>>6]>>(bit&63)&1 != 0 }

// IsZero tells whether no flag is set.
func (m Mask) IsZero() bool { return m == Mask{} }

// Or returns the flags that are in m or in o.
func (m Mask) Or(o Mask) Mask {
	for i := range m {
		m[i] |= o[i]
	}
	return m
}

// AndNot returns the flags of m that are not in o.
func (m Mask) AndNot(o Mask) Mask {
	for i := range m {
		m[i] &^= o[i]
	}
	return m
}

// Keywords yields the numbers of m's keywords in the mailbox's table, ascending.
func (m Mask) Keywords() iter.Seq[int] {
	m[0] &^= uint64(allSystem)
	return func(yield func(int) bool) {
		for w, v := range m {
			for ; v != 0; v &= v - 1 {
				if !yield(w<<6 + bits.TrailingZeros64(v) - systemFlags) {
					return
				}
			}
		}
	}
}

func (m *Mask) set(bit int) { m[bit>>6] |= 1 << (bit & 63) }

// everyFlag is the mask that REPLACE takes away.
var everyFlag = Mask{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}

// ValidKeyword tells whether s can be the name of a keyword: an atom of at most
// 100 octets (RFC 9051 §9, flag-keyword).
func ValidKeyword(s string) bool {
	if s == "" || len(s) > maxKeyword {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// Range is an inclusive range of UIDs, or of sequence numbers where the field
// that holds it says so.
type Range struct{ Lo, Hi UID }

// Ranges is a set of UIDs: ascending, disjoint ranges that do not touch.
type Ranges []Range

// All returns the set of all UIDs.
func All() Ranges { return Ranges{{1, math.MaxUint32}} }

// RangesOf returns the set of the UIDs, which may stand in any order.
func RangesOf(uids []UID) Ranges {
	if !slices.IsSorted(uids) {
		uids = slices.Clone(uids)
		slices.Sort(uids)
	}
	var r Ranges
	for _, u := range uids {
		r.Append(u)
	}
	return r
}

// Append adds a UID that is not below any in r.
func (r *Ranges) Append(u UID) {
	if n := len(*r); n > 0 {
		last := &(*r)[n-1]
		if u <= last.Hi {
			return
		}
		if u == last.Hi+1 {
			last.Hi = u
			return
		}
	}
	*r = append(*r, Range{u, u})
}

// Normalize returns the same set in order: empty ranges dropped, overlapping
// and touching ones joined. It may reuse r.
func (r Ranges) Normalize() Ranges {
	r = slices.DeleteFunc(r, func(x Range) bool { return x.Lo > x.Hi })
	if !slices.IsSortedFunc(r, compareLo) {
		slices.SortFunc(r, compareLo)
	}
	out := r[:0]
	for _, x := range r {
		if n := len(out); n > 0 && uint64(x.Lo) <= uint64(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, x.Hi)
			continue
		}
		out = append(out, x)
	}
	return out
}

func compareLo(a, b Range) int {
	if a.Lo < b.Lo {
		return -1
	}
	if a.Lo > b.Lo {
		return 1
	}
	return 0
}

// Contains tells whether u is in the set.
func (r Ranges) Contains(u UID) bool {
	i, _ := slices.BinarySearchFunc(r, u, func(x Range, u UID) int {
		if x.Hi < u {
			return -1
		}
		return 1
	})
	return i < len(r) && r[i].Lo <= u
}

// Count returns the number of UIDs in the set.
func (r Ranges) Count() uint64 {
	var n uint64
	for _, x := range r {
		n += uint64(x.Hi-x.Lo) + 1
	}
	return n
}

// SpecialUse is a set of uses that a mailbox has (RFC 6154 §2, RFC 8457 §3).
type SpecialUse uint8

// The special uses.
const (
	UseAll SpecialUse = 1 << iota
	UseArchive
	UseDrafts
	UseFlagged
	UseImportant
	UseJunk
	UseSent
	UseTrash

	UseNone SpecialUse = 0
)

var useNames = [8]string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

// String writes the uses as LIST attributes, separated by spaces.
func (u SpecialUse) String() string {
	var names []string
	for i, name := range useNames {
		if u>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// ParseSpecialUse reads one attribute, in any case.
func ParseSpecialUse(s string) (SpecialUse, bool) {
	for i, name := range useNames {
		if strings.EqualFold(s, name) {
			return 1 << i, true
		}
	}
	return 0, false
}
