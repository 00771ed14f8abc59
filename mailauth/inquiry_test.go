package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// TestInquiryBudget is MA7: no more questions, from however many sides.
func TestInquiryBudget(t *testing.T) {
	f := world(t, "example.org", "@ A 192.0.2.1\n")
	for _, c := range []struct {
		lim  Limits
		want int
	}{{Limits{}, 100}, {Limits{Queries: 7}, 7}, {Limits{Queries: 1e6}, 1000}} {
		before := f.Asked()
		q := NewInquiry(f, c.lim)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 300 {
					q.Lookup(t.Context(), "example.org", dns.TypeA)
				}
			})
		}
		all.Wait()
		_, err := q.Lookup(t.Context(), "example.org", dns.TypeA)
		if n, _ := q.Spent(); n != c.want || f.Asked()-before != c.want || !postino.Is(err, postino.Transient) || !errors.Is(err, ErrBudget) {
			t.Errorf("%d questions of %d, %v", n, c.want, err)
		}
	}
}

// TestInquiryTime is MA7: no more waiting than allowed, whoever is silent.
func TestInquiryTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := world(t, "example.org", "@ A 192.0.2.1\n")
		f.SetFault("slow.example.org", 0, dns.Fault{Kind: dns.FaultNone, Delay: 8 * time.Second})
		f.SetFault("silent.example.org", 0, dns.Fault{Kind: dns.FaultSilent})
		q := NewInquiry(f, Limits{})
		begin := time.Now()
		for i := range 3 {
			if _, err := q.Lookup(t.Context(), "slow.example.org", dns.TypeA); !postino.Is(err, postino.NotFound) {
				t.Fatal(i, err)
			}
		}
		if _, err := q.Lookup(t.Context(), "silent.example.org", dns.TypeA); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := q.Lookup(t.Context(), "example.org", dns.TypeA); !errors.Is(err, ErrBudget) {
			t.Error(err)
		}
		if d := time.Since(begin); d != 30*time.Second {
			t.Error(d)
		}
		// SPF alone has 20 seconds (MA3).
		f.AddZone("s.example", txt("@", "v=spf1 a:silent.example.org -all"), dns.Insecure)
		begin = time.Now()
		s := CheckSPF(t.Context(), NewInquiry(f, Limits{}), client("192.0.2.1", "x@s.example", "[192.0.2.1]"))
		if d := time.Since(begin); s.MailFrom.Result != TempError || d != 20*time.Second || !strings.Contains(s.MailFrom.Reason, "no answer in time") {
			t.Errorf("%v %+v", d, s.MailFrom)
		}
	})
}

