package sasl

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
)

// directory knows one user, and remembers what it was asked.
type directory struct{ asked []Credentials }

func (d *directory) check(_ context.Context, c Credentials) (string, error) {
	c.Mechanism = ""
	d.asked = append(d.asked, c)
	if c.User == "tim" && c.Password == "tanstaaftanstaaf" {
		return "tim@example.org", nil
	}
	return "", postino.E(postino.Denied, "authenticate", "", nil)
}

// run feeds responses (nil element: no response) and returns all challenges.
func run(t testing.TB, mech string, d *directory, responses ...[]byte) (challenges []string, id string, err error) {
	t.Helper()
	a := &Authenticator{Password: d.check}
	s, err := a.Start(mech)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range responses {
		c, done, err := s.Next(context.Background(), r)
		if err != nil {
			if done || s.Identity() != "" {
				t.Fatal("error and success together")
			}
			return challenges, "", err
		}
		if done {
			if i != len(responses)-1 {
				t.Fatal("done too early")
			}
			return challenges, s.Identity(), nil
		}
		challenges = append(challenges, string(c))
	}
	return challenges, "", errors.New("exchange not over")
}

func TestPlain(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for _, c := range []struct {
		name, msg string
		id        string
		kind      postino.Kind
		asked     Credentials
	}{
		{name: "RFC 4616 example", msg: "\x00tim\x00tanstaaftanstaaf", id: "tim@example.org", asked: Credentials{User: "tim", Password: "tanstaaftanstaaf"}},
		{name: "authorisation id", msg: "Ursel\x00Kurt\x00xipj3plmq", kind: postino.Denied, asked: Credentials{Authz: "Ursel", User: "Kurt", Password: "xipj3plmq"}},
		{name: "wrong password", msg: "\x00tim\x00no", kind: postino.Denied, asked: Credentials{User: "tim", Password: "no"}},
		{name: "empty", msg: "", kind: postino.Invalid},
		{name: "one NUL", msg: "\x00tim", kind: postino.Invalid},
		{name: "three NULs", msg: "\x00tim\x00tanstaaf\x00tanstaaf", kind: postino.Invalid},
		{name: "no user", msg: "\x00\x00tanstaaftanstaaf", kind: postino.Invalid},
		{name: "no password", msg: "\x00tim\x00", kind: postino.Invalid},
		{name: "control", msg: "\x00t\rim\x00x", kind: postino.Invalid},
		{name: "not UTF-8", msg: "\x00t\xffim\x00x", kind: postino.Invalid},
		{name: "long user", msg: "\x00" + long + "\x00x", kind: postino.Invalid},
		{name: "long password", msg: "\x00tim\x00" + strings.Repeat("p", MaxPassword+1), kind: postino.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, initial := range []bool{true, false} {
				d := &directory{}
				in := [][]byte{[]byte(c.msg)}
				if !initial {
					in = append([][]byte{nil}, in...)
				}
				ch, id, err := run(t, "PLAIN", d, in...)
				if id != c.id || err != nil && postino.KindOf(err) != c.kind || (err == nil) != (c.id != "") {
					t.Fatalf("identity %q, error %v", id, err)
				}
				if !initial && (len(ch) != 1 || ch[0] != "") {
					t.Fatalf("challenges %q", ch)
				}
				if (c.asked == Credentials{}) != (len(d.asked) == 0) || len(d.asked) > 0 && d.asked[0] != c.asked {
					t.Fatalf("directory was asked %+v", d.asked)
				}
			}
		})
	}
}

func TestLogin(t *testing.T) {
	d := &directory{}
	ch, id, err := run(t, "LOGIN", d, nil, []byte("tim"), []byte("tanstaaftanstaaf"))
	if err != nil || id != "tim@example.org" || strings.Join(ch, "|") != "Username:|Password:" {
		t.Fatal(ch, id, err)
	}
	if ch, id, err = run(t, "LOGIN", d, []byte("tim"), []byte("tanstaaftanstaaf")); err != nil || id == "" || len(ch) != 1 {
		t.Fatal("initial response:", ch, id, err)
	}
	if _, _, err = run(t, "LOGIN", d, nil, []byte("tim"), []byte("wrong")); !postino.Is(err, postino.Denied) {
		t.Fatal(err)
	}
	for _, bad := range [][][]byte{{nil, {}, []byte("x")}, {nil, []byte("tim"), {}}, {nil, []byte("t\x00im")}, {nil, []byte("tim"), []byte("a\x00b")}} {
		d := &directory{}
		if _, _, err = run(t, "LOGIN", d, bad...); !postino.Is(err, postino.Invalid) || len(d.asked) != 0 {
			t.Fatalf("%q: %v", bad, err)
		}
	}
}

