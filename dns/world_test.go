package dns_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/postino-mail/postino/dns"
)

// World is a tree of zones from the root down, signed as they are asked for,
// behind a recursive server that does not validate. It serves connections in
// the process; all methods may be called from any goroutine.
type World struct {
	mu     sync.Mutex
	zones  map[string]*zone
	faults map[mdns.Question]*WireFault
	tamper func([]byte) []byte
	asked  int
}

// WireFaultKind is a way in which replies go wrong.
type WireFaultKind uint8

// The faults of replies.
const (
	WireNone       WireFaultKind = iota // answer well, after Delay
	WireServFail                        // SERVFAIL
	WireSilent                          // no reply
	WireTruncate                        // UDP replies are empty and truncated
	WireUnsigned                        // RRSIG records are left out
	WireNoProof                         // NSEC and NSEC3 records are left out
	WireEmpty                           // everything is left out
	WireSignatures                      // 40 wrong signatures stand before each good one
)

// WireFault is what happens to replies about a name.
type WireFault struct {
	Kind  WireFaultKind
	Delay time.Duration // in a synctest bubble only
	Times int           // how many questions it hits; 0 all
}

// NewWorld returns a world with a signed root (algorithm 13, NSEC).
func NewWorld() *World {
	w := &World{zones: map[string]*zone{}, faults: map[mdns.Question]*WireFault{}}
	if err := w.AddZone(".", "", Signing{Algorithm: mdns.ECDSAP256SHA256}); err != nil {
		panic(err)
	}
	return w
}

// AddZone adds a zone from text (RFC 1035 §5), or replaces one. Its parents
// delegate to it, with DS records if it is signed.
func (w *World) AddZone(origin, text string, s Signing) error {
	z, err := newZone(mdns.CanonicalName(origin), text, s)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zones[z.origin] = z
	for _, x := range w.zones { // what was signed may be no more
		x.signed = map[string]*mdns.RRSIG{}
	}
	for child, c := range w.zones {
		if parent := w.parent(child); parent != nil {
			if err := parent.delegate(c); err != nil {
				return err
			}
		}
	}
	return nil
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
	ds := w.zones["."].ksk.public.ToDS(mdns.SHA256)
	hash, err := hex.DecodeString(ds.Digest)
	if err != nil {
		panic(err)
	}
	return []dns.Anchor{{KeyTag: ds.KeyTag, Algorithm: ds.Algorithm, Digest: ds.DigestType, Hash: hash}}
}

// SetFault makes replies about a name go wrong: those for type t, or for all
// types for 0. The zero fault ends it.
func (w *World) SetFault(name string, t dns.Type, f WireFault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := mdns.Question{Name: mdns.CanonicalName(name), Qtype: uint16(t)}
	if f == (WireFault{}) {
		delete(w.faults, k)
		return
	}
	w.faults[k] = &f
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

// Dial connects to the recursive server of the world, whatever the address; it
// is made for dns.Options.
func (w *World) Dial(_ context.Context, network, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	switch network {
	case "udp":
		go w.datagrams(server)
	case "tcp":
		go w.stream(server)
	default:
		return nil, errors.New("no such network: " + network)
	}
	return client, nil
}

func (w *World) datagrams(c net.Conn) {
	defer c.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if reply := w.answer(b[:n], true); reply != nil {
			if _, err := c.Write(reply); err != nil {
				return
			}
		}
	}
}

func (w *World) stream(c net.Conn) {
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
		if reply := w.answer(b, false); reply != nil {
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
				return
			}
		}
	}
}

// answer makes the octets of the reply to a question; nil is silence. A fault
// has a Delay only inside of a synctest bubble.
func (w *World) answer(question []byte, datagram bool) []byte {
	q := new(mdns.Msg)
	if q.Unpack(question) != nil || len(q.Question) != 1 {
		return nil
	}
	m, fault, tamper := w.reply(q)
	time.Sleep(fault.Delay)
	switch fault.Kind {
	case WireSilent:
		return nil
	case WireTruncate:
		if datagram {
			m.Answer, m.Ns, m.Truncated = nil, nil, true
		}
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
	if tamper != nil {
		b = tamper(b)
	}
	return b
}

// reply makes the reply with its faults, but for those of the transport.
func (w *World) reply(q *mdns.Msg) (*mdns.Msg, WireFault, func([]byte) []byte) {
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
	if fault.Kind == WireServFail {
		m.Rcode = mdns.RcodeServerFailure
		return m, fault, w.tamper
	}
	w.resolve(m, name, t)
	keep := func(rr mdns.RR) bool {
		kind := rr.Header().Rrtype
		proof, signature := kind == mdns.TypeNSEC || kind == mdns.TypeNSEC3, kind == mdns.TypeRRSIG
		if sig, ok := rr.(*mdns.RRSIG); ok {
			proof = sig.TypeCovered == mdns.TypeNSEC || sig.TypeCovered == mdns.TypeNSEC3
		}
		return (prove || kind == t || !proof && !signature) && fault.Kind != WireEmpty &&
			(!signature || fault.Kind != WireUnsigned) && (!proof || fault.Kind != WireNoProof)
	}
	for _, section := range []*[]mdns.RR{&m.Answer, &m.Ns} {
		*section = slices.DeleteFunc(*section, func(rr mdns.RR) bool { return !keep(rr) })
		if fault.Kind == WireSignatures {
			*section = flood(*section)
		}
	}
	return m, fault, w.tamper
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

// fault finds what is to go wrong, and uses it up.
func (w *World) fault(name string, t uint16) WireFault {
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
	return WireFault{}
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
