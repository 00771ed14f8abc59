package imap

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

// TestParseURL: RFC 5092 §11, RFC 4469 §3, RFC 5550 §5.7.1.
func TestParseURL(t *testing.T) {
	part := func(text SectionText, path ...uint32) Section { return Section{Text: text, Path: path} }
	for s, want := range map[string]*URL{
		"imap://mx.b.example/INBOX/;UID=7": {Host: "mx.b.example", Mailbox: "INBOX", UID: 7},
		"IMAP://ana%40b.example;AUTH=*@mx.b.example:143/Sent%20mail/2026;uidvalidity=3/;uid=4294967295": {
			User: "ana@b.example", Host: "mx.b.example", Mailbox: "Sent mail/2026", UIDValidity: 3, UID: 1<<32 - 1},
		"imap://;AUTH=PLAIN@[2001:db8::1]:143/inbox/;UID=7": {Host: "[2001:db8::1]", Mailbox: "INBOX", UID: 7},
		"imap://h/Drafts/;UID=7/;SECTION=1.2.MIME":          {Host: "h", Mailbox: "Drafts", UID: 7, Section: part(SectionMIME, 1, 2)},
		"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER": {
			Mailbox: "Drafts", UIDValidity: 385759045, UID: 20, Section: part(SectionHeader)},
		"/Drafts/;UID=7/;SECTION=2": {Mailbox: "Drafts", UID: 7, Section: part(SectionAll, 2)},
		"/%C3%89crits%3Bx/;UID=7/;SECTION=HEADER.FIELDS%20(From%20%22a/b%22)": {
			Mailbox: "Écrits;x", UID: 7, Section: Section{Text: SectionHeaderFields, Fields: []string{"From", "a/b"}}},
		"/a&b/;UID=7/;PARTIAL=0.1024": {Mailbox: "a&b", UID: 7, Section: Section{Partial: true, Length: 1024}},
		"/a/;UID=7/;SECTION=1/;PARTIAL=5": {Mailbox: "a", UID: 7,
			Section: Section{Path: []uint32{1}, Partial: true, Offset: 5, Length: math.MaxInt64}},

		"":                                   nil,
		"/":                                  nil,
		"http://h/INBOX/;UID=7":              nil,
		"imap://h":                           nil,
		"imap://h/INBOX":                     nil,
		"imap:///INBOX/;UID=7":               nil,
		"imap://a%2Fb/INBOX/;UID=7":          nil,
		"imap://[x]/INBOX/;UID=7":            nil,
		"imap://h/;UID=7":                    nil,
		"INBOX/;UID=7":                       nil, // RFC 5092 §7.2
		"//h/INBOX/;UID=7":                   nil,
		"/INBOX/;UID=0":                      nil,
		"/INBOX/;UID=4294967296":             nil,
		"/INBOX/;UID=7/":                     nil,
		"/INBOX/;UID=7/x":                    nil,
		"/INBOX?ALL":                         nil,
		"/INBOX/;UID=7?x":                    nil,
		"/INBOX/;UID=7;URLAUTH=anonymous:x":  nil,
		"/INBOX/;UID=7/;URLAUTH=anonymous:x": nil,
		"/INBOX;UIDVALIDITY=x/;UID=7":        nil,
		"/INBOX;X=1/;UID=7":                  nil,
		"/INBOX/;UID=7/;SECTION=":            nil,
		"/INBOX/;UID=7/;SECTION=MIME":        nil,
		"/INBOX/;UID=7/;SECTION=1.x":         nil,
		"/INBOX/;UID=7/;SECTION=TEXT%20":     nil,
		"/INBOX/;UID=7/;SECTION=HEADER.FIELDS%20(%7B1%7D)":    nil,
		"/INBOX/;UID=7/;PARTIAL=0.0":                          nil,
		"/INBOX/;UID=7/;PARTIAL=-1":                           nil,
		"/INBOX/;UID=7/;PARTIAL=1/;SECTION=1":                 nil,
		"/INBOX/;UID=7/;PARTIAL=1/;PARTIAL=1":                 nil,
		"/%zz/;UID=7":                                         nil,
		"/%FF/;UID=7":                                         nil,
		"/a%0Ab/;UID=7":                                       nil,
		"/../;UID=7":                                          nil,
		"/" + strings.Repeat("a/", 20) + "a/;UID=7":           nil, // IM10
		"/INBOX/;UID=7/;SECTION=1" + strings.Repeat(".1", 50): nil, // IM3
		"/INBOX/;UID=7/;SECTION=HEADER.FIELDS%20(" + strings.Repeat("x", 256) + ")":          nil,
		"/INBOX/;UID=7/;SECTION=HEADER.FIELDS%20(x" + strings.Repeat("%20x", 1000) + ")":     nil, // IM2
		"/INBOX/;UID=7/;SECTION=HEADER.FIELDS%20(" + strings.Repeat("%20x", (8<<10)/4) + ")": nil,
	} {
		got, err := ParseURL(s, Limits{})
		switch {
		case want == nil && (err == nil || !postino.Is(err, postino.Invalid)):
			t.Errorf("%q is taken for %+v, %v", s, got, err)
		case want != nil && (err != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("%q is read as %+v, %v", s, got, err)
		}
	}
}

// checkURL: what is printed is read as the same.
func checkURL(t interface{ Fatalf(string, ...any) }, u *URL) {
	s := u.String()
	got, err := ParseURL(s, Limits{})
	if err != nil || !reflect.DeepEqual(got, u) {
		t.Fatalf("%+v\nis printed as %q\nand read as %+v, %v", u, s, got, err)
	}
}

func TestURLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := &URL{Mailbox: rapid.StringMatching(`[a-zA-Z0-9 é;&%?#@:=.+]{1,8}x(/[a-z!$]{1,4}){0,3}`).Draw(t, "mailbox"), UID: rapid.Uint32Min(1).Draw(t, "uid")}
		u.Mailbox = canonicalName(u.Mailbox)
		if rapid.Bool().Draw(t, "absolute") {
			u.User = rapid.StringMatching(`([a-z;@/é]{1,5})?`).Draw(t, "user")
			u.Host = rapid.SampledFrom([]string{"mx.example.org", "127.0.0.1", "[::1]"}).Draw(t, "host")
		}
		u.UIDValidity = rapid.Uint32().Draw(t, "validity")
		for range rapid.IntRange(0, 3).Draw(t, "depth") {
			u.Section.Path = append(u.Section.Path, rapid.Uint32Min(1).Draw(t, "part"))
		}
		u.Section.Text = SectionText(rapid.IntRange(0, int(SectionMIME)).Draw(t, "text"))
		if u.Section.Text == SectionMIME && u.Section.Path == nil {
			u.Section.Text = SectionAll
		}
		if u.Section.Text == SectionHeaderFields || u.Section.Text == SectionHeaderFieldsNot {
			u.Section.Fields = rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z"\\ /;é-]{1,9}`), 1, 4).Draw(t, "fields")
		}
		if rapid.Bool().Draw(t, "partial") {
			u.Section.Partial = true
			u.Section.Offset = rapid.Int64Min(0).Draw(t, "offset")
			u.Section.Length = rapid.Int64Min(1).Draw(t, "length")
		}
		checkURL(t, u)
	})
}

func FuzzParseURL(f *testing.F) {
	f.Add("imap://ana%40b.example;AUTH=*@mx.b.example:143/Sent;uidvalidity=3/;uid=5/;SECTION=1.2.HEADER/;PARTIAL=0.5")
	f.Add("/a%20b/c;UIDVALIDITY=1/;UID=5/;SECTION=HEADER.FIELDS.NOT%20(%22x%22%20y)/;PARTIAL=7")
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := ParseURL(s, Limits{}); err == nil {
			checkURL(t, u)
		}
	})
}
