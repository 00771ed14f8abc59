package queue

import (
	"time"

	"github.com/postino-mail/postino"
)

// Reports is a set of reports about a recipient (RFC 3464 §2.3.3).
type Reports uint8

// The reports. The numbers are stored.
const (
	OwedFailed Reports = 1 << iota
	OwedDelayed
	OwedDelivered
	OwedRelayed
	OwedExpanded
	toldLate // in Told: the notice of DELIVERBY was dealt with
)

// wants tells whether the sender gets reports of the kind n about a recipient.
// Without NOTIFY it is told of failure and delay (RFC 3461 §4.1); the null
// sender is told nothing (RFC 5321 §4.5.5).
func (q *Queue) wants(it *Item, r *Rcpt, n postino.DSNNotify) bool {
	switch {
	case q.opts.Reporter == nil || it.Bounce() || r.Notify&postino.DSNNever != 0:
		return false
	case r.Notify == 0:
		return n != postino.DSNSuccess
	}
	return r.Notify&n != 0
}

// owedFor returns the reports that become due with a final outcome.
func (q *Queue) owedFor(it *Item, r *Rcpt, o *Outcome, now time.Time) Reports {
	success := q.wants(it, r, postino.DSNSuccess)
	switch {
	case o.Result == Rejected && q.wants(it, r, postino.DSNFailure):
		return OwedFailed
	case o.Result == Delivered && success:
		return OwedDelivered
	case o.Result == Expanded && success:
		return OwedExpanded
	case o.Result == Relayed && (success && !o.DSN || q.traced(it, r, o, now)): // RFC 3461 §5.2.2
		return OwedRelayed
	}
	return 0
}

// traced tells whether DELIVERBY asks for word that the message was relayed:
// by trace, or because the time will not be watched further on (RFC 2852 §4.1.4,
// §4.1.4.2).
func (q *Queue) traced(it *Item, r *Rcpt, o *Outcome, now time.Time) bool {
	if q.opts.Reporter == nil || it.Bounce() || r.Notify&postino.DSNNever != 0 || it.DeliverBy.IsZero() {
		return false
	}
	return it.DeliverByTrace || !it.DeliverByReturn && !o.By && now.Before(it.DeliverBy)
}

// tooLate tells whether the time is over after which the sender wants its
// message back (RFC 2852 §4.1.3).
func (q *Queue) tooLate(it *Item, now time.Time) bool {
	return it.DeliverByReturn && !it.DeliverBy.IsZero() && !now.Before(it.DeliverBy)
}

// expire fails the recipients that still wait.
func (q *Queue) expire(s *staged, now time.Time) {
	words := ""
	for i := range s.next.Rcpts {
		r := &s.next.Rcpts[i]
		if r.State != Pending {
			continue
		}
		if r.Reply == "" {
			if words == "" {
				words = q.words(s.next)
			}
			r.Reply = words
		}
		r.State, r.Expired = Failed, true
		r.Owed &^= OwedDelayed
		if q.wants(s.next, r, postino.DSNFailure) {
			r.Owed |= OwedFailed
		}
		s.expired = append(s.expired, i)
	}
}

// words says why an item was not tried yet.
func (q *Queue) words(it *Item) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w := q.closedWords(it); w != "" {
		return w
	}
	if it.Reason != "" {
		return it.Reason
	}
	return "4.4.7 no attempt was possible in time"
}

// noticeAt returns when the sender is to be told that a recipient waits.
func (q *Queue) noticeAt(it *Item) time.Time { return it.start().Add(q.opts.Retry.Notice) }

// age makes of an item what the time does to it.
func (q *Queue) age(s *staged, now time.Time) {
	n := s.next
	if !now.Before(n.Expires) || q.tooLate(n, now) {
		q.expire(s, now)
		return
	}
	words := ""
	for i := range n.Rcpts {
		r := &n.Rcpts[i]
		if r.State != Pending || !q.wants(n, r, postino.DSNDelay) {
			continue
		}
		if (r.Owed|r.Told)&OwedDelayed == 0 && !now.Before(q.noticeAt(n)) {
			r.Owed |= OwedDelayed
		}
		if r.Told&toldLate == 0 && !n.DeliverBy.IsZero() && !now.Before(n.DeliverBy) { // RFC 2852 §4.1.3
			r.Owed |= OwedDelayed
			r.Told |= toldLate
		}
		if r.Owed&OwedDelayed != 0 && r.Reply == "" {
			if words == "" {
				words = q.words(n)
			}
			r.Reply = words
		}
	}
}

// lateAt returns when age has something to do for an item that has recipients
// waiting, to the millisecond.
func (q *Queue) lateAt(it *Item) time.Time {
	at := it.Expires
	if it.DeliverByReturn {
		at = earlier(at, it.DeliverBy)
	}
	for i := range it.Rcpts {
		r := &it.Rcpts[i]
		if r.State != Pending || !q.wants(it, r, postino.DSNDelay) {
			continue
		}
		if (r.Owed|r.Told)&OwedDelayed == 0 {
			at = earlier(at, q.noticeAt(it))
		}
		if r.Told&toldLate == 0 {
			at = earlier(at, it.DeliverBy)
		}
	}
	return ceil(at)
}

// ceil rounds up to what is stored of a time, so that it is not before the time.
func ceil(t time.Time) time.Time { return t.Add(time.Millisecond - 1).Truncate(time.Millisecond) }

// late tells whether age has something to do.
func (q *Queue) late(it *Item, now time.Time) bool {
	pending, _, _ := it.count()
	return pending > 0 && !q.lateAt(it).After(now)
}

// duty says what is to be done about an item.
type duty uint8

const (
	dutyNone    duty = iota
	dutyAttempt      // it is to be tried
	dutyReport       // the clerks have something to do
)

// duty finds out what is to be done about a New or Waiting item now, or until
// when nothing is. An attempt comes before the notice that there was none.
func (q *Queue) duty(it *Item, now time.Time) (d duty, until time.Time) {
	pending, _, owed := it.count()
	switch {
	case owed && !it.ReportAt.After(now), pending == 0 && !owed:
		return dutyReport, now
	case pending > 0 && q.tooLate(it, now):
		return dutyReport, now
	case pending > 0 && !it.Next.After(now):
		return dutyAttempt, now
	case pending > 0 && !q.lateAt(it).After(now):
		return dutyReport, now
	}
	return dutyNone, q.dueOf(it, now)
}

// dueOf returns when there is something to do about an item, in milliseconds.
func (q *Queue) dueOf(it *Item, now time.Time) (due time.Time) {
	pending, _, owed := it.count()
	if pending > 0 {
		due = it.Next
		if due.IsZero() {
			due = now
		}
		due = earlier(due, q.lateAt(it))
	}
	if owed {
		at := it.ReportAt
		if at.IsZero() {
			at = now
		}
		due = earlier(due, at)
	}
	return due.Truncate(time.Millisecond)
}
