package imap

import (
	"context"
	"io"
	"time"
)

// Flag is a set of system flags.
type Flag uint8

// The system flags of RFC 9051 §2.3.2, and \Recent of RFC 3501, which is
// printed to clients that did not enable IMAP4rev2 and never stored by one.
const (
	Seen Flag = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
	Recent
)

// Range is a run of numbers, both ends included. In requests 0 stands for "*",
// the largest number in use, and Start may lie after Stop; [Range.Resolve] puts
// that right. In answers 0 < Start <= Stop.
type Range struct{ Start, Stop uint32 }

// NumSet names messages by sequence number or by UID, as ranges in the order of
// the client, possibly overlapping: at most Limits.Ranges. The saved search
// result "$" (RFC 9051 §6.4.4.1) arrives as the UIDs that it holds, with UID set
// whatever the command was; it may then be empty.
type NumSet struct {
	UID    bool
	Ranges []Range
}

// FetchItem is a set of FETCH data items that need no argument.
type FetchItem uint16

// The data items of RFC 9051 §6.4.5, and of its extensions.
const (
	FetchUID FetchItem = 1 << iota
	FetchFlags
	FetchInternalDate
	FetchSize
	FetchEnvelope
	FetchBody          // BODY without extension data
	FetchBodyStructure // BODYSTRUCTURE
	FetchModSeq
	FetchPreview  // RFC 8970
	FetchSaveDate // RFC 8514
	FetchEmailID  // RFC 8474
	FetchThreadID // RFC 8474
)

// FetchRequest is FETCH or UID FETCH. FetchUID is set when the command was a UID
// FETCH; FetchModSeq when ChangedSince is.
type FetchRequest struct {
	Set      NumSet
	Items    FetchItem
	Sections []Section
	// MarkSeen: one of the sections was asked for without PEEK.
	MarkSeen bool
	// ChangedSince leaves out messages whose mod-sequence is not above it, 0 none
	// (RFC 7162 §3.1.4.1).
	ChangedSince uint64
	// Vanished: the client wants w.Vanished of the UIDs in Set that were expunged
	// after ChangedSince, before all else (RFC 7162 §3.2.6).
	Vanished bool
	// Partial, when set, leaves of the messages of Set only some (RFC 9394 §3.3).
	Partial *Partial
	// LazyPreview: previews may be left out, as NIL, where they cost much (RFC 8970 §3.1).
	LazyPreview bool
}

// Partial is the window of results from the Lo-th to the Hi-th in ascending order;
// negative numbers count from the end, -1 being the last (RFC 9394 §3.1). Both
// have the same sign; they may stand in either order.
type Partial struct{ Lo, Hi int64 }

// Window returns the half-open run of indexes, of n results, that p names.
func (p Partial) Window(n int) (lo, hi int) {
	a, b := p.Lo, p.Hi
	if a < 0 {
		a, b = int64(n)+a+1, int64(n)+b+1
	}
	if a > b {
		a, b = b, a
	}
	a, b = max(a, 1), min(b, int64(n))
	if a > b {
		return 0, 0
	}
	return int(a - 1), int(b)
}

// SectionText says which octets of a part a [Section] names.
type SectionText uint8

// What can be named (RFC 9051 §6.4.5.1).
const (
	SectionAll             SectionText = iota // the whole message, or the body of a part
	SectionHeader                             // HEADER: of the message or the message/rfc822 part
	SectionHeaderFields                       // HEADER.FIELDS, with Fields
	SectionHeaderFieldsNot                    // HEADER.FIELDS.NOT, with Fields
	SectionBodyText                           // TEXT
	SectionMIME                               // MIME, only with a Path
)

// SectionKind tells BODY[…] from the items of RFC 3516.
type SectionKind uint8

// The kinds of section.
const (
	BodySection       SectionKind = iota // BODY[…], also RFC822, RFC822.HEADER, RFC822.TEXT
	BinarySection                        // BINARY[…]: transfer encoding removed
	BinarySizeSection                    // BINARY.SIZE[…]: the size of that
)

