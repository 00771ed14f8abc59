package reports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// How long things are kept, in days.
const (
	keepRows = 4  // statistics, after their day
	keepSent = 30 // what became of reports, and of their destinations
)

// pageRows is how many rows one transaction removes.
const pageRows = 1000

// trim removes what is older than it needs to be.
func (m *Mailer) trim(ctx context.Context, now time.Time) error {
	today := dayOf(now)
	var err error
	for row, days := range map[byte]uint64{metaRow: keepRows, recordRow: keepRows, dayRow: keepRows, sentRow: keepSent} {
		end := dayKey(nil, today-min(today, days))
		end[1] = row
		err = errors.Join(err, remove(ctx, m.o.DB, kv.Range{Start: []byte{'R', row}, End: end}))
	}
	return err
}

// remove deletes all keys of a range, some at a time.
func remove(ctx context.Context, db kv.DB, r kv.Range) error {
	r.Limit = pageRows
	for {
		n := 0
		err := db.Update(kv.Deleting(ctx), []kv.Scope{scope}, func(tx kv.Tx) error {
			var keys [][]byte
			if err := tx.Scan(r, func(key, _ []byte) bool { keys = append(keys, slices.Clone(key)); return true }); err != nil {
				return err
			}
			n = len(keys)
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < pageRows {
			return err
		}
	}
}

// bounced is how often reports to an address came back.
type bounced struct {
	Days int       `json:"days"` // in a row
	Last time.Time `json:"last"`
}

// When an address gets no reports: they came back on so many days, none of them
// long after the one before. After the pause one is tried again.
const (
	bounceDays  = 3
	bounceGap   = 21 * 24 * time.Hour
	bouncePause = 14 * 24 * time.Hour
)

func bounceKey(a postino.Address) []byte {
	return append([]byte{'R', bounceRow}, strings.ToLower(a.String())...)
}

// Bounced notes that a report to an address came back for good.
func (m *Mailer) Bounced(ctx context.Context, a postino.Address, now time.Time) error {
	return m.o.DB.Update(ctx, []kv.Scope{scope}, func(tx kv.Tx) error {
		var b bounced
		if err := getJSON(tx, bounceKey(a), &b); err != nil {
			return err
		}
		switch gap := now.Sub(b.Last); {
		case dayOf(now) == dayOf(b.Last):
			return nil
		case gap > bounceGap:
			b.Days = 0
		}
		b.Days, b.Last = min(b.Days+1, bounceDays), now
		return setJSON(tx, bounceKey(a), &b)
	})
}

// bounces tells whether reports to an address come back, so that none is sent. A
// store that cannot be read lets it go.
func (m *Mailer) bounces(ctx context.Context, a postino.Address, now time.Time) bool {
	var b bounced
	err := m.o.DB.View(ctx, nil, func(r kv.Reader) error { return getJSON(r, bounceKey(a), &b) })
	return err == nil && b.Days >= bounceDays && now.Sub(b.Last) < bouncePause
}

// storm is how often messages of a domain failed since its last report.
type storm struct {
	last      time.Time
	incidents int64
}

// Bounds of the reports about single messages.
const (
	failureEvery = time.Hour // to one domain
	maxStorms    = 1000      // domains that are remembered: as many reports an hour at most
)

// Fail takes a message that failed. It never waits: what finds no room is as if
// it had come too soon after another.
func (m *Mailer) Fail(f *DMARCFailure) {
	if !m.o.Failures || !f.wanted() || !plainDomain(f.Policy.Domain) {
		return
	}
	kept := *f // the caller's slices are his
	kept.Header = slices.Clone(f.Header[:min(len(f.Header), maxShown)])
	kept.RUF, kept.DKIM = slices.Clone(f.RUF), slices.Clone(f.DKIM)
	select {
	case m.fail <- &kept:
	default:
	}
}

// failure sends a report about one message unless its domain had one within the
// hour (RFC 9991 §2, §8.1).
func (m *Mailer) failure(ctx context.Context, f *DMARCFailure, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.storms[f.Policy.Domain]
	if s == nil {
		for domain, old := range m.storms {
			if now.Sub(old.last) >= failureEvery {
				delete(m.storms, domain)
			}
		}
		if len(m.storms) >= maxStorms {
			return
		}
		s = &storm{}
		m.storms[f.Policy.Domain] = s
	}
	s.incidents++
	if now.Sub(s.last) < failureEvery {
		return
	}
	s.last = now // also when it fails: another message will tell the same
	if err := m.sendFailure(ctx, f, s.incidents, now); err != nil {
		m.o.Logger.Info("reports: no failure report", "domain", f.Policy.Domain, "message", f.Message, "err", err)
		return
	}
	s.incidents = 0
	m.sent.With("failure", "sent").Inc()
}

func (m *Mailer) sendFailure(ctx context.Context, f *DMARCFailure, incidents int64, now time.Time) error {
	id, err := m.o.Identity(ctx)
	if err != nil {
		return err
	}
	all, err := m.verify.destinations(ctx, f.Policy.Domain, "ruf", f.RUF)
	if err != nil {
		return err
	}
	var to []postino.Address
	for _, d := range all {
		if !slices.Contains(to, d.to) && !m.bounces(ctx, d.to, now) {
			to = append(to, d.to)
		}
	}
	if len(to) == 0 {
		return errors.New("no destination takes it")
	}
	r := &failureReport{
		DMARCFailure: f, id: &id, host: m.o.Hostname, incidents: incidents, redact: m.secret[:],
		messageID: fmt.Sprintf("failure.%s.%s@%s", f.Message, f.Policy.Domain, id.From.Domain),
	}
	return m.o.Send(ctx, Mail{
		From: id.Return("dmarc-reports"), To: to, Reason: "failure report about " + f.Message.String(),
		Build: func(w io.Writer) error { return r.build(w, to, now) },
	})
}
