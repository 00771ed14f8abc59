package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
)

// ReaderOptions says what a [Reader] works with; all are needed but the last two.
type ReaderOptions struct {
	// Hostname is the name of our Authentication-Results.
	Hostname string
	Blobs    *blob.Store
	Store    *reports.Store
	// Ours tells whether a domain, or one above it, is delivered here: others'
	// reports do not concern us.
	Ours func(ctx context.Context, domain string) (bool, error)
	// Bounced notes that a report of ours came back: reports.Mailer.Bounced.
	Bounced func(ctx context.Context, to postino.Address, now time.Time) error
	// Aside prepares that a message that is no report goes to a person:
	// submit.Post.Aside.
	Aside  func(ctx context.Context, it *queue.Item, to postino.Address, why string) (put func(tx kv.Tx) (committed func(), err error), err error)
	Limits reports.ReadLimits
	Logger *slog.Logger
}

// Reader is the queue.Transport of mail to the addresses for reports, by the name
// [queue.Reader]: it reads and keeps the reports of other servers. What is no
// report, or cannot be kept, goes to the postmaster; nothing is lost.
type Reader struct{ opts ReaderOptions }

// NewReader returns the transport.
func NewReader(opts ReaderOptions) *Reader {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reader{opts}
}

// Deliver implements queue.Transport.
func (r *Reader) Deliver(ctx context.Context, b *queue.Batch) error {
	for _, it := range b.Items {
		for i := range it.Pending() {
			if err := r.deliver(ctx, b, it, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver reads the message of one item.
func (r *Reader) deliver(ctx context.Context, b *queue.Batch, it *queue.Item, rcpt int) error {
	found, err := r.read(ctx, it)
	if err == nil {
		err = r.concerns(ctx, found)
	}
	if err == nil {
		err = r.keep(ctx, b, it, rcpt, found)
	}
	if !hopeless(err) {
		return err
	}
	if it.From.IsNull() { // what comes back of our own reports
		if dsn, bad := r.dsn(ctx, it); bad == nil {
			return r.bounced(ctx, b, it, rcpt, dsn)
		}
	}
	return r.aside(ctx, b, it, rcpt, err)
}

// hopeless tells whether an error stays.
func hopeless(err error) bool {
	switch postino.KindOf(err) {
	case postino.Invalid, postino.Denied:
		return err != nil
	case postino.Full:
		return !errors.Is(err, postino.ErrNoSpace)
	}
	return false
}

// read reads the body of an item.
func (r *Reader) read(ctx context.Context, it *queue.Item) (*reports.Reports, error) {
	body, err := r.opts.Blobs.Open(ctx, it.Blob)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return reports.ReadReports(io.NewSectionReader(body, 0, body.Size()), r.opts.Limits)
}

// dsn reads the body of an item as a delivery status notification.
func (r *Reader) dsn(ctx context.Context, it *queue.Item) (dsn *reports.DSN, err error) {
	body, err := r.opts.Blobs.Open(ctx, it.Blob)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return reports.ParseDSN(io.NewSectionReader(body, 0, body.Size()), reports.Limits{})
}

// concerns refuses reports about domains that are not ours. Complaints may be
// about anything: they name what they want.
func (r *Reader) concerns(ctx context.Context, in *reports.Reports) error {
	var domains []string
	for _, a := range in.DMARC {
		domains = append(domains, a.Policy.Domain)
	}
	for _, t := range in.TLS {
		domains = append(domains, t.Domain())
	}
	for _, domain := range domains {
		ours, err := r.opts.Ours(ctx, domain)
		if err != nil {
			return err
		}
		if !ours {
			return postino.E(postino.Denied, "read report", domain, errors.New("it is about a domain of others"))
		}
	}
	return nil
}

// keep stores the reports and ends the recipient in one transaction.
func (r *Reader) keep(ctx context.Context, b *queue.Batch, it *queue.Item, rcpt int, found *reports.Reports) error {
	how := reports.Received{Time: it.Received}
	how.By, how.Verified = r.proven(it)
	fresh, known := 0, 0
	err := b.Update(ctx, r.opts.Store.Scopes(), func(tx kv.Tx) (err error) {
		if fresh, known, err = r.opts.Store.AddAll(tx, found, how); err != nil {
			return err
		}
		return b.Finish(tx, it, queue.Outcome{Rcpt: rcpt, Result: queue.Delivered, Where: "the reports (postino report)"})
	})
	if err == nil {
		r.opts.Logger.Info("reports: received", "message", it.Message, "by", how.By, "verified", how.Verified, "new", fresh, "known", known)
	}
	return err
}

// proven returns the domain that the message comes from, and whether DMARC passed
// when it came: as our own Authentication-Results say, which stand in the prefix.
func (r *Reader) proven(it *queue.Item) (domain string, pass bool) {
	for f := range message.Fields(it.Prefix) {
		if !f.Is("authentication-results") {
			continue
		}
		found, err := mailauth.ParseAuthResults(f.Value, 0)
		if err != nil || !strings.EqualFold(found.ID, r.opts.Hostname) {
			continue
		}
		for _, result := range found.Results {
			if result.Method != "dmarc" {
				continue
			}
			for _, p := range result.Props {
				if p.Type == "header" && p.Name == "from" {
					return p.Value, result.Result == mailauth.Pass
				}
			}
		}
	}
	return it.From.Domain, false
}

// bounced notes which destinations of our reports do not work.
func (r *Reader) bounced(ctx context.Context, b *queue.Batch, it *queue.Item, rcpt int, dsn *reports.DSN) error {
	failed := 0
	for i := range dsn.Rcpts {
		if to := &dsn.Rcpts[i]; to.Action == reports.Failed && !to.Final.IsNull() {
			failed++
			if err := r.opts.Bounced(ctx, to.Final, it.Received); err != nil {
				return err
			}
		}
	}
	return b.Update(ctx, nil, func(tx kv.Tx) error {
		return b.Finish(tx, it, queue.Outcome{Rcpt: rcpt, Result: queue.Delivered, Where: fmt.Sprintf("noted: %d reports of ours came back", failed)})
	})
}

// aside hands a message to the postmaster of the domain that it came to.
func (r *Reader) aside(ctx context.Context, b *queue.Batch, it *queue.Item, rcpt int, why error) error {
	to := postino.Address{Local: "postmaster", Domain: it.Rcpts[rcpt].Address.Domain}
	words := "not kept as a report: " + why.Error()
	put, err := r.opts.Aside(ctx, it, to, words)
	if err != nil {
		return postino.E(postino.Transient, "set report aside", to.String(), err)
	}
	var committed func()
	err = b.Update(ctx, nil, func(tx kv.Tx) (err error) {
		if committed, err = put(tx); err != nil {
			return err
		}
		return b.Finish(tx, it, queue.Outcome{Rcpt: rcpt, Result: queue.Delivered, Where: to.String() + ", " + words})
	})
	if err == nil {
		committed()
		r.opts.Logger.Info("reports: a message was passed to the postmaster", "message", it.Message, "err", why)
	}
	return err
}
