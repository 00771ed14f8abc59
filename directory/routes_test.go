package directory

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"pgregory.net/rapid"
)

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"Mail.Example.org": "mail.example.org", "mail.example.org:587": "mail.example.org:587", "bücher.example": "xn--bcher-kva.example",
		"192.0.2.1": "192.0.2.1", "192.0.2.1:25": "192.0.2.1:25", "[192.0.2.1]:25": "192.0.2.1:25",
		"[2001:DB8::1]": "[2001:db8::1]", "[2001:db8::1]:2525": "[2001:db8::1]:2525",
		"mx:Example.org": "mx:example.org", "unix:/run/dovecot/lmtp": "unix:/run/dovecot/lmtp", "localhost:24": "localhost:24",
	} {
		h, err := ParseHost(in)
		if err != nil || h.String() != want {
			t.Errorf("%q is read as %q, %v", in, h, err)
		}
	}
	for in, why := range map[string]string{
		"": "write it as", "a b": "write it as", "x:": "port", "x:0": "port", "x:65536": "port", "x:+1": "port", "x:smtp": "port", ":25": "write it as",
		"2001:db8::1": "write it as", "1.2.3": "write it as", "300.1.1.1:25": "write it as", "[2001:db8::1": "no ]", "[x]": "no IP",
		"[::ffff:192.0.2.1]": "no IP", "[fe80::1%eth0]": "no IP", "[2001:db8::1]25": "only a port", "[2001:db8::1]:": "only a port",
		"mx:": "domain name", "mx:example.org:25": "domain name", "mx:[192.0.2.1]": "domain name",
		"unix:lmtp": "absolute", "unix:/": "absolute", "unix:/a/../b": "absolute", "unix:/a\n": "absolute", "unix:/" + strings.Repeat("x", 103): "103 octets",
	} {
		if in == "[2001:db8::1]:" {
			why = "port"
		}
		_, err := ParseHost(in)
		want(t, err, postino.Invalid, why)
	}
}

