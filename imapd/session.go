package imapd

import (
	"context"
	"errors"
	"log/slog"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/sasl"
)

// Options are the rooms that the desk binds. All but Logger are required.
type Options struct {
	Directory *directory.Directory
	Mailboxes *mailbox.Store
	Blobs     *blob.Store
	Logger    *slog.Logger
}

// Desk makes the sessions of an IMAP server.
type Desk struct{ opts Options }

// New returns a desk.
func New(opts Options) *Desk {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Desk{opts: opts}
}

// NewSession begins the session of one connection; it fits imap.Options.
func (d *Desk) NewSession(_ context.Context, c *imap.ConnInfo) (imap.Session, error) {
	return &session{desk: d, conn: c}, nil
}

// session is one connection's state; see imap.Session for who calls what when.
type session struct {
	desk     *Desk
	conn     *imap.ConnInfo
	user     string           // canonical address, empty until logged in
	pass     directory.Pass   // what the login stands on
	proved   *directory.User  // by the SASL exchange under way
	acct     *mailbox.Account // the user's own; nil until logged in
	viewer   mailbox.Viewer   // who looks at the accounts of others
	others   map[mailbox.AccountID]*mailbox.Account
	sel      *selected // nil when no mailbox is open
	changed  func()    // whom to tell of changes
	notified *notified // nil without NOTIFY
}

// Mechanisms lists what Authenticate can start.
func (s *session) Mechanisms() []string { return s.authenticator().Mechanisms() }

// Login checks a password and opens the account.
func (s *session) Login(ctx context.Context, user, password string) error {
	u, err := s.check(ctx, user, password)
	if err == nil {
		err = s.open(ctx, u)
	}
	return err
}

// Authenticate starts a SASL exchange.
func (s *session) Authenticate(_ context.Context, mechanism string) (imap.Exchange, error) {
	return s.authenticator().Start(mechanism)
}

// authenticator logs in and leaves who it was in proved.
func (s *session) authenticator() *sasl.Authenticator {
	peer := directory.Peer{Service: directory.ServiceIMAP, Remote: directory.RemoteOf(s.conn.Remote), TLS: s.conn.TLS()}
	return s.desk.opts.Directory.SASL(peer, func(_ string, u directory.User, err error) error {
		if err == nil {
			s.proved = &u
		}
		return reason(err)
	})
}

// reason gives the errors of a login the codes of RFC 5530 §3.
func reason(err error) error {
	switch {
	case errors.Is(err, directory.ErrInsecure):
		return &imap.Error{Code: "PRIVACYREQUIRED", Text: "log in under TLS"}
	case errors.Is(err, directory.ErrAuthorization):
		return &imap.Error{Code: "AUTHORIZATIONFAILED", Text: "no right to act for that user"}
	}
	return err
}

// Bind opens the account of the user that the exchange proved.
func (s *session) Bind(ctx context.Context, identity string) error {
	u := s.proved
	if s.proved = nil; u == nil || u.Address.String() != identity {
		return postino.E(postino.Denied, "log in", identity, nil)
	}
	return s.open(ctx, *u)
}

// check asks the directory.
func (s *session) check(ctx context.Context, user, password string) (directory.User, error) {
	u, err := s.desk.opts.Directory.Authenticate(ctx, directory.Credentials{
		User: user, Password: password, Service: directory.ServiceIMAP, Remote: directory.RemoteOf(s.conn.Remote), Secure: s.conn.Secure(),
	})
	return u, reason(err)
}

// open opens the account of u, as seen by u.
func (s *session) open(ctx context.Context, u directory.User) error {
	viewer := mailbox.Viewer{Account: mailbox.AccountID(u.ID), Domain: u.Address.Domain}
	acct, err := s.desk.opts.Mailboxes.AccountFor(ctx, viewer.Account, viewer)
	if err == nil {
		s.user, s.pass, s.acct, s.viewer = u.Address.String(), u.Pass, acct, viewer
	}
	return err
}

// User returns the canonical address of who is logged in.
func (s *session) User() string { return s.user }

// Stays tells whether the login may go on.
func (s *session) Stays(ctx context.Context) (bool, error) {
	return s.desk.opts.Directory.Stays(ctx, s.pass)
}

// Close gives everything back.
func (s *session) Close() error {
	err := s.Unselect(context.Background())
	s.endNotify()
	for _, a := range s.others {
		a.Close()
	}
	s.others = nil
	if s.acct != nil {
		s.acct.Close()
		s.acct = nil
	}
	return err
}
