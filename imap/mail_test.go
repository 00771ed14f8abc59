package imap

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// TestCatenate: RFC 4469 appendix A, with parts from the client and from URLs.
func TestCatenate(t *testing.T) {
	store := newMemStore("Drafts")
	store.put("Drafts", mail1, Seen)
	_, connect := start(t, store, nil)
	c := login(t, connect)
	header, body, _ := strings.Cut(mail1, "\r\n\r\n")
	c.play(`
		C: a APPEND Drafts (\Draft $x) CATENATE (URL "/Drafts;UIDVALIDITY=102/;UID=1/;section=HEADER" TEXT {5}
		S: + Ready
		C: one
		C:  URL /Drafts/;UID=1/;SECTION=TEXT TEXT {5+}
		C: two
		C: )
		S: a OK [APPENDUID 102 2] APPEND completed
		C: b APPEND Drafts CATENATE (URL "/drafts/;UID=1/;SECTION=TEXT")
		S: b NO [BADURL /drafts/;UID=1/;SECTION=TEXT] No message or part of one there
		C: c APPEND Drafts CATENATE (TEXT {3+}
		C: abc URL "/Drafts/;UID=1/;PARTIAL=0.5") {3+}
		C: xyz
		S: c OK [APPENDUID 102 3:4] APPEND completed`)
	got := store.boxes["Drafts"].msgs
	if want := header + "\r\n\r\none\r\n" + body + "two\r\n"; string(got[1].body) != want || got[1].flags != Draft {
		t.Errorf("catenated: %q\nwant %q", got[1].body, want)
	}
	if want := "abc" + mail1[:5]; string(got[2].body) != want {
		t.Errorf("partial URL: %q", got[2].body)
	}
	if len(got) != 4 {
		t.Errorf("%d messages", len(got))
	}
}

// TestCatenateErrors: nothing is stored of a message whose parts are not all there,
// and what the client sent besides is not taken for commands.
func TestCatenateErrors(t *testing.T) {
	store := newMemStore("Drafts")
	store.put("INBOX", mail1, 0)
	_, connect := start(t, store, func(o *Options) { o.Limits = Limits{Message: 1000, URL: 100, Errors: 100} })
	c := login(t, connect)
	size := len(mail1)
	for _, x := range []struct{ in, want string }{
		{`a APPEND Drafts CATENATE (URL "/INBOX/;UID=9" TEXT {3+}` + "\r\nabc)", "a NO [BADURL /INBOX/;UID=9] "},
		{`a APPEND Drafts CATENATE (URL "imap://h/INBOX/;UID=1")`, "a NO [BADURL imap://h/INBOX/;UID=1] "},
		{`a APPEND Drafts CATENATE (URL INBOX/;UID=1)`, "a NO [BADURL INBOX/;UID=1] "},
		{`a APPEND Drafts CATENATE (URL "/INBOX/;UID=1;UIDVALIDITY=9")`, "a NO [BADURL "},
		{"a APPEND Drafts CATENATE (URL {6+}\r\n/a]b\n\\)", "a NO [BADURL /a%5Db%0A%5C] "},
		{"a APPEND Drafts CATENATE (TEXT {3+}\r\nabc URL \"/INBOX;UIDVALIDITY=7/;UID=1\")", "a NO [BADURL "},
		{`a APPEND Drafts CATENATE (TEXT {1001}`, "a NO [TOOBIG] "},
		{`a APPEND Drafts CATENATE (URL "/INBOX/;UID=1" TEXT {` + fmt.Sprint(1001-size) + "}", "a NO [TOOBIG] "},
		{`a APPEND Drafts CATENATE (` + strings.Repeat(`URL "/INBOX/;UID=1" `, 1000/size) + `URL "/INBOX/;UID=1")`, "a NO [TOOBIG] "},
		{`a APPEND Drafts CATENATE (URL "` + strings.Repeat("x", 101) + `")`, "a BAD "},
		{`a APPEND Drafts CATENATE ()`, "a NO [CANNOT] "},
		{"a APPEND Drafts CATENATE (TEXT {0+}\r\n)", "a NO [CANNOT] "},
		{`a APPEND Drafts CATENATE (FILE "x")`, "a BAD "},
		{`a APPEND Drafts CATENATE`, "a BAD "},
		{`a APPEND Nowhere CATENATE (URL "/INBOX/;UID=1")`, "a NO [TRYCREATE] "},
	} {
		c.send(x.in + "\r\n")
		got := c.line()
		for strings.HasPrefix(got, "+ ") {
			got = c.line()
		}
		if !strings.HasPrefix(got, x.want) {
			t.Errorf("%q\ngot  %q\nwant %q", x.in, got, x.want)
		}
	}
	if n := len(store.boxes["Drafts"].msgs); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
	c.send("b APPEND Drafts CATENATE (TEXT {3+}\r\nabc TEXT {1000+}\r\n") // IM2
	for l := c.line(); l != ""; l = c.line() {
		if !strings.HasPrefix(l, "* BYE [TOOBIG] ") {
			t.Errorf("IM2: %q", l)
		}
	}
}

