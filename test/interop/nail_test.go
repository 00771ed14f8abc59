package interop

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNail reads, flags, copies and deletes with s-nail over IMAP and POP3.
func TestNail(t *testing.T) {
	s, user := mine(t, "s-nail")
	sent := put(t, s, user, "INBOX", "nail", 4)
	home := t.TempDir()
	nail := func(scheme, addr, path, password, commands string, settings ...string) (string, error) {
		t.Helper()
		_, port := split(t, addr)
		args := []string{"HOME=" + home, "LC_ALL=C.UTF-8", "s-nail", "-:/"}
		for _, set := range append([]string{"v15-compat=yes", "tls-ca-file=" + s.ca, "tls-ca-no-defaults", "tls-verify=strict", "nosave", "keep"}, settings...) {
			args = append(args, "-S", set)
		}
		where := fmt.Sprintf("%s://%s:%s@localhost:%s/%s", scheme, url.QueryEscape(s.user(user)), password, port, path)
		return try(t, commands, "env", append(args, "-f", where)...)
	}
	copied := filepath.Join(home, "copy")
	out, err := nail("imaps", s.imaps, "INBOX", s.password, "headers\nprint 2\nflag 3\ncopy 4 "+copied+"\ndelete 1\nquit\n", "imap-auth=login")
	if err != nil || !strings.Contains(out, "interop nail-3") || !strings.Contains(out, "Grüße, 日本語") {
		t.Errorf("s-nail: %v\n%s", err, out)
	}
	wantBox(t, s, user, "INBOX", map[string]string{"nail-1": "S", "nail-2": "F", "nail-3": "S"})
	if b, err := os.ReadFile(copied); err != nil || !strings.Contains(string(b), "needle3 hay") {
		t.Errorf("the copy: %v, %q", err, clip(string(b)))
	}
	out, err = nail("pop3", s.pop3, "", s.password, "print 2\ndelete 1\nquit\n", "pop3-use-starttls")
	if err != nil || !strings.Contains(out, "needle2 hay") {
		t.Errorf("s-nail: %v\n%s", err, out)
	}
	if got := mails(t, s, user, "INBOX"); len(got) != 2 || string(got[letterID("nail-3")].text) != sent[3] {
		t.Errorf("%d mails are left, want 2", len(got))
	}
	if out, err := nail("pop3s", s.pop3s, "", "wrong", "headers\nquit\n"); err == nil && strings.Contains(out, "interop nail") {
		t.Errorf("a wrong password shows\n%s", out)
	}
}

// TestPerl runs a script that goes through what Mail::IMAPClient can do.
func TestPerl(t *testing.T) {
	s, user := mine(t, "perl")
	if out, err := try(t, "", "perl", "-MMail::IMAPClient", "-MIO::Socket::SSL", "-e", "1"); err != nil {
		if os.Getenv("CI") != "" || os.Geteuid() == 0 {
			t.Fatalf("Mail::IMAPClient is missing; run scripts/install-test-deps\n%s", out)
		}
		t.Skip("skip: Mail::IMAPClient is not installed")
	}
	put(t, s, user, "INBOX", "perl", 5)
	host, port := split(t, s.imap)
	out := run(t, "", "perl", "testdata/client.pl", host, port, s.ca, s.user(user), s.password)
	if !strings.HasSuffix(strings.TrimSpace(out), "all done") {
		t.Errorf("the script ended early:\n%s", out)
	}
}
