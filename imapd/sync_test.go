package imapd

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/mailbox"
)

// fill puts n messages into a mailbox.
func (c *client) fill(box string, n int) {
	c.Helper()
	for range n {
		c.append(box, "Subject: x\r\n\r\nbody\r\n")
	}
}

// has checks that the lines stand in text in this order.
func has(t testing.TB, text string, lines ...string) {
	t.Helper()
	rest := text
	for _, l := range lines {
		i := strings.Index(rest, l)
		if i < 0 {
			t.Fatalf("no %q in order in\n%s", l, text)
		}
		rest = rest[i+len(l):]
	}
}

// TestResync: RFC 7162 §3.2.5 on the mailboxes.
func TestResync(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	a, b := w.login("ann"), w.login("ann")
	a.fill("INBOX", 6)
	a.ok("ENABLE QRESYNC")
	text := a.ok("SELECT INBOX")
	validity := number(t, text, "[UIDVALIDITY ")
	modseq := number(t, text, "[HIGHESTMODSEQ ")
	a.ok("UNSELECT")
	b.ok("SELECT INBOX")
	b.ok(`STORE 2,3,6 +FLAGS (\Deleted)`)
	b.ok("EXPUNGE")
	b.ok(`UID STORE 4 +FLAGS (\Flagged)`)
	b.fill("INBOX", 1)
	has(t, a.do("SELECT INBOX (QRESYNC (%s %s))", validity, modseq),
		"* 4 EXISTS", "* VANISHED (EARLIER) 2:3,6\n", `* 2 FETCH (UID 4 FLAGS (\Flagged) MODSEQ (`, "* 4 FETCH (UID 7 FLAGS () MODSEQ (", "OK [READ-WRITE]")
	has(t, a.do("SELECT INBOX (QRESYNC (%s %s 1:3))", validity, modseq), "* VANISHED (EARLIER) 2:3\n", "OK [READ-WRITE]")
	if got := a.ok("SELECT INBOX (QRESYNC (%s %s 1:6 (1,3 1,5)))", validity, modseq); !strings.Contains(got, "* VANISHED (EARLIER) 6\n") {
		t.Errorf("what the client knows is told:\n%s", got)
	}
	if got := a.ok("SELECT INBOX (QRESYNC (7 %s))", modseq); strings.Contains(got, "EARLIER") || strings.Contains(got, "FETCH") {
		t.Errorf("another UIDVALIDITY:\n%s", got)
	}
	has(t, a.do("UID FETCH 3:* (FLAGS) (CHANGEDSINCE %s VANISHED)", modseq), "* VANISHED (EARLIER) 3,6\n", "* 2 FETCH (UID 4", "* 4 FETCH (UID 7")
	b.ok(`UID STORE 1,5 +FLAGS.SILENT (\Deleted)`)
	b.ok("UID EXPUNGE 1,5")
	has(t, a.do("NOOP"), "* VANISHED 1,5\n")
	has(t, a.do("UID MOVE 4 Trash"), "* OK [COPYUID ", "* VANISHED 4\n", "OK [HIGHESTMODSEQ ")
}

func number(t testing.TB, text, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, after)
	n, _, ok2 := strings.Cut(rest, "]")
	if !ok || !ok2 {
		t.Fatalf("no %q in\n%s", after, text)
	}
	return n
}

// TestIntersect compares ranges with the numbers that they hold.
func TestIntersect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := func(name string) mailbox.Ranges {
			var out mailbox.Ranges
			for _, n := range rapid.SliceOfN(rapid.Uint32Range(1, 60), 0, 30).Draw(t, name) {
				out = append(out, mailbox.Range{Lo: mailbox.UID(n), Hi: mailbox.UID(n)})
			}
			return out.Normalize()
		}
		a, b := set("a"), set("b")
		from := mailbox.UID(rapid.Uint32Range(0, 61).Draw(t, "above"))
		both, up := intersect(a, b), above(a, from)
		for u := range mailbox.UID(62) {
			if both.Contains(u) != (a.Contains(u) && b.Contains(u)) {
				t.Fatalf("%v and %v share %v", a, b, both)
			}
			if up.Contains(u) != (a.Contains(u) && u > from) {
				t.Fatalf("%v above %d is %v", a, from, up)
			}
		}
	})
}

