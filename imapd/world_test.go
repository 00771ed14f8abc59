package imapd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/vfs"
)

// world is the engine on the desk on real stores, in memory.
type world struct {
	testing.TB
	desk *Desk
	srv  *imap.Server
}

// newWorld has the users whose local parts are given, in b.example; their passwords
// are "secret-word".
func newWorld(t testing.TB, limits imap.Limits, users ...string) *world {
	t.Helper()
	fs := vfs.Memory()
	db, err := lsm.Open(fs, "kv", lsm.Options{MemTableBytes: 1 << 20, CacheBytes: 8 << 20, Guard: lsm.GuardOptions{Ballast: -1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	blobs, err := blob.New(db, fs, "blobs", blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	boxes := mailbox.New(db, blobs, mailbox.Options{})
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
	w := &world{TB: t, desk: New(Options{Directory: dir, Mailboxes: boxes, Blobs: blobs})}
	w.srv = imap.NewServer(imap.Options{NewSession: w.desk.NewSession, AllowClear: true, Limits: limits})
	if err := dir.AddDomain(context.Background(), directory.Domain{Name: "b.example"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range users {
		if _, err := dir.AddUser(context.Background(), directory.NewUser{Address: w.address(name), Password: "secret-word"}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) address(local string) postino.Address {
	w.Helper()
	a, err := postino.ParseAddress(local + "@b.example")
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// client is a user's connection.
type client struct {
	*world
	nc net.Conn
	r  *bufio.Reader
	n  int
}

func (w *world) login(user string) *client {
	w.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.srv.ServeConn(far)
	}()
	near.SetDeadline(time.Now().Add(20 * time.Second))
	w.Cleanup(func() {
		near.Close()
		<-done
	})
	c := &client{world: w, nc: near, r: bufio.NewReader(near)}
	c.line()
	c.ok("LOGIN %s@b.example secret-word", user)
	return c
}

func (c *client) line() string {
	c.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.Fatal(err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// do sends a command and returns what comes back, all in one text, with the tag left
// out of the last line.
func (c *client) do(format string, args ...any) string {
	c.Helper()
	c.n++
	tag := fmt.Sprintf("x%d ", c.n)
	go fmt.Fprintf(c.nc, "%s%s\r\n", tag, fmt.Sprintf(format, args...))
	var out strings.Builder
	for {
		l := c.line()
		if rest, ok := strings.CutPrefix(l, tag); ok {
			out.WriteString(rest)
			return out.String()
		}
		out.WriteString(l + "\n")
	}
}

// ok is do for a command that has to succeed; it returns the untagged responses.
func (c *client) ok(format string, args ...any) string {
	c.Helper()
	s := c.do(format, args...)
	i := strings.LastIndexByte(s, '\n') + 1
	if !strings.HasPrefix(s[i:], "OK") {
		c.Fatalf("%.300s\nis answered %s", fmt.Sprintf(format, args...), s)
	}
	return s[:i]
}

// want checks a whole answer.
func (c *client) want(command, answer string) {
	c.Helper()
	if got := c.do("%s", command); got != answer {
		c.Errorf("%.300s\ngot  %q\nwant %q", command, got, answer)
	}
}

// append stores a message.
func (c *client) append(box, msg string) {
	c.Helper()
	c.ok("APPEND %s {%d+}\r\n%s", box, len(msg), msg)
}

// account returns the number of a user's account.
func (w *world) account(local string) mailbox.AccountID {
	w.Helper()
	u, err := w.desk.opts.Directory.User(context.Background(), w.address(local))
	if err != nil {
		w.Fatal(err)
	}
	return mailbox.AccountID(u.ID)
}

// give gives rights on a mailbox, as the administrator does.
func (w *world) give(t testing.TB, owner directory.User, box, who, rights string) {
	t.Helper()
	ctx := context.Background()
	a, err := w.desk.opts.Mailboxes.Account(ctx, mailbox.AccountID(owner.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	info, err := a.Mailbox(box)
	if err != nil {
		t.Fatal(err)
	}
	id, domain, err := w.desk.opts.Directory.ACLSubject(ctx, owner.Address.Domain, who)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := mailbox.ParseRights(rights)
	if err := a.SetACL(ctx, info.ID, mailbox.Subject{Account: mailbox.AccountID(id), Domain: domain}, false, mailbox.ReplaceFlags, r); err != nil {
		t.Fatal(err)
	}
}
