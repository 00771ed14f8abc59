package imap

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/directory"
	server "github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/imapd"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/test/memnet"
	"github.com/postino-mail/postino/vfs"
)

const (
	domain   = "b.example"
	password = "secret-word"
	address  = "127.0.0.1:143"
)

// world is an IMAP server with its stores, in memory.
type world struct {
	testing.TB
	net   *memnet.Network
	srv   *server.Server
	dir   *directory.Directory
	boxes *mailbox.Store
}

// settings make a world.
type settings struct {
	users  []string
	limits server.Limits
	boxes  mailbox.Options
	tls    bool // STARTTLS, and no login in clear
}

func newWorld(t testing.TB, set settings) *world {
	t.Helper()
	fs := vfs.Memory()
	db, err := lsm.Open(fs, "kv", lsm.Options{MemTableBytes: 4 << 20, CacheBytes: 8 << 20, Guard: lsm.GuardOptions{Ballast: -1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	blobs, err := blob.New(db, fs, "blobs", blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	boxes := mailbox.New(db, blobs, set.boxes)
	quota := func(u directory.User) mailbox.Quota {
		return mailbox.Quota{Bytes: u.Quota, Messages: u.MaxMessages, Mailboxes: u.MaxMailboxes}
	}
	dir := directory.New(db, directory.Options{
		Argon2: directory.Argon2{MemoryKiB: 64, Time: 1, Threads: 1},
		Accounts: directory.AccountHooks{
			Scopes: func(n uint64) []kv.Scope { return []kv.Scope{boxes.Scope(mailbox.AccountID(n))} },
			Create: func(tx kv.Tx, u directory.User) error {
				return boxes.Create(tx, mailbox.AccountID(u.ID), quota(u), u.Created)
			},
			Change: func(tx kv.Tx, _, u directory.User) error {
				return boxes.SetQuota(tx, mailbox.AccountID(u.ID), quota(u))
			},
			Remove: func(tx kv.Tx, u directory.User) error { return boxes.Remove(tx, mailbox.AccountID(u.ID)) },
		},
	})
	t.Cleanup(dir.Close)
	w := &world{TB: t, net: memnet.New(), dir: dir, boxes: boxes}
	opts := server.Options{Limits: set.limits, AllowClear: !set.tls}
	if set.tls {
		src, err := certs.SelfSigned(time.Now(), "imap."+domain)
		if err != nil {
			t.Fatal(err)
		}
		opts.TLS = src.Config(certs.Service{ALPN: []string{"imap"}})
	}
	opts.NewSession = imapd.New(imapd.Options{Directory: dir, Mailboxes: boxes, Blobs: blobs}).NewSession
	w.srv = server.NewServer(opts)
	if err := dir.AddDomain(context.Background(), directory.Domain{Name: domain}); err != nil {
		t.Fatal(err)
	}
	for _, name := range set.users {
		a, err := postino.ParseAddress(name + "@" + domain)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dir.AddUser(context.Background(), directory.NewUser{Address: a, Password: password}); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := w.net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.srv.Serve(ln)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		<-done
	})
	return w
}

// dial connects; the greeting is not read yet.
func (w *world) dial() net.Conn {
	w.Helper()
	nc, err := w.net.DialFrom(context.Background(), "tcp", address, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { nc.Close() })
	return nc
}
