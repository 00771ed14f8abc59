package message

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzIndexer: PA1, PA2, PA5. Chunks do not matter, offsets advance, what is
// rendered is valid IMAP, the stored form reads back.
func FuzzIndexer(f *testing.F) {
	for _, tt := range trees {
		f.Add(crlf(tt.in), uint8(3), false)
		f.Add([]byte(tt.in), uint8(1), true)
	}
	f.Add(sampleMail(9<<10), uint8(100), false)
	f.Fuzz(func(t *testing.T, b []byte, size uint8, tight bool) {
		lim := Limits{}
		if tight {
			lim = Limits{Depth: 2, Parts: 4, Params: 3, Boundary: 3, HeaderBytes: 100, FieldBytes: 80, Fields: 4, Addresses: 2}
		}
		x := Parse(b, lim)
		if err := verify(b, x); err != nil {
			t.Fatal(err)
		}
		if y := indexChunks(b, lim, []int{int(size), 1}); !reflect.DeepEqual(x, y) {
			t.Fatalf("chunks give another index\n%+v\n%+v", x, y)
		}
		for text := range x.Texts(bytes.NewReader(b), TextAll) {
			out, err := io.ReadAll(text)
			if err != nil || !utf8.Valid(out) {
				t.Fatalf("text of part %d: %v %q", text.Part, err, out)
			}
		}
		Summarize(x.Header())
	})
}

// FuzzDecodeIndex: what decodes encodes to the same octets and can be rendered.
func FuzzDecodeIndex(f *testing.F) {
	for _, tt := range trees {
		f.Add(Parse(crlf(tt.in), Limits{}).AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeIndex(b)
		if err != nil {
			return
		}
		if !bytes.Equal(x.AppendBinary(nil), b) {
			t.Fatalf("not canonical: %q gives %q", b, x.AppendBinary(nil))
		}
		for i := range x.Parts {
			if j, ok := x.Part(x.Path(nil, i)); ok && j >= len(x.Parts) {
				t.Fatal("path leads out")
			}
		}
		x.AppendBodyStructure(nil, true) // a stored envelope is trusted, the rest must hold
	})
}

func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?=C3=A9?= x", "=?utf-8?b?w6k?=\r\n =?utf-8?b?ww==?=", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "=?utf-7?q?+AOk-?=", "=?=?=?", "a\r\n b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := DecodeHeader(b)
		if !utf8.ValidString(s) {
			t.Fatalf("not UTF-8: %q", s)
		}
		if strings.ContainsAny(s, "\r\n\x00") {
			t.Fatalf("line end in %q", s)
		}
		base, _ := BaseSubject(s)
		if again, reply := BaseSubject(base); again != base || reply {
			t.Fatalf("base subject of %q is %q, of which it is %q %v", s, base, again, reply)
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"; a=b; c=\"d\\\"\"", "; t*0*=utf-8'en'%c3; t*1*=%a9; t*2=x", "; f*=iso-8859-1''%e9; f=e", ";;a=b c (x)", "; a*1=b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		params, _ := ParseParams(b, Limits{})
		seen := map[string]bool{}
		for _, p := range params {
			if seen[p.Name] || p.Name == "" {
				t.Fatalf("parameter %q twice or without name", p.Name)
			}
			seen[p.Name] = true
			if p.Extended && !utf8.ValidString(p.Value) {
				t.Fatalf("extended value %q", p.Value)
			}
		}
		c := &checker{b: appendParams(nil, params)}
		if c.params(); c.err != nil || len(c.b) > 0 {
			t.Fatalf("%v %q", c.err, c.b)
		}
	})
}

