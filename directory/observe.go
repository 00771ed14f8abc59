package directory

import (
	"cmp"
	"log/slog"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// observer tells of logins and of users who send much; it never sees a password.
type observer struct {
	log                *slog.Logger
	logins             map[string]outcomes // by mechanism; "" is a command of its own
	alarms, sendAlarms *metric.Counter
}

// outcomes count the ends of logins.
type outcomes struct{ ok, failed, blocked, deferred *metric.Counter }

func newObserver(opts Options) observer {
	logins := opts.Metrics.Counter("postino_logins_total", "Logins by SASL mechanism (command: LOGIN of IMAP, PASS of POP3) and result.", "mechanism", "result")
	o := observer{
		log: opts.Logger, logins: map[string]outcomes{},
		alarms:     opts.Metrics.Counter("postino_login_alarms_total", "Limits on failed logins that were reached."),
		sendAlarms: opts.Metrics.Counter("postino_send_alarms_total", "Limits on the recipients of a user that were reached."),
	}
	for _, m := range []string{"", "PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "DIGEST-MD5",
		"OAUTHBEARER", "XOAUTH2", "EXTERNAL"} {
		label := cmp.Or(strings.ToLower(m), "command")
		o.logins[m] = outcomes{logins.With(label, "ok"), logins.With(label, "failed"), logins.With(label, "blocked"), logins.With(label, "deferred")}
	}
	return o
}

func (o observer) deferred(c Credentials, err error) {
	o.logins[c.Mechanism].deferred.Inc()
	o.log.Warn("login deferred", "error", err)
}

func (o observer) loggedIn(c Credentials, l *login) {
	o.logins[c.Mechanism].ok.Inc()
	o.log.Debug("logged in", "user", postino.Printable(l.account), "service", c.Service, "mechanism", c.Mechanism, "remote", c.Remote)
}

func (o observer) foreign(c Credentials, l *login) {
	o.logins[c.Mechanism].failed.Inc()
	o.log.Info("login for another user refused", "user", postino.Printable(l.account), "other", postino.Printable(c.Authz), "service", c.Service, "remote", c.Remote)
}

func (o observer) failed(c Credentials, l *login, a alarm) {
	o.logins[c.Mechanism].failed.Inc()
	if a != (alarm{}) {
		o.alarms.Inc()
	}
	o.log.Info("login failed", "user", postino.Printable(l.account), "service", c.Service, "mechanism", c.Mechanism, "remote", c.Remote)
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
	o.logins[c.Mechanism].blocked.Inc()
	o.log.Debug("login from a blocked network", "service", c.Service, "remote", c.Remote)
}

func (o observer) changed(k NoticeKind, u User, name string) {
	o.log.Info("credentials changed", "what", k, "user", postino.Printable(u.Address.String()), "name", name)
}

func (o observer) granted(u User, g Grant) {
	o.log.Info("access granted", "user", postino.Printable(u.Address.String()), "kind", g.Kind, "name", g.Name, "remote", g.Remote)
}

func (o observer) networkNotKept(user uint64, err error) {
	o.log.Warn("network of a login not kept", "account", user, "error", err)
}

func (o observer) useNotNoted(err error) {
	o.log.Warn("use of a session not noted", "error", err)
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

func (o observer) keysNotKept(domain string, err error) {
	o.log.Warn("DKIM keys not looked after", "domain", domain, "error", err)
}

func (o observer) keyMade(k DKIMKey) {
	name, text := k.Record()
	o.log.Info("DKIM key made, publish its record", "domain", k.Domain, "name", name, "txt", text)
}

func (o observer) keyMoved(k DKIMKey, to KeyState) {
	switch to {
	case KeyPlanned:
		o.log.Warn("DKIM record is gone before its key signed", "key", k)
	case KeyPublished:
		o.log.Info("DKIM record seen, its key signs when caches know it", "key", k)
	case KeySigning:
		o.log.Info("DKIM key signs", "key", k)
	}
}

func (o observer) keyRemoved(k DKIMKey) {
	o.log.Info("DKIM key removed, its record may be taken out of DNS", "key", k)
}

// keyLooked tells of records that have come or gone; late are those that should
// have been published long ago.
func (o observer) keyLooked(k DKIMKey, before, now error, late bool) {
	switch {
	case k.State == KeySigning && now != nil && !postino.Is(now, postino.Transient):
		o.log.Warn("DKIM record of a key that signs is missing or wrong: nobody can verify our mail", "key", k, "error", now)
	case k.State == KeySigning && before != nil && now == nil:
		o.log.Info("DKIM record is right again", "key", k)
	case k.State == KeyPlanned && now != nil && late:
		o.log.Warn("DKIM record still not published", "key", k, "error", now)
	}
}

func (o observer) recordNotChanged(k DKIMKey, err error) {
	o.log.Warn("DKIM record cannot be changed, do it by hand", "key", k, "error", err)
}