// TestFacts: the story tells what the DNS said.
func TestFacts(t *testing.T) {
	f := world(t, "example.org", "@ A 192.0.2.1\n@ A 192.0.2.2\n@ MX 10 mx\n@ TXT \"one\\010two\" \n@ TXT \"a;b\"\nptr PTR h.example.org.\n"+txt("long", strings.Repeat("x", 2000)))
	f.SetFault("dead.example.org", 0, dns.Fault{Kind: dns.FaultServFail})
	f.SetFault("forged.example.org", 0, dns.Fault{Kind: dns.FaultBogus})
	q := NewInquiry(f, Limits{Queries: 12})
	for _, c := range []struct {
		name string
		t    dns.Type
	}{{"example.org", dns.TypeA}, {"Example.org.", dns.TypeA}, {"example.org", dns.TypeMX}, {"example.org", dns.TypeTXT}, {"ptr.example.org", dns.TypePTR},
		{"long.example.org", dns.TypeTXT}, {"example.org", dns.TypeAAAA}, {"gone.example.org", dns.TypeA}, {"dead.example.org", dns.TypeA},
		{"forged.example.org", dns.TypeA}, {"a b\x1b", dns.TypeA}} {
		q.Lookup(t.Context(), c.name, c.t)
	}
	facts := q.Facts()
	var got []string
	for _, fact := range facts {
		if len(fact.Outcome) > 510 {
			t.Errorf("%d octets", len(fact.Outcome))
		}
		got = append(got, fmt.Sprintf("%s %d %s %s", fact.Name, fact.Type, fact.Security, fact.Outcome[:min(40, len(fact.Outcome))]))
	}
	want := `example.org 1 insecure 192.0.2.1; 192.0.2.2
example.org 15 insecure 10 mx.example.org
example.org 16 insecure "one\ntwo"; "a;b"
ptr.example.org 12 insecure h.example.org
long.example.org 16 insecure "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
example.org 28 insecure no such records
gone.example.org 1 insecure the name does not exist
dead.example.org 1 unknown the name server cannot answer
forged.example.org 1 bogus the answer is not authentic (DNSSEC)
a b\x1b 1 unknown not a domain name`
	if strings.Join(got, "\n") != want {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	if facts[0].TTL <= 0 {
		t.Error("no TTL")
	}
}

// TestIPRev is RFC 8601 §3.
func TestIPRev(t *testing.T) {
	var many strings.Builder
	for i := range 30 {
		fmt.Fprintf(&many, "4 PTR n%d.example.org.\n", i)
	}
	f := world(t, "2.0.192.in-addr.arpa", "1 PTR mx.example.org.\n2 PTR mx.example.org.\n3 PTR gone.example.org.\n3 PTR mx3.example.org.\n5 PTR dead.example.org.\n"+
		"6 PTR dead.example.org.\n6 PTR mx.example.org.\n8 PTR \\(evil\\)\\010x.example.org.\n"+many.String(),
		"example.org", "mx A 192.0.2.1\nmx A 192.0.2.6\nmx AAAA 2001:db8::1\nmx3 A 192.0.2.3\nn20 A 192.0.2.4\n",
		"8.b.d.0.1.0.0.2.ip6.arpa", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mx.example.org.\n")
	f.SetFault("dead.example.org", 0, dns.Fault{Kind: dns.FaultServFail})
	f.SetFault("7.2.0.192.in-addr.arpa", 0, dns.Fault{Kind: dns.FaultServFail})
	for _, c := range []struct {
		ip, name string
		want     Result
	}{
		{"192.0.2.1", "mx.example.org", Pass},
		{"::ffff:192.0.2.1", "mx.example.org", Pass},
		{"2001:db8::1", "mx.example.org", Pass},
		{"192.0.2.2", "", Fail},
		{"192.0.2.3", "mx3.example.org", Pass},
		{"192.0.2.4", "", Fail}, // the 21st name is not asked for
		{"192.0.2.5", "", TempError},
		{"192.0.2.6", "mx.example.org", Pass},
		{"192.0.2.7", "", TempError},
		{"192.0.2.8", "", Fail},
		{"192.0.2.9", "", PermError},
	} {
		q := NewInquiry(f, Limits{})
		r := CheckIPRev(t.Context(), q, netip.MustParseAddr(c.ip))
		if n, _ := q.Spent(); r.Result != c.want || r.Name != c.name || r.Reason == "" || n > 11 {
			t.Errorf("%s: %d questions, %+v", c.ip, n, r)
		}
		results := AppendAuthResults(nil, "mx", r.Results())
		if !strings.Contains(string(results), "policy.iprev=") || strings.ContainsAny(r.Reason, "\n\x1b") {
			t.Errorf("%q %q", results, r.Reason)
		}
	}
	if r := CheckIPRev(t.Context(), NewInquiry(f, Limits{}), netip.Addr{}); r.Result != PermError {
		t.Errorf("%+v", r)
	}
}

// TestJudgement: all results in one field, which reads back.
func TestJudgement(t *testing.T) {
	f := world(t, "example.org", txt("@", "v=spf1 ip4:192.0.2.1 -all")+txt("_dmarc", "v=DMARC1; p=reject")+"mx A 192.0.2.1\n",
		"2.0.192.in-addr.arpa", "1 PTR mx.example.org.\n")
	q := NewInquiry(f, Limits{})
	j := Judgement{IPRev: CheckIPRev(t.Context(), q, netip.MustParseAddr("192.0.2.1")), Verdict: signedBy()}
	j.Verdict.ARC.Result = None
	j.SPF = CheckSPF(t.Context(), q, client("192.0.2.1", "\"joe x\"@example.org", "mx.example.org"))
	j.DMARC = CheckDMARC(t.Context(), q, []byte("From: joe@example.org\r\n"), &j.SPF, j.Verdict, DMARCOptions{})
	j.ADSP = CheckADSP(t.Context(), q, j.DMARC.Author.Domain, j.Verdict)
	raw := AppendAuthResults(nil, "mx.example.net", j.Results())
	a, err := ParseAuthResults(raw[len("Authentication-Results:"):], 0)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	var got []string
	for _, r := range a.Results {
		s := r.Method + "=" + string(r.Result)
		for _, p := range r.Props {
			s += " " + p.Type + "." + p.Name + "=" + p.Value
		}
		got = append(got, s)
	}
	want := `iprev=pass policy.iprev=192.0.2.1
spf=pass smtp.mailfrom="joe x"@example.org
spf=none smtp.helo=mx.example.org
dkim=none
arc=none
dmarc=pass header.from=example.org policy.dmarc=none
dkim-adsp=none header.from=example.org`
	if strings.Join(got, "\n") != want {
		t.Errorf("%s\n%s", strings.Join(got, "\n"), raw)
	}
	if len((&Judgement{}).Results()) != 0 {
		t.Error("results of nothing")
	}
}
