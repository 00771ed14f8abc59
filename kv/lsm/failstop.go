package lsm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postino-mail/postino/vfs"
)

// failStop is the file system that Pebble sees. An operation that failed to
// write never returns: its goroutine is parked and the store stopped. Pebble
// would mostly report such an error, but it tries some work again at once, ends
// the process at other places (a log that cannot be changed panics with a lock
// in a state that the runtime calls fatal), and a sync that failed once must not
// be followed by one that seems to work (QU4).
type failStop struct {
	vfs.FS
	fail *failure
}

// must parks the caller when err means that something is not on the disk. A full
// disk under a table file is let through: Pebble drops the file, and writes
// another from the same data later.
func (s failStop) must(op, path string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if vfs.IsFull(err) && (strings.HasSuffix(path, ".sst") || strings.HasSuffix(path, ".blob")) {
		return err
	}
	s.fail.park(fmt.Errorf("%s %s: %w", op, path, err))
	return err
}

func (s failStop) file(op, path string, f vfs.File, err error) (vfs.File, error) {
	if err := s.must(op, path, err); err != nil {
		return nil, err
	}
	return &failStopFile{File: f, stop: s, path: path}, nil
}

// Create implements vfs.FS. A marker names the manifest that counts; Pebble
// syncs the directory once for both, so a power cut could keep the entry of the
// marker and lose that of the manifest. The entries before it come first.
func (s failStop) Create(name string, c pebblevfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(s.PathBase(name), "marker.") {
		dir := s.PathDir(name)
		if err := s.must("sync", dir, vfs.SyncDir(s.FS, dir)); err != nil {
			return nil, err
		}
	}
	f, err := s.FS.Create(name, c)
	return s.file("create", name, f, err)
}

func (s failStop) OpenReadWrite(name string, c pebblevfs.DiskWriteCategory, opts ...pebblevfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, c, opts...)
	return s.file("open", name, f, err)
}

func (s failStop) ReuseForWrite(oldname, newname string, c pebblevfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(oldname, newname, c)
	return s.file("reuse", newname, f, err)
}

func (s failStop) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.file("open", name, f, err)
}

func (s failStop) Link(oldname, newname string) error {
	return s.must("link", newname, s.FS.Link(oldname, newname))
}

func (s failStop) Rename(oldname, newname string) error {
	return s.must("rename", newname, s.FS.Rename(oldname, newname))
}

func (s failStop) MkdirAll(dir string, perm os.FileMode) error {
	return s.must("make directory", dir, s.FS.MkdirAll(dir, perm))
}

func (s failStop) Unwrap() vfs.FS { return s.FS }

// failStopFile is a file open for writing.
type failStopFile struct {
	vfs.File
	stop failStop
	path string
}

func (f *failStopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.stop.must("write", f.path, err)
}

func (f *failStopFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.stop.must("write", f.path, err)
}

func (f *failStopFile) Sync() error { return f.stop.must("sync", f.path, f.File.Sync()) }

func (f *failStopFile) SyncData() error { return f.stop.must("sync", f.path, f.File.SyncData()) }

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.stop.must("sync", f.path, err)
}

func (f *failStopFile) Close() error { return f.stop.must("close", f.path, f.File.Close()) }
