package smtp

import (
	"context"
	"errors"
	"slices"
	"time"
)

var (
	replyStart    = &Reply{Code: 354, Text: "End data with <CR><LF>.<CR><LF>"}
	replyBareCRLF = &Reply{554, "5.6.0", "Bare CR or LF in message (RFC 5321 2.3.8)"}
	replyTextLine = &Reply{554, "5.6.0", "Line of message too long"}
	replyChunk    = &Reply{250, "2.0.0", "Chunk OK"}
	replyBadChunk = &Reply{501, "5.5.4", "Bad chunk size"}
)

// errTooSlow is content below the minimum rate (SS13).
var errTooSlow = errors.New("content comes too slowly")

// transaction is the mail transaction as one value: its zero is none (SS3).
type transaction struct {
	t      Transaction
	rcpts  int
	utf8   bool
	binary bool // BODY=BINARYMIME: content is not made of lines
	// What follows lives from DATA or the first BDAT on.
	sink  Sink
	crlf  *normaliser // nil when bare CR and LF are refused
	size  int64
	lines lines
}

func (t *transaction) open() bool { return t.t != nil }

// endTransaction destroys the transaction, if there is one, and what was told
// about it.
func (c *Conn) endTransaction() {
	c.forward, c.owed = nil, 0
	if t := c.tx.t; t != nil {
		c.tx = transaction{}
		t.Close()
	}
}

// begin opens the sink.
func (c *Conn) begin() *Reply {
	sink, err := c.tx.t.Data(c.ctx)
	if err == nil && sink == nil {
		err = errors.New("no sink")
	}
	if err != nil {
		r := c.failed("data", err)
		if r.success() {
			r = replyLocal
		}
		return r
	}
	c.tx.sink, c.tx.lines.limit = sink, c.srv.lim.TextLine
	if c.srv.opts.Normalise && !c.tx.binary {
		c.tx.crlf = new(normaliser)
	}
	return nil
}

// write takes a piece of content.
func (c *Conn) write(p []byte) *Reply {
	if c.tx.crlf == nil {
		return c.store(p)
	}
	for len(p) > 0 {
		n := min(len(p), normalisePiece)
		if r := c.store(c.tx.crlf.convert(p[:n])); r != nil {
			return r
		}
		p = p[n:]
	}
	return nil
}

// store checks size and lines before the sink sees them.
func (c *Conn) store(p []byte) *Reply {
	t := &c.tx
	if t.size += int64(len(p)); t.size > c.srv.lim.MessageBytes {
		return replyTooBig
	}
	if !t.binary {
		switch err := t.lines.check(p); {
		case err == errLong:
			return replyTextLine
		case err != nil:
			return replyBareCRLF
		}
	}
	if _, err := t.sink.Write(p); err != nil {
		return c.failed("write", err)
	}
	return nil
}

// commit ends the transaction with its success or failure (SS2, SS21).
func (c *Conn) commit() *Reply {
	size, rcpts := c.tx.size, c.tx.rcpts
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.lim.CommitTimeout)
	accepted, err := c.tx.sink.Commit(ctx)
	cancel()
	if err != nil {
		r := c.failed("commit", err)
		if r.success() { // only a nil error accepts
			r = replyLocal
		}
		return c.spoil(r)
	}
	c.endTransaction()
	c.idle, c.faults = 0, 0
	c.srv.log.accepted(size)
	if !c.srv.opts.LMTP {
		c.queued(accepted.ID)
		return nil
	}
	if results := len(accepted.Results); results > 0 && results != rcpts {
		c.failed("commit", errResults)
		accepted.Results = slices.Repeat([]error{errResults}, rcpts)
	}
	for i := range rcpts { // RFC 2033 §4.2
		if accepted.Results == nil || accepted.Results[i] == nil {
			c.queued(accepted.ID)
		} else if r := c.failed("commit", accepted.Results[i]); r.success() {
			c.more(replyLocal)
		} else {
			c.more(r)
		}
	}
	return nil
}