func FuzzAddressList(f *testing.F) {
	for _, s := range []string{"a@b", "A <a@b>, \"x\" <@r:c@d> (z)", "g: a@b, c@d;", "a . b @ c . [1]", "<<<>>>", ",;:@"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list := ParseAddressList(b, 50)
		if len(list) > 51 {
			t.Fatalf("%d entries", len(list))
		}
		open := false
		for _, a := range list {
			if a.Group == GroupStart && open || a.Group == GroupEnd && !open {
				t.Fatalf("group bounds in %+v", list)
			}
			open = open && a.Group != GroupEnd || a.Group == GroupStart
		}
		if open {
			t.Fatal("group not closed")
		}
		// Print and parse again: what can be written reads back as the same mailboxes.
		var kept []Address
		for _, a := range list {
			w := NewBuilder(io.Discard, BuilderOptions{UTF8: true})
			if spec, _ := w.addrSpec(a); a.Group == Member && spec != "" {
				kept = append(kept, Address{Name: strings.Trim(displayText(a.Name), " "), Mailbox: a.Mailbox, Host: a.Host})
			}
		}
		var out bytes.Buffer
		w := NewBuilder(&out, BuilderOptions{UTF8: true})
		w.Addresses("To", kept...)
		if err := w.Close(); err != nil {
			return // a display name over a limit
		}
		value, _ := FirstField(out.Bytes(), "to")
		if again := ParseAddressList(value, 0); !reflect.DeepEqual(again, kept) {
			t.Fatalf("%q:\n got %+v\nwant %+v", value, again, kept)
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{"Fri, 21 Nov 1997 09:55:06 -0600", "Mon Jan  2 15:04:05 MST 2006", "2006-01-02T15:04:05Z", "02-Jan-06 3:04 PM"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseDate(b)
		if !ok {
			return
		}
		if y := d.Year(); y < 1 || y > 10000 {
			t.Fatalf("year %d", y)
		}
		if y := d.Year(); y < 1900 || y > 9999 {
			return
		}
		s := d.Format("Mon, 2 Jan 2006 15:04:05 -0700")
		if again, ok := ParseDate([]byte(s)); !ok || !again.Equal(d) {
			t.Fatalf("%s reads as %v", s, again)
		}
	})
}

// FuzzTransfer: PA3. No decoder gives more than it reads, chunks do not matter.
func FuzzTransfer(f *testing.F) {
	for _, s := range []string{"aGVsbG8=", "a=3D=\r\nb \r\n", "begin 644 x\n%:&5L;&\\\n`\nend\n", "M\nM\nM"} {
		for k := range uint8(4) {
			f.Add([]byte(s), k, uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, kind, size uint8) {
		enc := []string{"base64", "quoted-printable", "x-uuencode", "binary"}[kind%4]
		d := NewDecoder(bytes.NewReader(b), enc)
		whole, err := io.ReadAll(d)
		if err != nil || len(whole) > len(b) {
			t.Fatalf("%s: %d octets of %d: %v", enc, len(whole), len(b), err)
		}
		p := NewDecoder(&pieces{b, int(size)%7 + 1}, enc)
		cut, err := io.ReadAll(p)
		if err != nil || !bytes.Equal(cut, whole) || p.Junk() != d.Junk() {
			t.Fatalf("%s in pieces: %q %v %v, whole %q %v", enc, cut, err, p.Junk(), whole, d.Junk())
		}
	})
}

// pieces reads a few octets at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(q []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(q, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// FuzzRender: ENVELOPE and BODYSTRUCTURE of any header follow the IMAP grammar.
func FuzzRender(f *testing.F) {
	f.Add([]byte("From: A <a@b>\r\nTo: g: c@d;\r\nSubject: \xe9\x00\r\n\r\n"))
	f.Add([]byte("Content-Type: a/b; c*=utf-8''%00; d=\"e\\\"\"\r\nContent-Disposition: x; y=z\r\nContent-Language: a, b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := checkEnvelope(AppendEnvelope(nil, b)); err != nil {
			t.Fatal(err)
		}
		x := Parse(b, Limits{})
		for _, extended := range []bool{false, true} {
			if err := checkBody(x.AppendBodyStructure(nil, extended), extended); err != nil {
				t.Fatal(err)
			}
		}
		names := strings.Fields(string(b[:min(len(b), 40)]))
		with, without := AppendHeaderFields(nil, x.Header(), names, false), AppendHeaderFields(nil, x.Header(), names, true)
		for _, out := range [][]byte{with, without} {
			if len(out) > len(x.Header()) {
				t.Fatal("more than the header")
			}
		}
	})
}

// FuzzBuilder: PA6.
func FuzzBuilder(f *testing.F) {
	for _, s := range nasty {
		f.Add(s, "a", s, true)
	}
	f.Fuzz(func(t *testing.T, a, b, c string, utf8 bool) {
		for _, texts := range [][]string{
			{"a", a, "b", b, "c", c, a, "local", b, "host", c, "m", a, b, c, a, b},
			{a, b, b, c, c, a, b, a, c, b, a, c, b, a, b, c, a},
		} {
			raw, in := build(texts, utf8)
			if !in.created {
				continue
			}
			if err := checkBuilt(raw, in); err != nil {
				t.Fatalf("%v\n%q", err, raw)
			}
		}
	})
}

func FuzzHTML(f *testing.F) {
	for _, s := range []string{"<p>a<b>c</b>", "<script>x</script>y", "&lt;&#0;&bogus;", "<!--", "<img alt=x>", "<style><title><textarea>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.ToValidUTF8(b, nil)
		whole, err := io.ReadAll(HTMLText(bytes.NewReader(b)))
		if err != nil || !utf8.Valid(whole) {
			t.Fatalf("%v %q", err, whole)
		}
		cut, err := io.ReadAll(HTMLText(&pieces{b, 3}))
		if err != nil || !bytes.Equal(cut, whole) {
			t.Fatalf("in pieces %q %v, whole %q", cut, err, whole)
		}
	})
}

func FuzzCharset(f *testing.F) {
	for _, s := range []string{"utf-8", "utf-7", "iso-2022-jp", "utf-16", "gb18030", "", "big5", "hz-gb-2312", "utf-32"} {
		f.Add(s, []byte("+AOk-\x1b$B~{VPNDe\xe9\xff\xfe"))
	}
	f.Fuzz(func(t *testing.T, charset string, b []byte) {
		out := AppendUTF8(nil, charset, b)
		if !utf8.Valid(out) {
			t.Fatalf("not UTF-8: %q", out)
		}
		read, err := io.ReadAll(UTF8Reader(&pieces{b, 5}, charset))
		if err != nil || !bytes.Equal(read, out) && len(b) <= sniff {
			t.Fatalf("%s: reader gives %q %v, want %q", charset, read, err, out)
		}
	})
}

// FuzzMatcher: a match does not depend on how the text is cut.
func FuzzMatcher(f *testing.F) {
	f.Add("É x", "say é \r\n X now", uint8(2))
	f.Fuzz(func(t *testing.T, needle, text string, size uint8) {
		needle, text = strings.ToValidUTF8(needle, ""), strings.ToValidUTF8(text, "")
		m := NewMatcher(needle)
		ok, err := m.Match(&pieces{[]byte(text), int(size)%9 + 1})
		if err != nil || ok != m.MatchString(text) {
			t.Fatalf("in pieces %v %v, whole %v", ok, err, m.MatchString(text))
		}
		if !m.MatchString(text + needle) {
			t.Fatal("a text does not hold its own end")
		}
	})
}
