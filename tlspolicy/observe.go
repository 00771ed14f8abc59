package tlspolicy

import (
	"log/slog"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// observer tells of policies that are fetched and kept.
type observer struct {
	log     *slog.Logger
	fetches *metric.Counter
}

func newObserver(log *slog.Logger, m *metric.Registry) observer {
	return observer{log: log,
		fetches: m.Counter("postino_mta_sts_fetches_total", "Policies of MTA-STS that were fetched, by result.", "result"),
	}
}

// fetched tells of a policy that mail asked for.
func (o observer) fetched(domain string, r Result, err error) {
	o.fetches.With(word(r)).Inc()
	if err != nil {
		o.log.Info("tlspolicy: no MTA-STS policy", "domain", domain, "result", r, "err", postino.Printable(err.Error()))
	}
}

// refreshed tells of a policy that was to be fetched again. That it cannot be may
// be an attack (RFC 8461 §10.2), unless the domain is giving MTA-STS up.
func (o observer) refreshed(k kept, r Result, err error) {
	o.fetches.With(word(r)).Inc()
	if err != nil && k.mode != None {
		o.log.Warn("tlspolicy: MTA-STS policy cannot be refreshed", "domain", k.domain, "mode", k.mode.String(),
			"ends", k.end.UTC().Format(time.RFC3339), "result", r, "err", postino.Printable(err.Error()))
	}
}

// damaged tells of a row that cannot be read.
func (o observer) damaged(err error) { o.log.Error("tlspolicy: policy not readable", "err", err) }

// full tells of a policy for which there is no room.
func (o observer) full(domain string) {
	o.log.Warn("tlspolicy: too many MTA-STS policies, not kept", "domain", domain)
}

// lost tells of a policy that could not be stored.
func (o observer) lost(domain string, err error) {
	o.log.Error("tlspolicy: policy not kept", "domain", domain, "err", err)
}

func word(r Result) string {
	if r == Success {
		return "success"
	}
	return string(r)
}
