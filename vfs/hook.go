package vfs

import (
	"io"
	"os"
	"sync/atomic"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// OpKind is what an operation does to a file system.
type OpKind uint8

// The operations that a hook sees. They are those that change something, and
// the reads, which are not counted as writes.
const (
	OpCreate OpKind = iota
	OpLink
	OpRemove
	OpRename
	OpMkdir
	OpWrite
	OpSync
	OpSyncDir
	OpTruncate
	OpOpen
	OpRead
)

// Op is one operation that is about to happen.
type Op struct {
	Kind OpKind
	Path string
	Size int   // octets, of OpWrite and OpRead
	N    int64 // ordinal among the operations that write, from 1; 0 for reads
}

// Writes tells whether the operation can change what a crash leaves.
func (o Op) Writes() bool { return o.Kind < OpOpen }

// Hooked is an FS that asks a function before each operation.
type Hooked struct {
	FS
	before func(Op) (int, error)
	writes atomic.Int64
}

// Hook returns fsys with a function that is called before each operation; an
// error from it is the result of the operation, which then does not happen. It
// is called from many goroutines.
func Hook(fsys FS, before func(Op) error) *Hooked {
	return hookPart(fsys, func(op Op) (int, error) {
		if err := before(op); err != nil {
			return 0, err
		}
		return op.Size, nil
	})
}

// hookPart is Hook for functions that let a part of a write happen.
func hookPart(fsys FS, before func(Op) (int, error)) *Hooked {
	return &Hooked{FS: fsys, before: before}
}

// Writes returns how many operations that write were seen.
func (h *Hooked) Writes() int64 { return h.writes.Load() }

// Unwrap returns the file system below.
func (h *Hooked) Unwrap() FS { return h.FS }

func (h *Hooked) part(kind OpKind, path string, size int) (int, error) {
	op := Op{Kind: kind, Path: path, Size: size}
	if op.Writes() {
		op.N = h.writes.Add(1)
	}
	return h.before(op)
}

func (h *Hooked) ask(kind OpKind, path string) error {
	_, err := h.part(kind, path, 0)
	return err
}

// open asks, opens and wraps.
func (h *Hooked) open(kind OpKind, path string, dir bool, fn func() (File, error)) (File, error) {
	if err := h.ask(kind, path); err != nil {
		return nil, err
	}
	f, err := fn()
	if err != nil {
		return nil, err
	}
	return &hookedFile{File: f, h: h, path: path, dir: dir}, nil
}

// Create implements FS.
func (h *Hooked) Create(name string, c pebblevfs.DiskWriteCategory) (File, error) {
	return h.open(OpCreate, name, false, func() (File, error) { return h.FS.Create(name, c) })
}

// Open implements FS.
func (h *Hooked) Open(name string, opts ...pebblevfs.OpenOption) (File, error) {
	return h.open(OpOpen, name, false, func() (File, error) { return h.FS.Open(name, opts...) })
}

// OpenReadWrite implements FS; it may create the file.
func (h *Hooked) OpenReadWrite(name string, c pebblevfs.DiskWriteCategory, opts ...pebblevfs.OpenOption) (File, error) {
	return h.open(OpCreate, name, false, func() (File, error) { return h.FS.OpenReadWrite(name, c, opts...) })
}

// OpenDir implements FS.
func (h *Hooked) OpenDir(name string) (File, error) {
	return h.open(OpOpen, name, true, func() (File, error) { return h.FS.OpenDir(name) })
}

// ReuseForWrite implements FS.
func (h *Hooked) ReuseForWrite(oldname, newname string, c pebblevfs.DiskWriteCategory) (File, error) {
	return h.open(OpRename, newname, false, func() (File, error) { return h.FS.ReuseForWrite(oldname, newname, c) })
}

// Link implements FS.
func (h *Hooked) Link(oldname, newname string) error {
	if err := h.ask(OpLink, newname); err != nil {
		return err
	}
	return h.FS.Link(oldname, newname)
}

// Remove implements FS.
func (h *Hooked) Remove(name string) error {
	if err := h.ask(OpRemove, name); err != nil {
		return err
	}
	return h.FS.Remove(name)
}

// RemoveAll implements FS.
func (h *Hooked) RemoveAll(name string) error {
	if err := h.ask(OpRemove, name); err != nil {
		return err
	}
	return h.FS.RemoveAll(name)
}

// Rename implements FS.
func (h *Hooked) Rename(oldname, newname string) error {
	if err := h.ask(OpRename, newname); err != nil {
		return err
	}
	return h.FS.Rename(oldname, newname)
}

// MkdirAll implements FS.
func (h *Hooked) MkdirAll(dir string, perm os.FileMode) error {
	if err := h.ask(OpMkdir, dir); err != nil {
		return err
	}
	return h.FS.MkdirAll(dir, perm)
}

// Lock implements FS.
func (h *Hooked) Lock(name string) (io.Closer, error) {
	if err := h.ask(OpCreate, name); err != nil {
		return nil, err
	}
	return h.FS.Lock(name)
}

// hookedFile asks before what is done to an open file.
type hookedFile struct {
	File
	h    *Hooked
	path string
	dir  bool
}

func (f *hookedFile) write(p []byte, fn func([]byte) (int, error)) (int, error) {
	allowed, err := f.h.part(OpWrite, f.path, len(p))
	if err == nil {
		return fn(p)
	}
	n := 0
	if allowed > 0 {
		n, _ = fn(p[:allowed])
	}
	return n, err
}

func (f *hookedFile) Write(p []byte) (int, error) { return f.write(p, f.File.Write) }

func (f *hookedFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *hookedFile) Read(p []byte) (int, error) {
	if _, err := f.h.part(OpRead, f.path, len(p)); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *hookedFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.h.part(OpRead, f.path, len(p)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *hookedFile) sync(fn func() error) error {
	kind := OpSync
	if f.dir {
		kind = OpSyncDir
	}
	if err := f.h.ask(kind, f.path); err != nil {
		return err
	}
	return fn()
}

func (f *hookedFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *hookedFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *hookedFile) SyncTo(length int64) (full bool, err error) {
	err = f.sync(func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}
