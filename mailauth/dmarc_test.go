package mailauth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postino-mail/postino/dns"
)

// world makes a fake Internet of zone texts, one for each pair of origin and text.
func world(t testing.TB, zones ...string) *dns.Fake {
	t.Helper()
	f := dns.NewFake()
	for i := 0; i < len(zones); i += 2 {
		if err := f.AddZone(zones[i], zones[i+1], dns.Insecure); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// signedBy is a verdict with passing signatures of domains.
func signedBy(domains ...string) *Verdict {
	v := &Verdict{}
	for _, d := range domains {
		v.DKIM = append(v.DKIM, Signature{Result: Pass, Domain: d, Selector: "s"})
	}
	return v
}

// sentBy is an SPF result for a domain of MAIL.
func sentBy(domain string, r Result) *SPF {
	return &SPF{MailFrom: SPFIdentity{Result: r, Domain: domain, Sender: "x@" + domain}}
}

// TestDMARCExamples has the examples of RFC 9989 §4.4, §4.10.2, §B.1 and §B.4.
func TestDMARCExamples(t *testing.T) {
	for _, c := range []struct {
		name        string
		zones       []string
		from        string
		spf, dkim   string
		alignedSPF  bool
		alignedDKIM bool
		domain      string // of the policy
		result      Result
	}{
		{"B.1.1 strict", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject; aspf=s\""}, "example.com", "example.com", "", true, false, "example.com", Pass},
		{"B.1.1 relaxed", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\""}, "example.com", "child.example.com", "", true, false, "example.com", Pass},
		{"B.1.1 strict, child", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject; aspf=s\""}, "example.com", "child.example.com", "", false, false, "example.com", Fail},
		{"B.1.1 none", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\""}, "child.example.com", "example.net", "", false, false, "example.com", Fail},
		{"B.1.2 strict", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject; adkim=s\""}, "example.com", "", "example.com", false, true, "example.com", Pass},
		{"B.1.2 relaxed", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\""}, "child.example.com", "", "example.com", false, true, "example.com", Pass},
		{"B.1.2 none", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\""}, "child.example.com", "", "example.net", false, false, "example.com", Fail},
		{"4.4 siblings", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\""}, "news.example.com", "foo.example.com", "", true, false, "example.com", Pass},
		{"B.4.1", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\"\n_dmarc.signing TXT \"v=DMARC1; p=none\""},
			"example.com", "example.com", "signing.example.com", true, true, "example.com", Pass},
		{"B.4.2", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=reject\"\n_dmarc.signing TXT \"v=DMARC1; p=none\""},
			"a.b.c.d.e.f.g.h.i.j.k.example.com", "example.com", "signing.example.com", true, true, "example.com", Pass},
		{"B.4.3", []string{"bank.example", "_dmarc TXT \"v=DMARC1; p=reject; psd=y\"\n_dmarc.giant TXT \"v=DMARC1; p=quarantine\""},
			"giant.bank.example", "mail.giant.bank.example", "mail.mega.bank.example", true, false, "giant.bank.example", Pass},
		{"4.10.2 highest", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=none\"\n_dmarc.mail TXT \"v=DMARC1; p=reject\""},
			"a.mail.example.com", "", "example.com", false, true, "example.com", Pass},
		{"4.10.2 psd=n", []string{"example.com", "_dmarc TXT \"v=DMARC1; p=none\"\n_dmarc.mail TXT \"v=DMARC1; p=reject; psd=n\""},
			"a.mail.example.com", "", "example.com", false, false, "mail.example.com", Fail},
		{"4.10.2 psd=y", []string{"com", "_dmarc TXT \"v=DMARC1; p=none; psd=y\""},
			"a.mail.example.com", "other.example.com", "example.org", true, false, "com", Pass},
		{"suffix without psd=", []string{"co.uk", "_dmarc TXT \"v=DMARC1; p=reject\""},
			"giant.co.uk", "mega.co.uk", "giant.co.uk", false, true, "co.uk", Pass},
	} {
		t.Run(c.name, func(t *testing.T) {
			spf, v := sentBy(c.spf, Pass), signedBy(c.dkim)
			q := NewInquiry(world(t, c.zones...), Limits{})
			d := CheckDMARC(t.Context(), q, []byte("From: joe@"+c.from+"\r\n\r\n"), spf, v, DMARCOptions{})
			if d.Result != c.result || d.SPF != c.alignedSPF || d.DKIM != c.alignedDKIM || d.Domain != c.domain || d.Author.Domain != c.from {
				t.Errorf("%+v", d)
			}
			if d.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

// TestTreeWalk shows the names that RFC 9989 §4.10 lists.
func TestTreeWalk(t *testing.T) {
	q := NewInquiry(world(t, "com", ""), Limits{})
	org, err := OrganizationalDomain(t.Context(), q, "a.b.c.d.e.f.g.h.i.j.mail.example.com")
	if org != "a.b.c.d.e.f.g.h.i.j.mail.example.com" || err != nil {
		t.Fatal(org, err)
	}
	var names []string
	for _, f := range q.Facts() {
		names = append(names, strings.TrimPrefix(f.Name, "_dmarc."))
	}
	want := "[a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com" +
		" j.mail.example.com mail.example.com example.com com]"
	if fmt.Sprint(names) != want {
		t.Errorf("%v", names)
	}
}

// TestADSP has the examples of RFC 5617 §A.
func TestADSP(t *testing.T) {
	f := world(t, "example", "aaa A 192.0.2.1\n_adsp._domainkey.aaa TXT \"dkim=all\"\nbbb MX 10 mail.bbb\nmail.bbb A 192.0.2.2\n"+
		"dd A 192.0.2.3\n_adsp._domainkey.dd TXT \"dkim=discardable; t=s\"\n"+
		"ee A 192.0.2.3\n_adsp._domainkey.ee TXT \"dkim=whatever\"\n"+
		"ff A 192.0.2.3\n_adsp._domainkey.ff TXT \"t=s; dkim=all\"\n"+
		"gg A 192.0.2.3\n_adsp._domainkey.gg TXT \"dkim=all\"\n_adsp._domainkey.gg TXT \"dkim=unknown\"\nhh A 192.0.2.3\nii A 192.0.2.3\n")
	f.SetFault("hh.example", 0, dns.Fault{Kind: dns.FaultServFail})
	f.SetFault("_adsp._domainkey.ii.example", 0, dns.Fault{Kind: dns.FaultServFail})
	for _, c := range []struct {
		domain, signer string
		want           Result
		practice       string
	}{
		{"aaa.example", "", Fail, "all"},
		{"aaa.example", "aaa.example", Pass, ""},
		{"aaa.example", "mail.aaa.example", Fail, "all"},
		{"bbb.example", "", None, ""},
		{"ccc.example", "", NXDomain, ""},
		{"dd.example", "", Discard, "discardable"},
		{"ee.example", "", Unknown, "unknown"},
		{"ff.example", "", PermError, ""},
		{"gg.example", "", PermError, ""},
		{"hh.example", "", TempError, ""},
		{"ii.example", "", TempError, ""},
		{"", "", "", ""},
	} {
		a := CheckADSP(t.Context(), NewInquiry(f, Limits{}), c.domain, signedBy(c.signer))
		if a.Result != c.want || a.Practice != c.practice || len(a.Results()) != min(1, len(c.domain)) {
			t.Errorf("%s: %+v", c.domain, a)
		}
	}
}

// TestDMARCPolicy: which policy applies, and what is made of it.
func TestDMARCPolicy(t *testing.T) {
	for _, c := range []struct {
		name        string
		zone        string // of example.org
		from        string
		result      Result
		policy      DMARCPolicy
		tag         string
		disposition DMARCPolicy
	}{
		{"own", txt("_dmarc", "v=DMARC1; p=reject; sp=none"), "example.org", Fail, PolicyReject, "p", PolicyReject},
		{"sp", txt("_dmarc", "v=DMARC1; p=reject; sp=quarantine") + "sub A 192.0.2.1\n", "sub.example.org", Fail, PolicyQuarantine, "sp", PolicyQuarantine},
		{"sp of the own record means nothing", txt("_dmarc.sub", "v=DMARC1; p=none; sp=reject"), "sub.example.org", Fail, PolicyNone, "p", PolicyNone},
		{"p for subdomains", txt("_dmarc", "v=DMARC1; p=quarantine") + "sub A 192.0.2.1\n", "sub.example.org", Fail, PolicyQuarantine, "p", PolicyQuarantine},
		{"np, no such name", txt("_dmarc", "v=DMARC1; p=none; sp=quarantine; np=reject"), "gone.example.org", Fail, PolicyReject, "np", PolicyReject},
		{"np, but it exists", txt("_dmarc", "v=DMARC1; p=none; sp=quarantine; np=reject") + "sub A 192.0.2.1\n", "sub.example.org", Fail, PolicyQuarantine, "sp", PolicyQuarantine},
		{"np, names below exist", txt("_dmarc", "v=DMARC1; p=none; np=reject") + "a.sub A 192.0.2.1\n", "sub.example.org", Fail, PolicyNone, "p", PolicyNone},
		{"np for the domain itself", txt("_dmarc", "v=DMARC1; p=none; np=reject"), "example.org", Fail, PolicyNone, "p", PolicyNone},
		{"np missing, sp", txt("_dmarc", "v=DMARC1; p=none; sp=reject"), "gone.example.org", Fail, PolicyReject, "sp", PolicyReject},
		{"np cannot be told", txt("_dmarc", "v=DMARC1; p=none; np=reject"), "dead.example.org", TempError, PolicyNone, "p", PolicyNone},
		{"np does not matter", txt("_dmarc", "v=DMARC1; p=reject; np=reject"), "dead.example.org", Fail, PolicyReject, "p", PolicyReject},
		{"testing reject", txt("_dmarc", "v=DMARC1; p=reject; t=y"), "example.org", Fail, PolicyReject, "p", PolicyQuarantine},
		{"testing quarantine", txt("_dmarc", "v=DMARC1; p=quarantine; t=y"), "example.org", Fail, PolicyQuarantine, "p", PolicyNone},
		{"testing none", txt("_dmarc", "v=DMARC1; p=none; t=y"), "example.org", Fail, PolicyNone, "p", PolicyNone},
		{"pct means nothing", txt("_dmarc", "v=DMARC1; p=reject; pct=0"), "example.org", Fail, PolicyReject, "p", PolicyReject},
		{"no record", "@ A 192.0.2.1\n", "example.org", None, "", "", PolicyNone},
		{"two records", txt("_dmarc", "v=DMARC1; p=reject") + txt("_dmarc", "v=DMARC1; p=none"), "example.org", None, "", "", PolicyNone},
		{"two records below one", txt("_dmarc.sub", "v=DMARC1; p=none") + txt("_dmarc.sub", "v=DMARC1; p=none") + txt("_dmarc", "v=DMARC1; p=reject"), "sub.example.org", Fail, PolicyReject, "p", PolicyReject},
		{"other texts", txt("_dmarc", "hello") + txt("_dmarc", "v=DMARC1; p=reject") + txt("_dmarc", "v=spf1 -all"), "example.org", Fail, PolicyReject, "p", PolicyReject},
		{"in pieces", "_dmarc TXT \"v=DMA\" \"RC1; p=rej\" \"ect\"\n", "example.org", Fail, PolicyReject, "p", PolicyReject},
		{"version in lower case", txt("_dmarc", "v=dmarc1; p=reject"), "example.org", None, "", "", PolicyNone},
		{"version not first", txt("_dmarc", "p=reject; v=DMARC1"), "example.org", None, "", "", PolicyNone},
		{"without p, with rua", txt("_dmarc", "v=DMARC1; sp=reject; rua=mailto:a@example.org"), "example.org", Fail, PolicyNone, "p", PolicyNone},
		{"without p", txt("_dmarc", "v=DMARC1; sp=reject"), "example.org", PermError, PolicyNone, "p", PolicyNone},
		{"wrong p, with rua", txt("_dmarc", "v=DMARC1; p=bounce; rua=mailto:a@example.org"), "example.org", Fail, PolicyNone, "p", PolicyNone},
		{"wrong p", txt("_dmarc", "v=DMARC1; p=bounce"), "example.org", PermError, PolicyNone, "p", PolicyNone},
		{"wrong sp", txt("_dmarc", "v=DMARC1; p=reject; sp=bounce"), "example.org", PermError, PolicyNone, "p", PolicyNone},
		{"wrong sp, with rua", txt("_dmarc", "v=DMARC1; p=reject; sp=bounce; rua=mailto:a@example.org"), "example.org", Fail, PolicyNone, "p", PolicyNone},
		{"wrong sp takes np along", txt("_dmarc", "v=DMARC1; p=reject; sp=bounce; np=reject; rua=mailto:a@example.org"), "gone.example.org", Fail, PolicyNone, "p", PolicyNone},
		{"wrong others", txt("_dmarc", "v=DMARC1; p=reject; adkim=x; t=maybe; rua=nowhere; fo=9; what=ever;;"), "example.org", Fail, PolicyReject, "p", PolicyReject},
		{"servers fail", "", "dead2.example.org", TempError, "", "", PolicyNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := world(t, "example.org", c.zone)
			f.SetFault("dead.example.org", 0, dns.Fault{Kind: dns.FaultServFail})
			f.SetFault("_dmarc.dead2.example.org", 0, dns.Fault{Kind: dns.FaultServFail})
			d := CheckDMARC(t.Context(), NewInquiry(f, Limits{}), []byte("From: joe@"+c.from+"\r\n"), nil, nil, DMARCOptions{})
			if d.Result != c.result || d.Policy != c.policy || d.PolicyTag != c.tag || d.Disposition != c.disposition {
				t.Errorf("%+v", d)
			}
			if d.NonExistent != (c.tag == "np") || d.Reason == "" || (d.Record == nil) != (d.Policy == "") {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestDMARCLater: what may still pass is neither pass nor fail (RFC 9989 §5.3.6).
func TestDMARCLater(t *testing.T) {
	f := world(t, "example.org", txt("_dmarc", "v=DMARC1; p=reject"), "evil.example", txt("@", "v=spf1 +all"))
	f.SetFault("_dmarc.dead.example.org", 0, dns.Fault{Kind: dns.FaultServFail})
	later := &Verdict{DKIM: []Signature{{Result: TempError, Domain: "mail.example.org"}, {Result: Fail, Domain: "example.org"}}}
	foreign := &Verdict{DKIM: []Signature{{Result: TempError, Domain: "evil.example"}}}
	for _, c := range []struct {
		name string
		spf  *SPF
		v    *Verdict
		want Result
	}{
		{"signature later", nil, later, TempError},
		{"sender later", sentBy("example.org", TempError), nil, TempError},
		{"both later, one passes", sentBy("example.org", TempError), signedBy("example.org"), Pass},
		{"foreign signature later", nil, foreign, Fail},
		{"foreign sender later", sentBy("evil.example", TempError), nil, Fail},
		{"organization cannot be told", sentBy("dead.example.org", Pass), nil, TempError},
		{"softfail", sentBy("example.org", SoftFail), nil, Fail},
		{"neutral", sentBy("example.org", Neutral), nil, Fail},
		{"policy", nil, &Verdict{DKIM: []Signature{{Result: Policy, Domain: "example.org"}}}, Fail},
	} {
		d := CheckDMARC(t.Context(), NewInquiry(f, Limits{}), []byte("From: joe@example.org\r\n"), c.spf, c.v, DMARCOptions{})
		if d.Result != c.want || (d.Disposition == PolicyReject) != (c.want == Fail) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

// TestDMARCQuestions: domains that cannot be aligned cost nothing (MA7).
func TestDMARCQuestions(t *testing.T) {
	f := world(t, "example.org", txt("_dmarc", "v=DMARC1; p=reject"))
	foreign := []string{"notexample.org", "org"}
	for i := range 10 {
		foreign = append(foreign, fmt.Sprintf("a.b.c.d.e.f.s%d.evil.example", i))
	}
	q := NewInquiry(f, Limits{})
	d := CheckDMARC(t.Context(), q, []byte("From: joe@example.org\r\n"), sentBy("x.y.z.example", Pass), signedBy(foreign...), DMARCOptions{})
	if n, _ := q.Spent(); n != 2 || d.Result != Fail { // _dmarc.example.org and _dmarc.org
		t.Errorf("%d questions, %+v", n, d)
	}
}

// TestOlderLookup is RFC 7489 §3.2 and §6.6.3.
func TestOlderLookup(t *testing.T) {
	f := world(t, "co.uk", txt("_dmarc.bank", "v=DMARC1; p=reject")+txt("_dmarc.a.bank", "v=DMARC1; p=none; psd=n")+txt("_dmarc", "v=DMARC1; p=quarantine; psd=y"))
	for _, c := range []struct {
		from, dkim string
		older      bool
		want       Result
		domain     string
	}{
		{"b.a.bank.co.uk", "bank.co.uk", false, Fail, "a.bank.co.uk"},
		{"b.a.bank.co.uk", "bank.co.uk", true, Pass, "bank.co.uk"},
		{"a.bank.co.uk", "c.bank.co.uk", true, Pass, "a.bank.co.uk"},
		{"shop.co.uk", "", false, Fail, "co.uk"},
		{"shop.co.uk", "", true, None, ""},
		{"shop.co.uk", "bank.co.uk", true, None, ""},
		{"co.uk", "", true, Fail, "co.uk"},
	} {
		d := CheckDMARC(t.Context(), NewInquiry(f, Limits{}), []byte("From: joe@"+c.from+"\r\n"), nil, signedBy(c.dkim), DMARCOptions{OlderLookup: c.older})
		if d.Result != c.want || d.Domain != c.domain {
			t.Errorf("%s older %v: %+v", c.from, c.older, d)
		}
	}
}

// TestSeveralAuthors is MA1 for honest and for greedy messages.
func TestSeveralAuthors(t *testing.T) {
	f := world(t, "example.org", txt("_dmarc", "v=DMARC1; p=none"), "example.net", txt("_dmarc", "v=DMARC1; p=reject; t=y"),
		"example.com", txt("_dmarc", "v=DMARC1; p=reject"), "plain.example", "@ A 192.0.2.1\n")
	f.SetFault("_dmarc.dead.example", 0, dns.Fault{Kind: dns.FaultServFail})
	many := ""
	for i := range 20 {
		many += fmt.Sprintf("a@d%d.plain.example, ", i)
	}
	for _, c := range []struct {
		from        string
		result      Result
		disposition DMARCPolicy
		domain      string
	}{
		{"a@example.org, b@example.org", Fail, PolicyNone, "example.org"},
		{"a@example.org, b@example.net", Fail, PolicyQuarantine, "example.net"},
		{"a@example.net, b@example.com, c@example.org", Fail, PolicyReject, "example.com"},
		{"a@plain.example, b@gone.example", PermError, PolicyNone, ""},
		{"a@dead.example, b@example.com", Fail, PolicyReject, "example.com"},
		{"a@dead.example, b@example.net", TempError, PolicyNone, ""},
		{"a@example.org, b@dead.example", TempError, PolicyNone, ""},
		{"", PermError, PolicyNone, ""},
		{many + "b@example.com", Fail, PolicyReject, ""},
	} {
		q := NewInquiry(f, Limits{})
		d := CheckDMARC(t.Context(), q, []byte("From: "+c.from+"\r\n"), sentBy("example.org", Pass), signedBy("example.com"), DMARCOptions{})
		if n, _ := q.Spent(); d.Result != c.result || d.Disposition != c.disposition || d.Domain != c.domain || (d.Record == nil) != (c.domain == "") || n > 8*MaxAuthors {
			t.Errorf("%s: %d questions, %+v", c.from[:min(40, len(c.from))], n, d)
		}
	}
}

// TestDMARCRecords has the records of RFC 9989 §B.2 and §B.3.
func TestDMARCRecords(t *testing.T) {
	for _, c := range []struct{ record, want string }{
		{"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", "none [dmarc-feedback@example.com] [] false"},
		{"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com",
			"none [dmarc-feedback@example.com] [auth-reports@example.com] false"},
		{"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net",
			"none [dmarc-feedback@example.com] [auth-reports@thirdparty.example.net] false"},
		{"v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y",
			"quarantine [dmarc-feedback@example.com tld-test@thirdparty.example.net] [] true"},
		{"v=DMARC1; p=reject; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net",
			"reject [dmarc-feedback@example.com tld-test@thirdparty.example.net] [] false"},
		{"v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com", "reject [dmarc-feedback@example.com] [] false"},
	} {
		r, problems := ParseDMARC(c.record)
		addresses := func(list []ReportURI) (a []string) {
			for _, u := range list {
				a = append(a, u.Mailto.String())
			}
			return a
		}
		if got := fmt.Sprint(r.P, " ", addresses(r.RUA), " ", addresses(r.RUF), " ", r.Testing); got != c.want || len(problems) > 0 || !r.Valid {
			t.Errorf("%s: %s %+v", c.record, got, problems)
		}
	}
	// What a third party publishes to take reports (RFC 9990 §4) is a record without policy.
	if r, _ := ParseDMARC("v=DMARC1;"); r == nil || r.Valid {
		t.Errorf("%+v", r)
	}
}

func TestParseDMARC(t *testing.T) {
	r, problems := ParseDMARC("v=DMARC1;p=Reject; sp = quarantine ;np=none; adkim=s; aspf=R; t=y; psd=n; fo=1:d:s;" +
		" rua=mailto:a@example.org!10m , https://example.org/r%2C,mailto:b%40x@example.net; ruf=mailto:c@example.org; pct=50; ri=3600; rf=afrf; x=y")
	if r == nil || r.P != PolicyReject || r.SP != PolicyQuarantine || r.NP != PolicyNone || !r.ADKIMStrict || r.ASPFStrict || !r.Testing ||
		r.PSD != 'n' || r.FO != "1:d:s" || r.Pct != 50 || r.RI != 3600 || r.RF != "afrf" || !r.Valid {
		t.Fatalf("%+v", r)
	}
	if len(r.RUA) != 2 || r.RUA[0].URI != "mailto:a@example.org" || r.RUA[0].Mailto.String() != "a@example.org" ||
		r.RUA[1].URI != "https://example.org/r%2C" || !r.RUA[1].Mailto.IsNull() || len(r.RUF) != 1 {
		t.Errorf("%+v", r.RUA)
	}
	if !r.FailureOption('s') || r.FailureOption('0') {
		t.Error(r.FO)
	}
	for _, c := range []struct{ record, problems string }{
		{"v=DMARC1; p=none", ""},
		{"v=DMARC1", "!p"},
		{"v=DMARC1; p=none;", ""},
		{"v = DMARC1 ; p=none", ""},
		{"v=DMARC1; p=none; ; t=n", "?"},
		{"v=DMARC1; p=none; p=reject", "!p"},
		{"v=DMARC1; p=none; v=DMARC1", "!v"},
		{"v=DMARC1; rua=mailto:a@example.org; p=none", "?p"},
		{"v=DMARC1; p=none; fo=1", "?fo"},
		{"v=DMARC1; p=none; fo=0:1; ruf=mailto:a@b.example", "!fo"},
		{"v=DMARC1; p=none; fo=x; ruf=mailto:a@b.example", "!fo"},
		{"v=DMARC1; p=none; rua=a@example.org", "!rua"},
		{"v=DMARC1; p=none; rua=mailto:", "!rua"},
		{"v=DMARC1; p=none; rua=mailto:a@example.org!x", "!rua"},
		{"v=DMARC1; p=none; rua=mailto:a@example.org!10mm", "!rua"},
		{"v=DMARC1; p=none; rua=mailto:a@example.org,", "!rua"},
		{"v=DMARC1; p=none; pct=101", "!pct"},
		{"v=DMARC1; p=none; pct=100", "?pct"},
		{"v=DMARC1; p=none; p2=x", "!p2"},
		{"v=DMARC1; p=none; nonsense", "!nonsense"},
		{"v=DMARC1; p=none; sp=", "!sp"},
		{"v=DMARC1; p=none; adkim=x", "!adkim"},
		{"v=DMARC1; p=none; foo=bar", "?foo"},
		{"v=DMARC1; p=none; foo=b\xc3\xa4r", "!foo"},
	} {
		r, problems := ParseDMARC(c.record)
		got := ""
		for _, p := range problems {
			got += map[bool]string{true: "!", false: "?"}[p.Error] + p.Tag
			if p.At >= len(c.record) || p.Text == "" {
				t.Errorf("%s: %+v", c.record, p)
			}
		}
		if r == nil || got != c.problems {
			t.Errorf("%s: %v, want %s", c.record, got, c.problems)
		}
	}
	for _, record := range []string{"", "v=DMARC2; p=none", "v=dmarc1; p=none", "p=none; v=DMARC1", " v=DMARC1; p=none", "v=DMARC1 p=none", "v=DMARC1,p=none",
		"V=DMARC1; p=none; " + strings.Repeat("x", 20000)} {
		if r, p := ParseDMARC(record); r != nil || len(p) == 0 || !p[0].Error {
			t.Errorf("%.40s: %+v", record, r)
		}
	}
	if len(problems) != 5 {
		t.Errorf("%+v", problems)
	}
}
