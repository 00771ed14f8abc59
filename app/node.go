package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/imap"
	"github.com/postino-mail/postino/imapd"
	"github.com/postino-mail/postino/pop3"
	"github.com/postino-mail/postino/pop3d"
	"github.com/postino-mail/postino/receive"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/vfs"
)

// Service is what a listener speaks.
type Service string

// The services. Those that end in s begin with TLS (RFC 8314 §3).
const (
	SMTP        Service = "smtp"
	Submission  Service = "submission"
	Submissions Service = "submissions"
	IMAP        Service = "imap"
	IMAPS       Service = "imaps"
	POP3        Service = "pop3"
	POP3S       Service = "pop3s"
	LMTP        Service = "lmtp"
	sendmail    Service = "sendmail" // the socket of the sendmail command
	HTTP        Service = "http"
	HTTPS       Service = "https"
	Metrics     Service = "metrics"
)

// Listener is an address on which a service is offered.
type Listener struct {
	Service Service
	Address string // host:port, port 0 takes a free one; or unix:/path
	// Clear listeners offer no STARTTLS and let users log in without TLS: for
	// loopback only.
	Clear bool
	// ClientCAs are the authorities whose certificates log users in; nil: none.
	ClientCAs *x509.CertPool
}

// Options are a whole node.
type Options struct {
	Hostname  string
	Stores    StoreOptions
	Listeners []Listener
	Certs     *certs.Source
	// Version stands in the answer to IMAP's ID.
	Version string
	// Ephemeral nodes keep all in memory and have no control socket.
	Ephemeral bool
	// Dev lets clients log in without TLS and talk sloppily; loopback only.
	Dev bool
	// Trusted tells which peers are not limited per address.
	Trusted func(netip.Addr) bool
	// Relay tells which clients may send to other servers without a login (SS18);
	// Proxies which peers speak for others by the PROXY protocol, XClient by
	// XCLIENT and XFORWARD (SS23). nil: none.
	Relay, Proxies, XClient func(netip.Addr) bool
	// DMARC says what becomes of mail that is not of the domain in its From.
	DMARC receive.Enforcement
	// NoSoliciting are the classes of solicitations that are refused.
	NoSoliciting []string
	// FutureRelease is how far ahead messages may be scheduled; 0: not at all.
	FutureRelease time.Duration
	// Inbound stands before what answers SMTP clients, so that a development
	// server can misbehave; nil: nothing does.
	Inbound func(smtp.Backend) smtp.Backend
	// Listen opens the listeners; nil is the network of the system. Unix sockets
	// are always real ones.
	Listen func(network, address string) (net.Listener, error)
	SMTP   smtp.Limits
	IMAP   imap.Limits
	POP3   pop3.Limits
	// POP3LoginDelay is the least time between two logins of a user to POP3,
	// POP3Expire the days after which mail may vanish; 0: none, never.
	POP3LoginDelay time.Duration
	POP3Expire     int
	Logger         *slog.Logger
}

// Node is a running mail system.
type Node struct {
	*Stores
	opts    Options
	servers []server
	bound   []Listener
	// maildrops is the desk of all POP3 listeners.
	maildrops *pop3d.Desk
	failed    chan error // the first listener or background worker that ended
	stopBg    context.CancelFunc
	bg        sync.WaitGroup
}

// server is a listener with what serves it.
type server struct {
	name     string
	serve    func() error
	shutdown func(context.Context) error
}

// Start opens the stores and listeners and begins to serve. On error nothing
// is left running.
func Start(opts Options) (*Node, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Inbound == nil {
		opts.Inbound = func(b smtp.Backend) smtp.Backend { return b }
	}
	if opts.Listen == nil {
		opts.Listen = net.Listen
	}
	opts.Stores.Logger, opts.Stores.Hostname, opts.Stores.Certs = opts.Logger, opts.Hostname, opts.Certs
	stores, err := openStores(opts.Stores)
	if err != nil {
		return nil, err
	}
	n := &Node{Stores: stores, opts: opts, failed: make(chan error, 1)}
	if err := n.listen(); err != nil {
		for _, s := range n.servers {
			_ = s.shutdown(canceled()) // says only that it waited for nobody
		}
		return nil, errors.Join(err, stores.Close())
	}
	stores.running = n
	ctx, cancel := context.WithCancel(context.Background())
	n.stopBg = cancel
	n.background(ctx, "mailboxes", n.Mailboxes.Run)
	n.background(ctx, "blobs", n.upkeep)
	n.background(ctx, "memory", giveBack)
	n.background(ctx, "DKIM keys", n.Keys.Run)
	n.background(ctx, "kept reports", n.Reports.Run)
	if !opts.Dev { // a development server tells nobody of itself
		n.background(ctx, "reports", n.Mailer.Run)
	}
	if n.Names != nil {
		n.background(ctx, "names", n.Names.Run)
	}
	n.background(ctx, "policies", n.Policies.Run)
	n.lookAfterCertificates(ctx)
	if !opts.Ephemeral {
		n.background(ctx, "spool", n.collect)
	}
	n.Queue.Start()
	for _, s := range n.servers {
		n.bg.Go(func() {
			if err := s.serve(); err != nil {
				n.fail(fmt.Errorf("%s: %w", s.name, err))
			}
		})
	}
	return n, nil
}

