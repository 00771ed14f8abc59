package smtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2, as the HAProxy specification has it. It
// stands before everything else, TLS included.

const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyLine   = 107     // of version 1, CRLF included
	maxProxyHeader = 4 << 10 // of version 2, extensions included
)

var errProxy = errors.New("bad PROXY header")

// proxied is what a header says. Addresses are zero when it tells none.
type proxied struct {
	local    bool // the proxy speaks for itself
	src, dst netip.AddrPort
}

// parseProxy reads the header at the start of in, n octets; 0 octets without
// an error are a header that goes on.
func parseProxy(in []byte) (p proxied, n int, err error) {
	switch {
	case len(in) >= len(proxySignature) && string(in[:len(proxySignature)]) == proxySignature:
		return parseProxy2(in)
	case strings.HasPrefix(proxySignature, string(in[:min(len(in), len(proxySignature))])):
		return p, 0, nil
	}
	const word = "PROXY "
	if string(in[:min(len(in), len(word))]) != word[:min(len(in), len(word))] {
		return p, 0, errProxy
	}
	i := bytes.IndexByte(in[:min(len(in), maxProxyLine)], '\n')
	switch {
	case i < 0 && len(in) >= maxProxyLine:
		return p, 0, errProxy
	case i < 0:
		return p, 0, nil
	case in[i-1] != '\r':
		return p, 0, errProxy
	}
	p, err = parseProxy1(string(in[len(word) : i-1]))
	return p, i + 1, err
}

// parseProxy1 reads what follows "PROXY " in version 1.
func parseProxy1(s string) (p proxied, err error) {
	if s == "UNKNOWN" || strings.HasPrefix(s, "UNKNOWN ") {
		return p, nil
	}
	f := strings.Split(s, " ")
	if len(f) != 5 || f[0] != "TCP4" && f[0] != "TCP6" {
		return p, errProxy
	}
	var ok1, ok2 bool
	p.src, ok1 = parseEndpoint(f[1], f[3], f[0] == "TCP4")
	p.dst, ok2 = parseEndpoint(f[2], f[4], f[0] == "TCP4")
	if !ok1 || !ok2 {
		return proxied{}, errProxy
	}
	return p, nil
}

// parseEndpoint reads an address of one family and a port.
func parseEndpoint(addr, port string, v4 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, false
	}
	n, ok := parsePort(port)
	return netip.AddrPortFrom(a.Unmap(), n), ok
}

// parsePort reads a decimal number without sign or leading zero.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && (s[0] != '0' || s == "0")
}

// parseProxy2 reads version 2. What it holds behind the addresses is skipped.
func parseProxy2(in []byte) (p proxied, n int, err error) {
	const fixed = len(proxySignature) + 4
	if len(in) < fixed {
		return p, 0, nil
	}
	command, family := in[12], in[13]
	n = fixed + int(binary.BigEndian.Uint16(in[14:]))
	if command>>4 != 2 || command&15 > 1 || n > maxProxyHeader {
		return p, 0, errProxy
	}
	if len(in) < n {
		return p, 0, nil
	}
	if command&15 == 0 { // LOCAL: the rest means nothing
		return proxied{local: true}, n, nil
	}
	body, size := in[fixed:n], 0
	switch family {
	case 0x00: // UNSPEC
		return p, n, nil
	case 0x31: // a stream between UNIX sockets
		if len(body) < 216 {
			return p, 0, errProxy
		}
		return p, n, nil
	case 0x11:
		size = 4
	case 0x21:
		size = 16
	default: // no stream
		return p, 0, errProxy
	}
	if len(body) < 2*size+4 {
		return p, 0, errProxy
	}
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	p.src = netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(body[2*size:]))
	p.dst = netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(body[2*size+2:]))
	return p, n, nil
}

// readProxy takes the header off the connection (SS12). What follows it stays
// in the buffer.
func (c *Conn) readProxy() (proxied, error) {
	if err := c.raw.SetDeadline(time.Now().Add(c.srv.lim.ProxyTimeout)); err != nil {
		return proxied{}, err
	}
	for {
		if err := c.read(); err != nil {
			return proxied{}, err
		}
		p, n, err := parseProxy(c.buf[c.r:c.w])
		if n > 0 || err != nil {
			c.r += n
			return p, err
		}
	}
}

// preceded is a connection some octets of which were already read.
type preceded struct {
	net.Conn
	first []byte
}

func (p *preceded) Read(b []byte) (int, error) {
	if len(p.first) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.first)
	p.first = p.first[n:]
	return n, nil
}
