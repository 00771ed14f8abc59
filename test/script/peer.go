package script

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/test/memnet"
)

// peer is another mail server: it takes everything, records it, and misbehaves as
// its rules say.
type peer struct {
	manners
	name, address string
	net           *memnet.Network
	cut           func() // the power of the node is cut now

	mu       sync.Mutex
	ln       net.Listener // nil: nothing listens
	open     map[net.Conn]bool
	mails    []received
	dialogue []string // what all sessions said
	sessions int
}

// received is a message that a peer took.
type received struct {
	from  string   // what follows MAIL FROM:
	rcpts []string // what follows RCPT TO:
	body  []byte
	at    time.Time
}

// listen begins to take connections.
func (p *peer) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln != nil {
		return nil
	}
	ln, err := p.net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.ln = ln
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed
			}
			go p.serve(c.(*memnet.Conn))
		}
	}()
	return nil
}

// refuse closes the listener and every connection.
func (p *peer) refuse() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln == nil {
		return nil
	}
	err := p.ln.Close()
	p.ln = nil
	for c := range p.open {
		c.Close()
	}
	return err
}

// heard returns the messages and the dialogue so far.
func (p *peer) heard() ([]received, []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mails, p.dialogue
}

func (p *peer) serve(c *memnet.Conn) {
	defer c.Close()
	p.mu.Lock()
	if p.ln == nil {
		p.mu.Unlock()
		return
	}
	p.open[c] = true
	p.sessions++
	s := &session{p: p, raw: c, conn: c, r: bufio.NewReader(c), n: p.sessions}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, c)
	}()
	if err := s.run(); !errors.Is(err, errOver) {
		s.note("!", err.Error())
	}
}

// errOver ends a session as the rules want it.
var errOver = errors.New("over")

// session is a connection to a peer.
type session struct {
	p    *peer
	raw  *memnet.Conn
	conn net.Conn
	r    *bufio.Reader
	n    int
	tls  bool
	lmtp bool
	mail *received // between MAIL and its end
}

func (s *session) note(way, text string) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.dialogue = append(s.p.dialogue, fmt.Sprintf("%d%s %s", s.n, way, text))
}

// run talks until the client or a rule ends it.
func (s *session) run() error {
	if _, err := s.answer("greet", "", "220 "+s.p.name+" ESMTP"); err != nil {
		return err
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		s.note(">", line)
		if err := s.command(line); err != nil {
			return err
		}
	}
}

// answer replies to a stage by its rule, or well. It returns the code.
func (s *session) answer(stage, who, well string) (code int, err error) {
	return s.act(s.p.use(stage, who), who, well)
}

func (s *session) act(action, who, well string) (code int, err error) {
	verb, rest, _ := strings.Cut(action, " ")
	switch verb {
	case "":
	case "close":
		return 0, errOver
	case "reset":
		s.raw.Abort()
		return 0, errOver
	case "hang":
		_, err := io.Copy(io.Discard, s.r)
		return 0, err
	case "wait", "greylist":
		d, err := duration(rest)
		if err != nil {
			return 0, err
		}
		if verb == "wait" {
			time.Sleep(d)
		} else if s.p.grey(s.mail.from+" "+who, d) {
			well = "451 4.7.1 greylisted"
		}
	default:
		if !isReply.MatchString(action) {
			return 0, fmt.Errorf("no action %s", verb)
		}
		well = unescape(action)
	}
	return s.reply(well)
}

var isReply = regexp.MustCompile(`^[2-5]\d\d[ -]`)

// reply sends lines; the code is that of the first.
func (s *session) reply(text string) (code int, err error) {
	for line := range strings.SplitSeq(text, "\r\n") {
		s.note("<", line)
	}
	if code, err = strconv.Atoi(text[:3]); err != nil {
		return 0, err
	}
	_, err = io.WriteString(s.conn, text+"\r\n")
	if code == 421 && err == nil { // RFC 5321 §3.8
		err = errOver
	}
	return code, err
}

