package imapd

import (
	"context"
	"strings"
	"testing"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
)

// TestShared: bob uses a mailbox of ann's and one of a shared account (RFC 4314,
// RFC 2342); what he reads stays unread for ann.
func TestShared(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann", "bob", "carl")
	if _, err := w.desk.opts.Directory.AddUser(context.Background(), directory.NewUser{Address: w.address("sales"), Shared: true}); err != nil {
		t.Fatal(err)
	}
	ann, bob := w.login("ann"), w.login("bob")
	const folder = `"Other Users/ann@b.example/Projects/One"`
	ann.ok("CREATE Projects/One")
	ann.append("Projects/One", "Subject: first\r\n\r\nhello\r\n")
	ann.append("Projects/One", "Subject: second\r\n\r\nhello\r\n")
	missing := bob.do("SELECT %s", folder)
	if strings.Contains(bob.ok(`LIST "" "*"`), "Other Users") {
		t.Error("bob sees mailboxes of ann's before he may")
	}
	ann.ok("SETACL Projects/One bob@b.example lrsw")

	bob.want(`NAMESPACE`, "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) ((\"Shared/\" \"/\"))\nOK NAMESPACE completed")
	if list := bob.ok(`LIST "" "*"`); !strings.Contains(list, `"Other Users/ann@b.example/Projects/One"`) || strings.Contains(list, "Other Users/ann@b.example/INBOX") {
		t.Errorf("LIST:\n%s", list)
	}
	if s := bob.do("SELECT %s", folder); !strings.Contains(s, "* 2 EXISTS") || !strings.Contains(s, `PERMANENTFLAGS (\Seen \Answered \Flagged \Draft \*)`) || !strings.Contains(s, "OK [READ-WRITE]") {
		t.Errorf("SELECT:\n%s", s)
	}
	bob.ok(`STORE 1 +FLAGS (\Seen \Flagged)`)
	if s := bob.ok("STATUS %s (UNSEEN)", folder); !strings.Contains(s, "(UNSEEN 1)") {
		t.Error(s)
	}
	ann.ok("SELECT Projects/One")
	if s := ann.ok("FETCH 1:2 FLAGS"); !strings.Contains(s, `1 FETCH (FLAGS (\Flagged))`) {
		t.Errorf("ann sees %s", s)
	}
	for command, code := range map[string]string{
		`STORE 1 +FLAGS (\Deleted)`:          "NO [NOPERM]",
		`STORE 1 +FLAGS (\Deleted \Flagged)`: "OK", // what he may not is left out (RFC 4314 §4)
		"EXPUNGE":                            "NO [NOPERM]",
		"DELETE " + folder:                   "NO [NOPERM]",
		"APPEND " + folder + " {1+}\r\nx":    "NO [NOPERM]",
		"GETACL " + folder:                   "NO [NOPERM]",
		"CLOSE":                              "OK",
	} {
		bob.ok("SELECT %s", folder)
		s := bob.do("%s", command)
		if s = s[strings.LastIndexByte(s, '\n')+1:]; !strings.HasPrefix(s, code) {
			t.Errorf("%q: %s", command, s)
		}
	}
	if s := ann.ok("FETCH 1 FLAGS"); strings.Contains(s, "Deleted") {
		t.Error("bob marked for deletion without the right:", s)
	}
	ann.ok("SETACL Projects/One bob@b.example lrw") // a body is read without the right s
	bob.ok("SELECT %s", folder)
	if s := bob.ok("FETCH 2 (FLAGS BODY[])"); !strings.Contains(s, "second") || strings.Contains(s, "Seen") {
		t.Errorf("without s: %s", s)
	}
	ann.ok("SETACL Projects/One bob@b.example lrsw")
	// Copying out of it and back into it.
	bob.ok("SELECT %s", folder)
	bob.ok("COPY 1:2 Archive")
	if s := bob.ok("STATUS Archive (MESSAGES UNSEEN)"); !strings.Contains(s, "MESSAGES 2 UNSEEN 1") {
		t.Error(s)
	}
	ann.ok("SETACL Projects/One bob@b.example +ite")
	bob.ok("SELECT Archive")
	bob.ok("MOVE 2 %s", folder)
	if s := bob.ok("STATUS Archive (MESSAGES)"); !strings.Contains(s, "MESSAGES 1") {
		t.Error(s)
	}
	if s := ann.ok("STATUS Projects/One (MESSAGES)"); !strings.Contains(s, "MESSAGES 3") {
		t.Error(s)
	}
	// Subscriptions are bob's.
	bob.ok("SUBSCRIBE %s", folder)
	if s := bob.ok(`LIST (SUBSCRIBED) "" "Other Users/*"`); !strings.Contains(s, "Projects/One") {
		t.Error(s)
	}
	// Revoked (AU8): as if it never had been.
	bob.ok("SELECT %s", folder)
	ann.ok("DELETEACL Projects/One bob@b.example")
	if s := bob.do("SELECT %s", folder); s[strings.LastIndexByte(s, '\n')+1:] != missing {
		t.Errorf("after revocation %q, before %q", s, missing)
	}
	if s := bob.do("SELECT \"Other Users/nobody@b.example/INBOX\""); s != missing {
		t.Errorf("no such account: %q, no right: %q", s, missing)
	}
}

// TestSharedAccount: an account that is nobody's, and a right of everybody in the
// domain.
func TestSharedAccount(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann", "bob")
	u, err := w.desk.opts.Directory.AddUser(context.Background(), directory.NewUser{Address: w.address("sales"), Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	w.give(t, u, "INBOX", "anyone", "lrswite")
	ann, bob := w.login("ann"), w.login("bob")
	const inbox = `"Shared/sales@b.example/INBOX"`
	ann.append(inbox, "Subject: an order\r\n\r\nten\r\n")
	for _, c := range []*client{ann, bob} {
		if s := c.ok("STATUS %s (MESSAGES UNSEEN)", inbox); !strings.Contains(s, "MESSAGES 1 UNSEEN 1") {
			t.Error(s)
		}
		c.ok("SELECT %s", inbox)
		c.ok("FETCH 1 BODY[]")
		if s := c.ok("STATUS %s (UNSEEN)", inbox); !strings.Contains(s, "UNSEEN 0") {
			t.Error(s)
		}
	}
	if s := ann.do("SELECT \"Other Users/sales@b.example/INBOX\""); !strings.Contains(s, "NONEXISTENT") {
		t.Error("a shared account is no other user's:", s)
	}
}
