package relay

import (
	"context"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/tlspolicy"
)

// Bounds of the call-ahead: strangers cause it, and a client waits for it.
const (
	maxAsking  = 20
	verifyTime = time.Minute
)

// Verify asks the servers that mail for a goes to whether they take it: as a
// backup mail exchanger does before it accepts (RFC 5321 §5.1 leaves it those
// that are preferred to it). MAIL has the null sender, and nothing is sent.
//
// A reply of 2yz means that the recipient exists, 5yz that it does not, 4yz that
// nobody can be asked for now; the reply is in our words where no server was
// asked, or nobody answered within a minute. The first two are remembered for a
// while. An error is one of our own store, or of ctx.
func (r *Relay) Verify(ctx context.Context, a postino.Address) (smtp.Reply, error) {
	if reply, ok := r.known.get(a); ok {
		return reply, nil
	}
	route, err := r.opts.Routes.RouteFor(ctx, postino.Address{}, 0, a)
	if err != nil {
		return smtp.Reply{}, err
	}
	if route == nil {
		route = noRoute
	}
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	case <-ctx.Done():
		return smtp.Reply{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	reply := r.callAhead(ctx, &way{route: route, domain: a.Domain, site: Dest(route, a)}, a)
	switch {
	case reply.Success():
		r.known.put(a, reply, r.opts.Limits.Verified)
	case reply.Permanent():
		r.known.put(a, reply, r.opts.Limits.Unverified)
	}
	return reply, nil
}

// callAhead asks the hosts of a way.
func (r *Relay) callAhead(ctx context.Context, w *way, a postino.Address) smtp.Reply {
	if !w.hosts() {
		return smtp.Reply{Code: 250, Enhanced: "2.1.5", Text: "route " + w.route.Name + " takes it"}
	}
	targets, last := r.targets(ctx, w)
	calls, answers := calls{budget: maxAddrs}, 0
	for i := range targets {
		for t := &targets[i]; t.untried() && calls.budget > 0 && answers < maxAnswers && ctx.Err() == nil; {
			s, failure := r.open(ctx, w, t, tlspolicy.NoWish, &calls)
			if failure != nil {
				last = failure.later() // a host that refuses us says nothing about the recipient
				continue
			}
			reply, err := s.Verify(ctx, postino.Address{}, a)
			r.pool.dismiss(s)
			if err != nil && reply.Code == 0 {
				last = failed(s.host.Name, err).later()
				continue
			}
			if reply.Success() || reply.Permanent() && aboutRecipient(reply) {
				return reply
			}
			last = (&trouble{reply: reply, remote: s.host.Name}).later()
			answers++
			break
		}
	}
	if last == nil {
		last = ours(451, "4.4.1", "no server of %s could be asked", a.Domain)
	}
	return last.asReply()
}

// aboutRecipient tells whether a refusal speaks of the recipient: not of us, the
// null sender or the session (RFC 3463 §3.8, §3.6, X.1.7, X.1.8).
func aboutRecipient(r smtp.Reply) bool {
	switch {
	case r.Enhanced == "5.1.7", r.Enhanced == "5.1.8":
		return false
	case r.Enhanced == "":
		return r.Code == 550 || r.Code == 551 || r.Code == 553 || r.Code == 556
	}
	return strings.HasPrefix(r.Enhanced, "5.1.") || strings.HasPrefix(r.Enhanced, "5.2.") || strings.HasPrefix(r.Enhanced, "5.4.")
}
