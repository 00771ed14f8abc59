package imap

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino/conns"
)

// Server serves IMAP on the listeners that it is given.
type Server struct {
	opts    Options
	lim     Limits
	tls     *tls.Config
	observe observer
	// commands by name in capitals; not changed after NewServer.
	commands map[string]*command

	conns  *conns.Set[*conn]
	nextID atomic.Uint64
	parker parker
}

// NewServer returns a server that serves nothing yet.
func NewServer(opts Options) *Server {
	s := &Server{
		opts: opts, lim: opts.Limits.withDefaults(), observe: newObserver(opts.Logger, opts.Metrics),
		commands: commandTable(),
		parker:   parker{linger: linger},
	}
	s.conns = conns.New[*conn]("imap", conns.Limits{
		Connections: s.lim.Connections, PerAddress: s.lim.PerAddress, PerUser: s.lim.PerUser, Stay: s.lim.StayTime,
	}, opts.Logger)
	if opts.TLS != nil {
		s.tls = opts.TLS.Clone()
		s.tls.MinVersion = max(s.tls.MinVersion, tls.VersionTLS12)
		if len(s.tls.NextProtos) == 0 {
			s.tls.NextProtos = []string{"imap"}
		}
	}
	return s
}

// Serve accepts connections until Shutdown, when it returns nil, or an error of
// the listener. Each connection runs on its own goroutine, on Linux only while it
// has something to do. For implicit TLS the listener gives *tls.Conn.
func (s *Server) Serve(l net.Listener) error {
	return s.conns.Serve(l, func(nc net.Conn) { s.serve(nc, canPark) })
}

// ServeConn serves one connection and returns when it is closed.
func (s *Server) ServeConn(nc net.Conn) { s.serve(nc, false) }

// refusals are the words for those who are not let in.
var refusals = map[error]string{
	conns.ErrClosing:    "Server is shutting down",
	conns.ErrFull:       "Too many connections",
	conns.ErrPerAddress: "Too many connections from your address",
}

// serve serves one connection until it is closed or, when it parks, waits for
// its client.
func (s *Server) serve(nc net.Conn, parks bool) {
	c := newConn(s, nc)
	tc, isTLS := nc.(*tls.Conn)
	if err := s.conns.Enter(c, nc.RemoteAddr()); err != nil { // IM6
		s.observe.connectionRefused(c.info.Remote.String(), err.Error())
		if !isTLS { // a handshake would cost what the limit is to save
			nc.SetDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("* BYE [UNAVAILABLE] " + refusals[err] + "\r\n"))
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

// Shutdown closes the listeners, says BYE to every client when its running
// command is done, and waits for that. When ctx ends first, what is left is cut and
// the error of ctx returned.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.conns.Shutdown(ctx)
	s.parker.close()
	return err
}
