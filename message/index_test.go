package message

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// crlf gives a text written with LF the line ends of mail.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// tree prints an index for comparison: one line for each part.
func tree(b []byte, x *Index) string {
	var out strings.Builder
	for i := range x.Parts {
		p := &x.Parts[i]
		depth := 0
		for j := p.Parent; j >= 0; j = x.Parts[j].Parent {
			depth++
		}
		fmt.Fprintf(&out, "%s%s/%s ", strings.Repeat(" ", depth), p.Type, p.Subtype)
		if !p.Multipart() {
			fmt.Fprintf(&out, "%d ", p.Lines)
		}
		fmt.Fprintf(&out, "%q\n", b[p.BodyStart:p.End])
	}
	return out.String()
}

// verify checks what must hold for the index of any octets.
func verify(b []byte, x *Index) error {
	if x.Size != int64(len(b)) || len(x.Parts) == 0 {
		return fmt.Errorf("size %d of %d, %d parts", x.Size, len(b), len(x.Parts))
	}
	last := int64(-1)
	for i := range x.Parts {
		p := &x.Parts[i]
		if p.HeaderStart > p.BodyStart || p.BodyStart > p.End || p.HeaderStart < last {
			return fmt.Errorf("part %d: offsets %d %d %d after %d", i, p.HeaderStart, p.BodyStart, p.End, last)
		}
		if i == 0 && (p.HeaderStart != 0 || p.End != x.Size || p.Parent != -1) {
			return fmt.Errorf("message is not the whole")
		}
		if i > 0 {
			q := &x.Parts[p.Parent]
			if p.Parent >= i || p.HeaderStart < q.BodyStart || p.End > q.End {
				return fmt.Errorf("part %d lies outside of its parent", i)
			}
			if q.Multipart() && p.HeaderStart == q.BodyStart {
				return fmt.Errorf("part %d does not advance", i)
			}
		}
		if n := int64(bytes.Count(b[p.BodyStart:p.End], []byte{'\n'})); n != p.Lines {
			return fmt.Errorf("part %d: %d lines, counted %d", i, p.Lines, n)
		}
		if p.Multipart() != (x.HasChildren(i) && p.Type == "multipart") {
			return fmt.Errorf("part %d: multipart without parts", i)
		}
		if j, ok := x.Part(x.Path(nil, i)); !ok || j != i && !(i == 0 || x.Parts[p.Parent].Message()) {
			return fmt.Errorf("part %d: path %v leads to %d", i, x.Path(nil, i), j)
		}
		last = p.HeaderStart
	}
	if want := b[:min(len(b), int(x.Parts[0].BodyStart), len(x.Header()))]; !bytes.Equal(want, x.Header()) {
		return fmt.Errorf("header differs")
	}
	if err := checkEnvelope(x.AppendEnvelope(nil)); err != nil {
		return fmt.Errorf("envelope: %w in %q", err, x.AppendEnvelope(nil))
	}
	for _, extended := range []bool{false, true} {
		if err := checkBody(x.AppendBodyStructure(nil, extended), extended); err != nil {
			return fmt.Errorf("body structure: %w in %q", err, x.AppendBodyStructure(nil, extended))
		}
	}
	enc := x.AppendBinary(nil)
	y, err := DecodeIndex(enc)
	if err != nil {
		return err
	}
	z := *x
	z.header = nil
	if !reflect.DeepEqual(&z, y) {
		return fmt.Errorf("decoded index differs:\n%+v\n%+v", &z, y)
	}
	return nil
}

// indexChunks indexes b in pieces whose sizes repeat.
func indexChunks(b []byte, lim Limits, sizes []int) *Index {
	x := NewIndexer(lim)
	for i := 0; len(b) > 0; i++ {
		n := min(max(1, sizes[i%len(sizes)]), len(b))
		x.Write(b[:n])
		b = b[n:]
	}
	return x.Finish()
}

func mustVerify(t *testing.T, b []byte) *Index {
	t.Helper()
	x := Parse(b, Limits{})
	if err := verify(b, x); err != nil {
		t.Fatalf("%v\n%q", err, b)
	}
	for _, size := range []int{1, 2, 3, 7, 64} {
		if y := indexChunks(b, Limits{}, []int{size}); !reflect.DeepEqual(x, y) {
			t.Fatalf("chunks of %d give another index\n%q\n%+v\n%+v", size, b, x, y)
		}
	}
	return x
}

