package smtp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// events writes what happens to log and counters, one method per event.
type events struct {
	log                              *slog.Logger
	connections, refusals, drops     *metric.Counter
	handshakes, auths, panics        *metric.Counter
	messagesIn, messagesNo, octetsIn *metric.Counter
	current                          *metric.Gauge
}

func newEvents(log *slog.Logger, m *metric.Registry, service string) *events {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	messages := m.Counter("postino_smtp_messages_total", "Messages whose content was received, by service and outcome.", "service", "outcome")
	return &events{
		log:         log.With("service", service),
		connections: m.Counter("postino_smtp_connections_total", "Connections admitted.", "service").With(service),
		refusals:    m.Counter("postino_smtp_refused_total", "Connections refused by the counts of addresses.", "service").With(service),
		drops:       m.Counter("postino_smtp_dropped_total", "Connections dropped for what the client did.", "service").With(service),
		handshakes:  m.Counter("postino_smtp_tls_failures_total", "TLS handshakes that failed.", "service").With(service),
		auths:       m.Counter("postino_smtp_auth_failures_total", "AUTH exchanges that failed.", "service").With(service),
		panics:      m.Counter("postino_smtp_panics_total", "Panics, each of which ended one connection.", "service").With(service),
		messagesIn:  messages.With(service, "accepted"),
		messagesNo:  messages.With(service, "refused"),
		octetsIn:    m.Counter("postino_smtp_octets_total", "Octets of accepted messages.", "service").With(service),
		current:     m.Gauge("postino_smtp_connections", "Connections open now.", "service").With(service),
	}
}

func (e *events) opened() {
	e.connections.Inc()
	e.current.Add(1)
}

func (e *events) closed(c *Conn) {
	e.current.Add(-1)
	e.log.Debug("smtp connection closed", "remote", c.remote, "tls", c.tls != nil, "mails", c.mails,
		"errors", c.faults, "seconds", time.Since(c.started).Seconds())
}

func (e *events) refused(c *Conn, limit string) {
	e.refusals.Inc()
	e.log.Info("smtp connection refused", "remote", c.remote, "limit", limit)
}

// told notes for whom a listed peer speaks from now on.
func (e *events) told(c *Conn) {
	e.log.Debug("smtp client told", "peer", c.peer, "remote", c.told.Addr, "login", postino.Printable(c.told.Login))
}

func (e *events) proxyFailed(c *Conn, err error) {
	e.refusals.Inc()
	e.log.Info("smtp proxy header failed", "peer", c.peer, "error", postino.Printable(err.Error()))
}

func (e *events) dropped(c *Conn, r *Reply) {
	e.drops.Inc()
	e.log.Info("smtp connection dropped", "remote", c.remote, "code", r.Code, "why", r.Text)
}

func (e *events) handshakeFailed(c *Conn, err error) {
	e.handshakes.Inc()
	e.log.Info("smtp tls handshake failed", "remote", c.remote, "error", postino.Printable(err.Error()))
}

func (e *events) authFailed(c *Conn, mechanism string, err error) {
	e.auths.Inc()
	e.log.Info("smtp auth failed", "remote", c.remote, "mechanism", mechanism, "kind", postino.KindOf(err).String())
}

func (e *events) accepted(size int64) {
	e.messagesIn.Inc()
	e.octetsIn.Add(float64(size))
}

func (e *events) contentRefused() { e.messagesNo.Inc() }

// failed logs the cause of an error that became a reply. What a session
// refused on purpose is its own story.
func (e *events) failed(c *Conn, during string, err error, r *Reply) {
	if _, meant := err.(*Reply); meant {
		return
	}
	level := slog.LevelInfo
	if r.Code < 500 {
		level = slog.LevelWarn
	}
	e.log.Log(c.ctx, level, "smtp "+during+" failed", "remote", c.remote, "code", r.Code, "error", postino.Printable(err.Error()))
}

// panicked logs a defect with a hash of the input that showed it (G4), not the
// input, which may hold a message.
func (e *events) panicked(c *Conn, value any) {
	e.panics.Inc()
	sum := sha256.Sum256(c.buf[:c.w])
	e.log.Error("smtp panic", "remote", c.remote, "value", postino.Printable(fmt.Sprint(value)),
		"input", hex.EncodeToString(sum[:8]), "stack", string(debug.Stack()))
}