// canceled is a context that is over: a shutdown with it waits for nobody.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// background runs a worker until the node stops.
func (n *Node) background(ctx context.Context, name string, f func(context.Context) error) {
	n.bg.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			n.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// upkeep removes bodies that nobody holds every hour, and reads all of them
// every 30 days to find those that do not verify (ST2).
func (n *Node) upkeep(ctx context.Context) error {
	sweep, scrub := time.NewTicker(time.Hour), time.NewTicker(30*24*time.Hour)
	defer sweep.Stop()
	defer scrub.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			err = n.Blobs.Sweep(ctx)
		case <-scrub.C:
			err = n.Blobs.Scrub(ctx, func(blob.Progress) {})
		}
		if err != nil && ctx.Err() == nil {
			n.opts.Logger.Warn("upkeep of bodies", "err", err)
		}
	}
}

func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// Bound returns the listeners with the addresses that they really have.
func (n *Node) Bound() []Listener { return n.bound }

// Run serves until ctx ends or a part of the node fails, and stops the node. A
// store that stopped writing is such a failure: the process must start anew
// from the log (QU4).
func (n *Node) Run(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
	case err = <-n.failed:
	case err = <-n.DB.Failed():
	}
	if err != nil {
		n.opts.Logger.Error("stopping", "err", err)
	}
	return errors.Join(err, n.stop())
}

