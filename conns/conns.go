package conns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection. The methods may be called from any goroutine; they
// return at once.
type Conn interface {
	comparable
	// Interrupt makes it look at [Set.Closing] when its running command is done.
	Interrupt()
	// Cut ends it now.
	Cut()
}

// Limits bound what is open at once. What is not positive is not counted here:
// somebody else does.
type Limits struct {
	Connections int // in all
	PerAddress  int // from one IPv4 address or IPv6 /64
	PerUser     int // logged in as one user
	// Stay is the time between two questions whether the users may stay.
	Stay time.Duration
}

// stayCheck is how long the answer about one login may take.
const stayCheck = 5 * time.Second

// Why a connection is not let in.
var (
	ErrClosing    = errors.New("server is shutting down")
	ErrFull       = errors.New("too many connections")
	ErrPerAddress = errors.New("too many connections from this address")
)

// Set is the connections of one server. Its methods may be called from any
// goroutine.
type Set[C Conn] struct {
	lim     Limits
	log     *slog.Logger
	name    string
	closing atomic.Bool

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[C]*seat
	perAddr   map[netip.Prefix]int
	perUser   map[string]int
	left      sync.Cond   // signalled when a connection ends
	staying   *time.Timer // until the next question whether the users may stay
}

// seat is what a connection is counted as.
type seat struct {
	addr  netip.Prefix
	user  string // empty before login
	stays func(context.Context) (bool, error)
	expel func()
}

// New returns an empty set; name is the protocol in logs.
func New[C Conn](name string, lim Limits, log *slog.Logger) *Set[C] {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Set[C]{
		lim: lim, log: log, name: name,
		listeners: map[net.Listener]struct{}{}, conns: map[C]*seat{}, perAddr: map[netip.Prefix]int{}, perUser: map[string]int{},
	}
	s.left.L = &s.mu
	return s
}

// Closing tells whether Shutdown was called.
func (s *Set[C]) Closing() bool { return s.closing.Load() }

// Serve accepts connections and calls serve for each on a goroutine of its own,
// until Shutdown, when it returns nil, or until the listener breaks. Failures to
// accept, as when descriptors run out, are waited out (SB3). It closes l.
func (s *Set[C]) Serve(l net.Listener, serve func(net.Conn)) error {
	s.mu.Lock()
	s.listeners[l] = struct{}{}
	if s.Closing() { // Shutdown came first and did not see it
		l.Close()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		l.Close()
	}()
	const first = 5 * time.Millisecond
	pause := first
	for {
		nc, err := l.Accept()
		switch {
		case s.Closing():
			if err == nil {
				nc.Close()
			}
			return nil
		case err == nil:
			pause = first
			go serve(nc)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			s.log.Warn(s.name+": accept", "error", err, "pause", pause)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
		}
	}
}

// Enter counts a connection in, or says why not: ErrClosing, ErrFull,
// ErrPerAddress. Who is in calls Leave.
func (s *Set[C]) Enter(c C, remote net.Addr) error {
	at := &seat{addr: network(remote)}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.Closing():
		return ErrClosing
	case s.lim.Connections > 0 && len(s.conns) >= s.lim.Connections:
		return ErrFull
	case s.lim.PerAddress > 0 && at.addr.IsValid() && s.perAddr[at.addr] >= s.lim.PerAddress:
		return ErrPerAddress
	}
	s.conns[c] = at
	s.perAddr[at.addr]++
	return nil
}

// Leave counts a connection out that is in.
func (s *Set[C]) Leave(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.conns[c]
	if at == nil {
		return
	}
	delete(s.conns, c)
	countDown(s.perAddr, at.addr)
	s.logout(at)
	s.left.Broadcast()
}

// Login counts a login of a connection, or says that the user has too many.
// stays tells whether the login may go on, and expel ends the connection of one
// that may not, when its running command is done.
func (s *Set[C]) Login(c C, user string, stays func(context.Context) (bool, error), expel func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lim.PerUser > 0 && s.perUser[user] >= s.lim.PerUser {
		return false
	}
	s.perUser[user]++
	at := s.conns[c]
	at.user, at.stays, at.expel = user, stays, expel
	s.watch()
	return true
}

// Logout counts the login of a connection out that goes on.
func (s *Set[C]) Logout(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logout(s.conns[c])
}

func (s *Set[C]) logout(at *seat) {
	if at.user != "" {
		countDown(s.perUser, at.user)
		at.user, at.stays, at.expel = "", nil, nil
	}
}

func countDown[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// network is what the limit per address counts: an IPv4 address, the /64 of an
// IPv6 one; invalid for connections without an address.
func network(a net.Addr) netip.Prefix {
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

// watch makes the set ask whether its users may stay, as long as there are any.
// s.mu is held.
func (s *Set[C]) watch() {
	if s.staying == nil && s.lim.Stay > 0 && len(s.perUser) > 0 && !s.Closing() {
		s.staying = time.AfterFunc(s.lim.Stay, s.ask)
	}
}

// ask ends the logins that may not stay.
func (s *Set[C]) ask() {
	type login struct {
		c    C
		at   *seat
		seat seat
	}
	s.mu.Lock()
	logins := make([]login, 0, len(s.conns))
	for c, at := range s.conns {
		if at.stays != nil {
			logins = append(logins, login{c, at, *at})
		}
	}
	s.mu.Unlock()
	for _, l := range logins {
		if s.Closing() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stayCheck)
		may, err := l.seat.stays(ctx)
		cancel()
		if err == nil && !may {
			s.expel(l.c, l.at, l.seat)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staying = nil
	s.watch()
}

// expel ends a connection unless it has left or logged out since it sat so.
func (s *Set[C]) expel(c C, at *seat, was seat) {
	s.mu.Lock()
	still := s.conns[c] == at && at.user == was.user
	s.mu.Unlock()
	if still {
		s.log.Info(s.name+": access withdrawn", "user", was.user)
		was.expel()
	}
}

// Shutdown closes the listeners, interrupts all connections and waits until they
// have left. When ctx ends first, what is left is cut and the error of ctx
// returned. Nothing of the set runs any more afterwards (QU10, G11).
func (s *Set[C]) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.Interrupt()
	}
	if s.staying != nil {
		s.staying.Stop()
	}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.Cut()
		}
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.conns) > 0 {
		s.left.Wait()
	}
	return ctx.Err()
}

// Len is how many connections are in, and Users how many users are logged in.
func (s *Set[C]) Len() (conns, users int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), len(s.perUser)
}
