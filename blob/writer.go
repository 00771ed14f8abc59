package blob

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// Writer takes the octets of one body. It is for one goroutine.
type Writer struct {
	s     *Store
	stamp postino.ID
	size  int64
	err   error // the first failure, repeated ever after
	done  bool

	// buf holds headSize octets and after them the body, or, once there is a
	// file, the block that is not written yet.
	buf   *[]byte
	class int

	file vfs.File // open while a large body is written
	name string   // of the file, temporary and then final
	rec  record
	sum  hash.Hash // over the octets written to the file
	put  bool
}

// Create returns a Writer for a body that arrives at the moment now. The caller
// ends it with Abort.
func (s *Store) Create(now time.Time) *Writer {
	return &Writer{s: s, stamp: s.opts.IDs.Next(now)}
}

// Size returns how many octets were written.
func (w *Writer) Size() int64 { return w.size }

// Write adds octets. Errors of kind Full mean that memory or disk are used up,
// and the body is lost; the error stays.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done && w.err == nil {
		w.err = postino.E(postino.Internal, "write body", "", errors.New("already finished"))
	}
	n := 0
	for len(p) > 0 && w.err == nil {
		part := p[:min(len(p), w.room())]
		if len(part) == 0 {
			w.err = w.flush()
			continue
		}
		if w.err = w.grow(len(part)); w.err != nil {
			break
		}
		*w.buf = append(*w.buf, part...)
		w.size += int64(len(part))
		n, p = n+len(part), p[len(part):]
	}
	return n, w.err
}

// room returns how many octets the buffer may still take: up to Inline for a
// body in memory, up to a block for one in a file.
func (w *Writer) room() int {
	limit := headSize + blockSize
	if w.file == nil {
		limit = headSize + w.s.opts.Inline
	}
	if w.buf == nil {
		return limit - headSize
	}
	return limit - len(*w.buf)
}

// grow makes room for n octets in the buffer, which takes it from the budget.
func (w *Writer) grow(n int) error {
	need := headSize + n
	if w.buf != nil {
		need = len(*w.buf) + n
		if need <= cap(*w.buf) {
			return nil
		}
	}
	c := classFor(need)
	if !w.s.memory.take(int64(classes[c])) {
		return postino.E(postino.Full, "write body", "", fmt.Errorf("%w: too many bodies in memory", postino.ErrNoSpace))
	}
	b := getBuffer(c)
	if w.buf != nil {
		*b = append(*b, *w.buf...)
		w.release()
	} else {
		*b = append(*b, make([]byte, headSize)...)
	}
	w.buf, w.class = b, c
	return nil
}

// release gives the buffer back.
func (w *Writer) release() {
	if w.buf != nil {
		putBuffer(w.class, w.buf)
		w.s.memory.give(int64(classes[w.class]))
		w.buf = nil
	}
}

// flush moves the buffered block to the file, which it makes for the first.
// Inline may be less than a block: then the first flush only makes the file.
func (w *Writer) flush() error {
	if w.file == nil {
		if err := w.create(); err != nil {
			return postino.E(postino.Internal, "create body file", "", fullness(err))
		}
		if w.room() > 0 {
			return nil
		}
	}
	block := (*w.buf)[headSize:]
	if err := w.s.opts.Admit(int64(len(block))); err != nil {
		return postino.E(postino.Full, "write body", "", err)
	}
	w.sum.Write(block)
	w.rec.sums = binary.BigEndian.AppendUint32(w.rec.sums, crc32.Checksum(block, castagnoli))
	w.rec.size += int64(len(block))
	if _, err := w.file.Write(block); err != nil {
		return postino.E(postino.Internal, "write body", "", fullness(err))
	}
	*w.buf = (*w.buf)[:headSize]
	return nil
}

func (w *Writer) create() error {
	dir := w.s.shard(w.stamp)
	if err := vfs.MkdirAll(w.s.fs, dir); err != nil {
		return err
	}
	name := tempName(w.stamp)
	w.s.hold(name)
	file, err := w.s.fs.Create(w.s.fs.PathJoin(dir, name), vfs.Category)
	if err != nil {
		w.s.drop(name)
		return err
	}
	w.file, w.name, w.sum = file, name, sha256.New()
	return nil
}

