package reports

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/tlspolicy"
)

// Mail is a message that we write ourselves.
type Mail struct {
	From postino.Address // reverse-path
	To   []postino.Address
	// Build writes the message.
	Build func(io.Writer) error
	// Also, when not nil, is done in the transaction that puts it on the queue,
	// which depends on Scopes.
	Also   func(kv.Tx) error
	Scopes []kv.Scope
	// Reason stands in its story.
	Reason string
}

// MailerOptions says what a Mailer works with. A zero number means its default.
type MailerOptions struct {
	DB kv.DB
	// Send queues and signs a message; its error is of kind Transient when it may
	// go later.
	Send func(ctx context.Context, m Mail) error
	// Post sends a document to an https URL; nil: URLs are passed over.
	Post func(ctx context.Context, url, contentType string, body []byte) error
	DNS  dns.Resolver
	// Identity says as whom to report. NotFound: there is no domain to report from
	// yet, and nothing is sent.
	Identity func(ctx context.Context) (Identity, error)
	// Hostname is the name of this server.
	Hostname string
	// DMARC and TLS turn on the daily reports, Failures those about single messages.
	DMARC, TLS, Failures bool
	// Spread is over how long after midnight in UTC the reports of a day leave: 4
	// hours (RFC 8460 §4.1).
	Spread time.Duration
	// Patience is how long after the end of a day its report is tried: 24 hours
	// after Spread (RFC 8460 §5.5).
	Patience time.Duration
	// Limits bounds the questions for one report (MA7).
	Limits  mailauth.Limits
	Logger  *slog.Logger
	Metrics *metric.Registry
}

// Mailer makes the reports to others and hands them to the queue: each day one to
// each domain (MA8), and at most one an hour about single messages.
type Mailer struct {
	o      MailerOptions
	verify Verifier
	sent   *metric.Counter
	secret [32]byte // hides local parts
	fail   chan *DMARCFailure

	mu     sync.Mutex // guards a round: the worker's and one by hand
	later  map[string]retry
	storms map[string]*storm
	// trimmed is the day on which old rows were removed last.
	trimmed uint64
}

// retry is when a report that could not be sent is tried again.
type retry struct {
	at    time.Time
	tries int
}

// NewMailer returns a mailer; Run makes it work.
func NewMailer(o MailerOptions) *Mailer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Spread, o.Patience = cmp.Or(o.Spread, 4*time.Hour), cmp.Or(o.Patience, 24*time.Hour)
	m := &Mailer{
		o: o, verify: Verifier{DNS: o.DNS, Limits: o.Limits}, fail: make(chan *DMARCFailure, 64), later: map[string]retry{}, storms: map[string]*storm{},
		sent: o.Metrics.Counter("postino_reports_total", "Reports to other domains, by kind and what became of them.", "kind", "result"),
	}
	_, _ = rand.Read(m.secret[:]) // never fails
	return m
}

// Run sends reports until ctx ends. What was sent and what is owed is in the
// store: a restart neither repeats a report nor forgets one.
func (m *Mailer) Run(ctx context.Context) error {
	for {
		next := m.round(ctx, time.Now())
		timer := time.NewTimer(time.Until(next))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-timer.C:
				waiting = false
			case f := <-m.fail:
				m.failure(ctx, f, time.Now())
			}
		}
	}
}

// owed names a report that is due some time.
type owed struct {
	kind   byte
	day    uint64
	domain string
}

func (w owed) key(row byte) []byte { return domainKey(nil, row, w.kind, w.day, w.domain) }

// parseOwed reads such a key.
func parseOwed(key []byte) (w owed, ok bool) {
	if len(key) < 7 || key[len(key)-1] != 0 {
		return w, false
	}
	return owed{kind: key[4], day: keyDay(key), domain: string(key[5 : len(key)-1])}, true
}

