//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package smtp

import (
	"net"
	"syscall"
)

// peek looks at a socket without taking anything or waiting: idle when there
// is nothing to be read and no end. known is false for what is no socket.
func peek(nc net.Conn) (idle, known bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false, true
	}
	var one [1]byte
	err = rc.Control(func(fd uintptr) {
		_, _, e := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		idle = e == syscall.EAGAIN || e == syscall.EINTR
	})
	return idle && err == nil, true
}
