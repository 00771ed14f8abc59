package deliver

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/metric"
	"github.com/postino-mail/postino/queue"
)

// chunk is how many recipients one commit serves at most.
const chunk = 256

// Options says what a [Local] works with; all but the last four are needed, and
// Onward where aliases lead to other servers.
type Options struct {
	Blobs     *blob.Store
	Mailboxes *mailbox.Store
	Directory *directory.Directory
	// Onward prepares what becomes of a recipient whose address leads to other
	// servers now: submit.Post.Onward.
	Onward func(ctx context.Context, it *queue.Item, rcpt int, to []directory.Forward) (put func(tx kv.Tx) (committed func(), err error), err error)
	// Limits are those of the indexer, for messages that a restart left.
	Limits  message.Limits
	Logger  *slog.Logger
	Metrics *metric.Registry
}

// Local is the queue.Transport for local recipients, by the name [queue.Local].
type Local struct {
	opts    Options
	observe *observer
}

// New returns the transport.
func New(opts Options) *Local {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Local{opts: opts, observe: newObserver(opts.Logger, opts.Metrics)}
}

// job is the delivery of one message to one mailbox.
type job struct {
	it   *queue.Item
	msg  *mailbox.Message
	rcpt int
	// gone is set by the transaction when the mailbox does not exist.
	gone bool
}

// rounds bounds how often recipients are rerouted within an attempt.
const rounds = 3

// Deliver implements queue.Transport.
func (l *Local) Deliver(ctx context.Context, b *queue.Batch) error {
	for range rounds {
		jobs, err := l.jobs(ctx, b.Items)
		if err != nil {
			return err
		}
		rerouted := false
		for len(jobs) > 0 {
			part := jobs[:min(len(jobs), chunk)]
			jobs = jobs[len(part):]
			if err := l.commit(ctx, b, part); err != nil {
				return err
			}
			for i := range part {
				if part[i].gone {
					if err := l.reroute(ctx, b, &part[i]); err != nil {
						return err
					}
					rerouted = true
				}
			}
		}
		if !rerouted {
			return nil
		}
	}
	return postino.E(postino.Transient, "deliver", "", errMoving)
}

// jobs lists what is to be done for items.
func (l *Local) jobs(ctx context.Context, items []*queue.Item) ([]job, error) {
	jobs := make([]job, 0, len(items))
	for _, it := range items {
		var msg *mailbox.Message
		for i := range it.Pending() {
			if msg == nil {
				var err error
				if msg, err = l.message(ctx, it); err != nil {
					return nil, err
				}
			}
			jobs = append(jobs, job{it: it, msg: msg, rcpt: i})
		}
	}
	return jobs, nil
}

// message returns what the mailbox keeps about the item's message.
func (l *Local) message(ctx context.Context, it *queue.Item) (*mailbox.Message, error) {
	if m, ok := it.Carry.(*mailbox.Message); ok {
		return m, nil
	}
	r, err := l.opts.Blobs.Open(ctx, it.Blob)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	x := message.NewIndexer(l.opts.Limits)
	if _, err := r.WriteTo(x); err != nil {
		x.Release()
		return nil, postino.E(postino.Internal, "index message", it.Message.String(), err)
	}
	ix := x.Finish()
	return mailbox.NewMessage(it.Blob, ix, ix.Header()), nil
}

// commit serves jobs in one transaction. Jobs of an item stand together.
func (l *Local) commit(ctx context.Context, b *queue.Batch, jobs []job) error {
	scopes := make([]kv.Scope, 0, len(jobs))
	for i := range jobs {
		scopes = append(scopes, l.opts.Mailboxes.Scope(jobs[i].account()))
	}
	outcomes := make([]queue.Outcome, 0, len(jobs))
	var box *mailbox.Batch
	err := b.Update(ctx, scopes, func(tx kv.Tx) error {
		outcomes = outcomes[:0]
		box = l.opts.Mailboxes.Batch(tx)
		for i := range jobs {
			o, err := deliver(box, &jobs[i])
			if err != nil {
				return err
			}
			outcomes = append(outcomes, o)
		}
		if err := box.Flush(); err != nil {
			return err
		}
		return finish(tx, b, jobs, outcomes)
	})
	if err == nil {
		box.Committed()
		l.observe.delivered(jobs, outcomes)
	}
	return err
}

func (j *job) account() mailbox.AccountID { return mailbox.AccountID(j.it.Rcpts[j.rcpt].Account) }

