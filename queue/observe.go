package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// observer writes what happens to log and counters. The story of a message is
// written in the transactions themselves.
type observer struct {
	log   *slog.Logger
	taken *metric.Counter
	ends  map[State]*metric.Counter
	bad   *metric.Counter

	reports map[string]*metric.Counter
	sites   map[string]*metric.Counter
}

func newObserver(log *slog.Logger, m *metric.Registry) *observer {
	ends := m.Counter("postino_queue_attempts_total", "Delivery attempts that ended, by the state they left the item in.", "state")
	o := &observer{log: log, ends: map[State]*metric.Counter{},
		taken: m.Counter("postino_queue_items_total", "Items taken into the queue."),
		bad:   m.Counter("postino_queue_panics_total", "Delivery attempts that ended in a panic."),
	}
	reports := m.Counter("postino_queue_reports_total", "Reports to senders, by what became of them.", "result")
	sites := m.Counter("postino_queue_sites_total", "Destinations that were closed because they could not be reached, and opened again.", "event")
	o.reports = map[string]*metric.Counter{"made": reports.With("made"), "none": reports.With("none"), "failed": reports.With("failed")}
	o.sites = map[string]*metric.Counter{"closed": sites.With("closed"), "opened": sites.With("opened")}
	for _, s := range [...]State{StateWaiting, StateHeld, stateGone} {
		o.ends[s] = ends.With(s.String())
	}
	return o
}

func (o *observer) accepted(items int) { o.taken.Add(float64(items)) }

// ended tells of an attempt whose result is durable. Success is the common
// case and logged by the transport, which knows where the message went.
func (o *observer) ended(it *Item) {
	o.ends[it.State].Inc()
	switch it.State {
	case StateWaiting:
		if pending, _, _ := it.count(); pending == 0 { // only its reports are left
			o.log.Info("queue: report owed", "message", it.Message, "item", it.ID, "reply", lastReply(it))
			return
		}
		o.log.Info("queue: deferred", "message", it.Message, "item", it.ID, "attempts", it.Attempts, "next", it.Due, "reply", lastReply(it))
	case StateHeld:
		o.log.Warn("queue: held", "message", it.Message, "item", it.ID, "reason", it.Reason, "reply", lastReply(it))
	}
}

func lastReply(it *Item) string {
	for _, r := range it.Rcpts {
		if r.State != Done && r.Reply != "" {
			return postino.Printable(r.Reply)
		}
	}
	return ""
}

func (o *observer) split(items int, err error) {
	o.log.Info("queue: batch failed, its items are tried one by one", "items", items, "error", err)
}

func (o *observer) stuck(it *Item, err error) {
	o.log.Warn("queue: result cannot be stored", "message", it.Message, "item", it.ID, "error", err)
}

func (o *observer) scanFailed(err error) { o.log.Warn("queue: scan failed", "error", err) }

func (o *observer) unreadable(id postino.ID, err error) {
	o.log.Error("queue: item cannot be read", "item", id, "error", err)
}

// panicked logs the place of a defect with a hash of what led there (G4).
func (o *observer) panicked(items []*Item, p any, stack []byte) {
	o.bad.Inc()
	h := sha256.New()
	for _, it := range items {
		h.Write(it.Blob[:])
	}
	o.log.Error("queue: panic in a delivery", "items", len(items), "first", items[0].ID, "input", hex.EncodeToString(h.Sum(nil)[:8]),
		"panic", postino.Printable(fmt.Sprint(p)), "stack", string(stack[:min(len(stack), 4096)]))
}

// reported tells of a debt that was cleared, by a report or without.
func (o *observer) reported(made bool) {
	if made {
		o.reports["made"].Inc()
	} else {
		o.reports["none"].Inc()
	}
}

func (o *observer) reportFailed(it *Item, err error) {
	o.reports["failed"].Inc()
	o.log.Error("queue: report cannot be made, it is tried again", "message", it.Message, "item", it.ID, "error", err)
}

func (o *observer) siteClosed(s *site) {
	o.sites["closed"].Inc()
	o.log.Warn("queue: destination closed", "transport", s.line.name, "site", postino.Printable(s.dest), "since", s.since, "until", s.until,
		"failures", s.failures, "reason", postino.Printable(s.words))
}

func (o *observer) siteOpened(s *site) {
	o.sites["opened"].Inc()
	o.log.Info("queue: destination open again", "transport", s.line.name, "site", postino.Printable(s.dest))
}

func (o *observer) noTransport(it *Item) {
	o.log.Error("queue: item for an unknown transport stays", "item", it.ID, "transport", postino.Printable(it.Transport))
}
