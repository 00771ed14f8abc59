package relay

import (
	"context"
	"encoding/base64"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/vfs"
)

func TestDest(t *testing.T) {
	rcpt := addr(t, "bob@b.example")
	for _, tc := range []struct {
		route *directory.Route
		want  string
	}{
		{nil, "b.example"},
		{&directory.Route{Name: "x", Action: directory.Direct}, "b.example"},
		{&directory.Route{Name: "x", Action: directory.Smarthost}, "route/x"},
		{&directory.Route{Name: "x", Action: directory.LMTP}, "route/x"},
		{&directory.Route{Name: "x", Action: directory.Hold}, "b.example"},
	} {
		if got := Dest(tc.route, rcpt); got != tc.want {
			t.Errorf("%v: %q", tc.route, got)
		}
	}
}

// Hosts of a route are tried in order, by name, address, port and MX.
func TestSmarthosts(t *testing.T) {
	for _, tc := range []struct {
		hosts  []string
		listen string
	}{
		{[]string{"smart.example"}, "192.0.2.20:25"},
		{[]string{"smart.example:587"}, "192.0.2.20:587"},
		{[]string{"[192.0.2.20]:2525"}, "192.0.2.20:2525"},
		{[]string{"mx:mxed.example"}, "192.0.2.21:25"},
		{[]string{"gone.example", "[192.0.2.99]", "smart.example"}, "192.0.2.20:25"},
	} {
		t.Run(strings.Join(tc.hosts, ","), func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				w.zone("smart.example", "@ A 192.0.2.20\n@ MX 1 wrong\nwrong A 192.0.2.66\n", dns.Insecure)
				w.zone("mxed.example", "@ MX 1 m\nm A 192.0.2.21\n", dns.Insecure)
				s := w.listen(&server{}, tc.listen)
				w.routes.routes = []*directory.Route{{Name: "up", Domain: "*", Action: directory.Smarthost, Hosts: tc.hosts}}
				got := w.send(nil, "bob@b.example", "eve@c.example")
				if got["bob@b.example"].result != queue.Relayed || got["eve@c.example"].result != queue.Relayed || len(s.taken()) != 1 {
					t.Errorf("%v, %d messages", got, len(s.taken()))
				}
			})
		})
	}
}

// A route that is wrong never makes mail come back.
func TestBrokenRoute(t *testing.T) {
	for _, hosts := range [][]string{{"missing.example"}, {"[10.0.0.1]"}, {"mx:null.example"}, {"mx:missing.example"}} {
		bubble(t, nil, func(w *world) {
			w.zone("null.example", "@ MX 0 .\n", dns.Insecure)
			w.routes.routes = []*directory.Route{{Name: "up", Domain: "*", Action: directory.Smarthost, Hosts: hosts}}
			w.one("bob@b.example", queue.Deferred, "4.")
		})
	}
}

// A private address is open to a route that says so (SC7).
func TestPrivateRoute(t *testing.T) {
	bubble(t, nil, func(w *world) {
		s := w.listen(&server{}, "10.0.0.1:25")
		w.routes.routes = []*directory.Route{{Name: "in", Domain: "*", Action: directory.Smarthost, Hosts: []string{"[10.0.0.1]"}, Private: true}}
		w.one("bob@b.example", queue.Relayed, "250")
		if s.count() != 1 {
			t.Error("nobody came")
		}
	})
}

