package smtp

import (
	"net/netip"
	"strings"
)

// XCLIENT and XFORWARD as Postfix documents them: a listed peer tells for
// whom it speaks (SS23).

var (
	replyNotListed = &Reply{550, "5.7.0", "Insufficient authorization"}
	replyAttribute = &Reply{501, "5.5.4", "Bad attribute"}
)

// Origin is a client as a listed peer told it. What the peer did not tell, or
// does not know, is zero.
type Origin struct {
	// Name is the host name that the address was found to have; NameLater
	// tells that the look-up failed for the time being.
	Name      string
	NameLater bool
	// Addr and Port are where the client connected from, IPv4 unmapped.
	Addr netip.Addr
	Port uint16
	// Hello is the name of the client's EHLO or, without ESMTP, HELO.
	Hello string
	ESMTP bool
	// Login is who authenticated (XCLIENT only).
	Login string
	// Dest is where the client connected to (XCLIENT and PROXY only).
	Dest netip.AddrPort
	// Ident is the peer's name for the message, and Local tells that it came
	// from the peer's own host (XFORWARD only).
	Ident string
	Local bool
}

// The attributes, as EHLO announces them.
const (
	xclientNames  = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
	xforwardNames = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
)

// parseOrigin reads attributes among names into o.
func parseOrigin(arg, names string, o *Origin) bool {
	if arg == "" {
		return false
	}
	for one := range strings.SplitSeq(arg, " ") {
		key, coded, _ := strings.Cut(one, "=")
		key = strings.ToUpper(key)
		value, ok := decodeXtext(coded)
		if !ok || len(value) > 255 || strings.IndexByte(value, ' ') >= 0 || !hasWord(names, key) || !o.set(key, value) {
			return false
		}
	}
	return true
}

// hasWord tells whether word, without spaces, is among the words of list.
func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, " ") {
		if w == word {
			return true
		}
	}
	return false
}

// set takes one attribute.
func (o *Origin) set(key, value string) (ok bool) {
	later := strings.EqualFold(value, "[TEMPUNAVAIL]")
	if later || strings.EqualFold(value, "[UNAVAILABLE]") {
		value = ""
	}
	ok = true
	switch key {
	case "NAME":
		o.Name, o.NameLater = value, later
	case "ADDR":
		o.Addr, ok = parseTold(value)
	case "PORT":
		o.Port, ok = toldPort(value)
	case "DESTADDR":
		var a netip.Addr
		a, ok = parseTold(value)
		o.Dest = netip.AddrPortFrom(a, o.Dest.Port())
	case "DESTPORT":
		var n uint16
		n, ok = toldPort(value)
		o.Dest = netip.AddrPortFrom(o.Dest.Addr(), n)
	case "PROTO":
		o.ESMTP = strings.EqualFold(value, "ESMTP")
		ok = o.ESMTP || value == "" || strings.EqualFold(value, "SMTP")
	case "HELO":
		o.Hello = value
	case "LOGIN":
		o.Login = value
	case "IDENT":
		o.Ident = value
	case "SOURCE":
		o.Local = strings.EqualFold(value, "LOCAL")
		ok = o.Local || value == "" || strings.EqualFold(value, "REMOTE")
	}
	return ok
}

// parseTold reads an IPv4 address, or an IPv6 address behind "IPV6:"; "" is
// none.
func parseTold(s string) (netip.Addr, bool) {
	const v6 = "IPV6:"
	if s == "" {
		return netip.Addr{}, true
	}
	tagged := len(s) > len(v6) && strings.EqualFold(s[:len(v6)], v6)
	if tagged {
		s = s[len(v6):]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil && a.Zone() == "" && a.Is6() == tagged
}

func toldPort(s string) (uint16, bool) {
	if s == "" {
		return 0, true
	}
	return parsePort(s)
}

// doXClient lets a new client take the place of the one that was known. All
// begins again, as with a greeting.
func (c *Conn) doXClient(arg []byte) *Reply {
	switch {
	case !c.xclient:
		return replyNotListed
	case c.tx.open():
		return replySequence
	}
	o := c.Client()
	o.Hello, o.ESMTP, o.Login = "", false, "" // these are told anew
	if !parseOrigin(string(arg), xclientNames, &o) {
		return replyAttribute
	}
	c.endSession()
	c.forget()
	c.told, c.mails, c.faults = &o, 0, 0
	c.srv.log.told(c)
	if limit := c.settle(o.Addr, false); limit != "" {
		c.srv.log.refused(c, limit)
		c.drop(replyTooMany)
		return nil
	}
	if o.Login != "" {
		c.identity = o.Login
		c.promote()
	}
	s, err := c.srv.opts.Backend.NewSession(c.ctx, c)
	if err != nil {
		c.refuse(err)
		return nil
	}
	c.session = s
	if o.Hello != "" {
		if err := s.Hello(c.ctx, o.Hello, o.ESMTP || c.srv.opts.LMTP); err != nil {
			if r := c.failed("xclient", err); !r.success() {
				return r
			}
		}
		c.hello, c.esmtp = o.Hello, o.ESMTP || c.srv.opts.LMTP
	}
	return c.greeting()
}

// doXForward notes whose message comes next; it lives as long as a
// transaction would.
func (c *Conn) doXForward(arg []byte) *Reply {
	switch {
	case !c.xforward:
		return replyNotListed
	case c.tx.open():
		return replySequence
	}
	o := c.Forwarded()
	if !parseOrigin(string(arg), xforwardNames, &o) {
		return replyAttribute
	}
	c.forward = &o
	return replyOK
}
