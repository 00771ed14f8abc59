package mailfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

var (
	errLinks = errors.New("the file has several names")
	errBusy  = errors.New("the mail file is locked")
)

// Mbox appends to files in mbox format, quoted as mboxrd: a line of the message
// that begins with "From " after any number of ">" gets one ">" more.
type Mbox struct {
	FS     vfs.FS
	Host   string // tells our own locks from those of other hosts; empty means the name of the machine
	Limits Limits
}

// Append adds the message that r gives to the file path, which is made if it does
// not exist; its directory is not. The line that begins the message names from, the
// sender of the envelope, and date, in UTC. After a nil error the message is on
// stable storage; after an error the file is as it was. Kinds: Denied for what is
// no regular file with one name, too; NotFound for a missing directory; Full;
// Transient, also when the locks cannot be had. An error of r keeps its kind.
func (m Mbox) Append(ctx context.Context, path string, from postino.Address, date time.Time, r io.Reader) error {
	m.Limits = m.Limits.withDefaults()
	if err := m.append(ctx, path, fromLine(from, date), r); err != nil {
		return fail("append to mbox", path, err)
	}
	return nil
}

func (m Mbox) append(ctx context.Context, path, from string, r io.Reader) error {
	b, err := m.lock(ctx, path, from)
	if err != nil {
		return err
	}
	err = b.add(ctx, from, r)
	if err == nil {
		err = b.removeDot()
	}
	if err == nil {
		return b.file.Close()
	}
	// Half a message must not stay. If it cannot be taken away, the record in the
	// dot lock lets the next append try: then the dot lock stays too.
	if undo := errors.Join(b.file.Truncate(b.size), b.file.Sync()); undo != nil {
		return errors.Join(err, undo, b.file.Close())
	}
	return errors.Join(err, b.removeDot(), b.file.Close())
}

// box is a locked mail file.
type box struct {
	file  vfs.SharedFile
	fs    vfs.FS
	dot   string // the name of the dot lock
	limit Limits
	size  int64 // before the append
}

// add writes one message behind the end and syncs it.
func (b *box) add(ctx context.Context, from string, r io.Reader) error {
	lead, err := b.lead()
	if err != nil {
		return err
	}
	at := b.size
	write := func(p []byte) error {
		if at+int64(len(p)) > b.limit.FileBytes {
			return errFull
		}
		n, err := b.file.WriteAt(p, at)
		at += int64(n)
		return err
	}
	if err := write([]byte(lead + from)); err != nil {
		return err
	}
	q := quoter{head: true}
	out := make([]byte, 0, chunk+chunk/4)
	_, _, ended, err := copyLF(ctx, r, b.limit.MessageBytes, func(p []byte) error {
		out = q.append(out[:0], p)
		return write(out)
	})
	if err != nil {
		return err
	}
	out = q.finish(out[:0])
	if !ended {
		out = append(out, '\n')
	}
	if err := write(append(out, '\n')); err != nil {
		return err
	}
	return b.file.Sync()
}

// lead is what is missing for the message to begin after an empty line: whoever
// wrote last may not have come to the end.
func (b *box) lead() (string, error) {
	var end [2]byte
	tail := end[:min(2, b.size)]
	if _, err := b.file.ReadAt(tail, b.size-int64(len(tail))); err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case len(tail) == 0, string(tail) == "\n\n":
		return "", nil
	case tail[len(tail)-1] == '\n':
		return "\n", nil
	}
	return "\n\n", nil
}

// fromLine is the line before a message (RFC 4155 appendix A). White space in the
// sender would end it early for its readers.
func fromLine(from postino.Address, date time.Time) string {
	sender := "MAILER-DAEMON"
	if !from.IsNull() {
		sender = strings.Map(func(r rune) rune {
			if r <= ' ' || r == 0x7f {
				return '-'
			}
			return r
		}, from.String())
	}
	return "From " + sender + " " + date.UTC().Format(time.ANSIC) + "\n"
}

const fromWord = "From "

// quoter puts ">" before lines that look like the beginning of a message. Its zero
// value with head set is ready.
type quoter struct {
	head    bool // nothing but ">" and matched octets were seen of this line
	matched int  // octets of fromWord seen and not yet written
}

// append appends b, quoted, to dst.
func (q *quoter) append(dst, b []byte) []byte {
	for len(b) > 0 {
		switch {
		case !q.head:
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				return append(dst, b...)
			}
			dst, b = append(dst, b[:i+1]...), b[i+1:]
			q.head = true
		case q.matched == 0 && b[0] == '>':
			dst, b = append(dst, '>'), b[1:]
		case b[0] == fromWord[q.matched]:
			b = b[1:]
			if q.matched++; q.matched == len(fromWord) {
				dst = append(append(dst, '>'), fromWord...)
				q.head, q.matched = false, 0
			}
		default:
			dst = q.finish(dst)
			q.head = false
		}
	}
	return dst
}

// finish appends what was held back.
func (q *quoter) finish(dst []byte) []byte {
	dst = append(dst, fromWord[:q.matched]...)
	q.matched = 0
	return dst
}
