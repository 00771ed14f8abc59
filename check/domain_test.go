package check

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/postino-mail/postino/dns"
)

// In a world where all is well nothing is to be fixed.
func TestAllWell(t *testing.T) {
	w := newWorld()
	for _, r := range []Report{w.node(t), w.domain(t, domain)} {
		for _, f := range r.Findings {
			if f.Status != OK {
				t.Errorf("%s %s: %s %s %s", f.Name, f.Subject, f.Status, f.Text, f.Detail)
			}
		}
	}
}

func TestMX(t *testing.T) {
	checkCases(t, domain, "mx.record", []testCase{
		{"good", nil, OK, "goes to mail.example.org"},
		{"none", records(domain, "@ MX"), Fix, "has no MX record"},
		{"null", records(domain, "@ MX 0 ."), Fix, "takes no mail"},
		{"null beside others", records(domain, "@ MX 0 .", "@ MX 10 mail"), Fix, "null MX stands beside"},
		{"twice", records(domain, "@ MX 10 mail", "@ MX 20 mail"), Advice, "two MX records"},
		{"DN2 servfail", faulty(domain, dns.TypeMX, dns.FaultServFail), Unknown, "cannot answer"},
		{"DN2 bogus", faulty(domain, dns.TypeMX, dns.FaultBogus), Unknown, "not authentic"},
		{"gone", faulty(domain, dns.TypeMX, dns.FaultNXDomain), Fix, "does not exist"},
	})
	checkCases(t, "other.example", "mx.record", []testCase{
		{"foreign without", records("other.example", "@ A 192.0.2.1"), Advice, "addresses of the name itself"},
		{"foreign null", records("other.example", "@ MX 0 ."), OK, "takes no mail"},
		{"foreign that is not", nil, Fix, "does not exist"},
	})
	checkCases(t, domain, "mx.here", []testCase{
		{"good", nil, OK, "comes to this server"},
		{"by another name", records(domain, "@ MX 10 mx", "mx A 203.0.113.7"), OK, "comes to this server"},
		{"elsewhere", records(domain, "@ MX 10 mx", "mx A 203.0.113.8"), Fix, "no MX record"},
		{"elsewhere first", records(domain, "@ MX 5 mx", "@ MX 10 mail", "mx A 203.0.113.8"), Advice, "mx.example.org first"},
		{"backup elsewhere", records(domain, "@ MX 10 mail", "@ MX 20 mx", "mx A 203.0.113.8"), OK, ""},
		{"DN2 not known", func(w *world) {
			w.set(domain, "@ MX 10 mx", "mx A 203.0.113.8")
			w.SetFault("mx.example.org", 0, dns.Fault{Kind: dns.FaultServFail})
		}, Unknown, "whether mail"},
	})
	checkCases(t, domain, "mx.host", []testCase{
		{"good", nil, OK, "203.0.113.7, 2001:db8::7"},
		{"address", records(domain, "@ MX 10 203.0.113.7."), Fix, "is an address"},
		{"alias", records(domain, "@ MX 10 mx", "mx CNAME mail"), Fix, "alias of mail.example.org"},
		{"no address", records(domain, "@ MX 10 mx"), Fix, "has no address"},
		{"private", records(domain, "@ MX 10 mx", "mx A 10.0.0.1"), Fix, "no address of the Internet"},
		{"DN2 servfail", faulty(host, dns.TypeA, dns.FaultServFail), OK, "2001:db8::7"},
		{"DN2 both servfail", func(w *world) {
			faulty(host, dns.TypeA, dns.FaultServFail)(w)
			faulty(host, dns.TypeAAAA, dns.FaultServFail)(w)
		}, Unknown, "cannot answer"},
	})
}

