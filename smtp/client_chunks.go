package smtp

import (
	"errors"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// chunkHead is kept free before the octets of a chunk, so that the command
	// and they leave in one write.
	chunkHead = len("BDAT 32768 LAST\r\n")
	// chunkWindow is how many chunks may be without a reply (RFC 2920 §3.1).
	chunkWindow = 16
)

// errOver stops the content after the reply to an earlier chunk.
var errOver = errors.New("the server takes no more")

// chunks sends the content by BDAT (RFC 3030 §2): every full buffer is a chunk,
// the rest is the last one. After a refusal no chunk follows, and content that
// is not complete has no last one: the connection is closed instead.
func (t *sending) chunks() error {
	c, b := t.c, &t.body
	t.res.Stage = StageBody
	b.buf = t.buf[chunkHead:chunkHead]
	a := &answers{c: c}
	var lost error
	b.flush = func(p []byte) error {
		if a.over.Load() {
			return errOver
		}
		if lost = t.chunk(len(p), false); lost != nil {
			return lost
		}
		if a.expect(); a.over.Load() {
			return errOver
		}
		return nil
	}
	err := t.content()
	if err == nil && t.res.lmtp { // how many replies a last chunk has after one that failed is not known
		a.wait()
	}
	switch {
	case err == nil && !a.over.Load():
		lost = t.chunk(len(b.buf), true)
		t.sent = lost == nil
	case err != nil && lost == nil && !errors.Is(err, errOver):
		err = c.fail(StageBody, nil, err)
		a.wait()
		return err
	}
	if lost != nil {
		a.hurry()
	}
	a.wait()
	switch {
	case a.refusal.Code != 0:
		return t.stopped(a, lost)
	case a.err != nil:
		return a.err
	case lost != nil:
		return t.early(lost)
	}
	return t.verdict()
}

// chunk sends n octets, which lie in the buffer behind the room for the command.
func (t *sending) chunk(n int, last bool) error {
	var room [chunkHead]byte
	head := appendBdat(room[:0], n, last)
	from := chunkHead - len(head)
	copy(t.buf[from:], head)
	return t.write(t.buf[from : chunkHead+n])
}

func appendBdat(b []byte, n int, last bool) []byte {
	b = strconv.AppendInt(append(b, "BDAT "...), int64(n), 10)
	if last {
		b = append(b, " LAST"...)
	}
	return append(b, '\r', '\n')
}

// stopped ends a transaction of which a chunk was refused. All that is still
// to come is the reply to a last chunk that was on its way, which the server
// discards (RFC 3030 §2): whatever it says, it is not about the message.
func (t *sending) stopped(a *answers, lost error) error {
	c := t.c
	t.refused(a.refusal)
	switch {
	case a.err != nil:
		return a.err
	case lost != nil:
		return c.fail(StageBody, &a.refusal, lost)
	case t.sent:
		_, err := c.hear(StageDot, c.opts.Timeouts.Dot)
		return err
	}
	return nil
}

// answers hears the replies to all chunks but the last. With PIPELINING it does
// so while further chunks are written, so that however little the buffers of
// both sides hold, neither waits for the other.
type answers struct {
	c       *Client
	pending chan struct{} // one for each chunk that was written; nil: nobody listens
	done    chan struct{}
	over    atomic.Bool // no further chunk is of use
	refusal Reply       // the first; Code 0: none
	err     error       // the connection is closed
}

// expect hears the reply to a chunk that was written, or has it heard. It
// returns when a further chunk may be written.
func (a *answers) expect() {
	if !a.c.offers.pipelining {
		a.hear()
		return
	}
	if a.pending == nil {
		// One more is with the listener, and one with a writer who waits here.
		a.pending, a.done = make(chan struct{}, chunkWindow-2), make(chan struct{})
		go a.listen()
	}
	a.pending <- struct{}{}
}

func (a *answers) listen() {
	defer close(a.done)
	for range a.pending {
		if a.err == nil {
			a.hear()
		}
	}
}

// hear takes one reply.
func (a *answers) hear() {
	c, limit, begin := a.c, a.c.opts.Timeouts.Block, time.Now()
	fine, err := a.fine(limit)
	if fine {
		return
	}
	var r Reply
	if err == nil {
		r, err = c.hear(StageBody, limit-time.Since(begin))
	}
	if r.Code/100 == 3 {
		r, err = Reply{}, c.odd(StageBody, r)
	}
	if a.refusal.Code == 0 && (r.Temporary() || r.Permanent()) {
		a.refusal = r
	}
	a.err = err
	if err != nil || a.refusal.Code != 0 {
		a.over.Store(true)
	}
}

// fine takes a positive reply of one line off the buffer and keeps nothing of
// it, so that what a message costs does not grow with its chunks. Any other
// reply is left to hear.
func (a *answers) fine(limit time.Duration) (bool, error) {
	c, armed := a.c, false
	for {
		from := c.r
		line, ok, err := c.replyLine()
		if ok || err != nil {
			code, sep, _, good := splitReply(line)
			if good && sep == ' ' && code/100 == 2 {
				return true, nil
			}
			c.r = from
			return false, nil
		}
		if err := c.more(limit, &armed); err != nil {
			return false, c.fail(StageBody, nil, err)
		}
	}
}

// hurry is for when writing failed: a listener waits only for last words.
func (a *answers) hurry() {
	c := a.c
	c.hurry.Store(true)
	if a.pending == nil {
		return
	}
	c.raw.SetReadDeadline(c.deadline(lastWords))
	if c.ctx.Err() != nil {
		c.interrupt() // it came before and must not be undone
	}
}

// wait returns when all replies were heard; then refusal and err are settled.
func (a *answers) wait() {
	if a.pending != nil {
		close(a.pending)
		<-a.done
		a.pending = nil
	}
}
