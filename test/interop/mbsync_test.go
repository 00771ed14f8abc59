package interop

import (
	"bytes"
	"fmt"
	"maps"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

const syncEach = 1000 // messages that each side starts with

// TestMbsync syncs 2,000 messages in both directions until nothing is left to
// do: push, pull, flags and expunges of both sides.
func TestMbsync(t *testing.T) {
	need(t, "mbsync")
	s := use(t)
	empty(t, s, userMbsync)
	m := newMbsync(t, s)

	// Half of the mail is here, half is there.
	for i := range syncEach {
		m.write(t, i)
	}
	m.append(t, s, syncEach, 2*syncEach)
	m.sync(t)
	want := map[string]string{}
	for i := range 2 * syncEach {
		want[syncID(i)] = ""
	}
	m.converged(t, s, "push and pull", want)

	// Flags change on both sides, of other messages and of the same ones.
	m.flagNear(t, 0, 200, "FS")
	m.storeFar(t, s, 100, 400, imap.FlagAnswered)
	m.storeFar(t, s, 1500, 1600, imap.FlagSeen)
	m.sync(t)
	for i := range 200 {
		want[syncID(i)] += "FS"
	}
	for i := 100; i < 400; i++ {
		want[syncID(i)] += "R"
	}
	for i := 1500; i < 1600; i++ {
		want[syncID(i)] += "S"
	}
	m.converged(t, s, "flags", want)

	// Some go here, some go there.
	m.removeNear(t, 300, 350)
	m.storeFar(t, s, 1000, 1100, imap.FlagDeleted)
	m.sync(t)
	for i := 300; i < 350; i++ {
		delete(want, syncID(i))
	}
	for i := 1000; i < 1100; i++ {
		delete(want, syncID(i))
	}
	m.converged(t, s, "expunges", want)

	// New mail on both sides, and a mailbox that only one side has.
	m.append(t, s, 2000, 2010)
	for i := 2010; i < 2020; i++ {
		m.write(t, i)
	}
	c := open(t, s, userMbsync, nil)
	if err := c.Create("Projects", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	c.Logout().Wait()
	m.sync(t)
	for i := 2000; i < 2020; i++ {
		want[syncID(i)] = ""
	}
	m.converged(t, s, "new mail", want)
	if _, err := os.Stat(filepath.Join(m.near, "Projects", "cur")); err != nil {
		t.Errorf("the mailbox made on the server did not arrive: %v", err)
	}
}

// mbsync is a configuration of mbsync and its local Maildir.
type mbsync struct{ config, near string }

func newMbsync(t *testing.T, s *server) *mbsync {
	t.Helper()
	dir := t.TempDir()
	m := &mbsync{config: filepath.Join(dir, "mbsyncrc"), near: filepath.Join(dir, "near")}
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(m.near, "INBOX", d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, port := split(t, s.imap)
	text := fmt.Sprintf(`IMAPStore far
Host localhost
Port %s
User %s
Pass %s
AuthMechs *
SSLType STARTTLS
CertificateFile %s

MaildirStore near
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns INBOX Projects
Create Both
Remove Both
Expunge Both
Sync All
SyncState *
`, port, s.user(userMbsync), s.password, s.ca, m.near, m.near)
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mbsync) sync(t *testing.T) string {
	t.Helper()
	began := time.Now()
	out := run(t, "", "mbsync", "-c", m.config, "-V", "all")
	t.Logf("mbsync took %v", time.Since(began).Round(time.Millisecond))
	return out
}

func syncID(i int) string { return fmt.Sprintf("sync-%d@client.test", i) }

func syncMessage(i int) string {
	return strings.ReplaceAll(message(fmt.Sprintf("sync-%d", i), "u@client.test", oddBody+strings.Repeat("text\n", i%50)), "\r\n", "\n")
}

// write puts message i into the local Maildir.
func (m *mbsync) write(t *testing.T, i int) {
	t.Helper()
	name := filepath.Join(m.near, "INBOX", "new", fmt.Sprintf("%d.M%dP1.client", 1_700_000_000+i, i))
	if err := os.WriteFile(name, []byte(syncMessage(i)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// append puts messages from ≤ i < to on the server.
func (m *mbsync) append(t *testing.T, s *server, from, to int) {
	t.Helper()
	c := open(t, s, userMbsync, nil)
	for i := from; i < to; i++ {
		b := []byte(strings.ReplaceAll(syncMessage(i), "\n", "\r\n"))
		cmd := c.Append("INBOX", int64(len(b)), nil)
		cmd.Write(b)
		cmd.Close()
		if _, err := cmd.Wait(); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	c.Logout().Wait()
}

// files lists the local mails as Message-ID → file name.
func (m *mbsync) files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, d := range []string{"cur", "new"} {
		names, err := filepath.Glob(filepath.Join(m.near, "INBOX", d, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			id := messageID(t, b)
			if found[id] != "" {
				t.Errorf("%s is here twice", id)
			}
			found[id] = name
		}
	}
	return found
}

func messageID(t *testing.T, b []byte) string {
	t.Helper()
	msg, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v in %q", err, clip(string(b)))
	}
	return strings.Trim(msg.Header.Get("Message-Id"), "<>")
}

// flagNear gives the local messages from ≤ i < to these Maildir flags.
func (m *mbsync) flagNear(t *testing.T, from, to int, flags string) {
	t.Helper()
	files := m.files(t)
	for i := from; i < to; i++ {
		old := files[syncID(i)]
		base, _, _ := strings.Cut(filepath.Base(old), ":2,")
		if err := os.Rename(old, filepath.Join(m.near, "INBOX", "cur", base+":2,"+flags)); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *mbsync) removeNear(t *testing.T, from, to int) {
	t.Helper()
	files := m.files(t)
	for i := from; i < to; i++ {
		if err := os.Remove(files[syncID(i)]); err != nil {
			t.Fatal(err)
		}
	}
}

// storeFar adds a flag to the server's messages from ≤ i < to.
func (m *mbsync) storeFar(t *testing.T, s *server, from, to int, flag imap.Flag) {
	t.Helper()
	c := open(t, s, userMbsync, nil)
	defer c.Logout()
	uids := imap.UIDSet{}
	for id, mail := range mails(t, s, userMbsync, "INBOX") {
		for i := from; i < to; i++ {
			if id == syncID(i) {
				uids.AddNum(mail.uid)
			}
		}
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(uids, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
}

func sorted(s string) string {
	r := []rune(s)
	slices.Sort(r)
	return string(slices.Compact(r))
}

// converged checks that both sides hold exactly the wanted mails with the wanted
// flags and the text they were made with, and that another run changes nothing.
func (m *mbsync) converged(t *testing.T, s *server, step string, want map[string]string) {
	t.Helper()
	far, near := mails(t, s, userMbsync, "INBOX"), m.files(t)
	if len(far) != len(want) || len(near) != len(want) {
		t.Fatalf("%s: %d mails on the server and %d here, want %d", step, len(far), len(near), len(want))
	}
	wrong := 0
	for id, flags := range want {
		flags = sorted(flags)
		_, here, _ := strings.Cut(near[id], ":2,")
		if far[id].flags != flags || sorted(here) != flags {
			if wrong++; wrong < 5 {
				t.Errorf("%s: %s has flags %q on the server and %q here, want %q", step, id, far[id].flags, here, flags)
			}
			continue
		}
		var i int
		fmt.Sscanf(id, "sync-%d@", &i)
		text := strings.ReplaceAll(syncMessage(i), "\n", "\r\n")
		if got := withoutField(string(far[id].text), "X-TUID"); got != text {
			if wrong++; wrong < 5 {
				t.Errorf("%s: %s differs on the server: %q, want %q", step, id, clip(got), clip(text))
			}
		}
	}
	before := maps.Clone(near)
	out := m.sync(t)
	if again := m.files(t); !maps.Equal(before, again) {
		t.Errorf("%s: a second run changed the local mail:\n%s", step, out)
	}
	for id, mail := range mails(t, s, userMbsync, "INBOX") {
		if old := far[id]; old.uid != mail.uid || old.flags != mail.flags {
			t.Errorf("%s: a second run changed %s on the server:\n%s", step, id, out)
			break
		}
	}
}
