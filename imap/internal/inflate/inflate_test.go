package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// all decompresses a whole stream that comes from r.
func all(z *Reader, r io.Reader, p []byte) ([]byte, error) {
	var out []byte
	for {
		n, err := z.Read(p)
		out = append(out, p[:n]...)
		switch {
		case err != nil:
			return out, err
		case n > 0:
			continue
		case !z.Wants():
			return out, errors.New("nothing read and nothing wanted")
		}
		if err := z.Fill(r); err != nil {
			return out, err
		}
	}
}

func deflate(b []byte, level int, pieces ...int) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		panic(err)
	}
	for _, n := range pieces {
		n = min(n, len(b))
		w.Write(b[:n])
		w.Flush()
		b = b[n:]
	}
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// TestRoundTrip: what an encoder made comes out again, however it is cut.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range rapid.IntRange(0, 30).Draw(t, "parts") {
			switch n := rnd.IntN(9000); rnd.IntN(4) {
			case 0:
				for range n {
					text = append(text, byte(rnd.Uint32()))
				}
			case 1:
				text = append(text, bytes.Repeat([]byte{byte(n)}, n)...)
			default:
				if len(text) > 0 {
					at := rnd.IntN(len(text))
					text = append(text, text[at:min(len(text), at+n)]...)
				}
				text = append(text, "a UID FETCH 1:* FLAGS\r\n"...)
			}
		}
		in := deflate(text, rapid.IntRange(-2, 9).Draw(t, "level"), rapid.SliceOfN(rapid.IntRange(0, 20000), 0, 5).Draw(t, "flushes")...)
		var r io.Reader = bytes.NewReader(in)
		if rapid.Bool().Draw(t, "by one") {
			r = iotest.OneByteReader(r)
		}
		z := new(Reader)
		got, err := all(z, r, make([]byte, rapid.SampledFrom([]int{1, 7, 128, 16 << 10}).Draw(t, "room")))
		if err != io.EOF || !bytes.Equal(got, text) {
			t.Fatalf("%d octets of %d, %v", len(got), len(text), err)
		}
		if z.input != nil || z.codes != nil || len(z.window) > windowSize {
			t.Fatal("memory is kept")
		}
	})
}

// TestPartialFlush: a client that ends each command by a partial flush is answered
// at once; RFC 4978 leaves the way of flushing open.
func TestPartialFlush(t *testing.T) {
	z := new(Reader)
	for _, step := range [][2]string{ // by zlib's Z_PARTIAL_FLUSH
		{"4a54f0f3f70fe0e50208", "a NOOP\r\n"},
		{"a02485504f170537d710670f05432b2d050d371f47f76090a0262f1740", "b UID FETCH 1:* (FLAGS UID)\r\n"},
		{"002543150104", "c NOOP\r\n"},
	} {
		in, err := hex.DecodeString(step[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := all(z, bytes.NewReader(in), make([]byte, 128)); err != io.EOF || string(got) != step[1] {
			t.Fatalf("got %q, %v, want %q", got, err, step[1])
		}
		if !z.Wants() || z.input != nil {
			t.Fatal("input is kept")
		}
	}
	if len(z.window) > 512 {
		t.Errorf("a window of %d octets for three commands", len(z.window))
	}
}

// TestRest: what follows the end of the stream is not of it.
func TestRest(t *testing.T) {
	z := new(Reader)
	in := append(deflate([]byte("x NOOP\r\n"), 6), "in clear"...)
	if err := z.Fill(bytes.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	n, err := z.Read(p)
	if err != nil || string(p[:n]) != "x NOOP\r\n" {
		t.Fatal(n, err)
	}
	if rest := z.Rest(); string(rest) != "in clear" {
		t.Fatalf("rest %q", rest)
	}
}

// TestBomb: IM11.
func TestBomb(t *testing.T) {
	bomb := deflate(make([]byte, 64<<20), 9)
	got, err := all(new(Reader), bytes.NewReader(bomb), make([]byte, 16<<10))
	if err != ErrBomb || len(got) > 2*bombOutput {
		t.Errorf("%d octets, %v", len(got), err)
	}
	dense := strings.Repeat("a UID FETCH 1:* FLAGS\r\n", 1<<18) // becomes some 300 times as long
	if got, err := all(new(Reader), bytes.NewReader(deflate([]byte(dense), 9)), make([]byte, 16<<10)); err != io.EOF || len(got) != len(dense) {
		t.Errorf("%d octets, %v", len(got), err)
	}
}

// TestCorrupt: streams that are none.
func TestCorrupt(t *testing.T) {
	for _, in := range []string{
		"07",                   // block of no kind
		"0001000100",           // stored length without its complement
		"030200",               // a distance before the beginning
		"05e0ffffffffffffffff", // no complete code
	} {
		b, _ := hex.DecodeString(in)
		if got, err := all(new(Reader), bytes.NewReader(b), make([]byte, 100)); err != ErrCorrupt {
			t.Errorf("%s gave %q, %v", in, got, err)
		}
	}
}

// FuzzInflate holds the decoder against the library's, with the input at once and in
// pieces.
func FuzzInflate(f *testing.F) {
	f.Add(deflate([]byte("a NOOP\r\nb NOOP\r\n"), 6, 8))
	f.Add(deflate(bytes.Repeat([]byte("abc"), 500), -2))
	f.Add([]byte{0, 1, 0, 0xfe, 0xff, 'x'})
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), 1<<20-1))
		if len(want) == 1<<20-1 {
			return
		}
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			z := new(Reader)
			got, err := all(z, r, make([]byte, 300))
			if (wantErr == nil) != (err == io.EOF && z.state == ended) || wantErr == nil && !bytes.Equal(got, want) {
				t.Fatalf("%x: got %q %v, want %q %v", in, got, err, want, wantErr)
			}
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	text := []byte(strings.Repeat("From: Bob <bob@example.org>\r\nSubject: some words that vary little\r\n", 1<<12))
	in := deflate(text, 6)
	p := make([]byte, 16<<10)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		z, r := new(Reader), bytes.NewReader(in)
		for {
			n, err := z.Read(p)
			if err != nil {
				break
			}
			if n == 0 && z.Fill(r) != nil {
				break
			}
		}
	}
}

// TestLinear: a stream a thousand times as long costs no more allocations (G2).
func TestLinear(t *testing.T) {
	var allocs []float64
	for _, n := range []int{4 << 10, 4 << 20} {
		plain := make([]byte, n)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range plain {
			plain[i] = byte(r.IntN(64))
		}
		stream, p := deflate(plain, 6), make([]byte, 8<<10)
		allocs = append(allocs, testing.AllocsPerRun(2, func() {
			z, in, got := new(Reader), bytes.NewReader(stream), 0
			for {
				k, err := z.Read(p)
				if got += k; err == io.EOF {
					break
				}
				if err == nil && k == 0 {
					err = z.Fill(in)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got != n {
				t.Fatalf("%d octets of %d", got, n)
			}
		}))
	}
	if allocs[1] > 2.6*(allocs[0]+4) {
		t.Errorf("allocations: %v", allocs)
	}
}
