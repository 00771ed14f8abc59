package imap

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// startParking is start with a server whose sessions are parked soon.
func startParking(t *testing.T, store *memStore, change func(*Options)) (*Server, func() *client) {
	opts := Options{NewSession: store.session, AllowClear: true, Name: "mx.example.org", ID: []string{"name", "Postino"}}
	if change != nil {
		change(&opts)
	}
	s := NewServer(opts)
	s.parker.linger = time.Millisecond
	return s, serve(t, s)
}

// parked counts the parked sessions.
func (p *parker) parked() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := p.first; c != nil; c = c.next {
		n++
	}
	return n
}

// waitFor waits until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: ", what)
		}
	}
}

func waitParked(t *testing.T, s *Server, n int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d sessions parked", n), func() bool { return s.parker.parked() == n })
}

// idleIn makes c begin IDLE.
func idleIn(c *client) {
	c.t.Helper()
	c.play(`
		C: i IDLE
		S: + idling`)
}

// TestParkedCostNoGoroutine: waiting sessions have none, in IDLE and between
// commands, and go on where they were (G11).
func TestParkedCostNoGoroutine(t *testing.T) {
	store := newMemStore()
	s, connect := startParking(t, store, func(o *Options) { o.Limits.PerUser = 1000 })
	before := runtime.NumGoroutine()
	var clients []*client
	for i := range 100 {
		c := login(t, connect)
		selectInbox(c)
		if i%2 == 0 {
			idleIn(c)
		}
		clients = append(clients, c)
	}
	waitParked(t, s, 100)
	// Those that parked a session end a moment later.
	waitFor(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+1 })
	store.put("INBOX", mail1, 0)
	for i, c := range clients {
		if i%2 == 0 {
			c.play(`
				S: * 1 EXISTS
				C: DONE
				S: i OK IDLE completed`)
			continue
		}
		c.play(`
			C: n NOOP
			S: * 1 EXISTS
			S: n OK NOOP completed`)
	}
}

