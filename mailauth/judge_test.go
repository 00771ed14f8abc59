package mailauth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// TestDMARCProperty: DMARC passes only if an identifier passed that belongs to the
// organization of the author, whatever the zones hold.
func TestDMARCProperty(t *testing.T) {
	names := []string{"example", "bank.example", "giant.bank.example", "mail.giant.bank.example", "evil.example", "a.evil.example", "co.uk", "x.co.uk", "y.x.co.uk", "z.co.uk"}
	record := rapid.SampledFrom([]string{"", "", "v=DMARC1; p=reject", "v=DMARC1; p=none; psd=n", "v=DMARC1; p=none; psd=y", "v=DMARC1; p=quarantine; adkim=s; aspf=s",
		"v=DMARC1", "v=DMARC1; p=none; np=reject; t=y", "v=DMARC2; p=none"})
	result := rapid.SampledFrom([]Result{Pass, Pass, Fail, TempError, PermError, None, Policy, Neutral, SoftFail})
	rapid.Check(t, func(t *rapid.T) {
		zone := ""
		published := map[string]string{}
		for _, n := range names {
			if r := record.Draw(t, n); r != "" {
				zone += txt("_dmarc."+n+".", r)
				published[n] = r
			}
		}
		example, uk := "", ""
		for line := range strings.Lines(zone) {
			if strings.Contains(line, "co.uk.") {
				uk += line
			} else {
				example += line
			}
		}
		f := dns.NewFake()
		if f.AddZone("example", example, 0) != nil || f.AddZone("uk", uk, 0) != nil {
			t.Fatal(zone)
		}
		if rapid.IntRange(0, 4).Draw(t, "fault") == 0 {
			f.SetFault("_dmarc."+rapid.SampledFrom(names).Draw(t, "faulty"), 0, dns.Fault{Kind: dns.FaultServFail})
		}
		name := rapid.SampledFrom(names)
		from := name.Draw(t, "from")
		spf := sentBy(name.Draw(t, "mail"), result.Draw(t, "spf"))
		v := &Verdict{}
		for range rapid.IntRange(0, 3).Draw(t, "signatures") {
			v.DKIM = append(v.DKIM, Signature{Domain: name.Draw(t, "d"), Result: result.Draw(t, "dkim")})
		}
		older := rapid.Bool().Draw(t, "older")
		q := NewInquiry(f, Limits{})
		d := CheckDMARC(context.Background(), q, []byte("From: a@"+from+"\r\n"), spf, v, DMARCOptions{OlderLookup: older})
		one := strings.Contains(published["co.uk"], "psd=n") // it says of itself that it is no registry
		related := func(domain string) bool {                // by the tree of names alone: one is in the other, or both below a registered domain
			for _, registered := range []string{"bank.example", "giant.bank.example", "evil.example", "x.co.uk", "z.co.uk", "example", "co.uk"} {
				if inside(from, registered) && inside(domain, registered) && (registered != "co.uk" || one || from == domain || from == "co.uk" || domain == "co.uk") {
					return true
				}
			}
			return false
		}
		good := false
		for _, s := range v.DKIM {
			good = good || s.Result == Pass && related(s.Domain)
		}
		good = good || spf.MailFrom.Result == Pass && related(spf.MailFrom.Domain)
		if d.Result == Pass && (!good || d.Record == nil || !(d.DKIM || d.SPF)) {
			t.Fatalf("%+v with %v", d, published)
		}
		if d.Result != Pass && (d.DKIM || d.SPF) || d.Disposition != PolicyNone && d.Result != Fail || d.Reason == "" {
			t.Fatalf("%+v", d)
		}
		if n, _ := q.Spent(); n > 5*walkLength+1 {
			t.Fatalf("%d questions", n)
		}
		// Zones of co.uk and example have nothing in common; nor registrants in co.uk.
		for _, id := range d.Identifiers {
			if id.Aligned && (strings.HasSuffix(id.Domain, "uk") != strings.HasSuffix(from, "uk") ||
				inside(from, "x.co.uk") && inside(id.Domain, "z.co.uk") && !one) {
				t.Fatalf("%s is aligned with %s by %v", id.Domain, from, published)
			}
		}
	})
}