// round sends what is due and returns when to look again.
func (m *Mailer) round(ctx context.Context, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := dayStart(dayOf(now) + 1) // when another day is complete
	all, err := m.pending(ctx, now)
	if err != nil {
		m.o.Logger.Warn("reports: what is owed cannot be read", "err", err)
		return now.Add(time.Minute)
	}
	for _, w := range all {
		if ctx.Err() != nil {
			break
		}
		due := m.due(w)
		if r, ok := m.later[string(w.key(sentRow))]; ok && r.at.After(due) {
			due = r.at
		}
		if !due.After(now) {
			due = m.attempt(ctx, w, now)
		}
		if due.After(now) && due.Before(next) {
			next = due
		}
	}
	if m.trimmed != dayOf(now) {
		if err := m.trim(ctx, now); err == nil {
			m.trimmed = dayOf(now)
		} else if ctx.Err() == nil {
			m.o.Logger.Warn("reports: old statistics were not removed", "err", err)
		}
	}
	if soon := now.Add(time.Minute); next.Before(soon) { // many domains share a round
		next = soon
	}
	return next
}

// due is when a report leaves: some time after its day, always the same, so that
// a restart does not move it.
func (m *Mailer) due(w owed) time.Time {
	sum := sha256.Sum256([]byte(m.o.Hostname + "\x00" + string(w.key(sentRow))))
	share := binary.BigEndian.Uint64(sum[:8]) >> 1
	return dayStart(w.day + 1).Add(2*time.Minute + time.Duration(share%uint64(m.o.Spread))) // the collector has written by then
}

// pending lists what is owed for complete days. A row of a day that is not over
// cannot be sent: it still grows.
func (m *Mailer) pending(ctx context.Context, now time.Time) (all []owed, err error) {
	err = m.o.DB.View(ctx, []kv.Scope{scope}, func(r kv.Reader) error {
		all = nil
		var failed error
		err := r.Scan(kv.Prefix([]byte{'R', metaRow}), func(key, _ []byte) bool {
			w, ok := parseOwed(key)
			if !ok || w.day >= dayOf(now) || w.kind == dmarcKind && !m.o.DMARC || w.kind == tlsKind && !m.o.TLS {
				return true
			}
			all = append(all, w)
			return true
		})
		all = slices.DeleteFunc(all, func(w owed) bool {
			_, done, err := r.Get(w.key(sentRow))
			failed = errors.Join(failed, err)
			return done
		})
		return errors.Join(err, failed)
	})
	return all, err
}

// attempt sends a report and returns when it is to be tried again, or zero.
func (m *Mailer) attempt(ctx context.Context, w owed, now time.Time) time.Time {
	key := string(w.key(sentRow))
	err := m.send(ctx, w, now)
	switch {
	case err == nil:
		delete(m.later, key)
		return time.Time{}
	case postino.Is(err, postino.Conflict): // somebody else was faster
		return time.Time{}
	}
	over := now.After(dayStart(w.day + 1).Add(m.o.Spread + m.o.Patience))
	if final := !postino.Is(err, postino.Transient) && !postino.Is(err, postino.Internal); final || over {
		m.o.Logger.Warn("reports: given up", "domain", w.domain, "kind", kindWord(w.kind), "err", err)
		if err := m.settle(ctx, w, Sent{Time: now, State: "failed", Reason: err.Error()}); err == nil {
			delete(m.later, key)
			return time.Time{}
		}
	}
	r := m.later[key]
	r.tries++
	r.at = now.Add(time.Minute << min(10, r.tries+3)) // 16 minutes, 32, …, 17 hours at most
	m.later[key] = r
	m.o.Logger.Info("reports: tried again later", "domain", w.domain, "kind", kindWord(w.kind), "next", r.at, "err", err)
	return r.at
}

// Sent is what became of a report to a domain.
type Sent struct {
	Time time.Time `json:"time"`
	// State is sent, skipped (nobody wants it, or there is nothing to tell) or
	// failed.
	State  string   `json:"state"`
	ID     string   `json:"id,omitempty"`
	To     []string `json:"to,omitempty"`
	Told   int64    `json:"told,omitempty"` // messages or sessions
	Reason string   `json:"reason,omitempty"`
}