// TestVanishedWithoutLog: when the log was trimmed, all that could have been there is
// told (RFC 7162 §3.2.6), but not what the sequence match shows to be known.
func TestVanishedWithoutLog(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	c := w.login("ann")
	c.fill("INBOX", 9)
	c.ok("SELECT INBOX")
	c.ok(`STORE 2,3,5,9 +FLAGS.SILENT (\Deleted)`)
	c.ok("EXPUNGE") // 1 4 6 7 8 stay
	acct, err := w.desk.opts.Mailboxes.Account(context.Background(), w.account("ann"))
	if err != nil {
		t.Fatal(err)
	}
	defer acct.Close()
	info, err := acct.Mailbox("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	view, err := acct.Open(context.Background(), info.ID)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := view.Sync(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rs := func(n ...uint32) (out mailbox.Ranges) {
		for i := 0; i < len(n); i += 2 {
			out = append(out, mailbox.Range{Lo: mailbox.UID(n[i]), Hi: mailbox.UID(n[i+1])})
		}
		return out
	}
	for _, c := range []struct{ asked, want mailbox.Ranges }{
		{rs(1, 1<<32-1), rs(2, 3, 5, 5, 9, 9)},
		{rs(1, 2, 9, 9), rs(2, 2, 9, 9)},
		{rs(4, 4, 6, 8), nil},
		{rs(3, 5), rs(3, 3, 5, 5)},
		{rs(10, 20), nil},
		{nil, nil},
	} {
		if got := vanished(snap, &mailbox.Changes{}, c.asked); !slices.Equal(got, c.want) {
			t.Errorf("of %v vanished %v, want %v", c.asked, got, c.want)
		}
	}
	for _, c := range []struct {
		seq, uid []imap.Range
		want     mailbox.UID
	}{
		{nil, nil, 0},
		{[]imap.Range{{Start: 2, Stop: 2}}, []imap.Range{{Start: 4, Stop: 4}}, 4},
		{[]imap.Range{{Start: 1, Stop: 1}, {Start: 2, Stop: 2}}, []imap.Range{{Start: 1, Stop: 1}, {Start: 3, Stop: 3}}, 1},
		{[]imap.Range{{Start: 3, Stop: 90}}, []imap.Range{{Start: 6, Stop: 93}}, 8},
		{[]imap.Range{{Start: 1, Stop: 1 << 31}}, []imap.Range{{Start: 2, Stop: 1<<31 + 1}}, 0},
	} {
		if got := matched(snap, &imap.QResync{SeqMatch: c.seq, UIDMatch: c.uid}); got != c.want {
			t.Errorf("%v %v match up to %d, want %d", c.seq, c.uid, got, c.want)
		}
	}
}

// TestNotify: RFC 5465 on the mailboxes.
func TestNotify(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	a, b := w.login("ann"), w.login("ann")
	a.ok("CREATE Lists/One")
	a.ok("SELECT INBOX")
	b.ok("SELECT Trash")
	has(t, a.do("NOTIFY SET STATUS (selected-delayed (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (subtree Lists (MessageNew MessageExpunge FlagChange)) (personal (MailboxName SubscriptionChange))"),
		`* STATUS "Lists/One" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY `, "OK ")
	wants := func(lines ...string) {
		t.Helper()
		for _, l := range lines {
			if got := a.line(); !strings.HasPrefix(got, l) {
				t.Fatalf("got %q, want %q", got, l)
			}
		}
	}
	b.fill("Lists/One", 1)
	wants(`* STATUS "Lists/One" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY `)
	b.fill("Trash", 1) // nobody asked
	b.fill("INBOX", 1)
	wants("* 1 EXISTS", "* 1 FETCH (UID 1 FLAGS ())")
	b.ok("CREATE Lists/Two")
	wants(`* LIST (\HasNoChildren) "/" "Lists/Two"`, `* LIST (\HasChildren) "/" "Lists"`)
	b.ok("SUBSCRIBE Lists/Two")
	wants(`* LIST (\HasNoChildren \Subscribed) "/" "Lists/Two"`)
	b.ok("RENAME Lists/Two Lists/Three")
	wants(`* LIST (`)
	b.ok("DELETE Lists/Three")
	for !strings.Contains(a.line(), `NonExistent`) {
	}
}

