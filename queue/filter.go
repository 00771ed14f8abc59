package queue

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Filter says which items are meant: those for which all that is set is true.
// An empty one means all.
type Filter struct {
	IDs       []postino.ID
	State     State
	Transport string
	Dest      string
	Sender    string // part of the reverse-path, in any case; "<>" is the null sender
	Recipient string // part of a recipient, in any case
	Domain    string // domain of a recipient
	// Reason is part of why the item is held or parked, or of the last answer about
	// a recipient, in any case. One that was parked for want of room has none.
	Reason string
	Older  time.Duration // accepted longer ago than that
	After  postino.ID    // only ids greater than this: the next page of a State
	Limit  int           // for List: 0 means 100
}

var states = [...]State{StateNew, StateWaiting, StateParked, StateHeld}

// contains compares without case; part is in lower case.
func contains(s, part string) bool { return strings.Contains(strings.ToLower(s), part) }

// matches tells whether the item is meant, but for IDs, After and Limit.
func (f *Filter) matches(it *Item, now time.Time) bool {
	switch {
	case f.State != 0 && it.State != f.State,
		f.Transport != "" && it.Transport != f.Transport,
		f.Dest != "" && !strings.EqualFold(it.Dest, f.Dest),
		f.Older > 0 && now.Sub(it.Received) < f.Older,
		f.Sender == "<>" && !it.Bounce(),
		f.Sender != "" && f.Sender != "<>" && !contains(it.From.String(), strings.ToLower(f.Sender)):
		return false
	}
	return (f.Recipient == "" || it.any(func(r *Rcpt) bool { return contains(r.Address.String(), strings.ToLower(f.Recipient)) })) &&
		(f.Domain == "" || it.any(func(r *Rcpt) bool { return strings.EqualFold(r.Address.Domain, f.Domain) })) &&
		(f.Reason == "" || contains(it.Reason, strings.ToLower(f.Reason)) ||
			it.any(func(r *Rcpt) bool { return contains(r.Reply, strings.ToLower(f.Reason)) }))
}

func (it *Item) any(fn func(*Rcpt) bool) bool {
	for i := range it.Rcpts {
		if fn(&it.Rcpts[i]) {
			return true
		}
	}
	return false
}

const (
	// pageRows is how many items one transaction looks at, pageItems how many it
	// returns or changes.
	pageRows  = 4096
	pageItems = 256
)

// pages calls fn with the items that are meant, some at a time, and after each
// transaction. Seen is how many it looked at for them.
func (q *Queue) pages(ctx context.Context, f *Filter, fn func(seen int, items []*Item) error) error {
	if len(f.IDs) > 0 {
		return q.pagesByID(ctx, f, fn)
	}
	for _, s := range states {
		if f.State != 0 && f.State != s {
			continue
		}
		for from := f.After + 1; from != 0; {
			var found []*Item
			seen, next := 0, postino.ID(0)
			now := time.Now()
			r := kv.Range{Start: itemKey(nil, s, from), End: kv.PrefixEnd(itemKey(nil, s, 0)[:2])}
			err := q.db.View(ctx, nil, func(tx kv.Reader) error {
				found, seen, next = found[:0], 0, 0
				return tx.Scan(r, func(key, value []byte) bool {
					id := postino.ID(binary.BigEndian.Uint64(key[2:]))
					if seen == pageRows || len(found) == pageItems {
						next = id
						return false
					}
					seen++
					n := len(found)
					if found, _ = q.decode(found, 0, id, value); len(found) > n && !f.matches(found[n], now) {
						found = found[:n]
					}
					return true
				})
			})
			if err != nil {
				return err
			}
			if err := fn(seen, found); err != nil {
				return err
			}
			from = next
		}
	}
	return nil
}

func (q *Queue) pagesByID(ctx context.Context, f *Filter, fn func(int, []*Item) error) error {
	exists := false
	for ids := f.IDs; len(ids) > 0; {
		n := min(len(ids), pageItems)
		var found []*Item
		now := time.Now()
		err := q.db.View(ctx, nil, func(tx kv.Reader) error {
			found = found[:0]
			for _, id := range ids[:n] {
				it, err := get(tx, id)
				if postino.Is(err, postino.NotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if exists = true; f.matches(it, now) {
					found = append(found, it)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := fn(n, found); err != nil {
			return err
		}
		ids = ids[n:]
	}
	if !exists {
		return postino.E(postino.NotFound, "find queue item", f.IDs[0].String(), nil)
	}
	return nil
}

// errEnough ends a walk.
var errEnough = postino.E(postino.Full, "list", "queue", nil)

// List returns stored items by state and id.
func (q *Queue) List(ctx context.Context, f Filter) (items []*Item, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	err = q.pages(ctx, &f, func(_ int, found []*Item) error {
		items = append(items, found...)
		if len(items) >= limit {
			items = items[:limit]
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return items, err
}

// Count tells how many items are meant: the dry run of what changes them.
func (q *Queue) Count(ctx context.Context, f Filter, p Progress) (d Changes, err error) {
	err = q.pages(ctx, &f, func(seen int, found []*Item) error {
		d.Seen += seen
		d.Matched += len(found)
		for _, it := range found {
			d.Octets += it.Size
		}
		p.tell(d)
		return nil
	})
	return d, err
}

// Get returns a stored item; the error is NotFound when there is none.
func (q *Queue) Get(ctx context.Context, id postino.ID) (it *Item, err error) {
	err = q.db.View(ctx, nil, func(tx kv.Reader) error {
		it, err = get(tx, id)
		return err
	})
	return it, err
}

func get(r kv.Reader, id postino.ID) (*Item, error) {
	var kb [10]byte
	for _, s := range states {
		v, ok, err := r.Get(itemKey(kb[:0], s, id))
		if err != nil {
			return nil, err
		}
		if ok {
			return decodeItem(id, v)
		}
	}
	return nil, postino.E(postino.NotFound, "find queue item", id.String(), nil)
}