func TestSetRoute(t *testing.T) {
	d, db := open(t, Options{})
	ctx := t.Context()
	source := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	smart := Route{Name: "smart", Domain: "*", Action: Smarthost, Hosts: []string{"Mail.example.com:587"}, TLS: TLSVerified, User: "me", Password: "hush hush"}
	with := func(change func(*Route)) Route {
		r := smart
		change(&r)
		return r
	}
	for _, c := range []struct {
		r   Route
		why string
	}{
		{with(func(r *Route) { r.Name = "" }), "name of a route"},
		{with(func(r *Route) { r.Name = "Smart" }), "name of a route"},
		{with(func(r *Route) { r.Name = strings.Repeat("x", 41) }), "name of a route"},
		{with(func(r *Route) { r.Domain = "" }), "the domain is"},
		{with(func(r *Route) { r.Domain = "." }), "the domain is"},
		{with(func(r *Route) { r.Domain = "..example.org" }), "the domain is"},
		{with(func(r *Route) { r.Domain = "*.example.org" }), "the domain is"},
		{with(func(r *Route) { r.Domain = ".[192.0.2.1]" }), "the domain is"},
		{with(func(r *Route) { r.Sender = "@" }), "the sender is"},
		{with(func(r *Route) { r.Sender = "ana" }), "the sender is"},
		{with(func(r *Route) { r.Sender = "ana@example.org, bob@example.org" }), "the sender is"},
		{with(func(r *Route) { r.Action = Hold + 1 }), "no such action"},
		{with(func(r *Route) { r.TLS = TLSNone + 1 }), "no such TLS mode"},
		{with(func(r *Route) { r.Hosts = nil }), "needs hosts"},
		{with(func(r *Route) { r.Hosts = []string{"a:b:c"} }), "port"},
		{with(func(r *Route) { r.Hosts = []string{"a", "A"} }), "twice"},
		{with(func(r *Route) { r.Hosts = strings.Split(strings.Repeat("a,", 10)+"a", ",") }), "11 hosts"},
		{with(func(r *Route) { r.Hosts = []string{"10.0.0.1"} }), "private address"},
		{with(func(r *Route) { r.Hosts = []string{"localhost"} }), "private address"},
		{with(func(r *Route) { r.Hosts = []string{"[::1]:25"} }), "private address"},
		{with(func(r *Route) { r.Hosts = []string{"unix:/run/x"} }), "no TLS on a socket"},
		{with(func(r *Route) { r.Action = LMTP }), ""},
		{with(func(r *Route) { r.Action, r.Hosts = LMTP, []string{"a"} }), "port other than 25"},
		{with(func(r *Route) { r.Action, r.Hosts = LMTP, []string{"a:25"} }), "port other than 25"},
		{with(func(r *Route) { r.Action, r.Hosts = LMTP, []string{"mx:a.example"} }), "port other than 25"},
		{with(func(r *Route) { r.Password = "" }), "needs a password"},
		{with(func(r *Route) { r.User = "" }), "a password a user"},
		{with(func(r *Route) { r.User = "a\u202eb" }), "printable"},
		{with(func(r *Route) { r.Password = "a\r\nb" }), "control"},
		{with(func(r *Route) { r.Password = "\xd0" }), "UTF-8"},
		{with(func(r *Route) { r.TLS = TLSOpportunistic }), "a password is sent only"},
		{with(func(r *Route) { r.TLS = TLSNone }), "a password is sent only"},
		{with(func(r *Route) { r.Path = "/x" }), "a path: the action smarthost has no use"},
		{with(func(r *Route) { r.Source = source("0.0.0.0") }), "source address"},
		{with(func(r *Route) { r.Source = source("fe80::1%eth0") }), "source address"},
		{with(func(r *Route) { r.Helo = "not a name" }), "HELO"},
		{with(func(r *Route) { r.Connections = -1 }), "0 to 10000"},
		{with(func(r *Route) { r.Fallback = "smart" }), "the route itself"},
		{with(func(r *Route) { r.Fallback = "other" }), "no such route"},
		{with(func(r *Route) { r.Action = Direct }), "hosts: the action direct has no use"},
		{with(func(r *Route) { r.Action, r.Hosts = Direct, nil }), "a user and password: the action direct"},
		{Route{Name: "x", Domain: "*", Action: Hold, TLS: TLSNone}, "a TLS mode: the action hold"},
		{Route{Name: "x", Domain: "*", Action: Discard, Private: true}, "private hosts: the action discard"},
		{Route{Name: "x", Domain: "*", Action: Maildir}, "needs a path"},
		{Route{Name: "x", Domain: "*", Action: Mbox, Path: "var/mail"}, "absolute"},
		{Route{Name: "x", Domain: "*", Action: Mbox, Path: "/var/../mail"}, "absolute"},
		{Route{Name: "x", Domain: "*", Action: Mbox, Path: "/var/mail/x", Helo: "a"}, "a HELO name: the action mbox"},
	} {
		if err := d.SetRoute(ctx, c.r); c.why != "" {
			want(t, err, postino.Invalid, c.why)
		} else if err != nil {
			t.Errorf("%#v: %v", c.r, err)
		}
	}
	ok(t, d.SetRoute(ctx, smart))
	got, err := d.RouteByName(ctx, "smart")
	ok(t, err)
	if got.Password != "hush hush" || got.Hosts[0] != "mail.example.com:587" {
		t.Errorf("the route by name has hosts %v", got.Hosts)
	}
	ok(t, d.SetRoute(ctx, Route{Name: "local", Domain: "Bücher.example", Sender: "@Example.org", Action: LMTP, Hosts: []string{"unix:/run/lmtp"}, Fallback: "smart"}))
	ok(t, d.SetRoute(ctx, Route{Name: "inner", Domain: ".example.net", Sender: "Ana@Example.org", Action: Smarthost, Hosts: []string{"10.0.0.1"}, Private: true}))
	want(t, d.SetRoute(ctx, Route{Name: "twin", Domain: "xn--bcher-kva.example", Sender: "@example.org"}), postino.Conflict, "the route local has the same")
	want(t, d.SetRoute(ctx, Route{Name: "smart", Domain: "*", Action: Hold}), postino.Conflict, "fallback of the route local")
	want(t, d.RemoveRoute(ctx, "smart"), postino.Conflict, "fallback of the route local")
	want(t, d.RemoveRoute(ctx, "nothing"), postino.NotFound, "no such route")
	want(t, d.RemoveRoute(ctx, strings.Repeat("x", 5000)), postino.NotFound, "no such route")
	list, err := d.Routes(ctx)
	ok(t, err)
	if len(list) != 3 || list[1].Domain != "xn--bcher-kva.example" || list[0].Sender != "ana@example.org" {
		t.Errorf("routes are %v", list)
	}

	// The password is shown nowhere.
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "route", *got, "pointer", got)
	js, err := json.Marshal(got)
	ok(t, err)
	for _, s := range []string{fmt.Sprint(list), fmt.Sprintf("%v %+v %#v %s", got, *got, *got, got), log.String(), string(js)} {
		if strings.Contains(s, "hush") {
			t.Errorf("it shows the password: %s", s)
		}
	}

	ok(t, d.RemoveRoute(ctx, "local"))
	ok(t, d.RemoveRoute(ctx, "smart"))
	ok(t, d.RemoveRoute(ctx, "inner"))
	for k := range db.m {
		if strings.HasPrefix(k, "do") || strings.HasPrefix(k, "dp") {
			t.Errorf("%q was left behind", k)
		}
	}
	_, err = d.RouteByName(ctx, "smart")
	want(t, err, postino.NotFound, "no such route")
}