// stop takes nothing new, lets what runs finish, and closes the stores.
func (n *Node) stop() error {
	wait := drain
	if n.opts.Dev {
		wait = devDrain
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	errs := make([]error, len(n.servers))
	var wg sync.WaitGroup
	for i, s := range n.servers {
		wg.Go(func() { errs[i] = s.shutdown(ctx) })
	}
	wg.Wait()
	err := errors.Join(append(errs, n.Queue.Stop(ctx))...)
	if ctx.Err() != nil { // what was cut off is as safe as after a power cut
		n.opts.Logger.Warn("not all ended in time, the rest was cut off", "after", wait)
		err = nil
	}
	n.stopBg()
	n.bg.Wait()
	return errors.Join(err, n.Stores.Close())
}

// Reload loads certificates again; what does not load stays as it was.
func (n *Node) Reload() error { return n.opts.Certs.Reload() }

// listen opens every listener before the first is served.
func (n *Node) listen() error {
	listeners := n.opts.Listeners
	if !n.opts.Ephemeral {
		dir := n.opts.Stores.DataDir
		control, err := listenControl(n.opts.Stores.Files, dir)
		if err != nil {
			return postino.E(postino.Invalid, "open control socket", dir, err)
		}
		s := httpServer(control, n.Stores)
		s.name = "control"
		n.servers = append(n.servers, s)
		listeners = append(slices.Clip(listeners), Listener{Service: sendmail, Address: "unix:" + submitPath(dir)})
	}
	for _, l := range listeners {
		ln, err := n.open(l)
		if err != nil {
			return postino.E(postino.Invalid, "listen for "+string(l.Service), l.Address, err)
		}
		if !isSocket(l.Address) {
			l.Address = ln.Addr().String()
		}
		if l.Service != sendmail {
			n.bound = append(n.bound, l)
		}
		s, err := n.service(l, ln)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		s.name = string(l.Service) + " " + l.Address
		n.servers = append(n.servers, s)
	}
	if n.opts.Ephemeral {
		return nil
	}
	// Every user of the machine may reach the socket and the spool of sendmail,
	// and nothing else in here.
	return vfs.Chmod(n.opts.Stores.Files, n.opts.Stores.DataDir, 0o711)
}

// service makes the engine and the desk behind a listener.
func (n *Node) service(l Listener, ln net.Listener) (server, error) {
	switch l.Service {
	case SMTP, Submission, Submissions, LMTP, sendmail:
		return n.smtp(l, ln), nil
	case IMAP, IMAPS:
		return n.imap(l, ln), nil
	case POP3, POP3S:
		return n.pop3(l, ln), nil
	case HTTP, HTTPS:
		return n.web(l, ln), nil
	case Metrics:
		return httpServer(ln, n.opts.Stores.Metrics.Handler()), nil
	}
	return server{}, postino.E(postino.Invalid, "listen", string(l.Service), errors.New("no such service"))
}

// smtp makes a server for mail that comes in: from other servers, from users, or
// from other software by LMTP.
func (n *Node) smtp(l Listener, ln net.Listener) server {
	o := &n.opts
	profile := receive.MX
	switch l.Service {
	case Submission, Submissions:
		profile = receive.Submission
	case LMTP:
		profile = receive.LMTP
	case sendmail:
		profile = receive.Local
	}
	desk := receive.New(receive.Options{
		Hostname: o.Hostname, Profile: profile, Auth: profile == receive.MX, Relay: o.Relay, NoSoliciting: o.NoSoliciting, Room: n.DB.Admit, Post: n.Post,
		DNS: n.Resolver, Reports: n.Collector, DMARC: o.DMARC, JudgeAll: o.Dev, Directory: n.Directory, Queue: n.Queue, Mailboxes: n.Mailboxes, Stories: n.Stories, Logger: o.Logger, Metrics: o.Stores.Metrics,
	})
	users := profile == receive.Submission || profile == receive.Local
	so := smtp.Options{
		Hostname: o.Hostname, Backend: o.Inbound(desk), TLS: n.tls(l, "smtp", "esmtp"), ImplicitTLS: l.Service == Submissions, AuthInsecure: o.Dev || l.Clear,
		Normalise: users, LaxPipelining: o.Dev || profile == receive.Local, Trusted: o.Trusted, Limits: o.SMTP, Logger: o.Logger, Metrics: o.Stores.Metrics,
		DSN: true, BinaryMIME: true, RequireTLSOption: true, DeliverBy: true, Priority: true, RRVS: true, NoSoliciting: o.NoSoliciting,
		LMTP: profile == receive.LMTP, ETRN: profile == receive.MX, BURL: profile == receive.Submission, Service: string(l.Service),
	}
	if users {
		so.FutureRelease = o.FutureRelease
	}
	if profile != receive.Local {
		so.Proxies, so.XClient, so.XForward = o.Proxies, o.XClient, o.XClient
	}
	s := smtp.NewServer(so)
	return server{serve: func() error { return s.Serve(ln) }, shutdown: func(ctx context.Context) error { ln.Close(); return s.Shutdown(ctx) }}
}

func (n *Node) imap(l Listener, ln net.Listener) server {
	o := &n.opts
	desk := imapd.New(imapd.Options{Directory: n.Directory, Mailboxes: n.Mailboxes, Blobs: n.Blobs, Logger: o.Logger})
	opts := imap.Options{
		NewSession: desk.NewSession, TLS: n.tls(l, "imap"), AllowClear: o.Dev || l.Clear, Name: o.Hostname,
		ID: []string{"name", "Postino", "version", o.Version}, Limits: o.IMAP, Logger: o.Logger, Metrics: o.Stores.Metrics,
	}
	if l.Service == IMAPS {
		ln, opts.TLS = tls.NewListener(ln, opts.TLS), nil
	}
	s := imap.NewServer(opts)
	return server{serve: func() error { return s.Serve(ln) }, shutdown: func(ctx context.Context) error { ln.Close(); return s.Shutdown(ctx) }}
}

func (n *Node) pop3(l Listener, ln net.Listener) server {
	o := &n.opts
	if n.maildrops == nil { // one for all listeners: it holds the locks
		n.maildrops = pop3d.New(pop3d.Options{Directory: n.Directory, Mailboxes: n.Mailboxes, LoginDelay: o.POP3LoginDelay, Logger: o.Logger})
	}
	opts := pop3.Options{
		NewSession: n.maildrops.NewSession, TLS: n.tls(l, "pop3"), AllowClear: o.Dev || l.Clear, Name: o.Hostname,
		LoginDelay: o.POP3LoginDelay, Expire: o.POP3Expire, Limits: o.POP3, Logger: o.Logger, Metrics: o.Stores.Metrics,
	}
	if l.Service == POP3S {
		ln, opts.TLS = tls.NewListener(ln, opts.TLS), nil
	}
	s := pop3.NewServer(opts)
	return server{serve: func() error { return s.Serve(ln) }, shutdown: func(ctx context.Context) error { ln.Close(); return s.Shutdown(ctx) }}
}

// tls returns the TLS settings of a listener, nil for one without.
func (n *Node) tls(l Listener, alpn ...string) *tls.Config {
	if l.Clear || isSocket(l.Address) {
		return nil
	}
	return n.opts.Certs.Config(certs.Service{ALPN: alpn, ClientCAs: l.ClientCAs})
}

// httpServer serves h on a listener that only this machine reaches.
func httpServer(ln net.Listener, h http.Handler) server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	return server{
		serve: func() error {
			if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		shutdown: func(ctx context.Context) error {
			if err := s.Shutdown(ctx); err != nil {
				return s.Close()
			}
			return nil
		},
	}
}
