package mailauth

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// appendixA are the zones of RFC 7208 §A, with rogue and other hosts.
func appendixA(spf string) []string {
	return []string{
		"example.com", "@ MX 10 mail-a\n@ MX 20 mail-b\n@ A 192.0.2.10\n@ A 192.0.2.11\n@ AAAA 2001:db8::a\namy A 192.0.2.65\nbob A 192.0.2.66\n" +
			"mail-a A 192.0.2.129\nmail-b A 192.0.2.130\nmail-b AAAA 2001:db8::b\nwww CNAME example.com.\n" + txt("@", spf) +
			"mary.mobile-users._spf A 127.0.0.2\nfred.mobile-users._spf A 127.0.0.2\n" +
			"15.15.168.192.joel.remote-users._spf A 127.0.0.2\n16.15.168.192.joel.remote-users._spf A 127.0.0.2\n" +
			txt("mobile-users._spf", "v=spf1 exists:%{l1r+}.%{d}") + txt("remote-users._spf", "v=spf1 exists:%{ir}.%{l1r+}.%{d}") +
			txt("ip4._spf", "v=spf1 -ip4:192.0.2.0/24 +all") + txt("ptr._spf", "v=spf1 -ptr +all") +
			txt("soft", "v=spf1 ~all") + txt("none", "v=DMARC1; p=none") + txt("two", "v=spf1 +all") + txt("two", "v=spf1 -all") +
			txt("bad", "v=spf1 nonsense") + txt("nul", "v=spf1") + txt("exp", "%{i} is not one of %{d}'s: see http://%{d}/%{S} at %{t} %{r}") +
			txt("exp2", "one") + txt("exp2", "two") + txt("exp3", "100% wrong") + txt("exp4", strings.Repeat("long ", 150)) + txt("exp5", "gr\\195\\188n") +
			txt("explained", "v=spf1 -all exp=exp.%{d2}"),
		"example.org", "@ MX 10 mail-c\nmail-c A 192.0.2.140\n" + txt("@", "v=spf1 include:example.com include:example.net -all") +
			txt("la", "v=spf1 redirect=example.org"),
		"example.net", "@ A 192.0.2.200\n" + txt("@", "v=spf1 a -all"),
		"2.0.192.in-addr.arpa", "10 PTR example.com.\n11 PTR example.com.\n65 PTR amy.example.com.\n66 PTR bob.example.com.\n" +
			"129 PTR mail-a.example.com.\n130 PTR mail-b.example.com.\n140 PTR mail-c.example.org.\n",
		"0.0.10.in-addr.arpa", "4 PTR bob.example.com.\n",
	}
}

// txt is a line of a zone with a TXT record, in strings of 250 octets.
func txt(name, text string) string {
	line := name + " TXT"
	for len(text) > 250 {
		line += fmt.Sprintf(" %q", text[:250])
		text = text[250:]
	}
	return line + " \"" + strings.ReplaceAll(text, `"`, `\"`) + "\"\n"
}

func client(ip, sender, helo string) Client {
	c := Client{Remote: netip.MustParseAddr(ip), Helo: helo, Host: "mx.receiver.example", Now: time.Unix(1772366400, 0)}
	if sender != "" {
		i := strings.LastIndexByte(sender, '@')
		c.MailFrom = postino.Address{Local: sender[:i], Domain: sender[i+1:]}
	}
	return c
}