func TestRouteFor(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	test := func(sender string, user uint64, rcpt, want string) {
		t.Helper()
		from := postino.Address{}
		if sender != "" {
			from = addr(sender)
		}
		r, err := d.RouteFor(ctx, from, user, addr(rcpt))
		ok(t, err)
		e, why, err := d.ExplainRoute(ctx, from, user, addr(rcpt))
		ok(t, err)
		got := "none"
		if r != nil {
			got = r.Name
		}
		if got+": "+why != want || e != r {
			t.Errorf("from %s (%d) to %s: %s: %s\nwant %s", sender, user, rcpt, got, why, want)
		}
	}
	test("ana@example.org", 1, "x@example.com", "none: none of 0 routes matches: by the MX records of the domain")
	for i, p := range [][2]string{{"*", ""}, {"*", "@example.org"}, {".example.com", ""}, {".b.example.com", "ana@example.org"}, {"example.com", "@example.org"}, {"c.example", "bob@example.org"}, {"[192.0.2.1]", ""}} {
		ok(t, d.SetRoute(ctx, Route{Name: fmt.Sprint("r", i), Domain: p[0], Sender: p[1]}))
	}
	test("", 0, "x@example.net", "r0: any recipient, any sender")
	test("ana@example.org", 0, "x@example.net", "r1: any recipient, the sender is in example.org")
	test("x@elsewhere.example", 1, "x@example.net", "r1: any recipient, the user is in example.org")
	test("x@elsewhere.example", 99, "x@example.net", "r0: any recipient, any sender")
	test("x@elsewhere.example", 0, "x@a.b.example.com", "r2: the recipient is in a sub-domain of example.com, any sender")
	test("ANA@example.org", 0, "x@a.b.example.com", "r3: the recipient is in a sub-domain of b.example.com, the sender is ana@example.org")
	test("", 1, "x@a.b.example.com", "r3: the recipient is in a sub-domain of b.example.com, the user is ana@example.org")
	test("ana@example.org", 0, "x@b.example.com", "r2: the recipient is in a sub-domain of example.com, any sender")
	test("ana@example.org", 0, "x@example.com", "r4: the recipient is in example.com, the sender is in example.org")
	test("x@elsewhere.example", 0, "x@example.com", "r0: any recipient, any sender")
	test("", 2, "x@c.example", "r5: the recipient is in c.example, the user is bob@example.org")
	test("", 0, "x@[192.0.2.1]", "r6: the recipient is in [192.0.2.1], any sender")
}

