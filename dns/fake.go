package dns

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

// Fake is a whole Internet of names in memory, for tests and development: it
// answers from zone texts, and misbehaves where told. Names outside all zones
// do not exist. All methods may be called from any goroutine.
type Fake struct {
	mu     sync.Mutex
	zones  map[string]*zone
	faults map[cacheKey]*Fault
	asked  int
}

// zone holds the records below an origin by owner.
type zone struct {
	security Security
	soa      dns.RR
	names    map[string][]dns.RR // an empty list for names that only have names below
}

// FaultKind is a way to misbehave.
type FaultKind uint8

// The faults. Those after FaultBogus concern the wire; a direct Lookup sees
// FaultSilent as a timeout and the others not at all.
const (
	FaultNone      FaultKind = iota // answer well, after Delay
	FaultServFail                   // SERVFAIL
	FaultRefused                    // REFUSED
	FaultNXDomain                   // the name does not exist, whatever the zone says
	FaultBogus                      // SERVFAIL with the extended error "DNSSEC Bogus"
	FaultSilent                     // no reply
	FaultTruncate                   // UDP replies are empty and truncated
	FaultWrongID                    // another id in the reply
	FaultWrongName                  // another question in the reply
	FaultLowerCase                  // UDP replies repeat the question in lower case
	FaultNoEDNS                     // questions with EDNS get FORMERR
	FaultGarbage                    // the reply is no DNS message
)

// Fault is what happens to questions of a name.
type Fault struct {
	Kind  FaultKind
	Delay time.Duration // before the reply
	Times int           // how many questions it hits; 0 all
}

// NewFake returns a Fake without zones.
func NewFake() *Fake {
	return &Fake{zones: map[string]*zone{}, faults: map[cacheKey]*Fault{}}
}

// AddZone adds a zone from text in the format of RFC 1035 §5, whose answers
// have the given security; it replaces a zone of that origin. $INCLUDE is not
// allowed. Without an SOA the zone gets one with a negative TTL of 5 minutes.
func (f *Fake) AddZone(origin, text string, s Security) error {
	const op = "add zone"
	origin, err := canonical(origin)
	if err != nil {
		return err
	}
	z := &zone{security: s, names: map[string][]dns.RR{}}
	p := dns.NewZoneParser(strings.NewReader(text), origin+".", "")
	p.SetDefaultTTL(3600)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := host(rr.Header().Name)
		if name != origin && !strings.HasSuffix(name, "."+origin) {
			return postino.E(postino.Invalid, op, origin, fmt.Errorf("%s is outside of the zone", name))
		}
		if soa, ok := rr.(*dns.SOA); ok {
			z.soa = soa
		}
		z.names[name] = append(z.names[name], rr)
		for name != origin { // the names between exist too, without records (RFC 8020 §3.1)
			_, name, _ = strings.Cut(name, ".")
			z.names[name] = z.names[name][:len(z.names[name]):len(z.names[name])]
		}
	}
	if err := p.Err(); err != nil {
		return postino.E(postino.Invalid, op, origin, err)
	}
	if z.soa == nil {
		z.soa, err = dns.NewRR(origin + ". 3600 SOA ns." + origin + ". hostmaster." + origin + ". 1 3600 600 86400 300")
		if err != nil {
			return postino.E(postino.Invalid, op, origin, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.zones[origin] = z
	return nil
}

// SetFault makes questions for a name misbehave: those of type t, or of every
// type for 0. The zero Fault ends it.
func (f *Fake) SetFault(name string, t Type, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := cacheKey{strings.ToLower(strings.TrimSuffix(name, ".")), t}
	if fault == (Fault{}) {
		delete(f.faults, k)
		return
	}
	f.faults[k] = &fault
}

// Asked is the number of questions so far.
func (f *Fake) Asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// Lookup implements Resolver, without a network.
func (f *Fake) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	q := new(dns.Msg).SetQuestion(name+".", uint16(t))
	q.SetEdns0(udpSize, false)
	m, fault, s := f.reply(q)
	if err := sleep(ctx, fault); err != nil {
		return nil, postino.E(postino.Transient, "look up "+dns.TypeToString[uint16(t)], name, err)
	}
	a, err := extract(m, name, t)
	if a != nil {
		a.Security = s
	}
	return a, err
}

// sleep waits as the fault says, for ever when there is to be no reply.
func sleep(ctx context.Context, fault Fault) error {
	var after <-chan time.Time
	if fault.Kind != FaultSilent {
		if fault.Delay <= 0 {
			return ctx.Err()
		}
		t := time.NewTimer(fault.Delay)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reply answers a question, with the security of the answer and the fault
// that remains to be played on the wire.
func (f *Fake) reply(q *dns.Msg) (m *dns.Msg, fault Fault, s Security) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	m = new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if q.IsEdns0() != nil {
		m.SetEdns0(udpSize, false)
	}
	name, t := host(q.Question[0].Name), Type(q.Question[0].Qtype)
	fault = f.fault(name, t)
	switch fault.Kind {
	case FaultServFail:
		m.Rcode = dns.RcodeServerFailure
	case FaultRefused:
		m.Rcode = dns.RcodeRefused
	case FaultNXDomain:
		m.Rcode = dns.RcodeNameError
	case FaultBogus:
		m.Rcode = dns.RcodeServerFailure
		if opt := m.IsEdns0(); opt != nil {
			opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus})
		}
	default:
		s = f.resolve(m, name, t)
	}
	m.AuthenticatedData = s == Secure && q.AuthenticatedData
	return m, fault, s
}

