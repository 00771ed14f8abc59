package smtp

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// ClientOptions is all that a [Client] needs to know. Only Name is required.
type ClientOptions struct {
	// Name is said in EHLO, HELO or LHLO: a domain name in A-labels or an
	// address literal (RFC 5321 §4.1.4).
	Name string
	// LMTP speaks RFC 2033: LHLO, and one reply per recipient after the content.
	LMTP bool
	// AuthInsecure lets [Client.Auth] send a secret in clear; for development
	// and loopback only.
	AuthInsecure bool
	// OneFlight sends a small message along with its envelope when the server
	// offers CHUNKING and PIPELINING, which saves a round trip. RFC 3030 §2 wants
	// the replies to the envelope first: a server that refuses BDAT and does not
	// discard its octets would take them for commands. For servers that are known.
	OneFlight bool
	// Timeouts bound every wait (SC3).
	Timeouts ClientTimeouts
	// Limits bound what a reply may be (SC4).
	Limits ClientLimits
	// Logger gets one debug line per failure of a connection; nil discards.
	Logger *slog.Logger
}

// ClientTimeouts are the longest waits of RFC 5321 §4.5.3.2 (SC3). A zero field
// means the default in its comment. The deadline of a context counts too.
type ClientTimeouts struct {
	Greeting time.Duration // for the first reply: 300 s
	Hello    time.Duration // for the reply to EHLO, HELO or LHLO: 300 s
	StartTLS time.Duration // for the reply to STARTTLS, then for the handshake: 120 s
	Auth     time.Duration // for each reply to AUTH: 300 s
	Mail     time.Duration // for the reply to MAIL: 300 s
	Rcpt     time.Duration // for the reply to each RCPT: 300 s
	Data     time.Duration // for the reply to DATA: 120 s
	Block    time.Duration // for a block of commands or content to be taken: 180 s
	Dot      time.Duration // for each reply to the end of the content: 600 s
	Reset    time.Duration // for the reply to RSET: 30 s
	Quit     time.Duration // for the reply to QUIT: 10 s
}

func (t ClientTimeouts) withDefaults() ClientTimeouts {
	def(&t.Greeting, 300*time.Second)
	def(&t.Hello, 300*time.Second)
	def(&t.StartTLS, 120*time.Second)
	def(&t.Auth, 300*time.Second)
	def(&t.Mail, 300*time.Second)
	def(&t.Rcpt, 300*time.Second)
	def(&t.Data, 120*time.Second)
	def(&t.Block, 180*time.Second)
	def(&t.Dot, 600*time.Second)
	def(&t.Reset, 30*time.Second)
	def(&t.Quit, 10*time.Second)
	return t
}

// ClientLimits bound a reply (SC4). A zero field means the default in its comment.
type ClientLimits struct {
	Line  int // octets of one line with its CRLF: 4 KiB; at most 32 KiB
	Lines int // lines of one reply: 128
	Reply int // octets of one reply: 64 KiB
}

func (l ClientLimits) withDefaults() ClientLimits {
	def(&l.Line, 4<<10)
	def(&l.Lines, 128)
	def(&l.Reply, 64<<10)
	l.Line = min(l.Line, bufferSize)
	return l
}

// Stage names the part of the dialogue in which something happened.
type Stage string

// The stages, in the order in which they come. StageCheck is before anything
// of a call was sent.
const (
	StageCheck    Stage = "check"
	StageGreeting Stage = "greeting"
	StageHello    Stage = "EHLO"
	StageTLS      Stage = "STARTTLS"
	StageAuth     Stage = "AUTH"
	StageReset    Stage = "RSET"
	StageMail     Stage = "MAIL"
	StageRcpt     Stage = "RCPT"
	StageData     Stage = "DATA"
	StageBody     Stage = "content"
	StageDot      Stage = "end of data"
	StageQuit     Stage = "QUIT"
)

// What a [ClientError] may have as its cause, for errors.Is.
var (
	ErrNotOffered = errors.New("the server does not offer what is needed")
	ErrTooBig     = errors.New("message is larger than the server announced to take")
	ErrMalformed  = errors.New("malformed reply")
	ErrBuffered   = errors.New("server talked before TLS was complete")
	ErrContent    = errors.New("content is not what was announced")
	ErrUnusable   = errors.New("connection cannot be used any more")
)

// ClientError is why the client could not do what was asked.
type ClientError struct {
	// Stage is where it happened. With StageCheck nothing was sent and the
	// connection is as good as before.
	Stage Stage
	// Reply is what the server said or, with StageCheck, what we say in its
	// place; nil when there is none.
	Reply *Reply
	// Err is the cause; nil when the Reply says it all.
	Err error
}

// Error reads as "stage: reply: cause" and never holds a control character.
func (e *ClientError) Error() string {
	s := "smtp client: " + string(e.Stage)
	if e.Reply != nil {
		s += ": " + strings.ReplaceAll(e.Reply.Error(), "\r\n", " / ")
	}
	if e.Err != nil {
		s += ": " + postino.Printable(e.Err.Error())
	}
	return s
}

// Unwrap returns the cause.
func (e *ClientError) Unwrap() error { return e.Err }

// Permanent tells whether trying again is of no use here: there is a 5yz reply.
func (e *ClientError) Permanent() bool { return e.Reply != nil && e.Reply.Permanent() }

// Temporary is the contrary of Permanent: broken connections, timeouts and
// malformed replies are temporary.
func (e *ClientError) Temporary() bool { return !e.Permanent() }
