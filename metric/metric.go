package metric

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry holds the instruments of one process.
type Registry struct{ reg *prometheus.Registry }

// New returns an empty registry.
func New() *Registry { return &Registry{reg: prometheus.NewRegistry()} }

// Handler serves the instruments in the text format; of a nil Registry it
// serves nothing, with status 404.
func (r *Registry) Handler() http.Handler {
	if r == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{})
}

// register returns c, or the collector that has its name already.
func register[C prometheus.Collector](r *Registry, c C) C {
	err := r.reg.Register(c)
	var have prometheus.AlreadyRegisteredError
	if errors.As(err, &have) {
		return have.ExistingCollector.(C)
	}
	if err != nil {
		// A name with two meanings is a defect that the first run shows.
		panic(err)
	}
	return c
}

// Counter only grows. A nil Counter does nothing.
type Counter struct {
	vec *prometheus.CounterVec
	one prometheus.Counter
}

// Counter returns the counter of that name, which by convention ends in
// "_total"; labels are the names of its labels.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	if r == nil {
		return nil
	}
	c := &Counter{vec: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))}
	if len(labels) == 0 {
		c.one = c.vec.WithLabelValues()
	}
	return c
}

// With returns the counter for these values of the labels; keep it on hot paths.
func (c *Counter) With(values ...string) *Counter {
	if c == nil {
		return nil
	}
	return &Counter{one: c.vec.WithLabelValues(values...)}
}

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n, which is not negative.
func (c *Counter) Add(n float64) {
	if c != nil {
		c.one.Add(n)
	}
}

// Gauge goes up and down. A nil Gauge does nothing.
type Gauge struct {
	vec *prometheus.GaugeVec
	one prometheus.Gauge
}

// Gauge returns the gauge of that name.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	if r == nil {
		return nil
	}
	g := &Gauge{vec: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))}
	if len(labels) == 0 {
		g.one = g.vec.WithLabelValues()
	}
	return g
}

// GaugeFunc reads the gauge of that name by calling fn when it is asked for.
// The first fn of a name stays.
func (r *Registry) GaugeFunc(name, help string, fn func() float64) {
	if r != nil {
		register(r, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, fn))
	}
}

// With returns the gauge for these values of the labels.
func (g *Gauge) With(values ...string) *Gauge {
	if g == nil {
		return nil
	}
	return &Gauge{one: g.vec.WithLabelValues(values...)}
}

// Set sets the gauge.
func (g *Gauge) Set(v float64) {
	if g != nil {
		g.one.Set(v)
	}
}

// Add adds n, which may be negative.
func (g *Gauge) Add(n float64) {
	if g != nil {
		g.one.Add(n)
	}
}

// Histogram counts observations in buckets. A nil Histogram does nothing.
type Histogram struct {
	vec *prometheus.HistogramVec
	one prometheus.Observer
}

// Histogram returns the histogram of that name; bounds are the upper bounds of
// its buckets, in the unit that ends its name ("_seconds", "_bytes"). No bounds
// means those of a network service, 5 ms to 10 s.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	if r == nil {
		return nil
	}
	opts := prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}
	h := &Histogram{vec: register(r, prometheus.NewHistogramVec(opts, labels))}
	if len(labels) == 0 {
		h.one = h.vec.WithLabelValues()
	}
	return h
}

// With returns the histogram for these values of the labels.
func (h *Histogram) With(values ...string) *Histogram {
	if h == nil {
		return nil
	}
	return &Histogram{one: h.vec.WithLabelValues(values...)}
}

// Observe counts one value.
func (h *Histogram) Observe(v float64) {
	if h != nil {
		h.one.Observe(v)
	}
}
