package crash

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is the real binary with a configuration on loopback.
type program struct {
	testing.TB
	dir        string // of the binary, the configuration and the log
	data       string
	smtp, imap string
	submission string
	pop3       string
	cmd        *exec.Cmd
	ended      chan error
}

var built = struct {
	sync.Once
	dir string
	err error
}{}

// binary builds the program once for all tests of this process. POSTINO_PROGRAM
// names another one.
func binary(t testing.TB) string {
	t.Helper()
	if other := os.Getenv("POSTINO_PROGRAM"); other != "" {
		return other
	}
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "postino"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", built.dir, "../../cmd/postino").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	must(t, built.err)
	return filepath.Join(built.dir, "postino")
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// newProgram writes a configuration with the data in data, starts the program
// and makes the users.
func newProgram(t testing.TB, data string) *program {
	t.Helper()
	p := &program{TB: t, dir: t.TempDir(), data: data, smtp: freeAddress(t), imap: freeAddress(t), submission: freeAddress(t), pop3: freeAddress(t)}
	config := fmt.Sprintf("[server]\nhostname = \"mx.b.example\"\ndata_dir = %q\n[tls]\nself_signed = true\n"+
		"[smtp]\nnew_per_minute = 100000\nconnections_per_ipv4 = 1000\nconnections_per_ipv4_24 = 1000\nmax_transactions = 1000000\n"+
		"[[listener]]\nkind = \"smtp\"\naddress = %q\n[[listener]]\nkind = \"imap\"\naddress = %q\ntls = false\n"+
		"[[listener]]\nkind = \"submission\"\naddress = %q\ntls = false\n"+
		"[[listener]]\nkind = \"pop3\"\naddress = %q\ntls = false\n", data, p.smtp, p.imap, p.submission, p.pop3)
	must(t, os.WriteFile(p.config(), []byte(config), 0o600))
	p.begin()
	t.Cleanup(p.kill)
	p.tool("", "domain", "add", "b.example")
	for _, name := range users {
		p.tool("correct horse\n", "user", "add", name+"@b.example", "--password-file", "-")
	}
	return p
}

func (p *program) config() string { return filepath.Join(p.dir, "postino.toml") }

// tool runs a command of the program beside the server.
func (p *program) tool(input string, args ...string) {
	p.Helper()
	cmd := p.command(args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("postino %s: %v\n%s\n%s", strings.Join(args, " "), err, out, p.log())
	}
}

// say is what a command prints, for messages of tests that fail.
func (p *program) say(args ...string) string {
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	return string(out)
}

func (p *program) command(args ...string) *exec.Cmd {
	return exec.Command(binary(p), append(args, "--config", p.config())...)
}

// begin starts the program and returns how long it took until it served.
func (p *program) begin() time.Duration {
	p.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(p, err)
	defer log.Close()
	path := binary(p)
	began := time.Now()
	p.cmd = exec.Command(path, "serve", "--config", p.config())
	p.cmd.Stdout, p.cmd.Stderr = log, log
	must(p, p.cmd.Start())
	p.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(p.cmd, p.ended)
	for _, addr := range []string{p.smtp, p.imap, p.submission, p.pop3} {
		for !greets(addr) {
			select {
			case err := <-p.ended:
				p.Fatalf("the program ended: %v\n%s", err, p.log())
			case <-time.After(5 * time.Millisecond):
			}
			if time.Since(began) > time.Minute {
				p.Fatalf("no greeting in a minute\n%s", p.log())
			}
		}
	}
	return time.Since(began)
}

func greets(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	n, err := conn.Read(make([]byte, 1))
	return err == nil && n == 1
}

// kill ends the program as the kernel does when memory runs out.
func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	err := p.cmd.Process.Kill()
	if waited := <-p.ended; err == nil && waited == nil || err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Errorf("kill: %v, it had ended: %v\n%s", err, waited, p.log())
	}
	p.cmd = nil
}

// alive fails when the program has ended by itself.
func (p *program) alive() {
	p.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		p.Fatalf("the program ended: %v\n%s", err, p.log())
	default:
	}
}

// log returns the end of what the program wrote.
func (p *program) log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-4000):]))
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
