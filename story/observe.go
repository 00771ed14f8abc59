package story

import "log/slog"

// observer writes what happens to the stories themselves to the log.
type observer struct{ log *slog.Logger }

func (o observer) failed(what string, err error) {
	o.log.Warn("story: cannot "+what, "error", err)
}

func (o observer) dropped(n int) {
	o.log.Warn("story: too many refusals at once, some were not written", "count", n)
}

func (o observer) trimmed(events int) {
	if events > 0 {
		o.log.Info("story: old events removed", "count", events)
	}
}
