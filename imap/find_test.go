package imap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// findStore has five messages: UID 1 to 5, of sizes that do not ascend.
func findStore() *memStore {
	store := newMemStore("Work", "Work/A", "Work/A/B", "Other").withFilters()
	for i, subject := range []string{"two two", "one", "three three three", "caf\u00e9", "five"} {
		store.put("INBOX", fmt.Sprintf("From: Bob <bob%d@example.org>\r\nSubject: %s\r\n\r\n%s\r\n", 5-i, subject, strings.Repeat("x", 10*(i%2))), 0)
	}
	store.put("Work", mail1, Seen)
	store.put("Work/A", mail1, 0)
	store.put("Work/A/B", mail1, 0)
	store.put("Other", mail1, 0)
	for i, m := range store.boxes["INBOX"].msgs {
		m.date = store.now.Add(-time.Duration(i) * time.Hour)
	}
	return store
}

// finding is a client that has INBOX of findStore selected.
func finding(t *testing.T) (*memStore, *client, func() *client) {
	store := findStore()
	_, connect := start(t, store, func(o *Options) { o.Limits.Errors = 100 })
	c := login(t, connect)
	selectInbox(c)
	return store, c, connect
}

func TestSearchKeysOfExtensions(t *testing.T) {
	_, c, _ := finding(t)
	c.play(`
		# RFC 5032
		C: a SEARCH YOUNGER 3601
		S: * SEARCH 1 2
		S: a OK SEARCH completed
		C: b SEARCH OLDER 3601
		S: * SEARCH 3 4 5
		S: b OK SEARCH completed
		C: c SEARCH YOUNGER 0
		S~ c BAD .*
		# RFC 8514, RFC 8474
		C: d SEARCH SAVEDSINCE 1-Jan-2020 SAVEDATESUPPORTED NOT SAVEDBEFORE 1-Jan-2020 NOT SAVEDON 1-Jan-2020
		S: * SEARCH 1 2 3 4 5
		S: d OK SEARCH completed
		C: e SEARCH OR EMAILID M1-1 THREADID T9
		S: * SEARCH 1
		S: e OK SEARCH completed
		C: f SEARCH EMAILID a/b
		S: f BAD Expected an object id
		# RFC 7162 §3.1.5
		C: g SEARCH MODSEQ "/flags/\\draft" all 5
		S: * OK [HIGHESTMODSEQ 6] Mod-sequences enabled
		S: * SEARCH 4 5 (MODSEQ 6)
		S: g OK SEARCH completed
		# A bare set is of sequence numbers in UID SEARCH too.
		C: h UID STORE 1 +FLAGS.SILENT \Deleted
		S~ .*
		S: h OK UID STORE completed
		C: i EXPUNGE
		S: * 1 EXPUNGE
		S: i OK [HIGHESTMODSEQ 8] EXPUNGE completed
		C: j UID SEARCH 1:2
		S: * SEARCH 2 3
		S: j OK UID SEARCH completed
		C: k UID SEARCH UID 1:2
		S: * SEARCH 2
		S: k OK UID SEARCH completed`)
}

func TestFuzzy(t *testing.T) {
	_, c, _ := finding(t)
	c.play(`
		C: a SEARCH FUZZY (SUBJECT "thread")
		S: * SEARCH 3
		S: a OK SEARCH completed
		C: b SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT bobby 1:3
		S: * ESEARCH (TAG "b") ALL 1:3 RELEVANCY (48 42 38)
		S: b OK SEARCH completed
		C: c SORT (RELEVANCY) UTF-8 FUZZY TEXT bobby
		S: * SORT 5 1 2 4 3
		S: c OK SORT completed
		C: d SORT RETURN (RELEVANCY PARTIAL 1:2) (RELEVANCY) UTF-8 FUZZY TEXT bobby
		S: * ESEARCH (TAG "d") PARTIAL (1:2 5,1) RELEVANCY (51 48)
		S: d OK SORT completed
		C: e SEARCH RETURN (RELEVANCY) ALL
		S: e BAD RELEVANCY needs FUZZY
		C: f SORT (RELEVANCY) UTF-8 ALL
		S: f BAD RELEVANCY needs FUZZY`)
}

