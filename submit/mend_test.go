package submit

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// local is a letter of a program on this machine, which is believed.
func local() *Letter {
	p := &Post{opts: Options{Hostname: "mx.here.example"}}
	return &Letter{ID: 1 << 40, p: p, Repair: true, Envelope: postino.Envelope{From: postino.Address{Local: "root", Domain: "mx.here.example"}}}
}

// A mended header has what must be there, hides what must not, and keeps all
// else in its order (RFC 6409 §8, PA6).
func FuzzMend(f *testing.F) {
	for _, s := range []string{
		"From: a@x.example\r\nBcc: b@x.example,\r\n c@x.example\r\nTo: d@x.example\r\n", "", "nonsense\r\n more\r\nDate: x\r\n",
		"FROM:\r\nmessage-id:<1@x>\r\nResent-BCC : z\r\n", "From: =?utf-8?q?=E2?= <a@x.example>\r\nSender: (c) a@x.example\r\n", "\tFrom: a\r\nBcc\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		header, _, _ = bytes.Cut(header, []byte("\r\n\r\n"))
		if len(header) > 0 && !bytes.HasSuffix(header, []byte("\r\n")) {
			header = append(header, "\r\n"...)
		}
		out, err := local().mend(header)
		if err != nil {
			return
		}
		count := map[string]int{}
		var kept []string
		for field := range message.Fields(out) {
			count[strings.ToLower(string(field.Name))]++
			kept = append(kept, string(field.Raw))
		}
		if count["bcc"]+count["resent-bcc"] > 0 || count["from"] != 1 || count["date"] == 0 || count["message-id"] == 0 {
			t.Fatalf("%q becomes %q", header, out)
		}
		for field := range message.Fields(header) {
			if field.Is("bcc") || field.Is("resent-bcc") || field.Is("sender") {
				continue
			}
			if len(kept) == 0 || kept[0] != string(field.Raw) {
				t.Fatalf("%q lost or moved %q: %q", header, field.Raw, out)
			}
			kept = kept[1:]
		}
	})
}

// Twice the header costs twice the work (G2).
func TestMendIsLinear(t *testing.T) {
	work := func(fields int) float64 {
		var header []byte
		for i := range fields {
			header = fmt.Appendf(header, "X-%d: some text\r\nTo: a%d@x.example\r\n", i, i)
		}
		return testing.AllocsPerRun(3, func() {
			if _, err := local().mend(header); err != nil {
				t.Fatal(err)
			}
		})
	}
	if small, large := work(500), work(1000); large > 2.6*small+10 {
		t.Errorf("%v allocations for 1,000 fields, %v for 2,000", small, large)
	}
}
