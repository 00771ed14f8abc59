package crash

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/vfs"
)

// A sample is a data directory as a program of some day left it, and what it
// showed to its users: testdata/sample-*.tar.gz. Samples are never made anew.

// exhibit is what a user was shown.
type exhibit struct {
	Folders    map[string]*shelf
	Subscribed []string
}

// shelf is a mailbox of it.
type shelf struct {
	Validity, Next uint32
	ModSeq         uint64
	Mails          map[uint32]string   // flags, and the digest of the octets
	Answers        map[string][]string // to commands with the mailbox selected
}

// asked are the commands of which samples keep the answers.
var asked = []string{
	"UID FETCH 1:* (INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
	"UID SEARCH TEXT walnut", "UID SEARCH TEXT antern", "UID SEARCH SUBJECT meadow", "UID SEARCH BODY harbor", "UID SEARCH KEYWORD $Work", "UID SEARCH UNSEEN",
}

// askedShared are those that programs know which share mailboxes.
var askedShared = []string{"UID FETCH 1:* (EMAILID THREADID)", "GETACL %q", "MYRIGHTS %q", "GETMETADATA (DEPTH infinity) %q (/private /shared)", "GETQUOTAROOT %q"}

func (c *imapConn) exhibit(shared bool) (*exhibit, error) {
	e := &exhibit{Folders: map[string]*shelf{}}
	got, err := c.look(&digests{})
	if err != nil {
		return nil, err
	}
	e.Subscribed = slices.Sorted(maps.Keys(got.subs))
	for name, f := range got.folders {
		s := &shelf{Validity: f.validity, Next: f.next, ModSeq: f.modseq, Mails: map[uint32]string{}, Answers: map[string][]string{}}
		e.Folders[name] = s
		if err := c.choose(name); err != nil {
			return nil, err
		}
		mails, _, err := c.do("UID FETCH 1:* (FLAGS BODY.PEEK[])")
		if err != nil {
			return nil, err
		}
		for _, r := range mails {
			if len(r.literals) == 0 {
				continue
			}
			uid, flags, err := fetched(r)
			if err != nil {
				return nil, err
			}
			s.Mails[uid] = fmt.Sprintf("%s %x", flags, sha256.Sum256(r.literals[0]))
		}
		commands := asked
		if shared {
			for _, a := range askedShared {
				commands = append(slices.Clip(commands), strings.ReplaceAll(a, "%q", strconv.Quote(name)))
			}
		}
		for _, command := range commands {
			list, _, err := c.do(command)
			if err != nil && !errors.Is(err, errRefused) {
				return nil, err
			}
			if err != nil {
				s.Answers[command] = append(s.Answers[command], err.Error())
			}
			for _, r := range list {
				line := r.text
				for _, l := range r.literals {
					line += "\n" + string(l)
				}
				s.Answers[command] = append(s.Answers[command], line)
			}
		}
	}
	return e, nil
}

// TestSamples opens the data of former programs: mail, flags, numbers, rights and
// passwords are there, searches find what they found, also when all is indexed, and
// all keeps working.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/sample-*.tar.gz")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no samples")
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) { openSample(t, name) })
	}
}

func openSample(t *testing.T, name string) {
	mem, showed := unpack(t, name)
	compare := func(when string) {
		n := startNode(t, mem, nil)
		defer func() {
			n.stop()
			must(t, <-n.ended)
		}()
		for user, want := range showed {
			c, err := dialIMAP(n.imap, user+"@b.example")
			must(t, err)
			defer c.Close()
			_, shared := want.Folders["INBOX"].Answers[strings.ReplaceAll(askedShared[1], "%q", `"INBOX"`)]
			got, err := c.exhibit(shared)
			must(t, err)
			if !slices.Equal(got.Subscribed, want.Subscribed) {
				t.Errorf("%s: %s is subscribed to %q, was to %q", when, user, got.Subscribed, want.Subscribed)
			}
			for box, s := range want.Folders {
				wanted, err := json.MarshalIndent(s, "", " ")
				must(t, err)
				shown, err := json.MarshalIndent(got.Folders[box], "", " ")
				must(t, err)
				if !bytes.Equal(wanted, shown) {
					t.Errorf("%s: %s sees in %s\n%s\nand saw\n%s", when, user, box, shown, wanted)
				}
				delete(got.Folders, box)
			}
			for box := range got.Folders {
				t.Errorf("%s: %s sees %s, which is new", when, user, box)
			}
		}
	}
	compare("at first")
	checkSample(t, mem, showed)
	compare("indexed")
	n := startNode(t, mem, nil)
	post, err := dialSMTP(n.smtp)
	must(t, err)
	defer post.Close()
	if reply, err := post.post(textOf(small), "ana@b.example"); err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Error("a new letter: ", reply, err)
	}
	n.stop()
	must(t, <-n.ended)
}

