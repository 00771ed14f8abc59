package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// hostile are inputs made to find a step that is repeated: a head, and a piece
// that fills the rest.
var hostile = []struct{ head, piece string }{
	{"", "\n"},
	{"", "a\n"},
	{"", "a:\n"},
	{"", "To: a@b\n"},
	{"", "Subject: [a]\n"},
	{"Subject: ", "=?utf-8?q?"},
	{"Subject: ", "=?utf-8?q?a?= "},
	{"Subject: ", "[a]"},
	{"Subject: ", "[fwd:"},
	{"Subject: ", "re:"},
	{"Subject: ", "(fwd)"},
	{"To: ", "("},
	{"To: ", "<"},
	{"To: ", "\""},
	{"To: ", "a,"},
	{"To: ", "a:b;"},
	{"To: ", "a . "},
	{"To: ", "<@a,"},
	{"References: ", "<"},
	{"References: ", "<a@b>"},
	{"Date: ", "1 "},
	{"Date: ", "("},
	{"Content-Type: a/b; ", "a*1=b;"},
	{"Content-Type: a/b; ", "a="},
	{"Content-Type: a/b; ", "\""},
	{"Content-Type: a/b", ";"},
	{"Content-Type: multipart/mixed; boundary=b\n\n", "--b\n"},
	{"Content-Type: multipart/mixed; boundary=b\n\n", "--b\n\n"},
	{"Content-Type: multipart/mixed; boundary=b\n\n", "--b--\n"},
	{"Content-Type: multipart/mixed; boundary=b\n\n", "--bb\n"},
	{"Content-Type: multipart/mixed; boundary=b\n\n", "--b\nContent-Type: multipart/mixed; boundary=b\n\n"},
	{"Content-Type: multipart/digest; boundary=b\n\n", "--b\n\nTo: a\n\n"},
	{"", "Content-Type: message/rfc822\n\n"},
	{"Content-Type: text/html\n\n", "<"},
	{"Content-Type: text/html\n\n", "<p>"},
	{"Content-Type: text/html\n\n", "<a "},
	{"Content-Type: text/html\n\n<a ", "x=y "},
	{"Content-Type: text/html\n\n<img ", "alt=y "},
	{"Content-Type: text/html\n\n", "<!--"},
	{"Content-Type: text/html\n\n", "&"},
	{"Content-Type: text/html\n\n", "<script><"},
	{"Content-Type: text/html\n\n", "<textarea>"},
	{"Content-Transfer-Encoding: base64\n\n", "="},
	{"Content-Transfer-Encoding: base64\n\n", "YQ!"},
	{"Content-Transfer-Encoding: quoted-printable\n\n", " "},
	{"Content-Transfer-Encoding: quoted-printable\n\n", "="},
	{"Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n", "M\n"},
	{"Content-Type: text/plain; charset=utf-7\n\n", "+"},
	{"Content-Type: text/plain; charset=utf-7\n\n", "+2D0"},
	{"Content-Type: text/plain; charset=iso-2022-jp\n\n", "\x1b$B"},
	{"Content-Type: text/plain\n\n", "\xe9"},
}

