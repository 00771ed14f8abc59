package smtp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// post is a message that a fake backend accepted.
type post struct {
	from    postino.Address
	opts    MailOptions
	rcpts   []postino.Recipient
	content string
	// What the connection said at Commit.
	forward, identity, remote string
	said                      int // recipients with success
}

// fake is a Backend whose answers depend on local parts: "no" is refused,
// "later" deferred, "panic" panics, "ok251" is accepted by a reply of its own,
// "nosink", "nowrite", "nocommit" and "slow" fail where they say; "full", "yes"
// and "miscount" have results of their own in LMTP.
type fake struct {
	mu       sync.Mutex
	posts    []post
	sessions int
	closed   int
	begun    int // transactions
	ended    int
	urls     int // open
	names    []string
	protocol string
	refuse   error
	login    string
	onData   func(*Conn)
}

func (f *fake) NewSession(_ context.Context, c *Conn) (Session, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.mu.Lock()
	f.sessions++
	f.mu.Unlock()
	return &fakeSession{f: f, c: c}, nil
}

// check fails the test when something was not closed exactly once.
func (f *fake) check(t testing.TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions != f.closed || f.begun != f.ended || f.urls != 0 {
		t.Fatalf("%d sessions, %d closed; %d transactions, %d closed", f.sessions, f.closed, f.begun, f.ended)
	}
}

type fakeSession struct {
	f    *fake
	c    *Conn
	open int
}

func (s *fakeSession) Hello(_ context.Context, name string, esmtp bool) error {
	if name == "refused.example" {
		return &Reply{550, "5.7.1", "Not you"}
	}
	s.f.mu.Lock()
	s.f.names = append(s.f.names, name)
	s.f.mu.Unlock()
	return nil
}

func (s *fakeSession) Mechanisms() []string {
	if s.f.login == "" {
		return nil
	}
	return []string{"PLAIN", "LOGIN"}
}

func (s *fakeSession) Auth(_ context.Context, mech string) (Exchange, error) {
	return &fakeExchange{mech: mech, want: s.f.login}, nil
}

func (s *fakeSession) Mail(_ context.Context, from postino.Address, o MailOptions) (Transaction, error) {
	if err := answer(from.Local); err != nil {
		return nil, err
	}
	if s.open++; s.open != 1 {
		panic("two transactions at once")
	}
	s.f.mu.Lock()
	s.f.begun++
	s.f.mu.Unlock()
	return &fakeTx{s: s, post: post{from: from, opts: o}}, nil
}

func (s *fakeSession) Verify(_ context.Context, arg string) error {
	if arg == "known" {
		return &Reply{250, "2.1.5", "<known@example.org>"}
	}
	return answer(arg)
}
func (s *fakeSession) Expand(_ context.Context, arg string) error { return answer(arg) }

func (s *fakeSession) Turn(_ context.Context, node string) error { return answer(node) }

// URL knows the text "url\r\n" under every other name than those of answer,
// and texts with faults of their own.
func (s *fakeSession) URL(_ context.Context, url string) (io.ReadCloser, int64, error) {
	name := strings.TrimPrefix(url, "imap://")
	if err := answer(name); err != nil {
		return nil, 0, err
	}
	text, size := "url\r\n", int64(5)
	switch name {
	case "missing":
		return nil, 0, postino.E(postino.NotFound, "open", url, nil)
	case "bare":
		text, size = "a\nb", -1
	case "cr":
		text, size = "a\r", 2
	case "short":
		size = 6
	case "huge":
		size = 1 << 40
	case "long":
		text, size = strings.Repeat("0123456789abcd\r\n", 1<<14), -1
	}
	s.f.mu.Lock()
	s.f.urls++
	s.f.mu.Unlock()
	return &fakeBody{strings.NewReader(text), s.f}, size, nil
}

// fakeBody counts what is closed.
type fakeBody struct {
	*strings.Reader
	f *fake
}

func (b *fakeBody) Close() error {
	b.f.mu.Lock()
	b.f.urls--
	b.f.mu.Unlock()
	return nil
}

func (s *fakeSession) Close() {
	if s.open != 0 {
		panic("session closed before its transaction")
	}
	s.f.mu.Lock()
	s.f.closed++
	s.f.mu.Unlock()
}

