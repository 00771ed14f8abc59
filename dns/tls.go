package dns

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of the connections that are kept for the next question (RFC 7858
// §3.4): few, and not for long.
const (
	maxIdle  = 4
	idleTime = 10 * time.Second
)

// pool keeps idle TLS connections.
type pool struct {
	config *tls.Config // nil has the authorities of the system
	mu     sync.Mutex
	idle   map[Server][]*waiting
}

// waiting is a connection that closes itself when nobody takes it.
type waiting struct {
	net.Conn
	end *time.Timer
}

// overTLS asks a server that has to prove its name, on a connection that is
// open already if there is one.
func (c *client) overTLS(ctx context.Context, s Server, name string, t Type, f flavour) (*dns.Msg, error) {
	q, err := question(name, t, f|padded)
	if err != nil {
		return nil, err
	}
	for {
		conn, used := c.tls.take(s), true
		if conn == nil {
			used = false
			if conn, err = c.dialTLS(ctx, s); err != nil {
				return nil, err
			}
		}
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		m, err := overTCP(conn, q)
		if !stop() || err != nil {
			conn.Close()
			if err != nil && used && ctx.Err() == nil { // the server may have closed it meanwhile
				continue
			}
			return m, err
		}
		c.tls.keep(s, conn)
		return m, nil
	}
}

// dialTLS opens a connection and checks who is there.
func (c *client) dialTLS(ctx context.Context, s Server) (net.Conn, error) {
	conn, err := c.dial(ctx, "tcp", s.Addr.String())
	if err != nil {
		return nil, err
	}
	config := new(tls.Config)
	if c.tls.config != nil {
		config = c.tls.config.Clone()
	}
	config.ServerName, config.MinVersion, config.NextProtos = s.TLSName, tls.VersionTLS12, []string{"dot"}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// take returns a connection that nobody uses, or nil.
func (p *pool) take(s Server) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for list := p.idle[s]; len(list) > 0; list = p.idle[s] {
		last := list[len(list)-1]
		p.idle[s] = list[:len(list)-1]
		if last.end.Stop() {
			return last.Conn
		}
	}
	return nil
}

// keep has the connection wait for a while.
func (p *pool) keep(s Server, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle[s]) >= maxIdle {
		conn.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[Server][]*waiting{}
	}
	w := &waiting{Conn: conn}
	w.end = time.AfterFunc(idleTime, func() { p.drop(s, w) })
	p.idle[s] = append(p.idle[s], w)
}

// drop closes a connection that has waited long enough.
func (p *pool) drop(s Server, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Close()
	for i, x := range p.idle[s] {
		if x == w {
			p.idle[s] = append(p.idle[s][:i:i], p.idle[s][i+1:]...)
			break
		}
	}
}