func inside(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

func FuzzParseDMARC(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; rua=mailto:a@example.org!10m,https://x/; ruf=mailto:b@c; fo=1:d; adkim=s; t=y; psd=n; pct=5")
	f.Add("v=DMARC1;;p=;=;x")
	f.Add("v=DMARC1;ruA=A: 0")
	f.Fuzz(func(t *testing.T, text string) {
		r, problems := ParseDMARC(text)
		if (r != nil) != (isDMARC(text) && len(text) <= maxRecord) {
			t.Fatal("a record that is none")
		}
		for _, p := range problems {
			if p.At > len(text) || p.Text == "" || p.Tag != postino.Printable(p.Tag) || p.Text != postino.Printable(p.Text) {
				t.Fatalf("%+v", p)
			}
		}
		if r == nil {
			return
		}
		if r.P.weight() < 1 || r.SP.weight() < 0 || r.NP.weight() < 0 || len(r.RUA) > maxReportURIs || strings.Trim(r.FO, "01ds:") != "" {
			t.Fatalf("%+v", r)
		}
		for _, u := range r.RUA {
			if strings.ContainsAny(u.URI, "!, \r\n") || strings.HasPrefix(u.URI, "mailto:") && u.Mailto.IsNull() {
				t.Fatalf("%+v", u)
			}
		}
	})
}

func FuzzParseSPF(f *testing.F) {
	f.Add("v=spf1 +a/24//64 mx:%{d2} ip4:192.0.2.0/24 ip6:2001:db8::/32 include:x.example exists:%{ir}.%{l1r+-}.x.example ptr ?all exp=e.example redirect=r.example u=%{s}")
	f.Add("v=spf1 a:%%%_%- a/ a// ip4:/ %{}")
	f.Add("v=spf1 \x80")
	env := macroEnv{client: client("2001:db8::1", "", "helo.example"), local: "a.b-c", sender: "s.example", domain: "d.example"}
	f.Fuzz(func(t *testing.T, text string) {
		r, problems := ParseSPF(text)
		if (r != nil) != isSPF(text) {
			t.Fatal("a record that is none")
		}
		wrong := false
		for _, p := range problems {
			wrong = wrong || p.Error
			if p.At > len(text) || p.Text == "" || p.Tag != postino.Printable(p.Tag) || p.Text != postino.Printable(p.Text) {
				t.Fatalf("%+v", p)
			}
		}
		if r == nil {
			return
		}
		for _, term := range r.Terms {
			if !strings.HasPrefix(text[term.At:], term.Text) || term.Name == "" || term.Name != strings.ToLower(term.Name) {
				t.Fatalf("%+v", term)
			}
			if out, ok := env.expand(term.Domain); !ok || len(out) > 100*len(term.Domain) {
				t.Fatalf("%q is %q", term.Domain, out)
			}
		}
		if wrong {
			return
		}
		// What is right is right again when printed from its terms.
		again := "v=spf1"
		for _, term := range r.Terms {
			again += " " + term.Text
		}
		if r2, p := ParseSPF(again); len(r2.Terms) != len(r.Terms) || slices.ContainsFunc(p, func(p Problem) bool { return p.Error }) {
			t.Fatalf("%q: %+v", again, p)
		}
	})
}

func FuzzExplanation(f *testing.F) {
	f.Add("%{i} is not one of %{d}: see %{S}%_%-%%", "joe@x")
	env := macroEnv{client: client("192.0.2.1", "", "helo.example"), sender: "s.example", domain: "d.example"}
	f.Fuzz(func(t *testing.T, text, local string) {
		e := env
		e.local = local
		out := e.explanation(text)
		if len(out) > maxExplanation || strings.ContainsFunc(out, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", out)
		}
	})
}

func FuzzReadAuthor(f *testing.F) {
	spoofs(func(_, header string, _, _ bool) { f.Add([]byte(header)) })
	f.Fuzz(func(t *testing.T, header []byte) {
		a := ReadAuthor(header, Limits{})
		if (a.Domain == "") == (a.Reason == "") || len(a.Domains) > MaxAuthors || a.Domain != "" && (len(a.Domains) != 1 || a.Domains[0] != a.Domain) {
			t.Fatalf("%+v", a)
		}
		for _, d := range a.Domains {
			if c, ok := authorDomain(d); c != d || !ok {
				t.Fatalf("%q", d)
			}
		}
		// A second From takes the author away, and its domain is seen.
		b := ReadAuthor(append([]byte("From: ceo@bank.example\r\n"), header...), Limits{})
		if a.Domain != "" && (b.Domain != "" || !slices.Contains(b.Domains, "bank.example")) {
			t.Fatalf("%+v", b)
		}
	})
}

func FuzzADSP(f *testing.F) {
	f.Add("dkim=all; t=s")
	f.Fuzz(func(t *testing.T, text string) {
		p := parseADSP(text)
		if !slices.Contains([]string{"", "unknown", "all", "discardable"}, p) || p != "" && !strings.HasPrefix(strings.TrimLeft(text, fws), "dkim") {
			t.Fatal(p)
		}
	})
}

// FuzzSPF: whatever a zone says, there is a result in time and its texts are fit for
// logs.
func FuzzSPF(f *testing.F) {
	f.Add("v=spf1 include:b.example exists:%{l}.%{d} -all exp=e.example", "v=spf1 a mx ptr redirect=a.example", "%{s}", "joe", "192.0.2.1")
	f.Fuzz(func(t *testing.T, a, b, exp, local, ip string) {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return
		}
		z := &texts{m: map[string][]string{"a.example": {a}, "b.example": {b}, "e.example": {exp}}}
		q := NewInquiry(z, Limits{})
		s := CheckSPF(t.Context(), q, Client{Remote: addr, Helo: "b.example", MailFrom: postino.Address{Local: local, Domain: "a.example"}})
		for _, id := range []SPFIdentity{s.MailFrom, s.Helo} {
			for _, text := range []string{id.Sender, id.Record, id.RecordAt, id.Mechanism, id.Explanation, id.Reason} {
				if text != postino.Printable(text) {
					t.Fatalf("%+v", id)
				}
			}
			if id.Reason == "" || !slices.Contains([]Result{Pass, Fail, SoftFail, Neutral, None, PermError}, id.Result) {
				t.Fatalf("%+v", id)
			}
			if (id.Result == Pass || id.Result == Fail) && id.Mechanism == "" {
				t.Fatalf("%+v", id)
			}
		}
		AppendAuthResults(nil, "mx", s.Results())
	})
}

