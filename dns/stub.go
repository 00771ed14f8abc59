package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

const (
	// udpSize is what fits into a packet on any path (RFC 6891 §6.2.5, DN1).
	udpSize = 1232
	// maxStray is how many packets that answer something else are passed over
	// before a server counts as silent (RFC 5452 §9.2).
	maxStray = 32
)

// Server is a recursive name server.
type Server struct {
	Addr netip.AddrPort
	// Trusted makes its AD bit count: it validates, and nobody on the way to it
	// can change what it says. Servers on loopback always count.
	Trusted bool
}

// validates tells whether the server's AD bit may count.
func (s Server) validates() bool { return s.Trusted || s.Addr.Addr().Unmap().IsLoopback() }

// Options are the parameters of a Stub; zero fields are the default.
type Options struct {
	// Servers are asked in order; none means 127.0.0.1:53.
	Servers []Server
	// Dial opens connections, "udp" and "tcp"; nil is a plain net.Dialer. UDP
	// must take a fresh random port each time, as the system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds one try with one server; default 3 s, at most 30 s.
	Timeout time.Duration
	// Attempts is how often the list of servers is tried; default 2, at most 5.
	Attempts int
	// CacheBytes bounds the cache; default 64 MiB.
	CacheBytes int64
	// MaxTTL and MaxNegativeTTL bound how long answers are kept; default 24 h
	// and 1 h (DN3).
	MaxTTL, MaxNegativeTTL time.Duration
	Logger                 *slog.Logger     // nil discards
	Metrics                *metric.Registry // nil counts nothing
}

// Stub asks recursive servers and keeps their answers.
type Stub struct {
	opts  Options
	cache *cache
	obs   observer
	unfit sync.Map // of netip.AddrPort: servers that failed the last Probe
}

// NewStub returns a resolver that asks the servers of opts.
func NewStub(opts Options) *Stub {
	if len(opts.Servers) == 0 {
		opts.Servers = []Server{{Addr: netip.MustParseAddrPort("127.0.0.1:53")}}
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 3 * time.Second
	}
	opts.Timeout = min(opts.Timeout, 30*time.Second)
	if opts.Attempts <= 0 {
		opts.Attempts = 2
	}
	opts.Attempts = min(opts.Attempts, 5)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Stub{opts: opts, cache: newCache(opts), obs: newObserver(opts)}
}

// Lookup implements Resolver.
func (s *Stub) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	if a, err, ok := s.cache.get(name, t, time.Now()); ok {
		s.obs.hit()
		return a, err
	}
	a, err := s.ask(ctx, name, t)
	if a != nil {
		s.cache.put(name, t, a, err, time.Now())
	}
	return a, err
}

