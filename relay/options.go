package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/tlspolicy"
	"github.com/postino-mail/postino/vfs"
)

// Name is the name of this transport in items of the queue.
const Name = queue.Relay

// Options says what a [Relay] works with. Hostname, DNS, Routes and Blobs are
// needed.
type Options struct {
	// Hostname is what EHLO says where a route has no name of its own, and one
	// of our names in lists of mail exchangers.
	Hostname string
	// OwnNames are further names of this node, in lower-case A-labels.
	OwnNames []string
	// OwnAddrs returns the addresses of this node; nil means none.
	OwnAddrs func() []netip.Addr
	// AllowPrivate opens single addresses in spite of the guard (SC7); nil opens none.
	AllowPrivate func(netip.Addr) bool
	DNS          dns.Resolver
	// Dial connects to an address literal with its port ("tcp") or a path
	// ("unix"), from the source if that is valid; nil means a net.Dialer.
	Dial   func(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error)
	Routes Routes
	Blobs  *blob.Store
	// Files is where Maildir and mbox routes deliver; nil refuses them.
	Files vfs.FS
	// Roots verify certificates; nil means those of the system.
	Roots *x509.CertPool
	// Policies find out what domains publish about TLS; nil asks nobody. An error
	// passes over the host for now.
	Policies Policies
	// Reports hears how TLS went with the hosts of others; nil: nobody does.
	Reports Reports
	// Shuffle orders what has the same preference; nil means rand.Shuffle.
	Shuffle func(n int, swap func(i, j int))
	Limits  Limits
	Logger  *slog.Logger     // nil discards
	Metrics *metric.Registry // nil counts nothing
}

// Routes says which way mail takes; *directory.Directory is one. What it
// returns is shared and only read.
type Routes interface {
	// RouteFor returns nil when mail goes to the domain's mail exchangers.
	RouteFor(ctx context.Context, sender postino.Address, user uint64, rcpt postino.Address) (*directory.Route, error)
	RouteByName(ctx context.Context, name string) (*directory.Route, error)
}

// Policies is *tlspolicy.Policies.
type Policies interface {
	Find(ctx context.Context, q tlspolicy.Question) (*tlspolicy.Findings, error)
}

// Reports is *reports.Collector. TLS does not wait for anything.
type Reports interface {
	TLS(reports.TLSOutcome)
}

// Limits bounds connections and attempts. A zero field means its default.
type Limits struct {
	Recipients    int           // of one transaction: 100
	PerConnection int           // messages, where the route does not say: 100 (SC8)
	Idle          time.Duration // how long a connection to a mail exchanger waits for the next message: 10 s
	RouteIdle     time.Duration // the same for a host of a route: 60 s
	Attempt       time.Duration // of one message, all hosts together: 30 min (SC3)
	Connect       time.Duration // of one address: 60 s (SC3)
	Handshake     time.Duration // of TLS: 120 s (SC3)
	Pool          int           // connections that wait for a next message: 256
	Plain         time.Duration // how long a host is remembered whose TLS fails: 10 min
	Verified      time.Duration // how long the call-ahead remembers a recipient that exists: 1 h
	Unverified    time.Duration // and one that does not: 5 min
	Memory        int           // hosts and recipients that are remembered: 10,000 each
}

func (l Limits) withDefaults() Limits {
	def(&l.Recipients, 100)
	def(&l.PerConnection, 100)
	def(&l.Idle, 10*time.Second)
	def(&l.RouteIdle, time.Minute)
	def(&l.Attempt, 30*time.Minute)
	def(&l.Connect, time.Minute)
	def(&l.Handshake, 2*time.Minute)
	def(&l.Pool, 256)
	def(&l.Plain, 10*time.Minute)
	def(&l.Verified, time.Hour)
	def(&l.Unverified, 5*time.Minute)
	def(&l.Memory, 10_000)
	return l
}

// def sets what is not positive to its default.
func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

var (
	_ queue.Transport = (*Relay)(nil)
	_ Routes          = (*directory.Directory)(nil)
	_ Policies        = (*tlspolicy.Policies)(nil)
)

// Relay is the queue.Transport for remote recipients, by the name [Name]. Its
// methods may be called from any goroutine.
type Relay struct {
	opts    Options
	pool    *pool
	tickets tls.ClientSessionCache
	plain   *memory[string, struct{}]            // addresses whose TLS failed
	known   *memory[postino.Address, smtp.Reply] // what call-ahead learned
	limits  *memory[string, int]                 // connections that the routes of sites allow
	asking  chan struct{}                        // a place for each call-ahead under way
	observe *observer
}

// New returns the transport. The error is Invalid when an option that is needed
// is missing.
func New(opts Options) (*Relay, error) {
	if opts.Hostname == "" || opts.DNS == nil || opts.Routes == nil || opts.Blobs == nil {
		return nil, postino.E(postino.Invalid, "make relay", "", errors.New("the options Hostname, DNS, Routes and Blobs are needed"))
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Shuffle == nil {
		opts.Shuffle = rand.Shuffle
	}
	if opts.Dial == nil {
		opts.Dial = dial
	}
	opts.Limits = opts.Limits.withDefaults()
	return &Relay{
		opts:    opts,
		pool:    newPool(opts.Limits.Pool),
		tickets: tls.NewLRUClientSessionCache(1000),
		plain:   newMemory[string, struct{}](opts.Limits.Memory),
		known:   newMemory[postino.Address, smtp.Reply](opts.Limits.Memory),
		limits:  newMemory[string, int](directory.MaxRoutes),
		asking:  make(chan struct{}, maxAsking),
		observe: newObserver(opts.Logger, opts.Metrics),
	}, nil
}

// dial connects with a plain dialer.
func dial(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d.DialContext(ctx, network, address)
}

// Close ends the connections that wait for a next message. It is called when the
// queue has stopped.
func (r *Relay) Close() { r.pool.close() }
