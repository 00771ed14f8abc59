package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// OS returns the file system of the machine. Files are made with mode 0600 and
// directories with 0700, and a name that is a symbolic link is refused.
func OS() FS { return osFS{pebblevfs.Default} }

// osFS adds modes and the refusal of links to Pebble's default file system.
type osFS struct{ FS }

// make makes an empty file that nobody else can read.
func (osFS) make(name string, flags int) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|flags|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// refuseLink fails when name is a symbolic link.
func refuseLink(op, name string) error {
	if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return &fs.PathError{Op: op, Path: name, Err: syscall.ELOOP}
	}
	return nil
}

// Create opens a new file; an old one of that name is removed first, so that
// links to it keep their octets.
func (o osFS) Create(name string, c pebblevfs.DiskWriteCategory) (File, error) {
	err := o.make(name, os.O_EXCL)
	for errors.Is(err, fs.ErrExist) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		err = o.make(name, os.O_EXCL)
	}
	if err != nil {
		return nil, err
	}
	return o.FS.OpenReadWrite(name, c)
}

func (o osFS) Open(name string, opts ...pebblevfs.OpenOption) (File, error) {
	if err := refuseLink("open", name); err != nil {
		return nil, err
	}
	return o.FS.Open(name, opts...)
}

func (o osFS) OpenReadWrite(name string, c pebblevfs.DiskWriteCategory, opts ...pebblevfs.OpenOption) (File, error) {
	if err := o.make(name, 0); err != nil {
		return nil, err
	}
	return o.FS.OpenReadWrite(name, c, opts...)
}

func (o osFS) OpenDir(name string) (File, error) {
	if err := refuseLink("open", name); err != nil {
		return nil, err
	}
	return o.FS.OpenDir(name)
}

func (o osFS) MkdirAll(dir string, _ os.FileMode) error { return os.MkdirAll(dir, 0o700) }

func (o osFS) Lock(name string) (io.Closer, error) {
	if err := o.make(name, 0); err != nil {
		return nil, err
	}
	return o.FS.Lock(name)
}

// Unwrap returns nil: nothing of interest lies below.
func (o osFS) Unwrap() FS { return nil }
