package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// bubble runs fn with a client of a fresh server in virtual time.
func bubble(t *testing.T, opts Options, f *fake, fn func(t *testing.T, s *Server, c *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Hostname, opts.Backend = "mx.example.org", f
		s := NewServer(opts)
		c := dial(t, s)
		defer c.Close()
		fn(t, s, c)
		c.Close()
		synctest.Wait()
		f.check(t)
	})
}

// TestStartTLS shows SS6: what was known before is forgotten, a new session
// takes over, and STARTTLS is no longer offered.
func TestStartTLS(t *testing.T) {
	f := &fake{login: "tim"}
	bubble(t, Options{TLS: serverTLS()}, f, func(t *testing.T, _ *Server, c *client) {
		c.script(hello + `
			C: MAIL FROM:<a@example.org> AUTH=<>
			S: 555 5.5.4
			C: AUTH PLAIN ` + b64("\x00tim\x00tim") + `
			S: 538 5.7.11
			C: STARTTLS now
			S: 501 5.5.4
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: STARTTLS
			S: 220 2.0.0`)
		if err := c.startTLS("smtp"); err != nil {
			t.Fatal(err)
		}
		c.script(`
			C: RCPT TO:<b@example.org>
			S: 503 5.5.1
			C: MAIL FROM:<a@example.org>
			S: 503 5.5.1 Say EHLO
			C: STARTTLS
			S: 503 5.5.1`)
		c.send("EHLO again\r\n")
		ext := strings.Join(c.expect("250 "), "|")
		if strings.Contains(ext, "STARTTLS") || !strings.Contains(ext, "AUTH PLAIN LOGIN") {
			t.Fatal(ext)
		}
		c.script(`
			C: AUTH PLAIN ` + b64("\x00tim\x00tim") + `
			S: 235 2.7.0
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 
			C: .
			S: 250 
			C: QUIT
			S: 221 
			E:`)
	})
	if f.protocol != "ESMTPSA" || f.sessions != 2 || len(f.posts) != 1 {
		t.Fatal(f.protocol, f.sessions, len(f.posts))
	}
}

// TestStartTLSInjection shows SS6: octets behind STARTTLS end the session, in
// one write or in two, lax or not.
func TestStartTLSInjection(t *testing.T) {
	for _, lax := range []bool{false, true} {
		bubble(t, Options{TLS: serverTLS(), LaxPipelining: lax}, &fake{}, func(t *testing.T, _ *Server, c *client) {
			c.script(hello + "R: STARTTLS\\r\\nMAIL FROM:<evil@example.org>\\r\\n\nS: 554 5.5.0\nE:")
		})
	}
	f := &fake{}
	bubble(t, Options{TLS: serverTLS()}, f, func(t *testing.T, _ *Server, c *client) {
		c.script(hello + "C: STARTTLS\nS: 220 ")
		c.send("EHLO injected\r\n") // in clear after 220: no TLS record
		io.Copy(io.Discard, c.Conn)
	})
	if len(f.names) != 1 {
		t.Fatal(f.names)
	}
}

// TestALPN shows TL2: another service is refused, this one and none pass.
func TestALPN(t *testing.T) {
	for _, c := range []struct {
		protos []string
		ok     bool
	}{{nil, true}, {[]string{"smtp"}, true}, {[]string{"h2"}, false}, {[]string{"imap", "smtp"}, true}} {
		bubble(t, Options{TLS: serverTLS(), ImplicitTLS: true}, &fake{}, func(t *testing.T, _ *Server, cl *client) {
			if err := cl.startTLS(c.protos...); (err == nil) != c.ok {
				t.Fatal(c.protos, err)
			}
			if c.ok {
				cl.script("S: 220 \nC: EHLO x\nS: 250 \nC: QUIT\nS: 221 \nE:")
			}
		})
	}
}

