package tlspolicy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx.b.example\r\nmx: *.c.example\r\nmax_age: 604800\r\n"

// RFC 8461 §3.2.
func TestParseSTSPolicy(t *testing.T) {
	p, err := ParseSTSPolicy([]byte(good))
	if err != nil || p.Mode != Enforce || p.MaxAge != 7*24*time.Hour || !slices.Equal(p.MX, []string{"mx.b.example", "*.c.example"}) ||
		!slices.Equal(p.Lines, strings.Split(strings.TrimSuffix(strings.ReplaceAll(good, "\r", ""), "\n"), "\n")) {
		t.Fatalf("%+v, %v", p, err)
	}
	const head = "version: STSv1\nmode: testing\nmax_age: 86400\n"
	for name, tc := range map[string]struct {
		text string
		ok   bool
	}{
		"LF":                      {strings.ReplaceAll(good, "\r", ""), true},
		"no last line end":        {strings.TrimSuffix(good, "\r\n"), true},
		"no space":                {strings.ReplaceAll(good, ": ", ":"), true},
		"tabs and space behind":   {strings.ReplaceAll(strings.ReplaceAll(good, ": ", ":\t "), "\r", " \t\r"), true},
		"unknown field":           {head + "mx: a.example\nx_y-z.1: a b: c\n", true},
		"unknown UTF-8 value":     {head + "mx: a.example\nnote: prüfen\n", true},
		"version not first":       {"mode: none\nversion: STSv1\nmax_age: 1\n", true},
		"none without mx":         {"version: STSv1\nmode: none\nmax_age: 0\n", true},
		"mode twice":              {head + "mode: bogus\nmx: a.example\n", true}, // the first counts
		"max_age of ten digits":   {"version: STSv1\nmode: none\nmax_age: 9999999999\n", true},
		"max_age of eleven":       {"version: STSv1\nmode: none\nmax_age: 00000000001\n", false},
		"max_age negative":        {"version: STSv1\nmode: none\nmax_age: -1\n", false},
		"max_age of nothing":      {"version: STSv1\nmode: none\nmax_age:\n", false},
		"max_age of letters":      {"version: STSv1\nmode: none\nmax_age: 1d\n", false},
		"no max_age":              {"version: STSv1\nmode: none\n", false},
		"no version":              {"mode: none\nmax_age: 1\n", false},
		"other version":           {"version: STSv2\nmode: none\nmax_age: 1\n", false},
		"no mode":                 {"version: STSv1\nmx: a.example\nmax_age: 1\n", false},
		"other mode":              {"version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 1\n", false},
		"upper case names":        {"Version: STSv1\nMode: none\nMax_age: 1\n", false},
		"enforce without mx":      {"version: STSv1\nmode: enforce\nmax_age: 1\n", false},
		"testing without mx":      {head, false},
		"mx with space":           {head + "mx: a.example, b.example\n", false},
		"mx empty":                {head + "mx: \n", false},
		"mx of wildcard only":     {head + "mx: *\n", false},
		"mx with inner wildcard":  {head + "mx: mx.*.example\n", false},
		"mx with partial":         {head + "mx: mx*.example\n", false},
		"mx with two":             {head + "mx: *.*.example\n", false},
		"mx dot":                  {head + "mx: .example\n", false},
		"mx with U-label":         {head + "mx: mx.bücher.example\n", false},
		"mx too long":             {head + "mx: " + strings.Repeat("a.", 127) + "example\n", false},
		"empty line":              {"version: STSv1\n\nmode: none\nmax_age: 1\n", false},
		"no colon":                {good + "hello\n", false},
		"space before the colon":  {good + "a : b\n", false},
		"control in value":        {good + "a: b\x00\n", false},
		"bare CR":                 {"version: STSv1\rmode: none\rmax_age: 1\r", false},
		"not UTF-8":               {good + "a: \xff\n", false},
		"name of 32":              {good + strings.Repeat("a", 32) + ": x\n", true},
		"name of 33":              {good + strings.Repeat("a", 33) + ": x\n", false},
		"name with other letters": {good + "-a: x\n", false},
		"empty":                   {"", false},
		"HTML":                    {"<!DOCTYPE html>\n<html>\n", false},
		"too long":                {good + "a: " + strings.Repeat("x", maxPolicy) + "\n", false},
		"200 mx":                  {head + strings.Repeat("mx: a.example\n", maxMX), true},
		"201 mx":                  {head + strings.Repeat("mx: a.example\n", maxMX+1), false},
	} {
		if _, err := ParseSTSPolicy([]byte(tc.text)); (err == nil) != tc.ok || err != nil && !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err = ParseSTSPolicy([]byte("version: STSv1\nmode: none\nmax_age: 9999999999\n"))
	if err != nil || p.MaxAge != maxAge*time.Second { // TL5
		t.Errorf("%v, %v", p, err)
	}
	if p, err = ParseSTSPolicy([]byte(head + "mode: enforce\nmax_age: 5\nmx: A.Example\n")); err != nil || p.Mode != Testing || p.MaxAge != 24*time.Hour || p.MX[0] != "a.example" {
		t.Errorf("%+v, %v: not the first of each field", p, err)
	}
}

// RFC 8461 §4.1.
func TestSTSMatch(t *testing.T) {
	p := &STSPolicy{MX: []string{"mx.b.example", "*.c.example", "*.example"}}
	for host, want := range map[string]bool{
		"mx.b.example": true, "mx.b.example.": true, "a.mx.b.example": false, "b.example": true, "x.c.example": true, "c.example": true, "a.b.c.example": false,
		"example": false, "": false, "xn--x.c.example": true, "mx.other": false,
	} {
		if p.Match(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
}

// RFC 8461 §3.1.
func TestParseSTSRecord(t *testing.T) {
	for text, want := range map[string]string{
		"v=STSv1; id=20160831085700Z;":     "20160831085700Z",
		"v=STSv1;id=1":                     "1",
		"v=STSv1 ; id=1 ; ":                "1",
		"v=STSv1; x=y; id=1; id=2":         "1",
		"v=STSv1; a-b.c_d=e:f; id=1":       "1",
		"v=STSv1":                          "",
		"v=STSv1;":                         "",
		"v=STSv1; ;id=1":                   "",
		"v=STSv1;;id=1":                    "",
		"v=STSv1; id=":                     "",
		"v=STSv1; id=1 2":                  "",
		"v=STSv1; id=1-2":                  "",
		"v=STSv1; ID=1":                    "",
		"v=stsv1; id=1":                    "",
		"v=STSv10; id=1":                   "",
		" v=STSv1; id=1":                   "",
		"id=1; v=STSv1":                    "",
		"v=STSv1; id=1; junk":              "",
		"v=STSv1; id=1; x=\x00":            "",
		"v=STSv1; id=1; x=ü":               "",
		"v=STSv1; id=" + alnum(32):         alnum(32),
		"v=STSv1; id=" + alnum(33):         "",
		"v=STSv1; id=1; x=" + alnum(10000): "",
	} {
		got, err := ParseSTSRecord(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.60s: %q, %v", text, got, err)
		}
	}
}

func alnum(n int) string { return strings.Repeat("a1", n)[:n] }

// RFC 8460 §3.
func TestParseTLSRPT(t *testing.T) {
	for text, want := range map[string]string{
		"v=TLSRPTv1;rua=mailto:reports@example.com":                             "mailto:reports@example.com",
		"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt":               "https://reporting.example.com/v1/tlsrpt",
		"v=TLSRPTv1; rua=mailto:a@example.com , https://x.example/?a=b ; n=1; ": "mailto:a@example.com https://x.example/?a=b",
		"v=TLSRPTv1; rua=ftp://x.example,mailto:a@example.com":                  "mailto:a@example.com",
		"v=TLSRPTv1; rua=ftp://x.example":                                       "",
		"v=TLSRPTv1; rua=reports@example.com":                                   "",
		"v=TLSRPTv1; rua=mailto:a@example.com!10m":                              "",
		"v=TLSRPTv1; rua=":                     "",
		"v=TLSRPTv1":                           "",
		"v=TLSRPTv1;":                          "",
		"v=TLSRPTv2; rua=mailto:a@example.com": "",
		"v=TLSRPTv1; ruf=mailto:a@example.com": "",
	} {
		r, ok := ParseTLSRPT([]string{"v=spf1 -all", text})
		if strings.Join(r.RUA, " ") != want || ok != (want != "") {
			t.Errorf("%s: %v, %v", text, r, ok)
		}
	}
	one := "v=TLSRPTv1; rua=mailto:a@example.com"
	if _, ok := ParseTLSRPT([]string{one, one}); ok {
		t.Error("two records count")
	}
	if _, ok := ParseTLSRPT(nil); ok {
		t.Error("no record counts")
	}
	if r, ok := ParseTLSRPT([]string{"v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@b.example,", 50) + "mailto:z@b.example"}); !ok || len(r.RUA) != maxRUA {
		t.Errorf("%d destinations", len(r.RUA))
	}
}

// What is written is read again.
func TestRowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &STSPolicy{
			Mode:   Mode(rapid.IntRange(0, 2).Draw(t, "mode")),
			MX:     rapid.SliceOfN(rapid.StringMatching(`(\*\.)?[a-z0-9]{1,10}(\.[a-z]{2,5}){1,3}`), 1, 5).Draw(t, "mx"),
			MaxAge: time.Duration(rapid.IntRange(0, 31557600).Draw(t, "age")) * time.Second,
		}
		p.Lines = []string{"version: STSv1", "mode: " + p.Mode.String(), fmt.Sprintf("max_age: %d", int(p.MaxAge.Seconds()))}
		for _, m := range p.MX {
			p.Lines = append(p.Lines, "mx: "+m)
		}
		e := &entry{domain: "b.example", id: rapid.StringMatching(`[a-z0-9]{0,32}`).Draw(t, "id"), policy: p,
			fetched: time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "fetched"), 0), used: time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "used"), 0)}
		row := e.row()
		got, err := parseRow("b.example", row)
		if err != nil || got.id != e.id || !got.fetched.Equal(e.fetched) || !got.used.Equal(e.used) || got.policy.Mode != p.Mode ||
			got.policy.MaxAge != p.MaxAge || !slices.Equal(got.policy.MX, p.MX) || !slices.Equal(got.policy.Lines, p.Lines) {
			t.Fatalf("%+v, %v", got, err)
		}
		cut := row[:rapid.IntRange(0, len(row)-1).Draw(t, "cut")]
		if got, err := parseRow("b.example", cut); err == nil && len(got.policy.Lines) > len(p.Lines) || err != nil && !postino.Is(err, postino.Corrupt) {
			t.Fatalf("cut: %v, %v", got, err)
		}
	})
	if _, err := parseRow("b.example", []byte{entryVersion + 1}); !postino.Is(err, postino.Corrupt) {
		t.Errorf("a newer version: %v", err)
	}
}

