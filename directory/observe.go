package directory

import (
	"log/slog"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// observer tells of logins and of users who send much; it never sees a password.
type observer struct {
	log                               *slog.Logger
	succeeded, refused, shutOut, busy *metric.Counter
	alarms, sendAlarms                *metric.Counter
}

func newObserver(opts Options) observer {
	logins := opts.Metrics.Counter("postino_logins_total", "Logins by result.", "result")
	return observer{
		log:       opts.Logger,
		succeeded: logins.With("ok"), refused: logins.With("failed"), shutOut: logins.With("blocked"), busy: logins.With("deferred"),
		alarms:     opts.Metrics.Counter("postino_login_alarms_total", "Limits on failed logins that were reached."),
		sendAlarms: opts.Metrics.Counter("postino_send_alarms_total", "Limits on the recipients of a user that were reached."),
	}
}

func (o observer) deferred(err error) {
	o.busy.Inc()
	o.log.Warn("login deferred", "error", err)
}

func (o observer) loggedIn(c Credentials, l *login) {
	o.succeeded.Inc()
	o.log.Debug("logged in", "user", postino.Printable(l.account), "service", c.Service, "remote", c.Remote)
}

func (o observer) failed(c Credentials, l *login, a alarm) {
	o.refused.Inc()
	if a != (alarm{}) {
		o.alarms.Inc()
	}
	o.log.Info("login failed", "user", postino.Printable(l.account), "service", c.Service, "remote", c.Remote)
	if a.network {
		o.log.Warn("network blocked after failed logins", "remote", c.Remote)
	}
	if a.account {
		o.log.Warn("many failed logins for an account, unknown networks are slowed", "user", postino.Printable(l.account))
	}
	if a.domain {
		o.log.Warn("failed logins spread over many accounts", "domain", l.domain)
	}
}

func (o observer) blocked(c Credentials) {
	o.shutOut.Inc()
	o.log.Debug("login from a blocked network", "service", c.Service, "remote", c.Remote)
}

func (o observer) touchFailed(k appKey, err error) {
	o.log.Warn("use of an app password not noted", "account", k.user, "error", err)
}

func (o observer) upgradeFailed(id uint64, err error) {
	o.log.Warn("password hash not renewed", "account", id, "error", err)
}

func (o observer) sendsTooMuch(u User, limit error) {
	o.sendAlarms.Inc()
	o.log.Warn("user reached a limit of sending", "user", postino.Printable(u.Address.String()), "limit", limit)
}

func (o observer) sendsNotSaved(err error) {
	o.log.Warn("counts of what users sent not saved", "error", err)
}
