package interop

import (
	"strings"
	"testing"
)

// TestPython runs a script that goes through what imaplib and smtplib can do.
func TestPython(t *testing.T) {
	need(t, "python3")
	s := use(t)
	empty(t, s, userPython)
	kind := "own"
	if s.foreign {
		kind = "foreign"
	}
	out := run(t, "", "python3", "testdata/clients.py", s.mx, s.smtp, s.smtps, s.imap, s.imaps, s.ca, s.user(userPython), s.password, kind)
	if !strings.HasSuffix(strings.TrimSpace(out), "all done") {
		t.Errorf("the script ended early:\n%s", out)
	}
}