func TestSort(t *testing.T) {
	_, c, _ := finding(t)
	c.play(`
		C: a SORT (SUBJECT) UTF-8 ALL
		S: * SORT 4 5 2 3 1
		S: a OK SORT completed
		C: b UID SORT (REVERSE SUBJECT) "us-ascii" NOT 5
		S: * SORT 1 3 2 4
		S: b OK UID SORT completed
		C: c SORT RETURN () (REVERSE ARRIVAL REVERSE ARRIVAL FROM) UTF-8 ALL
		S: * ESEARCH (TAG "c") ALL 1:5
		S: c OK SORT completed
		# RFC 5267 §3.2: a range ascends
		C: d UID SORT RETURN (MIN MAX COUNT ALL) (DISPLAYFROM) UTF-8 ALL
		S: * ESEARCH (TAG "d") UID MIN 5 MAX 1 ALL 5,4,3,2,1 COUNT 5
		S: d OK UID SORT completed
		C: e SORT RETURN (PARTIAL -1:-2 SAVE) (DATE) UTF-8 ALL
		S: * ESEARCH (TAG "e") PARTIAL (-1:-2 2,1)
		S: e OK SORT completed
		C: f UID SEARCH $
		S: * SEARCH 1 2
		S: f OK UID SEARCH completed
		C: g SORT (SIZE) UTF-8 SUBJECT "none"
		S: * SORT
		S: g OK SORT completed
		C: h SORT () UTF-8 ALL
		S: h BAD Expected a sort criterion
		C: i SORT (COLOUR) UTF-8 ALL
		S: i BAD Unknown sort criterion
		C: j SORT (SIZE) X-NONE ALL
		S~ j NO \[BADCHARSET .*\] .*
		C: k SORT (SIZE) UTF-8 MODSEQ 5
		S~ \* OK \[HIGHESTMODSEQ 6\] .*
		S: * SORT 5 4 (MODSEQ 6)
		S: k OK SORT completed`)
}

func TestCharsets(t *testing.T) {
	_, c, _ := finding(t)
	c.send("a SEARCH CHARSET ISO-8859-1 SUBJECT {4+}\r\ncaf\xe9\r\n")
	c.play(`
		S: * SEARCH 4
		S: a OK SEARCH completed`)
	c.send("b SEARCH CHARSET UTF-8 SUBJECT {5+}\r\ncaf\xc3\xa9 NOT DELETED\r\n")
	c.play(`
		S: * SEARCH 4
		S: b OK SEARCH completed
		C: c SEARCH RETURN (SAVE) ALL
		S: c OK SEARCH completed
		C: d SEARCH RETURN (SAVE) CHARSET X-NONE ALL
		S~ d NO \[BADCHARSET .*\] .*
		# RFC 5182 §2.1: NO empties "$", BAD leaves it
		C: e SEARCH $
		S: * SEARCH
		S: e OK SEARCH completed
		C: f SEARCH RETURN (SAVE) 1
		S: f OK SEARCH completed
		C: g SEARCH RETURN (SAVE) XYZ
		S~ g BAD .*
		C: h SEARCH $
		S: * SEARCH 1
		S: h OK SEARCH completed`)
}

// TestPartial: RFC 9394 §3.1 and table 1.
func TestPartial(t *testing.T) {
	_, c, _ := finding(t)
	for _, x := range []struct{ ret, answer, saved string }{
		{"PARTIAL 1:2", "PARTIAL (1:2 1:2)", "1 2"},
		{"PARTIAL 5:4", "PARTIAL (5:4 4:5)", "4 5"},
		{"PARTIAL -1:-2", "PARTIAL (-1:-2 4:5)", "4 5"},
		{"PARTIAL -5:-100", "PARTIAL (-5:-100 1)", "1"},
		{"PARTIAL 6:9", "PARTIAL (6:9 NIL)", ""},
		{"MIN PARTIAL 2:3", "MIN 1 PARTIAL (2:3 2:3)", "1 2 3"},
		{"MAX PARTIAL 2:3", "MAX 5 PARTIAL (2:3 2:3)", "2 3 5"},
		{"MIN PARTIAL 3:3 MAX", "MIN 1 MAX 5 PARTIAL (3:3 3)", "1 3 5"},
		{"PARTIAL 2:3 COUNT", "PARTIAL (2:3 2:3) COUNT 5", "1 2 3 4 5"},
		{"PARTIAL 2:3 COUNT MIN", "MIN 1 PARTIAL (2:3 2:3) COUNT 5", "1 2 3 4 5"},
	} {
		plain := c.do("SEARCH RETURN (" + x.ret + ") ALL")
		if want := `* ESEARCH (TAG "x") ` + x.answer; plain[0] != want {
			t.Errorf("%s: %s", x.ret, plain[0])
		}
		if lines := c.do("SEARCH RETURN (SAVE " + x.ret + ") ALL"); lines[0] != plain[0] {
			t.Errorf("with SAVE: %s", lines[0])
		}
		if lines := c.do("UID SEARCH $"); lines[0] != strings.TrimSpace("* SEARCH "+x.saved) {
			t.Errorf("%s: $ is %s", x.ret, lines[0])
		}
	}
	for _, ret := range []string{"PARTIAL", "PARTIAL 1", "PARTIAL 0:1", "PARTIAL 1:-1", "PARTIAL -1:1", "PARTIAL 1:*", "PARTIAL 1:2 ALL",
		"PARTIAL 1:2 PARTIAL 3:4", "PARTIAL 1:4294967296"} {
		if lines := c.do("SEARCH RETURN (" + ret + ") ALL"); !strings.HasPrefix(lines[0], "x BAD") {
			t.Errorf("%s: %s", ret, lines)
		}
	}
	c.play(`
		C: a FETCH 1:* FLAGS (PARTIAL 1:2)
		S: a BAD Unknown modifier
		C: b UID FETCH 1:* FLAGS (PARTIAL 1:2 PARTIAL 3:4)
		S: b BAD Unknown modifier`)
}

