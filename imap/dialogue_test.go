package imap

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain: no goroutine outlives its connection (G11).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is the other end of a connection in a test. All that the server sends
// has to pass the grammar.
type client struct {
	t    testing.TB
	nc   net.Conn
	r    *bufio.Reader
	seen bytes.Buffer
}

// start serves a store on loopback and returns a way to connect.
func start(t testing.TB, store *memStore, change func(*Options)) (*Server, func() *client) {
	t.Helper()
	opts := Options{NewSession: store.session, AllowClear: true, Name: "mx.example.org", ID: []string{"name", "Postino"}}
	if change != nil {
		change(&opts)
	}
	s := NewServer(opts)
	return s, serve(t, s)
}

// serve lets s serve on loopback and returns a way to connect.
func serve(t testing.TB, s *Server) func() *client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error("shutdown:", err)
		}
		if err := <-done; err != nil {
			t.Error("Serve:", err)
		}
	})
	return func() *client {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, nc: nc}
		c.r = bufio.NewReader(io.TeeReader(nc, &c.seen))
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() {
			nc.Close()
			if err := checkResponses(c.seen.Bytes(), true); err != nil {
				t.Errorf("grammar: %v\n%s", err, tail(c.seen.Bytes()))
			}
		})
		return c
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal("send:", err)
	}
}

// line reads a line without its CRLF; "" after the end of the connection.
func (c *client) line() string {
	s, err := c.r.ReadString('\n')
	if err == nil && !strings.HasSuffix(s, "\r\n") {
		c.t.Errorf("line does not end in CRLF: %q", s)
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the server does not answer")
	}
	return strings.TrimSuffix(s, "\r\n")
}

// do sends a command and returns all lines up to its tagged reply.
func (c *client) do(command string) (lines []string) {
	c.t.Helper()
	c.send("x " + command + "\r\n")
	for {
		l := c.line()
		lines = append(lines, l)
		if strings.HasPrefix(l, "x ") || l == "" {
			return lines
		}
	}
}

// play runs a script: lines "C: …" are sent, "S: …" expected, "S~ …" expected to
// match a regular expression, "!" calls a function of acts.
func (c *client) play(script string, acts ...func()) {
	c.t.Helper()
	for l := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		l = strings.TrimLeft(l, "\t ")
		switch {
		case l == "" || l[0] == '#':
		case l == "!":
			acts[0]()
			acts = acts[1:]
		case strings.HasPrefix(l, "C: "), l == "C:":
			c.send(strings.TrimPrefix(l[2:], " ") + "\r\n")
		case strings.HasPrefix(l, "S: "), l == "S:":
			if got, want := c.line(), strings.TrimPrefix(l[2:], " "); got != want {
				c.t.Fatalf("got  %q\nwant %q", got, want)
			}
		case strings.HasPrefix(l, "S~ "):
			if got := c.line(); !regexp.MustCompile("^" + l[3:] + "$").MatchString(got) {
				c.t.Fatalf("got %q\nwant match of %s", got, l[3:])
			}
		case l == "EOF":
			if b, err := c.r.ReadByte(); err == nil {
				c.t.Fatalf("want end of connection, got %q", b)
			}
		default:
			c.t.Fatalf("script: %q", l)
		}
	}
}

// login is a client that is logged in.
func login(t testing.TB, connect func() *client) *client {
	c := connect()
	c.play(`
		S~ \* OK \[CAPABILITY .*\] mx.example.org IMAP ready
		C: l LOGIN ann secret
		S~ l OK \[CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL\+ .*\] LOGIN completed`)
	return c
}

const mail1 = "From: Bob <bob@example.org>\r\nSubject: one\r\n\r\nfirst body\r\n"

