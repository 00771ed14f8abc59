//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package smtp

import "net"

// peek cannot look at a socket here.
func peek(net.Conn) (idle, known bool) { return false, false }
