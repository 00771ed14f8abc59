package check

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/certs"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
)

// MA3, DN2.
func TestSPF(t *testing.T) {
	var many strings.Builder
	for i := range 11 {
		fmt.Fprintf(&many, "a:h%d.example.org ", i)
	}
	hosts := []string{`@ TXT "v=spf1 ` + many.String() + `mx -all"`}
	for i := range 11 {
		hosts = append(hosts, fmt.Sprintf("h%d A 192.0.2.1", i))
	}
	checkCases(t, domain, "spf.record", []testCase{
		{"good", nil, OK, "1 of 10 lookups"},
		{"none", records(domain, "@ TXT"), Fix, "no SPF record"},
		{"two", records(domain, `@ TXT "v=spf1 mx -all"`, `@ TXT "v=spf1 a -all"`), Fix, "several"},
		{"syntax", records(domain, `@ TXT "v=spf1 mxx -all"`), Fix, "mxx"},
		{"too many", records(domain, hosts...), Fix, "needs 12 lookups"},
		{"too many void", records(domain, `@ TXT "v=spf1 mx a:x.example.org a:y.example.org a:z.example.org -all"`), Fix, "lead nowhere"},
		{"void", records(domain, `@ TXT "v=spf1 mx a:x.example.org -all"`), Advice, "leads nowhere"},
		{"ptr", records(domain, `@ TXT "v=spf1 mx ptr -all"`), Advice, "ptr is slow"},
		{"DN2 servfail", faulty(domain, dns.TypeTXT, dns.FaultServFail), Unknown, ""},
		{"DN2 include servfail", func(w *world) {
			w.set(domain, `@ TXT "v=spf1 include:out.example -all"`)
			w.SetFault("out.example", 0, dns.Fault{Kind: dns.FaultServFail})
		}, Unknown, ""},
	})
	checkCases(t, "other.example", "spf.record", []testCase{{"foreign without", records("other.example", "@ A 192.0.2.1"), Advice, "no SPF"}})
	checkCases(t, domain, "spf.all", []testCase{
		{"good", nil, OK, "-all"},
		{"soft", records(domain, `@ TXT "v=spf1 mx ~all"`), OK, "~all"},
		{"everybody", records(domain, `@ TXT "v=spf1 mx +all"`), Fix, "whole world"},
		{"every address", records(domain, `@ TXT "v=spf1 mx ip4:0.0.0.0/0 -all"`), Fix, "whole world"},
		{"neutral", records(domain, `@ TXT "v=spf1 mx ?all"`), Advice, "?all"},
		{"none", records(domain, `@ TXT "v=spf1 mx"`), Advice, "end it with"},
		{"redirect", func(w *world) { w.set(domain, `@ TXT "v=spf1 redirect=mail.example.org"`) }, OK, "mail.example.org"},
	})
	checkCases(t, domain, "spf.permits", []testCase{
		{"good", nil, OK, "203.0.113.7, 2001:db8::7"},
		{"not IPv6", records(domain, `@ TXT "v=spf1 ip4:203.0.113.7 -all"`), Fix, "does not permit 2001:db8::7,"},
		{"neither", records(domain, `@ TXT "v=spf1 -all"`), Fix, "203.0.113.7, 2001:db8::7"},
		{"addresses not known", func(w *world) {
			w.opts.Node.Addrs = nil
			w.SetFault(host, 0, dns.Fault{Kind: dns.FaultServFail})
		}, Unknown, "does not know"},
		{"behind NAT", func(w *world) { w.opts.Node.Addrs = []netip.Addr{netip.MustParseAddr("10.0.0.1")} }, OK, "those of mail.example.org"},
		{"DN2 servfail", faulty(domain, dns.TypeMX, dns.FaultServFail), Unknown, ""},
	})
	checkCases(t, "", "host.spf", []testCase{
		{"good", nil, OK, ""},
		{"none", records(domain, "mail TXT"), Advice, "no SPF record"},
		{"wrong", records(domain, `mail TXT "v=spf1 -all"`), Fix, "its own address"},
		{"DN2 servfail", faulty(host, dns.TypeTXT, dns.FaultServFail), Unknown, ""},
	})
}

