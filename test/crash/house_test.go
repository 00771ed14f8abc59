package crash

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/deliver"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/relay"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/submit"
	"github.com/postino-mail/postino/vfs"
)

// house is a whole receiving side over one file system.
type house struct {
	testing.TB
	db        *lsm.DB
	ids       *postino.IDs
	blobs     *blob.Store
	stories   *story.Store
	mailboxes *mailbox.Store
	users     *directory.Directory
	queue     *queue.Queue
	post      *submit.Post
	addr      map[receive.Profile]string
	closers   []func()
}

type plan struct {
	queue  queue.Options // Retry, Limits
	limits receive.Limits
	quota  int64 // octets of each user
	room   func(int64) error
	idle   bool         // the queue is not started
	names  dns.Resolver // mail is judged by what they say
	dir    string       // where on the file system
	big    bool         // with the memory of a real server
}

// build opens a house on fs; the second time it finds what the first left.
func build(t testing.TB, fs vfs.FS, p plan) (*house, error) {
	opts := lsm.Options{MemTableBytes: 8 << 20, CacheBytes: 8 << 20, Guard: lsm.GuardOptions{Interval: 10 * time.Millisecond, Ballast: -1}}
	if p.big {
		opts = lsm.Options{}
	}
	db, err := lsm.Open(fs, fs.PathJoin(p.dir, "db"), opts)
	if err != nil {
		return nil, err
	}
	h := &house{TB: t, db: db, ids: new(postino.IDs), addr: map[receive.Profile]string{}}
	h.later(func() { db.Close() })
	if h.blobs, err = blob.New(db, fs, fs.PathJoin(p.dir, "blobs"), blob.Options{IDs: h.ids}); err != nil {
		h.close()
		return nil, err
	}
	h.stories = story.New(db, story.Options{IDs: h.ids})
	h.later(h.stories.Close)
	h.mailboxes = mailbox.New(db, h.blobs, mailbox.Options{})
	h.users = directory.New(db, directory.Options{
		Argon2: directory.Argon2{MemoryKiB: 64, Time: 1, Threads: 1},
		Accounts: directory.AccountHooks{
			Scopes: func(id uint64) []kv.Scope { return []kv.Scope{h.mailboxes.Scope(mailbox.AccountID(id))} },
			Create: func(tx kv.Tx, u directory.User) error {
				return h.mailboxes.Create(tx, mailbox.AccountID(u.ID), mailbox.Quota{Bytes: u.Quota}, time.Now())
			},
			Remove: func(tx kv.Tx, u directory.User) error { return h.mailboxes.Remove(tx, mailbox.AccountID(u.ID)) },
		},
	})
	h.later(h.users.Close)
	p.queue.IDs = h.ids
	p.queue.Transports = map[string]queue.TransportOptions{
		queue.Local: {Transport: deliver.New(deliver.Options{Blobs: h.blobs, Mailboxes: h.mailboxes, Directory: h.users})},
	}
	h.queue = queue.New(db, h.blobs, h.stories, p.queue)
	if !p.idle {
		h.queue.Start()
	}
	h.later(h.stopQueue)
	return h, nil
}

// startQueue lets the queue work until the house is closed.
func (h *house) startQueue() {
	h.queue.Start()
	h.later(h.stopQueue)
}

func (h *house) stopQueue() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.queue.Stop(ctx); err != nil {
		h.Error("queue: ", err)
	}
}

func (h *house) later(fn func()) { h.closers = append(h.closers, fn) }

func (h *house) close() {
	for i := len(h.closers) - 1; i >= 0; i-- {
		h.closers[i]()
	}
	h.closers = nil
}

