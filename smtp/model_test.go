package smtp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// model is all that a session may remember of SMTP's state (SS3). It is a
// value: what a command does to it is a function from model to model.
type model struct {
	lmtp bool

	hello, esmtp bool
	auth         bool
	forward      string // what XFORWARD told
	remote       string // what XCLIENT told

	mail, binary bool
	from         string
	priority     string
	rcpts        int
	to           string
	chunks       bool
	content      string
	owed         int // LMTP: replies that the last chunk still gets

	gone, tls bool
	posts     string // what was accepted
}

// none is m without a transaction.
func (m model) none() model {
	m.mail, m.binary, m.from, m.priority, m.rcpts, m.to, m.chunks, m.content, m.owed, m.forward = false, false, "", "", 0, "", false, "", 0, ""
	return m
}

// accepted is m after the end of its message.
func (m model) accepted() model {
	id := ""
	if m.auth {
		id = "tim@example.org"
	}
	m.posts += strings.Join([]string{m.from, m.to, m.content, m.forward, m.priority, id, m.remote}, "|") + "\n"
	return m.none()
}

// each is a code for every recipient in LMTP, and one code in SMTP.
func (m model) each(code string, rcpts int) []string {
	if !m.lmtp {
		return []string{code}
	}
	return slices.Repeat([]string{code}, rcpts)
}

// step is a command of the model: what is sent, and a function from the state
// before to the codes of the replies and the state after.
type step struct {
	name string
	send string
	next func(m model) ([]string, model)
	// pipes tells whether octets may follow in the same flight (RFC 2920 §3.1).
	pipes func(m model) bool
}

func always(model) bool    { return true }
func never(model) bool     { return false }
func inESMTP(m model) bool { return m.esmtp }

// stays is a command that changes nothing.
func stays(code string) func(model) ([]string, model) {
	return func(m model) ([]string, model) { return []string{code}, m }
}

// greets is EHLO, LHLO or HELO.
func greets(esmtp bool) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		if m.lmtp && !esmtp {
			return []string{"500"}, m
		}
		m = m.none()
		m.hello, m.esmtp = true, esmtp
		return []string{"250"}, m
	}
}

func mails(code, from string, binary bool) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		if !m.hello || m.mail {
			return []string{"503"}, m
		}
		if code == "250" {
			m.mail, m.from, m.binary, m.priority, m.owed = true, from, binary, "0", 0
			if binary && m.auth {
				m.priority = "1"
			}
		}
		return []string{code}, m
	}
}

func rcpts(code, to string) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		if !m.mail || m.chunks {
			return []string{"503"}, m
		}
		if code == "250" {
			m.rcpts++
			m.to += to + ","
		}
		return []string{code}, m
	}
}

// fails tells whether writing content fails.
func (m model) fails() bool { return strings.Contains(m.to, "nowrite") }

func datas(m model) ([]string, model) {
	switch {
	case !m.mail, m.chunks, m.binary, m.lmtp && m.rcpts == 0:
		return []string{"503"}, m
	case m.rcpts == 0:
		return []string{"554"}, m
	case m.fails():
		return append([]string{"354"}, m.each("452", m.rcpts)...), m.none()
	}
	m.content = "text\r\n"
	return append([]string{"354"}, m.each("250", m.rcpts)...), m.accepted()
}

// chunk is BDAT with some text.
func chunk(text string, last bool) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		waiting, code := m.owed, ""
		switch {
		case !m.mail:
			code = "503"
		case m.rcpts == 0:
			code, waiting = "554", 0
		case m.fails():
			code, waiting = "452", m.rcpts
			m = m.none()
		default:
			m.chunks = true
			m.content += text
			if last {
				return m.each("250", m.rcpts), m.accepted()
			}
			return []string{"250"}, m
		}
		if last {
			m.owed = 0
			return m.each(code, waiting), m
		}
		m.owed = waiting
		return []string{code}, m
	}
}

