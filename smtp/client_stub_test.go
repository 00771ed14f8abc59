package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postino-mail/postino"
)

// stub is a server that answers as its table says: keys are verbs, "RCPT local",
// "greeting" and "." for the end of DATA; values are raw replies. A value "cut" closes
// the connection, "hang" says nothing more. A list of "|" separated values is
// used up one by one, the last one stays.
type stub struct {
	mu    sync.Mutex
	caps  string // of EHLO, separated by ","
	say   map[string]string
	lmtp  bool
	heard []string // commands
	texts []string // contents whose end was seen
	after func(net.Conn, string) net.Conn
}

func (s *stub) answer(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.say[key]
	if !ok {
		verb, _, _ := strings.Cut(key, " ")
		if v, ok = s.say[verb]; !ok {
			switch verb {
			case "greeting":
				return "220 mx.example.net ESMTP\r\n"
			case "EHLO", "LHLO":
				return strings.ReplaceAll("250-mx.example.net\r\n250-"+strings.Join(strings.Split(s.caps, ","), "\r\n250-")+"\r\n", "250-"+last(s.caps)+"\r\n", "250 "+last(s.caps)+"\r\n")
			case "DATA":
				return "354 go\r\n"
			case "QUIT":
				return "221 2.0.0 bye\r\n"
			}
			return "250 2.0.0 ok " + verb + "\r\n"
		}
	}
	if first, rest, more := strings.Cut(v, "|"); more {
		s.say[key] = rest
		v = first
	}
	return v
}

func last(list string) string { return list[strings.LastIndexByte(list, ',')+1:] }

func (s *stub) serve(nc net.Conn) {
	defer func() { nc.Close() }()
	br := bufio.NewReader(nc)
	say := func(key string) bool {
		v := s.answer(key)
		if v == "cut" {
			return false
		}
		if v == "hang" {
			io.Copy(io.Discard, br)
			return false
		}
		_, err := io.WriteString(nc, v)
		return err == nil
	}
	if !say("greeting") {
		return
	}
	ok := 0
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.heard = append(s.heard, line)
		s.mu.Unlock()
		verb, rest, _ := strings.Cut(line, " ")
		key := verb
		switch verb {
		case "MAIL":
			ok = 0
			s.mu.Lock()
			if v, set := s.say["MAIL"]; set && v[0] != '2' {
				ok = -1 << 20
			}
			s.mu.Unlock()
		case "RCPT":
			local, _, _ := strings.Cut(strings.TrimPrefix(rest, "TO:<"), "@")
			key = "RCPT " + local
			s.mu.Lock()
			v, set := s.say[key]
			s.mu.Unlock()
			if !set || strings.HasPrefix(v, "2") {
				ok++
			}
		case "BDAT":
			var n int
			fmt.Sscanf(rest, "%d LAST", &n)
			text := make([]byte, n)
			if _, err := io.ReadFull(br, text); err != nil {
				return
			}
			s.text(string(text))
			if s.lmtp && strings.HasSuffix(rest, " LAST") { // RFC 2033 §4.3
				for range ok {
					if !say(".") {
						return
					}
				}
				continue
			}
		}
		if verb == "DATA" {
			v := s.answer("DATA")
			if s.lmtp && ok <= 0 && v[0] == '3' {
				v = "503 5.5.1 no recipients\r\n" // RFC 2033 §4.2
			}
			if v == "cut" || v == "hang" {
				s.say["DATA"] = v
			} else {
				io.WriteString(nc, v)
				if v[0] != '3' {
					continue
				}
				text := ""
				for !strings.HasSuffix("\r\n"+text, "\r\n.\r\n") {
					line, err := br.ReadString('\n')
					if err != nil {
						return
					}
					text += line
				}
				s.text(text)
				n := 1
				if s.lmtp {
					n = ok
				}
				for range n {
					if !say(".") {
						return
					}
				}
				continue
			}
		}
		if !say(key) || verb == "QUIT" {
			return
		}
		if s.after != nil {
			if up := s.after(nc, verb); up != nil {
				nc, br = up, bufio.NewReader(up)
			}
		}
	}
}

func (s *stub) text(t string) {
	s.mu.Lock()
	s.texts = append(s.texts, t)
	s.mu.Unlock()
}

// commands are what the client said from MAIL on, without arguments of MAIL.
func (s *stub) commands() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var verbs []string
	for _, h := range s.heard {
		verb, _, _ := strings.Cut(h, " ")
		verbs = append(verbs, verb)
	}
	return strings.Join(verbs, " ")
}

// connect makes a client of s; done waits for the server to end.
func (s *stub) connect(t testing.TB, o ClientOptions) (c *Client, done func()) {
	t.Helper()
	cc, sc := pipe()
	return s.connectOver(t, o, cc, sc)
}

func (s *stub) connectOver(t testing.TB, o ClientOptions, cc, sc net.Conn) (c *Client, done func()) {
	t.Helper()
	end := make(chan struct{})
	go func() { s.serve(sc); close(end) }()
	o.Name = "client.example.org"
	c, err := NewClient(context.Background(), cc, o)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() { c.Close(); <-end }
}

func to(locals ...string) *postino.Envelope {
	e := &postino.Envelope{From: postino.Address{Local: "from", Domain: "example.org"}}
	for _, l := range locals {
		e.Rcpts = append(e.Rcpts, postino.Recipient{Address: postino.Address{Local: l, Domain: "example.net"}})
	}
	return e
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func letter(s string, locals ...string) *Mail {
	return &Mail{Envelope: to(locals...), Size: int64(len(s)), Content: text(s)}
}

// inBubble runs f with fake time.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func clientError(t testing.TB, err error) *ClientError {
	t.Helper()
	var e *ClientError
	if !errors.As(err, &e) {
		t.Fatalf("no ClientError: %v", err)
	}
	return e
}

// profiles are the ways in which a transaction can go.
var profiles = []struct {
	name, caps string
	lmtp       bool
	one        bool // OneFlight
}{
	{"lockstep", "8BITMIME", false, false},
	{"pipelining", "PIPELINING,8BITMIME", false, false},
	{"chunking", "PIPELINING,CHUNKING,8BITMIME", false, false},
	{"one flight", "PIPELINING,CHUNKING,8BITMIME", false, true},
	{"lmtp", "PIPELINING,CHUNKING", true, false},
}
