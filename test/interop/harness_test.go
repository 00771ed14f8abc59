package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// server is what clients have to know of the server under test.
type server struct {
	mx         string // for mail from other servers: STARTTLS, no login; host:port
	smtp       string // for users: STARTTLS and AUTH
	smtps      string // TLS from the start
	imap       string // STARTTLS
	imaps      string // TLS from the start
	pop3       string // STLS
	pop3s      string // TLS from the start
	lmtp       string // for other software
	lmtpSocket string // the same, a path
	dir        string // of data, configuration and program
	ca         string // PEM file with the certificate to trust
	domain     string
	password   string
	more       string // tables of the configuration for this server only
	foreign    bool   // not Postino: the reference that clients are checked against
	ownLog     string
	cmd        *exec.Cmd
	exited     chan struct{}
	exitStatus error
	made       atomic.Int32 // users and routes that tests made for themselves
}

// configText is the configuration that the program is started with. The limits
// against floods from one address are raised: all clients are on this host. Those
// that speak for others come from loopback addresses of their own.
func configText(s *server, dir string) string {
	var listeners strings.Builder
	for _, l := range []struct{ kind, addr string }{
		{"smtp", s.mx}, {"submission", s.smtp}, {"submissions", s.smtps}, {"imap", s.imap}, {"imaps", s.imaps},
		{"pop3", s.pop3}, {"pop3s", s.pop3s},
		{"lmtp", s.lmtp}, {"lmtp", "unix:" + s.lmtpSocket},
	} {
		fmt.Fprintf(&listeners, "[[listener]]\nkind = %q\naddress = %q\n\n", l.kind, l.addr)
	}
	return fmt.Sprintf(`[server]
hostname = "mx.%s"
data_dir = %q

[tls]
cert = %q
key = %q

[log]
level = "debug"

[smtp]
connections_per_ipv4 = 1000
connections_per_ipv4_24 = 1000
new_per_minute = 10000
proxies = ["%s/32"]
xclient = ["%s/32"]

%s%s`, s.domain, filepath.Join(dir, "data"), s.ca, filepath.Join(dir, "key.pem"), sourceProxy, sourceXClient, s.more, listeners.String())
}

// Loopback addresses whose clients may speak for others.
const (
	sourceProxy   = "127.0.0.2"
	sourceXClient = "127.0.0.3"
)

// cli is the command line that does one thing with a configuration file; input
// goes to standard input.
type cli struct {
	args  []string
	input string
}

func setupCommands(s *server, config string, users int) []cli {
	all := []cli{{args: []string{"domain", "add", "--config", config, s.domain}}}
	for i := range users {
		all = append(all, cli{args: []string{"user", "add", "--config", config, "--password-file", "-", s.user(i)}, input: s.password + "\n"})
	}
	return all
}

func serveCommand(config string) []string { return []string{"serve", "--config", config} }

// Users by test, so that tests do not meet in a mailbox.
const (
	userCurl = iota
	userCurlIMAP
	userSwaks
	userMsmtp
	userMbsync
	userPython
	userGoIMAP
	userAuth      // that peers log in as
	userManyFirst // recipients of the same message
	userCount     = userManyFirst + 10
)

func (s *server) user(i int) string { return fmt.Sprintf("u%d@%s", i, s.domain) }

// many lists the addresses that get the same message.
func (s *server) many() []string {
	var all []string
	for i := userManyFirst; i < userCount; i++ {
		all = append(all, s.user(i))
	}
	return all
}

func TestMain(m *testing.M) {
	code := m.Run()
	stopPeers()
	if s, err := started(); s != nil && err == nil && s.cmd != nil {
		if err := s.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "interop: the server did not stop well:", err)
			s.tail(os.Stderr)
			code = max(code, 1)
		}
	}
	for _, dir := range []string{scratch, builtIn} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

var (
	scratch string // directory of the server, removed at the end
	wanted  bool   // whether any test asked for the server
	start   = sync.OnceValues(startServer)
	build   = sync.OnceValues(buildProgram)
	builtIn string // directory of the program, removed at the end
)

// started returns the server if a test has asked for it.
func started() (*server, error) {
	if !wanted {
		return nil, nil
	}
	return start()
}

// use returns the running server, starting it if this is the first test.
func use(t *testing.T) *server {
	t.Helper()
	wanted = true
	s, err := start()
	if err != nil {
		t.Fatalf("start the server: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var b bytes.Buffer
			s.tail(&b)
			t.Logf("the server's log ends with:\n%s", b.String())
		}
	})
	return s
}

func buildProgram() (string, error) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return "", err
	}
	builtIn = dir
	program := filepath.Join(dir, "postino")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/postino").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return program, nil
}

func startServer() (*server, error) {
	if dir := os.Getenv("INTEROP_REFERENCE"); dir != "" {
		return &server{
			mx: "127.0.0.1:21725", smtp: "127.0.0.1:21725", smtps: "127.0.0.1:21765", imap: "127.0.0.1:21743", imaps: "127.0.0.1:21793",
			ca: filepath.Join(dir, "reference-lmtp", "cert.pem"), domain: "bench.test", password: "secret", foreign: true,
			ownLog: filepath.Join(dir, "reference-lmtp", "log"),
		}, nil
	}
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return nil, err
	}
	scratch = dir
	// Peers run under accounts of their own and connect to a socket in it.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	return boot(dir, "interop.test", userCount)
}

