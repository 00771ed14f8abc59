package smtp

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postino-mail/postino/metric"
)

// Options is all that a [Server] needs to know. The zero value of every field
// but Hostname and Backend is usable.
type Options struct {
	// Hostname is the name in the greeting and in the EHLO reply.
	Hostname string
	// Backend makes the sessions.
	Backend Backend
	// TLS offers STARTTLS when not nil. It is cloned; whatever it says, nothing
	// below TLS 1.2 with AEAD is spoken and ALPN, if offered, must be "smtp"
	// (TL1, TL2); GetConfigForClient is not used. Give every service its own so that no ticket key is shared.
	TLS *tls.Config
	// ImplicitTLS begins with the handshake (RFC 8314 §3.3) and needs TLS.
	ImplicitTLS bool
	// RequireTLS answers 530 to everything but NOOP, EHLO, STARTTLS and QUIT in
	// clear (RFC 3207 §4); not for public MX.
	RequireTLS bool
	// AuthInsecure offers AUTH in clear too; for development only (AU4).
	AuthInsecure bool
	// Normalise turns bare CR and bare LF in content into CRLF instead of
	// refusing it; only for submission by own clients (SS1). The end of DATA
	// stays CRLF.CRLF.
	Normalise bool
	// LaxPipelining lets clients talk before their turn (SS17): commands after
	// those that must end a group (RFC 2920 §3.1), or before the greeting.
	// STARTTLS is never lax.
	LaxPipelining bool
	// GreetDelay waits that long before the greeting; who talks meanwhile is
	// dropped (SS17). With zero only what has already arrived is seen.
	GreetDelay time.Duration
	// DSN announces delivery status requests and accepts their parameters
	// (RFC 3461).
	DSN bool
	// BinaryMIME announces BINARYMIME (RFC 3030 §3): content that was declared
	// so and comes by BDAT may hold any octets.
	BinaryMIME bool
	// LMTP speaks LMTP instead of SMTP (RFC 2033): LHLO alone greets, and the end
	// of content is answered once for each recipient. ETRN, BURL and
	// FutureRelease have no place in it and are ignored.
	LMTP bool
	// RequireTLSOption announces REQUIRETLS, in TLS only (RFC 8689 §2).
	RequireTLSOption bool
	// FutureRelease, when positive, announces FUTURERELEASE and is how long a
	// message may be held at most, in whole seconds up to 999,999,999. For
	// submission only (RFC 4865 §4.2).
	FutureRelease time.Duration
	// DeliverBy announces DELIVERBY, with DeliverByMin, when positive, as the
	// least time that a client may set for BY with mode R (RFC 2852 §3).
	DeliverBy    bool
	DeliverByMin time.Duration
	// Priority announces MT-PRIORITY, with PriorityPolicy, when not empty, as
	// the name of the policy (RFC 6710 §3).
	Priority       bool
	PriorityPolicy string
	// NoSoliciting, when not nil, announces NO-SOLICITING with these classes,
	// perhaps none; mail that names one of them by SOLICIT= is refused (RFC
	// 3865 §2). They must fit into a reply line: 490 octets with commas.
	NoSoliciting []string
	// RRVS announces that recipients may be asked to be valid since a date (RFC
	// 7293 §3.1).
	RRVS bool
	// ETRN lets clients start the queue for a node (RFC 1985).
	ETRN bool
	// BURL lets users who are authenticated submit what an IMAP URL names (RFC
	// 4468). For submission only.
	BURL bool
	// Proxies tells which peers are proxies: they must begin with a PROXY header,
	// version 1 or 2, which is believed. Others are clients (SS23). nil: none.
	// All three functions get the zero Addr of a peer that has no IP address.
	Proxies func(netip.Addr) bool
	// XClient and XForward tell which peers may say XCLIENT and XFORWARD: who
	// the client is, for all that follows, and who it was, for the trace. They
	// are asked for the address from the PROXY header if there was one. nil: none.
	XClient  func(netip.Addr) bool
	XForward func(netip.Addr) bool
	// Trusted tells which clients are listed, by the address that PROXY or
	// XCLIENT told if they did: they have no limits per address, may use the
	// reserved connections and are not limited in transactions (SS14, SS15). nil
	// trusts nobody.
	Trusted func(netip.Addr) bool
	// Limits are the bounds of SS5 to SS15.
	Limits Limits
	// Logger gets one line per event; nil discards.
	Logger *slog.Logger
	// Metrics counts; nil counts nothing.
	Metrics *metric.Registry
	// Service names this profile in logs and metrics: "mx", "submission"; empty
	// means "smtp".
	Service string
}

