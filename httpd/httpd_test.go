package httpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/test/memnet"
)

const at = "192.0.2.1:80"

// web is a server on a network in memory.
type web struct {
	t   *testing.T
	net *memnet.Network
}

// serve starts a server; policies by domain.
func serve(t *testing.T, o Options, policies map[string]string) *web {
	t.Helper()
	o.Challenge = func(token string) (string, bool) { return token + ".key", token == "good" }
	o.Policy = func(_ context.Context, domain string) (string, error) {
		switch text, ok := policies[domain]; {
		case domain == "broken.example":
			return "", postino.E(postino.Transient, "find", domain, errors.New("disk"))
		case ok:
			return text, nil
		}
		return "", postino.E(postino.NotFound, "find", domain, errors.New("none"))
	}
	w := &web{t, memnet.New()}
	ln, err := w.net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	done := make(chan error)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *web) dial() net.Conn {
	w.t.Helper()
	c, err := w.net.Dial(w.t.Context(), "tcp", at)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// ask sends one request as it is and returns the reply, nil when there is none.
func ask(c net.Conn, request string) (*http.Response, string) {
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		return nil, ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body) // what was refused may end with a reset
	return resp, string(b)
}

func get(host, path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
}

func source(t *testing.T) *certs.Source {
	t.Helper()
	s, err := certs.SelfSigned(time.Now(), "mail.example", "mta-sts.our.example")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const policy = "version: STSv1\r\nmode: testing\r\nmx: mail.example\r\nmax_age: 86400\r\n"

func TestAnswers(t *testing.T) {
	plain := serve(t, Options{}, map[string]string{"our.example": policy})
	secure := serve(t, Options{TLS: source(t).Config(certs.Service{ALPN: []string{"http/1.1"}, Challenges: true})}, map[string]string{"our.example": policy})
	for _, c := range []struct {
		secure   bool
		request  string
		code     int
		location string
		body     string
	}{
		{false, get("mail.example", "/.well-known/acme-challenge/good"), 200, "", "good.key"},
		{false, get("any.example:80", "/.well-known/acme-challenge/good"), 200, "", "good.key"},
		{false, get("mail.example", "/.well-known/acme-challenge/bad"), 404, "", "Nothing here.\n"},
		{false, get("mail.example", "/.well-known/acme-challenge/../../x"), 404, "", ""},
		{false, get("Mail.Example.", "/a?b=c"), 301, "https://mail.example/a?b=c", ""},
		{false, get("mail.example:8080", "/"), 301, "https://mail.example/", ""},
		{false, get("mta-sts.our.example", "/.well-known/mta-sts.txt"), 301, "https://mta-sts.our.example/.well-known/mta-sts.txt", ""},
		{false, get("", "/"), 404, "", "Nothing here.\n"},
		{false, get("[2001:db8::1]", "/"), 404, "", "Nothing here.\n"},
		{false, get("a%0d%0ab", "/"), 404, "", ""},
		{false, "POST /.well-known/acme-challenge/good HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", 405, "", ""},
		{false, "GET / HTTP/1.0\r\n\r\n", 404, "", ""},
		{true, get("mta-sts.our.example", "/.well-known/mta-sts.txt"), 200, "", policy},
		{true, get("MTA-STS.Our.Example.:443", "/.well-known/mta-sts.txt?x=y"), 200, "", policy},
		{true, get("our.example", "/.well-known/mta-sts.txt"), 404, "", ""},
		{true, get("mta-sts.other.example", "/.well-known/mta-sts.txt"), 404, "", ""},
		{true, get("mta-sts.", "/.well-known/mta-sts.txt"), 404, "", ""},
		{true, get("mta-sts.broken.example", "/.well-known/mta-sts.txt"), 503, "", ""},
		{true, get("mta-sts.our.example", "/"), 404, "", "Nothing here.\n"},
		{true, get("mta-sts.our.example", "/.well-known/acme-challenge/good"), 200, "", "good.key"},
		{true, "HEAD /.well-known/mta-sts.txt HTTP/1.0\r\nHost: mta-sts.our.example\r\n\r\n", 200, "", ""},
		{true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, "", ""},
	} {
		w := plain
		if c.secure {
			w = secure
		}
		conn := w.dial()
		if c.secure {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		}
		head, _, _ := strings.Cut(c.request, "\r\nConnection")
		resp, body := ask(conn, c.request)
		switch {
		case resp == nil:
			t.Errorf("%q: no reply", head)
		case resp.StatusCode != c.code || resp.Header.Get("Location") != c.location || c.body != "" && body != c.body:
			t.Errorf("%q: %d %q %q", head, resp.StatusCode, resp.Header.Get("Location"), body)
		case c.code == 200 && c.secure && strings.Contains(c.request, "mta-sts.txt") && resp.Header.Get("Content-Type") != "text/plain":
			t.Errorf("%q: the policy is %s", head, resp.Header.Get("Content-Type"))
		}
	}
}

// Who offers another protocol, or looks for a challenge that there is not, gets no
// HTTP.
func TestProtocols(t *testing.T) { // TL2
	w := serve(t, Options{TLS: source(t).Config(certs.Service{ALPN: []string{"http/1.1"}, Challenges: true})}, nil)
	for _, protos := range [][]string{{"h2"}, {"imap"}, {"acme-tls/1"}} {
		c := tls.Client(w.dial(), &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example", NextProtos: protos})
		if err := c.Handshake(); err == nil {
			t.Errorf("%v got through", protos)
		}
		c.Close()
	}
	if resp, _ := ask(w.dial(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); resp != nil && resp.StatusCode < 400 {
		t.Error("h2c without TLS")
	}
}

// A client that is slow, talks too much or comes too often is cut off.
func TestLimits(t *testing.T) { // JM6
	t.Run("header size", func(t *testing.T) {
		w := serve(t, Options{}, nil)
		big := strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100)
		if resp, _ := ask(w.dial(), "GET / HTTP/1.1\r\nHost: a.example\r\n"+big+"\r\n"); resp == nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("100 KB of header: %v", resp)
		}
		small := strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 50)
		if resp, _ := ask(w.dial(), "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n"+small+"\r\n"); resp == nil || resp.StatusCode != http.StatusMovedPermanently {
			t.Errorf("50 KB of header: %v", resp)
		}
	})
	t.Run("header time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := serve(t, Options{}, nil)
			c := w.dial()
			begin := time.Now()
			done := make(chan struct{})
			defer func() { c.Close(); <-done }()
			go func() {
				defer close(done)
				for range 60 { // a little now and then does not help
					if _, err := io.WriteString(c, "G"); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			if _, err := io.ReadAll(c); err != nil && time.Since(begin) > 11*time.Second {
				t.Error(err)
			}
			if d := time.Since(begin); d < 9*time.Second || d > 11*time.Second {
				t.Errorf("cut off after %v", d)
			}
		})
	})
	t.Run("connections", func(t *testing.T) {
		w := serve(t, Options{Limits: Limits{Connections: 3, PerAddress: 2}}, nil)
		dial := func(from string) net.Conn {
			c, err := w.net.DialFrom(t.Context(), "tcp", at, netip.MustParseAddr(from))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		alive := func(c net.Conn) bool {
			if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
				return false
			}
			_, err := bufio.NewReader(c).ReadString('\n')
			return err == nil
		}
		a, b := dial("192.0.2.9"), dial("192.0.2.9")
		if !alive(a) || !alive(b) {
			t.Error("two connections are too many")
		}
		if c := dial("192.0.2.9"); alive(c) {
			t.Error("three connections from one address")
		}
		d := dial("192.0.2.10")
		if !alive(d) {
			t.Error("another address is not let in")
		}
		if c := dial("192.0.2.11"); alive(c) {
			t.Error("four connections")
		}
		a.Close()
		for range 1000 { // until the server has seen it
			c := dial("192.0.2.12")
			ok := alive(c)
			c.Close()
			if ok {
				return
			}
		}
		t.Error("a place that was left is not given to others")
	})
}
