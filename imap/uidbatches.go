package imap

import "github.com/postino-mail/postino/imap/internal/wire"

const (
	minBatch      = 500     // RFC 10022 §3.1.3.2
	batchMessages = 100_000 // RFC 10022 §3.1.5: of a range of batches
)

// uidBatches is UIDBATCHES (RFC 10022 §3.1).
func (c *conn) uidBatches() error {
	if err := c.p.SP(); err != nil {
		return err
	}
	size, err := c.nonZero()
	if err != nil {
		return err
	}
	first, last := uint32(1), uint32(1<<32-1)
	ranged := len(c.p.Rest()) > 1
	if ranged {
		if err := c.p.SP(); err != nil {
			return err
		}
		if first, err = c.nonZero(); err != nil {
			return err
		}
		if err := c.p.Byte(':'); err != nil {
			return err
		}
		if last, err = c.nonZero(); err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	switch {
	case first > last:
		return &Error{Bad: true, Code: "CLIENTBUG", Text: "Invalid batch range"}
	case size < minBatch:
		return &Error{Code: "TOOFEW", Text: "Minimum batch size is 500"}
	case ranged && (uint64(last-first)+1)*uint64(size) > max(batchMessages, uint64(size)):
		return &Error{Code: "TOOMANY", Text: "Too many messages"}
	}
	c.printBatches(uint64(size), uint64(first), uint64(last))
	return nil
}

func (c *conn) nonZero() (uint32, error) {
	n, err := c.p.Number(1<<32 - 1)
	if err == nil && n == 0 {
		err = syntax("Expected a number above 0")
	}
	return uint32(n), err
}

// printBatches prints the batches from the first to the last, of which the first
// in the mailbox holds the highest UIDs; both ends of each are UIDs of messages.
func (c *conn) printBatches(size, first, last uint64) {
	o := &c.out
	o.str("* UIDBATCHES (TAG ")
	o.buf = wire.AppendString(o.buf, string(c.tag), false)
	o.str(")")
	sep := " "
	for n, k := uint64(c.out.exists), first; k <= last && (k-1)*size < n; k++ {
		hi := n - (k-1)*size
		lo := hi - min(size, hi) + 1
		o.str(sep)
		o.num(c.sess.UID(uint32(hi)))
		o.str(":")
		o.num(c.sess.UID(uint32(lo)))
		o.flushFull()
		sep = ","
	}
	o.str("\r\n")
}
