package mailfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// unmbox reads an mboxrd file back: the messages and the lines before them.
func unmbox(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string) (mails, lines []string) {
	t.Helper()
	quoted := regexp.MustCompile(`(?m)^>(>*From )`)
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		if !strings.HasPrefix(line, "From ") {
			t.Fatalf("no message begins at %.40q", text)
		}
		end := strings.Index(rest, "\n\nFrom ") + 2
		if end < 2 {
			end = len(rest)
		}
		if !strings.HasSuffix(rest[:end], "\n") {
			t.Fatalf("no empty line at the end of %.40q", rest)
		}
		mails = append(mails, quoted.ReplaceAllString(strings.TrimSuffix(rest[:end], "\n"), "$1"))
		lines = append(lines, line)
		text = rest[end:]
	}
	return mails, lines
}

func read(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func TestMbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	m := Mbox{FS: vfs.OS()}
	add := func(from postino.Address, text string) {
		t.Helper()
		if err := m.Append(t.Context(), path, from, noon, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	add(ana, "Subject: one\r\n\r\nFrom here\r\n>From there\r\n From\r\nFromage\r\n")
	add(postino.Address{}, "Subject: two\r\n\r\nno end")
	add(postino.Address{Local: "a b", Domain: "example.org"}, "")
	want := "From ana@example.org Sat Mar  7 12:00:00 2026\nSubject: one\n\n>From here\n>>From there\n From\nFromage\n\n" +
		"From MAILER-DAEMON Sat Mar  7 12:00:00 2026\nSubject: two\n\nno end\n\n" +
		"From \"a-b\"@example.org Sat Mar  7 12:00:00 2026\n\n"
	if got := read(t, m.FS, path); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if left, _ := filepath.Glob(path + ".*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestMboxFresh: whoever wrote before, a message begins after an empty line.
func TestMboxFresh(t *testing.T) {
	for before, want := range map[string]string{"": "", "x": "x\n\n", "x\n": "x\n\n", "x\n\n": "x\n\n", "\n": "\n\n", "\n\n": "\n\n", "\x00\x00": "\x00\x00\n\n"} {
		mem := vfs.Memory()
		if err := vfs.WriteFile(mem, "box", []byte(before)); err != nil {
			t.Fatal(err)
		}
		if err := (Mbox{FS: mem}).Append(t.Context(), "box", ana, noon, strings.NewReader("m")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, mem, "box"); got != want+fromLine(ana, noon)+"m\n\n" {
			t.Errorf("%q became %q", before, got)
		}
	}
}

func TestQuoter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for _, s := range rapid.SliceOfN(rapid.SampledFrom([]string{">", "From ", "From", "F", "Fr", "\n", "\n", " ", "x\n"}), 0, 30).Draw(t, "text") {
			text.WriteString(s)
		}
		q := quoter{head: true}
		var out []byte
		for in := []byte(text.String()); len(in) > 0; {
			n := rapid.IntRange(1, len(in)).Draw(t, "cut")
			out, in = q.append(out, in[:n]), in[n:]
		}
		out = q.finish(out)
		if want := regexp.MustCompile(`(?m)^(>*From )`).ReplaceAllString(text.String(), ">$1"); string(out) != want {
			t.Fatalf("%q became %q, not %q", text.String(), out, want)
		}
	})
}

// TestMboxCrash: what was acknowledged survives whatever comes; a message that was
// not is gone or whole when only the process died, and at worst a torn neighbour
// when the power went. It runs in a synctest bubble.
func TestMboxCrash(t *testing.T) {
	one, two := body("one", 10_000), body("two", 100)
	before := fromLine(ana, noon) + "Subject: zero\n\n\n"
	prepare := func(fsys vfs.FS) {
		if err := errors.Join(vfs.MkdirAll(fsys, "mail"), vfs.WriteFile(fsys, "mail/box", []byte(before))); err != nil {
			t.Fatal(err)
		}
	}
	add := func(fsys vfs.FS, text string) error {
		return Mbox{FS: fsys, Host: "mx"}.Append(context.Background(), "mail/box", ana, noon, strings.NewReader(text))
	}
	message := func(text string) string { return fromLine(ana, noon) + lf(text) + "\n" }
	check := func(after *vfs.Mem, percent int, done bool) {
		err := add(after, two)
		if postino.Is(err, postino.Transient) && percent > 0 && percent < 100 {
			// The dot lock came back without its content: it has to grow stale.
			time.Sleep(staleLock)
			err = add(after, two)
		}
		if err != nil {
			t.Errorf("%d %%: the next append: %v", percent, err)
		}
		got := read(t, after, "mail/box")
		without, with := before+message(two), before+message(one)+message(two)
		switch {
		case done && got != with:
			t.Errorf("%d %%: acknowledged, but the file is %q", percent, got)
		case percent == 100 && got != with && got != without:
			t.Errorf("a dead process left %q", got)
		case !strings.HasPrefix(got, before) || !strings.HasSuffix(got, "\n\n"+message(two)):
			t.Errorf("%d %%: the file is %q", percent, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		crashes(t, prepare, func(fsys vfs.FS) error { return add(fsys, one) }, check)
	})
}

func TestMboxFailures(t *testing.T) {
	before := fromLine(ana, noon) + "Subject: zero\n\n\n"
	for n := int64(1); ; n++ {
		faults := vfs.NewFaults(vfs.Memory())
		if err := vfs.WriteFile(faults, "box", []byte(before)); err != nil {
			t.Fatal(err)
		}
		faults.FailNth(n, os.ErrPermission)
		err := Mbox{FS: faults}.Append(t.Context(), "box", ana, noon, strings.NewReader(body("x", 200_000)))
		if err == nil {
			if n < 10 {
				t.Errorf("only %d writes", n-1)
			}
			return
		}
		if got := read(t, faults, "box"); !postino.Is(err, postino.Denied) || got != before {
			t.Errorf("write %d: %v, %d octets", n, err, len(got))
		}
		if err := (Mbox{FS: faults}).Append(t.Context(), "box", ana, noon, strings.NewReader("x")); err != nil {
			t.Errorf("write %d, the next append: %v", n, err)
		}
	}
}

// TestMboxUndo: when nothing can be taken back at once, the next append does it,
// unless somebody else has written meanwhile.
func TestMboxUndo(t *testing.T) {
	for name, c := range map[string]struct {
		added string
		stays bool
	}{
		"torn":     {"", false},
		"foreign":  {"\n\nFrom bob Sat Mar  7 12:00:00 2026\n\nhis\n\n", true},
		"careless": {"From bob Sat Mar  7 12:00:00 2026\n\nhis\n\n", true},
	} {
		mem := vfs.Memory()
		faults := vfs.NewFaults(mem)
		writes := 0
		faults.FailIf(func(op vfs.Op) bool {
			if op.Kind == vfs.OpWrite && op.Path == "box" {
				writes++
			}
			return writes > 2 && op.Path == "box"
		}, os.ErrPermission)
		text := "From the start\r\n" + body("x", 300_000)
		if err := (Mbox{FS: faults}).Append(t.Context(), "box", ana, noon, strings.NewReader(text)); !postino.Is(err, postino.Denied) {
			t.Fatal(err)
		}
		torn := read(t, mem, "box") + c.added
		if len(torn) < chunk/2 {
			t.Fatalf("%s: %d octets are no torn message", name, len(torn))
		}
		if err := vfs.WriteFile(mem, "box", []byte(torn)); err != nil {
			t.Fatal(err)
		}
		if err := (Mbox{FS: mem}).Append(t.Context(), "box", ana, noon, strings.NewReader("m")); err != nil {
			t.Fatal(err)
		}
		got, want := read(t, mem, "box"), fromLine(ana, noon)+"m\n\n"
		if c.stays {
			want = torn + want
		}
		if got != want {
			t.Errorf("%s: %d octets instead of %d", name, len(got), len(want))
		}
	}
}

func TestMboxLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.Memory()
		m := Mbox{FS: mem, Host: "mx"}
		add := func() error { return m.Append(t.Context(), "box", ana, noon, strings.NewReader("m")) }
		for name, lock := range map[string]string{"foreign": "1234\n", "empty": "", "other host": "1\npostino 0 elsewhere\nFrom x\n"} {
			if err := vfs.WriteFile(mem, "box.lock", []byte(lock)); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := add(); !postino.Is(err, postino.Transient) || time.Since(start) != 30*time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
			time.Sleep(staleLock)
			if err := add(); err != nil {
				t.Errorf("%s: stale lock: %v", name, err)
			}
		}
		if err := vfs.WriteFile(mem, "box.lock", []byte("1\npostino 3 mx\nFrom x\n")); err != nil {
			t.Fatal(err)
		}
		if err := add(); err != nil {
			t.Errorf("lock of a dead process: %v", err)
		}
		f, err := vfs.OpenShared(mem, "box", vfs.SharedWrite)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.TryLock(); err != nil {
			t.Fatal(err)
		}
		if err := add(); !postino.Is(err, postino.Transient) {
			t.Errorf("lock of the system: %v", err)
		}
		go func() {
			time.Sleep(5 * time.Second)
			f.Close()
		}()
		if err := add(); err != nil {
			t.Errorf("lock that was given back: %v", err)
		}
	})
}

func TestMboxConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			m := Mbox{FS: vfs.OS()}
			for range 5 {
				if err := m.Append(t.Context(), path, ana, noon, strings.NewReader(body(fmt.Sprint(i), 100_000))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	count := map[string]int{}
	got, _ := unmbox(t, read(t, vfs.OS(), path))
	for _, m := range got {
		count[m]++
	}
	for i := range 4 {
		if n := count[lf(body(fmt.Sprint(i), 100_000))]; n != 5 {
			t.Errorf("message %d came whole %d times of 5", i, n)
		}
	}
}

func TestMboxRefuses(t *testing.T) {
	dir := t.TempDir()
	victim := dir + "/victim"
	if err := errors.Join(os.WriteFile(victim, []byte("his"), 0o600), os.Symlink(victim, dir+"/link"), os.Link(victim, dir+"/hard"), os.Mkdir(dir+"/dir", 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "hard", "dir"} {
		if err := (Mbox{FS: vfs.OS()}).Append(t.Context(), dir+"/"+name, ana, noon, strings.NewReader("x")); !postino.Is(err, postino.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := read(t, vfs.OS(), victim); got != "his" {
		t.Errorf("the victim is %q", got)
	}
	if err := (Mbox{FS: vfs.OS()}).Append(t.Context(), dir+"/none/box", ana, noon, strings.NewReader("x")); !postino.Is(err, postino.NotFound) {
		t.Errorf("no directory: %v", err)
	}
	if err := (Mbox{FS: vfs.Memory(), Limits: Limits{FileBytes: 100}}).Append(t.Context(), "box", ana, noon, strings.NewReader(body("x", 100))); !postino.Is(err, postino.Full) {
		t.Errorf("large file: %v", err)
	}
}

// TestMboxReads: what was appended is what a reader finds.
func TestMboxReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.Memory()
		var want []string
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			lines := rapid.SliceOfN(rapid.SampledFrom([]string{"From x\r\n", ">From x\r\n", "\r\n", "text\r\n", ">>\r\n"}), 0, 10).Draw(t, "lines")
			text := "A: b\r\n" + strings.Join(lines, "")
			if err := (Mbox{FS: mem}).Append(context.Background(), "box", ana, noon, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			want = append(want, lf(text))
		}
		b, err := vfs.ReadFile(mem, "box")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := unmbox(t, string(b)); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzDotLock: whatever stands in a lock, it is read, and what we write comes back.
func FuzzDotLock(f *testing.F) {
	f.Add("1234\n")
	f.Add("1\npostino 7 mx\nFrom a b\n")
	f.Add("1\npostino -7 mx\nFrom a\nFrom b\n")
	f.Fuzz(func(t *testing.T, text string) {
		d := parseDot(text, noon)
		if d.host == "" {
			return
		}
		if again := parseDot(string(d.text()), noon); *again != *d {
			t.Errorf("%+v became %+v", d, again)
		}
	})
}

func BenchmarkMbox(b *testing.B) {
	m := Mbox{FS: vfs.OS(), Limits: Limits{FileBytes: 1 << 40}}
	path := filepath.Join(b.TempDir(), "box")
	text := body("x", 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Append(b.Context(), path, ana, noon, strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkQuoter(b *testing.B) {
	text := []byte(lf(body("x", 60_000)))
	out := make([]byte, 0, 2*len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		q := quoter{head: true}
		out = q.append(out[:0], text)
	}
}
