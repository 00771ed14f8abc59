package app

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/deliver"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/relay"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/submit"
	"github.com/postino-mail/postino/tlspolicy"
	"github.com/postino-mail/postino/vfs"
)

// StoreOptions say where and how a node keeps things.
type StoreOptions struct {
	// Files is the file system and DataDir the directory on it.
	Files   vfs.FS
	DataDir string
	KV      lsm.Options
	Blobs   blob.Options
	// AnyUser makes every domain local and every user on first sight (dev).
	AnyUser *directory.AcceptAny
	// Argon2 is what a password hash costs; the zero value is the default.
	Argon2 directory.Argon2
	// Legacy are the elder SASL mechanisms that are offered.
	Legacy []string
	// Tokens takes the tokens that the directory makes (OAUTHBEARER, XOAUTH2).
	Tokens bool
	// NoChannelBinding leaves the -PLUS mechanisms out.
	NoChannelBinding bool
	// Certs are the certificates of the listeners; nil: there are none.
	Certs *certs.Source
	// Hostname is the name of this node.
	Hostname string
	// Offers are the listeners that a node on the stores would have; checks ask.
	Offers  []Listener
	Outward Outward
	Signing Signing
	Reports ReportOptions
	// ACME gets certificates; nil: nobody does.
	ACME    *ACME
	Logger  *slog.Logger
	Metrics *metric.Registry
}

// Stores are the rooms that keep things, open on one data directory.
type Stores struct {
	DB        *lsm.DB
	Blobs     *blob.Store
	Mailboxes *mailbox.Store
	Directory *directory.Directory
	Keys      *directory.Keeper
	Stories   *story.Store
	Queue     *queue.Queue
	Post      *submit.Post
	Relay     *relay.Relay
	IDs       *postino.IDs
	// Resolver answers all questions for names; Names is the same unless it came
	// from outside, and nil then.
	Resolver dns.Resolver
	Names    *dns.Auto
	Certs    *certs.Source // nil for stores of a node without
	ACME     *certs.ACME   // nil when no certificates are asked for
	// Fetch gets what outside data names, Policies what domains say about TLS.
	Fetch    *fetch.Client
	Policies *tlspolicy.Policies
	// Reports keeps what others report, Collector counts what we report to them,
	// Mailer sends it.
	Reports   *reports.Store
	Collector *reports.Collector
	Mailer    *reports.Mailer

	files vfs.FS
	dir   string
	log   *slog.Logger

	opts    StoreOptions
	running *Node // nil while no node runs on the stores
}

// openStores opens or makes the data directory.
func openStores(o StoreOptions) (*Stores, error) {
	if err := vfs.MkdirAll(o.Files, o.DataDir); err != nil { // the first power cut must not take it back
		return nil, postino.E(postino.Invalid, "make data directory", o.DataDir, err)
	}
	o.KV.Logger, o.KV.Metrics = o.Logger, o.Metrics
	db, err := lsm.Open(o.Files, filepath.Join(o.DataDir, "kv"), o.KV)
	if err != nil {
		return nil, err
	}
	s := &Stores{DB: db, IDs: new(postino.IDs), Certs: o.Certs, files: o.Files, dir: o.DataDir, log: o.Logger}
	s.opts = o
	o.Blobs.Logger, o.Blobs.IDs, o.Blobs.Admit = o.Logger, s.IDs, db.Admit
	if s.Blobs, err = blob.New(db, o.Files, filepath.Join(o.DataDir, "blobs"), o.Blobs); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.Mailboxes = mailbox.New(db, s.Blobs, mailbox.Options{Logger: o.Logger})
	s.Directory = directory.New(db, directory.Options{
		Logger: o.Logger, Metrics: o.Metrics, Accounts: s.accountHooks(), AcceptAny: o.AnyUser, Argon2: o.Argon2,
		Legacy: o.Legacy, NoChannelBinding: o.NoChannelBinding, Realm: o.Hostname, Certificates: o.Certs.Leaves,
		OwnTokens: o.Tokens, Notify: s.notify,
		DKIM: &directory.DKIM{RSA: o.Signing.RSA, Token: o.Signing.Token},
	})
	s.Stories = story.New(db, story.Options{Logger: o.Logger, IDs: s.IDs})
	local := deliver.New(deliver.Options{
		Blobs: s.Blobs, Mailboxes: s.Mailboxes, Directory: s.Directory, Logger: o.Logger, Metrics: o.Metrics,
		Onward: func(ctx context.Context, it *queue.Item, rcpt int, to []directory.Forward) (func(kv.Tx) (func(), error), error) {
			return s.Post.Onward(ctx, it, rcpt, to) // which is made after the queue that this is for
		},
	})
	if err := s.openMail(&o, local); err != nil {
		s.Collector.Close()
		s.Stories.Close()
		s.Directory.Close()
		return nil, errors.Join(err, db.Close())
	}
	if err := s.openACME(&o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// accountHooks keep the mailboxes in step with the users, in one transaction.
func (s *Stores) accountHooks() directory.AccountHooks {
	id := func(u directory.User) mailbox.AccountID { return mailbox.AccountID(u.ID) }
	return directory.AccountHooks{
		Scopes: func(n uint64) []kv.Scope { return []kv.Scope{s.Mailboxes.Scope(mailbox.AccountID(n))} },
		Create: func(tx kv.Tx, u directory.User) error {
			return s.Mailboxes.Create(tx, id(u), quota(u), u.Created)
		},
		Change: func(tx kv.Tx, old, now directory.User) error {
			if quota(old) == quota(now) {
				return nil
			}
			return s.Mailboxes.SetQuota(tx, id(now), quota(now))
		},
		Remove: func(tx kv.Tx, u directory.User) error { return s.Mailboxes.Remove(tx, id(u)) },
	}
}

// quota is how much a user may store.
func quota(u directory.User) mailbox.Quota {
	return mailbox.Quota{Bytes: u.Quota, Messages: u.MaxMessages, Mailboxes: u.MaxMailboxes}
}

// usage reads what an account stores.
func (s *Stores) usage(ctx context.Context, account uint64) (u mailbox.Usage, err error) {
	id := mailbox.AccountID(account)
	verr := s.DB.View(ctx, []kv.Scope{s.Mailboxes.Scope(id)}, func(r kv.Reader) error {
		u, err = s.Mailboxes.Usage(r, id)
		return err
	})
	return u, verr
}

// Close closes everything in the reverse order; the queue must be stopped.
func (s *Stores) Close() error {
	s.Relay.Close()
	s.Collector.Close()
	s.Stories.Close()
	s.Directory.Close()
	return s.DB.Close()
}

// drain is how long a stop waits for what runs (QU10), devDrain the same while
// somebody waits for the prompt.
const (
	drain    = 30 * time.Second
	devDrain = 2 * time.Second
)
