package dnstest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/postino-mail/postino/dns"
)

// nextAddress is one for the name server of another zone: public ones, so that
// resolvers ask them, which belong to nobody (RFC 5737).
func (w *World) nextAddress() netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addresses++
	n := w.addresses % 500
	if n < 250 {
		return netip.AddrFrom4([4]byte{198, 51, 100, byte(n + 1)})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(n - 249)})
}

// Recursor returns a validating resolver that asks the name servers of the
// zones themselves, from the root of this world down. Those are where the NS
// records of zones and the addresses of their hosts say; zones without NS
// records get a server ns with an address of its own.
func (w *World) Recursor(t testing.TB, change ...func(*dns.ValidatorOptions)) *dns.Validator {
	t.Helper()
	return w.Resolver(t, append([]func(*dns.ValidatorOptions){func(o *dns.ValidatorOptions) {
		o.Recursive, o.Hints, o.Dial = true, w.Servers("."), w.DialServer
	}}, change...)...)
}

// Servers are the addresses of the name servers of a zone.
func (w *World) Servers(origin string) (all []netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if z := w.zones[mdns.CanonicalName(origin)]; z != nil {
		for _, rr := range z.names[z.origin][mdns.TypeNS] {
			all = append(all, w.addressesOf(rr.(*mdns.NS).Ns)...)
		}
	}
	return all
}

// SetServerFault makes the name server at an address go wrong, whatever it is
// asked; the zero fault ends it. It returns w.
func (w *World) SetServerFault(at netip.Addr, f Fault) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[at] = f
	return w
}

// OnQuestion has f told of every question to the name server at an address, with
// its name in lower case and with a final dot. It returns w.
func (w *World) OnQuestion(at netip.Addr, f func(name string, t dns.Type)) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard[at] = f
	return w
}

// Extra makes the name servers of a zone add records, as text, to the
// additional section of every reply, whether they know about them or not. It
// returns w.
func (w *World) Extra(origin, text string) *World {
	w.t.Helper()
	p := mdns.NewZoneParser(strings.NewReader(text), mdns.CanonicalName(origin), "")
	p.SetDefaultTTL(3600)
	var all []mdns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		all = append(all, rr)
	}
	if err := p.Err(); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.extra[mdns.CanonicalName(origin)] = all
	return w
}

// DialServer connects to the name server at an address in the process, for
// dns.Options.Dial; nobody answers where none is.
func (w *World) DialServer(_ context.Context, network, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return w.pipe(network, func(question []byte, datagram bool) []byte { return w.authority(question, at.Addr(), datagram) })
}

// ServeServers puts the name servers of all zones on loopback sockets, and
// returns a function for dns.Options.Dial that finds them by their addresses.
func (w *World) ServeServers(t testing.TB) func(ctx context.Context, network, address string) (net.Conn, error) {
	t.Helper()
	w.mu.Lock()
	w.findAuthorities()
	servers := w.authorities
	w.mu.Unlock()
	where := map[netip.Addr]string{}
	for a := range servers {
		where[a] = w.serve(t, func(question []byte, datagram bool) []byte { return w.authority(question, a, datagram) }).String()
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		at, err := netip.ParseAddrPort(address)
		if err == nil && where[at.Addr()] == "" {
			err = &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(address)}
		}
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, where[at.Addr()])
	}
}

// addressesOf are those of a host.
func (w *World) addressesOf(host string) (all []netip.Addr) {
	host = mdns.CanonicalName(host)
	types := w.zone(host).names[host]
	for _, rr := range types[mdns.TypeA] {
		if a, ok := netip.AddrFromSlice(rr.(*mdns.A).A.To4()); ok {
			all = append(all, a)
		}
	}
	for _, rr := range types[mdns.TypeAAAA] {
		if a, ok := netip.AddrFromSlice(rr.(*mdns.AAAA).AAAA); ok {
			all = append(all, a)
		}
	}
	return all
}

func (w *World) findAuthorities() {
	if w.authorities != nil {
		return
	}
	w.authorities = map[netip.Addr][]*zone{}
	for _, z := range w.zones {
		for _, rr := range z.names[z.origin][mdns.TypeNS] {
			for _, a := range w.addressesOf(rr.(*mdns.NS).Ns) {
				w.authorities[a] = append(w.authorities[a], z)
			}
		}
	}
}

// authority answers as the name server at an address.
func (w *World) authority(question []byte, at netip.Addr, datagram bool) []byte {
	q := new(mdns.Msg)
	if q.Unpack(question) != nil || len(q.Question) != 1 {
		return nil
	}
	m, fault, tamper := w.fromZone(q, at)
	if m == nil {
		return nil
	}
	b := send(q, m, fault, datagram)
	if tamper != nil && b != nil {
		b = tamper(b)
	}
	return b
}

// fromZone makes the reply of the name server at an address; nil when none is
// there.
func (w *World) fromZone(q *mdns.Msg, at netip.Addr) (*mdns.Msg, Fault, func([]byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	w.findAuthorities()
	if w.authorities[at] == nil {
		return nil, Fault{}, nil
	}
	name, t := mdns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	if f := w.heard[at]; f != nil {
		f(name, dns.Type(t))
	}
	m := new(mdns.Msg).SetReply(q)
	prove := false
	if opt := q.IsEdns0(); opt != nil {
		prove = opt.Do()
		m.SetEdns0(1232, prove)
	}
	fault := w.fault(name, t)
	if f := w.broken[at]; f != (Fault{}) {
		fault = f
	}
	var z *zone
	for _, c := range w.authorities[at] {
		above := c.origin != name || t != mdns.TypeDS || name == "."
		if above && mdns.IsSubDomain(c.origin, name) && (z == nil || len(c.origin) > len(z.origin)) {
			z = c
		}
	}
	switch {
	case fault.Kind == ServFail:
		m.Rcode = mdns.RcodeServerFailure
		return m, fault, nil
	case fault.Kind == Refused || z == nil:
		m.Rcode = mdns.RcodeRefused
		return m, fault, nil
	}
	if child := z.below(name, t); child != nil {
		w.refer(m, z, child)
	} else {
		m.Authoritative = true
		z.answer(m, name, t)
		for _, rr := range m.Answer { // as they do for the root's
			if ns, ok := rr.(*mdns.NS); ok {
				m.Extra = append(m.Extra, z.names[mdns.CanonicalName(ns.Ns)][mdns.TypeA]...)
			}
		}
	}
	spoil(m, t, prove, fault)
	m.Extra = append(m.Extra, w.extra[z.origin]...)
	return m, fault, w.tamper
}

// below is the zone below that knows about a name, if one does.
func (z *zone) below(name string, t uint16) *zone {
	for origin, child := range z.children {
		if mdns.IsSubDomain(origin, name) && (origin != name || t != mdns.TypeDS) {
			return child
		}
	}
	return nil
}

// refer leads to a zone below, with the addresses of servers that lie in it.
func (w *World) refer(m *mdns.Msg, z, child *zone) {
	set := z.names[child.origin]
	m.Ns = z.with(m.Ns, set[mdns.TypeNS], child.origin)
	if ds := set[mdns.TypeDS]; ds != nil {
		m.Ns = z.with(m.Ns, ds, child.origin)
	} else {
		z.prove(m, child.origin, z.has(child.origin))
	}
	for _, rr := range set[mdns.TypeNS] {
		host := mdns.CanonicalName(rr.(*mdns.NS).Ns)
		if mdns.IsSubDomain(child.origin, host) {
			for _, t := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
				m.Extra = append(m.Extra, w.zone(host).names[host][t]...)
			}
		}
	}
}