// AUTH goes over TLS only, and a refusal of it waits for the operator.
func TestAuth(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "smart.example")
	offers := []string{"AUTH PLAIN LOGIN"}
	for _, tc := range []struct {
		name   string
		server *server
		tls    directory.TLSMode
		result queue.Result
		reply  string
	}{
		{"verified", &server{cert: cert, offers: offers}, directory.TLSVerified, queue.Relayed, "250"},
		{"required", &server{cert: cert, offers: offers}, directory.TLSRequired, queue.Relayed, "250"},
		{"implicit", &server{cert: cert, offers: offers, implied: true}, directory.TLSImplicit, queue.Relayed, "250"},
		{"no TLS", &server{offers: offers}, directory.TLSRequired, queue.Deferred, "4.7.5 "},
		{"no TLS, opportunistic", &server{offers: offers}, directory.TLSOpportunistic, queue.Deferred, "4.7.5 "},
		{"in clear", &server{offers: offers}, directory.TLSNone, queue.Deferred, "4.7.5 "},
		{"wrong password", &server{cert: cert, offers: offers, replies: map[string]string{"auth": "535 5.7.8 no"}}, directory.TLSVerified, queue.Deferred, "535 5.7.8 no"},
		{"no mechanism", &server{cert: cert, offers: []string{"AUTH X-STRANGE"}}, directory.TLSVerified, queue.Deferred, "4.7.4 "},
		{"accepts without proof", &server{cert: cert, offers: []string{"AUTH PLAIN SCRAM-SHA-256"}}, directory.TLSVerified, queue.Deferred, "4."},
		{"no AUTH", &server{cert: cert}, directory.TLSVerified, queue.Deferred, "4.7.4 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Roots = ca.pool() }, func(w *world) {
				w.zone("smart.example", "@ A 192.0.2.20\n", dns.Insecure)
				w.listen(tc.server, "192.0.2.20:25", "192.0.2.20:465")
				w.routes.routes = []*directory.Route{{Name: "up", Domain: "*", Action: directory.Smarthost, Hosts: []string{"smart.example"},
					TLS: tc.tls, User: "me", Password: password}}
				w.one("bob@b.example", tc.result, tc.reply)
				said := strings.Join(tc.server.auths, " ")
				plain := "PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00me\x00sesame"))
				if tc.result == queue.Relayed && said != plain {
					t.Errorf("AUTH %q", said)
				}
				if tc.name == "accepts without proof" && (!strings.HasPrefix(said, "SCRAM-SHA-256 ") || strings.Contains(said, plain)) {
					t.Errorf("AUTH %q", said)
				}
				if strings.HasPrefix(tc.reply, "4.7") && said != "" {
					t.Errorf("AUTH %q was said", said)
				}
			})
		})
	}
}

// The fallback takes over when no host can be reached or used, once.
func TestFallback(t *testing.T) {
	for _, tc := range []struct {
		name   string
		first  *server // nil: nobody listens
		mode   directory.TLSMode
		taken  bool // by the fallback
		result queue.Result
	}{
		{"reached", &server{}, 0, false, queue.Relayed},
		{"nobody", nil, 0, true, queue.Relayed},
		{"busy", &server{replies: map[string]string{"greeting": "421 4.7.0 busy"}}, 0, true, queue.Relayed},
		{"no TLS", &server{}, directory.TLSRequired, true, queue.Relayed},
		{"refuses", &server{replies: map[string]string{"rcpt": "550 5.1.1 no"}}, 0, false, queue.Rejected},
		{"defers", &server{replies: map[string]string{"rcpt": "450 4.2.0 later"}}, 0, false, queue.Deferred},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				if tc.first != nil {
					w.listen(tc.first, "192.0.2.20:25")
				}
				second := w.listen(&server{}, "192.0.2.21:25")
				w.routes.routes = []*directory.Route{
					{Name: "one", Domain: "*", Action: directory.Smarthost, Hosts: []string{"[192.0.2.20]"}, TLS: tc.mode, Fallback: "two"},
					{Name: "two", Domain: "-", Action: directory.Smarthost, Hosts: []string{"[192.0.2.21]"}, Fallback: "one"},
				}
				w.one("bob@b.example", tc.result, "")
				if got := second.count() > 0; got != tc.taken {
					t.Errorf("the fallback was asked: %v", got)
				}
			})
		})
	}
}

// Routes that are each other's fallback are no loop, and a direct fallback sends
// each recipient to its own domain.
func TestFallbackEnds(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.routes.routes = []*directory.Route{
			{Name: "one", Domain: "*", Action: directory.Smarthost, Hosts: []string{"[192.0.2.20]"}, Fallback: "two"},
			{Name: "two", Domain: "-", Action: directory.Smarthost, Hosts: []string{"[192.0.2.21]"}, Fallback: "one"},
		}
		w.one("bob@b.example", queue.Deferred, "4.4.1 cannot connect to 192.0.2.21")
		w.routes.routes[0].Fallback = "direct"
		w.routes.routes = append(w.routes.routes, &directory.Route{Name: "direct", Domain: "-"})
		b := w.simple("b.example", "192.0.2.30", &server{})
		c := w.simple("c.example", "192.0.2.31", &server{})
		got := w.send(nil, "bob@b.example", "cat@c.example", "nobody@missing.example")
		if got["bob@b.example"].result != queue.Relayed || got["cat@c.example"].result != queue.Relayed || got["nobody@missing.example"].result != queue.Rejected {
			t.Errorf("%v", got)
		}
		if len(b.taken()) != 1 || len(c.taken()) != 1 {
			t.Errorf("%d, %d messages", len(b.taken()), len(c.taken()))
		}
	})
}