func TestDMARC(t *testing.T) {
	dmarc := func(text string, more ...string) func(*world) {
		return records(domain, append(more, `_dmarc TXT "`+text+`"`)...)
	}
	checkCases(t, domain, "dmarc.record", []testCase{
		{"good", nil, OK, "v=DMARC1; p=reject"},
		{"none", records(domain, "_dmarc TXT"), Fix, "no DMARC record"},
		{"two", records(domain, `_dmarc TXT "v=DMARC1; p=none"`, `_dmarc TXT "v=DMARC1; p=reject"`), Fix, "2 DMARC records"},
		{"without p", dmarc("v=DMARC1; sp=none"), Fix, "no valid p="},
		{"wrong p", dmarc("v=DMARC1; p=deny; rua=mailto:dmarc@example.org"), Fix, "p: the policy is not"},
		{"DN2 servfail", faulty("_dmarc.example.org", 0, dns.FaultServFail), Unknown, ""},
	})
	checkCases(t, "sub.example.org", "dmarc.record", []testCase{{"of the organization", func(w *world) { w.dom.Name = "sub.example.org" }, OK, "of example.org holds"}})
	checkCases(t, "other.example", "dmarc.record", []testCase{{"foreign without", records("other.example", "@ A 192.0.2.1"), Advice, "no DMARC"}})
	checkCases(t, domain, "dmarc.policy", []testCase{
		{"good", nil, OK, "refuse"},
		{"quarantine", dmarc("v=DMARC1; p=quarantine"), OK, "set aside"},
		{"none", dmarc("v=DMARC1; p=none"), Advice, "only watches"},
		{"testing", dmarc("v=DMARC1; p=reject; t=y"), Advice, "milder"},
		{"subdomains", dmarc("v=DMARC1; p=reject; sp=none"), Advice, "subdomains"},
	})
	checkCases(t, domain, "dmarc.reports", []testCase{
		{"good", nil, OK, "dmarc@example.org"},
		{"none", dmarc("v=DMARC1; p=reject"), Advice, "nobody is told"},
		{"no such mailbox", func(w *world) { w.dom.Accepts = func(string) (bool, error) { return false, nil } }, Fix, "gets no mail"},
		{"mailbox not known", func(w *world) { w.dom.Accepts = func(string) (bool, error) { return false, errors.New("disk") } }, Unknown, "disk"},
		{"elsewhere", dmarc("v=DMARC1; p=reject; rua=mailto:a@other.example"), Fix, "other.example does not say"},
		{"elsewhere, permitted", func(w *world) {
			dmarc("v=DMARC1; p=reject; rua=mailto:a@other.example")(w)
			w.set("other.example", `example.org._report._dmarc TXT "v=DMARC1"`)
		}, OK, "which wants them"},
		{"elsewhere, everybody permitted", func(w *world) {
			dmarc("v=DMARC1; p=reject; rua=mailto:a@other.example")(w)
			w.set("other.example", `*._report._dmarc TXT "v=DMARC1;"`)
		}, OK, ""},
		{"DN2 elsewhere servfail", func(w *world) {
			dmarc("v=DMARC1; p=reject; rua=mailto:a@other.example")(w)
			w.SetFault("example.org._report._dmarc.other.example", 0, dns.Fault{Kind: dns.FaultServFail})
		}, Unknown, ""},
		{"sister", dmarc("v=DMARC1; p=reject; rua=mailto:a@sub.example.org"), OK, ""},
	})
	t.Run("tighten", func(t *testing.T) {
		w := newWorld()
		dmarc("v=DMARC1; sp=none; p=none; rua=mailto:dmarc@example.org")(w)
		f := one(t, w.domain(t, domain), "dmarc.policy")
		if len(f.Records) != 1 || f.Records[0].Value != "v=DMARC1; sp=none; p=quarantine; rua=mailto:dmarc@example.org" || f.Records[0].Replaces == "" {
			t.Errorf("%+v", f.Records)
		}
	})
}

func TestSTS(t *testing.T) {
	policy := func(text string) func(*world) {
		return func(w *world) { w.policy, w.dom.STS.Text = text, text }
	}
	fails := func(err error) func(*world) { return func(w *world) { w.failure = err } }
	checkCases(t, domain, "sts.record", []testCase{
		{"good", nil, OK, "announces"},
		{"none", records(domain, "_mta-sts TXT"), Fix, "nobody knows"},
		{"none wanted", func(w *world) { w.set(domain, "_mta-sts TXT"); w.dom.STS = nil }, Advice, "postino domain mta-sts example.org testing"},
		{"not ours", func(w *world) { w.dom.STS = nil }, Advice, "not ours"},
		{"old", records(domain, `_mta-sts TXT "v=STSv1; id=0;"`), Fix, "has changed"},
		{"bad", records(domain, `_mta-sts TXT "v=STSv1; ident=0;"`), Fix, "cannot be used"},
		{"two", records(domain, `_mta-sts TXT "v=STSv1; id=1;"`, `_mta-sts TXT "v=STSv1; id=2;"`), Fix, "cannot be used"},
		{"DN2 servfail", faulty("_mta-sts.example.org", 0, dns.FaultServFail), Unknown, ""},
	})
	checkCases(t, domain, "sts.policy", []testCase{
		{"good", nil, OK, "mode enforce"},
		{"testing", policy(strings.Replace(stsText, "enforce", "testing", 1)), Advice, "tried out"},
		{"taken back", policy("version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n"), Advice, "taken back"},
		{"another is served", func(w *world) { w.policy = strings.Replace(stsText, "86400", "86401", 1) }, Fix, "max_age: 86401"},
		{"invalid", func(w *world) { w.policy = "hello" }, Fix, "cannot use"},
		{"certificate", fails(postino.E(postino.Transient, "", "", fetch.ErrCertificate)), Fix, "certificate of mta-sts.example.org"},
		{"no host", fails(postino.E(postino.Transient, "", "", dns.ErrNXDomain)), Fix, "no address"},
		{"not there", fails(postino.E(postino.Transient, "", "", errors.New("the server says 404"))), Fix, "404"},
		{"DN2 no connection", fails(postino.E(postino.Transient, "", "", &net.OpError{Op: "dial", Err: errors.New("refused")})), Unknown, "refused"},
		{"DN2 servfail", fails(postino.E(postino.Transient, "", "", dns.ErrServer)), Unknown, ""},
	})
	checkCases(t, domain, "sts.hosts", []testCase{
		{"good", nil, OK, ""},
		{"not all", records(domain, "@ MX 10 mail", "@ MX 20 mx2", "mx2 A 203.0.113.9"), Fix, "mx2.example.org"},
		{"not all, testing", func(w *world) {
			policy(strings.Replace(stsText, "enforce", "testing", 1))(w)
			w.set(domain, "@ MX 10 mail", "@ MX 20 mx2", "mx2 A 203.0.113.9")
		}, Advice, "mx2.example.org"},
		{"DN2 servfail", faulty(domain, dns.TypeMX, dns.FaultServFail), Unknown, ""},
	})
}