// TestParkUnderLoad: sessions that are parked and resumed all the time lose no
// command and no change, and answer in order (IM7).
func TestParkUnderLoad(t *testing.T) {
	const clients, rounds = 20, 40
	store := newMemStore()
	_, connect := startParking(t, store, func(o *Options) { o.Limits.PerUser = 1000 })
	stop := make(chan struct{})
	var noise, wg sync.WaitGroup
	noise.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
				store.put("INBOX", mail1, 0)
			}
		}
	})
	for k := range clients {
		c := login(t, connect)
		selectInbox(c)
		wg.Go(func() {
			for i := range rounds {
				a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
				if k%2 == 0 { // pipelined behind DONE, in pieces
					c.send(a + " IDLE\r\nDO")
					yield(i % 4 * 50)
					c.send("NE\r\n" + b + " NOOP\r\n")
				} else {
					c.send(a + " IDLE\r\n")
					yield(i % 4 * 50)
					c.send("DONE\r\n" + b + " NOOP\r\n")
				}
				if !c.sees(a+" OK ") || !c.sees(b+" OK ") {
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	noise.Wait()
}

// yield lets others run n times.
func yield(n int) {
	for range n {
		runtime.Gosched()
	}
}

// sees reads untagged lines until one that begins with prefix; any other tagged
// line is an error.
func (c *client) sees(prefix string) bool {
	for {
		switch l := c.line(); {
		case strings.HasPrefix(l, prefix):
			return true
		case !strings.HasPrefix(l, "* ") && l != "+ idling":
			c.t.Errorf("got %q, want %q", l, prefix)
			return false
		}
	}
}

// TestParkNoticeWithInput: a notice and pipelined input come at once.
func TestParkNoticeWithInput(t *testing.T) {
	store := newMemStore()
	s, connect := startParking(t, store, nil)
	c := login(t, connect)
	selectInbox(c)
	for n := range 200 {
		idleIn(c)
		waitParked(t, s, 1)
		var wg sync.WaitGroup
		wg.Go(func() { store.put("INBOX", mail1, 0) })
		c.send(fmt.Sprintf("DONE\r\na%d NOOP\r\nb%d NOOP\r\n", n, n))
		wg.Wait()
		exists := fmt.Sprintf("* %d EXISTS", n+1)
		told := 0
		for _, want := range []string{"i OK", fmt.Sprintf("a%d OK", n), fmt.Sprintf("b%d OK", n)} {
			l := c.line()
			for l == exists {
				told++
				l = c.line()
			}
			if !strings.HasPrefix(l, want) {
				t.Fatalf("got %q, want %q", l, want)
			}
		}
		if told > 1 {
			t.Fatalf("%q was told %d times", exists, told)
		} else if told == 0 { // the notice came after the last command
			c.play(fmt.Sprintf("C: c NOOP\nS: %s\nS: c OK NOOP completed", exists))
		}
	}
}

// TestParkIdleTimeout: parked sessions are sent away too (IM5).
func TestParkIdleTimeout(t *testing.T) {
	s, connect := startParking(t, newMemStore(), func(o *Options) { o.Limits.IdleTime = 200 * time.Millisecond })
	a, b := login(t, connect), login(t, connect)
	idleIn(b)
	waitParked(t, s, 2)
	for _, c := range []*client{a, b} {
		c.play(`
			S: * BYE Idle for too long
			EOF`)
	}
	waitFor(t, "connections end", func() bool { return s.open() == 0 })
}

// TestParkShutdown: parked sessions hear BYE, and nothing is left.
func TestParkShutdown(t *testing.T) {
	s, connect := startParking(t, newMemStore(), func(o *Options) { o.Limits.PerUser = 1000 })
	var clients []*client
	for i := range 50 {
		c := login(t, connect)
		if i%2 == 0 {
			selectInbox(c)
			idleIn(c)
		}
		clients = append(clients, c)
	}
	waitParked(t, s, 50)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		c.play(`
			S: * BYE Server is shutting down
			EOF`)
	}
	if s.open() != 0 || s.parker.parked() != 0 || s.parker.poll != nil {
		t.Error("something is left")
	}
}

// TestParkClosed: the end of a connection is seen while it is parked, however
// the client goes; the limits count on (IM6).
func TestParkClosed(t *testing.T) {
	s, connect := startParking(t, newMemStore(), func(o *Options) { o.Limits.PerUser = 4 })
	for round := range 20 {
		var clients []*client
		for i := range 4 {
			c := login(t, connect)
			if i%2 == 0 {
				idleIn(c)
			}
			clients = append(clients, c)
		}
		waitParked(t, s, 4)
		for _, c := range clients {
			tcp := c.nc.(*net.TCPConn)
			switch round % 3 {
			case 0:
				tcp.CloseWrite() // half closed: the server ends its half
				c.play("EOF")
			case 1:
				tcp.SetLinger(0) // reset
				tcp.Close()
			case 2:
				tcp.Close()
			}
		}
		waitFor(t, "connections end", func() bool { return s.open() == 0 })
	}
	if _, users := s.conns.Len(); users != 0 {
		t.Error("users are left:", users)
	}
}

// TestParkHalfClosedWithInput: what a client sent before it closed its half is done.
func TestParkHalfClosedWithInput(t *testing.T) {
	store := newMemStore()
	s, connect := startParking(t, store, nil)
	c := login(t, connect)
	selectInbox(c)
	idleIn(c)
	waitParked(t, s, 1)
	c.send("DONE\r\na CREATE Made\r\n")
	c.nc.(*net.TCPConn).CloseWrite()
	c.play(`
		S: i OK IDLE completed
		S: a OK CREATE completed
		EOF`)
}

// TestParkTLS: sessions under TLS are parked between commands and in IDLE.
func TestParkTLS(t *testing.T) {
	store := newMemStore()
	s, connect := startParking(t, store, withTLS(t))
	c := connect()
	c.line()
	c.send("a STARTTLS\r\n")
	c.line()
	tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	c.nc, c.r = tc, bufio.NewReader(tc)
	c.play(`
		C: d LOGIN ann secret
		S~ d OK .*`)
	selectInbox(c)
	for n := range 20 {
		waitParked(t, s, 1)
		idleIn(c)
		waitParked(t, s, 1)
		store.put("INBOX", mail1, 0)
		c.play(fmt.Sprintf("S: * %d EXISTS", n+1))
		waitParked(t, s, 1)
		// Two records, which may come in pieces.
		c.send("DONE\r\nx NO")
		c.send("OP\r\n")
		c.play(`
			S: i OK IDLE completed
			S: x OK NOOP completed`)
	}
	tc.Close()
	waitFor(t, "connections end", func() bool { return s.open() == 0 })
}

// TestParkImplicitTLS: the same where TLS begins at once.
func TestParkImplicitTLS(t *testing.T) {
	server, config := testTLS(t)
	store := newMemStore()
	s := NewServer(Options{NewSession: store.session})
	s.parker.linger = time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(tls.NewListener(l, server)) }()
	tc, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tc.Close()
	c := &client{t: t, nc: tc, r: bufio.NewReader(tc)}
	c.line()
	c.do("LOGIN ann secret")
	selectInbox(c)
	idleIn(c)
	waitParked(t, s, 1)
	store.put("INBOX", mail1, 0)
	c.play("S: * 1 EXISTS")
	waitParked(t, s, 1)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.play("S: * BYE Server is shutting down")
	<-done
}

// TestBeginPanic: a panic before there is a session ends that connection only (G4).
func TestBeginPanic(t *testing.T) {
	store := newMemStore()
	made := 0
	s, connect := startParking(t, store, func(o *Options) {
		o.NewSession = func(ctx context.Context, c *ConnInfo) (Session, error) {
			if made++; made == 1 {
				panic("begin")
			}
			return store.session(ctx, c)
		}
	})
	connect().play(`
		S: * BYE [SERVERBUG] Internal error
		EOF`)
	login(t, connect)
	waitFor(t, "one connection left", func() bool { return s.open() == 1 })
}

// brittle is a session that panics when it is polled.
type brittle struct{ *memSession }

func (brittle) Poll(context.Context, *UpdateWriter, bool) error { panic("poll") }

// TestParkPanic: a panic in a resumed session ends that connection only (G4).
func TestParkPanic(t *testing.T) {
	store := newMemStore()
	made := 0
	s, connect := startParking(t, store, func(o *Options) {
		o.NewSession = func(context.Context, *ConnInfo) (Session, error) {
			if made++; made == 1 {
				return brittle{&memSession{store: store}}, nil
			}
			return &memSession{store: store}, nil
		}
	})
	bad := login(t, connect)
	selectInbox(bad)
	good := login(t, connect)
	selectInbox(good)
	idleIn(good)
	waitParked(t, s, 2)
	bad.play(`
		C: n NOOP
		S: * BYE [SERVERBUG] Internal error
		EOF`)
	store.put("INBOX", mail1, 0)
	good.play(`S: * 1 EXISTS`)
	waitFor(t, "one connection left", func() bool { return s.open() == 1 })
}
