package mailbox

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

// indexFormats are the rows of an index: samples, and a way to read octets and
// write them again.
func indexFormats(t testing.TB) map[string]struct {
	sample []byte
	again  func([]byte) ([]byte, error)
} {
	rows := map[byte][]byte{}
	put := func(kind byte, _ uint32, row []byte) error {
		rows[kind] = bytes.Clone(row)
		return nil
	}
	w := &pageWriter{span: 40, put: put}
	all := make([]uint32, 40)
	for i := range all {
		all[i] = uint32(i)
	}
	for i, term := range []string{"ADA", "EXAMPLE", "NEEDLE", "\u6771\u4eac"} {
		var p postings
		p[i], p[fieldBody] = all[i:i+1], all[:10*i]
		if err := w.add([]byte(term), &p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	head := segmentHead{segment: segment{base: 900, span: 40}, all: appendSet(nil, all, 40), cut: appendSet(nil, all[7:8], 40),
		pages: [sections][][]byte{w.firsts, {[]byte("A"), []byte("B")}}}
	list := manifest{upTo: 1000, segments: []segment{{number: 1 << 60, base: 1, span: 800, emails: 700, size: 1 << 20}, {number: 1<<60 + 1, base: 900, span: 40, emails: 40, size: 999}}}
	type format = struct {
		sample []byte
		again  func([]byte) ([]byte, error)
	}
	return map[string]format{
		"manifest": {list.append(nil), func(b []byte) ([]byte, error) {
			m, err := decodeManifest(b)
			if err != nil {
				return nil, err
			}
			return m.append(nil), nil
		}},
		"segment": {head.append(nil), func(b []byte) ([]byte, error) {
			h, err := decodeSegment(b)
			if err != nil {
				return nil, err
			}
			return h.append(nil), nil
		}},
		"dictionary": {rows[rowDict], func(b []byte) ([]byte, error) {
			d, err := decodeDictionary(b)
			n := -1
			d.find(pattern("E"), func(place int) bool {
				if place <= n {
					t.Fatal("places do not ascend")
				}
				n = place
				return true
			})
			return append([]byte{segmentVersion}, d...), err
		}},
		"postings": {rows[rowPostings], func(b []byte) ([]byte, error) {
			p, err := decodePage(b)
			if err != nil {
				return nil, err
			}
			c := pageCursor{page: p}
			for place := range p.n {
				sets, ok := c.at(place)
				for f := range sets {
					dst := make(bitset, 1)
					ok = ok && sets[f].or(dst, 40) && sets[f].each(40, func(n uint32) {
						if !dst.has(uint64(n)) {
							t.Fatal("a set read in two ways differs")
						}
					})
				}
				if !ok {
					return nil, corrupt("postings")
				}
			}
			return b, nil
		}},
	}
}

// TestStoredIndexFormat reads samples that were kept when the formats were made.
func TestStoredIndexFormat(t *testing.T) {
	const file = "testdata/index.txt"
	names := []string{"manifest", "segment", "dictionary", "postings"}
	if *keepSample {
		var out bytes.Buffer
		for _, name := range names {
			fmt.Fprintf(&out, "%s %x\n", name, indexFormats(t)[name].sample)
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(kept)), "\n")
	equal(t, "samples", len(lines), len(names))
	for _, line := range lines {
		name, text, _ := strings.Cut(line, " ")
		old, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		f := indexFormats(t)[name]
		if !bytes.Equal(old, f.sample) {
			t.Errorf("%s is written as %x, the sample is %x", name, f.sample, old)
		}
		again, err := f.again(old)
		if err != nil || !bytes.Equal(again, old) {
			t.Errorf("%s: read and written again %x, %v", name, again, err)
		}
		_, err = f.again(append([]byte{99}, old[1:]...))
		if !postino.Is(err, postino.Invalid) {
			t.Errorf("%s of a newer format: %v", name, err)
		}
	}
}

// FuzzIndexRows reads anything as any row of an index.
func FuzzIndexRows(f *testing.F) {
	for name, v := range indexFormats(f) {
		f.Add(name, v.sample)
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		v, ok := indexFormats(t)[name]
		if !ok || len(b) > 1<<16 {
			return
		}
		once, err := v.again(b)
		if err != nil {
			return
		}
		if twice, err := v.again(once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s %x: %x, then %x, %v", name, b, once, twice, err)
		}
	})
}
