package receive

import (
	"context"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailbox"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/smtp"
	"github.com/postino-mail/postino/story"
)

// transaction is one mail transaction and the sink of its content.
type transaction struct {
	s    *session
	id   postino.ID
	from postino.Address
	opts smtp.MailOptions

	accepted []postino.Address // forward-paths as the client gave them
	rcpts    []queue.Rcpt      // mailboxes they lead to, each once
	have     map[uint64]bool   // their accounts, once there are many
	limited  []uint64          // accounts with a quota, asked again when the size is known
	events   []*story.Event    // what was refused on the way

	body     *blob.Writer
	index    *message.Indexer
	received int // octets of our Received field at the start of the body
	done     bool
}

// Rcpt implements smtp.Transaction.
func (t *transaction) Rcpt(ctx context.Context, to postino.Recipient) error {
	targets, err := t.resolve(ctx, to.Address)
	if err != nil {
		t.refused("RCPT", &to.Address, err)
		return err
	}
	for i := range targets {
		t.add(to, &targets[i])
	}
	t.accepted = append(t.accepted, to.Address)
	return nil
}

// resolve judges an address: SS18, SS20.
func (t *transaction) resolve(ctx context.Context, a postino.Address) ([]directory.Target, error) {
	o := &t.s.b.opts
	r, err := o.Directory.Resolve(ctx, a)
	switch postino.KindOf(err) {
	case postino.NotFound:
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such mailbox here"}
	case postino.Denied:
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.2.1", Text: "Mailbox disabled, not accepting messages"}
	case postino.Full:
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.2.4", Text: "Mailing list expansion problem"}
	}
	switch {
	case err != nil:
		return nil, err
	case !r.Local && t.s.user.ID != 0:
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Mail to other servers is not supported yet"}
	case !r.Local:
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Relay access denied"}
	case len(r.Forwards) > 0: // part of an alias is no delivery of it
		return nil, &smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Mail to other servers is not supported yet"}
	case len(t.rcpts)+len(r.Targets) > o.Limits.Targets:
		return nil, &smtp.Reply{Code: 452, Enhanced: "4.5.3", Text: "Too many recipients"}
	}
	if to := &r.Targets[0]; len(r.Targets) == 1 && to.Quota > 0 { // a list goes on when one member is full
		if err := t.room(ctx, to.Account, max(1, t.opts.Size)); err != nil {
			return nil, err
		}
		if !slices.Contains(t.limited, to.Account) {
			t.limited = append(t.limited, to.Account)
		}
	}
	return r.Targets, nil
}

// room refuses a mailbox that has no quota left for size octets. What will
// never fit is refused for good (RFC 5321 §4.2.3: 552), what may fit when the
// user has tidied up, for now (452).
func (t *transaction) room(ctx context.Context, account uint64, size int64) error {
	o := &t.s.b.opts
	var u mailbox.Usage
	err := o.DB.View(ctx, nil, func(r kv.Reader) (err error) {
		u, err = o.Mailboxes.Usage(r, mailbox.AccountID(account))
		return err
	})
	switch {
	case postino.Is(err, postino.NotFound):
		return nil // being made; delivery waits for it
	case err != nil:
		return err
	case u.Limit.Bytes > 0 && size > u.Limit.Bytes:
		return &smtp.Reply{Code: 552, Enhanced: "5.2.2", Text: "Message is larger than the mailbox may be"}
	case u.Limit.Bytes > 0 && u.Used.Bytes+size > u.Limit.Bytes, u.Limit.Messages > 0 && u.Used.Messages >= u.Limit.Messages:
		return &smtp.Reply{Code: 452, Enhanced: "4.2.2", Text: "Mailbox full"}
	}
	return nil
}

// fits asks the mailboxes with a quota again, now that the size is known. One
// reply stands for all recipients, so it refuses only what none can take.
func (t *transaction) fits(ctx context.Context, size int64) error {
	if len(t.limited) < len(t.rcpts) {
		return nil
	}
	var refusal error
	for _, account := range t.limited {
		if refusal = t.room(ctx, account, size); refusal == nil {
			return nil
		}
	}
	return refusal
}

