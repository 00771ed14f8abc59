package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

func newReader(r io.Reader) *Reader { return &Reader{Src: r, Wait: func() error { return nil }} }

// TestReaderLines: lines come out the same however the input is cut.
func TestReaderLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-z {}"]{0,40}`)).Draw(t, "lines")
		if rapid.Bool().Draw(t, "long") {
			lines = append(lines, strings.Repeat("x", rapid.IntRange(100, 40000).Draw(t, "length")))
		}
		in := strings.Join(append(lines, ""), "\r\n")
		var src io.Reader = strings.NewReader(in)
		if rapid.Bool().Draw(t, "cut") {
			src = iotest.HalfReader(src)
		}
		r := newReader(src)
		for _, want := range lines {
			if err := r.WaitInput(); err != nil {
				t.Fatal(err)
			}
			got, err := r.Line(50000)
			if err != nil || string(got) != want {
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		}
		if err := r.WaitInput(); err != io.EOF || r.buf != nil {
			t.Fatalf("at the end: %v, buffer held: %v", err, r.buf != nil)
		}
	})
}

// TestReaderLimit: IM1, IM2. A line over the limit fails before it is all in memory.
func TestReaderLimit(t *testing.T) {
	for _, n := range []int{10, 1000, 20000, 100000} {
		for _, over := range []int{0, 1} {
			r := newReader(strings.NewReader(strings.Repeat("x", n+over) + "\r\n"))
			_, err := r.Line(n)
			if (err == ErrLineTooLong) != (over == 1) {
				t.Errorf("IM1: limit %d, over %d: %v", n, over, err)
			}
		}
		endless := &counter{r: iotest.OneByteReader(zeros{})}
		if _, err := newReader(endless).Line(n); err != ErrLineTooLong || endless.n > n+3 {
			t.Errorf("IM1: %d octets read for a limit of %d: %v", endless.n, n, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestReaderBare: LF alone ends a line, CR alone does not.
func TestReaderBare(t *testing.T) {
	r := newReader(strings.NewReader("a\nb\rc\r\n\r\n"))
	for _, want := range []string{"a", "b\rc", ""} {
		if got, err := r.Line(10); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestCopyN(t *testing.T) {
	in := strings.Repeat("0123456789", 5000)
	r := newReader(strings.NewReader("x\r\n" + in + "rest\r\n"))
	r.Line(10)
	var out strings.Builder
	if werr, err := r.CopyN(&out, int64(len(in)), make([]byte, 999)); werr != nil || err != nil || out.String() != in {
		t.Fatal(werr, err, out.Len())
	}
	if l, err := r.Line(10); err != nil || string(l) != "rest" {
		t.Fatal(string(l), err)
	}
	// A writer that fails does not stop the reading.
	r = newReader(strings.NewReader(in + "rest\r\n"))
	boom := errors.New("boom")
	if werr, err := r.CopyN(failing{boom}, int64(len(in)), make([]byte, 999)); werr != boom || err != nil {
		t.Fatal(werr, err)
	}
	if l, err := r.Line(10); err != nil || string(l) != "rest" {
		t.Fatal(string(l), err)
	}
	if _, err := newReader(strings.NewReader("abc")).CopyN(&out, 4, make([]byte, 9)); err != io.EOF {
		t.Fatal(err)
	}
	if err := newReader(strings.NewReader("abc")).ReadFull(make([]byte, 4)); err != io.EOF {
		t.Fatal(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestParser(t *testing.T) {
	astring := func(p *Parser) (any, error) { return p.AString() }
	for _, x := range []struct {
		in   string
		read func(p *Parser) (any, error)
		want any // nil: an error
	}{
		{`abc]`, astring, "abc]"},
		{`"a b"`, astring, "a b"},
		{`"a\"\\b"`, astring, `a"\b`},
		{`"a\nb"`, astring, nil},
		{`"é"`, astring, "é"},
		{"\"\xff\"", astring, nil},
		{"\"a\x00\"", astring, nil},
		{"\"a\rb\"", astring, nil},
		{`"abc`, astring, nil},
		{`"abc\`, astring, nil},
		{``, astring, nil},
		{`(`, astring, nil},
		{`%`, astring, nil},
		{`a%*]`, func(p *Parser) (any, error) { return p.ListMailbox() }, "a%*]"},
		{`a]`, func(p *Parser) (any, error) { b, err := p.Atom(); return string(b), err }, nil},
		{`+`, func(p *Parser) (any, error) { b, err := p.Tag(); return string(b), err }, nil},
		{`body.peek`, func(p *Parser) (any, error) { b, err := p.Label(); return string(b), err }, "BODY.PEEK"},
		{`42`, func(p *Parser) (any, error) { return p.Number(42) }, uint64(42)},
		{`43`, func(p *Parser) (any, error) { return p.Number(42) }, nil},
		{`18446744073709551615`, func(p *Parser) (any, error) { return p.Number(1<<64 - 1) }, uint64(1<<64 - 1)},
		{`18446744073709551616`, func(p *Parser) (any, error) { return p.Number(1<<64 - 1) }, nil},
		{`{5}`, func(p *Parser) (any, error) { return p.LiteralHeader() }, Literal{Size: 5}},
		{`~{5+}`, func(p *Parser) (any, error) { return p.LiteralHeader() }, Literal{5, true, true}},
		{`{5} `, func(p *Parser) (any, error) { return p.LiteralHeader() }, nil},
		{`{-5}`, func(p *Parser) (any, error) { return p.LiteralHeader() }, nil},
		{`{9223372036854775808}`, func(p *Parser) (any, error) { return p.LiteralHeader() }, nil},
		{`1-Feb-2026`, func(p *Parser) (any, error) { return p.Date() }, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)},
		{`"01-feb-2026"`, func(p *Parser) (any, error) { return p.Date() }, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)},
		{`30-Feb-2026`, func(p *Parser) (any, error) { return p.Date() }, nil},
		{`1-Feb-26`, func(p *Parser) (any, error) { return p.Date() }, nil},
		{`" 1-Feb-2026 01:02:03 +0100"`, func(p *Parser) (any, error) { d, err := p.DateTime(); return d.Unix(), err }, time.Date(2026, 2, 1, 0, 2, 3, 0, time.UTC).Unix()},
		{`"1-Feb-2026 25:02:03 +0100"`, func(p *Parser) (any, error) { d, err := p.DateTime(); return d.Unix(), err }, nil},
	} {
		p := &Parser{}
		p.Reset([]byte(x.in))
		got, err := x.read(p)
		if err == nil {
			err = p.End()
		}
		if (err == nil) != (x.want != nil) || err == nil && got != x.want {
			t.Errorf("%q: got %v, %v; want %v", x.in, got, err, x.want)
		}
		var syn *SyntaxError
		if err != nil && !errors.As(err, &syn) {
			t.Errorf("%q: %v is no syntax error", x.in, err)
		}
	}
}

func TestPendingLiteral(t *testing.T) {
	for in, want := range map[string]int64{
		"a X {5+}": 5, "a X ~{5+}": 5, "a X {5}": 5, "a X {5+} ": -1, "{+}": -1, "a {x5+}": -1, "+}": -1, "a {7+}{5+}": 5,
	} {
		l, ok := PendingLiteral([]byte(in))
		if ok != (want >= 0) || ok && l.Size != want {
			t.Errorf("%q: %v %v", in, l, ok)
		}
	}
}

// TestPrintStrings: what is printed is read back.
func TestPrintStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z"\\ \r]{0,20}`), rapid.Just("NIL")).Draw(t, "s")
		utf8 := rapid.Bool().Draw(t, "utf8")
		if strings.ContainsRune(s, 0) {
			return
		}
		for _, b := range [][]byte{AppendString(nil, s, utf8), AppendAString(nil, s, utf8)} {
			line, lit, _ := strings.Cut(string(b), "\r\n")
			p := &Parser{Literals: given(lit)}
			p.Reset([]byte(line))
			got, err := p.AString()
			if err == nil {
				err = p.End()
			}
			if err != nil || got != s {
				t.Fatalf("%q printed %q read %q, %v", s, b, got, err)
			}
		}
	})
}

// given is the octets of one literal.
type given string

func (g given) ReadLiteral(p *Parser, l Literal) ([]byte, error) {
	if l.Size != int64(len(g)) {
		return nil, io.ErrUnexpectedEOF
	}
	p.Reset(nil)
	return []byte(g), nil
}

func TestDateTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.IntRange(-14*60, 14*60).Draw(t, "zone")
		want := time.Unix(rapid.Int64Range(-2e9, 4e10).Draw(t, "unix"), 0).In(time.FixedZone("", 60*zone))
		b := AppendDateTime(nil, want)
		if s := want.Format(`"_2-Jan-2006 15:04:05 -0700"`); string(b) != s {
			t.Fatalf("printed %s, want %s", b, s)
		}
		p := &Parser{}
		p.Reset(b)
		if got, err := p.DateTime(); err != nil || !got.Equal(want) {
			t.Fatalf("%s read %v, %v", b, got, err)
		}
	})
}

func TestUTF7(t *testing.T) {
	for in, want := range map[string]string{
		"INBOX": "INBOX", "&AOk-t&AOk-": "été", "~peter/mail/&U,BTFw-/&ZeVnLIqe-": "~peter/mail/台北/日本語", "a&-b": "a&b",
		"&2D3cqQ-": "💩",
	} {
		if got, err := DecodeUTF7(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if got := AppendUTF7(nil, want); string(got) != in {
			t.Errorf("%q: %q", want, got)
		}
	}
	for _, in := range []string{"&", "&AOk", "é", "&AGE-", "&AOk-&AOk-", "&2D0-", "&3Kk-", "&AO-", "&AOl-", "a\x00", "&AO\nk-", "&/-"} {
		if got, err := DecodeUTF7(in); err == nil {
			t.Errorf("%q decodes to %q", in, got)
		}
	}
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"INBOX", "&AOk-", "a&-b", "&2D3cqQ-", "&-&AOk-&-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := DecodeUTF7(in)
		if err != nil {
			return
		}
		if again := AppendUTF7(nil, s); string(again) != in {
			t.Fatalf("%q decodes to %q, which encodes to %q", in, s, again)
		}
	})
}

func FuzzParser(f *testing.F) {
	f.Add(`a "b\"c" {3}`)
	f.Fuzz(func(t *testing.T, in string) {
		p := &Parser{Literals: given("")}
		p.Reset([]byte(in))
		p.Tag()
		for p.SP() == nil {
			before := len(p.Rest())
			if s, err := p.AString(); err == nil && len(s) > before {
				t.Fatal("longer than its source")
			}
		}
	})
}

func BenchmarkUTF7(b *testing.B) {
	var buf [256]byte
	b.ReportAllocs()
	for b.Loop() {
		AppendUTF7(buf[:0], "Archivi/Città/日本語")
	}
}

func BenchmarkLine(b *testing.B) {
	src := &cycle{s: "a12 UID FETCH 1:* (UID FLAGS)\r\n"}
	r := newReader(src)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Line(8192); err != nil {
			b.Fatal(err)
		}
	}
}

// cycle gives a text again and again.
type cycle struct {
	s string
	i int
}

func (c *cycle) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = c.s[c.i]
		c.i = (c.i + 1) % len(c.s)
	}
	return len(p), nil
}
