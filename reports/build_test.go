package reports

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

// zeros makes boundaries foreseeable.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

var day = time.Date(2026, 1, 2, 10, 4, 0, 0, time.FixedZone("", 3600))

func addr(local, domain string) postino.Address { return postino.Address{Local: local, Domain: domain} }

const original = "Received: from pc.example.org by mx.example.org; Fri, 2 Jan 2026 10:04:00 +0100\r\n" +
	"From: Ann <ann@example.org>\r\nTo: bob@example.com\r\nSubject: Lunch on Friday\r\n" +
	"Message-ID: <m1@example.org>\r\nReferences: <m0@example.org>\r\n\r\n"

func failure() *DSN {
	return &DSN{
		ReportingMTA: "mx.example.org", To: addr("ann", "example.org"), EnvID: "QQ314159", Arrival: day, ReceivedFrom: "pc.example.org",
		Date: day.Add(time.Minute), ID: "report@mx.example.org", Rand: zeros{}, Headers: []byte(original),
		Rcpts: []DSNRcpt{{
			Original: "rfc822;bob@example.com", Final: addr("bob", "example.com"), Action: Failed, Status: "5.1.1", RemoteMTA: "mx.example.com",
			Diagnostic: "550-5.1.1 <bob@example.com>: Recipient address rejected:\n550 5.1.1 User unknown in virtual mailbox table", LastAttempt: day, FinalLogID: "01h",
		}},
	}
}

func many(n int, action Action, status string) *DSN {
	d := failure()
	d.Rcpts = nil
	for i := range n {
		d.Rcpts = append(d.Rcpts, DSNRcpt{Final: addr(fmt.Sprintf("user%d", i), "example.com"), Action: action, Status: status, RemoteMTA: "mx.example.com", Diagnostic: fmt.Sprintf("550 %s <user%d@example.com> no", status, i)})
	}
	return d
}

// samples are the reports of which golden files exist in every language.
func samples() map[string]*DSN {
	delayed := failure()
	delayed.Rcpts[0].Action, delayed.Rcpts[0].Status, delayed.Rcpts[0].Diagnostic, delayed.Rcpts[0].RemoteMTA = Delayed, "4.4.1", "connection timed out", ""
	delayed.Rcpts[0].WillRetryUntil = day.Add(5 * 24 * time.Hour)
	mixed := many(3, Failed, "5.2.2")
	mixed.Rcpts = append(mixed.Rcpts,
		DSNRcpt{Final: addr("eva", "example.net"), Action: Delivered, Status: "2.1.5"}, DSNRcpt{Final: addr("dan", "example.net"), Action: Relayed, Status: "2.1.9"},
		DSNRcpt{Final: addr("ion", "example.net"), Action: Failed, Status: "5.4.1", RemoteMTA: "mx.example.net", Diagnostic: "connection refused"},
		DSNRcpt{Final: addr("team", "example.net"), Action: Expanded, Status: "2.1.5"}, DSNRcpt{Final: addr("tom", "xn--caff-8oa.example"), Action: Failed, Status: "5.7.30"})
	mixed.Headers = nil
	return map[string]*DSN{"failed": failure(), "delayed": delayed, "mixed": mixed}
}

