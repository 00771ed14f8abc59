package crash

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/pop3"
	"github.com/postino-mail/postino/pop3d"
	"github.com/postino-mail/postino/vfs"
)

// maildrop is what is in INBOX: the unique-ids, with a star behind those that are seen.
func (h *house) maildrop(user string) string {
	ctx := context.Background()
	u, err := h.users.User(ctx, address(user))
	must(h, err)
	a, err := h.mailboxes.Account(ctx, mailbox.AccountID(u.ID))
	must(h, err)
	defer a.Close()
	ids, err := a.UIDLs(ctx, 1)
	must(h, err)
	v, err := a.Open(ctx, 1)
	must(h, err)
	var b strings.Builder
	s := v.Snapshot()
	for _, r := range s.Rows(0, s.Len()) {
		b.WriteString(ids[r.UID])
		if r.Flags.System()&mailbox.Seen != 0 {
			b.WriteByte('*')
		}
	}
	problems, err := h.mailboxes.Check(ctx, a.ID())
	must(h, err)
	for _, p := range problems {
		h.Error(p)
	}
	return b.String()
}

// TestPOP3 cuts the power before every write while sessions of POP3 delete and
// retrieve: what QUIT answered stays so, and of what it did not answer all happened or
// nothing (IM12).
func TestPOP3(t *testing.T) {
	ctx := context.Background()
	mem := vfs.Memory()
	type cut struct {
		fs    *vfs.Mem
		name  string
		acked int
	}
	var (
		mu    sync.Mutex
		on    bool
		acked int
		cuts  []cut
	)
	h, err := busyStores(t, vfs.Hook(mem, func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if on && op.Writes() {
			for i, percent := range []int{0, 30, 70, 100} {
				cuts = append(cuts, cut{mem.Crash(percent, uint64(op.N)*4+uint64(i)), fmt.Sprintf("write %d (%v), %d %% kept", op.N, op.Kind, percent), acked})
			}
		}
		return nil
	}))
	must(t, err)
	defer h.close()
	h.populate(0)
	const user, letters = "bob@b.example", 24
	u, err := h.users.User(ctx, address(user))
	must(t, err)
	a, err := h.mailboxes.Account(ctx, mailbox.AccountID(u.ID))
	must(t, err)
	ids := map[mailbox.UID]string{}
	for i := range letters {
		text := []byte(fmt.Sprintf("Subject: %c\r\n\r\nbody\r\n", 'a'+i))
		stage := h.blobs.Create(u.Created)
		_, err := stage.Write(text)
		must(t, err)
		st, err := stage.Finish()
		must(t, err)
		ix := message.Parse(text, message.Limits{})
		m := mailbox.NewMessage(st.ID, ix, ix.Header())
		m.Staged = &st
		res, err := a.Append(ctx, 1, []mailbox.AppendMessage{{Message: m}})
		must(t, err)
		ids[res.UIDs.Lo] = string(rune('a' + i))
	}
	must(t, a.SetUIDLs(ctx, 1, ids))
	a.Close()

	desk := pop3d.New(pop3d.Options{Directory: h.users, Mailboxes: h.mailboxes})
	s := pop3.NewServer(pop3.Options{NewSession: desk.NewSession, AllowClear: true})
	states := []string{h.maildrop(user)} // after so many acknowledged sessions
	mu.Lock()
	on = true
	mu.Unlock()
	for _, script := range []string{
		"RETR 1\r\nDELE 1\r\nDELE 3\r\nRETR 2\r\nQUIT\r\n",
		"DELE 5\r\nDELE 6\r\n", // breaks
		"RETR 10\r\nDELE 10\r\nDELE 11\r\nDELE 12\r\nRETR 1\r\nRETR 4\r\nQUIT\r\n",
		"RETR 7\r\nQUIT\r\n",
		"DELE 1\r\nDELE 2\r\nDELE 3\r\nDELE 4\r\nDELE 5\r\nDELE 6\r\nRSET\r\nDELE 15\r\nQUIT\r\n",
		"RETR 8\r\nRETR 9\r\nDELE 2\r\nDELE 4\r\nDELE 6\r\nDELE 8\r\nDELE 10\r\nQUIT\r\n",
	} {
		c := &monologue{in: strings.NewReader("USER " + user + "\r\nPASS correct horse\r\n" + script)}
		s.ServeConn(c)
		mu.Lock()
		if strings.Contains(c.out.String(), "+OK Bye") {
			acked++
			states = append(states, "")
		}
		mu.Unlock()
		states[acked] = h.maildrop(user)
		must(t, h.mailboxes.Fold(ctx, mailbox.AccountID(u.ID)))
	}
	mu.Lock()
	on = false
	mu.Unlock()
	if acked != 5 || len(cuts) < 10 {
		t.Fatalf("%d sessions, %d cuts", acked, len(cuts))
	}
	step := max(1, len(cuts)/setting("POSTINO_POP3CUTS", 60))
	for i := 0; i < len(cuts); i += step {
		c := cuts[i]
		h, err := busyStores(t, c.fs)
		must(t, err)
		got := h.maildrop(user)
		if got != states[c.acked] && (c.acked == acked || got != states[c.acked+1]) {
			t.Errorf("%s: %q after %d sessions that ended with %q", c.name, got, c.acked, states[:min(c.acked+2, len(states))])
		}
		h.close()
	}
	t.Logf("%d cuts, states %q", len(cuts), states)
}

// monologue is a connection whose client has said everything already.
type monologue struct {
	in  *strings.Reader
	out strings.Builder
}

func (c *monologue) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *monologue) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *monologue) Close() error                     { return nil }
func (c *monologue) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *monologue) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *monologue) SetDeadline(time.Time) error      { return nil }
func (c *monologue) SetReadDeadline(time.Time) error  { return nil }
func (c *monologue) SetWriteDeadline(time.Time) error { return nil }