func TestFilters(t *testing.T) {
	_, c, _ := finding(t)
	c.do(`STORE 2:3 +FLAGS.SILENT \Seen`)
	c.play(`
		C: a SEARCH UID 2 FILTER seen
		S: * SEARCH 2
		S: a OK SEARCH completed
		C: b SEARCH FILTER Seen NOT FILTER seen
		S: * SEARCH
		S: b OK SEARCH completed
		C: c SEARCH OR FILTER shared FILTER seen
		S: * SEARCH 1 2 3
		S: c OK SEARCH completed
		C: d SEARCH FILTER deep
		S: * SEARCH
		S: d OK SEARCH completed
		C: e SEARCH FILTER none
		S: e NO [UNDEFINED-FILTER none] No such filter
		C: f SEARCH RETURN (SAVE) FILTER loop
		S: f NO [UNDEFINED-FILTER loop] No such filter
		C: g SEARCH FILTER broken
		S: g NO [UNDEFINED-FILTER broken] The filter is not a search
		C: h SEARCH FILTER lines
		S: h NO [UNDEFINED-FILTER lines] The filter is not a search
		C: i SEARCH FILTER many
		S: i NO [UNDEFINED-FILTER seen] No such filter
		C: j SEARCH FILTER a/b
		S~ j BAD .*
		C: k SEARCH CHARSET ISO-8859-1 FILTER seen
		S~ k BAD \[BADCHARSET .*\] .*`)
	check := parsing("")
	for value, ok := range map[string]bool{"SEEN": true, "OR SEEN": false, "(FILTER seen) NOT SEEN": true, "": false, "SEEN\r\n": true, "SEEN\r\nX": false} {
		if err := check.checkFilter([]byte(value)); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestThread(t *testing.T) {
	_, c, _ := finding(t)
	c.play(`
		C: a THREAD ORDEREDSUBJECT UTF-8 ALL
		S: * THREAD (5)(1)(2)(4)(3)
		S: a OK THREAD completed
		C: b UID THREAD REFERENCES UTF-8 ALL
		S: * THREAD (5 (1)(2 4)(3))
		S: b OK UID THREAD completed
		C: c THREAD REFS US-ASCII SUBJECT none
		S: * THREAD
		S: c OK THREAD completed
		C: d THREAD JWZ UTF-8 ALL
		S: d BAD Unknown threading algorithm
		C: e THREAD REFS X-NONE ALL
		S~ e NO \[BADCHARSET .*`)
}

// TestThreads is the printing of forests: RFC 5256 §4 and parents that are not there.
func TestThreads(t *testing.T) {
	for want, nodes := range map[string][]ThreadNode{
		"* THREAD":                          nil,
		"* THREAD (2)(3 6 (4 23)(44 7 96))": {{0, 2}, {0, 3}, {1, 6}, {2, 4}, {3, 23}, {2, 44}, {3, 7}, {4, 96}},
		"* THREAD ((3)(5))":                 {{0, 0}, {1, 3}, {1, 5}},
		"* THREAD (5)(1 (2)(3))(4)":         {{0, 0}, {1, 5}, {0, 1}, {1, 0}, {2, 2}, {2, 3}, {0, 4}},
	} {
		if got := printThreads(nodes); got != want+"\r\n" {
			t.Errorf("got %q want %q", got, want)
		}
	}
	deep := make([]ThreadNode, 100_000) // G3
	for i := range deep {
		deep[i] = ThreadNode{Depth: i, Num: uint32(i + 1)}
	}
	if got := printThreads(deep); !strings.HasPrefix(got, "* THREAD (1 2 3 ") || !strings.HasSuffix(got, " 100000)\r\n") {
		t.Error("a deep thread")
	}
}

func printThreads(nodes []ThreadNode) string {
	r := &recorder{}
	o := &output{conn: r, stall: time.Minute}
	o.open()
	o.threads(nodes)
	o.flush()
	return r.out.String()
}

// TestThreadsGrammar: every forest gives a response of the grammar with all numbers.
func TestThreadsGrammar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []ThreadNode
		n, depth := rapid.IntRange(0, 40).Draw(t, "n"), 0
		for i := range n {
			if depth = rapid.IntRange(0, depth).Draw(t, "depth"); i == 0 {
				depth = 0
			}
			nodes = append(nodes, ThreadNode{Depth: depth, Num: uint32(i + 1)})
			depth++
		}
		got := printThreads(nodes)
		if err := checkResponses([]byte(got), false); err != nil {
			t.Fatalf("%v in %q of %v", err, got, nodes)
		}
		numbers := strings.FieldsFunc(got[len("* THREAD"):len(got)-2], func(r rune) bool { return r < '0' || r > '9' })
		for i, s := range numbers {
			if s != fmt.Sprint(i+1) {
				t.Fatalf("%q of %v", got, nodes)
			}
		}
		if len(numbers) != n {
			t.Fatalf("%q of %v", got, nodes)
		}
	})
}