// TestNotifyOwn: what the client did itself is not told to it (RFC 5465 §5); what
// others do at the same time is.
func TestNotifyOwn(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann")
	a, b := w.login("ann"), w.login("ann")
	a.ok("NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))")
	for _, c := range []string{
		"CREATE A/B/C", "SUBSCRIBE A/B", "RENAME A/B A/D", "CREATE X", "RENAME X A/X", "UNSUBSCRIBE A/B", "DELETE A/D/C",
		`SETMETADATA "" (/private/x "1")`, `SETMETADATA A (/private/x "1" /private/y "2")`, "NOOP",
	} {
		if got := a.ok("%s", c); got != "" {
			t.Errorf("%s is told back: %s", c, got)
		}
	}
	if got := a.ok("APPEND A {3+}\r\nx\r\n"); got != "" {
		t.Errorf("APPEND is told: %s", got)
	}
	b.ok("CREATE A/E")
	has(t, a.ok("NOOP"), `* LIST (\HasNoChildren) "/" "A/E"`, `* LIST (\HasChildren) "/" "A"`)
	b.fill("A", 1)
	has(t, a.ok("NOOP"), `* STATUS "A" (MESSAGES 2 UIDNEXT 3`)
	b.ok(`SETMETADATA A (/private/y "3")`)
	has(t, a.ok("NOOP"), `* METADATA "A" "/private/y"`)
	b.ok(`SETMETADATA "" (/private/z "3")`)
	has(t, a.ok("NOOP"), `* METADATA "" "/private/z"`)
	b.ok("DELETE A/E")
	has(t, a.ok("NOOP"), `* LIST (\NonExistent \HasNoChildren) "/" "A/E"`, `* LIST (\HasChildren) "/" "A"`)
}

// TestNotifyGuest: events of the mailboxes of others; who loses the right to see one is
// told as if it were deleted (RFC 5465 §5.4, §5.9).
func TestNotifyGuest(t *testing.T) {
	w := newWorld(t, imap.Limits{}, "ann", "bob")
	ann, bob := w.login("ann"), w.login("bob")
	ann.ok("CREATE Work")
	ann.ok("CREATE Blind")
	ann.ok("SETACL Work bob@b.example lr")
	ann.ok("SETACL Blind bob@b.example l")
	has(t, bob.do(`NOTIFY SET STATUS (subtree "Other Users" (MessageNew MessageExpunge MailboxName))`),
		`* LIST (\NoAccess) "/" "Other Users/ann@b.example/Blind"`, `* STATUS "Other Users/ann@b.example/Work" (MESSAGES 0`, "OK ")
	ann.fill("Blind", 1)
	ann.fill("Work", 1)
	if got := bob.line(); !strings.HasPrefix(got, `* STATUS "Other Users/ann@b.example/Work" (MESSAGES 1 UIDNEXT 2`) {
		t.Fatal(got)
	}
	ann.ok("SETACL Blind bob@b.example lr")
	ann.ok("DELETEACL Work bob@b.example")
	if got := bob.line(); got != `* LIST (\NonExistent \HasNoChildren \NoAccess) "/" "Other Users/ann@b.example/Work"` {
		for !strings.Contains(got, "NoAccess") {
			got = bob.line()
		}
	}
	ann.ok("SETACL Work bob@b.example lr")
	for got := bob.line(); !strings.HasPrefix(got, `* LIST (\HasNoChildren) "/" "Other Users/ann@b.example/Work"`); got = bob.line() {
	}
}
