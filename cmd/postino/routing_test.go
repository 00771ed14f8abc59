package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// routing works alike on the store itself and through a running server, on a
// store with bob@example.net and ana@example.org. It leaves nothing behind.
func routing(t *testing.T, do func(int, string, ...string), cfg string) {
	t.Helper()
	do(exitData, "--recipients is for", "domain", "add", "-c", cfg, "relay.example", "--recipients", "list")
	do(exitData, "none of any, list, call-ahead", "domain", "add", "-c", cfg, "relay.example", "--relay", "--recipients", "some")
	do(exitOK, "added", "domain", "add", "-c", cfg, "relay.example", "--relay", "--recipients", "list")
	do(exitOK, "relay.example  -          +          list", "domain", "list", "-c", cfg)
	do(exitData, "say what is to change", "domain", "change", "-c", cfg, "relay.example")
	do(exitOK, "changed", "domain", "change", "-c", cfg, "relay.example", "--catch-all", "bob@example.net", "--separator", "-")
	do(exitOK, "relay.example  bob@example.net  -          list", "domain", "list", "-c", cfg)
	do(exitData, "list its recipients first", "domain", "change", "-c", cfg, "relay.example", "--recipients", "call-ahead")
	do(exitOK, "changed", "domain", "change", "-c", cfg, "relay.example", "--catch-all", "none", "--recipients", "call-ahead")
	do(exitOK, "the next server is asked", "route", "test", "-c", cfg, "whoever@relay.example")
	do(exitOK, "changed", "domain", "change", "-c", cfg, "relay.example", "--deliver", "--separator", "+")
	do(exitNotFound, "no such recipient", "route", "test", "-c", cfg, "whoever@relay.example")
	do(exitNotFound, "no such domain", "domain", "change", "-c", cfg, "elsewhere.example", "--deliver")
	do(exitUsage, "can't be used together", "domain", "change", "-c", cfg, "relay.example", "--deliver", "--recipients", "any")
	do(exitOK, "changed", "domain", "change", "-c", cfg, "relay.example", "--recipients", "list")
	do(exitOK, "2 recipients added", "domain", "recipients", "add", "-c", cfg, "relay.example", "ana", "bob@relay.example")
	do(exitData, "not an address of it", "domain", "recipients", "add", "-c", cfg, "relay.example", "ana@example.org")
	do(exitData, "not a relay domain", "domain", "recipients", "add", "-c", cfg, "example.net", "ana")
	var many strings.Builder
	for i := range importBatch + 10 {
		fmt.Fprintf(&many, "u%d@relay.example\tOK\n", i)
	}
	list := "# all\n\nbob\n" + many.String()
	do(exitOK, "5000 read, 4999 new", "domain", "recipients", "import", "-c", cfg, "relay.example", writeFile(t, list))
	do(exitOK, "5011 recipients read, 0 added", "domain", "recipients", "import", "-c", cfg, "relay.example", writeFile(t, list))
	do(exitData, "list.txt:2", "domain", "recipients", "import", "-c", cfg, "relay.example", writeFile(t, "carl\na@b@c\n"))
	do(exitData, "no-such-file", "domain", "recipients", "import", "-c", cfg, "relay.example", filepath.Join(t.TempDir(), "no-such-file"))
	do(exitOK, "\nu99@relay.example\n", "domain", "recipients", "list", "-c", cfg, "relay.example")
	do(exitOK, `"u99@relay.example"`, "domain", "recipients", "list", "-c", cfg, "--json", "relay.example")
	do(exitData, "say --all", "domain", "recipients", "remove", "-c", cfg, "relay.example")
	do(exitOK, "1 recipients removed", "domain", "recipients", "remove", "-c", cfg, "relay.example", "ana")

	do(exitOK, "route provider added", "route", "add", "-c", cfg, "provider", "Smtp.provider.example:587", "--user", "me")
	do(exitData, "private address", "route", "add", "-c", cfg, "inner", "10.0.0.5", "--domain", "relay.example")
	do(exitData, "needs hosts", "route", "add", "-c", cfg, "inner", "--action", "smarthost")
	do(exitData, "none of direct, smarthost", "route", "add", "-c", cfg, "inner", "--action", "fly")
	do(exitData, "none of opportunistic", "route", "add", "-c", cfg, "inner", "--tls", "maybe")
	do(exitData, "source", "route", "add", "-c", cfg, "inner", "--source", "here")
	do(exitOK, "added", "route", "add", "-c", cfg, "inner", "10.0.0.5", "--domain", "relay.example", "--private", "--fallback", "provider")
	do(exitOK, "added", "route", "add", "-c", cfg, "bobs", "--domain", ".example.com", "--sender", "bob@example.net", "--source", "192.0.2.9", "--connections", "3")
	do(exitOK, "added", "route", "add", "-c", cfg, "files", "--domain", "old.example", "--action", "mbox", "--path", "/var/mail/old")
	do(exitData, "same domain and sender", "route", "add", "-c", cfg, "twin", "--domain", "old.example", "--action", "hold")
	do(exitOK, "provider  *              -                smarthost  smtp.provider.example:587  verified", "route", "list", "-c", cfg)
	do(exitOK, `"Name": "bobs"`, "route", "list", "-c", cfg, "--json")
	do(exitOK, "/var/mail/old", "route", "show", "-c", cfg, "files")
	do(exitOK, "192.0.2.9", "route", "show", "-c", cfg, "bobs")
	do(exitNotFound, "no such route", "route", "show", "-c", cfg, "nothing")
	do(exitOK, "x@example.com: route provider, smarthost smtp.provider.example:587\n  because any recipient, any sender", "route", "test", "-c", cfg, "x@example.com", "--from", "bob@example.net")
	do(exitOK, "route bobs, direct", "route", "test", "-c", cfg, "x@a.example.com", "--user", "bob@example.net")
	do(exitOK, "because the recipient is in relay.example, any sender", "route", "test", "-c", cfg, "u5@relay.example")
	do(exitNotFound, "no such recipient", "route", "test", "-c", cfg, "nobody@relay.example")
	do(exitOK, "to the mailbox of bob@example.net", "route", "test", "-c", cfg, "bob@example.net")
	do(exitOK, "added", "alias", "add", "-c", cfg, "both@example.net", "bob@example.net", "x@old.example", "--members-send")
	do(exitOK, "x@old.example: route files, mbox /var/mail/old", "route", "test", "-c", cfg, "both@example.net")
	do(exitOK, `"Mailboxes": [`, "route", "test", "-c", cfg, "--json", "both@example.net")
	do(exitOK, `"MembersSend": true`, "alias", "list", "-c", cfg, "--json")
	do(exitOK, "removed", "alias", "remove", "-c", cfg, "both@example.net")
	do(exitData, "fallback of the route inner", "route", "remove", "-c", cfg, "provider")
	for _, name := range []string{"inner", "provider", "bobs", "files"} {
		do(exitOK, "removed", "route", "remove", "-c", cfg, name)
	}
	do(exitOK, "x@example.com: direct\n", "route", "test", "-c", cfg, "x@example.com")
	do(exitOK, "5011 recipients removed", "domain", "recipients", "remove", "-c", cfg, "relay.example", "--all")
	do(exitOK, "removed", "domain", "remove", "-c", cfg, "relay.example")

	do(exitOK, "bob@example.net  hour    0           500", "user", "limits", "-c", cfg, "bob@example.net")
	do(exitOK, "none", "user", "limits", "-c", cfg, "bob@example.net", "--hour", "700", "--day", "none")
	do(exitOK, `"Hour": 700`, "user", "limits", "-c", cfg, "bob@example.net", "--json")
	do(exitUsage, "is no limit", "user", "limits", "-c", cfg, "bob@example.net", "--hour", "many")
	do(exitOK, "ana@example.org", "user", "delegate", "-c", cfg, "bob@example.net", "ana@example.org")
	do(exitOK, `"ana@example.org"`, "user", "delegate", "-c", cfg, "bob@example.net", "--json")
	do(exitData, "whose right", "user", "delegate", "-c", cfg, "bob@example.net", "--remove")
	do(exitOK, "[]", "user", "delegate", "-c", cfg, "bob@example.net", "ana@example.org", "--remove", "--json")
	do(exitOK, "Example: postino user limits", "user", "limits", "--help")
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