// fullness gives the kind Full to an error of a full disk.
func fullness(err error) error {
	if vfs.IsFull(err) {
		return postino.E(postino.Full, "write", "", fmt.Errorf("%w: %w", postino.ErrNoSpace, err))
	}
	return err
}

// Staged is a finished body, not yet referenced by anything.
type Staged struct {
	ID   postino.BlobID
	Size int64
	w    *Writer
}

// Bytes returns the octets when they are in memory, else nil. They are valid
// until Abort and must not be changed.
func (st *Staged) Bytes() []byte {
	switch {
	case st.w == nil || st.w.name != "":
		return nil
	case st.w.buf == nil:
		return []byte{} // an empty body, or one given up
	}
	return (*st.w.buf)[headSize:]
}

// Finish ends the body and names it. A large one is on stable storage when it
// returns, though without a reference.
func (w *Writer) Finish() (Staged, error) {
	if w.err == nil && w.done {
		w.err = postino.E(postino.Internal, "finish body", "", errors.New("already finished"))
	}
	if w.err == nil {
		w.done = true
		if w.file != nil {
			return w.finishFile()
		}
		return w.finishSmall()
	}
	return Staged{}, w.err
}

func (w *Writer) finishSmall() (Staged, error) {
	if w.err = w.grow(0); w.err != nil {
		return Staged{}, w.err
	}
	b := *w.buf
	b[0], b[1] = version, codecPlain
	binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[headSize:], castagnoli))
	return Staged{ID: postino.NewBlobID(w.stamp, sha256.Sum256(b[headSize:])), Size: w.size, w: w}, nil
}

// finishFile writes the rest, syncs the file, renames it, and syncs the
// directory (ST1).
func (w *Writer) finishFile() (Staged, error) {
	if len(*w.buf) > headSize {
		if w.err = w.flush(); w.err != nil {
			return Staged{}, w.err
		}
	}
	w.release()
	err := w.file.Sync()
	err = errors.Join(err, w.file.Close())
	w.file = nil
	id := postino.NewBlobID(w.stamp, [sha256.Size]byte(w.sum.Sum(nil)))
	dir, final := w.s.shard(w.stamp), id.String()
	if err == nil {
		w.s.hold(final)
		if err = w.s.fs.Rename(w.s.fs.PathJoin(dir, w.name), w.s.path(id)); err == nil {
			w.s.drop(w.name)
			w.name = final
			err = vfs.SyncDir(w.s.fs, dir)
		} else {
			w.s.drop(final)
		}
	}
	if err != nil {
		w.err = postino.E(postino.Internal, "finish body", "", fullness(err))
		return Staged{}, w.err
	}
	return Staged{ID: id, Size: w.size, w: w}, nil
}

// Abort gives back memory and removes a file that was never put. It may be
// called often, and after a commit, which it leaves alone. A file whose
// transaction failed is left to the sweep.
func (w *Writer) Abort() {
	w.done = true
	w.release()
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
	if w.name == "" {
		return
	}
	if !w.put {
		if err := w.s.fs.Remove(w.s.fs.PathJoin(w.s.shard(w.stamp), w.name)); err != nil {
			w.s.opts.Logger.Warn("blob: file stays until the sweep", "file", w.name, "err", err)
		}
	}
	w.s.drop(w.name)
	w.name = ""
}

// Put writes a finished body, or the record of its file, and its first
// reference. It may be called again when the transaction runs again.
func (s *Store) Put(tx kv.Tx, st *Staged, ref Ref) error {
	w := st.w
	if w == nil || w.buf == nil && w.name == "" {
		return postino.E(postino.Internal, "put body", st.ID.String(), errors.New("nothing staged"))
	}
	var key [rowSize]byte
	var err error
	if w.name != "" {
		w.put = true
		if len(w.rec.sums) > kv.MaxValue-16 {
			return postino.E(postino.Full, "put body", st.ID.String(), fmt.Errorf("%d octets", st.Size))
		}
		err = tx.Set(appendKey(key[:0], fileRow, st.ID), w.rec.append(nil))
	} else {
		err = tx.Set(appendKey(key[:0], bodyRow, st.ID), *w.buf)
	}
	if err != nil {
		return err
	}
	return s.setRef(tx, st.ID, ref)
}
