package message

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":                                                   "1997-11-21T09:55:06-06:00",
		"Tue, 1 Jul 2003 10:52:37 +0200 (CEST)":                                             "2003-07-01T10:52:37+02:00",
		"Thu,\r\n      13\r\n        Feb\r\n  1969\r\n 23:32\r\n -0330 (Newfoundland Time)": "1969-02-13T23:32:00-03:30", // RFC 5322 A.5
		"21 Nov 97 09:55:06 GMT":                                                            "1997-11-21T09:55:06Z",      // A.6.2
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600":                                   "1997-11-21T00:00:00-06:00",
		"1 Jan 49 00:00 EST":                                                                "2049-01-01T00:00:00-05:00",
		"1 Jan 50 00:00 PDT":                                                                "1950-01-01T00:00:00-07:00",
		"1 Jan 100 00:00 Z":                                                                 "2000-01-01T00:00:00Z",
		"Mon Jan  2 15:04:05 2006":                                                          "2006-01-02T15:04:05Z",
		"Mon Jan  2 15:04:05 MST 2006":                                                      "2006-01-02T15:04:05-07:00",
		"2006-01-02T15:04:05+01:00":                                                         "2006-01-02T15:04:05+01:00",
		"2006-01-02 15:04:05":                                                               "2006-01-02T15:04:05Z",
		"02-Jan-2006 15:04:05 +0000":                                                        "2006-01-02T15:04:05Z",
		"Mon, 2 Jan 2006 3:04:05 PM GMT+0100":                                               "2006-01-02T15:04:05+01:00",
		"Mon, 2 Jan 2006 25:04:05 +0000":                                                    "2006-01-02T00:00:00Z",
		"Mon, 2 Jan 2006 15:04:05 +9999":                                                    "2006-01-02T15:04:05Z",
		"Mon, 2 Jan 2006 15:04:05 Q":                                                        "2006-01-02T15:04:05Z",
		"Sat, 31 Dec 2016 23:59:60 +0000":                                                   "2017-01-01T00:00:00Z",
		"31 Feb 2006 15:04:05 +0000":                                                        "",
		"":                                                                                  "",
		"yesterday":                                                                         "",
		"Mon, 2 2006 15:04:05":                                                              "",
	} {
		got, ok := ParseDate([]byte(in))
		s := ""
		if ok {
			s = got.Format(time.RFC3339)
		}
		if s != want {
			t.Errorf("%q: got %q, want %q", in, s, want)
		}
	}
}

func TestBaseSubject(t *testing.T) {
	for in, want := range map[string]struct {
		base  string
		reply bool
	}{
		"":                                {"", false},
		"hello":                           {"hello", false},
		"Re: hello":                       {"hello", true},
		"RE:re : Fwd:FW[2]: hello (fwd) ": {"hello", true},
		"[list] hello":                    {"hello", false},
		"[a] [b] Re: [c] hello":           {"hello", true},
		"[only]":                          {"[only]", false},
		"[a][b]":                          {"[b]", false},
		"Re: [only]":                      {"[only]", true},
		"[fwd: Re: hello]":                {"hello", true},
		"[Fwd: [Fwd: x] ] (FWD)":          {"x", true},
		"reply to me":                     {"reply to me", false},
		"re\t\t: a  \t b":                 {"a b", true},
		"(fwd)":                           {"", true},
		"Re:":                             {"", true},
		"[[x]] y":                         {"[[x]] y", false},
	} {
		if base, reply := BaseSubject(in); base != want.base || reply != want.reply {
			t.Errorf("%q: got %q %v, want %q %v", in, base, reply, want.base, want.reply)
		}
	}
}

