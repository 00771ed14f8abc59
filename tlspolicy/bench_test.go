package tlspolicy

import (
	"testing"
	"time"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
)

// What each connection, and each further message on it, pays: everything is known.
func BenchmarkFind(b *testing.B) {
	leaf := issue(b, nil, time.Now().Add(time.Hour), nil, "mx.b.example")
	policy, err := ParseSTSPolicy([]byte(good))
	if err != nil {
		b.Fatal(err)
	}
	kept := &entry{domain: "b.example", id: "1", fetched: time.Now(), used: time.Now(), policy: policy}
	names := dns.NewFake()
	zone := "@ MX 10 mx\nmx A 192.0.2.10\n_mta-sts TXT \"v=STSv1; id=1\"\n_25._tcp.mx TLSA " + FormatTLSA(record(3, 1, 1, leaf.cert)) + "\n"
	if err := names.AddZone("b.example", zone, dns.Secure); err != nil {
		b.Fatal(err)
	}
	p, err := New(Options{DNS: names, Fetch: fetch.New(fetch.Options{DNS: names}), Cache: &shelf{rows: map[string][]byte{"b.example": kept.row()}}})
	if err != nil {
		b.Fatal(err)
	}
	q := Question{Domain: "b.example", Host: "mx.b.example", Port: 25, MX: Proven, Addresses: dns.Secure}
	b.ReportAllocs()
	for b.Loop() {
		f, err := p.Find(b.Context(), q)
		if err != nil {
			b.Fatal(err)
		}
		if d := f.Decide(Opportunistic, NoWish); !d.DANE {
			b.Fatal(d)
		}
	}
}

// Decide by itself.
func BenchmarkDecide(b *testing.B) {
	var n int
	for b.Loop() {
		for f := range everything() {
			n += int(Decide(f).Level)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3456, "ns/decision")
	if n == 0 {
		b.Fatal("nothing was decided")
	}
}

// VerifyTLSA for a key of the server's own.
func BenchmarkVerifyTLSA(b *testing.B) {
	leaf := issue(b, nil, time.Now().Add(time.Hour), nil, "mx.b.example")
	usable := UsableTLSA([]dns.TLSA{record(3, 1, 1, leaf.cert)})
	chain := certs(leaf)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := VerifyTLSA(usable, chain, nil, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
