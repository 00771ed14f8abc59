package mailauth

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSpoofing: what forgers try. Each case changes a message that passes, or signs
// one as an honest signer would not.
func TestSpoofing(t *testing.T) {
	const (
		head = "From: joe@example.org\nTo: a@example.net\nSubject: hello\nMIME-Version: 1.0\nContent-Type: text/plain\n"
		body = "line one\nline two\n"
		base = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=rsa; h=from:to:subject"
	)
	top := func(s string) func([]byte) []byte {
		return func(m []byte) []byte { return append(crlfText(s), m...) }
	}
	end := func(s string) func([]byte) []byte {
		return func(m []byte) []byte { return append(m, crlfText(s)...) }
	}
	swap := func(old, new string) func([]byte) []byte {
		return func(m []byte) []byte {
			out := bytes.Replace(m, []byte(old), []byte(new), 1)
			if bytes.Equal(out, m) {
				panic("nothing replaced: " + old)
			}
			return out
		}
	}
	cut := func(n int) func([]byte) []byte { return func(m []byte) []byte { return m[:len(m)-n] } }
	tags := func(old, new string) string { return strings.Replace(base, old, new, 1) }
	for _, c := range []struct {
		name, tags string
		change     func([]byte) []byte
		want       Result
	}{
		{"untouched", base, nil, Pass},
		{"oversigned", base + ":from:to:subject", nil, Pass},
		{"body appended", base, end("more\n"), Fail},
		{"body cut", base, cut(4), Fail},
		{"empty lines appended", base, end("\n\n\n"), Pass},
		{"spaces in a line changed", base, swap("line one", "line \t one"), Pass},
		{"word split", base, swap("line one", "li ne one"), Fail},
		{"subject changed", base, swap("hello", "hallo"), Fail},
		{"subject in other case", base, swap("Subject: hello", "SUBJECT:hello"), Pass},
		{"subject folded", base, swap("Subject: hello", "Subject:\r\n hello"), Pass},
		{"subject removed", base, swap("Subject: hello\r\n", ""), Fail},
		{"second From on top", base, top("From: boss@example.com\n"), Policy},
		{"second From, oversigned", base + ":from", top("From: boss@example.com\n"), Fail},
		{"second From below", base, swap("MIME-Version", "From: boss@example.com\r\nMIME-Version"), Fail},
		{"two From, both signed", base + ":from", nil, Pass},
		{"From with space before the colon", base, top("From : boss@example.com\n"), Policy},
		{"From in other case", base, top("fROM: boss@example.com\n"), Policy},
		{"From folded", base, top("From:\n boss@example.com\n"), Policy},
		{"From behind a CR", base, top("X: y\rFrom: boss@example.com\n"), Policy},
		{"From with NUL", base, top("Fr\x00om: boss@example.com\n"), Policy},
		{"NUL in a value", base, top("X: a\x00b\n"), Policy},
		{"line that is no field", base, top("nonsense\n"), Policy},
		{"mbox line", base, top("From boss Fri Jul 11\n"), Policy},
		{"second Subject on top", base, top("Subject: pay\n"), Policy},
		{"second Subject, oversigned", base + ":subject", top("Subject: pay\n"), Fail},
		{"second To", base, top("To: b@example.net\n"), Policy},
		{"second Content-Type, not signed", base, top("Content-Type: text/html\n"), Pass},
		{"second Content-Type, signed once", base + ":content-type", top("Content-Type: text/html\n"), Policy},
		{"second Content-Type, oversigned", base + ":content-type:content-type", top("Content-Type: text/html\n"), Fail},
		{"added Cc, oversigned", base + ":cc", top("Cc: c@example.net\n"), Fail},
		{"added Cc, not signed", base, top("Cc: c@example.net\n"), Pass},
		{"added Reply-To, oversigned", base + ":reply-to", top("Reply-To: c@example.com\n"), Fail},
		{"From not in h=", tags("h=from:to", "h=to"), nil, PermError},
		{"h= with empty name", tags("h=from", "h=from::"), nil, Neutral},
		{"h= with spaces", tags("h=from:to", "h= From :\n To "), nil, Pass},
		{"h= names itself", base + ":dkim-signature", nil, Pass},
		{"l= whole body", base + "; l=20", nil, Pass},
		{"l= and text behind", base + "; l=20", end("pay now\n"), Policy},
		{"l=0", base + "; l=0", nil, Policy},
		{"l=0 and another body", base + "; l=0", swap("line two", "pay now"), Policy},
		{"l= beyond the body", base + "; l=9999", nil, Fail},
		{"l= negative", base + "; l=-1", nil, Neutral},
		{"l= empty", base + "; l=", nil, Neutral},
		{"l= huge", base + "; l=99999999999999999999", nil, Neutral},
		{"l= cut at a line, html behind", base + "; l=10", end("<html>\n"), Policy},
		{"i= same", base + "; i=joe@example.org", nil, Pass},
		{"i= in other case", base + "; i=joe@EXAMPLE.Org", nil, Pass},
		{"i= below", base + "; i=@mail.example.org", nil, Pass},
		{"i= beside", base + "; i=joe@example.com", nil, PermError},
		{"i= with the same end", base + "; i=joe@badexample.org", nil, PermError},
		{"i= without @", base + "; i=example.org", nil, Neutral},
		{"i= with two @", base + "; i=a@example.com@example.org", nil, Pass},
		{"i= quoted", base + "; i==6A=6Fe@example.org", nil, Pass},
		{"d= in other case", tags("d=example.org", "d=Example.ORG"), nil, Pass},
		{"d= of another", base, swap("d=example.org", "d=example.net"), Fail},
		{"d= top level", tags("d=example.org", "d=org"), nil, PermError},
		{"d= literal", tags("d=example.org", "d=[127.0.0.1]"), nil, PermError},
		{"d= with a final dot", tags("d=example.org", "d=example.org."), nil, PermError},
		{"s= missing", tags("s=rsa; ", ""), nil, PermError},
		{"s= with a slash", tags("s=rsa", "s=../rsa"), nil, PermError},
		{"s= without key", tags("s=rsa", "s=gone"), nil, PermError},
		{"s= of another kind", tags("s=rsa", "s=ed"), nil, PermError},
		{"a= SHA-1", tags("rsa-sha256", "rsa-sha1"), nil, PermError},
		{"a= unknown", tags("rsa-sha256", "rsa-md5"), nil, PermError},
		{"a= of another kind", tags("rsa-sha256", "ed25519-sha256"), nil, PermError},
		{"v= missing", tags("v=1; ", ""), nil, PermError},
		{"v= 2", tags("v=1", "v=2"), nil, PermError},
		{"v= 1.0", tags("v=1", "v=1.0"), nil, PermError},
		{"q= other", base + "; q=http", nil, PermError},
		{"q= both", base + "; q=http:dns/txt", nil, Pass},
		{"c= unknown", tags("relaxed/relaxed", "relaxed/other"), nil, PermError},
		{"x= over", base + "; t=1772000000; x=1772366000", nil, PermError},
		{"x= over by a minute", base + "; t=1772000000; x=1772366340", nil, Pass},
		{"x= before t=", base + "; t=1772366000; x=1772365000", nil, PermError},
		{"t= in the future", base + "; t=1772370000", nil, PermError},
		{"t= nonsense", base + "; t=now", nil, Neutral},
		{"twice the same tag", base + "; d=example.com", nil, Neutral},
		{"empty tag", base + ";;", nil, Neutral},
		{"unknown tag", base + "; zz=1; z=From:a", nil, Pass},
		{"tag without =", base + "; zz", nil, Neutral},
		{"b= not base64", base, swap("; b=", "; b=*"), Neutral},
		{"b= of another", base, swap("; b=", "; b=AAAA"), Fail},
		{"bh= of the changed body", base, func(m []byte) []byte {
			other := handMade(rsaKey(), base, head, "other\n")
			own := m[bytes.Index(m, []byte("bh=")):][:47]
			return bytes.Replace(other, other[bytes.Index(other, []byte("bh=")):][:47], own, 1)
		}, Fail},
		{"bare LF", base, func(m []byte) []byte { return bytes.ReplaceAll(m, crlf, []byte("\n")) }, Pass},
	} {
		h := head
		want := c.want
		if c.name == "two From, both signed" {
			h, want = "From: boss@example.com\n"+head, Policy
		}
		m := handMade(rsaKey(), strings.ReplaceAll(c.tags, "\n", "\r\n"), h, body)
		if c.change != nil {
			m = c.change(m)
		}
		v := verify(t, zone(), time.Unix(1772366400, 0), m)
		if len(v.DKIM) != 1 {
			t.Errorf("%s: %d signatures", c.name, len(v.DKIM))
		} else if s := v.DKIM[0]; s.Result != want {
			t.Errorf("%s: %s (%s), want %s", c.name, s.Result, s.Reason, want)
		}
	}
}