// mark writes what became of a report, once.
func (w owed) mark(tx kv.Tx, s Sent) error {
	_, done, err := tx.Get(w.key(sentRow))
	if err != nil {
		return err
	}
	if done {
		return postino.E(postino.Conflict, "send report", w.domain, nil)
	}
	return setJSON(tx, w.key(sentRow), &s)
}

// settle marks a report that is not sent.
func (m *Mailer) settle(ctx context.Context, w owed, s Sent) error {
	err := m.o.DB.Update(ctx, []kv.Scope{scope}, func(tx kv.Tx) error { return w.mark(tx, s) })
	if err == nil {
		m.sent.With(kindWord(w.kind), s.State).Inc()
	}
	return err
}

// send makes and queues the report about a domain and day. The mark and the mail
// are one transaction: it is sent once, whatever happens.
func (m *Mailer) send(ctx context.Context, w owed, now time.Time) error {
	id, err := m.o.Identity(ctx)
	if err != nil {
		return postino.E(postino.Transient, "send report", w.domain, err)
	}
	p, d, err := m.parcel(ctx, w, &id)
	if err != nil {
		return err
	}
	if !d.Owed {
		return m.settle(ctx, w, Sent{Time: now, State: "skipped", Reason: "it would tell of nothing but reports"})
	}
	all, err := m.destinations(ctx, w, d)
	if err != nil {
		return err
	}
	var to []postino.Address
	var posted []string
	var failed error
	for _, dest := range all {
		switch {
		case dest.size > 0 && int64(len(p.doc))*4/3+4096 > dest.size, dest.url != "" && m.o.Post == nil:
		case dest.url != "":
			if err := m.o.Post(ctx, dest.url, "application/tlsrpt+gzip", p.doc); err != nil {
				failed = errors.Join(failed, err)
			} else {
				posted = append(posted, dest.url)
			}
		case m.bounces(ctx, dest.to, now):
		case !slices.Contains(to, dest.to):
			to = append(to, dest.to)
		}
	}
	s := Sent{Time: now, State: "sent", ID: p.id, To: posted, Told: p.told}
	for _, a := range to {
		s.To = append(s.To, a.String())
	}
	switch {
	case len(to) > 0:
		return m.mail(ctx, w, p, &id, to, s)
	case len(posted) > 0:
		return m.settle(ctx, w, s)
	case failed != nil:
		return postino.E(postino.Transient, "send report", w.domain, failed)
	}
	s.State, s.Reason = "skipped", "no destination takes it"
	return m.settle(ctx, w, s)
}

func (m *Mailer) mail(ctx context.Context, w owed, p *parcel, id *Identity, to []postino.Address, s Sent) error {
	err := m.o.Send(ctx, Mail{
		From: id.Return(kindWord(w.kind) + "-reports"), To: to, Reason: kindWord(w.kind) + " report about " + w.domain,
		Build: func(out io.Writer) error { return p.build(out, id, to, s.Time) },
		Also:  func(tx kv.Tx) error { return w.mark(tx, s) }, Scopes: []kv.Scope{scope},
	})
	if err == nil {
		m.sent.With(kindWord(w.kind), s.State).Inc()
		m.o.Logger.Info("reports: sent", "domain", w.domain, "kind", kindWord(w.kind), "to", s.To, "told", s.Told)
	}
	return err
}

// destinations finds out who wants the report.
func (m *Mailer) destinations(ctx context.Context, w owed, d *domainDay) (all []destination, err error) {
	if w.kind == dmarcKind {
		return m.verify.destinations(ctx, w.domain, "rua", d.RUA)
	}
	record, err := tlspolicy.LookupTLSRPT(ctx, m.o.DNS, w.domain)
	switch {
	case postino.Is(err, postino.NotFound):
		return nil, nil
	case err != nil:
		return nil, postino.E(postino.Transient, "look up who wants TLS reports", w.domain, err)
	}
	for _, uri := range record.RUA[:min(len(record.RUA), maxDestinations)] {
		if dest, ok := parseURI(uri); ok {
			all = append(all, dest)
		}
	}
	return all, nil
}

