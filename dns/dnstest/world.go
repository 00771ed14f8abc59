package dnstest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/postino-mail/postino/dns"
)

// World is a tree of zones from a signed root down, signed as they are asked
// for, behind a recursive server that does not validate. Whatever no zone holds
// does not exist, and the root proves it. All methods may be called from any
// goroutine.
type World struct {
	t      testing.TB
	mu     sync.Mutex
	zones  map[string]*zone
	faults map[mdns.Question]*Fault
	behave map[netip.Addr]Behaviour
	judge  *dns.Validator // of servers that validate
	tamper func([]byte) []byte
	asked  int

	addresses   int                    // handed out to name servers
	authorities map[netip.Addr][]*zone // by the addresses of their servers; nil: to be found
	extra       map[string][]mdns.RR   // what servers of a zone add to every reply
	broken      map[netip.Addr]Fault
	heard       map[netip.Addr]func(string, dns.Type)
}

// Behaviour is what a recursive server makes of DNSSEC.
type Behaviour uint8

// The behaviours.
const (
	Careless   Behaviour = iota // it hands out signatures, and judges nothing
	Validating                  // it sets AD, and refuses what is bogus
	Stripping                   // it knows no DNSSEC, and leaves signatures out
	Dead                        // it says nothing
)

// FaultKind is a way in which replies go wrong.
type FaultKind uint8

// The faults of replies.
const (
	None         FaultKind = iota // answer well, after Delay
	ServFail                      // SERVFAIL
	Refused                       // REFUSED
	Silent                        // no reply
	Truncate                      // UDP replies are empty and truncated
	NoSignatures                  // RRSIG records are left out
	NoProof                       // NSEC and NSEC3 records are left out
	Empty                         // everything is left out
	Flood                         // 40 wrong signatures stand before each good one
	Forged                        // each signature has one bit changed
	WrongID                       // another id in the reply
	WrongName                     // another question in the reply
	NoEDNS                        // questions with EDNS get FORMERR
	Garbage                       // the reply is no DNS message
)

// Fault is what happens to replies about a name.
type Fault struct {
	Kind  FaultKind
	Delay time.Duration // before the reply
	Times int           // how many questions it hits; 0 all
}

// NewWorld returns a world with nothing but a signed root (algorithm 13, NSEC).
// Zones that cannot be read fail t.
func NewWorld(t testing.TB) *World {
	w := &World{t: t, zones: map[string]*zone{}, faults: map[mdns.Question]*Fault{}, behave: map[netip.Addr]Behaviour{}, extra: map[string][]mdns.RR{}, broken: map[netip.Addr]Fault{},
		heard: map[netip.Addr]func(string, dns.Type){}}
	return w.Zone(".", Signed(), "")
}

// Zone adds a zone from text (RFC 1035 §5, names relative to origin), or
// replaces one; it returns w. The zone above delegates to it, with DS records
// if it is signed. SOA and NS records are added where the text has none.
func (w *World) Zone(origin string, s Signing, text string) *World {
	w.t.Helper()
	z, err := newZone(mdns.CanonicalName(origin), text, s, w.nextAddress())
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zones[z.origin] = z
	w.judge, w.authorities = nil, nil
	for _, x := range w.zones { // what was signed may be no more
		x.signed = map[string][]*mdns.RRSIG{}
	}
	for _, x := range w.zones {
		for child := range x.children {
			if w.parent(child) != x { // there is another zone in between now
				delete(x.children, child)
				delete(x.names, child)
			}
		}
	}
	for child, c := range w.zones {
		if parent := w.parent(child); parent != nil {
			if err := parent.delegate(c); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return w
}

// Resolver returns a validating resolver of this world, which believes the
// keys of its root. It opens no sockets. The options that are not set by the
// world may be changed.
func (w *World) Resolver(t testing.TB, change ...func(*dns.ValidatorOptions)) *dns.Validator {
	t.Helper()
	opts := dns.ValidatorOptions{
		Options: dns.Options{Dial: w.Dial, Timeout: 2 * time.Second, Attempts: 1, Servers: []dns.Server{{Addr: netip.MustParseAddrPort("192.0.2.53:53")}}},
		Anchors: w.Anchors(),
	}
	for _, f := range change {
		f(&opts)
	}
	v, err := dns.NewValidator(opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// parent is the zone that delegates to the one of that origin.
func (w *World) parent(origin string) *zone {
	if origin == "." {
		return nil
	}
	return w.zone(parentName(origin))
}

// zone finds the zone that a name is in.
func (w *World) zone(name string) *zone {
	for {
		if z := w.zones[name]; z != nil {
			return z
		}
		if name == "." {
			return nil
		}
		name = parentName(name)
	}
}

// Anchors are the trust anchors of the root.
func (w *World) Anchors() []dns.Anchor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []dns.Anchor{anchorOf(w.zones["."].ksk.public)}
}

// SetFault makes replies about a name go wrong: those for type t, or for all
// types for 0. The zero fault ends it. It returns w.
func (w *World) SetFault(name string, t dns.Type, f Fault) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := mdns.Question{Name: mdns.CanonicalName(name), Qtype: uint16(t)}
	w.faults[k] = &f
	if f == (Fault{}) {
		delete(w.faults, k)
	}
	return w
}

// Behave says what the recursive servers at an address of Dial, or those that
// Serve opened at it, make of DNSSEC. It returns w.
func (w *World) Behave(at netip.Addr, b Behaviour) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behave[at] = b
	return w
}

// Tamper lets f change the octets of every reply; nil ends it.
func (w *World) Tamper(f func([]byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tamper = f
}

// Asked is the number of questions so far.
func (w *World) Asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// Dial connects to the recursive server of the world in the process, whatever
// the address; it is made for dns.Options.
func (w *World) Dial(_ context.Context, network, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return w.pipe(network, w.recursive(at.Addr()))
}

// answerer makes the octets of the reply to a question; nil is silence.
type answerer func(question []byte, datagram bool) []byte

// recursive is the recursive server at an address.
func (w *World) recursive(at netip.Addr) answerer {
	return func(question []byte, datagram bool) []byte { return w.answer(question, at, datagram) }
}

// pipe connects to a server in the process.
func (w *World) pipe(network string, answer answerer) (net.Conn, error) {
	client, server := net.Pipe()
	switch network {
	case "udp":
		go w.datagrams(server, answer)
	case "tcp":
		go w.stream(server, answer)
	default:
		return nil, errors.New("no such network: " + network)
	}
	return client, nil
}

func (w *World) datagrams(c net.Conn, answer answerer) {
	defer c.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if reply := answer(b[:n], true); reply != nil {
			if _, err := c.Write(reply); err != nil {
				return
			}
		}
	}
}

func (w *World) stream(c net.Conn, answer answerer) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if reply := answer(b, false); reply != nil {
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
				return
			}
		}
	}
}

