package mailfile

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// got is a message as a reader gives it.
type got struct {
	Entry
	text string
}

// readAll reads every message of every folder.
func readAll(t testing.TB, r Reader) map[string][]got {
	t.Helper()
	folders, err := r.Folders()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]got{}
	for i := range folders {
		f := &folders[i]
		all[f.Name] = nil
		err := r.Entries(f, func(e *Entry) error {
			body, err := r.Open(e)
			if err != nil {
				return err
			}
			defer body.Close()
			text, err := io.ReadAll(body)
			all[f.Name] = append(all[f.Name], got{*e, string(text)})
			return err
		}, func(what string, why error) { t.Errorf("%s: %v", what, why) })
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func file(text string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(text), ModTime: time.Unix(1_600_000_000, 0)}
}

var dovecotMaildir = fstest.MapFS{
	"cur/1275660208.M1P1.host,S=10,W=12:2,FSa":     file("Subject: 1\n\none\n"),
	"cur/1275660300.M3P1.host:2,":                  file("Subject: 3\n\nthree\n"),
	"new/1275660209.M2P1.host":                     file("Subject: 2\n\ntwo\n"),
	"tmp/1275660209.M9P1.host":                     file("unfinished"),
	".Sent.Alte &AOQ-/cur/1700000000.X.host:2,RSb": file("Subject: s\n\n"),
	".Sent.Alte &AOQ-/maildirfolder":               file(""),
	".Empty/new":                                   {Mode: fs.ModeDir | 0o755},
	"dovecot-keywords":                             file("0 $Forwarded\n1 Work\n"),
	"dovecot-uidlist":                              file("3 V1275000000 N100 G0123\n2 :1275660300.M3P1.host\n7 W12 P123\x01tabc :1275660208.M1P1.host,S=10,W=12\nnonsense\n6 :1275660209.M2P1.host\n"),
	"subscriptions":                                file("V\t2\n\nSent\tAlte ä\n"),
}

func TestReadMaildir(t *testing.T) {
	tree := &MaildirTree{Files: dovecotMaildir}
	folders, err := tree.Folders()
	if err != nil {
		t.Fatal(err)
	}
	want := []Folder{
		{Name: "INBOX", Path: ".", UIDValidity: 1275000000, UIDNext: 100, Subscribed: true},
		{Name: "Empty", Path: ".Empty"},
		{Name: "Sent/Alte ä", Path: ".Sent.Alte &AOQ-", Subscribed: true},
	}
	if !slices.Equal(folders, want) {
		t.Errorf("folders %+v", folders)
	}
	all := readAll(t, tree)
	in := all["INBOX"]
	if len(in) != 3 {
		t.Fatalf("INBOX: %+v", in)
	}
	// The line of UID 6 stands behind 7: it is not believed, and its message is last.
	if in[0].UID != 2 || in[1].UID != 7 || in[2].UID != 0 || in[1].UIDL != "123\tabc" || in[0].UIDL != "000000024bfef4c0" {
		t.Errorf("UIDs %d %d %d, %q %q", in[0].UID, in[1].UID, in[2].UID, in[0].UIDL, in[1].UIDL)
	}
	if !slices.Equal(in[1].Flags, []string{`\Flagged`, `\Seen`, "$Forwarded"}) || in[1].text != "Subject: 1\n\none\n" {
		t.Errorf("message 7: %+v", in[1])
	}
	if got := in[1].Date.Unix(); got != 1275660208 {
		t.Errorf("date %d: the copy of the file is younger than its name", got)
	}
	if s := all["Sent/Alte ä"][0]; s.Date.Unix() != 1_600_000_000 || !slices.Equal(s.Flags, []string{`\Answered`, `\Seen`}) {
		t.Errorf("sent %+v", s)
	}
}

func TestReadMaildirLayoutFS(t *testing.T) {
	all := readAll(t, &MaildirTree{Dir: "mail", Files: fstest.MapFS{
		"mail/INBOX/cur/1:2,S":              file("a"),
		"mail/Work/cur":                     {Mode: fs.ModeDir | 0o755},
		"mail/Work/2020/new/1":              file("b"),
		"mail/Work/2020/courierimapuiddb":   file("x"),
		"mail/no maildir/at all/cur/1;2,RT": file("c"),
	}})
	if len(all) != 4 || all["INBOX"][0].text != "a" || all["Work/2020"][0].text != "b" || !slices.Equal(all["no maildir/at all"][0].Flags, []string{`\Answered`, `\Deleted`}) {
		t.Errorf("%+v", all)
	}
	if _, err := (&MaildirTree{Files: fstest.MapFS{"x/y": file("z")}}).Folders(); err == nil {
		t.Error("a directory without a Maildir was read")
	}
}