func TestAuth(t *testing.T) {
	good := b64("\x00tim\x00tim")
	bubble(t, Options{AuthInsecure: true, Limits: Limits{Errors: 100, FreeErrors: 100}}, &fake{login: "tim"}, func(t *testing.T, _ *Server, c *client) {
		c.script(`
			S: 220 
			C: AUTH PLAIN ` + good + `
			S: 503 5.5.1
			C: EHLO x
			S: 250 
			C: AUTH
			S: 501 5.5.4
			C: AUTH CRAM-MD5
			S: 504 5.5.4
			C: AUTH PLAIN *
			S: 501 5.5.2
			C: AUTH PLAIN =AAA
			S: 501 5.5.2
			C: AUTH PLAIN =
			S: 501 5.5.2
			C: AUTH PLAIN
			S: 334 
			C: *
			S: 501 5.7.0
			C: AUTH PLAIN
			S: 334 
			C: AAA=BBB=
			S: 501 5.5.2
			C: AUTH PLAIN ` + b64("\x00tim\x00no") + `
			S: 535 5.7.8
			C: AUTH PLAIN ` + b64("broken") + `
			S: 454 4.7.0
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: AUTH PLAIN ` + good + `
			S: 503 5.5.1
			C: RSET
			S: 250 
			C: AUTH login
			S: 334 ` + b64("Say:") + `
			C: ` + b64("tim") + `
			S: 334 ` + b64("More:") + `
			C: ` + b64("tim") + `
			S: 235 2.7.0
			C: AUTH PLAIN ` + good + `
			S: 503 5.5.1`)
		c.send("EHLO again\r\n")
		if ext := strings.Join(c.expect("250 "), "|"); strings.Contains(ext, "AUTH") {
			t.Fatal(ext)
		}
	})
	t.Run("pipelined PLAIN", func(t *testing.T) { // RFC 4954 §4
		play(t, Options{AuthInsecure: true}, &fake{login: "tim"}, hello+`
			R: AUTH PLAIN `+good+`\r\nMAIL FROM:<a@example.org>\r\n
			S: 235 
			S: 250 2.1.0`)
	})
	t.Run("pipelined LOGIN", func(t *testing.T) {
		play(t, Options{AuthInsecure: true}, &fake{login: "tim"}, hello+`
			R: AUTH LOGIN\r\ndGlt\r\n
			S: 554 5.5.0
			E:`)
	})
	t.Run("long response SS7", func(t *testing.T) {
		play(t, Options{AuthInsecure: true}, &fake{login: "tim"}, hello+`
			C: AUTH PLAIN
			S: 334 
			C: `+strings.Repeat("AAAA", 3000)+`
			S: 535 
			C: AUTH PLAIN
			S: 334 
			C: `+strings.Repeat("AAAA", 3100)+`
			S: 500 5.5.6
			E:`)
	})
	t.Run("exchange time AU4", func(t *testing.T) {
		bubble(t, Options{AuthInsecure: true}, &fake{login: "tim"}, func(t *testing.T, _ *Server, c *client) {
			c.script(hello + "C: AUTH PLAIN\nS: 334 ")
			began := time.Now()
			c.script("S: 421 4.4.2\nE:")
			if d := time.Since(began); d != 60*time.Second {
				t.Fatal(d)
			}
		})
	})
	t.Run("none offered", func(t *testing.T) {
		play(t, Options{AuthInsecure: true}, &fake{}, hello+"C: AUTH PLAIN\nS: 502 5.5.1")
	})
}

// TestProtocol is RFC 3848 and RFC 6531 §4.3.
func TestProtocol(t *testing.T) {
	c := &Conn{srv: NewServer(Options{})}
	if c.Protocol(false) != "SMTP" {
		t.Fatal("HELO")
	}
	c.esmtp = true
	for _, want := range []struct{ plain, utf8 string }{{"ESMTP", "UTF8SMTP"}, {"ESMTPA", "UTF8SMTPA"}} {
		if c.Protocol(false) != want.plain || c.Protocol(true) != want.utf8 {
			t.Fatal(c.Protocol(false), c.Protocol(true))
		}
		c.identity = "x"
	}
	c.srv, c.tls = NewServer(Options{LMTP: true}), new(tls.ConnectionState)
	if c.Protocol(false) != "LMTPSA" || c.Protocol(true) != "UTF8LMTPSA" {
		t.Fatal(c.Protocol(false), c.Protocol(true))
	}
}

