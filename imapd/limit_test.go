package imapd

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/imap"
)

// TestMessageLimit: RFC 9738 on the mailboxes, with a limit of three.
func TestMessageLimit(t *testing.T) {
	w := newWorld(t, imap.Limits{MessageLimit: 3}, "ann")
	c := w.login("ann")
	c.fill("INBOX", 6)
	c.ok("SELECT INBOX")
	c.want("FETCH 1:* UID", "* 6 FETCH (UID 6)\n* 5 FETCH (UID 5)\n* 4 FETCH (UID 4)\nOK [MESSAGELIMIT 3 4] FETCH completed")
	c.want("UID FETCH 1:2,4:5 RFC822.SIZE", "* 5 FETCH (UID 5 RFC822.SIZE 20)\n* 4 FETCH (UID 4 RFC822.SIZE 20)\n* 2 FETCH (UID 2 RFC822.SIZE 20)\nOK [MESSAGELIMIT 3 2] UID FETCH completed")
	has(t, c.do("UID FETCH 1:4 (BODY.PEEK[TEXT])"), "* 4 FETCH", "* 3 FETCH", "* 2 FETCH", "OK [MESSAGELIMIT 3 2]")
	c.want("FETCH 1:3 UID", "* 1 FETCH (UID 1)\n* 2 FETCH (UID 2)\n* 3 FETCH (UID 3)\nOK FETCH completed")
	c.want("UID FETCH 1:* UID (PARTIAL -1:-4)", "NO [MESSAGELIMIT 3] Too many messages")
	c.want("UID FETCH 1:* UID (PARTIAL -1:-2)", "* 5 FETCH (UID 5)\n* 6 FETCH (UID 6)\nOK UID FETCH completed")

	c.want("SEARCH UNSEEN", "* SEARCH 4 5 6\nOK [MESSAGELIMIT 3 4] SEARCH completed")
	c.want("UID SEARCH UID 1:5 UNSEEN", "* SEARCH 3 4 5\nOK [MESSAGELIMIT 3 3] UID SEARCH completed")
	c.want("UID SEARCH UID 1:5 2:3 UNSEEN", "* SEARCH 2 3\nOK UID SEARCH completed")
	c.want("UID SEARCH UIDAFTER 3", "* SEARCH 4 5 6\nOK UID SEARCH completed")
	c.want("UID SEARCH UIDBEFORE 3", "* SEARCH 1 2\nOK UID SEARCH completed")
	c.want("SEARCH OR 1 SEEN", "* SEARCH\nOK [MESSAGELIMIT 3 4] SEARCH completed")
	c.want("SEARCH RETURN (SAVE) ALL", "OK [MESSAGELIMIT 3 4] SEARCH completed")
	c.want("FETCH $ UID", "* 4 FETCH (UID 4)\n* 5 FETCH (UID 5)\n* 6 FETCH (UID 6)\nOK FETCH completed")
	c.want("SORT (REVERSE ARRIVAL) UTF-8 UID 1:6", "* SORT 1 2 3 4 5 6\nOK SORT completed")
	c.want("THREAD REFS UTF-8 1:2", "NO [MESSAGELIMIT 3] Too many messages")
	has(t, c.do("ESEARCH IN (mailboxes INBOX) RETURN (COUNT) ALL"), "COUNT 3", "OK [MESSAGELIMIT 3] ESEARCH")

	c.want("COPY 1:* Trash", "NO [MESSAGELIMIT 3 4] Too many messages")
	has(t, c.do("STATUS Trash (MESSAGES)"), "MESSAGES 0")
	has(t, c.do(`UID STORE 1:* +FLAGS (\Seen)`), "* 4 FETCH", "* 5 FETCH", "* 6 FETCH", "OK [MESSAGELIMIT 3 4]")
	c.want("UID SEARCH UIDBEFORE 4 SEEN", "* SEARCH\nOK UID SEARCH completed")
	has(t, c.do("UID MOVE 1:* Trash"), "* OK [COPYUID ", " 4:6 1:3]", "* 6 EXPUNGE", "* 5 EXPUNGE", "* 4 EXPUNGE", "OK [MESSAGELIMIT 3 4]")
	c.fill("INBOX", 3)
	c.ok("NOOP")
	for _, set := range []string{"1:3", "4:6"} {
		c.ok(`STORE %s +FLAGS.SILENT (\Deleted)`, set)
	}
	has(t, c.do("UID EXPUNGE 1:*"), "* 6 EXPUNGE", "* 5 EXPUNGE", "* 4 EXPUNGE", "OK [MESSAGELIMIT 3 7]")
	c.fill("INBOX", 2)
	c.ok("NOOP")
	c.want("UID EXPUNGE 1:*", "* 3 EXPUNGE\n* 2 EXPUNGE\n* 1 EXPUNGE\nOK UID EXPUNGE completed") // five messages, of which three
	c.fill("INBOX", 2)
	c.ok("NOOP")
	c.ok(`STORE 1:2 +FLAGS.SILENT (\Deleted)`)
	c.ok(`STORE 3:4 +FLAGS.SILENT (\Deleted)`)
	has(t, c.do("EXPUNGE"), "* 4 EXPUNGE", "* 1 EXPUNGE", "OK EXPUNGE") // has no limit
	c.want("APPEND INBOX {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx", "NO [MESSAGELIMIT 3] Too many messages in one APPEND")
}

// TestHighest compares the last positions of runs with those of a list.
func TestHighest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var runs []span
		var all []int
		at := 0
		for range rapid.IntRange(0, 9).Draw(t, "runs") {
			at += rapid.IntRange(1, 5).Draw(t, "gap")
			sp := span{at, at + rapid.IntRange(1, 9).Draw(t, "length")}
			for ; at < sp.hi; at++ {
				all = append(all, at)
			}
			runs = append(runs, sp)
		}
		n := rapid.IntRange(0, len(all)).Draw(t, "n")
		var got []int
		for _, sp := range highest(runs, n) {
			for i := sp.lo; i < sp.hi; i++ {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, all[len(all)-n:]) {
			t.Fatalf("the last %d of %v are %v", n, runs, got)
		}
	})
}

// TestSearchProgress: a search that reads messages tells how far it is (RFC 9585).
func TestSearchProgress(t *testing.T) {
	w := newWorld(t, imap.Limits{ProgressTime: time.Nanosecond}, "ann")
	c := w.login("ann")
	c.fill("INBOX", 5)
	c.ok("SELECT INBOX")
	got := c.do("SEARCH BODY body")
	has(t, got, `* OK [INPROGRESS ("x`, `" 0 5)] Still working`, `" 4 5)] Still working`, "* SEARCH 1 2 3 4 5\n", "OK SEARCH")
	if got := c.ok("SEARCH UNSEEN"); strings.Contains(got, "INPROGRESS") {
		t.Errorf("a search of columns tells of progress:\n%s", got)
	}
	has(t, c.do("SORT (SUBJECT) UTF-8 ALL"), "INPROGRESS", "* SORT 1 2 3 4 5\n")
}
