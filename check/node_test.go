package check

import (
	"net/netip"
	"testing"

	"github.com/postino-mail/postino/dns"
)

func TestHost(t *testing.T) {
	foreign := func(w *world) { w.set(domain, "mail A 203.0.113.9") }
	checkCases(t, "", "host.address", []testCase{
		{"good", nil, OK, "203.0.113.7, 2001:db8::7"},
		{"none", records(domain, "mail A", "mail AAAA"), Fix, "no address"},
		{"private", records(domain, "mail A 192.168.1.1", "mail AAAA"), Fix, "private"},
		{"DN2 servfail", func(w *world) {
			faulty(host, dns.TypeA, dns.FaultServFail)(w)
			faulty(host, dns.TypeAAAA, dns.FaultServFail)(w)
		}, Unknown, "where"},
	})
	checkCases(t, "", "host.foreign", []testCase{{"not ours", foreign, Fix, "203.0.113.9"}})
	checkCases(t, "", "host.missing", []testCase{{"not all", records(domain, "mail AAAA"), Advice, "2001:db8::7"}})
	checkCases(t, "", "host.alias", []testCase{{"alias", records(domain, "mail A", "mail AAAA", "mail TXT", "mail CNAME other", "other A 203.0.113.7"), Fix, "alias"}})
	t.Run("NAT: what is not ours to see is not called wrong", func(t *testing.T) {
		w := newWorld()
		w.opts.Node.Addrs = []netip.Addr{netip.MustParseAddr("192.168.1.2"), addr6}
		for _, f := range w.node(t).Findings {
			if f.Status == Fix || f.Name == "host.foreign" {
				t.Errorf("%s: %s", f.Name, f.Text)
			}
		}
	})
}

func TestReverse(t *testing.T) {
	const zone, ptr = "113.0.203.in-addr.arpa", "7.113.0.203.in-addr.arpa"
	checkCases(t, "", "host.ptr 203.0.113.7", []testCase{
		{"good", nil, OK, "leads back"},
		{"good among others", records(zone, "7 PTR aaa.example.org.", "7 PTR mail.example.org."), OK, "called mail.example.org"},
		{"none", records(zone, "7 PTR"), Fix, "no name"},
		{"another that leads back", func(w *world) { w.set(zone, "7 PTR vps.example."); w.set("vps.example", "@ A 203.0.113.7") }, Advice, "vps.example"},
		{"another that does not", records(zone, "7 PTR vps.example."), Fix, "does not lead back"},
		{"DN2 servfail", faulty(ptr, 0, dns.FaultServFail), Unknown, ""},
		{"DN2 name not known", func(w *world) {
			w.set(zone, "7 PTR vps.example.")
			w.SetFault("vps.example", 0, dns.Fault{Kind: dns.FaultServFail})
		}, Unknown, ""},
	})
	checkCases(t, "", "host.ptr 2001:db8::7", []testCase{
		{"good", nil, OK, ""}, {"none", faulty(dns.ReverseName(addr6), 0, dns.FaultNXDomain), Fix, "no name"},
	})
}

func TestResolver(t *testing.T) {
	checkCases(t, "", "host.resolver", []testCase{
		{"good", nil, OK, "proven"},
		{"believes all", func(w *world) { w.gullible = true }, Fix, "without proving"},
		{"proves nothing", func(w *world) { w.gullible = true; delete(w.zones, dns.ProbeSigned); w.set("org", "ietf A 192.0.2.80") }, Advice, "ietf.org is insecure"},
		{"DN2 servfail", faulty(dns.ProbeSigned, 0, dns.FaultServFail), Unknown, ""},
	})
	checkCases(t, "", "host.clock", []testCase{
		{"good", nil, OK, ""},
		{"nobody keeps it", func(w *world) { w.opts.Node.Clock = func() (bool, bool) { return false, true } }, Advice, "NTP"},
		{"not known", func(w *world) { w.opts.Node.Clock = nil }, Unknown, ""},
	})
}

// DN2: lists that fail their self-test say nothing, good or bad.
func TestBlocklists(t *testing.T) {
	const zone = "list.example"
	const v6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
	checkCases(t, "", "blocklist.listed", []testCase{
		{"clean", nil, OK, "203.0.113.7, 2001:db8::7"},
		{"listed", records(zone, "7.113.0.203 A 127.0.0.4", `7.113.0.203 TXT "see example"`), Fix, "127.0.0.4 see example"},
		{"listed v6", records(zone, v6+" A 127.0.0.4"), Fix, "2001:db8::7"},
		{"DN2 no test entry: dead", records(zone, "2.0.0.127 A"), Unknown, "self-test"},
		{"DN2 lists everything", records(zone, "1.0.0.127 A 127.0.0.2"), Unknown, "self-test"},
		{"DN2 answers elsewhere", records(zone, "*  A 198.51.100.1"), Unknown, "self-test"},
		{"DN2 asker refused", records(zone, "7.113.0.203 A 127.255.255.254"), Unknown, "refuses us"},
		{"DN2 servfail", faulty("7.113.0.203.list.example", 0, dns.FaultServFail), Unknown, "cannot answer"},
		{"no IPv6 in the list", records(zone, "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 A"), OK, "does not list 203.0.113.7"},
	})
}
