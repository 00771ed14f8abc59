package check

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/dns/dnstest"
)

var keepGolden = flag.Bool("keep", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	file = "testdata/" + file
	if *keepGolden {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != string(got) {
		t.Errorf("%s: %v; got\n%s\nwant\n%s", file, err, got, want)
	}
}

// full is a server with everything on.
func full(w *world) {
	w.opts.Node.Services = []Service{
		{Name: "smtp", Addr: netip.MustParseAddrPort("[::]:25"), TLS: true}, {Name: "submissions", Addr: netip.MustParseAddrPort("[::]:465"), TLS: true},
		{Name: "submission", Addr: netip.MustParseAddrPort("[::]:587"), TLS: true}, {Name: "imaps", Addr: netip.MustParseAddrPort("[::]:993"), TLS: true},
		{Name: "imap", Addr: netip.MustParseAddrPort("127.0.0.1:143"), TLS: true}, {Name: "pop3", Addr: netip.MustParseAddrPort("[::]:110")},
	}
	w.opts.Node.TLSA = []dns.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: []byte(strings.Repeat("x", 32))}}
	w.opts.Node.Issuers = []string{"ca.example"}
	w.dom.Keys = append(w.dom.Keys, Key{Selector: "s2", Record: "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 392), Public: testKey().Public})
}

// The zone file and the JSON are for other programs: they change on purpose only.
func TestGolden(t *testing.T) {
	w := newWorld()
	full(w)
	w.set(domain, `@ TXT "v=spf1 include:news.example ?all"`, "_dmarc TXT", `@ TXT "site-verification=\"1\""`)
	w.set("news.example", `@ TXT "v=spf1 ip4:192.0.2.9 -all"`)
	records, err := w.checker(t).Zone(t.Context(), domain)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "zone.txt", AppendZone(nil, domain, records))

	w = newWorld()
	w.set(domain, "@ MX 10 mx", "@ TXT", "_mta-sts TXT")
	w.SetFault("_dmarc."+domain, 0, dns.Fault{Kind: dns.FaultServFail})
	b, err := json.MarshalIndent(w.domain(t, domain), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(b, '\n'))
}

// A domain whose DNS is what Zone says has nothing to be fixed, in a signed world
// too; what is left is what takes more than records.
func TestZoneMakesAllWell(t *testing.T) {
	w := newWorld()
	full(w)
	w.opts.Node.TLSA = nil // the certificates have tests of their own
	w.dom.Keys = w.dom.Keys[:1]
	node, dom := w.opts.Node, w.dom
	list := Zone(&node, &dom, new(Live))
	signed := dnstest.NewWorld(t)
	for _, origin := range []string{domain, "113.0.203.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"} {
		signed.Zone(origin, dnstest.Signed(), string(AppendZone(nil, origin, list)))
	}
	w.opts.DNS, w.opts.Blocklists = signed.Resolver(t), []string{}
	c := New(w.opts)
	r, err := c.Domain(t.Context(), domain, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Findings = append(r.Findings, c.Node(t.Context(), now, nil).Findings...)
	for _, f := range r.Findings {
		want := OK
		switch f.Name {
		case "dmarc.policy": // to be tightened later
			want = Advice
		case "relay.closed", "tls.certificate", "host.resolver": // nobody listens, and the probes are not in this world
			want = Unknown
		}
		if f.Status != want {
			t.Errorf("%s %s: %s %s (%s)", f.Name, f.Subject, f.Status, f.Text, f.Detail)
		}
	}
}

// Whatever a domain has, records of Zone keep its senders and its policy, let
// nobody in who was out, and nothing is to be fixed with them. What they are
// merged into a second time stays as it is.
func TestZoneMerges(t *testing.T) {
	senders := []string{"a", "mx", "ip4:192.0.2.9", "include:news.example", "A:mail.example.org", "ip6:2001:db8::/64", "ip4:0.0.0.0/0", "ip6:::/0", "exists:%{i}.x.example"}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		w.set("news.example", `@ TXT "v=spf1 ip4:192.0.2.8 -all"`)
		var had []string
		w.set(domain, "@ TXT", "_dmarc TXT", "s1._domainkey TXT")
		for range rapid.IntRange(0, 2).Draw(rt, "records") {
			terms := rapid.SliceOfNDistinct(rapid.SampledFrom(senders), 0, 4, rapid.ID[string]).Draw(rt, "senders")
			had = append(had, terms...)
			all := rapid.SampledFrom([]string{"-all", "~all", "?all", "+all", "all", ""}).Draw(rt, "all")
			w.zones[domain] = append(w.zones[domain], strings.TrimSpace(`@ TXT "v=spf1 `+strings.Join(append(terms, all), " "))+`"`)
		}
		dmarc := rapid.SampledFrom([]string{"", "v=DMARC1; p=quarantine; rua=mailto:x@example.org", "v=DMARC1; p=reject"}).Draw(rt, "dmarc")
		if dmarc != "" {
			w.set(domain, `_dmarc TXT "`+dmarc+`"`)
		}
		zone := func() []Record {
			list, err := w.checker(t).Zone(t.Context(), domain)
			if err != nil {
				rt.Fatal(err)
			}
			return list
		}
		list := zone()
		w.zones[domain] = strings.Split(string(AppendZone(nil, domain, list)), "\n")
		for _, rec := range list {
			terms := strings.Fields(rec.Value)
			switch {
			case rec.Name == domain && rec.Type == "TXT":
				for _, term := range had {
					if slices.Contains(terms, term) == strings.HasSuffix(term, "/0") {
						rt.Errorf("%s lost %s, or lets everybody in", rec.Value, term)
					}
				}
				if slices.Contains(terms, "+all") || slices.Contains(terms, "all") {
					rt.Errorf("%s permits everybody", rec.Value)
				}
			case rec.Name == "_dmarc."+domain && dmarc != "" && rec.Value != dmarc:
				rt.Errorf("the policy %s became %s", dmarc, rec.Value)
			}
		}
		for _, f := range w.domain(t, domain).Findings {
			if f.Status == Fix || f.Status == Unknown {
				rt.Errorf("%s %s: %s %s (%s)", f.Name, f.Subject, f.Status, f.Text, f.Detail)
			}
		}
		for i, rec := range zone() {
			if rec.Replaces != "" || rec.String() != list[i].String() {
				rt.Errorf("%s became %s", list[i], rec)
			}
		}
	})
}

