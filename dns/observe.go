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

func (o observer) asked(server string, name string, t Type, err error) {
	switch {
	case err == nil:
		o.ok.Inc()
	case postino.Is(err, postino.NotFound):
		o.negative.Inc()
	default:
		o.failed.Inc()
		o.log.Info("name server gave no answer", "server", server, "name", postino.Printable(name),
			"type", dns.TypeToString[uint16(t)], "error", err)
	}
}

// autoObserver tells of how answers are judged.
type autoObserver struct {
	log   *slog.Logger
	gauge *metric.Gauge
}

func newAutoObserver(o Options) autoObserver {
	return autoObserver{o.Logger, o.Metrics.Gauge("postino_dns_dnssec", "1 for the way in which DNS answers are judged now.", "mode")}
}

func (o autoObserver) mode(now Mode, servers []Server) {
	for m := Starting; m <= Disabled; m++ {
		o.gauge.With(m.String()).Set(0)
	}
	o.gauge.With(now.String()).Set(1)
	o.log.Info("DNSSEC", "mode", now.String(), "servers", servers)
}

func (o autoObserver) warn(text string, found []ServerStatus) {
	o.log.Warn("DNSSEC: "+text, "servers", found)
}
