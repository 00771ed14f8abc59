package vfs

import "golang.org/x/sys/unix"

// setLock takes a lock of the open file, not of the process: it excludes other
// goroutines, and closing another descriptor of the file does not end it. For
// others it is a lock of fcntl(2) like theirs.
const setLock = unix.F_OFD_SETLK
