package smtp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func all(netip.Addr) bool { return true }

// only lists one address.
func only(s string) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return a == netip.MustParseAddr(s) }
}

// TestXClient shows SS23: who is listed becomes another client, and all begins
// again as with a greeting.
func TestXClient(t *testing.T) {
	play(t, Options{}, &fake{}, hello+"C: XCLIENT ADDR=192.0.2.99\nS: 550 5.7.0\nC: XFORWARD NAME=x\nS: 550 5.7.0")
	play(t, Options{XClient: only("192.0.2.99"), XForward: only("192.0.2.99")}, &fake{}, hello+"C: XCLIENT ADDR=192.0.2.99\nS: 550 5.7.0\nC: XFORWARD NAME=x\nS: 550 5.7.0")
	var seen []Origin
	var facts []string
	f := &fake{login: "tim"}
	f.onData = func(c *Conn) {
		seen = append(seen, c.Client())
		name, esmtp := c.Hello()
		facts = append(facts, strings.Join([]string{c.Remote().String(), c.Peer().String(), c.RemoteAddr().String(), c.LocalAddr().String(), name, map[bool]string{false: "SMTP", true: "ESMTP"}[esmtp], c.Identity(),
			map[bool]string{true: "trusted"}[c.Trusted()]}, " "))
	}
	const send = `
		C: MAIL FROM:<a@example.org>
		S: 250 2.1.0
		C: RCPT TO:<b@example.org>
		S: 250 
		R: BDAT 0 LAST\r\n
		S: 250 
		`
	bubble(t, Options{XClient: all, AuthInsecure: true, Trusted: only("198.51.100.7")}, f, func(t *testing.T, s *Server, c *client) {
		c.script("S: 220 \nC: EHLO proxy.example")
		if got := strings.Join(c.expect("250 "), "\n"); !strings.Contains(got, "\n250-XCLIENT "+xclientNames+"\n") {
			t.Error(got)
		}
		c.script(send + `
			C: MAIL FROM:<a@example.org>
			S: 250 
			C: XCLIENT ADDR=198.51.100.7
			S: 503 5.5.1
			C: RSET
			S: 250 
			C: XCLIENT
			S: 501 5.5.4
			C: XCLIENT ADDR
			S: 501 5.5.4
			C: XCLIENT ADDR=198.51.100.7 IDENT=x
			S: 501 5.5.4
			C: XCLIENT ADDR=198.51.100.7 NAME=client+2Eexample PORT=1234 DESTADDR=IPV6:2001:db8::1 DESTPORT=25
			S: 220 mx.example.org ESMTP
			C: MAIL FROM:<a@example.org>
			S: 503 5.5.1
			C: EHLO client.example
			S: 250 LIMITS` + send + `
			C: XCLIENT name=[TEMPUNAVAIL] addr=[unavailable] HELO=told.example PROTO=SMTP LOGIN=tim+40example.org
			S: 220 ` + send)
		if n := s.gate.total; n != 1 || s.gate.open != 0 || len(s.gate.peers) != 0 {
			t.Error(n, s.gate.open, s.gate.peers)
		}
	})
	want := []Origin{
		{Addr: netip.MustParseAddr("192.0.2.7")},
		{Addr: netip.MustParseAddr("198.51.100.7"), Name: "client.example", Port: 1234, Dest: netip.MustParseAddrPort("[2001:db8::1]:25")},
		{NameLater: true, Port: 1234, Dest: netip.MustParseAddrPort("[2001:db8::1]:25"), Hello: "told.example", Login: "tim@example.org"},
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("%+v", seen)
	}
	if want := []string{
		"192.0.2.7 192.0.2.7 192.0.2.7:40000 192.0.2.1:25 proxy.example ESMTP  ",
		"198.51.100.7 192.0.2.7 198.51.100.7:1234 [2001:db8::1]:25 client.example ESMTP  trusted",
		"invalid IP 192.0.2.7 192.0.2.7:40000 [2001:db8::1]:25 told.example SMTP tim@example.org ",
	}; !reflect.DeepEqual(facts, want) {
		t.Errorf("%q", facts)
	}
	if f.sessions != 3 {
		t.Error(f.sessions)
	}
}