// naiveRoute looks at every route and takes the one that ranks highest.
func naiveRoute(routes []Route, sender, user postino.Address, domain string) string {
	best, name := [2]int{-1, -1}, ""
	for _, r := range routes {
		rcpt := -1
		switch {
		case r.Domain == domain:
			rcpt = 1000
		case strings.HasPrefix(r.Domain, ".") && strings.HasSuffix(domain, r.Domain):
			rcpt = len(r.Domain)
		case r.Domain == "*":
			rcpt = 0
		}
		from := -1
		switch r.Sender {
		case sender.String():
			from = 4
		case user.String():
			from = 3
		case "@" + sender.Domain:
			from = 2
		case "@" + user.Domain:
			from = 1
		}
		if r.Sender == "" {
			from = 0
		}
		if rank := [2]int{rcpt, from}; rcpt >= 0 && from >= 0 && (rank[0] > best[0] || rank[0] == best[0] && rank[1] > best[1]) {
			best, name = rank, r.Name
		}
	}
	return name
}

func TestRouteForIsTheMostSpecific(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		domain := rapid.StringMatching(`[ab](\.[ab]){0,3}`)
		sender := rapid.OneOf(rapid.Just(""), rapid.Just("ana@example.org"), rapid.StringMatching(`[ab]@[ab](\.[ab])?`), rapid.StringMatching(`@([ab]|example\.org)`))
		pattern := rapid.OneOf(domain, rapid.Map(domain, func(s string) string { return "." + s }), rapid.Just("*"))
		n := rapid.IntRange(0, 12).Draw(rt, "n")
		for i := range n {
			err := d.SetRoute(ctx, Route{Name: fmt.Sprint("r", i), Domain: pattern.Draw(rt, "domain"), Sender: sender.Draw(rt, "sender")})
			if err != nil && !postino.Is(err, postino.Conflict) {
				rt.Fatal(err)
			}
		}
		list, err := d.Routes(ctx)
		if err != nil {
			rt.Fatal(err)
		}
		for range 20 {
			from, to := postino.Address{}, addr("x@"+domain.Draw(rt, "to"))
			if s := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[ab]@[ab](\.[ab])?`)).Draw(rt, "from"); s != "" {
				from = addr(s)
			}
			user := rapid.Uint64Range(0, 2).Draw(rt, "user")
			own := [...]postino.Address{{}, addr("ana@example.org"), addr("bob@example.org")}[user]
			got := ""
			r, err := d.RouteFor(ctx, from, user, to)
			if err != nil {
				rt.Fatal(err)
			}
			if r != nil {
				got = r.Name
			}
			if want := naiveRoute(list, from, own, to.Domain); got != want {
				rt.Fatalf("from %v (%d) to %v: %q, want %q of %v", from, user, to, got, want, list)
			}
		}
		for _, r := range list {
			if err := d.RemoveRoute(ctx, r.Name); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// Another process changes the routes; other changes do not read them anew.
func TestRoutesFollowTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, db := open(t, Options{})
		other := New(db, Options{Argon2: cheap})
		defer other.Close()
		ctx := t.Context()
		r, err := d.RouteFor(ctx, postino.Address{}, 0, addr("x@example.com"))
		if err != nil || r != nil {
			t.Fatalf("%v, %v", r, err)
		}
		ok(t, other.SetRoute(ctx, Route{Name: "all", Domain: "*"}))
		synctest.Wait()
		r, err = d.RouteFor(ctx, postino.Address{}, 0, addr("x@example.com"))
		if ok(t, err); r == nil {
			t.Fatal("the new route is not seen")
		}
		addUser(t, d, NewUser{Address: addr("carl@example.org")})
		again, err := d.RouteFor(ctx, postino.Address{}, 0, addr("x@example.com"))
		if ok(t, err); again != r {
			t.Error("a new user made the routes be read again")
		}
	})
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"mail.example.org:587", "[2001:db8::1]:25", "192.0.2.1", "mx:example.org", "unix:/run/lmtp", "bücher.example", "[::ffff:1.2.3.4]:1", "x:00025"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			if !postino.Is(err, postino.Invalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		again, err := ParseHost(h.String())
		if err != nil || again != h {
			t.Errorf("%q is %q, again %q, %v", s, h, again, err)
		}
	})
}

// A route that was checked is read as it was written, and checking it again
// changes nothing.
func FuzzRoute(f *testing.F) {
	f.Add("smart", "*", "", uint8(Smarthost), "mail.example.org:587", uint8(TLSVerified), "u", "p", "h.example", "")
	f.Add("x", ".Bücher.example", "@Example.org", uint8(Direct), "", uint8(0), "", "", "", "")
	f.Add("x", "example.org", `"a b"@example.org`, uint8(Mbox), "", uint8(0), "", "", "", "/var/mail/x")
	f.Add("x", "*", "", uint8(Smarthost), "a", uint8(TLSVerified), "u", "\xd0", "", "")
	f.Add("x", "example.org", "İ@example.org", uint8(LMTP), "unix:/run/x", uint8(0), "", "", "", "")
	f.Fuzz(func(t *testing.T, name, domain, sender string, action uint8, host string, tls uint8, user, password, helo, path string) {
		r := Route{Name: name, Domain: domain, Sender: sender, Action: Action(action), TLS: TLSMode(tls), User: user, Password: password, Helo: helo, Path: path}
		if host != "" {
			r.Hosts = []string{host}
		}
		if r.canonicalize() != nil {
			return
		}
		before, err := json.Marshal(storedRoute{r, r.Password})
		ok(t, err)
		var s storedRoute
		ok(t, json.Unmarshal(before, &s))
		again := s.route()
		if err := again.canonicalize(); err != nil {
			t.Fatalf("%s: checked again: %v", before, err)
		}
		after, err := json.Marshal(storedRoute{again, again.Password})
		ok(t, err)
		if string(after) != string(before) {
			t.Errorf("%s, again %s", before, after)
		}
		if p, err := senderPattern(r.Sender); err != nil || p != folded(p) {
			t.Errorf("pattern of %q is %v, %v", r.Sender, p, err)
		}
		if k := patternKey(&r); len(k) > 1024 {
			t.Errorf("key of %d octets", len(k))
		}
	})
}

// TestLinearRoutes: a text a thousand times as long costs no more than 2.6 times
// the allocations per octet (G2).
func TestLinearRoutes(t *testing.T) {
	for name, unit := range map[string]string{"letters": "ab", "dots": "a.", "wide": "ｊ", "colons": "a:", "brackets": "[", "slashes": "/a", "marks": "e\u0301"} {
		for _, head := range []string{"", "mx:", "unix:", "[", "@", "."} {
			var per []float64
			for _, n := range []int{4 << 10, 4 << 20} {
				s := head + strings.Repeat(unit, n/len(unit))
				allocs := testing.AllocsPerRun(1, func() {
					ParseHost(s)
					r := Route{Name: "x", Domain: s, Sender: s}
					r.checkPatterns()
					r = Route{Name: "x", Domain: "*", Sender: s, Path: s, Helo: s}
					r.canonicalize()
				})
				per = append(per, (allocs+1)/float64(n))
			}
			if per[1] > 2.6*per[0] {
				t.Errorf("%s%s: allocations per octet grow: %v", head, name, per)
			}
		}
	}
}

// Looking a route up takes no memory, in tables of all sizes.
func TestRouteForAllocatesNothing(t *testing.T) {
	d := manyRoutes(t)
	from, to := addr("ana@example.org"), addr("x@a.b.c.d5.example")
	if n := testing.AllocsPerRun(100, func() { d.RouteFor(t.Context(), from, 1, to) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func manyRoutes(t testing.TB) *Directory {
	d, db := open(t, Options{})
	ok(t, db.Update(t.Context(), nil, func(tx kv.Tx) error {
		for i := range 1000 {
			r := Route{Name: fmt.Sprint("r", i), Domain: fmt.Sprintf(".d%d.example", i/2), Sender: [...]string{"", "@example.org"}[i%2]}
			ok(t, setRecord(tx, routeKey(r.Name), storedRoute{r, ""}))
		}
		return nil
	}))
	return d
}

func BenchmarkRouteFor(b *testing.B) {
	d := manyRoutes(b)
	from, to := addr("ana@example.org"), addr("x@a.b.c.d5.example")
	b.ReportAllocs()
	for b.Loop() {
		if r, err := d.RouteFor(b.Context(), from, 1, to); err != nil || r == nil {
			b.Fatal(err)
		}
	}
}
