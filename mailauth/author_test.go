package mailauth

import (
	"fmt"
	"strings"
	"testing"
)

// piece is a building block of a header. clean means that every program sees an
// address of evil.example in it and none of bank.example; bank that some program may
// see bank.example as the author's domain.
type piece struct {
	text        string
	clean, bank bool
}

var (
	displayNames = []piece{
		{"", true, false},
		{"The Bank ", true, false},
		{`"The Bank" `, true, false},
		{`"ceo@bank.example" `, true, false}, // a name, whatever it says (RFC 9989 §11.4)
		{`"Bank \" <ceo@bank.example>" `, true, false},
		{"=?utf-8?q?ceo=40bank.example?= ", true, false},
		{"=?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ==?= ", true, false},
		{"(ceo@bank.example) ", true, false},
		{"(a (nested) \\) ceo@bank.example) ", true, false},
		{"x@evil.example ", true, false},
		{"ceo@bank.example ", false, true},
		{"ceo@BANK.example. ", false, true},
		{"=?utf-8?q?ceo@bank.example?= ", false, false},
		{"ceo@bank.example, ", false, true},
		{"<ceo@bank.example> ", false, true},
		{"ceo@bank.example; ", false, true},
		{"Bank: ceo@bank.example, ", false, true},
		{`"ceo@bank.example `, false, false}, // no end
		{"(ceo@bank.example ", false, false},
		{"ceo@bank.example\r\n ", false, true},
		{"Bank, ", false, false},
	}
	addresses = []piece{
		{"<x@evil.example>", true, false},
		{"<x@EVIL.Example>", true, false},
		{"\r\n <x@evil.example>", true, false},
		{"<x@evil.example> (ceo@bank.example)", true, false},
		{`<"ceo@bank.example"@evil.example>`, true, false},
		{`<"ceo@bank.example>"@evil.example>`, true, false},
		{"<x@evil.example.>", false, false},
		{"<x@.evil.example>", false, false},
		{"<@bank.example:x@evil.example>", false, true},
		{"<@bank.example,@evil.example:x@evil.example>", false, true},
		{"<ceo@bank.example@evil.example>", false, true},
		{"<ceo@bank.example(.evil.example)>", false, true},
		{"<x@evil.example> <ceo@bank.example>", false, true},
		{"<ceo@bank.example> <x@evil.example>", false, true},
		{"<x@evil.example>, <ceo@bank.example>", false, true},
		{"<x@evil.example>; ceo@bank.example", false, true},
		{"<x@[192.0.2.1]>", false, false},
		{"<x@\r\n bank.example>", false, true},
		{"<x@ evil.example>", false, false},
		{"<x@evil.example", true, false},
		{"<x>", false, false},
		{"<>", false, false},
		{"<x@evil.example\x00.bank.example>", false, false},
		{"<ceo@bank.example\r@evil.example>", false, true},
		{"<x@evil.exam\xadple>", false, false},
		{"<ceo@-www.bank.example>", false, true},
		{"<ceo@x..bank.example>", false, true},
		{"<ceo@_x.b\xc3\xa4.bank.example>", false, true},
		{"<ceo@evil.example\x00.bank.example>", false, true},
		{"<ceo@evil example.bank.example>", false, false},
	}
	beforeFrom = []piece{
		{"", true, false},
		{"Sender: ceo@bank.example\r\nReply-To: ceo@bank.example\r\n", true, false},
		{"Resent-From: ceo@bank.example\r\n", true, false},
		{"From: ceo@bank.example\r\n", false, true},
		{"FROM:ceo@bank.example\r\n", false, true},
		{"From : ceo@bank.example\r\n", false, true},
		{"From:\r\n ceo@bank.example\r\n", false, true},
		{"From:\r\n", false, false},
		{"X: y\rFrom: ceo@bank.example\r\n", false, false},
		{"Fr\x00om: ceo@bank.example\r\n", false, false},
		{"From ceo@bank.example Mon\r\n", false, false},
		{"X: y\nFrom: ceo@bank.example\n", false, true},
	}
	afterFrom = []piece{
		{"", true, false},
		{"From: ceo@bank.example\r\n", false, true},
		{"from: Bank <ceo@bank.example>\r\n", false, true},
		{"From: Group: ceo@bank.example;\r\n", false, true},
	}
)

// spoofs composes messages that want to be taken for mail of bank.example, which
// asks for reject, by a forger who owns evil.example and whose every message passes
// SPF or DKIM for it.
func spoofs(try func(name, header string, clean, bank bool)) (n int) {
	compose := func(before, display, address, after piece) {
		n++
		header := before.text + "From: " + display.text + address.text + "\r\n" + after.text + "To: you@example.net\r\n\r\n"
		clean := before.clean && display.clean && address.clean && after.clean
		// What a piece hides in a quote or comment without end is not read.
		bank := before.bank || after.bank || display.bank || address.bank && display.text != `"ceo@bank.example ` && display.text != "(ceo@bank.example "
		try(fmt.Sprintf("%q", header), header, clean, bank)
	}
	for _, d := range displayNames {
		for _, a := range addresses {
			compose(beforeFrom[0], d, a, afterFrom[0])
		}
	}
	for _, b := range beforeFrom {
		for _, a := range afterFrom {
			for _, d := range displayNames[:4] {
				compose(b, d, addresses[0], a)
			}
		}
	}
	return n
}

