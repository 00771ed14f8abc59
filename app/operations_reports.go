package app

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/reports"
)

// What report operations give.
type (
	DMARCView     = reports.DMARCView
	TLSView       = reports.TLSView
	Complaint     = reports.Received
	ReportPreview = reports.Preview
)

// ReportQuery asks for what others reported about a domain, or about all.
type ReportQuery struct {
	Domain string `json:",omitempty"`
	Days   int    // before now; 0 means 30
	Limit  int    `json:",omitempty"` // complaints; 0 means 100
}

// ReportSend is about the reports to a domain: what they would be, and whether they
// leave now.
type ReportSend struct {
	Domain string
	Now    bool `json:",omitempty"`
}

// ReportFile is a file with reports.
type ReportFile struct {
	Name string
	Data []byte
}

// ReportsKept tells what an import found.
type ReportsKept struct{ New, Known int }

// maxDays bounds how far back reports are looked through.
const maxDays = 3700

// domains fills in the defaults and returns the domains asked for.
func (q *ReportQuery) domains(ctx context.Context, s *Stores, kind reports.Kind, now time.Time) ([]string, error) {
	if q.Days <= 0 {
		q.Days = 30
	}
	q.Days = min(q.Days, maxDays)
	if q.Domain != "" {
		d, err := postino.CanonicalDomain(q.Domain)
		return []string{d}, err
	}
	return s.Reports.Domains(ctx, kind, q.Days, now)
}

func (s *Stores) reportDMARC(ctx context.Context, q ReportQuery) ([]*DMARCView, error) {
	now := time.Now()
	domains, err := q.domains(ctx, s, reports.KindDMARC, now)
	if err != nil {
		return nil, err
	}
	out := make([]*DMARCView, 0, len(domains))
	for _, d := range domains {
		v, err := s.Reports.ViewDMARC(ctx, d, q.Days, now)
		if err != nil {
			return nil, err
		}
		s.nameSources(ctx, v.Sources)
		out = append(out, v)
	}
	return out, nil
}

// How long names of sources are looked for, and for how many.
const (
	namesTime = 5 * time.Second
	namesMax  = 40
)

// nameSources finds the names of the first sources, as far as they are known soon.
func (s *Stores) nameSources(ctx context.Context, sources []reports.Source) {
	ctx, cancel := context.WithTimeout(ctx, namesTime)
	defer cancel()
	var wg sync.WaitGroup
	for i := range sources[:min(len(sources), namesMax)] {
		wg.Go(func() { sources[i].Name = confirmedName(ctx, s.Resolver, sources[i].Addr) })
	}
	wg.Wait()
}

func confirmedName(ctx context.Context, r dns.Resolver, a netip.Addr) string {
	rev := mailauth.CheckIPRev(ctx, mailauth.NewInquiry(r, mailauth.Limits{}), a)
	return rev.Name
}

func (s *Stores) reportTLS(ctx context.Context, q ReportQuery) ([]*TLSView, error) {
	now := time.Now()
	domains, err := q.domains(ctx, s, reports.KindTLS, now)
	if err != nil {
		return nil, err
	}
	out := make([]*TLSView, 0, len(domains))
	for _, d := range domains {
		v, err := s.Reports.ViewTLS(ctx, d, q.Days, now)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *Stores) reportAbuse(ctx context.Context, q ReportQuery) ([]Complaint, error) {
	if q.Days <= 0 {
		q.Days = 30
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	if q.Domain != "" {
		var err error
		if q.Domain, err = postino.CanonicalDomain(q.Domain); err != nil {
			return nil, err
		}
	}
	return s.Reports.Complaints(ctx, q.Domain, min(q.Days, maxDays), min(q.Limit, 10_000), time.Now())
}

func (s *Stores) reportSend(ctx context.Context, in ReportSend) ([]ReportPreview, error) {
	domain, err := postino.CanonicalDomain(in.Domain)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if in.Now {
		if err := s.Mailer.SendNow(ctx, domain, now); err != nil {
			return nil, err
		}
	}
	all, err := s.Mailer.Previews(ctx, domain, now)
	if err == nil && len(all) == 0 {
		err = postino.E(postino.NotFound, "show report", domain, errors.New("nothing was counted for it in the last days, or it wants no reports"))
	}
	return all, err
}

func (s *Stores) reportImport(ctx context.Context, in ReportFile) (ReportsKept, error) {
	found, err := reports.ReadFile(bytes.NewReader(in.Data), reports.ReadLimits{})
	if err != nil {
		return ReportsKept{}, err
	}
	fresh, known, err := s.Reports.Import(ctx, found, time.Now())
	return ReportsKept{fresh, known}, err
}