func TestDKIM(t *testing.T) {
	text := testKey().Record
	checkCases(t, domain, "dkim.key", []testCase{
		{"good", nil, OK, "which signs"},
		{"in pieces", records(domain, `s1._domainkey TXT "`+text[:20]+`" "`+text[20:]+`"`), OK, ""},
		{"missing", records(domain, "s1._domainkey TXT"), Fix, "not published"},
		{"another", records(domain, `s1._domainkey TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`), Fix, "another key"},
		{"taken back", records(domain, `s1._domainkey TXT "v=DKIM1; p="`), Fix, "not our key"},
		{"two", records(domain, `s1._domainkey TXT "`+text+`"`, `s1._domainkey TXT "v=DKIM1; p=BBBB"`), Fix, "several"},
		{"not yet", func(w *world) { w.set(domain, "s1._domainkey TXT"); w.dom.Keys[0].Signs = false }, Advice, "not published"},
		{"soon", func(w *world) { w.dom.Keys[0].Signs = false }, OK, "is published"},
		{"DN2 servfail", faulty("s1._domainkey.example.org", 0, dns.FaultServFail), Unknown, ""},
	})
	checkCases(t, domain, "dkim.keys", []testCase{{"none", func(w *world) { w.dom.Keys = nil }, Fix, "not signed"}})
	checkCases(t, domain, "adsp.record", []testCase{
		{"present", records(domain, `_adsp._domainkey TXT "dkim=discardable"`), Advice, "historic"},
		{"DN2 timeout", faulty("_adsp._domainkey.example.org", 0, dns.FaultServFail), Unknown, ""},
	})
}

func TestDNSSEC(t *testing.T) {
	checkCases(t, domain, "dnssec.signed", []testCase{
		{"good", nil, OK, "is signed"},
		{"bogus", faulty(domain, dns.TypeSOA, dns.FaultBogus), Fix, "signatures"},
		{"DN2 servfail", faulty(domain, dns.TypeSOA, dns.FaultServFail), Unknown, ""},
	})
	checkCases(t, "other.example", "dnssec.signed", []testCase{{"unsigned", records("other.example", "@ A 192.0.2.1"), Advice, "not signed"}})
}

func TestCAA(t *testing.T) {
	issuers := func(list ...string) func(*world) {
		return func(w *world) {
			w.opts.Node.Issuers = []string{"ca.example"}
			w.set(domain, list...)
		}
	}
	checkCases(t, "", "caa.permits", []testCase{
		{"none", issuers("@ CAA"), OK, "any certificate authority"},
		{"ours", issuers(`@ CAA 0 issue "CA.example; validationmethods=dns-01"`), OK, "permit"},
		{"nearest counts", issuers(`@ CAA 0 issue "other.example"`, `mail CAA 0 issue "ca.example"`), OK, "mail.example.org permit"},
		{"another", issuers(`@ CAA 0 issue "other.example"`), Fix, "other.example"},
		{"nobody", issuers(`@ CAA 0 issue ";"`), Fix, "nobody"},
		{"no issue property", issuers(`@ CAA 0 iodef "mailto:a@example.org"`), OK, ""},
		{"DN2 servfail", func(w *world) { issuers()(w); faulty(domain, dns.TypeCAA, dns.FaultServFail)(w) }, Unknown, ""},
	})
}

func TestServices(t *testing.T) {
	imaps := func(list ...string) func(*world) {
		return func(w *world) {
			w.opts.Node.Services = []Service{{Name: "imaps", Addr: netip.MustParseAddrPort("[::]:993"), TLS: true}}
			w.set(domain, list...)
		}
	}
	checkCases(t, domain, "clients.srv", []testCase{
		{"good", imaps("_imaps._tcp SRV 0 1 993 mail"), OK, "port 993"},
		{"by another name", imaps("_imaps._tcp SRV 0 1 993 imap", "imap A 203.0.113.7"), OK, ""},
		{"none", imaps(), Advice, "not told"},
		{"port", imaps("_imaps._tcp SRV 0 1 143 mail"), Fix, "port 143"},
		{"not offered", imaps("_imaps._tcp SRV 0 0 0 ."), Fix, "there is no imaps"},
		{"elsewhere", imaps("_imaps._tcp SRV 0 1 993 imap", "imap A 203.0.113.8"), Advice, "not here"},
		{"DN2 servfail", func(w *world) { imaps()(w); faulty("_imaps._tcp.example.org", 0, dns.FaultServFail)(w) }, Unknown, ""},
	})
}

func TestAddresses(t *testing.T) {
	accepts := func(taken string, err error) func(*world) {
		return func(w *world) { w.dom.Accepts = func(s string) (bool, error) { return s == taken, err } }
	}
	checkCases(t, domain, "address.taken postmaster", []testCase{
		{"good", nil, OK, ""}, {"none", accepts("abuse", nil), Fix, "must have"}, {"unknown", accepts("", errors.New("disk")), Unknown, "disk"},
	})
	checkCases(t, domain, "address.taken abuse", []testCase{{"good", nil, OK, ""}, {"none", accepts("postmaster", nil), Advice, "others write there"}})
}
