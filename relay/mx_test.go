package relay

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/queue"
)

// finder returns a Relay that only looks hosts up.
func finder(zones map[string]string) (*Relay, *dns.Fake) {
	f := dns.NewFake()
	for origin, text := range zones {
		if err := f.AddZone(origin, text, dns.Insecure); err != nil {
			panic(err)
		}
	}
	return &Relay{opts: Options{Hostname: "Out.example.", DNS: f, Shuffle: rand.Shuffle,
		OwnNames: []string{"alias.out.example"},
		OwnAddrs: func() []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		}}}, f
}

func hosts(targets []target) string {
	var out []string
	for _, t := range targets {
		s := t.Name
		for _, a := range t.addrs {
			s += " " + a.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// SC7, DN2 and RFC 5321 §5.1, RFC 7505.
func TestResolve(t *testing.T) {
	r, fake := finder(map[string]string{
		"plain.example":    "@ MX 20 b\n@ MX 10 a\na A 192.0.2.10\na AAAA 2001:db8::10\nb A 192.0.2.11\n",
		"implicit.example": "@ A 192.0.2.12\n@ AAAA 2001:db8::12\n",
		"nothing.example":  "@ TXT hello\n",
		"null.example":     "@ MX 0 .\n@ A 192.0.2.13\n",
		"half.example":     "@ MX 0 .\n@ MX 10 a\na A 192.0.2.14\n",
		"noaddr.example":   "@ MX 10 a\n@ MX 20 gone.nowhere.test.\na TXT x\n@ A 192.0.2.15\n",
		"onedead.example":  "@ MX 10 gone\n@ MX 20 a\na A 192.0.2.16\n",
		"cname.example":    "@ MX 10 c\nc CNAME real\nreal A 192.0.2.17\n",
		"alias.example":    "@ CNAME plain.example.\n",
		"self.example":     "@ MX 10 a\n@ MX 20 out.example.\n@ MX 20 b\n@ MX 30 c\na A 192.0.2.18\nb A 192.0.2.19\nc A 192.0.2.20\n",
		"selfaddr.example": "@ MX 10 a\n@ MX 20 me\n@ MX 30 c\na A 192.0.2.18\nme AAAA 2001:db8::1\nc A 192.0.2.20\n",
		"loop.example":     "@ MX 10 alias.out.example.\n@ MX 20 a\na A 192.0.2.21\n",
		"implself.example": "@ A 192.0.2.1\n",
		"private.example":  "@ MX 10 a\na A 10.0.0.1\na AAAA ::ffff:127.0.0.1\n",
		"mixed.example":    "@ MX 10 a\na A 10.0.0.1\na A 192.0.2.22\n",
		"fail.example":     "@ MX 10 a\n@ A 192.0.2.23\na A 192.0.2.24\n",
		"late.example":     "@ MX 10 a\n@ MX 20 b\na A 192.0.2.25\nb TXT x\n",
	})
	fake.SetFault("fail.example", dns.TypeMX, dns.Fault{Kind: dns.FaultServFail})
	fake.SetFault("silent.example", dns.TypeMX, dns.Fault{Kind: dns.FaultSilent})
	fake.SetFault("bogus.example", dns.TypeMX, dns.Fault{Kind: dns.FaultBogus})
	fake.SetFault("refused.example", dns.TypeMX, dns.Fault{Kind: dns.FaultRefused})
	fake.SetFault("a.late.example", 0, dns.Fault{Kind: dns.FaultServFail})
	for _, tc := range []struct {
		domain, hosts string
		code          int
		words         string
	}{
		{"plain.example", "a.plain.example 192.0.2.10 2001:db8::10; b.plain.example 192.0.2.11", 0, ""},
		{"alias.example", "a.plain.example 192.0.2.10 2001:db8::10; b.plain.example 192.0.2.11", 0, ""},
		{"implicit.example", "implicit.example 192.0.2.12 2001:db8::12", 0, ""},
		{"nothing.example", "", 550, "5.1.2 the domain nothing.example has neither"},
		{"missing.example", "", 550, "5.1.2 the domain missing.example does not exist"},
		{"null.example", "", 556, "5.1.10 "},
		{"half.example", "a.half.example 192.0.2.14", 0, ""},
		{"noaddr.example", "", 550, "5.4.4 none of the mail servers"},
		{"onedead.example", "a.onedead.example 192.0.2.16", 0, ""},
		{"cname.example", "c.cname.example 192.0.2.17", 0, ""},
		{"self.example", "a.self.example 192.0.2.18", 0, ""},
		{"selfaddr.example", "a.selfaddr.example 192.0.2.18", 0, ""},
		{"loop.example", "", 554, "5.4.6 mail for loop.example loops back to myself"},
		{"implself.example", "", 554, "5.4.6 "},
		{"private.example", "", 550, "5.4.4 the servers of private.example are at addresses that no mail is sent to: 10.0.0.1 (private)"},
		{"mixed.example", "a.mixed.example 192.0.2.22", 0, ""},
		{"fail.example", "", 451, "4.4.3 "},
		{"silent.example", "", 451, "4.4.3 "},
		{"bogus.example", "", 451, "4.4.3 "},
		{"refused.example", "", 451, "4.4.3 "},
		{"late.example", "", 451, "4.4.3 "},
		{"[192.0.2.30]", "[192.0.2.30] 192.0.2.30", 0, ""},
		{"[IPv6:2001:db8::30]", "[IPv6:2001:db8::30] 2001:db8::30", 0, ""},
		{"[127.0.0.1]", "", 550, "5.4.4 "},
		{"[192.0.2.1]", "", 554, "5.4.6 "},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		got, trouble := r.resolve(ctx, tc.domain, false)
		cancel()
		if hosts(got) != tc.hosts {
			t.Errorf("%s: hosts %q, want %q", tc.domain, hosts(got), tc.hosts)
		}
		switch {
		case trouble == nil && tc.code != 0:
			t.Errorf("%s: no trouble", tc.domain)
		case trouble != nil && (trouble.reply.Code != tc.code || !strings.HasPrefix(trouble.words(), tc.words)):
			t.Errorf("%s: %d %q", tc.domain, trouble.reply.Code, trouble.words())
		}
	}
}

// At most ten hosts are looked up, the best ones (SC7).
func TestResolveFew(t *testing.T) {
	var zone strings.Builder
	for i := range 30 {
		zone.WriteString("@ MX " + strconv.Itoa(30-i) + " m" + strconv.Itoa(i) + "\nm" + strconv.Itoa(i) + " A 192.0.2." + strconv.Itoa(100+i) + "\n")
	}
	r, fake := finder(map[string]string{"many.example": zone.String()})
	got, trouble := r.resolve(t.Context(), "many.example", false)
	if trouble != nil || len(got) != maxHosts || got[0].Name != "m29.many.example" || got[9].Name != "m20.many.example" {
		t.Errorf("%v, %v", hosts(got), trouble)
	}
	if fake.Asked() != 1+2*maxHosts {
		t.Errorf("%d questions", fake.Asked())
	}
}

// The order is by preference and random within it, whatever the records are; all
// of them are there, and the list of the resolver is not changed (RFC 5321 §5.1).
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []dns.MX
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			records = append(records, dns.MX{Preference: uint16(rapid.IntRange(0, 4).Draw(t, "pref")), Host: "h" + strconv.Itoa(i)})
		}
		before := slices.Clone(records)
		seed := rapid.Uint64().Draw(t, "seed")
		r := &Relay{opts: Options{Shuffle: rand.New(rand.NewPCG(seed, 1)).Shuffle}}
		got := r.order(records)
		if !slices.Equal(records, before) {
			t.Fatal("the answer was changed")
		}
		if !slices.IsSortedFunc(got, func(a, b dns.MX) int { return cmp.Compare(a.Preference, b.Preference) }) {
			t.Fatal("not sorted")
		}
		byName := func(a, b dns.MX) int { return cmp.Compare(a.Host, b.Host) }
		slices.SortFunc(before, byName)
		slices.SortFunc(got, byName)
		if !slices.Equal(got, before) {
			t.Fatal("not the same records")
		}
	})
}

