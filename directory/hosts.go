package directory

import (
	"errors"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/postino-mail/postino"
)

// Host is where a route leads: a name, an address, the mail exchangers of a
// domain, or a socket of this machine.
type Host struct {
	// Name is in lower-case A-labels, without a final dot; with MX the hosts are
	// those of its MX records. Empty when Addr or Socket is set.
	Name string
	MX   bool
	Addr netip.Addr
	// Port is 0 when none was given: that of the protocol is meant.
	Port uint16
	// Socket is the absolute path of a Unix socket.
	Socket string
}

// maxSocket is how long a socket's path can be on every system we run on.
const maxSocket = 103

// ParseHost reads "host", "host:port", "192.0.2.1:port", "[2001:db8::1]:port",
// "mx:domain" or "unix:/path"; the port may be left out. The error is Invalid.
func ParseHost(s string) (h Host, err error) {
	invalid := func(why string) (Host, error) {
		return Host{}, postino.E(postino.Invalid, "read host", postino.Printable(s[:min(len(s), 300)]), errors.New(why))
	}
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		if len(socket) > maxSocket || !cleanPath(socket) {
			return invalid("the path of a socket is absolute, without . and .. and of at most 103 octets")
		}
		return Host{Socket: socket}, nil
	}
	if domain, ok := strings.CutPrefix(s, "mx:"); ok {
		if h.Name, err = postino.CanonicalDomain(domain); err != nil || strings.HasPrefix(h.Name, "[") {
			return invalid(`after "mx:" comes a domain name, and no port`)
		}
		h.MX = true
		return h, nil
	}
	var name, port string
	var given bool
	switch {
	case strings.HasPrefix(s, "["):
		if name, port, given = strings.Cut(s[1:], "]"); !given {
			return invalid("there is no ] after the address")
		}
		if h.Addr, err = netip.ParseAddr(name); err != nil || h.Addr.Zone() != "" || h.Addr.Is4In6() {
			return invalid("there is no IP address in the brackets")
		}
		given = port != ""
		if given && !strings.HasPrefix(port, ":") {
			return invalid("after the ] comes only a port")
		}
		port = strings.TrimPrefix(port, ":")
	default:
		name, port, given = strings.Cut(s, ":")
		if h.Addr, err = netip.ParseAddr(name); err != nil {
			if h.Name, err = postino.CanonicalDomain(name); err != nil || allDigits(h.Name) {
				return invalid(`write it as "host", "host:port", "[address]:port", "mx:domain" or "unix:/path"`)
			}
		}
	}
	if !given {
		return h, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return invalid("a port is a number from 1 to 65535")
	}
	h.Port = uint16(n)
	return h, nil
}

// String is the canonical text, which ParseHost reads.
func (h Host) String() string {
	s := h.Name
	switch {
	case h.Socket != "":
		return "unix:" + h.Socket
	case h.MX:
		return "mx:" + h.Name
	case h.Addr.Is6():
		s = "[" + h.Addr.String() + "]"
	case h.Addr.IsValid():
		s = h.Addr.String()
	}
	if h.Port != 0 {
		s += ":" + strconv.Itoa(int(h.Port))
	}
	return s
}

// private tells whether h is an address that a route must say it means (SC7).
func (h Host) private() bool {
	a := h.Addr
	return a.IsValid() && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified()) || h.Name == "localhost"
}

// cleanPath tells whether p is absolute, in its shortest form and printable.
func cleanPath(p string) bool {
	return strings.HasPrefix(p, "/") && p != "/" && path.Clean(p) == p && postino.Printable(p) == p
}

// allDigits tells whether a name's last label is a number, so that it would be
// a mistyped address.
func allDigits(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}
