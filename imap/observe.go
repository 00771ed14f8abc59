package imap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"runtime/debug"
	"strconv"

	"github.com/postino-mail/postino/metric"
)

// observer does the log line and the counter of every event of the engine.
type observer struct {
	log      *slog.Logger
	open     *metric.Gauge
	conns    *metric.Counter
	refused  *metric.Counter
	logins   *metric.Counter
	failures *metric.Counter
	commands *metric.Counter
	bad      *metric.Counter
	errors   *metric.Counter
	panics   *metric.Counter
}

func newObserver(log *slog.Logger, m *metric.Registry) observer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return observer{
		log:      log,
		open:     m.Gauge("postino_imap_connections", "Open IMAP connections."),
		conns:    m.Counter("postino_imap_connections_total", "IMAP connections accepted."),
		refused:  m.Counter("postino_imap_refused_total", "IMAP connections refused by a limit."),
		logins:   m.Counter("postino_imap_logins_total", "IMAP logins that succeeded."),
		failures: m.Counter("postino_imap_login_failures_total", "IMAP logins that failed."),
		commands: m.Counter("postino_imap_commands_total", "IMAP commands run."),
		bad:      m.Counter("postino_imap_bad_commands_total", "IMAP commands answered BAD."),
		errors:   m.Counter("postino_imap_internal_errors_total", "IMAP commands that failed inside the server."),
		panics:   m.Counter("postino_imap_panics_total", "IMAP connections ended by a panic."),
	}
}

func (o *observer) connected(c *conn) {
	o.open.Add(1)
	o.conns.Inc()
	o.log.Debug("imap: connected", "conn", c.info.ID, "remote", c.info.Remote)
}

func (o *observer) disconnected(c *conn, err error) {
	o.open.Add(-1)
	o.log.Debug("imap: disconnected", "conn", c.info.ID, "user", quote(c.sess.User()), "cause", err)
}

func (o *observer) connectionRefused(remote, why string) {
	o.refused.Inc()
	o.log.Warn("imap: connection refused", "remote", remote, "why", why)
}

func (o *observer) handshakeFailed(c *conn, err error) {
	o.log.Debug("imap: TLS handshake", "conn", c.info.ID, "remote", c.info.Remote, "error", quote(err.Error()))
}

func (o *observer) loggedIn(c *conn, how string) {
	o.logins.Inc()
	o.log.Info("imap: login", "conn", c.info.ID, "remote", c.info.Remote, "user", quote(c.sess.User()), "how", how)
}

func (o *observer) loginFailed(c *conn, how string, err error) {
	o.failures.Inc()
	o.log.Info("imap: login failed", "conn", c.info.ID, "remote", c.info.Remote, "how", how, "cause", quote(err.Error()))
}

// messageLimit tells of clients that do not know, or not mind, the limit (RFC 9738 §4.2).
func (o *observer) messageLimit(c *conn, l *Limited) {
	o.log.Info("imap: message limit", "conn", c.info.ID, "user", quote(c.sess.User()), "command", c.name, "refused", l.Refused)
}

func (o *observer) clientID(c *conn, pairs []string) {
	if o.log.Enabled(context.Background(), slog.LevelDebug) {
		quoted := make([]string, len(pairs))
		for i, p := range pairs {
			quoted[i] = quote(p)
		}
		o.log.Debug("imap: client", "conn", c.info.ID, "id", quoted)
	}
}

func (o *observer) internalError(c *conn, command string, err error) {
	o.errors.Inc()
	o.log.Error("imap: command failed", "conn", c.info.ID, "user", quote(c.sess.User()), "command", command, "error", quote(err.Error()))
}

// panicked logs a hash of the line and not the line, which may hold a password (G4, G6).
func (o *observer) panicked(c *conn, value any) {
	o.panics.Inc()
	sum := sha256.Sum256(c.p.Line())
	o.log.Error("imap: panic", "conn", c.info.ID, "command", c.name, "input", hex.EncodeToString(sum[:8]),
		"panic", value, "stack", string(debug.Stack()))
}

// quote makes text from outside fit for logs (G6).
func quote(s string) string {
	q := strconv.QuoteToASCII(s[:min(len(s), 1024)])
	return q[1 : len(q)-1]
}
