package vfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"syscall"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a namespace of files; File an open one. Both are Pebble's, so that one
// value serves the store and our own files.
type (
	FS       = pebblevfs.FS
	File     = pebblevfs.File
	FileInfo = pebblevfs.FileInfo
)

// Category is the purpose of a written file, for the statistics of the store.
const Category = pebblevfs.WriteCategoryUnspecified

// ErrUnsupported is returned for what a file system cannot tell.
var ErrUnsupported = pebblevfs.ErrUnsupported

// Mem is a file system in memory that knows which octets and which directory
// entries were synced.
type Mem struct {
	*pebblevfs.MemFS
	locks lockTable
}

// Memory returns an empty Mem.
func Memory() *Mem { return &Mem{MemFS: pebblevfs.NewCrashableMem()} }

// Crash returns what a power cut at this moment leaves: all that was synced and
// each other block and directory entry with the chance of percent in 100. The
// same seed chooses alike.
func (m *Mem) Crash(percent int, seed uint64) *Mem {
	cfg := pebblevfs.CrashCloneCfg{UnsyncedDataPercent: percent}
	if percent > 0 {
		cfg.RNG = rand.New(rand.NewPCG(seed, 0x706f7374696e6f))
	}
	return &Mem{MemFS: m.CrashClone(cfg)}
}

// SetUsage makes Usage report u; inodes are not kept.
func (m *Mem) SetUsage(u Usage) {
	m.TestingSetDiskUsage(pebblevfs.DiskUsage{AvailBytes: u.Free, TotalBytes: u.Total, UsedBytes: u.Total - u.Free})
}

// Usage is the room on a file system. Free octets are those that this process
// may use. TotalInodes is 0 where inodes are not limited or not known.
type Usage struct {
	Free, Total             uint64
	FreeInodes, TotalInodes uint64
}

// usager is an FS that knows about its inodes.
type usager interface {
	usage(path string) (Usage, error)
}

// GetUsage returns the room on the file system that holds path, or an error
// that is [ErrUnsupported].
func GetUsage(fsys FS, path string) (Usage, error) {
	for f := fsys; f != nil; f = f.Unwrap() {
		if u, ok := f.(usager); ok {
			return u.usage(path)
		}
	}
	u, err := fsys.GetDiskUsage(path)
	return Usage{Free: u.AvailBytes, Total: u.TotalBytes}, err
}

// OnFull returns fsys with a callback for the moment when the disk is full:
// the operation that met it is tried once more after fn returned.
func OnFull(fsys FS, fn func()) FS { return pebblevfs.OnDiskFull(fsys, fn) }

// ReadFile returns the whole file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

// WriteFile writes and syncs a new file, and syncs its directory: after it
// returned nil a power cut does not take the file back.
func WriteFile(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name, Category)
	if err != nil {
		return err
	}
	// Write may change its argument.
	if _, err = f.Write(append([]byte(nil), data...)); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return SyncDir(fsys, fsys.PathDir(name))
}

// SyncDir makes the entries of a directory durable.
func SyncDir(fsys FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MkdirAll makes dir and its parents, each with mode 0700, and makes the
// entries of all that it made durable.
func MkdirAll(fsys FS, dir string) error {
	var made []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made = append(made, d)
		if fsys.PathDir(d) == d {
			break
		}
	}
	if len(made) == 0 {
		return nil
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i := len(made) - 1; i >= 0; i-- {
		if err := SyncDir(fsys, fsys.PathDir(made[i])); err != nil {
			return err
		}
	}
	return nil
}

// Allocate makes a file that takes up size octets on the disk, with any
// content, and makes it durable.
func Allocate(fsys FS, name string, size int64) error {
	f, err := fsys.Create(name, Category)
	if err != nil {
		return err
	}
	// Elsewhere than on Linux Preallocate does nothing.
	if runtime.GOOS != "linux" || f.Preallocate(0, size) != nil {
		err = fill(f, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name))
	}
	return SyncDir(fsys, fsys.PathDir(name))
}

// fill writes size octets that a compressing file system cannot save.
func fill(f File, size int64) error {
	rng := rand.NewChaCha8([32]byte{})
	buf := make([]byte, 1<<20)
	for size > 0 {
		b := buf[:min(size, int64(len(buf)))]
		_, _ = rng.Read(b)
		if _, err := f.Write(b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	return nil
}

// IsFull tells whether err is about missing room on the disk.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