// FuzzSTS: whatever is read holds what a policy must, and is read the same again.
func FuzzSTS(f *testing.F) {
	for _, seed := range []string{good, "version: STSv1\nmode: none\nmax_age: 0", "mx:*.a\n", "version:STSv1\r\n\r\n", "v=STSv1; id=1;", "v=TLSRPTv1; rua=mailto:a@b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if id, err := ParseSTSRecord(string(text)); err == nil && (id == "" || len(id) > 32) {
			t.Errorf("id %q", id)
		}
		if r, err := ParseTLSRPTRecord(string(text)); err == nil && (len(r.RUA) == 0 || len(r.RUA) > maxRUA) {
			t.Errorf("%v", r)
		}
		p, err := ParseSTSPolicy(text)
		if err != nil {
			return
		}
		if p.MaxAge < 0 || p.MaxAge > maxAge*time.Second || p.Mode != None && len(p.MX) == 0 {
			t.Errorf("%+v", p)
		}
		again, err := ParseSTSPolicy([]byte(strings.Join(p.Lines, "\r\n") + "\r\n"))
		if err != nil || !slices.Equal(again.Lines, p.Lines) || again.Mode != p.Mode || again.MaxAge != p.MaxAge || !slices.Equal(again.MX, p.MX) {
			t.Errorf("%+v, %+v, %v", p, again, err)
		}
	})
}
