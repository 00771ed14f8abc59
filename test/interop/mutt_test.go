package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// mutt is the configuration of Mutt or NeoMutt for a user.
type mutt struct {
	program, home, rc string
}

func newMutt(t *testing.T, s *server, user int, program string, settings ...string) *mutt {
	t.Helper()
	m := &mutt{program: program, home: t.TempDir()}
	for _, d := range []string{"headers", "bodies"} {
		if err := os.Mkdir(filepath.Join(m.home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Each has what the other lacks.
	authenticators, own := "scram-sha-256", "set imap_deflate=yes\n"
	if program == "neomutt" {
		authenticators, own = "login", "set imap_idle=yes\n"
	}
	_, port := split(t, s.imaps)
	m.rc = file(t, "muttrc", fmt.Sprintf(`set folder="imaps://localhost:%[1]s/"
set spoolfile="imaps://localhost:%[1]s/INBOX"
set imap_user="%[2]s" imap_pass="%[3]s" imap_authenticators="%[6]s"
set certificate_file="%[4]s" ssl_force_tls=yes
set header_cache="%[5]s/headers" message_cachedir="%[5]s/bodies"
set imap_condstore=yes imap_qresync=yes
set charset="utf-8" imap_check_subscribed=no mail_check=1
set confirmappend=no confirmcreate=no delete=yes delete_untag=no wait_key=no beep=no quit=yes mark_old=no
set pipe_split=yes pipe_decode=no sort=threads
set sleep_time=0 resolve=no
`, port, s.user(user), s.password, s.ca, m.home, authenticators)+own+strings.Join(settings, "\n")+"\n")
	return m
}

// do starts the program on a terminal and types keys; what it said to the server and
// heard of it is returned.
func (m *mutt) do(t *testing.T, keys ...string) string {
	t.Helper()
	name := file(t, "keys", "push '"+strings.Join(keys, "")+"<exit>'\n")
	log := filepath.Join(t.TempDir(), "log0") // the program adds the 0
	command := fmt.Sprintf("%s -n -F %s -d 3 -e 'source %s'", m.program, m.rc, name)
	if m.program == "neomutt" {
		command += " -l " + strings.TrimSuffix(log, "0")
	} else {
		log = filepath.Join(m.home, ".muttdebug0")
	}
	screen := run(t, "", "env", "HOME="+m.home, "TERM=vt100", "LC_ALL=C.UTF-8", "timeout", "60", "script", "-qfec", command, "/dev/null")
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("%v\n%s", err, screen)
	}
	return string(b) + screen
}

// said returns the lines of the log that contain what.
func said(log, what string) string {
	var lines []string
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, what) {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// TestMutt reads, searches, files and deletes as people do, with both programs.
func TestMutt(t *testing.T) {
	for _, program := range []string{"mutt", "neomutt"} {
		t.Run(program, func(t *testing.T) {
			s, user := mine(t, program, "script")
			m := newMutt(t, s, user, program)
			put(t, s, user, "INBOX", "m", 6)
			order := m.threads(t, s, user)

			log := m.do(t, "<tag-pattern>~A<enter><tag-prefix><pipe-message>cat >> "+order+"<enter>")
			if program == "mutt" && !strings.Contains(log, "AUTHENTICATE SCRAM-SHA-256 ") {
				t.Errorf("no login by SCRAM")
			}
			if got, want := idsOf(t, order), []string{"m-0", "m-1", "m-2", "m-3", "m-4", "m-5", "root", "answer", "answer-2", "alone"}; !slices.Equal(got, want) {
				t.Errorf("the threads are shown as %q, want %q", got, want)
			}

			// The server searches for =b; copies and moves go to mailboxes made on the way.
			log = m.do(t, `<tag-pattern>=b needle3<enter><tag-prefix><copy-message>=Entwürfe<enter>`,
				`<untag-pattern>~A<enter><tag-pattern>=b needle4 | =b needle5<enter><tag-prefix><save-message>=Moved<enter>`,
				`<untag-pattern>~A<enter><tag-pattern>~i alone@<enter><tag-prefix><flag-message>`,
				`<jump>1<enter><display-message><exit><sync-mailbox>`)
			if said(log, "SEARCH") == "" {
				t.Error("no search by the server")
			}
			wantBox(t, s, user, "Entwürfe", map[string]string{"m-3": ""})
			wantBox(t, s, user, "Moved", map[string]string{"m-4": "", "m-5": ""})
			inbox := map[string]string{"m-0": "S", "m-1": "", "m-2": "", "m-3": "", "root": "", "answer": "", "answer-2": "", "alone": "F"}
			wantBox(t, s, user, "INBOX", inbox)

			// Others change the mailbox; the next run asks for the difference and shows what
			// is there now.
			storeIn(t, s, user, "INBOX", imap.StoreFlagsAdd, imap.FlagDeleted, "m-1")
			storeIn(t, s, user, "INBOX", imap.StoreFlagsAdd, imap.FlagFlagged, "m-2")
			put(t, s, user, "INBOX", "later", 1)
			delete(inbox, "m-1")
			inbox["m-2"], inbox["later-0"] = "F", ""
			again := filepath.Join(t.TempDir(), "again")
			log = m.do(t, "<limit>~F<enter><tag-pattern>~A<enter><tag-prefix><pipe-message>cat >> "+again+"<enter><limit>all<enter>",
				"<delete-pattern>~i root@<enter><sync-mailbox><limit>~N<enter><tag-pattern>~A<enter><tag-prefix><pipe-message>cat >> "+again+"<enter>")
			delete(inbox, "root")
			if got, want := idsOf(t, again), []string{"m-2", "alone", "m-2", "m-3", "later-0", "answer", "answer-2", "alone"}; !slices.Equal(got, want) {
				t.Errorf("flagged and new: %q, want %q", got, want)
			}
			if !strings.Contains(log, " VANISHED)") {
				t.Errorf("the difference was not asked for:\n%s", said(log, "FETCH"))
			}
			wantBox(t, s, user, "INBOX", inbox)

			wrong := newMutt(t, s, user, program, `set imap_pass="wrong"`)
			if log := wrong.do(t, ""); !strings.Contains(log, "uthentication failed") && !strings.Contains(log, "AUTHENTICATIONFAILED") {
				t.Errorf("a wrong password ends in\n%s", lastLines(log, 20))
			}
		})
	}
}

// threads adds answers before what they answer, and returns a name for a file.
func (m *mutt) threads(t *testing.T, s *server, user int) string {
	t.Helper()
	c := open(t, s, user, nil)
	defer c.Logout()
	for i, l := range []struct{ name, references string }{
		{"answer-2", "<root@client.test> <answer@client.test>"}, {"alone", ""}, {"root", ""}, {"answer", "<root@client.test>"},
	} {
		hour := map[string]int{"root": 11, "answer": 12, "answer-2": 13, "alone": 14}[l.name]
		text := strings.Replace(message(l.name, s.user(user), fmt.Sprintf("text %d\n", i)), "10:00:00", fmt.Sprintf("%d:00:00", hour), 1)
		if l.references != "" {
			text = "References: " + l.references + "\r\n" + text
		}
		add(t, c, "INBOX", text, nil)
	}
	return filepath.Join(t.TempDir(), "order")
}

// idsOf are the names of the messages in a file, in their order.
func idsOf(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
		return nil
	}
	var ids []string
	for _, l := range strings.Split(string(b), "\n") {
		if id, ok := strings.CutPrefix(strings.TrimSpace(l), "Message-ID: <"); ok {
			ids = append(ids, strings.TrimSuffix(id, "@client.test>"))
		}
	}
	return ids
}
