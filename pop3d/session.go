package pop3d

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/pop3"
	"github.com/postino-mail/postino/sasl"
)

// Options are the rooms that the desk binds. Directory and Mailboxes are required.
type Options struct {
	Directory *directory.Directory
	Mailboxes *mailbox.Store
	// LoginDelay is the least time between two logins of a user; 0: none.
	LoginDelay time.Duration
	Logger     *slog.Logger
}

// Desk makes the sessions of POP3 servers and holds the locks of the maildrops: all
// listeners of a process share one.
type Desk struct {
	opts Options

	mu     sync.Mutex
	locked map[mailbox.AccountID]bool
	logins map[mailbox.AccountID]time.Time // the last, for LoginDelay
	full   int                             // of logins: when those that are over are dropped
}

// New returns a desk.
func New(opts Options) *Desk {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Desk{opts: opts, locked: map[mailbox.AccountID]bool{}, logins: map[mailbox.AccountID]time.Time{}, full: minLogins}
}

// minLogins is how many logins are remembered at least before old ones are looked for.
const minLogins = 1024

// lock takes a maildrop for a session, or tells why not.
func (d *Desk) lock(id mailbox.AccountID, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, ok := d.logins[id]; ok && now.Sub(last) < d.opts.LoginDelay {
		return pop3.ErrLoginDelay
	}
	if d.locked[id] {
		return pop3.ErrInUse
	}
	d.locked[id] = true
	return nil
}

func (d *Desk) unlock(id mailbox.AccountID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.locked, id)
}

// loggedIn remembers a login that succeeded.
func (d *Desk) loggedIn(id mailbox.AccountID, now time.Time) {
	if d.opts.LoginDelay <= 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logins[id] = now
	if len(d.logins) < d.full {
		return
	}
	for id, last := range d.logins {
		if now.Sub(last) >= d.opts.LoginDelay {
			delete(d.logins, id)
		}
	}
	d.full = max(minLogins, 2*len(d.logins))
}

// NewSession begins the session of one connection; it fits pop3.Options.
func (d *Desk) NewSession(_ context.Context, c *pop3.ConnInfo) (pop3.Session, error) {
	return &session{desk: d, conn: c}, nil
}

// session is a connection before login.
type session struct {
	desk   *Desk
	conn   *pop3.ConnInfo
	proved *directory.User // by the SASL exchange under way
}

// Mechanisms lists what Authenticate can start.
func (s *session) Mechanisms() []string { return s.authenticator().Mechanisms() }

// Login checks a password and opens the maildrop.
func (s *session) Login(ctx context.Context, user, password string) (pop3.Maildrop, error) {
	u, err := s.check(ctx, user, password)
	if err != nil {
		return nil, err
	}
	return s.desk.open(ctx, u)
}

// APOP needs the password itself, of which the directory keeps only a hash.
func (s *session) APOP(_ context.Context, user, _ string, _ []byte) (pop3.Maildrop, error) {
	return nil, postino.E(postino.Denied, "log in with APOP", user, nil)
}

// Authenticate starts a SASL exchange.
func (s *session) Authenticate(_ context.Context, mechanism string) (sasl.Server, error) {
	return s.authenticator().Start(mechanism)
}

// authenticator logs in and leaves who it was in proved.
func (s *session) authenticator() *sasl.Authenticator {
	peer := directory.Peer{Service: directory.ServicePOP3, Remote: directory.RemoteOf(s.conn.Remote), TLS: s.conn.TLS()}
	return s.desk.opts.Directory.SASL(peer, func(_ string, u directory.User, err error) error {
		if err == nil {
			s.proved = &u
		}
		return reason(err)
	})
}

// reason gives a login without TLS a text of its own.
func reason(err error) error {
	if errors.Is(err, directory.ErrInsecure) {
		return pop3.ErrInsecure
	}
	return err
}

// Bind opens the maildrop of the user that the exchange proved.
func (s *session) Bind(ctx context.Context, identity string) (pop3.Maildrop, error) {
	u := s.proved
	if s.proved = nil; u == nil || u.Address.String() != identity {
		return nil, postino.E(postino.Denied, "log in", identity, nil)
	}
	return s.desk.open(ctx, *u)
}

// check asks the directory.
func (s *session) check(ctx context.Context, user, password string) (directory.User, error) {
	u, err := s.desk.opts.Directory.Authenticate(ctx, directory.Credentials{
		User: user, Password: password, Service: directory.ServicePOP3, Remote: directory.RemoteOf(s.conn.Remote), Secure: s.conn.Secure(),
	})
	return u, reason(err)
}

// Close has nothing to give back: the maildrop is the engine's to close.
func (s *session) Close() error { return nil }
