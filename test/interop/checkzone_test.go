package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The records that setup prints, and checks look for, are a zone file that name
// servers take: long keys in pieces, other zones left out.
func TestZoneFile(t *testing.T) {
	need(t, "nsd-checkzone")
	need(t, "ldns-read-zone")
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := run(t, "a password that nobody guesses\n", program, "setup", "--config", filepath.Join(dir, "postino.toml"),
		"--data-dir", filepath.Join(dir, "data"), "--hostname", "mail.example.org", "ana@example.org")
	_, zone, ok := strings.Cut(out, "$ORIGIN example.org.\n")
	zone, _, ended := strings.Cut(zone, "\nThen: ")
	if !ok || !ended {
		t.Fatal(out)
	}
	file := filepath.Join(dir, "zone")
	if err := os.WriteFile(file, []byte("$ORIGIN example.org.\n"+zoneHead+zone), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "", "nsd-checkzone", "example.org", file); !strings.Contains(out, "is ok") {
		t.Error(out)
	}
	read := run(t, "", "ldns-read-zone", file)
	for _, want := range []string{"MX\t10 mail.example.org.", "_imaps._tcp.example.org.\t3600\tIN\tSRV\t0 1 993 mail.example.org.", "v=DKIM1; k=rsa; p=", "v=spf1 mx -all", "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"} {
		if !strings.Contains(read, want) {
			t.Errorf("no %q in\n%s", want, read)
		}
	}
}
