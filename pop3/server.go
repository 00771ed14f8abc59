package pop3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/conns"
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

	conns  *conns.Set[*conn]
	nextID atomic.Uint64
}

// NewServer returns a server that serves nothing yet.
func NewServer(opts Options) *Server {
	s := &Server{
		opts: opts, lim: opts.Limits.withDefaults(), observe: newObserver(opts.Logger, opts.Metrics),
		commands: commandTable(),
	}
	s.conns = conns.New[*conn]("pop3", conns.Limits{
		Connections: s.lim.Connections, PerAddress: s.lim.PerAddress, PerUser: s.lim.PerUser, Stay: s.lim.StayTime,
	}, opts.Logger)
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

// Serve accepts connections until Shutdown, when it returns nil, or an error of
// the listener. Each connection runs on its own goroutine. For implicit TLS the
// listener gives *tls.Conn.
func (s *Server) Serve(l net.Listener) error { return s.conns.Serve(l, s.ServeConn) }

// ServeConn serves one connection and returns when it is closed.
func (s *Server) ServeConn(nc net.Conn) {
	c := newConn(s, nc)
	tc, isTLS := nc.(*tls.Conn)
	if err := s.conns.Enter(c, nc.RemoteAddr()); err != nil { // IM6
		why := errBusy
		if err == conns.ErrClosing {
			why = refusals[postino.Transient]
		}
		s.observe.connectionRefused(c.info.Remote.String(), err.Error())
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

// Shutdown closes the listeners, closes every connection when its running command
// is done, and waits for that; who was not at QUIT has changed nothing. When ctx
// ends first, what is left is cut and the error of ctx returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx) }
