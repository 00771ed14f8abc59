package imapd

import (
	"strings"
	"testing"

	"github.com/postino-mail/postino/imap"
)

// TestRefusedLiteral: no EXPUNGE before the whole command was received, not even
// when its literal is refused (RFC 9051 §7.5.1).
func TestRefusedLiteral(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	a, b := w.login("ann"), w.login("ann")
	a.append("INBOX", "Subject: x\r\n\r\nx")
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	b.ok("EXPUNGE")
	if got := a.do("APPEND nowhere {5}"); strings.Contains(got, "EXPUNGE") || !strings.Contains(got, "NO [TRYCREATE]") {
		t.Errorf("refused literal: %q", got)
	}
	if got := a.do("APPEND nowhere {1+}\r\nx"); !strings.Contains(got, "NO [TRYCREATE]") {
		t.Errorf("refused command: %q", got)
	}
	a.want("NOOP", "* 1 EXPUNGE\nOK NOOP completed")
}

// TestGuestRemoves: EXPUNGE needs its right even where nothing is \Deleted
// (RFC 4314 §4), and a message that others expunged is not replaced (RFC 8508), in
// another account either.
func TestGuestRemoves(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann", "bob")
	a, b := w.login("ann"), w.login("bob")
	a.ok("CREATE Team")
	a.ok("SETACL Team bob@b.example lrs")
	b.ok(`SELECT "Other Users/ann@b.example/Team"`)
	b.want("EXPUNGE", "NO [NOPERM] Permission denied")
	a.ok("SETACL Team bob@b.example lrswite")
	a.append("Team", "Subject: x\r\n\r\nx")
	b.ok("NOOP")
	a.ok("SELECT Team")
	a.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	a.ok("EXPUNGE")
	const msg = "Subject: y\r\n\r\ny"
	if got := b.do("REPLACE 1 INBOX {%d+}\r\n%s", len(msg), msg); !strings.Contains(got, "NO [NONEXISTENT]") {
		t.Errorf("replace of what is gone: %q", got)
	}
	if got := b.ok("STATUS INBOX (MESSAGES)"); !strings.Contains(got, "MESSAGES 0") {
		t.Errorf("it was stored: %q", got)
	}
}

// TestFetchSetsSeenAgain: FETCH of a body sets \Seen of what another session has just
// made unread, though this one has not heard of it (RFC 9051 §6.4.5).
func TestFetchSetsSeenAgain(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	a, b := w.login("ann"), w.login("ann")
	a.append("INBOX", "Subject: x\r\n\r\nbody\r\n")
	for _, c := range []*client{a, b} {
		c.ok("SELECT INBOX")
	}
	a.ok(`STORE 1 +FLAGS (\Seen)`)
	b.ok("NOOP")
	a.ok(`STORE 1 -FLAGS.SILENT (\Seen)`)
	b.ok("FETCH 1 BODY[]")
	if s := a.ok("UID FETCH 1:* FLAGS") + a.ok("NOOP") + a.ok("FETCH 1 FLAGS"); !strings.Contains(s, `\Seen`) {
		t.Error("read, and still unread:", s)
	}
}

// TestRenameSelected: a mailbox that was renamed while it is selected stays selected
// when another one of its old name is deleted.
func TestRenameSelected(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	a, b := w.login("ann"), w.login("ann")
	a.ok("CREATE x/y")
	a.append("x/y", "Subject: x\r\n\r\nbody\r\n")
	a.ok("SELECT x/y")
	b.ok("RENAME x z")
	a.ok("CREATE x/y")
	a.ok("DELETE x/y")
	if s := a.ok("FETCH 1 RFC822.SIZE"); !strings.Contains(s, "RFC822.SIZE") {
		t.Error(s)
	}
	a.ok("DELETE z/y")
	if s := a.do("FETCH 1 FLAGS"); !strings.HasPrefix(s, "BAD") {
		t.Error("deleted and still selected:", s)
	}
}
