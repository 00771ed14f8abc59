package smtp

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/postino-mail/postino/conns"
)

// Server speaks SMTP with many clients under one set of [Options].
type Server struct {
	opts Options
	lim  Limits
	tls  *tls.Config
	gate *gate
	log  *events
	pool sync.Pool // of *[bufferSize]byte

	conns *conns.Set[member]
}

// NewServer prepares a server. Options are copied.
func NewServer(opts Options) *Server {
	s := &Server{opts: opts, lim: opts.Limits.withDefaults()}
	if s.opts.Service == "" {
		s.opts.Service = "smtp"
	}
	if opts.TLS != nil {
		s.tls = secured(opts.TLS)
	}
	s.conns = conns.New[member](s.opts.Service, conns.Limits{}, opts.Logger) // the gate counts
	s.gate = newGate(s.lim)
	s.log = newEvents(opts.Logger, opts.Metrics, s.opts.Service)
	s.pool.New = func() any { return new([bufferSize]byte) }
	return s
}

// secured returns a copy of cfg that keeps TL1 and TL2.
func secured(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if cfg.CipherSuites == nil { // of TLS 1.2; those of 1.3 are all good
		cfg.CipherSuites = []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}
	}
	cfg.NextProtos = []string{"smtp"}
	cfg.GetConfigForClient = nil // could undo all this
	return cfg
}

// Serve accepts connections until Shutdown, when it returns nil, or until the
// listener breaks.
func (s *Server) Serve(l net.Listener) error {
	return s.conns.Serve(l, func(nc net.Conn) { s.ServeConn(context.Background(), nc) })
}

// ServeConn speaks with one client and closes the connection. When ctx ends
// the connection is closed at once.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c := newConn(s, ctx, cancel, nc)
	if s.conns.Enter(member{c}, nc.RemoteAddr()) != nil { // it is stopping
		nc.Close()
		return
	}
	defer s.conns.Leave(member{c})
	c.serve()
}

// member is a connection to the set of all.
type member struct{ c *Conn }

// Interrupt wakes who waits for a command; who waits for content waits on.
func (m member) Interrupt() { m.c.raw.SetReadDeadline(time.Unix(1, 0)) }

func (m member) Cut() { m.c.cancel() }

// Shutdown closes the listeners and tells idle clients 421; a client in the
// middle of a transaction may finish it. When ctx ends first the remaining
// connections are cut, their contexts cancelled, and its error is returned.
// Nothing of the server runs any more afterwards (QU10, G11).
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx) }
