package imap

import (
	"io"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// skipLiterals reads past the literals that a client sends without being asked
// with a command that was refused (RFC 7888 §4), so that they are not taken for commands.
func (c *conn) skipLiterals() {
	for c.readErr == nil {
		l, ok := wire.PendingLiteral(c.p.Line())
		if !ok || !l.NonSync {
			return
		}
		message := c.state != notAuthenticated && c.cmd != nil && c.cmd.message && l.Size <= c.lim.Message
		if err := c.checkLiteral(l); err != nil && !message {
			c.die("Literal too large")
			return
		}
		if _, err := c.in.CopyN(io.Discard, l.Size, make([]byte, 4096)); err != nil {
			return
		}
		line, err := c.line()
		if err != nil {
			return
		}
		c.p.Reset(line)
	}
}

// checkLiteral counts a literal against the limits (IM1, IM2).
func (c *conn) checkLiteral(l wire.Literal) error {
	limit, total := c.lim.Literal, c.lim.Command
	if c.state == notAuthenticated {
		limit, total = c.lim.LoginLiteral, c.lim.LoginCommand
	}
	if c.literals++; l.Size > limit || l.Size > total-c.octets || c.literals > c.lim.Literals {
		return &Error{Code: "TOOBIG", Text: "Literal too large"}
	}
	c.octets += l.Size
	return nil
}

// ReadLiteral implements wire.Literals.
func (c *conn) ReadLiteral(p *wire.Parser, l wire.Literal) ([]byte, error) {
	if err := c.checkLiteral(l); err != nil {
		if l.NonSync {
			return nil, c.die("Literal too large")
		}
		return nil, err
	}
	c.invite(l)
	b := make([]byte, l.Size)
	if err := c.in.ReadFull(b); err != nil {
		return nil, err
	}
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	p.Reset(line)
	return b, nil
}

// invite asks for the octets of a literal if the client waits for that.
func (c *conn) invite(l wire.Literal) {
	if !l.NonSync {
		c.out.open()
		c.out.str("+ ")
		c.out.text("Ready")
		c.out.str("\r\n")
	}
}
