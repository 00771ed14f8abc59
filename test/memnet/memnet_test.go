package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

const server = "10.0.0.1:25"

var serverAddr = netip.MustParseAddr("10.0.0.1")

// pair is a connection to the server, and the listener.
func pair(t *testing.T, n *Network) (client, accepted *Conn, ln net.Listener) {
	t.Helper()
	ln, err := n.Listen("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.Dial(t.Context(), "tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a.(*Conn), b.(*Conn), ln
}

// TestConformance runs the suite that the connections of the system pass.
func TestConformance(t *testing.T) {
	for name, latency := range map[string]time.Duration{"direct": 0, "latency": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				n := New()
				n.SetFault(serverAddr, Fault{Latency: latency})
				a, b, ln := pair(t, n)
				return a, b, func() { a.Close(); b.Close(); ln.Close() }, nil
			})
		})
	}
}

// TestAddresses: both ends know both, and callers say where they come from.
func TestAddresses(t *testing.T) {
	n := New()
	for _, c := range []struct{ listen, source, from string }{
		{"10.0.0.1:25", "", "192.0.2.1"},
		{"[2001:db8::25]:25", "", "2001:db8::1"},
		{"10.0.0.2:0", "10.9.9.9", "10.9.9.9"},
		{"localhost:0", "127.0.0.1", "127.0.0.1"},
	} {
		ln, err := n.Listen("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		var source netip.Addr
		if c.source != "" {
			source = netip.MustParseAddr(c.source)
		}
		a, err := n.DialFrom(t.Context(), "tcp", ln.Addr().String(), source)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if a.RemoteAddr().String() != ln.Addr().String() || a.LocalAddr().String() != b.RemoteAddr().String() || b.LocalAddr().String() != ln.Addr().String() {
			t.Errorf("%s: client %v → %v, server %v ← %v", c.listen, a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
		}
		if got := b.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().String(); got != c.from {
			t.Errorf("%s: from %s, want %s", c.listen, got, c.from)
		}
	}
}

// TestErrors: what cannot be is refused as the system does it.
func TestErrors(t *testing.T) {
	n := New()
	ln, err := n.Listen("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	n.SetFault(netip.MustParseAddr("10.0.0.9"), Fault{Unreachable: true})
	dial := func(network, address string) error {
		_, err := n.Dial(t.Context(), network, address)
		return err
	}
	if _, err := n.Listen("tcp", server); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v", err)
	}
	if err := dial("tcp", "10.0.0.1:26"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nothing listens: %v", err)
	}
	if err := dial("tcp", "10.0.0.9:25"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("unreachable: %v", err)
	}
	var dnsErr *net.DNSError
	if err := dial("tcp", "mx.example.org:25"); !errors.As(err, &dnsErr) {
		t.Errorf("a name: %v", err)
	}
	for _, c := range [][2]string{{"tcp6", server}, {"tcp4", "[::1]:25"}, {"udp", server}, {"tcp", "10.0.0.1"}, {"tcp", "10.0.0.1:99999"}} {
		if err := dial(c[0], c[1]); err == nil {
			t.Errorf("dialled %v", c)
		}
	}
	if _, err := n.DialFrom(t.Context(), "tcp", server, netip.IPv6Loopback()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("source of another family: %v", err)
	}
	waits, err := n.Dial(t.Context(), "tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if _, err := waits.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("never accepted: %v", err)
	}
	if err := dial("tcp", server); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after close: %v", err)
	}
	waits.Close()
	if n.Open() != 0 {
		t.Errorf("%d connections are open", n.Open())
	}
}

// TestSilentHost hangs until the context ends, in the time of the bubble.
func TestSilentHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.SetFault(serverAddr, Fault{Silent: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		_, err := n.Dial(ctx, "tcp", server)
		var netErr net.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &netErr) || !netErr.Timeout() {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("took %v", d)
		}
	})
}

