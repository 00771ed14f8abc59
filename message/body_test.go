package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postino-mail/postino"
)

// PA3, PA4: decoders give no more than they read and tell of junk.
func TestDecoder(t *testing.T) {
	for _, tt := range []struct {
		enc, in, want string
		junk          bool
	}{
		{"7bit", "a=3D\r\n", "a=3D\r\n", false},
		{"base64", "aGVsbG8=", "hello", false},
		{"base64", "aGVs\r\nbG8=\r\n", "hello", false},
		{"base64", "aGVsbG8", "hello", true},
		{"base64", "aG!Vs*bG8=", "hello", true},
		{"base64", "aGVsbG8=aGVsbG8=", "hellohello", true},
		{"base64", "", "", false},
		{"quoted-printable", "a=3Db=\r\nc  \r\nd=20 \r\n", "a=bc\r\nd \r\n", false},
		{"quoted-printable", "a= \t\r\nb", "ab", false},
		{"quoted-printable", "a=c3=A9", "a\xc3\xa9", false},
		{"quoted-printable", "a=zz=3", "a=zz=3", true},
		{"quoted-printable", "a\n", "a\n", false},
		{"quoted-printable", "a \nb =", "a\nb ", false},
		{"quoted-printable", "=\n=\n", "", false},
		{"x-uuencode", "before\nbegin 644 x\n%:&5L;&\\\n`\nend\nafter\n", "hello", false},
		{"x-uuencode", "begin 644 x\nM:&5L;&\\\n", "hello", true},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in)), iotest.DataErrReader(strings.NewReader(tt.in))} {
			d := NewDecoder(r, tt.enc)
			got, err := io.ReadAll(d)
			if err != nil || string(got) != tt.want || d.Junk() != tt.junk {
				t.Errorf("%s %q: got %q %v junk %v", tt.enc, tt.in, got, err, d.Junk())
			}
		}
	}
	if NewDecoder(nil, "x-own").Known() {
		t.Error("x-own is known")
	}
}

func TestDecodeLimit(t *testing.T) {
	var out bytes.Buffer
	if n, err := Decode(&out, strings.NewReader("aGVsbG8="), "base64", 5); n != 5 || err != nil {
		t.Errorf("at the limit: %d %v", n, err)
	}
	out.Reset()
	if n, err := Decode(&out, strings.NewReader("aGVsbG8="), "base64", 4); n != 4 || !postino.Is(err, postino.Full) || out.String() != "hell" {
		t.Errorf("over the limit: %d %v %q", n, err, &out)
	}
	if _, err := Decode(&out, strings.NewReader("x"), "x-own", 5); !postino.Is(err, postino.Invalid) {
		t.Errorf("unknown: %v", err)
	}
	fail := errors.New("disk")
	if _, err := Decode(&out, iotest.ErrReader(fail), "base64", 5); !errors.Is(err, fail) {
		t.Errorf("read error: %v", err)
	}
}

func TestAppendUTF8(t *testing.T) {
	for _, tt := range []struct{ charset, in, want string }{
		{"utf-8", "é\xff", "é\ufffd"},
		{"UTF8", "é", "é"},
		{"iso-8859-1", "caf\xe9 \x80", "café €"},
		{"\"ISO-8859-15\"", "\xa4", "€"},
		{"windows-1251", "\xcf\xf0", "Пр"},
		{"cp1251", "\xcf\xf0", "Пр"},
		{"koi8-r", "\xf0\xd2", "Пр"},
		{"us-ascii", "caf\xc3\xa9", "café"},
		{"us-ascii", "caf\xe9", "café"},
		{"nobody-knows", "plain", "plain"},
		{"utf-16", "\xfe\xff\x00a", "a"},
		{"utf-16le", "a\x00", "a"},
		{"utf-7", "Hi Mom -+Jjo--!", "Hi Mom -☺-!"}, // RFC 2152
		{"utf-7", "A+ImIDkQ.", "A≢Α."},
		{"utf-7", "1 +- 1", "1 + 1"},
		{"utf-7", "+2D3eCg-", "😊"},
		{"utf-7", "+2D0-x\xff", "\ufffdx\ufffd"},
		{"shift_jis", "\x93\xfa", "日"},
		{"euc-kr", "\xc7\xd1", "한"},
		{"big5", "\xa4\xa4", "中"},
		{"gb2312", "\xd6\xd0", "中"},
		{"", "\x1b$BF|\x1b(B", "日"},
		{"", "\xef\xbb\xbfx", "\ufeffx"},
	} {
		if got := AppendUTF8(nil, tt.charset, []byte(tt.in)); string(got) != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.charset, tt.in, got, tt.want)
		}
		got, err := io.ReadAll(UTF8Reader(iotest.OneByteReader(strings.NewReader(tt.in)), tt.charset))
		if err != nil || strings.TrimPrefix(string(got), "\ufeff") != strings.TrimPrefix(tt.want, "\ufeff") {
			t.Errorf("%s %q: reader gives %q %v, want %q", tt.charset, tt.in, got, err, tt.want)
		}
	}
	fail := errors.New("disk")
	if _, err := io.ReadAll(UTF8Reader(iotest.ErrReader(fail), "")); !errors.Is(err, fail) {
		t.Errorf("read error: %v", err)
	}
}