func TestMultiSearch(t *testing.T) {
	store, c, connect := finding(t)
	c.play(`
		C: a ESEARCH IN (mailboxes ("Work" "Nowhere" "INBOX") subtree-one Work/A) RETURN (ALL COUNT) UNSEEN
		S: * ESEARCH (TAG "a" MAILBOX "INBOX" UIDVALIDITY 101) UID ALL 1:5 COUNT 5
		S: * ESEARCH (TAG "a" MAILBOX "Work/A" UIDVALIDITY 103) UID ALL 1 COUNT 1
		S: * ESEARCH (TAG "a" MAILBOX "Work/A/B" UIDVALIDITY 104) UID ALL 1 COUNT 1
		S: a OK ESEARCH completed
		C: b ESEARCH IN (personal) RETURN (COUNT) SEEN
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY 102) UID COUNT 1
		S: b OK ESEARCH completed
		C: c ESEARCH SUBJECT one
		S: * ESEARCH (TAG "c" MAILBOX "INBOX" UIDVALIDITY 101) UID ALL 2
		S: c OK ESEARCH completed
		C: d ESEARCH RETURN (SAVE) SUBJECT one
		S: d OK ESEARCH completed
		C: e ESEARCH IN (selected) RETURN (PARTIAL -1:-1) $
		S: * ESEARCH (TAG "e" MAILBOX "INBOX" UIDVALIDITY 101) UID PARTIAL (-1:-1 2)
		S: e OK ESEARCH completed
		C: f ESEARCH IN (subscribed) ALL
		S: f OK ESEARCH completed
		C: g ESEARCH IN (personal) RETURN (SAVE) ALL
		S: g BAD SAVE is for the selected mailbox alone
		C: h ESEARCH IN (personal selected) $
		S: h BAD $ is of the selected mailbox alone
		C: i ESEARCH IN (selected-delayed) ALL
		S: i BAD Not a source of searches
		C: j ESEARCH IN () ALL
		S: j BAD Expected a mailbox filter
		# RFC 7377 §2: sequence numbers are those of each mailbox
		C: k ESEARCH IN (mailboxes (INBOX Work)) 1:2
		S: * ESEARCH (TAG "k" MAILBOX "INBOX" UIDVALIDITY 101) UID ALL 1:2
		S: * ESEARCH (TAG "k" MAILBOX "Work" UIDVALIDITY 102) UID ALL 1
		S: k OK ESEARCH completed`)
	c.do("UNSELECT")
	c.play(`
		C: l ESEARCH ALL
		S: l BAD No mailbox is selected
		C: m ESEARCH IN (mailboxes Work) RETURN (UPDATE) ALL
		S: m BAD No mailbox is selected
		C: n ESEARCH IN (mailboxes Work) ALL
		S: * ESEARCH (TAG "n" MAILBOX "Work" UIDVALIDITY 102) UID ALL 1
		S: n OK ESEARCH completed`)
	c = login(t, connect)
	selectInbox(c)
	c.play(`
		C: a ESEARCH IN (personal) RETURN (UPDATE COUNT) SEEN
		S: * ESEARCH (TAG "a" MAILBOX "Work" UIDVALIDITY 102) UID COUNT 1
		S: a OK ESEARCH completed
		C: b ESEARCH IN (mailboxes Work) RETURN (UPDATE COUNT) SEEN
		S: * ESEARCH (TAG "b" MAILBOX "Work" UIDVALIDITY 102) UID COUNT 1
		S: * NO [NOUPDATE "b"] Too many contexts
		S: b OK ESEARCH completed
		!
		C: c NOOP
		S: * 6 EXISTS
		S: * ESEARCH (TAG "a") UID ADDTO (0 6)
		S: c OK NOOP completed`, func() { store.put("INBOX", mail1, Seen) })
}