func TestMergeSPF(t *testing.T) {
	for _, c := range []struct {
		old       []string
		permitted bool
		want      string
	}{
		{nil, false, "v=spf1 mx -all"},
		{[]string{"v=spf1 include:x.example -all"}, true, "v=spf1 include:x.example -all"},
		{[]string{"v=spf1 include:x.example -all"}, false, "v=spf1 mx include:x.example -all"},
		{[]string{"v=spf1 a +all"}, true, "v=spf1 mx a ~all"},
		{[]string{"v=spf1 a -all", "v=spf1 b:y -all"}, true, "v=spf1 a b:y -all"},
		{[]string{"v=spf1 a -all", "v=spf1 a ?all"}, false, "v=spf1 mx a ?all"},
		{[]string{"v=spf1 redirect=x.example"}, false, "v=spf1 mx redirect=x.example"},
		{[]string{"v=spf1 ip4:0.0.0.0/0 -all"}, true, "v=spf1 mx -all"},
		{[]string{"V=SPF1"}, false, "v=spf1 mx ~all"},
	} {
		if got := mergeSPF(c.old, c.permitted); got != c.want {
			t.Errorf("%q: got %s, want %s", c.old, got, c.want)
		}
	}
}

// One report asks each question once, and no more than its limits allow.
func TestQuestionsAreBounded(t *testing.T) {
	w := newWorld()
	w.opts.Limits.Questions = 5
	r := w.domain(t, domain)
	if n := w.Asked(); n != 5 {
		t.Errorf("%d questions", n)
	}
	for _, f := range r.Findings {
		if f.Status == Fix {
			t.Errorf("%s is called wrong without being asked for: %s", f.Name, f.Text)
		}
	}
	if r.Count(Unknown) == 0 {
		t.Error(fmt.Sprint(r.Findings))
	}
}

// G4: a defect of a check ends neither the server nor the report.
func TestDefectIsFound(t *testing.T) {
	w := newWorld()
	r := w.checker(t).newRun(t.Context(), now)
	good := func(*run, context.Context) []Finding { return []Finding{finding(OK, "a.b", "", "well")} }
	report := r.all(t.Context(), []area{{"A", checks{func(*run, context.Context) []Finding { panic("oh") }, good}}}, nil)
	if len(report.Findings) != 2 || report.Findings[0].Status != Unknown || !strings.Contains(report.Findings[0].Detail, "oh") || report.Findings[1].Status != OK {
		t.Errorf("%+v", report.Findings)
	}
}

// What is skipped is not asked for; lists may have a resolver that keeps answers.
func TestSkipAndLists(t *testing.T) {
	w := newWorld()
	w.opts.Skip = []string{"Blocklists"}
	for _, f := range w.node(t).Findings {
		if f.Area == "Blocklists" {
			t.Errorf("%+v", f)
		}
	}
	w.opts.Skip = nil
	lists := dns.NewFake()
	if err := lists.AddZone("list.example", "2.0.0.127 A 127.0.0.2\n7.113.0.203 A 127.0.0.9\n", dns.Insecure); err != nil {
		t.Fatal(err)
	}
	w.opts.Lists = lists
	if f := one(t, w.node(t), "blocklist.listed"); f.Status != Fix || f.Subject != "list.example 203.0.113.7" {
		t.Errorf("%+v", f)
	}
}
