package imap

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/postino-mail/postino/metric"
)

// Options make a [Server].
type Options struct {
	// NewSession begins the session of a connection. Its error ends the connection
	// with BYE.
	NewSession func(ctx context.Context, c *ConnInfo) (Session, error)
	// TLS is used for STARTTLS, which is offered when it is set (TL1). When it names no
	// protocols, "imap" is the only one accepted in ALPN (TL2).
	TLS *tls.Config
	// AllowClear lets clients log in without TLS: for development on loopback.
	AllowClear bool
	// Name is the host's name in the greeting.
	Name string
	// ID is what the ID command answers, names and values in turn (RFC 2971 §3.3).
	ID []string
	// Limits bound what a client may cost.
	Limits Limits
	// Logger gets events; nil is silent.
	Logger *slog.Logger
	// Metrics gets counters; nil counts nothing.
	Metrics *metric.Registry
}

// Limits bound what a client may cost. A zero field is the default that its
// comment tells, never "unlimited" (security IM1 to IM6, IM10).
type Limits struct {
	LoginTime    time.Duration // until login, 120 s
	LoginLine    int           // a line before login, 8 KiB
	LoginLiteral int64         // a literal before login, 4 KiB
	LoginCommand int64         // a command with its literals before login, 32 KiB
	LoginErrors  int           // bad commands before login, 3

	Line     int   // a line, 64 KiB
	Literal  int64 // a literal that is not a message, 128 KiB
	Literals int   // literals in a command, 1,000
	Command  int64 // a command with its literals but without messages, 1 MiB
	Message  int64 // a message, 50 MiB
	Messages int   // messages in one APPEND, 1,000
	Errors   int   // bad commands in a session, 10

	Depth        int // parentheses, search keys, part paths, 50
	Ranges       int // ranges in a sequence set, 10,000
	Items        int // FETCH sections, header fields, LIST patterns and keywords of a command, 1,000 each
	MessageLimit int // messages that one command deals with (RFC 9738), 1,000,000
	URL          int // octets of an IMAP URL, 8 KiB
	Contexts     int // searches and sorts of a session that tell of changes, 8
	NameLevels   int // levels of a mailbox name, 20
	NameLevel    int // octets of a level, 255

	IdleTime     time.Duration // without a command, 30 min
	StallTime    time.Duration // for a write, 5 min
	CommandTime  time.Duration // for a search, 60 s
	ProgressTime time.Duration // between two notices of progress (RFC 9585), 10 s
	Handshake    time.Duration // for TLS, 30 s
	StayTime     time.Duration // between two questions whether a user may stay, 30 s

	Connections int // in all, 10,000
	PerAddress  int // of an IPv4 address or IPv6 /64, 100
	PerUser     int // logged in as one user, 30
}

func (l Limits) withDefaults() Limits {
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt64 := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	orTime := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	orTime(&l.LoginTime, 120*time.Second)
	orInt(&l.LoginLine, 8<<10)
	orInt64(&l.LoginLiteral, 4<<10)
	orInt64(&l.LoginCommand, 32<<10)
	orInt(&l.LoginErrors, 3)
	orInt(&l.Line, 64<<10)
	orInt64(&l.Literal, 128<<10)
	orInt(&l.Literals, 1000)
	orInt64(&l.Command, 1<<20)
	orInt64(&l.Message, 50<<20)
	orInt(&l.Messages, 1000)
	orInt(&l.Errors, 10)
	orInt(&l.Depth, 50)
	orInt(&l.Ranges, 10_000)
	orInt(&l.Items, 1000)
	orInt(&l.MessageLimit, 1_000_000)
	orInt(&l.URL, 8<<10)
	orInt(&l.Contexts, 8)
	orInt(&l.NameLevels, 20)
	orInt(&l.NameLevel, 255)
	orTime(&l.IdleTime, 30*time.Minute)
	orTime(&l.StallTime, 5*time.Minute)
	orTime(&l.CommandTime, 60*time.Second)
	orTime(&l.ProgressTime, 10*time.Second)
	orTime(&l.Handshake, 30*time.Second)
	orTime(&l.StayTime, 30*time.Second)
	orInt(&l.Connections, 10_000)
	orInt(&l.PerAddress, 100)
	orInt(&l.PerUser, 30)
	return l
}
