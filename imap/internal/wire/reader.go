package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// BufferSize is the size of a Reader's pooled buffer: lines up to it cost no
// allocation.
const BufferSize = 16 << 10

// firstSize is the size of the buffer that a Reader waits with: nearly every
// command fits, so most commands after a pause cost one read.
const firstSize = 128

// ErrLineTooLong tells that a line exceeds its limit; the rest of it is unread.
var ErrLineTooLong = errors.New("line too long")

var (
	buffers = sync.Pool{New: func() any { return new([BufferSize]byte) }}
	firsts  = sync.Pool{New: func() any { return new([firstSize]byte) }}
)

// Reader buffers the input of one connection. Between commands, when all input
// is consumed, it holds no buffer; while it waits, one of firstSize.
type Reader struct {
	// Src is read; Wait is called before a read that may block, so that the
	// owner can flush its output.
	Src  io.Reader
	Wait func() error

	buf    []byte // the octets r:w are unread
	r, w   int
	pooled *[BufferSize]byte // backing of buf, nil for a grown or no buffer
}

// Buffered is how many octets are read and not consumed.
func (b *Reader) Buffered() int { return b.w - b.r }

// Release gives the buffer back when all of it is consumed.
func (b *Reader) Release() {
	if b.r != b.w || b.buf == nil {
		return
	}
	if b.pooled != nil {
		buffers.Put(b.pooled)
	}
	b.buf, b.pooled, b.r, b.w = nil, nil, 0, 0
}

// Close drops what is unread and gives the buffer back.
func (b *Reader) Close() {
	b.r = b.w
	b.Release()
}

// fill reads more input. With no buffer it waits with the small one first.
func (b *Reader) fill() error {
	if err := b.Wait(); err != nil {
		return err
	}
	if b.buf == nil {
		first := firsts.Get().(*[firstSize]byte)
		defer firsts.Put(first)
		n, err := b.Src.Read(first[:])
		if n == 0 {
			return noProgress(err)
		}
		b.pooled = buffers.Get().(*[BufferSize]byte)
		b.buf = b.pooled[:]
		b.w = copy(b.buf, first[:n])
		return nil
	}
	if b.r > 0 && b.r == b.w {
		b.r, b.w = 0, 0
	}
	n, err := b.Src.Read(b.buf[b.w:])
	b.w += n
	if n == 0 {
		return noProgress(err)
	}
	return nil
}

func noProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// WaitInput returns when there is unread input.
func (b *Reader) WaitInput() error {
	if b.r < b.w {
		return nil
	}
	b.Release()
	return b.fill()
}

// Line consumes a line and returns it without its line end, which is CRLF or a
// bare LF: people type at this protocol. The line is valid until the next call. A
// line of more than limit octets gives ErrLineTooLong.
func (b *Reader) Line(limit int) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(b.buf[b.r+seen:b.w], '\n'); i >= 0 {
			line := b.buf[b.r : b.r+seen+i]
			b.r += seen + i + 1
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			if len(line) > limit {
				return nil, ErrLineTooLong
			}
			return line, nil
		}
		if seen = b.w - b.r; seen > limit+1 {
			return nil, ErrLineTooLong
		}
		b.room()
		if err := b.fill(); err != nil {
			return nil, err
		}
	}
}

// room makes sure that fill can add to an unfinished line: it moves it to the
// front, or doubles the buffer when the line fills it.
func (b *Reader) room() {
	if b.buf == nil || b.w < len(b.buf) {
		return
	}
	if b.r > 0 {
		b.w = copy(b.buf, b.buf[b.r:b.w])
		b.r = 0
		return
	}
	grown := make([]byte, 2*len(b.buf))
	copy(grown, b.buf)
	if b.pooled != nil {
		buffers.Put(b.pooled)
		b.pooled = nil
	}
	b.buf = grown
}

// ReadFull reads exactly len(p) octets.
func (b *Reader) ReadFull(p []byte) error {
	n := copy(p, b.buf[b.r:b.w])
	b.r += n
	for n < len(p) {
		if err := b.Wait(); err != nil {
			return err
		}
		k, err := b.Src.Read(p[n:])
		n += k
		if k == 0 {
			return noProgress(err)
		}
	}
	return nil
}

// CopyN gives the next n octets to w in pieces, reading with scratch when the
// buffer is empty. An error of w does not stop the reading: the octets have to be
// consumed for the dialogue to go on; it comes back as werr.
func (b *Reader) CopyN(w io.Writer, n int64, scratch []byte) (werr, err error) {
	for n > 0 {
		var piece []byte
		if have := b.buf[b.r:b.w]; len(have) > 0 {
			piece = have[:min(int64(len(have)), n)]
			b.r += len(piece)
		} else {
			if err := b.Wait(); err != nil {
				return werr, err
			}
			k, err := b.Src.Read(scratch[:min(int64(len(scratch)), n)])
			if k == 0 {
				return werr, noProgress(err)
			}
			piece = scratch[:k]
		}
		n -= int64(len(piece))
		if werr == nil {
			_, werr = w.Write(piece)
		}
	}
	return werr, nil
}