// Section is one BODY, BINARY or BINARY.SIZE item of a FETCH.
type Section struct {
	Kind SectionKind
	// Path holds part numbers, each at least 1, at most Limits.Depth of them.
	Path []uint32
	Text SectionText
	// Fields are the header names of HEADER.FIELDS as the client wrote them.
	Fields []string
	// Partial: only Length octets from Offset were asked for.
	Partial        bool
	Offset, Length int64

	label []byte // how the response names it, `BODY[1.MIME]<0>`
}

// SearchOp is the operation of one [SearchKey].
type SearchOp uint8

// The search keys. All others of RFC 9051 §6.4.4 and RFC 3501 §6.4.4 are made
// from these: UNSEEN is Not(Flag Seen), NEW is And(Flag Recent, Not(Flag Seen)),
// OLD is Not(Flag Recent).
const (
	SearchAll         SearchOp = iota
	SearchAnd                  // all of Keys, of which there may be none
	SearchOr                   // one of the two Keys
	SearchNot                  // not the one in Keys
	SearchSet                  // Set
	SearchFlag                 // Flag, one bit
	SearchKeyword              // keyword Text, case-insensitive
	SearchHeader               // header field Header contains Text; Text "" asks that it exists
	SearchFrom                 // Text in the From field's addresses and names, and so on
	SearchTo                   //
	SearchCc                   //
	SearchBcc                  //
	SearchSubject              //
	SearchBody                 // Text in the body
	SearchText                 // Text in header or body
	SearchBefore               // internal date's day is before Date
	SearchOn                   //
	SearchSince                // on or after
	SearchSentBefore           // Date: field, time and zone disregarded
	SearchSentOn               //
	SearchSentSince            //
	SearchLarger               // Size
	SearchSmaller              // Size
	SearchModSeq               // mod-sequence at least ModSeq (RFC 7162 §3.1.5)
	SearchYounger              // internal date less than Size seconds ago (RFC 5032)
	SearchOlder                // internal date Size seconds ago or more
	SearchSavedBefore          // save date's day is before Date (RFC 8514 §4.3)
	SearchSavedOn              //
	SearchSavedSince           //
	SearchEmailID              // EMAILID is Text (RFC 8474 §6)
	SearchThreadID             // THREADID is Text
	SearchFuzzy                // the one in Keys, with its texts taken loosely (RFC 6203)
)

// SearchKey is a node of the search tree; depth is at most Limits.Depth, so
// evaluating it may recurse.
type SearchKey struct {
	Op     SearchOp
	Keys   []SearchKey
	Set    NumSet
	Flag   Flag
	Header string
	// Text is UTF-8 whatever the client's charset was.
	Text string
	// Date is midnight UTC of the day.
	Date   time.Time
	Size   int64
	ModSeq uint64
}

// SearchReturn is the set of RETURN options (RFC 9051 §6.4.4).
type SearchReturn uint16

// The return options. A SEARCH without RETURN has ReturnAll.
const (
	ReturnMin SearchReturn = 1 << iota
	ReturnMax
	ReturnAll
	ReturnCount
	ReturnSave
	ReturnPartial   // SearchRequest.Partial (RFC 9394)
	ReturnUpdate    // tell of changes later (RFC 5267 §4.3)
	ReturnContext   // a hint that the same search will come again (RFC 5267 §4.2)
	ReturnRelevancy // scores (RFC 6203 §4)
)

// SearchRequest is SEARCH or SORT, with or without UID.
type SearchRequest struct {
	Key SearchKey
	// Sort is the order of the results, most significant first; none: ascending.
	Sort []SortKey
	// Collation names the comparator of texts (RFC 5255 §4): empty for
	// i;unicode-casemap, or "i;ascii-casemap", "i;octet".
	Collation string
	// Return tells what the client wants; a session may stop early when it is
	// ReturnMin alone (with or without ReturnSave).
	Return SearchReturn
	// UID tells which number the client wants; SearchData.Add takes both.
	UID bool
	// ModSeq: the key uses MODSEQ, so the answer carries mod-sequences.
	ModSeq bool
	// Partial is the window of ReturnPartial. The engine applies it; a session may
	// add all messages.
	Partial *Partial
}