func TestDecodeHeader(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                        "plain",
		" folded\r\n\ttext ":                           "folded\ttext",
		"=?ISO-8859-1?Q?a?= b":                         "a b", // RFC 2047 §8
		"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=":        "ab",
		"=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=": "ab",
		"=?ISO-8859-1?Q?a_b?=":                         "a b",
		"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=":       "a b",
		"=?iso-8859-1?q?caf=E9?=":                      "café",
		"=?utf-8?B?w6k=?=":                             "é",
		"=?utf-8?B?w6k?=":                              "é",  // padding missing
		"=?utf-8?B?w 6\tk=?=":                          "é",  // white space inside
		"=?utf-8?b?ww==?= =?utf-8?b?qQ==?=":            "é",  // a character cut between words
		"=?utf-8?q?=C3?= =?UTF-8?b?qQ==?=":             "é",  // with different encodings
		"=?utf-8*en?q?hi?=":                            "hi", // RFC 2231 §5
		"=?x-nobody-knows?q?a=E9?= b":                  "=?x-nobody-knows?q?a=E9?= b",
		"a=?utf-8?q?b?=c":                              "abc",
		"=?utf-8?q?open":                               "=?utf-8?q?open",
		"=?utf-8?q?a =?utf-8?q?b?=":                    "=?utf-8?q?a b",
		"=?utf-8?x?a?=":                                "=?utf-8?x?a?=",
		"=?utf-8?q??=x":                                "x",
		"=?utf-8?q?a=0D=0ABcc:_x?=":                    "a  Bcc: x",
		"raw \xc3\xa9":                                 "raw é",
		"bare\rCR\x00":                                 "bare CR ",
		"raw caf\xe9":                                  "raw café",
		"=?utf-8?q?=ff?=":                              "ÿ\x00"[:0] + "\ufffd",
		"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=":           "日本",
		"=?gb2312?B?1tDOxA==?=":                        "中文",
		"=?utf-7?q?+AOk-?=":                            "é",
		"=?utf-8?q?a?= and =?utf-8?q?b?=":              "a and b",
	} {
		if got := DecodeHeader([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func format(list []Address) string {
	var out []string
	for _, a := range list {
		switch a.Group {
		case GroupStart:
			out = append(out, a.Name+"{")
		case GroupEnd:
			out = append(out, "}")
		default:
			out = append(out, fmt.Sprintf("%s|%s|%s|%s", a.Name, a.Route, a.Mailbox, a.Host))
		}
	}
	return strings.Join(out, " ")
}

func TestParseAddressList(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		" , ,":                                  "",
		"a@b":                                   "||a|b",
		"<a@b>":                                 "||a|b",
		"John Doe <jdoe@machine.example>":       "John Doe||jdoe|machine.example",
		`"Joe Q. Public" <john.q.public@e.com>`: "Joe Q. Public||john.q.public|e.com",
		"Joe Q. Public <j@e>":                   "Joe Q. Public||j|e", // obsolete phrase
		`Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>`:                "Mary Smith||mary|x.test ||jdoe|example.org Who?||one|y.test",
		`<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`:              `||boss|nil.test Giant; "Big" Box||sysservices|example.net`,
		`A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;`:             "A Group{ Ed Jones||c|a.test ||joe|where.test John||jdoe|one.test }",
		"Undisclosed recipients:;":                                                     "Undisclosed recipients{ }",
		"open: a@b":                                                                    "open{ ||a|b }",
		`Pete(A nice \) chap) <pete(his account)@silly.test(his host)>`:                "Pete||pete|silly.test",
		"Mary Smith <@node.test,@other.test:mary@example.net>, , jdoe@test  . example": "Mary Smith|@node.test,@other.test|mary|example.net ||jdoe|test.example",
		"john . doe @ example . org":                                                   "||john.doe|example.org",
		"a@b (Full Name)":                                                              "Full Name||a|b",
		`"a b"@c`:                                                                      "||a b|c",
		"a@[192.168.0.1]":                                                              "||a|[192.168.0.1]",
		"=?utf-8?q?=C3=A9?= <a@b>":                                                     "é||a|b",
		`"=?utf-8?q?=C3=A9?=" <a@b>`:                                                   "é||a|b",
		"foo@bar.com <a@b>":                                                            "foo@bar.com||a|b",
		"a@b; c@d":                                                                     "||a|b ||c|d",
		"root":                                                                         "||root|",
		"John Doe":                                                                     "John Doe|||",
		"<>":                                                                           "|||",
		"A <a@b":                                                                       "A||a|b",
		"A <a@b, c@d":                                                                  "A||a|b ||c|d",
		"A <a@b> junk, c@d":                                                            "A||a|b ||c|d",
		"é <é@é.example>":                                                              "é||é|é.example", // RFC 6532
		"a@b@c":                                                                        "||a|b",
		"\"open":                                                                       "||open|",
	} {
		if got := format(ParseAddressList([]byte(in), 0)); got != want {
			t.Errorf("%q:\n got %q\nwant %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"a@b": "a@b", `"a b"@c`: `"a b"@c`, `"a@evil"@b`: `"a@evil"@b`, `"x\"y"@[1]`: `"x\"y"@[1]`, "root": "root", `"a.b"@c`: "a.b@c"} {
		if list := ParseAddressList([]byte(in), 0); len(list) != 1 || list[0].String() != want {
			t.Errorf("%s: %v, want %s", in, list, want)
		}
	}
	if got := ParseAddressList([]byte("g:"+strings.Repeat("a@b,", 100)), 10); len(got) != 11 || got[10].Group != GroupEnd {
		t.Errorf("PA1: limit gives %d entries", len(got))
	}
}

func TestParseParams(t *testing.T) {
	type list = []Param
	for in, want := range map[string]struct {
		params list
		flags  Flag
	}{
		"":                                {nil, 0},
		";":                               {nil, 0},
		"; charset=us-ascii (Plain text)": {list{{"charset", "us-ascii", false}}, 0}, // RFC 2045 §5.1
		`; charset="us-ascii"`:            {list{{"charset", "us-ascii", false}}, 0},
		"; boundary=----=_Part/1:x;A=b":   {list{{"boundary", "----=_Part/1:x", false}, {"a", "b", false}}, 0},
		`; name="a;b\"c\\"`:               {list{{"name", `a;b"c\`, false}}, 0},
		"; name=My File.pdf; x=y":         {list{{"name", "My File.pdf", false}, {"x", "y", false}}, FlagBadParam},
		`; name="open`:                    {list{{"name", "open", false}}, FlagBadParam},
		"; flag; x=y":                     {list{{"x", "y", false}}, FlagBadParam},
		"; x=1; X=2":                      {list{{"x", "1", false}}, FlagDuplicateParam},
		"; URL*0=\"ftp://\";\r\n URL*1=\"cs.utk.edu/pub/moore\"":                                                      {list{{"url", "ftp://cs.utk.edu/pub/moore", false}}, 0},             // RFC 2231 §3
		"; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A":                                                   {list{{"title", "This is ***fun***", true}}, 0},                     // §4
		"; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"": {list{{"title", "This is even more ***fun*** isn't it!", true}}, 0}, // §4.1
		"; f*1=b; f*0=a":                           {list{{"f", "ab", false}}, 0},
		"; f*0=a; f*2=c":                           {list{{"f", "ac", false}}, FlagBadParam},
		"; f*1=b":                                  {list{{"f", "b", false}}, FlagBadParam},
		"; f*=iso-8859-1''caf%E9":                  {list{{"f", "café", true}}, 0},
		"; f*=utf-8''%c3%a9; f=e":                  {list{{"f", "é", true}}, FlagConflictingName},
		"; f==?utf-8?q?=C3=A9?=; f*=utf-8''%c3%a9": {list{{"f", "é", true}}, 0},
		"; f*0*=utf-8''%c3; f*1*=%a9":              {list{{"f", "é", true}}, 0},
		"; f*x=1; f**=2":                           {list{{"f*x", "1", false}, {"f**", "2", false}}, FlagBadParam},
	} {
		params, flags := ParseParams([]byte(in), Limits{})
		if !reflect.DeepEqual(params, want.params) || flags != want.flags {
			t.Errorf("%q:\n got %+v %b\nwant %+v %b", in, params, flags, want.params, want.flags)
		}
	}
	// PA1
	if p, f := ParseParams([]byte(strings.Repeat(";a=b;c=d", 500)), Limits{Params: 4}); len(p) != 2 || f&FlagLimit == 0 {
		t.Errorf("limit gives %v %b", p, f)
	}
}

func TestMessageIDs(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                   nil,
		"<a@b>":                              {"a@b"},
		"<a@b>\r\n\t<c@d> (x) <>":            {"a@b", "c@d"},
		"Your mail of Monday <a@b> and <c":   {"a@b"},
		`<"01KF8JCEOCBS0045PS"@xxx.yyy.com>`: {"01KF8JCEOCBS0045PS@xxx.yyy.com"}, // RFC 5256 §3
		"<a\r\n @b>":                         {"a@b"},
		"a@b":                                nil,
	} {
		if got := ParseMessageIDs([]byte(in), 0); !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := ParseMessageIDs([]byte("<1@a><2@a><3@a>"), 2); !reflect.DeepEqual(got, []string{"2@a", "3@a"}) {
		t.Errorf("limit gives %q", got)
	}
}

func TestSummarize(t *testing.T) {
	s := Summarize(crlf("Message-ID: <3@x>\nReferences: <1@x> <2@x>\nIn-Reply-To: <2@x>\nSubject: Re:\n =?utf-8?q?caf=C3=A9?=\n" +
		"Date: 1 Jan 2024 10:00:00 +0100\nFrom: A <a@b>\nTo: b@c\nTo: d@e\nCc: g: h@i;\n\nSubject: body"))
	if s.MessageID != "3@x" || !reflect.DeepEqual(s.References, []string{"1@x", "2@x"}) || s.Base != "café" || !s.Reply ||
		s.Subject() != "Re: café" || s.Sent.Unix() != 1704099600 || format(s.From()) != "A||a|b" || format(s.To()) != "||b|c ||d|e" ||
		format(s.Cc()) != "g{ ||h|i }" || s.Bcc() != nil || s.Sender() != nil {
		t.Errorf("%+v", s)
	}
	s = Summarize([]byte("In-Reply-To: <1@x> <2@x>\nMessage-ID: no@brackets\n\n"))
	if !reflect.DeepEqual(s.References, []string{"1@x"}) || s.MessageID != "no@brackets" || !s.Sent.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestAppendEnvelope(t *testing.T) {
	// The sample of RFC 9051 §8.
	in := crlf("Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\nFrom: Terry Gray <gray@cac.washington.edu>\nSubject: IMAP4rev2 WG mtg summary and minutes\n" +
		"To: imap@cac.washington.edu\ncc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\nMessage-Id: <B27397-0100000@cac.washington.edu>\n" +
		"MIME-Version: 1.0\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\n\n")
	want := `("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" ` +
		`(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) ` +
		`((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL ` +
		`"<B27397-0100000@cac.washington.edu>")`
	if got := string(AppendEnvelope(nil, in)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for in, want := range map[string]string{
		"":                                    nilEnvelope,
		"Subject:\n":                          `(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)`,
		"Subject: \"a\\b\n c\"\n":             `(NIL "\"a\\b c\"" NIL NIL NIL NIL NIL NIL NIL NIL)`,
		"Subject: caf\xe9\n":                  "(NIL {4}\r\ncaf\xe9 NIL NIL NIL NIL NIL NIL NIL NIL)",
		"Subject: a\x00b\n":                   "(NIL {3}\r\na?b NIL NIL NIL NIL NIL NIL NIL NIL)",
		"To: g: a@b, c@d;\n":                  `(NIL NIL NIL NIL NIL ((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL "c" "d")(NIL NIL NIL NIL)) NIL NIL NIL NIL)`,
		"To: root\n":                          `(NIL NIL NIL NIL NIL ((NIL NIL "root" "")) NIL NIL NIL NIL)`,
		"To: a@b\nTo: c@d\n":                  `(NIL NIL NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)`,
		"From: a@b\nReply-To: c@d\nSender:\n": `(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) NIL NIL NIL NIL NIL)`,
	} {
		if got := string(AppendEnvelope(nil, []byte(in))); got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestAppendBodyStructure(t *testing.T) {
	for in, want := range map[string]string{
		"\nx\n": `("text" "plain" NIL NIL NIL "7bit" 3 1 NIL NIL NIL NIL)`,
		"Content-Type: multipart/mixed; boundary=b\nContent-Language: it, en\n\n--b\nContent-Type: text/html; charset=utf-8; name*=utf-8''%c3%a9\n" +
			"Content-Disposition: attachment; filename*0=a; filename*1=b\nContent-Language: it\nContent-ID: <i@d>\nContent-Description: de sc\nContent-MD5: Q2hl\nContent-Location: u\nContent-Transfer-Encoding: BASE64\n\n" +
			"YQ==\n--b\nContent-Type: message/rfc822\n\nSubject: in\n\nbody\n--b--\n": `(("text" "html" ("charset" "utf-8" "name*" "UTF-8''%C3%A9") "<i@d>" "de sc" "base64" 4 0 "Q2hl" ("attachment" ("filename" "ab")) "it" "u")` +
			`("message" "rfc822" NIL NIL NIL "7bit" 19 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" NIL NIL NIL "7bit" 4 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)` +
			` "mixed" ("boundary" "b") NIL ("it" "en") NIL)`,
	} {
		x := mustVerify(t, crlf(in))
		if got := string(x.AppendBodyStructure(nil, true)); got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
	}
	x := Parse([]byte("Content-Type: image/png\r\n\r\n1234"), Limits{})
	if got := string(x.AppendBodyStructure(nil, false)); got != `("image" "png" NIL NIL NIL "7bit" 4)` {
		t.Errorf("BODY gives %s", got)
	}
}

func TestHeaderFields(t *testing.T) {
	header := []byte("A: 1\r\nb : 2\r\n\tfolded\r\njunk\r\nA: 3\n\r\n")
	for _, tt := range []struct {
		names string
		not   bool
		want  string
	}{
		{"a", false, "A: 1\r\nA: 3\n\r\n"},
		{"B x", false, "b : 2\r\n\tfolded\r\n\r\n"},
		{"a", true, "b : 2\r\n\tfolded\r\njunk\r\n\r\n"},
		{"x", false, "\r\n"},
		{"c d e f g h i j k l m A", false, "A: 1\r\nA: 3\n\r\n"},
		{"c d e f g h i j k l m A", true, "b : 2\r\n\tfolded\r\njunk\r\n\r\n"},
	} {
		if got := string(AppendHeaderFields(nil, header, strings.Fields(tt.names), tt.not)); got != tt.want {
			t.Errorf("%s %v: got %q, want %q", tt.names, tt.not, got, tt.want)
		}
	}
	if got := string(AppendHeaderFields(nil, []byte("A: 1\r\n"), []string{"A"}, false)); got != "A: 1\r\n" {
		t.Errorf("without empty line: %q", got)
	}
}

// RFC 9051 §6.4.5.1: the example of part specifiers.
func TestSection(t *testing.T) {
	b := crlf("Subject: top\nContent-Type: multipart/mixed; boundary=1\n\n" +
		"--1\n\np1\n--1\nContent-Type: application/octet-stream\n\np2\n" +
		"--1\nContent-Type: message/rfc822\n\nSubject: three\nContent-Type: multipart/mixed; boundary=2\n\n--2\n\np3.1\n--2\n\np3.2\n--2--\n" +
		"--1\nContent-Type: multipart/mixed; boundary=3\n\n--3\nContent-Type: image/gif\n\np4.1\n--3\nContent-Type: message/rfc822\n\nSubject: four\n\nsingle\n--3--\n--1--\n")
	x := mustVerify(t, b)
	for _, tt := range []struct {
		path []int
		what Section
		want string
	}{
		{[]int{1}, SectionBody, "p1"},
		{[]int{2}, SectionBody, "p2"},
		{[]int{2}, SectionMIME, "Content-Type: application/octet-stream\r\n\r\n"},
		{[]int{3}, SectionMIME, "Content-Type: message/rfc822\r\n\r\n"},
		{[]int{3}, SectionHeader, "Subject: three\r\nContent-Type: multipart/mixed; boundary=2\r\n\r\n"},
		{[]int{3}, SectionText, "--2\r\n\r\np3.1\r\n--2\r\n\r\np3.2\r\n--2--"},
		{[]int{3, 1}, SectionBody, "p3.1"},
		{[]int{3, 2}, SectionBody, "p3.2"},
		{[]int{4, 1}, SectionMIME, "Content-Type: image/gif\r\n\r\n"},
		{[]int{4, 2}, SectionHeader, "Subject: four\r\n\r\n"},
		{[]int{4, 2}, SectionText, "single"},
		{[]int{4, 2}, SectionBody, "Subject: four\r\n\r\nsingle"},
		{[]int{4, 2, 1}, SectionBody, "single"},
		{[]int{4, 2, 1}, SectionMIME, "Subject: four\r\n\r\n"},
		{nil, SectionBody, string(b)},
	} {
		s, ok := x.Section(tt.path, tt.what)
		if !ok || string(b[s.Start:s.End]) != tt.want {
			t.Errorf("%v %d: %v %q", tt.path, tt.what, ok, b[s.Start:s.End])
		}
	}
	for _, path := range [][]int{{0}, {-1}, {5}, {1, 1}, {3, 3}, {4, 2, 2}, {4, 2, 1, 1}} {
		if _, ok := x.Section(path, SectionBody); ok {
			t.Errorf("%v exists", path)
		}
	}
	for path, what := range map[int]Section{1: SectionHeader, 2: SectionText, 4: SectionHeader} {
		if _, ok := x.Section([]int{path}, what); ok {
			t.Errorf("%d has section %d", path, what)
		}
	}
	if _, ok := x.Section(nil, SectionMIME); ok {
		t.Error("MIME without a part number")
	}
	// Part 1 of a message that is no multipart is its body.
	y := mustVerify(t, crlf("Content-Type: message/rfc822\n\nSubject: in\n\nbody"))
	for path, want := range map[string]string{"1": "Subject: in\r\n\r\nbody", "11": "body"} {
		var p []int
		for range path {
			p = append(p, 1)
		}
		if s, ok := y.Section(p, SectionBody); !ok || string(crlf("Content-Type: message/rfc822\n\nSubject: in\n\nbody")[s.Start:s.End]) != want {
			t.Errorf("%s: %v %v", path, s, ok)
		}
	}
}

func TestFilename(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"Content-Type: a/b; name=x": "x",
		"Content-Type: a/b; name=x\nContent-Disposition: attachment; filename=y":      "y",
		"Content-Type: a/b; name=x\nContent-Disposition: attachment; filename=\"\"":   "x",
		"Content-Disposition: attachment; filename*=utf-8''%c3%a9; filename=e":        "é",
		"Content-Disposition: attachment; filename=\"=?utf-8?q?=C3=A9?=.pdf\"":        "é.pdf",
		"Content-Disposition: attachment; filename*0*=utf-8''%e2%82; filename*1*=%ac": "€",
		"Content-Disposition: filename=x":                                             "x",
		"Content-Type: a/b; name*=iso-8859-1''caf%e9":                                 "café",
	} {
		x := mustVerify(t, crlf(in+"\n\n"))
		if got := x.Parts[0].Filename(); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