var trees = []struct {
	name, in, want string
	flags          Flag
}{
	{"plain", "Subject: a\n\nHello\nthere\n", "text/plain 2 \"Hello\\r\\nthere\\r\\n\"\n", 0},
	{"empty", "", "text/plain 0 \"\"\n", FlagNoBlankLine},
	{"header only", "Subject: a\n", "text/plain 0 \"\"\n", FlagNoBlankLine},
	{"no header", "\nbody", "text/plain 0 \"body\"\n", 0},
	{"two parts", "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>\n\n--b--\npost\n",
		"multipart/mixed \"pre\\r\\n--b\\r\\n\\r\\none\\r\\n--b\\r\\nContent-Type: text/html\\r\\n\\r\\n<p>\\r\\n\\r\\n--b--\\r\\npost\\r\\n\"\n text/plain 0 \"one\"\n text/html 1 \"<p>\\r\\n\"\n", 0},
	{"no final line end", "Content-Type: multipart/mixed; boundary=\"b c\"\n\n--b c\n\none\n--b c--",
		"multipart/mixed \"--b c\\r\\n\\r\\none\\r\\n--b c--\"\n text/plain 0 \"one\"\n", 0},
	{"missing end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n",
		"multipart/mixed \"--b\\r\\n\\r\\none\\r\\n\"\n text/plain 1 \"one\\r\\n\"\n", FlagNoEndBoundary},
	{"outer ends inner", "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\none\n--o\n\ntwo\n--o--\n",
		"multipart/mixed \"--o\\r\\nContent-Type: multipart/alternative; boundary=i\\r\\n\\r\\n--i\\r\\n\\r\\none\\r\\n--o\\r\\n\\r\\ntwo\\r\\n--o--\\r\\n\"\n multipart/alternative \"--i\\r\\n\\r\\none\"\n  text/plain 0 \"one\"\n text/plain 0 \"two\"\n", FlagNoEndBoundary},
	{"prefix boundaries", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--\n--b--\n",
		"multipart/mixed \"--b\\r\\nContent-Type: multipart/mixed; boundary=bb\\r\\n\\r\\n--bb\\r\\n\\r\\none\\r\\n--bb--\\r\\n--b--\\r\\n\"\n multipart/mixed \"--bb\\r\\n\\r\\none\\r\\n--bb--\"\n  text/plain 0 \"one\"\n", 0},
	{"no boundary", "Content-Type: multipart/mixed\n\n--b\n\none\n--b--\n", "text/plain 4 \"--b\\r\\n\\r\\none\\r\\n--b--\\r\\n\"\n", FlagNoBoundary},
	{"no parts", "Content-Type: multipart/mixed; boundary=b\n\nhello\n", "text/plain 1 \"hello\\r\\n\"\n", FlagNoParts | FlagNoEndBoundary},
	{"part without blank line", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-ID: <x>\n--b--\n",
		"multipart/mixed \"--b\\r\\nContent-ID: <x>\\r\\n--b--\\r\\n\"\n text/plain 0 \"\"\n", FlagNoBlankLine},
	{"after end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n--b--\n--b\n\n2\n",
		"multipart/mixed \"--b\\r\\n\\r\\n1\\r\\n--b--\\r\\n--b\\r\\n\\r\\n2\\r\\n\"\n text/plain 0 \"1\"\n", FlagAfterEnd},
	{"junk after boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\n1\n--bx\n--b--\n",
		"multipart/mixed \"--b \\t\\r\\n\\r\\n1\\r\\n--bx\\r\\n--b--\\r\\n\"\n text/plain 1 \"1\\r\\n--bx\"\n", FlagBoundaryJunk},
	{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nin\n--b--\n",
		"multipart/digest \"--b\\r\\n\\r\\nSubject: x\\r\\n\\r\\nin\\r\\n--b--\\r\\n\"\n message/rfc822 2 \"Subject: x\\r\\n\\r\\nin\"\n  text/plain 0 \"in\"\n", 0},
	{"encoded message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA==\n",
		"message/rfc822 1 \"U3ViamVjdDogeA==\\r\\n\"\n", FlagEncodedContainer},
	{"bad type", "Content-Type: text\n\nx", "text/plain 0 \"x\"\n", FlagBadType},
	{"duplicate type", "Content-Type: text/html\nContent-Type: text/plain\n\nx", "text/html 0 \"x\"\n", FlagDuplicateField},
	{"same boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n--b--\n--b--\n",
		"multipart/mixed \"--b\\r\\nContent-Type: multipart/mixed; boundary=b\\r\\n\\r\\n--b\\r\\n\\r\\n1\\r\\n--b--\\r\\n--b--\\r\\n\"\n multipart/mixed \"--b\\r\\n\\r\\n1\\r\\n--b--\"\n  text/plain 0 \"1\"\n", FlagBoundaryReuse},
	{"two originators", "From: a@b\nFrom: c@d\n\n", "text/plain 0 \"\"\n", FlagDuplicateOriginator},
	{"conflicting names", "Content-Type: text/plain; name=a.txt\nContent-Disposition: attachment; filename=b.exe\n\n", "text/plain 0 \"\"\n", FlagConflictingName},
	{"duplicate boundary", "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--a\n\n1\n--a--\n",
		"multipart/mixed \"--a\\r\\n\\r\\n1\\r\\n--a--\\r\\n\"\n text/plain 0 \"1\"\n", FlagDuplicateParam},
	{"extended boundary", "Content-Type: multipart/mixed; boundary*=us-ascii''a\n\n--a\n\n1\n--a--\n",
		"multipart/mixed \"--a\\r\\n\\r\\n1\\r\\n--a--\\r\\n\"\n text/plain 0 \"1\"\n", FlagExtendedBoundary},
	{"unknown encoding", "Content-Transfer-Encoding: x-own\n\n", "text/plain 0 \"\"\n", FlagUnknownEncoding},
	{"bad header", "no field\nSubject: x\n\n", "text/plain 0 \"\"\n", FlagBadHeader},
}

