package receive

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/story"
)

// observer tells log, counters and stories what happens here.
type observer struct {
	log                 *slog.Logger
	taken, bytes        *metric.Counter
	refusals            *metric.Counter
	loginOK, loginWrong *metric.Counter
	judged              *metric.Counter
}

func newObserver(o *Options) *observer {
	logins := o.Metrics.Counter("postino_smtp_logins_total", "Logins over SMTP.", "listener", "result")
	return &observer{
		log:        o.Logger.With("listener", o.Listener),
		taken:      o.Metrics.Counter("postino_received_messages_total", "Messages accepted.", "listener").With(o.Listener),
		bytes:      o.Metrics.Counter("postino_received_bytes_total", "Octets of accepted messages.", "listener").With(o.Listener),
		refusals:   o.Metrics.Counter("postino_refused_total", "Commands and messages refused, by the first digit of the reply.", "class"),
		loginOK:    logins.With(o.Listener, "ok"),
		loginWrong: logins.With(o.Listener, "failed"),
		judged:     o.Metrics.Counter("postino_judged_total", "Results of the methods that judge incoming mail.", "method", "result"),
	}
}

// remote names the client: its address, or the user at the other end of a socket.
func (s *session) remote() string {
	if r := s.conn.Remote(); r.IsValid() {
		return r.String()
	}
	return s.conn.RemoteAddr().String()
}

func (o *observer) login(s *session, user string, err error) {
	if err == nil {
		o.loginOK.Inc()
		o.log.Debug("receive: login", "user", postino.Printable(user), "remote", s.remote())
		return
	}
	o.loginWrong.Inc()
	o.log.Info("receive: login failed", "user", postino.Printable(user), "remote", s.remote(), "error", err)
}

func (o *observer) accepted(t *transaction, size int64) {
	o.taken.Inc()
	o.bytes.Add(float64(size))
	if o.log.Enabled(context.Background(), slog.LevelInfo) {
		o.log.LogAttrs(context.Background(), slog.LevelInfo, "receive: accepted", slog.String("message", t.letter.ID.String()),
			slog.String("from", t.letter.Envelope.From.String()), slog.Int("recipients", len(t.accepted)), slog.Int64("size", size),
			slog.String("remote", t.s.remote()))
	}
}

// refused notes what was refused in the transaction and why. The reply is the
// one that the client gets; of an internal cause only the log knows.
func (t *transaction) refused(stage string, rcpt *postino.Address, err error) {
	r := smtp.ReplyFor(err)
	o := t.s.b.observe
	o.refusals.With([...]string{"4", "5"}[min(1, max(0, r.Code/100-4))]).Inc()
	o.log.LogAttrs(context.Background(), slog.LevelInfo, "receive: refused", slog.String("message", t.letter.ID.String()), slog.String("stage", stage),
		slog.String("from", postino.Printable(t.letter.Envelope.From.String())), slog.String("reply", postino.Printable(r.Error())), slog.Any("cause", err))
	e := t.s.b.opts.Stories.Event(t.letter.ID, story.Refused, time.Now()).Text(story.Stage, stage).
		Text(story.Reply, r.Error()).Address(story.Sender, t.letter.Envelope.From)
	if rcpt != nil {
		e.Address(story.Recipient, *rcpt)
	}
	t.events = append(t.events, t.connection(e))
}

// connection adds what is known of the client.
func (t *transaction) connection(e *story.Event) *story.Event {
	c := t.s.conn
	e.Text(story.Remote, t.s.remote())
	name, _ := c.Hello()
	e.Text(story.Helo, name).Text(story.Protocol, c.Protocol(t.opts.SMTPUTF8))
	if state := c.TLS(); state != nil {
		e.Text(story.TLS, tls.VersionName(state.Version))
	}
	if t.s.user.ID != 0 {
		e.Address(story.User, t.s.user.Address)
	}
	return e.Text(story.Listener, t.s.b.opts.Listener)
}
