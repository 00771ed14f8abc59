package mailbox

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// Rights is a set of rights on a mailbox (RFC 4314 §2.1).
type Rights uint16

// The rights, in the order of their letters "lrswipkxtea".
const (
	RightLookup  Rights = 1 << iota // l: the mailbox is seen at all
	RightRead                       // r: its messages and counters
	RightSeen                       // s: the viewer's own \Seen
	RightWrite                      // w: flags other than \Seen and \Deleted
	RightInsert                     // i: add messages
	RightPost                       // p: send mail to it; nothing here asks for it
	RightCreate                     // k: mailboxes below it
	RightDelete                     // x: the mailbox itself
	RightDeleted                    // t: the flag \Deleted
	RightExpunge                    // e: remove messages
	RightAdmin                      // a: its access list

	AllRights Rights = 1<<iota - 1

	letters = "lrswipkxtea"
)

// ParseRights reads rights as letters; the obsolete c stands for kx and d for te
// (RFC 4314 §2.1.1). It tells whether all letters are known.
func ParseRights(s string) (r Rights, ok bool) {
	for i := range len(s) {
		switch k := strings.IndexByte(letters, s[i]); {
		case k >= 0:
			r |= 1 << k
		case s[i] == 'c':
			r |= RightCreate | RightDelete
		case s[i] == 'd':
			r |= RightDeleted | RightExpunge
		default:
			return 0, false
		}
	}
	return r, true
}

// String writes the letters in the order "lrswipkxtea", without c and d.
func (r Rights) String() string {
	var b []byte
	for i := range len(letters) {
		if r>>i&1 != 0 {
			b = append(b, letters[i])
		}
	}
	return string(b)
}

// Subject is to whom an entry of an access list applies. Exactly one field is set.
type Subject struct {
	Account AccountID
	// Domain means everybody with an address of this domain: "anyone" of RFC 4314
	// §2, which never reaches beyond the house. In lower case, as A-labels.
	Domain string
}

// Viewer is who looks at an account: his own account, and the domain of his address.
type Viewer struct {
	Account AccountID
	Domain  string
}

// ACLEntry gives rights to a subject or, when Negative, takes them away (RFC
// 4314 §2).
type ACLEntry struct {
	Subject
	Negative bool
	Rights   Rights
}

func compareEntries(a, b ACLEntry) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Domain, b.Domain), cmp.Compare(btoi(a.Negative), btoi(b.Negative)))
}

// acl is the access list of a mailbox, in the order of compareEntries. It is
// immutable once a state holds it.
type acl []ACLEntry

// rights returns what a guest may: all that entries for him give, without all
// that entries for him take away.
func (l acl) rights(v Viewer) Rights {
	var give, take Rights
	for _, e := range l {
		if e.Account != 0 && e.Account != v.Account || e.Account == 0 && (e.Domain == "" || e.Domain != v.Domain) {
			continue
		}
		if e.Negative {
			take |= e.Rights
		} else {
			give |= e.Rights
		}
	}
	return give &^ take
}

const aclVersion = 1

func (l acl) append(dst []byte) []byte {
	dst = append(dst, aclVersion)
	dst = binary.AppendUvarint(dst, uint64(len(l)))
	for _, e := range l {
		dst = binary.AppendUvarint(dst, uint64(e.Account))
		if e.Account == 0 {
			dst = appendString(dst, e.Domain)
		}
		dst = binary.AppendUvarint(dst, uint64(e.Rights)<<1|uint64(btoi(e.Negative)))
	}
	return dst
}

func decodeACL(b []byte) (acl, error) {
	const what = "access list"
	d := decoder{b: b}
	if err := d.version(aclVersion, what); err != nil {
		return nil, err
	}
	l := make(acl, d.count(2))
	for i := range l {
		e := &l[i]
		if e.Account = AccountID(d.uvarint()); e.Account == 0 {
			if e.Domain = string(d.bytes()); e.Domain == "" {
				d.fail()
			}
		}
		v := d.upTo(uint64(AllRights)<<1 | 1)
		e.Rights, e.Negative = Rights(v>>1), v&1 != 0
	}
	if !slices.IsSortedFunc(l, compareEntries) {
		d.fail()
	}
	return l, d.end(what)
}