// sampleStores opens the stores of a data directory without a node.
func sampleStores(t *testing.T, fsys vfs.FS, data string) *house {
	db, err := lsm.Open(fsys, fsys.PathJoin(data, "kv"), lsm.Options{MemTableBytes: 512 << 10, CacheBytes: 4 << 20, Guard: lsm.GuardOptions{Ballast: -1}})
	must(t, err)
	h := &house{TB: t, db: db, ids: new(postino.IDs)}
	h.later(func() { db.Close() })
	h.blobs, err = blob.New(db, fsys, fsys.PathJoin(data, "blobs"), blob.Options{IDs: h.ids})
	must(t, err)
	h.mailboxes = mailbox.New(db, h.blobs, mailbox.Options{})
	h.users = directory.New(db, directory.Options{Failures: directory.FailureLimits{MinDelay: time.Microsecond, MaxDelay: time.Microsecond}})
	h.later(h.users.Close)
	return h
}

// checkSample looks at the stores themselves, logs in and indexes everything.
func checkSample(t *testing.T, mem *vfs.Mem, showed map[string]*exhibit) {
	ctx := context.Background()
	h := sampleStores(t, mem, "/data")
	defer h.close()
	must(t, h.blobs.Scrub(ctx, nil))
	for user := range showed {
		u, err := h.users.User(ctx, address(user+"@b.example"))
		must(t, err)
		for _, m := range []string{"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"} { // the first makes keys for the others
			if !h.login(m, u.Address.String(), "correct horse") {
				t.Errorf("%s does not open the account of %s", m, user)
			}
			if h.login(m, u.Address.String(), "battery staple") {
				t.Errorf("%s opens the account of %s with a wrong password", m, user)
			}
		}
		for range 2 {
			problems, err := h.mailboxes.Check(ctx, mailbox.AccountID(u.ID))
			must(t, err)
			for _, p := range problems {
				t.Errorf("%s: %v", user, p)
			}
			must(t, h.mailboxes.Index(ctx, mailbox.AccountID(u.ID)))
		}
		a, err := h.mailboxes.Account(ctx, mailbox.AccountID(u.ID))
		must(t, err)
		defer a.Close()
		ids, err := a.UIDLs(ctx, 1)
		must(t, err)
		if has := len(ids) > 0; has != (user == "ana" && strings.Contains(t.Name(), "-shared")) {
			t.Errorf("%s has unique-ids %v", user, ids)
		}
	}
}

// unpack reads a sample.
func unpack(t *testing.T, name string) (*vfs.Mem, map[string]*exhibit) {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	mem := vfs.Memory()
	var showed map[string]*exhibit
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return mem, showed
		}
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, err)
		if h.Name == "showed.json" {
			must(t, json.Unmarshal(b, &showed))
			continue
		}
		must(t, vfs.MkdirAll(mem, mem.PathDir("/"+h.Name)))
		must(t, vfs.WriteFile(mem, "/"+h.Name, b))
	}
}

