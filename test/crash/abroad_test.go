package crash

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/test/memnet"
)

// abroad are the servers of others, and a ledger of what they took. They outlive
// a crash. What one does with a recipient is in its local part: CLASS.NUMBER.
//
//	no     550 to RCPT
//	never  450 to RCPT, always
//	grey   450 to RCPT the first time
//	dot    taken at RCPT, 554 after the message
//	lost   the first time the message is taken and the connection ends without
//	       a reply
//
// All others are taken.
type abroad struct {
	net   *memnet.Network // nil: they listen on a real address
	names *dns.Fake
	ln    []net.Listener

	mu    sync.Mutex
	takes []*take
	met   map[string]bool // recipients of grey and lost that came once
	tried map[string]int  // attempts under way, by recipient
	conns map[net.Conn]bool

	taken func()        // called when a message is taken, before the reply
	wait  chan struct{} // MAIL is answered when it is closed
}

// take is a message that a server of others took for a recipient.
type take struct {
	tag, rcpt, from string
	at              time.Time
	problem         string  // with the content
	about           []about // of a report
	// fresh tells that the client has not gone on after the reply: SC6 lets it
	// send the message again when it dies now. Free takes may be repeated.
	fresh, free bool
	old         bool // taken before the crash
}

// about is what a report says of a recipient.
type about struct{ tag, rcpt, action, why string }

// The domains of others. Nobody listens at down.example.
var domains = []string{"r1.example", "r2.example", "dot.example", "lost.example", "a.example", "down.example"}

func newAbroad(t testing.TB) *abroad {
	a := &abroad{net: memnet.New(), names: dns.NewFake(), met: map[string]bool{}, tried: map[string]int{}, conns: map[net.Conn]bool{}}
	for i, d := range domains {
		ip := netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)})
		must(t, a.names.AddZone(d, fmt.Sprintf("@ MX 10 mx\nmx A %s\n", ip), dns.Insecure))
		if d == "down.example" {
			continue
		}
		ln, err := a.net.Listen("tcp", ip.String()+":25")
		must(t, err)
		a.listen(ln, d)
	}
	return a
}

func (a *abroad) listen(ln net.Listener, domain string) {
	a.ln = append(a.ln, ln)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed
			}
			a.mu.Lock()
			a.conns[c] = true
			a.mu.Unlock()
			go func() {
				s := &foreign{a: a, c: c, r: bufio.NewReader(c), domain: domain}
				broke := s.serve()
				c.Close()
				a.mu.Lock()
				for _, t := range s.last {
					t.free = t.free || broke && a.net == nil // the ledger does not know the attempts
				}
				delete(a.conns, c)
				a.mu.Unlock()
			}()
		}
	}()
}

func (a *abroad) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ln := range a.ln {
		ln.Close()
	}
	for c := range a.conns {
		c.Close()
	}
}

func (a *abroad) dial(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	return a.net.DialFrom(ctx, network, address, source)
}

// past returns what others know at this moment. The lock is held.
func (a *abroad) past() (takes []*take, met map[string]bool) {
	for _, t := range a.takes {
		c := *t
		c.free = c.free || c.fresh && a.tried[c.rcpt] > 0
		c.fresh, c.old = false, true
		takes = append(takes, &c)
	}
	met = map[string]bool{}
	for k := range a.met {
		met[k] = true
	}
	return takes, met
}

// after are the servers of others after a crash at the moment of past.
func after(t testing.TB, takes []*take, met map[string]bool) *abroad {
	a := newAbroad(t)
	a.takes, a.met = takes, met
	return a
}

// watched is a transport of which the ledger knows what is under way: when
// Deliver returns, everything is recorded.
type watched struct {
	queue.Transport
	a *abroad
}

func (w watched) Deliver(ctx context.Context, b *queue.Batch) error {
	var rcpts []string
	for _, it := range b.Items {
		for i := range it.Rcpts {
			rcpts = append(rcpts, it.Rcpts[i].Address.String())
		}
	}
	count := func(n int) {
		w.a.mu.Lock()
		defer w.a.mu.Unlock()
		for _, rcpt := range rcpts {
			w.a.tried[rcpt] += n
		}
	}
	count(1)
	defer count(-1)
	return w.Transport.Deliver(ctx, b)
}

// foreign is a connection to a server of others.
type foreign struct {
	a      *abroad
	c      net.Conn
	r      *bufio.Reader
	domain string

	from  string
	rcpts []string
	body  []byte
	last  []*take // of the message before
}

// serve answers until the client goes or the manners of a recipient end it; it
// tells whether the client went without a word.
func (s *foreign) serve() (broke bool) {
	if !s.reply("220 mx.%s ESMTP", s.domain) {
		return true
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return true
		}
		if !s.command(strings.TrimRight(line, "\r\n")) {
			return !strings.EqualFold(line, "QUIT\r\n")
		}
	}
}

func (s *foreign) reply(format string, args ...any) bool {
	_, err := fmt.Fprintf(s.c, format+"\r\n", args...)
	return err == nil
}

