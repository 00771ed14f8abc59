package imap

import (
	"strings"
	"testing"
)

// mails of several shapes.
var mails = []string{
	"From: a@b.example\r\nTo: c@b.example\r\nSubject: one\r\nDate: Sat, 3 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@b.example>\r\n\r\nplain text\r\n",
	"From: =?utf-8?q?Z=C3=BC?= <z@b.example>\r\nTo: x@b.example, group: y@b.example, \"q \\\" q\"@b.example;\r\nSubject: =?utf-8?b?w7zDtsOk?=\r\n" +
		"In-Reply-To: <1@b.example>\r\nReferences: <1@b.example>\r\nMessage-ID: <2@b.example>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"b b\"\r\n\r\npreamble\r\n--b b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"=C3=BCber\r\n--b b\r\nContent-Type: message/rfc822\r\n\r\nFrom: i@b.example\r\nSubject: inner\r\n\r\nin\r\n" +
		"--b b\r\nContent-Type: application/octet-stream; name=\"x.bin\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=x.bin\r\nContent-Language: de, en\r\n\r\nAAEC\r\n--b b--\r\n",
	"\r\nno header\r\n",
	"Subject: 8 bit \xc3\xbc\r\nContent-Type: text/html\r\n\r\n<b>\xff\xfe</b>\r\n",
	"From: broken <<\r\nTo: ,,;\r\nDate: never\r\nContent-Type: multipart/mixed\r\n\r\nno boundary",
}

// TestDialogue runs every item of FETCH, forms of SEARCH and the other commands
// through the strict client, for each kind of session.
func TestDialogue(t *testing.T) {
	for name, enable := range map[string][]string{
		"rev1": nil, "rev2": {"IMAP4rev2"}, "condstore": {"CONDSTORE"}, "qresync": {"IMAP4rev2", "QRESYNC"},
		"uidonly": {"IMAP4rev2", "UIDONLY"}, "utf8": {"UTF8=ACCEPT"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, settings{users: []string{"anna", "bert"}})
			guard(t, func() { dialogue(connect(name, w.dial()).login("anna", enable...)) })
		})
	}
	t.Run("tls", func(t *testing.T) {
		w := newWorld(t, settings{users: []string{"anna", "bert"}, tls: true})
		guard(t, func() {
			c := connect("tls", w.dial())
			c.startTLS()
			dialogue(c.login("anna", "IMAP4rev2"))
		})
	})
}