// TestSS12 shows the timeouts of every stage.
func TestSS12(t *testing.T) {
	const rcpt = hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \n"
	for _, d := range []struct {
		name, script string
		after        time.Duration
		opts         Options
	}{
		{name: "command", script: "S: 220 ", after: 300 * time.Second},
		{name: "transaction", script: rcpt, after: 300 * time.Second},
		{name: "half a line", script: "S: 220 \nR: NOO", after: 300 * time.Second},
		{name: "data", script: rcpt + "C: DATA\nS: 354 \nR: x", after: 180 * time.Second},
		{name: "chunk", script: rcpt + "R: BDAT 5\\r\\nx", after: 180 * time.Second},
		{name: "session SS15", script: "S: 220 ", after: 10 * time.Second, opts: Options{Limits: Limits{SessionTime: 10 * time.Second}}},
		{name: "stress", script: "S: 220 ", after: 30 * time.Second, opts: Options{Limits: Limits{Connections: 1}, Trusted: func(netip.Addr) bool { return true }}},
	} {
		t.Run(d.name, func(t *testing.T) {
			bubble(t, d.opts, &fake{}, func(t *testing.T, _ *Server, c *client) {
				c.script(d.script)
				began := time.Now()
				c.expect("421 4.4.2 mx.example.org")
				if got := time.Since(began); got != d.after {
					t.Fatalf("after %v", got)
				}
			})
		})
	}
	t.Run("handshake", func(t *testing.T) {
		bubble(t, Options{TLS: serverTLS(), ImplicitTLS: true}, &fake{}, func(t *testing.T, _ *Server, c *client) {
			began := time.Now()
			c.expect("")
			if got := time.Since(began); got != 30*time.Second {
				t.Fatalf("after %v", got)
			}
		})
	})
	t.Run("client does not read", func(t *testing.T) {
		bubble(t, Options{}, &fake{}, func(t *testing.T, _ *Server, c *client) {
			c.script(hello)
			began := time.Now()
			// More replies than the pipe holds: the server gives up writing.
			go func() {
				for {
					if _, err := c.Write(bytes.Repeat([]byte("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n"), 100)); err != nil {
						return
					}
				}
			}()
			time.Sleep(400 * time.Second)
			c.Close()
			if time.Since(began) != 400*time.Second {
				t.Fatal("time")
			}
		})
	})
}

// TestSS13 shows in a synctest bubble that a client may be slow, but not slower
// than the minimum.
func TestSS13(t *testing.T) {
	slow := func(t *testing.T, c *client, octets int, every time.Duration) (sent int) {
		c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 ")
		for range 300 {
			time.Sleep(every)
			if _, err := c.Write([]byte(strings.Repeat("x", octets-2) + "\r\n")); err != nil {
				return sent
			}
			sent++
		}
		return sent
	}
	bubble(t, Options{}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		if n := slow(t, c, 490, time.Second); n < 59 || n > 70 {
			t.Fatalf("490 octets/s: dropped after %d s", n)
		}
		c.expect("421 4.4.2")
	})
	bubble(t, Options{}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		if n := slow(t, c, 510, time.Second); n != 300 {
			t.Fatalf("510 octets/s: dropped after %d s", n)
		}
		c.script("C: .\nS: 250 2.0.0")
	})
}

