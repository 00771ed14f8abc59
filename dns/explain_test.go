package dns_test

import (
	"strings"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

// TestExplain tells the chain of trust in words.
func TestExplain(t *testing.T) {
	w := towns(t).Zone("good.test", dnstest.Signed(), `
@ MX 10 mx
@ TXT "a\"b\027" "c"
@ CAA 0 issue "ca.test"
mx A 192.0.2.1
mx AAAA 2001:db8::1
www CNAME mx
_25._tcp.mx TLSA 3 1 1 00ff
_imaps._tcp SRV 0 1 993 mx
`).Zone("old.test", dnstest.Expired(), "").Zone("sha.test", dnstest.Signing{Algorithm: 5}, "")
	a := auto(t, w, func(o *dns.AutoOptions) { o.NegativeAnchors = []string{"no.test"} })
	a.Probe(t.Context())
	for _, c := range []struct {
		name, kind string
		s          dns.Security
		records    string // joined
		chain      []string
	}{
		{"good.test", "mx", dns.Secure, "10 mx.good.test.", []string{"zone . is secure: a trust anchor", "zone good.test. is secure: the DS record", "Secure: every step"}},
		{"good.test", "TXT", dns.Secure, `"a\"b\x1bc"`, []string{"good.test has TXT records (secure)"}},
		{"good.test", "CAA", dns.Secure, `0 issue "ca.test"`, nil},
		{"mx.good.test", "AAAA", dns.Secure, "2001:db8::1", nil},
		{"www.good.test", "A", dns.Secure, "192.0.2.1", []string{"www.good.test is an alias of mx.good.test"}},
		{"_25._tcp.mx.good.test", "TLSA", dns.Secure, "3 1 1 00ff", nil},
		{"_imaps._tcp.good.test", "SRV", dns.Secure, "0 1 993 mx.good.test.", nil},
		{"nowhere.good.test", "A", dns.Secure, "", []string{"does not exist (secure)"}},
		{"good.test", "NS", dns.Secure, "ns.good.test.", nil},
		{"open.test", "A", dns.Insecure, "192.0.2.3", []string{"open.test. is not signed: the zone . proves", "Insecure: "}},
		{"bad.test", "A", dns.Bogus, "", []string{"Bogus: ", "no key of the zone bad.test. is the one that its parent names"}},
		{"old.test", "SOA", dns.Bogus, "", []string{"signature has expired"}},
		{"sha.test", "SOA", dns.Insecure, "ns.invalid. hostmaster.invalid. 1 3600 600 86400 300", []string{"name only algorithms that prove nothing"}},
	} {
		kind, err := dns.ParseType(c.kind)
		if err != nil {
			t.Fatal(err)
		}
		x, err := a.Explain(t.Context(), c.name, kind)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if x.Security != c.s || strings.Join(x.Records, ", ") != c.records || (x.Failure == "") != (c.records != "") || x.Mode != dns.Validating || x.Judged != "" {
			t.Errorf("%s %s: %+v", c.name, c.kind, x)
		}
		chain := strings.Join(x.Chain, "\n")
		for _, part := range c.chain {
			if !strings.Contains(chain, part) {
				t.Errorf("%s %s: no %q in\n%s", c.name, c.kind, part, chain)
			}
		}
	}
	for _, kind := range []dns.Type{dns.TypeDS, dns.TypeDNSKEY} {
		if x, err := a.Explain(t.Context(), "good.test", kind); err != nil || len(x.Records) == 0 || x.Security != dns.Secure {
			t.Errorf("%v: %+v, %v", kind, x, err)
		}
	}
	if _, err := a.Explain(t.Context(), "a..b", dns.TypeA); !postino.Is(err, postino.Invalid) {
		t.Error(err)
	}
	if _, err := dns.ParseType("ANY"); !postino.Is(err, postino.Invalid) {
		t.Error(err)
	}
	off := auto(t, w.Behave(far, dnstest.Validating).Behave(other, dnstest.Validating), func(o *dns.AutoOptions) { trusted(o); o.Policy = dns.Off })
	if x, err := off.Explain(t.Context(), "bad.test", dns.TypeA); err != nil || x.Mode != dns.Disabled || !strings.Contains(x.Judged, "the name server says") {
		t.Errorf("off: %+v, %v", x, err)
	}
}
