package pop3

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"runtime/debug"
	"strconv"

	"github.com/postino-mail/postino/metric"
)

// observer does the log line and the counter of every event of the engine.
type observer struct {
	log       *slog.Logger
	open      *metric.Gauge
	conns     *metric.Counter
	refused   *metric.Counter
	logins    *metric.Counter
	failures  *metric.Counter
	commands  *metric.Counter
	bad       *metric.Counter
	retrieved *metric.Counter
	deleted   *metric.Counter
	errors    *metric.Counter
	panics    *metric.Counter
}

func newObserver(log *slog.Logger, m *metric.Registry) observer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return observer{
		log:       log,
		open:      m.Gauge("postino_pop3_connections", "Open POP3 connections."),
		conns:     m.Counter("postino_pop3_connections_total", "POP3 connections accepted."),
		refused:   m.Counter("postino_pop3_refused_total", "POP3 connections refused by a limit."),
		logins:    m.Counter("postino_pop3_logins_total", "POP3 logins that succeeded."),
		failures:  m.Counter("postino_pop3_login_failures_total", "POP3 logins that failed."),
		commands:  m.Counter("postino_pop3_commands_total", "POP3 commands run."),
		bad:       m.Counter("postino_pop3_bad_commands_total", "POP3 commands that were wrong."),
		retrieved: m.Counter("postino_pop3_retrieved_total", "Messages sent to POP3 clients."),
		deleted:   m.Counter("postino_pop3_deleted_total", "Messages removed by POP3 clients."),
		errors:    m.Counter("postino_pop3_internal_errors_total", "POP3 commands that failed inside the server."),
		panics:    m.Counter("postino_pop3_panics_total", "POP3 connections ended by a panic."),
	}
}

func (o *observer) connected(c *conn) {
	o.open.Add(1)
	o.conns.Inc()
	o.log.Debug("pop3: connected", "conn", c.info.ID, "remote", c.info.Remote)
}

func (o *observer) disconnected(c *conn, err error) {
	o.open.Add(-1)
	o.log.Debug("pop3: disconnected", "conn", c.info.ID, "user", quote(c.user), "cause", err)
}

func (o *observer) connectionRefused(remote, why string) {
	o.refused.Inc()
	o.log.Warn("pop3: connection refused", "remote", remote, "why", why)
}

func (o *observer) handshakeFailed(c *conn, err error) {
	o.log.Debug("pop3: TLS handshake", "conn", c.info.ID, "remote", c.info.Remote, "error", quote(err.Error()))
}

func (o *observer) loggedIn(c *conn, how string) {
	o.logins.Inc()
	o.log.Info("pop3: login", "conn", c.info.ID, "remote", c.info.Remote, "user", quote(c.user), "how", how,
		"messages", c.drop.Len())
}

func (o *observer) loginFailed(c *conn, how string, err error) {
	o.failures.Inc()
	o.log.Info("pop3: login failed", "conn", c.info.ID, "remote", c.info.Remote, "how", how, "cause", quote(err.Error()))
}

func (o *observer) updated(c *conn, deleted, retrieved int) {
	o.deleted.Add(float64(deleted))
	o.log.Info("pop3: session ended", "conn", c.info.ID, "user", quote(c.user), "deleted", deleted, "retrieved", retrieved)
}

func (o *observer) internalError(c *conn, command string, err error) {
	o.errors.Inc()
	o.log.Error("pop3: command failed", "conn", c.info.ID, "user", quote(c.user), "command", command, "error", quote(err.Error()))
}

// panicked logs a hash of the line and not the line, which may hold a password (G4, G6).
func (o *observer) panicked(c *conn, value any) {
	o.panics.Inc()
	sum := sha256.Sum256(c.line)
	o.log.Error("pop3: panic", "conn", c.info.ID, "command", c.command, "input", hex.EncodeToString(sum[:8]),
		"panic", value, "stack", string(debug.Stack()))
}

// quote makes text from outside fit for logs (G6).
func quote(s string) string {
	q := strconv.QuoteToASCII(s[:min(len(s), 1024)])
	return q[1 : len(q)-1]
}
