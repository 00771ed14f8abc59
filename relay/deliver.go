package relay

import (
	"context"
	"errors"
	"slices"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/smtp"
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
	a := &attempt{r: r, b: b, it: it, calls: calls{budget: maxAddrs}, stop: ctx}
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

// wish is what the item wants of TLS on this way.
func (a *attempt) wish(w *way) wish {
	switch {
	case a.it.RequireTLS && !a.it.From.IsNull(): // RFC 8689 §5: a report goes out anyway
		return wantTLS
	case a.it.TLSOptional:
		return anyhow
	}
	return noWish
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
	k := key{l.w.site, l.w.route, l.wish(l.w)}
	if s := l.r.pool.get(k); s != nil {
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

// transact makes one transaction. It returns the recipients that are to be
// offered again because the transaction was full; with end the host is not to
// be asked further. Results are durable when it returns (SC6).
func (l *leg) transact(ctx context.Context, s *session, rcpts []int) (again []int, end bool, err error) {
	m, err := l.mail(ctx, s, rcpts)
	if err != nil {
		return nil, false, err
	}
	res, failure := s.Send(ctx, m)
	if stale(s, res, failure) {
		return nil, true, nil
	}
	s.reused = false
	if failure != nil && errors.Is(failure, smtp.ErrContent) {
		return nil, true, failure // our own store failed
	}
	if res == nil {
		t := failed(s.host.Name, failure)
		if s.Usable() { // nothing was sent: the host lacks something
			l.heard(s, t)
		}
		if t.permanent() {
			return nil, false, l.settle(ctx, outcomes(t, rcpts))
		}
		l.note(t)
		return nil, true, nil
	}
	done, again := l.judge(s, res, failure, rcpts)
	if failure != nil {
		t := failed(s.host.Name, failure)
		if res.Mail.Code != 0 {
			t.health = queue.Busy // it was there
		}
		l.note(t)
	} else {
		l.heard(s, busy(s, res))
	}
	end = failure != nil || res.Mail.Code >= 400
	if len(done) == 0 { // the transaction was not full, the host takes nobody
		again = nil
	}
	for _, i := range again {
		delete(l.soft, i)
	}
	return again, end, l.settle(ctx, done)
}

// stale tells whether a connection that waited had ended meanwhile: then nothing
// was said about the message.
func stale(s *session, res *smtp.Result, failure error) bool {
	switch {
	case !s.reused:
		return false
	case res == nil:
		return !s.Usable()
	case res.Mail.Code == 421:
		return true
	}
	return failure != nil && res.Mail.Code == 0 && !res.Unknown
}

// heard notes that a host answered.
func (l *leg) heard(s *session, t *trouble) {
	l.answered = true
	l.asked[s.host.Name] = true
	h, why := queue.Fine, ""
	if t != nil && t.health == queue.Busy {
		h, why = queue.Busy, t.words()
	}
	l.learn(l.w, h, why)
}

// busy returns the reply by which the host ended the connection, as a trouble.
func busy(s *session, res *smtp.Result) *trouble {
	for _, list := range [...][]smtp.Reply{{res.Mail}, res.Rcpts, res.Data} {
		for _, reply := range list {
			if reply.Code == 421 {
				return &trouble{reply: reply, remote: s.host.Name, health: queue.Busy}
			}
		}
	}
	return nil
}

// judge sorts the recipients of a transaction: those with a final outcome, and
// those to be offered again. The rest has temporary words.
func (l *leg) judge(s *session, res *smtp.Result, failure error, rcpts []int) (done []queue.Outcome, again []int) {
	done = make([]queue.Outcome, 0, len(rcpts))
	for k, i := range rcpts {
		reply := res.Final(k)
		o := queue.Outcome{Rcpt: i, Reply: words(reply), Remote: s.host.Name}
		switch {
		case reply.Success():
			done = append(done, l.taken(s, o))
		case reply.Code == 0 && res.Unknown:
			// It may have been taken: to ask another host would send it twice (SC6).
			o.Result, o.Remote = queue.Deferred, ""
			o.Reply = "4.4.2 " + s.host.Name + " got the message and did not answer: reply lost, it may be delivered twice"
			done = append(done, o)
		case reply.Code == 0:
			t := failed(s.host.Name, failure)
			l.soft[i] = t.outcome(i)
		case res.Again(k):
			again = append(again, i)
			o.Result = queue.Deferred
			l.soft[i] = o
		case reply.Permanent():
			o.Result = queue.Rejected
			if slices.Contains(res.Skipped, k) {
				o.Remote = ""
			}
			done = append(done, o)
		default:
			o.Result = queue.Deferred
			l.soft[i] = o
		}
	}
	return done, again
}

// taken completes the outcome of a recipient that the host has taken.
func (l *leg) taken(s *session, o queue.Outcome) queue.Outcome {
	_, o.DSN = s.Has("DSN")
	o.Result = queue.Relayed
	if l.w.route.Action == directory.LMTP && !o.DSN {
		o.Result = queue.Delivered // RFC 2033 §4.2: it has delivered the message
	}
	o.Where = s.at + ", " + s.secured()
	return o
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

// envelope is that of an item for some of its recipients.
func envelope(it *queue.Item, rcpts []int) *postino.Envelope {
	e := &postino.Envelope{
		From: it.From, SMTPUTF8: it.SMTPUTF8, Body: it.Body, EnvID: it.EnvID, Ret: it.Ret, Terms: it.Terms,
		Rcpts: make([]postino.Recipient, len(rcpts)),
	}
	for k, i := range rcpts {
		e.Rcpts[k] = it.Rcpts[i].Recipient
	}
	return e
}
