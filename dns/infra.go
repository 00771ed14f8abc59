package dns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
)

// Bounds of what is known of name servers: 64 MiB in all (DN3).
const (
	maxCuts    = 40 << 20 // octets
	maxHosts   = 12 << 20 // octets
	maxStates  = 50_000   // of some 100 octets, like the next
	maxLame    = 50_000
	keepLame   = 5 * time.Minute  // RFC 9520 §3.2
	leastKept  = 30 * time.Second // of addresses; servers without any are asked for no more often either
	mostKept   = 24 * time.Hour
	mostPause  = 5 * time.Minute
	firstPause = 5 * time.Second
)

// cut is where a zone begins, with who serves it, as its parent says.
type cut struct {
	zone    string
	hosts   []string
	glue    map[string][]netip.Addr
	expires time.Time
}

// hostAddrs are the addresses of a name server whose parent gives none.
type hostAddrs struct {
	addrs   []netip.Addr
	expires time.Time
}

// hostKey names addresses of one kind.
type hostKey struct {
	host string
	t    uint16
}

// state is how a server behaved.
type state struct {
	rtt    time.Duration // smoothed; 0 unknown
	failed int           // times in a row
	until  time.Time     // asked only when there is nobody else
	noEDNS bool
}

// lameKey is a server that does not serve a zone.
type lameKey struct {
	addr netip.Addr
	zone string
}

// infra is what is known of name servers.
type infra struct {
	cuts   *otter.Cache[string, *cut]
	hosts  *otter.Cache[hostKey, hostAddrs]
	states *otter.Cache[netip.Addr, state]
	lame   *otter.Cache[lameKey, time.Time]
}

func newInfra() infra {
	return infra{
		cuts: otter.Must(&otter.Options[string, *cut]{MaximumWeight: maxCuts, Weigher: func(zone string, c *cut) uint32 {
			n := 400 + 2*len(zone)
			for _, h := range c.hosts {
				n += 80 + 2*len(h) + 32*len(c.glue[h])
			}
			return uint32(n)
		}}),
		hosts: otter.Must(&otter.Options[hostKey, hostAddrs]{MaximumWeight: maxHosts, Weigher: func(k hostKey, h hostAddrs) uint32 {
			return uint32(300 + len(k.host) + 32*len(h.addrs))
		}}),
		states: otter.Must(&otter.Options[netip.Addr, state]{MaximumSize: maxStates}),
		lame:   otter.Must(&otter.Options[lameKey, time.Time]{MaximumSize: maxLame}),
	}
}

// closest is the deepest zone on the way to a name whose servers are known, and
// the name down to which there is no other; nil if not even the root's are.
func (i *infra) closest(name string, now time.Time) (at *cut, down string) {
	for {
		if c, ok := i.cuts.GetIfPresent(name); ok && c.expires.After(now) {
			return c, name
		}
		if name == "." {
			return nil, name
		}
		name = above(name)
	}
}

// inside notes that a name lies in a zone, and no other begins at it.
func (i *infra) inside(name string, at *cut, now time.Time) {
	c := *at
	if end := now.Add(maxInside); c.expires.After(end) {
		c.expires = end
	}
	i.cuts.Set(name, &c)
}

// failed notes that a server gave no answer. It is passed over for twice as
// long each time.
func (i *infra) failed(a netip.Addr, now time.Time) {
	if a.Is6() && a != netip.IPv6Unspecified() { // which stands for all: many machines have no way to IPv6
		i.failed(netip.IPv6Unspecified(), now)
	}
	s, _ := i.states.GetIfPresent(a)
	s.failed = min(s.failed+1, 10)
	s.until = now.Add(min(firstPause<<(s.failed-1), mostPause))
	i.states.Set(a, s)
}

// answered notes how long an answer took (RFC 6298 §2 smooths likewise).
func (i *infra) answered(a netip.Addr, took time.Duration) {
	if a.Is6() && a != netip.IPv6Unspecified() {
		i.answered(netip.IPv6Unspecified(), took)
	}
	s, _ := i.states.GetIfPresent(a)
	s.failed, s.until = 0, time.Time{}
	if s.rtt == 0 {
		s.rtt = took
	}
	s.rtt += (took - s.rtt) / 8
	i.states.Set(a, s)
}

// byMerit sorts servers: those that failed go last, and before them those to be
// avoided; the others by how long they take, with those near the best in random
// order, and the unknown get a chance. Lame ones are left out.
func (i *infra) byMerit(zone string, addrs []netip.Addr, avoid map[netip.Addr]bool, now time.Time) []netip.Addr {
	type ranked struct {
		addr netip.Addr
		rank time.Duration
	}
	var all []ranked
	six, _ := i.states.GetIfPresent(netip.IPv6Unspecified())
	for _, a := range addrs {
		if until, ok := i.lame.GetIfPresent(lameKey{a, zone}); ok && until.After(now) {
			continue
		}
		s, _ := i.states.GetIfPresent(a)
		rank := s.rtt + time.Duration(rand.Int64N(int64(40*time.Millisecond)))
		if s.until.After(now) {
			rank += time.Duration(s.failed) * time.Hour
		}
		if a.Is6() && six.failed >= 3 && six.until.After(now) {
			rank += 10 * time.Minute
		}
		if s.noEDNS || avoid[a] { // it cannot prove anything, or did not
			rank += 30 * time.Minute
		}
		all = append(all, ranked{a, rank})
	}
	slices.SortFunc(all, func(a, b ranked) int { return int(a.rank - b.rank) })
	out := make([]netip.Addr, len(all))
	for i, r := range all {
		out[i] = r.addr
	}
	return out
}