// change returns the list with one entry changed; an entry without rights goes.
func (l acl) change(s Subject, negative bool, op FlagOp, r Rights) acl {
	e := ACLEntry{s, negative, 0}
	i, found := slices.BinarySearchFunc(l, e, compareEntries)
	l = slices.Clone(l)
	if !found {
		l = slices.Insert(l, i, e)
	}
	switch op {
	case AddFlags:
		l[i].Rights |= r
	case RemoveFlags:
		l[i].Rights &^= r
	default:
		l[i].Rights = r
	}
	if l[i].Rights == 0 {
		l = slices.Delete(l, i, i+1)
	}
	return l
}

// role is as what somebody holds a handle. The zero role may do nothing.
type role uint8

const (
	_        role = iota
	asSystem      // the program itself: delivery, administration
	asOwner
	asGuest
)

// action is what a method does to a mailbox.
type action uint8

// The actions, and with them the rights that each needs beside l.
const (
	actLookup action = iota
	actRead
	actStore // and one of s, t, w: see [Account.Store]
	actExpunge
	actDestroy
	actInsert
	actMoveFrom
	actCreateBelow
	actDelete
	actAdminister
	actSharedNote
	actOwn // only the owner
	actions
)

// needs is the table of rights (RFC 4314 §4). What it does not name is denied to
// guests.
var needs = [actions]Rights{
	actLookup:      RightLookup,
	actRead:        RightLookup | RightRead,
	actStore:       RightLookup | RightRead,
	actExpunge:     RightLookup | RightRead | RightExpunge,
	actDestroy:     RightLookup | RightRead | RightDeleted | RightExpunge,
	actInsert:      RightLookup | RightInsert,
	actMoveFrom:    RightLookup | RightRead | RightDeleted | RightExpunge,
	actCreateBelow: RightLookup | RightCreate,
	actDelete:      RightLookup | RightDelete,
	actAdminister:  RightLookup | RightAdmin,
	actSharedNote:  RightLookup | RightWrite,
}

// may is the one place where access is decided (AU8): it returns nil when the
// holder of the handle may do something to a mailbox. A mailbox that he may not
// look up is answered as one that does not exist.
func (a *Account) may(st *state, box MailboxID, do action) error {
	s := st.box(box)
	if s == nil {
		return noMailbox(box)
	}
	has := a.rightsOn(s)
	if has&RightLookup == 0 {
		return noMailbox(box)
	}
	if need := needs[do]; need == 0 && !a.full() || has&need != need {
		return denied(box)
	}
	return nil
}

// full tells whether the holder of the handle may do everything to mailboxes.
func (a *Account) full() bool { return a.role == asSystem || a.role == asOwner }

// rightsOn returns what the holder of the handle may do to a mailbox.
func (a *Account) rightsOn(s *Snapshot) Rights {
	switch {
	case s == nil:
	case a.full():
		return AllRights
	case a.role == asGuest:
		return s.acl.rights(a.lens.Viewer)
	}
	return 0
}

// mayUse returns nil when the holder of the handle may read what belongs to the
// messages of a snapshot: a guest only with one that his own handle showed him,
// as long as he may read the mailbox.
func (a *Account) mayUse(s *Snapshot) error {
	if a.full() {
		return nil
	}
	if s.lens == nil || s.lens != a.lens {
		return noMailbox(s.row.id)
	}
	return a.may(a.published.Load(), s.row.id, actRead)
}

func denied(box MailboxID) error {
	return postino.E(postino.Denied, "use mailbox", strconv.FormatUint(uint64(box), 10), nil)
}
