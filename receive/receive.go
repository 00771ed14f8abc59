package receive

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/sasl"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/submit"
)

// Profile is what a listener is for.
type Profile uint8

// The profiles.
const (
	// MX takes mail for local recipients from anybody (RFC 5321).
	MX Profile = iota
	// Submission takes mail from users who are logged in (RFC 6409).
	Submission
	// LMTP takes mail for local recipients from other software on this machine
	// (RFC 2033).
	LMTP
	// Local takes mail from programs of this machine's users, over a socket.
	Local
)

// Limits bounds what is decided here. A zero field means its default.
type Limits struct {
	// Received is how many Received fields a message may have: 99 (SS24).
	Received int
	// Own is how many of them may be ours: 4 (SS24).
	Own int
	// Mail bounds the work that judges a message (MA4, MA7).
	Mail mailauth.Limits
}

// Options says what a [Backend] works with. Post, Directory, Mailboxes, Queue
// and Stories are needed.
type Options struct {
	// Hostname is our name in Received fields: the engine's.
	Hostname string
	// Listener names the listener in stories; by default the profile does.
	Listener string
	Profile  Profile
	// Auth offers logins on an MX listener too.
	Auth bool

	// Relay tells which clients an MX listener takes mail for other servers from
	// without a login; nil: none (SS18).
	Relay func(netip.Addr) bool
	// NoSoliciting are the classes of solicitations that are refused by their
	// header field; the engine judges the parameter.
	NoSoliciting []string
	// DNS is asked about what comes from strangers on an MX listener; nil: nothing
	// is judged. DMARC says what follows from it.
	DNS   dns.Resolver
	DMARC Enforcement
	// JudgeAll judges clients on loopback too, which else are this machine's own
	// programs, and those that Relay knows; for development.
	JudgeAll bool
	// Reports is told what domains want to know of their mail; nil: nobody is.
	Reports Reports

	Post      *submit.Post
	Directory *directory.Directory
	Mailboxes *mailbox.Store
	Queue     *queue.Queue
	Stories   *story.Store
	// Room tells whether so many octets may be stored; nil: the commit tells.
	Room func(octets int64) error

	Limits  Limits
	Logger  *slog.Logger
	Metrics *metric.Registry
}

// Backend makes sessions for a listener.
type Backend struct {
	opts    Options
	observe *observer
	turns   turns
}

// New returns the backend for one listener.
func New(opts Options) *Backend {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Listener == "" {
		opts.Listener = [...]string{"mx", "submission", "lmtp", "sendmail"}[opts.Profile]
	}
	for _, d := range [...]struct {
		v   *int
		def int
	}{{&opts.Limits.Received, 99}, {&opts.Limits.Own, 4}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	b := &Backend{opts: opts}
	b.observe = newObserver(&b.opts)
	return b
}

// NewSession implements smtp.Backend.
func (b *Backend) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	s := &session{b: b, conn: c}
	if name := c.Identity(); name != "" { // a listed peer vouches for the user (XCLIENT LOGIN)
		a, err := postino.ParseAddress(name)
		if err == nil {
			var u directory.User
			if u, err = b.opts.Directory.User(ctx, a); err == nil {
				s.user = directory.Vouched(u)
			}
		}
		if err != nil && !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Invalid) {
			return nil, err
		}
	}
	return s, nil
}

// session is what is known of a client.
type session struct {
	b    *Backend
	conn *smtp.Conn
	user directory.User // zero: not logged in
}

func (s *session) Hello(context.Context, string, bool) error { return nil }
func (s *session) Verify(context.Context, string) error      { return nil }
func (s *session) Expand(context.Context, string) error      { return nil }
func (s *session) Close()                                    {}

func (s *session) Mechanisms() []string {
	if s.b.opts.Profile == Submission || s.b.opts.Auth {
		return s.authenticator().Mechanisms()
	}
	return nil
}

func (s *session) Auth(_ context.Context, mechanism string) (smtp.Exchange, error) {
	x, err := s.authenticator().Start(mechanism)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// authenticator logs in against the directory, which also slows guessing.
func (s *session) authenticator() *sasl.Authenticator {
	peer := directory.Peer{Service: directory.ServiceSMTP, Remote: s.conn.Remote(), TLS: s.conn.TLS()}
	return s.b.opts.Directory.SASL(peer, func(name string, u directory.User, err error) error {
		s.b.observe.login(s, name, err)
		switch {
		case errors.Is(err, directory.ErrInsecure):
			return &smtp.Reply{Code: 538, Enhanced: "5.7.11", Text: "Encryption required for authentication"}
		case err != nil:
			return err
		}
		s.user = u
		return nil
	})
}