// TestJudgeLinear is G2: memory taken for twice the input is twice at most, as the
// work is.
func TestJudgeLinear(t *testing.T) {
	env := macroEnv{client: client("192.0.2.1", "", "h.example"), local: "l", sender: "s.example", domain: "d.example"}
	for name, f := range map[string]func(n int){
		"From addresses": func(n int) { ReadAuthor([]byte("From: "+strings.Repeat("a@b.example,", n/12)+"\r\n"), Limits{}) },
		"From at signs":  func(n int) { ReadAuthor([]byte("From: "+strings.Repeat("@", n)+"\r\n"), Limits{}) },
		"From comments":  func(n int) { ReadAuthor([]byte("From: "+strings.Repeat("(", n)+"\r\n"), Limits{}) },
		"From quotes":    func(n int) { ReadAuthor([]byte("From: "+strings.Repeat("\"\\", n/2)+"\r\n"), Limits{}) },
		"From fields":    func(n int) { ReadAuthor([]byte(strings.Repeat("From: a@b\r\n", n/11)), Limits{}) },
		"From words": func(n int) {
			ReadAuthor([]byte("From: "+strings.Repeat("=?utf-8?q?a?= ", n/14)+"<a@b.example>\r\n"), Limits{})
		},
		"DMARC tags":      func(n int) { ParseDMARC("v=DMARC1;" + strings.Repeat("p=none;", n/7)) },
		"DMARC URIs":      func(n int) { ParseDMARC("v=DMARC1; rua=" + strings.Repeat("mailto:a@b.example,", n/19)) },
		"SPF terms":       func(n int) { ParseSPF("v=spf1" + strings.Repeat(" a", n/2)) },
		"SPF macros":      func(n int) { ParseSPF("v=spf1 a:" + strings.Repeat("%{d}", n/4)) },
		"SPF explanation": func(n int) { env.explanation(strings.Repeat("%{d} %%", min(n, maxSPFRecord)/7)) },
	} {
		small := testing.AllocsPerRun(2, func() { f(64 << 10) })
		large := testing.AllocsPerRun(2, func() { f(128 << 10) })
		if large > 2.6*max(small, 20) {
			t.Errorf("%s: %v allocations, then %v", name, small, large)
		}
	}
}

// cached is a resolver that has all answers at hand.
type cached struct{ answers map[string]cachedAnswer }

type cachedAnswer struct {
	a   *dns.Answer
	err error
}

func (c *cached) Lookup(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	r, ok := c.answers[name+string(rune(t))]
	if !ok {
		return nil, fmt.Errorf("%s is not cached", name)
	}
	return r.a, r.err
}

// warm is a resolver that fills a cache.
type warm struct {
	from *dns.Fake
	to   *cached
}

func (w *warm) Lookup(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	a, err := w.from.Lookup(ctx, name, t)
	w.to.answers[name+string(rune(t))] = cachedAnswer{a, err}
	return a, err
}

