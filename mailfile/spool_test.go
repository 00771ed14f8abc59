package mailfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
)

var spoolEnv = postino.Envelope{
	From: ana, SMTPUTF8: true, Body: postino.Body8BitMIME, EnvID: "id 1", Ret: postino.DSNReturnHeaders,
	Rcpts: []postino.Recipient{
		{Address: postino.Address{Local: "bøb", Domain: "example.net"}, Notify: postino.DSNSuccess | postino.DSNFailure, ORcpt: "rfc822;bob"},
		{Address: ana},
	},
}

func newSpool(t *testing.T, fsys vfs.FS, dir string) *Spool {
	t.Helper()
	s := &Spool{FS: fsys, Dir: dir}
	if err := s.Prepare(); err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Spool, text string) string {
	t.Helper()
	name, err := s.Put(t.Context(), &spoolEnv, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// collect returns the messages that the spool gives.
func collect(s *Spool) (got []string, err error) {
	_, err = s.Collect(context.Background(), func(_ context.Context, d *Drop) error {
		b, err := io.ReadAll(d.Content)
		if err == nil {
			got = append(got, string(b))
		}
		return err
	})
	return got, err
}

func TestSpool(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS(), "memory": vfs.Memory()} {
		t.Run(name, func(t *testing.T) {
			s := newSpool(t, fsys, filepath.Join(t.TempDir(), "spool"))
			texts := []string{body("one", 100), "", body("three", 300_000)}
			for _, text := range texts {
				put(t, s, text)
			}
			var got []string
			n, err := s.Collect(t.Context(), func(_ context.Context, d *Drop) error {
				b, err := io.ReadAll(d.Content)
				got = append(got, string(b))
				if !reflect.DeepEqual(d.Envelope, spoolEnv) || d.Size != int64(len(b)) || d.Time.IsZero() {
					t.Errorf("size %d, time %v, envelope %+v", d.Size, d.Time, d.Envelope)
				}
				if d.HasUID != (name == "os") || d.HasUID && d.UID != uint32(os.Getuid()) {
					t.Errorf("owner %d, %v", d.UID, d.HasUID)
				}
				return err
			})
			slices.Sort(got)
			slices.Sort(texts)
			if n != 3 || err != nil || !slices.Equal(got, texts) {
				t.Errorf("%d, %v, got %.200q", n, err, got)
			}
			if left, err := s.List(); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestSpoolModes(t *testing.T) {
	s := newSpool(t, vfs.OS(), filepath.Join(t.TempDir(), "spool"))
	info, err := os.Stat(s.Dir)
	if err != nil || info.Mode() != fs.ModeDir|spoolMode {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(s.Dir, put(t, s, "x"))); err != nil || info.Mode() != 0o640 {
		t.Errorf("with the group of the directory: %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(s.Dir, 0o1733); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(s.Dir, put(t, s, "x"))); err != nil || info.Mode() != 0o600 {
		t.Errorf("without: %v, %v", info.Mode(), err)
	}
}

func TestSpoolPutRefuses(t *testing.T) {
	s := newSpool(t, vfs.Memory(), "spool")
	s.Limits = SpoolLimits{MessageBytes: 100, Recipients: 2}
	for name, c := range map[string]struct {
		env  postino.Envelope
		text string
		want postino.Kind
	}{
		"no recipients":   {postino.Envelope{From: ana}, "x", postino.Invalid},
		"many recipients": {postino.Envelope{Rcpts: make([]postino.Recipient, 3)}, "x", postino.Invalid},
		"large":           {spoolEnv, strings.Repeat("x", 101), postino.Full},
	} {
		if _, err := s.Put(t.Context(), &c.env, strings.NewReader(c.text)); !postino.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (&Spool{FS: vfs.Memory(), Dir: "none"}).Put(t.Context(), &spoolEnv, strings.NewReader("x")); !postino.Is(err, postino.NotFound) {
		t.Errorf("no directory: %v", err)
	}
	if names, err := s.FS.List("spool"); err != nil || !slices.Equal(names, []string{"bad"}) {
		t.Errorf("left: %v, %v", names, err)
	}
}

// TestSpoolDamage: of a file of which any octet was changed or cut nothing is
// accepted, and it is kept.
func TestSpoolDamage(t *testing.T) {
	mem := vfs.Memory()
	s := newSpool(t, mem, "spool")
	name := put(t, s, "text")
	good := read(t, mem, "spool/"+name)
	for i := range good {
		for _, bad := range []string{good[:i], good[:i] + string(good[i]^0x21) + good[i+1:]} {
			if err := vfs.WriteFile(mem, "spool/"+name, []byte(bad)); err != nil {
				t.Fatal(err)
			}
			if got, err := collect(s); len(got) != 0 || err != nil {
				t.Errorf("%q gave %q, %v", bad, got, err)
			}
			if read(t, mem, "spool/bad/"+name) != bad {
				t.Errorf("%q was not set aside", bad)
			}
		}
	}
}

func TestSpoolOutcomes(t *testing.T) {
	for kind, where := range map[postino.Kind]string{
		postino.Transient: "", postino.Full: "", postino.Internal: "", postino.Conflict: "",
		postino.Invalid: "bad", postino.Denied: "bad", postino.NotFound: "bad", postino.Corrupt: "bad",
	} {
		mem := vfs.Memory()
		s := newSpool(t, mem, "spool")
		name := put(t, s, "text")
		n, err := s.Collect(t.Context(), func(context.Context, *Drop) error { return postino.E(kind, "accept", "", nil) })
		if n != 0 || (err == nil) != (where == "bad") {
			t.Errorf("%v: %d, %v", kind, n, err)
		}
		if _, err := mem.Stat(mem.PathJoin("spool", where, name)); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
}

// TestSpoolHostile: users can make what they want in the directory.
func TestSpoolHostile(t *testing.T) {
	s := newSpool(t, vfs.OS(), filepath.Join(t.TempDir(), "spool"))
	var log bytes.Buffer
	s.Logger = slog.New(slog.NewTextHandler(&log, nil))
	at := func(name string) string { return filepath.Join(s.Dir, name) }
	victim := put(t, s, "victim")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.Rename(at(victim), secret); err != nil {
		t.Fatal(err)
	}
	named := func(i byte) string { return victim[:len(victim)-1] + string('A'+i) }
	err := errors.Join(
		os.Symlink(secret, at(named(0))),
		os.Link(secret, at(named(1))),
		syscall.Mkfifo(at(named(2)), 0o600),
		os.Mkdir(at(named(3)), 0o700),
		os.WriteFile(at(named(4)), []byte("\x02\x00\x00\x00\x02{}"+strings.Repeat("\x00", 100)), 0o600),
		os.WriteFile(at(named(5)), []byte("\x01\xff\xff\xff\xff{}"+strings.Repeat("\x00", 100)), 0o600),
		os.WriteFile(at(named(6)), nil, 0o600),
		os.WriteFile(at("tmp-"+named(7)), []byte("unfinished"), 0o600),
		os.WriteFile(at("..."), []byte("foreign"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "good")
	if got, err := collect(s); err != nil || !slices.Equal(got, []string{"good"}) {
		t.Errorf("%q, %v", got, err)
	}
	if n := files(t, s.FS, at("bad")); n != 7 {
		t.Errorf("%d set aside", n)
	}
	if n := strings.Count(log.String(), "set aside"); n != 7 {
		t.Errorf("%d lines of log:\n%s", n, log.String())
	}
	if b, err := os.ReadFile(secret); err != nil || !strings.Contains(string(b), "victim") {
		t.Errorf("the secret is %q, %v", b, err)
	}
}

// TestSpoolEnvelopes: what is well-formed but makes no sense.
func TestSpoolEnvelopes(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `null`, `{"from":"","rcpts":[]}`, `{"from":"x","rcpts":[{"to":"a@b.example"}]}`,
		`{"from":"","rcpts":[{"to":"a"}]}`, `{"from":"","rcpts":[{"to":"a@b.example\r\nRCPT"}]}`, `{"from":"","rcpts":[{"to":"a@b.example","notify":99}]}`,
		`{"from":"","rcpts":[{"to":"a@b.example","notify":3}]}`, `{"from":"","rcpts":[{"to":"a@b.example"}],"body":9}`,
		`{"from":"","rcpts":[{"to":"a@b.example"}],"ret":9}`, `{"from":"","rcpts":[{"to":"a@b.example"}],"new":1}`,
		`{"from":"","rcpts":[{"to":"a@b.example"}],"envid":"` + strings.Repeat("x", 101) + `"}`,
	} {
		if env, err := parseSpoolEnvelope([]byte(text), SpoolLimits{}.withDefaults()); err == nil {
			t.Errorf("%s is %+v", text, env)
		}
	}
}

func TestSpoolCrash(t *testing.T) {
	text := body("one", 10_000)
	prepare := func(fsys vfs.FS) { newSpool(t, fsys, "spool") }
	deliver := func(fsys vfs.FS) error {
		_, err := (&Spool{FS: fsys, Dir: "spool"}).Put(context.Background(), &spoolEnv, strings.NewReader(text))
		return err
	}
	crashes(t, prepare, deliver, func(after *vfs.Mem, percent int, done bool) {
		s := newSpool(t, after, "spool")
		got, err := collect(s)
		if err != nil || done && len(got) != 1 || len(got) == 1 && got[0] != text {
			t.Errorf("%d %%: %d messages, %v", percent, len(got), err)
		}
		if got, err := collect(s); err != nil || len(got) != 0 {
			t.Errorf("%d %%: again %q, %v", percent, got, err)
		}
	})
}

func FuzzSpool(f *testing.F) {
	head, err := appendSpoolHead(nil, &spoolEnv, SpoolLimits{}.withDefaults())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(head)
	f.Add([]byte("\x01\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < spoolStart {
			return
		}
		limits := SpoolLimits{}.withDefaults()
		env, err := parseSpoolEnvelope(data[spoolStart:], limits)
		if err != nil {
			return
		}
		again, err := appendSpoolHead(nil, &env, limits)
		if err != nil {
			t.Fatal(err)
		}
		env2, err := parseSpoolEnvelope(again[spoolStart:], limits)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if !reflect.DeepEqual(env, env2) {
			t.Errorf("%+v became %+v", env, env2)
		}
	})
}