func TestTLSReports(t *testing.T) {
	checkCases(t, domain, "tlsrpt.record", []testCase{
		{"good", nil, OK, "tls@example.org"},
		{"none", records(domain, "_smtp._tls TXT"), Advice, "nobody is told"},
		{"two", records(domain, `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:a@example.org"`, `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:b@example.org"`), Fix, "none counts"},
		{"bad", records(domain, `_smtp._tls TXT "v=TLSRPTv1; rue=mailto:a@example.org"`), Fix, "cannot be used"},
		{"no such mailbox", func(w *world) { w.dom.Accepts = func(s string) (bool, error) { return s != "tls", nil } }, Fix, "gets no mail"},
		{"DN2 servfail", faulty("_smtp._tls.example.org", 0, dns.FaultServFail), Unknown, ""},
	})
}

func TestDANE(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.make(t, &x509.Certificate{DNSNames: []string{host}, NotAfter: now.Add(99 * day)})
	other := ca.make(t, &x509.Certificate{DNSNames: []string{host}, NotAfter: now.Add(99 * day)})
	record := func(c *x509.Certificate) string {
		return fmt.Sprintf("_25._tcp.mail TLSA 3 1 1 %X", certs.TLSA(c)[0].Data)
	}
	server := func(list ...string) func(*world) {
		return func(w *world) {
			withListener("smtp", true, &listener{greet: "220 hello", answer: smtpd(closed), cert: cert})(w)
			w.opts.Node.TLSA = certs.TLSA(cert.Leaf)
			w.set(domain, list...)
		}
	}
	for _, of := range []string{"", domain} {
		checkCases(t, of, "dane.tlsa", []testCase{
			{"good", server(record(cert.Leaf)), OK, "proves itself"},
			{"good among others", server(record(cert.Leaf), record(other.Leaf)), OK, ""},
			{"none, but signed", server(), Advice, "could prove itself"},
			{"another", server(record(other.Leaf)), Fix, "not those of the certificate"},
			{"of no use", server("_25._tcp.mail TLSA 1 1 1 " + strings.Repeat("00", 32)), Fix, "usage 2 or 3"},
			{"bogus", faulty("_25._tcp."+host, 0, dns.FaultBogus), Fix, "not authentic"},
			{"DN2 servfail", faulty("_25._tcp."+host, 0, dns.FaultServFail), Unknown, ""},
			{"not running", records(domain, record(cert.Leaf)), Unknown, "does not run"},
			{"next key", func(w *world) {
				server(record(cert.Leaf))(w)
				w.opts.Node.TLSA = append(w.opts.Node.TLSA, certs.TLSA(other.Leaf)...)
			}, Advice, "next key"},
		})
	}
	elsewhere := func(zone string) func(*world) {
		return func(w *world) {
			w.set(domain, "@ MX 10 mx.other.example.")
			w.set(zone, "mx A 192.0.2.1", strings.Replace(record(cert.Leaf), "mail", "mx", 1))
		}
	}
	checkCases(t, domain, "dane.tlsa", []testCase{{"without DNSSEC", elsewhere("other.example"), Advice, "mean nothing"}})
	t.Run("unsigned and none", func(t *testing.T) {
		w := newWorld()
		w.set(domain, "@ MX 10 mx.other.example.")
		w.set("other.example", "mx A 192.0.2.1")
		for _, f := range w.domain(t, domain).Findings {
			if f.Area == "DANE" {
				t.Errorf("%+v", f)
			}
		}
	})
}
