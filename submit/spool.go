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
	"github.com/postino-mail/postino/story"
)

// Drop puts a message on the queue that the sendmail command left in the spool.
// A crash after its commit does not bring it twice: the name of the drop is kept
// until the next call of Dropped. Invalid: no recipient can be served.
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
	for _, to := range d.Envelope.Rcpts {
		if err := l.Rcpt(ctx, to, d.Size); err == nil {
			accepted = append(accepted, to.Address)
		} else if kind := postino.KindOf(err); kind == postino.Transient || kind == postino.Internal {
			return err // all of it, later
		} else {
			refusal = errors.Join(refusal, err)
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
	return p.commitDrop(ctx, l, d.Name, l.Accepted(accepted).Text(story.Listener, "sendmail"))
}

func uid(d *mailfile.Drop) string {
	if !d.HasUID {
		return ""
	}
	return fmt.Sprintf(", from uid %d", d.UID)
}

// commitDrop commits the letter with the name of its drop.
func (p *Post) commitDrop(ctx context.Context, l *Letter, name string, e *story.Event) error {
	m, err := l.message()
	if err != nil {
		return err
	}
	m.Events = append(m.Events, e)
	var committed func()
	err = p.opts.DB.Update(ctx, nil, func(tx kv.Tx) (err error) {
		if err := tx.Set(dropKey(name), []byte{1}); err != nil {
			return err
		}
		committed, err = p.opts.Queue.PutIn(tx, m)
		return err
	})
	if err != nil {
		return err
	}
	committed()
	return nil
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
