package pop3d

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/pop3"
	"github.com/postino-mail/postino/vfs"
)

// TestMain: no goroutine outlives its connection, nor does a reading ahead (G11).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a desk over stores in memory, and one user.
type world struct {
	testing.TB
	users *directory.Directory
	boxes *mailbox.Store
	blobs *blob.Store
	acct  *mailbox.Account
	addr  string
}

func newWorld(t testing.TB, delay time.Duration) *world {
	w := &world{TB: t}
	fs := vfs.Memory()
	db, err := lsm.Open(fs, "kv", lsm.Options{Guard: lsm.GuardOptions{Ballast: -1}})
	w.must(err)
	w.blobs, err = blob.New(db, fs, "blobs", blob.Options{})
	w.must(err)
	w.boxes = mailbox.New(db, w.blobs, mailbox.Options{})
	w.users = directory.New(db, directory.Options{Argon2: directory.Argon2{MemoryKiB: 64, Time: 1, Threads: 1},
		Failures: directory.FailureLimits{MinDelay: time.Millisecond, MaxDelay: time.Millisecond},
		Accounts: directory.AccountHooks{
			Scopes: func(id uint64) []kv.Scope { return []kv.Scope{w.boxes.Scope(mailbox.AccountID(id))} },
			Create: func(tx kv.Tx, u directory.User) error {
				return w.boxes.Create(tx, mailbox.AccountID(u.ID), mailbox.Quota{}, u.Created)
			},
		}})
	ctx := context.Background()
	w.must(w.users.AddDomain(ctx, directory.Domain{Name: "b.example"}))
	u, err := w.users.AddUser(ctx, directory.NewUser{Address: postino.Address{Local: "bob", Domain: "b.example"}, Password: "correct horse", Language: "it"})
	w.must(err)
	w.acct, err = w.boxes.Account(ctx, mailbox.AccountID(u.ID))
	w.must(err)

	desk := New(Options{Directory: w.users, Mailboxes: w.boxes, LoginDelay: delay})
	srv := pop3.NewServer(pop3.Options{NewSession: desk.NewSession, AllowClear: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Shutdown(context.Background())
		<-done
		if len(desk.locked) != 0 {
			t.Error("a maildrop is still locked")
		}
		w.acct.Close()
		w.users.Close()
		db.Close()
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

const inbox = mailbox.MailboxID(1)

// put appends messages to INBOX.
func (w *world) put(bodies ...string) {
	w.Helper()
	var list []mailbox.AppendMessage
	for _, b := range bodies {
		stage := w.blobs.Create(time.Now())
		_, err := stage.Write([]byte(b))
		w.must(err)
		st, err := stage.Finish()
		w.must(err)
		ix := message.Parse([]byte(b), message.Limits{})
		m := mailbox.NewMessage(st.ID, ix, ix.Header())
		m.Staged = &st
		list = append(list, mailbox.AppendMessage{Message: m})
	}
	_, err := w.acct.Append(context.Background(), inbox, list)
	w.must(err)
}

type client struct {
	*world
	nc net.Conn
	r  *bufio.Reader
}

func (w *world) dial() *client {
	w.Helper()
	nc, err := net.Dial("tcp", w.addr)
	w.must(err)
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	w.Cleanup(func() { nc.Close() })
	c := &client{w, nc, bufio.NewReaderSize(nc, 1<<18)}
	c.line()
	return c
}

func (c *client) line() string {
	c.Helper()
	s, err := c.r.ReadString('\n')
	c.must(err)
	return strings.TrimSuffix(s, "\r\n")
}

// want sends a command and looks at the beginning of the reply.
func (c *client) want(command, reply string) string {
	c.Helper()
	_, err := fmt.Fprintf(c.nc, "%s\r\n", command)
	c.must(err)
	got := c.line()
	if !strings.HasPrefix(got, reply) {
		c.Fatalf("%s: %q, want %q", command, got, reply)
	}
	return got
}

// lines reads to the dot.
func (c *client) lines() (all []string) {
	c.Helper()
	for {
		l := c.line()
		if l == "." {
			return all
		}
		all = append(all, strings.TrimPrefix(l, "."))
	}
}

func (c *client) login() *client {
	c.Helper()
	c.want("USER bob@b.example", "+OK")
	c.want("PASS correct horse", "+OK")
	return c
}

func letter(n int) string { return fmt.Sprintf("Subject: %d\r\n\r\n.%d\r\n", n, n) }

func TestSession(t *testing.T) {
	w := newWorld(t, 0)
	large := "Subject: large\r\n\r\n" + strings.Repeat(".0123456789\r\n", 20_000)
	w.put(letter(1), letter(2), large, letter(4), "Subject: no end\r\n\r\nx")
	c := w.dial()
	c.want("USER bob@b.example", "+OK")
	c.want("PASS wrong", "-ERR [AUTH]")
	c.want("AUTH PLAIN "+"AGJvYkBiLmV4YW1wbGUAY29ycmVjdCBob3JzZQ==", "+OK")
	c.want("LANG *", "+OK it ")
	w.put(letter(6)) // is not seen
	c.want("STAT", fmt.Sprintf("+OK 5 %d", 3*len(letter(1))+len(large)+20))
	c.want("RETR 3", fmt.Sprintf("+OK %d", len(large)))
	if got := strings.Join(c.lines(), "\r\n") + "\r\n"; got != large {
		t.Errorf("large message differs: %d octets of %d", len(got), len(large))
	}
	c.want("RETR 5", "+OK 20 ")
	if got := c.lines(); len(got) != 3 || got[2] != "x" {
		t.Errorf("got %q", got)
	}
	c.want("UIDL 2", "+OK 2 ")
	c.want("DELE 2", "+OK")
	c.want("RETR 1", "+OK")
	c.lines()
	c.want("QUIT", "+OK")
	info, err := w.acct.Status(inbox)
	w.must(err)
	if info.Messages != 5 || info.Unseen != 2 {
		t.Errorf("after QUIT: %+v", info.Status)
	}
}

// TestLock: one session at a time over all listeners; what breaks changes nothing.
func TestLock(t *testing.T) {
	w := newWorld(t, 0)
	w.put(letter(1))
	a, b := w.dial().login(), w.dial()
	b.want("USER BOB@b.example", "+OK")
	b.want("PASS correct horse", "-ERR [IN-USE]")
	a.want("DELE 1", "+OK")
	a.nc.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		b.want("USER bob@b.example", "+OK")
		fmt.Fprint(b.nc, "PASS correct horse\r\n")
		if got := b.line(); strings.HasPrefix(got, "+OK") {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(got)
		}
	}
	b.want("STAT", "+OK 1 ")
}

// TestLoginDelay: a second login comes too soon, also for who quit properly.
func TestLoginDelay(t *testing.T) {
	w := newWorld(t, time.Hour)
	w.dial().login().want("QUIT", "+OK")
	c := w.dial()
	c.want("USER bob@b.example", "+OK")
	c.want("PASS correct horse", "-ERR [LOGIN-DELAY]")
	c.want("USER bob@b.example", "+OK")
	c.want("PASS wrong", "-ERR [AUTH]")
}

func TestLoginsAreForgotten(t *testing.T) { // G10
	d := New(Options{LoginDelay: time.Minute})
	now := time.Unix(1_700_000_000, 0)
	for i := range 100_000 {
		d.loggedIn(mailbox.AccountID(i+1), now.Add(time.Duration(i)*time.Second))
	}
	if len(d.logins) > minLogins {
		t.Errorf("%d logins are remembered", len(d.logins))
	}
}

// TestUIDL: unique-ids stay, and come from elsewhere where they were brought (IM12).
func TestUIDL(t *testing.T) {
	w := newWorld(t, 0)
	w.put(letter(1), letter(2), letter(3))
	w.must(w.acct.SetUIDLs(context.Background(), inbox, map[mailbox.UID]string{2: "000000024c8a1f3b"}))
	c := w.dial().login()
	c.want("UIDL", "+OK")
	first := c.lines()
	info, _ := w.acct.Status(inbox)
	if want := fmt.Sprintf("[1 %d.1 2 000000024c8a1f3b 3 %[1]d.3]", info.UIDValidity); fmt.Sprint(first) != want {
		t.Errorf("got %v, want %s", first, want)
	}
	c.want("DELE 1", "+OK")
	c.want("QUIT", "+OK")
	c = w.dial().login()
	c.want("UIDL", "+OK")
	for i, l := range c.lines() {
		if l[2:] != first[i+1][2:] {
			t.Errorf("the unique-id %q became %q", first[i+1], l)
		}
	}
}

// TestReadAhead: in whatever order messages are asked for, each is the right one, and
// one that was swept is refused.
func TestReadAhead(t *testing.T) {
	w := newWorld(t, 0)
	const n = 1200
	var all []string
	for i := range n {
		all = append(all, letter(i+1))
	}
	w.put(all...)
	c := w.dial().login()
	order := []int{5, 6, 7, 3, 4, 5, 5, n, 1, 2, 3, 5, 8, 9, 20, 21, 22}
	for i := 500; i <= 700; i++ {
		order = append(order, i)
	}
	for _, i := range order {
		c.want(fmt.Sprintf("TOP %d 0", i), "+OK")
		c.lines()
		c.want(fmt.Sprintf("RETR %d", i), "+OK")
		if got := strings.Join(c.lines(), "\r\n") + "\r\n"; got != all[i-1] {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	ctx := context.Background()
	_, err := w.acct.Destroy(ctx, inbox, mailbox.Ranges{{Lo: 1002, Hi: 1003}})
	w.must(err)
	for range 2 {
		_, err = w.boxes.Sweep(ctx, w.acct.ID(), time.Now().Add(time.Hour))
		w.must(err)
	}
	_, err = w.boxes.Sweep(ctx, w.acct.ID(), time.Now().Add(3*time.Hour))
	w.must(err)
	for i := 1000; i <= 1006; i++ {
		if i == 1002 || i == 1003 {
			c.want(fmt.Sprintf("RETR %d", i), "-ERR Another program")
			continue
		}
		c.want(fmt.Sprintf("RETR %d", i), "+OK")
		c.lines()
	}
}

// BenchmarkRETR is a client that gets 10,000 messages of 5 KB.
func BenchmarkRETR(b *testing.B) {
	w := newWorld(b, 0)
	body := strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 70)
	const n = 10_000
	for i := 0; i < n; i += 500 {
		var some []string
		for j := range 500 {
			some = append(some, fmt.Sprintf("Subject: %d\r\n\r\n%s", i+j, body))
		}
		w.put(some...)
	}
	c := w.dial().login()
	for _, pipelined := range []bool{false, true} {
		b.Run(map[bool]string{false: "one by one", true: "pipelined"}[pipelined], func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			if pipelined {
				go func() {
					bw := bufio.NewWriterSize(c.nc, 1<<16)
					for i := range b.N {
						fmt.Fprintf(bw, "RETR %d\r\n", i%n+1)
					}
					bw.Flush()
				}()
			}
			for i := range b.N {
				if !pipelined {
					fmt.Fprintf(c.nc, "RETR %d\r\n", i%n+1)
				}
				for {
					line, err := c.r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if bytes.Equal(line, []byte(".\r\n")) {
						break
					}
				}
			}
		})
	}
}
