package metric

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	r := New()
	r.Counter("postino_mails_total", "Mails.", "result").With("ok").Add(2)
	r.Counter("postino_mails_total", "Mails.", "result").With("ok").Inc()
	r.Gauge("postino_open", "Open.").Set(4)
	r.Gauge("postino_open", "Open.").Add(-1)
	r.GaugeFunc("postino_fn", "Fn.", func() float64 { return 7 })
	r.Histogram("postino_wait_seconds", "Wait.", []float64{0.1, 1}).Observe(0.5)
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`postino_mails_total{result="ok"} 3`, "postino_open 3", "postino_fn 7",
		`postino_wait_seconds_bucket{le="0.1"} 0`, `postino_wait_seconds_bucket{le="1"} 1`,
	} {
		if !strings.Contains(rec.Body.String(), want+"\n") {
			t.Errorf("no %q in\n%s", want, rec.Body)
		}
	}
}

func TestNil(t *testing.T) {
	var r *Registry
	r.Counter("a", "").With("x").Inc()
	r.Counter("a", "").Add(1)
	r.Gauge("b", "").With("x").Set(1)
	r.Gauge("b", "").Add(1)
	r.GaugeFunc("c", "", nil)
	r.Histogram("d", "", nil).With("x").Observe(1)
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 404 {
		t.Errorf("status %d", rec.Code)
	}
}