// Each recipient has a reply of its own in LMTP (RFC 2033 §4.2).
func TestLMTP(t *testing.T) {
	for _, host := range []string{"[192.0.2.20]:2424", "unix:/run/lmtp"} {
		t.Run(host, func(t *testing.T) {
			bubble(t, func(o *Options) {
				dial := o.Dial
				o.Dial = func(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
					if network == "unix" && address == "/run/lmtp" {
						network, address = "tcp", "192.0.2.20:2424"
					}
					return dial(ctx, network, address, source)
				}
			}, func(w *world) {
				s := w.listen(&server{lmtp: true, replies: map[string]string{
					"dot:full": "452 4.2.2 full", "dot:no": "550 5.7.1 no", "rcpt:gone": "550 5.1.1 gone"}}, "192.0.2.20:2424")
				w.routes.routes = []*directory.Route{{Name: "box", Domain: "*", Action: directory.LMTP, Hosts: []string{host}}}
				got := w.send(func(it *queue.Item) { it.RequireTLS = strings.HasPrefix(host, "unix:") },
					"bob@b.example", "full@b.example", "no@b.example", "gone@b.example", "eve@b.example")
				for who, want := range map[string]outcome{
					"bob@b.example": {queue.Delivered, "250 2.0.0 delivered", ""}, "eve@b.example": {queue.Delivered, "250 2.0.0 delivered", ""},
					"full@b.example": {queue.Deferred, "452 4.2.2 full", ""}, "no@b.example": {queue.Rejected, "550 5.7.1 no", ""},
					"gone@b.example": {queue.Rejected, "550 5.1.1 gone", ""},
				} {
					if got[who].result != want.result || got[who].reply != want.reply {
						t.Errorf("%s: %+v", who, got[who])
					}
				}
				if m := s.taken(); len(m) != 1 || !slices.Equal(m[0].rcpts, []string{"bob@b.example", "eve@b.example"}) {
					t.Errorf("taken %+v", m)
				}
			})
		})
	}
}

// LMTP that is cut off among the replies: those that came count.
func TestLMTPCut(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.listen(&server{lmtp: true, replies: map[string]string{"dot:b": "close"}}, "192.0.2.20:2424")
		w.routes.routes = []*directory.Route{{Name: "box", Domain: "*", Action: directory.LMTP, Hosts: []string{"[192.0.2.20]:2424"}}}
		got := w.send(nil, "a@b.example", "b@b.example", "c@b.example")
		if got["a@b.example"].result != queue.Delivered || got["b@b.example"].result != queue.Deferred || got["c@b.example"].result != queue.Deferred ||
			!strings.Contains(got["c@b.example"].reply, "reply lost") {
			t.Errorf("%v", got)
		}
	})
}

// Maildir and mbox get the trace of a final delivery; Discard and Hold what they
// say.
func TestDeposit(t *testing.T) {
	bubble(t, nil, func(w *world) {
		if err := w.files.MkdirAll("/mail", 0o700); err != nil {
			t.Fatal(err)
		}
		w.routes.routes = []*directory.Route{
			{Name: "dir", Domain: "dir.example", Action: directory.Maildir, Path: "/mail/%d-%u"},
			{Name: "box", Domain: "box.example", Action: directory.Mbox, Path: "/mail/%u"},
			{Name: "away", Domain: "away.example", Action: directory.Discard},
			{Name: "keep", Domain: "keep.example", Action: directory.Hold},
			{Name: "nobox", Domain: "nobox.example", Action: directory.Mbox, Path: "/missing/%u"},
		}
		w.one("Bob@dir.example", queue.Delivered, "")
		w.one("eve@box.example", queue.Delivered, "")
		w.one("eve@away.example", queue.Delivered, "")
		w.one("eve@nobox.example", queue.Deferred, "4.2.0 ")
		w.one(`"../x"@box.example`, queue.Rejected, "5.1.1 ")
		w.one("eve@keep.example", queue.Held, "route keep holds")
		want := "Return-Path: <ann@a.example>\nDelivered-To: Bob@dir.example\nReceived: here\n" + strings.ReplaceAll(letter, "\r\n", "\n")
		if got := w.read("/mail/dir.example-bob/new"); got != want {
			t.Errorf("Maildir: %q", got)
		}
		if b, _ := vfs.ReadFile(w.files, "/mail/eve"); !strings.HasPrefix(string(b), "From ann@a.example ") || !strings.Contains(string(b), "Delivered-To: eve@box.example\nReceived: here\n") {
			t.Errorf("mbox: %q", b)
		}
		held, err := w.queue.List(context.Background(), queue.Filter{State: queue.StateHeld})
		if err != nil || !slices.ContainsFunc(held, func(it *queue.Item) bool { return strings.HasPrefix(it.Reason, "route keep holds") }) {
			t.Errorf("held: %v, %v", held, err)
		}
	})
}