func TestDialogues(t *testing.T) {
	for _, d := range []struct {
		name, script string
	}{
		{name: "any state", script: `
			C: a CAPABILITY
			S~ \* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL\+ ID .*
			S: a OK CAPABILITY completed
			C: b noop
			S: b OK NOOP completed
			C: c ID NIL
			S: * ID ("name" "Postino")
			S: c OK ID completed
			C: d ID ("name" "x" "version" NIL)
			S: * ID ("name" "Postino")
			S: d OK ID completed
			C: e ID ("name")
			S: e BAD Field without value
			C: f FETCH 1 FLAGS
			S: f BAD Select a mailbox first
			C: g LOGIN a b
			S: g BAD Already logged in
			C: h XYZZY
			S: h BAD Unknown command
			C: i NOOP x
			S: i BAD Unexpected text after the command
			C: + NOOP
			S: * BAD Expected a tag
			C: j LOGOUT
			S: * BYE Logging out
			S: j OK LOGOUT completed
			EOF`},
		{name: "select", script: `
			C: a SELECT inbox
			S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft $Forwarded)
			S: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft $Forwarded \*)] Flags kept
			S: * 3 EXISTS
			S: * 0 RECENT
			S: * OK [UNSEEN 2] First unseen
			S: * OK [UIDVALIDITY 101] UIDs valid
			S: * OK [UIDNEXT 4] Next UID
			S: * OK [HIGHESTMODSEQ 4] Highest mod-sequence
			S: a OK [READ-WRITE] SELECT completed
			C: b EXAMINE Nowhere
			S: * OK [CLOSED] Previous mailbox is closed
			S: b NO [NONEXISTENT] No such mailbox
			C: c FETCH 1 FLAGS
			S: c BAD Select a mailbox first
			C: d ENABLE IMAP4rev2 X-UNKNOWN
			S: * ENABLED IMAP4rev2
			S: d OK ENABLE completed
			C: e EXAMINE INBOX (CONDSTORE)
			S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft $Forwarded)
			S: * OK [PERMANENTFLAGS ()] Flags kept
			S: * 3 EXISTS
			S: * OK [UIDVALIDITY 101] UIDs valid
			S: * OK [UIDNEXT 4] Next UID
			S: * OK [HIGHESTMODSEQ 4] Highest mod-sequence
			S: * LIST () "/" "INBOX"
			S: e OK [READ-ONLY] EXAMINE completed
			C: f STORE 1 FLAGS ()
			S: f NO [READ-ONLY] The mailbox is selected read-only
			C: g EXPUNGE
			S: g NO [READ-ONLY] The mailbox is selected read-only
			C: h MOVE 1 INBOX
			S: h NO [READ-ONLY] The mailbox is selected read-only
			C: i UNSELECT
			S: i OK UNSELECT completed
			C: j CLOSE
			S: j BAD Select a mailbox first
			C: k SELECT INBOX (FOO)
			S: k BAD Unknown parameter`},
		{name: "mailboxes", script: `
			C: a CREATE Work/2026/
			S: a OK CREATE completed
			C: b CREATE Work/2026
			S: b NO [ALREADYEXISTS] The mailbox exists
			C: c CREATE iNbOx
			S: c NO [ALREADYEXISTS] INBOX exists always
			C: d CREATE Sent (USE (\Sent))
			S: d OK CREATE completed
			C: e CREATE X (USE (\Foo))
			S: e NO [USEATTR] Unknown special use
			C: f CREATE "a//b"
			S: f NO [CANNOT] Mailbox name not allowed
			C: g CREATE "a/../b"
			S: g NO [CANNOT] Mailbox name not allowed
			C: h CREATE "a%"
			S: h NO [CANNOT] Mailbox name not allowed
			C: i CREATE "&ZeVnLIqe-"
			S: i NO [ALREADYEXISTS] The mailbox exists
			C: j CREATE "caf&"
			S: j BAD Mailbox name is not modified UTF-7
			C: j SUBSCRIBE {1+}
			C: ` + "\xff" + `
			S: j BAD Mailbox name is not UTF-8
			C: k RENAME Work Play
			S: k NO [NONEXISTENT] No such mailbox
			C: l RENAME Work/2026 Play/2026
			S: l OK RENAME completed
			C: m RENAME Play/2026 Play/2026/sub
			S: m NO [CANNOT] A mailbox cannot move below itself
			C: n RENAME Play/2026 INBOX
			S: n NO [ALREADYEXISTS] The mailbox exists
			C: o SUBSCRIBE Play/2026
			S: o OK SUBSCRIBE completed
			C: p SUBSCRIBE Gone
			S: p OK SUBSCRIBE completed
			C: q LIST "" *
			S: * LIST (\HasNoChildren) "/" "INBOX"
			S: * LIST (\HasNoChildren) "/" "Play/2026"
			S: * LIST (\Sent \HasNoChildren) "/" "Sent"
			S: * LIST (\HasNoChildren) "/" "&ZeVnLIqe-"
			S: q OK LIST completed
			C: r LIST "" %
			S: * LIST (\HasNoChildren) "/" "INBOX"
			S: * LIST (\Noselect \HasChildren) "/" "Play"
			S: * LIST (\Sent \HasNoChildren) "/" "Sent"
			S: * LIST (\HasNoChildren) "/" "&ZeVnLIqe-"
			S: r OK LIST completed
			C: s LSUB "" *
			S: * LSUB () "/" "Gone"
			S: * LSUB () "/" "Play/2026"
			S: s OK LSUB completed
			C: t LSUB "" %
			S: * LSUB () "/" "Gone"
			S: * LSUB (\Noselect) "/" "Play"
			S: t OK LSUB completed
			C: u LIST "Pl" "ay/%"
			S: * LIST (\HasNoChildren) "/" "Play/2026"
			S: u OK LIST completed
			C: v LIST "" ""
			S: * LIST (\Noselect) "/" ""
			S: v OK LIST completed
			C: w LIST (SUBSCRIBED) "" "*"
			S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" "Gone"
			S: * LIST (\HasNoChildren \Subscribed) "/" "Play/2026"
			S: w OK LIST completed
			C: x LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"
			S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" "Gone"
			S: * LIST (\NonExistent \HasChildren) "/" "Play" ("CHILDINFO" ("SUBSCRIBED"))
			S: x OK LIST completed
			C: y LIST (RECURSIVEMATCH) "" "%"
			S: y BAD RECURSIVEMATCH needs another selection option
			C: z LIST (SPECIAL-USE) "" (inbox %) RETURN (CHILDREN SUBSCRIBED STATUS (MESSAGES UNSEEN))
			S: * LIST (\Sent \HasNoChildren) "/" "Sent"
			S: * STATUS "Sent" (MESSAGES 0 UNSEEN 0)
			S: z OK LIST completed
			C: a ENABLE IMAP4rev2
			S: * ENABLED IMAP4rev2
			S: a OK ENABLE completed
			C: b LIST "" "日*"
			S: * LIST (\HasNoChildren) "/" "日本語"
			S: b OK LIST completed
			C: c CREATE "Café"
			S: * LIST () "/" "Café" ("OLDNAME" ("Café"))
			S: c OK CREATE completed
			C: d RENAME "Café" Bar
			S: * LIST () "/" "Bar" ("OLDNAME" ("Café"))
			S: d OK RENAME completed
			C: e NAMESPACE
			S: * NAMESPACE (("" "/")) NIL NIL
			S: e OK NAMESPACE completed
			C: f DELETE Bar
			S: f OK DELETE completed
			C: g DELETE INBOX
			S: g NO [CANNOT] INBOX cannot be deleted
			C: h UNSUBSCRIBE Gone
			S: h OK UNSUBSCRIBE completed`},
		{name: "append", script: `
			C: a APPEND Nowhere {5}
			S: a NO [TRYCREATE] No such mailbox, create it first
			C: b APPEND Nowhere {5+}
			C: a b c
			S: b NO [TRYCREATE] No such mailbox, create it first
			C: c APPEND INBOX (\Seen $Work \Recent) "21-Nov-2026 10:00:00 +0100" {12}
			S: + Ready
			C: Subject: x
			C: y
			S: c BAD Unexpected text after the command
			C: d APPEND INBOX (\Seen $Work) "21-Nov-2026 10:00:00 +0100" {12}
			S: + Ready
			C: Subject: x
			C:
			S: d OK [APPENDUID 101 4] APPEND completed
			C: e APPEND INBOX {3+}
			C: abc {3+}
			C: def (\Draft) ~{3+}
			C: ghi
			S: e OK [APPENDUID 101 5:7] APPEND completed
			C: f APPEND INBOX {0+}
			C:
			S: f NO [CANNOT] Empty message, APPEND is cancelled
			C: g APPEND INBOX {52428801}
			S: g NO [TOOBIG] Message too large
			C: h STATUS INBOX (MESSAGES UIDNEXT UNSEEN DELETED SIZE RECENT UIDVALIDITY)
			S~ \* STATUS "INBOX" \(MESSAGES 7 UIDNEXT 8 UIDVALIDITY 101 UNSEEN 5 DELETED 0 SIZE \d+ RECENT 0\)
			S: h OK STATUS completed
			C: i SELECT INBOX
			S~ \* FLAGS .*
			S~ \* OK .*
			S: * 7 EXISTS
			S: * 0 RECENT
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ i OK .*
			C: j FETCH 4,7 (FLAGS INTERNALDATE BODY.PEEK[])
			S: * 4 FETCH (FLAGS (\Seen $Work) INTERNALDATE "21-Nov-2026 10:00:00 +0100" BODY[] {12}
			S: Subject: x
			S: )
			S: * 7 FETCH (FLAGS (\Draft) INTERNALDATE "21-Nov-2026 12:30:05 +0100" BODY[] {3}
			S: ghi)
			S: j OK FETCH completed
			C: k APPEND INBOX {3+}
			C: new
			S: * 8 EXISTS
			S: k OK [APPENDUID 101 8] APPEND completed
			C: l APPEND INBOX (\Nonsense) {3+}
			C: new
			S: l BAD Unknown system flag
			C: m APPEND INBOX "nonsense" {3}
			S: m BAD Malformed date-time`},
		{name: "fetch", script: `
			C: s EXAMINE INBOX
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ s OK .*
			C: a FETCH 1:* (UID FLAGS)
			S: * 1 FETCH (UID 1 FLAGS (\Seen))
			S: * 2 FETCH (UID 2 FLAGS ())
			S: * 3 FETCH (UID 3 FLAGS ($Forwarded))
			S: a OK FETCH completed
			C: b UID FETCH 2 RFC822.SIZE
			S: * 2 FETCH (UID 2 RFC822.SIZE 57)
			S: b OK UID FETCH completed
			C: c FETCH 2 (BODY[HEADER.FIELDS (subject)] BODY[TEXT]<2.4> BODY[1.MIME] BODY[2] BINARY.SIZE[1])
			S: * 2 FETCH (BODY[HEADER.FIELDS (subject)] {16}
			S: Subject: one
			S:
			S:  BODY[TEXT]<2> {4}
			S: rst  BODY[1.MIME] {45}
			S: From: Bob <bob@example.org>
			S: Subject: one
			S:
			S:  BODY[2] NIL BINARY.SIZE[1] 12)
			S: c OK FETCH completed
			C: d FETCH 1 FAST
			S: * 1 FETCH (FLAGS (\Seen) INTERNALDATE "21-Nov-2026 12:30:05 +0100" RFC822.SIZE 57)
			S: d OK FETCH completed
			C: e FETCH 1 (ENVELOPE BODY BODYSTRUCTURE)
			S: * 1 FETCH (ENVELOPE (NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL) BODY ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 57 1) BODYSTRUCTURE ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 57 1))
			S: e OK FETCH completed
			C: f FETCH 4 FLAGS
			S: f BAD No such message
			C: g UID FETCH 99 FLAGS
			S: g OK UID FETCH completed
			C: h UID FETCH 99:* FLAGS
			S: * 3 FETCH (UID 3 FLAGS ($Forwarded))
			S: h OK UID FETCH completed
			C: i FETCH 1 (RFC822.HEADER BINARY[1]<0.5>)
			S: * 1 FETCH (RFC822.HEADER {45}
			S: From: Bob <bob@example.org>
			S: Subject: one
			S:
			S:  BINARY[1]<0> ~{5}
			S: first)
			S: i OK FETCH completed
			C: j FETCH 1 (FLAGS) (CHANGEDSINCE 2)
			S: * OK [HIGHESTMODSEQ 4] Mod-sequences enabled
			S: j OK FETCH completed
			C: k FETCH 1:3 (FLAGS) (CHANGEDSINCE 2)
			S: * 2 FETCH (FLAGS () MODSEQ (3))
			S: * 3 FETCH (FLAGS ($Forwarded) MODSEQ (4))
			S: k OK FETCH completed`},
		{name: "fetch refused", script: `
			C: s SELECT INBOX
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ s OK .*
			C: a FETCH 1 (ALL)
			S: a BAD A macro stands alone
			C: b FETCH 1 BODY[0]
			S: b BAD Wrong part number
			C: c FETCH 1 BODY[MIME]
			S: c BAD MIME needs a part number
			C: d FETCH 1 BODY[TEXT]<5>
			S: d BAD Expected '.'
			C: e FETCH 1 BINARY[TEXT]
			S: e BAD Wrong section
			C: f FETCH 0 FLAGS
			S: f BAD Expected a sequence set
			C: g FETCH 1 ()
			S: g BAD Expected a data item
			C: h FETCH 1 FLAGS (VANISHED)
			S: h BAD VANISHED needs UID FETCH and ENABLE QRESYNC`},
		{name: "store", script: `
			C: s SELECT INBOX
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ s OK .*
			C: a STORE 2 +FLAGS (\Flagged $Work)
			S: * 2 FETCH (FLAGS (\Flagged $Work))
			S: a OK STORE completed
			C: b UID STORE 2 -FLAGS.SILENT \Flagged
			S: b OK UID STORE completed
			C: c UID STORE 1:2 FLAGS \Answered \Draft
			S: * 1 FETCH (UID 1 FLAGS (\Answered \Draft))
			S: * 2 FETCH (UID 2 FLAGS (\Answered \Draft))
			S: c OK UID STORE completed
			C: d STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\Deleted)
			S: * OK [HIGHESTMODSEQ 8] Mod-sequences enabled
			S: * 3 FETCH (UID 3 MODSEQ (9))
			S: d OK [MODIFIED 1:2] STORE completed
			C: e STORE 3 -FLAGS.SILENT \Deleted
			S: * 3 FETCH (UID 3 MODSEQ (10))
			S: e OK STORE completed
			C: f STORE 3 FLAGS ()
			S: * 3 FETCH (UID 3 FLAGS () MODSEQ (11))
			S: f OK STORE completed
			C: g STORE 3 FLAGS (\Foo)
			S: g BAD Unknown system flag
			C: h STORE 3 LABELS (a)
			S: h BAD Expected FLAGS
			C: i FETCH 1 BODY[TEXT]
			S: * 1 FETCH (UID 1 FLAGS (\Seen \Answered \Draft) MODSEQ (12) BODY[TEXT] {12}
			S: first body
			S: )
			S: i OK FETCH completed`},
		{name: "copy move expunge", script: `
			C: s SELECT INBOX
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ s OK .*
			C: a COPY 1:2 Nowhere
			S: a NO [TRYCREATE] No such mailbox, create it first
			C: b COPY 1,3 &ZeVnLIqe-
			S: b OK [COPYUID 102 1,3 1:2] COPY completed
			C: c UID COPY 77 &ZeVnLIqe-
			S: c OK UID COPY completed
			C: d UID MOVE 2 &ZeVnLIqe-
			S: * OK [COPYUID 102 2 3] Moved
			S: * 2 EXPUNGE
			S: d OK UID MOVE completed
			C: e STORE 1:2 +FLAGS.SILENT (\Deleted)
			S: e OK STORE completed
			C: f UID EXPUNGE 3
			S: * 2 EXPUNGE
			S: f OK UID EXPUNGE completed
			C: g ENABLE CONDSTORE
			S: * ENABLED CONDSTORE
			S: * OK [HIGHESTMODSEQ 8] Mod-sequences enabled
			S: g OK ENABLE completed
			C: h EXPUNGE
			S: * 1 EXPUNGE
			S: h OK [HIGHESTMODSEQ 9] EXPUNGE completed
			C: i EXPUNGE
			S: i OK EXPUNGE completed
			C: j CLOSE
			S: j OK CLOSE completed
			C: k STATUS &ZeVnLIqe- (MESSAGES HIGHESTMODSEQ)
			S: * STATUS "&ZeVnLIqe-" (MESSAGES 3 HIGHESTMODSEQ 4)
			S: k OK STATUS completed`},
		{name: "search", script: `
			C: s SELECT INBOX
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ .*
			S~ s OK .*
			C: a SEARCH UNSEEN
			S: * SEARCH 2 3
			S: a OK SEARCH completed
			C: b UID SEARCH CHARSET utf-8 OR SEEN (NOT KEYWORD $Forwarded 2)
			S: * SEARCH 1 2
			S: b OK UID SEARCH completed
			C: c SEARCH RETURN (MIN MAX COUNT ALL) 1:*
			S: * ESEARCH (TAG "c") MIN 1 MAX 3 ALL 1:3 COUNT 3
			S: c OK SEARCH completed
			C: d SEARCH RETURN () SUBJECT {4}
			S: + Ready
			C: nope
			S: * ESEARCH (TAG "d")
			S: d OK SEARCH completed
			C: e SEARCH CHARSET x-none ALL
			S~ e NO \[BADCHARSET \(US-ASCII UTF-8 .*\)\] Charset not supported
			C: f UID SEARCH RETURN (SAVE) UNSEEN
			S: f OK UID SEARCH completed
			C: g FETCH $ FLAGS
			S: * 2 FETCH (FLAGS ())
			S: * 3 FETCH (FLAGS ($Forwarded))
			S: g OK FETCH completed
			C: h SEARCH RETURN (SAVE MIN) $
			S: * ESEARCH (TAG "h") MIN 2
			S: h OK SEARCH completed
			C: i UID STORE $ +FLAGS (\Deleted)
			S: * 2 FETCH (UID 2 FLAGS (\Deleted))
			S: i OK UID STORE completed
			C: j UID EXPUNGE $
			S: * 2 EXPUNGE
			S: j OK UID EXPUNGE completed
			C: k FETCH $ FLAGS
			S: k OK FETCH completed
			C: l SEARCH RETURN (SAVE) 9
			S: l OK SEARCH completed
			C: m SEARCH MODSEQ "/flags/\\draft" all 4
			S~ \* OK \[HIGHESTMODSEQ .*
			S: * SEARCH 2 (MODSEQ 4)
			S: m OK SEARCH completed
			C: n SEARCH RETURN (COUNT) MODSEQ 999
			S: * ESEARCH (TAG "n") COUNT 0
			S: n OK SEARCH completed
			C: o ENABLE IMAP4REV2
			S: * ENABLED IMAP4rev2
			S: o OK ENABLE completed
			C: p UID SEARCH OLD
			S: * ESEARCH (TAG "p") UID ALL 1,3
			S: p OK UID SEARCH completed
			C: q SEARCH
			S: q BAD Expected a space
			C: r SEARCH NOT
			S: r BAD Unknown search key, or its argument is missing
			C: s SEARCH (SEEN
			S: s BAD Expected a space`},
	} {
		t.Run(d.name, func(t *testing.T) {
			store := newMemStore("日本語")
			store.boxes["日本語"].valid = 102
			store.put("INBOX", mail1, Seen)
			store.put("INBOX", mail1, 0)
			store.put("INBOX", mail1, 0, "$Forwarded")
			_, connect := start(t, store, nil)
			c := login(t, connect)
			c.play(d.script)
		})
	}
}

// open is how many connections there are.
func (s *Server) open() int {
	n, _ := s.conns.Len()
	return n
}

// waitOpen waits until only n are left.
func (s *Server) waitOpen(n int) {
	for s.open() > n {
		runtime.Gosched()
	}
}
