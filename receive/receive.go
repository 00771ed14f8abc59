package receive

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/sasl"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/story"
)

// Profile is what a listener is for.
type Profile uint8

// The profiles.
const (
	// MX takes mail for local recipients from anybody (RFC 5321).
	MX Profile = iota
	// Submission takes mail from users who are logged in (RFC 6409).
	Submission
)

// Limits bounds what is decided here. A zero field means its default.
type Limits struct {
	// Targets is how many mailboxes one message goes to: 10,000.
	Targets int
	// Received is how many Received fields a message may have: 99 (SS24).
	Received int
	// Own is how many of them may be ours: 4 (SS24).
	Own int
	// Message are the limits of the indexer (SS9, PA1).
	Message message.Limits
}

// Options says what a [Backend] works with. DB, Blobs, Directory, Mailboxes,
// Queue, Stories and IDs are needed.
type Options struct {
	// Hostname is our name in Received fields: the engine's.
	Hostname string
	// Listener names the listener in stories, "mx" or "submission" by default.
	Listener string
	Profile  Profile
	// Auth offers logins on an MX listener too.
	Auth bool

	DB        kv.DB
	Blobs     *blob.Store
	Directory *directory.Directory
	Mailboxes *mailbox.Store
	Queue     *queue.Queue
	Stories   *story.Store
	IDs       *postino.IDs
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
}

// New returns the backend for one listener.
func New(opts Options) *Backend {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Listener == "" {
		opts.Listener = [...]string{"mx", "submission"}[opts.Profile]
	}
	for _, d := range [...]struct {
		v   *int
		def int
	}{{&opts.Limits.Targets, 10_000}, {&opts.Limits.Received, 99}, {&opts.Limits.Own, 4}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	b := &Backend{opts: opts}
	b.observe = newObserver(&b.opts)
	return b
}

// NewSession implements smtp.Backend.
func (b *Backend) NewSession(_ context.Context, c *smtp.Conn) (smtp.Session, error) {
	s := &session{b: b, conn: c}
	s.auth.Password = s.password
	return s, nil
}

// session is what is known of a client.
type session struct {
	b    *Backend
	conn *smtp.Conn
	auth sasl.Authenticator
	user directory.User // zero: not logged in
}

func (s *session) Hello(context.Context, string, bool) error { return nil }
func (s *session) Verify(context.Context, string) error      { return nil }
func (s *session) Expand(context.Context, string) error      { return nil }
func (s *session) Close()                                    {}

// Turn implements smtp.Session: nobody may start our queue from outside.
func (s *session) Turn(context.Context, string) error {
	return &smtp.Reply{Code: 458, Enhanced: "4.7.1", Text: "Unable to queue messages for this node"}
}

// URL implements smtp.Session: there is no store of messages by URL.
func (s *session) URL(context.Context, string) (io.ReadCloser, int64, error) {
	return nil, 0, &smtp.Reply{Code: 554, Enhanced: "5.6.6", Text: "URL resolution is not offered"}
}

func (s *session) Mechanisms() []string {
	if s.b.opts.Profile == Submission || s.b.opts.Auth {
		return s.auth.Mechanisms()
	}
	return nil
}

func (s *session) Auth(_ context.Context, mechanism string) (smtp.Exchange, error) {
	x, err := s.auth.Start(mechanism)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// password checks a login against the directory, which also slows guessing.
func (s *session) password(ctx context.Context, c sasl.Credentials) (string, error) {
	if c.Authz != "" && c.Authz != c.User {
		return "", postino.E(postino.Denied, "authenticate", "", errors.New("acting for others is not offered"))
	}
	u, err := s.b.opts.Directory.Authenticate(ctx, directory.Credentials{
		User: c.User, Password: c.Password, Service: directory.ServiceSMTP, Remote: s.conn.Remote(), Secure: s.conn.TLS() != nil,
	})
	s.b.observe.login(s, c.User, err)
	switch {
	case errors.Is(err, directory.ErrInsecure):
		return "", &smtp.Reply{Code: 538, Enhanced: "5.7.11", Text: "Encryption required for authentication"}
	case err != nil:
		return "", err
	}
	s.user = u
	return u.Address.String(), nil
}

// Mail implements smtp.Session.
func (s *session) Mail(ctx context.Context, from postino.Address, opts smtp.MailOptions) (smtp.Transaction, error) {
	now := time.Now()
	t := &transaction{s: s, id: s.b.opts.IDs.Next(now), from: from, opts: opts}
	if err := t.mayBegin(ctx); err != nil {
		t.refused("MAIL", nil, err)
		t.Close()
		return nil, err
	}
	return t, nil
}

// mayBegin judges a MAIL command.
func (t *transaction) mayBegin(ctx context.Context) error {
	o := &t.s.b.opts
	if o.Profile == Submission && t.s.user.ID == 0 {
		return &smtp.Reply{Code: 530, Enhanced: "5.7.0", Text: "Authentication required"} // RFC 6409 §4.3
	}
	if t.s.user.ID != 0 && !t.from.IsNull() {
		if err := t.ownsSender(ctx); err != nil {
			return err
		}
	}
	if o.Room != nil && t.opts.Size > 0 {
		if err := o.Room(t.opts.Size); err != nil {
			return &smtp.Reply{Code: 452, Enhanced: "4.3.1", Text: "Not enough free space now"}
		}
	}
	return nil
}

// ownsSender tells whether the reverse-path leads to the mailbox of the user
// who is logged in (SS22, RFC 6409 §6.1).
func (t *transaction) ownsSender(ctx context.Context) error {
	r, err := t.s.b.opts.Directory.Resolve(ctx, t.from)
	if err != nil && postino.Is(err, postino.Transient) {
		return err
	}
	for _, target := range r.Targets {
		if target.Account == t.s.user.ID {
			return nil
		}
	}
	return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "You may not send as " + t.from.String()}
}
