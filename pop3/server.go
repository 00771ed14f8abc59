package pop3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
)

// Server serves POP3 on the listeners that it is given.
type Server struct {
	opts    Options
	lim     Limits
	tls     *tls.Config
	observe observer
	// commands by name in capitals; not changed after NewServer.
	commands map[string]*command
	stamp    [8]byte // makes timestamps of APOP unlike those of other processes

	closing atomic.Bool
	nextID  atomic.Uint64

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	perAddr   map[netip.Prefix]int
	perUser   map[string]int
	idle      sync.Cond   // signalled when a connection ends
	staying   *time.Timer // until the next question whether the users may stay
}

// NewServer returns a server that serves nothing yet.
func NewServer(opts Options) *Server {
	s := &Server{
		opts: opts, lim: opts.Limits.withDefaults(), observe: newObserver(opts.Logger, opts.Metrics),
		commands:  commandTable(),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
		perAddr: map[netip.Prefix]int{}, perUser: map[string]int{},
	}
	s.idle.L = &s.mu
	rand.Read(s.stamp[:])
	if opts.TLS != nil {
		s.tls = opts.TLS.Clone()
		s.tls.MinVersion = max(s.tls.MinVersion, tls.VersionTLS12)
		if len(s.tls.NextProtos) == 0 {
			s.tls.NextProtos = []string{"pop3"}
		}
	}
	return s
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("pop3: server closed")

// Serve accepts connections until Shutdown or an error of the listener. Each
// connection runs on its own goroutine.
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
			go s.ServeConn(nc)
		case s.closing.Load():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors and the like passes
			s.observe.log.Error("pop3: accept", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
		}
	}
}

// ServeConn serves one connection and returns when it is closed.
func (s *Server) ServeConn(nc net.Conn) {
	c := newConn(s, nc)
	tc, isTLS := nc.(*tls.Conn)
	if why := s.admit(c); why != nil {
		s.observe.connectionRefused(c.info.Remote.String(), why.Error())
		if !isTLS { // a handshake would cost what the limit is to save
			nc.SetDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("-ERR " + why.Error() + "\r\n"))
		}
		c.cancel()
		nc.Close()
		return
	}
	defer c.leave()
	if isTLS && !c.handshake(tc) {
		return
	}
	c.run()
}

// admit counts a connection in, or says why not (IM6).
func (s *Server) admit(c *conn) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing.Load():
		return refusals[postino.Transient]
	case len(s.conns) >= s.lim.Connections,
		c.addr.IsValid() && s.perAddr[c.addr] >= s.lim.PerAddress:
		return errBusy
	}
	s.conns[c] = struct{}{}
	s.perAddr[c.addr]++
	return nil
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	countDown(s.perAddr, c.addr)
	if c.counted {
		countDown(s.perUser, c.user)
	}
	s.idle.Broadcast()
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
	c.counted, c.user = true, user
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

// Shutdown closes the listeners, closes every connection when its running command
// is done, and waits for that; who was not at QUIT has changed nothing. When ctx
// ends first, what is left is cut and the error of ctx returned.
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
	return ctx.Err()
}
