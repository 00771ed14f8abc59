package imap

import (
	"bytes"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// recorder is a connection from octets to octets.
type recorder struct {
	sink
	out bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) { return r.out.Write(p) }

// converse gives the server in and checks what it answers against the grammar.
func converse(t *testing.T, store *memStore, in string, chunk int) string {
	t.Helper()
	srv := NewServer(Options{NewSession: store.session, AllowClear: true, Limits: Limits{Errors: 1000, LoginErrors: 1000}})
	r := &recorder{sink: sink{in: &chunks{s: in, n: chunk}}}
	srv.ServeConn(r)
	out := r.out.String()
	if err := checkResponses(r.out.Bytes(), false); err != nil {
		t.Fatalf("%v\ninput %q\noutput %.3000q", err, in, out)
	}
	if strings.Contains(out, "SERVERBUG") {
		t.Fatalf("panic\ninput %q", in)
	}
	return out
}

// chunks gives a text n octets at a time.
type chunks struct {
	s string
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.s == "" {
		return 0, net.ErrClosed
	}
	n := copy(p, c.s[:min(c.n, len(c.s))])
	c.s = c.s[n:]
	return n, nil
}

func FuzzSessionBeforeLogin(f *testing.F) {
	for _, s := range []string{
		"a CAPABILITY\r\nb NOOP\r\nc LOGOUT\r\n",
		"a LOGIN ann {6}\r\nsecret\r\n",
		"a AUTHENTICATE PLAIN\r\nAGFubgBzZWNyZXQ=\r\n",
		"a AUTHENTICATE LOGIN YW5u\r\n*\r\n",
		"a ID (\"name\" \"x\" \"os\" NIL)\r\n",
		"a XYZ {3+}\r\nabc {2}\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a LOGIN \"a\\\"b\" \"\xc3\xa9\"\r\n",
	} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, in string, chunk int) {
		out := converse(t, newMemStore(), in, 1<<20)
		if chunk > 0 {
			if cut := converse(t, newMemStore(), in, chunk); cut != out {
				t.Fatalf("in pieces of %d: %q\nat once: %q", chunk, cut, out)
			}
		}
	})
}

