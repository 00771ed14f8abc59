package mailauth

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino/message"
)

// TestParseAuthResults reads the examples of RFC 8601 Appendix B, and others.
func TestParseAuthResults(t *testing.T) {
	for _, c := range []struct {
		text string
		want AuthResults
	}{
		{" example.org 1; none", AuthResults{ID: "example.org"}},
		{" example.org", AuthResults{ID: "example.org"}},
		{" example.com;\r\n spf=pass smtp.mailfrom=example.net", AuthResults{"example.com",
			[]AuthResult{{Method: "spf", Result: Pass, Props: []Prop{{"smtp", "mailfrom", "example.net"}}}}}},
		{" example.com;\r\n auth=pass (cleartext) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net;",
			AuthResults{"example.com", []AuthResult{
				{Method: "auth", Result: Pass, Comment: "cleartext", Props: []Prop{{"smtp", "auth", "sender@example.net"}}},
				{Method: "spf", Result: Pass, Props: []Prop{{"smtp", "mailfrom", "example.net"}}}}}},
		{" foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n" +
			" policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
			AuthResults{"foo.example.net", []AuthResult{{Method: "dkim", Result: Fail,
				Props: []Prop{{"policy", "expired", "1362471462"}}}}}},
		{` x; dkim=fail reason="bad \"signature\"; really" header.i="a b"@example.org`, AuthResults{"x", []AuthResult{
			{Method: "dkim", Result: Fail, Reason: `bad "signature"; really`, Props: []Prop{{"header", "i", "a b@example.org"}}}}}},
	} {
		got, err := ParseAuthResults([]byte(c.text), 0)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
		} else if !reflect.DeepEqual(&c.want, got) {
			t.Errorf("%q: %+v", c.text, got)
		}
	}
	for _, bad := range []string{"", ";", "x; dkim", "x; dkim=", "x; =pass", "x 2; none", "x; dkim/2=pass", "x; dkim=pass header=1",
		"x; dkim=pass header.=1", "x; dkim=pass (open", `x; dkim=pass reason="open`, "x y; none", "x; dkim=pass .d=1",
		"x" + strings.Repeat("; dkim=pass", 101), "x; dkim=pass" + strings.Repeat(" header.d=x", 65)} {
		if got, err := ParseAuthResults([]byte(bad), 0); err == nil {
			t.Errorf("%.40q: %+v", bad, got)
		}
	}
}

// TestAuthResultsRoundTrip: what is written reads back, and whatever the values, it
// is one field with the results that were given (G7).
func TestAuthResultsRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[a-z][a-z0-9-]{0,9}`)
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,60}`),
		rapid.SampledFrom([]string{"a\r\nFrom: b", `"; dkim=pass`, ") dkim=pass (", `\`, "\x00", "a@b", "\u202e", "b/+=", strings.Repeat("x", 999)}))
	rapid.Check(t, func(t *rapid.T) {
		var list []AuthResult
		for range rapid.IntRange(0, 4).Draw(t, "n") {
			r := AuthResult{Method: word.Filter(func(s string) bool { return s != "none" }).Draw(t, "method"),
				Result: Result(word.Draw(t, "result")), Reason: text.Draw(t, "reason"), Comment: text.Draw(t, "comment")}
			for range rapid.IntRange(0, 3).Draw(t, "props") {
				r.Props = append(r.Props, Prop{word.Draw(t, "type"), word.Draw(t, "name"), text.Draw(t, "value")})
			}
			list = append(list, r)
		}
		field := AppendAuthResults(nil, "mx.example.org", list)
		var n int
		var value []byte
		for f := range message.Fields(append(bytes.Clone(field), "From: x\r\n"...)) {
			if n++; n == 1 {
				value = f.Value
			}
		}
		for line := range bytes.SplitSeq(field, crlf) {
			if len(line) > 998 {
				t.Fatalf("line of %d octets", len(line))
			}
		}
		got, err := ParseAuthResults(value, 0)
		if err != nil || n != 2 || got.ID != "mx.example.org" || len(got.Results) != len(list) {
			t.Fatalf("%d fields, %v %+v\n%q", n, err, got, field)
		}
		for i, r := range got.Results {
			if r.Method != list[i].Method || r.Result != list[i].Result || len(r.Props) != len(list[i].Props) {
				t.Fatalf("%+v became %+v\n%q", list[i], r, field)
			}
			for j, p := range r.Props {
				if want := list[i].Props[j]; p.Type != want.Type || p.Name != want.Name || plainText(want.Value) && p.Value != want.Value {
					t.Fatalf("%+v became %+v\n%q", want, p, field)
				}
			}
			if plainText(list[i].Reason) && r.Reason != list[i].Reason {
				t.Fatalf("reason %q became %q", list[i].Reason, r.Reason)
			}
		}
	})
}

// plainText tells whether a text needs no other escape than backslashes.
func plainText(s string) bool {
	for _, r := range s {
		if r < ' ' || r > '~' {
			return false
		}
	}
	return len(s) <= maxResultText
}

func TestVerdictResults(t *testing.T) {
	z := zone()
	msg := sign(t, crlfText(plain), rsaKey(), edKey())
	v := verify(t, z, signedAt, msg)
	v.DKIM = append(v.DKIM, v.DKIM[0])
	v.DKIM[2].Data = v.DKIM[0].Data[:12] + "different"
	field := string(AppendAuthResults(nil, "mx.example.net", v.Results()))
	for _, want := range []string{"dkim=pass (2048-bit key)", "header.d=example.org", "header.i=@example.org", "header.s=ed",
		"header.a=ed25519-sha256", "arc=none"} {
		if !strings.Contains(field, want) {
			t.Errorf("no %q in %s", want, field)
		}
	}
	if n := len(v.prefix(0)); n != 13 { // RFC 6008 §4
		t.Errorf("prefix of %d octets", n)
	}
	if n := len(v.prefix(1)); n != 8 {
		t.Errorf("prefix of %d octets", n)
	}
}

func FuzzAuthResults(f *testing.F) {
	f.Add([]byte(" example.com; spf=pass (a (b)) reason=\"x\" smtp.mailfrom=example.net; none"))
	f.Add([]byte("x 1; dkim/1=fail header.i=\"a b\"@c"))
	f.Fuzz(func(t *testing.T, v []byte) {
		a, err := ParseAuthResults(v, 0)
		if err != nil {
			return
		}
		field := AppendAuthResults(nil, a.ID, a.Results)
		again, err := ParseAuthResults(field[23:], 0)
		if err != nil || len(again.Results) != len(a.Results) {
			t.Fatalf("%q became %q: %v", v, field, err)
		}
		out, n := RemoveAuthResults(nil, field, oneOf(canonicalID(a.ID)))
		if plainText(a.ID) && (n != 1 || len(out) != 0) {
			t.Fatalf("own field stays: %q", field)
		}
	})
}
