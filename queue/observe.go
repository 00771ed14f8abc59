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
}

func newObserver(log *slog.Logger, m *metric.Registry) *observer {
	ends := m.Counter("postino_queue_attempts_total", "Delivery attempts that ended, by the state they left the item in.", "state")
	o := &observer{log: log, ends: map[State]*metric.Counter{},
		taken: m.Counter("postino_queue_items_total", "Items taken into the queue."),
		bad:   m.Counter("postino_queue_panics_total", "Delivery attempts that ended in a panic."),
	}
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