// deliver puts one message into one mailbox. The outcome has no result when
// the mailbox is gone.
func deliver(box *mailbox.Batch, j *job) (queue.Outcome, error) {
	rcpt := &j.it.Rcpts[j.rcpt]
	var buf [640]byte
	got, err := box.Deliver(j.account(), mailbox.Delivery{
		Message: j.msg, Prefix: appendPrefix(buf[:0], j.it, rcpt), Date: j.it.Received,
		Junk: j.it.Junk, Held: true, // by the item, whose fence this transaction has read
	})
	j.gone = postino.Is(err, postino.NotFound)
	switch {
	case err == nil:
		return queue.Outcome{Rcpt: j.rcpt, Result: queue.Delivered, Where: where(rcpt, got.Name), UID: uint32(got.UID)}, nil
	case j.gone:
		return queue.Outcome{Rcpt: j.rcpt}, nil
	case postino.Is(err, postino.Full) && !errors.Is(err, postino.ErrQuota):
		return queue.Outcome{Rcpt: j.rcpt, Result: queue.Deferred, Reply: "4.3.1 not enough free space"}, nil
	case postino.Is(err, postino.Full):
		return queue.Outcome{Rcpt: j.rcpt, Result: queue.Deferred, Reply: "4.2.2 mailbox is over its quota"}, nil
	case postino.Is(err, postino.Invalid):
		return queue.Outcome{Rcpt: j.rcpt, Result: queue.Rejected, Reply: "5.3.0 " + err.Error()}, nil
	}
	return queue.Outcome{}, err
}

// where names a mailbox in the story.
func where(r *queue.Rcpt, mailbox string) string { return r.User.String() + " " + mailbox }

// finish records the outcomes item by item.
func finish(tx kv.Tx, b *queue.Batch, jobs []job, outcomes []queue.Outcome) error {
	for first, n := 0, 0; first < len(jobs); first = n {
		it, gone := jobs[first].it, false
		for n = first; n < len(jobs) && jobs[n].it == it; n++ {
			gone = gone || jobs[n].gone
		}
		known := outcomes[first:n]
		if gone {
			known = slices.DeleteFunc(slices.Clone(known), func(o queue.Outcome) bool { return o.Result == 0 })
		}
		if len(known) == 0 {
			continue
		}
		if err := b.Finish(tx, it, known...); err != nil {
			return err
		}
	}
	return nil
}

// reroute finds out where the address of a recipient leads whose mailbox is gone.
func (l *Local) reroute(ctx context.Context, b *queue.Batch, j *job) error {
	rcpt := j.it.Rcpts[j.rcpt]
	found, err := l.opts.Directory.Resolve(ctx, rcpt.Address)
	if err != nil && !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Denied) {
		return err
	}
	var to []queue.Rcpt
	twice := false // it leads to a mailbox that gets the message anyway
	for _, t := range found.Targets {
		if t.Account == rcpt.Account { // the directory has it, the mailboxes do not: a defect, or being made
			return postino.E(postino.Transient, "deliver", rcpt.User.String(), errNoMailbox)
		}
		if slices.ContainsFunc(j.it.Rcpts, func(r queue.Rcpt) bool { return r.Account == t.Account }) {
			twice = true
			continue
		}
		to = append(to, queue.Rcpt{Recipient: rcpt.Recipient, Account: t.Account, User: t.User, Detail: t.Detail})
	}
	onward := func(kv.Tx) (func(), error) { return func() {}, nil }
	if len(found.Forwards) > 0 {
		if onward, err = l.opts.Onward(ctx, j.it, j.rcpt, found.Forwards); err != nil {
			return err
		}
	}
	var committed func()
	err = b.Update(ctx, nil, func(tx kv.Tx) (err error) {
		if committed, err = onward(tx); err != nil {
			return err
		}
		switch {
		case len(to) > 0:
			return b.Reroute(tx, j.it, j.rcpt, to)
		case len(found.Forwards) > 0: // the wishes of the sender go along
			return b.Finish(tx, j.it, queue.Outcome{Rcpt: j.rcpt, Result: queue.Relayed, DSN: true, Where: "another server, where the address leads now"})
		case twice:
			return b.Finish(tx, j.it, queue.Outcome{Rcpt: j.rcpt, Result: queue.Delivered, Where: "the mailbox of another recipient"})
		}
		return b.Finish(tx, j.it, queue.Outcome{Rcpt: j.rcpt, Result: queue.Rejected, Reply: "5.1.1 mailbox no longer exists"})
	})
	if err == nil {
		committed()
	}
	return err
}

// appendPrefix writes the header lines that final delivery adds: the reverse-path
// (RFC 5321 §4.4) and the address that led to this mailbox (RFC 9228 §4).
func appendPrefix(b []byte, it *queue.Item, r *queue.Rcpt) []byte {
	b = append(b, "Return-Path: <"...)
	b = it.From.Append(b)
	b = append(b, ">\r\nDelivered-To: "...)
	b = r.AppendTarget(b)
	b = append(b, "\r\n"...)
	return append(b, it.Prefix...)
}
