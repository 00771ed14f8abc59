package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/postino-mail/postino/app"
)

// Nobody answers questions here: what needs the DNS cannot be told, and is
// neither well nor wrong (DN2).
func TestCheck(t *testing.T) {
	cfg, do, stop := serving(t)
	do(exitTemp, "could not tell where mx.example.org leads", "check", "-c", cfg)
	do(exitOK, "added", "domain", "add", "-c", cfg, "example.org")
	do(exitTemp, "", "check", "-c", cfg, "--zone")
	do(exitTemp, "example.net", "check", "-c", cfg, "example.net")
	do(exitData, "no domain", "check", "-c", cfg, "no domain")
	do(exitTemp, "could not tell where mail for example.org goes", "check", "-c", cfg, "example.org")
	r := command(t, t.Context(), "", "check", "-c", cfg, "--json")
	var all struct {
		Version int
		Reports []app.CheckReport
	}
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || all.Version != 1 || len(all.Reports) != 2 {
		t.Fatal(err, r)
	}
	closed := false
	for _, f := range all.Reports[0].Findings {
		closed = closed || f.Name == "relay.closed" && f.Status == app.CheckOK
	}
	if !closed {
		t.Errorf("relay: %+v", all.Reports[0].Findings)
	}
	stop().want(t, exitOK, "stopped")
	do(exitTemp, "example.net", "check", "-c", cfg, "example.net") // the store and the DNS will do
}

// Of what is watched only changes are written: in their place where there is
// room, below where there is none.
func TestScreen(t *testing.T) {
	const wide = "\x1b[31mthree times too long\x1b[0m"
	for _, c := range []struct {
		about         string
		columns, rows int
		old, now      []string
		want          string
	}{
		{"in place", 20, 9, []string{"a", "b", "c"}, []string{"a", "x", "c"}, "\x1b[2A\r\x1b[2Kx\x1b[K\x1b[2B\r"},
		{"in place below a long line", 8, 9, []string{wide, "b"}, []string{wide, "c"}, "\x1b[1A\r\x1b[2Kc\x1b[K\x1b[1B\r"},
		{"in place above a long line", 8, 9, []string{"b", wide}, []string{"c", wide}, "\x1b[4A\r\x1b[2Kc\x1b[K\x1b[4B\r"},
		{"no room", 20, 3, []string{"a", "b", "c"}, []string{"a", "x", "c"}, "x\n"},
		{"no terminal", 0, 0, []string{"a", "b"}, []string{"a", "x", "y"}, "x\ny\n"},
		{"more lines", 20, 9, []string{"a", "b"}, []string{"a", "x", "b"}, "x\n"},
		{"longer lines", 3, 9, []string{"a", "b"}, []string{"a", "long"}, "long\n"},
		{"nothing", 20, 9, []string{"a"}, []string{"a"}, ""},
	} {
		var out bytes.Buffer
		s := screen{out: &out, columns: c.columns, rows: c.rows}
		s.show(c.old, nil)
		if first := strings.Join(c.old, "\n") + "\n"; out.String() != first {
			t.Errorf("%s: first %q, want %q", c.about, out.String(), first)
		}
		out.Reset()
		if s.show(c.now, nil); out.String() != c.want {
			t.Errorf("%s: got %q, want %q", c.about, out.String(), c.want)
		}
	}
}
