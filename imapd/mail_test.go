package imapd

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
)

const letter = "From: Ann <ann@b.example>\r\nSubject: Plans\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nGood\r\n  news.\r\n--b\r\nContent-Type: application/zip\r\n\r\nPK\r\n--b--\r\n"

// TestCatenate: parts of stored messages make a new one, octet for octet (RFC 4469).
func TestCatenate(t *testing.T) {
	w := newWorld(t, imap.Limits{Message: 4000}, "ann", "bob")
	c := w.login("ann")
	c.append("INBOX", letter)
	url := func(section string) string { return `URL "/INBOX/;UID=1` + section + `"` }
	header, _, _ := strings.Cut(letter, "--b\r\n")
	c.ok("APPEND Drafts (\\Draft) CATENATE (%s TEXT {5+}\r\n--b\r\n %s %s TEXT {9+}\r\n\r\n--b--\r\n)",
		url("/;SECTION=HEADER"), url("/;SECTION=2.MIME"), url("/;SECTION=2"))
	c.ok("APPEND Drafts CATENATE (%s %s %s)", url("/;SECTION=HEADER.FIELDS%20(Subject)"), url("/;SECTION=1/;PARTIAL=4.6"), url("/;PARTIAL=0.4"))
	c.ok("SELECT Drafts")
	want := header + "--b\r\nContent-Type: application/zip\r\n\r\nPK\r\n--b--\r\n"
	if got := c.ok("FETCH 1 (FLAGS BODY.PEEK[])"); !strings.Contains(got, strings.ReplaceAll(want, "\r\n", "\n")) || !strings.Contains(got, `\Draft`) {
		t.Errorf("catenated:\n%s", got)
	}
	want = "Subject: Plans\n\n\n  ne" + letter[:4]
	if got := c.ok("FETCH 2 BODY.PEEK[]"); !strings.Contains(got, want) {
		t.Errorf("catenated:\n%s", got)
	}
	c.ok("SELECT INBOX")
	if got := c.ok("FETCH 1 FLAGS"); strings.Contains(got, `\Seen`) {
		t.Error("CATENATE gave \\Seen: ", got)
	}
	for _, u := range []string{"/INBOX/;UID=2", "/INBOX;UIDVALIDITY=1/;UID=1", "/INBOX/;UID=1/;SECTION=3", "/None/;UID=1", "/INBOX/;UID=1/;SECTION=1.HEADER"} {
		if got := c.do(`APPEND INBOX CATENATE (URL "%s")`, u); !strings.HasPrefix(got, "NO [BADURL "+u+"] ") {
			t.Errorf("%s: %s", u, got)
		}
	}
	if got := c.do("APPEND INBOX CATENATE (%s)", strings.TrimSpace(strings.Repeat(url("")+" ", 4000/len(letter)+1))); !strings.HasPrefix(got, "NO [TOOBIG]") {
		t.Error(got)
	}
	// The quota holds though the size is not known before (IM13).
	if _, err := w.desk.opts.Directory.UpdateUser(context.Background(), w.address("bob"), func(u *directory.User) { u.Quota = 1500 }); err != nil {
		t.Fatal(err)
	}
	bob := w.login("bob")
	bob.append("INBOX", letter)
	for i := 0; ; i++ {
		got := bob.do("APPEND INBOX CATENATE (%s TEXT {600+}\r\n%s)", url(""), strings.Repeat("x", 600))
		if strings.HasPrefix(got, "NO [OVERQUOTA]") && i == 1 {
			break
		}
		if i > 0 || !strings.HasPrefix(got, "OK") {
			t.Fatalf("IM13: message %d: %s", i, got)
		}
	}
	if got := bob.ok("STATUS INBOX (MESSAGES SIZE)"); !strings.Contains(got, fmt.Sprintf("(MESSAGES 2 SIZE %d)", 2*len(letter)+600)) {
		t.Errorf("IM13: %s", got)
	}
}

// TestObjects: PREVIEW, SAVEDATE and object ids (RFC 8970, RFC 8514, RFC 8474).
func TestObjects(t *testing.T) {
	c := newWorld(t, imap.Limits{}, "ann").login("ann")
	c.append("INBOX", letter)
	c.append("INBOX", "Subject: Re: Plans\r\nContent-Type: text/plain\r\n\r\n"+strings.Repeat("much text ", 50_000))
	created := c.do("CREATE Work")
	id := regexp.MustCompile(`^OK \[MAILBOXID \((F[0-9a-f]+-[0-9a-f]+)\)\]`).FindStringSubmatch(created)
	if id == nil {
		t.Fatal(created)
	}
	c.ok("RENAME Work Job")
	if got := c.ok("STATUS Job (MAILBOXID)"); !strings.Contains(got, "(MAILBOXID ("+id[1]+"))") {
		t.Errorf("renamed: %s", got)
	}
	if got := c.ok("SELECT Job"); !strings.Contains(got, "* OK [MAILBOXID ("+id[1]+")]") {
		t.Errorf("SELECT: %s", got)
	}
	selected := c.ok("SELECT INBOX")
	if strings.Contains(selected, id[1]) || !strings.Contains(selected, "MAILBOXID") {
		t.Errorf("SELECT: %s", selected)
	}
	if got := c.ok("FETCH 1 PREVIEW"); got != "* 1 FETCH (PREVIEW \"Good news.\")\n" {
		t.Errorf("preview %q", got)
	}
	if got := c.ok("FETCH 1:2 (PREVIEW (LAZY))"); got != "* 1 FETCH (PREVIEW \"Good news.\")\n* 2 FETCH (PREVIEW NIL)\n" {
		t.Errorf("lazy previews %q", got)
	}
	if got := c.ok("FETCH 2 PREVIEW"); !strings.HasPrefix(got, "* 2 FETCH (PREVIEW \"much text much") || strings.Contains(got, `\Seen`) {
		t.Errorf("preview %q", got)
	}
	ids := regexp.MustCompile(`EMAILID \((M[0-9a-f-]+)\) THREADID \((T[0-9a-f-]+)\)`)
	before := ids.FindAllStringSubmatch(c.ok("FETCH 1:2 (EMAILID THREADID)"), -1)
	if len(before) != 2 || before[0][1] == before[1][1] {
		t.Fatalf("ids %q", before)
	}
	c.ok("COPY 1 Job")
	c.ok("SELECT Job")
	after := ids.FindStringSubmatch(c.ok("FETCH 1 (EMAILID THREADID)"))
	if after == nil || after[0] != before[0][0] {
		t.Errorf("the copy has %q, the original %q", after, before[0])
	}
	if got := c.ok("FETCH 1 SAVEDATE"); !regexp.MustCompile(`^\* 1 FETCH \(SAVEDATE "[ 0-3][0-9]-[A-Z][a-z]{2}-20\d\d \d\d:\d\d:\d\d [+-]\d{4}"\)\n$`).MatchString(got) {
		t.Errorf("save date %q", got)
	}
	c.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	if got := c.ok("STATUS Job (DELETED DELETED-STORAGE)"); !strings.Contains(got, fmt.Sprintf("(DELETED 1 DELETED-STORAGE %d)", len(letter))) {
		t.Errorf("deleted: %s", got)
	}
	if got := c.do(`CREATE Later (USE (\Snoozed))`); !strings.HasPrefix(got, "NO [USEATTR]") {
		t.Error(got)
	}
}
