package smtp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naive reads content an octet at a time, as RFC 5321 §4.1.1.4 and §4.5.2 say
// it: the reference for the scanner.
func naive(in []byte) (content []byte, used int, end, bare bool) {
	start := true
	for i := 0; i < len(in); i++ {
		c := in[i]
		if start && c == '.' {
			if i+2 < len(in) && in[i+1] == '\r' && in[i+2] == '\n' {
				return content, i + 3, true, bare
			}
			start = false
			continue
		}
		start = false
		if c == '\r' && i+1 < len(in) && in[i+1] == '\n' {
			content = append(content, '\r', '\n')
			i++
			start = true
			continue
		}
		if c == '\r' || c == '\n' {
			bare = true
		}
		content = append(content, c)
	}
	return content, len(in), false, bare
}

// scanAll feeds in to the scanner in pieces, as receive does.
func scanAll(in []byte, piece func() int) (content []byte, used int, end bool, err error) {
	d, l := dots{start: true}, lines{limit: 1 << 30}
	var buf []byte
	for fed := 0; ; {
		w, n, end := d.scan(buf)
		content = append(content, buf[:w]...)
		if e := l.check(buf[:w]); e != nil && err == nil {
			err = e
		}
		buf = buf[n:]
		used += n
		if end || fed == len(in) {
			return content, used, end, err
		}
		k := min(max(piece(), 1), len(in)-fed)
		buf = append(bytes.Clone(buf), in[fed:fed+k]...)
		fed += k
	}
}

// compare holds the scanner against the reference.
func compare(t interface{ Fatalf(string, ...any) }, in []byte, piece func() int) {
	wantContent, wantUsed, wantEnd, wantBare := naive(in)
	content, used, end, err := scanAll(bytes.Clone(in), piece)
	if end != wantEnd {
		t.Fatalf("%q: end %v, want %v", in, end, wantEnd)
	}
	if !end {
		// Octets that may begin a line or the end are still held back.
		if len(in)-used > 2 || !bytes.HasPrefix(wantContent, content) {
			t.Fatalf("%q: used %d, content %q, want %q", in, used, content, wantContent)
		}
		return
	}
	if used != wantUsed || !bytes.Equal(content, wantContent) || (err == errBare) != wantBare {
		t.Fatalf("%q: used %d, content %q, %v; want %d, %q, bare %v", in, used, content, err, wantUsed, wantContent, wantBare)
	}
}

// TestSS1Scan compares all strings of up to 8 of the octets that matter, whole
// and octet by octet.
func TestSS1Scan(t *testing.T) {
	const alphabet = "\r\n.x"
	in := make([]byte, 0, 16)
	var walk func(depth int)
	walk = func(depth int) {
		compare(t, append(bytes.Clone(in), "\r\n.\r\nNOOP"...), func() int { return 1 << 20 })
		compare(t, append(bytes.Clone(in), "\r\n.\r\nNOOP"...), func() int { return 1 })
		if depth == 0 {
			return
		}
		for i := range alphabet {
			in = append(in, alphabet[i])
			walk(depth - 1)
			in = in[:len(in)-1]
		}
	}
	walk(7)
}

func TestScanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"\r\n", ".", "\r", "\n", "a line", "\x00", "\r\n.", "\r\n.\r\n"}), 0, 40).Draw(t, "in"), ""))
		sizes := rapid.SliceOfN(rapid.IntRange(1, 9), 1, 10).Draw(t, "sizes")
		i := 0
		compare(t, in, func() int { i++; return sizes[i%len(sizes)] })
	})
}

// TestStuffRoundTrip shows that what a correct client stuffs comes out again.
func TestStuffRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		content := ""
		for _, l := range rapid.SliceOf(rapid.StringMatching(`\.{0,3}[^\r\n]{0,5}`)).Draw(t, "lines") {
			content += l + "\r\n"
		}
		wire := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:] + ".\r\n"
		got, used, end, err := scanAll([]byte(wire), func() int { return 7 })
		if string(got) != content || used != len(wire) || !end || err != nil {
			t.Fatalf("%q became %q, %v, %v", content, got, end, err)
		}
	})
}

// TestNormalise holds the converter against replacing in a whole string.
func TestNormalise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"\r\n", "\r", "\n", "x", "."})).Draw(t, "in"), "")
		want := strings.ReplaceAll(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(in), "\n", "\r\n")
		var z normaliser
		got := ""
		for rest := in; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			got += string(z.convert([]byte(rest[:n])))
			rest = rest[n:]
		}
		if got != want {
			t.Fatalf("%q became %q, want %q", in, got, want)
		}
	})
}

// FuzzDataReader compares the scanner with the reference for any input in
// pieces of any size.
func FuzzDataReader(f *testing.F) {
	f.Add([]byte("a\r\n..b\r\n.\r\nNOOP\r\n"), uint8(3))
	f.Add([]byte(".\r\n"), uint8(1))
	f.Add([]byte("\n.\r\n\r.\r\n.\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, n uint8) {
		compare(t, in, func() int { return int(n) })
	})
}

// TestG2 runs the worst inputs at two sizes: no allocation at either, and what
// the scanner writes is never more than it read. The time is logged.
func TestG2(t *testing.T) {
	for _, unit := range []string{"..\r\n", "\r\n", "x", "\r", ".", "\r\n.", strings.Repeat("x", 76) + "\r\n"} {
		var took [2]time.Duration
		for i, size := range []int{256 << 10, 4 << 20} {
			in := []byte(strings.Repeat(unit, size/len(unit)))
			buf := make([]byte, bufferSize)
			written := 0
			run := func() {
				began := time.Now()
				d, l := dots{start: true}, lines{limit: 1 << 30}
				written = 0
				for rest := in; len(rest) > 0; {
					k := copy(buf, rest)
					rest = rest[k:]
					w, _, _ := d.scan(buf[:k])
					_ = l.check(buf[:w])
					written += w
				}
				if d := time.Since(began); took[i] == 0 || d < took[i] {
					took[i] = d
				}
			}
			if n := testing.AllocsPerRun(5, run); n != 0 || written > len(in) {
				t.Errorf("%q: %v allocations, %d of %d octets", unit, n, written, len(in))
			}
		}
		t.Logf("%q: 16 times the input took %.1f times as long", unit[:min(len(unit), 6)], float64(took[1])/float64(took[0]))
	}
}

func BenchmarkContent(b *testing.B) {
	for _, line := range []int{20, 76, 998} {
		body := []byte(strings.Repeat(strings.Repeat("x", line-2)+"\r\n", 1<<20/line))
		b.Run(fmt.Sprint("line", line), func(b *testing.B) {
			buf := make([]byte, bufferSize)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				d, l := dots{start: true}, lines{limit: 64 << 10}
				for rest := body; len(rest) > 0; {
					n := copy(buf, rest)
					rest = rest[n:]
					w, _, _ := d.scan(buf[:n])
					if l.check(buf[:w]) != nil {
						b.Fatal()
					}
				}
			}
		})
	}
}
