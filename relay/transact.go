package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/smtp"
)

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

// envelope is that of an item for some of its recipients. The queue has held it as
// long as the sender wished, or an administrator lets it go before: it is not to be
// held further on, where only submission can (RFC 4865 §4.2).
func envelope(it *queue.Item, rcpts []int) *postino.Envelope {
	e := &postino.Envelope{
		From: it.From, SMTPUTF8: it.SMTPUTF8, Body: it.Body, EnvID: it.EnvID, Ret: it.Ret, Terms: it.Terms,
		Rcpts: make([]postino.Recipient, len(rcpts)),
	}
	e.HoldUntil = time.Time{}
	for k, i := range rcpts {
		e.Rcpts[k] = it.Rcpts[i].Recipient
	}
	return e
}