const fromA, fromB = "From ada@example.org Thu Jan  2 03:04:05 2020\n", "From - Fri Jan 03 03:04:05 +0100 2020\n"

func TestReadMboxVariants(t *testing.T) {
	for _, test := range []struct {
		name, file string
		variant    Variant
		want       []string
	}{
		{"mboxrd", fromA + "A: 1\n\n>From x\n>>From y\n\n" + fromB + "B: 2\n\nz\n\n", MboxAuto, []string{"A: 1\n\nFrom x\n>From y\n", "B: 2\n\nz\n"}},
		{"mboxo", fromA + "A: 1\n\n>From x\n>>From y\n\n" + fromB + "B: 2\n\nz\n", MboxO, []string{"A: 1\n\nFrom x\n>>From y\n", "B: 2\n\nz\n"}},
		{"mboxcl2", fromA + "A: 1\nContent-Length: " + fmt.Sprint(len("x\n\n"+fromB+">From q\n")) + "\n\nx\n\n" + fromB + ">From q\n\n" + fromB + "B: 2\n\nz\n", MboxAuto,
			[]string{"A: 1\nContent-Length: " + fmt.Sprint(len("x\n\n"+fromB+">From q\n")) + "\n\nx\n\n" + fromB + ">From q\n", "B: 2\n\nz\n"}},
		{"mboxcl", fromA + "Content-Length: 8\nA: 1\n\n>From x\n\n" + fromB + "B: 2\n\nz\n", MboxAuto, []string{"Content-Length: 8\nA: 1\n\nFrom x\n", "B: 2\n\nz\n"}},
		{"wrong length", fromA + "Content-Length: 3\nA: 1\n\n>From x\n\n" + fromB + "B: 2\n\nz\n", MboxAuto, []string{"Content-Length: 3\nA: 1\n\nFrom x\n", "B: 2\n\nz\n"}},
		{"length beyond the end", fromA + "Content-Length: 300\nA: 1\n\nx\n", MboxAuto, []string{"Content-Length: 300\nA: 1\n\nx\n"}},
		{"no date", fromA + "A: 1\n\nx\n\nFrom here on\n\ny\n", MboxAuto, []string{"A: 1\n\nx\n\nFrom here on\n\ny\n"}},
		{"CRLF", strings.ReplaceAll(fromA+"A: 1\n\nx\n\n"+fromB+"B: 2\n\ny\n", "\n", "\r\n"), MboxAuto, []string{"A: 1\r\n\r\nx\r\n", "B: 2\r\n\r\ny\r\n"}},
		{"no end", fromA + "A: 1\n\nx", MboxAuto, []string{"A: 1\n\nx"}},
		{"only headers", fromA + "A: 1\n" + fromB + fromB + "\n", MboxAuto, []string{"A: 1\n", "", "\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := readAll(t, &MboxTree{Files: fstest.MapFS{"box": file(test.file)}, Path: "box", Variant: test.variant})
			var texts []string
			for _, m := range all["box"] {
				texts = append(texts, m.text)
			}
			if !slices.Equal(texts, test.want) {
				t.Errorf("got  %q\nwant %q", texts, test.want)
			}
		})
	}
}