// TestXClientLimits shows SS14: the client that was told is counted, the peer
// that tells is not, and nothing is counted twice.
func TestXClientLimits(t *testing.T) {
	bubble(t, Options{XClient: all, Limits: Limits{PerIPv4: 1}}, &fake{}, func(t *testing.T, s *Server, c *client) {
		c.script("S: 220 ")
		second := dial(t, s)
		second.script("S: 220 \nC: XCLIENT ADDR=198.51.100.7\nS: 220 ")
		c.script("C: XCLIENT ADDR=198.51.100.7\nS: 421 4.7.0\nE:")
		c.Close()
		second.script("C: XCLIENT ADDR=198.51.100.8\nS: 220 \nC: XCLIENT ADDR=198.51.100.7\nS: 220 \nC: QUIT\nS: 221 \nE:")
		synctest.Wait()
		if s.gate.total != 0 || s.gate.open != 0 || len(s.gate.peers) != 0 {
			t.Error(s.gate.total, s.gate.open, s.gate.peers)
		}
	})
	f := &fake{}
	bubble(t, Options{XClient: all}, f, func(t *testing.T, _ *Server, c *client) {
		c.script("S: 220 ")
		f.refuse = &Reply{554, "5.7.1", "Not you"}
		c.script("C: XCLIENT ADDR=198.51.100.7\nS: 554 5.7.1\nC: EHLO x\nS: 503 \nC: QUIT\nS: 221 \nE:")
	})
	play(t, Options{XClient: all}, &fake{}, "S: 220 \nC: XCLIENT HELO=refused.example\nS: 550 5.7.1\nC: MAIL FROM:<>\nS: 503 5.5.1")
}

// TestXForward shows that what was told of a message lasts as long as its
// transaction (SS3).
func TestXForward(t *testing.T) {
	var seen []Origin
	f := &fake{login: "tim"}
	f.onData = func(c *Conn) { seen = append(seen, c.Forwarded()) }
	const send = `
		C: MAIL FROM:<a@example.org>
		S: 250 
		C: RCPT TO:<b@example.org>
		S: 250 
		R: BDAT 0 LAST\r\n
		S: 250 
		`
	const tell = "C: XFORWARD NAME=a.example\nS: 250 2.0.0\n"
	play(t, Options{XForward: all, AuthInsecure: true}, f, hello+`
		C: XFORWARD LOGIN=x
		S: 501 5.5.4
		C: XFORWARD NAME=a.example ADDR=IPV6:2001:db8::7 PORT=25 PROTO=ESMTP HELO=b.example
		S: 250 2.0.0
		C: XFORWARD IDENT=4711 SOURCE=LOCAL
		S: 250 2.0.0
		C: MAIL FROM:<no@example.org>
		S: 550 `+send+send+tell+"C: RSET\nS: 250 \n"+send+tell+"C: EHLO x\nS: 250 \n"+send+tell+"C: AUTH PLAIN "+b64("\x00tim\x00tim")+"\nS: 235 \n"+send+
		tell+"C: MAIL FROM:<a@example.org>\nS: 250 \n"+strings.Replace(tell, "250 2.0.0", "503 5.5.1", 1))
	want := []Origin{{Name: "a.example", Addr: netip.MustParseAddr("2001:db8::7"), Port: 25, ESMTP: true, Hello: "b.example", Ident: "4711", Local: true}, {}, {}, {}, {}}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("%+v", seen)
	}
}

