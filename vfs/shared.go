package vfs

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"syscall"
)

// SharedFile is an open file that processes of other software may use at the
// same time: a mailbox in a common format, what a user left for the server.
type SharedFile interface {
	File
	// Truncate cuts the file to size octets; it is durable after Sync.
	Truncate(size int64) error
	// TryLock takes the exclusive lock on the whole file that fcntl(2) knows,
	// or fails at once with an error for which [IsLocked] is true. The lock ends
	// with Unlock or Close.
	TryLock() error
	// Unlock gives the lock back.
	Unlock() error
}

// SharedMode says how OpenShared opens.
type SharedMode uint8

// The ways to open a shared file.
const (
	SharedRead   SharedMode = iota // an existing file, to be read
	SharedWrite                    // an existing file, to be read and written
	SharedCreate                   // the same; made with mode 0600 if there is none
)

// ErrNotRegular is returned for a name that is neither a regular file nor, in
// memory, anything that could be one.
var ErrNotRegular = errors.New("not a regular file")

// sharer is an FS that can open shared files.
type sharer interface {
	openShared(name string, mode SharedMode) (SharedFile, error)
}

// OpenShared opens a file in a directory in which others may make what they
// want: a symbolic link, a directory, a pipe or a device is refused, without
// waiting on it, and what was checked is what is open. Links to the same file
// are told by [InodeOf].
func OpenShared(fsys FS, name string, mode SharedMode) (SharedFile, error) {
	for f := fsys; f != nil; f = f.Unwrap() {
		if s, ok := f.(sharer); ok {
			return s.openShared(name, mode)
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: ErrUnsupported}
}

// IsLocked tells whether err of TryLock says that somebody else has the lock.
func IsLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES)
}

// Inode is what tells files apart and who owns them.
type Inode struct {
	Dev, Ino uint64
	Links    uint64
	UID, GID uint32
}

// chmoder is an FS with modes.
type chmoder interface {
	chmod(name string, mode fs.FileMode) error
}

// Chmod sets the mode of a file or directory that this process owns. A file
// system without modes does nothing.
func Chmod(fsys FS, name string, mode fs.FileMode) error {
	for f := fsys; f != nil; f = f.Unwrap() {
		if c, ok := f.(chmoder); ok {
			return c.chmod(name, mode)
		}
	}
	return nil
}

// lockTable holds the locks on the files of a file system in memory.
type lockTable struct {
	mu   sync.Mutex
	held map[string]bool
}

func (l *lockTable) try(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] {
		return syscall.EAGAIN
	}
	if l.held == nil {
		l.held = map[string]bool{}
	}
	l.held[name] = true
	return nil
}

func (l *lockTable) release(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, name)
}

func (m *Mem) openShared(name string, mode SharedMode) (SharedFile, error) {
	info, err := m.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	case err != nil && mode != SharedCreate:
		return nil, err
	}
	var f File
	if mode == SharedRead {
		f, err = m.Open(name)
	} else {
		f, err = m.OpenReadWrite(name, Category)
	}
	if err != nil {
		return nil, err
	}
	return &memShared{File: f, m: m, name: name}, nil
}

// memShared adds to a file in memory what Pebble's has not.
type memShared struct {
	File
	m      *Mem
	name   string
	locked bool
	moved  bool // by Truncate: the entry is another one
}

// Truncate puts a shorter file in the place of this one. A crash before the next
// sync of it leaves the longer one, as it may on a disk.
func (f *memShared) Truncate(size int64) error {
	old, err := ReadFile(f.m, f.name)
	if err != nil {
		return err
	}
	if int64(len(old)) <= size {
		return nil
	}
	next, err := f.m.OpenReadWrite(f.name+".truncated", Category)
	if err != nil {
		return err
	}
	if _, err = next.WriteAt(slices.Clone(old[:size]), 0); err == nil {
		err = f.m.Rename(f.name+".truncated", f.name)
	}
	if err != nil {
		return errors.Join(err, next.Close())
	}
	f.File, next, f.moved = next, f.File, true
	return next.Close()
}

// Sync makes the entry durable too if Truncate has changed it.
func (f *memShared) Sync() error {
	if err := f.File.Sync(); err != nil || !f.moved {
		return err
	}
	f.moved = false
	return SyncDir(f.m, f.m.PathDir(f.name))
}

func (f *memShared) TryLock() error {
	err := f.m.locks.try(f.name)
	f.locked = f.locked || err == nil
	return err
}

func (f *memShared) Unlock() error {
	if f.locked {
		f.m.locks.release(f.name)
		f.locked = false
	}
	return nil
}

func (f *memShared) Close() error { return errors.Join(f.Unlock(), f.File.Close()) }

func (h *Hooked) openShared(name string, mode SharedMode) (SharedFile, error) {
	kind := OpCreate
	if mode == SharedRead {
		kind = OpOpen
	}
	if err := h.ask(kind, name); err != nil {
		return nil, err
	}
	f, err := OpenShared(h.FS, name, mode)
	if err != nil {
		return nil, err
	}
	return &hookedShared{hookedFile{File: f, h: h, path: name}, f}, nil
}

// hookedShared asks before what is done to a shared file.
type hookedShared struct {
	hookedFile
	shared SharedFile
}

func (f *hookedShared) Truncate(size int64) error {
	if err := f.h.ask(OpTruncate, f.path); err != nil {
		return err
	}
	return f.shared.Truncate(size)
}

func (f *hookedShared) TryLock() error { return f.shared.TryLock() }
func (f *hookedShared) Unlock() error  { return f.shared.Unlock() }

var (
	_ SharedFile = (*memShared)(nil)
	_ SharedFile = (*hookedShared)(nil)
)