// add notes a mailbox, unless the message goes there anyway.
func (t *transaction) add(to postino.Recipient, target *directory.Target) {
	const many = 16
	if t.have == nil {
		for i := range t.rcpts {
			if t.rcpts[i].Account == target.Account {
				return
			}
		}
	} else if t.have[target.Account] {
		return
	}
	t.rcpts = append(t.rcpts, queue.Rcpt{Recipient: to, Account: target.Account, User: target.User, Detail: target.Detail})
	if t.have == nil && len(t.rcpts) > many {
		t.have = make(map[uint64]bool, 4*many)
		for i := range t.rcpts {
			t.have[t.rcpts[i].Account] = true
		}
	}
	if t.have != nil {
		t.have[target.Account] = true
	}
}

// Data implements smtp.Transaction.
func (t *transaction) Data(context.Context) (smtp.Sink, error) {
	now := time.Now()
	t.body = t.s.b.opts.Blobs.Create(now)
	t.index = message.NewIndexer(t.s.b.opts.Limits.Message)
	var buf [1024]byte
	trace := t.appendReceived(buf[:0], now)
	t.received = len(trace)
	if _, err := t.Write(trace); err != nil {
		return nil, err
	}
	return t, nil
}

// Write implements smtp.Sink: the octets go to the body store and to the
// indexer in one pass.
func (t *transaction) Write(p []byte) (int, error) {
	if _, err := t.index.Write(p); err != nil {
		return 0, err
	}
	if t.index.HeaderTooLarge() {
		err := error(&smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message header is too large"})
		t.refused("DATA", nil, err)
		return 0, err
	}
	n, err := t.body.Write(p)
	if err != nil {
		t.refused("DATA", nil, err)
	}
	return n, err
}

// Commit implements smtp.Sink.
func (t *transaction) Commit(ctx context.Context) (smtp.Accepted, error) {
	ix := t.index.Finish()
	t.index = nil
	err := t.judge(ix)
	if err == nil {
		err = t.fits(ctx, t.body.Size())
	}
	if err != nil {
		t.refused("end of data", nil, err)
		return smtp.Accepted{}, err
	}
	staged, err := t.body.Finish()
	if err == nil {
		err = t.queue(ctx, &staged, ix)
	}
	if err != nil {
		t.refused("end of data", nil, err)
		return smtp.Accepted{}, err
	}
	t.done = true
	t.s.b.observe.accepted(t, staged.Size)
	return smtp.Accepted{ID: t.id.String()}, nil
}

// judge looks at the header as a whole: SS9, SS24.
func (t *transaction) judge(ix *message.Index) error {
	if ix.HeaderTooLarge() {
		return &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "Message header is too large"}
	}
	header := ix.Header()
	if loops(header[min(t.received, len(header)):], t.s.b.opts.Hostname, &t.s.b.opts.Limits, t.rcpts) {
		return &smtp.Reply{Code: 554, Enhanced: "5.4.6", Text: "Mail loop: this message has been here before"}
	}
	return nil
}

// queue makes the message durable (SS21).
func (t *transaction) queue(ctx context.Context, staged *blob.Staged, ix *message.Index) error {
	now := time.Now()
	msg := mailbox.NewMessage(staged.ID, ix, ix.Header())
	item := &queue.Item{
		ID: t.id, Message: t.id, Transport: queue.Local, From: t.from, SMTPUTF8: t.opts.SMTPUTF8,
		Body: t.opts.Body, EnvID: t.opts.EnvID, Ret: t.opts.Ret, Received: now, Rcpts: t.rcpts,
		Carry: msg, CarryBytes: len(msg.Index) + len(msg.Envelope) + len(msg.BodyStructure),
	}
	return t.s.b.opts.Queue.Put(ctx, &queue.Message{
		Staged: staged, Items: []*queue.Item{item}, Events: append(t.events, t.acceptance(ix, staged.Size, now)),
	})
}

// Close implements smtp.Transaction.
func (t *transaction) Close() {
	if t.index != nil {
		t.index.Release()
		t.index = nil
	}
	if t.body != nil {
		t.body.Abort()
		t.body = nil
	}
	if !t.done {
		t.s.b.opts.Stories.Note(t.events...)
	}
	t.events = nil
}