// TestForgotten shows SS3 and SS6 for what is not SMTP's own: logins and
// what was told of a message end with STARTTLS, who the client is does not.
func TestForgotten(t *testing.T) {
	var c0 *Conn
	f := &fake{login: "tim"}
	f.onData = func(c *Conn) { c0 = c }
	opts := Options{TLS: serverTLS(), AuthInsecure: true, XClient: all, XForward: all, FutureRelease: time.Hour, RequireTLSOption: true}
	bubble(t, opts, f, func(t *testing.T, _ *Server, c *client) {
		c.script(hello + `
			C: MAIL FROM:<a@example.org> REQUIRETLS
			S: 555 5.5.4
			C: XCLIENT ADDR=198.51.100.7 LOGIN=tim HELO=h PROTO=ESMTP
			S: 220 
			C: XFORWARD NAME=f
			S: 250 
			C: MAIL FROM:<a@example.org> HOLDUNTIL=2000-01-01T00:30:00Z
			S: 501 5.5.4
			C: STARTTLS
			S: 220 `)
		if err := c.startTLS(); err != nil {
			t.Fatal(err)
		}
		c.script(`
			C: MAIL FROM:<a@example.org>
			S: 503 
			C: EHLO x
			S: 250 
			C: MAIL FROM:<a@example.org> HOLDUNTIL=2000-01-01T00:30:00Z REQUIRETLS
			S: 250 
			C: RCPT TO:<b@example.org>
			S: 250 
			C: DATA
			S: 354 `)
		if o := c0.Client(); c0.Identity() != "" || c0.Forwarded() != (Origin{}) || c0.Protocol(false) != "ESMTPS" || c0.Remote() != o.Addr || o.Addr.String() != "198.51.100.7" {
			t.Errorf("%+v", c0)
		}
		c.script("C: .\nS: 250 ")
		if p := f.posts[0].opts; !p.RequireTLS || p.HoldUntil != time.Date(2000, 1, 1, 0, 30, 0, 0, time.UTC) {
			t.Errorf("%+v", p)
		}
	})
}

func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{
		{"ADDR=192.0.2.1", true}, {"ADDR=IPV6:2001:db8::1", true}, {"ADDR=2001:db8::1", false}, {"ADDR=IPV6:192.0.2.1", false}, {"ADDR=IPV6:fe80::1%eth0", false}, {"ADDR=x", false}, {"ADDR=", false},
		{"ADDR=IPV6:::ffff:192.0.2.1", true}, {"PORT=0", true}, {"PORT=65535", true}, {"PORT=65536", false}, {"PORT=01", false}, {"PORT=-1", false}, {"PORT=[UNAVAILABLE]", true},
		{"PROTO=SMTP", true}, {"PROTO=esmtp", true}, {"PROTO=HTTP", false}, {"NAME=a+0D+0Ab", false}, {"NAME=a+20b", false}, {"NAME=" + strings.Repeat("x", 256), false}, {"NAME=a  ADDR=192.0.2.1", false},
		{"NAME", false}, {"=x", false}, {"", false}, {"WHAT=x", false}, {"LOGIN=a+3Db", true}, {"LOGIN=a=b", false}, {"NAME ADDR=x", false},
	} {
		var o Origin
		if got := parseOrigin(c.in, xclientNames, &o); got != c.ok {
			t.Errorf("%q: %v", c.in, got)
		}
	}
}

// proxy2 builds a header of version 2.
func proxy2(command, family byte, body string) string {
	h := append([]byte(proxySignature), command, family)
	return string(append(binary.BigEndian.AppendUint16(h, uint16(len(body))), body...))
}

const tcp4 = "\xc6\x33\x64\x07\xc0\x00\x02\x01\x04\xd2\x00\x19" // 198.51.100.7:1234 to 192.0.2.1:25

