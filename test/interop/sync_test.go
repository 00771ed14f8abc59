package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// TestOfflineIMAP syncs a Maildir both ways until a run changes nothing.
func TestOfflineIMAP(t *testing.T) {
	s, user := mine(t, "offlineimap")
	dir := t.TempDir()
	_, port := split(t, s.imaps)
	rc := file(t, "offlineimaprc", fmt.Sprintf(`[general]
accounts = a
metadata = %[1]s/meta
ui = basic
[Account a]
localrepository = here
remoterepository = there
[Repository here]
type = Maildir
localfolders = %[1]s/mail
filename_use_mail_timestamp = no
nametrans = lambda f: f
[Repository there]
type = IMAP
remotehost = localhost
remoteport = %[2]s
remoteuser = %[3]s
remotepass = %[4]s
ssl = yes
sslcacertfile = %[5]s
auth_mechanisms = PLAIN
expunge = yes
folderfilter = lambda f: f in ('INBOX', 'Work', 'Work/2026', 'Made here')
`, dir, port, s.user(user), s.password, s.ca))
	sync := func() string {
		t.Helper()
		return run(t, "", "env", "HOME="+dir, "offlineimap", "-c", rc, "-o")
	}
	// here lists the local mails of a mailbox as name → flags.
	here := func(box string) map[string]string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "mail", box, "[cn]*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, flags, _ := strings.Cut(filepath.Base(name), ":2,")
			found[strings.TrimSuffix(messageID(t, b), "@client.test")] = flags
		}
		return found
	}
	same := func(step, box string, want map[string]string) {
		t.Helper()
		if got := here(box); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %s here holds %v, want %v", step, box, got, want)
		}
		wantBox(t, s, user, box, want)
	}

	c := open(t, s, user, nil)
	for _, box := range []string{"Work", "Work/2026"} {
		if err := c.Create(box, nil).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	c.Logout()
	sent := put(t, s, user, "INBOX", "oi", 6)
	put(t, s, user, "Work/2026", "deep", 1)
	sync()
	inbox := map[string]string{"oi-0": "", "oi-1": "", "oi-2": "", "oi-3": "", "oi-4": "", "oi-5": ""}
	same("first run", "INBOX", inbox)
	if got := here("Work.2026"); len(got) != 1 {
		t.Errorf("the mailbox below Work holds %v", got)
	}
	if out := sync(); strings.Contains(out, "message") || strings.Contains(out, "flag") {
		t.Errorf("the second run does something:\n%s", out)
	}

	// Changes on both sides at once, also a mailbox made here.
	for name, id := range filesOf(t, filepath.Join(dir, "mail", "INBOX")) {
		switch id {
		case "oi-0":
			base, _, _ := strings.Cut(filepath.Base(name), ":2,")
			if err := os.Rename(name, filepath.Join(dir, "mail", "INBOX", "cur", base+":2,FS")); err != nil {
				t.Fatal(err)
			}
		case "oi-1":
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "mail", "Made here", d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.ReplaceAll(message("here-0", s.user(user), oddBody), "\r\n", "\n")
	if err := os.WriteFile(filepath.Join(dir, "mail", "Made here", "new", "1795000000.M1P1.client"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	storeIn(t, s, user, "INBOX", imap.StoreFlagsAdd, imap.FlagAnswered, "oi-2")
	storeIn(t, s, user, "INBOX", imap.StoreFlagsAdd, imap.FlagDeleted, "oi-3")
	put(t, s, user, "INBOX", "later", 1)
	sync()
	inbox["oi-0"], inbox["oi-2"], inbox["later-0"] = "FS", "R", ""
	delete(inbox, "oi-1")
	delete(inbox, "oi-3")
	same("changes", "INBOX", inbox)
	same("made here", "Made here", map[string]string{"here-0": ""})
	there := mails(t, s, user, "Made here")[letterID("here-0")]
	if got := withoutField(string(there.text), "X-OfflineIMAP"); got != strings.ReplaceAll(text, "\n", "\r\n") {
		t.Errorf("uploaded as %q", clip(got))
	}
	if got := mails(t, s, user, "INBOX")[letterID("oi-5")]; string(got.text) != sent[5] {
		t.Errorf("the server's mail is %q", clip(string(got.text)))
	}
	if out := sync(); strings.Contains(out, "message") || strings.Contains(out, "flag") {
		t.Errorf("the last run does something:\n%s", out)
	}
}

// filesOf lists the files of a Maildir with the names of their messages.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "[cn]*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = strings.TrimSuffix(messageID(t, b), "@client.test")
	}
	return found
}

// TestInterIMAP keeps two accounts the same with a program that is built on QRESYNC,
// and uses COMPRESS, MULTIAPPEND and LITERAL+ as it finds them.
func TestInterIMAP(t *testing.T) {
	s, local := mine(t, "interimap")
	remote := s.fresh(t)
	dir := t.TempDir()
	_, port := split(t, s.imaps)
	side := func(user int) string {
		return fmt.Sprintf("type = imaps\nhost = localhost\nport = %s\nusername = %s\npassword = %s\nSSL_CAfile = %s\ncompress = YES\n", port, s.user(user), s.password, s.ca)
	}
	rc := file(t, "interimaprc", fmt.Sprintf("database = %s/state.db\n\n[local]\n%s\n[remote]\n%s", dir, side(local), side(remote)))
	sync := func() string {
		t.Helper()
		return run(t, "", "env", "HOME="+dir, "XDG_DATA_HOME="+dir, "interimap", "--config", rc, "--debug")
	}
	same := func(step, box string, want map[string]string) {
		t.Helper()
		for _, user := range []int{local, remote} {
			wantBox(t, s, user, box, want)
		}
		if t.Failed() {
			t.Fatalf("after %s", step)
		}
	}
	put(t, s, local, "INBOX", "ours", 3)
	c := open(t, s, remote, nil)
	if err := c.Create("Projekte", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("Projekte").Wait(); err != nil { // others are not looked at
		t.Fatal(err)
	}
	c.Logout()
	sent := put(t, s, remote, "INBOX", "theirs", 3)
	put(t, s, remote, "Projekte", "p", 2)
	log := sync()
	for _, word := range []string{"ENABLE QRESYNC", "COMPRESS DEFLATE", "APPENDUID"} {
		if !strings.Contains(log, word) {
			t.Errorf("%s was not used", word)
		}
	}
	inbox := map[string]string{"ours-0": "", "ours-1": "", "ours-2": "", "theirs-0": "", "theirs-1": "", "theirs-2": ""}
	same("first run", "INBOX", inbox)
	same("first run", "Projekte", map[string]string{"p-0": "", "p-1": ""})
	if got := mails(t, s, local, "INBOX")[letterID("theirs-2")]; string(got.text) != sent[2] {
		t.Errorf("copied as %q", clip(string(got.text)))
	}

	storeIn(t, s, local, "INBOX", imap.StoreFlagsAdd, imap.FlagFlagged, "theirs-0", "ours-0")
	storeIn(t, s, remote, "INBOX", imap.StoreFlagsAdd, imap.FlagSeen, "theirs-0", "theirs-1")
	storeIn(t, s, local, "INBOX", imap.StoreFlagsAdd, imap.FlagDeleted, "ours-2")
	storeIn(t, s, remote, "INBOX", imap.StoreFlagsAdd, imap.FlagDeleted, "theirs-2")
	put(t, s, local, "Projekte", "new", 1)
	log = sync()
	inbox = map[string]string{"ours-0": "F", "ours-1": "", "theirs-0": "FS", "theirs-1": "S"}
	same("changes", "INBOX", inbox)
	same("changes", "Projekte", map[string]string{"p-0": "", "p-1": "", "new-0": ""})
	if !strings.Contains(log, "VANISHED (EARLIER)") {
		t.Errorf("nothing vanished by QRESYNC:\n%s", said(log, "SELECT"))
	}
	sync()
	log = sync()
	if strings.Contains(log, "C: 0") && (strings.Contains(log, " STORE ") || strings.Contains(log, " APPEND ")) {
		t.Errorf("a run without changes does something:\n%s", said(log, "C: "))
	}
	same("the end", "INBOX", inbox)
}
