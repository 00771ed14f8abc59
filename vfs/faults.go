package vfs

import (
	"strings"
	"sync"
	"syscall"
)

// Faults is a file system that fails as it is told. Its methods may be called
// while it is in use. The zero settings let everything through.
type Faults struct {
	*Hooked

	mu      sync.Mutex
	nth     int64         // ordinal of the write that fails; 0 is none
	nthErr  error         //
	match   func(Op) bool // operations that fail; nil is none
	matchEr error
	limited bool // room counts
	room    int64
	set     *Usage
}

// NewFaults wraps fsys.
func NewFaults(fsys FS) *Faults {
	f := &Faults{}
	f.Hooked = hookPart(fsys, f.judge)
	return f
}

func (f *Faults) judge(op Op) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nth != 0 && op.N == f.nth {
		return 0, f.nthErr
	}
	if f.match != nil && f.match(op) {
		return 0, f.matchEr
	}
	if f.limited && op.Kind == OpWrite {
		part := min(int64(op.Size), f.room)
		f.room -= part
		if part < int64(op.Size) {
			return int(part), syscall.ENOSPC
		}
	}
	return op.Size, nil
}

// FailNth makes the n-th operation that writes from now on fail with err.
func (f *Faults) FailNth(n int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nth, f.nthErr = f.Writes()+n, err
}

// FailIf makes every operation for which match is true fail with err; a nil
// match ends it.
func (f *Faults) FailIf(match func(Op) bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.match, f.matchEr = match, err
}

// FailSync makes every sync of a file whose path ends in suffix fail with EIO.
func (f *Faults) FailSync(suffix string) {
	f.FailIf(func(op Op) bool { return op.Kind == OpSync && strings.HasSuffix(op.Path, suffix) }, syscall.EIO)
}

// SetRoom lets n more octets be written and fails then with ENOSPC, after the
// part that had room. A negative n removes the limit.
func (f *Faults) SetRoom(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limited, f.room = n >= 0, n
}

// SetUsage makes [GetUsage] report u.
func (f *Faults) SetUsage(u Usage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = &u
}

func (f *Faults) usage(path string) (Usage, error) {
	f.mu.Lock()
	u := f.set
	f.mu.Unlock()
	if u != nil {
		return *u, nil
	}
	return GetUsage(f.Hooked.FS, path)
}