// TestSS15 shows what errors and idling cost.
func TestSS15(t *testing.T) {
	bubble(t, Options{}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		c.script(hello)
		for i := 1; i <= 20; i++ {
			began := time.Now()
			c.script("C: WRONG\nS: 500 5.5.2")
			want := time.Duration(0)
			if i > 4 && i < 20 {
				want = time.Second
			}
			if got := time.Since(began); got != want {
				t.Fatalf("error %d took %v", i, got)
			}
		}
		c.script("S: 421 4.7.0\nE:")
	})
	bubble(t, Options{}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		c.script(hello)
		for range 99 {
			c.script("C: NOOP\nS: 250 ")
		}
		c.script("C: NOOP\nS: 421 4.7.0\nE:")
	})
	mails := func(c *client, n int) {
		for range n {
			c.script(`
				C: MAIL FROM:<a@example.org>
				S: 250 
				C: RCPT TO:<b@example.org>
				S: 250 
				R: BDAT 0 LAST\r\n
				S: 250 `)
		}
	}
	lim := Limits{Transactions: 3}
	bubble(t, Options{Limits: lim}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		c.script(hello)
		mails(c, 3)
		c.script("C: MAIL FROM:<a@example.org>\nS: 421 4.7.0\nE:")
	})
	bubble(t, Options{Limits: lim, Trusted: func(netip.Addr) bool { return true }}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		c.script(hello)
		mails(c, 10)
	})
}

// TestSS11 shows the number of recipients; refused ones do not count.
func TestSS11(t *testing.T) {
	bubble(t, Options{Limits: Limits{Recipients: 3}}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<later@example.org>\nS: 451 ")
		for range 100 {
			c.script("C: RCPT TO:<b@example.org>\nS: 250 ")
		}
		c.script("C: RCPT TO:<b@example.org>\nS: 452 4.5.3\nC: DATA\nS: 354 \nC: .\nS: 250 ")
	})
}

// TestSS14 shows the counts per address, per network and in all.
func TestSS14(t *testing.T) {
	ip := netip.MustParseAddr
	now := time.Unix(1e9, 0)
	lim := Limits{Connections: 100, PerIPv4: 3, PerIPv4Net: 5, PerIPv6: 2, PerIPv6Net: 3, NewPerMin: 10}.withDefaults()
	for _, c := range []struct {
		addrs string // space separated, connected in turn
		last  string // refusal of the last
	}{
		{"192.0.2.1 192.0.2.1 192.0.2.1", ""},
		{"192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1", "address"},
		{"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5", ""},
		{"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6", "address"},
		{"2001:db8::1 2001:db8::2 2001:db8::3", "address"},
		{"2001:db8:0:1::1 2001:db8:0:2::1 2001:db8:0:3::1", ""},
		{"2001:db8:0:1::1 2001:db8:0:2::1 2001:db8:0:3::1 2001:db8:0:4::1", "address"},
		{"2001:db8:0:1::1 2001:db8:0:2::1 2001:db8:0:3::1 2001:db8:1:4::1", ""},
	} {
		g := newGate(lim)
		all := strings.Fields(c.addrs)
		for i, a := range all {
			want := ""
			if i == len(all)-1 {
				want = c.last
			}
			if got := g.admit(ip(a), false, now); got != want {
				t.Errorf("%s: %d: %q", c.addrs, i, got)
			}
		}
		for i, a := range all {
			if i < len(all)-1 || c.last == "" {
				g.leave(ip(a), false, false)
			}
		}
		if g.total != 0 || g.open != 0 || len(g.peers) != 0 {
			t.Errorf("%s: left %d, %d, %d", c.addrs, g.total, g.open, len(g.peers))
		}
	}
	g := newGate(lim)
	for i := range 12 {
		want := ""
		if i >= 10 {
			want = "rate"
		}
		if got := g.admit(ip("192.0.2.1"), false, now); got != want {
			t.Errorf("connect %d in a minute: %q", i, got)
		} else if got == "" {
			g.leave(ip("192.0.2.1"), false, false)
		}
	}
	if g.admit(ip("192.0.2.1"), false, now.Add(time.Minute)) != "" {
		t.Error("the next minute")
	}
	// A fifth is for those who are known.
	g = newGate(lim)
	for i := range 80 {
		if g.admit(netip.Addr{}, false, now) != "" {
			t.Fatal(i)
		}
	}
	if g.admit(netip.Addr{}, false, now) == "" || !g.stressed.Load() == (g.total > 80) {
		t.Error("reserve was given away")
	}
	g.promote()
	if g.admit(netip.Addr{}, false, now) != "" {
		t.Error("an authenticated one takes the reserve")
	}
	for range 19 {
		if g.admit(ip("192.0.2.9"), true, now) != "" {
			t.Error("trusted refused")
		}
	}
	if g.admit(ip("192.0.2.9"), true, now) == "" || !g.stressed.Load() {
		t.Error("more than all")
	}
	// The memory of connects is bounded (G10).
	g = newGate(lim)
	a := ip("192.0.2.1")
	for range maxRates + 100 {
		if g.admit(a, false, now) == "" {
			g.leave(a, false, false)
		}
		a = netip.AddrFrom4([4]byte(a.Next().AsSlice()))
	}
	if len(g.rates) > maxRates || len(g.rates) < maxRates/2 {
		t.Error(len(g.rates))
	}
	for range 100 { // a minute later all of them are old
		g.connects(netip.PrefixFrom(a, 32), now.Add(time.Minute))
		a = a.Next()
	}
	if g.evict(now.Add(90 * time.Second)); len(g.rates) != 100 {
		t.Error(len(g.rates))
	}
}

