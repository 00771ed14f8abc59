package mailfile

import (
	"compress/gzip"
	"errors"
	"io"
)

// Bounds against archives that unpack to more than a disk can hold.
const (
	maxRatio = 1000     // octets out for one octet in, beyond
	freeOut  = 64 << 20 // so many octets
)

var errBomb = errors.New("the archive unpacks to far more than mail does")

// gunzip unpacks r; closing it closes c.
func gunzip(r io.Reader, c io.Closer) (io.ReadCloser, error) {
	in := &counter{r: r}
	z, err := gzip.NewReader(in)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &readCloser{&bounded{r: z, in: func() int64 { return in.n }}, c}, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded ends when it gives out too much for what went in.
type bounded struct {
	r   io.Reader
	in  func() int64
	out int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.out += int64(n)
	if b.out > freeOut && b.out/maxRatio > b.in() {
		return n, errBomb
	}
	return n, err
}
