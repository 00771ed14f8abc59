package receive

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/story"
	"github.com/postino-mail/postino/submit"
)

// transaction is one mail transaction and the sink of its content.
type transaction struct {
	s      *session
	letter *submit.Letter
	opts   smtp.MailOptions

	accepted []postino.Address // forward-paths as the client gave them
	events   []*story.Event    // what was refused on the way
	received int               // octets of our Received field at the start of the body
	content  content
	forged   int             // fields that others wrote in our name
	ctx      context.Context // ends with the connection
	trial    *trial          // nil: the message is not judged
	done     bool
}

// Mail implements smtp.Session.
func (s *session) Mail(ctx context.Context, from postino.Address, opts smtp.MailOptions) (smtp.Transaction, error) {
	o := &s.b.opts
	t := &transaction{s: s, ctx: ctx, opts: opts, letter: o.Post.Begin(time.Now(), postino.Envelope{
		From: from, SMTPUTF8: opts.SMTPUTF8, Body: opts.Body, EnvID: opts.EnvID, Ret: opts.Ret, Terms: opts.Terms,
	})}
	t.letter.User = s.user
	t.letter.Repair = o.Profile == Submission || o.Profile == Local
	t.letter.Outward = s.user.ID != 0 || o.Profile == Local || o.Profile == MX && o.Relay != nil && o.Relay(s.conn.Remote())
	if err := t.mayBegin(ctx, from); err != nil {
		t.refused("MAIL", nil, err)
		t.Close()
		return nil, err
	}
	return t, nil
}

// mayBegin judges a MAIL command.
func (t *transaction) mayBegin(ctx context.Context, from postino.Address) error {
	o, user := &t.s.b.opts, t.s.user.ID
	if o.Profile == Submission && user == 0 {
		return &smtp.Reply{Code: 530, Enhanced: "5.7.0", Text: "Authentication required"} // RFC 6409 §4.3
	}
	if user != 0 { // AU8: a session may be older than what was withdrawn
		may, err := o.Directory.Stays(ctx, t.s.user.Pass)
		if err != nil {
			return err
		}
		if !may {
			return &smtp.Reply{Code: 550, Enhanced: "5.7.13", Text: "User account disabled"} // RFC 5248 registry
		}
	}
	if user != 0 && !from.IsNull() { // SS22, RFC 6409 §6.1
		may, err := o.Directory.MaySendAs(ctx, user, from)
		if err != nil {
			return err
		}
		if !may {
			return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "You may not send as " + from.String()}
		}
	}
	if o.Room != nil && t.opts.Size > 0 {
		if err := o.Room(t.opts.Size); err != nil {
			return &smtp.Reply{Code: 452, Enhanced: "4.3.1", Text: "Not enough free space now"}
		}
	}
	return nil
}

// Rcpt implements smtp.Transaction.
func (t *transaction) Rcpt(ctx context.Context, to postino.Recipient) error {
	if err := t.reply(t.letter.Rcpt(ctx, to, t.opts.Size)); err != nil {
		t.refused("RCPT", &to.Address, err)
		return err
	}
	t.accepted = append(t.accepted, to.Address)
	t.begin()
	return nil
}

// reply words what submit refuses: SS18, SS20, SS22. What will never fit is
// refused for good (RFC 5321 §4.2.3: 552), what may fit when the user has tidied
// up, for now (452).
func (t *transaction) reply(err error) error {
	var said *smtp.Reply
	switch {
	case err == nil || errors.As(err, &said):
		return err
	case errors.Is(err, submit.ErrForeign):
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relay access denied"}
	case errors.Is(err, submit.ErrChanged): // RFC 7293 §14
		return &smtp.Reply{Code: 550, Enhanced: "5.7.17", Text: "Mailbox owner has changed"}
	case errors.Is(err, submit.ErrTooLarge):
		return &smtp.Reply{Code: 552, Enhanced: "5.2.2", Text: "Message is larger than the mailbox may be"}
	case errors.Is(err, postino.ErrQuota):
		return &smtp.Reply{Code: 452, Enhanced: "4.2.2", Text: "Mailbox full"}
	case errors.Is(err, submit.ErrTargets):
		return &smtp.Reply{Code: 452, Enhanced: "4.5.3", Text: "Too many recipients"}
	case errors.Is(err, submit.ErrExpansion):
		return &smtp.Reply{Code: 550, Enhanced: "5.2.4", Text: "Mailing list expansion problem"}
	case errors.Is(err, submit.ErrHeader):
		return &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message header is too large"}
	case errors.Is(err, submit.ErrSender):
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "You may not send as the author in From"}
	case errors.Is(err, submit.ErrFrom):
		return &smtp.Reply{Code: 550, Enhanced: "5.6.0", Text: "There is more than one From field"}
	}
	switch postino.KindOf(err) {
	case postino.NotFound:
		return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such mailbox here"}
	case postino.Denied:
		return &smtp.Reply{Code: 550, Enhanced: "5.2.1", Text: "Mailbox disabled, not accepting messages"}
	}
	return err
}

