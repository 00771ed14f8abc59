package tlspolicy

import (
	"fmt"
	"testing"
	"time"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
	"github.com/postino-mail/postino/fetch"
)

// ask looks a host of b.example up as the relay does, by a resolver that validates.
func ask(t *testing.T, w *dnstest.World, sts Cache) (*Findings, error) {
	t.Helper()
	r := w.Resolver(t)
	q := Question{Domain: "b.example", Host: "mx.b.example", Port: 25}
	a, err := r.Lookup(t.Context(), "b.example", dns.TypeMX)
	if err != nil {
		return nil, err
	}
	if a.Security == dns.Secure {
		q.MX = Proven
	}
	if a, err = dns.LookupIP(t.Context(), r, q.Host); err != nil {
		return nil, err
	}
	q.HostName, q.Addresses = a.Name, a.Security
	p, err := New(Options{DNS: r, Fetch: fetch.New(fetch.Options{DNS: r}), Cache: sts})
	if err != nil {
		t.Fatal(err)
	}
	return p.Find(t.Context(), q)
}

// TL3, DN2: whatever somebody on the way does to answers of signed zones, mail
// waits or goes as it would have gone: never with less. Zones whose signatures are
// bad make it wait; zones that are proven to be unsigned do not.
func TestNoDowngrade(t *testing.T) {
	leaf := issue(t, nil, time.Now().Add(time.Hour), nil, "mx.b.example")
	records := "@ MX 10 mx\nmx A 192.0.2.10\n_25._tcp.mx TLSA " + FormatTLSA(record(3, 1, 1, leaf.cert)) + "\n"
	aliases := "@ MX 10 mx\nmx CNAME mail\nmail A 192.0.2.10\n_25._tcp.mail CNAME dane\ndane TLSA " + FormatTLSA(record(3, 1, 1, leaf.cert)) + "\n"
	keep := func() Cache { return &shelf{rows: map[string][]byte{}} }
	for name, text := range map[string]string{"records": records, "aliases": aliases} {
		w := dnstest.NewWorld(t).Zone("example", dnstest.Signed(), "").Zone("b.example", dnstest.Signed(), text)
		f, err := ask(t, w, keep())
		if err != nil {
			t.Fatal(err)
		}
		if d := f.Decide(Opportunistic, NoWish); d.Level != Verified || !d.DANE {
			t.Fatalf("%s: %+v, %s", name, d, f.Basis())
		}
		for _, kind := range []dnstest.FaultKind{dnstest.ServFail, dnstest.Refused, dnstest.NoSignatures, dnstest.NoProof, dnstest.Empty, dnstest.Forged} {
			for _, at := range []string{"example", "b.example", "mx.b.example", "mail.b.example", "_25._tcp.mx.b.example", "_25._tcp.mail.b.example", "dane.b.example", "_tcp.mx.b.example"} {
				w.SetFault(at, 0, dnstest.Fault{Kind: kind})
				f, err := ask(t, w, keep())
				w.SetFault(at, 0, dnstest.Fault{})
				if err != nil {
					continue // no host, or no answer: it waits
				}
				if d := f.Decide(Opportunistic, NoWish); d.Refuse != DNSFailed && (d.Level != Verified || !d.DANE) {
					t.Errorf("%s, %s, fault %d: %+v, %s", name, at, kind, d, f.Basis())
				}
			}
		}
	}
	for _, tc := range []struct {
		name    string
		signing dnstest.Signing
		text    string
		waits   bool
		level   Level
	}{
		{"signed", dnstest.Signed(), records, false, Verified},
		{"NSEC3, no records", dnstest.Signing{Algorithm: 13, NSEC3: true}, "@ MX 10 mx\nmx A 192.0.2.10\n", false, Opportunistic},
		{"no records", dnstest.Signed(), "@ MX 10 mx\nmx A 192.0.2.10\n", false, Opportunistic},
		{"not signed", dnstest.Signing{}, records, false, Opportunistic},
		{"unusable", dnstest.Signed(), "@ MX 10 mx\nmx A 192.0.2.10\n_25._tcp.mx TLSA 1 1 1 " + fmt.Sprintf("%064d", 0) + "\n", false, Encrypted},
		{"bogus", dnstest.BogusZone(), records, true, 0},
		{"expired", dnstest.Expired(), records, true, 0},
		{"wrong DS", dnstest.Signing{Algorithm: 13, Fault: dnstest.ZoneWrongDS}, records, true, 0},
	} {
		w := dnstest.NewWorld(t).Zone("example", dnstest.Signed(), "").Zone("b.example", tc.signing, tc.text)
		f, err := ask(t, w, keep())
		if tc.waits {
			if err == nil {
				t.Errorf("%s: %s", tc.name, f.Basis())
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if d := f.Decide(Opportunistic, NoWish); d.Level != tc.level || d.Refuse != NoRefusal {
			t.Errorf("%s: %+v, %s", tc.name, d, f.Basis())
		}
	}
}

// An alias out of signed zones is searched for at its beginning, by the CNAME
// alone (RFC 7672 §2.2.2).
func TestSignedAliasOut(t *testing.T) {
	leaf := issue(t, nil, time.Now().Add(time.Hour), nil, "mx.b.example")
	w := dnstest.NewWorld(t).Zone("example", dnstest.Signed(), "").
		Zone("b.example", dnstest.Signed(), "@ MX 10 mx\nmx CNAME mail.c.example.\n_25._tcp.mx TLSA "+FormatTLSA(record(3, 1, 1, leaf.cert))+"\n").
		Zone("c.example", dnstest.Signing{}, "mail A 192.0.2.10\n")
	f, err := ask(t, w, &shelf{rows: map[string][]byte{}})
	if err != nil {
		t.Fatal(err)
	}
	if d := f.Decide(Opportunistic, NoWish); !d.DANE || f.Name() != "mx.b.example" {
		t.Errorf("%+v at %s: %s", d, f.Name(), f.Basis())
	}
}
