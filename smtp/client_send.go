package smtp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postino-mail/postino"
)

// sending is one call of Send.
type sending struct {
	c       *Client
	m       *Mail
	res     *Result
	now     time.Time
	order   []int // recipients to be offered; nil: all
	n       int   // how many
	utf8    bool  // SMTPUTF8 is needed
	binary  bool
	chunked bool // by BDAT, not by DATA
	probe   bool // no content follows
	sent    bool // the end of the content went out
	body    body
	buf     *[bufferSize]byte
}

// rcpt is where recipient number k stands in the envelope.
func (t *sending) rcpt(k int) int {
	if t.order == nil {
		return k
	}
	return t.order[k]
}

// Send carries out one transaction in as few flights as the server allows.
//
// A nil error means that every recipient is decided, see [Result.Final], and
// the connection can be used again if it is still [Client.Usable]. The error is
// a [*ClientError]. With StageCheck nothing was sent and there is no Result;
// otherwise the connection is closed and the Result tells what was decided
// before.
func (c *Client) Send(ctx context.Context, m *Mail) (*Result, error) {
	if m.Content == nil {
		return nil, &ClientError{Stage: StageCheck, Err: fmt.Errorf("%w: none", ErrContent)}
	}
	return c.send(ctx, &sending{c: c, m: m})
}

// Verify asks with MAIL and RCPT whether the server would take mail for rcpt,
// and sends none. The reply is that to RCPT, or to MAIL when it was refused.
// Errors are like those of Send.
func (c *Client) Verify(ctx context.Context, from, rcpt postino.Address) (Reply, error) {
	env := &postino.Envelope{From: from, Rcpts: []postino.Recipient{{Address: rcpt}}}
	res, err := c.send(ctx, &sending{c: c, m: &Mail{Envelope: env}, probe: true})
	switch {
	case res == nil:
		return Reply{}, err
	case res.Mail.Code != 0 && !res.Mail.Success():
		return res.Mail, err
	}
	return res.Rcpts[0], err
}

func (c *Client) send(ctx context.Context, t *sending) (*Result, error) {
	if !c.Usable() {
		return nil, &ClientError{Stage: StageCheck, Err: ErrUnusable}
	}
	if t.m.Envelope == nil || len(t.m.Envelope.Rcpts) == 0 {
		return nil, &ClientError{Stage: StageCheck, Err: errors.New("no recipients")}
	}
	t.res, t.now = &Result{Stage: StageCheck, lmtp: c.opts.LMTP}, time.Now()
	t.res.Rcpts, t.res.Data = t.res.one[:1:1], t.res.one[1:1:2]
	if n := len(t.m.Envelope.Rcpts); n > 1 {
		t.res.Rcpts = make([]Reply, n)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if t.n == 0 {
		return t.res, nil
	}
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	defer c.leave()
	t.buf = buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(t.buf)
	err := t.run()
	t.res.Normalised = t.body.mend
	if err == nil {
		return t.res, nil
	}
	if t.res.Stage == StageCheck {
		return nil, err
	}
	if t.sent {
		for k := range t.n {
			t.res.Unknown = t.res.Unknown || t.res.Final(t.rcpt(k)).Code == 0
		}
	}
	return t.res, err
}

// run is the dialogue.
func (t *sending) run() error {
	c, o := t.c, &t.c.offers
	t.chunked = o.chunking
	t.body = body{stuff: !t.chunked, raw: t.binary, size: t.m.Size, bol: true}
	if !o.pipelining {
		if err := t.lockstep(); err != nil || t.res.accepted == 0 || t.probe {
			return err
		}
		if t.chunked {
			return t.chunks()
		}
		return t.data(c.ask(StageData, "DATA", c.opts.Timeouts.Data))
	}
	small := !t.probe && o.chunking && !c.opts.LMTP && t.n <= smallRcpts && 0 < t.m.Size && t.m.Size <= smallBody
	if small {
		t.body.buf = t.buf[smallEnvelope:smallEnvelope]
		if err := t.content(); err != nil {
			return &ClientError{Stage: StageCheck, Err: err}
		}
	}
	along := small && c.opts.OneFlight
	if err := t.flight(small, along); err != nil || t.probe {
		return err
	}
	switch {
	case small && !along:
		if t.res.accepted == 0 {
			return nil
		}
		if err := t.write(t.join(t.buf[:0:smallEnvelope])); err != nil {
			c.lost(err)
		} else {
			t.sent = true
		}
		return t.small()
	case small:
		return t.small()
	case !t.chunked:
		t.res.Stage = StageData
		return t.data(c.hear(StageData, c.opts.Timeouts.Data))
	case t.res.accepted > 0:
		return t.chunks()
	}
	return nil
}

// lockstep says one command at a time, and none that is of no use.
func (t *sending) lockstep() error {
	c, res := t.c, t.res
	if c.owed {
		if err := t.reset(c.ask(StageReset, "RSET", c.opts.Timeouts.Reset)); err != nil {
			return err
		}
	}
	c.begin()
	if err := t.write(t.appendMail(t.buf[:0])); err != nil {
		c.lost(err)
	}
	if err := t.hearMail(); err != nil || !res.Mail.Success() {
		return err
	}
	for k := range t.n {
		if err := t.write(t.appendRcpt(t.buf[:0], &t.m.Envelope.Rcpts[t.rcpt(k)])); err != nil {
			c.lost(err)
		}
		if err := t.hearRcpt(k); err != nil {
			return err
		}
	}
	return nil
}

// begin counts a transaction, which from now on may be open.
func (c *Client) begin() { c.owed, c.mails = true, c.mails+1 }

// hearEnvelope hears the replies to a flight.
func (t *sending) hearEnvelope(owed bool) error {
	if owed {
		if err := t.reset(t.c.hear(StageReset, t.c.opts.Timeouts.Reset)); err != nil {
			return err
		}
	}
	if err := t.hearMail(); err != nil {
		return err
	}
	for k := range t.n {
		if err := t.hearRcpt(k); err != nil {
			return err
		}
	}
	return nil
}

// reset takes the reply to RSET, which no server may refuse (RFC 5321 §4.1.1.5):
// a refusal says nothing about the message.
func (t *sending) reset(r Reply, err error) error {
	t.res.Stage = StageReset
	if err == nil && !r.Success() {
		err = t.c.odd(StageReset, r)
	}
	return err
}

func (t *sending) hearMail() error {
	t.res.Stage = StageMail
	r, err := t.c.hear(StageMail, t.c.opts.Timeouts.Mail)
	if r.Code/100 == 3 {
		return t.c.odd(StageMail, r)
	}
	t.res.Mail = r
	return err
}

func (t *sending) hearRcpt(k int) error {
	t.res.Stage = StageRcpt
	r, err := t.c.hear(StageRcpt, t.c.opts.Timeouts.Rcpt)
	if r.Code/100 == 3 {
		return t.c.odd(StageRcpt, r)
	}
	t.res.Rcpts[t.rcpt(k)] = r
	if r.Success() && t.res.Mail.Success() {
		t.res.accepted++
	}
	return err
}
