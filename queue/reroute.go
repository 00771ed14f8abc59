package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/story"
)

// Reroute asks anew where items lead, for each of their pending recipients, and
// makes them due there now. Route gets an item with one recipient, whose Account,
// User and Detail it may change. An item is split where the answers differ.
func (q *Queue) Reroute(ctx context.Context, f Filter, route func(*Item) (transport, dest string, err error), p Progress) (d Changes, err error) {
	plans := map[postino.ID]*plan{}
	err = q.pages(ctx, &f, func(seen int, found []*Item) error {
		clear(plans)
		ids := make([]postino.ID, 0, len(found))
		for _, it := range found {
			pl, err := q.plan(it, route)
			if err != nil {
				return err
			}
			plans[it.ID] = pl
			ids = append(ids, it.ID)
		}
		d.Seen += seen
		d.Matched += len(found)
		if len(ids) == 0 {
			p.tell(d)
			return nil
		}
		page := f
		page.IDs, page.After = ids, 0
		one, err := q.alter(ctx, page, nil, func(tx kv.Tx, it *Item, now time.Time) (bool, error) {
			return q.split(tx, it, plans[it.ID], now)
		}, nil)
		d.Changed += one.Changed
		d.Busy += one.Busy
		d.Octets += one.Octets
		p.tell(d)
		if postino.Is(err, postino.NotFound) || postino.Is(err, postino.Conflict) {
			err = nil // served meanwhile, or busy
		}
		return err
	})
	return d, err
}

// plan is where the pending recipients of an item lead.
type plan struct {
	attempts int // of the item when the plan was made
	targets  []siteKey
	rcpts    [][]int // by target
	changed  []Rcpt  // all recipients, as the route left them
	ids      []postino.ID
}

func (q *Queue) plan(it *Item, route func(*Item) (string, string, error)) (*plan, error) {
	pl := &plan{attempts: it.Attempts, changed: slices.Clone(it.Rcpts)}
	one := it.copy()
	for i := range it.Rcpts {
		if it.Rcpts[i].State != Pending {
			continue
		}
		one.Rcpts = pl.changed[i : i+1 : i+1]
		transport, dest, err := route(one)
		if err != nil {
			return nil, err
		}
		if q.lines[transport] == nil {
			return nil, postino.E(postino.Invalid, "reroute", it.ID.String(), errors.New("unknown transport "+transport))
		}
		to := siteKey{transport, dest}
		k := slices.Index(pl.targets, to)
		if k < 0 {
			k = len(pl.targets)
			pl.targets, pl.rcpts = append(pl.targets, to), append(pl.rcpts, nil)
			pl.ids = append(pl.ids, q.opts.IDs.Next(time.Now()))
		}
		pl.rcpts[k] = append(pl.rcpts[k], i)
	}
	return pl, nil
}

// split carries a plan out. The first target stays with the item, the others get
// items of their own.
func (q *Queue) split(tx kv.Tx, it *Item, pl *plan, now time.Time) (bool, error) {
	if pl == nil || len(pl.targets) == 0 || it.Attempts != pl.attempts || len(it.Rcpts) != len(pl.changed) {
		return false, nil
	}
	if len(pl.targets) == 1 && pl.targets[0] == (siteKey{it.Transport, it.Dest}) {
		return false, nil
	}
	for k := 1; k < len(pl.targets); k++ {
		n := it.copy()
		n.ID, n.Rcpts = pl.ids[k], nil
		for _, i := range pl.rcpts[k] {
			n.Rcpts = append(n.Rcpts, pl.changed[i])
		}
		n.lead(pl.targets[k], q, now)
		if err := q.blobs.Link(tx, n.Blob, blobRef(n.ID)); err != nil {
			return false, err
		}
		if err := q.insert(tx, n, nil); err != nil {
			return false, err
		}
	}
	n := it.stage().next
	n.Rcpts = nil
	for i := range it.Rcpts {
		if it.Rcpts[i].State != Pending {
			n.Rcpts = append(n.Rcpts, it.Rcpts[i])
		} else if slices.Contains(pl.rcpts[0], i) {
			n.Rcpts = append(n.Rcpts, pl.changed[i])
		}
	}
	n.lead(pl.targets[0], q, now)
	if err := q.replace(tx, it, n); err != nil {
		return false, err
	}
	e := q.stories.Event(it.Message, story.Queued, now).Text(story.Reason, "rerouted")
	for _, to := range pl.targets {
		e.Text(story.Where, to.transport+" "+to.dest)
	}
	return true, q.stories.Append(tx, e)
}

// lead makes an item due now at a site.
func (it *Item) lead(to siteKey, q *Queue, now time.Time) {
	it.Transport, it.Dest = to.transport, to.dest
	it.State, it.Reason, it.Next = StateWaiting, "", now.Truncate(time.Millisecond)
	it.Due = q.dueOf(it, now)
}
