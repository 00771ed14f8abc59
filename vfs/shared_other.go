//go:build unix && !linux

package vfs

import "syscall"

// setLock takes a lock of the process; its goroutines are kept apart by the dot
// lock alone.
const setLock = syscall.F_SETLK
