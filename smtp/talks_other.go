//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package smtp

import "net"

// talks cannot look at a socket here: only GreetDelay sees early talkers.
func talks(net.Conn) bool { return false }
