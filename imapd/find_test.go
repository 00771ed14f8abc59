package imapd

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/postino-mail/postino/imap"
)

// finding is a user with a conversation in INBOX and mailboxes beside it.
func finding(t *testing.T) *client {
	c := newWorld(t, imap.Limits{Errors: 100}, "ann").login("ann")
	for _, m := range []struct{ id, from, subject, references, date string }{
		{"1", `"Zoe" <a@x.example>`, "Plans", "", "Mon, 2 Nov 2026 10:00:00 +0000"},
		{"2", `"Adam" <z@x.example>`, "Re: Plans", "<1@x>", "Mon, 2 Nov 2026 12:00:00 +0000"},
		{"3", "m@x.example", "Invoice for November", "", "Sun, 1 Nov 2026 10:00:00 +0000"},
		{"4", "n@x.example", "Re: Plans", "<1@x>", "Mon, 2 Nov 2026 11:00:00 +0000"},
		{"5", "b@x.example", "=?ISO-8859-1?Q?Caf=E9?=", "", "Tue, 3 Nov 2026 10:00:00 +0000"},
	} {
		refs := ""
		if m.references != "" {
			refs = "References: " + m.references + "\r\n"
		}
		c.append("INBOX", fmt.Sprintf("From: %s\r\nSubject: %s\r\nMessage-ID: <%s@x>\r\n%sDate: %s\r\n\r\nBody %s%s\r\n",
			m.from, m.subject, m.id, refs, m.date, m.id, strings.Repeat(" much", 10*len(m.id)*int(m.id[0]-'0'))))
	}
	c.ok("CREATE Work")
	c.ok("CREATE Work/Old")
	c.append("Work/Old", "Subject: Plans\r\n\r\nold\r\n")
	c.ok("SELECT INBOX")
	return c
}

func TestFind(t *testing.T) {
	c := finding(t)
	for command, want := range map[string]string{
		// RFC 5256, RFC 5957
		"SORT (SUBJECT) UTF-8 ALL":                     "* SORT 5 3 1 2 4\n",
		"SORT (REVERSE DATE) UTF-8 ALL":                "* SORT 5 2 4 1 3\n",
		"UID SORT (DISPLAYFROM) UTF-8 SUBJECT plans":   "* SORT 2 4 1\n",
		"SORT (FROM) US-ASCII 1:2":                     "* SORT 1 2\n",
		"SORT RETURN (MIN MAX ALL) (SIZE) UTF-8 1:3":   "* ESEARCH (TAG \"%\") MIN 1 MAX 3 ALL 1:3\n",
		"SORT RETURN (PARTIAL -1:-2) (DATE) UTF-8 ALL": "* ESEARCH (TAG \"%\") PARTIAL (-1:-2 2,5)\n",
		"THREAD REFERENCES UTF-8 ALL":                  "* THREAD (3)(1 (4)(2))(5)\n",
		"THREAD ORDEREDSUBJECT UTF-8 ALL":              "* THREAD (3)(1 (4)(2))(5)\n",
		"UID THREAD REFS UTF-8 NOT 1":                  "* THREAD (3)((4)(2))(5)\n",
		// RFC 5032, RFC 8514, RFC 8474
		"SEARCH YOUNGER 3600 NOT OLDER 3600 2": "* SEARCH 2\n",
		"SEARCH SAVEDSINCE 1-Jan-2026 3":       "* SEARCH 3\n",
		"SEARCH SAVEDBEFORE 1-Jan-2026":        "* SEARCH\n",
		"SEARCH OR EMAILID Mfff-1 THREADID x":  "* SEARCH\n",
		// sets, RFC 9394
		"SEARCH 4:9":                              "* SEARCH 4 5\n",
		"UID SEARCH RETURN (PARTIAL 1:2) 2:*":     "* ESEARCH (TAG \"%\") UID PARTIAL (1:2 2:3)\n",
		"UID FETCH 1:* FLAGS (PARTIAL -2:-3)":     "* 3 FETCH (UID 3 FLAGS ())\n* 4 FETCH (UID 4 FLAGS ())\n",
		"UID FETCH 4,1:2 (UID) (PARTIAL 3:9)":     "* 4 FETCH (UID 4)\n",
		"UID FETCH 1:2 RFC822.SIZE (PARTIAL 3:9)": "",
		// RFC 7377
		"ESEARCH IN (subtree Work) SUBJECT plans":                      "* ESEARCH (TAG \"%\" MAILBOX \"Work/Old\" UIDVALIDITY #) UID ALL 1\n",
		"ESEARCH IN (mailboxes (INBOX Nowhere Work)) RETURN (MAX) 1:3": "* ESEARCH (TAG \"%\" MAILBOX \"INBOX\" UIDVALIDITY #) UID MAX 3\n",
		"UIDBATCHES 500": "* UIDBATCHES (TAG \"%\") 5:1\n",
	} {
		got := c.ok("%s", command)
		got = regexp.MustCompile(`TAG "x\d+"`).ReplaceAllString(got, `TAG "%"`)
		got = regexp.MustCompile(`UIDVALIDITY \d+`).ReplaceAllString(got, `UIDVALIDITY #`)
		if got != want {
			t.Errorf("%s\ngot  %q\nwant %q", command, got, want)
		}
	}
	if got := c.ok("SEARCH CHARSET ISO-8859-1 SUBJECT {4+}\r\ncaf\xe9"); got != "* SEARCH 5\n" {
		t.Errorf("charset: %q", got)
	}
	ids := regexp.MustCompile(`EMAILID \((\S+?)\) THREADID \((\S+?)\)`).FindStringSubmatch(c.ok("FETCH 2 (EMAILID THREADID)"))
	if ids == nil {
		t.Fatal("no object ids")
	}
	if got := c.ok("SEARCH EMAILID %s", ids[1]); got != "* SEARCH 2\n" {
		t.Errorf("EMAILID: %q", got)
	}
	if got := c.ok("SEARCH THREADID %s", ids[2]); got != "* SEARCH 1 2 4\n" {
		t.Errorf("THREADID: %q", got)
	}
	c.ok("COPY 2 Work")
	if got := c.ok("ESEARCH IN (personal) RETURN (COUNT) EMAILID %s", ids[1]); strings.Count(got, "COUNT 1\n") != 2 {
		t.Errorf("a copy is the same: %q", got)
	}
}

