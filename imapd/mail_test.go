package imapd

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
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
	for _, use := range []string{`\Snoozed`, `\Archive`} { // unknown, taken (RFC 6154 §3)
		if got := c.do(`CREATE Later (USE (%s))`, use); !strings.HasPrefix(got, "NO [USEATTR]") {
			t.Error(got)
		}
	}
}

// TestRights: ACL commands on the real store (RFC 4314 §3).
func TestRights(t *testing.T) {
	w := newWorld(t, imap.Limits{Errors: 100}, "ann", "bob", "eve")
	c := w.login("ann")
	c.want("MYRIGHTS Sent", "* MYRIGHTS \"Sent\" lrswipkxteacd\nOK MYRIGHTS completed")
	c.ok("SETACL Sent bob lrsd")
	c.ok("SETACL Sent Bob@B.example +i")
	c.ok("SETACL Sent anyone lr")
	c.ok("SETACL Sent -eve@b.example l")
	acl := c.ok("GETACL Sent")
	for _, want := range []string{`* ACL "Sent" ann@b.example lrswipkxteacd `, " bob@b.example lrsited", " anyone lr", " -eve@b.example l"} {
		if !strings.Contains(acl, want) {
			t.Errorf("%q is not in %q", want, acl)
		}
	}
	bob := mailbox.Viewer{Account: w.account("bob"), Domain: "b.example"}
	a, err := w.desk.opts.Mailboxes.AccountFor(context.Background(), w.account("ann"), bob)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if infos := a.Mailboxes(); len(infos) != 1 || infos[0].Name != "Sent" || a.Rights(infos[0].ID).String() != "lrsite" {
		t.Errorf("AU8: bob sees %+v", infos)
	}
	c.ok("DELETEACL Sent -eve")
	c.ok("DELETEACL Sent anyone")
	c.ok("SETACL Sent bob -lrsited")
	c.want("GETACL Sent", "* ACL \"Sent\" ann@b.example lrswipkxteacd\nOK GETACL completed")
	c.want("LISTRIGHTS Sent eve", "* LISTRIGHTS \"Sent\" eve \"\" l r s w i p k x t e a c d\nOK LISTRIGHTS completed")
	c.want("LISTRIGHTS Sent owner", "* LISTRIGHTS \"Sent\" owner lrswipkxteacd\nOK LISTRIGHTS completed")
	for command, want := range map[string]string{
		"SETACL Sent nobody l":              "NO [CANNOT]",
		"SETACL Sent x@elsewhere.example l": "NO [CANNOT]",
		"SETACL Sent \"a b@c@d\" l":         "NO [CANNOT]",
		"SETACL Sent ann l":                 "NO [CANNOT]",
		"SETACL Sent owner l":               "NO [CANNOT]",
		"SETACL Nowhere bob l":              "NO [NONEXISTENT]",
		"LIST \"\" Sent RETURN (MYRIGHTS)":  "* LIST",
	} {
		if got := c.do("%s", command); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", command, got)
		}
	}
}

// TestQuota: users see theirs, administrators set them (RFC 9208 §4).
func TestQuota(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann", "bob")
	if _, err := w.desk.opts.Directory.UpdateUser(context.Background(), w.address("ann"), func(u *directory.User) { u.Role = directory.RoleAdmin }); err != nil {
		t.Fatal(err)
	}
	ann, bob := w.login("ann"), w.login("bob")
	bob.append("INBOX", letter)
	bob.want("GETQUOTAROOT INBOX", "* QUOTAROOT \"INBOX\" bob@b.example\n* QUOTA bob@b.example ()\nOK GETQUOTAROOT completed")
	ann.want("SETQUOTA bob@b.example (STORAGE 10 MESSAGE 2 MAILBOX 9)",
		"* QUOTA bob@b.example (STORAGE 1 10 MESSAGE 1 2 MAILBOX 6 9)\nOK SETQUOTA completed")
	bob.want(`GETQUOTA ""`, "* QUOTA \"\" (STORAGE 1 10 MESSAGE 1 2 MAILBOX 6 9)\nOK GETQUOTA completed")
	bob.append("INBOX", letter)
	for command, want := range map[string]string{
		"APPEND INBOX {3+}\r\nabc":           "NO [OVERQUOTA]",
		"GETQUOTA ann@b.example":             "NO [NONEXISTENT]",
		"GETQUOTA x":                         "NO [NONEXISTENT]",
		"SETQUOTA bob@b.example ()":          "NO [NOPERM]",
		"SETQUOTA ann@b.example (STORAGE 1)": "NO [NONEXISTENT]",
		"CREATE a/b/c/d":                     "NO [OVERQUOTA]",
		"GETQUOTAROOT New":                   "* QUOTAROOT \"New\" bob@b.example",
	} {
		if got := bob.do("%s", command); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", command, got)
		}
	}
	for command, want := range map[string]string{
		"SETQUOTA bob@b.example (STORAGE 0)": "NO [CANNOT]",
		"SETQUOTA bob@b.example (X-OTHER 1)": "NO [CANNOT]",
		"SETQUOTA nobody@b.example ()":       "NO [NONEXISTENT]",
		"SETQUOTA bob@b.example (MESSAGE 3)": "* QUOTA bob@b.example (MESSAGE 2 3)",
		"SETQUOTA bob@b.example ()":          "* QUOTA bob@b.example ()",
	} {
		if got := ann.do("%s", command); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", command, got)
		}
	}
}

