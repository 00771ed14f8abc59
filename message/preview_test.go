package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func preview(t testing.TB, b []byte) string {
	s, err := Parse(b, Limits{}).Preview(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPreview(t *testing.T) {
	alternative := func(parts ...string) string {
		return "Content-Type: multipart/alternative; boundary=b\n\n--b\n" + strings.Join(parts, "\n--b\n") + "\n--b--\n"
	}
	for _, x := range []struct{ in, want string }{
		{"Subject: x\n\nHello\n  two\t words\n\n", "Hello two words"},
		{"Subject: x\n\n", ""},
		{"", ""},
		{"Content-Type: text/html\n\n<title>x</title><style>y</style><p>Hello &amp; <b>wel</b>come</p><img alt=z>", "Hello & welcome z"},
		{alternative("Content-Type: text/html\n\n<p>html", "Content-Type: text/plain\n\nplain"), "plain"},
		{alternative("Content-Type: text/plain\n\n \n", "Content-Type: text/html\n\n<p>html"), "html"},
		{alternative("Content-Type: text/plain\nContent-Disposition: attachment\n\nfile", "Content-Type: text/plain\n\nbody"), "body"},
		{alternative("Content-Type: message/rfc822\n\nSubject: y\n\ninner", "Content-Type: text/calendar\n\nBEGIN:VCALENDAR"), ""},
		{"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nCaf=E9 =\nsoft", "Café soft"},
		{"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw6k=", "é"},
		{"Content-Type: application/pdf\n\n%PDF", ""},
		{"Subject: x\n\nYes.\n\nOn Monday Ann wrote:\n\n> old\n>> older\n\nRegards\n-- \nAnn", "Yes. Regards"},
		{"Subject: x\n\n> only\n> quoted", "only quoted"},
		{"Subject: x\n\nFirst:\n\nsecond", "First: second"},
		{"Content-Type: text/plain; charset=utf-8\n\na\u200b\u034f\ufeffb\u202ec \u200d \u00a0 \x01d \U0001f468\u200d\U0001f469", "abc d \U0001f468\u200d\U0001f469"},
		{"Subject: x\n\n" + strings.Repeat("a ", 300), strings.TrimSpace(strings.Repeat("a ", 100))},
		{"Subject: x\n\n" + strings.Repeat("b", 5000), strings.Repeat("b", 200)},
		{"Content-Type: text/plain; charset=utf-8\n\n" + strings.Repeat("é", 5000), strings.Repeat("é", 200)},
		{"Subject: x\n\n" + strings.Repeat("\n", 40<<10) + "late", ""}, // the bound of work
	} {
		if got := preview(t, crlf(x.in)); got != x.want {
			t.Errorf("%.80q\ngot  %q\nwant %q", x.in, got, x.want)
		}
	}
}

// countingReader counts the octets that are asked for.
type countingReader struct {
	io.ReaderAt
	n int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += n
	return n, err
}

// TestPreviewBound: G2. No message makes a preview read more than so much.
func TestPreviewBound(t *testing.T) {
	for _, x := range hostile {
		b := crlf(x.head + strings.Repeat(x.piece, (4<<20)/len(x.piece)))
		c := &countingReader{ReaderAt: bytes.NewReader(b)}
		if _, err := Parse(b, Limits{}).Preview(c); err != nil {
			t.Error(err)
		}
		if c.n > (previewParts+1)*(previewRaw+64<<10) {
			t.Errorf("G2: %q: %d octets were read", x.head+x.piece, c.n)
		}
	}
}

func FuzzPreview(f *testing.F) {
	for _, tt := range trees {
		f.Add(crlf(tt.in))
	}
	f.Add([]byte("Content-Type: text/html\r\n\r\n<p>On x wrote:<br>&gt; y"))
	f.Add([]byte("Subject: x\r\n\r\nOn x wrote:\r\n> y\r\n-- \r\nz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := preview(t, b)
		if n := utf8.RuneCountInString(s); n > PreviewLength || !utf8.ValidString(s) {
			t.Fatalf("%d characters: %q", n, s)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) || s != strings.TrimSpace(s) {
			t.Fatalf("control or space in %q", s)
		}
	})
}

func BenchmarkPreview(b *testing.B) {
	msg := sampleMail(9 << 10)
	x, src := Parse(msg, Limits{}), bytes.NewReader(msg)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Preview(src); err != nil {
			b.Fatal(err)
		}
	}
}