// TestCloses are the ways in which a connection ends.
func TestCloses(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, n *Network, a, b *Conn){
		"half-closed": func(t *testing.T, _ *Network, a, b *Conn) {
			write(t, a, "request")
			if err := a.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(b); string(got) != "request" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			write(t, b, "reply")
			b.Close()
			if got, err := io.ReadAll(a); string(got) != "reply" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after CloseWrite: %v", err)
			}
		},
		"aborted": func(t *testing.T, _ *Network, a, b *Conn) {
			write(t, a, "last words")
			a.Abort()
			if got, err := io.ReadAll(b); string(got) != "last words" || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, %v", got, err)
			}
		},
		"closed with octets unread": func(t *testing.T, _ *Network, a, b *Conn) {
			write(t, b, "421 wait")
			write(t, a, "QUIT")
			b.Close()
			if got, err := io.ReadAll(a); string(got) != "421 wait" || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, %v", got, err)
			}
		},
		"written to after it was closed": func(t *testing.T, _ *Network, a, b *Conn) {
			b.Close()
			write(t, a, "lost")
			if _, err := a.Write([]byte("refused")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("second write: %v", err)
			}
		},
		"reset from outside": func(t *testing.T, n *Network, a, b *Conn) {
			n.Reset(serverAddr)
			for _, c := range []*Conn{a, b} {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("got %v", err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New()
				a, b, ln := pair(t, n)
				test(t, n, a, b)
				_, _ = a.Close(), b.Close() // some are closed already
				ln.Close()
				if n.Open() != 0 {
					t.Errorf("%d connections are open", n.Open())
				}
			})
		})
	}
}

// TestCut lets so many octets through each way and not one more, however they
// are written.
func TestCut(t *testing.T) {
	for _, latency := range []time.Duration{0, time.Second} {
		for _, chunk := range []int{1, 3, 50} {
			synctest.Test(t, func(t *testing.T) {
				n := New()
				n.SetFault(serverAddr, Fault{CutTo: 10, CutFrom: 20, Latency: latency})
				for to, want := range map[bool]int{true: 10, false: 20} {
					a, b, ln := pair(t, n)
					if !to {
						a, b = b, a
					}
					var err error
					for sent := 0; sent < 50 && err == nil; sent += chunk {
						_, err = a.Write(make([]byte, chunk))
					}
					if latency == 0 && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("write: %v", err)
					}
					got, err := io.ReadAll(b)
					if len(got) != want || !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("to %v in %d: got %d octets, want %d, %v", to, chunk, len(got), want, err)
					}
					_, _, _ = a.Close(), b.Close(), ln.Close()
				}
			})
		}
	}
}

// TestWindow: a writer waits for its reader after 64 KiB, and for its deadline.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ln := pair(t, New())
		defer ln.Close()
		text := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
		if err := a.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		n, err := a.Write(text)
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Fatalf("wrote %d in %v: %v", n, time.Since(begin), err)
		}
		if err := a.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = a.Write(text[n:]) // what arrives tells
			a.Close()
		}()
		synctest.Wait()
		if got, err := io.ReadAll(b); !bytes.Equal(got, text) || err != nil {
			t.Errorf("%d octets, %v", len(got), err)
		}
		b.Close()
	})
}

// TestLatency: octets and ends arrive later, in order; a round trip takes two.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.SetFault(serverAddr, Fault{Latency: time.Second})
		begin := time.Now()
		a, b, ln := pair(t, n)
		defer ln.Close()
		write(t, a, "one ")
		time.Sleep(time.Second / 2)
		write(t, a, "two")
		a.Close()
		buf := make([]byte, 10)
		k, err := b.Read(buf)
		if string(buf[:k]) != "one " || err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("got %q after %v, %v", buf[:k], time.Since(begin), err)
		}
		rest, err := io.ReadAll(b)
		if string(rest) != "two" || err != nil || time.Since(begin) != 2500*time.Millisecond {
			t.Errorf("got %q after %v, %v", rest, time.Since(begin), err)
		}
		b.Close()
	})
}

func write(t *testing.T, c *Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}
