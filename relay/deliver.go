package relay

import (
	"context"
	"slices"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/tlspolicy"
)

// maxAnswers is how many hosts are asked in one attempt that answer, but with
// temporary replies: one more may know better, all of them rarely do.
const maxAnswers = 2

// Deliver implements queue.Transport.
func (r *Relay) Deliver(ctx context.Context, b *queue.Batch) error {
	for _, it := range b.Items {
		if err := r.attempt(ctx, b, it); err != nil {
			return err
		}
	}
	return nil
}

// attempt tries one item in all the ways that its recipients go.
func (r *Relay) attempt(ctx context.Context, b *queue.Batch, it *queue.Item) error {
	ways, err := r.ways(ctx, it)
	if err != nil {
		return err
	}
	a := &attempt{r: r, b: b, it: it, calls: calls{budget: maxAddrs, counts: true, own: directory.ReportAddress(it.From)}, stop: ctx}
	defer a.close()
	defer a.tellSite()
	ctx, cancel := context.WithTimeout(ctx, r.opts.Limits.Attempt)
	defer cancel()
	for _, w := range ways {
		if err := a.serve(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// attempt is one attempt for an item.
type attempt struct {
	r     *Relay
	b     *queue.Batch
	it    *queue.Item
	stop  context.Context // of the queue, without the limit of the attempt
	body  *blob.Reader    // once it was opened
	facts *facts          // what is known of the content, once it was looked at
	calls calls

	health queue.Health // of the item's site, as far as it is known
	reason string
}

// serve tries one way.
func (a *attempt) serve(ctx context.Context, w *way) error {
	if w.route != noRoute {
		a.r.limits.put(w.site, w.route.Connections, a.r.opts.Limits.Attempt)
	}
	if !w.hosts() {
		return a.deposit(ctx, w)
	}
	l := &leg{attempt: a, w: w, left: w.rcpts, soft: map[int]queue.Outcome{}, asked: map[string]bool{}}
	if err := l.run(ctx); err != nil || len(l.left) == 0 {
		return err
	}
	if !l.answered && (l.trouble == nil || !l.trouble.permanent()) {
		others, err := a.r.fallback(ctx, a.it, w, l.left)
		if err != nil {
			return err
		}
		for _, other := range others {
			if err := a.serve(ctx, other); err != nil {
				return err
			}
		}
		if len(others) > 0 {
			return nil
		}
	}
	return l.finish(ctx)
}

// wish is what the item wants of TLS.
func (a *attempt) wish() tlspolicy.Wish {
	switch {
	case a.it.RequireTLS && !a.it.From.IsNull(): // RFC 8689 §5: a report goes out anyway
		return tlspolicy.RequireTLS
	case a.it.TLSOptional:
		return tlspolicy.TLSOptional
	}
	return tlspolicy.NoWish
}

// commit makes outcomes durable. It is not cut off when the queue stops: what
// another server took must not be sent again.
func (a *attempt) commit(ctx context.Context, outcomes []queue.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	err := a.b.Update(context.WithoutCancel(ctx), nil, func(tx kv.Tx) error {
		return a.b.Finish(tx, a.it, outcomes...)
	})
	if err == nil {
		a.r.observe.finished(a.it, outcomes)
	}
	return err
}

// learn notes how a site is: that it answered counts more than what failed.
func (a *attempt) learn(w *way, h queue.Health, reason string) {
	if w.site == a.it.Dest && h != 0 && a.health != queue.Fine {
		a.health, a.reason = h, reason
	}
}

// tellSite tells the queue about the site.
func (a *attempt) tellSite() {
	if a.health != 0 && a.stop.Err() == nil { // what a stop cut off says nothing
		a.b.Site(a.health, a.reason)
	}
}

// leg is an attempt on one way.
type leg struct {
	*attempt
	w        *way
	left     []int                 // recipients without a final outcome
	soft     map[int]queue.Outcome // the last temporary words for some of them
	asked    map[string]bool       // hosts that answered
	answered bool
	trouble  *trouble // why no host could be used
}

// run tries hosts until all recipients have a final outcome or nobody is left to
// ask. A connection that is used up while there are more recipients begins it anew.
func (l *leg) run(ctx context.Context) error {
	for {
		more, err := l.round(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// round asks an idle connection, or else the hosts in their order.
func (l *leg) round(ctx context.Context) (more bool, err error) {
	k := key{l.w.site, l.w.route, l.wish()}
	s, err := l.idle(ctx, k)
	if err != nil {
		return false, err
	}
	if s != nil {
		s.reused = true
		if more, err = l.use(ctx, s, k); err != nil || more || len(l.left) == 0 {
			return more, err
		}
	}
	targets, t := l.r.targets(ctx, l.w)
	if t != nil {
		l.note(t)
		return false, l.stop.Err()
	}
	for i := range targets {
		for t := &targets[i]; t.untried() && !l.asked[t.Name] && len(l.asked) < maxAnswers && l.calls.budget > 0; {
			if ctx.Err() != nil {
				return false, l.stop.Err()
			}
			s, trouble := l.r.open(ctx, l.w, t, k.wish, &l.calls)
			if trouble != nil {
				l.note(trouble)
				continue
			}
			if more, err = l.use(ctx, s, k); err != nil || more || len(l.left) == 0 {
				return more, err
			}
		}
	}
	return false, l.stop.Err()
}

// idle takes a connection from the pool that would be made like that now: what the
// destination wants may have become more since (TL3). Others end.
func (l *leg) idle(ctx context.Context, k key) (*session, error) {
	for {
		s := l.r.pool.get(k)
		if s == nil || s.local {
			return s, nil
		}
		d, err := l.r.demand(ctx, l.w, s.demand.findings.Question, k.wish)
		if err == nil && s.meets(d, l.r) {
			return s, nil
		}
		l.r.pool.dismiss(s)
		if l.stop.Err() != nil {
			return nil, l.stop.Err()
		}
		if err != nil { // the hosts are asked, which tells of it
			return nil, nil
		}
	}
}

// untried tells whether a host can still be connected to.
func (t *target) untried() bool { return len(t.addrs) > 0 || t.socket != "" }

// note keeps the trouble with a host. That something may be better later counts
// more than that one host is of no use for ever.
func (l *leg) note(t *trouble) {
	if l.trouble == nil || !t.permanent() || l.trouble.permanent() {
		l.trouble = t
	}
	l.learn(l.w, t.health, t.words())
	l.r.observe.trouble(l.it, l.w, t)
}

// use gives the message to a host, in as many transactions as it takes, and
// keeps the connection for the next message if it is still good. more tells that
// there are recipients that this connection could not take any more.
func (l *leg) use(ctx context.Context, s *session, k key) (more bool, err error) {
	limit := l.w.perConnection(l.r.opts.Limits)
	clean := false // a panic leaves a transaction open
	defer func() {
		if clean && s.Usable() && s.Mails() < limit {
			l.r.pool.put(k, s, l.w.idle(l.r.opts.Limits))
			return
		}
		l.r.pool.dismiss(s)
	}()
	todo := slices.DeleteFunc(slices.Clone(l.left), func(i int) bool { // what this host has deferred already
		o, ok := l.soft[i]
		return ok && o.Remote == s.host.Name
	})
	for len(todo) > 0 {
		if s.Mails() >= limit {
			delete(l.asked, s.host.Name) // it may be connected to again
			return true, nil
		}
		if !s.Usable() {
			break
		}
		n := min(len(todo), l.r.opts.Limits.Recipients)
		again, end, err := l.transact(ctx, s, todo[:n])
		if err != nil {
			return false, err
		}
		if end {
			break
		}
		todo = append(again, todo[n:]...)
	}
	clean = true
	return false, nil
}

// settle makes outcomes durable and takes their recipients off the list.
func (l *leg) settle(ctx context.Context, done []queue.Outcome) error {
	if err := l.commit(ctx, done); err != nil {
		return err
	}
	final := make(map[int]bool, len(done))
	for i := range done {
		final[done[i].Rcpt] = true
	}
	l.left = slices.DeleteFunc(slices.Clone(l.left), func(i int) bool { return final[i] })
	return nil
}

// finish gives the recipients that nobody took their outcome: the last words of
// a server about them, or the trouble with the hosts.
func (l *leg) finish(ctx context.Context) error {
	t := l.trouble
	if t == nil {
		t = ours(451, "4.4.1", "no host of %s could be asked", l.w.site)
	}
	done := outcomes(t, l.left)
	for k, i := range l.left {
		if o, ok := l.soft[i]; ok {
			done[k] = o
		}
	}
	return l.settle(ctx, done)
}

// outcomes gives recipients the same trouble.
func outcomes(t *trouble, rcpts []int) []queue.Outcome {
	out := make([]queue.Outcome, len(rcpts))
	for k, i := range rcpts {
		out[k] = t.outcome(i)
	}
	return out
}