// Golden reports: what people read, in each language, reviewed as text.
func TestGolden(t *testing.T) {
	for name, d := range samples() {
		for _, lang := range languages() {
			d.Lang = lang.String()
			raw, _ := mustBuild(t, d)
			got := raw
			if name != "failed" || d.Lang != "en" { // of the others the text alone
				got = partOf(t, raw, 1)
				head, _ := message.FirstField(raw, "subject")
				got = []byte("Subject: " + message.DecodeHeader(head) + "\r\n\r\n" + string(got))
			}
			got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
			file := filepath.Join("testdata", name+"."+d.Lang+".txt")
			if *update {
				if err := os.WriteFile(file, got, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v\n%s", file, err, got)
			}
		}
	}
}

// mustBuild builds a report and checks what holds for each: size, MIME tree,
// fields of the header, no doubt about its reading (PA6, SC9).
func mustBuild(t testing.TB, d *DSN) ([]byte, *message.Index) {
	t.Helper()
	var out bytes.Buffer
	if err := d.Build(&out); err != nil {
		t.Fatal(err)
	}
	raw := out.Bytes()
	if len(raw) > MaxSize {
		t.Fatalf("SC9: report of %d octets", len(raw))
	}
	x := message.Parse(raw, message.Limits{})
	if x.Flags&^(message.Flag8BitBody|message.Flag8BitHeader) != 0 && d.Full == nil {
		t.Fatalf("flags %b\n%q", x.Flags, raw)
	}
	if !x.Parts[0].Is("multipart", "report") || x.Parts[0].Param("report-type") != "delivery-status" {
		t.Fatalf("the message is %s/%s", x.Parts[0].Type, x.Parts[0].Subtype)
	}
	var parts []string
	for i := range x.Parts {
		if x.Parts[i].Parent == 0 {
			parts = append(parts, x.Parts[i].Type+"/"+x.Parts[i].Subtype)
		}
	}
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "text/plain" || !strings.HasSuffix(parts[1], "delivery-status") {
		t.Fatalf("parts %q", parts)
	}
	var names []string
	for f := range message.Fields(x.Header()) {
		if !f.Is("in-reply-to") && !f.Is("references") && !f.Is("content-transfer-encoding") {
			names = append(names, string(f.Name))
		}
	}
	if want := []string{"Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}; !reflect.DeepEqual(names, want) {
		t.Fatalf("PA6: fields %q", names)
	}
	return raw, x
}

// partOf returns the decoded body of a child of the message, counted from 1.
func partOf(t testing.TB, raw []byte, n int) []byte {
	t.Helper()
	x := message.Parse(raw, message.Limits{})
	i, ok := x.Part([]int{n})
	if !ok {
		t.Fatalf("no part %d", n)
	}
	p := &x.Parts[i]
	b, err := io.ReadAll(message.NewDecoder(bytes.NewReader(raw[p.BodyStart:p.End]), p.Encoding))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// PA6, G6: hostile texts add no field, part or line, and nothing that turns the
// direction of text reaches people.
func TestHostile(t *testing.T) {
	for _, evil := range []string{
		"550 no\r\n\r\nAction: delivered", "550 no\r\nFinal-Recipient: rfc822; x@y", "\r\n--=_00000000000000000000000000000000\r\n", "550 \x00\x1b[31m \u202emoc.live\u2066 \u2028",
		"550 caf\xe9 \xff\xfe", "550 " + strings.Repeat("x", 100_000), strings.Repeat("é", 70_000), "=?utf-8?q?=0D=0ABcc:_x?=", "{{.Host}}{{template \"x\"}}",
	} {
		for _, utf8 := range []bool{false, true} {
			d := failure()
			d.Rand = nil // boundaries that nobody foresees
			d.SMTPUTF8, d.EnvID, d.ReceivedFrom, d.Subject, d.MessageID, d.Lang = utf8, evil, evil, evil, evil, evil
			r := &d.Rcpts[0]
			r.Original, r.RemoteMTA, r.Diagnostic, r.FinalLogID, r.Status = "rfc822;"+evil, evil, evil, evil, evil
			d.Rcpts = append(d.Rcpts, *r)
			d.Headers = []byte(strings.ReplaceAll(original, "Lunch on Friday", evil))
			raw, _ := mustBuild(t, d)
			var groups [][]string
			for b := partOf(t, raw, 2); len(b) > 0; b = b[message.HeaderEnd(b):] {
				var names []string
				for f := range message.Fields(b) {
					names = append(names, string(f.Name))
				}
				groups = append(groups, names)
			}
			if len(groups) != 3 || len(groups[0]) != 4 || len(groups[1]) != 8 || !reflect.DeepEqual(groups[1], groups[2]) {
				t.Errorf("%.40q: groups %q", evil, groups)
			}
			text := string(partOf(t, raw, 1))
			if strings.ContainsAny(text, "\x00\x1b\u202e\u2066\u2028") || strings.Contains(text, "\nAction:") {
				t.Errorf("%.40q: text %q", evil, text)
			}
			if back, err := ParseDSN(bytes.NewReader(raw), Limits{}); err != nil || len(back.Rcpts) != 2 || back.Rcpts[1].Status != "5.0.0" || back.Rcpts[0].Action != Failed {
				t.Errorf("%.40q: read back %v %+v", evil, err, back)
			}
		}
	}
}

// SC9: however large the original and however many the recipients, a report has
// at most 64 KiB, and together they tell of everybody.
func TestSize(t *testing.T) {
	long := original[:len(original)-2] + strings.Repeat("X-Filler: "+strings.Repeat("y", 60)+"\r\n", 5000) + "\r\n"
	for name, tt := range map[string]struct {
		d       *DSN
		change  func(d *DSN)
		reports int
		back    postino.DSNReturn
	}{
		"full that fits":   {failure(), func(d *DSN) { d.Ret, d.Full = postino.DSNReturnFull, strings.NewReader(original+"Hello\r\n") }, 1, postino.DSNReturnFull},
		"full with 8 bits": {failure(), func(d *DSN) { d.Ret, d.Full = postino.DSNReturnFull, strings.NewReader(original+"Caff\xc3\xa8\r\n") }, 1, postino.DSNReturnFull},
		"full that is large": {failure(), func(d *DSN) {
			d.Ret, d.Full = postino.DSNReturnFull, strings.NewReader(original+strings.Repeat("Hello\r\n", 10000))
		}, 1, postino.DSNReturnHeaders},
		"full of bare LF": {failure(), func(d *DSN) { d.Ret, d.Full = postino.DSNReturnFull, strings.NewReader(original+"a\nb") }, 1, postino.DSNReturnHeaders},
		"full without header": {failure(), func(d *DSN) {
			d.Ret, d.Headers, d.Full = postino.DSNReturnHeaders, nil, strings.NewReader(original+"Hello\r\n")
		}, 1, postino.DSNReturnHeaders},
		"full of a success": {many(1, Delivered, "2.0.0"), func(d *DSN) { d.Ret, d.Full = postino.DSNReturnFull, strings.NewReader(original+"Hello\r\n") }, 1, postino.DSNReturnHeaders},
		"success without header": {many(1, Delivered, "2.0.0"), func(d *DSN) {
			d.Ret, d.Headers, d.Full = postino.DSNReturnFull, nil, strings.NewReader(original+"Hello\r\n")
		}, 1, postino.DSNReturnHeaders},
		"long header":        {failure(), func(d *DSN) { d.Headers = []byte(long) }, 1, postino.DSNReturnHeaders},
		"long header, 8 bit": {failure(), func(d *DSN) { d.Headers = []byte(strings.ReplaceAll(long, "yyy", "\xe9\xe9\xe9")) }, 1, postino.DSNReturnHeaders},
		"one long field":     {failure(), func(d *DSN) { d.Headers = []byte("A: " + strings.Repeat("x ", 50_000) + "\r\n\r\n") }, 1, postino.DSNReturnUnset},
		"no header":          {failure(), func(d *DSN) { d.Headers = nil }, 1, postino.DSNReturnUnset},
		"100 recipients":     {many(100, Failed, "5.1.1"), nil, 1, postino.DSNReturnHeaders},
		"200 recipients":     {many(200, Failed, "5.1.1"), func(d *DSN) { d.Headers = []byte(long) }, 1, postino.DSNReturnHeaders},
		"1,000 recipients":   {many(1000, Failed, "5.1.1"), nil, 5, postino.DSNReturnHeaders},
		"300 of all kinds": {many(300, Failed, "5.1.1"), func(d *DSN) {
			for i := range d.Rcpts {
				r := &d.Rcpts[i]
				r.Action, r.Status = Action(1+i%5), fmt.Sprintf("%c.%d.%d", "54222"[i%5], i%8, i%31)
				r.Original = "rfc822;" + strings.Repeat("+= ", 166)
				r.Diagnostic = strings.Repeat("ț", 2000)
				r.Final = addr(strings.Repeat("ș", 32), strings.Repeat("a.", 90)+"example")
			}
		}, 60, postino.DSNReturnHeaders},
	} {
		if tt.change != nil {
			tt.change(tt.d)
		}
		for _, lang := range []string{"en", "ro"} {
			if tt.d.Full != nil && lang == "ro" {
				continue // read once
			}
			tt.d.Lang = lang
			all := tt.d.Split()
			if len(all) > tt.reports {
				t.Errorf("%s: %d reports", name, len(all))
			}
			n := 0
			for i, d := range all {
				raw, _ := mustBuild(t, d)
				back, err := ParseDSN(bytes.NewReader(raw), Limits{})
				if err != nil {
					t.Fatal(err)
				}
				n += len(back.Rcpts)
				if i == 0 && back.Ret != tt.back {
					t.Errorf("%s: returned %d", name, back.Ret)
				}
			}
			if n != len(tt.d.Rcpts) {
				t.Errorf("%s: %d recipients of %d", name, n, len(tt.d.Rcpts))
			}
			if len(all) > 1 {
				if err := tt.d.Build(io.Discard); !postino.Is(err, postino.Full) && len(tt.d.Rcpts) == 1000 {
					t.Errorf("%s in one report: %v", name, err)
				}
			}
		}
	}
}

// SC9: whatever the recipients are, each report of a split can be built, and
// together they tell of everybody.
func TestSplitFits(t *testing.T) {
	piece := rapid.SampledFrom([]string{"", "a", "é", "日", "\u202e", "\x00", "\xff", " ", "+", "\\", strings.Repeat("x", 300), strings.Repeat("ț", 300), strings.Repeat("\u202e", 300)})
	rapid.Check(t, func(rt *rapid.T) {
		d := failure()
		d.Rand, d.SMTPUTF8 = nil, rapid.Bool().Draw(rt, "utf8")
		d.EnvID, d.Subject, d.Lang = piece.Draw(rt, "envid"), piece.Draw(rt, "subject"), rapid.SampledFrom([]string{"en", "ro"}).Draw(rt, "lang")
		local := strings.ToValidUTF8(piece.Draw(rt, "local"), "")
		r := DSNRcpt{
			Original: "utf-8;" + strings.Repeat(piece.Draw(rt, "original"), 3), Final: addr(local[:min(len(local), 64)], strings.Repeat("a.", rapid.IntRange(0, 120).Draw(rt, "domain"))+"example"),
			RemoteMTA: piece.Draw(rt, "remote"), Diagnostic: strings.Repeat("550 5.1.1 "+piece.Draw(rt, "words"), 9), FinalLogID: piece.Draw(rt, "log"), LastAttempt: day,
		}
		d.Rcpts = nil
		kinds := rapid.IntRange(1, 5).Draw(rt, "kinds")
		n := rapid.IntRange(1, 400).Draw(rt, "recipients")
		for i := range n {
			r.Action, r.Status = Action(1+i%kinds), fmt.Sprintf("5.%d.%d", i%kinds, i%(kinds*kinds))
			d.Rcpts = append(d.Rcpts, r)
		}
		got := 0
		for _, one := range d.Split() {
			raw, _ := mustBuild(t, one)
			back, err := ParseDSN(bytes.NewReader(raw), Limits{})
			if err != nil {
				rt.Fatal(err)
			}
			got += len(back.Rcpts)
		}
		if got != n {
			rt.Fatalf("%d recipients of %d", got, n)
		}
	})
}

// A header that is cut ends with a whole field, and the text tells of it.
func TestCutHeader(t *testing.T) {
	d := failure()
	d.Headers = []byte(original[:len(original)-2] + strings.Repeat("X-Long: "+strings.Repeat("y", 500)+"\r\n z\r\n", 500) + "\r\n")
	raw, _ := mustBuild(t, d)
	got := partOf(t, raw, 3)
	if !bytes.HasPrefix(got, []byte(original[:len(original)-2])) || !bytes.HasSuffix(got, []byte("\r\n z\r\n")) || len(got) < 40<<10 {
		t.Errorf("%d octets, %q", len(got), got[max(0, len(got)-40):])
	}
	d.Headers, d.Full = nil, bytes.NewReader(d.Headers)
	raw, _ = mustBuild(t, d)
	if got := partOf(t, raw, 3); !bytes.HasSuffix(got, []byte("\r\n z\r\n")) || len(got) < 40<<10 {
		t.Errorf("of the message: %d octets, %q", len(got), got[max(0, len(got)-40):])
	}
	if text := partOf(t, raw, 1); !bytes.Contains(text, []byte("shortened")) {
		t.Errorf("text %s", text)
	}
}

// RFC 6533: without SMTPUTF8 all is 7-bit and nothing is lost of an address; with
// it the types for UTF-8 are used, but only where they are needed.
func TestUTF8(t *testing.T) {
	d := failure()
	d.Rcpts[0].Final, d.Rcpts[0].Original = addr("bücher+1", "example.com"), "utf-8;bücher+1@example.com"
	d.Headers = []byte("Subject: Bücher\r\nTo: bücher@example.com\r\n\r\n")
	d.Ret, d.Full = postino.DSNReturnFull, strings.NewReader(string(d.Headers)+"Hallo\r\n")
	for _, tt := range []struct {
		smtputf8    bool
		types, want string
	}{
		{false, "message/delivery-status text/rfc822-headers", "utf-8; b\\x{FC}cher\\x{2B}1@example.com"},
		{true, "message/global-delivery-status message/global", "utf-8; bücher+1@example.com"},
	} {
		d.SMTPUTF8 = tt.smtputf8
		d.Full = strings.NewReader(string(d.Headers) + "Hallo\r\n")
		raw, x := mustBuild(t, d)
		if types := x.Parts[2].Type + "/" + x.Parts[2].Subtype + " " + x.Parts[3].Type + "/" + x.Parts[3].Subtype; types != tt.types {
			t.Errorf("types %s", types)
		}
		status := partOf(t, raw, 2)
		for _, name := range []string{"Original-Recipient: ", "Final-Recipient: "} {
			if !bytes.Contains(status, []byte(name+tt.want+"\r\n")) {
				t.Errorf("no %s%s in\n%s", name, tt.want, status)
			}
		}
		if asciiOnly(raw) == tt.smtputf8 {
			t.Errorf("SMTPUTF8 %v: ASCII is %v", tt.smtputf8, asciiOnly(raw))
		}
		back, err := ParseDSN(bytes.NewReader(raw), Limits{})
		if err != nil || back.Rcpts[0].Final != d.Rcpts[0].Final || back.Rcpts[0].Original != d.Rcpts[0].Original || back.Subject != "Bücher" || back.SMTPUTF8 != tt.smtputf8 {
			t.Errorf("read back %v %+v", err, back)
		}
	}
	d = failure()
	d.SMTPUTF8 = true
	if raw, x := mustBuild(t, d); !asciiOnly(raw) || !x.Parts[2].Is("message", "delivery-status") || x.Parts[2].Encoding != "7bit" {
		t.Error("a report in ASCII needs SMTPUTF8")
	}
	d.Headers = []byte("Subject: B\xfccher\r\n\r\n") // Latin-1
	if raw, _ := mustBuild(t, d); !asciiOnly(raw) || !bytes.Contains(partOf(t, raw, 3), []byte("Bücher")) {
		t.Errorf("broken header in\n%s", raw)
	}
	d.To = addr("änn", "example.org")
	if raw, _ := mustBuild(t, d); !bytes.Contains(raw, []byte("\r\nTo: änn@example.org\r\n")) {
		t.Errorf("address in\n%s", raw)
	}
}

// SC9: the null sender gets nothing; nothing is made of too little.
func TestBuildRefuses(t *testing.T) {
	for name, change := range map[string]func(d *DSN){
		"null sender": func(d *DSN) { d.To = postino.Address{} }, "no date": func(d *DSN) { d.Date = time.Time{} }, "nobody": func(d *DSN) { d.Rcpts = nil },
		"no host": func(d *DSN) { d.ReportingMTA = "" }, "no action": func(d *DSN) { d.Rcpts[0].Action = 0 }, "unknown action": func(d *DSN) { d.Rcpts[0].Action = 9 },
		"hostile host": func(d *DSN) { d.ReportingMTA = "a\r\nB: c" }, "hostile id": func(d *DSN) { d.ID = "a>\r\nB: <c" },
	} {
		d := failure()
		change(d)
		if err := d.Build(io.Discard); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, fail := failure(), errors.New("disk")
	d.Full, d.Ret = iotest.ErrReader(fail), postino.DSNReturnFull
	if err := d.Build(io.Discard); !errors.Is(err, fail) {
		t.Errorf("read error: %v", err)
	}
}

// Fields that depend on others (RFC 3464 §2.3.9, RFC 3461 §6.3, RFC 6533 §3).
func TestFields(t *testing.T) {
	d := failure()
	d.ReportingMTA, d.To, d.DeliverBy = "localhost", addr("postmaster", ""), day
	d.Rcpts[0].WillRetryUntil, d.Rcpts[0].Original = day, "RFC822;böb@example.com"
	d.Rcpts = append(d.Rcpts, DSNRcpt{Final: addr("a  b", "example.com"), Original: "no type", Action: Delayed, WillRetryUntil: day}, DSNRcpt{Original: "a b;c", Action: Relayed})
	raw, _ := mustBuild(t, d)
	status := string(message.Unfold(partOf(t, raw, 2)))
	for _, want := range []string{
		"Reporting-MTA: x-local-hostname; localhost", "Deliver-By-Date: Fri, 2 Jan", "Original-Recipient: utf-8; b\\x{F6}b@example.com",
		`Final-Recipient: rfc822; "a\ \ b"@example.com`, "Status: 4.0.0", "Final-Recipient: rfc822; unknown", "Status: 2.0.0",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %s in\n%s", want, status)
		}
	}
	if strings.Count(status, "Will-Retry-Until") != 1 || strings.Count(status, "Original-Recipient") != 1 {
		t.Errorf("too much in\n%s", status)
	}
	if !bytes.Contains(raw, []byte("\r\nTo: postmaster@localhost\r\n")) {
		t.Errorf("address in\n%s", raw)
	}
}

// Thousands of recipients make no long text (and it says how many there are).
func TestTextStaysShort(t *testing.T) {
	d := many(300, Failed, "5.1.1")
	raw, _ := mustBuild(t, d)
	text := string(partOf(t, raw, 1))
	if n := strings.Count(text, "\n"); n > 80 || !strings.Contains(text, "these 300 addresses") || !strings.Contains(text, " more\r\n") {
		t.Errorf("%d lines:\n%s", n, text)
	}
}

func BenchmarkBuild(b *testing.B) {
	d := failure()
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Build(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
