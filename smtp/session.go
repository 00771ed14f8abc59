package smtp

import (
	"context"
	"io"

	"github.com/postino-mail/postino"
)

// Backend makes a [Session] for every connection. It must be safe for use by
// many connections at once.
type Backend interface {
	// NewSession is called before the greeting, again after STARTTLS so that
	// nothing learnt in clear survives (RFC 3207 §4.2), and again after XCLIENT
	// for the client that was told; [Conn.Identity] may be set by it. A [*Reply]
	// refuses the connection with its code (554, 521 or 421); any other error is
	// mapped by [ReplyFor] and refuses it too.
	NewSession(ctx context.Context, c *Conn) (Session, error)
}

// Session is what the server knows of one client: policy, not wire. All calls
// come from the connection's own goroutine, one after the other. The context
// ends when the server is stopped hard; deadlines of the wire do not cut it.
//
// Errors become replies: a [*Reply] is sent as it is (code 2yz in place of the
// usual success, 421 or 521 also closes), a [*postino.Error] by the table in
// [ReplyFor], anything else as 451 4.3.0. Causes are logged, never sent.
type Session interface {
	// Hello tells the name of EHLO, HELO or LHLO. The name is ASCII without controls
	// or spaces, at most 255 octets, and otherwise whatever the client said.
	Hello(ctx context.Context, name string, esmtp bool) error

	// Mechanisms lists the SASL mechanisms to announce now, upper case. The
	// engine offers none in clear unless Options.AuthInsecure.
	Mechanisms() []string

	// Auth begins an exchange for one of Mechanisms. sasl.Authenticator.Start
	// makes what is wanted here.
	Auth(ctx context.Context, mechanism string) (Exchange, error)

	// Mail begins a transaction: MAIL was well-formed, its SIZE is within the
	// limit and no other transaction is open.
	Mail(ctx context.Context, from postino.Address, opts MailOptions) (Transaction, error)

	// Verify and Expand answer VRFY and EXPN. nil gives 252, the answer that
	// tells nothing (SS20); a *Reply gives its own.
	Verify(ctx context.Context, arg string) error
	Expand(ctx context.Context, arg string) error

	// Turn starts the queue for a node (ETRN, RFC 1985 §5): node is a
	// fully-qualified name in lower-case A-labels, with "@" before it for all
	// below it too, or "#" and the name of a queue. nil gives 250; a *Reply of
	// 251, 252, 253, 458 or 459 says more. Called only with Options.ETRN.
	Turn(ctx context.Context, node string) error

	// URL opens the octets that an absolute URI names, for the user of
	// [Conn.Identity] (BURL, RFC 4468 §3.3). size is -1 when it is not known
	// beforehand; a reader that gives another number of octets fails the
	// transaction. The engine closes r. The context has Limits.CommitTimeout
	// for all of it. Errors of kind NotFound, Denied and Transient get the codes of
	// RFC 4468 §6. Called only with Options.BURL and after authentication.
	URL(ctx context.Context, url string) (r io.ReadCloser, size int64, err error)

	// Close is called exactly once, after the last Transaction was closed.
	Close()
}

// Exchange is one SASL dialogue; sasl.Server satisfies it.
type Exchange interface {
	// Next takes the client's response, nil when there is none yet, and gives
	// the next challenge or, with done, success. Any error ends the exchange.
	// The response is only valid during the call.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity is who may act after success, canonical.
	Identity() string
}

// MailOptions are the parameters of MAIL, decoded and checked.
type MailOptions struct {
	// Size is the size that the client declared, octets; 0 when it did not
	// (RFC 1870 §6.1).
	Size int64
	// Body is what BODY declared (RFC 6152 §2).
	Body postino.Body
	// SMTPUTF8 tells that the client asked for it (RFC 6531 §3.4).
	SMTPUTF8 bool
	// EnvID and Ret are the DSN parameters, decoded (RFC 3461 §4.3, §4.4);
	// zero unless Options.DSN.
	EnvID string
	Ret   postino.DSNReturn
	// Auth is the submitter that AUTH= named, with HasAuth; the zero address is
	// AUTH=<> (RFC 4954 §5). To be believed only from trusted peers.
	Auth    postino.Address
	HasAuth bool
	// Terms are REQUIRETLS, HOLDFOR and HOLDUNTIL, BY and MT-PRIORITY; each is
	// zero unless the client said it and Options announce it. Priority above 0
	// comes from authenticated and trusted clients only (RFC 6710 §4.1).
	postino.Terms
	// Solicit are the classes of SOLICIT=, as the client wrote them; none of
	// them is among Options.NoSoliciting (RFC 3865 §2.3).
	Solicit []string
}

// Transaction is one mail transaction: made by MAIL, ended by anything that
// is not part of it (SS3). Whatever happens the engine calls Close exactly once.
type Transaction interface {
	// Rcpt accepts or refuses one recipient; a refusal leaves the transaction
	// as it was. The engine counts recipients (SS11), the session judges them.
	Rcpt(ctx context.Context, to postino.Recipient) error

	// Data is called once, with at least one accepted recipient: before the
	// 354 of DATA or at the first BDAT or BURL. An error ends the transaction.
	Data(ctx context.Context) (Sink, error)

	// Close ends the transaction and frees all it holds, the sink included.
	// Unless Commit was called and returned no error nothing may remain of it.
	Close()
}

// Sink takes the content of the message.
type Sink interface {
	// Writer takes the octets as they are to be stored: CRLF line ends, dots
	// unstuffed. A chunk is valid only during the call and has no relation to
	// lines. An error ends the transaction after the rest was discarded.
	io.Writer

	// Commit makes the message durable: its nil error is the 250 (SS21). It has
	// Limits.CommitTimeout.
	Commit(ctx context.Context) (Accepted, error)
}

// Accepted says what became of a message.
type Accepted struct {
	// ID is told to the client in "250 2.0.0 Queued as ID"; printable ASCII
	// without spaces, may be empty.
	ID string
	// Results are for LMTP, which answers for each recipient: nil where the
	// message was accepted, else the error that becomes the reply, in the order
	// of acceptance and as many as Rcpt calls that succeeded (RFC 2033 §4.2).
	// A nil slice accepts all. SMTP, with its one reply, ignores it.
	Results []error
}