// TestMakeSample writes a sample to the file that POSTINO_SAMPLE names, with the
// program that POSTINO_PROGRAM names instead of this one. A name with "-shared" has
// what a program that shares mailboxes keeps.
func TestMakeSample(t *testing.T) {
	name := os.Getenv("POSTINO_SAMPLE")
	if name == "" {
		t.Skip("skip: POSTINO_SAMPLE names no file")
	}
	shared := strings.Contains(name, "-shared")
	rng := rand.New(rand.NewPCG(1, 2))
	p := newProgram(t, filepath.Join(t.TempDir(), "data"))
	post, err := dialSMTP(p.smtp)
	must(t, err)
	for i := range 10 {
		reply, err := post.post(wordy(rng), users[i%3]+"@b.example", users[(i+1)%3]+"@b.example")
		must(t, err)
		if !strings.HasPrefix(reply, "250 ") {
			t.Fatal(reply)
		}
	}
	time.Sleep(2 * time.Second)
	as := map[string]*imapConn{}
	for _, user := range users {
		as[user], err = dialIMAP(p.imap, user+"@b.example")
		must(t, err)
	}
	run := func(user string, commands ...string) {
		t.Helper()
		for _, c := range commands {
			if strings.HasPrefix(c, "APPEND") {
				text := wordy(rng)
				c += fmt.Sprintf(" {%d+}\r\n%s", len(text), text)
			}
			_, _, err := as[user].do(c)
			must(t, err)
		}
	}
	for _, user := range users {
		run(user, "CREATE Projects/One", "CREATE Old", "SUBSCRIBE Projects/One", "UNSUBSCRIBE Junk",
			`APPEND Projects/One (\Seen $Work) "01-Feb-2020 10:11:12 +0100"`, `APPEND Projects/One (\Flagged)`, "APPEND Old", `APPEND Old (\Draft)`, "APPEND Old",
			"SELECT INBOX", `STORE 1 +FLAGS (\Seen $Work)`, `STORE 2 +FLAGS (\Answered Private)`, "COPY 1:2 Projects/One", "MOVE 3 Old", `STORE 4 +FLAGS (\Deleted)`, "EXPUNGE",
			"SELECT Old", `STORE 1 +FLAGS (\Deleted)`, "EXPUNGE", "RENAME Old Projects/Two", "CREATE Gone", "DELETE Gone", "UNSELECT")
	}
	if shared {
		run("ana", "SETACL INBOX bob@b.example lrswit", "SETACL Projects/One anyone lr", "SETACL Projects/Two bob@b.example lrswipkxtea", "SETACL Projects/Two -bob@b.example a",
			`SETMETADATA INBOX (/shared/comment "for all" /private/comment "mine")`, `SETMETADATA "" (/private/vendor/x/y "mine")`)
		run("bob", `SUBSCRIBE "Other Users/ana@b.example/INBOX"`, `SELECT "Other Users/ana@b.example/INBOX"`, `STORE 1:2 +FLAGS (\Seen \Flagged)`, `STORE 1 -FLAGS (\Seen)`,
			`SETMETADATA "Other Users/ana@b.example/INBOX" (/private/comment "guest")`, `APPEND "Other Users/ana@b.example/Projects/Two" (\Seen)`, "UNSELECT")
	}
	for _, c := range as {
		c.Close()
	}
	if shared {
		p.interrupt()
		h := sampleStores(t, vfs.OS(), p.data)
		ana := mailbox.AccountID(1)
		a, err := h.mailboxes.Account(t.Context(), ana)
		must(t, err)
		must(t, a.SetUIDLs(t.Context(), 1, map[mailbox.UID]string{1: "000000024c8a1f3b", 2: "elsewhere-2"}))
		a.Close()
		must(t, h.mailboxes.SetServerMetadata(t.Context(), []mailbox.Annotation{{Name: "/shared/admin", Value: []byte("mailto:postmaster@b.example")}}))
		must(t, h.mailboxes.Index(t.Context(), ana))
		must(t, h.mailboxes.Fold(t.Context(), ana))
		h.close()
		p.begin()
	}
	showed := map[string]*exhibit{}
	for _, user := range users {
		c, err := dialIMAP(p.imap, user+"@b.example")
		must(t, err)
		showed[user], err = c.exhibit(shared)
		must(t, err)
		c.Close()
	}
	p.interrupt()
	pack(t, name, p.data, showed)
}

// interrupt ends the program in good order.
func (p *program) interrupt() {
	p.Helper()
	must(p, p.cmd.Process.Signal(syscall.SIGTERM))
	must(p, <-p.ended)
	p.cmd = nil
}

func pack(t *testing.T, name, data string, showed map[string]*exhibit) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	must(t, err)
	w := tar.NewWriter(z)
	put := func(name string, b []byte) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), Format: tar.FormatUSTAR}))
		_, err := w.Write(b)
		must(t, err)
	}
	must(t, filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "ballast" {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(data, path)
		put("data/"+filepath.ToSlash(rel), b)
		t.Log(rel, strconv.Itoa(len(b)))
		return err
	}))
	b, err := json.Marshal(showed)
	must(t, err)
	put("showed.json", b)
	must(t, errors.Join(w.Close(), z.Close(), f.Close()))
}
