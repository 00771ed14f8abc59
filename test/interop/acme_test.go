package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The certificate authority is Pebble, which behaves as Let's Encrypt's does and
// refuses some good nonces on purpose; the name server is Knot, which takes updates.
const (
	pebblePackage = "github.com/letsencrypt/pebble/v2/cmd/pebble"
	acmeZone      = "acme.test"
	acmeKey       = "hmac-sha256:postino:cG9zdGlubyBwb3N0aW5vIHBvc3Rpbm8gcG9zdGlubyE="
)

// authority is a running certificate authority with the name server it asks.
type authority struct {
	directory, management, ca string // URLs, file
	dns                       string // host:port
	http, https               string // where it looks for challenges
	roots                     *x509.CertPool
}

// background runs a program until the test ends, or until kill ends it at once.
func background(t *testing.T, log string, env []string, program string, args ...string) (kill func()) {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		out.Close()
		if b, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("%s ends with:\n%s", filepath.Base(program), lastLines(string(b), 40))
		}
	})
	return func() {
		cmd.Process.Kill()
		<-ended
	}
}

// answers waits until something listens.
func answers(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// free finds loopback ports.
func free(t *testing.T, addrs ...*string) {
	t.Helper()
	for _, a := range addrs {
		var err error
		if *a, err = freeAddress(); err != nil {
			t.Fatal(err)
		}
	}
}

func port(t *testing.T, addr string) string {
	_, p := split(t, addr)
	return p
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startAuthority starts Knot and Pebble.
func startAuthority(t *testing.T) *authority {
	need(t, "knotd")
	dir := t.TempDir()
	a := &authority{ca: filepath.Join(dir, "ca.pem")}
	var api, management string
	free(t, &a.dns, &a.http, &a.https, &api, &management)
	secret := acmeKey[strings.LastIndex(acmeKey, ":")+1:]
	write(t, filepath.Join(dir, acmeZone+".zone"), "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n* 1 A 127.0.0.1\n_acme-challenge.alias 1 CNAME proofs.elsewhere.acme.test.\n")
	background(t, filepath.Join(dir, "knot.log"), nil, "knotd", "-c", write(t, filepath.Join(dir, "knot.conf"), fmt.Sprintf(`
server:
    rundir: "%[1]s"
    listen: 127.0.0.1@%[2]s
database:
    storage: "%[1]s"
key:
  - id: postino
    algorithm: hmac-sha256
    secret: %[3]s
acl:
  - id: update
    key: postino
    action: update
log:
  - target: stderr
    any: info
zone:
  - domain: %[4]s
    storage: "%[1]s"
    file: %[4]s.zone
    acl: update
`, dir, port(t, a.dns), secret, acmeZone)))
	answers(t, a.dns)

	program := filepath.Join(dir, "pebble")
	if out, err := exec.Command("go", "build", "-modfile=../../tools/go.mod", "-o", program, pebblePackage).CombinedOutput(); err != nil {
		t.Fatalf("build Pebble: %v\n%s", err, out)
	}
	key := filepath.Join(dir, "ca.key")
	if err := writeCertificate(a.ca, key); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": management, "certificate": a.ca, "privateKey": key,
		"httpPort": number(t, port(t, a.http)), "tlsPort": number(t, port(t, a.https)), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	background(t, filepath.Join(dir, "pebble.log"), []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20"}, program,
		"-config", write(t, filepath.Join(dir, "pebble.json"), string(config)), "-dnsserver", a.dns, "-strict")
	answers(t, api)
	answers(t, management)
	a.directory, a.management = "https://"+api+"/dir", "https://"+management
	a.roots = x509.NewCertPool()
	if !a.roots.AppendCertsFromPEM(a.get(t, "/roots/0")) {
		t.Fatal("no root certificate")
	}
	return a
}

func number(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// get asks Pebble's management interface.
func (a *authority) get(t *testing.T, path string) []byte {
	t.Helper()
	pem, err := os.ReadFile(a.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	resp, err := client.Get(a.management + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", path, resp.StatusCode, err)
	}
	return b
}

// mailHost is a Postino that gets its certificates from the authority.
type mailHost struct {
	*server
	name, smtp, imaps string
	a                 *authority
	kill              func()
}

// startMailHost starts one that proves its names by one way only.
func startMailHost(t *testing.T, a *authority, name, way string) *mailHost {
	dir := t.TempDir()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	h := &mailHost{server: &server{dir: dir, ownLog: filepath.Join(dir, "log"), password: "Long-enough-4-a-test"}, name: name, a: a}
	free(t, &h.smtp, &h.imaps)
	if err := os.Link(program, h.binary()); err != nil {
		t.Fatal(err)
	}
	write(t, h.config(), fmt.Sprintf(`
[server]
hostname = %q
data_dir = %q
[acme]
agree_terms = true
email = "postmaster@acme.test"
directory = %q
ca_root = %q
challenges = [%q]
dns_server = %q
dns_key = %q
dns_wait = "0s"
[dns]
servers = [%q]
[log]
level = "debug"
[[listener]]
kind = "smtp"
address = %q
[[listener]]
kind = "imaps"
address = %q
[[listener]]
kind = "http"
address = %q
[[listener]]
kind = "https"
address = %q
`, name, filepath.Join(dir, "data"), a.directory, a.ca, way, a.dns, acmeKey, a.dns, h.smtp, h.imaps, a.http, a.https))
	h.launchHost(t)
	return h
}

func (h *mailHost) launchHost(t *testing.T) {
	t.Helper()
	h.kill = background(t, h.ownLog, nil, h.binary(), serveCommand(h.config())...)
	for _, addr := range []string{h.smtp, h.imaps, h.a.http, h.a.https} {
		answers(t, addr)
	}
}

// shown is the certificate that IMAP's listener shows for a name, checked against
// the authority's root if it is to be.
func (h *mailHost) shown(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", h.imaps, &tls.Config{ServerName: name, RootCAs: roots, InsecureSkipVerify: roots == nil})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// certified waits until a name has a certificate of the authority that is not old.
func (h *mailHost) certified(t *testing.T, name string, old *x509.Certificate) *x509.Certificate {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		c, err := h.shown(name, h.a.roots)
		if err == nil && (old == nil || !c.Equal(old)) {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("no certificate for %s: %v\n%s", name, err, h.postino(t, "", "cert", "list"))
		}
	}
}

// Certificates come from a real authority in all three ways, each to a server that
// was serving from its first second, and keep their key when they are renewed.
func TestACME(t *testing.T) {
	a := startAuthority(t)
	for _, way := range []string{"http-01", "tls-alpn-01", "dns-01"} {
		t.Run(way, func(t *testing.T) {
			name := way + "." + acmeZone
			if way == "dns-01" {
				name = "alias." + acmeZone // whose challenges are led elsewhere
			}
			h := startMailHost(t, a, name, way)
			first := h.certified(t, name, nil)

			c, err := smtp.Dial(h.smtp)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.StartTLS(&tls.Config{ServerName: name, RootCAs: a.roots}); err != nil {
				t.Errorf("STARTTLS: %v", err)
			}
			// Nobody but the listener for https may answer those who look for challenges.
			if _, err := tls.Dial("tcp", h.imaps, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}}); err == nil {
				t.Error("IMAP answers acme-tls/1")
			}

			h.postino(t, "", "cert", "rotate")
			second := h.certified(t, name, first)
			if bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
				t.Error("the key did not change")
			}
			out := h.postino(t, "", "cert", "list")
			if !strings.Contains(out, "acme "+a.directory) || !strings.Contains(out, name+": renewed at ") {
				t.Errorf("cert list says\n%s", out)
			}
			if out := h.postino(t, "", "cert", "check"); !strings.Contains(out, "all certificates are well") {
				t.Errorf("cert check says %s", out)
			}
			if out := h.postino(t, "", "cert", "tlsa"); !strings.HasPrefix(out, "_25._tcp."+name+". IN TLSA 3 1 1 ") {
				t.Errorf("cert tlsa says %s", out)
			}
			switch way {
			case "tls-alpn-01":
				h.policies(t)
			case "http-01":
				h.restart(t, second)
			}
		})
	}
}

// restart ends the program as a crash does. From its next second on it shows what it
// had, and it does not ask for more.
func (h *mailHost) restart(t *testing.T, had *x509.Certificate) {
	h.kill()
	h.launchHost(t)
	c, err := h.shown(h.name, h.a.roots)
	if err != nil || !c.Equal(had) {
		t.Errorf("after a crash another certificate is shown: %v", err)
	}
	log, err := os.ReadFile(h.ownLog)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "account with a certificate authority made"); n != 1 {
		t.Errorf("%d accounts were made", n)
	}
	if n := strings.Count(string(log), "certificate issued"); n != 2 {
		t.Errorf("%d certificates were issued, want one and its successor", n)
	}
}

// policies has a domain with MTA-STS: its name gets a certificate, and the policy
// is there, for this name only.
func (h *mailHost) policies(t *testing.T) {
	domain := "sts." + acmeZone
	h.postino(t, "", "domain", "add", domain)
	out := h.postino(t, "", "domain", "mta-sts", domain, "testing")
	if !strings.Contains(out, `_mta-sts.`+domain+`. IN TXT "v=STSv1; id=`) {
		t.Errorf("domain mta-sts says\n%s", out)
	}
	host := "mta-sts." + domain
	h.certified(t, host, nil)
	web := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: h.a.roots}, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, h.a.https)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	get := func(url string) (int, string, string) {
		resp, err := web.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
	}
	want := "version: STSv1\r\nmode: testing\r\nmx: " + h.name + "\r\nmax_age: 86400\r\n"
	if code, kind, text := get("https://" + host + "/.well-known/mta-sts.txt"); code != 200 || kind != "text/plain" || text != want {
		t.Errorf("the policy is %d %s %q", code, kind, text)
	}
	if code, _, _ := get("https://" + h.name + "/.well-known/mta-sts.txt"); code != 404 {
		t.Errorf("another host gives %d", code)
	}
}