func TestParseProxy(t *testing.T) {
	v4 := proxied{src: netip.MustParseAddrPort("198.51.100.7:1234"), dst: netip.MustParseAddrPort("192.0.2.1:25")}
	v6 := proxied{src: netip.MustParseAddrPort("[2001:db8::7]:1234"), dst: netip.MustParseAddrPort("[2001:db8::1]:25")}
	a16 := netip.MustParseAddr("2001:db8::7").As16()
	b16 := netip.MustParseAddr("2001:db8::1").As16()
	tcp6 := string(a16[:]) + string(b16[:]) + tcp4[8:]
	for _, c := range []struct {
		in   string
		ok   bool
		want proxied
	}{
		{"PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\r\n", true, v4},
		{"PROXY TCP6 2001:db8::7 2001:db8::1 1234 25\r\n", true, v6},
		{"PROXY UNKNOWN\r\n", true, proxied{}}, {"PROXY UNKNOWN what ever 1\r\n", true, proxied{}},
		{"PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\n", false, proxied{}}, {"PROXY TCP4 198.51.100.7 192.0.2.1 1234\r\n", false, proxied{}}, {"PROXY TCP4 198.51.100.7 192.0.2.1 1234 25 \r\n", false, proxied{}},
		{"PROXY TCP4 2001:db8::7 2001:db8::1 1234 25\r\n", false, proxied{}}, {"PROXY TCP6 198.51.100.7 192.0.2.1 1234 25\r\n", false, proxied{}}, {"PROXY TCP4 198.51.100.07 192.0.2.1 1234 25\r\n", false, proxied{}},
		{"PROXY TCP4 198.51.100.7 192.0.2.1 01234 25\r\n", false, proxied{}}, {"PROXY TCP4 198.51.100.7 192.0.2.1 65536 25\r\n", false, proxied{}}, {"PROXY TCP6 fe80::1%x fe80::1 1 1\r\n", false, proxied{}},
		{"PROXY UNKNOWNX\r\n", false, proxied{}}, {"PROXY \r\n", false, proxied{}}, {"PROXY\r\n", false, proxied{}}, {"proxy UNKNOWN\r\n", false, proxied{}}, {"EHLO x\r\n", false, proxied{}},
		{"PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", true, proxied{}}, {"PROXY UNKNOWN " + strings.Repeat("x", 108-16) + "\r\n", false, proxied{}},
		{proxy2(0x21, 0x11, tcp4), true, v4}, {proxy2(0x21, 0x11, tcp4+"\x04\x00\x01x"), true, v4}, {proxy2(0x21, 0x21, tcp6), true, v6},
		{proxy2(0x20, 0x11, "x"), true, proxied{local: true}}, {proxy2(0x20, 0, ""), true, proxied{local: true}}, {proxy2(0x21, 0, "ignored"), true, proxied{}},
		{proxy2(0x21, 0x31, strings.Repeat("x", 216)), true, proxied{}}, {proxy2(0x21, 0x31, strings.Repeat("x", 215)), false, proxied{}},
		{proxy2(0x21, 0x11, tcp4[:11]), false, proxied{}}, {proxy2(0x21, 0x21, tcp6[:35]), false, proxied{}}, {proxy2(0x21, 0x12, tcp4), false, proxied{}}, {proxy2(0x21, 0x41, tcp4), false, proxied{}},
		{proxy2(0x11, 0x11, tcp4), false, proxied{}}, {proxy2(0x22, 0x11, tcp4), false, proxied{}},
		{proxy2(0x21, 0x11, tcp4+strings.Repeat("x", maxProxyHeader-28)), true, v4}, {proxy2(0x21, 0x11, tcp4+strings.Repeat("x", maxProxyHeader-27)), false, proxied{}},
	} {
		const rest = "EHLO x\r\n"
		p, n, err := parseProxy([]byte(c.in + rest))
		if (err == nil) != c.ok || c.ok && (p != c.want || n != len(c.in)) {
			t.Errorf("%q: %+v, %d, %v", c.in, p, n, err)
		}
		for i := range len(c.in) { // a header in pieces is never mistaken
			if p, n, err := parseProxy([]byte(c.in[:i])); n != 0 || c.ok && err != nil {
				t.Fatalf("%q: %+v, %d, %v", c.in[:i], p, n, err)
			}
		}
	}
}