func answer(local string) error {
	switch local {
	case "no":
		return &Reply{550, "5.1.1", "No such user"}
	case "later":
		return postino.E(postino.Transient, "look up", local, nil)
	case "denied":
		return postino.E(postino.Denied, "relay", local, nil)
	case "plain":
		return errors.New("secret cause")
	case "bye":
		return &Reply{421, "4.3.0", "Bye"}
	case "ok251":
		return &Reply{251, "2.1.5", "Will forward"}
	case "panic":
		panic("asked to")
	}
	return nil
}

type fakeTx struct {
	s      *fakeSession
	post   post
	buf    strings.Builder
	state  int // 1 data, 2 committed
	closed bool
}

func (t *fakeTx) has(local string) bool {
	for _, r := range t.post.rcpts {
		if r.Address.Local == local {
			return true
		}
	}
	return false
}

func (t *fakeTx) Rcpt(_ context.Context, to postino.Recipient) error {
	if t.closed || t.state != 0 {
		panic("Rcpt out of order")
	}
	if err := answer(to.Address.Local); err != nil && !ReplyFor(err).success() {
		return err
	}
	t.post.rcpts = append(t.post.rcpts, to)
	return answer(to.Address.Local)
}

func (t *fakeTx) Data(context.Context) (Sink, error) {
	if t.closed || t.state != 0 || len(t.post.rcpts) == 0 {
		panic("Data out of order")
	}
	t.state = 1
	if t.has("nosink") {
		return nil, postino.E(postino.Full, "open", "", nil)
	}
	t.s.f.protocol = t.s.c.Protocol(t.post.opts.SMTPUTF8)
	if t.s.f.onData != nil {
		t.s.f.onData(t.s.c)
	}
	return t, nil
}

func (t *fakeTx) Write(p []byte) (int, error) {
	if t.closed || t.state != 1 {
		panic("Write out of order")
	}
	if t.has("nowrite") {
		return 0, postino.E(postino.Full, "write", "", nil)
	}
	if t.has("panicwrite") {
		panic("asked to")
	}
	return t.buf.Write(p)
}

func (t *fakeTx) Commit(ctx context.Context) (Accepted, error) {
	if t.closed || t.state != 1 {
		panic("Commit out of order")
	}
	t.state = 2
	switch {
	case t.has("nocommit"):
		return Accepted{}, &Reply{550, "5.7.1", "Spam"}
	case t.has("odd"):
		return Accepted{}, &Reply{250, "2.0.0", "An error is no success"}
	case t.has("slow"):
		<-ctx.Done()
		return Accepted{}, ctx.Err()
	}
	f := t.s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	c := t.s.c
	t.post.content, t.post.forward, t.post.identity, t.post.remote = t.buf.String(), c.Forwarded().Name, c.Identity(), c.Remote().String()
	f.posts = append(f.posts, t.post)
	a := Accepted{ID: fmt.Sprint("id", len(f.posts))}
	switch {
	case t.has("miscount"):
		a.Results = make([]error, len(t.post.rcpts)+1)
	case t.has("full"), t.has("yes"):
		for _, r := range t.post.rcpts {
			switch r.Address.Local {
			case "full":
				a.Results = append(a.Results, postino.E(postino.Full, "deliver", "", nil))
			case "yes":
				a.Results = append(a.Results, &Reply{250, "2.1.5", "An error is no success"})
			default:
				a.Results = append(a.Results, nil)
			}
		}
	}
	said := len(t.post.rcpts)
	if a.Results != nil {
		said = 0
		for _, err := range a.Results[:len(t.post.rcpts)] {
			if err == nil && len(a.Results) == len(t.post.rcpts) {
				said++
			}
		}
	}
	f.posts[len(f.posts)-1].said = said
	return a, nil
}

func (t *fakeTx) Close() {
	if t.closed {
		panic("closed twice")
	}
	t.closed = true
	t.s.open--
	t.s.f.mu.Lock()
	t.s.f.ended++
	t.s.f.mu.Unlock()
}

// fakeExchange is PLAIN or LOGIN where user and password are both want.
type fakeExchange struct {
	mech, want string
	step       int
}