// judgeAll is what the MX does for a message.
func judgeAll(tb testing.TB, r dns.Resolver, msg []byte, c Client) *Judgement {
	q := NewInquiry(r, Limits{})
	j := &Judgement{IPRev: CheckIPRev(tb.Context(), q, c.Remote), SPF: CheckSPF(tb.Context(), q, c)}
	head, body := split(msg)
	v := NewVerifier(head, VerifyOptions{Resolver: q, Now: signedAt})
	v.Write(body)
	j.Verdict = v.Verify(tb.Context())
	j.DMARC = CheckDMARC(tb.Context(), q, head, &j.SPF, j.Verdict, DMARCOptions{})
	return j
}

// TestJudgeAll: a whole message, from the client to the verdict.
func TestJudgeAll(t *testing.T) {
	f := world(t, "example.org", txt("@", "v=spf1 ip4:192.0.2.1 -all")+txt("_dmarc", "v=DMARC1; p=reject")+txt("rsa._domainkey", record(testKeys().rsa)))
	signed := sign(t, crlfText(plain), rsaKey())
	changed := append(slices.Clone(signed), "more\r\n"...)
	second := append(crlfText("From: boss@example.com\n"), signed...)
	for _, c := range []struct {
		name       string
		msg        []byte
		ip, sender string
		want       Result
		spf, dkim  bool
	}{
		{"both", signed, "192.0.2.1", "joe@example.org", Pass, true, true},
		{"forwarded", signed, "192.0.2.9", "srs@example.net", Pass, false, true},
		{"forwarded, sender kept", signed, "192.0.2.9", "joe@example.org", Pass, false, true},
		{"changed", changed, "192.0.2.1", "joe@example.org", Pass, true, false},
		{"changed and forwarded", changed, "192.0.2.9", "joe@example.org", Fail, false, false},
		{"a second From", second, "192.0.2.1", "joe@example.org", Fail, false, false},
		{"not signed", crlfText(plain), "192.0.2.1", "joe@example.org", Pass, true, false},
		{"forged", crlfText(plain), "192.0.2.9", "x@example.net", Fail, false, false},
	} {
		d := judgeAll(t, f, c.msg, client(c.ip, c.sender, "mx.example.org")).DMARC
		if d.Result != c.want || d.SPF != c.spf || d.DKIM != c.dkim || (d.Disposition == PolicyReject) != (c.want == Fail) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func BenchmarkAuthenticate9K(b *testing.B) {
	msg := sign(b, crlfText(plain+strings.Repeat("A line of a text that somebody wrote to somebody else.\n", 160)), rsaKey())
	f := world(b, "example.org", txt("@", "v=spf1 mx include:_spf.example.net ~all")+"@ MX 10 mx\nmx A 192.0.2.1\n"+txt("_dmarc", "v=DMARC1; p=reject; rua=mailto:d@example.org")+
		txt("rsa._domainkey", record(testKeys().rsa)), "example.net", txt("_spf", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.128/25 ip4:203.0.113.0/24 -all")+"out A 192.0.2.200\n",
		"2.0.192.in-addr.arpa", "200 PTR out.example.net.\n")
	c := client("192.0.2.200", "joe@example.org", "out.example.net")
	cache := &cached{answers: map[string]cachedAnswer{}}
	judgeAll(b, &warm{f, cache}, msg, c)
	for name, part := range map[string]func(){
		"all": func() {
			if j := judgeAll(b, cache, msg, c); j.DMARC.Result != Pass || !j.DMARC.SPF || !j.DMARC.DKIM || j.IPRev.Result != Pass {
				b.Fatalf("%+v", j)
			}
		},
		"spf":   func() { CheckSPF(b.Context(), NewInquiry(cache, Limits{}), c) },
		"iprev": func() { CheckIPRev(b.Context(), NewInquiry(cache, Limits{}), c.Remote) },
		"dmarc": func() {
			CheckDMARC(b.Context(), NewInquiry(cache, Limits{}), msg[:1500], sentBy("example.org", Pass), signedBy("example.org"), DMARCOptions{})
		},
		"results": func() {
			AppendAuthResults(nil, "mx.example.net", (&Judgement{SPF: *sentBy("example.org", Pass), Verdict: signedBy("example.org")}).Results())
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				part()
			}
		})
	}
}

func BenchmarkVerify1400K(b *testing.B) {
	for name, line := range map[string]string{"text": "A line of a text that somebody wrote to somebody else, with words.\n", "base64": strings.Repeat("QUJD", 19) + "\n"} {
		msg := sign(b, crlfText(plain+strings.Repeat(line, 1_400_000/len(line))), rsaKey())
		z := zone()
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if s := verify(b, z, signedAt, msg).DKIM[0]; s.Result != Pass {
					b.Fatal(s.Reason)
				}
			}
		})
	}
}
