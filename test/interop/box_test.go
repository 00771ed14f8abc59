package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// mine returns the server and a user that only this test has, and lets the test run
// beside others. The named programs must be there.
func mine(t *testing.T, programs ...string) (*server, int) {
	t.Helper()
	for _, p := range programs {
		need(t, p)
	}
	s := use(t)
	if s.foreign {
		t.Skip("skip: the reference has no users for single tests")
	}
	t.Parallel()
	return s, s.fresh(t)
}

// letterID is the Message-ID, without brackets, of what message makes for a name.
func letterID(name string) string { return name + "@client.test" }

// put appends messages named after what they are put for, and returns their texts.
func put(t *testing.T, s *server, user int, box, name string, n int) []string {
	t.Helper()
	c := open(t, s, user, nil)
	defer c.Logout()
	var all []string
	for i := range n {
		text := message(fmt.Sprintf("%s-%d", name, i), s.user(user), oddBody+fmt.Sprintf("needle%d hay\n", i))
		add(t, c, box, text, nil)
		all = append(all, text)
	}
	return all
}

// mailThere is a mail on the server.
type mailThere struct {
	uid   imap.UID
	flags string // letters of Maildir, sorted
	text  []byte
}

// mails lists what a mailbox of the user holds by Message-ID.
func mails(t *testing.T, s *server, user int, box string) map[string]mailThere {
	t.Helper()
	c := open(t, s, user, nil)
	defer c.Logout()
	if _, err := c.Enable(imap.CapIMAP4rev2).Wait(); err != nil && !s.foreign {
		t.Fatal(err)
	}
	data, err := c.Select(box, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatalf("select %s: %v", box, err)
	}
	found := map[string]mailThere{}
	if data.NumMessages == 0 {
		return found
	}
	section := &imap.FetchItemBodySection{Peek: true}
	all, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{section},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	letters := map[imap.Flag]string{imap.FlagAnswered: "R", imap.FlagFlagged: "F", imap.FlagSeen: "S", imap.FlagDraft: "D", imap.FlagDeleted: "T"}
	for _, mail := range all {
		b := mail.FindBodySection(section)
		id := messageID(t, b)
		if _, ok := found[id]; ok {
			t.Errorf("%s is on the server twice", id)
		}
		var flags []string
		for _, f := range mail.Flags {
			flags = append(flags, letters[f])
		}
		found[id] = mailThere{mail.UID, sorted(strings.Join(flags, "")), b}
	}
	return found
}

// wantBox checks the mailbox: exactly these letters, with these flags.
func wantBox(t *testing.T, s *server, user int, box string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for id, m := range mails(t, s, user, box) {
		got[strings.TrimSuffix(id, "@client.test")] = m.flags
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s holds %v, want %v", box, got, want)
	}
}

// storeIn adds flags to mails of a user's mailbox, named as in put.
func storeIn(t *testing.T, s *server, user int, box string, op imap.StoreFlagsOp, flag imap.Flag, names ...string) {
	t.Helper()
	there := mails(t, s, user, box)
	uids := imap.UIDSet{}
	for _, n := range names {
		m, ok := there[letterID(n)]
		if !ok {
			t.Fatalf("no %s in %s", n, box)
		}
		uids.AddNum(m.uid)
	}
	c := open(t, s, user, nil)
	defer c.Logout()
	if _, err := c.Select(box, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	store(t, c, uids, op, nil, flag)
	if flag == imap.FlagDeleted && op == imap.StoreFlagsAdd {
		if err := c.UIDExpunge(uids).Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// exitCode is what a program ended with.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

// arrivals are the messages that a program delivered into files of a directory, by
// Message-ID.
func arrivals(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		id := messageID(t, b)
		if got[id] != "" {
			t.Errorf("%s arrived twice", id)
		}
		got[id] = string(b)
	}
	return got
}

// wantArrived checks that a directory holds exactly these messages, below what the
// program writes on top; line ends are LF.
func wantArrived(t *testing.T, dir string, sent []string) {
	t.Helper()
	got := arrivals(t, dir)
	if len(got) != len(sent) {
		t.Errorf("%d messages arrived, want %d", len(got), len(sent))
	}
	for _, want := range sent {
		id := messageID(t, []byte(want))
		want = strings.ReplaceAll(want, "\r\n", "\n")
		have := withoutField(strings.ReplaceAll(got[id], "\r\n", "\n"), "X-getmail-retrieved-from-mailbox")
		if !strings.HasSuffix(have, want) {
			t.Errorf("%s arrived as %q, want %q", id, clip(have), clip(want))
		}
	}
}

// withoutField removes a header field that a program adds.
func withoutField(mail, name string) string {
	if before, rest, ok := strings.Cut(mail, "\n"+name+": "); ok {
		_, after, _ := strings.Cut(rest, "\n")
		return before + "\n" + after
	}
	return mail
}

// keeper is a program that puts each message into a file of its own.
func keeper(t *testing.T) (script, dir string) {
	t.Helper()
	dir = t.TempDir()
	script = file(t, "keep", "#!/bin/sh\nexec cat >\"$(mktemp \"$1/XXXXXXXX\")\"\n")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	return script, dir
}
