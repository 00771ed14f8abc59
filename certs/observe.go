package certs

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/metric"
)

// Info describes a certificate in use.
type Info struct {
	Names               []string
	NotBefore, NotAfter time.Time
	Issuer              string
	Origin              Origin
	// From is its file, or the directory of the authority.
	From string
	// Chain is the certificate and those above it that are shown with it.
	Chain []*x509.Certificate
}

func (e *entry) info() Info {
	leaf := e.chain[0]
	i := Info{Names: e.names, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Issuer: leaf.Issuer.String(), Origin: e.origin, From: e.file, Chain: e.chain}
	if e.origin == FromACME {
		i.From = e.ca
	}
	return i
}

// Certificates lists what is in use: files first, then what was issued. What
// stands in for them is last, and left out when nobody can get it.
func (s *Source) Certificates() (list []Info) {
	c := s.inUse.Load()
	for _, e := range c.entries {
		if e.origin != FromItself || len(c.entries) == 1 || c.shows(e) {
			list = append(list, e.info())
		}
	}
	return list
}

// shows tells whether some name of e has nothing better.
func (c *set) shows(e *entry) bool {
	for _, name := range e.names {
		if c.named(name)[0] == e {
			return true
		}
	}
	return false
}

// For is what a client gets that asks for a name.
func (s *Source) For(name string) Info { return s.inUse.Load().candidates(name)[0].info() }

// Held tells why the files are not in use as they are now, or "".
func (s *Source) Held() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// observer does what is to be seen of the room.
type observer struct {
	log     *slog.Logger
	expires *metric.Gauge
	orders  *metric.Counter
}

func newObserver(o Options) observer {
	return observer{
		log:     o.Logger,
		expires: o.Metrics.Gauge("postino_certificate_expiry_seconds", "When the certificate for a name ends, in seconds since 1970.", "name"),
		orders:  o.Metrics.Counter("postino_acme_orders_total", "Certificates that were asked for.", "result"),
	}
}

func (o *observer) changed() { o.log.Info("certificates changed") }

// ends is told once a day of a certificate that is about to end.
func (o *observer) ends(i Info, left time.Duration, level slog.Level) {
	text := "certificate ends soon"
	if left <= 0 {
		text = "certificate has ended"
	}
	o.log.Log(context.Background(), level, text, "names", i.Names, "at", i.NotAfter, "from", i.Origin, "file", postino.Printable(i.From))
}

// Alarms: when less than this is left, or less than a part of the whole life of
// certificates that are renewed more often.
const (
	warnLeft, warnPart   = 20 * 24 * time.Hour, 4
	alarmLeft, alarmPart = 7 * 24 * time.Hour, 12
)

// Alarm tells whether somebody should look after a certificate: slog.LevelWarn
// with 20 days left, slog.LevelError with 7; later for one that lives less than
// 80 days.
func (i Info) Alarm(now time.Time) (level slog.Level, ok bool) {
	life, left := i.NotAfter.Sub(i.NotBefore), i.NotAfter.Sub(now)
	switch {
	case left <= min(alarmLeft, life/alarmPart):
		return slog.LevelError, true
	case left <= min(warnLeft, life/warnPart):
		return slog.LevelWarn, true
	}
	return 0, false
}

// lookEvery is how often Run looks at what is held back and at what ends.
const lookEvery = 10 * time.Minute

// Run watches over the certificates until ctx ends: it says once a day which end
// soon, and takes files into use that were held back.
func (s *Source) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var told time.Time
	for {
		if s.Held() != "" {
			if err := s.reload(ctx); err == nil {
				s.obs.changed()
			}
		}
		if err := s.standIn(time.Now()); err != nil {
			s.obs.log.Error("certificate of our own not renewed", "err", err)
		}
		daily := time.Since(told) >= 24*time.Hour
		for _, i := range s.Certificates() {
			for _, name := range i.Names {
				s.obs.expires.With(name).Set(float64(i.NotAfter.Unix()))
			}
			if level, ok := i.Alarm(time.Now()); ok && daily {
				s.obs.ends(i, time.Until(i.NotAfter), level)
				told = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
