package smtp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Sizes of the buffers. While a client is silent its connection holds only the
// nooks, which are part of the Conn (SS16).
const (
	bufferSize = 32 << 10 // pooled, for content and long lines
	nookSize   = 1 << 10  // holds a usual pipelined group of commands
	outSize    = 512      // holds a usual group of replies
	outFlush   = 4 << 10  // replies are sent when they are more than this
)

var (
	errLineTooLong = errors.New("command line too long")
	errBareLine    = errors.New("command line without CRLF")
)

// wire reads lines and octets and collects replies. It knows no deadlines of
// its own: whoever reads sets them.
type wire struct {
	conn net.Conn // what is spoken over: the transport or TLS over it
	pool *sync.Pool
	big  *[bufferSize]byte // from the pool; nil while the nook suffices
	buf  []byte            // nook or big
	r, w int               // buf[r:w] was received and not yet consumed
	out  []byte
	nook [nookSize]byte
	slot [outSize]byte
}

func (x *wire) init(conn net.Conn, pool *sync.Pool) {
	x.conn, x.pool = conn, pool
	x.buf, x.out = x.nook[:], x.slot[:0]
}

// buffered is how many octets were received and not yet consumed.
func (x *wire) buffered() int { return x.w - x.r }

// grow moves what is buffered to a pooled buffer.
func (x *wire) grow() {
	if x.big == nil {
		x.big = x.pool.Get().(*[bufferSize]byte)
		x.w = copy(x.big[:], x.buf[x.r:x.w])
		x.r, x.buf = 0, x.big[:]
	}
}

// shrink gives the pooled buffer back when nothing is in it.
func (x *wire) shrink() {
	if x.r == x.w {
		x.r, x.w = 0, 0
		x.release()
	}
}

// release gives the pooled buffer back with whatever it holds.
func (x *wire) release() {
	if x.big != nil {
		x.pool.Put(x.big)
		x.big, x.buf, x.r, x.w = nil, x.nook[:], 0, 0
	}
}

// room makes space for at least one more octet.
func (x *wire) room() error {
	if x.w < len(x.buf) {
		return nil
	}
	if x.r > 0 {
		x.w = copy(x.buf, x.buf[x.r:x.w])
		x.r = 0
		return nil
	}
	if x.big != nil {
		return errLineTooLong
	}
	x.grow()
	return nil
}

// line takes one line off the buffer, without its CRLF; ok is false when there
// is no whole line yet. The slice is valid until the next read.
func (x *wire) line(limit func([]byte) int) (line []byte, ok bool, err error) {
	in := x.buf[x.r:x.w]
	i := bytes.IndexByte(in, '\n')
	if n := i + 1; i < 0 && len(in) >= 512 && len(in) > limit(in) || n > 512 && n > limit(in) {
		return nil, false, errLineTooLong
	}
	if i < 0 {
		return nil, false, nil
	}
	x.r += i + 1
	if i == 0 || in[i-1] != '\r' {
		return nil, true, errBareLine
	}
	return in[:i-1], true, nil
}

// flush sends the collected replies.
func (x *wire) flush() error {
	if len(x.out) == 0 {
		return nil
	}
	_, err := x.conn.Write(x.out)
	x.out = x.slot[:0]
	return err
}

// read takes what the network has, at least one octet.
func (x *wire) read() error {
	if err := x.room(); err != nil {
		return err
	}
	for range 100 {
		n, err := x.conn.Read(x.buf[x.w:])
		x.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// linger lets the last reply reach a client that is still talking: closing a
// socket with unread input would reset it and take the reply with it. What is
// read is thrown away, from below TLS; octets and time are bounded.
func linger(raw net.Conn, octets int64, scratch []byte) {
	if half, ok := raw.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			return
		}
	}
	if raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	for octets > 0 {
		n, err := raw.Read(scratch)
		if err != nil {
			return
		}
		octets -= int64(n)
	}
}

// lingerTime is how long a dropped client may still talk to nobody.
const lingerTime = 5 * time.Second
