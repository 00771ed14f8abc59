package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Server speaks SMTP with many clients under one set of [Options].
type Server struct {
	opts Options
	lim  Limits
	tls  *tls.Config
	gate *gate
	log  *events
	pool sync.Pool // of *[bufferSize]byte

	draining atomic.Bool
	mu       sync.Mutex // guards what follows
	lns      map[net.Listener]struct{}
	conns    map[*Conn]struct{}
	running  sync.WaitGroup
}

// NewServer prepares a server. Options are copied.
func NewServer(opts Options) *Server {
	s := &Server{opts: opts, lim: opts.Limits.withDefaults(), lns: map[net.Listener]struct{}{}, conns: map[*Conn]struct{}{}}
	if s.opts.Service == "" {
		s.opts.Service = "smtp"
	}
	if opts.TLS != nil {
		s.tls = secured(opts.TLS)
	}
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
// listener breaks. Failures to accept, as when descriptors run out, are waited
// out (SB3).
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.lns[l] = struct{}{}
	if s.draining.Load() { // Shutdown came first and did not see it
		l.Close()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lns, l)
		s.mu.Unlock()
		l.Close()
	}()
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case s.draining.Load():
			if err == nil {
				c.Close()
			}
			return nil
		case err == nil:
			pause = 0
			go s.ServeConn(context.Background(), c)
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
			return err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.log.Warn("smtp accept failed", "error", err, "pause", pause)
			time.Sleep(pause)
		}
	}
}

// ServeConn speaks with one client and closes the connection. When ctx ends
// the connection is closed at once.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c := newConn(s, ctx, cancel, nc)
	if !s.enter(c) {
		nc.Close()
		return
	}
	defer s.leave(c)
	c.serve()
}

// enter registers a connection unless the server is stopping.
func (s *Server) enter(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// Shutdown closes the listeners and tells idle clients 421; a client in the
// middle of a transaction may finish it. When ctx ends first the remaining
// connections are cut, their contexts cancelled, and its error is returned.
// Nothing of the server runs any more afterwards (QU10, G11).
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for l := range s.lns {
		l.Close()
	}
	for c := range s.conns {
		// Wakes who waits for a command; who waits for content waits on.
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cancel()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}