// Serve opens loopback sockets, UDP and TCP on one port, that answer like the
// recursive server of the world until the test ends.
func (w *World) Serve(t testing.TB) netip.AddrPort {
	t.Helper()
	return w.serve(t, w.recursive(netip.AddrFrom4([4]byte{127, 0, 0, 1})))
}

func (w *World) serve(t testing.TB, answer answerer) netip.AddrPort {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	for udp == nil {
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err != nil { // somebody has the port
			tcp.Close()
		}
	}
	var running sync.WaitGroup
	running.Go(func() { w.serveUDP(udp, answer) })
	running.Go(func() { w.serveTCP(tcp, answer) })
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		running.Wait()
	})
	return tcp.Addr().(*net.TCPAddr).AddrPort()
}

func (w *World) serveUDP(c net.PacketConn, answer answerer) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		b := make([]byte, 64<<10)
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		running.Go(func() { // a delay holds up nobody else
			if reply := answer(b[:n], true); reply != nil {
				c.WriteTo(reply, from)
			}
		})
	}
}

func (w *World) serveTCP(l net.Listener, answer answerer) {
	var running sync.WaitGroup
	var open []net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		open = append(open, c)
		running.Go(func() { w.stream(c, answer) })
	}
	for _, c := range open {
		c.Close()
	}
	running.Wait()
}

// answer makes the octets of the reply to a question; nil is silence.
func (w *World) answer(question []byte, at netip.Addr, datagram bool) []byte {
	q := new(mdns.Msg)
	if q.Unpack(question) != nil || len(q.Question) != 1 {
		return nil
	}
	w.mu.Lock()
	behaviour := w.behave[at]
	w.mu.Unlock()
	secure, refused := false, false
	switch behaviour {
	case Validating:
		secure, refused = w.judged(q)
	case Stripping:
		if opt := q.IsEdns0(); opt != nil {
			opt.SetDo(false)
		}
	case Dead:
		return nil
	}
	m, fault, tamper := w.reply(q)
	if m.AuthenticatedData = secure; refused {
		m.Answer, m.Ns, m.Rcode = nil, nil, mdns.RcodeServerFailure
		if opt := m.IsEdns0(); opt != nil {
			opt.Option = append(opt.Option, &mdns.EDNS0_EDE{InfoCode: mdns.ExtendedErrorCodeDNSBogus})
		}
	}
	b := send(q, m, fault, datagram)
	if tamper != nil && b != nil {
		b = tamper(b)
	}
	return b
}

// send makes the octets of a reply, with the faults that concern them.
func send(q, m *mdns.Msg, fault Fault, datagram bool) []byte {
	time.Sleep(fault.Delay)
	switch fault.Kind {
	case Silent:
		return nil
	case Truncate:
		if datagram {
			m.Answer, m.Ns, m.Extra, m.Truncated = nil, nil, nil, true
		}
	case WrongID:
		m.Id++
	case WrongName:
		m.Question[0].Name = "other." + m.Question[0].Name
	case NoEDNS:
		if q.IsEdns0() != nil {
			m = new(mdns.Msg).SetRcodeFormatError(q)
		}
	case Garbage:
		return []byte{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12}
	}
	m.Compress = true
	if datagram {
		m.Truncate(1232)
	}
	b, err := m.Pack()
	if err != nil {
		m.Answer, m.Ns, m.Rcode = nil, nil, mdns.RcodeServerFailure
		b, _ = m.Pack()
	}
	return b
}