// TestContexts: RFC 5267 §4.3.
func TestContexts(t *testing.T) {
	store, c, _ := finding(t)
	c.play(`
		C: a UID SEARCH RETURN (UPDATE ALL) UNSEEN
		S: * ESEARCH (TAG "a") UID ALL 1:5
		S: a OK UID SEARCH completed
		C: b SEARCH RETURN (UPDATE COUNT CONTEXT) UNSEEN 1:5
		S: * ESEARCH (TAG "b") COUNT 5
		S: b OK SEARCH completed
		C: c UID SORT RETURN (UPDATE) (SUBJECT) UTF-8 UNSEEN
		S: * ESEARCH (TAG "c") UID
		S: c OK UID SORT completed
		C: d SORT RETURN (UPDATE ALL) (REVERSE SUBJECT) UTF-8 UNSEEN
		S: * ESEARCH (TAG "d") ALL 1,3,2,5,4
		S: d OK SORT completed
		C: b SORT RETURN (UPDATE) (SIZE) UTF-8 ALL
		S: b BAD Tag reuse
		# The session's own STORE, silent or not
		C: e STORE 2:3 +FLAGS.SILENT \Seen
		S: * ESEARCH (TAG "a") UID REMOVEFROM (0 2:3)
		S: * ESEARCH (TAG "b") REMOVEFROM (0 2:3)
		S: * ESEARCH (TAG "c") UID REMOVEFROM (3 2:3)
		S: * ESEARCH (TAG "d") REMOVEFROM (2 3,2)
		S: e OK STORE completed
		# A FETCH that sets \Seen
		C: f FETCH 1 BODY[HEADER.FIELDS (X)]
		S~ \* 1 FETCH \(FLAGS.*
		S:
		S: )
		S: * ESEARCH (TAG "a") UID REMOVEFROM (0 1)
		S: * ESEARCH (TAG "b") REMOVEFROM (0 1)
		S: * ESEARCH (TAG "c") UID REMOVEFROM (3 1)
		S: * ESEARCH (TAG "d") REMOVEFROM (1 1)
		S: f OK FETCH completed
		# New mail, after EXISTS; b is of the first five only
		!
		C: g NOOP
		S: * 6 EXISTS
		S: * ESEARCH (TAG "a") UID ADDTO (0 6)
		S: * ESEARCH (TAG "c") UID ADDTO (3 6)
		S: * ESEARCH (TAG "d") ADDTO (1 6)
		S: g OK NOOP completed
		C: h STORE 3 -FLAGS (\Seen)
		S: * 3 FETCH (FLAGS ())
		S: * ESEARCH (TAG "a") UID ADDTO (0 3)
		S: * ESEARCH (TAG "b") ADDTO (0 3)
		S: * ESEARCH (TAG "c") UID ADDTO (4 3)
		S: * ESEARCH (TAG "d") ADDTO (1 3)
		S: h OK STORE completed
		# Sequence numbers are told before they go, UIDs whenever
		C: i STORE 3,5 +FLAGS.SILENT \Deleted
		S: i OK STORE completed
		C: j EXPUNGE
		S: * ESEARCH (TAG "b") REMOVEFROM (0 3)
		S: * ESEARCH (TAG "d") REMOVEFROM (1 3)
		S: * 3 EXPUNGE
		S: * ESEARCH (TAG "b") REMOVEFROM (0 4)
		S: * ESEARCH (TAG "d") REMOVEFROM (2 4)
		S: * 4 EXPUNGE
		S: * ESEARCH (TAG "a") UID REMOVEFROM (0 3,5)
		S: * ESEARCH (TAG "c") UID REMOVEFROM (2 5 3 3)
		S: j OK EXPUNGE completed
		C: k CANCELUPDATE "a" "c"
		S: k OK CANCELUPDATE completed
		C: l STORE 3 -FLAGS.SILENT \Flagged
		S: l OK STORE completed
		C: m STORE 4 +FLAGS.SILENT \Seen
		S: * ESEARCH (TAG "d") REMOVEFROM (1 4)
		S: m OK STORE completed
		C: n CANCELUPDATE b
		S: n BAD Expected tags in quotes
		C: o CANCELUPDATE
		S~ o BAD .*`, func() { store.put("INBOX", mail1, 0) })
	if lines := c.do("SELECT INBOX"); !strings.Contains(lines[0], "CLOSED") {
		t.Error(lines)
	}
	if lines := c.do(`STORE 1:* +FLAGS.SILENT \Seen`); len(lines) != 1 {
		t.Error("contexts live on:", lines)
	}
}