func FuzzSessionAfterLogin(f *testing.F) {
	for _, s := range []string{
		"a FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE MODSEQ)\r\n",
		"a UID FETCH 1,2:* (BODY.PEEK[HEADER.FIELDS.NOT (\"From\" {3+}\r\nSub)] BODY[1.2.MIME]<0.10> BINARY.SIZE[1] BINARY[]) (CHANGEDSINCE 2)\r\n",
		"a STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT (\\Seen $x)\r\nb EXPUNGE\r\nc UID EXPUNGE 1:*\r\n",
		"a SEARCH RETURN (MIN MAX SAVE) OR (SEEN NOT 1:3) HEADER \"Subject\" {2}\r\nab\r\nb FETCH $ FLAGS\r\n",
		"a UID SEARCH CHARSET utf-8 SINCE 1-Jan-2026 LARGER 5 MODSEQ 3 UNKEYWORD x\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"%\" {1+}\r\n*) RETURN (STATUS (MESSAGES SIZE) CHILDREN)\r\n",
		"a LSUB \"\" %\r\nb STATUS INBOX (UIDNEXT HIGHESTMODSEQ)\r\n",
		"a APPEND Work (\\Draft) \"21-Nov-2026 10:00:00 +0100\" {3+}\r\nabc ~{2+}\r\nde\r\n",
		"a COPY 1:2 Work\r\nb UID MOVE 3 Work\r\nc SELECT Work (CONDSTORE)\r\nd CLOSE\r\n",
		"a CREATE &AOk-/b (USE (\\Sent))\r\nb RENAME &AOk-/b c\r\nc DELETE c\r\nd SUBSCRIBE c\r\n",
		"a ENABLE IMAP4rev2 CONDSTORE\r\nb EXAMINE \"Caf\xc3\xa9\"\r\nc LIST \"\" *\r\n",
		"a SORT RETURN (PARTIAL -1:-2 COUNT SAVE) (REVERSE SIZE SUBJECT) UTF-8 ALL\r\nb UID SORT (ARRIVAL) UTF-8 $\r\nc THREAD REFS UTF-8 ALL\r\n",
		"a UID SEARCH RETURN (UPDATE (UID FLAGS) ALL) SEEN\r\nb SORT RETURN (UPDATE CONTEXT) (SIZE) UTF-8 1:*\r\nc STORE 1:* +FLAGS.SILENT \\Seen\r\nd EXPUNGE\r\ne CANCELUPDATE \"a\" \"b\"\r\n",
		"a SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT x\r\nb SORT (RELEVANCY) UTF-8 FUZZY BODY y\r\nc SEARCH FILTER seen NOT FILTER deep FILTER none\r\n",
		"a ESEARCH IN (mailboxes (Work INBOX) subtree-one A personal) RETURN (MIN PARTIAL 1:5) UNSEEN\r\nb ESEARCH ALL\r\n",
		"a UIDBATCHES 500 1:2\r\nb UIDBATCHES 1000\r\nc UID FETCH 1:* FLAGS (PARTIAL -1:-2 CHANGEDSINCE 1)\r\n",
		"a SEARCH CHARSET ISO-8859-1 SUBJECT {1+}\r\n\xe9 KEYWORD x\r\n",
		"a APPEND Work (\\Draft) CATENATE (URL \"/INBOX/;UID=1/;SECTION=HEADER\" TEXT {3+}\r\nabc URL {14+}\r\n/INBOX/;UID=1\r) ~{2+}\r\nde\r\n",
		"a REPLACE 1 Work {3+}\r\nabc\r\nb UID REPLACE 2 INBOX CATENATE (TEXT {1+}\r\nx)\r\nc ENABLE UTF8=ACCEPT\r\nd APPEND INBOX UTF8 (~{2+}\r\n\xc3\xa9)\r\n",
		"a SETACL Work \"-x y\" +lrcd\r\nb GETACL Work\r\nc LISTRIGHTS Work x\r\nd MYRIGHTS Work\r\ne DELETEACL Work \"-x y\"\r\nf LIST \"\" * RETURN (MYRIGHTS STATUS (MAILBOXID APPENDLIMIT DELETED-STORAGE))\r\n",
		"a SETQUOTA \"\" (STORAGE 5 X-Y 7)\r\nb GETQUOTAROOT INBOX\r\nc GETQUOTA {0+}\r\n\r\n",
		"a SETMETADATA INBOX (/shared/comment ~{2+}\r\n\x00a /private/vendor/a/b \"c\" /private/x NIL)\r\nb GETMETADATA (MAXSIZE 1 DEPTH infinity) INBOX (/shared /private)\r\nc GETMETADATA \"\" (DEPTH 1) /private/x\r\nd LIST \"\" % RETURN (METADATA (/shared/comment))\r\n",
		"a FETCH 1:* (PREVIEW (LAZY) SAVEDATE EMAILID THREADID)\r\nb FETCH 1 PREVIEW (LAZY) (CHANGEDSINCE 1)\r\n",
		"a IDLE\r\nDONE\r\nb NAMESPACE\r\nc CHECK\r\nd UNSELECT\r\n",
		"a ENABLE QRESYNC UTF8=ACCEPT\r\nb SELECT INBOX (QRESYNC (101 1 1:3 (1:2 1:2)))\r\nc UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)\r\nd EXPUNGE\r\n",
		"a ENABLE UIDONLY\r\nb UID FETCH 1:* BODY[]\r\nc UID STORE 2 +FLAGS \\Seen\r\nd UID SEARCH 1\r\ne EXPUNGE\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		store := newMemStore("Work", "Caf\u00e9", "A/B").withFilters()
		store.subs["Gone/x"] = true
		store.objects = true
		store.put("INBOX", mail1, Seen)
		store.put("INBOX", mail1, Deleted, "$Forwarded")
		store.put("INBOX", "no header\r\n\r\n\x00\xff", 0)
		converse(t, store, "l LOGIN ann secret\r\ns SELECT INBOX\r\n"+in, 1<<20)
	})
}