// TestReplace: RFC 8508 §3.2 and §4.3.
func TestReplace(t *testing.T) {
	store := newMemStore("Drafts")
	store.put("INBOX", mail1, 0)
	store.put("INBOX", mail1, 0)
	store.put("INBOX", mail1, 0)
	_, connect := start(t, store, nil)
	c := login(t, connect)
	c.play(`
		C: a REPLACE 1 INBOX {3+}
		C: abc
		S: a BAD Select a mailbox first`)
	c.do("SELECT INBOX")
	c.play(`
		C: a REPLACE 1 INBOX (\Draft) {3+}
		C: abc
		S: * OK [APPENDUID 101 4] Replacement message ready
		S: * 1 EXPUNGE
		S: * 3 EXISTS
		S: a OK REPLACE completed
		C: b UID REPLACE 2 Drafts CATENATE (URL "/INBOX/;UID=2" TEXT {3}
		S: + Ready
		C: xyz)
		S: * OK [APPENDUID 102 1] Replacement message ready
		S: * 1 EXPUNGE
		S: b OK UID REPLACE completed
		C: c REPLACE 9 INBOX {3+}
		C: abc
		S: c BAD No such message
		C: d REPLACE 1:2 INBOX {3+}
		C: abc
		S: d BAD Expected the number of one message
		C: e UID REPLACE 1 INBOX {3+}
		C: abc
		S: e NO [NONEXISTENT] No such message
		C: f REPLACE 1 Nowhere {3+}
		C: abc
		S: f NO [TRYCREATE] No such mailbox, create it first
		C: g REPLACE $ INBOX {3+}
		C: abc
		S: g BAD Expected the number of one message
		C: h REPLACE 1 INBOX {3+}
		C: abc {3+}
		C: def
		S: h BAD Unexpected text after the command`)
	c.do("EXAMINE INBOX")
	c.play(`
		C: i REPLACE 1 INBOX {3+}
		C: abc
		S: i NO [READ-ONLY] The mailbox is selected read-only`)
	if got := store.boxes["Drafts"].msgs; len(got) != 1 || string(got[0].body) != mail1+"xyz" {
		t.Errorf("%d messages, the first is %q", len(got), got[0].body)
	}
}

// TestAppendForms: literal8 (RFC 3516 §4.4), the item of RFC 6855 and APPENDLIMIT (RFC 7889).
func TestAppendForms(t *testing.T) {
	store := newMemStore()
	_, connect := start(t, store, func(o *Options) { o.Limits.Message = 257890 })
	c := login(t, connect)
	if l := c.do("CAPABILITY")[0]; !strings.Contains(l+" ", " APPENDLIMIT=257890 ") {
		t.Errorf("capabilities %q", l)
	}
	c.send("a APPEND INBOX (\\Seen) ~{5+}\r\na\x00b\r\n\r\n")
	c.play(`
		S: a OK [APPENDUID 101 1] APPEND completed
		C: u APPEND INBOX UTF8 (~{5+}
		C: cdefg)
		S: u BAD Enable UTF8=ACCEPT first
		C: v ENABLE UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: v OK ENABLE completed
		C: b APPEND INBOX UTF8 (~{5+}
		C: cdefg) UTF8 (~{3}
		S: + Ready
		C: hij)
		S: b OK [APPENDUID 101 2:3] APPEND completed
		C: c APPEND INBOX UTF8 ({3}
		S: c BAD Expected a literal8
		C: d APPEND INBOX UTF8 (~{5+}
		C: cdefg
		S: d BAD Expected ')'
		C: e STATUS INBOX (APPENDLIMIT MESSAGES)
		S: * STATUS "INBOX" (MESSAGES 3 APPENDLIMIT 257890)
		S: e OK STATUS completed
		C: f STATUS Nowhere (APPENDLIMIT)
		S: f NO [NONEXISTENT] No such mailbox
		C: g LIST "" INBOX RETURN (STATUS (APPENDLIMIT))
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: * STATUS "INBOX" (APPENDLIMIT 257890)
		S: g OK LIST completed
		C: h APPEND INBOX {257891}
		S: h NO [TOOBIG] Message too large`)
	if got := string(store.boxes["INBOX"].msgs[0].body); got != "a\x00b\r\n" {
		t.Errorf("literal8 stored as %q", got)
	}
}