// TestContextLimit: the limit of contexts, RFC 5267 §4.3.1.
func TestContextLimit(t *testing.T) {
	_, c, _ := finding(t)
	for i := range 8 {
		c.play(fmt.Sprintf("C: t%d SEARCH RETURN (UPDATE COUNT) ALL\nS~ .*COUNT 5\nS~ t%d OK.*", i, i))
	}
	c.play(`
		C: a SEARCH RETURN (UPDATE COUNT) ALL
		S: * ESEARCH (TAG "a") COUNT 5
		S: * NO [NOUPDATE "a"] Too many contexts
		S: a OK SEARCH completed
		C: b CANCELUPDATE "t3"
		S: b OK CANCELUPDATE completed
		C: c SEARCH RETURN (UPDATE COUNT) ALL
		S: * ESEARCH (TAG "c") COUNT 5
		S: c OK SEARCH completed`)
}

// TestUpdateFetch: RFC 5465 §7: items of new messages come before the update, and
// none of messages that match by a change.
func TestUpdateFetch(t *testing.T) {
	store, c, _ := finding(t)
	c.play(`
		C: a SEARCH RETURN (COUNT UPDATE (UID RFC822.SIZE)) FLAGGED
		S: * ESEARCH (TAG "a") COUNT 0
		S: a OK SEARCH completed
		!
		C: b NOOP
		S: * 6 EXISTS
		S: * 6 FETCH (UID 6 RFC822.SIZE 57)
		S: * ESEARCH (TAG "a") ADDTO (0 6)
		S: b OK NOOP completed
		C: c STORE 1 +FLAGS.SILENT \Flagged
		S: * ESEARCH (TAG "a") ADDTO (0 1)
		S: c OK STORE completed
		C: d IDLE
		S: + idling
		!
		S: * 7 EXISTS
		S: * 7 FETCH (UID 7 RFC822.SIZE 57)
		S: * ESEARCH (TAG "a") ADDTO (0 7)
		C: DONE
		S: d OK IDLE completed
		C: e SEARCH RETURN (UPDATE ()) ALL
		S: e BAD Expected a data item`,
		func() { store.put("INBOX", mail1, Flagged) }, func() { store.put("INBOX", mail1, Flagged) })
}

func TestUIDBatches(t *testing.T) {
	store := newMemStore()
	for range 1203 {
		store.put("INBOX", "x", 0)
	}
	_, connect := start(t, store, func(o *Options) { o.Limits.Errors = 100 })
	c := login(t, connect)
	c.do("SELECT INBOX")
	c.play(`
		C: a UIDBATCHES 500
		S: * UIDBATCHES (TAG "a") 1203:704,703:204,203:1
		S: a OK UIDBATCHES completed
		C: b UIDBATCHES 500 2:2
		S: * UIDBATCHES (TAG "b") 703:204
		S: b OK UIDBATCHES completed
		C: c UIDBATCHES 500 4:9
		S: * UIDBATCHES (TAG "c")
		S: c OK UIDBATCHES completed
		C: d UIDBATCHES 2000
		S: * UIDBATCHES (TAG "d") 1203:1
		S: d OK UIDBATCHES completed
		C: e UIDBATCHES 499
		S: e NO [TOOFEW] Minimum batch size is 500
		C: f UIDBATCHES 2000 4:1
		S: f BAD [CLIENTBUG] Invalid batch range
		C: g UIDBATCHES 2000 1:100
		S: g NO [TOOMANY] Too many messages
		C: h UIDBATCHES 0
		S~ h BAD .*
		C: i UIDBATCHES 500 1:4294967295
		S: i NO [TOOMANY] Too many messages
		C: j UIDBATCHES 4294967295 1:1
		S: * UIDBATCHES (TAG "j") 1203:1
		S: j OK UIDBATCHES completed`)
}

// TestRangeSets holds the arithmetic of ranges against sets of numbers.
func TestRangeSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) ([]Range, map[uint32]bool) {
			nums, set := rapid.SliceOf(rapid.Uint32Range(1, 30)).Draw(t, name), map[uint32]bool{}
			for _, n := range nums {
				set[n] = true
			}
			return rangesOf(nums), set
		}
		a, inA := draw("a")
		b, inB := draw("b")
		for name, x := range map[string]struct {
			got  []Range
			want func(n uint32) bool
		}{
			"union":  {unionRanges(a, b), func(n uint32) bool { return inA[n] || inB[n] }},
			"minus":  {minusRanges(a, b), func(n uint32) bool { return inA[n] && !inB[n] }},
			"common": {commonRanges(a, b), func(n uint32) bool { return inA[n] && inB[n] }},
		} {
			var want []Range
			for n := range uint32(32) {
				if x.want(n) {
					want = AppendRange(want, n)
				}
			}
			if !slices.Equal(x.got, want) && name != "minus" && name != "common" {
				t.Fatalf("%s of %v and %v: %v", name, a, b, x.got)
			}
			var flat, wantFlat []uint32
			for _, r := range x.got {
				for n := r.Start; n <= r.Stop; n++ {
					flat = append(flat, n)
				}
			}
			for _, r := range want {
				for n := r.Start; n <= r.Stop; n++ {
					wantFlat = append(wantFlat, n)
				}
			}
			if !slices.Equal(flat, wantFlat) {
				t.Fatalf("%s of %v and %v: %v", name, a, b, x.got)
			}
		}
	})
}

