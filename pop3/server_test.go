package pop3

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/test/memnet"
)

// client is the other end of a connection in a test.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// start serves a store on loopback and returns a way to connect.
func start(t testing.TB, store *memStore, change func(*Options)) (*Server, func() *client) {
	t.Helper()
	opts := Options{NewSession: store.session, AllowClear: true}
	if change != nil {
		change(&opts)
	}
	s := NewServer(opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error("shutdown:", err)
		}
		if err := <-done; err != nil {
			t.Error("Serve:", err)
		}
	})
	return s, func() *client {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { nc.Close() })
		return &client{t, nc, bufio.NewReader(nc)}
	}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal("send:", err)
	}
}

// line reads a line without its CRLF; "" after the end of the connection.
func (c *client) line() string {
	s, err := c.r.ReadString('\n')
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the server does not answer")
	}
	return strings.TrimSuffix(s, "\r\n")
}

func (c *client) do(command string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.line()
}

// TestLimits: connections in all, of an address, of a user (IM6).
func TestLimits(t *testing.T) {
	store := newMemStore()
	store.share = true
	_, connect := start(t, store, func(o *Options) { o.Limits = Limits{PerAddress: 3, PerUser: 2} })
	var open []*client
	for i := range 3 {
		c := connect()
		c.line()
		want := "+OK Mailbox locked and ready"
		if i == 2 {
			want = "-ERR [SYS/TEMP] Too many connections"
		}
		c.do("USER ann")
		if got := c.do("PASS sesame"); got != want {
			t.Errorf("IM6: login %d: %q", i, got)
		}
		open = append(open, c)
	}
	if got := connect().line(); got != "-ERR [SYS/TEMP] Too many connections" {
		t.Errorf("IM6: %q", got)
	}
	open[0].do("QUIT")
	open[0].line() // the end
	open[2].do("USER ann")
	if got := open[2].do("PASS sesame"); got != "+OK Mailbox locked and ready" {
		t.Errorf("IM6: after a place became free: %q", got)
	}
}

// TestInUse: a second session of the maildrop is told, and gets it after the first.
func TestInUse(t *testing.T) {
	_, connect := start(t, newMemStore(letters...), nil)
	a, b := connect(), connect()
	a.line()
	b.line()
	a.do("USER ann")
	a.do("PASS sesame")
	b.do("USER ann")
	if got := b.do("PASS sesame"); got != "-ERR [IN-USE] Another session has locked the mailbox" {
		t.Error(got)
	}
	a.do("QUIT")
	a.line()
	b.do("USER ann")
	if got := b.do("PASS sesame"); got != "+OK Mailbox locked and ready" {
		t.Error(got)
	}
}

// certificate makes one for tests.
func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestSTLS: TLS in the middle, and nothing of what came before it (RFC 2595 §4).
func TestSTLS(t *testing.T) {
	_, connect := start(t, newMemStore(letters...), func(o *Options) {
		o.AllowClear, o.TLS = false, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	})
	begin := func(alpn ...string) (*client, error) {
		c := connect()
		c.line()
		c.send("CAPA\r\n")
		var capabilities string
		for l := c.line(); l != "."; l = c.line() {
			capabilities += l + "\n"
		}
		if !strings.Contains(capabilities, "\nSTLS\n") || strings.Contains(capabilities, "SASL") || strings.Contains(capabilities, "\nUSER\n") {
			t.Errorf("capabilities in clear: %q", capabilities)
		}
		c.do("LANG it")
		if got := c.do("STLS"); got != "+OK Iniziare la negoziazione TLS" {
			t.Fatal(got)
		}
		tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, NextProtos: alpn})
		if err := tc.Handshake(); err != nil {
			return nil, err
		}
		c.nc, c.r = tc, bufio.NewReader(tc)
		return c, nil
	}
	if _, err := begin("http/1.1"); err == nil {
		t.Error("TL2: any protocol is taken in ALPN")
	}
	c, err := begin("pop3")
	if err != nil {
		t.Fatal(err)
	}
	c.send("CAPA\r\n")
	var capabilities string
	for l := c.line(); l != "."; l = c.line() {
		capabilities += l + "\n"
	}
	if strings.Contains(capabilities, "\nSTLS\n") || !strings.Contains(capabilities, "SASL PLAIN") || !strings.Contains(capabilities, "\nUSER\n") {
		t.Errorf("capabilities under TLS: %q", capabilities)
	}
	if got := c.do("STLS"); got != "-ERR Not offered here" {
		t.Error(got)
	}
	c.do("USER ann")
	if got := c.do("PASS sesame"); got != "+OK Mailbox locked and ready" {
		t.Error(got)
	}

	c = connect()
	c.line()
	if got := c.do("STLS\r\nUSER ann"); got != "-ERR Wrong arguments" || c.line() != "" {
		t.Errorf("commands behind STLS: %q", got)
	}
	c = connect()
	c.line()
	c.do("UTF8")
	if got := c.do("STLS"); got != "-ERR Not offered here" {
		t.Errorf("STLS after UTF8: %q", got)
	}
}

// TestTime: a client that is silent gets time, less memory, and then the end, without
// a word and without a change (RFC 1939 §3, IM12, IM1).
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(letters...)
		n := memnet.New()
		l, err := n.Listen("tcp", "192.0.2.1:110")
		if err != nil {
			t.Fatal(err)
		}
		s := NewServer(Options{NewSession: store.session, AllowClear: true})
		go s.Serve(l)
		for _, x := range []struct {
			say string
			end time.Duration
		}{{"USER ann\r\n", 2 * time.Minute}, {login + "DELE 1\r\n", 10 * time.Minute}} {
			nc, err := n.Dial(t.Context(), "tcp", "192.0.2.1:110")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			io.WriteString(nc, x.say)
			all, err := io.ReadAll(nc)
			if took := time.Since(began); took != x.end || err != nil || strings.Contains(string(all), "-ERR") {
				t.Errorf("%q ended after %v with %q, %v", x.say, took, all, err)
			}
			nc.Close()
		}
		if store.state() != "123" || store.rested == 0 {
			t.Errorf("state %q, rested %d times", store.state(), store.rested)
		}
		nc, err := n.Dial(t.Context(), "tcp", "192.0.2.1:110")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, login+"DELE 1\r\n")
		synctest.Wait()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		nc.Close()
		if store.state() != "123" || store.locked {
			t.Error("a shutdown removed messages or left the lock")
		}
	})
}