// errResults is a defect of a Sink.
var errResults = errors.New("not one result for each recipient")

// queued says that the message was accepted.
func (c *Conn) queued(id string) {
	c.out = append(c.out, "250 2.0.0 Queued"...)
	if id != "" {
		c.out = appendText(append(c.out, " as "...), id, 200)
	}
	c.out = append(c.out, '\r', '\n')
	if len(c.out) > outFlush {
		c.push()
	}
}

// more says one of several replies to one command.
func (c *Conn) more(r *Reply) {
	c.out = r.appendTo(c.out)
	if r.closes() && c.state == talking {
		c.state = dropping
	}
	if len(c.out) > outFlush {
		c.push()
	}
}

// each prepares for the failure r of the end of content, which LMTP answers
// for each of rcpts recipients, even none (RFC 2033 §4.2, §4.3). What it returns
// is still to be said.
func (c *Conn) each(r *Reply, rcpts int) *Reply {
	if r == nil || !c.srv.opts.LMTP {
		return r
	}
	if rcpts == 0 {
		return nil
	}
	for range rcpts - 1 {
		c.more(r)
	}
	return r
}

// spoil destroys the transaction for r, which is not yet said.
func (c *Conn) spoil(r *Reply) *Reply {
	c.srv.log.contentRefused()
	c.endTransaction()
	return r
}

// doData is RFC 5321 §4.1.1.4.
func (c *Conn) doData(arg []byte) *Reply {
	switch {
	case len(arg) > 0:
		return replyNoArgs
	case !c.tx.open():
		return replyNeedMail
	case c.tx.sink != nil || c.tx.binary: // RFC 3030 §2, §3
		return replySequence
	case c.tx.rcpts == 0 && c.srv.opts.LMTP:
		return replySequence // RFC 2033 §4.2
	case c.tx.rcpts == 0:
		return replyNeedRcpt
	}
	if r := c.begin(); r != nil {
		c.endTransaction()
		return r
	}
	c.out = replyStart.appendTo(c.out)
	c.push()
	if c.state != talking {
		return nil
	}
	return c.receive()
}

// receive reads content up to the final dot. After a failure the rest is
// thrown away, so that the client hears of it, up to a bound.
func (c *Conn) receive() *Reply {
	c.grow()
	var failure *Reply
	var speed pace
	rcpts := c.tx.rcpts
	dots, lines := dots{start: true}, lines{limit: c.srv.lim.TextLine}
	for wasted := int64(0); ; {
		w, n, end := dots.scan(c.buf[c.r:c.w])
		piece := c.buf[c.r : c.r+w]
		c.r += n
		if failure == nil {
			if failure = c.write(piece); failure != nil {
				lines = c.tx.lines
				c.spoil(failure)
			}
		} else if wasted += int64(n); !c.srv.opts.Normalise && lines.check(piece) == errBare {
			failure = replyBareCRLF
		}
		switch {
		case failure == replyBareCRLF || wasted > c.srv.lim.MessageBytes+int64(c.srv.lim.Discard):
			c.drop(c.each(failure, rcpts))
			return nil
		case end && failure != nil:
			return c.each(failure, rcpts)
		case end:
			return c.each(c.commit(), rcpts)
		}
		if err := c.awaitContent(&speed); err != nil {
			c.endTransaction()
			c.fail(err)
			return nil
		}
	}
}

// pace averages the rate of content over the time spent waiting for it.
type pace struct {
	waited time.Duration
	octets int
}

// awaitContent reads more content within the time for a block and not below
// the minimum rate (SS12, SS13).
func (c *Conn) awaitContent(p *pace) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	before, had := time.Now(), c.buffered()
	if err := c.await(c.srv.lim.DataTimeout, false); err != nil {
		return err
	}
	p.waited += time.Since(before)
	p.octets += c.buffered() - had
	if p.waited < c.srv.lim.RateWindow {
		return nil
	}
	if float64(p.octets) < p.waited.Seconds()*float64(c.srv.lim.MinRate) {
		return errTooSlow
	}
	*p = pace{}
	return nil
}