// TestSpoofedAuthor: whatever the forger composes, DMARC passes only mail in which
// everybody sees evil.example, and says so; and where anybody sees bank.example its
// policy applies (MA1).
func TestSpoofedAuthor(t *testing.T) {
	f := world(t, "bank.example", txt("_dmarc", "v=DMARC1; p=reject")+txt("@", "v=spf1 -all"),
		"evil.example", txt("_dmarc", "v=DMARC1; p=none")+txt("@", "v=spf1 +all"))
	n := spoofs(func(name, header string, clean, bank bool) {
		for _, auth := range []string{"spf", "null", "dkim"} {
			c, v := client("192.0.2.66", "", "evil.example"), signedBy()
			switch auth {
			case "spf":
				c = client("192.0.2.66", "x@evil.example", "bank.example")
			case "dkim":
				c, v = client("192.0.2.66", "ceo@bank.example", "bank.example"), signedBy("evil.example")
			}
			q := NewInquiry(f, Limits{})
			spf := CheckSPF(t.Context(), q, c)
			d := CheckDMARC(t.Context(), q, []byte(header), &spf, v, DMARCOptions{})
			if (d.Result == Pass) != clean || d.Result == Pass && d.Author.Domain != "evil.example" {
				t.Errorf("%s by %s: %s for %s: %s", name, auth, d.Result, d.Author.Domain, d.Reason)
			}
			if bank && (d.Result != Fail || d.Disposition != PolicyReject || d.Domain != "bank.example") {
				t.Errorf("%s by %s: %s %s by %s of %v: %s", name, auth, d.Result, d.Disposition, d.Domain, d.Author.Domains, d.Reason)
			}
			results := string(AppendAuthResults(nil, "mx", d.Results()))
			if d.Result == Pass && !strings.Contains(results, "header.from=evil.example ") || strings.Count(results, "\r\n") > strings.Count(results, "\r\n\t")+1 {
				t.Errorf("%s: %q", name, results)
			}
		}
	})
	if n < 300 {
		t.Errorf("only %d messages", n)
	}
}

// TestForgedAuthor: mail in the name of bank.example, with everything a forger can
// make pass: nothing does.
func TestForgedAuthor(t *testing.T) {
	f := world(t, "bank.example", txt("_dmarc", "v=DMARC1; p=reject; sp=reject")+txt("@", "v=spf1 -all")+"www A 192.0.2.1\n",
		"evil.example", txt("@", "v=spf1 +all")+txt("*", "v=spf1 +all")+txt("_dmarc", "v=DMARC1; p=none; psd=n"),
		"example", txt("notbank", "v=spf1 +all"), "xn--bnk-6cd.example", txt("@", "v=spf1 +all"))
	n := 0
	for _, from := range []string{"bank.example", "BANK.EXAMPLE", "www.bank.example", "gone.bank.example", "_dmarc.bank.example", "www_1.bank.example", "ｂａｎｋ.example", "bank。example", "b\u00adank.example"} {
		for _, other := range []string{"evil.example", "bank.example.evil.example", "notbank.example", "example", "xn--bnk-6cd.example", "_dmarc.evil.example",
			"bank.evil.example", "www.evil.example", "ank.example"} {
			for _, header := range []string{"From: ceo@%s\r\n", "From: \"Bank\" <ceo@%s>\r\n", "from:<ceo@%s>\r\nSender: x@evil.example\r\n",
				"Reply-To: x@evil.example\r\nFrom:\r\n CEO (the boss)\r\n <ceo@%s>\r\n"} {
				n++
				q := NewInquiry(f, Limits{})
				header := fmt.Sprintf(header, from)
				spf := CheckSPF(t.Context(), q, client("192.0.2.66", "ceo@"+other, other))
				d := CheckDMARC(t.Context(), q, []byte(header), &spf, signedBy(other), DMARCOptions{})
				if d.Result != Fail || d.Disposition != PolicyReject || d.Domain != "bank.example" {
					t.Errorf("%q by %s: %s %s %s", header, other, d.Result, d.Disposition, d.Reason)
				}
			}
		}
	}
	if n < 200 {
		t.Error(n)
	}
	// A name that only looks alike is its owner's, and shown as what it is.
	spf := CheckSPF(t.Context(), NewInquiry(f, Limits{}), client("192.0.2.66", "x@xn--bnk-6cd.example", ""))
	f.AddZone("xn--bnk-6cd.example", txt("_dmarc", "v=DMARC1; p=none"), 0)
	d := CheckDMARC(t.Context(), NewInquiry(f, Limits{}), []byte("From: ceo@bаnk.example\r\n"), &spf, nil, DMARCOptions{})
	if d.Result != Pass || d.Author.Domain != "xn--bnk-6cd.example" {
		t.Errorf("%+v", d)
	}
}

