package conns

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// client is a connection that ends when it is told to.
type client struct {
	set                   *Set[*client]
	interrupted, expelled atomic.Bool
	over                  chan struct{}
	deaf                  bool // ends only when it is cut
}

func (c *client) Interrupt() {
	if c.interrupted.Store(true); !c.deaf {
		c.end()
	}
}
func (c *client) Cut() { c.end() }
func (c *client) expel() {
	c.expelled.Store(true)
	c.end()
}

func (c *client) end() {
	select {
	case <-c.over:
	default:
		close(c.over)
	}
}

// enter makes a connection that stays until it is told to leave.
func enter(s *Set[*client], from string) (*client, error) {
	c := &client{set: s, over: make(chan struct{})}
	var remote net.Addr
	if from != "" {
		remote = &net.TCPAddr{IP: net.ParseIP(from), Port: 1}
	}
	if err := s.Enter(c, remote); err != nil {
		return nil, err
	}
	go func() {
		<-c.over
		s.Leave(c)
	}()
	return c, nil
}

func TestLimits(t *testing.T) { // IM6
	synctest.Test(t, func(t *testing.T) {
		s := New[*client]("test", Limits{Connections: 4, PerAddress: 2, PerUser: 1}, nil)
		must := func(from string) *client {
			t.Helper()
			c, err := enter(s, from)
			if err != nil {
				t.Fatal(from, err)
			}
			return c
		}
		a := must("192.0.2.1")
		b := must("::ffff:192.0.2.1") // the same address
		if _, err := enter(s, "192.0.2.1"); err != ErrPerAddress {
			t.Error("third of an address:", err)
		}
		c := must("2001:db8::1")
		must("2001:db8:0:0:ffff::2")
		if _, err := enter(s, "192.0.2.9"); err != ErrFull {
			t.Error("fifth:", err)
		}
		c.end()
		synctest.Wait()
		if _, err := enter(s, "2001:db8:0:1::1"); err != nil {
			t.Error("of another /64 after one has left:", err)
		}

		always := func(context.Context) (bool, error) { return true, nil }
		if !s.Login(a, "ana", always, a.expel) || s.Login(b, "ana", always, b.expel) || !s.Login(b, "ben", always, b.expel) {
			t.Error("logins per user")
		}
		s.Logout(a)
		if conns, users := s.Len(); conns != 4 || users != 1 {
			t.Errorf("%d connections, %d users", conns, users)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if conns, users := s.Len(); conns != 0 || users != 0 {
			t.Errorf("after the end %d connections, %d users", conns, users)
		}
		if _, err := enter(s, ""); err != ErrClosing {
			t.Error("after the end:", err)
		}
	})
}

func TestStay(t *testing.T) { // AU8
	synctest.Test(t, func(t *testing.T) {
		s := New[*client]("test", Limits{Stay: 30 * time.Second}, nil)
		var gone, broken atomic.Bool
		asked := 0
		stays := func(ctx context.Context) (bool, error) {
			asked++
			if broken.Load() {
				return false, errors.New("no answer")
			}
			return !gone.Load(), nil
		}
		a, _ := enter(s, "")
		b, _ := enter(s, "")
		s.Login(a, "ana", stays, a.expel)
		s.Login(b, "ben", func(context.Context) (bool, error) { return true, nil }, b.expel)
		time.Sleep(time.Minute + time.Second)
		if asked != 2 || a.expelled.Load() {
			t.Errorf("asked %d times in a minute, expelled %v", asked, a.expelled.Load())
		}
		gone.Store(true)
		broken.Store(true)
		time.Sleep(time.Minute)
		if a.expelled.Load() {
			t.Error("expelled without an answer")
		}
		broken.Store(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if !a.expelled.Load() || b.expelled.Load() {
			t.Errorf("expelled: %v, %v", a.expelled.Load(), b.expelled.Load())
		}
		// One that has logged out meanwhile is somebody else.
		c, _ := enter(s, "")
		slow := func(context.Context) (bool, error) {
			s.Logout(c)
			return false, nil
		}
		s.Login(c, "cleo", slow, c.expel)
		time.Sleep(31 * time.Second)
		if c.expelled.Load() {
			t.Error("expelled after the logout")
		}
		s.Shutdown(t.Context())
	})
}

func TestShutdown(t *testing.T) { // QU10
	synctest.Test(t, func(t *testing.T) {
		s := New[*client]("test", Limits{}, nil)
		a, _ := enter(s, "")
		deaf, _ := enter(s, "")
		deaf.deaf = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if !a.interrupted.Load() || !deaf.interrupted.Load() || time.Since(began) != time.Minute {
			t.Error("who does not end is cut when the time is up")
		}
	})
}

// flaky fails to accept before it gives connections.
type flaky struct {
	fails int
	conns chan net.Conn
	done  chan struct{}
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.fails > 0 {
		l.fails--
		return nil, errors.New("too many open files")
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *flaky) Addr() net.Addr { return &net.TCPAddr{} }
func (l *flaky) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func TestServe(t *testing.T) { // SB3
	synctest.Test(t, func(t *testing.T) {
		s := New[*client]("test", Limits{}, nil)
		l := &flaky{fails: 3, conns: make(chan net.Conn), done: make(chan struct{})}
		served := make(chan net.Conn)
		ended := make(chan error)
		began := time.Now()
		go func() { ended <- s.Serve(l, func(c net.Conn) { served <- c }) }()
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		l.conns <- far
		if <-served != far || time.Since(began) != 35*time.Millisecond {
			t.Error("accepting after", time.Since(began))
		}
		s.Shutdown(t.Context())
		if err := <-ended; err != nil {
			t.Error(err)
		}
		late := &flaky{conns: make(chan net.Conn), done: make(chan struct{})}
		if err := s.Serve(late, nil); err != nil {
			t.Error(err)
		}
		// A listener that breaks tells why.
		s = New[*client]("test", Limits{}, nil)
		broken := &flaky{conns: make(chan net.Conn), done: make(chan struct{})}
		broken.Close()
		if err := s.Serve(broken, nil); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