func dialogue(c *client) {
	if c.caps["COMPRESS=DEFLATE"] && c.rev2 {
		c.compress()
	}
	charset := " CHARSET UTF-8"
	if c.utf8 { // RFC 9755 §3
		charset = ""
	}
	uid := ""
	if c.uidonly {
		uid = "UID "
	}
	for i, m := range mails {
		c.mustf("APPEND INBOX (\\Seen $Forwarded kw%d) \"01-Jan-2026 0%d:00:00 +0100\" %s", i, i, literal(m))
	}
	c.must("APPEND INBOX () ~" + literal("Subject: binary\r\nContent-Transfer-Encoding: binary\r\n\r\n\x02\x03\xff"))
	c.mustf("APPEND INBOX (\\Flagged) %s (\\Draft) \" 1-Feb-2026 00:00:00 -0330\" %s", literal(mails[0]), literal(mails[1]))
	r := c.must("SELECT INBOX")
	if c.box.name != "" && c.box.name != "INBOX" {
		c.fail("name %q", c.box.name)
	}
	for _, item := range []string{
		"ALL", "FAST", "FULL", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE UID)", "(MODSEQ)", "(EMAILID THREADID SAVEDATE PREVIEW)",
		"(PREVIEW (LAZY))", "BODY.PEEK[]", "BODY.PEEK[]<3.5>", "BODY.PEEK[HEADER]", "BODY.PEEK[HEADER.FIELDS (SUBJECT \"X y\")]",
		"BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]<0.100>", "BODY.PEEK[TEXT]", "BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[2.HEADER]", "BODY.PEEK[2.1]",
		"BODY.PEEK[9.9]", "BINARY.PEEK[1]", "BINARY.SIZE[1]", "BINARY.PEEK[3]<1.2>", "BINARY.SIZE[3]", "BODY[]", "BINARY[1]",
	} {
		c.mustf("%sFETCH 1:* %s", uid, item)
	}
	if !c.rev2 {
		c.mustf("%sFETCH 1:* (RFC822 RFC822.HEADER RFC822.TEXT)", uid)
	}
	for _, key := range []string{
		"ALL", "SEEN UNFLAGGED", "OR SUBJECT one BODY plain", "NOT KEYWORD kw1", "SINCE 1-Jan-2026 BEFORE \"2-Mar-2026\"", "SENTON 3-Jan-2026", "LARGER 10 SMALLER 10000",
		"UID 1:*", "TEXT zzzz", "HEADER Message-ID \"\"", "FROM b.example TO c", "MODSEQ 1", "YOUNGER 100", "OLDER 100", "SAVEDBEFORE 1-Jan-2020", "SAVEDATESUPPORTED", "FUZZY SUBJECT one", "(ALL (SEEN))",
	} {
		if strings.HasPrefix(key, "FUZZY") && !c.caps["SEARCH=FUZZY"] {
			continue
		}
		c.mustf("%sSEARCH %s", uid, key)
		c.mustf("%sSEARCH RETURN (MIN MAX COUNT ALL)%s %s", uid, charset, key)
		c.mustf("%sSEARCH RETURN () %s", uid, key)
		c.mustf("UID SEARCH RETURN (SAVE) %s", key)
		c.mustf("UID SEARCH RETURN (PARTIAL 1:2 COUNT) %s", key)
		c.mustf("UID SEARCH RETURN (PARTIAL -1:-2) %s", key)
		c.mustf("%sFETCH $ (FLAGS)", "UID ")
		c.mustf("%sSORT (REVERSE DATE SUBJECT FROM ARRIVAL SIZE CC TO DISPLAYFROM DISPLAYTO) UTF-8 %s", uid, key)
		c.mustf("%sSORT RETURN (COUNT MIN MAX PARTIAL 1:1) (ARRIVAL) UTF-8 %s", uid, key)
		for _, alg := range []string{"REFERENCES", "ORDEREDSUBJECT", "REFS"} {
			c.mustf("%sTHREAD %s UTF-8 %s", uid, alg, key)
		}
	}
	for _, cmd := range []string{
		"STORE 1:2 +FLAGS (\\Flagged $Important)", "STORE 1:* -FLAGS.SILENT (\\Seen)", "STORE 1 FLAGS (\\Deleted)",
		"STORE 1:* (UNCHANGEDSINCE 1) +FLAGS (\\Answered)", "STORE 3 (UNCHANGEDSINCE 100000) +FLAGS (\\Answered)",
		"COPY 2:3 Other", "MOVE 2:3 Other", "EXPUNGE",
	} {
		if strings.HasPrefix(cmd, "COPY") {
			if r := c.do(uid + cmd); r.code != "TRYCREATE" {
				c.fail("no TRYCREATE")
			}
			c.must("CREATE Other")
		}
		switch {
		case cmd == "EXPUNGE":
			c.must(cmd)
		default:
			c.must(uid + cmd)
		}
	}
	c.must("SELECT INBOX (CONDSTORE)")
	c.mustf("%sFETCH 1:* (FLAGS) (CHANGEDSINCE 1)", uid)
	if c.qresync {
		c.must("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)")
		c.mustf("SELECT INBOX (QRESYNC (%d 1))", c.box.validity)
		c.mustf("SELECT INBOX (QRESYNC (%d 1 1:10 (1 3)))", c.box.validity)
	}
	for _, cmd := range []string{
		`LIST "" "*"`, `LIST "" ""`, `LIST (SUBSCRIBED RECURSIVEMATCH) "" "*" RETURN (CHILDREN SPECIAL-USE STATUS (MESSAGES UNSEEN UIDNEXT SIZE HIGHESTMODSEQ MAILBOXID DELETED))`,
		`LIST (SPECIAL-USE) "" ("%" "Other") RETURN (SUBSCRIBED MYRIGHTS)`, `LSUB "" "*"`, `LIST "" * RETURN (METADATA (/private/comment))`,
		`STATUS Other (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE DELETED HIGHESTMODSEQ MAILBOXID APPENDLIMIT)`,
		"NAMESPACE", `ID ("name" "x")`, "ID NIL", "GETACL INBOX", "MYRIGHTS INBOX", "LISTRIGHTS INBOX bert@b.example", "SETACL Other bert@b.example lrs", "GETACL Other",
		"DELETEACL Other bert@b.example", "GETQUOTA \"\"", "GETQUOTAROOT INBOX", `SETMETADATA Other (/private/comment "x" /shared/comment {3+}` + "\r\n" + `a"b)`,
		"GETMETADATA (DEPTH infinity) Other (/private /shared)", `GETMETADATA "" /shared/admin`, "LANGUAGE", "LANGUAGE it", "LANGUAGE i-default", "COMPARATOR", "UIDBATCHES 500",
		"CREATE a/b/c (USE (\\Important))", "RENAME a/b A", "SUBSCRIBE A/c", "UNSUBSCRIBE A/c", "DELETE A/c", "CREATE &AOk-", "LIST \"\" *", "ENABLE CONDSTORE",
		"CHECK", "NOOP", "ESEARCH IN (personal) RETURN (COUNT) ALL", "ESEARCH IN (mailboxes (Other INBOX) subtree A) ALL",
	} {
		if strings.HasPrefix(cmd, "LSUB") && c.rev2 || strings.HasPrefix(cmd, "CREATE &") && (c.rev2 || c.utf8) || strings.HasPrefix(cmd, "GETQUOTA") {
			c.do(cmd)
			continue
		}
		if strings.HasPrefix(cmd, "UIDBATCHES") && c.do(cmd).kind != "BAD" {
			continue
		}
		c.must(cmd)
	}
	c.mustf("%sREPLACE * INBOX %s", uid, literal(mails[2]))
	c.mustf("APPEND INBOX CATENATE (URL \"/INBOX;UIDVALIDITY=%d/;UID=%d/;SECTION=HEADER\" TEXT %s)", c.box.validity, 4, literal("more\r\n"))
	c.idle(nil)
	c.resolve()
	_ = r
	for _, bad := range []string{"FETCH 999 FLAGS", "FETCH 0 FLAGS", "SELECT nowhere"} {
		if c.do(uid+bad).ok() && uid == "" {
			c.fail("%s works", bad)
		}
	}
	c.over = true
	c.must("LOGOUT")
}
