package imapd

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
)

// over reads to the end of the connection and wants the last line to begin with text.
func (c *client) over(text string) {
	c.Helper()
	last := ""
	for {
		s, err := c.r.ReadString('\n')
		if err != nil {
			break
		}
		last = s
	}
	if !strings.HasPrefix(last, text) {
		c.Fatalf("the connection ended with %q, want %q", last, text)
	}
}

// TestSelectedGone: a session whose mailbox another one deleted, or which may no
// longer read it, ends with BYE; in IDLE at once, else behind the next reply
// (RFC 2180 §3).
func TestSelectedGone(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann", "bob")
	ann := w.login("ann")
	ann.ok("CREATE Old")
	ann.fill("Old", 2)
	ann.ok("SETACL Old bob@b.example lr")
	owner, guest, idle, named := w.login("ann"), w.login("bob"), w.login("bob"), w.login("bob")
	owner.ok("SELECT Old")
	for _, c := range []*client{guest, idle, named} {
		c.ok(`SELECT "Other Users/ann@b.example/Old"`)
	}
	named.ok("NOTIFY SET (personal (MailboxName))")
	idle.nc.Write([]byte("i IDLE\r\n"))
	if got := idle.line(); got != "+ idling" {
		t.Fatal(got)
	}
	ann.ok("DELETEACL Old bob@b.example")
	idle.over("* BYE [NONEXISTENT]")
	named.over("* BYE [NONEXISTENT]")
	if got := guest.do("FETCH 1 BODY.PEEK[]"); !strings.HasPrefix(got, "NO [") {
		t.Errorf("a guest without rights reads: %s", got)
	}
	guest.over("* BYE [NONEXISTENT]")

	owner.ok("FETCH 1 UID")
	ann.ok("DELETE Old")
	if got := owner.do("NOOP"); got != "OK NOOP completed" {
		t.Error(got)
	}
	owner.over("* BYE [NONEXISTENT]")

	// Who deletes what it has selected has nothing selected.
	ann.ok("CREATE Mine")
	ann.ok("SELECT Mine")
	ann.ok("DELETE Mine")
	if got := ann.do("FETCH 1 UID"); !strings.HasPrefix(got, "BAD") {
		t.Error(got)
	}
	ann.ok("SELECT INBOX")
}

// TestWithdrawn: sessions of a user who is disabled, removed, whose domain is
// disabled or whose password was changed end by themselves (AU8).
func TestWithdrawn(t *testing.T) {
	ctx := context.Background()
	limits := imap.Limits{StayTime: time.Millisecond}
	for name, withdraw := range map[string]func(w *world) error{
		"disabled": func(w *world) error {
			_, err := w.desk.opts.Directory.UpdateUser(ctx, w.address("ann"), func(u *directory.User) { u.Disabled = true })
			return err
		},
		"a new password": func(w *world) error {
			return w.desk.opts.Directory.SetPassword(ctx, w.address("ann"), "another-word")
		},
		"removed": func(w *world) error { return w.desk.opts.Directory.RemoveUser(ctx, w.address("ann")) },
	} {
		w := newWorld(t, limits, "ann", "bob")
		a, b := w.login("ann"), w.login("bob")
		a.ok("SELECT INBOX")
		b.ok("SELECT INBOX")
		if err := withdraw(w); err != nil {
			t.Fatal(name, err)
		}
		a.over("* BYE [CONTACTADMIN]")
		b.ok("NOOP")
		if err := w.desk.opts.Directory.UpdateDomain(ctx, "b.example", func(d *directory.Domain) { d.Disabled = true }); err != nil {
			t.Fatal(err)
		}
		b.over("* BYE [CONTACTADMIN]")
	}
}