// TestReplace: one step, and the quota counts only the difference (RFC 8508 §3.4).
func TestReplace(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	c := w.login("ann")
	c.append("Drafts", letter)
	c.append("Drafts", letter)
	if _, err := w.desk.opts.Directory.UpdateUser(context.Background(), w.address("ann"), func(u *directory.User) { u.MaxMessages, u.Quota = 2, int64(2*len(letter))+10 }); err != nil {
		t.Fatal(err)
	}
	c.ok("SELECT Drafts")
	put := func(command, msg string) string { return c.do("%s {%d+}\r\n%s", command, len(msg), msg) }
	got := put("REPLACE 1 Drafts (\\Draft)", letter+"more")
	if !regexp.MustCompile(`^\* OK \[APPENDUID \d+ 3\] [^\n]+\n\* 1 EXPUNGE\n\* 2 EXISTS\n(\* FLAGS[^\n]*\n|\* OK \[PERM[^\n]*\n)*OK REPLACE`).MatchString(got) {
		t.Errorf("REPLACE: %q", got)
	}
	if got := put("UID REPLACE 3 Drafts", letter+"more than there is room for"); !strings.HasPrefix(got, "NO [OVERQUOTA]") {
		t.Errorf("REPLACE: %q", got)
	}
	if got := put("UID REPLACE 1 Drafts", letter); !strings.HasPrefix(got, "NO [NONEXISTENT]") {
		t.Errorf("REPLACE: %q", got)
	}
	if got := put("UID REPLACE 3 Sent", letter); !strings.Contains(got, "* 1 EXISTS") && !strings.Contains(got, "* 2 EXPUNGE") {
		t.Errorf("REPLACE: %q", got)
	}
	if got := c.ok("UID FETCH 1:* UID") + c.ok("STATUS Sent (MESSAGES)"); got != "* 1 FETCH (UID 2)\n* STATUS \"Sent\" (MESSAGES 1)\n" {
		t.Errorf("after all: %q", got)
	}
	// Gone meanwhile: nothing is stored.
	d := w.login("ann")
	d.ok("SELECT Drafts")
	d.ok(`STORE 1 +FLAGS (\Deleted)`)
	d.ok("EXPUNGE")
	if got := put("REPLACE 1 Drafts", letter); !strings.Contains(got, "NO [NONEXISTENT]") {
		t.Errorf("REPLACE: %q", got)
	}
	if got := d.ok("STATUS Drafts (MESSAGES)"); !strings.Contains(got, "MESSAGES 0") {
		t.Error(got)
	}
}