// parsing returns a connection that is good for parsing a line.
func parsing(line string) *conn {
	c := newConn(NewServer(Options{}), &sink{in: strings.NewReader("")})
	c.state, c.sess = selected, &memSession{store: newMemStore().withFilters()}
	c.p.Reset([]byte(line))
	return c
}

// printKey prints a search key as a client would.
func printKey(b *strings.Builder, k *SearchKey) {
	text := func(s string) string {
		return string(wire.AppendString(nil, s, true))
	}
	switch k.Op {
	case SearchAll:
		b.WriteString("ALL")
	case SearchAnd, SearchOr, SearchNot, SearchFuzzy:
		b.WriteString([]string{SearchAnd: "(", SearchOr: "OR ", SearchNot: "NOT ", SearchFuzzy: "FUZZY "}[k.Op])
		for i := range k.Keys {
			if i > 0 {
				b.WriteString(" ")
			}
			printKey(b, &k.Keys[i])
		}
		if k.Op == SearchAnd {
			b.WriteString(")")
		}
	case SearchSet:
		if k.Set.UID {
			b.WriteString("UID ")
		}
		if len(k.Set.Ranges) == 0 {
			b.WriteString("$")
		}
		b.Write(appendRanges(nil, k.Set.Ranges))
	case SearchFlag:
		b.WriteString(strings.ToUpper(flagLists[k.Flag][1:]))
	case SearchHeader:
		fmt.Fprintf(b, "HEADER %s %s", text(k.Header), text(k.Text))
	case SearchModSeq:
		fmt.Fprintf(b, "MODSEQ %d", k.ModSeq)
	default:
		for name, a := range searchArgs {
			if a.op != k.Op || name == "UNKEYWORD" {
				continue
			}
			switch a.arg {
			case 't':
				fmt.Fprintf(b, "%s %s", name, text(k.Text))
			case 'd':
				fmt.Fprintf(b, "%s %s", name, k.Date.Format("2-Jan-2006"))
			case 'n', 's':
				fmt.Fprintf(b, "%s %d", name, k.Size)
			case 'k', 'o':
				fmt.Fprintf(b, "%s %s", name, k.Text)
			}
		}
	}
}

func keyDepth(k *SearchKey) int {
	d := 0
	for i := range k.Keys {
		d = max(d, keyDepth(&k.Keys[i]))
	}
	return d + 1
}

func FuzzSearchKeys(f *testing.F) {
	for _, s := range []string{
		"ALL", "OR SEEN (NOT DELETED 1:5,*) FROM \"bob\"", "NEW OLD UNSEEN", "HEADER Subject \"\" UID $ $ 2,4:*",
		"BEFORE 1-Feb-2026 SENTON \"03-Mar-2026\" LARGER 10 SMALLER 20 KEYWORD $x UNKEYWORD y",
		"MODSEQ \"/flags/\\\\seen\" all 5", "((((ALL))))", "FUZZY (SUBJECT x FUZZY 1:2) YOUNGER 5 OLDER 1",
		"SAVEDON 1-Feb-2026 SAVEDBEFORE 2-Feb-2026 SAVEDSINCE 3-Feb-2026 SAVEDATESUPPORTED EMAILID M1-2 THREADID Ta_b", "FILTER x", "NOT NOT OR NOT ALL ALL",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.ContainsAny(in, "{") {
			return // literals need a connection
		}
		parse := func(s string) (SearchKey, error) {
			p := searchParser{conn: parsing(s), req: &SearchRequest{}}
			return p.parse()
		}
		key, err := parse(in)
		if err != nil {
			return
		}
		if d := keyDepth(&key); d > 53 { // NEW has two levels of its own
			t.Fatalf("IM3: depth %d", d)
		}
		var b strings.Builder
		printKey(&b, &key)
		if strings.Contains(b.String(), "{") || strings.HasPrefix(b.String(), "(") {
			return
		}
		again, err := parse(b.String())
		if err != nil || !reflect.DeepEqual(again, key) {
			t.Fatalf("%q printed %q: %v\n%+v\n%+v", in, b.String(), err, key, again)
		}
	})
}

