package pop3

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/postino-mail/postino/metric"
)

// Options make a [Server].
type Options struct {
	// NewSession begins the session of a connection. Its error ends the connection.
	NewSession func(ctx context.Context, c *ConnInfo) (Session, error)
	// TLS is used for STLS, which is offered when it is set (TL1). When it names no
	// protocols, "pop3" is the only one accepted in ALPN (TL2).
	TLS *tls.Config
	// AllowClear lets clients log in without TLS: for development on loopback.
	AllowClear bool
	// APOP offers APOP (RFC 1939 §7), which needs a directory that knows passwords
	// and not only what they hash to. MD5 protects them badly: off by default.
	APOP bool
	// Name is the host's name in the greeting.
	Name string
	// LoginDelay is announced as the pause between two logins of a user (RFC 2449
	// §6.5), in whole seconds; 0: none. The session enforces it.
	LoginDelay time.Duration
	// Expire is announced as the least number of days that mail is kept (RFC 2449
	// §6.7); 0: for ever.
	Expire int
	// Limits bound what a client may cost.
	Limits Limits
	// Logger gets events; nil is silent.
	Logger *slog.Logger
	// Metrics gets counters; nil counts nothing.
	Metrics *metric.Registry
}

// Limits bound what a client may cost. A zero field is the default that its
// comment tells, never "unlimited" (security IM1, IM4 to IM6, IM12).
type Limits struct {
	Line        int // a command with its CRLF, 512 octets
	LoginErrors int // wrong commands before login, 3
	Errors      int // wrong commands after it, 10
	Header      int // of a message that is rewritten or cut by TOP, in memory: 1 MiB

	LoginTime time.Duration // until login, 120 s
	IdleTime  time.Duration // without a command, 10 min; less is not allowed (RFC 1939 §3)
	StallTime time.Duration // for a write, 5 min
	Handshake time.Duration // for TLS, 30 s
	StayTime  time.Duration // between two questions whether a user may stay, 30 s

	Connections int // in all, 10,000
	PerAddress  int // of an IPv4 address or IPv6 /64, 100
	PerUser     int // logged in as one user, 5
}

func (l Limits) withDefaults() Limits {
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orTime := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt(&l.Line, 512)
	orInt(&l.LoginErrors, 3)
	orInt(&l.Errors, 10)
	orInt(&l.Header, 1<<20)
	orTime(&l.LoginTime, 120*time.Second)
	orTime(&l.IdleTime, 10*time.Minute)
	orTime(&l.StallTime, 5*time.Minute)
	orTime(&l.Handshake, 30*time.Second)
	orTime(&l.StayTime, 30*time.Second)
	orInt(&l.Connections, 10_000)
	orInt(&l.PerAddress, 100)
	orInt(&l.PerUser, 5)
	return l
}