// fetches is BURL for what exists or not.
func fetches(exists, last bool) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		switch {
		case m.lmtp:
			return []string{"502"}, m
		case !m.mail:
			return []string{"503"}, m
		case !m.auth:
			return []string{"530"}, m.none()
		case m.rcpts == 0:
			return []string{"554"}, m
		case !exists:
			return []string{"554"}, m.none()
		case m.fails():
			return []string{"452"}, m.none()
		}
		m.chunks = true
		m.content += "url\r\n"
		if last {
			m = m.accepted()
		}
		return []string{"250"}, m
	}
}

func auths(ok bool) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		switch {
		case !m.esmtp, m.auth, m.mail:
			return []string{"503"}, m
		case !ok:
			return []string{"535"}, m
		}
		m.auth, m.forward, m.owed = true, "", 0
		return []string{"235"}, m
	}
}

// outside is a command that stands outside transactions only.
func outside(next func(model) ([]string, model)) func(model) ([]string, model) {
	return func(m model) ([]string, model) {
		if m.mail {
			return []string{"503"}, m
		}
		return next(m)
	}
}

var steps = []step{
	{"EHLO", "EHLO x\r\n", greets(true), never},
	{"HELO", "HELO x\r\n", greets(false), never},
	{"bad EHLO", "EHLO\r\n", stays("501"), never},
	{"refused EHLO", "EHLO refused.example\r\n", stays("550"), never},
	{"MAIL", "MAIL FROM:<a@example.org>\r\n", mails("250", "a", false), inESMTP},
	{"MAIL with parameters", "MAIL FROM:<p@example.org> SIZE=6 BODY=BINARYMIME MT-PRIORITY=1\r\n", mails("250", "p", true), inESMTP},
	{"refused MAIL", "MAIL FROM:<no@example.org>\r\n", mails("550", "", false), inESMTP},
	{"bad MAIL", "MAIL FROM:<a@@example.org>\r\n", mails("501", "", false), inESMTP},
	{"MAIL with an unknown parameter", "MAIL FROM:<a@example.org> X=1\r\n", mails("555", "", false), inESMTP},
	{"RCPT", "RCPT TO:<b@example.org>\r\n", rcpts("250", "b"), inESMTP},
	{"RCPT that cannot be written", "RCPT TO:<nowrite@example.org>\r\n", rcpts("250", "nowrite"), inESMTP},
	{"refused RCPT", "RCPT TO:<no@example.org>\r\n", rcpts("550", ""), inESMTP},
	{"bad RCPT", "RCPT TO:<\r\n", rcpts("501", ""), inESMTP},
	{"DATA", "DATA\r\n", datas, never},
	{"bad DATA", "DATA x\r\n", stays("501"), never},
	{"BDAT", "BDAT 6\r\nRSET\r\n", chunk("RSET\r\n", false), always},
	{"BDAT LAST", "BDAT 6 LAST\r\nQUIT\r\n", chunk("QUIT\r\n", true), always},
	{"BURL", "BURL imap://x\r\n", fetches(true, false), inESMTP},
	{"BURL LAST", "BURL imap://x LAST\r\n", fetches(true, true), inESMTP},
	{"missing BURL", "BURL imap://missing\r\n", fetches(false, false), inESMTP},
	{"RSET", "RSET\r\n", func(m model) ([]string, model) { return []string{"250"}, m.none() }, inESMTP},
	{"bad RSET", "RSET x\r\n", stays("501"), inESMTP},
	{"NOOP", "NOOP\r\n", stays("250"), never},
	{"VRFY", "VRFY x\r\n", stays("252"), never},
	{"garbage", "WHAT\r\n", stays("500"), always},
	{"AUTH", "AUTH PLAIN AHRpbQB0aW0=\r\n", auths(true), inESMTP},
	{"bad AUTH", "AUTH PLAIN AHRpbQBubw==\r\n", auths(false), inESMTP},
	{"STARTTLS", "STARTTLS\r\n", func(m model) ([]string, model) {
		m.gone, m.tls = true, true // since no handshake follows
		return []string{"220"}, m
	}, never},
	{"ETRN", "ETRN a.example\r\n", func(m model) ([]string, model) {
		switch {
		case m.lmtp:
			return []string{"502"}, m
		case !m.hello:
			return []string{"503"}, m
		}
		return outside(stays("250"))(m)
	}, never},
	{"XFORWARD", "XFORWARD NAME=f\r\n", outside(func(m model) ([]string, model) { m.forward = "f"; return []string{"250"}, m }), inESMTP},
	{"XCLIENT", "XCLIENT ADDR=198.51.100.7\r\n", outside(func(m model) ([]string, model) {
		return []string{"220"}, model{lmtp: m.lmtp, remote: "198.51.100.7", posts: m.posts}
	}), never},
	{"QUIT", "QUIT\r\n", func(m model) ([]string, model) { m = m.none(); m.gone = true; return []string{"221"}, m }, always},
}