func FuzzNumSet(f *testing.F) {
	for _, s := range []string{"1", "*", "1:*", "5:3,7,*:2", "4294967295", "0", "1,,2", "1:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		ranges, n := parseRanges([]byte(in), 100)
		if n == 0 {
			if ranges != nil {
				t.Fatal("ranges of nothing")
			}
			return
		}
		if len(ranges) > 100 {
			t.Fatal("IM3: too many")
		}
		printed := appendRanges(nil, ranges)
		again, m := parseRanges(printed, 100)
		if m != len(printed) || !reflect.DeepEqual(again, ranges) {
			t.Fatalf("%q: %v printed %q", in, ranges, printed)
		}
		set := NumSet{Ranges: ranges}
		for v := uint32(1); v < 12; v++ {
			in := false
			for _, r := range ranges {
				a, b := r.Start, r.Stop
				if a == 0 {
					a = 10
				}
				if b == 0 {
					b = 10
				}
				in = in || a <= v && v <= b || b <= v && v <= a
			}
			if set.Contains(v, 10) != in {
				t.Fatalf("%q contains %d: %v", printed, v, !in)
			}
		}
	})
}

func FuzzFetchItems(f *testing.F) {
	for _, s := range []string{
		"FLAGS", "BODY[]", "BODY.PEEK[1.2.HEADER.FIELDS (From \"To\")]<5.10>", "BINARY[1]<0.1>", "BINARY.SIZE[2]",
		"RFC822.TEXT", "BODY", "BODY[TEXT]", "BODY[3.MIME]", "BODY[HEADER.FIELDS.NOT (x)]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(in, "{") {
			return
		}
		var req FetchRequest
		c := parsing(in)
		if c.fetchItem(&req, true) != nil || len(req.Sections) == 0 || bytes.HasPrefix(req.Sections[0].label, []byte("RFC822")) {
			return
		}
		s := req.Sections[0]
		label := string(s.label)
		if s.Partial { // the label has no length
			label = fmt.Sprintf("%s.%d>", strings.TrimSuffix(label, ">"), s.Length)
		}
		if strings.Contains(label, "{") {
			return
		}
		var again FetchRequest
		if err := parsing(label).fetchItem(&again, true); err != nil || !reflect.DeepEqual(again.Sections, req.Sections) {
			t.Fatalf("%q: label %q: %v\n%+v\n%+v", in, label, err, req.Sections, again.Sections)
		}
		if err := checkResponses([]byte("* 1 FETCH ("+string(s.label)+" 0)\r\n"), false); s.Kind == BinarySizeSection && err != nil {
			t.Fatal(err)
		}
		off, n := s.Clip(100)
		if off < 0 || n < 0 || off+n > 100 {
			t.Fatalf("clip: %d %d", off, n)
		}
	})
}

// naiveMatch is the meaning of LIST patterns, without regard to time.
func naiveMatch(p, name string) bool {
	if p == "" {
		return name == ""
	}
	switch p[0] {
	case '*', '%':
		for i := 0; i <= len(name); i++ {
			if naiveMatch(p[1:], name[i:]) {
				return true
			}
			if p[0] == '%' && i < len(name) && name[i] == '/' {
				return false
			}
		}
		return false
	}
	return name != "" && name[0] == p[0] && naiveMatch(p[1:], name[1:])
}