// TestMetadata: RFC 5464 on the real store.
func TestMetadata(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	c := w.login("ann")
	if err := w.desk.opts.Mailboxes.SetServerMetadata(context.Background(), []mailbox.Annotation{{Name: "/shared/admin", Value: []byte("mailto:root@b.example")}}); err != nil {
		t.Fatal(err)
	}
	c.want(`GETMETADATA "" (/shared/admin /shared/comment)`, "* METADATA \"\" (/shared/admin \"mailto:root@b.example\" /shared/comment NIL)\nOK GETMETADATA completed")
	c.ok(`SETMETADATA "" (/private/vendor/x/y "mine")`)
	c.want(`GETMETADATA "" (DEPTH infinity) /private`, "* METADATA \"\" (/private/vendor/x/y \"mine\" /private NIL)\nOK GETMETADATA completed")
	c.ok(`SETMETADATA Sent (/private/comment "a" /shared/comment "b" /shared/vendor/a/b/c "d")`)
	c.want("GETMETADATA Sent (DEPTH 1) /shared/vendor/a", "* METADATA \"Sent\" (/shared/vendor/a NIL)\nOK GETMETADATA completed")
	c.want("GETMETADATA Sent (DEPTH 2) /shared", "BAD Wrong depth")
	c.want("GETMETADATA Sent (DEPTH 1) (/shared /private)", "* METADATA \"Sent\" (/private/comment \"a\" /shared/comment \"b\" /shared NIL /private NIL)\nOK GETMETADATA completed")
	c.ok("SETMETADATA Sent (/private/comment NIL)")
	c.want(`LIST "" Sent RETURN (METADATA (/private/comment /shared/comment))`,
		"* LIST (\\Sent \\HasNoChildren) \"/\" \"Sent\"\n* METADATA \"Sent\" (/shared/comment \"b\" /private/comment NIL)\nOK LIST completed")
	for i := range 99 { // with two there are 101
		if got := c.do(`SETMETADATA Sent (/shared/vendor/x/%d "x")`, i); i == 98 && !strings.HasPrefix(got, "NO [METADATA TOOMANY]") {
			t.Errorf("entry %d: %s", i, got)
		}
	}
	big := strings.Repeat("x", maxAnnotation+1)
	if got := c.do("SETMETADATA INBOX (/private/comment {%d+}\r\n%s)", len(big), big); !strings.HasPrefix(got, "NO [METADATA MAXSIZE 65536]") {
		t.Error(got)
	}
	for command, want := range map[string]string{
		`SETMETADATA "" (/shared/admin "x")`:   "NO [NOPERM]",
		`SETMETADATA None (/shared/admin "x")`: "NO [NONEXISTENT]",
		"GETMETADATA None /shared/comment":     "NO [NONEXISTENT]",
	} {
		if got := c.do("%s", command); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", command, got)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, x := range []struct {
		entry string
		depth int
		want  bool
	}{
		{"/a", 0, true}, {"/a/b", 0, false}, {"/a/b", 1, true}, {"/a/b/c", 1, false}, {"/a/b/c", -1, true}, {"/ab", -1, false}, {"/b", -1, false},
	} {
		if got := within(x.entry, []string{"/a"}, x.depth); got != x.want {
			t.Errorf("%s, depth %d: %v", x.entry, x.depth, got)
		}
	}
}

// TestSearchObjects: SEARCH by what SAVEDATE and OBJECTID show (RFC 8514 §4.3, RFC 8474 §6).
func TestSearchObjects(t *testing.T) {
	c := newWorld(t, imap.Limits{}, "ann").login("ann")
	c.append("INBOX", letter)
	c.append("INBOX", "Subject: other\r\n\r\nx")
	c.ok("SELECT INBOX")
	ids := regexp.MustCompile(`EMAILID \(([^)]+)\) THREADID \(([^)]+)\)`).FindStringSubmatch(c.ok("FETCH 2 (EMAILID THREADID)"))
	if ids == nil {
		t.Fatal("no ids")
	}
	for key, want := range map[string]string{
		"EMAILID " + ids[1]:      " 2",
		"THREADID " + ids[2]:     " 2",
		"EMAILID " + ids[2]:      "",
		"THREADID x":             "",
		"SAVEDSINCE 1-Jan-2020":  " 1 2",
		"SAVEDBEFORE 1-Jan-2020": "",
		"NOT SAVEDON 1-Jan-2020": " 1 2",
		"SAVEDATESUPPORTED":      " 1 2",
	} {
		if got := c.ok("SEARCH %s", key); got != "* SEARCH"+want+"\n" {
			t.Errorf("%s: %q", key, got)
		}
	}
	if got := c.ok("CAPABILITY"); !strings.Contains(got, " SAVEDATE OBJECTID ") {
		t.Error(got)
	}
}
