package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailfile"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/story"
)

// Drop puts a message on the queue that the sendmail command left in the spool.
// A crash after its commit does not bring it twice: the name of the drop is kept
// until the next call of Dropped. The sender gets a report about recipients that
// are refused while others are not. Invalid: no recipient can be served.
func (p *Post) Drop(ctx context.Context, d *mailfile.Drop) error {
	known := false
	err := p.opts.DB.View(ctx, nil, func(r kv.Reader) (err error) {
		_, known, err = r.Get(dropKey(d.Name))
		return err
	})
	if err != nil || known {
		return err
	}
	now := time.Now()
	l := p.Begin(now, d.Envelope)
	defer l.Close()
	l.Outward, l.Repair = true, true
	var refusal error
	var accepted []postino.Address
	var events []*story.Event
	for _, to := range d.Envelope.Rcpts {
		if err := l.Rcpt(ctx, to, d.Size); err == nil {
			accepted = append(accepted, to.Address)
		} else if kind := postino.KindOf(err); kind == postino.Transient || kind == postino.Internal {
			return err // all of it, later
		} else {
			refusal = errors.Join(refusal, err)
			events = append(events, l.refuse(to, err, now))
		}
	}
	if len(accepted) == 0 {
		return postino.E(postino.Invalid, "send", d.Name, refusal)
	}
	l.Open(now)
	if _, err := fmt.Fprintf(l, "Received: by %s (Postino%s) id %s;\r\n\t%s\r\n", p.opts.Hostname, uid(d), l.ID, now.Format(time.RFC1123Z)); err != nil {
		return err
	}
	if _, err := io.Copy(l, d.Content); err != nil {
		return err
	}
	if _, err := l.Finish(ctx); err != nil {
		return err
	}
	events = append(events, l.Accepted(accepted).Text(story.Listener, "sendmail"))
	return p.commitAlso(ctx, l, nil, func(tx kv.Tx) error { return tx.Set(dropKey(d.Name), []byte{1}) }, events...)
}

// refuse notes that a recipient was refused for good. Who left the message in
// the spool has gone, so a report must tell him, unless he wants none (RFC 3461
// §4.1) or is the null sender (RFC 5321 §4.5.5).
func (l *Letter) refuse(to postino.Recipient, err error, now time.Time) *story.Event {
	reply := refusalReply(err)
	wanted := to.Notify == 0 || to.Notify&postino.DSNFailure != 0 && to.Notify&postino.DSNNever == 0
	if wanted && !l.Envelope.From.IsNull() {
		l.owed = append(l.owed, queue.Rcpt{Recipient: to, State: queue.Failed, Owed: queue.OwedFailed, Reply: reply, Last: now})
	}
	return l.p.opts.Stories.Event(l.ID, story.Failed, now).Address(story.Recipient, to.Address).Text(story.Reply, reply)
}

// refusalReply words a refusal, with its enhanced code (RFC 3463).
func refusalReply(err error) string {
	switch {
	case errors.Is(err, ErrChanged): // RFC 7293 §14
		return "5.7.17 mailbox owner has changed"
	case errors.Is(err, ErrTargets):
		return "5.5.3 too many recipients"
	case errors.Is(err, ErrExpansion):
		return "5.2.4 mailing list expansion problem"
	case postino.Is(err, postino.Full):
		return "5.2.2 mailbox full"
	case postino.Is(err, postino.Denied):
		return "5.2.1 mailbox disabled, not accepting messages"
	case postino.Is(err, postino.Invalid):
		return "5.1.3 bad address"
	}
	return "5.1.1 no such mailbox"
}

func uid(d *mailfile.Drop) string {
	if !d.HasUID {
		return ""
	}
	return fmt.Sprintf(", from uid %d", d.UID)
}

// Dropped forgets the names of drops: none of them is in the spool any more.
func (p *Post) Dropped(ctx context.Context) error {
	var keys [][]byte
	err := p.opts.DB.View(ctx, nil, func(r kv.Reader) error {
		keys = nil
		return r.Scan(kv.Prefix(dropKey("")), func(key, _ []byte) bool {
			keys = append(keys, append([]byte(nil), key...))
			return len(keys) < 1000
		})
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	return p.opts.DB.Update(kv.Deleting(ctx), nil, func(tx kv.Tx) error {
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropKey names the row that remembers a drop.
func dropKey(name string) []byte { return append([]byte("Md"), name...) }
