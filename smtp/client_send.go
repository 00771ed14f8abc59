package smtp

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/postino-mail/postino"
)

// Result is what the server said to one transaction.
type Result struct {
	// Mail is the reply to MAIL; Code 0 when there was none.
	Mail Reply
	// Rcpts are the replies to RCPT, one for each recipient of the envelope;
	// Code 0 when there was none.
	Rcpts []Reply
	// Data is the reply to the content or the refusal of DATA or BDAT: one, or in
	// LMTP one for each recipient that RCPT took, in their order.
	Data []Reply
	// Skipped lists, ascending, the recipients that were not offered to the
	// server; their Rcpts are ours.
	Skipped []int
	// Stage is the last one reached.
	Stage Stage
	// Unknown tells that all was sent and the answer did not come: whether the
	// undecided recipients have the message is not known. They are to be tried
	// again (SC6).
	Unknown bool
	// Normalised tells that bare CR or LF in the content became CRLF (SC1).
	Normalised bool

	lmtp     bool
	accepted int      // recipients that RCPT took
	one      [2]Reply // for Rcpts and Data of the usual message
}

// Final is what became of recipient i: the first refusal of MAIL, RCPT and
// content, or the success of the content. Code 0 means undecided: the
// connection ended before.
func (r *Result) Final(i int) Reply {
	switch to := r.Rcpts[i]; {
	case r.skipped(i):
		return to
	case !r.Mail.Success():
		return r.Mail
	case !to.Success():
		return to
	}
	k := 0
	if r.lmtp {
		for j := range i {
			if r.Rcpts[j].Success() {
				k++
			}
		}
	}
	if k < len(r.Data) {
		return r.Data[k]
	}
	return Reply{}
}

func (r *Result) skipped(i int) bool {
	k := sort.SearchInts(r.Skipped, i)
	return k < len(r.Skipped) && r.Skipped[k] == i
}

// Again tells whether recipient i was not taken only because the transaction
// had enough recipients, so that another transaction may follow at once (RFC
// 5321 §4.5.3.1.10, where 552 counts as 452).
func (r *Result) Again(i int) bool {
	to := r.Rcpts[i]
	full := to.Code == 452 && (to.Enhanced == "" || to.Enhanced == "4.5.3") || to.Code == 552 && (to.Enhanced == "" || to.Enhanced == "5.5.3")
	return full && r.Mail.Success() && r.accepted > 0
}

// Sizes of a flight: what is sent without waiting for replies.
const (
	// flightMax is how many octets of commands go out before replies are read;
	// the replies to so few fit into any window (RFC 2920 §3.1). More commands
	// are written while replies are read.
	flightMax = 2 << 10
	// A small message goes along with its envelope (RFC 3030 §2). It must fit into
	// one buffer even if every line end doubles.
	smallBody     = 12 << 10
	smallEnvelope = 6 << 10
	smallRcpts    = 8
)