// TestSPF has the examples of RFC 7208 §A and one case at least for each rule of
// the sections that are named.
func TestSPF(t *testing.T) {
	const joe = "joe@example.com"
	for _, c := range []struct {
		record, sender string
		want           string // addresses and their results
		term           string // that matched the first
	}{
		// §A.1
		{"v=spf1 +all", joe, "192.0.2.1 pass, 2001:db8::1 pass", "+all"},
		{"v=spf1 a -all", joe, "192.0.2.10 pass, 192.0.2.11 pass, 192.0.2.12 fail, 2001:db8::a pass, 2001:db8::b fail", "a"},
		{"v=spf1 a:example.org -all", joe, "192.0.2.10 fail", "-all"},
		{"v=spf1 mx -all", joe, "192.0.2.129 pass, 192.0.2.130 pass, 192.0.2.10 fail, 2001:db8::b pass", "mx"},
		{"v=spf1 mx:example.org -all", joe, "192.0.2.140 pass, 192.0.2.129 fail", "mx:example.org"},
		{"v=spf1 mx mx:example.org -all", joe, "192.0.2.129 pass, 192.0.2.130 pass, 192.0.2.140 pass, 192.0.2.141 fail", "mx"},
		{"v=spf1 mx/30 mx:example.org/30 -all", joe, "192.0.2.131 pass, 192.0.2.143 pass, 192.0.2.144 fail", "mx/30"},
		{"v=spf1 ptr -all", joe, "192.0.2.65 pass, 192.0.2.140 fail, 10.0.0.4 fail", "ptr"},
		{"v=spf1 ip4:192.0.2.128/28 -all", joe, "192.0.2.129 pass, 192.0.2.65 fail", "ip4:192.0.2.128/28"},
		// §A.2
		{"v=spf1 mx -all", "joe@example.org", "192.0.2.129 pass, 192.0.2.200 pass, 192.0.2.140 fail", "include:example.com"},
		{"v=spf1 mx -all", "joe@la.example.org", "192.0.2.129 pass, 192.0.2.140 fail", "include:example.com"},
		// §A.3
		{"v=spf1 mx include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all", "mary@example.com", "10.1.1.1 pass", "include:mobile-users._spf.%{d}"},
		{"v=spf1 mx include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all", "joel+x@example.com", "192.168.15.15 pass, 192.168.15.17 fail", "include:remote-users._spf.%{d}"},
		// §A.4
		{"v=spf1 -include:ip4._spf.%{d} -include:ptr._spf.%{d} +all", joe, "10.0.0.5 fail", "-include:ip4._spf.%{d}"},
		// §4.5, §4.6.1: which record, which terms
		{"v=spf1", joe, "192.0.2.1 neutral", ""},
		{"V=SPF1 A -ALL", joe, "192.0.2.10 pass, 192.0.2.1 fail", "A"},
		{"v=spf10 a -all", joe, "192.0.2.10 none", ""},
		{"v=spf1\ta -all", joe, "192.0.2.10 none", ""},
		{"v=spf1  a   -all  ", joe, "192.0.2.10 pass, 192.0.2.1 fail", "a"},
		{"v=spf1 a", joe, "192.0.2.1 neutral", ""},
		{"v=spf1 ?a ~all", joe, "192.0.2.10 neutral, 192.0.2.1 softfail", "?a"},
		{"v=spf1 -a +all", joe, "192.0.2.10 fail, 192.0.2.1 pass", "-a"},
		{"v=spf1 ~ip4:192.0.2.0/24", joe, "192.0.2.10 softfail, 198.51.100.1 neutral", "~ip4:192.0.2.0/24"},
		{"", "joe@two.example.com", "192.0.2.10 permerror", ""},
		{"", "joe@none.example.com", "192.0.2.10 none", ""},
		{"", "joe@amy.example.com", "192.0.2.10 none", ""},
		{"", "joe@gone.example.com", "192.0.2.10 none", ""},
		{"", "joe@nul.example.com", "192.0.2.10 neutral", ""},
		// §4.6: whatever stands before it, a fault counts
		{"v=spf1 a nonsense", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 all:x", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 +all -", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 a: -all", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 a/33", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 a//129", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 a/024", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 a/-1", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 ip4:192.0.2.1/33", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 ip4:192.0.2", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 ip4:2001:db8::1", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 ip4", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 ip6:192.0.2.1", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 ip6:2001:db8::1/129", joe, "2001:db8::1 permerror", ""},
		{"v=spf1 include", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 include:", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exists", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exists:example.com/24", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 ptr/24", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 redirect=a.example.com redirect=b.example.com", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 redirect=", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exp=a.example.com exp=b.example.com", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 -redirect=example.org", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 1abc=x", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 abc=%x -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 abc=%{d} x.y-z_1=/: -all", joe, "192.0.2.1 fail", "-all"},
		{"v=spf1 v=spf1 -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 a:caf\xc3\xa9.example.com -all", joe, "192.0.2.1 permerror", ""},
		// §5.2: include
		{"v=spf1 include:soft.example.com -all", joe, "192.0.2.1 fail", "-all"},
		{"v=spf1 include:nul.example.com -all", joe, "192.0.2.1 fail", "-all"},
		{"v=spf1 include:none.example.com +all", joe, "192.0.2.1 permerror", "include:none.example.com"},
		{"v=spf1 include:gone.example.com +all", joe, "192.0.2.1 permerror", "include:gone.example.com"},
		{"v=spf1 include:bad.example.com +all", joe, "192.0.2.1 permerror", "include:bad.example.com"},
		{"v=spf1 include:example.com +all", joe, "192.0.2.1 permerror", "include:example.com"},
		// §5.3, §5.6: prefixes
		{"v=spf1 a/24 -all", joe, "192.0.2.250 pass, 192.0.3.1 fail", "a/24"},
		{"v=spf1 a//64 -all", joe, "2001:db8::ffff pass, 2001:db8:1::1 fail, 192.0.2.12 fail", "a//64"},
		{"v=spf1 a/24//64 -all", joe, "2001:db8::ffff pass, 192.0.2.12 pass", "a/24//64"},
		{"v=spf1 a:www.example.com/31 -all", joe, "192.0.2.10 pass, 192.0.2.12 fail", "a:www.example.com/31"},
		{"v=spf1 a/0 -all", joe, "198.51.100.1 pass, 2001:db8::1 fail", "a/0"},
		{"v=spf1 ip6:2001:db8::/32 -all", joe, "2001:db8:1::1 pass, 2001:db9::1 fail, 192.0.2.1 fail", "ip6:2001:db8::/32"},
		{"v=spf1 ip4:192.0.2.1 -all", joe, "::ffff:192.0.2.1 pass, 192.0.2.2 fail", "ip4:192.0.2.1"},
		{"v=spf1 ip4:0.0.0.0/0 -all", joe, "192.0.2.1 pass, 2001:db8::1 fail", "ip4:0.0.0.0/0"},
		// §5.5: ptr
		{"v=spf1 ptr:example.org -all", joe, "192.0.2.140 pass, 192.0.2.65 fail", "ptr:example.org"},
		{"v=spf1 ptr:ample.com -all", joe, "192.0.2.65 fail", "-all"},
		// §5.7: exists is about IPv4 even for others
		{"v=spf1 exists:amy.example.com -all", joe, "198.51.100.1 pass, 2001:db8::1 pass", "exists:amy.example.com"},
		{"v=spf1 exists:gone.example.com -all", joe, "198.51.100.1 fail", "-all"},
		{"v=spf1 exists:%{l}.%{d} -all", "amy@example.com", "198.51.100.1 pass", "exists:%{l}.%{d}"},
		// §6.1: redirect
		{"v=spf1 redirect=example.net", joe, "192.0.2.200 pass, 192.0.2.1 fail", "a"},
		{"v=spf1 redirect=example.net -all", joe, "192.0.2.200 fail", "-all"},
		{"v=spf1 redirect=example.net ?all", joe, "192.0.2.200 neutral", "?all"},
		{"v=spf1 redirect=none.example.com", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 redirect=gone.example.com", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 redirect=example.com", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 redirect=%{d2}.example.net", joe, "192.0.2.1 permerror", ""},
		// §7: macros
		{"v=spf1 exists:%{q}.example.com -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exists:%{d0}.example.com -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exists:%{d.example.com -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exists:%d.example.com -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 exists:%{t}.example.com -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 a:example.c0m.123 -all", joe, "192.0.2.1 permerror", ""},
		{"v=spf1 a:www.%{d}. -all", joe, "192.0.2.10 permerror", ""},
		{"v=spf1 a:www.example.com. -all", joe, "192.0.2.10 pass", "a:www.example.com."},
		{"v=spf1 a:" + strings.Repeat("a.", 200) + "%{d} -all", joe, "192.0.2.10 fail", "-all"},
		// §2.4, §4.3: names
		{"v=spf1 -all", "joe@[192.0.2.1]", "192.0.2.1 none", ""},
		{"v=spf1 -all", "joe@com", "192.0.2.1 none", ""},
		{"v=spf1 -all", "joe@EXAMPLE.com", "192.0.2.1 fail", "-all"},
		{"v=spf1 -all", "joe@" + strings.Repeat("a", 64) + ".example.com", "192.0.2.1 none", ""},
		// A local part cannot choose the domain, nor (RFC 8616 §4) match anything.
		{"v=spf1 -all", "x@example.net@example.com", "192.0.2.200 fail", "-all"},
		{"v=spf1 exists:%{l}.%{d} -all", "amy@x@example.com", "192.0.2.1 fail", "-all"},
		{"v=spf1 exists:%{l}.%{d} -all", "ämy@example.com", "192.0.2.1 fail", "-all"},
	} {
		f := world(t, appendixA(c.record)...)
		for i, want := range strings.Split(c.want, ", ") {
			ip, result, _ := strings.Cut(want, " ")
			s := CheckSPF(t.Context(), NewInquiry(f, Limits{}), client(ip, c.sender, "mail.example.com"))
			got := s.MailFrom
			if string(got.Result) != result || i == 0 && got.Mechanism != c.term || got.Reason == "" {
				t.Errorf("%s for %s from %s: %+v", c.record, c.sender, ip, got)
			}
			if got.Result == None && got.Record != "" || got.Result == Pass && got.Record == "" {
				t.Errorf("%s from %s: record %q", c.record, ip, got.Record)
			}
		}
	}
}

// TestSPFIdentities: HELO is checked too, and stands for the null sender.
func TestSPFIdentities(t *testing.T) {
	f := world(t, "example.com", txt("@", "v=spf1 ip4:192.0.2.1 -all")+txt("mx", "v=spf1 exists:%{l}.%{o}.%{h} -all")+"postmaster.mx.example.com.mx A 127.0.0.2\n")
	s := CheckSPF(t.Context(), NewInquiry(f, Limits{}), client("192.0.2.1", "", "MX.example.com"))
	if !s.NullSender || s.MailFrom.Domain != "mx.example.com" || s.MailFrom != s.Helo || s.Helo.Sender != "postmaster@MX.example.com" {
		t.Errorf("%+v", s)
	}
	if got := string(AppendAuthResults(nil, "mx", s.Results())); strings.Contains(got, "smtp.mailfrom") || !strings.Contains(got, "smtp.helo=mx.example.com") {
		t.Error(got)
	}
	s = CheckSPF(t.Context(), NewInquiry(f, Limits{}), client("192.0.2.1", "joe@example.com", "[192.0.2.1]"))
	if s.NullSender || s.MailFrom.Result != Pass || s.Helo.Result != None || s.Helo.Domain != "" {
		t.Errorf("%+v", s)
	}
	got := string(AppendAuthResults(nil, "mx", s.Results()))
	if !strings.Contains(got, "spf=pass") || !strings.Contains(got, "smtp.mailfrom=joe@example.com") || !strings.Contains(got, `smtp.helo="[192.0.2.1]"`) {
		t.Error(got)
	}
}

// TestSPFExplanation is RFC 7208 §6.2.
func TestSPFExplanation(t *testing.T) {
	for _, c := range []struct{ record, want string }{
		{"v=spf1 -all exp=exp.example.com", "192.0.2.1 is not one of example.com's: see http://example.com/joe%40example.com at 1772366400 mx.receiver.example"},
		{"v=spf1 -all exp=exp2.example.com", ""},
		{"v=spf1 -all exp=exp3.example.com", ""},
		{"v=spf1 -all exp=exp4.example.com", strings.Repeat("long ", 100)},
		{"v=spf1 -all exp=exp5.example.com", ""},
		{"v=spf1 -all exp=gone.example.com", ""},
		{"v=spf1 -all", ""},
		{"v=spf1 ~all exp=exp.example.com", ""},
		{"v=spf1 -include:soft.example.com include:explained.example.com -all", ""}, // not that of the included
		{"v=spf1 redirect=explained.example.com exp=exp3.example.com", "192.0.2.1 is not one of explained.example.com's: see http://explained.example.com/joe%40example.com at 1772366400 mx.receiver.example"},
	} {
		s := CheckSPF(t.Context(), NewInquiry(world(t, appendixA(c.record)...), Limits{}), client("192.0.2.1", "joe@example.com", "x.example.com"))
		if s.MailFrom.Explanation != c.want {
			t.Errorf("%s: %s %q", c.record, s.MailFrom.Result, s.MailFrom.Explanation)
		}
	}
}

// TestMacros has the table of RFC 7208 §7.4.
func TestMacros(t *testing.T) {
	e := macroEnv{client: client("192.0.2.3", "", "h.example"), local: "strong-bad", sender: "email.example.com", domain: "email.example.com"}
	six := e
	six.client.Remote = netip.MustParseAddr("2001:db8::cb01")
	for _, c := range []struct {
		env        *macroEnv
		macro, out string
	}{
		{&e, "%{s}", "strong-bad@email.example.com"},
		{&e, "%{o}", "email.example.com"},
		{&e, "%{d}", "email.example.com"},
		{&e, "%{d4}", "email.example.com"},
		{&e, "%{d3}", "email.example.com"},
		{&e, "%{d2}", "example.com"},
		{&e, "%{d1}", "com"},
		{&e, "%{dr}", "com.example.email"},
		{&e, "%{d2r}", "example.email"},
		{&e, "%{l}", "strong-bad"},
		{&e, "%{l-}", "strong.bad"},
		{&e, "%{lr}", "strong-bad"},
		{&e, "%{lr-}", "bad.strong"},
		{&e, "%{l1r-}", "strong"},
		{&e, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{&e, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{&e, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{&e, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{&e, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{&six, "%{ir}.%{v}._spf.%{d2}", "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
		{&six, "%{c}/%{h}/%{p}", "2001:db8::cb01/h.example/unknown"},
		{&e, "%%%_%-", "% %20"},
		{&e, "%{S}", "strong-bad%40email.example.com"},
	} {
		if got, ok := c.env.expand(c.macro); got != c.out || !ok {
			t.Errorf("%s: %q", c.macro, got)
		}
	}
}

// TestSPFLimits is MA3 and MA7 against hostile zones.
func TestSPFLimits(t *testing.T) {
	var bomb, deep, hosts, mxs, ptrs, voids, huge strings.Builder
	for i := range 12 {
		fmt.Fprintf(&bomb, "%s", txt(fmt.Sprintf("b%d", i), fmt.Sprintf("v=spf1 include:b%d.evil.example include:b%d.evil.example -all", i+1, i+1)))
		deep.WriteString(txt(fmt.Sprintf("d%d", i), fmt.Sprintf("v=spf1 redirect=d%d.evil.example", i+1)))
		fmt.Fprintf(&hosts, "many MX 1 h%d.m\nh%d.m A 192.0.2.%d\n", i, i, i+1)
		fmt.Fprintf(&ptrs, "9 PTR n%d.evil.example.\n", i)
		fmt.Fprintf(&voids, " a:v%d.evil.example", i)
		for j := range 10 {
			fmt.Fprintf(&mxs, "m%d MX 1 h%d-%d\nh%d-%d A 198.51.100.1\n", i, i, j, i, j)
		}
	}
	for range 300 {
		huge.WriteString(" ip4:198.51.100.99")
	}
	chain := ""
	for i := range 20 {
		chain += fmt.Sprintf("c%d CNAME c%d\n", i, i+1)
	}
	zones := []string{
		"evil.example", bomb.String() + deep.String() + hosts.String() + mxs.String() + chain +
			txt("b12", "v=spf1 +all") + txt("d12", "v=spf1 +all") + txt("mx", "v=spf1 mx:many.evil.example +all") +
			txt("ptr", "v=spf1 ptr -all") + "n11 A 203.0.113.9\nn3 A 203.0.113.8\n" +
			txt("void", "v=spf1"+voids.String()+" +all") + txt("huge", "v=spf1"+huge.String()+" +all") +
			txt("loop", "v=spf1 include:loop.evil.example +all") + txt("chain", "v=spf1 a:c0.evil.example +all") +
			txt("flood", "v=spf1 mx:m0.evil.example mx:m1.evil.example mx:m2.evil.example mx:m3.evil.example mx:m4.evil.example"+
				" mx:m5.evil.example mx:m6.evil.example mx:m7.evil.example mx:m8.evil.example mx:m9.evil.example +all") +
			txt("down", "v=spf1 a:dead.evil.example +all") + txt("deadinc", "v=spf1 include:dead.evil.example +all") +
			txt("deadmx", "v=spf1 mx:dead.evil.example +all") + txt("deadex", "v=spf1 exists:dead.evil.example +all") +
			txt("deadptr", "v=spf1 ptr ~all"),
		"113.0.203.in-addr.arpa", ptrs.String(),
	}
	f := world(t, zones...)
	f.SetFault("dead.evil.example", 0, dns.Fault{Kind: dns.FaultServFail})
	f.SetFault("7.113.0.203.in-addr.arpa", 0, dns.Fault{Kind: dns.FaultServFail})
	f.SetFault("silent.evil.example", 0, dns.Fault{Kind: dns.FaultBogus})
	for _, c := range []struct {
		domain string
		ip     string
		want   Result
		most   int // questions
		reason string
	}{
		{"b0", "203.0.113.1", PermError, 12, "more than 10 lookups"},
		{"d0", "203.0.113.1", PermError, 12, "more than 10 lookups"},
		{"loop", "203.0.113.1", PermError, 12, "more than 10 lookups"},
		{"mx", "203.0.113.1", PermError, 3, "more than 10 mail exchangers"},
		{"ptr", "203.0.113.9", Fail, 13, "forbids"}, // n11 is beyond the first ten
		{"void", "203.0.113.1", PermError, 5, "more than 2 names"},
		{"huge", "203.0.113.1", PermError, 2, "longer than 4 KiB"},
		{"chain", "203.0.113.1", TempError, 3, "chain of CNAMEs"},
		{"flood", "203.0.113.1", TempError, 100, "too much of the DNS"},
		{"down", "203.0.113.1", TempError, 3, "name server cannot answer"},
		{"deadinc", "203.0.113.1", TempError, 3, "name server cannot answer"},
		{"deadmx", "203.0.113.1", TempError, 3, "name server cannot answer"},
		{"deadex", "203.0.113.1", TempError, 3, "name server cannot answer"},
		{"deadptr", "203.0.113.7", SoftFail, 3, "advises"}, // §5.5: no match
		{"dead", "203.0.113.1", TempError, 2, "name server cannot answer"},
		{"silent", "203.0.113.1", TempError, 2, "not authentic"},
	} {
		q := NewInquiry(f, Limits{})
		s := CheckSPF(t.Context(), q, client(c.ip, "x@"+c.domain+".evil.example", ""))
		n, _ := q.Spent()
		if s.MailFrom.Result != c.want || n > c.most || !strings.Contains(s.MailFrom.Reason, c.reason) {
			t.Errorf("%s: %d questions, %+v", c.domain, n, s.MailFrom)
		}
	}
}

func TestParseSPF(t *testing.T) {
	r, problems := ParseSPF("v=spf1 +A:x.example.com/24//64 ip4:192.0.2.0/24 ptr ~all mx redirect=y.example.com foo=bar")
	if len(r.Terms) != 7 || r.Redirect != "y.example.com" || r.Exp != "" {
		t.Fatalf("%+v", r)
	}
	a := r.Terms[0]
	if a.Name != "a" || a.Qualifier != '+' || a.Domain != "x.example.com" || a.CIDR4 != 24 || a.CIDR6 != 64 || a.At != 7 || a.Text != "+A:x.example.com/24//64" {
		t.Errorf("%+v", a)
	}
	if n := r.Terms[1]; n.Prefix != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("%+v", n)
	}
	var got []string
	for _, p := range problems {
		if p.Error || p.At == 0 || p.Text == "" {
			t.Errorf("%+v", p)
		}
		got = append(got, p.Tag)
	}
	if fmt.Sprint(got) != "[foo=bar ptr mx redirect=y.example.com]" {
		t.Error(got)
	}
	if r, problems := ParseSPF("v=spf2.0/pra all"); r != nil || len(problems) != 1 || !problems[0].Error {
		t.Errorf("%+v %+v", r, problems)
	}
	for record, tag := range map[string]string{"v=spf1 all": "all", "v=spf1 ip4:0.0.0.0/0 -all": "ip4:0.0.0.0/0", "v=spf1 a": "all"} {
		if _, p := ParseSPF(record); len(p) != 1 || p[0].Error || p[0].Tag != tag {
			t.Errorf("%s: %+v", record, p)
		}
	}
}

func TestLintSPF(t *testing.T) {
	f := world(t, "example.com", txt("@", "v=spf1 a mx include:one.example.com include:%{d}.example.com -all")+"@ A 192.0.2.1\n@ MX 5 mx\n"+
		txt("one", "v=spf1 include:two.example.com ptr exists:gone.example.com")+txt("two", "v=spf1 a:gone.example.com mx:gone.example.com +all nonsense")+
		txt("loop", "v=spf1 include:loop.example.com -all")+txt("twice", "v=spf1 -all")+txt("twice", "v=spf1 -all")+
		txt("big", "v=spf1 include:big2.example.com -all")+txt("big2", "v=spf1 ptr ptr ptr ptr ptr ptr ptr ptr ptr ptr")+
		txt("lost", "v=spf1 include:nowhere.example.com -all")+txt("down", "v=spf1 include:dead.example.com -all")+
		txt("fine", "v=spf1 ip4:192.0.2.1 -all")+txt("end", "v=spf1 a -all mx include:gone.example.com")+"end A 192.0.2.1\n")
	f.SetFault("dead.example.com", 0, dns.Fault{Kind: dns.FaultServFail})
	for _, c := range []struct {
		domain         string
		lookups, voids int
		errors         string // the terms that have them
		kind           postino.Kind
	}{
		{"example.com", 9, 3, "[include:one.example.com v]", postino.Internal},
		{"loop.example.com", 1, 0, "[include:loop.example.com]", postino.Internal},
		{"twice.example.com", 0, 0, "[v]", postino.Internal},
		{"big.example.com", 11, 0, "[v]", postino.Internal},
		{"lost.example.com", 1, 0, "[include:nowhere.example.com]", postino.Internal},
		{"down.example.com", 1, 0, "[]", postino.Transient},
		{"gone.example.com", 0, 0, "[]", postino.NotFound},
		{"fine.example.com", 0, 0, "[]", postino.Internal},
		{"end.example.com", 1, 0, "[]", postino.Internal},
	} {
		l := LintSPF(t.Context(), NewInquiry(f, Limits{}), c.domain)
		tags := []string{}
		for _, p := range l.Problems {
			if p.Error {
				tags = append(tags, p.Tag)
			}
		}
		if l.Lookups != c.lookups || l.Voids != c.voids || fmt.Sprint(tags) != c.errors || l.Err == nil != (c.kind == postino.Internal) || l.Err != nil && !postino.Is(l.Err, c.kind) {
			t.Errorf("%s: %+v", c.domain, l)
		}
	}
}
