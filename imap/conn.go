package imap

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// state is the state of a connection (RFC 9051 §3), one bit each.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// conn is one connection. While it waits for its client it is all that the
// engine keeps: the buffers are in their pools then, and after a moment the
// goroutine ends too, see parker.
type conn struct {
	parking
	srv    *Server
	lim    *Limits
	raw    net.Conn // the socket, for Interrupt and Cut from other goroutines
	nc     net.Conn // what is read and written: raw, or TLS upon it
	info   ConnInfo
	sess   Session
	ctx    context.Context
	cancel context.CancelFunc
	in     wire.Reader
	out    output
	p      wire.Parser

	state      state
	secure     atomic.Bool
	mailbox    string  // the selected one, as it was called then
	mailboxID  string  // its object id, or empty
	readOnly   bool    // and whether it may not be changed
	saved      []Range // "$": UIDs
	collation  string  // the active comparator; empty: i;unicode-casemap (RFC 5255 §4)
	extras     *extras // nil until one is used
	idling     atomic.Bool
	listening  atomic.Bool // NOTIFY asked to be told between commands, too
	changed    atomic.Bool // a Poll has something to write
	expelled   atomic.Bool // the user may not stay
	loginUntil time.Time
	bad        int // commands answered BAD
	quit       bool
	between    bool // waiting for a command or, in IDLE, for anything: it may be parked
	ready      bool // there is input, or it is not known

	// The running command.
	tag       []byte
	cmd       *command
	name      string    // of the command, "UID FETCH"
	uid       bool      // within UID
	seqs      bool      // a search within UID has sequence numbers
	code      []byte    // response code of the tagged OK, with brackets and space
	noPoll    bool      // the tagged reply follows at once
	truncated *Limited  // too many messages were named
	told      time.Time // when it began, or last said INPROGRESS
	literals  int       // read so far
	octets    int64     // of line and literals so far
	readErr   error     // of the connection, which ends it
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, lim: &s.lim, raw: nc, nc: nc, state: notAuthenticated}
	c.info = ConnInfo{ID: s.nextID.Add(1), Remote: nc.RemoteAddr(), Local: nc.LocalAddr(), Secure: c.secure.Load, TLS: c.tlsState, MessageLimit: s.lim.MessageLimit}
	_, isTLS := nc.(*tls.Conn)
	c.secure.Store(isTLS)
	c.loginUntil = time.Now().Add(s.lim.LoginTime)
	c.in = wire.Reader{Src: c, Wait: c.flush}
	c.p.Literals = c
	c.out = output{conn: nc, stall: s.lim.StallTime}
	c.ctx, c.cancel = context.WithCancel(context.WithValue(context.Background(), progressKey{}, c))
	return c
}

// tlsState is ConnInfo.TLS.
func (c *conn) tlsState() *tls.ConnectionState {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	s := tc.ConnectionState()
	return &s
}

// Errors that end a connection with BYE and this text.
type fatal string

func (f fatal) Error() string { return string(f) }

var (
	errWake     = errors.New("woken") // there is something to write in IDLE or by NOTIFY
	errShutdown = fatal("Server is shutting down")
	errExpelled = fatal("[CONTACTADMIN] Access was withdrawn")
	errIdle     = fatal("Idle for too long")
	errReplied  = errors.New("replied") // the command sent its tagged reply or sends it later
)

