package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postino-mail/postino/app"
)

// What administrators read of DMARC reports: in words, and nothing from outside
// reaches the terminal as it is (G6).
func TestPrintDMARC(t *testing.T) {
	var v app.DMARCView
	if err := json.Unmarshal([]byte(`{"domain": "example.org", "reports": 2, "by": ["Receiver \u001b[31m", "Other"], "begin": "2026-03-01T00:00:00Z", "end": "2026-03-02T23:59:59Z",
		"messages": 1204, "passed": 4, "policy": {"domain": "example.org", "p": "reject"}, "more": 3, "advice": ["p=reject is as strict as it gets."],
		"sources": [
			{"address": "192.0.2.7", "name": "mail.shop.example", "messages": 1200, "rejected": 1200, "advice": "If it is yours, say so."},
			{"address": "192.0.2.8", "messages": 3, "passed": 3, "dkim": 3, "spf": 3, "advice": "All is well."},
			{"address": "", "messages": 1, "passed": 1, "dkim": 1, "advice": "All is well."}]}`), &v); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printDMARC(&out, &v)
	want := `example.org: 1,204 messages in its name from 2026-03-01 to 2026-03-02, told by Receiver \x1b[31m, Other (2 reports)
4 passed, 1,200 did not. The record has p=reject.

  192.0.2.7 (mail.shop.example) sent 1,200 messages that pass neither SPF nor DKIM
    If it is yours, say so.

  192.0.2.8 sent 3 messages that pass SPF and DKIM
    All is well.

  another address sent 1 message that passes DKIM
    All is well.

  … and 3 other addresses.

p=reject is as strict as it gets.
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestPrintTLSAndComplaints(t *testing.T) {
	var v app.TLSView
	if err := json.Unmarshal([]byte(`{"domain": "example.org", "reports": 1, "by": ["R"], "begin": "2026-03-01T00:00:00Z", "end": "2026-03-01T23:59:59Z", "good": 5000, "bad": 1,
		"faults": [{"result": "certificate-expired", "mx": "mx.example.org", "count": 1, "by": ["R"], "reasons": ["\u0007x"], "advice": "Renew it."}], "advice": []}`), &v); err != nil {
		t.Fatal(err)
	}
	var c app.Complaint
	if err := json.Unmarshal([]byte(`{"time": "2026-03-01T00:00:00Z", "by": "fbl.example", "feedback": {"type": "abuse", "subject": "a\nb", "incidents": 2, "domains": ["example.org"]}}`), &c); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printTLS(&out, &v)
	printComplaint(&out, &c)
	for _, want := range []string{"5,001 connections", "mx.example.org: certificate-expired once, told by R\n    Renew it.", `They say: \x07x`, "abuse, from fbl.example, not proven", "about    example.org", `subject  a\x0ab`, "2 messages like it"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestParagraph(t *testing.T) {
	var out strings.Builder
	paragraph(&out, "  ", strings.Repeat("word ", 50)+strings.Repeat("x", 150))
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if len(line) > 102 && strings.Contains(strings.TrimSpace(line), " ") {
			t.Errorf("line of %d octets: %q", len(line), line)
		}
	}
	if n := strings.Count(out.String(), "word"); n != 50 {
		t.Errorf("%d words of 50", n)
	}
}

func TestReadAtMost(t *testing.T) {
	name := filepath.Join(t.TempDir(), "report")
	if err := os.WriteFile(name, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readAtMost(name, 10); err == nil {
		t.Error("a file that is too large was read")
	}
	if b, err := readAtMost(name, 11); err != nil || len(b) != 11 {
		t.Errorf("%d octets, %v", len(b), err)
	}
}