// named returns a step of the alphabet.
func named(name string) step {
	return steps[slices.IndexFunc(steps, func(s step) bool { return s.name == name })]
}

// flight says how the commands of a sequence travel.
type flight string

const (
	alone  flight = "one by one"
	lax    flight = "in one flight, allowed"
	strict flight = "in one flight, judged by RFC 2920"
)

// TestSS3 plays all sequences of a few commands against the model: from a fresh
// session, with a transaction open and logged in; in SMTP and LMTP; one by one
// and in one flight, whether that is allowed or not. Every reply and everything
// that was accepted, octets, envelope and facts, must be what the model says,
// and nothing may stay open. POSTINO_LONG=1 makes the sequences longer.
func TestSS3(t *testing.T) {
	depth := 3
	if os.Getenv("POSTINO_LONG") != "" {
		depth = 4
	}
	if testing.Short() {
		depth = 2
	}
	began, runs := time.Now(), 0
	open := []string{"EHLO", "MAIL", "RCPT"}
	for _, lmtp := range []bool{false, true} {
		for _, prefix := range [][]string{nil, open, {"EHLO", "AUTH"}} {
			for _, how := range []flight{alone, lax, strict} {
				p := newPlayer(t, lmtp, how, prefix)
				p.walk(depth)
				runs += p.runs
			}
		}
	}
	t.Logf("%d sequences of %d of %d commands, %v each", runs, depth, len(steps), time.Since(began)/time.Duration(runs))
}

// player plays sequences on a server, without another goroutine.
type player struct {
	t      *testing.T
	how    flight
	f      *fake
	s      *Server
	prefix []step
	probes []step // show what is left of a state
	start  model
	seq    []step
	tape   tape
	want   []string
	runs   int
}

func newPlayer(t *testing.T, lmtp bool, how flight, prefix []string) *player {
	p := &player{t: t, how: how, f: &fake{}, start: model{lmtp: lmtp, remote: "192.0.2.7"}}
	for _, name := range prefix {
		p.prefix = append(p.prefix, named(name))
	}
	for _, name := range []string{"bad RCPT", "DATA", "BDAT LAST", "MAIL", "RCPT", "BDAT LAST"} {
		p.probes = append(p.probes, named(name))
	}
	p.s = NewServer(Options{Hostname: "mx.example.org", Backend: p.f, TLS: serverTLS(), AuthInsecure: true, LaxPipelining: how != strict, LMTP: lmtp,
		BinaryMIME: true, Priority: true, ETRN: true, BURL: true, XClient: all, XForward: all, Limits: Limits{Errors: 1000, FreeErrors: 1000, NewPerMin: 1 << 40}})
	return p
}

// walk plays all sequences of depth commands; shorter ones are their beginnings.
func (p *player) walk(depth int) {
	if depth == 0 {
		p.play()
		return
	}
	for _, s := range steps {
		p.seq = append(p.seq, s)
		p.walk(depth - 1)
		p.seq = p.seq[:len(p.seq)-1]
	}
}

// play plays one sequence and what shows the state at its end.
func (p *player) play() {
	p.runs++
	*p.f = fake{login: "tim", posts: p.f.posts[:0]}
	p.tape.reset()
	m := p.start
	p.want = append(p.want[:0], "220")
	for _, s := range p.prefix {
		m = p.put(s, m, alone, false)
	}
	for i, s := range p.seq {
		m = p.put(s, m, p.how, i+1 < len(p.seq))
	}
	for _, s := range p.probes {
		m = p.put(s, m, alone, false)
	}
	p.s.ServeConn(context.Background(), &p.tape)
	p.compare(m)
}

