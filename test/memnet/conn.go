package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many octets are under way or unread in one direction.
const window = 64 << 10

// link is a connection: two ends and the streams between them. Everything of
// both is under mu.
type link struct {
	n       *Network
	latency time.Duration
	ends    [2]*Conn // who called, who was called

	mu       sync.Mutex
	changed  sync.Cond
	underWay []func() // what happens when something arrives, in order
}

// Conn is an end of a connection.
type Conn struct {
	link   *link
	peer   *Conn
	local  netip.AddrPort
	in     stream // what the peer wrote
	closed bool
	broken bool // reset

	read, write deadline
}

// stream is one direction.
type stream struct {
	buf     []byte // written and not yet read, buf[head:]
	head    int
	arrived int  // octets of it that can be read; the rest is under way
	ended   bool // the writer writes no more
	end     bool // and the reader may know
	cut     int  // octets until the connection is reset: 0 it is not, -1 it was
}

func newLink(n *Network, f Fault, from, to netip.AddrPort) *link {
	k := &link{n: n, latency: f.Latency}
	k.changed.L = &k.mu
	a, b := &Conn{link: k, local: from}, &Conn{link: k, local: to}
	a.peer, b.peer = b, a
	a.in.cut, b.in.cut = f.CutFrom, f.CutTo
	k.ends = [2]*Conn{a, b}
	return k
}

// LocalAddr implements net.Conn with a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return addr(c.local) }

// RemoteAddr implements net.Conn with a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return addr(c.peer.local) }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for {
		switch s := &c.in; {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.read.passed:
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case s.arrived > 0:
			n := copy(p, s.buf[s.head:s.head+s.arrived])
			s.head += n
			s.arrived -= n
			if s.head == len(s.buf) {
				s.buf, s.head = s.buf[:0], 0
			}
			c.link.changed.Broadcast() // there is room
			return n, nil
		case c.broken:
			return 0, c.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case s.end && s.head == len(s.buf):
			return 0, io.EOF
		}
		c.link.changed.Wait()
	}
}

// Write implements net.Conn. It blocks while the peer does not read and the
// window is full.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for {
		s := &c.peer.in
		switch room := window - (len(s.buf) - s.head); {
		case c.closed || s.ended:
			return n, c.fail("write", net.ErrClosed)
		case c.write.passed:
			return n, c.fail("write", os.ErrDeadlineExceeded)
		case c.broken:
			return n, c.fail("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case len(p) == n:
			return n, nil
		case c.peer.closed: // the reset comes when the octets have arrived
			c.link.after(func() { c.broken = true })
			return len(p), nil
		case room > 0:
			n += c.put(p[n:min(n+room, len(p))])
			continue
		}
		c.link.changed.Wait()
	}
}

// put sends octets for which there is room, as far as the connection lives, and
// returns how many it sent.
func (c *Conn) put(p []byte) int {
	s, cut := &c.peer.in, false
	switch {
	case s.cut < 0: // lost
		return len(p)
	case s.cut > 0:
		p = p[:min(len(p), s.cut)]
		if s.cut -= len(p); s.cut == 0 {
			s.cut, cut = -1, true
		}
	}
	if s.head > 0 && len(s.buf)+len(p) > cap(s.buf) {
		s.buf, s.head = s.buf[:copy(s.buf, s.buf[s.head:])], 0
	}
	s.buf = append(s.buf, p...)
	c.link.after(func() { s.arrived += len(p) })
	if cut {
		c.link.after(func() { c.broken, c.peer.broken = true, true })
	}
	return len(p)
}

// after runs f when what is sent now arrives, and after all that was sent before.
// mu is held, and is while f runs.
func (k *link) after(f func()) {
	if k.latency == 0 {
		f()
		k.changed.Broadcast()
		return
	}
	k.underWay = append(k.underWay, f)
	time.AfterFunc(k.latency, func() { // timers of one moment run in any order: each takes the first
		k.mu.Lock()
		defer k.mu.Unlock()
		first := k.underWay[0]
		k.underWay = k.underWay[1:]
		first()
		k.changed.Broadcast()
	})
}

// CloseWrite ends what this side sends; it may read on.
func (c *Conn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.endWrites()
	return nil
}

// endWrites tells the peer that nothing follows. mu is held.
func (c *Conn) endWrites() {
	if s := &c.peer.in; !s.ended {
		s.ended = true
		c.link.after(func() { s.end = true })
	}
}

// Close implements net.Conn. What was written still arrives, unless the peer
// wrote something that was not read: then the connection is reset.
func (c *Conn) Close() error { return c.close(false) }

// Abort closes with a reset: what was written and not read may be lost.
func (c *Conn) Abort() { _ = c.close(true) } // closed already is as good

func (c *Conn) close(reset bool) error {
	k := c.link
	k.mu.Lock()
	if c.closed {
		k.mu.Unlock()
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	c.read.clear()
	c.write.clear()
	if reset || len(c.in.buf) > c.in.head {
		k.after(func() { c.peer.broken = true })
	} else {
		c.endWrites()
	}
	k.changed.Broadcast()
	both := c.peer.closed
	k.mu.Unlock()
	if both {
		k.n.forget(k)
	}
	return nil
}

// reset breaks the connection for both sides at once.
func (k *link) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.ends {
		c.broken = true
	}
	k.changed.Broadcast()
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.read, &c.write) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.read) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *Conn) setDeadlines(t time.Time, all ...*deadline) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range all {
		d.set(t, c.link)
	}
	c.link.changed.Broadcast()
	return nil
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// deadline is when reading or writing fails. The link's mu guards it.
type deadline struct {
	passed bool
	timer  *time.Timer
}

func (d *deadline) clear() {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{}
}

func (d *deadline) set(t time.Time, k *link) {
	d.clear()
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if d.timer == timer { // it may have been set anew while this came
			d.passed = true
			k.changed.Broadcast()
		}
	})
	d.timer = timer
}