// newHouse has the domain b.example with users bob, ana and full, the alias team
// for bob and ana, and two listeners.
func newHouse(t testing.TB, p plan) *house {
	t.Helper()
	h, err := build(t, vfs.Memory(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	h.populate(p.quota)
	h.listen(receive.MX, p)
	h.listen(receive.Submission, p)
	return h
}

func (h *house) populate(quota int64) {
	h.Helper()
	ctx := context.Background()
	must(h, h.users.AddDomain(ctx, directory.Domain{Name: "b.example"}))
	must(h, h.users.AddDomain(ctx, directory.Domain{Name: "off.example", Disabled: true}))
	for _, name := range []string{"bob", "ana", "postmaster"} {
		_, err := h.users.AddUser(ctx, directory.NewUser{Address: postino.Address{Local: name, Domain: "b.example"}, Password: "correct horse", Quota: quota})
		must(h, err)
	}
	must(h, h.users.SetAlias(ctx, directory.Alias{Address: address("team@b.example"),
		Targets: []postino.Address{address("bob@b.example"), address("ana@b.example")}, MembersSend: true}))
	must(h, h.users.SetAlias(ctx, directory.Alias{Address: address("robert@b.example"), Targets: []postino.Address{address("bob@b.example")}}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func address(s string) postino.Address {
	a, err := postino.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (h *house) backend(profile receive.Profile, p plan) *receive.Backend {
	if h.post == nil {
		h.post = submit.New(submit.Options{Hostname: "mx.b.example", DB: h.db, Blobs: h.blobs, Directory: h.users, Mailboxes: h.mailboxes,
			Queue: h.queue, Stories: h.stories, IDs: h.ids, Dest: relay.Dest})
	}
	o := receive.Options{Hostname: "mx.b.example", Profile: profile, Post: h.post, Directory: h.users,
		Mailboxes: h.mailboxes, Queue: h.queue, Stories: h.stories, Limits: p.limits, Room: p.room}
	o.DNS, o.JudgeAll = p.names, true
	return receive.New(o)
}

func (h *house) listen(profile receive.Profile, p plan) { h.listenFor(profile, h.backend(profile, p)) }

func (h *house) listenFor(profile receive.Profile, b smtp.Backend) {
	h.Helper()
	srv := smtp.NewServer(smtp.Options{Hostname: "mx.b.example", Backend: b, AuthInsecure: true, LaxPipelining: true,
		FutureRelease: 24 * time.Hour,
		Trusted:       func(netip.Addr) bool { return true }, Limits: smtp.Limits{ErrorDelay: time.Nanosecond}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(h, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	h.addr[profile] = l.Addr().String()
	h.later(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			h.Error("smtp: ", err)
		}
		if err := <-served; err != nil {
			h.Error("smtp: ", err)
		}
	})
}

// client is one side of a dialogue.
type client struct {
	testing.TB
	net.Conn
	r *bufio.Reader
}

func (h *house) dial(profile receive.Profile) *client {
	h.Helper()
	conn, err := net.Dial("tcp", h.addr[profile])
	must(h, err)
	h.Cleanup(func() { conn.Close() })
	must(h, conn.SetDeadline(time.Now().Add(20*time.Second)))
	c := &client{h.TB, conn, bufio.NewReader(conn)}
	c.want("220")
	return c
}

// reply reads a reply, its lines joined.
func (c *client) reply() (text string) {
	c.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.Fatal("reading a reply: ", err)
		}
		text += line
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(text, "\r\n")
		}
	}
}

func (c *client) want(prefix string) string {
	c.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, prefix) {
		c.Fatalf("reply %q, want %s", got, prefix)
	}
	return got
}

func (c *client) send(s string) {
	c.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.Fatal(err)
	}
}

// talk plays a script: lines "C: …" are sent with CRLF, "S: …" is how the next
// reply begins. It returns the last reply.
func (c *client) talk(script string) (last string) {
	c.Helper()
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "C:"):
			c.send(strings.TrimPrefix(strings.TrimPrefix(line, "C:"), " ") + "\r\n")
		case strings.HasPrefix(line, "S:"):
			last = c.want(strings.TrimSpace(line[2:]))
		case line != "":
			c.Fatal("bad script line: ", line)
		}
	}
	return last
}

func (h *house) eventually(what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatal("never: ", what)
		}
	}
}

// settled waits until the queue has nothing to do.
func (h *house) settled() {
	h.Helper()
	h.eventually("the queue settles", func() bool { return h.queue.Stats() == queue.Stats{} && h.rows("qn") == 0 })
}

func (h *house) rows(prefix string) (n int) {
	h.Helper()
	must(h, h.db.View(context.Background(), nil, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte(prefix)), func(_, _ []byte) bool { n++; return true })
	}))
	return n
}

// inbox returns the messages in a user's INBOX, in order of UID.
func (h *house) inbox(user string) []string {
	h.Helper()
	texts, err := h.mails(user, "INBOX")
	must(h, err)
	return texts
}

// mails is inbox for any mailbox, and for other goroutines than that of the test.
func (h *house) mails(user, name string) (texts []string, err error) {
	ctx := context.Background()
	u, err := h.users.User(ctx, address(user))
	if err != nil {
		return nil, err
	}
	a, err := h.mailboxes.Account(ctx, mailbox.AccountID(u.ID))
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := a.Sync(ctx); err != nil {
		return nil, err
	}
	info, err := a.Mailbox(name)
	if err != nil {
		return nil, err
	}
	v, err := a.Open(ctx, info.ID)
	if err != nil {
		return nil, err
	}
	snap := v.Snapshot()
	var ids []mailbox.EmailID
	for i := range snap.Len() {
		ids = append(ids, snap.Email(i))
	}
	eerr := a.Emails(ctx, ids, mailbox.WantRow, func(i int, e *mailbox.Email) bool {
		body, oerr := a.OpenBody(ctx, e)
		if oerr != nil {
			err = oerr
			return false
		}
		defer body.Close()
		var b bytes.Buffer
		if _, err = body.WriteTo(&b); err != nil {
			return false
		}
		if int64(b.Len()) != e.Size {
			err = fmt.Errorf("size %d of a message of %d octets", e.Size, b.Len())
		}
		texts = append(texts, b.String())
		return err == nil
	})
	return texts, errors.Join(err, eerr)
}

// story returns the kinds of the events of the newest message that a word finds.
func (h *house) story(word string) (kinds string, events []*story.Event) {
	h.Helper()
	ids, err := h.stories.Find(context.Background(), story.Query{Text: word})
	must(h, err)
	events, err = h.stories.Get(context.Background(), ids[0])
	must(h, err)
	for _, e := range events {
		kinds += e.Kind.String() + " "
	}
	return kinds, events
}

func letter(n int) string {
	return fmt.Sprintf("From: x@a.example\r\nMessage-ID: <%d@a.example>\r\nSubject: letter %d\r\n\r\nText\r\n", n, n)
}

func aliasOf(from string, to ...string) directory.Alias {
	a := directory.Alias{Address: address(from)}
	for _, s := range to {
		a.Targets = append(a.Targets, address(s))
	}
	return a
}

func newUser(name string) directory.NewUser {
	return directory.NewUser{Address: address(name), Password: "correct horse"}
}

func (h *house) transport() queue.Transport {
	return deliver.New(deliver.Options{Blobs: h.blobs, Mailboxes: h.mailboxes, Directory: h.users})
}