// Interrupt makes a waiting connection look at what changed. It may be called
// from any goroutine.
func (c *conn) Interrupt() {
	if !c.srv.parker.resume(c, byNotice) {
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// expel ends the connection with a word when its running command is done.
func (c *conn) expel() {
	c.expelled.Store(true)
	c.Interrupt()
}

// Cut ends the connection from another goroutine.
func (c *conn) Cut() {
	c.cancel()
	c.raw.Close()
	c.srv.parker.resume(c, byInput)
}

// wake is the notice of Session.Watch.
func (c *conn) wake() {
	if !c.changed.Swap(true) {
		c.Interrupt()
	}
}

// mustRun tells whether there is something to do without input.
func (c *conn) mustRun() bool {
	return c.srv.conns.Closing() || c.expelled.Load() || (c.idling.Load() || c.listening.Load()) && c.changed.Load()
}

// Read is the one place that reads from the client. It waits until input comes,
// time is up, the server closes, or, in IDLE, the mailbox changed. The order
// is: set the deadline, then look for reasons to return, then read; whoever has a
// reason sets it first and the deadline after, so none is missed.
func (c *conn) Read(p []byte) (n int, err error) {
	defer func() {
		if err != errPark {
			c.out.open() // flush released the buffer
		}
	}()
	until := c.loginUntil
	if c.state != notAuthenticated {
		until = time.Now().Add(c.lim.IdleTime)
	}
	wait, parks := c.patience(until)
	if parks && c.idling.Load() && !c.ready && c.nc == net.Conn(c.socket) && c.drained() && !c.mustRun() {
		return 0, errPark // in IDLE there is rarely input soon
	}
	c.ready = false
	for {
		err = c.nc.SetReadDeadline(wait)
		switch {
		case err != nil:
		case c.srv.conns.Closing():
			err = errShutdown
		case c.expelled.Load():
			err = errExpelled
		case (c.idling.Load() || c.between && c.listening.Load()) && c.changed.Load():
			return 0, errWake
		default:
			if n, err = c.receive(p); n > 0 {
				return n, nil
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			switch {
			case time.Now().Before(wait):
				continue
			case parks:
				return 0, errPark
			}
			err = errIdle
		}
		if err == nil {
			continue
		}
		c.readErr = err
		return 0, err
	}
}

// patience tells how long to wait for input on a goroutine when the client's time
// is until, and whether the connection is parked after that.
func (c *conn) patience(until time.Time) (wait time.Time, parks bool) {
	if c.between && c.socket != nil && c.state != notAuthenticated {
		if wait = time.Now().Add(c.srv.parker.linger); wait.Before(until) {
			return wait, true
		}
	}
	return until, false
}

// flush writes what is gathered and gives the buffer back; the reader calls it
// before it waits.
func (c *conn) flush() error {
	err := c.out.flush()
	c.out.release()
	if err != nil {
		c.readErr = err
	}
	return err
}

// begin makes the session and greets.
func (c *conn) begin() bool {
	sess, err := c.srv.opts.NewSession(c.ctx, &c.info)
	c.out.open()
	if err != nil {
		c.bye(replyFor(err).Text)
		c.flush()
		return false
	}
	c.sess = sess
	c.srv.observe.connected(c)
	c.greet()
	return true
}

// proceed begins or goes on with the connection and runs it until it is parked or
// at its end. After it the caller must not touch c: who resumed it may.
func (c *conn) proceed() {
	parked := false
	defer func() {
		if v := recover(); v != nil {
			c.srv.observe.panicked(c, v)
			c.out.release()
			c.out.open()
			c.bye("[SERVERBUG] Internal error")
			c.flush()
		}
		if !parked {
			c.leave()
		}
	}()
	if c.sess == nil && !c.begin() {
		return
	}
	for {
		for c.step() {
		}
		if c.readErr != errPark {
			break
		}
		c.readErr, c.code = nil, nil
		if parked = c.srv.parker.park(c, time.Now().Add(c.lim.IdleTime)); parked {
			return
		}
		c.ready = true
	}
	c.flush()
}

// resumed goes on with a connection that was parked.
func (c *conn) resumed(why wakeup) {
	c.ready = why == byInput
	if why == byTime {
		c.readErr = errIdle
	}
	c.proceed()
}

// leave closes the connection and gives everything back.
func (c *conn) leave() {
	c.cancel()
	c.out.release()
	c.in.Close()
	if c.sess != nil {
		c.sess.Close()
		c.srv.observe.disconnected(c, c.readErr)
	}
	c.nc.Close()
	c.srv.conns.Leave(c)
}

func (c *conn) greet() {
	c.out.open()
	c.out.str("* OK [")
	c.capabilities(&c.out)
	c.out.str("] ")
	if c.srv.opts.Name != "" {
		c.out.str(c.srv.opts.Name)
		c.out.str(" ")
	}
	c.out.str("IMAP ready\r\n")
}

func (c *conn) bye(text string) {
	c.out.str("* BYE ")
	if code, rest, ok := strings.Cut(text, "] "); ok && code[0] == '[' {
		c.out.str(code)
		c.out.str("] ")
		text = rest
	}
	c.out.text(text)
	c.out.str("\r\n")
	c.quit = true
}

// step does the next thing: one command, or one turn of IDLE. It returns false when
// the connection is to be closed. All state is in c, so that what calls it need not
// be a goroutine of its own.
func (c *conn) step() bool {
	if c.readErr == nil {
		c.between = true
		c.readErr = c.in.WaitInput()
		c.between = false
	}
	if c.readErr == errWake {
		if c.readErr = nil; !c.idling.Load() {
			c.notice()
			return c.ended()
		}
	}
	if c.readErr == nil {
		if c.idling.Load() {
			c.stepIdle()
		} else {
			c.stepCommand()
		}
	}
	return c.ended()
}

// ended says BYE where the connection cannot go on, and tells whether it goes on.
func (c *conn) ended() bool {
	var f fatal
	if c.out.err == nil && errors.As(c.readErr, &f) && !c.quit {
		c.out.open()
		c.bye(string(f))
	}
	return !c.quit && c.readErr == nil && c.out.err == nil
}

// line reads a line under the limit of the state (IM1, IM2).
func (c *conn) line() ([]byte, error) {
	limit, total := c.lim.Line, c.lim.Command
	if c.state == notAuthenticated {
		limit, total = c.lim.LoginLine, c.lim.LoginCommand
	}
	line, err := c.in.Line(limit)
	if err == wire.ErrLineTooLong {
		err = c.die("Line too long")
	}
	if c.octets += int64(len(line)); err == nil && c.octets > total {
		err = c.die("Command too long")
	}
	return line, err
}

// die makes the connection end with BYE after the present command.
func (c *conn) die(text string) error {
	if c.readErr == nil {
		c.readErr = fatal(text)
	}
	return c.readErr
}

func (c *conn) stepCommand() {
	c.octets, c.literals, c.code, c.truncated, c.out.within = 0, 0, c.code[:0], nil, false
	if cap(c.code) > 512 {
		c.code = nil
	}
	defer c.p.Reset(nil) // it must not keep the buffer of a long line
	c.cmd, c.name, c.uid, c.seqs, c.noPoll = nil, "", false, false, false
	line, err := c.line()
	if err != nil {
		return
	}
	if isHTTP(line) {
		c.die("This is not a web server") // IM4
		return
	}
	c.p.Reset(line)
	tag, err := c.p.Tag()
	if err == nil && len(tag) <= 255 {
		err = c.p.SP()
	} else if err == nil {
		err = &wire.SyntaxError{Text: "Tag too long"}
	}
	if err != nil {
		tag = []byte{'*'} // an invalid tag is not echoed (IM4)
	}
	c.tag = append(c.tag[:0], tag...)
	if err == nil {
		c.told = time.Now()
		err = c.run()
	}
	c.finish(err)
}

// run looks the command up and runs it.
func (c *conn) run() error {
	label, err := c.p.Label()
	if err != nil {
		return err
	}
	cmd := c.srv.commands[string(label)]
	if cmd == nil {
		return &wire.SyntaxError{Text: "Unknown command"}
	}
	c.cmd, c.name = cmd, cmd.name
	if cmd.states&c.state == 0 {
		return c.wrongState(cmd)
	}
	if _, both := uidNames[cmd.name]; both && cmd.name != "EXPUNGE" {
		if err := c.messageNumbers(); err != nil { // RFC 9586 §3.2, §3.8
			return err
		}
	}
	c.srv.observe.commands.Inc()
	return cmd.run(c)
}

func (c *conn) wrongState(cmd *command) error {
	switch {
	case c.state == notAuthenticated:
		return &wire.SyntaxError{Text: "Log in first"}
	case cmd.states&notAuthenticated != 0:
		return &wire.SyntaxError{Text: "Already logged in"}
	}
	return &wire.SyntaxError{Text: "Select a mailbox first"}
}

// isHTTP recognises the request line of a browser or a scanner.
func isHTTP(line []byte) bool {
	verb, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) == 0 {
		return false
	}
	switch string(verb) {
	case "GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI":
	default:
		return false
	}
	return rest[0] == '/' || rest[0] == '*' || bytes.Contains(rest, []byte(" HTTP/")) || bytes.Contains(rest, []byte("://"))
}