// TestAU4 shows that an exchange ends: after success, failure, too many
// responses and too many octets.
func TestAU4(t *testing.T) {
	ctx := context.Background()
	for _, mech := range []string{"PLAIN", "LOGIN"} {
		d := &directory{}
		a := &Authenticator{Password: d.check}
		s, _ := a.Start(mech)
		for range MaxSteps {
			if _, done, err := s.Next(ctx, nil); done || err != nil {
				t.Fatal(mech, done, err)
			}
		}
		if _, _, err := s.Next(ctx, nil); !postino.Is(err, postino.Invalid) {
			t.Fatal(mech, "step 11:", err)
		}
		s, _ = a.Start(mech)
		if _, _, err := s.Next(ctx, make([]byte, MaxExchange+1)); !postino.Is(err, postino.Invalid) {
			t.Fatal(mech, "too large:", err)
		}
	}
	d := &directory{}
	a := &Authenticator{Password: d.check}
	s, _ := a.Start("PLAIN")
	good := []byte("\x00tim\x00tanstaaftanstaaf")
	if _, done, err := s.Next(ctx, good); !done || err != nil {
		t.Fatal(done, err)
	}
	if _, done, err := s.Next(ctx, good); done || err == nil || len(d.asked) != 1 {
		t.Fatal("success twice")
	}
	synctest.Test(t, func(t *testing.T) {
		s, _ := a.Start("LOGIN")
		if _, _, err := s.Next(ctx, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(MaxTime + 1)
		if _, _, err := s.Next(ctx, []byte("tim")); !postino.Is(err, postino.Invalid) {
			t.Errorf("after its time: %v", err)
		}
	})
	if _, err := a.Start("CRAM-MD5"); !postino.Is(err, postino.NotFound) {
		t.Fatal(err)
	}
	off := &Authenticator{}
	if _, err := off.Start("PLAIN"); !postino.Is(err, postino.NotFound) || len(off.Mechanisms()) != 0 {
		t.Fatal("mechanism without a directory")
	}
}

func TestDecode(t *testing.T) {
	for _, bad := range []string{"=", "A", "AA", "AAA", "=AAA", "AAA=BBB=", "AA\r\nAA", "AAAA ", "AB==", "A-_A", "AAA=="} {
		if out, err := Decode(nil, []byte(bad)); err == nil {
			t.Errorf("%q gives %q", bad, out)
		}
	}
	if out, err := Decode([]byte("x"), []byte("AHRpbQBh")); err != nil || string(out) != "x\x00tim\x00a" {
		t.Errorf("%q %v", out, err)
	}
}

// FuzzPlain holds the reader against the grammar of RFC 4616 §2 written down
// naively.
func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00tim\x00tanstaaftanstaaf"))
	f.Add([]byte("a\x00b\x00c\x00d"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		d := &directory{}
		_, id, err := run(t, "PLAIN", d, append([]byte{}, msg...))
		parts := bytes.Split(msg, []byte{0})
		if len(d.asked) > 0 {
			c := d.asked[0]
			if len(parts) != 3 || c.Authz != string(parts[0]) || c.User != string(parts[1]) || c.Password != string(parts[2]) || c.User == "" || c.Password == "" {
				t.Fatalf("%q was read as %+v", msg, c)
			}
		}
		if (id != "") != (err == nil) || err == nil && len(d.asked) != 1 {
			t.Fatal(id, err)
		}
	})
}

// FuzzLogin feeds two responses in base64 as a protocol does.
func FuzzLogin(f *testing.F) {
	f.Add("dGlt", "dGFuc3RhYWZ0YW5zdGFhZg==")
	f.Add("=", "A")
	f.Fuzz(func(t *testing.T, a, b string) {
		d := &directory{}
		u, err := Decode([]byte{}, []byte(a))
		if err != nil {
			return
		}
		if base64.StdEncoding.EncodeToString(u) != a {
			t.Fatalf("%q is not the one form of %q", a, u)
		}
		p, err := Decode([]byte{}, []byte(b))
		if err != nil {
			return
		}
		_, id, err := run(t, "LOGIN", d, nil, u, p)
		if (id != "") != (err == nil) || len(d.asked) > 0 && (d.asked[0].User != string(u) || d.asked[0].Password != string(p)) {
			t.Fatal(id, err, d.asked)
		}
	})
}
