package receive

import (
	"bytes"
	"context"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/mailauth"
	"github.com/postino-mail/postino/submit"
)

// maxHeader is how much of a header is held back until it is complete (SS9).
const maxHeader = 512 << 10

// content takes the header of a message as it comes, until it is complete.
type content struct {
	held  []byte
	ended bool
}

// Write implements smtp.Sink. The header is held back until it is complete, so
// that nothing is stored which others wrote in our name (MA2).
func (t *transaction) Write(p []byte) (int, error) {
	n, err := len(p), error(nil)
	if !t.content.ended {
		p, err = t.content.add(p, t.header)
	}
	if err == nil && len(p) > 0 {
		if t.trial != nil {
			t.trial.body(p)
		}
		_, err = t.letter.Write(p)
	}
	if err != nil {
		err = t.reply(err)
		t.refused("DATA", nil, err)
		return 0, err
	}
	return n, nil
}

// add takes a piece. Once the header is complete it is given away, and what
// follows is returned: it begins with the empty line.
func (c *content) add(p []byte, complete func(header []byte) error) (rest []byte, err error) {
	all, from := p, 0
	if len(c.held) > 0 {
		from = max(0, len(c.held)-3)
		c.held = append(c.held, p...)
		all = c.held
	}
	end := headerEnd(all, from)
	switch {
	case end >= 0:
		c.ended, c.held = true, nil
		return all[end:], complete(all[:end])
	case len(all) > maxHeader:
		return nil, postino.E(postino.Full, "take message", "", submit.ErrHeader)
	case len(c.held) == 0:
		c.held = append(make([]byte, 0, max(8<<10, len(p))), p...)
	}
	return nil, nil
}

// end takes what was held back of a message that is all header.
func (c *content) end(complete func(header []byte) error) error {
	if c.ended {
		return nil
	}
	h := c.held
	c.ended, c.held = true, nil
	return complete(h)
}

// headerEnd finds the end of the line before the empty one, or -1.
func headerEnd(b []byte, from int) int {
	if bytes.HasPrefix(b, []byte("\r\n")) || bytes.HasPrefix(b, []byte("\n")) {
		return 0
	}
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		if bytes.HasPrefix(b[from:], []byte("\r\n")) || bytes.HasPrefix(b[from:], []byte("\n")) {
			return from
		}
	}
}

// header gives the header on, without what it claims in our name.
func (t *transaction) header(h []byte) error {
	if t.trial != nil {
		t.trial.header(h)
	}
	clean, forged := mailauth.RemoveAuthResults(make([]byte, 0, len(h)), h, t.ours())
	t.forged = forged
	_, err := t.letter.Write(clean)
	return err
}

// ours returns what tells whether an authserv-id is in our name: it is our host
// name, one of our domains, or below one. What cannot be looked up is.
func (t *transaction) ours() func(id string) bool {
	seen := map[string]bool{}
	return func(id string) bool {
		mine, ok := seen[id]
		if !ok {
			mine = t.s.b.isOurs(t.ctx, id)
			seen[id] = mine
		}
		return mine
	}
}

func (b *Backend) isOurs(ctx context.Context, id string) bool {
	if strings.EqualFold(id, b.opts.Hostname) {
		return true
	}
	if b.opts.Profile == LMTP {
		return false // RFC 8601 §5: it comes from a server of ours, which may speak for our domains
	}
	for ; strings.Contains(id, "."); _, id, _ = strings.Cut(id, ".") {
		if _, err := b.opts.Directory.Domain(ctx, id); !postino.Is(err, postino.NotFound) && !postino.Is(err, postino.Invalid) {
			return true
		}
	}
	return false
}
