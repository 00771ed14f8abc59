package relay

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
)

// A probe tells each step and sends nothing.
func TestProbe(t *testing.T) {
	ca := newAuthority(t)
	for _, tc := range []struct {
		name    string
		rcpt    string
		first   *server
		kinds   string
		verdict string
		level   Severity
	}{
		{"taken", "bob@b.example", &server{cert: ca.issue(t, "a.b.example")}, "route mx mx policy connect greeting tls ehlo rcpt verdict",
			"a.b.example (192.0.2.10) takes mail for bob@b.example, TLS 1.3, certificate valid for a.b.example", OK},
		{"unknown", "no@b.example", &server{}, "route mx mx policy connect greeting tls ehlo rcpt verdict", "mail for no@b.example would come back: 550 5.1.1 no", Failed},
		{"first host dead", "bob@b.example", nil, "route mx mx policy connect policy connect greeting tls ehlo rcpt verdict",
			"b.b.example (192.0.2.11) takes mail for bob@b.example, in clear", OK},
		{"no domain", "x@missing.example", nil, "route mx verdict", "mail for x@missing.example would come back: 5.1.2 the domain missing.example does not exist", Failed},
		{"by a route", "x@held.example", nil, "route verdict", "mail would go by route keep: hold", Info},
		{"route without TLS", "x@up.example", nil, "route mx policy connect greeting session verdict", "mail for x@up.example would wait: 4.7.5 this way requires TLS that 192.0.2.11 does not give: it does not offer STARTTLS", Warning},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(o *Options) { o.Roots = ca.pool() }, func(w *world) {
				w.zone("b.example", "@ MX 10 a\n@ MX 20 b\na A 192.0.2.10\na A 10.0.0.1\nb A 192.0.2.11\n", dns.Insecure)
				w.routes.routes = []*directory.Route{{Name: "keep", Domain: "held.example", Action: directory.Hold},
					{Name: "up", Domain: "up.example", Action: directory.Smarthost, Hosts: []string{"[192.0.2.11]"}, TLS: directory.TLSRequired}}
				if tc.first != nil {
					tc.first.replies = map[string]string{"rcpt:no": "550 5.1.1 no"}
					w.listen(tc.first, "192.0.2.10:25")
				}
				second := w.listen(&server{}, "192.0.2.11:25")
				var steps []Step
				if err := w.relay.Probe(context.Background(), addr(t, tc.rcpt), func(s Step) { steps = append(steps, s) }); err != nil {
					t.Fatal(err)
				}
				var kinds []string
				for _, s := range steps {
					kinds = append(kinds, s.Kind)
				}
				last := steps[len(steps)-1]
				if got := strings.Join(kinds, " "); got != tc.kinds || strings.TrimSpace(last.Text) != tc.verdict || last.Severity != tc.level {
					t.Errorf("steps %s; verdict %s %q", got, last.Severity, last.Text)
				}
				if tc.name == "taken" {
					if mx := steps[1]; mx.Preference != 10 || !slices.Equal(mx.Addresses, []string{"192.0.2.10"}) || !slices.Equal(mx.Skipped, []string{"10.0.0.1 (private)"}) || mx.Severity != Warning {
						t.Errorf("MX step %+v", mx)
					}
					if c := steps[6].Certificate; c == nil || c.Problem != "" || !slices.Equal(c.Names, []string{"a.b.example"}) {
						t.Errorf("TLS step %+v", steps[6])
					}
					if b, err := json.Marshal(steps); err != nil || !strings.Contains(string(b), `"kind":"verdict"`) {
						t.Errorf("JSON: %s, %v", b, err)
					}
				}
				if len(second.taken()) != 0 || tc.first != nil && len(tc.first.taken()) != 0 {
					t.Error("a probe sent mail")
				}
			})
		})
	}
}