// fault finds what is to go wrong, and uses it up.
func (f *Fake) fault(name string, t Type) Fault {
	for _, k := range []cacheKey{{name, t}, {name, 0}} {
		p := f.faults[k]
		if p == nil {
			continue
		}
		fault := *p
		if p.Times == 1 {
			delete(f.faults, k)
		} else if p.Times > 1 {
			p.Times--
		}
		return fault
	}
	return Fault{}
}

// resolve fills m with the chain that begins at name, and returns the least
// security on it. Like real servers it follows longer chains than a client
// should.
func (f *Fake) resolve(m *dns.Msg, name string, t Type) Security {
	s := Secure
	for range 3 * maxChain {
		z := f.zone(name)
		if z == nil {
			m.Rcode = dns.RcodeNameError
			return min(s, Insecure)
		}
		if z.security == Bogus {
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
			if opt := m.IsEdns0(); opt != nil {
				opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus})
			}
			return Unknown
		}
		s = min(s, z.security)
		records, exists := z.find(name)
		target := ""
		found := false
		for _, rr := range records {
			if rr.Header().Rrtype == uint16(t) {
				m.Answer = append(m.Answer, rr)
				found = true
			} else if c, ok := rr.(*dns.CNAME); ok && t != TypeCNAME {
				m.Answer = append(m.Answer, rr)
				target = host(c.Target)
			}
		}
		switch {
		case found:
			return s
		case target != "":
			name = target
		default:
			m.Ns = append(m.Ns, z.soa)
			if !exists {
				m.Rcode = dns.RcodeNameError
			}
			return s
		}
	}
	return s
}

// zone finds the zone that a name is in.
func (f *Fake) zone(name string) *zone {
	for at := name; at != ""; _, at, _ = strings.Cut(at, ".") {
		if z := f.zones[at]; z != nil {
			return z
		}
	}
	return nil
}

// find returns the records at a name, from a wildcard when it does not exist
// (RFC 4592 §3.3).
func (z *zone) find(name string) (records []dns.RR, exists bool) {
	if records, exists = z.names[name]; exists {
		return records, true
	}
	for above := name; above != ""; {
		_, above, _ = strings.Cut(above, ".")
		if wild, ok := z.names["*."+above]; ok {
			for _, rr := range wild {
				rr = dns.Copy(rr)
				rr.Header().Name = name + "."
				records = append(records, rr)
			}
			return records, true
		}
		if _, closest := z.names[above]; closest {
			break
		}
	}
	return nil, false
}

// Serve answers on sockets until stop is called, which closes them. Either may
// be nil.
func (f *Fake) Serve(udp net.PacketConn, tcp net.Listener) (stop func()) {
	var running sync.WaitGroup
	var servers []*dns.Server
	start := func(s *dns.Server) {
		s.Handler = dns.HandlerFunc(f.handle)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		servers = append(servers, s)
		running.Go(func() { s.ActivateAndServe() })
		<-started
	}
	if udp != nil {
		start(&dns.Server{PacketConn: udp})
	}
	if tcp != nil {
		start(&dns.Server{Listener: tcp})
	}
	return func() {
		for _, s := range servers {
			s.Shutdown()
		}
		running.Wait()
	}
}

// handle answers one message.
func (f *Fake) handle(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		return
	}
	_, datagram := w.LocalAddr().(*net.UDPAddr)
	m, fault, _ := f.reply(q)
	time.Sleep(fault.Delay)
	switch fault.Kind {
	case FaultSilent:
		return
	case FaultTruncate:
		if datagram {
			m.Answer, m.Truncated = nil, true
		}
	case FaultWrongID:
		m.Id++
	case FaultWrongName:
		m.Question[0].Name = "other." + m.Question[0].Name
	case FaultLowerCase:
		if datagram {
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
		}
	case FaultNoEDNS:
		if q.IsEdns0() != nil {
			m = new(dns.Msg).SetRcodeFormatError(q)
		}
	case FaultGarbage:
		w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12})
		return
	}
	if datagram {
		size := 512 // RFC 1035 §4.2.1
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	w.WriteMsg(m)
}
