package dns

import (
	"log/slog"

	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// observer tells of questions.
type observer struct {
	log                        *slog.Logger
	hits, ok, negative, failed *metric.Counter
}

func newObserver(o Options) observer {
	c := o.Metrics.Counter("postino_dns_lookups_total", "DNS questions by where or how they were answered.", "result")
	return observer{log: o.Logger, hits: c.With("cache"), ok: c.With("ok"), negative: c.With("none"), failed: c.With("failed")}
}

func (o observer) hit() { o.hits.Inc() }

func (o observer) asked(s Server, name string, t Type, err error) {
	switch {
	case err == nil:
		o.ok.Inc()
	case postino.Is(err, postino.NotFound):
		o.negative.Inc()
	default:
		o.failed.Inc()
		o.log.Info("name server gave no answer", "server", s.Addr, "name", postino.Printable(name),
			"type", dns.TypeToString[uint16(t)], "error", err)
	}
}
