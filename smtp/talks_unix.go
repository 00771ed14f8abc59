//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package smtp

import (
	"net"
	"syscall"
)

// talks tells whether the client has already sent something, without taking it
// or waiting for it.
func talks(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	var one [1]byte
	rc.Read(func(fd uintptr) bool {
		n, _, _ = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return n > 0
}
