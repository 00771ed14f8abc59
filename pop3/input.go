package pop3

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/postino-mail/postino/sasl"
)

const (
	// inputSize is the size of the pooled buffer of a connection's input: some
	// hundreds of pipelined commands are one read.
	inputSize = 8 << 10
	// maxResponse is the longest line of a SASL exchange (RFC 5034 §4, AU4).
	maxResponse = sasl.MaxExchange/3*4 + 8
)

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

var errLineTooLong = errors.New("line too long")

// input buffers what a client sends. Without unread input it holds no buffer while
// the client is silent, see conn.Read.
type input struct {
	src    io.Reader
	wait   func() error // called before a read, which may block
	buf    []byte
	r, w   int
	pooled *[inputSize]byte // backing of buf, nil for a grown one
}

func (in *input) buffered() int { return in.w - in.r }

// release gives the buffer back when nothing in it is unread.
func (in *input) release() {
	if in.r != in.w {
		return
	}
	if in.pooled != nil {
		inputs.Put(in.pooled)
	}
	in.buf, in.pooled, in.r, in.w = nil, nil, 0, 0
}

// close drops what is unread.
func (in *input) close() {
	in.r = in.w
	in.release()
}

// line returns the next line of at most limit octets with its line end, without it.
// It is valid until the next call. Lines end with CRLF; a bare LF is taken too.
func (in *input) line(limit int) ([]byte, error) {
	seen := 0
	for {
		unread := in.buf[in.r:in.w]
		if i := bytes.IndexByte(unread[seen:], '\n'); i >= 0 {
			i += seen
			if i >= limit {
				return nil, errLineTooLong
			}
			in.r += i + 1
			return bytes.TrimSuffix(unread[:i], []byte{'\r'}), nil
		}
		if seen = len(unread); seen >= limit {
			return nil, errLineTooLong
		}
		if err := in.fill(limit); err != nil {
			return nil, err
		}
	}
}

// fill reads more, behind what is unread.
func (in *input) fill(limit int) error {
	if err := in.wait(); err != nil {
		return err
	}
	unread := in.buf[in.r:in.w]
	switch {
	case len(unread) == 0:
		in.r, in.w = 0, 0
		if in.buf == nil {
			in.pooled = inputs.Get().(*[inputSize]byte)
			in.buf = in.pooled[:]
		}
	case in.r > 0:
		in.w = copy(in.buf, unread)
		in.r = 0
	case in.w == len(in.buf): // only a line of a SASL exchange is so long
		grown := make([]byte, limit+1)
		in.w = copy(grown, unread)
		if in.pooled != nil {
			inputs.Put(in.pooled)
		}
		in.buf, in.pooled = grown, nil
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
