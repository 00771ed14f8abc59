package pop3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// linger is how long a session keeps its memory between two commands.
const linger = time.Second

// conn is one connection, served by one goroutine.
type conn struct {
	srv    *Server
	lim    *Limits
	raw    net.Conn // the socket, for interrupt and cut from other goroutines
	nc     net.Conn // what is read and written: raw, or TLS upon it
	info   ConnInfo
	sess   Session
	ctx    context.Context
	cancel context.CancelFunc
	in     input
	out    output

	state      state
	secure     atomic.Bool
	language   language
	utf8Mode   bool
	loginUntil time.Time
	bad        int    // wrong commands
	name       string // of the last USER, empty when none
	timestamp  string // of the greeting, for APOP
	quit       bool
	readErr    error // of the connection, which ends it

	// After login.
	drop      Maildrop
	user      string
	expelled  atomic.Bool // the user may not stay
	deleted   bitset
	retrieved bitset
	left      int   // messages that are not marked as deleted
	octets    int64 // of these
	total     int64 // of all messages

	line    []byte // the running command
	command string // its name
	sender  sender
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, lim: &s.lim, raw: nc, nc: nc, state: authorization}
	c.info = ConnInfo{ID: s.nextID.Add(1), Remote: nc.RemoteAddr(), Local: nc.LocalAddr(), Secure: c.secure.Load, TLS: c.tlsState}
	_, isTLS := nc.(*tls.Conn)
	c.secure.Store(isTLS)
	c.loginUntil = time.Now().Add(s.lim.LoginTime)
	c.in = input{src: c, wait: c.flush}
	c.out = output{conn: nc, stall: s.lim.StallTime}
	c.ctx, c.cancel = context.WithCancel(context.Background())
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

var (
	errShutdown = errors.New("server is shutting down")
	errExpelled = errors.New("access was withdrawn")
	errIdle     = errors.New("silent for too long")
	errInput    = errors.New("not this protocol")
)

// Interrupt makes a waiting connection see that the server closes. It may be called
// from any goroutine.
func (c *conn) Interrupt() { c.raw.SetReadDeadline(time.Unix(1, 0)) }

// expel ends the connection when its running command is done.
func (c *conn) expel() {
	c.expelled.Store(true)
	c.Interrupt()
}

// Cut ends the connection from another goroutine.
func (c *conn) Cut() {
	c.cancel()
	c.raw.Close()
}

// flush writes what is gathered and gives the buffer back, before the connection
// waits for its client.
func (c *conn) flush() error {
	err := c.out.flush()
	c.out.release()
	if err != nil && c.readErr == nil {
		c.readErr = err
	}
	return err
}

// Read is the one place that reads from the client. A client that is silent for a
// moment gets it done with less memory. The order is: set the deadline, then
// look whether the server closes, then read; who closes says so first and sets the
// deadline after.
func (c *conn) Read(p []byte) (int, error) {
	until := c.loginUntil
	if c.state != authorization {
		until = time.Now().Add(c.lim.IdleTime)
	}
	wait, rests := until, false
	if c.drop != nil {
		if soon := time.Now().Add(linger); soon.Before(until) {
			wait, rests = soon, true
		}
	}
	for {
		err := c.nc.SetReadDeadline(wait)
		if err == nil && c.srv.conns.Closing() {
			err = errShutdown
		}
		if err == nil && c.expelled.Load() {
			err = errExpelled
		}
		if err == nil {
			var n int
			if n, err = c.nc.Read(p); n > 0 {
				return n, nil
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			switch {
			case time.Now().Before(wait):
				continue // interrupted
			case rests:
				c.drop.Rest()
				c.sender.rest()
				wait, rests = until, false
				continue
			}
			err = errIdle
		}
		if err != nil {
			c.readErr = err
			return 0, err
		}
	}
}

// run serves the connection to its end.
func (c *conn) run() {
	defer func() {
		if v := recover(); v != nil {
			c.srv.observe.panicked(c, v)
			c.out.open()
			c.refuse(errors.New("panic"))
			c.flush()
		}
	}()
	sess, err := c.srv.opts.NewSession(c.ctx, &c.info)
	if err != nil {
		c.refuse(err)
		c.flush()
		return
	}
	c.sess = sess
	c.srv.observe.connected(c)
	c.greet()
	for !c.quit && c.readErr == nil && c.out.err == nil {
		c.step()
	}
	// A session that ends in silence ends without a word (RFC 1939 §3).
	c.flush()
}

// leave closes the connection and gives everything back. Without QUIT the maildrop
// is as it was (IM12).
func (c *conn) leave() {
	c.cancel()
	c.out.release()
	c.in.close()
	c.sender.rest()
	if c.drop != nil {
		c.drop.Close()
	}
	if c.sess != nil {
		c.sess.Close()
		c.srv.observe.disconnected(c, c.readErr)
	}
	c.nc.Close()
	c.srv.conns.Leave(c)
}

// step reads and runs one command.
func (c *conn) step() {
	line, err := c.in.line(c.lim.Line)
	if err != nil {
		if err == errLineTooLong {
			c.readErr = err
			c.refuse(&Error{"", textLineTooLong})
		}
		return
	}
	if isHTTP(line) { // IM4
		c.readErr = errInput
		c.refuse(&Error{"", textNotWeb})
		return
	}
	c.line, c.command = line, ""
	c.srv.observe.commands.Inc()
	if err := c.execute(line); err != nil {
		c.answer(err)
	}
}

func (c *conn) execute(line []byte) error {
	cmd, args := c.srv.find(line)
	if cmd == nil {
		return errUnknown
	}
	c.command = cmd.name
	switch {
	case cmd.states&c.state != 0:
		return cmd.run(c, args)
	case c.state == authorization:
		return errLogInFirst
	}
	return errLoggedIn
}

// answer tells why a command failed. Too many that are no commands end the
// connection (IM1, IM4); a message that is not there is nobody's fault.
func (c *conn) answer(err error) {
	if c.readErr != nil || c.out.err != nil {
		return
	}
	if isFault(err) {
		c.srv.observe.internalError(c, c.command, err)
	}
	c.refuse(err)
	switch err {
	case errSyntax, errUnknown, errLogInFirst, errLoggedIn, errUserFirst, errNotOffered, errMechanism:
	default:
		return
	}
	c.srv.observe.bad.Inc()
	limit := c.lim.Errors
	if c.state == authorization {
		limit = c.lim.LoginErrors
	}
	if c.bad++; c.bad >= limit {
		c.refuse(&Error{"", textTooManyErrors})
		c.readErr = errInput
	}
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
