package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/test/memnet"
	"github.com/postino-mail/postino/tlspolicy"
)

// three makes a domain with three exchangers.
func (w *world) three(a, b, c *server) {
	w.Helper()
	w.zone("b.example", "@ MX 10 a\n@ MX 20 b\n@ MX 30 c\na A 192.0.2.10\nb A 192.0.2.11\nc A 192.0.2.12\n", dns.Insecure)
	for i, s := range []*server{a, b, c} {
		if s != nil {
			w.listen(s, "192.0.2.1"+string(rune('0'+i))+":25")
		}
	}
}

// What leads to the next host, and what does not.
func TestNextHost(t *testing.T) {
	for _, tc := range []struct {
		name    string
		replies map[string]string // of the first host; nil: it does not listen
		next    bool
		result  queue.Result
	}{
		{"refused", nil, true, queue.Relayed},
		{"greeting 4yz", map[string]string{"greeting": "421 4.7.0 busy"}, true, queue.Relayed},
		{"greeting 5yz", map[string]string{"greeting": "554 5.7.1 no"}, true, queue.Relayed},
		{"greeting 521", map[string]string{"greeting": "521 no"}, true, queue.Relayed},
		{"greeting lost", map[string]string{"greeting": "close"}, true, queue.Relayed},
		{"ehlo 5yz", map[string]string{"ehlo": "554 no", "helo": "554 no"}, true, queue.Relayed},
		{"mail 4yz", map[string]string{"mail": "450 4.7.1 grey"}, true, queue.Relayed},
		{"mail 421", map[string]string{"mail": "421 4.7.1 grey"}, true, queue.Relayed},
		{"mail lost", map[string]string{"mail": "close"}, true, queue.Relayed},
		{"rcpt 4yz", map[string]string{"rcpt": "450 4.7.1 grey"}, true, queue.Relayed},
		{"data 4yz", map[string]string{"data": "450 4.7.1 grey"}, true, queue.Relayed},
		{"dot 4yz", map[string]string{"dot": "450 4.7.1 grey"}, true, queue.Relayed},
		{"mail 5yz", map[string]string{"mail": "550 5.7.1 no"}, false, queue.Rejected},
		{"rcpt 5yz", map[string]string{"rcpt": "550 5.1.1 no"}, false, queue.Rejected},
		{"data 5yz", map[string]string{"data": "554 5.6.0 no"}, false, queue.Rejected},
		{"dot 5yz", map[string]string{"dot": "554 5.7.1 no"}, false, queue.Rejected},
		{"dot lost", map[string]string{"dot": "close"}, false, queue.Deferred}, // SC6
		{"dot silent", map[string]string{"dot": "hang"}, false, queue.Deferred},
		{"taken", map[string]string{}, false, queue.Relayed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				second := &server{}
				var first *server
				if tc.replies != nil {
					first = &server{replies: tc.replies}
				}
				w.three(first, second, nil)
				w.one("bob@b.example", tc.result, "")
				if got := second.count() > 0; got != tc.next {
					t.Errorf("the next host was asked: %v", got)
				}
			})
		})
	}
}

// Two hosts that answer are asked at most, however many there are; and those
// that defer are not asked twice in an attempt.
func TestTwoAnswers(t *testing.T) {
	bubble(t, nil, func(w *world) {
		grey := map[string]string{"rcpt": "450 4.7.1 grey"}
		a, b, c := &server{replies: grey}, &server{replies: grey}, &server{}
		w.three(a, b, c)
		w.one("bob@b.example", queue.Deferred, "450 4.7.1 grey")
		if a.count() != 1 || b.count() != 1 || c.count() != 0 {
			t.Errorf("%d, %d, %d connections", a.count(), b.count(), c.count())
		}
	})
}

// Only recipients that a host deferred go to the next one.
func TestSomeDeferred(t *testing.T) {
	bubble(t, nil, func(w *world) {
		a := &server{replies: map[string]string{"rcpt:late": "450 4.2.0 later", "rcpt:no": "550 5.1.1 no"}}
		b := &server{}
		w.three(a, b, nil)
		got := w.send(nil, "bob@b.example", "late@b.example", "no@b.example")
		for who, want := range map[string]queue.Result{"bob@b.example": queue.Relayed, "late@b.example": queue.Relayed, "no@b.example": queue.Rejected} {
			if got[who].result != want {
				t.Errorf("%s: %+v", who, got[who])
			}
		}
		if m := b.taken(); len(m) != 1 || !slices.Equal(m[0].rcpts, []string{"late@b.example"}) {
			t.Errorf("the second host took %v", m)
		}
		if m := a.taken()[0]; m.content != "Received: here\r\n"+letter || m.from != "ann@a.example" {
			t.Errorf("sent %+v", m)
		}
	})
}