func TestReadMboxNotes(t *testing.T) {
	box := "From MAILER_DAEMON Thu Jan  2 03:04:05 2020\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1234567890 0000000042 Work\nStatus: RO\n\nText.\n\n" +
		fromA + "Subject: 1\nX-UID: 17\nStatus: RO\nX-Status: AF\nX-Keywords: Work $Forwarded  \nStatus: mine\n\none\n\n" +
		fromB + "Subject: 2\nX-UID: 18\nX-Mozilla-Status: 1005\nX-Gmail-Labels: Inbox,\n Opened\n\ntwo\n\n" +
		fromB + "Subject: 2\nX-UID: 3\nX-Mozilla-Status: 0000\nX-Gmail-Labels: Inbox,\n Opened\n\ntwo\n\n"
	tree := &MboxTree{Files: fstest.MapFS{"a.mbox": file(box), "b.sbd/c": file(fromA + "\n"), "x.msf": file("no mail")}}
	folders, err := tree.Folders()
	if err != nil || len(folders) != 2 || folders[0].UIDValidity != 1234567890 || folders[0].UIDNext != 43 || folders[1].Name != "b/c" {
		t.Fatalf("folders %+v, %v", folders, err)
	}
	m := readAll(t, tree)["a"]
	if len(m) != 3 {
		t.Fatalf("%+v", m)
	}
	if m[0].UID != 17 || !slices.Equal(m[0].Flags, []string{`\Answered`, `\Flagged`, `\Seen`, "Work", "$Forwarded"}) {
		t.Errorf("first %+v", m[0].Entry)
	}
	if m[0].text != "Subject: 1\nStatus: mine\n\none\n" {
		t.Errorf("first is %q: what follows the program's own field is the sender's", m[0].text)
	}
	if got := m[1].Date.UTC().Format(time.RFC3339); got != "2020-01-03T02:04:05Z" || !slices.Contains(m[1].Flags, "$Forwarded") || m[1].Labels != "Inbox, Opened" {
		t.Errorf("second %s %+v", got, m[1].Entry)
	}
	if m[2].UID != 0 {
		t.Errorf("UID %d goes back", m[2].UID)
	}
	if m[1].Item == m[2].Item {
		t.Error("two messages with the same octets have one name")
	}
}

func TestReadEML(t *testing.T) {
	tree := &EMLTree{Files: fstest.MapFS{
		"a.eml":                                  file("Date: then\n\na"),
		"Sub/Deep/b.EML":                         file("b"),
		"Sub/0000000007_20200102T030405Z_FS.eml": file("c"),
		"Sub/readme.txt":                         file("no mail"),
		"Sub/0000000007_20200102T030405Z_FS2.txt": file("no mail"),
	}, Date: func(v []byte) (time.Time, bool) { return time.Unix(99, 0), string(v) == " then" }}
	all := readAll(t, tree)
	if len(all) != 3 || all["INBOX"][0].Date.Unix() != 99 || all["Sub/Deep"][0].Date.Unix() != 1_600_000_000 {
		t.Errorf("%+v", all)
	}
	c := all["Sub"][0]
	if c.Date.Unix() != 1577934245 || !slices.Equal(c.Flags, []string{`\Flagged`, `\Seen`}) {
		t.Errorf("our own: %+v", c)
	}
	if name := EMLName(7, c.Date, c.Flags); name != "0000000007_20200102T030405Z_FS.eml" {
		t.Errorf("name %s", name)
	}
}

func TestFromDate(t *testing.T) {
	for line, want := range map[string]string{
		"From a@b Thu Jan  2 03:04:05 2020":                 "2020-01-02T03:04:05Z",
		"From a@b Thu Jan 2 03:04 2020":                     "2020-01-02T03:04:00Z",
		"From - Thu Jan 02 03:04:05 +0100 2020":             "2020-01-02T02:04:05Z",
		"From - Thu Jan 02 03:04:05 2020 +0100":             "2020-01-02T02:04:05Z",
		"From \"a b\"@c Thu Jan 02 03:04:05 EST 2020":       "2020-01-02T03:04:05Z",
		"From a Thu, 02 Jan 2020 03:04:05 +0000":            "2020-01-02T03:04:05Z",
		"From 123@xxx Thu Jan 02 03:04:05 2020 remote from": "2020-01-02T03:04:05Z",
		"From now on": "", "From a Thu Jan 99 03:04:05 2020": "", ">From a Thu Jan  2 03:04:05 2020": "", "From ": "",
	} {
		got, ok := fromDate([]byte(line))
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v", line, got, ok)
		}
	}
}

