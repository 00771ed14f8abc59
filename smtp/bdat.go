package smtp

import (
	"bytes"
)

// doBdat is RFC 3030 §2: the chunk is read whatever becomes of it.
func (c *Conn) doBdat(arg []byte) *Reply {
	count, last, more := bytes.Cut(arg, []byte(" "))
	size, ok := parseSize(string(count))
	if !ok || more && !bytes.EqualFold(last, []byte("LAST")) {
		c.endTransaction()
		c.drop(replyBadChunk) // where the next command begins is unknown
		return nil
	}
	rcpts := c.owes()
	failure := c.piece()
	if failure == nil && size > c.srv.lim.MessageBytes-c.tx.size {
		failure = c.spoil(replyTooBig)
	}
	if failure, ok = c.chunk(size, failure); !ok {
		return nil
	}
	if failure == nil && size > 0 {
		c.idle = 0
	}
	r := c.endPiece(failure, more, rcpts)
	if r == replyBareCRLF {
		c.drop(r)
		return nil
	}
	return r
}

// owes is how many recipients wait for the end of the content.
func (c *Conn) owes() int {
	if c.tx.open() {
		return c.tx.rcpts
	}
	return c.owed
}

// endPiece answers a piece that came or failed; the last one ends the content.
func (c *Conn) endPiece(failure *Reply, last bool, rcpts int) *Reply {
	switch {
	case failure == nil && !last:
		return replyChunk
	case failure == nil && !c.tx.binary && c.tx.lines.cr: // the text ends in a bare CR
		failure = c.spoil(replyBareCRLF)
	case failure == nil:
		failure = c.commit()
	}
	if last {
		c.owed = 0
		return c.each(failure, rcpts)
	}
	c.owed = rcpts
	return failure
}

// piece begins or continues content that comes in pieces, BDAT or BURL.
func (c *Conn) piece() *Reply {
	switch {
	case !c.tx.open():
		return replyNeedMail
	case c.tx.rcpts == 0:
		return replyNeedRcpt
	case c.tx.sink != nil:
		return nil
	}
	r := c.begin()
	if r != nil {
		c.endTransaction()
	}
	return r
}

// chunk reads size octets into the transaction or, from a failure on, into
// nothing (SS5). It is not ok when the dialogue ended.
func (c *Conn) chunk(size int64, failure *Reply) (*Reply, bool) {
	c.grow()
	var speed pace
	for size > 0 {
		if failure != nil && size > int64(c.srv.lim.Discard) {
			c.drop(failure)
			return nil, false
		}
		if c.buffered() == 0 {
			if err := c.awaitContent(&speed); err != nil {
				c.endTransaction()
				c.fail(err)
				return nil, false
			}
		}
		piece := c.buf[c.r:c.w]
		piece = piece[:min(int64(len(piece)), size)]
		c.r += len(piece)
		size -= int64(len(piece))
		if failure == nil {
			if failure = c.write(piece); failure != nil {
				c.spoil(failure)
			}
		}
	}
	return failure, true
}