func (s *session) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	_, param, _ := strings.Cut(rest, ":")
	who := address(param)
	switch strings.ToUpper(verb) {
	case "EHLO", "LHLO":
		s.mail, s.lmtp = nil, verb[0] == 'L'
		hello := "250-" + s.p.name
		for _, k := range s.p.offers(s.tls) {
			hello += "\r\n250-" + k
		}
		last := strings.LastIndex(hello, "250-")
		_, err := s.answer("ehlo", "", hello[:last]+"250 "+hello[last+4:])
		return err
	case "HELO":
		s.mail = nil
		_, err := s.answer("helo", "", "250 "+s.p.name)
		return err
	case "STARTTLS":
		return s.startTLS()
	case "AUTH": // PLAIN with its response at once
		_, err := s.answer("auth", "", "235 2.7.0 in")
		return err
	case "MAIL":
		code, err := s.answer("mail", who, "250 2.1.0 sender")
		if code == 250 {
			s.mail = &received{from: param}
		}
		return err
	case "RCPT":
		if s.mail == nil {
			_, err := s.reply("503 5.5.1 MAIL first")
			return err
		}
		code, err := s.answer("rcpt", who, "250 2.1.5 recipient")
		if code/10 == 25 {
			s.mail.rcpts = append(s.mail.rcpts, param)
		}
		return err
	case "DATA":
		return s.data()
	case "BDAT":
		return s.chunk(rest)
	case "RSET":
		s.mail = nil
		_, err := s.answer("rset", "", "250 2.0.0 reset")
		return err
	case "QUIT":
		_, err := s.answer("quit", "", "221 2.0.0 bye")
		return errors.Join(err, errOver)
	case "NOOP":
		_, err := s.reply("250 2.0.0 nothing")
		return err
	}
	_, err := s.reply("500 5.5.2 unknown")
	return err
}

// startTLS answers STARTTLS and shakes hands.
func (s *session) startTLS() error {
	verb, name, _ := strings.Cut(s.p.use("starttls", ""), " ")
	switch verb {
	case "cert":
	case "broken":
		if _, err := s.reply("220 2.0.0 begin"); err != nil {
			return err
		}
		_, err := io.WriteString(s.conn, "this is no TLS\r\n")
		return errors.Join(err, errOver)
	case "":
		_, err := s.reply("502 5.5.1 no TLS")
		return err
	default:
		_, err := s.act(verb+" "+name, "", "")
		return err
	}
	source, err := certs.SelfSigned(time.Now(), name)
	if err != nil {
		return err
	}
	if _, err := s.reply("220 2.0.0 begin"); err != nil {
		return err
	}
	c := tls.Server(s.conn, source.Config(certs.Service{}))
	if err := c.Handshake(); err != nil {
		return err
	}
	s.conn, s.r, s.tls, s.mail = c, bufio.NewReader(c), true, nil
	return nil
}

// data takes a message up to the final dot.
func (s *session) data() error {
	if s.mail == nil || len(s.mail.rcpts) == 0 {
		_, err := s.reply("554 5.5.1 no recipients")
		return err
	}
	if code, err := s.answer("data", "", "354 go on"); err != nil || code != 354 {
		return err
	}
	for {
		line, err := s.r.ReadBytes('\n')
		if err != nil {
			return err
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return s.end()
		}
		s.mail.body = append(s.mail.body, bytes.TrimPrefix(line, []byte("."))...)
	}
}

// chunk takes a part of a message (RFC 3030 §2).
func (s *session) chunk(args string) error {
	size, last, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	chunk := make([]byte, n)
	if _, err := io.ReadFull(s.r, chunk); err != nil {
		return err
	}
	if s.mail == nil || len(s.mail.rcpts) == 0 {
		_, err := s.reply("503 5.5.1 no recipients")
		return err
	}
	s.mail.body = append(s.mail.body, chunk...)
	if strings.EqualFold(last, "LAST") {
		return s.end()
	}
	_, err = s.reply("250 2.0.0 chunk")
	return err
}

// end answers a whole message, and records it unless it is refused.
func (s *session) end() error {
	m := s.mail
	s.mail, m.at = nil, time.Now()
	take := func() {
		s.p.mu.Lock()
		defer s.p.mu.Unlock()
		s.p.mails = append(s.p.mails, *m)
	}
	action := s.p.use("dot", "")
	switch action {
	case "lost":
		take()
		return errOver
	case "cut":
		take()
		s.p.cut()
		action = "hang"
	}
	if s.lmtp {
		take()
		for _, to := range m.rcpts {
			if _, err := s.answer("deliver", address(to), "250 2.1.5 delivered"); err != nil {
				return err
			}
		}
		return nil
	}
	code, err := s.act(action, "", "250 2.0.0 taken")
	if code == 250 {
		take()
	}
	return err
}

// address takes what is between the angle brackets of MAIL or RCPT.
func address(param string) string {
	a, _, _ := strings.Cut(strings.TrimPrefix(param, "<"), ">")
	return a
}
