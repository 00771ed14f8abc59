package smtp

import "fmt"

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
		if b.put(dotCRLF); lost == nil {
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
