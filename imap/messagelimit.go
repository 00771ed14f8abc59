package imap

import (
	"errors"
	"strconv"
)

// Limited is the error of a [Session] that was to deal with more than
// ConnInfo.MessageLimit messages in one command (RFC 9738 §3.1). Fetch, Store, Move,
// Expunge with UIDs, Search and SearchMailbox deal with that many, those with the highest
// UIDs, from the highest to the lowest, and return it together with their data. Copy, Thread and a Fetch
// with Partial do nothing.
type Limited struct {
	// UID is the lowest that was, or would have been, dealt with; 0: not known.
	UID uint32
	// Refused: nothing was done.
	Refused bool
}

// Error says which UID was the last one.
func (l *Limited) Error() string {
	return "too many messages in one command, down to UID " + strconv.FormatUint(uint64(l.UID), 10)
}

// limited takes the Limited off the error of a command that was partly done; the tagged
// reply will tell. What was not done at all becomes NO.
func (c *conn) limited(err error) error {
	var l *Limited
	if !errors.As(err, &l) {
		return err
	}
	c.srv.observe.messageLimit(c, l)
	if l.Refused {
		return &Error{Code: messageLimit(c.lim.MessageLimit, l.UID), Text: "Too many messages", Err: l}
	}
	c.truncated = l
	if errors.Is(err, ErrExpungeIssued) { // that one is for the tagged OK (RFC 9738 §3.1)
		c.setCode(func(o *output) { o.str(ErrExpungeIssued.Code) })
	}
	return nil
}

// messageLimit is the response code.
func messageLimit(n int, uid uint32) string {
	s := "MESSAGELIMIT " + strconv.Itoa(n)
	if uid != 0 {
		s += " " + strconv.FormatUint(uint64(uid), 10)
	}
	return s
}

// tellLimit tells what was left undone: in the tagged OK, or before it where that has
// another response code.
func (c *conn) tellLimit() {
	if c.truncated == nil {
		return
	}
	code := messageLimit(c.lim.MessageLimit, c.truncated.UID)
	if c.truncated = nil; len(c.code) == 0 {
		c.setCode(func(o *output) { o.str(code) })
		return
	}
	c.out.str("* NO [")
	c.out.str(code)
	c.out.codeEnd("Too many messages")
}

// limitedIn is limited for one mailbox of several, whose UIDs tell nothing without its
// name.
func (c *conn) limitedIn(err error) error {
	if err = c.limited(err); c.truncated != nil {
		c.truncated = &Limited{}
	}
	return err
}

// appended is how many messages one APPEND may have.
func (l *Limits) appended() int { return min(l.Messages, l.MessageLimit) }

// withoutLimited is for what the server does of its own: nobody is told where it stopped.
func withoutLimited(err error) error {
	var l *Limited
	if errors.As(err, &l) {
		return nil
	}
	return err
}
