package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// peer is another mail server: one process tree below one directory.
type peer struct {
	name string            // and the domain whose mail it takes, name.test
	dir  string            // its root
	ways map[string]string // addresses that it listens on, by what is offered there
	box  string            // Maildir for all mail that it takes
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

var (
	peersMu sync.Mutex
	running []*peer
)

// usePeer returns the server under test and a peer, started at the first need.
func usePeer(t *testing.T, startPeer func() (*peer, error)) (*server, *peer) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skip: other servers change to accounts of their own, which needs root")
	}
	s := use(t)
	if s.foreign {
		t.Skip("skip: the reference does not know the peers")
	}
	p, err := startPeer()
	if err != nil {
		t.Fatalf("start a peer: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(p.log)
			t.Logf("the log of %s ends with:\n%s", p.name, b[max(0, len(b)-3000):])
		}
	})
	return s, p
}

// newPeer makes the directory of a peer, with a certificate that everybody trusts
// who trusts the server's. The accounts of daemons may search it.
func newPeer(name string, ways ...string) (*peer, error) {
	s, err := start()
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, dir: filepath.Join(s.dir, name), ways: map[string]string{}}
	p.box, p.log = filepath.Join(p.dir, "mail", "all"), filepath.Join(p.dir, "log")
	if err := os.MkdirAll(filepath.Join(p.dir, "mail"), 0o777); err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Join(p.dir, "mail"), 0o777); err != nil {
		return nil, err
	}
	for _, w := range ways {
		if p.ways[w], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	key, err := os.ReadFile(filepath.Join(s.dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	return p, p.write("key.pem", string(key))
}

func (p *peer) domain() string          { return p.name + ".test" }
func (p *peer) path(name string) string { return filepath.Join(p.dir, name) }
func (p *peer) write(name, text string) error {
	return os.WriteFile(p.path(name), []byte(text), 0o644)
}

// port is the port of a way in.
func (p *peer) port(way string) string {
	_, port, _ := net.SplitHostPort(p.ways[way])
	return port
}

// start runs the daemon, which stays in the foreground, and returns when it listens.
// It ends with the tests, whatever they end by; Exim only by stop, since it changes
// its account, which makes the system forget the signal.
func (p *peer) start(program string, args ...string) error {
	out, err := os.Create(p.path("out"))
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	p.done = make(chan struct{})
	up := make(chan error)
	go func() {
		// The signal comes when the thread ends that started the process.
		runtime.LockOSThread()
		err := p.cmd.Start()
		up <- err
		if err == nil {
			p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-up; err != nil {
		return err
	}
	peersMu.Lock()
	running = append(running, p)
	peersMu.Unlock()
	for _, addr := range p.ways {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
				break
			}
			ended := false
			select {
			case <-p.done:
				ended = true
			default:
			}
			if ended || time.Now().After(deadline) {
				said, _ := os.ReadFile(p.path("out"))
				logged, _ := os.ReadFile(p.log)
				return fmt.Errorf("%s: %v (ended: %v)\n%s\n%s", program, err, ended, said, logged)
			}
		}
	}
	return nil
}

func (p *peer) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
	}
}

// stopPeers ends all peers at once.
func stopPeers() {
	var wg sync.WaitGroup
	for _, p := range running {
		wg.Go(p.stop)
	}
	wg.Wait()
}

// account gives files below the peer's directory to an account.
func (p *peer) account(name string, paths ...string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, path := range paths {
		if err := os.Chown(p.path(path), uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// arrived waits until the peer has mail with this Message-ID and returns it with
// the line ends of the Internet.
func (p *peer) arrived(t *testing.T, id string) []byte {
	t.Helper()
	want := []byte("\nMessage-ID: <" + id + "@client.test>")
	seen := map[string]bool{}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(p.box, "new", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if seen[f] {
				continue
			}
			seen[f] = true
			b, err := os.ReadFile(f)
			if err == nil && bytes.Contains(b[:min(len(b), 16<<10)], want) {
				return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no mail %s", p.name, id)
		}
	}
}

// count tells how many messages with this Message-ID the peer has.
func (p *peer) count(t *testing.T, id string) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.box, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b[:min(len(b), 16<<10)], []byte("\nMessage-ID: <"+id+"@client.test>")) {
			n++
		}
	}
	return n
}

// logged waits until n different texts match the first group of the pattern (or all
// of it) in the peer's log, and returns them.
func (p *peer) logged(t *testing.T, pattern string, n int) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		b, err := os.ReadFile(p.log)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		seen := map[string]bool{}
		for _, m := range re.FindAllSubmatch(b, -1) {
			if text := string(m[len(m)-1]); !seen[text] {
				seen[text] = true
				all = append(all, text)
			}
		}
		if len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log of %s has %d of %d times %s", p.name, len(all), n, pattern)
		}
	}
}

// wantPassedOn checks that mail came through unchanged below what was added on top,
// and that this matches all patterns.
func wantPassedOn(t *testing.T, got []byte, sent string, patterns ...string) {
	t.Helper()
	if !bytes.HasSuffix(got, []byte(sent)) {
		t.Errorf("mail has changed on its way: got\n%q\nwant\n%q", clip(string(got)), clip(sent))
		return
	}
	trace := string(got[:len(got)-len(sent)])
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?is)" + pattern).MatchString(trace) {
			t.Errorf("the trace fields do not match %s:\n%s", pattern, trace)
		}
	}
	if t.Failed() {
		return
	}
	if strings.Count(trace, "\nReceived: ")+strings.Count(trace, "\r\nReceived: ") == 0 {
		t.Errorf("no Received field among\n%s", trace)
	}
}
