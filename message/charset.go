package message

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/saintfish/chardet"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// sniff is how many octets are looked at to guess a charset.
const sniff = 4 << 10

// charsetOf finds a charset by its name in any case; guess tells that the name
// says nothing and the octets must speak for themselves.
func charsetOf(name string) (enc encoding.Encoding, guess, ok bool) {
	if len(name) > maxCharset {
		return nil, false, false
	}
	name = strings.Trim(strings.ToLower(name), " \t\"'")
	switch name {
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "unknown", "default", "_autodetect", "none", "7bit", "8bit", "binary":
		return nil, true, true
	case "utf-8", "utf8", "utf-8mb4", "utf8mb4", "utf_8", "x-utf-8", "unicode-1-1-utf-8":
		return unicode.UTF8, false, true
	case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "cp1252", "windows1252", "x-cp1252", "8859_1", "iso-8859-1-windows-3.1-latin-1":
		// Who says Latin-1 means its superset from Windows.
		return charmap.Windows1252, false, true
	case "iso-8859-8-i", "iso-8859-8-e":
		return charmap.ISO8859_8, false, true
	case "utf-7", "utf7", "unicode-1-1-utf-7", "x-utf-7":
		return utf7{}, false, true
	case "utf-16", "utf16", "ucs-2", "iso-10646-ucs-2":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM), false, true
	case "utf-32", "utf32", "ucs-4", "iso-10646-ucs-4":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM), false, true
	case "utf-32be":
		return utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), false, true
	case "utf-32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), false, true
	case "gb2312", "gb_2312-80", "gbk", "cp936", "x-gbk", "936", "euc-cn", "gb18030":
		return simplifiedchinese.GB18030, false, true
	case "hz-gb-2312", "hz":
		return simplifiedchinese.HZGB2312, false, true
	case "ks_c_5601-1987", "ks_c_5601", "ksc5601", "cp949", "uhc", "x-windows-949", "949", "euc-kr":
		return korean.EUCKR, false, true
	case "cp932", "ms932", "windows-31j", "x-sjis", "sjis", "shift-jis", "shift_jis":
		return japanese.ShiftJIS, false, true
	case "iso-2022-jp", "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-jp-ms", "cp50220", "cp50221", "csiso2022jp":
		return japanese.ISO2022JP, false, true
	}
	if n, found := strings.CutPrefix(name, "cp12"); found {
		name = "windows-12" + n
	} else if n, found := strings.CutPrefix(name, "iso8859-"); found {
		name = "iso-8859-" + n
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e, false, true
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		return e, false, true
	}
	return nil, false, false
}

// KnownCharset tells whether text in the charset, named in any case, can be
// turned into UTF-8.
func KnownCharset(name string) bool {
	_, _, ok := charsetOf(name)
	return ok
}

// AppendUTF8 appends octets of a charset as valid UTF-8. For an empty, unknown
// or meaningless charset it goes by the octets: UTF-8 when they are valid,
// else the most likely charset. What does not decode becomes U+FFFD.
func AppendUTF8(dst []byte, charset string, b []byte) []byte {
	enc, guess, ok := charsetOf(charset)
	if guess || !ok {
		enc = Detect(b[:min(len(b), sniff)], len(b) <= sniff)
	}
	if enc == unicode.UTF8 {
		return appendValid(dst, b)
	}
	out, err := enc.NewDecoder().Bytes(b)
	if err != nil {
		return appendValid(dst, b)
	}
	return appendValid(dst, out)
}

// appendValid appends b with what is not UTF-8 replaced as the decoder does it.
func appendValid(dst, b []byte) []byte {
	if !utf8.Valid(b) {
		b, _ = unicode.UTF8.NewDecoder().Bytes(b) // it replaces, it never fails
	}
	return append(dst, b...)
}

// Detect guesses the charset of a text from its beginning: a byte order mark,
// valid UTF-8, the escapes of ISO-2022-JP, then statistics. whole tells that b
// is not cut, where a character cut at the end counts as a fault.
func Detect(b []byte, whole bool) encoding.Encoding {
	switch {
	case bytes.HasPrefix(b, []byte{0xef, 0xbb, 0xbf}):
		return unicode.UTF8
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}), bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	}
	if isASCII(b) {
		for _, esc := range [...]string{"\x1b$B", "\x1b$@", "\x1b(J"} {
			if bytes.Contains(b, []byte(esc)) {
				return japanese.ISO2022JP
			}
		}
		return unicode.UTF8
	}
	if validPrefix(b, whole) {
		return unicode.UTF8
	}
	return likely(b)
}

// likely asks statistics. The detector orders equals by chance; here the name
// decides, so that a text reads the same every time.
func likely(b []byte) encoding.Encoding {
	var best chardet.Result
	var found encoding.Encoding = charmap.Windows1252
	all, err := chardet.NewTextDetector().DetectAll(b)
	if err != nil {
		return found
	}
	for _, r := range all {
		if r.Confidence < 30 || r.Confidence < best.Confidence || r.Confidence == best.Confidence && r.Charset >= best.Charset {
			continue
		}
		if enc, guess, ok := charsetOf(r.Charset); ok && !guess && enc != unicode.UTF8 {
			best, found = r, enc
		}
	}
	return found
}

// validPrefix tells whether b is UTF-8, up to a character cut at its end.
func validPrefix(b []byte, whole bool) bool {
	if !whole {
		b = b[:WholeRunes(b)]
	}
	return utf8.Valid(b)
}

// UTF8Reader returns a reader of the text in r as valid UTF-8, by the rules of
// [AppendUTF8] with the first 4 KiB in the place of the whole.
func UTF8Reader(r io.Reader, charset string) io.Reader {
	enc, guess, ok := charsetOf(charset)
	if guess || !ok {
		buf := make([]byte, sniff)
		n, err := io.ReadFull(r, buf)
		whole := err == io.EOF || err == io.ErrUnexpectedEOF
		enc = Detect(buf[:n], whole)
		if r = io.MultiReader(bytes.NewReader(buf[:n]), r); err != nil && !whole {
			r = io.MultiReader(bytes.NewReader(buf[:n]), failing{err})
		}
	}
	if enc == unicode.UTF8 {
		return &utf8Reader{r: r}
	}
	return transform.NewReader(r, enc.NewDecoder())
}

// utf8Reader passes valid UTF-8 on without copying it. From the first fault on
// it leaves the work to a decoder that replaces.
type utf8Reader struct {
	r    io.Reader
	held [utf8.UTFMax]byte // a character cut by the last read
	n    int
	slow io.Reader
}

func (u *utf8Reader) Read(p []byte) (int, error) {
	if u.slow != nil {
		return u.slow.Read(p)
	}
	if len(p) <= utf8.UTFMax {
		u.repair(u.held[:u.n], nil)
		return u.slow.Read(p)
	}
	for {
		n := copy(p, u.held[:u.n])
		k, err := u.r.Read(p[n:])
		n += k
		whole := n
		if err == nil {
			whole = WholeRunes(p[:n])
		}
		if !utf8.Valid(p[:whole]) {
			u.repair(p[:n], err)
			return u.slow.Read(p)
		}
		if u.n = copy(u.held[:], p[whole:n]); whole > 0 || err != nil {
			return whole, err
		}
	}
}

// repair turns to the slow way, which begins with the octets already read.
func (u *utf8Reader) repair(read []byte, err error) {
	rest := u.r
	if err != nil {
		rest = failing{err}
	}
	all := io.MultiReader(bytes.NewReader(bytes.Clone(read)), rest)
	u.slow = transform.NewReader(all, unicode.UTF8.NewDecoder())
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
