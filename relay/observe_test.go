package relay

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
)

// The counters tell results, protection and troubles, and the gauge goes back.
func TestCounters(t *testing.T) {
	ca := newAuthority(t)
	reg := metric.New()
	scrape := func() string {
		rec := httptest.NewRecorder()
		reg.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
		return rec.Body.String()
	}
	bubble(t, func(o *Options) { o.Metrics, o.Roots = reg, ca.pool() }, func(w *world) {
		w.simple("b.example", "192.0.2.10", &server{cert: ca.issue(t, "mx.b.example"), replies: map[string]string{"rcpt:no": "550 5.1.1 no"}})
		w.simple("c.example", "192.0.2.11", &server{replies: map[string]string{"greeting": "554 no"}})
		w.one("bob@b.example", queue.Relayed, "")
		w.one("no@b.example", queue.Rejected, "")
		w.one("cat@c.example", queue.Deferred, "")
		w.one("x@missing.example", queue.Rejected, "")
		for _, line := range []string{
			`postino_relay_recipients_total{result="relayed"} 1`, `postino_relay_recipients_total{result="rejected"} 2`,
			`postino_relay_recipients_total{result="deferred"} 1`, `postino_relay_connections_total{tls="verified"} 1`,
			`postino_relay_troubles_total{kind="refused"} 1`, `postino_relay_troubles_total{kind="dns"} 1`, `postino_relay_connections 1`,
		} {
			if !strings.Contains(scrape(), line+"\n") {
				t.Errorf("no %s", line)
			}
		}
		time.Sleep(time.Minute)
		if !strings.Contains(scrape(), "postino_relay_connections 0\n") {
			t.Error("the idle connection is still counted")
		}
	})
}
