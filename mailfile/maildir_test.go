package mailfile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// mails returns the contents of new mail, by file name.
func mails(t *testing.T, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := fsys.List(fsys.PathJoin(dir, "new"))
	if err != nil {
		return all
	}
	for _, name := range names {
		b, err := vfs.ReadFile(fsys, fsys.PathJoin(dir, "new", name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

func TestMaildir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home", "Maildir")
	m := Maildir{FS: vfs.OS(), Dir: dir, Host: "mx/1:a,b"}
	text := body("one", 200_000)
	if err := m.Deliver(t.Context(), strings.NewReader(text), Info{}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`^\d+\.M\d{6}P\d+R[0-9a-f]{16}\.mx\\0571\\072a\\054b,S=%d,W=%d$`, len(lf(text)), len(text))
	for name, got := range mails(t, m.FS, dir) {
		if got != lf(text) || !regexp.MustCompile(want).MatchString(name) {
			t.Errorf("%s does not match %s, or its %d octets", name, want, len(got))
		}
	}
	if files(t, m.FS, dir+"/new") != 1 || files(t, m.FS, dir+"/tmp") != 0 {
		t.Error("new has not one file, or tmp has any")
	}
	if _, err := os.Stat(dir + "/cur"); err != nil {
		t.Error(err)
	}
}

func TestMaildirFolders(t *testing.T) {
	mem := vfs.Memory()
	m := Maildir{FS: mem, Dir: "Maildir"}
	for folder, dir := range map[string]string{
		"Junk":          ".Junk",
		"Lists/go":      ".Lists.go",
		"Entwürfe":      ".Entw&APw-rfe",
		"~peter/台北/日本語": ".~peter.&U,BTFw-.&ZeVnLIqe-", // the example of RFC 3501 §5.1.3
		"R&D":           ".R&-D",
	} {
		if err := m.Deliver(t.Context(), strings.NewReader("x"), Info{Folder: folder}); err != nil {
			t.Error(folder, err)
		}
		if len(mails(t, mem, "Maildir/"+dir)) != 1 {
			t.Errorf("%s: nothing in %s", folder, dir)
		}
		if _, err := mem.Stat("Maildir/" + dir + "/maildirfolder"); err != nil {
			t.Error(err)
		}
	}
	for _, folder := range []string{"/", "a//b", "a/", ".", "..", "a.b", "a/../b", "a\nb", "\xff", strings.Repeat("x", 201)} {
		if err := m.Deliver(t.Context(), strings.NewReader("x"), Info{Folder: folder}); !postino.Is(err, postino.Invalid) {
			t.Errorf("%q: %v", folder, err)
		}
	}
}

func TestMaildirCrash(t *testing.T) {
	text := body("one", 10_000)
	deliver := func(fsys vfs.FS) error {
		return Maildir{FS: fsys, Dir: "home/Maildir"}.Deliver(context.Background(), strings.NewReader(text), Info{Folder: "Junk"})
	}
	crashes(t, func(vfs.FS) {}, deliver, func(after *vfs.Mem, percent int, done bool) {
		got := mails(t, after, "home/Maildir/.Junk")
		if done && len(got) != 1 {
			t.Errorf("%d %%: %d messages after success", percent, len(got))
		}
		for name, m := range got {
			if m != lf(text) {
				t.Errorf("%d %%: %s is torn: %d octets of %d", percent, name, len(m), len(lf(text)))
			}
		}
		if err := deliver(after); err != nil {
			t.Errorf("%d %%: the next delivery: %v", percent, err)
		}
	})
}

func TestMaildirFailures(t *testing.T) {
	for n := int64(1); ; n++ {
		faults := vfs.NewFaults(vfs.Memory())
		faults.FailNth(n, os.ErrPermission)
		err := Maildir{FS: faults, Dir: "d"}.Deliver(t.Context(), strings.NewReader("x"), Info{})
		if err == nil {
			if n < 10 {
				t.Errorf("only %d writes", n-1)
			}
			return
		}
		if !postino.Is(err, postino.Denied) || len(mails(t, faults, "d")) != 0 {
			t.Errorf("write %d: %v, %d messages", n, err, len(mails(t, faults, "d")))
		}
	}
}

func TestMaildirRefusesLink(t *testing.T) {
	dir := t.TempDir()
	m := Maildir{FS: vfs.OS(), Dir: dir + "/m"}
	if err := m.make(m.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/m/new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), dir+"/m/new"); err != nil {
		t.Fatal(err)
	}
	if err := m.Deliver(t.Context(), strings.NewReader("x"), Info{}); !postino.Is(err, postino.Denied) {
		t.Error(err)
	}
}

func TestMaildirConcurrent(t *testing.T) {
	m := Maildir{FS: vfs.OS(), Dir: t.TempDir()}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := m.Deliver(t.Context(), strings.NewReader("x"), Info{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(mails(t, m.FS, m.Dir)); n != 40 {
		t.Errorf("%d messages of 40", n)
	}
}

func BenchmarkMaildir(b *testing.B) {
	m := Maildir{FS: vfs.OS(), Dir: b.TempDir()}
	text := body("x", 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Deliver(b.Context(), strings.NewReader(text), Info{}); err != nil {
			b.Fatal(err)
		}
	}
}