// TestACL: RFC 4314 §3.
func TestACL(t *testing.T) {
	_, connect := start(t, newMemStore("Archive/x y"), func(o *Options) { o.Limits.Errors = 100 })
	c := login(t, connect)
	c.play(`
		C: a GETACL INBOX
		S: * ACL "INBOX"
		S: a OK GETACL completed
		C: b SETACL INBOX david lrswida
		S: b OK SETACL completed
		C: c SETACL INBOX byron lrswikda
		S: c OK SETACL completed
		C: d SETACL INBOX "-with space" r
		S: d OK SETACL completed
		C: e GETACL INBOX
		S: * ACL "INBOX" "-with space" r byron lrswikteacd david lrswitead
		S: e OK GETACL completed
		C: f SETACL INBOX byron -lrswiacd
		S: f OK SETACL completed
		C: g SETACL INBOX david "+k"
		S: g OK SETACL completed
		C: h GETACL INBOX
		S: * ACL "INBOX" "-with space" r david lrswikteacd
		S: h OK GETACL completed
		C: i DELETEACL INBOX "-with space"
		S: i OK DELETEACL completed
		C: j MYRIGHTS "Archive/x y"
		S: * MYRIGHTS "Archive/x y" lrswipkxteacd
		S: j OK MYRIGHTS completed
		C: k LISTRIGHTS INBOX david
		S: * LISTRIGHTS "INBOX" david l r swted k x c
		S: k OK LISTRIGHTS completed
		C: l LISTRIGHTS INBOX owner
		S: * LISTRIGHTS "INBOX" owner lrswipkxteacd
		S: l OK LISTRIGHTS completed
		C: m LIST "" * RETURN (MYRIGHTS)
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: * MYRIGHTS "INBOX" lrswipkxteacd
		S: * LIST (\HasNoChildren) "/" "Archive/x y"
		S: * MYRIGHTS "Archive/x y" lrswipkxteacd
		S: m OK LIST completed`)
	for command, want := range map[string]string{
		"SETACL INBOX david lrQ":     "x BAD ",
		"SETACL INBOX david L":       "x BAD ",
		"SETACL INBOX david 0":       "x BAD ",
		`SETACL INBOX "" lr`:         "x BAD ",
		`SETACL INBOX "-" lr`:        "x BAD ",
		"SETACL INBOX david":         "x BAD ",
		"SETACL INBOX {2+}\r\na\n l": "x BAD ",
		"SETACL INBOX " + strings.Repeat("x", maxIdentifier+1) + " l": "x BAD ",
		"SETACL Nowhere david l":   "x NO [NONEXISTENT]",
		"GETACL Nowhere":           "x NO [NONEXISTENT]",
		"MYRIGHTS Nowhere":         "x NO [NONEXISTENT]",
		"LISTRIGHTS Nowhere david": "x NO [NONEXISTENT]",
		"DELETEACL INBOX":          "x BAD ",
	} {
		if got := c.do(command); !strings.HasPrefix(got[0], want) {
			t.Errorf("%q: %q", command, got)
		}
	}
}