// ask goes round the servers until one gives a definite answer.
func (s *Stub) ask(ctx context.Context, name string, t Type) (*Answer, error) {
	var last error
	for range s.opts.Attempts {
		for _, server := range s.opts.Servers {
			a, err := s.try(ctx, server, name, t)
			s.obs.asked(server, name, t, err)
			if err == nil || postino.Is(err, postino.NotFound) {
				return a, err
			}
			if last == nil || !errors.Is(last, ErrBogus) { // what a validator says weighs more than a timeout
				last = err
			}
			if ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// try asks one server, by TCP where UDP is not enough.
func (s *Stub) try(ctx context.Context, server Server, name string, t Type) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	transient := func(err error) error {
		return postino.E(postino.Transient, "look up "+dns.TypeToString[uint16(t)], name, err)
	}
	m, err := s.fetch(ctx, server, name, t, withEDNS)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) { // RFC 6891 §7
		m, err = s.exchange(ctx, "tcp", server, name, t, plain)
		if err == nil && m.Truncated {
			err = errMessage
		}
	}
	if err != nil {
		return nil, transient(err)
	}
	a, err := extract(m, name, t)
	if a != nil && server.validates() && !s.distrusted(server) {
		a.Security = Insecure
		if m.AuthenticatedData { // RFC 6840 §5.8
			a.Security = Secure
		}
	}
	return a, err
}

// fetch gets the whole reply to a question, by TCP where UDP is not enough.
func (s *Stub) fetch(ctx context.Context, server Server, name string, t Type, f flavour) (*dns.Msg, error) {
	m, err := s.exchange(ctx, "udp", server, name, t, f)
	if err == nil && m.Truncated || errors.Is(err, errSpelling) {
		m, err = s.exchange(ctx, "tcp", server, name, t, f)
		if err == nil && m.Truncated {
			return nil, errMessage
		}
	}
	return m, err
}

// errSpelling tells that a reply had the question in another case: either a
// forgery or an odd server, and TCP settles it.
var errSpelling = errors.New("reply has the question in another case")

// exchange sends one question and waits for its reply.
func (s *Stub) exchange(ctx context.Context, network string, server Server, name string, t Type, f flavour) (*dns.Msg, error) {
	conn, err := s.opts.Dial(ctx, network, server.Addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	q, err := question(name, t, f)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		return overTCP(conn, q)
	}
	return overUDP(conn, q)
}

// flavour is how much a question asks for.
type flavour uint8

const (
	plain     flavour = iota
	withEDNS          // larger packets, extended errors
	withProof         // and signatures, unjudged (DO, CD)
)

// query is a question and its octets.
type query struct {
	id   uint16
	name string // with the spelling that the reply must repeat
	kind uint16
	wire []byte
}

// question makes a query with a random id and random letter case (RFC 5452
// §9.2, DN1).
func question(name string, t Type, f flavour) (query, error) {
	var random [2 + 32]byte
	rand.Read(random[:])
	spelled := []byte(name + ".")
	for i, c := range spelled {
		if 'a' <= c && c <= 'z' && random[2+i/8]>>(i%8)&1 == 1 {
			spelled[i] = c - 'a' + 'A'
		}
	}
	m := new(dns.Msg)
	m.SetQuestion(string(spelled), uint16(t))
	m.Id = binary.BigEndian.Uint16(random[:])
	m.AuthenticatedData = true // RFC 6840 §5.7: we understand AD
	if f != plain {
		m.SetEdns0(udpSize, f == withProof)
	}
	m.CheckingDisabled = f == withProof // RFC 6840 §5.9: we judge, and want to see what we judge
	wire, err := m.Pack()
	return query{m.Id, string(spelled), uint16(t), wire}, err
}

// check tells whether m answers q.
func (q query) check(m *dns.Msg) error {
	if m.Id != q.id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return errMessage
	}
	if len(m.Question) == 0 && m.Rcode == dns.RcodeFormatError {
		return nil // such servers repeat nothing
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != q.kind || m.Question[0].Qclass != dns.ClassINET {
		return errMessage
	}
	switch got := m.Question[0].Name; {
	case got == q.name:
		return nil
	case strings.EqualFold(got, q.name):
		return errSpelling
	}
	return errMessage
}

// overUDP passes over packets that do not belong to the question, as anybody
// may send some.
func overUDP(conn net.Conn, q query) (*dns.Msg, error) {
	if _, err := conn.Write(q.wire); err != nil {
		return nil, err
	}
	b := make([]byte, 4096) // some servers send more than they were asked to
	for range maxStray {
		n, err := conn.Read(b)
		if err != nil {
			return nil, err
		}
		m, err := parse(b[:n])
		if err == nil {
			err = q.check(m)
		} else if n >= 12 && binary.BigEndian.Uint16(b) == q.id && b[2]&2 != 0 {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Truncated: true}}, nil // cut in the middle of a record
		}
		if err == nil || err == errSpelling {
			return m, err
		}
	}
	return nil, fmt.Errorf("%d packets do not belong to the question", maxStray)
}

// overTCP is RFC 7766 §8: two octets of length before each message.
func overTCP(conn net.Conn, q query) (*dns.Msg, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q.wire))), q.wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	if err := q.check(m); err != nil && err != errSpelling { // who can read the stream has no need to guess
		return nil, err
	}
	return m, nil
}
