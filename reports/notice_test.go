package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// Every notice exists in every language, names what it is about, and nothing in the
// name of an app password makes a field or a line (PA6, AU9).
func TestNotice(t *testing.T) {
	to := postino.Address{Local: "ana", Domain: "xn--mnchen-3ya.example"}
	for _, lang := range []string{"en", "it", "ro", "de", ""} {
		for _, what := range []string{"password", "app-password", "app-password-removed", "token"} {
			var b bytes.Buffer
			n := Notice{
				Lang: lang, What: what, Name: "phone\r\nBcc: eve@example.com\r\n\r\nx {{.Date}}", To: to, From: postino.Address{Local: "postmaster", Domain: to.Domain},
				ID: "1@mx.example.org", Date: time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC),
			}
			if err := n.Build(&b); err != nil {
				t.Fatal(lang, what, err)
			}
			x := message.NewIndexer(message.Limits{})
			x.Write(b.Bytes())
			ix := x.Finish()
			var names []string
			for f := range message.Fields(ix.Header()) {
				names = append(names, string(f.Name))
			}
			if got := strings.Join(names, " "); !strings.HasPrefix(got, "Date From To Subject Message-ID Auto-Submitted Content-Language ") || strings.Contains(got, "Bcc") {
				t.Errorf("%s %s: fields %s", lang, what, got)
			}
			if text := b.String(); strings.Contains(text, "notice.") || strings.Count(text, "\r\n\r\n") < 2 {
				t.Errorf("%s %s: %q", lang, what, text)
			}
		}
	}
}
