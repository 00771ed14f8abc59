package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Certificates and MTA-STS by the command line, while no server runs.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	setup := func(name string, more ...string) string {
		t.Helper()
		cfg := filepath.Join(dir, name+".toml")
		args := append([]string{"setup", "-c", cfg, "--data-dir", filepath.Join(dir, name), "--hostname", "mail.example.org", "ana@example.org"}, more...)
		command(t, t.Context(), "secret words\n", args...).want(t, exitOK, "written")
		return cfg
	}
	do := func(code int, text string, args ...string) {
		t.Helper()
		command(t, t.Context(), "", args...).want(t, code, text)
	}
	own := setup("own")
	do(exitOK, "self-signed", "cert", "list", "-c", own)
	do(exitOK, "of our own making", "cert", "check", "-c", own)
	do(exitData, "another key at each start", "cert", "tlsa", "-c", own)
	do(exitData, "see [acme]", "cert", "next-key", "-c", own)
	do(exitData, "see [acme]", "cert", "rotate", "-c", own)
	do(exitOK, "has no MTA-STS policy", "domain", "mta-sts", "-c", own, "example.org")
	do(exitOK, "_mta-sts.example.org. IN TXT \"v=STSv1; id=", "domain", "mta-sts", "-c", own, "example.org", "enforce", "--mx", "mx2.example.net")
	do(exitOK, "mx: mx2.example.net", "domain", "mta-sts", "-c", own, "example.org")
	do(exitOK, "there is no certificate for mail.example.org that others believe", "domain", "mta-sts", "-c", own, "example.org")
	do(exitUsage, "must be one of", "domain", "mta-sts", "-c", own, "example.org", "strict")
	do(exitData, "--mx needs a mode", "domain", "mta-sts", "-c", own, "example.org", "--mx", "a.example")
	do(exitNotFound, "no such domain", "domain", "mta-sts", "-c", own, "other.example", "none")

	acme := setup("acme", "--acme")
	text, err := os.ReadFile(acme)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nagree_terms = true\n", "\nemail = \"ana@example.org\"\n", "\nkind = \"https\"\naddress = \":443\"\n", "\n#self_signed = false\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the configuration lacks %q", want)
		}
	}
	do(exitOK, "self-signed", "cert", "list", "-c", acme)
	do(exitOK, "_25._tcp.mail.example.org. IN TLSA 3 1 1 ", "cert", "next-key", "-c", acme)
	do(exitNotFound, "certificates are asked for", "cert", "rotate", "-c", acme, "other.example.org")
	do(exitOK, "", "config", "check", "-c", acme)
}
