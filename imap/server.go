package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves IMAP on the listeners that it is given.
type Server struct {
	opts    Options
	lim     Limits
	tls     *tls.Config
	observe observer
	// commands by name in capitals; not changed after NewServer.
	commands map[string]*command

	closing atomic.Bool
	nextID  atomic.Uint64

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	perAddr   map[netip.Prefix]int
	perUser   map[string]int
	idle      sync.Cond   // signalled when a connection ends
	staying   *time.Timer // until the next question whether the users may stay

	parker parker
}

// NewServer returns a server that serves nothing yet.
func NewServer(opts Options) *Server {
	s := &Server{
		opts: opts, lim: opts.Limits.withDefaults(), observe: newObserver(opts.Logger, opts.Metrics),
		commands:  commandTable(),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
		perAddr: map[netip.Prefix]int{}, perUser: map[string]int{},
		parker: parker{linger: linger},
	}
	s.idle.L = &s.mu
	if opts.TLS != nil {
		s.tls = opts.TLS.Clone()
		s.tls.MinVersion = max(s.tls.MinVersion, tls.VersionTLS12)
		if len(s.tls.NextProtos) == 0 {
			s.tls.NextProtos = []string{"imap"}
		}
	}
	return s
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("imap: server closed")

// Serve accepts connections until Shutdown or an error of the listener. Each
// connection runs on its own goroutine, on Linux only while it has something to do.
// For implicit TLS the listener gives *tls.Conn.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			go s.serve(nc, canPark)
		case s.closing.Load():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors and the like passes
			s.observe.log.Error("imap: accept", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
		}
	}
}

// ServeConn serves one connection and returns when it is closed.
func (s *Server) ServeConn(nc net.Conn) { s.serve(nc, false) }

// serve serves one connection until it is closed or, when it parks, waits for
// its client.
func (s *Server) serve(nc net.Conn, parks bool) {
	c := newConn(s, nc)
	tc, isTLS := nc.(*tls.Conn)
	if why := s.admit(c); why != "" {
		s.observe.connectionRefused(c.info.Remote.String(), why)
		if !isTLS { // a handshake would cost what the limit is to save
			nc.SetDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("* BYE [UNAVAILABLE] " + why + "\r\n"))
		}
		c.cancel()
		nc.Close()
		return
	}
	if parks {
		c.socket = socketOf(nc)
	}
	if isTLS {
		ctx, cancel := context.WithTimeout(c.ctx, s.lim.Handshake)
		err := tc.HandshakeContext(ctx)
		cancel()
		if err != nil {
			s.observe.handshakeFailed(c, err)
			c.leave()
			return
		}
	}
	c.proceed()
}

// socketOf returns the socket under a connection whose input can be waited for:
// when the connection has none to read, the next octets come to that socket.
func socketOf(nc net.Conn) *net.TCPConn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	s, _ := nc.(*net.TCPConn)
	return s
}

// admit counts a connection in, or says why not (IM6).
func (s *Server) admit(c *conn) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing.Load():
		return "Server is shutting down"
	case len(s.conns) >= s.lim.Connections:
		return "Too many connections"
	case c.addr.IsValid() && s.perAddr[c.addr] >= s.lim.PerAddress:
		return "Too many connections from your address"
	}
	s.conns[c] = struct{}{}
	s.perAddr[c.addr]++
	return ""
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	countDown(s.perAddr, c.addr)
	if c.user != "" {
		countDown(s.perUser, c.user)
	}
	s.idle.Broadcast()
}

// leaveUser counts a login out.
func (s *Server) leaveUser(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	countDown(s.perUser, c.user)
	c.user = ""
}

func countDown[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// admitUser counts a login, or refuses it (IM6).
func (s *Server) admitUser(c *conn, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perUser[user] >= s.lim.PerUser {
		return false
	}
	s.perUser[user]++
	s.watchUsers()
	c.user = user
	return true
}

// addressKey is what the limit per address counts: an IPv4 address, the /64 of an
// IPv6 one; invalid for connections without an address.
func addressKey(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}

// Shutdown closes the listeners, says BYE to every client when its running
// command is done, and waits for that. When ctx ends first, what is left is cut and
// the error of ctx returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.interrupt()
	}
	if s.staying != nil {
		s.staying.Stop()
	}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.cut()
		}
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.conns) > 0 {
		s.idle.Wait()
	}
	s.parker.close()
	return ctx.Err()
}
