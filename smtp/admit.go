package smtp

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// maxRates bounds the memory of recent connects.
const maxRates = 16 << 10

// gate counts connections (SS14). Its maps hold an entry per open connection
// at most, or maxRates.
type gate struct {
	lim   Limits
	mu    sync.Mutex
	total int
	open  int // neither trusted nor authenticated
	peers map[netip.Prefix]int
	rates map[netip.Prefix]rate
	// stressed tells that over 80 % of the connections are in use (SS12).
	stressed atomic.Bool
}

// rate counts the connects of one minute.
type rate struct {
	since time.Time
	n     int
}

func newGate(lim Limits) *gate {
	return &gate{lim: lim, peers: map[netip.Prefix]int{}, rates: map[netip.Prefix]rate{}}
}

// groups are the prefixes under which an address is counted, with their limits.
func (g *gate) groups(a netip.Addr) (host, net netip.Prefix, perHost, perNet int) {
	bits, netBits := 32, 24
	perHost, perNet = g.lim.PerIPv4, g.lim.PerIPv4Net
	if a.Is6() {
		bits, netBits = 64, 48
		perHost, perNet = g.lim.PerIPv6, g.lim.PerIPv6Net
	}
	host, _ = a.Prefix(bits)
	net, _ = a.Prefix(netBits)
	return host, net, perHost, perNet
}

// admit counts a new connection, or says why it is refused. An invalid address
// is a transport without addresses: only the total limits it.
func (g *gate) admit(a netip.Addr, trusted bool, now time.Time) (refusal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.lim.Connections {
		return "connections"
	}
	if trusted {
		g.count(1)
		return ""
	}
	if g.open >= g.lim.Connections-g.lim.Connections/5 {
		return "connections"
	}
	if a.IsValid() {
		host, net, perHost, perNet := g.groups(a)
		if g.connects(host, now) > g.lim.NewPerMin {
			return "rate"
		}
		if g.peers[host] >= perHost || g.peers[net] >= perNet {
			return "address"
		}
		g.peers[host]++
		g.peers[net]++
	}
	g.count(1)
	g.open++
	return ""
}

func (g *gate) count(n int) {
	g.total += n
	g.stressed.Store(g.total*5 > g.lim.Connections*4)
}

// connects counts one more connect of host in its current minute.
func (g *gate) connects(host netip.Prefix, now time.Time) int {
	r, known := g.rates[host]
	if !known && len(g.rates) >= maxRates {
		g.evict(now)
	}
	if now.Sub(r.since) >= time.Minute {
		r = rate{since: now}
	}
	r.n++
	g.rates[host] = r
	return r.n
}

// evict forgets minutes that are over, and others until a quarter is free: so
// its work is spread over many connects.
func (g *gate) evict(now time.Time) {
	for p, r := range g.rates {
		if now.Sub(r.since) >= time.Minute {
			delete(g.rates, p)
		}
	}
	for p := range g.rates {
		if len(g.rates) <= maxRates/4*3 {
			return
		}
		delete(g.rates, p)
	}
}

// promote takes a connection that authenticated out of the open ones.
func (g *gate) promote() {
	g.mu.Lock()
	g.open--
	g.mu.Unlock()
}

// leave uncounts a connection that was admitted.
func (g *gate) leave(a netip.Addr, trusted, promoted bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(-1)
	if trusted {
		return
	}
	if !promoted {
		g.open--
	}
	if a.IsValid() {
		host, net, _, _ := g.groups(a)
		for _, p := range [...]netip.Prefix{host, net} {
			if g.peers[p]--; g.peers[p] <= 0 {
				delete(g.peers, p)
			}
		}
	}
}
