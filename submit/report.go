package submit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
)

// Report implements queue.Reporter: it writes what is owed to the sender of an
// item about some of its recipients. A nil message with a reason means that
// no report is sent.
func (p *Post) Report(ctx context.Context, it *queue.Item, owed []int) (*queue.Message, string, error) {
	now := time.Now()
	header, full, err := p.original(ctx, it)
	if err != nil && !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Corrupt) {
		return nil, "", err // without its body a report is still better than none
	}
	d := &reports.DSN{
		Lang: p.language(ctx, it.From, header), ReportingMTA: p.opts.Hostname, To: it.From, EnvID: it.EnvID, Arrival: it.Received,
		Ret: it.Ret, SMTPUTF8: it.SMTPUTF8, Date: now, ID: p.opts.IDs.Next(now).String() + "@" + p.opts.Hostname, Headers: header,
	}
	if full != nil {
		d.Full = bytes.NewReader(full)
	}
	for _, i := range owed {
		for _, kind := range [...]struct {
			owed   queue.Reports
			action reports.Action
		}{
			{queue.OwedFailed, reports.Failed}, {queue.OwedDelayed, reports.Delayed}, {queue.OwedDelivered, reports.Delivered},
			{queue.OwedRelayed, reports.Relayed}, {queue.OwedExpanded, reports.Expanded},
		} {
			if it.Rcpts[i].Owed&kind.owed != 0 {
				d.Rcpts = append(d.Rcpts, aboutRcpt(it, &it.Rcpts[i], kind.action))
			}
		}
	}
	if ok, why := p.storm.Allow(it.From, d, now); !ok {
		return nil, why, nil
	}
	return p.send(ctx, d, it)
}

// aboutRcpt words what became of a recipient.
func aboutRcpt(it *queue.Item, r *queue.Rcpt, action reports.Action) reports.DSNRcpt {
	about := reports.DSNRcpt{
		Original: r.ORcpt, Final: r.Address, Action: action, RemoteMTA: r.Remote, Diagnostic: r.Reply, LastAttempt: r.Last,
		FinalLogID: it.Message.String(), Status: status(r, action),
	}
	if action == reports.Delayed {
		about.WillRetryUntil = it.Expires
	}
	return about
}

// status is the enhanced code of a report (RFC 3463): the one in the last reply
// if its class fits the action, else one that says what is known.
func status(r *queue.Rcpt, action reports.Action) string {
	fallback := "5.0.0"
	switch {
	case action == reports.Failed && r.Expired:
		return "5.4.7" // RFC 3463 §3.5: delivery time expired
	case action == reports.Delayed:
		fallback = "4.4.7"
	case action != reports.Failed:
		fallback = "2.0.0"
	}
	if code := reports.Code(r.Reply); code != "" && code[0] == fallback[0] {
		return code
	}
	return fallback
}

// maxOriginal is how much of a message is read for a report (SC9).
const maxOriginal = reports.MaxSize

// original reads the header of the message and, when it is short and the sender
// wants it back, all of it.
func (p *Post) original(ctx context.Context, it *queue.Item) (header, full []byte, err error) {
	r, err := p.opts.Blobs.Open(ctx, it.Blob)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	b := make([]byte, min(it.Size, maxOriginal))
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	header = b
	if end := headerEnd(b, 0); end >= 0 {
		header = b[:end]
	} else if cut := bytes.LastIndexByte(b, '\n'); cut >= 0 {
		header = b[:cut+1]
	}
	if it.Ret == postino.DSNReturnFull && it.Size < maxOriginal && !it.RequireTLS { // RFC 8689 §5
		full = b
	}
	return header, full, nil
}

// language is the sender's: his account's, else what his message says.
func (p *Post) language(ctx context.Context, sender postino.Address, header []byte) string {
	if u, err := p.opts.Directory.User(ctx, sender); err == nil && u.Language != "" {
		return u.Language
	}
	for f := range message.Fields(header) {
		if f.Is("content-language") || f.Is("accept-language") {
			tag, _, _ := strings.Cut(string(message.Unfold(f.Value)), ",")
			tag, _, _ = strings.Cut(tag, ";")
			return strings.TrimSpace(tag)
		}
	}
	return p.opts.Language
}

// send makes the queue's message of a report.
func (p *Post) send(ctx context.Context, d *reports.DSN, about *queue.Item) (*queue.Message, string, error) {
	l := p.Begin(d.Date, postino.Envelope{
		SMTPUTF8: d.SMTPUTF8 || d.To.NeedsUTF8(),
		Terms:    postino.Terms{RequireTLS: about.RequireTLS}, // RFC 8689 §5
	})
	l.Outward = true // our own mail
	kept := false
	defer func() {
		if !kept {
			l.Close()
		}
	}()
	if err := l.Rcpt(ctx, postino.Recipient{Address: d.To, Notify: postino.DSNNever}, 0); err != nil {
		switch postino.KindOf(err) {
		case postino.NotFound, postino.Denied, postino.Full, postino.Invalid:
			return nil, "the sender cannot be reached: " + err.Error(), nil
		}
		return nil, "", err
	}
	l.Open(d.Date)
	if err := d.Build(l); err != nil {
		return nil, "", err
	}
	if _, err := l.Finish(ctx); err != nil {
		return nil, "", err
	}
	m, err := l.message(ctx)
	if err != nil {
		return nil, "", err
	}
	e := l.Accepted([]postino.Address{d.To}).Text(story.Reason, "report about "+about.Message.String())
	m.Events, m.Done, kept = append(m.Events, e), l.Close, true
	return m, "", nil
}