// Data implements smtp.Transaction.
func (t *transaction) Data(ctx context.Context) (smtp.Sink, error) {
	now := time.Now()
	if err := t.s.b.opts.Directory.TakeSend(ctx, t.s.user.ID, len(t.accepted), now); err != nil {
		if postino.Is(err, postino.Full) {
			err = &smtp.Reply{Code: 450, Enhanced: "4.7.1", Text: "You have sent to too many recipients, try again later"}
		}
		t.refused("DATA", nil, err)
		return nil, err
	}
	t.letter.Open(now)
	var buf [1024]byte
	trace := t.appendReceived(buf[:0], now)
	t.received = len(trace)
	if _, err := t.letter.Write(trace); err != nil {
		return nil, err
	}
	return t, nil
}

// Commit implements smtp.Sink: nil makes the message durable (SS21).
func (t *transaction) Commit(ctx context.Context) (smtp.Accepted, error) {
	var ix *message.Index
	err := t.content.end(t.header)
	if err == nil {
		ix, err = t.letter.Finish(ctx)
	}
	if err == nil {
		err = t.judge(ix)
	}
	var r ruling
	if err == nil {
		r, err = t.try(ctx)
	}
	size := t.letter.Size()
	if err == nil {
		t.vouch()
		t.letter.Junk = r.junk
		err = t.letter.Commit(ctx, append(t.events, t.connection(t.letter.Accepted(t.accepted)))...)
	}
	if err != nil {
		err = t.reply(err)
		t.refused("end of data", nil, err)
		return smtp.Accepted{}, err
	}
	t.done = true
	if t.trial != nil {
		t.report(&r)
	}
	t.s.b.observe.accepted(t, size)
	return smtp.Accepted{ID: t.letter.ID.String()}, nil
}

// try ends the trial and carries out what it leads to. The error refuses the
// message.
func (t *transaction) try(ctx context.Context) (ruling, error) {
	if t.trial == nil {
		return ruling{}, nil
	}
	o := &t.s.b.opts
	t.trial.verdict(ctx)
	r, err := t.trial.rule(ctx, o)
	if err != nil {
		return r, err
	}
	t.judged(&r)
	if r.refusal == nil {
		return r, nil
	}
	if r.refusal.Code >= 500 {
		t.report(&r)
	}
	return r, r.refusal
}

// judge looks at the header: for loops (SS24), and for classes of solicitations
// that are not wanted here (RFC 3865 §2.5).
func (t *transaction) judge(ix *message.Index) error {
	o, header := &t.s.b.opts, ix.Header()
	header = header[min(t.received, len(header)):]
	if loops(header, o.Hostname, &o.Limits, t.goesTo) {
		return &smtp.Reply{Code: 554, Enhanced: "5.4.6", Text: "Mail loop: this message has been here before"}
	}
	if len(o.NoSoliciting) == 0 {
		return nil
	}
	if class := solicits(header, o.NoSoliciting); class != "" {
		return &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Not wanted here: SOLICIT=" + class}
	}
	return nil
}

// solicits returns the first class of the Solicitation field that is unwanted.
func solicits(header []byte, unwanted []string) string {
	value, ok := message.FirstField(header, "solicitation")
	if !ok {
		return ""
	}
	for word := range strings.SplitSeq(string(message.Unfold(value)), ",") {
		for _, class := range unwanted {
			if strings.EqualFold(strings.TrimSpace(word), class) {
				return class
			}
		}
	}
	return ""
}

// goesTo walks the addresses that Delivered-To fields may name: of the mailboxes,
// and those that the client gave, which may be aliases that send it on.
func (t *transaction) goesTo(yield func(a []byte) bool) {
	for a := range t.letter.Targets {
		if !yield(a) {
			return
		}
	}
	var buf []byte
	for _, a := range t.accepted {
		buf = a.Append(buf[:0])
		if !yield(buf) {
			return
		}
	}
}

// Close implements smtp.Transaction.
func (t *transaction) Close() {
	if t.trial != nil {
		t.trial.close()
	}
	t.letter.Close()
	if !t.done {
		t.s.b.opts.Stories.Note(t.events...)
	}
	t.events = nil
}