// TestQuota: RFC 9208 §4.
func TestQuota(t *testing.T) {
	store := newMemStore()
	store.put("INBOX", mail1, Deleted)
	_, connect := start(t, store, nil)
	c := login(t, connect)
	c.play(`
		C: a GETQUOTAROOT INBOX
		S: * QUOTAROOT "INBOX" ""
		S: * QUOTA "" ()
		S: a OK GETQUOTAROOT completed
		C: b SETQUOTA "" (STORAGE 510 message 1000)
		S: * QUOTA "" (STORAGE 0 510 MESSAGE 0 1000)
		S: b OK SETQUOTA completed
		C: c GETQUOTA ""
		S: * QUOTA "" (STORAGE 0 510 MESSAGE 0 1000)
		S: c OK GETQUOTA completed
		C: d GETQUOTA "#user/x"
		S: d NO [NONEXISTENT] No such quota root
		C: e SETQUOTA "x" ()
		S: e NO [NOPERM] Permission denied
		C: f SETQUOTA "" (STORAGE)
		S~ f BAD .*
		C: g STATUS INBOX (DELETED DELETED-STORAGE)`)
	if got, want := c.line(), fmt.Sprintf(`* STATUS "INBOX" (DELETED 1 DELETED-STORAGE %d)`, len(mail1)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMetadata: RFC 5464 §4 and RFC 9590.
func TestMetadata(t *testing.T) {
	store := newMemStore("Work")
	_, connect := start(t, store, func(o *Options) { o.Limits.Errors = 100 })
	c := login(t, connect)
	c.play(`
		C: a SETMETADATA INBOX (/private/Comment {12}
		S: + Ready
		C: two lines
		C: x /shared/comment "short" /private/vendor/x/y NIL)
		S: a OK SETMETADATA completed
		C: b GETMETADATA INBOX (/private/comment /SHARED/comment /shared/admin)
		S: * METADATA "INBOX" (/private/comment {12}
		S: two lines
		S: x /shared/comment "short" /shared/admin NIL)
		S: b OK GETMETADATA completed
		C: c GETMETADATA (MAXSIZE 5 DEPTH infinity) INBOX (/private /shared)
		S: * METADATA "INBOX" (/shared/comment "short" /private NIL /shared NIL)
		S: c OK [METADATA LONGENTRIES 12] GETMETADATA completed
		C: d GETMETADATA INBOX (DEPTH 1) /shared
		S: * METADATA "INBOX" (/shared/comment "short" /shared NIL)
		S: d OK GETMETADATA completed
		C: e GETMETADATA INBOX (DEPTH 0) (/shared)
		S: * METADATA "INBOX" (/shared NIL)
		S: e OK GETMETADATA completed
		C: f SETMETADATA "" (/shared/comment ~{3+}`)
	c.send("a\x00b)\r\n")
	c.play(`
		S: f OK SETMETADATA completed
		C: g GETMETADATA "" /shared/comment
		S: * METADATA "" (/shared/comment ~{3}`)
	if got := c.line(); got != "a\x00b)" {
		t.Errorf("binary value %q", got)
	}
	c.play(`
		S: g OK GETMETADATA completed
		C: h SETMETADATA INBOX (/private/comment NIL)
		S: h OK SETMETADATA completed
		C: i LIST "" % RETURN (METADATA (/private/comment /shared/comment))
		S: * LIST (\HasNoChildren) "/" "INBOX"
		S: * METADATA "INBOX" (/shared/comment "short" /private/comment NIL)
		S: * LIST (\HasNoChildren) "/" "Work"
		S: * METADATA "Work" (/private/comment NIL /shared/comment NIL)
		S: i OK LIST completed`)
	for command, want := range map[string]string{
		"SETMETADATA INBOX (/private/comment " + literal(strings.Repeat("x", 2001)) + ")": "x NO [METADATA MAXSIZE 2000]",
		"SETMETADATA INBOX (/comment x)":                                                        "x BAD ",
		`SETMETADATA INBOX (/private "x")`:                                                      "x BAD ",
		`SETMETADATA INBOX (/private/vendor/x "x")`:                                             "x BAD ",
		`SETMETADATA INBOX (/private//x "x")`:                                                   "x BAD ",
		`SETMETADATA INBOX (/private/x/ "x")`:                                                   "x BAD ",
		`SETMETADATA INBOX ("/private/x*" "x")`:                                                 "x BAD ",
		`SETMETADATA INBOX ("/private/é" "x")`:                                                  "x BAD ",
		`SETMETADATA INBOX ()`:                                                                  "x BAD ",
		`SETMETADATA INBOX (/private/` + strings.Repeat("x", maxEntry) + ` "")`:                 "x BAD ",
		`SETMETADATA INBOX (` + strings.Repeat(`/private/x "" `, maxEntries) + `/private/y "")`: "x BAD ",
		`SETMETADATA Nowhere (/private/x "x")`:                                                  "x NO [NONEXISTENT]",
		`GETMETADATA Nowhere /private/x`:                                                        "x NO [NONEXISTENT]",
		`GETMETADATA INBOX (DEPTH 2) /private/x`:                                                "x BAD ",
		`GETMETADATA INBOX (MORE 2) /private/x`:                                                 "x BAD ",
		`GETMETADATA INBOX ()`:                                                                  "x BAD ",
		`LIST "" * RETURN (METADATA /private/x)`:                                                "x BAD ",
	} {
		if got := c.do(command); !strings.HasPrefix(got[0], want) {
			t.Errorf("%.80q: %q", command, got)
		}
	}
}

func literal(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }

// TestObjects: PREVIEW (RFC 8970), SAVEDATE (RFC 8514), OBJECTID (RFC 8474).
func TestObjects(t *testing.T) {
	store := newMemStore()
	store.objects = true
	store.put("INBOX", "Subject: x\r\n\r\nshort", 0)
	store.put("INBOX", "Subject: x\r\n\r\nrather longer text", 0)
	_, connect := start(t, store, nil)
	c := login(t, connect)
	if l := c.do("SELECT INBOX"); !strings.Contains(strings.Join(l, "\n"), "\n* OK [MAILBOXID (F101)] ") {
		t.Errorf("SELECT: %q", l)
	}
	c.play(`
		C: a FETCH 1:2 (EMAILID THREADID)
		S: * 1 FETCH (EMAILID (M1) THREADID (T))
		S: * 2 FETCH (EMAILID (M2) THREADID NIL)
		S: a OK FETCH completed
		C: b FETCH 1:2 (PREVIEW (LAZY) SAVEDATE)
		S: * 1 FETCH (PREVIEW "short" SAVEDATE "21-Nov-2026 12:30:05 +0100")
		S: * 2 FETCH (PREVIEW NIL SAVEDATE "21-Nov-2026 12:30:05 +0100")
		S: b OK FETCH completed
		C: c FETCH 2 PREVIEW
		S: * 2 FETCH (PREVIEW "rather longer text")
		S: c OK FETCH completed
		C: d UID FETCH 2 PREVIEW (LAZY) (CHANGEDSINCE 1)
		S: * OK [HIGHESTMODSEQ 3] Mod-sequences enabled
		S: * 2 FETCH (UID 2 MODSEQ (3) PREVIEW NIL)
		S: d OK UID FETCH completed
		C: e FETCH 2 PREVIEW (CHANGEDSINCE 9)
		S: e OK FETCH completed
		C: f FETCH 2 (PREVIEW (EAGER))
		S~ f BAD .*
		C: g STATUS INBOX (MAILBOXID)
		S: * STATUS "INBOX" (MAILBOXID (F101))
		S: g OK [CLIENTBUG] STATUS completed
		C: h CREATE New (USE (\Snoozed))
		S: h OK [MAILBOXID (F102)] CREATE completed
		C: i LIST (SPECIAL-USE) "" *
		S: * LIST (\Snoozed \HasNoChildren) "/" "New"
		S: i OK LIST completed`)
}

// TestAppendEightBit: headers with octets above 127 are taken from every client,
// though RFC 9755 §4 wants them only after ENABLE UTF8=ACCEPT: old mail has them, and
// a client that moves it could not do otherwise.
func TestAppendEightBit(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	c := login(t, connect)
	if got := c.do("APPEND INBOX " + literal("Subject: \xe9\r\n\r\nx")); !strings.HasPrefix(got[0], "x OK ") {
		t.Errorf("%q", got)
	}
}

// bigSession has one endless message, and counts what is appended.
type bigSession struct {
	*memSession
	size, got int64
}

func (s *bigSession) OpenURL(context.Context, *URL) (*URLData, error) {
	return &URLData{Size: s.size, ReaderAt: s, Close: func() error { return nil }}, nil
}

func (s *bigSession) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), s.size-off)
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (s *bigSession) Append(context.Context, AppendRequest) (Appender, error) { return s, nil }
func (s *bigSession) Message(context.Context, AppendMessage) (io.Writer, error) {
	return s, nil
}
func (s *bigSession) Write(p []byte) (int, error) { s.got += int64(len(p)); return len(p), nil }
func (s *bigSession) Commit(context.Context) (*AppendData, error) {
	return &AppendData{}, nil
}
func (s *bigSession) Abort() {}