func TestFindFilter(t *testing.T) {
	c := finding(t)
	c.ok(`SETMETADATA "" ("/private/filters/values/about" "OR SUBJECT plans SUBJECT invoice")`)
	if got := c.ok("SEARCH FILTER about NOT 1"); got != "* SEARCH 2 3 4\n" {
		t.Errorf("%q", got)
	}
	c.want("SEARCH FILTER other", "NO [UNDEFINED-FILTER other] No such filter")
}

// TestFindContext keeps a search and a sort up to date through changes of another
// session (RFC 5267 §4.3).
func TestFindContext(t *testing.T) {
	c := finding(t)
	other := c.login("ann")
	other.ok("SELECT INBOX")
	c.ok("UID SEARCH RETURN (UPDATE COUNT) UNSEEN")              // x10
	c.ok("SORT RETURN (UPDATE COUNT) (SUBJECT) UTF-8 UNDELETED") // x11
	tag := func(n int) string { return fmt.Sprintf(`* ESEARCH (TAG "x%d")`, c.n-n) }
	first, second := tag(1), tag(0)
	c.ok(`STORE 2 +FLAGS.SILENT \Seen`)
	other.ok(`STORE 3 +FLAGS.SILENT \Deleted`)
	other.append("INBOX", "Subject: Aims\r\n\r\nnew\r\n")
	if got := c.ok("NOOP"); got != "* 6 EXISTS\n* 3 FETCH (FLAGS (\\Deleted))\n"+first+" UID ADDTO (0 6)\n"+
		second+" REMOVEFROM (2 3) ADDTO (1 6)\n" {
		t.Errorf("got %q", got)
	}
	other.ok("EXPUNGE")
	if got := c.ok("NOOP"); got != "* 3 EXPUNGE\n"+first+" UID REMOVEFROM (0 3)\n" {
		t.Errorf("got %q", got)
	}
	other.ok(`UID STORE 1 +FLAGS.SILENT \Deleted`)
	other.ok("EXPUNGE")
	if got := c.ok("NOOP"); got != second+" REMOVEFROM (3 1)\n* 1 EXPUNGE\n"+first+" UID REMOVEFROM (0 1)\n" {
		t.Errorf("got %q", got)
	}
}

// TestFindFuzzy: RFC 6203.
func TestFindFuzzy(t *testing.T) {
	c := finding(t)
	if got := c.ok("SEARCH FUZZY SUBJECT invoise"); got != "* SEARCH 3\n" {
		t.Errorf("%q", got)
	}
	if got := c.ok("SEARCH SUBJECT invoise"); got != "* SEARCH\n" {
		t.Errorf("%q", got)
	}
	got := c.ok("SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT plan 1:3")
	if !regexp.MustCompile(`^\* ESEARCH \(TAG "x\d+"\) ALL 1:2 RELEVANCY \(\d+ \d+\)\n$`).MatchString(got) {
		t.Errorf("%q", got)
	}
	if got := c.ok(`UID SORT (RELEVANCY ARRIVAL) UTF-8 FUZZY SUBJECT "november invoices"`); got != "* SORT 3\n" {
		t.Errorf("%q", got)
	}
}

func TestWindow(t *testing.T) {
	spans := []span{{2, 4}, {7, 8}, {10, 14}}
	for _, x := range []struct {
		p    *imap.Partial
		want string
	}{
		{nil, "[{2 4} {7 8} {10 14}]"},
		{&imap.Partial{Lo: 1, Hi: 1}, "[{2 3}]"},
		{&imap.Partial{Lo: 4, Hi: 2}, "[{3 4} {7 8} {10 11}]"},
		{&imap.Partial{Lo: -1, Hi: -5}, "[{7 8} {10 14}]"},
		{&imap.Partial{Lo: 8, Hi: 9}, "[]"},
		{&imap.Partial{Lo: -7, Hi: -700}, "[{2 3}]"},
	} {
		if got := fmt.Sprint(window(spans, x.p)); got != x.want {
			t.Errorf("%v: %s", x.p, got)
		}
	}
}
