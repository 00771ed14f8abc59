package pop3

import (
	"bytes"
	"errors"

	"github.com/postino-mail/postino/message"
)

// retr is RETR (RFC 1939 §5).
func (c *conn) retr(args []byte) error {
	n, err := c.message(args)
	if err != nil {
		return err
	}
	if err := c.send(n, allLines); err != nil {
		return err
	}
	c.retrieved.set(n)
	c.srv.observe.retrieved.Inc()
	return nil
}

// top is TOP (RFC 1939 §7).
func (c *conn) top(args []byte) error {
	which, lines, ok := bytes.Cut(args, []byte{' '})
	if !ok {
		return errSyntax
	}
	n, err := c.message(which)
	if err != nil {
		return err
	}
	limit, err := number(bytes.TrimRight(lines, " "))
	if err != nil {
		return err
	}
	return c.send(n, limit)
}

const allLines = -1

// errEnough stops the writing of a message whose rest is not wanted.
var errEnough = errors.New("enough")

// send sends a message, or its header and some lines of its body.
func (c *conn) send(n, lines int) error {
	s := &c.sender
	*s = sender{c: c, n: n, lines: lines, header: s.header[:0], bol: true}
	err := c.drop.Retrieve(c.ctx, n, s)
	if err == nil {
		err = s.finish()
	}
	switch {
	case err == nil || errors.Is(err, errEnough):
	case !s.begun:
		return err
	default: // half a message cannot be taken back
		if c.out.err == nil {
			c.srv.observe.internalError(c, c.command, err)
		}
		c.out.fail(err)
		return err
	}
	if !s.crlf {
		// The last line has no end; that of the termination serves.
		c.out.room()
		c.out.str("\r\n")
	}
	return c.end()
}

// sender writes one message to the client. It looks at the header first: as a whole,
// since who has not asked for UTF-8 gets it in ASCII.
type sender struct {
	c      *conn
	n      int
	lines  int    // of the body that are still wanted; allLines
	header []byte // the beginning of a header that came in pieces
	begun  bool   // the reply has been begun
	body   bool   // the header is through
	bol    bool   // what comes next begins a line
	crlf   bool   // what was sent ends with CRLF, or is nothing
	cr     bool   // or with CR
}

// rest gives memory back.
func (s *sender) rest() { s.header = nil }

// Write takes a piece of the message.
func (s *sender) Write(p []byte) (int, error) {
	if s.body {
		return len(p), s.text(p)
	}
	head := p
	if len(s.header) > 0 {
		s.header = append(s.header, p...)
		head = s.header
	}
	end := message.HeaderEnd(head)
	if end == len(head) && end < s.c.lim.Header {
		// The empty line is yet to come, or it is the end of the piece.
		if len(s.header) == 0 {
			s.header = append(s.header, p...)
		}
		return len(p), nil
	}
	if err := s.head(head[:end]); err != nil {
		return len(p), err
	}
	return len(p), s.text(head[end:])
}

// finish sends what was held back.
func (s *sender) finish() error {
	if s.body {
		return nil
	}
	return s.head(s.header)
}

// head begins the reply and sends the header.
func (s *sender) head(h []byte) error {
	c := s.c
	c.out.room()
	c.out.str("+OK ")
	if s.lines == allLines {
		c.out.num(c.drop.Size(s.n))
		c.out.str(" " + c.say(textRetrieved))
	} else {
		c.out.str(c.say(textTop))
	}
	c.out.str("\r\n")
	s.begun, s.body, s.crlf = true, true, true
	if !c.utf8Mode && needsUTF8(h) {
		h = surrogate(h)
	}
	return s.emit(h)
}

// text sends a piece of the body.
func (s *sender) text(p []byte) error {
	if s.lines == allLines {
		return s.emit(p)
	}
	rest := p
	for s.lines > 0 {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			return s.emit(p)
		}
		rest = rest[i+1:]
		s.lines--
	}
	if err := s.emit(p[:len(p)-len(rest)]); err != nil {
		return err
	}
	return errEnough
}

func (s *sender) emit(p []byte) error {
	if len(p) == 0 {
		return s.c.out.err
	}
	s.bol = s.c.out.stuffed(p, s.bol)
	switch {
	case len(p) > 1:
		s.crlf = p[len(p)-2] == '\r' && p[len(p)-1] == '\n'
	default: // one octet: the CR came before
		s.crlf = p[0] == '\n' && s.cr
	}
	s.cr = p[len(p)-1] == '\r'
	return s.c.out.err
}
