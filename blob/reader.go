package blob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// Get appends a small body to dst. It returns false when there is none of that
// id, also when the body is in a file: [Store.Open] reads those.
func (s *Store) Get(r kv.Reader, id postino.BlobID, dst []byte) ([]byte, bool, error) {
	var key [rowSize]byte
	value, ok, err := r.Get(appendKey(key[:0], bodyRow, id))
	if err != nil || !ok {
		return dst, false, err
	}
	body, err := decodeBody(id, value)
	return append(dst, body...), err == nil, err
}

// gap is how many bodies that nobody asked for a scan passes over before a new
// search is cheaper.
const gap = 4

// GetMany calls fn for each id, in the order of ids as they are stored, with
// its index and the small body, valid until fn returns. Bodies that are in
// files or missing are given as nil; the error is that of a corrupt body or of
// fn, which ends the walk. Reading neighbours costs one walk over them.
func (s *Store) GetMany(r kv.Reader, ids []postino.BlobID, fn func(i int, body []byte) error) error {
	order := make([]int32, len(ids))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return bytes.Compare(ids[a][:], ids[b][:]) })
	var from [rowSize]byte
	end := kv.PrefixEnd([]byte{'b', bodyRow})
	for len(order) > 0 {
		var err error
		skipped := 0
		scan := r.Scan(kv.Range{Start: appendKey(from[:0], bodyRow, ids[order[0]]), End: end}, func(key, value []byte) bool {
			at := idOf(key)
			// What comes before at is not stored.
			for len(order) > 0 && err == nil {
				i := order[0]
				c := bytes.Compare(ids[i][:], at[:])
				if c > 0 {
					break
				}
				var body []byte
				if c == 0 {
					if body, err = decodeBody(at, value); err != nil {
						return false
					}
					skipped = -1
				}
				order = order[1:]
				err = fn(int(i), body)
			}
			skipped++
			return len(order) > 0 && err == nil && skipped < gap
		})
		if err = errors.Join(scan, err); err != nil {
			return err
		}
		if skipped < gap { // the end of the rows
			for _, i := range order {
				if err := fn(int(i), nil); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return nil
}

// Reader reads one body, and verifies what it gives out. Its methods may be
// called from any goroutine, but not after Close.
type Reader struct {
	id    postino.BlobID
	small []byte // a body in memory; nil for a file
	file  vfs.File
	rec   record

	mu    sync.Mutex
	block *[]byte // the block read last, of a file
	at    int64   // its number; -1 is none
}

// Open returns a reader of any body; NotFound when it is not there.
func (s *Store) Open(ctx context.Context, id postino.BlobID) (*Reader, error) {
	rd := &Reader{id: id, at: -1}
	err := s.db.View(ctx, nil, func(r kv.Reader) error {
		body, ok, err := s.Get(r, id, []byte{})
		if ok || err != nil {
			rd.small = body
			return err
		}
		var key [rowSize]byte
		value, ok, err := r.Get(appendKey(key[:0], fileRow, id))
		if err != nil {
			return err
		}
		if !ok {
			return postino.E(postino.NotFound, "open body", id.String(), nil)
		}
		rd.rec, err = decodeRecord(id, bytes.Clone(value))
		return err
	})
	if err != nil || rd.small != nil {
		return rd, err
	}
	if rd.file, err = s.fs.Open(s.path(id)); err != nil {
		return nil, postino.E(postino.Corrupt, "open body", id.String(), err)
	}
	rd.block = getBuffer(len(classes) - 1)
	return rd, nil
}

// Size returns the octets of the body.
func (r *Reader) Size() int64 {
	if r.small != nil {
		return int64(len(r.small))
	}
	return r.rec.size
}

// Close ends reading.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	putBuffer(len(classes)-1, r.block)
	err := r.file.Close()
	r.file, r.block = nil, nil
	return err
}

// read reads block n into buf, which has room for a block, and verifies it.
func (r *Reader) read(n int64, buf []byte) ([]byte, error) {
	size := min(blockSize, r.rec.size-n*blockSize)
	b := buf[:size]
	got, err := r.file.ReadAt(b, n*blockSize)
	switch {
	case int64(got) == size:
	case err == nil || err == io.EOF:
		return nil, corrupt("read body", r.id, "file is too short")
	default:
		return nil, postino.E(postino.Corrupt, "read body", r.id.String(), err)
	}
	if binary.BigEndian.Uint32(r.rec.sums[4*n:]) != crc32.Checksum(b, castagnoli) {
		return nil, corrupt("read body", r.id, "checksum does not match")
	}
	return b, nil
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, postino.E(postino.Invalid, "read body", r.id.String(), errors.New("negative offset"))
	}
	if r.small != nil {
		if off >= int64(len(r.small)) {
			return 0, io.EOF
		}
		return enough(p, copy(p, r.small[off:]))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return 0, postino.E(postino.Internal, "read body", r.id.String(), fs.ErrClosed)
	}
	n := 0
	for n < len(p) && off < r.rec.size {
		if want := off / blockSize; want != r.at {
			r.at = -1
			b, err := r.read(want, (*r.block)[:blockSize])
			if err != nil {
				return n, err
			}
			*r.block, r.at = b, want
		}
		c := copy(p[n:], (*r.block)[off%blockSize:])
		n, off = n+c, off+int64(c)
	}
	return enough(p, n)
}

// enough is the result of a ReadAt that found n octets.
func enough(p []byte, n int) (int, error) {
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo: it writes the whole body, and no octet of a
// block that does not verify.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	if r.small != nil {
		n, err := w.Write(r.small)
		return int64(n), err
	}
	buf := getBuffer(len(classes) - 1)
	defer putBuffer(len(classes)-1, buf)
	var off int64
	for off < r.rec.size {
		b, err := r.read(off/blockSize, (*buf)[:blockSize])
		if err != nil {
			return off, err
		}
		n, err := w.Write(b)
		off += int64(n)
		if err != nil {
			return off, err
		}
	}
	return off, nil
}
