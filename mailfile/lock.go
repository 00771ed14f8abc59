package mailfile

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino/vfs"
)

const (
	staleLock = 10 * time.Minute // age of a dot lock that nobody believes in any more
	firstWait = 20 * time.Millisecond
	longWait  = time.Second
)

// lock opens a mail file and takes both its locks, waiting for them as long as the
// limits say.
func (m Mbox) lock(ctx context.Context, path, from string) (*box, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.Limits.LockWait, errBusy)
	defer cancel()
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		b, err := m.tryLock(path, from)
		if err == nil || !errors.Is(err, errBusy) {
			return b, err
		}
		// Nothing is held while waiting: others may take the locks in the other
		// order.
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// tryLock takes the locks or fails at once, with errBusy if others have them.
func (m Mbox) tryLock(path, from string) (_ *box, err error) {
	f, err := vfs.OpenShared(m.FS, path, vfs.SharedCreate)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // nothing was written
		}
	}()
	if err := f.TryLock(); vfs.IsLocked(err) {
		return nil, errBusy
	} else if err != nil {
		return nil, err
	}
	b := &box{file: f, fs: m.FS, dot: path + ".lock", limit: m.Limits}
	if err := b.stat(path); err != nil {
		return nil, err
	}
	host := hostname(m.Host)
	left, err := b.readDot()
	if err != nil {
		return nil, err
	}
	if left != nil {
		if !left.abandoned(host) {
			return nil, errBusy
		}
		if err := b.undo(left); err != nil {
			return nil, err
		}
		if err := m.FS.Remove(b.dot); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := b.makeDot(dotLock{pid: os.Getpid(), host: host, size: b.size, from: from}); err != nil {
		return nil, err
	}
	// Somebody may have put another file in this place until the dot lock was ours.
	if err := b.stat(path); err != nil {
		return nil, errors.Join(err, m.FS.Remove(b.dot))
	}
	return b, nil
}

// stat learns the size, and that the open file is the one with the name.
func (b *box) stat(path string) error {
	open, err := b.file.Stat()
	if err != nil {
		return err
	}
	b.size = open.Size()
	in, known := vfs.InodeOf(open)
	if !known {
		return nil
	}
	if in.Links > 1 {
		return errLinks // the other name may be a file of somebody else
	}
	now, err := b.fs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errBusy
	} else if err != nil {
		return err
	}
	if at, _ := vfs.InodeOf(now); at.Dev != in.Dev || at.Ino != in.Ino {
		return errBusy
	}
	return nil
}

// removeDot gives the dot lock back for good. A power cut must not bring it back:
// its record would have the next append undo what was acknowledged. The entry of a
// new mail file becomes durable with it.
func (b *box) removeDot() error {
	// If the lock is gone, somebody thought it stale.
	if err := b.fs.Remove(b.dot); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return vfs.SyncDir(b.fs, b.fs.PathDir(b.dot))
}

// dotLock is the content of a dot lock. The first line is what others read and
// write; the second and third are ours, and let whoever finds the lock abandoned
// undo the append that its owner did not finish.
type dotLock struct {
	pid     int
	host    string // empty: made by other software
	size    int64  // of the mail file before the append
	from    string // the line that the append begins with
	changed time.Time
}

func (d dotLock) text() []byte {
	return fmt.Appendf(nil, "%d\npostino %d %s\n%s", d.pid, d.size, d.host, d.from)
}

// readDot reads the dot lock, nil if there is none.
func (b *box) readDot() (*dotLock, error) {
	f, err := vfs.OpenShared(b.fs, b.dot, vfs.SharedRead)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, 2048)
	n, err := f.ReadAt(text, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return parseDot(string(text[:n]), info.ModTime()), nil
}

func parseDot(text string, changed time.Time) *dotLock {
	d := &dotLock{changed: changed}
	lines := strings.SplitAfterN(text, "\n", 3)
	d.pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	if len(lines) < 3 {
		return d
	}
	record, ours := strings.CutPrefix(strings.TrimSuffix(lines[1], "\n"), "postino ")
	size, host, ok := strings.Cut(record, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if ours && ok && err == nil && n >= 0 && strings.HasPrefix(lines[2], fromWord) && strings.HasSuffix(lines[2], "\n") {
		d.host, d.size, d.from = host, n, lines[2]
	}
	return d
}

// abandoned tells whether the owner of a lock is gone. Who made one of our locks on
// this host had the lock of the system on the mail file too, as long as it lived;
// now we have it. Where that lock belongs to the process it says nothing about
// another goroutine.
func (d *dotLock) abandoned(host string) bool {
	if d.host == host && (runtime.GOOS == "linux" || d.pid != os.Getpid()) {
		return true
	}
	return time.Since(d.changed) > staleLock
}

// makeDot makes the dot lock with its content in one step: O_EXCL would leave it
// empty for a moment, and is not atomic on old NFS.
func (b *box) makeDot(d dotLock) error {
	tmp := b.dot + "." + rand.Text()
	f, err := b.fs.Create(tmp, vfs.Category)
	if err != nil {
		return err
	}
	_, err = f.Write(d.text())
	if err = errors.Join(err, f.Close()); err == nil {
		if err = b.fs.Link(tmp, b.dot); errors.Is(err, fs.ErrExist) {
			err = errBusy
		}
	}
	return errors.Join(err, b.fs.Remove(tmp))
}

// undo cuts off what the owner of an abandoned lock had written, if all that stands
// behind the recorded length is its work.
func (b *box) undo(d *dotLock) error {
	if d.host == "" || b.size <= d.size {
		return nil
	}
	whole, err := b.begunBy(d)
	if err != nil || !whole {
		return err
	}
	if err := errors.Join(b.file.Truncate(d.size), b.file.Sync()); err != nil {
		return err
	}
	b.size = d.size
	return nil
}

// begunBy tells whether the octets behind the recorded length are one message, whole
// or not, that begins as d says. Others may have appended since, without a look at
// the dot lock: nothing of theirs may be lost, so any further "From " that is not
// quoted counts as theirs, even within a line.
func (b *box) begunBy(d *dotLock) (bool, error) {
	r := io.NewSectionReader(b.file, d.size, b.size-d.size)
	start := make([]byte, 2+len(d.from))
	n, err := io.ReadFull(r, start)
	if err != nil && err != io.ErrUnexpectedEOF {
		return false, err
	}
	begin := bytes.TrimLeft(start[:n], "\n")
	if len(begin) < len(d.from) {
		return strings.HasPrefix(d.from, string(begin)), nil
	}
	if string(begin[:len(d.from)]) != d.from {
		return false, nil
	}
	return b.single(d.size + int64(n-len(begin)+len(d.from)))
}

// single tells whether no unquoted "From " stands behind an offset.
func (b *box) single(from int64) (bool, error) {
	r := io.NewSectionReader(b.file, from, b.size-from)
	buf := make([]byte, chunk)
	kept := 0 // octets of the last piece that stand at the front of buf
	for first := true; ; first = false {
		n, err := r.Read(buf[kept:])
		p := buf[:kept+n]
		for i := 0; ; i += len(fromWord) {
			j := bytes.Index(p[i:], []byte(fromWord))
			if j < 0 {
				break
			}
			i += j
			if i == 0 && !first {
				continue // seen with the last piece
			}
			if i == 0 || p[i-1] != '>' {
				return false, nil
			}
		}
		if err == io.EOF {
			return true, nil
		} else if err != nil {
			return false, err
		}
		// The word and the octet before it may be cut by the end of the piece.
		kept = copy(buf, p[max(0, len(p)-len(fromWord)):])
	}
}
