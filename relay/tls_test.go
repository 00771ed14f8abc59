package relay

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/queue"
)

// What each mode makes of each kind of server (RFC 3207, RFC 7435, TL4).
func TestTLSModes(t *testing.T) {
	ca := newAuthority(t)
	good, wild, other := ca.issue(t, "mx.b.example"), ca.issue(t, "*.b.example"), ca.issue(t, "mx.other.example")
	stranger := newAuthority(t).issue(t, "mx.b.example")
	expect := func(o directory.TLSMode, result queue.Result, inTLS bool) [3]any { return [3]any{o, result, inTLS} }
	const (
		opp      = directory.TLSOpportunistic
		required = directory.TLSRequired
		verified = directory.TLSVerified
	)
	for _, tc := range []struct {
		name   string
		server func() *server
		want   [][3]any
	}{
		{"no TLS", func() *server { return &server{} },
			[][3]any{expect(opp, queue.Relayed, false), expect(required, queue.Deferred, false), expect(verified, queue.Deferred, false)}},
		{"good", func() *server { return &server{cert: good} },
			[][3]any{expect(opp, queue.Relayed, true), expect(required, queue.Relayed, true), expect(verified, queue.Relayed, true)}},
		{"wildcard", func() *server { return &server{cert: wild} }, [][3]any{expect(verified, queue.Relayed, true)}},
		{"other name", func() *server { return &server{cert: other} },
			[][3]any{expect(opp, queue.Relayed, true), expect(required, queue.Relayed, true), expect(verified, queue.Deferred, false)}},
		{"unknown authority", func() *server { return &server{cert: stranger} },
			[][3]any{expect(opp, queue.Relayed, true), expect(required, queue.Relayed, true), expect(verified, queue.Deferred, false)}},
		{"broken handshake", func() *server { return &server{cert: good, garble: true} },
			[][3]any{expect(opp, queue.Relayed, false), expect(required, queue.Deferred, false), expect(verified, queue.Deferred, false)}},
		{"refused", func() *server {
			return &server{cert: good, replies: map[string]string{"starttls": "454 4.7.0 not now"}}
		},
			[][3]any{expect(opp, queue.Relayed, false), expect(required, queue.Deferred, false)}},
		{"lost", func() *server { return &server{cert: good, replies: map[string]string{"starttls": "close"}} },
			[][3]any{expect(opp, queue.Relayed, false), expect(required, queue.Deferred, false)}},
		{"silent", func() *server { return &server{cert: good, replies: map[string]string{"starttls": "hang"}} },
			[][3]any{expect(opp, queue.Relayed, false)}},
	} {
		for _, want := range tc.want {
			mode, result, inTLS := want[0].(directory.TLSMode), want[1].(queue.Result), want[2].(bool)
			t.Run(tc.name+"/"+mode.String(), func(t *testing.T) {
				bubble(t, func(o *Options) { o.Roots = ca.pool() }, func(w *world) {
					w.routes.routes = []*directory.Route{{Name: "way", Domain: "b.example", Action: directory.Direct, TLS: mode}}
					s := w.simple("b.example", "192.0.2.10", tc.server())
					words := "250"
					if result == queue.Deferred {
						words = "4.7.5 "
					}
					w.one("bob@b.example", result, words)
					if m := s.taken(); result == queue.Relayed && (len(m) != 1 || m[0].tls != inTLS) {
						t.Errorf("taken: %+v", m)
					} else if result == queue.Deferred && len(m) != 0 {
						t.Error("the message was sent")
					}
				})
			})
		}
	}
}

// A host whose TLS is broken is given mail in clear at once for a while, and
// never when TLS is demanded.
func TestRememberPlain(t *testing.T) {
	ca := newAuthority(t)
	bubble(t, func(o *Options) { o.Limits.PerConnection = 1 }, func(w *world) {
		s := w.simple("b.example", "192.0.2.10", &server{cert: ca.issue(t, "mx.b.example"), garble: true})
		w.one("bob@b.example", queue.Relayed, "250")
		w.one("bob@b.example", queue.Relayed, "250")
		if s.count() != 3 {
			t.Errorf("%d connections for two messages, want 2 and 1", s.count())
		}
	})
}

