package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
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

// What people read.
func TestCheckPrinter(t *testing.T) {
	ten := uint16(10)
	reports := []app.CheckReport{
		{Host: "mail.example.org", Findings: []app.CheckFinding{
			{Area: "Host", Status: app.CheckOK, Text: "mail.example.org leads to 203.0.113.7", Detail: "not shown"},
			{Area: "Host", Status: app.CheckUnknown, Text: "could not tell the name of 203.0.113.7 (PTR)", Detail: "no answer in time"},
		}},
		{Host: "mail.example.org", Domain: "example.org", Findings: []app.CheckFinding{
			{Area: "MX", Status: app.CheckFix, Text: "example.org has no MX record", Records: []app.CheckRecord{
				{Name: "example.org", Type: "MX", TTL: 3600, Priority: &ten, Value: "mail.example.org."}}},
			{Area: "SPF", Status: app.CheckAdvice, Text: "the SPF record could be better", Detail: "ptr is slow", Records: []app.CheckRecord{
				{Name: "example.org", Type: "TXT", TTL: 3600, Value: "v=spf1 mx -all", Replaces: "v=spf1 ptr -all"}}},
		}},
	}
	const want = `This server
  Host         OK      mail.example.org leads to 203.0.113.7
               ?       could not tell the name of 203.0.113.7 (PTR) (no answer in time)

example.org
  MX           FIX     example.org has no MX record
                         publish   example.org. 3600 IN MX 10 mail.example.org.
  SPF          advice  the SPF record could be better (ptr is slow)
                         there is  v=spf1 ptr -all
                         publish   example.org. 3600 IN TXT "v=spf1 mx -all"

1 OK, 1 to fix, 1 advice, 1 could not be told`
	if got := strings.Join(checkPrinter{}.lines(reports), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	colors := strings.Join(checkPrinter{color: true}.lines(reports), "\n")
	for _, word := range []string{"\x1b[32mOK\x1b[0m", "\x1b[31;1mFIX\x1b[0m", "\x1b[33madvice\x1b[0m", "\x1b[35m?\x1b[0m"} {
		if !strings.Contains(colors, word) {
			t.Errorf("no %q in %q", word, colors)
		}
	}
	if colored(new(bytes.Buffer)) {
		t.Error("colours without a terminal")
	}
}

// Exit codes: what is to be fixed comes first, then what could not be told.
func TestOutcome(t *testing.T) {
	report := func(all ...app.CheckStatus) []app.CheckReport {
		r := app.CheckReport{}
		for _, s := range all {
			r.Findings = append(r.Findings, app.CheckFinding{Status: s})
		}
		return []app.CheckReport{{}, r}
	}
	if err := outcome(report(app.CheckOK, app.CheckAdvice)); err != nil {
		t.Error(err)
	}
	if err := outcome(report(app.CheckOK, app.CheckUnknown)); exitCode(err) != exitTemp {
		t.Error(err)
	}
	if err := outcome(report(app.CheckUnknown, app.CheckFix)); !errors.As(err, new(checked)) {
		t.Error(err)
	}
}

// interrupter is an output at which somebody presses ctrl-C when all is there.
type interrupter struct {
	bytes.Buffer
	stop func()
}

func (w *interrupter) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if bytes.Contains(w.Bytes(), []byte("could not be told")) {
		w.stop()
	}
	return n, err
}

// A watch goes on while something could not be told, and its end says how it stood.
func TestCheckWatch(t *testing.T) {
	cfg, _, _ := serving(t)
	ctx, stop := context.WithCancel(t.Context())
	out := &interrupter{stop: stop}
	e := &env{ctx: ctx, in: os.Stdin, out: out, err: new(bytes.Buffer)}
	if code := run(e, []string{"check", "-c", cfg, "--watch", "--interval", "1h", "example.net"}); code != exitTemp {
		t.Errorf("code %d: %s", code, out)
	}
	if n := strings.Count(out.String(), "\n  MX "); n != 1 {
		t.Errorf("%d reports: %s", n, out)
	}
}

// A watch does not try the relay again that was closed; what it found stays in its
// place.
func TestWatchSettles(t *testing.T) {
	f := func(area string, s app.CheckStatus) app.CheckFinding { return app.CheckFinding{Area: area, Status: s} }
	areas := func(r app.CheckReport) (s string) {
		for _, f := range r.Findings {
			s += f.Area + " " + string(f.Status) + ","
		}
		return s
	}
	c := new(checkCmd)
	first := []app.CheckReport{{Findings: []app.CheckFinding{f("Host", app.CheckFix), f("Relay", app.CheckOK), f("Blocklists", app.CheckUnknown)}}}
	c.skip = c.settle(nil, first)
	if got := strings.Join(c.skip, ","); got != "Relay" {
		t.Errorf("skips %s", got)
	}
	second := []app.CheckReport{{Findings: []app.CheckFinding{f("Host", app.CheckOK), f("Blocklists", app.CheckOK)}}}
	c.skip = c.settle(first, second)
	if got := areas(second[0]); got != "Host ok,Relay ok,Blocklists ok," || len(c.skip) != 2 {
		t.Errorf("%s, skips %v", got, c.skip)
	}
	if skip := c.settle(nil, []app.CheckReport{{Domain: "example.org"}}); skip != nil {
		t.Errorf("skips %v of a domain", skip)
	}
}
