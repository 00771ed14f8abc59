package dns

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/postino-mail/postino"
)

// Server is a recursive name server.
type Server struct {
	Addr netip.AddrPort
	// Trusted makes its AD bit count: it validates, and nobody on the way to it
	// can change what it says. Servers on loopback always count.
	Trusted bool
	// TLSName makes the server one that is only asked by TLS, and has to show a
	// certificate for this name (RFC 7858, RFC 8310 §5: the strict profile).
	TLSName string
}

// ParseServer reads a server: an IP address, with a port or without, or
// "tls://address#name" for one that is asked by TLS. The port is 53 or 853
// unless it says otherwise. The error is Invalid.
func ParseServer(text string) (Server, error) {
	bad := func(why string) (Server, error) {
		return Server{}, postino.E(postino.Invalid, "read name server", postino.Printable(text[:min(len(text), 300)]), errors.New(why))
	}
	var s Server
	addr, port := text, uint16(53)
	if rest, ok := strings.CutPrefix(text, "tls://"); ok {
		name, err := "", error(nil)
		addr, name, _ = strings.Cut(rest, "#")
		if s.TLSName, err = canonical(name); err != nil {
			return bad("after the address comes #name, the name in its certificate")
		}
		port = 853
	}
	if a, err := netip.ParseAddr(strings.Trim(addr, "[]")); err == nil {
		s.Addr = netip.AddrPortFrom(a, port)
	} else if s.Addr, err = netip.ParseAddrPort(addr); err != nil {
		return bad("not an IP address")
	}
	return s, nil
}

// String is the server as ParseServer reads it.
func (s Server) String() string {
	if s.TLSName != "" {
		return "tls://" + s.Addr.String() + "#" + s.TLSName
	}
	return s.Addr.String()
}

// validates tells whether the server's AD bit may count.
func (s Server) validates() bool { return s.Trusted || s.Addr.Addr().Unmap().IsLoopback() }