func (x *fakeExchange) Next(_ context.Context, r []byte) ([]byte, bool, error) {
	if r == nil {
		return []byte("Say:"), false, nil
	}
	x.step++
	ok := string(r) == "\x00"+x.want+"\x00"+x.want
	if x.mech == "LOGIN" {
		if x.step == 1 {
			return []byte("More:"), false, nil
		}
		ok = string(r) == x.want
	}
	switch {
	case ok:
		return nil, true, nil
	case string(r) == "broken":
		return nil, false, errors.New("store is down")
	case len(r) == 0:
		return nil, false, postino.E(postino.Invalid, "sasl", "", nil)
	}
	return nil, false, postino.E(postino.Denied, "authenticate", "", nil)
}

func (x *fakeExchange) Identity() string { return x.want + "@example.org" }

// client is the other end of a session.
type client struct {
	t testing.TB
	net.Conn
	br *bufio.Reader
}

// dial runs a session of s over a pipe and returns its client.
func dial(t testing.TB, s *Server) *client {
	cc, sc := pipe()
	go s.ServeConn(context.Background(), sc)
	t.Cleanup(func() { cc.Close() })
	return &client{t, cc, bufio.NewReader(cc)}
}

func (c *client) send(s string) {
	if _, err := c.Write([]byte(s)); err != nil && !strings.Contains(err.Error(), "closed") {
		c.t.Helper()
		c.t.Fatal(err)
	}
}

// reply reads one reply, checks that it is well-formed, and returns its lines
// without CRLF.
func (c *client) reply() ([]string, error) {
	var lines []string
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			if line != "" {
				c.t.Fatalf("cut reply %q", line)
			}
			return nil, err
		}
		if err := wellFormed(line, lines); err != nil {
			c.t.Fatalf("%v: %q after %q", err, line, lines)
		}
		lines = append(lines, line[:len(line)-2])
		if line[3] == ' ' {
			return lines, nil
		}
	}
}

// wellFormed checks one line of a reply (RFC 5321 §4.2, RFC 2034 §4).
func wellFormed(line string, before []string) error {
	switch {
	case len(line) < 6 || len(line) > maxReplyLine || !strings.HasSuffix(line, "\r\n"):
		return errors.New("length or end")
	case line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '5' || line[2] < '0' || line[2] > '9':
		return errors.New("code")
	case line[3] != ' ' && line[3] != '-':
		return errors.New("separator")
	case len(before) > 0 && before[0][:3] != line[:3]:
		return errors.New("codes differ")
	}
	for _, b := range []byte(line[:len(line)-2]) {
		if b < ' ' || b > '~' {
			return errors.New("octet")
		}
	}
	if line[0] >= '4' && (line[4] != line[0] || line[5] != '.') {
		return errors.New("enhanced code")
	}
	return nil
}

// expect reads one reply that begins with want, "" for end of stream.
func (c *client) expect(want string) []string {
	c.t.Helper()
	lines, err := c.reply()
	switch {
	case want == "" && err != nil:
		return nil
	case err != nil:
		c.t.Fatalf("want %q: %v", want, err)
	case want == "" || !strings.HasPrefix(lines[len(lines)-1], want):
		c.t.Fatalf("want %q, got %q", want, lines)
	}
	return lines
}

// script plays a dialogue: lines "C: …" are sent with CRLF, "R: …" without but
// with Go escapes read, "S: …" is the begin of the next reply, "E:" the end.
func (c *client) script(text string) {
	c.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		kind, rest, _ := strings.Cut(line, ":")
		rest = strings.TrimPrefix(rest, " ")
		switch kind {
		case "C":
			c.send(rest + "\r\n")
		case "R":
			c.send(strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\t`, "\t", `\xff`, "\xff", `\x16`, "\x16").Replace(rest))
		case "S":
			c.expect(rest)
		case "E":
			c.expect("")
		default:
			c.t.Fatalf("bad script line %q", line)
		}
	}
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{certificate()}} }

// startTLS wraps the client's end.
func (c *client) startTLS(protos ...string) error {
	t := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
	if err := t.Handshake(); err != nil {
		return err
	}
	c.Conn, c.br = t, bufio.NewReader(t)
	return nil
}