// TestContextModel plays random changes and keeps a client's lists by the updates alone:
// they must be what a fresh search gives.
func TestContextModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { playContexts(t) })
}

func playContexts(t *rapid.T) {
	store := findStore()
	sess, _ := store.session(t.Context(), nil)
	c := newConn(NewServer(Options{}), &recorder{})
	r := c.nc.(*recorder)
	c.sess, c.state = sess, authenticated
	c.out.open()
	run := func(line string) string {
		r.out.Reset()
		c.p.Reset([]byte(line))
		c.uid, c.noPoll, c.code = false, false, nil
		tag, _ := c.p.Tag()
		c.tag = bytes.Clone(tag)
		c.p.SP()
		c.finish(c.run())
		c.out.flush()
		return r.out.String()
	}
	run("s SELECT INBOX")
	lists := map[string]*clientList{}
	for tag, command := range map[string]string{
		"us": "UID SEARCH RETURN (UPDATE ALL) UNSEEN", "ns": "SEARCH RETURN (UPDATE ALL) UNSEEN",
		"uo": "UID SORT RETURN (UPDATE ALL) (SUBJECT SIZE) UTF-8 UNSEEN", "no": "SORT RETURN (UPDATE ALL) (REVERSE SIZE) UTF-8 UNSEEN",
	} {
		lists[tag] = &clientList{uid: tag[0] == 'u', sorted: tag[1] == 'o', again: strings.Replace(command, "UPDATE ", "", 1)}
		applyUpdates(t, lists, run(tag+" "+command))
	}
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		var out string
		n := len(store.boxes["INBOX"].msgs)
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			for i := range rapid.IntRange(1, 3).Draw(t, "new") {
				store.put("INBOX", "Subject: "+rapid.StringMatching("[a-f]").Draw(t, "subject")+"\r\n\r\n"+strings.Repeat("y", i), Flag(rapid.IntRange(0, 1).Draw(t, "seen")))
			}
			out = run("a NOOP")
		case 1, 2:
			if n > 0 {
				out = run(fmt.Sprintf("a STORE %d:%d %sFLAGS.SILENT \\Seen", rapid.IntRange(1, n).Draw(t, "lo"), rapid.IntRange(1, n).Draw(t, "hi"),
					rapid.SampledFrom([]string{"+", "-"}).Draw(t, "op")))
			}
		case 3:
			if n > 0 {
				out = run(fmt.Sprintf("a STORE %d,%d +FLAGS.SILENT \\Deleted", rapid.IntRange(1, n).Draw(t, "lo"), rapid.IntRange(1, n).Draw(t, "hi")))
			}
			out += run("b EXPUNGE")
		case 4: // changes of others, seen first by a command that tells no EXPUNGE
			box := store.boxes["INBOX"]
			if n > 1 {
				box.msgs[0].flags ^= Seen
				box.modseq++
				box.msgs[0].modseq = box.modseq
				box.remove(box.msgs[rapid.IntRange(0, n-1).Draw(t, "gone")].uid)
			}
			out = run("a SEARCH SEEN") + run("b NOOP")
		case 5:
			if n > 0 {
				out = run("a FETCH 1:2 BODY[TEXT]")
			}
		}
		applyUpdates(t, lists, out)
		for tag, l := range lists {
			fresh := map[string]*clientList{"f": {uid: l.uid, sorted: l.sorted}}
			applyUpdates(t, fresh, run("f "+l.again))
			if !slices.Equal(fresh["f"].nums, l.nums) {
				t.Fatalf("%s is %v by updates, %v in fact; after %q", tag, l.nums, fresh["f"].nums, out)
			}
		}
	}
}

// clientList is the list of results that a client keeps.
type clientList struct {
	uid, sorted bool
	again       string
	nums        []uint32
}

