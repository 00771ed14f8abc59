package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"github.com/postino-mail/postino"
)

// Messages travel as frames: an octet that says what it is, four octets of length,
// big-endian, and that many octets.
const (
	frameData = 'D' // octets of a message
	frameMeta = 'M' // the message is complete: JSON tells the rest
	frameDrop = 'X' // the message is not to be had after all
	frameEnd  = '.' // the batch is complete
	frameFail = 'F' // what went wrong: kind and text
)

const (
	maxFrame = 64 << 10
	maxMeta  = 256 << 10
)

// frameWriter writes frames; Write writes octets of the message.
type frameWriter struct {
	w   *bufio.Writer
	any bool // octets of a message that has no end yet
}

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{w: bufio.NewWriterSize(w, maxFrame+5)}
}

func (f *frameWriter) frame(kind byte, p []byte) error {
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(p)))
	if _, err := f.w.Write(head[:]); err != nil {
		return err
	}
	_, err := f.w.Write(p)
	return err
}

// Write writes octets of the current message.
func (f *frameWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), maxFrame)]
		f.any = true
		if err = f.frame(frameData, part); err == nil {
			n += len(part)
		}
		p = p[len(part):]
	}
	return n, err
}

func (f *frameWriter) meta(v any) error {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxMeta {
		err = postino.E(postino.Invalid, "describe message", "", errors.New("flags and names are too long"))
	}
	if err != nil {
		return err
	}
	f.any = false
	return f.frame(frameMeta, b)
}

func (f *frameWriter) drop() error {
	if !f.any {
		return nil
	}
	f.any = false
	return f.frame(frameDrop, nil)
}

func (f *frameWriter) end() error {
	if err := f.frame(frameEnd, nil); err != nil {
		return err
	}
	return f.w.Flush()
}

// frameFailure is an error as a frame.
type frameFailure struct {
	Kind postino.Kind
	Text string
}

func (f *frameWriter) fail(err error) error {
	b, jerr := json.Marshal(frameFailure{postino.KindOf(err), err.Error()})
	if jerr != nil {
		return jerr
	}
	if err := f.frame(frameFail, b[:min(len(b), maxMeta)]); err != nil {
		return err
	}
	return f.w.Flush()
}

// frameReader reads frames.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, maxFrame+5), buf: make([]byte, maxFrame)}
}

var errFrames = errors.New("the stream of messages was cut or is not one")

// next reads a frame; the octets are good until the next call.
func (f *frameReader) next() (kind byte, p []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, cut(err)
	}
	kind = head[0]
	n := int(binary.BigEndian.Uint32(head[1:]))
	limit := 0
	switch kind {
	case frameData:
		limit = maxFrame
	case frameMeta, frameFail:
		limit = maxMeta
	case frameDrop, frameEnd:
	default:
		return 0, nil, postino.E(postino.Invalid, "read messages", "", errFrames)
	}
	if n > limit {
		return 0, nil, postino.E(postino.Invalid, "read messages", "", errFrames)
	}
	if n > len(f.buf) {
		f.buf = make([]byte, n)
	}
	p = f.buf[:n]
	if _, err := io.ReadFull(f.r, p); err != nil {
		return 0, nil, cut(err)
	}
	if kind == frameFail {
		var fail frameFailure
		if err := json.Unmarshal(p, &fail); err != nil {
			return 0, nil, postino.E(postino.Invalid, "read messages", "", errFrames)
		}
		return 0, nil, &postino.Error{Kind: fail.Kind, Err: errors.New(fail.Text)}
	}
	return kind, p, nil
}

func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errFrames
	}
	return postino.E(postino.Transient, "read messages", "", err)
}

// crlf turns line ends into CRLF and leaves all else as it is.
type crlf struct {
	w    io.Writer
	last byte
	buf  []byte
}

func (c *crlf) Write(p []byte) (int, error) {
	c.buf = c.buf[:0]
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			c.buf = append(c.buf, '\r')
		}
		c.buf = append(c.buf, b)
		c.last = b
	}
	if _, err := c.w.Write(c.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}
