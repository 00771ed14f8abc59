package app

import (
	"context"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/relay"
	"github.com/postino-mail/postino/reports"
)

// QueueFilter chooses items of the queue; the zero value means all of them.
type QueueFilter struct {
	IDs    []string `json:",omitempty"`
	State  string   `json:",omitempty"` // new, waiting, held or parked
	Dest   string   `json:",omitempty"` // a domain, or route/NAME
	Sender string   `json:",omitempty"` // an address or a part of it
	// Recipient is an address or a part of it, Domain a recipient's domain,
	// Reason a part of what was said last.
	Recipient, Domain, Reason string `json:",omitempty"`
	// Older chooses items that were accepted at least so long ago.
	Older time.Duration `json:",omitempty"`
	// Limit bounds a list; 0 is 100.
	Limit int `json:",omitempty"`
}

func (f *QueueFilter) filter() (queue.Filter, error) {
	out := queue.Filter{Dest: f.Dest, Sender: f.Sender, Recipient: f.Recipient, Domain: f.Domain, Reason: f.Reason, Older: f.Older, Limit: f.Limit}
	for _, text := range f.IDs {
		id, err := postino.ParseID(text)
		if err != nil {
			return out, err
		}
		out.IDs = append(out.IDs, id)
	}
	if f.State != "" {
		for _, s := range []queue.State{queue.StateNew, queue.StateWaiting, queue.StateHeld, queue.StateParked} {
			if s.String() == f.State {
				out.State = s
			}
		}
		if out.State == 0 {
			return out, postino.E(postino.Invalid, "choose queue items", f.State, nil)
		}
	}
	return out, nil
}

// QueueItem is an item of the queue as the command line sees it.
type QueueItem struct {
	ID, Message, State, Transport, Dest, From string
	Size                                      int64
	Received, Next, Expires                   time.Time
	Attempts                                  int
	Priority                                  int8   `json:",omitempty"`
	Reason                                    string `json:",omitempty"` // why it is held
	Rcpts                                     []QueueRcpt
}

// QueueRcpt is a recipient of an item.
type QueueRcpt struct {
	Address string
	State   string    // pending, done or failed
	Reply   string    `json:",omitempty"` // the last answer, in the words of Remote or in ours
	Remote  string    `json:",omitempty"`
	Last    time.Time // when it was given
}

func queueItem(it *queue.Item) QueueItem {
	out := QueueItem{
		ID: it.ID.String(), Message: it.Message.String(), State: it.State.String(), Transport: it.Transport, Dest: it.Dest, From: it.From.String(),
		Size: it.Size, Received: it.Received, Next: it.Next, Expires: it.Expires, Attempts: it.Attempts, Priority: it.Priority, Reason: it.Reason,
	}
	for i := range it.Rcpts {
		r := &it.Rcpts[i]
		out.Rcpts = append(out.Rcpts, QueueRcpt{
			Address: r.Address.String(), State: [...]string{"pending", "done", "failed"}[r.State], Reply: r.Reply, Remote: r.Remote, Last: r.Last,
		})
	}
	return out
}

func (s *Stores) listQueue(ctx context.Context, f QueueFilter) ([]QueueItem, error) {
	filter, err := f.filter()
	if err != nil {
		return nil, err
	}
	items, err := s.Queue.List(ctx, filter)
	out := make([]QueueItem, 0, len(items))
	for _, it := range items {
		out = append(out, queueItem(it))
	}
	return out, err
}

func (s *Stores) summarizeQueue(ctx context.Context, top int) ([]queue.Group, error) {
	groups, err := s.Queue.Summary(ctx, top, func(d queue.Changes) { progress(ctx, d) })
	return append([]queue.Group{}, groups...), err // an empty list, not null
}

func (s *Stores) topQueue(_ context.Context, n int) ([]queue.SiteStatus, error) {
	return s.Queue.Top(n), nil
}

// QueueAction says what is done to which items.
type QueueAction struct {
	QueueFilter
	// Reason is why, for hold and remove.
	Why string `json:",omitempty"`
	// Open forgets the trouble of the destinations, for retry.
	Open bool `json:",omitempty"`
	// DryRun only counts.
	DryRun bool `json:",omitempty"`
}

// onQueue makes an operation of something that is done to items of the queue.
func onQueue(do func(*Stores, context.Context, queue.Filter, QueueAction, queue.Progress) (queue.Changes, error)) func(*Stores, context.Context, QueueAction) (queue.Changes, error) {
	return func(s *Stores, ctx context.Context, a QueueAction) (queue.Changes, error) {
		f, err := a.filter()
		if err != nil {
			return queue.Changes{}, err
		}
		tell := func(d queue.Changes) { progress(ctx, d) }
		if a.DryRun {
			return s.Queue.Count(ctx, f, tell)
		}
		return do(s, ctx, f, a, tell)
	}
}

var (
	holdQueue = onQueue(func(s *Stores, ctx context.Context, f queue.Filter, a QueueAction, p queue.Progress) (queue.Changes, error) {
		return s.Queue.Hold(ctx, f, a.Why, p)
	})
	releaseQueue = onQueue(func(s *Stores, ctx context.Context, f queue.Filter, _ QueueAction, p queue.Progress) (queue.Changes, error) {
		return s.Queue.Release(ctx, f, p)
	})
	retryQueue = onQueue(func(s *Stores, ctx context.Context, f queue.Filter, a QueueAction, p queue.Progress) (queue.Changes, error) {
		return s.Queue.Retry(ctx, f, a.Open, p)
	})
	rerouteQueue = onQueue(func(s *Stores, ctx context.Context, f queue.Filter, _ QueueAction, p queue.Progress) (queue.Changes, error) {
		return s.Queue.Reroute(ctx, f, func(it *queue.Item) (string, string, error) { return s.Post.Route(ctx, it) }, p)
	})
	removeQueue = onQueue(func(s *Stores, ctx context.Context, f queue.Filter, a QueueAction, p queue.Progress) (queue.Changes, error) {
		return s.Queue.Remove(ctx, f, a.Why, p)
	})
)

// probe tells step by step what would happen to mail for an address, as
// progress, and sends none.
func (s *Stores) probe(ctx context.Context, n Named) (None, error) {
	a, err := postino.ParseAddress(n.Name)
	if err != nil {
		return None{}, err
	}
	return None{}, s.Relay.Probe(ctx, a, func(step relay.Step) { progress(ctx, step) })
}

// What the queue and the relay tell, under the names of the command line.
type (
	QueueGroup = queue.Group
	QueueSite  = queue.SiteStatus
	QueueDone  = queue.Changes
	ProbeStep  = relay.Step
)

// StatusText is what a reply means in plain words, "" when nothing is known of it.
func StatusText(reply string) string { return reports.StatusText(reply, "") }