// Each of several hosts of the same preference comes first at times.
func TestOrderSpreads(t *testing.T) {
	r := &Relay{opts: Options{Shuffle: rand.New(rand.NewPCG(1, 2)).Shuffle}}
	first := map[string]int{}
	for range 300 {
		first[r.order([]dns.MX{{Preference: 10, Host: "a"}, {Preference: 10, Host: "b"}, {Preference: 10, Host: "c"}, {Preference: 5, Host: "x"}})[1].Host]++
	}
	for _, h := range []string{"a", "b", "c"} {
		if first[h] < 60 {
			t.Errorf("%s came first %d times of 300", h, first[h])
		}
	}
}

// What remains is exactly the hosts that are better than the best self.
func TestBeforeSelf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var targets []target
		best := 100
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			x := target{Host: Host{Preference: uint16(rapid.IntRange(0, 5).Draw(t, "pref"))}, self: rapid.IntRange(0, 5).Draw(t, "self") == 0}
			if x.self {
				best = min(best, int(x.Preference))
			}
			targets = append(targets, x)
		}
		slices.SortStableFunc(targets, func(a, b target) int { return cmp.Compare(a.Preference, b.Preference) })
		want := 0
		for _, x := range targets {
			if int(x.Preference) < best {
				want++
			}
		}
		got := beforeSelf(targets)
		if len(got) != want {
			t.Fatalf("%d remain, want %d", len(got), want)
		}
		for _, x := range got {
			if x.self || int(x.Preference) >= best {
				t.Fatal("a host remains that is not better than us")
			}
		}
	})
}

