package smtp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// step is a command of the model: what is sent, and a pure function from the
// state before to the expected reply code and the state after.
type step struct {
	name string
	send string
	next func(m model) (codes string, after model)
}

// model is all that a session may remember of SMTP's state (SS3).
type model struct {
	hello   bool
	mail    bool
	rcpts   int
	chunks  bool
	auth    bool
	gone    bool
	accepts int
}

func (m model) none() model {
	m.mail, m.rcpts, m.chunks = false, 0, false
	return m
}

var steps = []step{
	{"EHLO", "EHLO x\r\n", func(m model) (string, model) { m = m.none(); m.hello = true; return "250", m }},
	{"bad EHLO", "EHLO\r\n", func(m model) (string, model) { return "501", m }},
	{"refused EHLO", "EHLO refused.example\r\n", func(m model) (string, model) { return "550", m }},
	{"MAIL", "MAIL FROM:<a@example.org>\r\n", mailTo("250", true)},
	{"refused MAIL", "MAIL FROM:<no@example.org>\r\n", mailTo("550", false)},
	{"bad MAIL", "MAIL FROM:<a@@example.org>\r\n", mailTo("501", false)},
	{"RCPT", "RCPT TO:<b@example.org>\r\n", rcptTo("250", 1)},
	{"refused RCPT", "RCPT TO:<no@example.org>\r\n", rcptTo("550", 0)},
	{"bad RCPT", "RCPT TO:<\r\n", rcptTo("501", 0)},
	{"DATA", "DATA\r\n", func(m model) (string, model) {
		switch {
		case !m.mail, m.chunks:
			return "503", m
		case m.rcpts == 0:
			return "554", m
		}
		m = m.none()
		m.accepts++
		return "354 250", m
	}},
	{"DATA x", "DATA x\r\n", func(m model) (string, model) { return "501", m }},
	{"BDAT", "BDAT 6\r\nRSET\r\n", bdatOf(false)},
	{"BDAT LAST", "BDAT 6 LAST\r\nQUIT\r\n", bdatOf(true)},
	{"RSET", "RSET\r\n", func(m model) (string, model) { return "250", m.none() }},
	{"NOOP", "NOOP\r\n", func(m model) (string, model) { return "250", m }},
	{"VRFY", "VRFY x\r\n", func(m model) (string, model) { return "252", m }},
	{"unknown", "WHAT\r\n", func(m model) (string, model) { return "500", m }},
	{"AUTH", "AUTH PLAIN AHRpbQB0aW0=\r\n", authAs(true)},
	{"bad AUTH", "AUTH PLAIN AHRpbQBubw==\r\n", authAs(false)},
	{"QUIT", "QUIT\r\n", func(m model) (string, model) { m = m.none(); m.gone = true; return "221", m }},
}

func mailTo(code string, ok bool) func(model) (string, model) {
	return func(m model) (string, model) {
		if !m.hello || m.mail {
			return "503", m
		}
		m.mail = ok
		return code, m
	}
}

func rcptTo(code string, n int) func(model) (string, model) {
	return func(m model) (string, model) {
		if !m.mail || m.chunks {
			return "503", m
		}
		m.rcpts += n
		return code, m
	}
}

func bdatOf(last bool) func(model) (string, model) {
	return func(m model) (string, model) {
		switch {
		case !m.mail:
			return "503", m
		case m.rcpts == 0:
			return "554", m
		}
		m.chunks = true
		if last {
			m = m.none()
			m.accepts++
		}
		return "250", m
	}
}

func authAs(ok bool) func(model) (string, model) {
	return func(m model) (string, model) {
		switch {
		case !m.hello, m.auth, m.mail:
			return "503", m
		case !ok:
			return "535", m
		}
		m.auth = true
		return "235", m
	}
}

// TestSS3 plays all sequences of up to three commands, from a fresh session
// and from one with an open transaction, one by one and pipelined, against the
// model. In the end nothing is left open and every end of data that was
// accepted is one message.
func TestSS3(t *testing.T) {
	prefixes := []string{"", "EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"}
	starts := []model{{}, {hello: true, mail: true, rcpts: 1}}
	depth := 3
	if testing.Short() {
		depth = 2
	}
	runs := 0
	synctest.Test(t, func(t *testing.T) {
		for p := range prefixes {
			for _, pipelined := range []bool{false, true} {
				var walk func(seq []step)
				walk = func(seq []step) {
					if len(seq) > 0 {
						runs++
						sequence(t, prefixes[p], starts[p], seq, pipelined)
					}
					if len(seq) == depth {
						return
					}
					for _, s := range steps {
						walk(append(seq, s))
					}
				}
				walk(nil)
			}
		}
	})
	t.Log(runs, "sequences")
}