// TestReadAuthor has honest From fields, and says why others name nobody.
func TestReadAuthor(t *testing.T) {
	for _, c := range []struct{ header, domain, address, reason string }{
		{"From: joe@example.org\r\n", "example.org", "joe@example.org", ""},
		{"From: Joe <joe@Example.ORG>\r\n", "example.org", "joe@Example.ORG", ""},
		{"From: joe@example.org (Joe)\r\n", "example.org", "joe@example.org", ""},
		{"From: joe@example.org <joe@example.org>\r\n", "example.org", "joe@example.org", ""},
		{"From: =?utf-8?q?J=C3=B6?= <j\xc3\xb6@b\xc3\xbccher.example>\r\n", "xn--bcher-kva.example", "j\xc3\xb6@b\xc3\xbccher.example", ""},
		{"From: <\"joe x\"@example.org>\r\n", "example.org", "\"joe x\"@example.org", ""},
		{"From: joe@Web_Shop.example.org\r\n", "web_shop.example.org", "joe@Web_Shop.example.org", ""},
		{"From: joe@w\xc3\xa9b_shop.example.org\r\n", "", "", "no valid domain"},
		{"To: x@example.net\r\n", "", "", "no From field"},
		{"From: a@example.org\r\nFrom: a@example.org\r\n", "", "", "several From fields"},
		{"From: a@example.org, b@example.org\r\n", "", "", "several addresses"},
		{"From: Team: a@example.org;\r\n", "", "", "a group"},
		{"From: undisclosed:;\r\n", "", "", "a group"},
		{"From: \r\n", "", "", "no address"},
		{"From: Joe\r\n", "", "", "no address"},
		{"From: joe@[192.0.2.1]\r\n", "", "", "no valid domain"},
		{"From: joe@-x.example\r\n", "", "", "no valid domain"},
		{"From: joe@example.org.\r\n", "", "", "no valid domain"},
		{"From: joe@example(.com).org\r\n", "", "", "different addresses"},
		{"From: joe@example.org (boss@bank.example\r\n", "", "", "different addresses"},
		{"From: joe@example.org \"boss\r\n", "", "", "different addresses"},
		{"From: joe@example.org ) (\r\n", "", "", "different addresses"},
		{"From: <@example.org:joe@example.org>\r\n", "", "", "different addresses"},
		{"From: joe@example.org\r\nX: a\x00b\r\n", "", "", "NUL"},
		{"From: joe@example.org\r\nX: a\rb\r\n", "", "", "CR"},
		{"From: joe@example.org\r\nnothing\r\n", "", "", "no field"},
	} {
		a := ReadAuthor([]byte(c.header+"\r\n"), Limits{})
		if a.Domain != c.domain || a.Address != c.address || (a.Reason == "") != (c.reason == "") || !strings.Contains(a.Reason, c.reason) {
			t.Errorf("%q: %+v", c.header, a)
		}
	}
	many := "From: " + strings.Repeat("a@b.example, ", 5000) + "\r\n"
	if a := ReadAuthor([]byte(many), Limits{}); len(a.Domains) != 1 || !a.More || a.Domain != "" {
		t.Errorf("%+v", a)
	}
	if a := ReadAuthor([]byte("From: a@b.example\r\nX: y\r\nX: y\r\n"), Limits{Fields: 2}); a.Domain != "" || a.Reason != "the header has too many fields" {
		t.Errorf("%+v", a)
	}
}

// TestMention: the domain of whoever is named, however malformed, within bounds.
func TestMention(t *testing.T) {
	for host, want := range map[string]string{
		"": "", ".": "", "a": "a", "a.b.": "a.b", "a..b": "b", "-a.b": "b", "x_.b..": "x_.b", "a.-b": "", "[192.0.2.1]": "", "\x00.b.c": "b.c",
		strings.Repeat("a.", 200) + "b": strings.Repeat("a.", 127) + "b", strings.Repeat("a", 70) + ".b": "b", "_x.b\xc3\xa4.c": "xn--b-0fa.c",
		"1x.\u05e9\u05dc\u05d5\u05dd.bank.example": "xn--9dbne9b.bank.example", strings.Repeat("-.", 120) + "b": "b",
	} {
		var a authorReader
		if a.mention(host); strings.Join(a.Domains, " ") != want || a.More {
			t.Errorf("%q: %q", host, a.Domains)
		}
	}
	var a authorReader
	for range 3 {
		a.mention(strings.Repeat("-.", 126) + "b")
	}
	if !a.More || a.cuts != maxCuts {
		t.Errorf("%+v", a)
	}
}