// Limits bounds what a client can cost. A zero field means the default in its
// comment, never "unlimited".
type Limits struct {
	MessageBytes int64 // largest message, octets (SS10): 50 MiB
	Recipients   int   // accepted per transaction (SS11): 1,000; at least 100
	Transactions int   // MAIL commands per session (SS15): 1,000

	CommandLine  int // longest line of most commands, octets with CRLF (SS7): 1,000
	EnvelopeLine int // of MAIL, RCPT, BURL, XCLIENT and XFORWARD: 4,096
	AuthLine     int // of AUTH and its responses: 12,288
	TextLine     int // longest line of content (SS8): 64 KiB
	Discard      int // read and thrown away after an error before the drop (SS5): 1 MiB

	Errors       int           // permanent errors per session, the last one drops (SS15): 20
	FreeErrors   int           // errors that cost no time: 4
	ErrorDelay   time.Duration // what each further one costs: 1 s
	IdleCommands int           // commands without mail progress (SS15): 100

	CommandTimeout   time.Duration // waiting for a command, and for the client to take a reply (SS12): 300 s
	StressTimeout    time.Duration // the same at over 80 % of Connections: 30 s
	DataTimeout      time.Duration // waiting for a block of content: 180 s
	CommitTimeout    time.Duration // for Sink.Commit: 600 s
	HandshakeTimeout time.Duration // for TLS: 30 s
	ProxyTimeout     time.Duration // for the PROXY header: 5 s
	SessionTime      time.Duration // life of a session that is not authenticated (SS15): 1 h

	RateWindow time.Duration // over which the rate of content is averaged (SS13): 60 s
	MinRate    int           // octets per second of content: 500

	Connections int // at once (SS14): 2,000; a fifth is reserved for authenticated and trusted peers
	PerIPv4     int // per IPv4 address: 20
	PerIPv4Net  int // per IPv4 /24: 60
	PerIPv6     int // per IPv6 /64: 20
	PerIPv6Net  int // per IPv6 /48: 100
	NewPerMin   int // new per IPv4 address or IPv6 /64 and minute: 60
}

// withDefaults returns l with its zero fields filled.
func (l Limits) withDefaults() Limits {
	def(&l.MessageBytes, 50<<20)
	def(&l.Recipients, 1000)
	l.Recipients = max(l.Recipients, 100) // RFC 5321 §4.5.3.1.8
	def(&l.Transactions, 1000)
	def(&l.CommandLine, 1000)
	l.CommandLine = max(l.CommandLine, 512) // RFC 5321 §4.5.3.1.4
	def(&l.EnvelopeLine, 4096)
	def(&l.AuthLine, 12288)
	def(&l.TextLine, 64<<10)
	l.TextLine = max(l.TextLine, 1000) // RFC 5321 §4.5.3.1.6
	def(&l.Discard, 1<<20)
	def(&l.Errors, 20)
	def(&l.FreeErrors, 4)
	def(&l.ErrorDelay, time.Second)
	def(&l.IdleCommands, 100)
	def(&l.CommandTimeout, 300*time.Second)
	def(&l.StressTimeout, 30*time.Second)
	def(&l.DataTimeout, 180*time.Second)
	def(&l.CommitTimeout, 600*time.Second)
	def(&l.HandshakeTimeout, 30*time.Second)
	def(&l.ProxyTimeout, 5*time.Second)
	def(&l.SessionTime, time.Hour)
	def(&l.RateWindow, 60*time.Second)
	def(&l.MinRate, 500)
	def(&l.Connections, 2000)
	def(&l.PerIPv4, 20)
	def(&l.PerIPv4Net, 60)
	def(&l.PerIPv6, 20)
	def(&l.PerIPv6Net, 100)
	def(&l.NewPerMin, 60)
	// A command line must fit into one pooled buffer.
	l.CommandLine = min(l.CommandLine, bufferSize)
	l.EnvelopeLine = min(l.EnvelopeLine, bufferSize)
	l.AuthLine = min(l.AuthLine, bufferSize)
	return l
}

// def sets what is zero or negative to the default.
func def[T int | int64 | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}
