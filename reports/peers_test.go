package reports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestParsePeers reads reports that other servers wrote about mail of test/interop.
// Exim sends ENVID and status as it likes.
func TestParsePeers(t *testing.T) {
	for name, want := range map[string]struct {
		mta, env, id, original, final, status, diagnostic string
		action                                            Action
	}{
		"exim-4.96-delivered":   {"mx.exim.test", "letter-10", "success-exim", "box@exim.test", "box@exim.test", "2.0.0", "relayed via non SMTP router", Delivered},
		"exim-4.96-failed":      {"mx.exim.test", "letter-9", "failure-exim-letter-9", "other@exim.test", "fail@exim.test", "5.0.0", "", Failed},
		"exim-4.96-refused":     {"mx.exim.test", "letter-7", "exim-refused", "nobody-here@interop.test", "nobody-here@interop.test", "5.0.0", "550 5.1.1 No such mailbox here", Failed},
		"postfix-3.7-delivered": {"mx.postfix.test", "letter-10", "success-postfix", "box@postfix.test", "box@postfix.test", "2.0.0", "delivery via virtual: delivered to maildir", Delivered},
		"postfix-3.7-refused":   {"mx.postfix.test", "letter-7", "postfix-refused", "nobody-here@interop.test", "nobody-here@interop.test", "5.1.1", "550 5.1.1 No such mailbox here", Failed},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "peers", name+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		d, err := ParseDSN(strings.NewReader(string(text)), Limits{})
		if err != nil || len(d.Rcpts) != 1 {
			t.Errorf("%s: %v, %+v", name, err, d)
			continue
		}
		r := d.Rcpts[0]
		if d.ReportingMTA != want.mta || d.EnvID != want.env || d.MessageID != want.id+"@client.test" || r.Original != "rfc822;"+want.original ||
			r.Final.String() != want.final || r.Status != want.status || r.Diagnostic != want.diagnostic || r.Action != want.action {
			t.Errorf("%s: got %+v %+v", name, d, r)
		}
	}
}