func TestHTMLText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"<p>one<p>two":            "one\ntwo",
		"a  b\r\n c":              "a b c",
		"a<b>b</b>c":              "abc",
		"a<br>b<br/>c":            "a\nb\nc",
		"&lt;&eacute;&#233;&amp;": "<éé&",
		"<head><title>t</title><style>s{}</style></head><body>x<script>if(a<b)y</script>z": "xz",
		"<!-- c -->x":                    "x",
		"<img alt='a b' src=x>y":         "a by",
		"<table><tr><td>1<td>2<tr><td>3": "1 2\n3",
		"a < b":                          "a < b",
		"<style>never closed":            "",
		"<title>no end<body>seen":        "",
		"x<a href=\"h\">link</a>":        "xlink",
	} {
		got, err := io.ReadAll(HTMLText(iotest.HalfReader(strings.NewReader(in))))
		if err != nil || string(got) != want {
			t.Errorf("%q: got %q %v, want %q", in, got, err, want)
		}
	}
	// A token over the limit is read as text: nothing is lost, nothing hangs.
	long := "<p>start " + strings.Repeat("x", 3*maxToken) + " needle"
	if ok, err := NewMatcher("needle").Match(HTMLText(strings.NewReader(long))); !ok || err != nil {
		t.Errorf("after a long token: %v %v", ok, err)
	}
}

func TestMatcher(t *testing.T) {
	for _, tt := range []struct {
		needle, text string
		want         bool
	}{
		{"", "", true},
		{"HELLO", "say hello", true},
		{"École", "e\u0301cole école", true},
		{"straße", "STRASSE", false}, // RFC 5051 maps characters one by one
		{"two  words", "two\r\n words", true},
		{"ﬁ", "FI", true},
		{"x", "", false},
		{"Привет", "ПРИВЕТ", true},
	} {
		m := NewMatcher(tt.needle)
		if got := m.MatchString(tt.text); got != tt.want {
			t.Errorf("%q in %q: %v", tt.needle, tt.text, got)
		}
		if got, err := m.Match(iotest.OneByteReader(strings.NewReader(tt.text))); got != tt.want || err != nil {
			t.Errorf("%q in %q, an octet at a time: %v %v", tt.needle, tt.text, got, err)
		}
		far := strings.Repeat("filler é ", 5000) + tt.text
		if got, _ := m.Match(strings.NewReader(far)); got != tt.want {
			t.Errorf("%q in a long text: %v", tt.needle, got)
		}
	}
}

func TestTexts(t *testing.T) {
	b := crlf("Subject: =?utf-8?q?caf=C3=A9?=\nContent-Type: multipart/mixed; boundary=b\n\npreamble\n--b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n" +
		"gar=E7on\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+Ym9sZDwvYj4=\n--b\nContent-Type: image/png\nContent-Disposition: attachment; filename*=utf-8''f%C3%AAte.png\n\nbinary\n--b--\n")
	x := mustVerify(t, b)
	for needle, want := range map[string]TextScope{
		"CAFÉ": TextHeader, "Garçon": TextBody, "bold": TextBody, "fête.png": TextBody, "<b>": 0, "binary": 0, "preamble": 0, "subject: caf": TextHeader,
	} {
		got := TextScope(0)
		for text := range x.Texts(bytes.NewReader(b), TextAll) {
			ok, err := NewMatcher(needle).Match(text)
			if err != nil {
				t.Fatal(err)
			}
			if ok && text.Header {
				got |= TextHeader
			} else if ok {
				got |= TextBody
			}
		}
		if got != want {
			t.Errorf("%q found in %b, want %b", needle, got, want)
		}
	}
	for text := range x.Texts(bytes.NewReader(b), TextBody) {
		if text.Header {
			t.Error("TextBody gives a header")
		}
		break
	}
}