// A server that takes 100 recipients at once gets a thousand in ten transactions
// on one connection, each of them once (RFC 5321 §4.5.3.1.10).
func TestManyRecipients(t *testing.T) {
	for _, tc := range []struct {
		name             string
		max, perConn     int
		mails, connected int
	}{
		{"our limit", 0, 0, 10, 1},
		{"its limit", 100, 0, 10, 1},
		{"less than ours", 30, 0, 34, 1},
		{"short connections", 100, 3, 10, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Limits.PerConnection = tc.perConn }, func(w *world) {
				s := w.simple("b.example", "192.0.2.10", &server{maxRcpt: tc.max})
				all := locals(1000, "b.example")
				for who, o := range w.send(nil, all...) {
					if o.result != queue.Relayed {
						t.Fatalf("%s: %+v", who, o)
					}
				}
				got := map[string]int{}
				for _, m := range s.taken() {
					for _, r := range m.rcpts {
						got[r]++
					}
				}
				for _, r := range all {
					if got[r] != 1 {
						t.Errorf("%s got %d copies", r, got[r])
					}
				}
				if len(s.taken()) != tc.mails || s.count() != tc.connected {
					t.Errorf("%d messages on %d connections", len(s.taken()), s.count())
				}
			})
		})
	}
}

// A server that takes one recipient only and defers the others as too many makes
// progress; one that takes none does not keep us busy.
func TestTooManyForNone(t *testing.T) {
	bubble(t, nil, func(w *world) {
		s := w.simple("b.example", "192.0.2.10", &server{replies: map[string]string{"rcpt": "452 4.5.3 too many"}})
		for who, o := range w.send(nil, locals(5, "b.example")...) {
			if o.result != queue.Deferred || o.reply != "452 4.5.3 too many" {
				t.Errorf("%s: %+v", who, o)
			}
		}
		if s.count() != 1 {
			t.Errorf("%d connections", s.count())
		}
	})
}

// Connections are used again while they are good, at most as often as allowed
// (SC8), and end when nothing more comes.
func TestReuse(t *testing.T) {
	bubble(t, func(o *Options) { o.Limits.PerConnection = 5 }, func(w *world) {
		s := w.simple("b.example", "192.0.2.10", &server{})
		for range 12 {
			w.one("bob@b.example", queue.Relayed, "250")
		}
		if s.count() != 3 || len(s.taken()) != 12 {
			t.Errorf("%d messages on %d connections", len(s.taken()), s.count())
		}
		time.Sleep(9 * time.Second)
		w.one("bob@b.example", queue.Relayed, "250")
		if s.count() != 3 {
			t.Errorf("%d connections: the idle one was not used", s.count())
		}
		time.Sleep(11 * time.Second)
		if w.relay.pool.size() != 0 || w.net.Open() != 0 || s.quits != 3 {
			t.Errorf("%d connections wait, %d are open, %d ended by QUIT", w.relay.pool.size(), w.net.Open(), s.quits)
		}
	})
}

// A connection that the server ended while it waited costs no attempt.
func TestStale(t *testing.T) {
	for _, how := range []string{"reset", "421"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				s := w.simple("b.example", "192.0.2.10", &server{replies: map[string]string{}})
				w.one("bob@b.example", queue.Relayed, "250")
				if how == "reset" {
					w.net.Reset(netip.MustParseAddr("192.0.2.10"))
				} else {
					s.mu.Lock()
					s.replies["mail"] = "421 4.4.2 idle too long"
					s.mu.Unlock()
					go func() { // the next connection is welcome
						for s.count() < 2 {
							time.Sleep(time.Millisecond)
						}
						s.mu.Lock()
						defer s.mu.Unlock()
						delete(s.replies, "mail")
					}()
					w.net.SetFault(netip.MustParseAddr("192.0.2.10"), memnet.Fault{Latency: 5 * time.Millisecond})
				}
				w.one("bob@b.example", queue.Relayed, "250")
				if s.count() != 2 {
					t.Errorf("%d connections", s.count())
				}
			})
		})
	}
}

