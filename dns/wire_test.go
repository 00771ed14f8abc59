package dns

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

// messages are seeds: real replies of the Fake.
func messages(t testing.TB) [][]byte {
	f := NewFake()
	if err := f.AddZone("example.org", "@ MX 10 mx\n@ TXT \"a\" \"b\\200\"\nmx A 192.0.2.1\nwww CNAME mx\n_s._tcp SRV 1 2 3 mx\n_25._tcp TLSA 3 1 1 00ff\n", Secure); err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, q := range []struct {
		name string
		t    Type
	}{{"example.org", TypeMX}, {"example.org", TypeTXT}, {"www.example.org", TypeA}, {"no.example.org", TypeA}, {"_s._tcp.example.org", TypeSRV}, {"_25._tcp.example.org", TypeTLSA}} {
		m := new(dns.Msg).SetQuestion(q.name+".", uint16(q.t))
		m.SetEdns0(udpSize, false)
		r, _, _ := f.reply(m)
		for _, r.Compress = range []bool{false, true} {
			b, err := r.Pack()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
	}
	return all
}

func TestInspectAcceptsReplies(t *testing.T) {
	for _, b := range messages(t) {
		if _, err := parse(b); err != nil {
			t.Errorf("%x: %v", b, err)
		}
		for n := range len(b) { // no proper prefix is whole, and none panics
			if _, err := parse(b[:n]); err == nil {
				t.Errorf("%d of %d octets were accepted", n, len(b))
			}
		}
	}
}

func TestPointersGoBackwards(t *testing.T) { // DN1
	header := []byte{0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name []byte
		ok   bool
	}{
		{[]byte{1, 'a', 0}, true},
		{[]byte{0xc0, 12}, false},         // itself
		{[]byte{0xc0, 20}, false},         // forwards
		{[]byte{1, 'a', 0xc0, 12}, false}, // the sequence it stands in
		{[]byte{0xc0, 0}, false},          // into the header
		{[]byte{0x40, 'a', 0}, false},     // reserved label type
	} {
		b := append(append(bytes.Clone(header), c.name...), 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
		if err := inspect(b); (err == nil) != c.ok {
			t.Errorf("%x: %v", c.name, err)
		}
	}
}

// A message of twice the size costs at most 2.6 times the allocations, and
// pointers do not make names longer than their octets say (G2).
func TestLinear(t *testing.T) {
	cost := func(records int) float64 {
		m := new(dns.Msg).SetQuestion("example.org.", dns.TypeTXT)
		m.Response, m.Compress = true, true
		for range records {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: "example.org.", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{"0123456789"}})
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(10, func() {
			m, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			extract(m, "example.org", TypeTXT)
		})
	}
	for n := 25; n < 200; n *= 2 {
		if a, b := cost(n), cost(2*n); b > 2.6*a {
			t.Errorf("%d records take %v allocations, twice as many take %v", n, a, b)
		}
	}
	chain := make([]byte, 14, 1024) // the root, then pointers that each lead to the one before
	for i := 14; i < 1000; i += 2 {
		to := max(i-2, 13)
		chain = append(chain, 0xc0|byte(to>>8), byte(to))
	}
	for at, want := range map[int]bool{14: true, 100: true, 998: false} {
		if _, ok := skipName(chain, at); ok != want {
			t.Errorf("a chain of %d pointers: %v, want %v", (at-12)/2, ok, want)
		}
	}
}

func TestTooManyRecords(t *testing.T) { // DN1
	m := new(dns.Msg).SetQuestion("example.org.", dns.TypeA)
	m.Response = true
	for i := range 300 {
		rr, err := dns.NewRR("example.org. 60 A 10.0." + string('0'+rune(i%10)) + ".1")
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	a, err := extract(m, "example.org", TypeA)
	if err != nil || len(a.Addrs) != maxRecords {
		t.Errorf("%d records are used: %v", len(a.Addrs), err)
	}
	for range 3 {
		m.Extra = append(m.Extra, m.Answer...)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(b); err == nil {
		t.Error("a message with 1,200 records was read")
	}
}

func TestCacheForgets(t *testing.T) { // DN3
	c := newCache(Options{CacheBytes: 100_000})
	now := time.Now()
	none := postino.E(postino.NotFound, "", "", ErrNoData)
	c.put("a.example", TypeA, &Answer{TTL: 10 * time.Second}, nil, now)
	c.put("b.example", TypeA, &Answer{TTL: 48 * time.Hour}, nil, now)
	c.put("c.example", TypeA, &Answer{TTL: 48 * time.Hour}, none, now)
	for _, x := range []struct {
		name string
		life time.Duration
	}{{"a.example", 10 * time.Second}, {"b.example", 24 * time.Hour}, {"c.example", time.Hour}} {
		if a, _, ok := c.get(x.name, TypeA, now.Add(x.life-time.Second)); !ok || a.TTL != time.Second {
			t.Errorf("%s is gone too early or has the wrong TTL: %+v", x.name, a)
		}
		if _, _, ok := c.get(x.name, TypeA, now.Add(x.life)); ok {
			t.Errorf("%s is kept too long", x.name)
		}
	}
	for i := range 10_000 {
		c.put(fmt.Sprint(i, ".example"), TypeA, &Answer{TTL: time.Hour}, nil, now)
	}
	c.entries.CleanUp()
	if n := c.entries.WeightedSize(); n > 100_000 {
		t.Errorf("the cache weighs %d octets", n)
	}
}

func TestCanonicalIsOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "name")
		once, err := canonical(s)
		if err != nil {
			return
		}
		if again, err := canonical(once); err != nil || again != once {
			t.Fatalf("%q becomes %q, then %q, %v", s, once, again, err)
		}
		if _, ok := dns.IsDomainName(once + "."); !ok {
			t.Fatalf("%q is no domain name", once)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, b := range messages(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil || len(m.Question) != 1 {
			return
		}
		name, err := canonical(m.Question[0].Name)
		if err != nil {
			return
		}
		for _, typ := range []Type{TypeA, TypeAAAA, TypeMX, TypeTXT, TypePTR, TypeTLSA, TypeSRV, TypeCNAME, Type(m.Question[0].Qtype)} {
			a, err := extract(m, name, typ)
			if err == nil && len(a.Addrs)+len(a.MX)+len(a.TXT)+len(a.Hosts)+len(a.TLSA)+len(a.SRV) > maxRecords {
				t.Errorf("answer has too many records")
			}
		}
		if q := (query{m.Id, m.Question[0].Name, m.Question[0].Qtype, nil}); m.Response && m.Opcode == 0 && m.Question[0].Qclass == 1 && q.check(m) != nil {
			t.Error("a reply does not answer its own question")
		}
	})
}
