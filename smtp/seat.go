package smtp

import (
	"net/netip"
	"time"
)

// enter finds out who the client is and gives it a seat.
func (c *Conn) enter() bool {
	opts, log := &c.srv.opts, c.srv.log
	limit, known := "", true
	if opts.Proxies != nil && opts.Proxies(c.peer) {
		if limit = c.sit(netip.Addr{}, true); limit == "" {
			p, err := c.readProxy()
			if err != nil {
				log.proxyFailed(c, err)
				return false
			}
			if !p.local {
				known = p.src.IsValid()
				c.remote = p.src.Addr()
				c.told = &Origin{Addr: c.remote, Port: p.src.Port(), Dest: p.dst}
				log.told(c)
			}
		}
	}
	if limit == "" {
		// A client that is not known is not a peer without address either.
		c.xclient = known && opts.XClient != nil && opts.XClient(c.remote)
		c.xforward = known && opts.XForward != nil && opts.XForward(c.remote)
		limit = c.settle(c.remote, c.xclient)
	}
	if limit == "" {
		return true
	}
	log.refused(c, limit)
	if !opts.ImplicitTLS {
		c.raw.SetDeadline(c.started.Add(time.Second))
		c.out = replyTooMany.appendTo(c.out)
		c.flush()
	}
	return false
}

// seat is the place of a connection in the counts of the gate.
type seat struct {
	addr                    netip.Addr
	taken, listed, promoted bool
}

// settle gives the client at addr a seat in place of the one before (SS14).
// Peers that will tell another client have no limits of their own.
func (c *Conn) settle(addr netip.Addr, teller bool) (refusal string) {
	c.remote = addr
	c.trusted = addr.IsValid() && c.srv.opts.Trusted != nil && c.srv.opts.Trusted(addr)
	return c.sit(addr, c.trusted || teller)
}

func (c *Conn) sit(addr netip.Addr, listed bool) (refusal string) {
	c.rise()
	refusal = c.srv.gate.admit(addr, listed, time.Now())
	c.seat = seat{addr: addr, listed: listed, taken: refusal == ""}
	return refusal
}

// rise gives the seat back.
func (c *Conn) rise() {
	if c.seat.taken {
		c.srv.gate.leave(c.seat.addr, c.seat.listed, c.seat.promoted)
		c.seat.taken = false
	}
}

// promote takes the seat out of those that are open to everybody.
func (c *Conn) promote() {
	if c.seat.taken && !c.seat.listed && !c.seat.promoted {
		c.seat.promoted = true
		c.srv.gate.promote()
	}
}
