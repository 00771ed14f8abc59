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
