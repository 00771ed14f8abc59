package pop3

import (
	"context"
	"crypto/tls"
	"io"
	"iter"
	"net"

	"github.com/postino-mail/postino/sasl"
)

// ConnInfo tells a [Session] about its connection.
type ConnInfo struct {
	ID            uint64 // of the connection, in logs
	Remote, Local net.Addr
	// Secure tells whether TLS is active now; it changes with STLS.
	Secure func() bool
	// TLS returns the state of TLS, nil without.
	TLS func() *tls.ConnectionState
}

// Session is what the engine asks of the desk for one connection before login. Its
// methods are called by one goroutine at a time. Errors are of the classes of
// package postino, or one of this package's own: [ErrInUse], [ErrLoginDelay],
// [ErrInsecure].
type Session interface {
	// Mechanisms lists the SASL mechanisms that Authenticate can start now.
	Mechanisms() []string
	// Login checks a password, locks the user's maildrop and opens it. Whatever is
	// wrong with the credentials is Denied.
	Login(ctx context.Context, user, password string) (Maildrop, error)
	// APOP does so with the MD5 digest of the greeting's timestamp and the password
	// (RFC 1939 §7). It is called when Options.APOP is set.
	APOP(ctx context.Context, user, timestamp string, digest []byte) (Maildrop, error)
	// Authenticate starts a SASL exchange; NotFound for an unknown mechanism, whose
	// name comes in capitals.
	Authenticate(ctx context.Context, mechanism string) (sasl.Server, error)
	// Bind opens the maildrop of who the last exchange proved to be.
	Bind(ctx context.Context, identity string) (Maildrop, error)
	// Close ends the session.
	Close() error
}

// Maildrop is a user's mailbox as it was at login, locked against other sessions
// of POP3 until Close. Messages are numbered from 0. Its methods are called by one
// goroutine at a time.
type Maildrop interface {
	// User is the canonical address of who is logged in.
	User() string
	// Stays tells whether who is logged in may go on. The engine asks each
	// Limits.StayTime, from another goroutine and while other methods run, and ends the
	// session of who may not (AU8); an error changes nothing.
	Stays(ctx context.Context) (bool, error)
	// Language is the tag of the language that the user prefers, or empty.
	Language() string
	// Len is the number of messages; it does not change.
	Len() int
	// Size is the number of octets of message n.
	Size(n int) int64
	// AppendUID appends the unique-id of message n: 1 to 70 octets from 0x21 to
	// 0x7E, the same in every session (RFC 1939 §7).
	AppendUID(dst []byte, n int) []byte
	// Retrieve writes the octets of message n to w, as they are stored, in pieces of
	// any size. NotFound, before anything was written, when the message is no more.
	// An error of w ends the writing and is returned. No lock and no transaction is
	// held meanwhile.
	Retrieve(ctx context.Context, n int, w io.Writer) error
	// Rest gives memory back: the client is silent.
	Rest()
	// Update ends a session that came to QUIT: in one commit the deleted messages are
	// removed and the others of those retrieved are marked as seen. Both are
	// ascending. It returns when that is durable.
	Update(ctx context.Context, deleted, retrieved iter.Seq[int]) error
	// Close unlocks the maildrop. Without Update nothing has changed in it.
	Close() error
}