func (s *foreign) command(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	_, path, _ := strings.Cut(rest, "<")
	path, _, _ = strings.Cut(path, ">")
	switch strings.ToUpper(verb) {
	case "EHLO":
		if s.domain == "r2.example" {
			return s.reply("250-mx.%s\r\n250-8BITMIME\r\n250 CHUNKING", s.domain)
		}
		return s.reply("250-mx.%s\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN", s.domain)
	case "MAIL":
		s.goneOn()
		s.from, s.rcpts, s.body = path, nil, nil
		s.a.mu.Lock()
		wait := s.a.wait
		s.a.mu.Unlock()
		if wait != nil {
			<-wait
		}
		return s.reply("250 2.1.0 sender")
	case "RCPT":
		return s.rcpt(path)
	case "DATA":
		if len(s.rcpts) == 0 {
			return s.reply("554 5.5.1 no recipients")
		}
		if !s.reply("354 go on") {
			return false
		}
		for {
			line, err := s.r.ReadBytes('\n')
			if err != nil {
				return false
			}
			if string(line) == ".\r\n" {
				return s.end()
			}
			s.body = append(s.body, bytes.TrimPrefix(line, []byte("."))...)
		}
	case "BDAT":
		size, last, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(size)
		if err != nil {
			return false
		}
		chunk := make([]byte, n)
		if _, err := io.ReadFull(s.r, chunk); err != nil {
			return false
		}
		s.body = append(s.body, chunk...)
		switch {
		case len(s.rcpts) == 0:
			return s.reply("554 5.5.1 no recipients")
		case strings.EqualFold(last, "LAST"):
			return s.end()
		}
		return s.reply("250 2.0.0 chunk")
	case "RSET", "NOOP":
		s.goneOn()
		return s.reply("250 2.0.0 well")
	case "QUIT":
		s.reply("221 2.0.0 bye")
		return false
	}
	return s.reply("500 5.5.2 unknown")
}

// goneOn notes that the client has used the connection again after a reply.
func (s *foreign) goneOn() {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	for _, t := range s.last {
		t.fresh = false
	}
	s.last = nil
}

// first tells whether a recipient comes for the first time.
func (a *abroad) first(rcpt string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.met[rcpt]
	a.met[rcpt] = true
	return !known
}

func (s *foreign) rcpt(to string) bool {
	class, _, _ := strings.Cut(to, ".")
	switch {
	case class == "no":
		return s.reply("550 5.1.1 no such user")
	case class == "never", class == "grey" && s.a.first(to):
		return s.reply("450 4.7.1 later")
	}
	s.rcpts = append(s.rcpts, to)
	return s.reply("250 2.1.5 recipient")
}

// end takes or refuses a message.
func (s *foreign) end() bool {
	class, _, _ := strings.Cut(s.rcpts[0], ".")
	if class == "dot" {
		return s.reply("554 5.6.0 not this")
	}
	lost := class == "lost" && s.a.first(s.rcpts[0])
	tag, problem := examine(s.body)
	abouts := aboutsOf(s.body)
	s.a.mu.Lock()
	for _, to := range s.rcpts {
		t := &take{tag: tag, rcpt: to, from: s.from, at: time.Now(), problem: problem, about: abouts, fresh: !lost, free: lost}
		s.a.takes = append(s.a.takes, t)
		s.last = append(s.last, t)
	}
	if s.a.taken != nil {
		s.a.taken()
	}
	s.a.mu.Unlock()
	return !lost && s.reply("250 2.0.0 taken")
}

// relayText is a letter of a sender.
func relayText(tag, from string) []byte {
	return fmt.Appendf(nil, "From: <%s>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@a.example>\r\nX-Tag: %s\r\n\r\n%s", from, tag, tag, textOf(tag))
}

// examine finds the tag of a message and what is wrong with its text.
func examine(body []byte) (tag, problem string) {
	header, _, _ := bytes.Cut(body, []byte("\r\n\r\n"))
	if bytes.Contains(header, []byte("multipart/report")) {
		return "report", ""
	}
	tag = tagOf(append(append([]byte("\r\n"), header...), "\r\n"...))
	if tag == "" || !bytes.HasSuffix(body, textOf(tag)) {
		problem = fmt.Sprintf("message %q is damaged", tag)
	}
	return tag, problem
}

var (
	finalRcpt  = regexp.MustCompile(`(?m)^Final-Recipient: ?rfc822; ?(\S+)`)
	actionOf   = regexp.MustCompile(`(?m)^Action: (\S+)`)
	diagnostic = regexp.MustCompile(`(?m)^Diagnostic-Code: (.*)`)
	tagInParts = regexp.MustCompile(`(?m)^X-Tag: (\S+)`)
)

// aboutsOf reads a report without the help of who wrote it.
func aboutsOf(body []byte) (abouts []about) {
	if tag, _ := examine(body); tag != "report" {
		return nil
	}
	tag := ""
	if m := tagInParts.FindSubmatch(body); m != nil {
		tag = string(m[1])
	}
	for _, block := range bytes.Split(body, []byte("\r\n\r\n")) {
		rcpt, action := finalRcpt.FindSubmatch(block), actionOf.FindSubmatch(block)
		if rcpt != nil && action != nil {
			abouts = append(abouts, about{tag, string(rcpt[1]), string(action[1]), string(bytes.TrimSpace(diagnostic.Find(block)))})
		}
	}
	return abouts
}
