package relay

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// stagger is when the next address of a host is tried although the one before
// has neither answered nor failed (RFC 8305 §5).
const stagger = 250 * time.Millisecond

// interleave orders addresses for connecting: the families take turns, IPv6
// first (RFC 8305 §4), each in the order of the resolver (RFC 5321 §5.1).
func interleave(addrs []netip.Addr) []netip.Addr {
	var six, four []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			out = append(out, six[i])
		}
		if i < len(four) {
			out = append(out, four[i])
		}
	}
	return out
}

// dialed is the end of one try to connect.
type dialed struct {
	addr netip.Addr
	conn net.Conn
	err  error
}

// dialer connects to the addresses of one host.
type dialer struct {
	dial   func(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error)
	port   uint16
	source []netip.Addr  // one of each family at most; none: any
	limit  time.Duration // for each address
	budget *int          // addresses that may still be tried in this attempt
}

// connect returns the connection that is there first, and the addresses that
// were not tried, or whose turn it was not. The error is that of the last
// address.
func (d *dialer) connect(ctx context.Context, addrs []netip.Addr) (first dialed, rest []netip.Addr) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan dialed)
	running := 0
	defer func() { // no goroutine and no connection stays behind (G11)
		cancel()
		for range running {
			if late := <-results; late.conn != nil {
				late.conn.Close()
			}
		}
	}()
	rest = slices.Clone(addrs)
	next := 0
	start := func() bool {
		if next == len(rest) || *d.budget == 0 {
			return false
		}
		a := rest[next]
		next++
		running++
		*d.budget--
		go func() { results <- d.one(ctx, a) }()
		return true
	}
	start()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	first.err = errNoAddress
	for running > 0 {
		select {
		case <-timer.C:
			if start() {
				timer.Reset(stagger)
			}
		case got := <-results:
			running--
			i := slices.Index(rest, got.addr)
			rest = slices.Delete(rest, i, i+1)
			next--
			first = got
			if got.err == nil {
				return first, rest
			}
			if ctx.Err() == nil && start() {
				timer.Reset(stagger)
			}
		}
	}
	return first, rest
}

// one connects to one address.
func (d *dialer) one(ctx context.Context, a netip.Addr) dialed {
	source, ok := pick(d.source, a)
	if !ok {
		return dialed{addr: a, err: errNoSource}
	}
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	c, err := d.dial(ctx, "tcp", netip.AddrPortFrom(a, d.port).String(), source)
	return dialed{a, c, err}
}

// pick chooses the source for an address. Where a route names sources but none
// of the family, the address is not for us to try.
func pick(sources []netip.Addr, a netip.Addr) (netip.Addr, bool) {
	for _, s := range sources {
		if s.Is4() == a.Is4() {
			return s, true
		}
	}
	return netip.Addr{}, len(sources) == 0
}

// where names an address of a host for people.
func where(host string, a netip.Addr, port uint16) string {
	switch {
	case !a.IsValid():
		return host
	case port == portSMTP:
		return host + " (" + a.String() + ")"
	}
	return host + " (" + net.JoinHostPort(a.String(), strconv.Itoa(int(port))) + ")"
}