// Both families are tried in turn, a silent address costs a quarter of a second,
// and the preference of hosts is kept (RFC 8305, RFC 5321 §5.1).
func TestHappyEyeballs(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.zone("b.example", "@ MX 10 a\n@ MX 20 b\na AAAA 2001:db8:1::1\na AAAA 2001:db8:1::2\na A 192.0.2.10\nb A 192.0.2.11\n", dns.Insecure)
		for _, a := range []string{"2001:db8:1::1", "2001:db8:1::2"} {
			w.net.SetFault(netip.MustParseAddr(a), memnet.Fault{Silent: true})
		}
		a, b := w.listen(&server{}, "192.0.2.10:25"), w.listen(&server{}, "192.0.2.11:25")
		began := time.Now()
		r := w.relay
		targets, _ := r.targets(context.Background(), &way{route: noRoute, domain: "b.example"})
		c := calls{budget: maxAddrs}
		s, trouble := r.open(context.Background(), &way{route: noRoute, domain: "b.example"}, &targets[0], tlspolicy.NoWish, &c)
		if trouble != nil {
			t.Fatal(trouble.words())
		}
		if took := time.Since(began); took != stagger || s.at != "a.b.example (192.0.2.10)" {
			t.Errorf("%v to %s", took, s.at)
		}
		if len(targets[0].addrs) != 2 || c.budget != maxAddrs-2 {
			t.Errorf("left %v, budget %d", targets[0].addrs, c.budget)
		}
		r.pool.dismiss(s)
		if a.count() != 1 || b.count() != 0 {
			t.Errorf("%d, %d connections", a.count(), b.count())
		}
	})
}

// At most 20 addresses are tried in an attempt (SC7), and a host that is silent
// at all of them is given up after a minute each (SC3).
func TestAddressBudget(t *testing.T) {
	var dialed []string
	bubble(t, func(o *Options) {
		o.Dial = func(ctx context.Context, _, address string, _ netip.Addr) (net.Conn, error) {
			dialed = append(dialed, address)
			return nil, errors.New("no")
		}
	}, func(w *world) {
		var zone strings.Builder
		for i := range 9 {
			h := string(rune('a' + i))
			zone.WriteString("@ MX 10 " + h + "\n")
			for j := range 9 {
				zone.WriteString(h + " A 192.0.2." + string(rune('1'+i)) + string(rune('1'+j)) + "\n")
			}
		}
		w.zone("b.example", zone.String(), dns.Insecure)
		w.one("bob@b.example", queue.Deferred, "4.4.1 ")
		if len(dialed) != maxAddrs {
			t.Errorf("%d addresses", len(dialed))
		}
		seen := slices.Compact(slices.Sorted(slices.Values(dialed)))
		if len(seen) != maxAddrs {
			t.Error("addresses were tried twice")
		}
	})
}

// The source of a route is used for its family; the other family is left alone.
func TestSource(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.zone("b.example", "@ MX 10 a\na AAAA 2001:db8:1::1\na A 192.0.2.10\n", dns.Insecure)
		s := w.listen(&server{}, "192.0.2.10:25", "[2001:db8:1::1]:25")
		w.routes.routes = []*directory.Route{{Name: "four", Domain: "b.example", Source: []netip.Addr{netip.MustParseAddr("192.0.2.99")}, Helo: "four.example"}}
		w.one("bob@b.example", queue.Relayed, "250")
		if len(s.conns) != 1 || s.conns[0] != "192.0.2.99" || s.helos[0] != "four.example" {
			t.Errorf("from %v, EHLO %v", s.conns, s.helos)
		}
		w.routes.routes = nil
		w.one("bob@b.example", queue.Relayed, "250")
		if len(s.conns) != 2 || s.conns[1] == "192.0.2.99" || s.helos[1] != "out.example" {
			t.Errorf("from %v, EHLO %v: the connection of the route was used", s.conns, s.helos)
		}
	})
}