// parcel reads the rows of a domain and day and makes the document of them.
func (m *Mailer) parcel(ctx context.Context, w owed, id *Identity) (*parcel, *domainDay, error) {
	rows, d, err := m.rows(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	p := &parcel{
		kind: w.kind, domain: w.domain, id: reportID(w.kind, w.day, w.domain, id), begin: dayStart(w.day), end: dayStart(w.day + 1).Add(-time.Second),
	}
	write, err := p.document(rows, d, id)
	if err == nil {
		p.doc, err = gzipped(write)
	}
	return p, d, err
}

// document makes the report; write writes it.
func (p *parcel) document(rows []storedRow, d *domainDay, id *Identity) (write func(io.Writer) error, err error) {
	if p.kind == tlsKind {
		r, err := tlsReport(p, rows, id)
		if err != nil {
			return nil, err
		}
		for _, s := range r.Policies {
			p.told += s.Good + s.Bad
		}
		return r.WriteJSON, nil
	}
	a, err := aggregate(p, rows, d, id)
	if err != nil {
		return nil, err
	}
	for i := range a.Records {
		p.told += a.Records[i].Count
	}
	return a.WriteXML, nil
}

func aggregate(p *parcel, rows []storedRow, d *domainDay, id *Identity) (*Aggregate, error) {
	a := &Aggregate{
		Org: id.Org, Email: id.From.String(), Contact: id.Contact, ID: p.id, Begin: p.begin, End: p.end, Generator: id.Generator, Policy: d.Policy,
	}
	if d.Problem != "" {
		a.Problems = []string{d.Problem}
	} else if d.Lost > 0 {
		a.Problems = []string{fmt.Sprintf("There was too much to list: %d further messages are in no record.", d.Lost)}
	}
	for i := range rows {
		r, err := parseRow(rows[i].row)
		if err != nil {
			return nil, err
		}
		r.Count = rows[i].count
		a.Records = append(a.Records, *r)
	}
	slices.SortFunc(a.Records, func(x, y Record) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), x.Source.Compare(y.Source), cmp.Compare(x.HeaderFrom, y.HeaderFrom))
	})
	return a, nil
}

func tlsReport(p *parcel, rows []storedRow, id *Identity) (*TLSReport, error) {
	all := make([]TLSRecord, 0, len(rows))
	for i := range rows {
		r, err := parseTLSRow(rows[i].row)
		if err != nil {
			return nil, err
		}
		r.Count, r.Sessions = rows[i].count, rows[i].sessions
		all = append(all, *r)
	}
	return &TLSReport{Org: id.Org, Contact: id.From.String(), ID: p.id, Begin: p.begin, End: p.end, Policies: summarize(all)}, nil
}

// rows reads what was counted of a domain and day.
func (m *Mailer) rows(ctx context.Context, w owed) (rows []storedRow, d *domainDay, err error) {
	err = m.o.DB.View(ctx, []kv.Scope{scope}, func(r kv.Reader) error {
		rows, d = nil, &domainDay{}
		if err := getJSON(r, w.key(metaRow), d); err != nil {
			return err
		}
		var bad error
		err := r.Scan(kv.Prefix(w.key(recordRow)), func(_, v []byte) bool {
			row, err := splitRow(v)
			row.row = slices.Clone(row.row)
			rows, bad = append(rows, row), err
			return err == nil
		})
		return errors.Join(err, bad)
	})
	if err == nil && len(rows) == 0 {
		err = postino.E(postino.NotFound, "make report", w.domain, errNothing)
	}
	return rows, d, err
}