// PA2, PA4, PA5.
func TestTree(t *testing.T) {
	for _, tt := range trees {
		b := crlf(tt.in)
		x := mustVerify(t, b)
		if got := tree(b, x); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
		if x.Flags != tt.flags {
			t.Errorf("%s: flags %b, want %b", tt.name, x.Flags, tt.flags)
		}
		// With LF alone the tree is the same, the octets untouched.
		lf := []byte(tt.in)
		y := mustVerify(t, lf)
		if got := strings.ReplaceAll(tree(lf, y), `\n`, `\r\n`); got != tt.want {
			t.Errorf("%s with LF:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// PA4: classes of octets.
func TestOctetFlags(t *testing.T) {
	for in, want := range map[string]Flag{
		"A: b\r\n\r\nx\x00\r\n":                            FlagNUL,
		"A: b\r\n\r\nx\ry\r\n":                             FlagBareCR,
		"A: b\r\n\r\nx\r":                                  FlagBareCR,
		"A: b\r\n\r\nx\ny\r\n":                             FlagBareLF,
		"A: \xc3\xa9\r\n\r\nx\r\n":                         Flag8BitHeader,
		"A: \xe9\r\n\r\nx\r\n":                             Flag8BitHeader | FlagNonUTF8Header,
		"A: b\r\n\r\n\xe9\r\n":                             Flag8BitBody,
		"A: b\r\n\r\n" + strings.Repeat("x", 998) + "\r\n": 0,
		"A: b\r\n\r\n" + strings.Repeat("x", 999) + "\r\n": FlagLongLine,
		"A: b\r\n\r\n" + strings.Repeat("x", 999):          FlagLongLine,
	} {
		if x := mustVerify(t, []byte(in)); x.Flags != want {
			t.Errorf("%.40q: flags %b, want %b", in, x.Flags, want)
		}
	}
}

// alphabet from which random mail is made: pieces that have a meaning.
var alphabet = []string{
	"\r\n", "\n", "\r", "--", "--b", "--b--", "--bb", "b", " ", "\t", ":", ";", "=", "\"", "(", ")", "<", ">", "@", ",",
	"\r\n--b\r\n", "\r\n--b--\r\n", "\r\n--bb\r\n", "\r\n\r\n", "\x00", "\xc3\xa9", "\xe9", "x", "word",
	"Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: multipart/digest; boundary=\"bb\"\r\n",
	"Content-Type: message/rfc822\r\n", "Content-Type: text/html; charset=utf-8\r\n", "Content-Type: message/global\r\n",
	"Content-Type: ", "Content-Transfer-Encoding: base64\r\n", "Content-Disposition: attachment; filename*0*=utf-8''%e2%82; filename*1=x\r\n",
	"Content-Language: it, en\r\n", "Content-ID: <a@b>\r\n", "From: A <a@b>\r\n", "To: g: a@b, c@d;\r\n", "Subject: =?utf-8?q?x?=\r\n",
	"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n", "multipart/mixed", "boundary=", "charset*=", "name*0*=", "\\",
}

func drawMail(t *rapid.T) []byte {
	return []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 60).Draw(t, "mail"), ""))
}

// PA1, PA2: whatever the octets, the limits and the chunks, the index is the same and sound.
func TestIndexerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawMail(t)
		lim := Limits{}
		if rapid.Bool().Draw(t, "tight") {
			lim = Limits{Depth: 2, Parts: 4, Params: 3, Boundary: 1, HeaderBytes: 60, FieldBytes: 50, Fields: 3, Addresses: 2}
		}
		x := Parse(b, lim)
		if err := verify(b, x); err != nil {
			t.Fatalf("%v\n%q", err, b)
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 8).Draw(t, "sizes")
		if y := indexChunks(b, lim, sizes); !reflect.DeepEqual(x, y) {
			t.Fatalf("chunks give another index\n%+v\n%+v", x, y)
		}
		if len(x.Parts) > lim.withDefaults().Parts {
			t.Fatalf("%d parts", len(x.Parts))
		}
	})
}
