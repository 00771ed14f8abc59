package deliver

import (
	"context"
	"errors"
	"log/slog"

	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
)

var (
	errMoving    = errors.New("its recipients lead elsewhere again and again")
	errNoMailbox = errors.New("the account has no mailboxes")
)

// observer writes deliveries to log and counters; the queue tells the story.
type observer struct {
	log    *slog.Logger
	counts [queue.Rejected + 1]*metric.Counter
}

func newObserver(log *slog.Logger, m *metric.Registry) *observer {
	o := &observer{log: log}
	c := m.Counter("postino_local_recipients_total", "Local recipients by the result of an attempt.", "result")
	for r, name := range [...]string{"gone", "delivered", "deferred", "failed"} {
		o.counts[r] = c.With(name)
	}
	return o
}

func (o *observer) delivered(jobs []job, outcomes []queue.Outcome) {
	speak := o.log.Enabled(context.Background(), slog.LevelInfo)
	for i := range outcomes {
		out := &outcomes[i]
		o.counts[out.Result].Inc()
		if out.Result == queue.Delivered && speak {
			it := jobs[i].it
			o.log.LogAttrs(context.Background(), slog.LevelInfo, "deliver: delivered", slog.String("message", it.Message.String()),
				slog.String("to", it.Rcpts[out.Rcpt].User.String()), slog.Uint64("uid", uint64(out.UID)))
		}
	}
}