func FuzzList(f *testing.F) {
	for _, s := range [][2]string{{"*", "a/b"}, {"%", "a/b"}, {"a%b*c", "axxb/c"}, {"%/%", "a/b"}, {"**%%", "a"}, {"aab", "aaab"}, {"%aab", "aaab"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, p, name string) {
		// The reference tries every way, which grows with the wildcards' power.
		if len(p) > 12 || len(name) > 30 || name == "" || strings.Count(p, "%")+strings.Count(p, "*") > 5 {
			return
		}
		tokens := tokenize(p)
		if got, want := matchTokens(tokens, name), naiveMatch(p, name); got != want {
			t.Fatalf("pattern %q, name %q: %v, want %v", p, name, got, want)
		}
	})
}

// TestIM3Pattern: matching is linear in the name and a pattern of too many
// wildcards matches nothing.
func TestIM3Pattern(t *testing.T) {
	if p := compilePattern(strings.Repeat("%a", 51)); p.match(strings.Repeat("a", 51)) {
		t.Error("IM3: 51 wildcards match")
	}
	p := compilePattern(strings.Repeat("%a", 50) + "b")
	name := strings.Repeat("a", 128<<10)
	begin := time.Now()
	if p.match(name) {
		t.Error("IM3: wrong match")
	}
	t.Logf("128 KiB against 50 wildcards: %v", time.Since(begin))
	if allocs := testing.AllocsPerRun(1, func() { p.match(name) }); allocs > 2 {
		t.Errorf("IM3: %v allocations", allocs)
	}
}

// TestG2: doubling the input multiplies work by no more than 2.6; the work
// is counted in allocations, and in time for the eye.
func TestG2(t *testing.T) {
	unit := map[string]func(n int) string{
		"search":  func(n int) string { return "SEARCH" + strings.Repeat(" (NOT SEEN)", n/11) },
		"literal": func(n int) string { return "SEARCH SUBJECT \"" + strings.Repeat(`\"`, n/2) + `"` },
		"set":     func(n int) string { return "FETCH 1" + strings.Repeat(",1", n/2) + " UID" },
		"flags":   func(n int) string { return "STORE 1 FLAGS (a" + strings.Repeat(" a", n/2) + ")" },
		"fields":  func(n int) string { return "FETCH 1 BODY[HEADER.FIELDS (a" + strings.Repeat(" a", n/2) + ")]" },
		"pattern": func(n int) string { return `LIST "" ` + strings.Repeat("a", n) },
		"unknown": func(n int) string { return strings.Repeat("a", n) },
	}
	big := 1 << 40
	lim := Limits{Line: big, Command: int64(big), Ranges: big, Items: big, Errors: big, LoginLine: big, LoginCommand: int64(big)}
	for name, make := range unit {
		var last float64
		var lastTime time.Duration
		for n := 4 << 10; n <= 1<<20; n *= 4 {
			in := "l LOGIN ann secret\r\ns SELECT INBOX\r\na " + make(n) + "\r\n"
			store := newMemStore()
			srv := NewServer(Options{NewSession: store.session, AllowClear: true, Limits: lim})
			var took time.Duration
			allocs := testing.AllocsPerRun(1, func() {
				begin := time.Now()
				srv.ServeConn(&sink{in: strings.NewReader(in)})
				took = time.Since(begin)
			})
			if last > 1000 && allocs > last*2.6*2.6 {
				t.Errorf("G2 %s: %d octets need %v allocations, a quarter of it %v", name, n, allocs, last)
			}
			if lastTime > 2*time.Millisecond && took > 7*lastTime {
				t.Logf("G2 %s: %d octets took %v, a quarter of it %v", name, n, took, lastTime)
			}
			last, lastTime = allocs, took
		}
	}
}
