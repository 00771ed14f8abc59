package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchmail fetches with STLS, TLS, POP3 and IMAP, keeping mail and not.
func TestFetchmail(t *testing.T) {
	s, user := mine(t, "fetchmail")
	script, dir := keeper(t)
	home := t.TempDir()
	fetchmail := func(addr, protocol, password, options, dir string) (string, error) {
		t.Helper()
		_, port := split(t, addr)
		rc := file(t, "fetchmailrc", fmt.Sprintf("poll localhost service %s protocol %s user %q password %q sslcertck sslcertfile %q mda %q %s\n",
			port, protocol, s.user(user), password, s.ca, script+" "+dir, options))
		return try(t, "", "fetchmail", "-v", "--nosyslog", "--fetchmailrc", rc, "--idfile", filepath.Join(home, "ids"), "--pidfile", filepath.Join(home, "pid"))
	}
	// Exit codes: 0 is mail, 1 is none, 3 is a refused login.
	want := func(code int, out string, err error) {
		t.Helper()
		if got := exitCode(t, err); got != code {
			t.Fatalf("fetchmail ended with %d, want %d\n%s", got, code, lastLines(out, 60))
		}
	}

	sent := put(t, s, user, "INBOX", "fm", 5)
	out, err := fetchmail(s.pop3, "POP3 uidl", s.password, "keep sslproto TLS1.2+", dir)
	want(0, out, err)
	if !strings.Contains(out, "STLS") {
		t.Errorf("fetchmail did not use STLS:\n%s", out)
	}
	wantArrived(t, dir, sent)
	out, err = fetchmail(s.pop3, "POP3 uidl", s.password, "keep sslproto TLS1.2+", dir)
	want(1, out, err)
	sent = append(sent, put(t, s, user, "INBOX", "fm-new", 1)...)
	out, err = fetchmail(s.pop3s, "POP3 uidl", s.password, "keep ssl", dir)
	want(0, out, err)
	wantArrived(t, dir, sent)
	await(t, s, user, "INBOX", 6)

	out, err = fetchmail(s.pop3s, "POP3", "wrong", "nokeep ssl", dir)
	want(3, out, err)
	all := t.TempDir()
	out, err = fetchmail(s.pop3s, "POP3", s.password, "fetchall nokeep ssl", all)
	want(0, out, err)
	wantArrived(t, all, sent)
	await(t, s, user, "INBOX", 0)

	sent = put(t, s, user, "INBOX", "fm-imap", 4)
	kept, gone := t.TempDir(), t.TempDir()
	out, err = fetchmail(s.imap, "IMAP auth password", s.password, "keep sslproto TLS1.2+", kept)
	want(0, out, err)
	wantArrived(t, kept, sent)
	wantBox(t, s, user, "INBOX", map[string]string{"fm-imap-0": "S", "fm-imap-1": "S", "fm-imap-2": "S", "fm-imap-3": "S"})
	out, err = fetchmail(s.imaps, "IMAP auth password", s.password, "fetchall nokeep ssl", gone)
	want(0, out, err)
	wantArrived(t, gone, sent)
	await(t, s, user, "INBOX", 0)
	out, err = fetchmail(s.imaps, "IMAP auth password", "wrong", "ssl", gone)
	want(3, out, err)
}

// TestGetmail fetches by POP3 and IMAP; several runs get each mail once.
func TestGetmail(t *testing.T) {
	s, user := mine(t, "getmail")
	script, _ := keeper(t)
	sent := put(t, s, user, "INBOX", "gm", 5)
	for i, kind := range []string{"POP3SSL", "IMAPSSL"} {
		t.Run(kind, func(t *testing.T) {
			addr := []string{s.pop3s, s.imaps}[i]
			_, port := split(t, addr)
			into, home := t.TempDir(), t.TempDir()
			getmail := func(password string, remove bool) (string, error) {
				// Root may not write mail files, but start programs that do.
				rc := file(t, "getmailrc", fmt.Sprintf(`[retriever]
type = Simple%sRetriever
server = localhost
port = %s
username = %s
password = %s
ca_certs = %s
[destination]
type = MDA_external
path = %s
arguments = (%q,)
allow_root_commands = true
[options]
read_all = false
delete = %v
received = false
delivered_to = false
`, kind, port, s.user(user), password, s.ca, script, into, remove))
				return try(t, "", "getmail", "--getmaildir", home, "--rcfile", rc)
			}
			expect := func(what string, remove bool) {
				t.Helper()
				if out, err := getmail(s.password, remove); err != nil || !strings.Contains(out, what) {
					t.Errorf("getmail: %v, want %q\n%s", err, what, out)
				}
				wantArrived(t, into, sent)
			}
			expect("5 messages", false)
			expect("0 messages (0 bytes) retrieved, 5 skipped", false)
			await(t, s, user, "INBOX", 5)
			if out, _ := getmail("wrong", true); !strings.Contains(out, "ong name or password") && !strings.Contains(out, "redential") {
				t.Errorf("getmail with a wrong password says\n%s", out)
			}
			await(t, s, user, "INBOX", 5)
			if i == 1 {
				sent = append(sent, put(t, s, user, "INBOX", "gm-new", 1)...)
				expect("1 messages", true)
				await(t, s, user, "INBOX", 0)
			}
		})
	}
}

// TestMpop logs in by SCRAM and pipelines its commands.
func TestMpop(t *testing.T) {
	s, user := mine(t, "mpop")
	script, dir := keeper(t)
	sent := put(t, s, user, "INBOX", "mpop", 20)
	home := t.TempDir()
	mpop := func(addr, starttls, auth, keep string) string {
		t.Helper()
		_, port := split(t, addr)
		rc := file(t, "mpoprc", fmt.Sprintf(`account default
host localhost
port %s
tls on
tls_starttls %s
tls_trust_file %s
auth %s
user %s
password %s
keep %s
uidls_file %s
delivery mda %s %s
`, port, starttls, s.ca, auth, s.user(user), s.password, keep, filepath.Join(home, "uidls"), script, dir))
		return run(t, "", "mpop", "-C", rc, "--debug")
	}
	out := mpop(s.pop3, "on", "scram-sha-256", "on")
	if !strings.Contains(out, "AUTH SCRAM-SHA-256") {
		t.Errorf("mpop did not log in by SCRAM:\n%s", lastLines(out, 40))
	}
	wantArrived(t, dir, sent)
	out = mpop(s.pop3s, "off", "scram-sha-1", "on")
	if !strings.Contains(out, "new: no messages") {
		t.Errorf("the second run says\n%s", lastLines(out, 40))
	}
	wantArrived(t, dir, sent)
	sent = append(sent, put(t, s, user, "INBOX", "mpop-new", 1)...)
	mpop(s.pop3s, "off", "user", "off")
	wantArrived(t, dir, sent)
	await(t, s, user, "INBOX", 0)
}