// read returns the first file of a directory.
func (w *world) read(dir string) string {
	w.Helper()
	names, err := w.files.List(dir)
	if err != nil {
		w.Fatal(err)
	}
	for _, name := range names {
		if b, err := vfs.ReadFile(w.files, dir+"/"+name); err == nil {
			return string(b)
		}
	}
	return ""
}

// No address leads out of the directory of its route (G7).
func TestExpand(t *testing.T) {
	for _, tc := range []struct{ template, local, domain, want string }{
		{"/m/%d/%u", "Bob", "b.example", "/m/b.example/bob"},
		{"/m/%u%%x", "bob", "b.example", "/m/bob%x"},
		{"/m/all", "bob", "b.example", "/m/all"},
		{"/m/%u", "../etc", "b.example", ""},
		{"/m/%u", "..", "b.example", ""},
		{"/m/%u", ".hidden", "b.example", ""},
		{"/m/%u", "a/b", "b.example", ""},
		{"/m/%u", "a\x00b", "b.example", ""},
		{"/m/%u", "a\nb", "b.example", ""},
		{"/m/%x", "bob", "b.example", ""},
		{"/m/%", "bob", "b.example", ""},
		{"m/%u", "bob", "b.example", ""},
	} {
		got, ok := expand(tc.template, postino.Address{Local: tc.local, Domain: tc.domain})
		if ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s with %q: %q, %v", tc.template, tc.local, got, ok)
		}
	}
}

// Whatever the address is, its file lies where the template puts it.
func TestExpandStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := postino.Address{Local: rapid.StringMatching(`[-./a%u\x00-\x20é~]{0,8}`).Draw(t, "local"), Domain: rapid.StringMatching(`[a./-]{0,8}`).Draw(t, "domain")}
		if name, ok := expand("/mail/%d/%u", a); ok && (path.Dir(path.Dir(name)) != "/mail" || strings.HasPrefix(path.Base(name), ".")) {
			t.Fatalf("%q leads to %q", a, name)
		}
	})
}

// A backup exchanger asks the primaries and remembers what they said.
func TestVerify(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.zone("b.example", "@ MX 10 a\n@ MX 20 b\n@ MX 30 out.example.\n@ MX 40 worse\na A 192.0.2.10\nb A 192.0.2.11\nworse A 192.0.2.12\n", dns.Insecure)
		s := w.listen(&server{replies: map[string]string{"rcpt:no": "550 5.1.1 no", "rcpt:late": "450 4.2.0 later", "rcpt:policy": "550 5.7.1 we do not like you"}}, "192.0.2.11:25")
		worse := w.listen(&server{}, "192.0.2.12:25")
		ask := func(who string, code int) {
			t.Helper()
			reply, err := w.relay.Verify(context.Background(), addr(t, who))
			if err != nil || reply.Code != code {
				t.Errorf("%s: %+v, %v", who, reply, err)
			}
		}
		for range 3 {
			ask("bob@b.example", 250)
			ask("no@b.example", 550)
		}
		if s.count() != 2 {
			t.Errorf("%d connections", s.count())
		}
		time.Sleep(6 * time.Minute)
		ask("no@b.example", 550)
		ask("bob@b.example", 250)
		if s.count() != 3 {
			t.Errorf("%d connections after 6 minutes", s.count())
		}
		time.Sleep(time.Hour)
		ask("bob@b.example", 250)
		if s.count() != 4 {
			t.Errorf("%d connections after an hour", s.count())
		}
		for range 2 {
			ask("late@b.example", 450)
		}
		if s.count() != 6 {
			t.Errorf("%d connections: what is not known was remembered", s.count())
		}
		ask("policy@b.example", 451)
		ask("x@missing.example", 550)
		w.zone("b.example", "@ MX 10 a\n@ MX 30 out.example.\n@ MX 40 worse\na A 192.0.2.10\nworse A 192.0.2.12\n", dns.Insecure)
		ask("new@b.example", 451)
		w.listen(&server{replies: map[string]string{"greeting": "hang"}}, "192.0.2.10:25")
		began := time.Now()
		ask("slow@b.example", 451)
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("a client waited %v", took)
		}
		if worse.count() != 0 {
			t.Error("a host worse than ourselves was asked")
		}
	})
}
