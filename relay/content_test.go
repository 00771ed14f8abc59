package relay

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestScanner(t *testing.T) {
	for _, tc := range []struct {
		text  string
		whole bool
		want  facts
	}{
		{"A: b\r\n\r\nbody\r\n", true, facts{}},
		{"A: \xc3\xa9\r\n\r\nbody\r\n", true, facts{eight: true, utf8: true}},
		{"A: b\r\n\r\nb\xe9dy, long enough for eight octets\r\n", true, facts{eight: true}},
		{"A: b\n\nb\xe9dy\n", true, facts{eight: true}},
		{"A: b\r\n\r\nb\xe9dy\r\n", false, facts{}},
		{"A: b\xe9", false, facts{eight: true, utf8: true}},
		{"", true, facts{}},
	} {
		s := scanner{whole: tc.whole}
		if _, err := s.Write([]byte(tc.text)); err != nil && !errors.Is(err, errKnown) {
			t.Fatal(err)
		}
		if s.facts != tc.want {
			t.Errorf("%q: %+v", tc.text, s.facts)
		}
	}
}

// The facts do not depend on how the octets were cut into writes.
func TestScannerCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.SampledFrom([]byte("\r\n\r\nab:\xe9")), 0, 40).Draw(t, "text")
		whole := scanner{whole: true}
		whole.Write(text)
		cut := scanner{whole: true}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if _, err := cut.Write(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		if whole.facts != cut.facts {
			t.Fatalf("%q: %+v, cut %+v", text, whole.facts, cut.facts)
		}
	})
}
