package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// Conn is one connection, as far as a [Session] may know it. Its methods are
// for the connection's own goroutine: call them from Session, Transaction and
// Sink methods only.
type Conn struct {
	wire
	srv     *Server
	raw     net.Conn // the transport below TLS
	ctx     context.Context
	cancel  context.CancelFunc
	peer    netip.Addr // of the socket
	remote  netip.Addr // of the client
	told    *Origin    // by PROXY and XCLIENT; nil: nothing
	forward *Origin    // by XFORWARD
	seat    seat
	trusted bool // Options list the client
	// What the peer may say.
	xclient, xforward bool

	started time.Time

	tls      *tls.ConnectionState // nil in clear
	session  Session
	hello    string
	esmtp    bool
	authable bool // mechanisms were announced, so MAIL may say AUTH=
	identity string
	tx       transaction

	faults    int       // permanent errors since the last accepted message
	idle      int       // commands since the last mail progress
	mails     int       // MAIL commands
	owed      int       // LMTP: recipients whose transaction a chunk has ended
	holdUntil time.Time // the latest date that EHLO told (RFC 4865 §3)
	refusal   *Reply    // answers all but QUIT once the session was refused
	until     time.Time // end of the AUTH exchange; zero outside
	state     state
}

// state says how the dialogue goes on.
type state uint8

const (
	talking  state = iota
	closing        // replies are flushed, then the connection is closed
	dropping       // the same, and what the client still sends is thrown away
)

func newConn(s *Server, ctx context.Context, cancel context.CancelFunc, nc net.Conn) *Conn {
	c := &Conn{srv: s, raw: nc, ctx: ctx, cancel: cancel, started: time.Now()}
	c.wire.init(nc, &s.pool)
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.peer = a.Addr().Unmap().WithZone("")
		c.remote = c.peer
	}
	return c
}

// serve runs the whole dialogue.
func (c *Conn) serve() {
	log := c.srv.log
	defer c.raw.Close()
	defer c.release()
	defer c.rise()
	if !c.enter() {
		return
	}
	log.opened()
	defer log.closed(c)
	c.guard(c.dialogue)
	said := c.say()
	c.guard(c.endSession)
	if said && c.state == dropping {
		c.grow()
		linger(c.raw, c.srv.lim.MessageBytes, c.big[:])
	}
}

// guard runs f; a panic ends this connection only (G4). Replies that wait to be
// sent are kept: one of them may be the 250 of a message.
func (c *Conn) guard(f func()) {
	defer func() {
		if v := recover(); v != nil {
			c.srv.log.panicked(c, v)
			c.end(closing, replyLocal)
		}
	}()
	f()
}

// endSession closes the transaction and the session, each once, and the second
// even if the first panics.
func (c *Conn) endSession() {
	s := c.session
	c.session = nil
	if s != nil {
		defer s.Close()
	}
	c.endTransaction()
}

// dialogue greets and then answers commands until the state changes.
func (c *Conn) dialogue() {
	if c.srv.opts.ImplicitTLS {
		first := bytes.Clone(c.buf[c.r:c.w]) // came with a PROXY header
		c.r = c.w
		c.shrink()
		if err := c.handshake(first); err != nil {
			return
		}
	}
	c.greet()
	for c.state == talking {
		if c.srv.conns.Closing() && !c.tx.open() {
			c.fail(errDraining)
			return
		}
		line, err := c.readLine(c.commandTimeout())
		if err != nil {
			c.fail(err)
			return
		}
		c.command(line)
	}
}

// say sends the last replies; false when the client does not hear them.
func (c *Conn) say() bool {
	if c.state == talking { // the handshake failed
		return false
	}
	c.raw.SetDeadline(time.Now().Add(closeTime))
	if c.flush() != nil {
		return false
	}
	if t, ok := c.conn.(*tls.Conn); ok {
		t.CloseWrite()
	}
	return true
}

// closeTime is how long the last replies may take.
const closeTime = 5 * time.Second

var errDraining = errors.New("server is stopping")

// fail ends the dialogue for a failure to read.
func (c *Conn) fail(err error) {
	switch {
	case errors.Is(err, errDraining):
		c.end(closing, &Reply{421, "4.3.2", c.srv.opts.Hostname + " Service shutting down"})
	case errors.Is(err, errLineTooLong):
		c.drop(replyLineTooLong)
	case errors.Is(err, errBareLine):
		c.drop(replyBareLine)
	case errors.Is(err, errTooSlow):
		c.drop(&Reply{421, "4.4.2", c.srv.opts.Hostname + " Data comes too slowly"})
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(closing, &Reply{421, "4.4.2", c.srv.opts.Hostname + " Timeout"})
	default: // the client is gone: as if it had said QUIT (RFC 5321 §4.1.1.5)
		c.state, c.out = closing, c.slot[:0]
	}
}

// end says r as the last reply.
func (c *Conn) end(how state, r *Reply) {
	c.out = r.appendTo(c.out)
	c.state = how
}

// drop ends the dialogue for what the client did; nothing that it still sends
// is looked at.
func (c *Conn) drop(r *Reply) {
	c.srv.log.dropped(c, r)
	c.end(dropping, r)
}

// reply answers a command. Permanent errors cost time, then the connection (SS15).
func (c *Conn) reply(r *Reply) {
	lim := &c.srv.lim
	if r.Code >= 500 {
		c.faults++
		if c.faults >= lim.Errors {
			c.out = r.appendTo(c.out)
			c.drop(&Reply{421, "4.7.0", c.srv.opts.Hostname + " Too many errors"})
			return
		}
		if c.faults > lim.FreeErrors {
			c.pause(lim.ErrorDelay)
		}
	}
	c.out = r.appendTo(c.out)
	if r.closes() && c.state == talking {
		c.state = dropping
	}
	if len(c.out) > outFlush {
		c.push()
	}
}

// push sends the replies now.
func (c *Conn) push() {
	c.raw.SetDeadline(time.Now().Add(c.commandTimeout()))
	if err := c.flush(); err != nil {
		c.fail(io.EOF)
	}
}

// pause waits, or until the connection is cut.
func (c *Conn) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

func (c *Conn) commandTimeout() time.Duration {
	if c.srv.gate.stressed.Load() {
		return min(c.srv.lim.StressTimeout, c.srv.lim.CommandTimeout)
	}
	return c.srv.lim.CommandTimeout
}

// readLine waits for one line. Its octets are valid until the next read.
func (c *Conn) readLine(timeout time.Duration) ([]byte, error) {
	for {
		line, ok, err := c.line(c.lineLimit)
		if ok || err != nil {
			return line, err
		}
		c.shrink()
		if err := c.await(timeout, true); err != nil {
			return nil, err
		}
	}
}

// await sends the replies and waits for input. RFC 2920 §3.2: replies go out
// whenever nothing is left to be read.
func (c *Conn) await(timeout time.Duration, command bool) error {
	deadline := time.Now().Add(timeout)
	if end := c.started.Add(c.srv.lim.SessionTime); c.identity == "" && !c.trusted && end.Before(deadline) {
		deadline = end
	}
	if !c.until.IsZero() && c.until.Before(deadline) {
		deadline = c.until
	}
	for {
		if err := c.raw.SetDeadline(deadline); err != nil {
			return err
		}
		if err := c.flush(); err != nil {
			return err
		}
		// Asked after the deadline was set: a Shutdown that comes later sets its own.
		if command && c.srv.conns.Closing() && !c.tx.open() {
			return errDraining
		}
		err := c.read()
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline) {
			continue // Shutdown woke us
		}
		return err
	}
}