// everything does with a message all that the package can.
func everything(t *testing.T, b []byte) {
	x := Parse(b, Limits{})
	if err := checkBody(x.AppendBodyStructure(nil, true), true); err != nil {
		t.Fatal(err)
	}
	out := x.AppendEnvelope(nil)
	out = x.AppendBodyStructure(out[:0], true)
	out = x.AppendBinary(out[:0])
	if _, err := DecodeIndex(out); err != nil {
		t.Fatal(err)
	}
	s := Summarize(x.Header())
	s.From()
	s.To()
	AppendHeaderFields(nil, x.Header(), []string{"to"}, true)
	m := NewMatcher("aaaaaaaaaaaaaaab")
	for text := range x.Texts(bytes.NewReader(b), TextAll) {
		if _, err := m.Match(text); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
}

// G2: sixteen times the input takes at most 2.6⁴ times the work, whatever it
// is. The clock is coarse, so a case fails only when it does so again and again.
func TestLinear(t *testing.T) {
	small, big := 64<<10, 1<<20
	for _, h := range hostile {
		measure := func(size int) time.Duration {
			b := []byte(h.head + strings.Repeat(h.piece, size/len(h.piece)))
			start := time.Now()
			everything(t, b)
			return time.Since(start)
		}
		const most = 46 // 2.6⁴
		ratio := 0.0
		for range 5 {
			if ratio = float64(measure(big)) / float64(measure(small)+50*time.Microsecond); ratio <= most {
				break
			}
		}
		if ratio > most {
			t.Errorf("%q, %q: 16 times the input takes %.0f times as long", h.head, h.piece, ratio)
		}
	}
}

// G2: the number of allocations does not depend on the number of lines.
func TestIndexerAllocations(t *testing.T) {
	for _, size := range []int{9 << 10, 400 << 10} {
		mail := sampleMail(size)
		if n := testing.AllocsPerRun(50, func() { Parse(mail, Limits{}) }); n > 10 {
			t.Errorf("%d octets: %v allocations", len(mail), n)
		}
	}
}

// PA1, PA2, SS9: what is over a limit is opaque and flagged, never lost.
func TestLimits(t *testing.T) {
	deep := strings.Repeat("Content-Type: multipart/mixed; boundary=b%\n\n--b%\n", 60)
	for i := range 60 {
		deep = strings.Replace(deep, "%", string(rune('0'+i/10))+string(rune('0'+i%10)), 2)
	}
	for name, tt := range map[string]struct {
		in    string
		parts int
		flags Flag
	}{
		"depth":          {deep + "\nbottom", 51, FlagLimit},
		"message depth":  {strings.Repeat("Content-Type: message/rfc822\n\n", 60) + "\nbottom", 51, FlagLimit},
		"parts":          {"Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 6000), 5000, FlagLimit},
		"boundary":       {"Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 251) + "\n\n--" + strings.Repeat("b", 251) + "\n\n", 1, FlagNoBoundary},
		"long boundary":  {"Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 250) + "\n\n--" + strings.Repeat("b", 250) + "\n\n", 2, 0},
		"header":         {strings.Repeat("A: "+strings.Repeat("x", 995)+"\n", 600) + "\nbody", 1, FlagLimit | FlagHeaderLimit},
		"field":          {"A: " + strings.Repeat("x\n ", 50000) + "x\n\nbody", 1, FlagLimit | FlagHeaderLimit},
		"fields":         {strings.Repeat("A: x\n", 2001) + "\nbody", 1, FlagLimit | FlagHeaderLimit},
		"fields allowed": {strings.Repeat("A: x\n", 2000) + "\nbody", 1, 0},
		"part header":    {"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + strings.Repeat("A: x\n", 2001) + "\nbody\n--b--\n", 2, FlagLimit},
	} {
		b := crlf(tt.in)
		x := Parse(b, Limits{})
		if err := verify(b, x); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(x.Parts) != tt.parts || x.Flags&(FlagLimit|FlagHeaderLimit|FlagNoBoundary) != tt.flags {
			t.Errorf("%s: %d parts, flags %b", name, len(x.Parts), x.Flags)
		}
		if x.HeaderTooLarge() != (tt.flags&FlagHeaderLimit != 0) {
			t.Errorf("%s: HeaderTooLarge is %v", name, x.HeaderTooLarge())
		}
		if last := x.Parts[len(x.Parts)-1]; len(x.Parts) == 5000 && (last.Type != "application" || !bytes.HasSuffix(b[last.BodyStart:last.End], []byte("--b\r\n\r\nx\r\n"))) {
			t.Errorf("%s: the rest is not in the last part", name)
		}
	}
	x := NewIndexer(Limits{})
	defer x.Release()
	for range 600 {
		if x.Write([]byte("A: " + strings.Repeat("x", 995) + "\r\n")); x.HeaderTooLarge() {
			return
		}
	}
	t.Error("a header that never ends is not seen to be too large")
}

// Texts of an index are bounded whatever the number of parts.
func TestArenaLimit(t *testing.T) {
	part := "--b\nContent-Description: " + strings.Repeat("x", 900) + "\nContent-Type: a/b; c=" + strings.Repeat("y", 900) + "\n\n"
	b := crlf("Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat(part, 3000))
	x := Parse(b, Limits{})
	if err := verify(b, x); err != nil {
		t.Fatal(err)
	}
	if n := len(x.AppendBinary(nil)); n > maxArena*3/2 || x.Flags&FlagLimit == 0 {
		t.Errorf("stored form of %d octets, flags %b", n, x.Flags)
	}
}
