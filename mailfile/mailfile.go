package mailfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

// Limits bounds a delivery. A zero field means the default in its comment.
type Limits struct {
	MessageBytes int64         // largest message, octets as read: 64 MiB
	FileBytes    int64         // largest mbox file, octets: 2 GiB
	LockWait     time.Duration // for the locks of an mbox file: 30 s
}

func (l Limits) withDefaults() Limits {
	if l.MessageBytes <= 0 {
		l.MessageBytes = 64 << 20
	}
	if l.FileBytes <= 0 {
		l.FileBytes = 2 << 30
	}
	if l.LockWait <= 0 {
		l.LockWait = 30 * time.Second
	}
	return l
}

// chunk is how much is read and written at once.
const chunk = 64 << 10

var (
	errLarge = errors.New("the message is too large")
	errFull  = errors.New("the mail file would be too large")
)

// readError marks an error as that of the reader of a message.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// copyLF copies a message, its CRLF turned into LF, through emit, which may change
// its argument. It returns the octets emitted, the lines in them, and whether the
// last one has its end.
func copyLF(ctx context.Context, r io.Reader, limit int64, emit func([]byte) error) (size, lines int64, ended bool, err error) {
	buf := make([]byte, 1+chunk)
	held := 0 // 1 when buf[0] is a CR whose next octet is not known yet
	ended = true
	for total := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return size, lines, ended, err
		}
		n, rerr := r.Read(buf[held : held+chunk])
		if total += int64(n); total > limit {
			return size, lines, ended, errLarge
		}
		b := buf[:held+n]
		last := rerr != nil
		held = 0
		if !last && len(b) > 0 && b[len(b)-1] == '\r' {
			b, held = b[:len(b)-1], 1
		}
		if b = unCR(b); len(b) > 0 {
			size += int64(len(b))
			lines += int64(bytes.Count(b, []byte{'\n'}))
			ended = b[len(b)-1] == '\n'
			if err := emit(b); err != nil {
				return size, lines, ended, err
			}
		}
		if held == 1 {
			buf[0] = '\r'
		}
		if rerr == io.EOF {
			return size, lines, ended, nil
		} else if rerr != nil {
			return size, lines, ended, readError{rerr}
		}
	}
}

// unCR drops in place every CR that stands before LF.
func unCR(b []byte) []byte {
	w := bytes.Index(b, []byte("\r\n"))
	if w < 0 {
		return b
	}
	for rest := b[w+1:]; ; {
		i := bytes.Index(rest, []byte("\r\n"))
		if i < 0 {
			return b[:w+copy(b[w:], rest)]
		}
		w += copy(b[w:], rest[:i])
		rest = rest[i+1:]
	}
}

// fail gives an error of the file system its kind.
func fail(op, object string, err error) error {
	kind := postino.Transient
	var read readError
	switch {
	case errors.As(err, &read):
		kind = postino.Internal // of the cause, if that has one
		if postino.KindOf(err) == postino.Internal {
			kind = postino.Transient
		}
		err = read.error
	case vfs.IsFull(err), errors.Is(err, errLarge), errors.Is(err, errFull), errors.Is(err, syscall.EFBIG):
		kind = postino.Full
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ELOOP), errors.Is(err, vfs.ErrNotRegular), errors.Is(err, errLinks):
		kind = postino.Denied
	case errors.Is(err, fs.ErrNotExist):
		kind = postino.NotFound
	case postino.KindOf(err) != postino.Internal:
		kind = postino.Internal
	}
	return postino.E(kind, op, object, err)
}

// hostname is the given name, or that of the machine.
func hostname(given string) string {
	if given != "" {
		return given
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}
