package message

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

var update = flag.Bool("update", false, "write the stored forms that are not kept yet")

// Indexes stored by earlier versions must stay readable: testdata/index holds
// for each a stored form and the BODYSTRUCTURE that it gives. Files are added,
// never changed.
func TestStoredIndexes(t *testing.T) {
	samples := map[string][]byte{"sample": sampleMail(9 << 10)}
	for _, tt := range trees {
		samples[tt.name] = crlf(tt.in)
	}
	if *update {
		for name, mail := range samples {
			x := Parse(mail, Limits{})
			path := filepath.Join("testdata", "index", "v1-"+strings.ReplaceAll(name, " ", "-"))
			if _, err := os.Stat(path + ".idx"); err == nil {
				continue
			}
			if err := os.WriteFile(path+".idx", x.AppendBinary(nil), 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".txt", x.AppendBodyStructure(nil, true), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join("testdata", "index", "*.idx"))
	if len(files) < 20 {
		t.Fatalf("only %d samples", len(files))
	}
	for _, file := range files {
		stored, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(file[:len(file)-4] + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		x, err := DecodeIndex(stored)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := x.AppendBodyStructure(nil, true); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", file, got, want)
		}
	}
}

func TestDecodeIndexErrors(t *testing.T) {
	good := Parse(crlf(trees[4].in), Limits{}).AppendBinary(nil)
	if _, err := DecodeIndex(append([]byte{indexVersion + 1}, good[1:]...)); !postino.Is(err, postino.Invalid) {
		t.Errorf("newer version: %v", err)
	}
	for n := range good {
		if _, err := DecodeIndex(good[:n]); !postino.Is(err, postino.Corrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := DecodeIndex(append(good[:len(good):len(good)], 0)); !postino.Is(err, postino.Corrupt) {
		t.Errorf("trailing octet: %v", err)
	}
}
