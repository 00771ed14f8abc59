package memnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// backlog is how many connections wait to be accepted by a listener.
const backlog = 128

// ephemeral is the first port of those that callers and listeners of port 0 get.
const ephemeral = 49152

// source4 and source6 are where callers come from that say nothing.
var (
	source4 = netip.MustParseAddr("192.0.2.1")
	source6 = netip.MustParseAddr("2001:db8::1")
)

// Network is a network. All methods may be called from any goroutine, of the
// bubble that made it.
type Network struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	faults    map[netip.Addr]Fault
	links     map[*link]struct{} // with an end that is open
	next      uint16             // the last port given out
}

// Fault is how a host misbehaves towards those that connect to it. The fields
// but Silent and Unreachable concern connections that are made later.
type Fault struct {
	// Silent hosts answer nothing: connecting hangs until its context ends.
	Silent bool
	// Unreachable hosts give EHOSTUNREACH.
	Unreachable bool
	// Latency is how long octets are under way, each way.
	Latency time.Duration
	// CutTo and CutFrom reset a connection when so many octets went to or came
	// from the host; 0 never.
	CutTo, CutFrom int
}

// New returns a network on which nothing listens.
func New() *Network {
	return &Network{
		listeners: map[netip.AddrPort]*listener{}, faults: map[netip.Addr]Fault{},
		links: map[*link]struct{}{}, next: ephemeral - 1,
	}
}

// SetFault makes a host misbehave, or behave with the zero Fault.
func (n *Network) SetFault(host netip.Addr, f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[host] = f
}

// Reset resets all connections that have an end at a host, as when its power is
// cut. Its listeners stay.
func (n *Network) Reset(host netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		if l.ends[0].local.Addr() == host || l.ends[1].local.Addr() == host {
			l.reset()
		}
	}
}

// Open is the number of connections of which an end is open.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// Listen opens a listener. The network is tcp, tcp4 or tcp6; the host is an
// address or localhost; port 0 takes a free one.
func (n *Network) Listen(network, address string) (net.Listener, error) {
	at, err := parse(network, address)
	if err == nil && at.Addr().IsUnspecified() {
		err = syscall.EADDRNOTAVAIL // hosts are what has an address; there is no host of all
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr(at), Err: err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), n.port())
	}
	if n.listeners[at] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr(at), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{n: n, at: at, queue: make(chan *Conn, backlog), closed: make(chan struct{})}
	n.listeners[at] = l
	return l, nil
}

// port returns the next free port. mu is held.
func (n *Network) port() uint16 {
	if n.next++; n.next < ephemeral {
		n.next = ephemeral
	}
	return n.next
}

// Dial connects from 192.0.2.1 or 2001:db8::1. The error is ECONNREFUSED where
// nothing listens.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return n.DialFrom(ctx, network, address, netip.Addr{})
}

// DialFrom connects from a source; the zero Addr is that of Dial. The source must
// be of the family of the address.
func (n *Network) DialFrom(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	to, err := parse(network, address)
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr(to), Err: err}
	}
	switch {
	case err != nil:
		return fail(err)
	case source.IsValid() && source.Unmap().Is4() != to.Addr().Is4():
		return fail(os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	case !source.IsValid() && to.Addr().Is4():
		source = source4
	case !source.IsValid():
		source = source6
	}
	c, err := n.connect(ctx, source.Unmap(), to)
	if errors.Is(err, errSilent) {
		<-ctx.Done()
		err = ctx.Err()
	}
	if err != nil {
		return fail(err)
	}
	if f := c.link.latency; f > 0 {
		if err := sleep(ctx, f); err != nil {
			c.Close()
			return fail(err)
		}
	}
	return c, nil
}

// errSilent tells that nobody answers.
var errSilent = errors.New("no answer")

// connect makes a connection and puts it before the listener.
func (n *Network) connect(ctx context.Context, source netip.Addr, to netip.AddrPort) (*Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, l := n.faults[to.Addr()], n.listeners[to]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case f.Silent:
		return nil, errSilent
	case f.Unreachable:
		return nil, os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	case l == nil:
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	k := newLink(n, f, netip.AddrPortFrom(source, n.port()), to)
	select {
	case l.queue <- k.ends[1]:
	default: // a system drops what finds no room, and the caller tries on
		return nil, errSilent
	}
	n.links[k] = struct{}{}
	return k.ends[0], nil
}

// forget takes a link off that is closed on both sides.
func (n *Network) forget(k *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, k)
}

// listener is an address at which connections are taken.
type listener struct {
	n      *Network
	at     netip.AddrPort
	queue  chan *Conn
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close implements net.Listener: connections that nobody accepted are reset.
func (l *listener) Close() error {
	l.n.mu.Lock()
	if l.n.listeners[l.at] != l {
		l.n.mu.Unlock()
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	delete(l.n.listeners, l.at)
	close(l.closed)
	l.n.mu.Unlock()
	for {
		select {
		case c := <-l.queue:
			c.Abort()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addr(l.at) }

func addr(a netip.AddrPort) net.Addr { return net.TCPAddrFromAddrPort(a) }

// parse reads an address of a network.
func parse(network, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "localhost" {
		host = "127.0.0.1"
		if network == "tcp6" {
			host = "::1"
		}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, &net.DNSError{Err: "no names in this network", Name: host, IsNotFound: true}
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "invalid port", Addr: address}
	}
	at := netip.AddrPortFrom(a.Unmap(), uint16(p))
	switch {
	case network != "tcp" && network != "tcp4" && network != "tcp6":
		return at, net.UnknownNetworkError(network)
	case network == "tcp4" && !at.Addr().Is4(), network == "tcp6" && at.Addr().Is4():
		return at, &net.AddrError{Err: "no suitable address", Addr: address}
	}
	return at, nil
}

// sleep waits in the time of the bubble.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
