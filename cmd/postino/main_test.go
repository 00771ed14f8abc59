package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino/app"
)

// result is what one command line gave.
type result struct {
	code     int
	out, err string
}

// command runs a command line with input on a pipe.
func command(t *testing.T, ctx context.Context, input string, args ...string) result {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString(input); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var out, errs bytes.Buffer
	code := run(&env{ctx: ctx, in: r, out: &out, err: &errs}, args)
	return result{code, out.String(), errs.String()}
}

// want checks code and a part of what was printed.
func (r result) want(t *testing.T, code int, text string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.out+r.err, text) {
		t.Errorf("exit %d, want %d and %q; printed:\n%s%s", r.code, code, text, r.out, r.err)
	}
}

func TestAdministration(t *testing.T) {
	dir := t.TempDir()
	cfg := filepath.Join(dir, "postino.toml")
	do := func(code int, text string, args ...string) {
		t.Helper()
		command(t, t.Context(), "secret words\n", args...).want(t, code, text)
	}
	do(exitUsage, "", "nonsense")
	do(exitOK, "postino ", "version")
	do(exitConfig, "no such file", "user", "list", "-c", cfg)
	do(exitData, "full name", "setup", "-c", cfg, "--data-dir", dir+"/data", "--hostname", "short", "ana@example.org")
	do(exitOK, "IN MX 10 mail.example.org.", "setup", "-c", cfg, "--data-dir", dir+"/data", "--hostname", "mail.example.org", "ana@example.org")
	do(exitOK, "a-rsa._domainkey.example.org. IN TXT \"v=DKIM1; k=rsa; p=", "dkim", "records", "-c", cfg, "example.org")
	do(exitOK, "planned", "dkim", "list", "-c", cfg)
	year := time.Now().UTC().Format("2006")
	do(exitOK, year+"a-rsa._domainkey.example.org. IN TXT", "dkim", "rotate", "-c", cfg, "example.org")
	do(exitOK, "signs no more", "dkim", "retire", "-c", cfg, "example.org", year+"a-rsa")
	do(exitOK, year+"b-rsa._domainkey.example.org. IN TXT", "dkim", "records", "-c", cfg)
	do(exitOK, "removed", "dkim", "remove", "-c", cfg, "example.org", year+"a-rsa")
	do(exitNotFound, "no such key", "dkim", "remove", "-c", cfg, "example.org", year+"a-rsa")
	do(exitNotFound, "no such domain", "dkim", "list", "-c", cfg, "other.example")
	do(exitOK, "changed", "domain", "change", "-c", cfg, "--seal", "example.org")
	do(exitOK, "yes", "domain", "list", "-c", cfg)
	do(exitOK, "changed", "domain", "change", "-c", cfg, "--no-seal", "example.org")
	do(exitData, "exists", "setup", "-c", cfg, "--data-dir", dir+"/data", "--hostname", "mail.example.org", "ana@example.org")
	do(exitOK, "ok", "config", "check", "-c", cfg)
	for _, c := range []string{"add", "passwd"} {
		command(t, t.Context(), "", "user", c, "-c", cfg, "eve@example.org").want(t, exitData, "--generate")
	}
	do(exitNotFound, "", "user", "remove", "-c", cfg, "--yes", "eve@example.org")
	everything(t, do, cfg)
	do(exitOK, "removed", "domain", "remove", "-c", cfg, "example.net")

	text, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg, append(text, "\n[smtp]\nmax_sise = 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	do(exitConfig, `Did you mean "max_size"?`, "config", "check", "-c", cfg)
}

// everything works alike on the store itself and through a running server.
func everything(t *testing.T, do func(int, string, ...string), cfg string) {
	t.Helper()
	do(exitOK, "added", "domain", "add", "-c", cfg, "example.net")
	do(exitData, "example.net", "domain", "add", "-c", cfg, "example.net")
	do(exitData, "bad domain", "domain", "add", "-c", cfg, "exam_ple")
	do(exitOK, "example.net", "domain", "list", "-c", cfg)
	do(exitOK, "added", "user", "add", "-c", cfg, "--quota", "10 MiB", "bob@example.net")
	do(exitUsage, "is no size", "user", "add", "-c", cfg, "--quota", "much", "bob@example.net")
	do(exitNotFound, "no such domain", "user", "add", "-c", cfg, "bob@example.com")
	do(exitOK, "10.0 MiB", "user", "list", "-c", cfg, "example.net")
	do(exitOK, `"Address": "bob@example.net"`, "user", "list", "-c", cfg, "--json")
	do(exitOK, "changed", "user", "passwd", "-c", cfg, "bob@example.net")
	do(exitOK, "-", "user", "app-password", "add", "-c", cfg, "--for", "imap,smtp", "bob@example.net", "phone")
	do(exitData, "none of smtp", "user", "app-password", "add", "-c", cfg, "--for", "web", "bob@example.net", "phone")
	do(exitOK, "1   phone  smtp imap", "user", "app-password", "list", "-c", cfg, "bob@example.net")
	do(exitOK, "removed", "user", "app-password", "remove", "-c", cfg, "bob@example.net", "1")
	do(exitNotFound, "no app password 1", "user", "app-password", "remove", "-c", cfg, "bob@example.net", "1")
	do(exitOK, "postino_", "user", "token", "-c", cfg, "--life", "5m", "bob@example.net", "script")
	do(exitData, "1h0m0s", "user", "token", "-c", cfg, "--life", "2h", "bob@example.net", "script")
	do(exitOK, "script", "user", "sessions", "-c", cfg, "bob@example.net")
	do(exitNotFound, "", "user", "sign-out", "-c", cfg, "bob@example.net", "7")
	do(exitOK, "1 sessions and tokens", "user", "sign-out", "-c", cfg, "bob@example.net")
	do(exitOK, "changed", "user", "change", "-c", cfg, "--name", "Bob", "--language", "it", "--disable", "bob@example.net")
	do(exitOK, "user, disabled", "user", "list", "-c", cfg)
	do(exitOK, "changed", "user", "change", "-c", cfg, "--enable", "bob@example.net")
	do(exitNotFound, "", "user", "change", "-c", cfg, "--enable", "carl@example.net")
	// He has been told, in his language from the moment that it was known (AU9).
	do(exitOK, "notice: password", "trace", "-c", cfg, "bob@example.net")
	do(exitOK, "notice: token", "trace", "-c", cfg, "bob@example.net")
	do(exitOK, "added", "alias", "add", "-c", cfg, "all@example.net", "bob@example.net", "ana@example.org")
	do(exitData, "", "alias", "add", "-c", cfg, "x@example.net", "x@example.net")
	do(exitOK, "all@example.net", "alias", "list", "-c", cfg)
	do(exitOK, "removed", "alias", "remove", "-c", cfg, "all@example.net")
	do(exitNotFound, "", "alias", "remove", "-c", cfg, "all@example.net")
	routing(t, do, cfg)
	do(exitOK, "mail from 192.0.2.0/24 is delivered whatever DMARC says", "trust", "add", "-c", cfg, "forwarder", "192.0.2.0/24")
	do(exitOK, "list lists.example is trusted", "trust", "add", "-c", cfg, "list", "lists.example")
	do(exitData, "lists.example", "trust", "add", "-c", cfg, "list", "lists.example")
	do(exitData, "a sealer is a domain", "trust", "add", "-c", cfg, "sealer", "192.0.2.1")
	do(exitData, "none of forwarder, list, sealer", "trust", "add", "-c", cfg, "friend", "lists.example")
	do(exitData, "that is everybody", "trust", "add", "-c", cfg, "forwarder", "0.0.0.0/0")
	do(exitOK, "forwarder  192.0.2.0/24", "trust", "list", "-c", cfg)
	do(exitOK, `"Name": "lists.example"`, "trust", "list", "-c", cfg, "--json")
	do(exitOK, "no longer trusted", "trust", "remove", "-c", cfg, "list", "lists.example")
	do(exitNotFound, "", "trust", "remove", "-c", cfg, "list", "lists.example")
	do(exitOK, "no longer trusted", "trust", "remove", "-c", cfg, "forwarder", "192.0.2.0/24")
	do(exitData, "--yes", "user", "remove", "-c", cfg, "bob@example.net")
	do(exitOK, "removed", "user", "remove", "-c", cfg, "--yes", "bob@example.net")
	do(exitNotFound, "", "trace", "-c", cfg, "nobody@example.net")
}

// serving runs a server on a new data directory until the test stops it.
func serving(t *testing.T) (cfg string, do func(int, string, ...string), stop func() result) {
	t.Helper()
	cfg = filepath.Join(t.TempDir(), "postino.toml")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	text := "[server]\nhostname = \"mx.example.org\"\ndata_dir = \"data\"\n[dns]\nservers = \"127.0.0.1:9\"\n[tls]\nself_signed = true\n[[listener]]\nkind = \"smtp\"\naddress = \"" + addr + "\"\n"
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	go func() { ended <- command(t, ctx, "", "serve", "-c", cfg) }()
	for end := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	do = func(code int, text string, args ...string) {
		t.Helper()
		command(t, t.Context(), "secret words\n", args...).want(t, code, text)
	}
	stop = sync.OnceValue(func() result { cancel(); return <-ended })
	t.Cleanup(func() { stop() })
	return cfg, do, stop
}

func TestServe(t *testing.T) {
	cfg, do, stop := serving(t)
	do(exitOK, "added", "domain", "add", "-c", cfg, "example.org")
	do(exitOK, "added", "user", "add", "-c", cfg, "ana@example.org")
	everything(t, do, cfg)
	command(t, t.Context(), "", "serve", "-c", cfg).want(t, exitFailed, "does another process use it") // ST4
	stop().want(t, exitOK, "stopped")
	do(exitOK, "ana@example.org", "user", "list", "-c", cfg)
}

// What an administrator does with the queue: see it by destination and by
// message, hold, release, reroute and remove, with a count before.
func TestQueue(t *testing.T) {
	cfg, do, stop := serving(t)
	do(exitOK, "The queue is empty", "queue", "list", "-c", cfg)
	do(exitOK, "[]", "queue", "list", "-c", cfg, "--json")
	do(exitOK, "added", "route", "add", "-c", cfg, "inner", "127.0.0.1:1", "--domain", "far.example", "--private")
	for _, to := range []string{"b@far.example", "c@far.example"} {
		do(exitOK, "", "sendmail", "-C", cfg, "-f", "ana@mx.example.org", to)
	}
	items := func(text string) []app.QueueItem {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; {
			r := command(t, t.Context(), "", "queue", "list", "-c", cfg, "--items", "--json")
			var items []app.QueueItem
			if err := json.Unmarshal([]byte(r.out), &items); err != nil {
				t.Fatal(err, r)
			}
			if strings.Count(r.out, text) == len(items) && len(items) == 2 {
				return items
			}
			if time.Now().After(end) {
				t.Fatalf("the queue is %s", r.out)
			}
		}
	}
	it := items("4.4.1 cannot connect")[0]
	do(exitOK, "route/inner", "queue", "list", "-c", cfg)
	do(exitOK, "server could not be reached", "queue", "list", "-c", cfg)
	do(exitOK, it.Rcpts[0].Address, "queue", "show", "-c", cfg, it.ID)
	do(exitNotFound, "not found", "queue", "show", "-c", cfg, "0000000000000")
	do(exitData, "0000", "queue", "hold", "-c", cfg, "0000")
	do(exitOK, "route/inner", "queue", "top", "-c", cfg)
	do(exitData, "say which mail", "queue", "hold", "-c", cfg)
	do(exitData, "that is 2 messages", "queue", "hold", "-c", cfg, "--dest", "route/inner") // no terminal to ask at
	do(exitOK, "2 messages held", "queue", "hold", "-c", cfg, "--dest", "route/inner", "--why", "a test", "--yes")
	do(exitOK, "a test", "queue", "list", "-c", cfg, "--state", "held")
	do(exitOK, "1 message released", "queue", "release", "-c", cfg, it.ID)
	do(exitOK, "due now", "queue", "retry", "-c", cfg, "--recipient", it.Rcpts[0].Address, "--open", "--yes")
	do(exitOK, "removed", "route", "remove", "-c", cfg, "inner")
	do(exitOK, "rerouted", "queue", "reroute", "-c", cfg, "--all", "--yes")
	do(exitOK, "far.example", "queue", "list", "-c", cfg, "--dest", "far.example")
	do(exitOK, "nothing of the kind", "queue", "remove", "-c", cfg, "--sender", "nobody@example.net")
	do(exitOK, "deferred", "trace", "-c", cfg, it.Message)
	do(exitOK, "removed", "queue", "remove", "-c", cfg, "--all", "--yes")
	do(exitChecks, "verdict", "probe", "-c", cfg, "ana@[192.168.1.1]")
	stop().want(t, exitOK, "stopped")
}

func TestSize(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "17": 17, "1KiB": 1024, "2 MiB": 2 << 20, "10GiB": 10 << 30, "3B": 3} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5GiB", "99999999999TiB", "1 GB"} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %d", text, s)
		}
	}
	if got := size(3 << 30).String(); got != "3.0 GiB" {
		t.Errorf("got %s", got)
	}
}
