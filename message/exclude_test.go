package message

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// found reads all texts.
func found(t interface{ Fatal(...any) }, m *Matcher, x *Index, raw []byte) bool {
	for text := range x.Texts(bytes.NewReader(raw), TextAll) {
		ok, err := m.Match(text)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return true
		}
	}
	return false
}

// pieces of messages from which words are made, torn and joined.
var excludePieces = []string{
	"a", "b", "c", "A", "B", "abc", "ab", "bc", "ca", "abca", " ", "\r\n", "\r\n ", "\t", "<", ">", "<b>", "</b>", "<i x='>'>", "<br>", "<p>",
	"<!-- ", " -->", "<script>", "</script>", "<style>", "</style>", "<title>", "</title>", "<textarea>", "</textarea>", "<body>", "<plaintext>",
	"<img alt=", "<img alt='", "'>", "\"", "=", "/", "&", "&amp;", "&nbsp;", "&#97;", "&#98", "&fflig;", "&lt;", ";", "</", "<!", "<?", "?>", "<a href=\"?b&c\">",
	"<![CDATA[", "]]>", "=?utf-8?q?a?=", "=?us-ascii?q?b?= ", "=61", "é", "ﬁ", "\x1b$B", "\x1b(B", "\x00", "\r", "\n", "\v", "\f", "+AGE-", "YWJj", "~{",
}

var excludeHeads = []string{
	"", "Content-Type: text/html\r\n", "Content-Type: text/html; charset=utf-8\r\n", "Content-Type: text/html; charset=utf-8\r\n",
	"Content-Type: text/plain; charset=utf-7\r\n", "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n",
	"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n", "Content-Type: message/rfc822\r\n", "Content-Type: text/plain; charset=hz\r\n",
	"Content-Type: image/png; name*0=a; name*1=bc\r\n", "Content-Type: image/png; name*=utf-8''%61bc\r\n", "Content-Disposition: x; filename=\"a\\bc\"\r\n",
	"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n",
}

func TestExcludesProperty(t *testing.T) {
	excluded := 0
	rapid.Check(t, func(t *rapid.T) {
		text := func(max int, label string) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(excludePieces), 0, max).Draw(t, label), "")
		}
		raw := []byte("Subject: " + text(4, "subject") + "\r\n" + rapid.SampledFrom(excludeHeads).Draw(t, "head") + "\r\n" + text(24, "body"))
		m := NewMatcher(rapid.SampledFrom([]string{"abc", " abc", "abc ", "ABCA", "bca", "abcab", "aab", "ab c", "abc ca", "bbc", "aaa", "abcé", "fi", "ccab."}).Draw(t, "needle"))
		x := Parse(raw, Limits{})
		if m.Excludes(x, raw) {
			excluded++
			if found(t, m, x, raw) {
				t.Fatalf("excluded %q from %q", m.needle, raw)
			}
		}
	})
	if excluded == 0 {
		t.Error("nothing was excluded")
	}
}

func TestExcludes(t *testing.T) {
	const html = "Content-Type: text/html; charset=utf-8\r\n\r\n"
	for _, tt := range []struct {
		raw  string
		want bool
	}{
		{"Subject: x\r\n\r\nplain text\r\n", true},
		{"Subject: x\r\n\r\na nEEdle\r\n", false},
		{"Subject: =?utf-8?q?n=65edle?=\r\n\r\n", false},
		{html + "<p>one <b>bold</b> word &amp; more</p>", true},
		{html + "nee<b>dle</b>", false},
		{html + "nee<!-- > --><i>d<i>le", false},
		{html + "n&#101;edle", false},
		{html + "nee<img alt=dle>", false},
		{html + "no <i>needful</i> thing", true},
		{"Subject: x\r\n\r\ncaf\xc3\xa9\r\n", false},
	} {
		x := Parse([]byte(tt.raw), Limits{})
		m := NewMatcher("Needle")
		if got := m.Excludes(x, []byte(tt.raw)); got != tt.want || got && found(t, m, x, []byte(tt.raw)) {
			t.Errorf("%q: %v", tt.raw, got)
		}
	}
}

func FuzzExcludes(f *testing.F) {
	f.Add([]byte("Content-Type: text/html\r\n\r\nab<b>c</b>"), "abc")
	f.Add([]byte("Content-Type: image/png; name*0=a; name*1=bc\r\n\r\n"), "abc")
	f.Add([]byte("Content-Type: image/png; name*0=a; name*1=bc"), " abc")
	f.Fuzz(func(t *testing.T, raw []byte, needle string) {
		m := NewMatcher(needle)
		x := Parse(raw, Limits{})
		if m.Excludes(x, raw) && found(t, m, x, raw) {
			t.Fatalf("excluded %q from %q", needle, raw)
		}
	})
}

func BenchmarkExcludes(b *testing.B) {
	raw := []byte("From: a@example.org\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
		strings.Repeat("<p>The Analytical Engine weaves <b>algebraical</b> patterns.</p>\r\n", 70))
	x := Parse(raw, Limits{})
	m := NewMatcher("not in there")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if !m.Excludes(x, raw) {
			b.Fatal("not excluded")
		}
	}
}