// TestKeyStrict: a key with t=s is for i= in d= itself (RFC 6376 §3.6.1).
func TestKeyStrict(t *testing.T) {
	z := zone()
	z.m["rsa._domainkey.example.org"][0] += "; t=s"
	tags := "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=rsa; h=from; i=@"
	for domain, want := range map[string]Result{"example.org": Pass, "mail.example.org": PermError} {
		m := handMade(rsaKey(), tags+domain, "From: a@example.org\n", "x\n")
		if s := verify(t, z, signedAt, m).DKIM[0]; s.Result != want {
			t.Errorf("%s: %s %s", domain, s.Result, s.Reason)
		}
	}
}

// TestForgedResults: MA2.
func TestForgedResults(t *testing.T) {
	for _, c := range []struct {
		field string
		gone  bool
	}{
		{"Authentication-Results: mx.example.org; dkim=pass", true},
		{"authentication-results: MX.Example.ORG; dkim=pass", true},
		{"AUTHENTICATION-RESULTS:mx.example.org;none", true},
		{"Authentication-Results : mx.example.org; dkim=pass", true},
		{"Authentication-Results:\r\n mx.example.org; dkim=pass", true},
		{"Authentication-Results: (a (nested\\)) comment) mx.example.org; dkim=pass", true},
		{"Authentication-Results:\r\n\t(a\r\n comment)\r\n mx.example.org 1; dkim=pass", true},
		{"Authentication-Results: \"mx.example.org\"; dkim=pass", true},
		{"Authentication-Results: \"mx.exa\\mple.org\"; dkim=pass", true},
		{"Authentication-Results: mx.\"example\".org; dkim=pass", true},
		{"Authentication-Results: mx.example.org(c); dkim=pass", true},
		{"Authentication-Results: mx.example.org.; dkim=pass", true},
		{"Authentication-Results: mx.example.org", true},
		{"Authentication-Results: mx.example.org 1; dkim=pass", true},
		{"Authentication-Results: mx.example.org 2; dkim=pass", true},
		{"Authentication-Results: other.example.net 2; dkim=pass", true},
		{"Authentication-Results: =?utf-8?Q?mx.example.org?=; dkim=pass", true},
		{"Authentication-Results: other.example.net 1; dkim=pass", false},
		{"Authentication-Results: bücher.example; dkim=pass", true},
		{"Authentication-Results: xn--bcher-kva.example; dkim=pass", true},
		{"Authentication-Results:; dkim=pass", true},
		{"Authentication-Results: (open; dkim=pass", true},
		{"Authentication-Results: \"open; dkim=pass", true},
		{"Authentication\x00-Results: mx.example.org; dkim=pass", true},
		{"Authentication-Results\x0b: mx.example.org; dkim=pass", true},
		{"X: y\rAuthentication-Results: mx.example.org; dkim=pass", true},
		{"X: y\r\rAuthentication-Results:mx.example.org", true},
		{"Authentication-Results: " + strings.Repeat("(c)", 3000) + "mx.example.org", true},
		{"Authentication-Results: other.example.org; dkim=pass", false},
		{"Authentication-Results: example.org; dkim=pass", false},
		{"Authentication-Results: mx.example.org.example.com; dkim=pass", false},
		{"Authentication-Results: other.example; mx.example.org=pass", false},
		{"X-Authentication-Results: mx.example.org; dkim=pass", false},
		{"ARC-Authentication-Results: i=1; mx.example.org; dkim=pass", false},
		{"Subject: Authentication-Results: mx.example.org", false},
	} {
		head := []byte("A: b\r\n" + c.field + "\r\nFrom: x\r\n\r\n")
		out, n := RemoveAuthResults(nil, head, oneOf("mx.example.org", "xn--bcher-kva.example"))
		want := head
		if c.gone {
			want = []byte("A: b\r\nFrom: x\r\n\r\n")
		}
		if !bytes.Equal(out, want) || (n == 1) != c.gone {
			t.Errorf("%.60q: left %q", c.field, out)
		}
	}
}

// oneOf makes the judgement that RemoveAuthResults wants of a list.
func oneOf(ids ...string) func(string) bool {
	return func(id string) bool { return slices.Contains(ids, id) }
}