// judged validates the answer as a server that does so would.
func (w *World) judged(q *mdns.Msg) (secure, refused bool) {
	if q.CheckingDisabled {
		return false, false
	}
	w.mu.Lock()
	if w.judge == nil {
		w.mu.Unlock()
		judge := w.Resolver(w.t, func(o *dns.ValidatorOptions) {
			o.MaxTTL, o.MaxNegativeTTL = 1, 1
			o.Servers = []dns.Server{{Addr: netip.MustParseAddrPort("0.0.0.1:53")}} // of which nobody says how it behaves
		})
		w.mu.Lock()
		w.judge = judge
	}
	judge := w.judge
	w.mu.Unlock()
	a, err := judge.Lookup(context.Background(), q.Question[0].Name, dns.Type(q.Question[0].Qtype))
	return a != nil && a.Security == dns.Secure, errors.Is(err, dns.ErrBogus)
}

// reply makes the reply with its faults, but for those of the transport.
func (w *World) reply(q *mdns.Msg) (*mdns.Msg, Fault, func([]byte) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	m := new(mdns.Msg).SetReply(q)
	m.RecursionAvailable = true
	prove := false
	if opt := q.IsEdns0(); opt != nil {
		prove = opt.Do()
		m.SetEdns0(1232, prove)
	}
	name, t := mdns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	fault := w.fault(name, t)
	switch fault.Kind {
	case ServFail:
		m.Rcode = mdns.RcodeServerFailure
		return m, fault, w.tamper
	case Refused:
		m.Rcode = mdns.RcodeRefused
		return m, fault, w.tamper
	}
	w.resolve(m, name, t)
	spoil(m, t, prove, fault)
	return m, fault, w.tamper
}

// spoil leaves out what was not asked for, and what the fault says.
func spoil(m *mdns.Msg, t uint16, prove bool, fault Fault) {
	keep := func(rr mdns.RR) bool {
		kind := rr.Header().Rrtype
		proof, signature := kind == mdns.TypeNSEC || kind == mdns.TypeNSEC3, kind == mdns.TypeRRSIG
		if sig, ok := rr.(*mdns.RRSIG); ok {
			proof = sig.TypeCovered == mdns.TypeNSEC || sig.TypeCovered == mdns.TypeNSEC3
		}
		return (prove || kind == t || !proof && !signature) && fault.Kind != Empty &&
			(!signature || fault.Kind != NoSignatures) && (!proof || fault.Kind != NoProof)
	}
	for _, section := range []*[]mdns.RR{&m.Answer, &m.Ns} {
		*section = slices.DeleteFunc(*section, func(rr mdns.RR) bool { return !keep(rr) })
		switch fault.Kind {
		case Flood:
			*section = flood(*section)
		case Forged:
			forge(*section)
		}
	}
}

// flood puts wrong signatures before each good one.
func flood(section []mdns.RR) (out []mdns.RR) {
	for _, rr := range section {
		if sig, ok := rr.(*mdns.RRSIG); ok {
			for range 40 {
				wrong := mdns.Copy(sig).(*mdns.RRSIG)
				wrong.Signature = strings.Repeat("A", len(sig.Signature)/4*4)
				out = append(out, wrong)
			}
		}
		out = append(out, rr)
	}
	return out
}

// forge changes the first octet of each signature. They are ours to change:
// sign hands out copies.
func forge(section []mdns.RR) {
	for _, rr := range section {
		if sig, ok := rr.(*mdns.RRSIG); ok {
			c := byte('A')
			if sig.Signature[0] == c {
				c = 'B'
			}
			sig.Signature = string(c) + sig.Signature[1:]
		}
	}
}

// fault finds what is to go wrong, and uses it up.
func (w *World) fault(name string, t uint16) Fault {
	for _, k := range []mdns.Question{{Name: name, Qtype: t}, {Name: name}} {
		f := w.faults[k]
		if f == nil {
			continue
		}
		fault := *f
		if f.Times == 1 {
			delete(w.faults, k)
		} else if f.Times > 1 {
			f.Times--
		}
		return fault
	}
	return Fault{}
}

// resolve fills m with the chain that begins at name, and its proofs.
func (w *World) resolve(m *mdns.Msg, name string, t uint16) {
	for range 12 {
		z := w.zone(name)
		if t == mdns.TypeDS && name == z.origin && name != "." {
			z = w.parent(name)
		}
		next := z.answer(m, name, t)
		if next == "" {
			return
		}
		name = next
	}
}

func parentName(name string) string {
	labels := mdns.SplitDomainName(name)
	if len(labels) <= 1 {
		return "."
	}
	return strings.Join(labels[1:], ".") + "."
}
