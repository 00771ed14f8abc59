package smtp

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBuffer is what one direction of a pipe holds, as a socket buffer does.
const pipeBuffer = 256 << 10

// pipe makes two ends of a buffered connection in memory, with deadlines and
// half close, that works inside testing/synctest bubbles.
func pipe() (client, server net.Conn) {
	a, b := newHalf(), newHalf()
	return &memConn{in: a, out: b, addr: addr("192.0.2.7:40000")}, &memConn{in: b, out: a, addr: addr("192.0.2.1:25")}
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// half is one direction.
type half struct {
	mu       sync.Mutex
	cond     sync.Cond
	buf      []byte
	off      int  // buf[off:] is to be read
	eof      bool // no more is written
	gone     bool // no more is read
	rd, wr   time.Time
	rdT, wrT *time.Timer
}

func newHalf() *half {
	h := new(half)
	h.cond.L = &h.mu
	return h
}

func over(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (h *half) deadline(at *time.Time, timer **time.Timer, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*at = t
	switch d := time.Until(t); {
	case h.eof || h.gone:
	case t.IsZero() || d <= 0:
		if *timer != nil {
			(*timer).Stop()
		}
	case *timer != nil:
		(*timer).Reset(d)
	default:
		*timer = time.AfterFunc(d, func() {
			h.mu.Lock()
			h.cond.Broadcast()
			h.mu.Unlock()
		})
	}
	h.cond.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.gone:
			return 0, net.ErrClosed
		case over(h.rd):
			return 0, os.ErrDeadlineExceeded
		case h.off < len(h.buf):
			n := copy(p, h.buf[h.off:])
			if h.off += n; h.off == len(h.buf) {
				h.buf, h.off = h.buf[:0], 0
			}
			h.cond.Broadcast()
			return n, nil
		case h.eof:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for {
		switch {
		case h.eof:
			return n, net.ErrClosed
		case h.gone:
			return n, io.ErrClosedPipe
		case over(h.wr):
			return n, os.ErrDeadlineExceeded
		}
		k := min(len(p)-n, pipeBuffer-len(h.buf)) // of the buffer, not of what is unread
		if k > 0 {
			h.buf = append(h.buf, p[n:n+k]...)
			h.cond.Broadcast()
		}
		if n += k; n == len(p) {
			return n, nil
		}
		h.cond.Wait()
	}
}

func (h *half) set(flag *bool) {
	h.mu.Lock()
	*flag = true
	for _, t := range []*time.Timer{h.rdT, h.wrT} {
		if t != nil {
			t.Stop()
		}
	}
	h.cond.Broadcast()
	h.mu.Unlock()
}

type memConn struct {
	in, out *half
	addr    addr
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memConn) CloseWrite() error           { c.out.set(&c.out.eof); return nil }
func (c *memConn) LocalAddr() net.Addr         { return c.addr }
func (c *memConn) RemoteAddr() net.Addr {
	if c.addr == "192.0.2.1:25" {
		return addr("192.0.2.7:40000")
	}
	return addr("192.0.2.1:25")
}

func (c *memConn) Close() error {
	c.out.set(&c.out.eof)
	c.in.set(&c.in.gone)
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.deadline(&c.in.rd, &c.in.rdT, t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.deadline(&c.out.wr, &c.out.wrT, t)
	return nil
}
