package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put writes files below a directory.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// moving is the same on the store itself and through a running server.
func moving(t *testing.T, do func(int, string, ...string), cfg string) {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"M/cur/1275660208.M1P1.host:2,Sa": "Subject: one\n\nhi\n", "M/new/1275660209.M2P1.host": "Subject: two\n\n" + strings.Repeat("large\n", 50_000),
		"M/.Sent Items/cur/1.x:2,": "Subject: three\n\n", "M/dovecot-keywords": "0 Work\n", "M/dovecot-uidlist": "3 V1275000000 N100\n7 :1275660208.M1P1.host\n",
		"box":        "From a@b Thu Jan  2 03:04:05 2020\nSubject: four\n\n>From me\n\nFrom a@b Thu Jan  2 03:04:06 2020\nSubject: five\n\n",
		"mail/a.eml": "Subject: six\n\n", "nothing/x": "", "list": "u,p\n",
	})
	archive, err := os.Create(dir + "/box.zip")
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(archive)
	w, err := z.Create("Archive.mbox")
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("From a@b Thu Jan  2 03:04:05 2020\nSubject: seven\n\nx\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	archive.Close()
	const ana = "ana@example.org"
	do(exitOK, "3 messages (293.0 KiB) would be imported from 2", "import", "maildir", "-n", "-c", cfg, dir+"/M", ana)
	do(exitOK, "note: Sent Items becomes Sent\n3 messages", "import", "maildir", "-c", cfg, dir+"/M", ana)
	do(exitOK, "0 messages (0 B) imported from 2 mailboxes, 3 had come before", "import", "maildir", "-c", cfg, dir+"/M", ana)
	do(exitOK, "UIDs are new", "import", "maildir", "-c", cfg, "--again", "--mailbox", "INB*", dir+"/M", ana)
	do(exitOK, "2 messages", "import", "mbox", "-c", cfg, "--name", "Old/Box", dir+"/box", ana)
	do(exitOK, "1 messages (16 B) imported", "import", "eml", "-c", cfg, "--into", "New", dir+"/mail", ana)
	do(exitOK, "1 messages", "import", "mbox", "-c", cfg, dir+"/box.zip", ana)
	do(exitNotFound, "no such", "import", "maildir", "-c", cfg, dir+"/M", "nobody@example.org")
	do(exitNotFound, "no such file", "import", "maildir", "-c", cfg, dir+"/none", ana)
	do(exitTemp, "no Maildir", "import", "maildir", "-c", cfg, dir+"/nothing", ana)
	do(exitData, "a line is USER,PASSWORD,ADDRESS", "import", "imap", "-c", cfg, "--host", "localhost", "--list", dir+"/list")
	do(exitData, "say --user", "import", "imap", "-c", cfg, "--host", "localhost", ana)
	for format, want := range map[string][2]string{
		"maildir": {"9 messages", "0 messages (0 B) exported"}, "eml": {"9 messages", "0 messages (0 B) exported"}, "mbox": {"9 messages", "9 messages"},
	} {
		out := dir + "/out-" + format
		do(exitOK, want[0], "export", format, "-c", cfg, "--out", out, ana)
		do(exitOK, want[1], "export", format, "-c", cfg, "--out", out, ana)
		do(exitOK, "9 messages", "import", format, "-c", cfg, "--into", "Back/"+format, "--dry-run", out, ana)
	}
	do(exitOK, "9 messages", "export", "zip", "-c", cfg, "--out", dir+"/out.zip", ana)
	do(exitOK, "9 messages", "import", "eml", "-c", cfg, "--dry-run", dir+"/out.zip", ana)
	do(exitNotFound, "no such", "export", "eml", "-c", cfg, "--out", dir+"/no", "nobody@example.org")
}

func TestMoving(t *testing.T) {
	cfg, do, stop := serving(t)
	do(exitOK, "added", "domain", "add", "-c", cfg, "example.org")
	do(exitOK, "added", "user", "add", "-c", cfg, "ana@example.org")
	moving(t, do, cfg)
	stop().want(t, exitOK, "stopped")
	do(exitOK, "removed", "user", "remove", "-c", cfg, "--yes", "ana@example.org")
	do(exitOK, "added", "user", "add", "-c", cfg, "ana@example.org")
	moving(t, do, cfg)
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{{"INBOX", "inbox", true}, {"*", "", true}, {"a*", "abc", true}, {"a*c", "abc", true}, {"a*b*c", "axbxc", true}, {"a*b*c", "acb", false}, {"*b", "abc", false}, {"a*a", "a", false}} {
		if like(c.pattern, c.name) != c.want {
			t.Errorf("%q like %q is not %v", c.name, c.pattern, c.want)
		}
	}
}
