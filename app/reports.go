package app

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/deliver"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
)

// ReportOptions say what is reported to other domains, and as whom.
type ReportOptions struct {
	// DMARC and TLS turn on the daily reports, Failures those about single messages.
	DMARC, TLS, Failures bool
	// From is their author; zero: the postmaster of the domain that this host is in.
	From postino.Address
	// Org is the organization's name; "": the domain of From. Contact says more.
	Org, Contact string
	// Version of the program stands in them.
	Version string
	// Keep is how long reports that come are kept, Bytes how much room they take;
	// 0: the defaults.
	Keep  time.Duration
	Bytes int64
}

// openReports makes what counts for reports to others, sends them, and keeps theirs.
func (s *Stores) openReports(o *StoreOptions) {
	s.Reports = reports.NewStore(s.DB, reports.StoreOptions{MaxAge: o.Reports.Keep, MaxBytes: o.Reports.Bytes})
	s.Mailer = reports.NewMailer(reports.MailerOptions{
		DB: s.DB, DNS: s.Resolver, Hostname: o.Hostname, DMARC: o.Reports.DMARC, TLS: o.Reports.TLS, Failures: o.Reports.Failures, Logger: o.Logger, Metrics: o.Metrics,
		Send: func(ctx context.Context, m reports.Mail) error { return s.Post.Own(ctx, m) },
		Post: s.postReport,
		Identity: func(ctx context.Context) (reports.Identity, error) {
			return s.reporter(ctx, o.Hostname, &o.Reports)
		},
	})
	s.Collector = reports.NewCollector(s.DB, reports.CollectorOptions{Failures: s.Mailer.Fail, Logger: o.Logger, Metrics: o.Metrics})
}

// reportReader is the transport of mail to the addresses for reports.
func (s *Stores) reportReader(o *StoreOptions) *deliver.Reader {
	return deliver.NewReader(deliver.ReaderOptions{
		Hostname: o.Hostname, Blobs: s.Blobs, Store: s.Reports, Logger: o.Logger, Ours: s.oursOrBelow, Bounced: s.Mailer.Bounced,
		Aside: func(ctx context.Context, it *queue.Item, to postino.Address, why string) (func(kv.Tx) (func(), error), error) {
			return s.Post.Aside(ctx, it, to, why) // which is made after the queue that this is for
		},
	})
}

// oursOrBelow tells whether a domain or one above it is delivered here.
func (s *Stores) oursOrBelow(ctx context.Context, domain string) (bool, error) {
	for domain != "" {
		_, err := s.Directory.Domain(ctx, domain)
		if err == nil {
			return true, nil
		}
		if !postino.Is(err, postino.NotFound) {
			return false, err
		}
		_, domain, _ = strings.Cut(domain, ".")
	}
	return false, nil
}

// reporter is as whom we report.
func (s *Stores) reporter(ctx context.Context, host string, o *ReportOptions) (reports.Identity, error) {
	id := reports.Identity{Org: o.Org, From: o.From, Contact: o.Contact, Generator: strings.TrimSpace("Postino " + o.Version)}
	if id.From.IsNull() {
		domains, err := s.Directory.Domains(ctx)
		if err != nil {
			return id, err
		}
		domain := homeDomain(host, domains)
		if domain == "" {
			return id, postino.E(postino.NotFound, "report", host, nil)
		}
		id.From = postino.Address{Local: "postmaster", Domain: domain}
	}
	if id.Org == "" {
		id.Org = id.From.Domain
	}
	return id, nil
}

// homeDomain is the domain of ours that the host is in, else the first one.
func homeDomain(host string, domains []directory.Domain) (home string) {
	for i := range domains {
		d := &domains[i]
		switch {
		case d.Relay, d.Disabled:
		case host == d.Name || strings.HasSuffix(host, "."+d.Name):
			return d.Name
		case home == "":
			home = d.Name
		}
	}
	return home
}

// postReport posts a TLS report (RFC 8460 §5.4).
func (s *Stores) postReport(ctx context.Context, url, contentType string, body []byte) error {
	r, err := s.Fetch.Do(ctx, fetch.Request{Method: http.MethodPost, URL: url, Header: http.Header{"Content-Type": {contentType}}, Body: body})
	if err != nil {
		return err
	}
	if r.Status/100 != 2 {
		return postino.E(postino.Transient, "post report", url, errStatus(r.Status))
	}
	return nil
}

type errStatus int

func (e errStatus) Error() string { return http.StatusText(int(e)) }