// applyUpdates does what RFC 5267 §4.3 tells clients to do.
func applyUpdates(t *rapid.T, lists map[string]*clientList, out string) {
	for line := range strings.SplitSeq(out, "\r\n") {
		var seq uint32
		if n, _ := fmt.Sscanf(line, "* %d EXPUNGE", &seq); n == 1 && strings.HasSuffix(line, " EXPUNGE") {
			for _, l := range lists {
				for i, v := range l.nums {
					if !l.uid && v > seq {
						l.nums[i]--
					} else if !l.uid && v == seq {
						t.Fatalf("expunged before it was removed: %q", out)
					}
				}
			}
		}
		rest, ok := strings.CutPrefix(line, `* ESEARCH (TAG "`)
		if !ok {
			continue
		}
		tag, rest, _ := strings.Cut(rest, `")`)
		l := lists[tag]
		words := strings.Fields(strings.NewReplacer("(", "", ")", "").Replace(strings.TrimPrefix(rest, " UID")))
		if len(words) > 0 && words[0] == "ALL" {
			l.nums = expand(t, words[1])
			continue
		}
		op := ""
		for i := 0; i < len(words); i++ {
			if words[i] == "ADDTO" || words[i] == "REMOVEFROM" {
				op = words[i]
				continue
			}
			var pos int
			fmt.Sscan(words[i], &pos)
			i++
			l.change(t, op, pos, expand(t, words[i]), out)
		}
	}
}

func (l *clientList) change(t *rapid.T, op string, pos int, nums []uint32, out string) {
	switch {
	case l.sorted && pos < 1 || !l.sorted && pos != 0 || op == "":
		t.Fatalf("position %d: %q", pos, out)
	case op == "ADDTO" && pos == 0:
		l.nums = append(l.nums, nums...)
		slices.Sort(l.nums)
	case op == "ADDTO":
		l.nums = slices.Insert(l.nums, pos-1, nums...)
	case pos == 0:
		l.nums = slices.DeleteFunc(l.nums, func(n uint32) bool { return slices.Contains(nums, n) })
	default:
		if !slices.Equal(l.nums[pos-1:pos-1+len(nums)], nums) {
			t.Fatalf("at %d of %v are not %v: %q", pos, l.nums, nums, out)
		}
		l.nums = slices.Delete(l.nums, pos-1, pos-1+len(nums))
	}
}

func expand(t *rapid.T, set string) (nums []uint32) {
	ranges, n := parseRanges([]byte(set), 1000)
	if n != len(set) {
		t.Fatalf("no set: %q", set)
	}
	for _, r := range ranges {
		for v := r.Start; v <= r.Stop; v++ {
			nums = append(nums, v)
		}
	}
	return nums
}

// TestContextsVanished: with QRESYNC every VANISHED comes before numbers that count
// on it (RFC 7162 §3.2.10.2).
func TestContextsVanished(t *testing.T) {
	_, c, _ := finding(t)
	c.do("ENABLE QRESYNC")
	c.play(`
		C: a SEARCH RETURN (UPDATE ALL) UNSEEN
		S: * ESEARCH (TAG "a") ALL 1:5
		S: a OK SEARCH completed
		C: b UID STORE 2,4 +FLAGS.SILENT \Deleted
		S~ .*
		S~ .*
		S~ b OK .*
		C: c EXPUNGE
		S: * ESEARCH (TAG "a") REMOVEFROM (0 2)
		S: * VANISHED 2
		S: * ESEARCH (TAG "a") REMOVEFROM (0 3)
		S: * VANISHED 4
		S~ c OK .*
		C: d SEARCH ALL
		S: * SEARCH 1 2 3
		S: d OK SEARCH completed`)
}

// TestUIDOnlySearches: RFC 9586 §3: searches by UID work, others are refused.
func TestUIDOnlySearches(t *testing.T) {
	_, c, _ := finding(t)
	c.do("ENABLE UIDONLY")
	c.play(`
		C: a UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 1
		S~ a BAD \[UIDREQUIRED\] .*
		C: b SORT (SUBJECT) UTF-8 ALL
		S~ b BAD \[UIDREQUIRED\] .*
		C: c THREAD REFS UTF-8 ALL
		S~ c BAD \[UIDREQUIRED\] .*
		C: d UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNSEEN
		S: * ESEARCH (TAG "d") UID ALL 4:5,2:3,1
		S: d OK UID SORT completed
		C: e UID STORE 2 +FLAGS (\Seen)
		S: * 2 UIDFETCH (FLAGS (\Seen))
		S: * ESEARCH (TAG "d") UID REMOVEFROM (3 2)
		S: e OK UID STORE completed
		C: f UIDBATCHES 500
		S: * UIDBATCHES (TAG "f") 5:1
		S: f OK UIDBATCHES completed
		C: g ESEARCH 1:2
		S~ g BAD \[UIDREQUIRED\] .*`)
}