// TestRefusedConnection shows SS14 on the wire.
func TestRefusedConnection(t *testing.T) {
	bubble(t, Options{Limits: Limits{PerIPv4: 1}}, &fake{}, func(t *testing.T, s *Server, c *client) {
		c.script(hello)
		second := dial(t, s)
		second.script("S: 421 4.7.0\nE:")
		c.script("C: QUIT\nS: 221 \nE:")
		synctest.Wait()
		third := dial(t, s)
		third.script("S: 220 \nC: QUIT\nS: 221 \nE:")
	})
}

// TestSS17Early shows that a client that talks before the greeting is dropped.
func TestSS17Early(t *testing.T) {
	bubble(t, Options{GreetDelay: 2 * time.Second}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		time.Sleep(time.Second)
		c.script("C: EHLO x\nS: 554 5.5.0\nE:")
	})
	bubble(t, Options{GreetDelay: 2 * time.Second}, &fake{}, func(t *testing.T, _ *Server, c *client) {
		began := time.Now()
		c.expect("220 ")
		if time.Since(began) != 2*time.Second {
			t.Fatal(time.Since(began))
		}
	})
}

// TestShutdown shows QU10: idle clients hear 421, transactions end well, and
// what does not end is cut.
func TestShutdown(t *testing.T) {
	f := &fake{}
	bubble(t, Options{}, f, func(t *testing.T, s *Server, c *client) {
		idle := dial(t, s)
		idle.expect("220 ")
		c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 ")
		content := dial(t, s)
		content.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 ")
		synctest.Wait()
		done := make(chan error)
		go func() { done <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		idle.script("S: 421 4.3.2\nE:")
		late := dial(t, s)
		late.expect("")
		c.script("C: DATA\nS: 354 \nC: .\nS: 250 2.0.0\nS: 421 4.3.2\nE:")
		content.script("C: .\nS: 250 2.0.0\nS: 421 4.3.2\nE:")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
	if len(f.posts) != 2 {
		t.Fatal(len(f.posts))
	}
	bubble(t, Options{}, &fake{}, func(t *testing.T, s *Server, c *client) {
		c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<slow@example.org>\nS: 250 \nC: DATA\nS: 354 \nC: .")
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 30*time.Second {
			t.Fatal(err, time.Since(began))
		}
		if rest, _ := io.ReadAll(c.br); strings.Contains(string(rest), "250") {
			t.Fatalf("%q", rest)
		}
	})
}

// TestG4 shows that a panic is logged with a hash and without the input, and
// that the server goes on.
func TestG4(t *testing.T) {
	var log bytes.Buffer
	f := &fake{}
	bubble(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, f, func(t *testing.T, s *Server, c *client) {
		c.script(hello + "C: MAIL FROM:<panic@secret.example>\nS: 421 4.3.0\nE:")
		again := dial(t, s)
		again.script(hello + "C: QUIT\nS: 221 \nE:")
	})
	if out := log.String(); !strings.Contains(out, "smtp panic") || !strings.Contains(out, "input=") || strings.Contains(out, "secret.example") {
		t.Fatal(out)
	}
}

// TestSS16 shows that a silent session holds no pooled buffer.
func TestSS16(t *testing.T) {
	var conn *Conn
	f := &fake{onData: func(c *Conn) { conn = c }}
	bubble(t, Options{}, f, func(t *testing.T, _ *Server, c *client) {
		c.script(hello + "C: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 \nC: x")
		synctest.Wait()
		if conn.big == nil {
			t.Fatal("content is read into the nook")
		}
		c.script("C: .\nS: 250 ")
		synctest.Wait()
		if conn.big != nil {
			t.Fatal("buffer kept")
		}
		c.script("C: NOOP " + strings.Repeat("x", 980) + "\nS: 250 \nC: MAIL FROM:<a@example.org> X=" + strings.Repeat("x", 3000) + "\nS: 555 ")
		synctest.Wait()
		if conn.big != nil {
			t.Fatal("buffer kept after a long line")
		}
	})
}

// TestSS16TLS shows what silent sessions under TLS hold, clients included,
// which are as large.
func TestSS16TLS(t *testing.T) {
	const n = 100
	s := NewServer(Options{Hostname: "mx.example.org", Backend: &fake{}, TLS: serverTLS(), ImplicitTLS: true, Trusted: func(netip.Addr) bool { return true }})
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	var conns []*client
	for range n {
		c := dial(t, s)
		if err := c.startTLS(); err != nil {
			t.Fatal(err)
		}
		c.script("S: 220 \nC: EHLO x\nS: 250 \nC: MAIL FROM:<a@example.org>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nC: DATA\nS: 354 \nC: x\nC: .\nS: 250 ")
		conns = append(conns, c)
	}
	each := int(memory()-before) / n
	t.Logf("%d octets for both ends of a session", each)
	if each > 2*64<<10 {
		t.Errorf("%d octets for both ends of a session", each)
	}
	for _, c := range conns {
		c.Close()
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestFacts shows what a session may know of its connection.
func TestFacts(t *testing.T) {
	f := &fake{login: "tim"}
	f.onData = func(c *Conn) {
		name, esmtp := c.Hello()
		if name != "client.example" || !esmtp || c.Identity() != "tim@example.org" || c.Hostname() != "mx.example.org" || c.TLS() != nil || !c.Trusted() ||
			c.Remote() != netip.MustParseAddr("192.0.2.7") || c.RemoteAddr().String() != "192.0.2.7:40000" || c.LocalAddr().String() != "192.0.2.1:25" || c.Started() != time.Now() {
			t.Errorf("%+v", c)
		}
	}
	play(t, Options{AuthInsecure: true, Trusted: func(netip.Addr) bool { return true }}, f, hello+`
		C: AUTH PLAIN `+b64("\x00tim\x00tim")+`
		S: 235 
		C: MAIL FROM:<a@example.org> AUTH=<>
		S: 250 
		C: RCPT TO:<b@example.org>
		S: 250 
		C: DATA
		S: 354 
		C: .
		S: 250 `)
	if len(f.posts) != 1 {
		t.Fatal("not sent")
	}
}

// TestRefusedAfterTLS shows that a session refused after the handshake says so
// to the next command, since TLS has no greeting.
func TestRefusedAfterTLS(t *testing.T) {
	f := &fake{}
	bubble(t, Options{TLS: serverTLS()}, f, func(t *testing.T, _ *Server, c *client) {
		c.script(hello)
		f.refuse = &Reply{554, "5.7.1", "Not with this certificate"}
		c.script("C: STARTTLS\nS: 220 ")
		if err := c.startTLS(); err != nil {
			t.Fatal(err)
		}
		c.script("C: EHLO x\nS: 554 5.7.1\nC: NOOP\nS: 554 5.7.1\nC: QUIT\nS: 221 \nE:")
	})
}
