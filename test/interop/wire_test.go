package interop

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// door is a way into a server for SMTP or LMTP.
type door struct {
	addr           string // host:port or unix:/path
	tls            *tls.Config
	user, password string
	lmtp           bool
	source         string // address to connect from
	preface        string // octets before SMTP begins
}

// letter is a transaction: what is said in MAIL and RCPT, and the message.
type letter struct {
	from, params string
	rcpts        []string
	rcptParams   string
	data         string
	binary       bool // BDAT instead of DATA
}

// wire speaks SMTP or LMTP line by line, so that tests decide what is said.
type wire struct {
	t    *testing.T
	nc   net.Conn
	r    *bufio.Reader
	lmtp bool
	ehlo string
}

// open connects, greets, and brings up TLS and the login that the door asks for.
func (d door) open(t *testing.T) *wire {
	t.Helper()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	network, addr := "tcp", d.addr
	if path, ok := strings.CutPrefix(d.addr, "unix:"); ok {
		network, addr = "unix", path
	} else if d.source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.source)}
	}
	nc, err := dialer.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := nc.Write([]byte(d.preface)); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, nc: nc, r: bufio.NewReader(nc), lmtp: d.lmtp}
	w.want("220", w.reply())
	w.hello()
	if d.tls != nil {
		w.say("220", "STARTTLS")
		c := tls.Client(nc, d.tls)
		w.nc, w.r = c, bufio.NewReader(c)
		w.hello()
	}
	if d.user != "" {
		w.say("235", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+d.user+"\x00"+d.password)))
	}
	return w
}

func (w *wire) hello() {
	w.t.Helper()
	verb := "EHLO"
	if w.lmtp {
		verb = "LHLO"
	}
	w.ehlo = w.say("250", verb+" client.test")
}

// reply reads a reply, all lines of it.
func (w *wire) reply() string {
	w.t.Helper()
	var all strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("read a reply: %v; so far %q", err, all.String()+line)
		}
		all.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(all.String(), "\r\n")
		}
	}
}

func (w *wire) want(code, got string) {
	w.t.Helper()
	if !strings.HasPrefix(got, code) {
		w.t.Fatalf("reply %q, want %s", got, code)
	}
}

// write sends octets.
func (w *wire) write(s string) {
	w.t.Helper()
	if _, err := w.nc.Write([]byte(s)); err != nil {
		w.t.Fatal(err)
	}
}

// say sends a line and returns the reply, which must begin with code.
func (w *wire) say(code, line string) string {
	w.t.Helper()
	w.write(line + "\r\n")
	got := w.reply()
	if !strings.HasPrefix(got, code) {
		w.t.Fatalf("%s: reply %q, want %s", line, got, code)
	}
	return got
}

// send does a transaction, commands pipelined, and returns the replies to the
// recipients and to the message; LMTP has one of these for each recipient taken.
func (w *wire) send(l letter) (rcpts, final []string) {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s> %s\r\n", l.from, l.params)
	for _, r := range l.rcpts {
		fmt.Fprintf(&b, "RCPT TO:<%s> %s\r\n", r, l.rcptParams)
	}
	w.write(strings.ReplaceAll(b.String(), " \r\n", "\r\n"))
	w.want("250", w.reply())
	taken := 0
	for range l.rcpts {
		r := w.reply()
		rcpts = append(rcpts, r)
		if r[0] == '2' {
			taken++
		}
	}
	if taken == 0 {
		w.say("250", "RSET")
		return rcpts, nil
	}
	if l.binary {
		half := len(l.data) / 2
		w.write(fmt.Sprintf("BDAT %d\r\n%s", half, l.data[:half]))
		w.want("250", w.reply())
		w.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(l.data)-half, l.data[half:]))
	} else {
		w.say("354", "DATA")
		w.write(stuffed(l.data) + ".\r\n")
	}
	for i := 0; i < taken && (i == 0 || w.lmtp); i++ {
		final = append(final, w.reply())
	}
	return rcpts, final
}

// stuffed doubles the dots at the beginnings of lines (RFC 5321 §4.5.2).
func stuffed(s string) string {
	s = strings.ReplaceAll(s, "\r\n.", "\r\n..")
	if strings.HasPrefix(s, ".") {
		s = "." + s
	}
	return s
}

// post does a transaction that must succeed for all recipients.
func (d door) post(t *testing.T, l letter) {
	t.Helper()
	w := d.open(t)
	rcpts, final := w.send(l)
	for i, r := range append(rcpts, final...) {
		if r[0] != '2' {
			t.Fatalf("%s: reply %d to the transaction: %q", d.addr, i, r)
		}
	}
	w.say("221", "QUIT")
}
