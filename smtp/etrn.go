package smtp

import (
	"strings"

	"github.com/postino-mail/postino"
)

// doEtrn is RFC 1985 §5.
func (c *Conn) doEtrn(arg []byte) *Reply {
	switch {
	case !c.srv.opts.ETRN || c.srv.opts.LMTP:
		return replyNotDone
	case c.hello == "":
		return replyHelloFirst
	case c.tx.open():
		return replySequence
	}
	node, ok := parseNode(string(arg))
	if !ok {
		return replySyntax
	}
	if err := c.session.Turn(c.ctx, node); err != nil {
		return c.failed("etrn", err)
	}
	return replyTurned
}

// parseNode reads a fully-qualified name, perhaps behind "@", or "#" and the
// name of a queue.
func parseNode(s string) (string, bool) {
	if name, ok := strings.CutPrefix(s, "#"); ok {
		return s, name != "" && len(name) <= postino.MaxDomain && strings.IndexByte(name, ' ') < 0
	}
	name, under := strings.CutPrefix(s, "@")
	name, err := postino.CanonicalDomain(name)
	if err != nil || strings.IndexByte(name, '.') < 0 || name[0] == '[' {
		return "", false
	}
	if under {
		name = "@" + name
	}
	return name, true
}
