package imap

import (
	"context"
	"crypto/tls"
	"net"
)

// Session is what the engine asks of the store behind it: one value per
// connection, made by [Options.NewSession]. The engine calls one method at a
// time and only in the state that the method's group names, so a Session needs
// no lock against the engine; only what it hands to [Session.Watch] runs
// elsewhere.
//
// Mailbox names are NFC UTF-8 with "/" between levels and "INBOX" in capitals;
// wire encodings (modified UTF-7, RFC 3501 §5.1.3) never reach a Session. A
// Session holds the map from sequence numbers to messages: what it reports by
// SelectData.Messages, [UpdateWriter.Exists] and [UpdateWriter.Expunge] is what
// the client believes, and sequence numbers in requests mean that.
//
// Errors become tagged replies: an [*Error] says the reply itself; otherwise
// the [postino.Kind] decides (see replyFor). OK is sent when the method
// returned nil, so a method that changes something returns only when the change
// is on stable storage (IM8).
type Session interface {
	// Not authenticated.

	// Mechanisms lists the SASL mechanisms that may be offered now, in capitals.
	// The engine offers none in clear unless [Options.AllowClear].
	Mechanisms() []string
	// Login checks name and password as sent (UTF-8, not prepared) and binds the
	// session to the account. Denied answers AUTHENTICATIONFAILED.
	Login(ctx context.Context, user, password string) error
	// Authenticate starts one of the Mechanisms. When the exchange is done without
	// error, Bind binds the session to the account that it proved.
	Authenticate(ctx context.Context, mechanism string) (Exchange, error)
	Bind(ctx context.Context, identity string) error
	// User returns the canonical name of who is logged in, empty before that. It
	// is the key for the limit of sessions per user and stands in logs.
	User() string
	// Stays tells whether who is logged in may go on. The engine asks each
	// Limits.StayTime, from another goroutine and while other methods run, and ends the
	// session of who may not (AU8); an error changes nothing.
	Stays(ctx context.Context) (bool, error)

	// Authenticated or selected.

	// Namespaces answers NAMESPACE (RFC 9051 §6.3.10).
	Namespaces(ctx context.Context) (*Namespaces, error)
	// Mailboxes returns every mailbox that the user may list and every name that
	// is subscribed without existing. The engine does all of LIST and LSUB on it;
	// the slice is not changed and not kept.
	Mailboxes(ctx context.Context) ([]Mailbox, error)
	// Status answers STATUS and the STATUS option of LIST.
	Status(ctx context.Context, mailbox string, items StatusItem) (*StatusData, error)
	Create(ctx context.Context, req CreateRequest) (*CreateData, error)
	Delete(ctx context.Context, mailbox string) error
	// Rename renames a mailbox with what is below it; renaming INBOX moves its
	// messages to a new mailbox (RFC 9051 §6.3.6).
	Rename(ctx context.Context, from, to string) error
	Subscribe(ctx context.Context, mailbox string) error
	Unsubscribe(ctx context.Context, mailbox string) error
	// Append begins an APPEND. It fails early, before the client is asked for
	// octets, when the mailbox is missing (NotFound becomes TRYCREATE).
	Append(ctx context.Context, req AppendRequest) (Appender, error)
	// OpenURL opens what an IMAP URL names in the user's mailboxes: a message or a
	// part of it (RFC 4469, RFC 5550). NotFound answers BADURL.
	OpenURL(ctx context.Context, u *URL) (*URLData, error)

	// ACL answers GETACL, MyRights MYRIGHTS and ListRights LISTRIGHTS (RFC 4314 §3).
	ACL(ctx context.Context, mailbox string) ([]ACLEntry, error)
	MyRights(ctx context.Context, mailbox string) (Rights, error)
	ListRights(ctx context.Context, mailbox, identifier string) (*ListRightsData, error)
	// SetACL changes the rights of an identifier; StoreReplace with none deletes
	// the entry.
	SetACL(ctx context.Context, mailbox, identifier string, op StoreOp, rights Rights) error

	// QuotaRoots names the quota roots of a mailbox (GETQUOTAROOT), Quota tells one
	// root's resources, SetQuota changes limits: resources that are not named lose
	// theirs (RFC 9208 §4.1).
	QuotaRoots(ctx context.Context, mailbox string) ([]string, error)
	Quota(ctx context.Context, root string) ([]QuotaResource, error)
	SetQuota(ctx context.Context, root string, limits []QuotaResource) error

	// Metadata returns annotations of a mailbox, or of the server when the name is
	// empty (RFC 5464 §4.2): the entries named and, down to depth levels below them
	// (-1: all), what is under them. Entries without value are left out. Names are
	// in lower case.
	Metadata(ctx context.Context, mailbox string, entries []string, depth int) ([]Annotation, error)
	// SetMetadata sets annotations in one commit; a nil value removes one.
	SetMetadata(ctx context.Context, mailbox string, entries []Annotation) error

	// SearchMailbox searches a mailbox that need not be the selected one, by UIDs
	// (RFC 7377), and tells its UIDVALIDITY. Sequence numbers in req are those that the
	// mailbox has now; "$" does not occur. Mailboxes that the user may not read give
	// Denied or NotFound, and are passed over.
	SearchMailbox(ctx context.Context, mailbox string, req SearchRequest) (*SearchData, uint32, error)
	// Notify says which changes of mailboxes Poll writes from now on, beside or
	// instead of those of the selected one; nil goes back to that one alone (RFC
	// 5465 §3). What the session's own commands did is not told (§5).
	Notify(ctx context.Context, req *NotifyRequest) (*NotifyData, error)

	// Select opens a mailbox and makes it the selected one; the engine has called
	// Unselect for the one before. After an error nothing is selected.
	Select(ctx context.Context, req SelectRequest) (*SelectData, error)

	// Selected.

	// Resync tells what changed since the client was here last: w.Vanished with
	// earlier set, then the flags of messages that changed (RFC 7162 §3.2.5). It
	// follows a Select whose UIDVALIDITY is the one that the client knew.
	Resync(ctx context.Context, w *UpdateWriter, q *QResync) error
	// UID returns the UID of the message with a sequence number that the client
	// knows, 0 when there is none.
	UID(seq uint32) uint32
	// Unselect forgets the selected mailbox and expunges nothing.
	Unselect(ctx context.Context) error
	// Fetch writes one response for each message of req.Set that it has and that
	// changed after req.ChangedSince. It holds no lock and no transaction
	// while it calls w: it reads a page of messages, then writes it (design §3).
	// Messages that another session expunged are left out and ErrExpungeIssued is
	// returned at the end (RFC 9051 §7.1), or they are served still. With
	// req.MarkSeen it sets \Seen, and writes Flags and ModSeq too of messages that did not
	// have it.
	Fetch(ctx context.Context, w *FetchWriter, req FetchRequest) error
	// Store changes flags and writes the new flags of each message that passed by
	// [UpdateWriter.Flags], changed or not, silent or not: the engine drops what
	// the client did not ask for.
	Store(ctx context.Context, w *UpdateWriter, req StoreRequest) (*StoreData, error)
	Copy(ctx context.Context, set NumSet, to string) (*CopyData, error)
	// Move moves in one step. The source messages leave the sequence numbers only
	// at the Poll that the engine calls right after.
	Move(ctx context.Context, set NumSet, to string) (*CopyData, error)
	// Expunge removes messages that have \Deleted, of those in uids when it is not
	// nil. The client learns of it at the Poll that follows (not after CLOSE).
	Expunge(ctx context.Context, uids *NumSet) (*ExpungeData, error)
	// Search finds messages and adds them in ascending order, or in the order of
	// req.Sort.
	Search(ctx context.Context, req SearchRequest) (*SearchData, error)
	// Thread finds messages and orders them in threads (RFC 5256 §3).
	Thread(ctx context.Context, req ThreadRequest) ([]ThreadNode, error)
	// Poll writes what happened to the selected mailbox since the last Poll, and
	// what Notify asked for, and
	// advances the client's picture. With expunge false sequence numbers must not
	// change, so removals wait, and so does everything that cannot be told
	// before them (RFC 9051 §7.5.1). The session's own flag changes that
	// Store or Fetch reported are not told again.
	Poll(ctx context.Context, w *UpdateWriter, expunge bool) error
	// Watch asks that changed be called, soon and from any goroutine, whenever a
	// Poll would have something to write; nil ends it. changed does not block.
	// Several changes may give one call.
	Watch(changed func())

	// Any state.

	// Close ends the session with its connection; it is called once.
	Close() error
}

// Exchange is the server side of one SASL exchange; sasl.Server is one.
type Exchange interface {
	// Next takes the client's response (nil when it sent no initial response) and
	// returns the next challenge, or done. A challenge together with done is sent
	// as a last round (RFC 9051 §6.2.2 has no success data of its own).
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity is who was proved, once Next was done without error.
	Identity() string
}

// ConnInfo tells a Session who is connected.
type ConnInfo struct {
	// ID is unique in the process, for logs.
	ID uint64
	// Remote and Local are the ends of the connection.
	Remote, Local net.Addr
	// Secure tells whether the connection is under TLS; it turns true by STARTTLS.
	Secure func() bool
	// TLS is the state of the TLS connection, nil in clear: its client certificate
	// and channel bindings serve SASL.
	TLS func() *tls.ConnectionState
	// MessageLimit is how many messages one command deals with, see [Limited].
	MessageLimit int
}
