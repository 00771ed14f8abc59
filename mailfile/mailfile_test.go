package mailfile

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

var (
	ana  = postino.Address{Local: "ana", Domain: "example.org"}
	noon = time.Date(2026, 3, 7, 12, 0, 0, 0, time.UTC)
)

// body is a message of about n octets that tells who wrote it.
func body(mark string, n int) string {
	return "Subject: " + mark + "\r\n\r\n" + strings.Repeat(mark+" 0123456789 0123456789\r\n", n/25+1) + "end of " + mark + "\r\n"
}

// lf is what a format without CR keeps of text.
func lf(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// crashes runs fn on a file system that begins as prepared, and calls check with
// what a cut at each of its writes leaves, by chance of the unsynced in percent.
// Done tells check that fn had returned nil.
func crashes(t *testing.T, prepare func(vfs.FS), fn func(vfs.FS) error, check func(after *vfs.Mem, percent int, done bool)) {
	t.Helper()
	for n := int64(1); ; n++ {
		mem := vfs.Memory()
		prepare(mem)
		cut := errors.New("cut")
		var left map[int]*vfs.Mem
		fsys := vfs.Hook(mem, func(op vfs.Op) error {
			if op.N < n {
				return nil
			}
			if left == nil {
				left = map[int]*vfs.Mem{}
				for _, percent := range []int{0, 30, 70, 100} {
					left[percent] = mem.Crash(percent, uint64(n))
				}
			}
			return cut // a process that is gone writes nothing more
		})
		err := fn(fsys)
		if err == nil {
			for _, percent := range []int{0, 30, 70, 100} {
				check(mem.Crash(percent, uint64(n)), percent, true)
			}
			if n < 5 {
				t.Fatalf("only %d writes", n-1)
			}
			return
		}
		for percent, after := range left {
			check(after, percent, false)
		}
	}
}

func TestCopyLF(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("\r\n\nax")), 0, 60, -1).Draw(t, "text")
		in := []byte(text)
		if rapid.Bool().Draw(t, "long") { // so that the end of the buffer falls into it
			in = append(bytes.Repeat([]byte{'y'}, chunk-rapid.IntRange(0, 30).Draw(t, "before")), text...)
		}
		var r io.Reader = bytes.NewReader(in)
		if rapid.Bool().Draw(t, "slow") {
			r = iotest.HalfReader(iotest.DataErrReader(r))
		}
		var out []byte
		size, lines, ended, err := copyLF(t.Context(), r, 1<<20, func(b []byte) error {
			out = append(out, b...)
			clear(b)
			return nil
		})
		want := lf(string(in))
		if err != nil || string(out) != want || size != int64(len(want)) || lines != int64(strings.Count(want, "\n")) ||
			ended != (want == "" || strings.HasSuffix(want, "\n")) {
			t.Fatalf("%q, %d, %d, %v, %v", out, size, lines, ended, err)
		}
	})
}

func TestErrors(t *testing.T) {
	for name, deliver := range map[string]func(vfs.FS, Limits, io.Reader) error{
		"maildir": func(fsys vfs.FS, l Limits, r io.Reader) error {
			return Maildir{FS: fsys, Dir: "d", Limits: l}.Deliver(t.Context(), r, Info{})
		},
		"mbox": func(fsys vfs.FS, l Limits, r io.Reader) error {
			return Mbox{FS: fsys, Limits: l}.Append(t.Context(), "box", ana, noon, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for what, c := range map[string]struct {
				r    io.Reader
				want postino.Kind
			}{
				"large":   {strings.NewReader(body("x", 2000)), postino.Full},
				"broken":  {iotest.ErrReader(errors.New("broken")), postino.Transient},
				"corrupt": {iotest.ErrReader(postino.E(postino.Corrupt, "read", "", nil)), postino.Corrupt},
				"midway":  {io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), postino.Transient},
			} {
				mem := vfs.Memory()
				if err := deliver(mem, Limits{MessageBytes: 1000}, c.r); postino.KindOf(err) != c.want {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
				if strings.Contains(mem.String(), "half") || files(t, mem, "d/tmp")+files(t, mem, "d/new") > 0 {
					t.Errorf("%s: something remains:\n%s", what, mem)
				}
				if info, err := mem.Stat("box"); err == nil && info.Size() != 0 {
					t.Errorf("%s: %d octets remain", what, info.Size())
				}
			}
			faults := vfs.NewFaults(vfs.Memory())
			faults.SetRoom(300_000)
			if err := deliver(faults, Limits{}, strings.NewReader(body("x", 400_000))); postino.KindOf(err) != postino.Full {
				t.Errorf("full disk: %v", err)
			}
			if u, err := faults.Stat("box"); err == nil && u.Size() != 0 {
				t.Errorf("full disk: %d octets remain", u.Size())
			}
		})
	}
}

// files counts the entries of a directory; one that does not exist has none.
func files(t *testing.T, fsys vfs.FS, dir string) int {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		return 0
	}
	return len(names)
}
