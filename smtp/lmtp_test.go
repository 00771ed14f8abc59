package smtp

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

const lhloFirst = "S: 220 mx.example.org LMTP\nC: LHLO client.example\nS: 250 LIMITS\n"

// TestLMTP is RFC 2033.
func TestLMTP(t *testing.T) {
	const two = `
		C: MAIL FROM:<a@example.org>
		S: 250 2.1.0
		C: RCPT TO:<b@example.org>
		S: 250 2.1.5
		C: RCPT TO:<no@example.org>
		S: 550 5.1.1
		C: RCPT TO:<b@example.org>
		S: 250 2.1.5
		`
	for _, d := range []struct {
		name, script string
		posts        int
		opts         Options
	}{
		{name: "greetings", script: "S: 220 mx.example.org LMTP\nC: EHLO x\nS: 500 5.5.2\nC: HELO x\nS: 500 5.5.2\nC: MAIL FROM:<a@example.org>\nS: 503 5.5.1\nC: LHLO\nS: 501 \nC: LHLO x\nS: 250 "},
		{name: "DATA", script: lhloFirst + two + "C: DATA\nS: 354 \nC: x\nC: .\nS: 250 2.0.0 Queued as id1\nS: 250 2.0.0 Queued as id1\nC: QUIT\nS: 221 \nE:", posts: 1},
		{name: "no recipient", script: lhloFirst + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: DATA\nS: 503 5.5.1\nR: BDAT 1 LAST\\r\\nx\nC: NOOP\nS: 250 2.0.0 OK"},
		{name: "no transaction", script: lhloFirst + "R: BDAT 1 LAST\\r\\nx\nR: BDAT 1\\r\\nx\nS: 503 \nR: BDAT 1 LAST\\r\\nx\nC: NOOP\nS: 250 2.0.0 OK"},
		{name: "results", script: lhloFirst + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: RCPT TO:<full@example.org>\nS: 250 \nC: RCPT TO:<yes@example.org>\nS: 250 \n" +
			"C: RCPT TO:<ok251@example.org>\nS: 251 \nC: DATA\nS: 354 \nC: .\nS: 250 2.0.0\nS: 452 4.3.1\nS: 421 4.3.0\nS: 250 2.0.0\nE:", posts: 1},
		{name: "miscounted results", script: lhloFirst + two + "C: RCPT TO:<miscount@example.org>\nS: 250 \nC: DATA\nS: 354 \nC: .\nS: 451 4.3.0\nS: 451 4.3.0\nS: 451 4.3.0\nC: NOOP\nS: 250 ", posts: 1},
		{name: "no commit", script: lhloFirst + two + "C: RCPT TO:<nocommit@example.org>\nS: 250 \nC: DATA\nS: 354 \nC: .\nS: 550 5.7.1\nS: 550 5.7.1\nS: 550 5.7.1\nC: NOOP\nS: 250 "},
		{name: "no sink", script: lhloFirst + two + "C: RCPT TO:<nosink@example.org>\nS: 250 \nC: DATA\nS: 452 4.3.1\nC: NOOP\nS: 250 "},
		{name: "too big", script: lhloFirst + two + "C: DATA\nS: 354 \nC: " + strings.Repeat("x", 2000) + "\nC: .\nS: 552 5.3.4\nS: 552 5.3.4\nC: NOOP\nS: 250 ", opts: Options{Limits: Limits{MessageBytes: 1000}}},
		{name: "bare LF", script: lhloFirst + two + "C: DATA\nS: 354 \nR: x\\ny\\r\\n.\\r\\n\nS: 554 5.6.0\nS: 554 5.6.0\nE:"},
		{name: "BDAT", script: lhloFirst + two + "R: BDAT 1\\r\\nx\nS: 250 2.0.0 Chunk\nR: BDAT 1 LAST\\r\\ny\nS: 250 2.0.0 Queued\nS: 250 2.0.0 Queued\nC: NOOP\nS: 250 2.0.0 OK", posts: 1},
		{name: "failed chunk", script: lhloFirst + two + "C: RCPT TO:<nowrite@example.org>\nS: 250 \nR: BDAT 1\\r\\nxBDAT 1\\r\\nxBDAT 1 LAST\\r\\ny\nS: 452 4.3.1\nS: 503 \nS: 503 \nS: 503 \nS: 503 \nR: BDAT 0 LAST\\r\\n\nC: NOOP\nS: 250 2.0.0 OK"},
		{name: "failed chunk and RSET", script: lhloFirst + two + "C: RCPT TO:<nowrite@example.org>\nS: 250 \nR: BDAT 1\\r\\nx\nS: 452 4.3.1\nC: RSET\nS: 250 \nR: BDAT 1 LAST\\r\\ny\nC: NOOP\nS: 250 2.0.0 OK"},
		{name: "not in LMTP", script: lhloFirst + "C: ETRN a.example\nS: 502 \nC: BURL imap://x LAST\nS: 502 ", opts: Options{ETRN: true, BURL: true}},
		{name: "pipelining", script: "S: 220 \nC: LHLO x\nS: 250 LIMITS\nR: MAIL FROM:<a@example.org>\\r\\nRCPT TO:<b@example.org>\\r\\nDATA\\r\\n\nS: 250 \nS: 250 \nS: 354 \nC: .\nS: 250 ", posts: 1},
	} {
		t.Run(d.name, func(t *testing.T) {
			f := &fake{}
			d.opts.LMTP = true
			play(t, d.opts, f, d.script)
			if len(f.posts) != d.posts {
				t.Errorf("%d messages, want %d", len(f.posts), d.posts)
			}
		})
	}
	t.Run("in SMTP", func(t *testing.T) { play(t, Options{}, &fake{}, "S: 220 \nC: LHLO x\nS: 500 5.5.2") })
	t.Run("many replies", func(t *testing.T) { // more than a buffer of them
		bubble(t, Options{LMTP: true}, &fake{}, func(t *testing.T, _ *Server, c *client) {
			c.script(lhloFirst + "C: MAIL FROM:<a@example.org>\nS: 250 ")
			for range 1000 {
				c.script("C: RCPT TO:<full@example.org>\nS: 250 ")
			}
			c.script("R: BDAT 0 LAST\\r\\n")
			for range 1000 {
				c.expect("452 4.3.1")
			}
			c.script("C: NOOP\nS: 250 2.0.0 OK")
		})
	})
}

// TestLMTPSocket shows a session over a unix socket, which has no address.
func TestLMTPSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	f.onData = func(c *Conn) {
		if c.Remote().IsValid() || c.Peer().IsValid() || !c.LMTP() || c.Protocol(false) != "LMTP" || c.Protocol(true) != "UTF8LMTP" {
			t.Errorf("%v %v %v %s", c.Remote(), c.Peer(), c.LMTP(), c.Protocol(false))
		}
	}
	s := NewServer(Options{Hostname: "mx.example.org", Backend: f, LMTP: true})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := &client{t, nc, bufio.NewReader(nc)}
	c.script(lhloFirst + "C: MAIL FROM:<>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 \nC: .\nS: 250 2.0.0\nC: QUIT\nS: 221 \nE:")
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	f.check(t)
}