// FuzzReadMbox reads any octets as mbox: what comes out is no longer than what went
// in, messages lie behind one another, and a file of ours comes back.
func FuzzReadMbox(f *testing.F) {
	f.Add([]byte(fromA+"A: 1\nContent-Length: 3\n\nab\n\n"+fromB+"\n>From q\n"), byte(0))
	f.Add([]byte(fromA+"X-IMAPbase: 1 2\nX-UID: 1\nStatus: RO\n\n>>From "), byte(2))
	f.Fuzz(func(t *testing.T, data []byte, variant byte) {
		tree := &MboxTree{Files: fstest.MapFS{"box": {Data: data}}, Path: "box", Variant: Variant(variant % 5)}
		folders, err := tree.Folders()
		if err != nil {
			return
		}
		var end, sum int64
		items := map[string]bool{}
		err = tree.Entries(&folders[0], func(e *Entry) error {
			if e.body.off < end || items[e.Item] {
				t.Fatalf("message at %d, the one before ends at %d; names %v", e.body.off, end, items)
			}
			items[e.Item] = true
			end = e.body.off + e.body.size
			r, err := tree.Open(e)
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, r)
			sum += n
			return err
		}, nil)
		if err != nil || end > int64(len(data)) || sum > int64(len(data)) {
			t.Fatalf("%v; %d of %d octets, %d came out", err, end, len(data), sum)
		}
		// Quoting and back.
		q := quoter{head: true}
		quoted := q.finish(q.append(nil, data))
		un := &unquoter{r: newReader(quoted), all: true, head: true}
		if back, err := io.ReadAll(un); err != nil || !bytes.Equal(back, data) && !bytes.Contains(data, bytes.Repeat([]byte(">"), maxQuotes)) {
			t.Fatalf("%q became %q, %v", data, back, err)
		}
	})
}

// FuzzReadMaildir reads any octets as the files that Dovecot keeps in a Maildir, and
// as a name.
func FuzzReadMaildir(f *testing.F) {
	f.Add("3 V1 N3\n1 :a\n2 W1 P2 :b\n", "0 x\n", "V\t2\n\na\tb\n", "a:2,Sab")
	f.Add("1 7 9\n3 1.x:2,\n", "99 y\n", "INBOX.a\n", "1275660208.M1,S=12;2,FRPTD")
	f.Fuzz(func(t *testing.T, uidlist, keywords, subs, name string) {
		files := fstest.MapFS{"new": {Mode: fs.ModeDir}, "dovecot-uidlist": file(uidlist), "dovecot-keywords": file(keywords), "subscriptions": file(subs)}
		if fs.ValidPath("cur/"+name) && !strings.Contains(name, "/") {
			files["cur/"+name] = file("x")
		}
		tree := &MaildirTree{Files: files}
		folders, err := tree.Folders()
		if err != nil {
			return
		}
		if err := tree.Entries(&folders[0], func(e *Entry) error {
			if e.Item == "" || e.UID != 0 && folders[0].UIDValidity == 0 {
				t.Errorf("entry %+v of %+v", e, folders[0])
			}
			r, err := tree.Open(e)
			if err == nil {
				r.Close()
			}
			return err
		}, nil); err != nil && folders[0].UIDValidity == 0 && len(uidlist) < 1000 {
			t.Error(err)
		}
		if again := fromUTF7(modifiedUTF7(fromUTF7(name))); again != fromUTF7(name) {
			t.Errorf("name %q became %q", fromUTF7(name), again)
		}
	})
}

// TestReadLinear is G2: an mbox of twice the size takes no more than twice the reads.
func TestReadLinear(t *testing.T) {
	for _, unit := range []string{"\n", ">", "From ", fromA, fromA + "\n", fromA + "Content-Length: 1\n", "x", "a: b\n", " \n"} {
		var reads [2]int
		for i, n := range []int{64 << 10, 256 << 10} {
			data := []byte(fromA + "\n" + strings.Repeat(unit, n/len(unit)))
			c := &countingFS{data: data}
			tree := &MboxTree{Files: c, Path: "box"}
			readAll(t, tree)
			reads[i] = c.octets
		}
		if reads[1] > 6*reads[0] {
			t.Errorf("%q: %d octets read, then %d of four times as many", unit, reads[0], reads[1])
		}
	}
}

func newReader(b []byte) *bufio.Reader { return bufio.NewReaderSize(bytes.NewReader(b), chunk) }

// countingFS is one file that counts what is read of it.
type countingFS struct {
	data   []byte
	octets int
}

func (c *countingFS) Open(name string) (fs.File, error) {
	f, err := (fstest.MapFS{"box": {Data: c.data}}).Open(name)
	return &countingFile{f, c}, err
}

type countingFile struct {
	fs.File
	c *countingFS
}

func (f *countingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.c.octets += n
	return n, err
}

func (f *countingFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.(io.ReaderAt).ReadAt(p, at)
	f.c.octets += n
	return n, err
}
