package smtp

import (
	"crypto/tls"
	"net"
	"net/netip"
	"time"
)

// RemoteAddr is the client's transport address, as PROXY or XCLIENT told it
// where they told one.
func (c *Conn) RemoteAddr() net.Addr {
	if c.told != nil && c.told.Addr.IsValid() {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.told.Addr, c.told.Port))
	}
	return c.raw.RemoteAddr()
}

// LocalAddr is the address that the client connected to, as PROXY or XCLIENT
// told it where they told one.
func (c *Conn) LocalAddr() net.Addr {
	if c.told != nil && c.told.Dest.IsValid() {
		return net.TCPAddrFromAddrPort(c.told.Dest)
	}
	return c.raw.LocalAddr()
}

// Remote is the client's IP address, IPv4 unmapped, without zone, as PROXY or
// XCLIENT told it; the zero Addr when they do not know it or the transport has
// none.
func (c *Conn) Remote() netip.Addr { return c.remote }

// Peer is the IP address of the other end of the socket, in the same form: that
// of a proxy where there is one.
func (c *Conn) Peer() netip.Addr { return c.peer }

// Client is what PROXY and XCLIENT told; without them only Addr is set.
func (c *Conn) Client() Origin {
	if c.told == nil {
		return Origin{Addr: c.remote}
	}
	return *c.told
}

// Forwarded is what XFORWARD told about the client that the transaction comes
// from, for traces and logs only; zero without XFORWARD.
func (c *Conn) Forwarded() Origin {
	if c.forward == nil {
		return Origin{}
	}
	return *c.forward
}

// LMTP tells whether the client speaks LMTP.
func (c *Conn) LMTP() bool { return c.srv.opts.LMTP }

// Trusted tells whether Options.Trusted lists the client.
func (c *Conn) Trusted() bool { return c.trusted }

// TLS describes the TLS session; nil in clear. The caller must not change it.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Hello is the name of the last accepted EHLO, HELO or LHLO; empty before. LHLO
// is an esmtp one.
func (c *Conn) Hello() (name string, esmtp bool) { return c.hello, c.esmtp }

// Identity is who authenticated, or who XCLIENT says did; empty before.
func (c *Conn) Identity() string { return c.identity }

// Hostname is Options.Hostname.
func (c *Conn) Hostname() string { return c.srv.opts.Hostname }

// Started is when the connection was accepted.
func (c *Conn) Started() time.Time { return c.started }

// Protocol is the keyword for "with" of the Received field: RFC 3848 §1 and,
// for transactions with SMTPUTF8, RFC 6531 §4.3.
func (c *Conn) Protocol(utf8 bool) string {
	name := "ESMTP"
	switch {
	case c.srv.opts.LMTP && utf8:
		name = "UTF8LMTP"
	case c.srv.opts.LMTP:
		name = "LMTP"
	case utf8:
		name = "UTF8SMTP"
	case !c.esmtp:
		return "SMTP"
	}
	if c.tls != nil {
		name += "S"
	}
	if c.identity != "" {
		name += "A"
	}
	return name
}