// What the server does not offer, and what the message needs.
func TestExtensions(t *testing.T) {
	utf8 := func(it *queue.Item) { it.SMTPUTF8 = true; it.Prefix = []byte("Subject: grüß\r\n") }
	for _, tc := range []struct {
		name   string
		offers []string
		change func(*queue.Item)
		rcpt   string
		result queue.Result
		reply  string
		params string
	}{
		{"too big", []string{"SIZE 20"}, nil, "bob@b.example", queue.Rejected, "5.3.4 ", ""},
		{"no SMTPUTF8, UTF-8 header", []string{"PIPELINING"}, utf8, "bob@b.example", queue.Rejected, "5.6.7 ", ""},
		{"no SMTPUTF8, needless", []string{"PIPELINING"}, func(it *queue.Item) { it.SMTPUTF8 = true }, "bob@b.example", queue.Relayed, "250", ""},
		{"SMTPUTF8", []string{"SMTPUTF8", "8BITMIME"}, utf8, "bøb@b.example", queue.Relayed, "250", "SMTPUTF8"},
		{"UTF-8 address", []string{"8BITMIME"}, nil, "bøb@b.example", queue.Rejected, "", ""},
		{"8bit to 7bit", []string{"PIPELINING"}, func(it *queue.Item) { it.Prefix = []byte("X: \xe9\r\n") }, "bob@b.example", queue.Relayed, "250", ""},
		{"8bit", []string{"8BITMIME"}, func(it *queue.Item) { it.Prefix = []byte("X: \xe9\r\n") }, "bob@b.example", queue.Relayed, "250", "BODY=8BITMIME"},
		{"DSN", []string{"DSN"}, func(it *queue.Item) { it.EnvID = "e1"; it.Ret = 2 }, "bob@b.example", queue.Relayed, "250", "ENVID=e1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				s := w.simple("b.example", "192.0.2.10", &server{offers: tc.offers})
				w.oneItem(tc.change, tc.rcpt, tc.result, tc.reply)
				if tc.result != queue.Relayed {
					return
				}
				if m := s.taken(); len(m) != 1 || !strings.Contains(m[0].params, tc.params) {
					t.Errorf("MAIL with %v", m)
				}
			})
		})
	}
}

// An attempt ends after half an hour (SC3), however slow the servers are.
func TestAttemptTime(t *testing.T) {
	bubble(t, nil, func(w *world) {
		var zone strings.Builder
		for i := range 9 {
			h := string(rune('a' + i))
			zone.WriteString("@ MX 10 " + h + "\n" + h + " A 192.0.2.1" + string(rune('1'+i)) + "\n")
			w.listen(&server{replies: map[string]string{"greeting": "hang"}}, "192.0.2.1"+string(rune('1'+i))+":25")
		}
		w.zone("b.example", zone.String(), dns.Insecure)
		began := time.Now()
		w.one("bob@b.example", queue.Deferred, "4.4.2 ")
		if took := time.Since(began); took < 25*time.Minute || took > 31*time.Minute {
			t.Errorf("the attempt took %v", took)
		}
	})
}

// A connection that breaks at any octet, in either direction, leaves one copy or
// none: the other host is asked only if the first one cannot have the message,
// and whoever may have it twice is told so (SC6).
func TestCut(t *testing.T) {
	step := 3
	if testing.Short() {
		step = 41
	}
	seen := map[queue.Result]int{}
	for _, way := range []string{"to", "from"} {
		for at := 1; at < 420; at += step {
			bubble(t, nil, func(w *world) {
				a, b := &server{}, &server{}
				w.three(a, b, nil)
				f := memnet.Fault{CutTo: at, Latency: time.Millisecond} // as by TCP, the reset comes after the write
				if way == "from" {
					f = memnet.Fault{CutFrom: at, Latency: time.Millisecond}
				}
				w.net.SetFault(netip.MustParseAddr("192.0.2.10"), f)
				o := w.send(nil, "bob@b.example")["bob@b.example"]
				copies := a.total() + b.total()
				switch {
				case o.result == queue.Relayed && copies == 1:
				case o.result == queue.Deferred && copies <= 1 && strings.Contains(o.reply, "it may be delivered twice") && b.count() == 0:
				default:
					t.Errorf("cut %s the host after %d octets: %+v with %d and %d copies", way, at, o, a.total(), b.total())
				}
				seen[o.result]++
			})
		}
	}
	if seen[queue.Relayed] == 0 || seen[queue.Deferred] == 0 {
		t.Errorf("results %v: the cuts missed something", seen)
	}
}