// SortBy is one criterion of SORT.
type SortBy uint8

// The criteria of RFC 5256 §3, RFC 5957 and RFC 6203 §5.
const (
	SortArrival SortBy = iota
	SortCc
	SortDate
	SortFrom
	SortSize
	SortSubject
	SortTo
	SortDisplayFrom
	SortDisplayTo
	SortRelevancy
)

// SortKey is a criterion and its direction.
type SortKey struct {
	By      SortBy
	Reverse bool
}

// ThreadAlgorithm is how THREAD makes threads.
type ThreadAlgorithm uint8

// The algorithms of RFC 5256 §4, and REFS: by references alone, without joining
// subjects, threads in the order of their latest message.
const (
	ThreadOrderedSubject ThreadAlgorithm = iota
	ThreadReferences
	ThreadRefs
)

// ThreadRequest is THREAD or UID THREAD.
type ThreadRequest struct {
	Algorithm ThreadAlgorithm
	Key       SearchKey
	Collation string
	UID       bool
}

// ThreadNode is a message in a forest that is written out parent before children.
type ThreadNode struct {
	// Depth is 0 for the root of a thread; it grows by at most 1 from node to node.
	Depth int
	// Num is the sequence number or UID, 0 for a parent that is not there.
	Num uint32
}

// StoreOp says what STORE does with the flags.
type StoreOp uint8

// The three forms of STORE (RFC 9051 §6.4.6).
const (
	StoreReplace StoreOp = iota
	StoreAdd
	StoreRemove
)

// StoreRequest is STORE or UID STORE.
type StoreRequest struct {
	Set      NumSet
	Op       StoreOp
	Flags    Flag
	Keywords []string
	// Conditional: messages whose mod-sequence is above UnchangedSince are left
	// as they are and returned in StoreData.Modified (RFC 7162 §3.1.3).
	Conditional    bool
	UnchangedSince uint64
	// UID: the command was UID STORE, and StoreData.Modified holds UIDs.
	UID bool
}

// StoreData answers a Store.
type StoreData struct {
	// Modified are the messages that failed UNCHANGEDSINCE, by sequence number, or by
	// UID when StoreRequest.UID. They are not written by Store.
	Modified []Range
}

// CopyData answers Copy and Move: the n-th UID of Source became the n-th of Dest
// (RFC 9051 §7.1 COPYUID). Nothing copied leaves both empty.
type CopyData struct {
	UIDValidity  uint32
	Source, Dest []Range
	// HighestModSeq of the selected mailbox after a Move; 0 when nothing was moved.
	HighestModSeq uint64
}

// ExpungeData answers an Expunge.
type ExpungeData struct {
	// HighestModSeq after the expunge; 0 when nothing was removed.
	HighestModSeq uint64
}

// CreateData answers a Create.
type CreateData struct {
	// MailboxID is the object id of the new mailbox (RFC 8474 §4.1).
	MailboxID string
}

// CreateRequest is CREATE.
type CreateRequest struct {
	Mailbox string
	// SpecialUse are the uses that the client asked for (RFC 6154 §3).
	SpecialUse MailboxAttr
}

// AppendRequest is APPEND, of one or several messages (RFC 3502), or REPLACE.
type AppendRequest struct {
	Mailbox string
	// Replace, when set, names the one message of the selected mailbox that Commit
	// expunges in the same step (RFC 8508). Message is called once then.
	Replace *NumSet
}

// AppendMessage is what precedes the octets of one appended message.
type AppendMessage struct {
	Flags    Flag
	Keywords []string
	// Date is the internal date; zero means now.
	Date time.Time
	// Size is exactly how many octets follow, at most Limits.Message; -1 when it is
	// not known yet (RFC 4469): the engine sees to it that they are not more.
	Size int64
	// Binary: the octets came as literal8 and may hold NUL (RFC 3516 §4.4).
	Binary bool
}