// TestProxy shows SS23, SS12 and SS14 on the wire.
func TestProxy(t *testing.T) {
	var remote, peer netip.Addr
	var from string
	f := &fake{}
	f.onData = func(c *Conn) { remote, peer, from = c.Remote(), c.Peer(), c.RemoteAddr().String() }
	const send = "C: MAIL FROM:<>\nS: 250 \nC: RCPT TO:<b@example.org>\nS: 250 \nR: BDAT 0 LAST\\r\\n\nS: 250 "
	opts := Options{Proxies: all, Limits: Limits{PerIPv4: 1}}
	run := func(header string, then func(t *testing.T, s *Server, c *client)) {
		t.Helper()
		bubble(t, opts, f, func(t *testing.T, s *Server, c *client) {
			c.send(header)
			then(t, s, c)
			c.Close()
			synctest.Wait()
			if s.gate.total != 0 || s.gate.open != 0 || len(s.gate.peers) != 0 {
				t.Error(s.gate.total, s.gate.open, s.gate.peers)
			}
		})
	}
	for _, header := range []string{"PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\r\n", proxy2(0x21, 0x11, tcp4+strings.Repeat("x", 2000))} {
		run(header, func(t *testing.T, s *Server, c *client) {
			c.script(hello + send)
			if remote.String() != "198.51.100.7" || peer.String() != "192.0.2.7" || from != "198.51.100.7:1234" {
				t.Error(remote, peer, from)
			}
			same, other := dial(t, s), dial(t, s)
			same.send(header)
			same.script("S: 421 4.7.0\nE:")
			other.send(strings.ReplaceAll(strings.ReplaceAll(header, "100.7", "100.8"), "\x64\x07", "\x64\x08"))
			other.script("S: 220 \nC: QUIT\nS: 221 \nE:")
		})
	}
	run(proxy2(0x20, 0, ""), func(t *testing.T, _ *Server, c *client) {
		if c.script(hello + send); remote != peer || peer.String() != "192.0.2.7" {
			t.Error(remote, peer)
		}
	})
	opts.Trusted, opts.XClient = all, all
	run(proxy2(0x21, 0, ""), func(t *testing.T, _ *Server, c *client) { // unknown is nobody's address
		if c.script(hello + send + "\nC: XCLIENT NAME=x\nS: 550 "); remote.IsValid() {
			t.Error(remote)
		}
	})
	opts = Options{Proxies: all}
	run("EHLO x\r\n", func(t *testing.T, _ *Server, c *client) { c.expect("") })
	run("PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\r\nEHLO x\r\n", func(t *testing.T, _ *Server, c *client) { c.script("S: 554 5.5.0\nE:") }) // SS17
	run("PROXY TCP4 198.51.100.7", func(t *testing.T, _ *Server, c *client) {
		began := time.Now()
		if c.expect(""); time.Since(began) != 5*time.Second {
			t.Error(time.Since(began))
		}
	})
	run("", func(t *testing.T, s *Server, c *client) { c.Close() })
	// Who is not listed is a client, and PROXY no command.
	opts = Options{Proxies: only("192.0.2.99")}
	run("", func(t *testing.T, _ *Server, c *client) { c.script("S: 220 \nC: PROXY UNKNOWN\nS: 554 5.5.0\nE:") })
	run("", func(t *testing.T, _ *Server, c *client) {
		c.expect("220 ")
		c.send(proxy2(0x21, 0x11, tcp4))
		c.script("S: 500 5.5.2\nS: 500 5.5.2\nS: 554 5.5.0\nE:") // two empty lines and a NUL
	})
	// Before TLS, with the first octets of the handshake in the same packet.
	opts = Options{Proxies: all, TLS: serverTLS(), ImplicitTLS: true}
	run("", func(t *testing.T, _ *Server, c *client) {
		c.Conn = &glued{Conn: c.Conn, first: "PROXY TCP4 198.51.100.7 192.0.2.1 1234 25\r\n"}
		if err := c.startTLS(); err != nil {
			t.Fatal(err)
		}
		if c.script(hello + send); remote.String() != "198.51.100.7" {
			t.Error(remote)
		}
	})
}

// glued sends first together with what is written first.
type glued struct {
	net.Conn
	first string
}

func (g *glued) Write(p []byte) (int, error) {
	n := len(g.first)
	m, err := g.Conn.Write(append([]byte(g.first), p...))
	g.first = ""
	return max(0, m-n), err
}
