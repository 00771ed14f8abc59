package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// Options are the parameters of a Stub; zero fields are the default.
type Options struct {
	// Servers are asked in order; none means 127.0.0.1:53.
	Servers []Server
	// Dial opens connections, "udp" and "tcp"; nil is a plain net.Dialer. UDP
	// must take a fresh random port each time, as the system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS has the authorities for servers with a TLSName; nil are the system's.
	TLS *tls.Config
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
	opts   Options
	client *client
	cache  *cache
	obs    observer
}

// NewStub returns a resolver that asks the servers of opts.
func NewStub(opts Options) *Stub {
	opts = opts.withDefaults()
	return &Stub{opts: opts, client: opts.client(), cache: newCache(opts), obs: newObserver(opts)}
}

// withDefaults fills in what is not set.
func (opts Options) withDefaults() Options {
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
	return opts
}

func (opts Options) client() *client {
	return &client{dial: opts.Dial, tls: pool{config: opts.TLS}}
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
			s.obs.asked(server.String(), name, t, err)
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
	m, err := s.client.fetch(ctx, server, name, t, withEDNS)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && server.TLSName == "" { // RFC 6891 §7
		m, err = s.client.exchange(ctx, "tcp", server, name, t, plain)
		if err == nil && m.Truncated {
			err = errMessage
		}
	}
	if err != nil {
		return nil, transient(err)
	}
	a, err := extract(m, name, t)
	if a != nil && server.validates() {
		a.Security = Insecure
		if m.AuthenticatedData { // RFC 6840 §5.8
			a.Security = Secure
		}
	}
	return a, err
}