// Appender takes the messages of one APPEND and stores all or none.
type Appender interface {
	// Message begins the next message; the writer before it is finished. It fails
	// early (Full, Invalid) before the octets are asked for. The writer gets
	// Size octets in pieces and keeps no piece.
	Message(ctx context.Context, m AppendMessage) (io.Writer, error)
	// Commit stores all messages and returns when they are on stable storage.
	Commit(ctx context.Context) (*AppendData, error)
	// Abort gives up; it may follow Commit and then does nothing.
	Abort()
}

// AppendData answers an Append (RFC 9051 §7.1 APPENDUID). UIDs may be empty when
// the user may not know them.
type AppendData struct {
	UIDValidity uint32
	UIDs        []Range
}

// SelectRequest is SELECT or EXAMINE.
type SelectRequest struct {
	Mailbox  string
	ReadOnly bool
	// CondStore: the client asked for mod-sequences (RFC 7162 §3.1.8) or had
	// enabled them.
	CondStore bool
}

// QResync is what a client knew of a mailbox (RFC 7162 §3.2.5).
type QResync struct {
	UIDValidity uint32
	ModSeq      uint64
	// Known are the UIDs that the client has; nil: all that there were.
	Known []Range
	// SeqMatch and UIDMatch are sequence numbers and the UIDs that they were (§3.2.5.2):
	// ascending, and ranges at the same place are equally long.
	SeqMatch, UIDMatch []Range
}

// SelectData describes the mailbox that was selected.
type SelectData struct {
	// Name is the mailbox's name, Attrs what LIST would say of it.
	Name  string
	Attrs MailboxAttr
	// Messages is how many sequence numbers there are, Recent how many are \Recent.
	Messages, Recent uint32
	// FirstUnseen is the first sequence number without \Seen, 0 none.
	FirstUnseen          uint32
	UIDNext, UIDValidity uint32
	// HighestModSeq is at least 1.
	HighestModSeq uint64
	// Keywords in use in the mailbox.
	Keywords []string
	// ReadOnly: the user may not change it, whatever was asked.
	ReadOnly bool
	// Permanent are the system flags that the user may change, NewKeywords whether
	// new keywords may be made. Both are ignored when ReadOnly.
	Permanent   Flag
	NewKeywords bool
	// MailboxID is the object id of the mailbox (RFC 8474 §4.2).
	MailboxID string
}

// MailboxAttr is a set of LIST attributes.
type MailboxAttr uint32

// The attributes of RFC 9051 §7.3.1 that a session knows; those about children and
// subscription are the engine's. The special uses are of RFC 6154 §2 and RFC 8457.
const (
	AttrNoSelect MailboxAttr = 1 << iota
	AttrNoInferiors
	AttrNonExistent // only known by its subscription
	AttrMarked
	AttrUnmarked
	AttrRemote
	UseAll
	UseArchive
	UseDrafts
	UseFlagged
	UseJunk
	UseSent
	UseTrash
	UseImportant
	UseMemos // RFC 9979 §8, as the next two
	UseScheduled
	UseSnoozed
	// What a Session says of a mailbox in UpdateWriter.Mailbox only.
	AttrHasChildren
	AttrHasNoChildren
	AttrNoAccess // a right is missing, RFC 5465 §3.1

	specialUse = UseAll | UseArchive | UseDrafts | UseFlagged | UseJunk | UseSent | UseTrash | UseImportant |
		UseMemos | UseScheduled | UseSnoozed
)

// Mailbox is one name that LIST may show.
type Mailbox struct {
	Name       string
	Attrs      MailboxAttr
	Subscribed bool
}

// Namespace is a prefix under which mailboxes live.
type Namespace struct{ Prefix string }

// Namespaces are the user's own, those of other users and the shared ones.
type Namespaces struct{ Personal, Other, Shared []Namespace }

// StatusItem is a set of STATUS items.
type StatusItem uint16

