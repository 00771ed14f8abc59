package relay

import (
	"context"
	"log/slog"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/tlspolicy"
)

// observer writes what happens to log and counters; the queue tells the story of
// each message from its outcomes.
type observer struct {
	log      *slog.Logger
	rcpts    [queue.Held + 1]*metric.Counter
	sessions *metric.Counter // by protection
	troubles *metric.Counter // by kind
	policies *metric.Counter // by policy and result
	open     *metric.Gauge
}

func newObserver(log *slog.Logger, m *metric.Registry) *observer {
	o := &observer{log: log,
		sessions: m.Counter("postino_relay_connections_total", "Connections to other servers that could take mail, by protection.", "tls"),
		troubles: m.Counter("postino_relay_troubles_total", "Hosts that could not be used, by the kind of trouble.", "kind"),
		policies: m.Counter("postino_relay_tls_policies_total", "How TLS went with hosts, by the policy and its result (RFC 8460).", "policy", "result"),
		open:     m.Gauge("postino_relay_connections", "Connections to other servers now."),
	}
	c := m.Counter("postino_relay_recipients_total", "Remote recipients by the result of an attempt.", "result")
	for r := queue.Delivered; r <= queue.Held; r++ {
		o.rcpts[r] = c.With(resultWord(r))
	}
	return o
}

// resultWord names a result.
func resultWord(r queue.Result) string {
	switch r {
	case queue.Delivered:
		return "delivered"
	case queue.Deferred:
		return "deferred"
	case queue.Rejected:
		return "rejected"
	case queue.Relayed:
		return "relayed"
	case queue.Held:
		return "held"
	}
	return "other"
}

// opened tells of a connection that can take mail.
func (o *observer) opened(s *session) {
	o.open.Add(1)
	kind := "none"
	if s.TLS() != nil {
		if kind = "encrypted"; s.badCert == nil {
			kind = "verified"
		}
	}
	o.sessions.With(kind).Inc()
	o.log.LogAttrs(context.Background(), slog.LevelDebug, "relay: connected", slog.String("host", s.at), slog.String("tls", s.secured()))
}

// policy tells how TLS went with a host that a policy was looked up for.
func (o *observer) policy(kind string, r tlspolicy.Result) {
	word := string(r)
	if r == tlspolicy.Success {
		word = "success"
	}
	o.policies.With(kind, word).Inc()
}

// closed tells that such a connection ended.
func (o *observer) closed() { o.open.Add(-1) }

// finished tells of outcomes that are durable.
func (o *observer) finished(it *queue.Item, outcomes []queue.Outcome) {
	speak := o.log.Enabled(context.Background(), slog.LevelInfo)
	for i := range outcomes {
		out := &outcomes[i]
		o.rcpts[out.Result].Inc()
		if speak {
			o.log.LogAttrs(context.Background(), slog.LevelInfo, "relay: attempted", slog.String("message", it.Message.String()),
				slog.String("to", postino.Printable(it.Rcpts[out.Rcpt].Address.String())), slog.String("result", resultWord(out.Result)),
				slog.String("where", out.Where), slog.String("reply", postino.Printable(out.Reply)))
		}
	}
}

// trouble tells of a host, or all hosts of a way, that could not be used.
func (o *observer) trouble(it *queue.Item, w *way, t *trouble) {
	kind := "network"
	switch {
	case t.remote != "":
		kind = "refused"
	case len(t.reply.Enhanced) > 2 && t.reply.Enhanced[2] == '7':
		kind = "tls"
	case t.reply.Enhanced == "4.4.3" || t.reply.Enhanced == "5.1.2" || t.reply.Enhanced == "5.1.10" || t.reply.Enhanced == "5.4.4":
		kind = "dns"
	}
	o.troubles.With(kind).Inc()
	o.log.LogAttrs(context.Background(), slog.LevelDebug, "relay: host passed over", slog.String("message", it.Message.String()),
		slog.String("site", w.site), slog.String("why", postino.Printable(t.words())))
}

// plain tells of a host whose TLS does not work and that is given mail in clear.
func (o *observer) plain(at string, t *trouble) {
	o.log.LogAttrs(context.Background(), slog.LevelWarn, "relay: TLS fails, going on in clear", slog.String("host", at),
		slog.String("why", postino.Printable(t.words())))
}
