package pop3

import (
	"bytes"
	"math/bits"
	"strconv"
)

// state is the state of a connection (RFC 1939 §3), one bit each.
type state uint8

const (
	authorization state = 1 << iota
	transaction

	anyState = authorization | transaction
)

// command is a line of the table. run answers, or returns the refusal.
type command struct {
	name   string
	states state
	run    func(c *conn, args []byte) error
}

func commandTable() map[string]*command {
	table := map[string]*command{}
	for _, cmd := range []command{
		{"CAPA", anyState, (*conn).capa},
		{"LANG", anyState, (*conn).lang},
		{"QUIT", anyState, (*conn).quitCommand},

		{"USER", authorization, (*conn).userCommand},
		{"PASS", authorization, (*conn).pass},
		{"APOP", authorization, (*conn).apop},
		{"AUTH", authorization, (*conn).auth},
		{"STLS", authorization, (*conn).startTLS},
		{"UTF8", authorization, (*conn).utf8},

		{"STAT", transaction, (*conn).stat},
		{"LIST", transaction, (*conn).list},
		{"UIDL", transaction, (*conn).uidl},
		{"RETR", transaction, (*conn).retr},
		{"TOP", transaction, (*conn).top},
		{"DELE", transaction, (*conn).dele},
		{"RSET", transaction, (*conn).rset},
		{"NOOP", transaction, (*conn).noop},
	} {
		table[cmd.name] = &cmd
	}
	return table
}

// find looks a line up: keywords are separated by one space (RFC 2449 §3).
func (s *Server) find(line []byte) (cmd *command, args []byte) {
	verb, args, _ := bytes.Cut(line, []byte{' '})
	var name [4]byte
	if len(verb) > len(name) {
		return nil, nil
	}
	for i, b := range verb {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		name[i] = b
	}
	return s.commands[string(name[:len(verb)])], args
}

// none refuses arguments of a command that has none; spaces at the end are passed.
func none(args []byte) error {
	if len(bytes.TrimRight(args, " ")) > 0 {
		return errSyntax
	}
	return nil
}

// number reads a number of at most 9 digits.
func number(b []byte) (int, error) {
	if len(b) == 0 || len(b) > 9 {
		return 0, errSyntax
	}
	n := 0
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, errSyntax
		}
		n = n*10 + int(d-'0')
	}
	return n, nil
}

// message reads the number of a message that is there and not marked as deleted.
func (c *conn) message(arg []byte) (int, error) {
	n, err := number(bytes.TrimRight(arg, " "))
	switch {
	case err != nil:
		return 0, err
	case n == 0 || n > c.drop.Len():
		return 0, errNoMessage
	case c.deleted.has(n - 1):
		return 0, errDeleted
	}
	return n - 1, nil
}

// say returns a text in the client's language.
func (c *conn) say(t text) string { return texts[c.language][t] }

// ok answers +OK with a text.
func (c *conn) ok(t text) error {
	c.out.room()
	c.out.str("+OK ")
	c.out.str(c.say(t))
	c.out.str("\r\n")
	return nil
}

// refuse answers -ERR with the response code of an error (RFC 2449 §8).
func (c *conn) refuse(err error) {
	e := refusalFor(err)
	c.out.room()
	c.out.str("-ERR ")
	if e.code != "" {
		c.out.str("[" + e.code + "] ")
	}
	c.out.str(c.say(e.text))
	c.out.str("\r\n")
}

// end ends a listing.
func (c *conn) end() error {
	c.out.room()
	c.out.str(".\r\n")
	return nil
}

// stat is STAT (RFC 1939 §5).
func (c *conn) stat(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	c.out.room()
	c.out.str("+OK ")
	c.out.num(int64(c.left))
	c.out.str(" ")
	c.out.num(c.octets)
	c.out.str("\r\n")
	return nil
}

// list is LIST (RFC 1939 §5): sizes are the octets that are stored, as RETR sends
// them before stuffing.
func (c *conn) list(args []byte) error {
	return c.listing(args, func() {
		c.out.str("+OK ")
		c.out.num(int64(c.left))
		c.out.str(" " + c.say(textMessages) + " (")
		c.out.num(c.octets)
		c.out.str(" " + c.say(textOctets) + ")\r\n")
	}, func(dst []byte, n int) []byte { return strconv.AppendInt(dst, c.drop.Size(n), 10) })
}

// uidl is UIDL (RFC 1939 §7).
func (c *conn) uidl(args []byte) error {
	return c.listing(args, func() { c.ok(textUIDs) }, c.drop.AppendUID)
}

// listing answers LIST and UIDL, for one message or for all.
func (c *conn) listing(args []byte, head func(), item func(dst []byte, n int) []byte) error {
	if len(bytes.TrimRight(args, " ")) > 0 {
		n, err := c.message(args)
		if err != nil {
			return err
		}
		c.out.room()
		c.out.str("+OK ")
		c.item(n, item)
		return nil
	}
	c.out.room()
	head()
	for n := range c.drop.Len() {
		if c.out.err != nil {
			break
		}
		if !c.deleted.has(n) {
			c.out.room()
			c.item(n, item)
		}
	}
	return c.end()
}

func (c *conn) item(n int, item func(dst []byte, n int) []byte) {
	c.out.num(int64(n + 1))
	c.out.str(" ")
	c.out.buf = item(c.out.buf, n)
	c.out.str("\r\n")
}

// dele is DELE (RFC 1939 §5).
func (c *conn) dele(args []byte) error {
	n, err := c.message(args)
	if err != nil {
		return err
	}
	c.deleted.set(n)
	c.left--
	c.octets -= c.drop.Size(n)
	return c.ok(textMarked)
}

// rset is RSET (RFC 1939 §5).
func (c *conn) rset(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	clear(c.deleted)
	c.left, c.octets = c.drop.Len(), c.total
	return c.ok(textRestored)
}

// noop is NOOP (RFC 1939 §5).
func (c *conn) noop(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	return c.ok(textNothing)
}

// quitCommand is QUIT: after login it enters the UPDATE state (RFC 1939 §6), the
// only way to change anything (IM12).
func (c *conn) quitCommand(args []byte) error {
	if err := none(args); err != nil {
		return err
	}
	c.quit = true
	if c.state == authorization {
		return c.ok(textBye)
	}
	deleted := c.drop.Len() - c.left
	for i := range c.retrieved {
		c.retrieved[i] &^= c.deleted[i]
	}
	retrieved := c.retrieved.count()
	if deleted+retrieved > 0 {
		if err := c.drop.Update(c.ctx, c.deleted.all, c.retrieved.all); err != nil {
			c.srv.observe.internalError(c, "QUIT", err)
			return &Error{refusalFor(err).codeOr("SYS/TEMP"), textNotRemoved}
		}
	}
	c.drop.Close() // before the reply: who comes again at once finds it unlocked
	c.drop = nil
	c.srv.observe.updated(c, deleted, retrieved)
	if deleted > 0 {
		return c.ok(textByeRemoved)
	}
	return c.ok(textBye)
}

func (e *Error) codeOr(code string) string {
	if e.code != "" {
		return e.code
	}
	return code
}

// bitset is a set of message numbers.
type bitset []uint64

func newBitset(n int) bitset    { return make(bitset, (n+63)/64) }
func (b bitset) has(n int) bool { return b[n>>6]>>(n&63)&1 != 0 }
func (b bitset) set(n int)      { b[n>>6] |= 1 << (n & 63) }

func (b bitset) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// all yields the members in ascending order.
func (b bitset) all(yield func(int) bool) {
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			if !yield(i<<6 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}