// The items of RFC 9051 §6.3.11, RFC 3501 (RECENT) and RFC 7162 §3.1.7.
const (
	StatusMessages StatusItem = 1 << iota
	StatusUIDNext
	StatusUIDValidity
	StatusUnseen
	StatusDeleted
	StatusSize
	StatusRecent
	StatusHighestModSeq
	StatusMailboxID      // RFC 8474 §4.3
	StatusDeletedStorage // RFC 9208 §4.1.4: octets of messages with \Deleted
	StatusAppendLimit    // RFC 7889 §5; the engine's own
)

// StatusData holds the values of the items that were asked for.
type StatusData struct {
	Messages, UIDNext, UIDValidity, Unseen, Deleted, Recent uint32
	Size, DeletedStorage                                    int64
	HighestModSeq                                           uint64
	MailboxID                                               string

	appendLimit int64
}

// Rights is a set of rights in letters, in the order of RFC 4314 §2.1:
// "lrswipkxtea". The obsolete c and d are the engine's to translate.
type Rights string

// ACLEntry is the rights of one identifier; one that begins with "-" takes
// rights away.
type ACLEntry struct {
	Identifier string
	Rights     Rights
}

// ListRightsData answers a ListRights: what an identifier always has, and the
// groups of rights that are granted together.
type ListRightsData struct {
	Required Rights
	Optional []Rights
}

// QuotaResource is a resource of a quota root (RFC 9208 §5): STORAGE in units of
// 1024 octets, MESSAGE or MAILBOX.
type QuotaResource struct {
	Name         string
	Usage, Limit int64
}

// Annotation is an entry of METADATA.
type Annotation struct {
	Name  string
	Value []byte
}

// URL names a message or a part of one (RFC 5092 §6, RFC 5550 §5.7.1).
type URL struct {
	User, Host       string // Host is empty in a relative URL; User may be in any
	Mailbox          string
	UIDValidity, UID uint32 // UIDValidity 0: not said
	// Section is of Kind BodySection; Length is math.MaxInt64 for a partial range
	// without end.
	Section Section
}

// URLData is what an IMAP URL led to.
type URLData struct {
	Size int64
	io.ReaderAt
	// Close gives it back; it may be nil.
	Close func() error
}

// MailboxFilterKind says which mailboxes a [MailboxFilter] names.
type MailboxFilterKind uint8

// The filters of RFC 5465 §6 and RFC 7377 §2.2.
const (
	FilterSelected        MailboxFilterKind = iota
	FilterSelectedDelayed                   // as FilterSelected, without EXPUNGE at any time
	FilterInboxes                           // where new mail is delivered
	FilterPersonal                          // the user's own namespace
	FilterSubscribed
	FilterSubtree    // Names and all below them
	FilterSubtreeOne // Names and one level below them
	FilterMailboxes  // Names
)

// MailboxFilter names mailboxes.
type MailboxFilter struct {
	Kind  MailboxFilterKind
	Names []string
}

// NotifyEvent is a set of events of NOTIFY.
type NotifyEvent uint8

// The events of RFC 5465 §5.
const (
	EventMessageNew NotifyEvent = 1 << iota
	EventMessageExpunge
	EventFlagChange
	EventAnnotationChange
	EventMailboxName
	EventSubscription
	EventMailboxMetadata
	EventServerMetadata
)

// NotifyGroup asks for events of mailboxes; no Events: none. Those of several groups
// that name a mailbox add up (RFC 5465 §6).
type NotifyGroup struct {
	Filter MailboxFilter
	Events NotifyEvent
}

// NotifyData answers a Notify.
type NotifyData struct {
	// Status are the mailboxes whose state the client wants to be told at once.
	Status []string
	// NoAccess are mailboxes whose events the user may not be told of (RFC 5465 §3.1).
	NoAccess []string
}

// NotifyRequest is NOTIFY SET. The engine itself does what concerns the selected
// mailbox; FilterSelected and FilterSelectedDelayed do not occur in Groups.
type NotifyRequest struct {
	Groups []NotifyGroup
	// Status: the client wants the state of the mailboxes now (RFC 5465 §3.1).
	Status bool
}
