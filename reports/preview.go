package reports

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Preview is a report to a domain as it would be sent, or what became of it.
type Preview struct {
	Kind   string    `json:"kind"` // dmarc or tls
	Domain string    `json:"domain"`
	Day    time.Time `json:"day"`
	// Complete tells that the day is over; Due is when the report leaves.
	Complete bool      `json:"complete"`
	Due      time.Time `json:"due"`
	// Sent is what became of it, nil while it is owed.
	Sent *Sent `json:"sent,omitempty"`
	// To are the destinations now, Problem why there are none.
	To       []string `json:"to,omitempty"`
	Problem  string   `json:"problem,omitempty"`
	Document string   `json:"document,omitempty"`
}

// Previews lists the reports about a domain that are owed or were sent lately, the
// latest first, each with its document as long as the rows are kept.
func (m *Mailer) Previews(ctx context.Context, domain string, now time.Time) (all []Preview, err error) {
	for day := dayOf(now); day+keepRows >= dayOf(now); day-- {
		for _, kind := range [...]byte{dmarcKind, tlsKind} {
			w := owed{kind, day, domain}
			p, err := m.preview(ctx, w, now)
			switch {
			case err == nil:
				all = append(all, *p)
			case !postino.Is(err, postino.NotFound):
				return nil, err
			}
		}
	}
	return all, nil
}

func (m *Mailer) preview(ctx context.Context, w owed, now time.Time) (*Preview, error) {
	rows, d, err := m.rows(ctx, w)
	if err != nil {
		return nil, err
	}
	p := &Preview{Kind: kindWord(w.kind), Domain: w.domain, Day: dayStart(w.day), Complete: w.day < dayOf(now), Due: m.due(w)}
	if err := m.o.DB.View(ctx, []kv.Scope{scope}, func(r kv.Reader) error {
		_, done, err := r.Get(w.key(sentRow))
		if err != nil || !done {
			return err
		}
		p.Sent = &Sent{}
		return getJSON(r, w.key(sentRow), p.Sent)
	}); err != nil {
		return nil, err
	}
	id, err := m.o.Identity(ctx)
	if err != nil {
		p.Problem = err.Error()
	}
	box := &parcel{kind: w.kind, domain: w.domain, id: reportID(w.kind, w.day, w.domain, &id), begin: dayStart(w.day), end: dayStart(w.day + 1).Add(-time.Second)}
	write, err := box.document(rows, d, &id)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := write(&out); err != nil {
		return nil, err
	}
	p.Document = out.String()
	all, err := m.destinations(ctx, w, d)
	for _, dest := range all {
		p.To = append(p.To, cmp.Or(dest.url, dest.to.String()))
	}
	switch {
	case err != nil:
		p.Problem = err.Error()
	case len(all) == 0:
		p.Problem = "no destination takes it"
	case !d.Owed:
		p.Problem = "it would tell of nothing but reports"
	}
	return p, nil
}

// SendNow sends what is owed to a domain for complete days without waiting for its
// hour. The error is of kind NotFound when nothing is.
func (m *Mailer) SendNow(ctx context.Context, domain string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.pending(ctx, now)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(w owed) bool { return w.domain != domain })
	if len(all) == 0 {
		return postino.E(postino.NotFound, "send report", domain, errors.New("nothing is owed for days that are over"))
	}
	for _, w := range all {
		if err := m.send(ctx, w, now); err != nil {
			return err
		}
	}
	return nil
}
