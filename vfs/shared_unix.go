//go:build unix

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// InodeOf returns what the system knows of a file; false in memory.
func InodeOf(info FileInfo) (Inode, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Inode{}, false
	}
	return Inode{Dev: uint64(st.Dev), Ino: st.Ino, Links: uint64(st.Nlink), UID: st.Uid, GID: st.Gid}, true
}

func (o osFS) openShared(name string, mode SharedMode) (SharedFile, error) {
	flags := []int{SharedRead: os.O_RDONLY, SharedWrite: os.O_RDWR, SharedCreate: os.O_RDWR | os.O_CREATE}[mode]
	// Without O_NONBLOCK a pipe would hold us until somebody writes into it.
	f, err := os.OpenFile(name, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0o600)
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular} // a socket, a pipe without reader, a directory
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osShared{f}, nil
}

func (o osFS) chmod(name string, mode fs.FileMode) error {
	if err := refuseLink("chmod", name); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// osShared is a file of the machine.
type osShared struct{ *os.File }

func (f osShared) Preallocate(int64, int64) error { return nil }
func (f osShared) Prefetch(int64, int64) error    { return nil }
func (f osShared) SyncData() error                { return f.Sync() }
func (f osShared) SyncTo(int64) (bool, error)     { return true, f.Sync() }

func (f osShared) Stat() (FileInfo, error) {
	info, err := f.File.Stat()
	return osInfo{info}, err
}

func (f osShared) TryLock() error { return f.fcntl(syscall.F_WRLCK) }
func (f osShared) Unlock() error  { return f.fcntl(syscall.F_UNLCK) }

// fcntl sets the lock on the whole file.
func (f osShared) fcntl(kind int16) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	lock := syscall.Flock_t{Type: kind, Whence: io.SeekStart}
	if e := c.Control(func(fd uintptr) { err = syscall.FcntlFlock(fd, setLock, &lock) }); e != nil {
		return e
	}
	return err
}

// osInfo is a FileInfo without the device, which only Pebble can name.
type osInfo struct{ fs.FileInfo }

func (osInfo) DeviceID() pebblevfs.DeviceID { return pebblevfs.DeviceID{} }
