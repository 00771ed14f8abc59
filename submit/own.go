package submit

import (
	"context"
	"errors"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/reports"
	"github.com/postino-mail/postino/story"
)

// Own queues a message that the system writes itself, signed like all mail of ours,
// and does m.Also in the same transaction. Its sender hears only of failures. The
// error is of kind Invalid when no recipient can be served, now or later.
func (p *Post) Own(ctx context.Context, m reports.Mail) error {
	now := time.Now()
	l := p.Begin(now, postino.Envelope{From: m.From})
	defer l.Close()
	l.Outward = true
	var accepted []postino.Address
	var refusal error
	for _, to := range m.To {
		err := l.Rcpt(ctx, postino.Recipient{Address: to, Notify: postino.DSNFailure}, 0)
		switch kind := postino.KindOf(err); {
		case err == nil:
			accepted = append(accepted, to)
		case kind == postino.Transient, kind == postino.Internal:
			return err // all of it, later
		default:
			refusal = errors.Join(refusal, err)
		}
	}
	if len(accepted) == 0 {
		return postino.E(postino.Invalid, "send", m.Reason, refusal)
	}
	l.Open(now)
	if err := m.Build(l); err != nil {
		return err
	}
	if _, err := l.Finish(ctx); err != nil {
		return err
	}
	also := m.Also
	if also == nil {
		also = func(kv.Tx) error { return nil }
	}
	return p.commitAlso(ctx, l, m.Scopes, also, l.Accepted(accepted).Text(story.Reason, m.Reason))
}

// commitAlso commits the letter together with what also writes, which depends on
// the scopes.
func (p *Post) commitAlso(ctx context.Context, l *Letter, scopes []kv.Scope, also func(kv.Tx) error, events ...*story.Event) error {
	m, err := l.message(ctx)
	if err != nil {
		return err
	}
	m.Events = append(m.Events, events...)
	var committed func()
	err = p.opts.DB.Update(ctx, scopes, func(tx kv.Tx) (err error) {
		if err := also(tx); err != nil {
			return err
		}
		committed, err = p.opts.Queue.PutIn(tx, m)
		return err
	})
	if err == nil {
		committed()
	}
	return err
}

// Aside prepares that the message of an item goes to another address as well: put,
// within a transaction, puts items on the queue that share its body, and committed
// is called after it. why stands in its story.
func (p *Post) Aside(ctx context.Context, it *queue.Item, to postino.Address, why string) (put func(tx kv.Tx) (committed func(), err error), err error) {
	l := p.Begin(time.Now(), postino.Envelope{From: it.From})
	l.Outward = true
	if err := l.Rcpt(ctx, postino.Recipient{Address: to, Notify: postino.DSNNever}, 0); err != nil {
		return nil, err
	}
	sets, err := p.sealStored(ctx, it, l.sealing())
	if err != nil {
		return nil, err
	}
	m := &queue.Message{Items: l.again(it, sets)}
	if len(m.Items) == 0 {
		return nil, postino.E(postino.Transient, "set aside", to.String(), errors.New("the address leads nowhere"))
	}
	m.Events = append(m.Events, p.opts.Stories.Event(it.Message, story.Queued, time.Now()).Address(story.Recipient, to).Text(story.Reason, why))
	return func(tx kv.Tx) (func(), error) { return p.opts.Queue.PutIn(tx, m) }, nil
}
