package imap

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
)

// held is what the heap and the stacks hold.
func held() int64 {
	var m runtime.MemStats
	for range 3 { // pools give back by the second collection
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestWaitingMemory: a session that waits holds no more than this, in clear, under
// TLS, and compressed, in IDLE and between commands (IM6). The bounds leave
// much room: what they find is a buffer or a stack that is kept. The engine's part
// only, with the client's socket.
func TestWaitingMemory(t *testing.T) {
	for _, test := range []struct {
		name               string
		tls, deflate, idle bool
		bound              int64
	}{
		{"clear", false, false, false, 6 << 10},
		{"clear, IDLE", false, false, true, 6 << 10},
		{"TLS", true, false, false, 20 << 10},
		{"TLS, IDLE", true, false, true, 20 << 10},
		{"TLS compressed, IDLE", true, true, true, 24 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			const sessions = 200
			store := newMemStore()
			server, config := testTLS(t)
			opts := Options{NewSession: store.session, AllowClear: true}
			opts.Limits = Limits{PerUser: sessions, PerAddress: sessions, Connections: sessions}
			s := NewServer(opts)
			s.parker.linger = time.Millisecond
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if test.tls {
				l = tls.NewListener(l, server)
			}
			done := make(chan error, 1)
			go func() { done <- s.Serve(l) }()
			sockets := make([]net.Conn, 0, sessions)
			open := func() { // the client keeps its socket only
				nc, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				sockets = append(sockets, nc)
				if test.tls {
					nc = tls.Client(nc, config)
				}
				c := &client{t: t, nc: nc, r: bufio.NewReader(nc)}
				c.line()
				c.do("LOGIN ann secret")
				selectInbox(c)
				if test.deflate {
					c.do("COMPRESS DEFLATE")
					w, _ := flate.NewWriter(nc, 1)
					c.r = bufio.NewReader(flate.NewReader(nc))
					fmt.Fprint(w, "n NOOP\r\ni IDLE\r\n")
					w.Flush()
					c.play("S: n OK NOOP completed\nS: + idling")
				} else if test.idle {
					idleIn(c)
				}
			}
			open()
			waitParked(t, s, 1)
			before := held()
			for range sessions - 1 {
				open()
			}
			waitParked(t, s, sessions)
			each := (held() - before) / int64(sessions-1)
			t.Logf("%d B per session", each)
			if each > test.bound {
				t.Errorf("a waiting session holds %d B, more than %d", each, test.bound)
			}
			for _, nc := range sockets {
				nc.Close()
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-done
		})
	}
}
