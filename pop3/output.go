package pop3

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"time"
)

const (
	// flushSize is how much output is gathered before it is written.
	flushSize = 64 << 10
	// outputCap is the capacity of a pooled buffer: a reply more than flushSize.
	outputCap = flushSize + 4<<10
)

var outputs = sync.Pool{New: func() any { b := make([]byte, 0, outputCap); return &b }}

// output is the write side of a connection. Its buffer comes from a pool with the
// first octet and goes back after every flush. After a failed write all is dropped
// and err tells why.
type output struct {
	conn  net.Conn
	stall time.Duration // a write that takes longer ends the connection
	buf   []byte
	box   *[]byte // the pool's box that buf came in
	err   error
}

func (o *output) open() {
	if o.box == nil {
		o.box = outputs.Get().(*[]byte)
		o.buf = (*o.box)[:0]
	}
}

func (o *output) release() {
	if o.box != nil {
		*o.box = o.buf[:0]
		outputs.Put(o.box)
		o.box, o.buf = nil, nil
	}
}

// flush writes what is gathered.
func (o *output) flush() error {
	if o.err == nil && len(o.buf) > 0 {
		o.err = o.conn.SetWriteDeadline(time.Now().Add(o.stall))
		if o.err == nil {
			_, o.err = o.conn.Write(o.buf)
		}
	}
	o.buf = o.buf[:0]
	return o.err
}

// room makes room for a line: after it there are 4 KiB. All replies but messages
// are made of shorter pieces.
func (o *output) room() {
	o.open()
	if len(o.buf) >= flushSize {
		o.flush()
	}
}

// fail ends the connection at the next occasion: what was announced cannot be sent.
func (o *output) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *output) str(s string)   { o.buf = append(o.buf, s...) }
func (o *output) num(n int64)    { o.buf = strconv.AppendInt(o.buf, n, 10) }
func (o *output) bytes(b []byte) { o.buf = append(o.buf, b...) }

// stuffed sends octets of a message, dot by dot (RFC 1939 §3): bol tells whether b
// begins a line, and whether what follows b does. A line ends with LF, with or
// without a CR before it, as the clients understand it which read lines so: a
// message with a bare LF before a dot must not end in the middle for them.
func (o *output) stuffed(b []byte, bol bool) bool {
	if len(b) == 0 {
		return bol
	}
	if bol && b[0] == '.' {
		o.room()
		o.str(".")
	}
	last := b[len(b)-1] == '\n'
	for len(b) > 0 && o.err == nil {
		n := bytes.Index(b, lineDot)
		if n < 0 {
			o.copy(b)
			break
		}
		o.copy(b[:n+1])
		o.room()
		o.str(".")
		b = b[n+1:]
		// The dot itself goes out now, so that it is not found again.
		o.copy(b[:1])
		b = b[1:]
	}
	return last
}

var lineDot = []byte("\n.")

// copy sends octets, in writes of flushSize.
func (o *output) copy(b []byte) {
	for len(b) > 0 && o.err == nil {
		o.room()
		n := min(len(b), outputCap-len(o.buf))
		o.bytes(b[:n])
		b = b[n:]
	}
}
