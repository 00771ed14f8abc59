package check

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/tlspolicy"
)

// now is when the tests run.
var now = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// The server of the tests.
const (
	host   = "mail.example.org"
	domain = "example.org"
)

var (
	addr4 = netip.MustParseAddr("203.0.113.7")
	addr6 = netip.MustParseAddr("2001:db8::7")
)

// world is a server with a domain and the DNS around it.
type world struct {
	*dns.Fake
	opts  Options
	dom   Domain
	zones map[string][]string
	// gullible: the resolver believes what is not authentic.
	gullible bool
	// policy is what others get, failure why they do not.
	policy  string
	failure error
}

// stsText is the policy of the domain.
const stsText = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmax_age: 86400\r\n"

// testKey is the key of the domain.
func testKey() Key {
	pub := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()
	_, text := mailauth.KeyRecord("s1", domain, pub)
	return Key{Selector: "s1", Record: text, Public: pub, Signs: true}
}

// newWorld is a world in which all is well; tests spoil it.
func newWorld() *world {
	w := &world{Fake: dns.NewFake(), dom: Domain{Name: domain}, zones: map[string][]string{
		domain: {
			"@ MX 10 mail", "mail A 203.0.113.7", "mail AAAA 2001:db8::7", "mail TXT \"v=spf1 a -all\"", "@ TXT \"v=spf1 mx -all\"",
			"s1._domainkey TXT \"" + testKey().Record + "\"", "_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@example.org\"",
			"_mta-sts TXT \"v=STSv1; id=1;\"", "mta-sts CNAME mail", "_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@example.org\"",
		},
		"113.0.203.in-addr.arpa":   {"7 PTR mail.example.org."},
		"8.b.d.0.1.0.0.2.ip6.arpa": {"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mail.example.org."},
		dns.ProbeSigned:            {"@ A 192.0.2.80"}, dns.ProbeBogus: {"@ A 192.0.2.81"},
		"list.example": {"2.0.0.127 A 127.0.0.2", "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 A 127.0.0.2"},
	}}
	w.dom.Keys = []Key{testKey()}
	w.dom.STS = &Policy{Record: "v=STSv1; id=1;", Text: stsText}
	w.dom.DMARCReports, w.dom.TLSReports = "dmarc@example.org", "tls@example.org"
	w.policy = stsText
	w.dom.Accepts = func(string) (bool, error) { return true, nil }
	w.opts = Options{
		Node:       Node{Host: host, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), addr4, addr6}, Clock: func() (bool, bool) { return true, true }},
		Blocklists: []string{"list.example"},
		Domain: func(_ context.Context, name string) (Domain, error) {
			if name != w.dom.Name {
				return Domain{}, postino.E(postino.NotFound, "find domain", name, nil)
			}
			return w.dom, nil
		},
		Fetch: func(context.Context, string) (*tlspolicy.STSPolicy, error) {
			if w.failure != nil {
				return nil, w.failure
			}
			return tlspolicy.ParseSTSPolicy([]byte(w.policy))
		},
		Dial: func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errors.New("connection refused") },
	}
	return w
}

// set puts records in place of those of the same name and type in a zone; one that
// ends with the type removes them.
func (w *world) set(zone string, records ...string) {
	for _, rec := range records {
		f := strings.Fields(rec)
		var kept []string
		for _, old := range w.zones[zone] {
			if o := strings.Fields(old); o[0] != f[0] || o[1] != f[1] {
				kept = append(kept, old)
			}
		}
		w.zones[zone] = kept
	}
	for _, rec := range records {
		if len(strings.Fields(rec)) > 2 {
			w.zones[zone] = append(w.zones[zone], rec)
		}
	}
}

// publish makes the zones known.
func (w *world) publish(t testing.TB) {
	t.Helper()
	for origin, records := range w.zones {
		s := dns.Insecure
		if origin == dns.ProbeSigned || origin == domain {
			s = dns.Secure
		}
		if err := w.AddZone(origin, strings.Join(records, "\n")+"\n", s); err != nil {
			t.Fatal(err)
		}
	}
	if !w.gullible {
		w.SetFault(dns.ProbeBogus, 0, dns.Fault{Kind: dns.FaultBogus})
	}
}

func (w *world) checker(t testing.TB) *Checker {
	t.Helper()
	w.publish(t)
	w.opts.DNS = w.Fake
	return New(w.opts)
}

// node and domain make the reports.
func (w *world) node(t testing.TB) Report {
	t.Helper()
	return w.checker(t).Node(t.Context(), now, nil)
}

func (w *world) domain(t testing.TB, name string) Report {
	t.Helper()
	r, err := w.checker(t).Domain(t.Context(), name, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// one finds the finding that name, "area.check" or "area.check subject", means.
func one(t *testing.T, r Report, name string) Finding {
	t.Helper()
	name, subject, _ := strings.Cut(name, " ")
	for _, f := range r.Findings {
		if f.Name == name && (subject == "" || f.Subject == subject) {
			return f
		}
	}
	t.Fatalf("no finding %s %s in %+v", name, subject, r.Findings)
	return Finding{}
}

// testCase spoils the world and tells what is found.
type testCase struct {
	about string
	spoil func(w *world)
	want  Status
	text  string // in the text or the detail
}

func faulty(name string, t dns.Type, k dns.FaultKind) func(*world) {
	return func(w *world) { w.SetFault(name, t, dns.Fault{Kind: k}) }
}

func records(zone string, list ...string) func(*world) {
	return func(w *world) { w.set(zone, list...) }
}

// check runs cases for one finding of a domain, or of the node for "".
func checkCases(t *testing.T, of, name string, cases []testCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(name+" "+c.about, func(t *testing.T) {
			w := newWorld()
			if c.spoil != nil {
				c.spoil(w)
			}
			var r Report
			if of == "" {
				r = w.node(t)
			} else {
				r = w.domain(t, of)
			}
			f := one(t, r, name)
			if f.Status != c.want || !strings.Contains(f.Text+" "+f.Detail, c.text) {
				t.Errorf("%s: %s: %s (%s), want %s %q", f.Name, f.Status, f.Text, f.Detail, c.want, c.text)
			}
			if f.Status == Unknown && len(f.Records) > 0 {
				t.Errorf("records for what is not known: %v", f.Records)
			}
		})
	}
}