// boot starts the program with all that it needs below dir, and makes users.
func boot(dir, domain string, users int) (*server, error) {
	s, err := prepare(dir, domain)
	if err != nil {
		return nil, err
	}
	return s, s.begin(users)
}

// prepare chooses addresses and makes the certificate.
func prepare(dir, domain string) (*server, error) {
	s := &server{
		domain: domain, password: "Long-enough-4-a-test", dir: dir, ca: filepath.Join(dir, "cert.pem"), ownLog: filepath.Join(dir, "log"),
		lmtpSocket: filepath.Join(dir, "lmtp.sock"),
	}
	for _, addr := range []*string{&s.mx, &s.smtp, &s.smtps, &s.imap, &s.imaps, &s.pop3, &s.pop3s, &s.lmtp} {
		var err error
		if *addr, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	return s, writeCertificate(s.ca, filepath.Join(dir, "key.pem"))
}

// begin starts the program, and makes users.
func (s *server) begin(users int) error {
	if err := os.WriteFile(s.config(), []byte(configText(s, s.dir)), 0o644); err != nil {
		return err
	}
	program, err := build()
	if err != nil {
		return err
	}
	if err := os.Link(program, s.binary()); err != nil {
		return err
	}
	if err := s.launch(); err != nil {
		return err
	}
	// The running server does what the command line asks for.
	for _, c := range setupCommands(s, s.config(), users) {
		if out, err := s.command(c).CombinedOutput(); err != nil {
			return fmt.Errorf("postino %s: %v\n%s", strings.Join(c.args, " "), err, out)
		}
	}
	return nil
}

func (s *server) config() string { return filepath.Join(s.dir, "postino.toml") }
func (s *server) binary() string { return filepath.Join(s.dir, "postino") }

// command is the program with a command line.
func (s *server) command(c cli) *exec.Cmd {
	cmd := exec.Command(s.binary(), c.args...)
	cmd.Stdin = strings.NewReader(c.input)
	return cmd
}

// launch starts the server and returns when it answers. It trusts certificates of
// the same maker as its own.
func (s *server) launch() error {
	log, err := os.OpenFile(s.ownLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.binary(), serveCommand(s.config())...)
	s.cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+s.ca)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		s.exitStatus = s.cmd.Wait()
		close(exited)
	}()
	if err := s.await(); err != nil {
		var b bytes.Buffer
		s.tail(&b)
		return fmt.Errorf("%v\n%s", err, b.String())
	}
	return nil
}

// postino runs the program with a configuration that is named at the end, which must
// succeed, and returns what it prints.
func (s *server) postino(t *testing.T, input string, args ...string) string {
	t.Helper()
	args = append(args, "--config", s.config())
	out, err := s.command(cli{args, input}).CombinedOutput()
	if err != nil {
		t.Fatalf("postino %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fresh makes a user that nobody else uses.
func (s *server) fresh(t *testing.T) int {
	t.Helper()
	n := userCount + int(s.made.Add(1))
	s.postino(t, s.password+"\n", "user", "add", "--password-file", "-", s.user(n))
	return n
}

// await returns when all listeners answer.
func (s *server) await() error {
	for _, addr := range []string{s.mx, s.smtp, s.smtps, s.imap, s.imaps, s.pop3, s.pop3s, s.lmtp} {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-s.exited:
				return fmt.Errorf("the server ended: %v", s.exitStatus)
			default:
			}
			if time.Now().After(deadline) {
				return err
			}
		}
	}
	return nil
}

// stop ends the server as an administrator would.
func (s *server) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return s.exitStatus
	case <-time.After(30 * time.Second):
		s.cmd.Process.Kill()
		return fmt.Errorf("still running 30 s after SIGTERM")
	}
}

// tail writes the end of the server's log.
func (s *server) tail(w interface{ Write([]byte) (int, error) }) {
	b, err := os.ReadFile(s.ownLog)
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	w.Write(b[max(0, len(b)-4000):])
}

// freeAddress finds a loopback port that nobody uses at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// writeCertificate makes a certificate for this host that signs itself.
func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// tlsConfig trusts the server's certificate and nothing else.
func (s *server) tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// need skips the test when a program is missing, or fails it where it could
// have been installed.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") != "" || os.Geteuid() == 0 {
		t.Fatalf("%s is missing; run scripts/install-test-deps", program)
	}
	t.Skipf("skip: %s is not installed", program)
}

// try runs a program and returns its output, standard error included.
func try(t *testing.T, stdin, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must succeed.
func run(t *testing.T, stdin, program string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, lastLines(out, 60))
	}
	return out
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// split cuts host:port.
func split(t *testing.T, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// file writes text into a new temporary file and returns its name.
func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