// TestCatenateMemory: parts are never held in memory (IM2).
func TestCatenateMemory(t *testing.T) {
	sess := &bigSession{memSession: &memSession{store: newMemStore()}, size: 24 << 20}
	srv := NewServer(Options{AllowClear: true, NewSession: func(context.Context, *ConnInfo) (Session, error) { return sess, nil }})
	text := strings.Repeat("x", 1<<20)
	r := &recorder{sink: sink{in: strings.NewReader("l LOGIN ann secret\r\n" +
		"a APPEND INBOX CATENATE (URL /x/;UID=1 TEXT " + literal(text) + " URL /x/;UID=2)\r\n")}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	srv.ServeConn(r)
	runtime.ReadMemStats(&after)
	if !strings.Contains(r.out.String(), "a OK ") || sess.got != 2*sess.size+1<<20 {
		t.Errorf("%d octets, %q", sess.got, r.out.String())
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
		t.Errorf("IM2: %d octets of memory for a message of %d", n, sess.got)
	}
}

// TestNamespaceRoots: several namespaces (RFC 2342 §5), whose roots nobody can
// select, and mailboxes elsewhere.
func TestNamespaceRoots(t *testing.T) {
	store := newMemStore()
	store.add("Other Users", AttrNoSelect)
	store.add("Other Users/bob@example.org/Caf\u00e9", AttrRemote|UseSent)
	_, connect := start(t, store, func(o *Options) {
		o.NewSession = func(ctx context.Context, c *ConnInfo) (Session, error) {
			s, err := store.session(ctx, c)
			return rooted{s}, err
		}
	})
	c := login(t, connect)
	c.play(`
		C: a NAMESPACE
		S: * NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared/" "/")("&ZeVnLIqe-/" "/"))
		S: a OK NAMESPACE completed
		C: b LIST "" "Other*" RETURN (STATUS (MESSAGES) MYRIGHTS)
		S: * LIST (\Noselect \HasChildren) "/" "Other Users"
		S: * LIST (\Remote \Sent \HasNoChildren) "/" "Other Users/bob@example.org/Caf&AOk-"
		S: * STATUS "Other Users/bob@example.org/Caf&AOk-" (MESSAGES 0)
		S: * MYRIGHTS "Other Users/bob@example.org/Caf&AOk-" lrswipkxteacd
		S: b OK LIST completed
		C: c LIST (REMOTE SPECIAL-USE) "Other Users/" (% "*Caf*")
		S: * LIST (\Remote \Sent \HasNoChildren) "/" "Other Users/bob@example.org/Caf&AOk-"
		S: c OK LIST completed
		C: d LIST (SPECIAL-USE RECURSIVEMATCH) "" % RETURN (MYRIGHTS)
		S: * LIST (\Noselect \HasChildren) "/" "Other Users" ("CHILDINFO" ("SPECIAL-USE"))
		S: d OK LIST completed
		C: e ENABLE IMAP4rev2
		S: * ENABLED IMAP4rev2
		S: e OK ENABLE completed
		C: f LIST "" "Other Users/%"
		S: * LIST (\NonExistent \HasChildren) "/" "Other Users/bob@example.org"
		S: f OK LIST completed`)
}

type rooted struct{ Session }

func (rooted) Namespaces(context.Context) (*Namespaces, error) {
	return &Namespaces{Personal: []Namespace{{}}, Other: []Namespace{{"Other Users/"}}, Shared: []Namespace{{"Shared/"}, {"\u65e5\u672c\u8a9e/"}}}, nil
}