// RFC 8689 §4.2.1.
func TestRequireTLS(t *testing.T) {
	ca := newAuthority(t)
	good, bad := ca.issue(t, "mx.b.example", "b.example"), ca.issue(t, "mx.c.example")
	offers := []string{"PIPELINING", "REQUIRETLS"}
	mx := "@ MX 10 mx\nmx A 192.0.2.10\n"
	for _, tc := range []struct {
		name     string
		zone     string
		security dns.Security
		server   *server
		sts      string
		from     string
		result   queue.Result
		reply    string
	}{
		{"all given", mx, dns.Secure, &server{cert: good, offers: offers}, "", "a@a.example", queue.Relayed, "250"},
		{"MTA-STS for DNSSEC", mx, dns.Insecure, &server{cert: good, offers: offers}, "enforce mx.b.example", "a@a.example", queue.Relayed, "250"},
		{"MTA-STS in testing names it", mx, dns.Insecure, &server{cert: good, offers: offers}, "testing *.b.example", "a@a.example", queue.Relayed, "250"},
		{"MTA-STS in testing does not", mx, dns.Insecure, &server{cert: good, offers: offers}, "testing other.example", "a@a.example", queue.Rejected, "5.7.10 "},
		{"MTA-STS lost", mx, dns.Insecure, &server{cert: good, offers: offers}, "lost", "a@a.example", queue.Deferred, "4.7.5 the MTA-STS policy of b.example, which could prove mx.b.example"},
		{"implicit MX", "@ A 192.0.2.10\n", dns.Insecure, &server{cert: good, offers: offers}, "", "a@a.example", queue.Relayed, "250"},
		{"no DNSSEC", mx, dns.Insecure, &server{cert: good, offers: offers}, "", "a@a.example", queue.Rejected, "5.7.10 "},
		{"no STARTTLS", mx, dns.Secure, &server{offers: offers}, "", "a@a.example", queue.Rejected, "5.7.10 "},
		{"other certificate", mx, dns.Secure, &server{cert: bad, offers: offers}, "", "a@a.example", queue.Rejected, "5.7.10 "},
		{"no REQUIRETLS", mx, dns.Secure, &server{cert: good}, "", "a@a.example", queue.Rejected, "5.7.30 "},
		{"nobody there", mx, dns.Secure, nil, "", "a@a.example", queue.Deferred, "4.4.1 "},
		{"a report goes anyway", mx, dns.Insecure, &server{}, "", "", queue.Relayed, "250"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) {
				o.Roots = ca.pool()
				policies(t)(o)
			}, func(w *world) {
				if tc.sts != "" {
					tc.zone += w.publish(ca, "b.example", tc.sts)
				}
				w.zone("b.example", tc.zone, tc.security)
				if tc.server != nil {
					w.listen(tc.server, "192.0.2.10:25")
				}
				w.oneItem(func(it *queue.Item) {
					it.RequireTLS = true
					if tc.from == "" {
						it.From.Local, it.From.Domain = "", ""
					}
				}, "bob@b.example", tc.result, tc.reply)
				switch {
				case tc.server == nil:
				case tc.result != queue.Relayed && len(tc.server.taken()) != 0:
					t.Error("the message was sent")
				case tc.result == queue.Relayed && tc.from != "" && !strings.Contains(tc.server.taken()[0].params, "REQUIRETLS"):
					t.Errorf("MAIL with %q", tc.server.taken()[0].params)
				}
			})
		})
	}
}

// The whole list of exchangers is tried for a message that requires TLS, and
// a connection made for other mail is not used for it.
func TestRequireTLSNextHost(t *testing.T) {
	ca := newAuthority(t)
	bubble(t, func(o *Options) { o.Roots = ca.pool() }, func(w *world) {
		w.zone("b.example", "@ MX 10 a\n@ MX 20 b\na A 192.0.2.10\nb A 192.0.2.11\n", dns.Secure)
		a := w.listen(&server{}, "192.0.2.10:25")
		b := w.listen(&server{cert: ca.issue(t, "b.b.example"), offers: []string{"REQUIRETLS"}}, "192.0.2.11:25")
		w.one("bob@b.example", queue.Relayed, "250")
		w.oneItem(func(it *queue.Item) { it.RequireTLS = true }, "bob@b.example", queue.Relayed, "250")
		if len(a.taken()) != 1 || len(b.taken()) != 1 || !b.taken()[0].tls {
			t.Errorf("%d, %d messages", len(a.taken()), len(b.taken()))
		}
	})
}

// A host that a route names needs no proof by name servers (RFC 8689 §4.2.1 is
// about MX records); the message asks for the certificate all the same.
func TestRequireTLSByRoute(t *testing.T) {
	ca := newAuthority(t)
	for _, tc := range []struct {
		name   string
		cert   *tls.Certificate
		result queue.Result
		reply  string
	}{
		{"good", ca.issue(t, "smart.example"), queue.Relayed, "250"},
		{"bad", ca.issue(t, "other.example"), queue.Rejected, "5.7.10 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Roots = ca.pool() }, func(w *world) {
				w.zone("smart.example", "@ A 192.0.2.20\n", dns.Insecure)
				w.listen(&server{cert: tc.cert, offers: []string{"REQUIRETLS"}}, "192.0.2.20:25")
				w.routes.routes = []*directory.Route{{Name: "up", Domain: "*", Action: directory.Smarthost, Hosts: []string{"smart.example"}}}
				w.oneItem(func(it *queue.Item) { it.RequireTLS = true }, "bob@b.example", tc.result, tc.reply)
			})
		})
	}
}
