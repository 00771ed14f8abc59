package imap

import (
	"bytes"
	"io"
	"net"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/postino-mail/postino/imap/internal/inflate"
)

// compress is COMPRESS (RFC 4978 §3).
func (c *conn) compress() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	algorithm, err := c.p.Atom()
	if err == nil {
		err = c.end()
	}
	switch {
	case err != nil:
		return err
	case !equalFold(algorithm, "DEFLATE"):
		return syntax("Unknown compression")
	case c.compressed():
		return &Error{Bad: true, Code: "COMPRESSIONACTIVE", Text: "Compression is active already"}
	case c.in.Buffered() > 0:
		return c.die("Data after COMPRESS") // nobody knows whether they are compressed
	}
	c.out.buf = append(c.out.buf, c.tag...)
	c.out.str(" OK ")
	c.out.text("Compression is active")
	c.out.str("\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	c.extra().inflate = new(inflate.Reader)
	c.out.conn = &deflater{c.nc}
	return errReplied
}

// compressed tells whether the connection is compressed.
func (c *conn) compressed() bool { return c.extras != nil && c.extras.inflate != nil }

// uncompress ends compression, behind the tagged reply to UNAUTHENTICATE (RFC 8437
// §4.1). What the client sent behind the end of its stream is in clear.
func (c *conn) uncompress() {
	if !c.compressed() {
		return
	}
	if rest := c.extras.inflate.Rest(); len(rest) > 0 {
		c.nc = &leftover{c.nc, rest}
		c.socket = nil // it may be silent while there is something to read
	}
	c.extras.inflate, c.out.conn = nil, c.nc
}

// leftover gives octets that were read from a connection before it goes on.
type leftover struct {
	net.Conn
	rest []byte
}

// Read implements net.Conn.
func (l *leftover) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		return l.Conn.Read(p)
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// receive reads from the client. Under compression it reads on until octets come
// out, or until reading ends: by the deadline, too, after which it may go on.
func (c *conn) receive(p []byte) (int, error) {
	if !c.compressed() {
		return c.nc.Read(p)
	}
	z := c.extras.inflate
	for {
		n, err := z.Read(p)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF:
			return 0, err
		case err != nil:
			return 0, fatal("Malformed compressed data")
		}
		if err := z.Fill(c.nc); err != nil {
			return 0, err
		}
	}
}

// drained tells that input can only come from the socket.
func (c *conn) drained() bool { return !c.compressed() || c.extras.inflate.Wants() }

// deflater compresses what is written. Each write ends at an octet and refers to
// nothing before it, so that the encoder can serve another connection until the next one:
// RFC 4978 §4 calls that a full flush.
type deflater struct{ net.Conn }

// encoder is a compressor and room for what it makes.
type encoder struct {
	buf bytes.Buffer
	w   *flate.Writer
}

// compressionLevel costs little time: RFC 4978 §4 has responses shrink to a third by
// the cheapest already.
const compressionLevel = 2

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.w, _ = flate.NewWriter(&e.buf, compressionLevel) // fails for unknown levels
	return e
}}

// Write compresses and writes p.
func (d *deflater) Write(p []byte) (int, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.buf.Reset()
	e.w.Reset(&e.buf)
	if _, err := e.w.Write(p); err != nil {
		return 0, err
	}
	if err := e.w.Flush(); err != nil {
		return 0, err
	}
	if _, err := d.Conn.Write(e.buf.Bytes()); err != nil {
		return 0, err
	}
	if e.buf.Cap() > outputKeep {
		e.buf = bytes.Buffer{}
	}
	return len(p), nil
}