// SC7.
func TestGuard(t *testing.T) {
	r, _ := finder(nil)
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:0a00:0001::1",
		"2002:7f00:0001::1", "2001::1", "100::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "4000::1", "5f00::1",
		"192.0.2.1", "2001:db8::1", // our own
	} {
		if r.guard(netip.MustParseAddr(a), false) == "" {
			t.Errorf("%s may be connected to", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "9.255.255.255", "100.63.255.255", "100.128.0.0", "172.32.0.1", "223.255.255.255", "2a00:1450::1", "64:ff9b::1.1.1.1", "2002:0101:0101::1", "2606:4700::1111"} {
		if why := r.guard(netip.MustParseAddr(a), false); why != "" {
			t.Errorf("%s is refused: %s", a, why)
		}
	}
	for _, a := range []string{"10.0.0.1", "127.0.0.1", "::1", "fd00::1", "192.0.2.1"} {
		if why := r.guard(netip.MustParseAddr(a), true); why != "" {
			t.Errorf("%s is refused to a private route: %s", a, why)
		}
	}
	for _, a := range []string{"0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:224.0.0.1"} {
		if r.guard(netip.MustParseAddr(a), true) == "" {
			t.Errorf("%s may be connected to by a private route", a)
		}
	}
	r.opts.AllowPrivate = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	if r.guard(netip.MustParseAddr("127.0.0.1"), false) != "" || r.guard(netip.MustParseAddr("::ffff:127.0.0.1"), false) != "" || r.guard(netip.MustParseAddr("127.0.0.2"), false) == "" {
		t.Error("listed addresses are not those that are open")
	}
}

// A definite no from the name servers fails, anything else waits (DN2).
func TestDomains(t *testing.T) {
	for _, tc := range []struct {
		name   string
		set    func(w *world)
		result queue.Result
		reply  string
	}{
		{"no domain", func(*world) {}, queue.Rejected, "5.1.2 "},
		{"null MX", func(w *world) { w.zone("b.example", "@ MX 0 .\n", dns.Insecure) }, queue.Rejected, "5.1.10 "},
		{"failing name server", func(w *world) {
			w.zone("b.example", "@ A 192.0.2.10\n", dns.Insecure)
			w.dns.SetFault("b.example", dns.TypeMX, dns.Fault{Kind: dns.FaultServFail})
			w.listen(&server{}, "192.0.2.10:25") // must not be used
		}, queue.Deferred, "4.4.3 "},
		{"silent name server", func(w *world) { w.dns.SetFault("b.example", 0, dns.Fault{Kind: dns.FaultSilent}) }, queue.Deferred, "4.4.3 "},
		{"ourselves", func(w *world) { w.zone("b.example", "@ MX 5 out.example.\n", dns.Insecure) }, queue.Rejected, "5.4.6 "},
		{"private", func(w *world) {
			w.zone("b.example", "@ MX 5 a\na A 10.0.0.1\n", dns.Insecure)
			w.listen(&server{}, "10.0.0.1:25")
		}, queue.Rejected, "5.4.4 "},
		{"nobody there", func(w *world) { w.zone("b.example", "@ MX 5 a\na A 192.0.2.10\n", dns.Insecure) }, queue.Deferred, "4.4.1 cannot connect to a.b.example (192.0.2.10): "},
		{"implicit", func(w *world) {
			w.zone("b.example", "@ AAAA 2001:db8:1::10\n", dns.Insecure)
			w.listen(&server{}, "[2001:db8:1::10]:25")
		}, queue.Relayed, "250 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				tc.set(w)
				w.one("bob@b.example", tc.result, tc.reply)
				synctest.Wait()
				if down := w.queue.Site(Name, "b.example").Failures > 0; down != (tc.result == queue.Deferred) {
					t.Errorf("the queue knows of trouble with the site: %v", down)
				}
			})
		})
	}
}

func TestMemory(t *testing.T) {
	m := newMemory[int, string](10)
	for i := range 100 {
		m.put(i, strconv.Itoa(i), time.Hour)
	}
	if len(m.m) != 10 {
		t.Errorf("%d entries (G10)", len(m.m))
	}
	if v, ok := m.get(99); !ok || v != "99" {
		t.Error("the last entry is not there")
	}
	m.put(99, "old", -time.Second)
	if _, ok := m.get(99); ok || len(m.m) != 9 {
		t.Error("a stale entry was returned")
	}
}

func TestWords(t *testing.T) {
	tr := ours(550, "5.1.2", "no\nsuch")
	if tr.words() != "5.1.2 no such" || !tr.permanent() || tr.outcome(3).Result != queue.Rejected {
		t.Error(tr.words())
	}
	if tr = tr.later(); tr.words() != "4.1.2 no such" || tr.permanent() || tr.asReply().Code != 451 {
		t.Error(tr.words(), tr.asReply())
	}
	if got := failed("h", errors.New("x")); got.permanent() {
		t.Error("an unknown error is permanent")
	}
}