func sequence(t *testing.T, prefix string, m model, seq []step, pipelined bool) {
	f := &fake{login: "tim"}
	s := NewServer(Options{Hostname: "mx.example.org", Backend: f, AuthInsecure: true, LaxPipelining: true})
	cc, sc := pipe()
	done := make(chan struct{})
	go func() {
		s.ServeConn(context.Background(), sc)
		close(done)
	}()
	c := &client{t, cc, bufio.NewReader(cc)}
	names := ""
	for _, s := range seq {
		names += s.name + ", "
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%q then %s pipelined %v: %s", prefix, names, pipelined, fmt.Sprintf(format, args...))
	}
	var want []string
	var all strings.Builder
	c.expect("220")
	all.WriteString(prefix)
	for range strings.Count(prefix, "\n") {
		want = append(want, "250")
	}
	exchange := func() {
		c.send(all.String())
		all.Reset()
		for _, code := range want {
			lines, err := c.reply()
			if err != nil || lines[0][:3] != code {
				fail("got %q, %v; want %q", lines, err, want)
			}
		}
		want = nil
	}
	for _, s := range seq {
		if m.gone {
			break
		}
		var codes string
		codes, m = s.next(m)
		all.WriteString(s.send)
		want = append(want, strings.Fields(codes)...)
		if strings.HasPrefix(codes, "354") {
			all.WriteString("text\r\n.\r\n")
		}
		if !pipelined {
			exchange()
		}
	}
	exchange()
	// What the server remembers shows in what it answers now.
	if !m.gone {
		for _, probe := range []step{steps[8], steps[9]} { // bad RCPT, DATA: neither changes an empty state
			codes, after := probe.next(m)
			m = after
			c.send(probe.send)
			for i, code := range strings.Fields(codes) {
				if i == 1 {
					c.send(".\r\n")
				}
				if lines, err := c.reply(); err != nil || lines[0][:3] != code {
					fail("probe %s: %q, %v; want %s", probe.name, lines, err, code)
				}
			}
		}
	}
	cc.Close()
	<-done
	f.check(t)
	if len(f.posts) != m.accepts {
		fail("%d messages, want %d", len(f.posts), m.accepts)
	}
}

// TestSmuggling shows SS1 and SS2: whatever stands around a dot, what follows
// is either content of the one message or, after a true end, commands; and a
// message with a bare CR or LF is refused with everything behind it.
func TestSmuggling(t *testing.T) {
	ends := []string{"", "\r\n", "\n", "\r", "\n\r", "\r\r\n", "\r\n\n", "\r\n\r", "\x00\r\n", "\r\x00\n", " \r\n", "\u0085", "\u2028"}
	smuggled := "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nevil\r\n.\r\n"
	count := 0
	synctest.Test(t, func(t *testing.T) {
		for _, before := range ends {
			for _, dot := range []string{".", "..", ".\x00", "\x00."} {
				for _, after := range ends {
					for _, piece := range []int{1 << 20, 1} {
						count++
						body := "Subject: x\r\n\r\ntext" + before + dot + after + smuggled
						in := body + "\r\n.\r\n"
						content, used, _, bare := naive([]byte(in))
						f := &fake{}
						s := NewServer(Options{Hostname: "mx.example.org", Backend: f})
						cc, sc := pipe()
						done := make(chan struct{})
						go func() {
							s.ServeConn(context.Background(), sc)
							close(done)
						}()
						c := &client{t, cc, bufio.NewReader(cc)}
						c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 ")
						for rest := in; rest != ""; {
							n := min(piece, len(rest))
							c.send(rest[:n])
							rest = rest[n:]
							if piece == 1 {
								synctest.Wait()
							}
						}
						cc.(*memConn).CloseWrite()
						out, _ := io.ReadAll(c.br)
						<-done
						f.check(t)
						switch {
						case bare:
							if len(f.posts) != 0 || !strings.HasPrefix(string(out), "554 5.6.0") || strings.Count(string(out), "\n") != 1 {
								t.Fatalf("%q: %d messages, %q", body, len(f.posts), out)
							}
						case len(f.posts) == 0 || f.posts[0].content != string(content):
							t.Fatalf("%q: %+v, %q", body, f.posts, out)
						case used == len(in) && len(f.posts) != 1:
							t.Fatalf("%q: smuggled", body)
						}
						if accepted := strings.Count(string(out), "250 2.0.0 Queued"); accepted != len(f.posts) {
							t.Fatalf("%q: %d times 250 for %d messages", body, accepted, len(f.posts))
						}
					}
				}
			}
		}
	})
	t.Log(count, "variants")
}