// put adds the command s to the tape, in a read of its own or in the flight,
// where more follows.
func (p *player) put(s step, m model, how flight, more bool) model {
	if m.gone {
		if more || how != alone {
			p.tape.add(p.text(s, m), how == alone) // never to be looked at
		}
		return m
	}
	codes, after := s.next(m)
	p.tape.add(p.text(s, m), how == alone)
	if how != alone && more && (s.name == "STARTTLS" || how == strict && !s.pipes(m)) {
		m.gone = true
		p.want = append(p.want, "554")
		return m
	}
	p.want = append(p.want, codes...)
	if len(codes) > 0 && codes[0] == "354" {
		p.tape.add("text\r\n.\r\n", how == alone || how == strict)
	}
	if how != alone && !more {
		p.tape.cut()
	}
	return after
}

// text is what is sent for s.
func (p *player) text(s step, m model) string {
	if m.lmtp && s.send[:4] == "EHLO" {
		return "LHLO" + s.send[4:]
	}
	return s.send
}

func (p *player) compare(m model) {
	p.t.Helper()
	out, i := p.tape.out, 0
	for len(out) > 0 && (i < len(p.want) || !m.tls) {
		line, rest, _ := bytes.Cut(out, []byte("\r\n"))
		if out = rest; len(line) < 4 || line[3] == '-' {
			continue
		}
		if i >= len(p.want) || string(line[:3]) != p.want[i] {
			p.fail("reply %d is %q, want %q", i, line, p.want)
		}
		i++
	}
	if i != len(p.want) {
		p.fail("%d replies, want %q", i, p.want)
	}
	got := ""
	for i := range p.f.posts {
		o := &p.f.posts[i]
		got += o.from.Local + "|"
		for _, r := range o.rcpts {
			got += r.Address.Local + ","
		}
		got += fmt.Sprintf("|%s|%s|%d|%s|%s\n", o.content, o.forward, o.opts.Priority, o.identity, o.remote)
	}
	if got != m.posts {
		p.fail("accepted %q, want %q", got, m.posts)
	}
	p.f.check(p.t)
}

func (p *player) fail(format string, args ...any) {
	p.t.Helper()
	names := ""
	for _, s := range append(slices.Clone(p.prefix), p.seq...) {
		names += s.name + ", "
	}
	p.t.Fatalf("%s%s, LMTP %v: %s\n%s", names, p.how, p.start.lmtp, fmt.Sprintf(format, args...), p.tape.out)
}

// tape is a connection that gives what it holds, read by read, and records.
type tape struct {
	in   []byte
	ends []int // where reads end in in
	pos  int
	out  []byte
}

func (x *tape) reset() { x.in, x.ends, x.pos, x.out = x.in[:0], x.ends[:0], 0, x.out[:0] }

// add appends octets, in a read of their own or after those before.
func (x *tape) add(s string, own bool) {
	if own {
		x.cut()
	}
	x.in = append(x.in, s...)
	if own {
		x.cut()
	}
}

// cut ends the read.
func (x *tape) cut() {
	if n := len(x.ends); len(x.in) > 0 && (n == 0 || x.ends[n-1] < len(x.in)) {
		x.ends = append(x.ends, len(x.in))
	}
}

func (x *tape) Read(p []byte) (int, error) {
	x.cut()
	for _, end := range x.ends {
		if x.pos < end {
			n := copy(p, x.in[x.pos:end])
			x.pos += n
			return n, nil
		}
	}
	return 0, io.EOF
}

func (x *tape) Write(p []byte) (int, error)    { x.out = append(x.out, p...); return len(p), nil }
func (*tape) Close() error                     { return nil }
func (*tape) LocalAddr() net.Addr              { return addr("192.0.2.1:25") }
func (*tape) RemoteAddr() net.Addr             { return addr("192.0.2.7:40000") }
func (*tape) SetDeadline(time.Time) error      { return nil }
func (*tape) SetReadDeadline(time.Time) error  { return nil }
func (*tape) SetWriteDeadline(time.Time) error { return nil }