// sending is one call of Send.
type sending struct {
	c      *Client
	m      *Mail
	res    *Result
	now    time.Time
	order  []int // recipients to be offered; nil: all
	n      int   // how many
	utf8   bool  // SMTPUTF8 is needed
	binary bool
	probe  bool // no content follows
	sent   bool // the end of the content went out
	body   body
	buf    *[bufferSize]byte
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
	t.body = body{stuff: true, raw: t.binary, size: t.m.Size, bol: true}
	if !o.pipelining {
		if err := t.lockstep(); err != nil || t.res.accepted == 0 || t.probe {
			return err
		}
		if t.binary {
			return t.chunk()
		}
		return t.data(c.ask(StageData, "DATA", c.opts.Timeouts.Data))
	}
	small := !t.probe && o.chunking && !c.opts.LMTP && t.n <= smallRcpts && 0 < t.m.Size && t.m.Size <= smallBody
	if small {
		t.body.stuff, t.body.buf = false, t.buf[smallEnvelope:smallEnvelope]
		if err := t.content(); err != nil {
			return &ClientError{Stage: StageCheck, Err: err}
		}
	}
	if err := t.flight(small); err != nil || t.probe {
		return err
	}
	switch {
	case small:
		return t.small()
	case !t.binary:
		t.res.Stage = StageData
		return t.data(c.hear(StageData, c.opts.Timeouts.Data))
	case t.res.accepted > 0:
		return t.chunk()
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

// flight sends the whole envelope with DATA, or with the content if it is small,
// and hears what there is to the envelope (RFC 2920 §3.1).
func (t *sending) flight(small bool) error {
	c := t.c
	limit := bufferSize
	if small {
		limit = smallEnvelope // the content lies behind
	}
	b, owed := t.buf[:0:limit], c.owed
	if owed {
		b = append(b, "RSET\r\n"...)
	}
	c.begin()
	b = t.appendMail(b)
	b, next := t.appendRcpts(b, 0, flightMax)
	var rest chan error
	switch {
	case next < t.n && !small:
		rest = make(chan error, 1)
		go func() { rest <- t.writeRest(b, next) }()
	default:
		b, _ = t.appendRcpts(b, next, 1<<30)
		if b = t.appendLast(b); small {
			b = t.join(b)
		}
		if err := t.write(b); err != nil {
			c.lost(err)
		} else {
			t.sent = small
		}
	}
	err := t.hearEnvelope(owed)
	if rest == nil {
		return err
	}
	// After an error the connection is closed, so that the writer ends too.
	if werr := <-rest; err == nil && werr != nil {
		c.lost(werr)
	}
	return err
}

// appendRcpts appends RCPT commands from number k on until b is limit long.
func (t *sending) appendRcpts(b []byte, k, limit int) ([]byte, int) {
	for ; k < t.n && len(b) < limit; k++ {
		b = t.appendRcpt(b, &t.m.Envelope.Rcpts[t.rcpt(k)])
	}
	return b, k
}

// appendLast appends what ends a flight: DATA, or nothing when a BDAT follows.
func (t *sending) appendLast(b []byte) []byte {
	if t.binary || t.probe || t.body.buf != nil {
		return b
	}
	return append(b, "DATA\r\n"...)
}

// join puts BDAT and the small content behind the commands.
func (t *sending) join(b []byte) []byte {
	text := t.body.buf
	b = appendBdat(b, int64(len(text)))
	if len(b) > smallEnvelope { // it has left the buffer
		return append(b, text...)
	}
	n := copy(t.buf[len(b):], text)
	return t.buf[:len(b)+n]
}

func appendBdat(b []byte, n int64) []byte {
	b = strconv.AppendInt(append(b, "BDAT "...), n, 10)
	return append(b, " LAST\r\n"...)
}

// writeRest sends b and the recipients from number k on.
func (t *sending) writeRest(b []byte, k int) error {
	for {
		if err := t.write(b); err != nil {
			return err
		}
		if k == t.n {
			return nil
		}
		if b, k = t.appendRcpts(b[:0], k, bufferSize/2); k == t.n {
			b = t.appendLast(b)
		}
	}
}

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

// data takes the reply to DATA and sends the content.
func (t *sending) data(r Reply, err error) error {
	c := t.c
	t.res.Stage = StageData
	switch {
	case r.Code == 0:
		return err
	case r.Success() || r.Code/100 == 3 && t.res.accepted == 0 && c.opts.LMTP: // RFC 2033 §4.2: how many replies follow is not known
		return c.odd(StageData, r)
	case r.Code/100 != 3:
		t.refused(r)
		return err
	case t.res.accepted == 0: // RFC 2920 §3.1
		if err := c.write(dotCRLF, c.opts.Timeouts.Block); err != nil {
			c.lost(err)
		}
		_, err := c.hear(StageDot, c.opts.Timeouts.Dot)
		return err
	}
	t.body.buf = t.buf[:0]
	return t.stream()
}

// chunk sends the content as one BDAT (RFC 3030 §2).
func (t *sending) chunk() error {
	t.body.buf = appendBdat(t.buf[:0], t.m.Size)
	return t.stream()
}

// stream sends the content and its end and hears the answer. A message whose
// content is not complete is never ended: the connection is closed instead.
func (t *sending) stream() error {
	c, b := t.c, &t.body
	t.res.Stage = StageBody
	var lost error
	b.flush = func(p []byte) error {
		lost = t.write(p)
		return lost
	}
	err := t.content()
	if err == nil {
		if !b.raw {
			b.put(dotCRLF)
		}
		if lost == nil {
			b.flush(b.buf)
		}
	}
	switch {
	case lost != nil:
		return t.early(lost)
	case err != nil:
		return c.fail(StageBody, nil, err)
	}
	t.sent = true
	return t.verdict()
}

// content lets the caller write.
func (t *sending) content() error {
	err := t.m.Content(&t.body)
	if t.body.err == nil && err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	return t.body.finish()
}

func (t *sending) write(p []byte) error { return t.c.write(p, t.c.opts.Timeouts.Block) }

// early is a server that ended the dialogue within the content: its reply, if
// one can still be read, decides.
func (t *sending) early(lost error) error {
	c := t.c
	if c.ctx.Err() != nil {
		return c.fail(StageBody, nil, lost)
	}
	c.lost(lost)
	r, _ := c.hear(StageBody, c.opts.Timeouts.Dot)
	if !r.Temporary() && !r.Permanent() {
		return c.fail(StageBody, nil, lost)
	}
	t.refused(r)
	return c.fail(StageBody, &r, lost)
}

// refused notes a reply that holds for all recipients which RCPT took.
func (t *sending) refused(r Reply) {
	n := min(t.res.accepted, 1)
	if t.res.lmtp {
		n = t.res.accepted
	}
	for range n {
		t.res.Data = append(t.res.Data, r)
	}
}

// small hears the answer to a content that went out with its envelope. Without
// recipients it is a refusal, and if it were not it would mean nothing.
func (t *sending) small() error {
	if t.res.accepted > 0 {
		return t.verdict()
	}
	t.res.Stage = StageDot
	_, err := t.c.hear(StageDot, t.c.opts.Timeouts.Dot)
	return err
}

// verdict hears the answer to the content: one, or in LMTP one for each
// recipient that was taken (RFC 2033 §4.2).
func (t *sending) verdict() error {
	c, res := t.c, t.res
	res.Stage = StageDot
	n := 1
	if res.lmtp {
		n = res.accepted
	}
	for range n {
		r, err := c.hear(StageDot, c.opts.Timeouts.Dot)
		if r.Code/100 == 3 {
			return c.odd(StageDot, r)
		}
		if r.Code != 0 {
			res.Data = append(res.Data, r)
		}
		if err != nil {
			return err
		}
		c.owed = c.owed && !r.Success() // RFC 3030 §2: after a failed BDAT all is open
	}
	return nil
}
