package receive

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/smtp"
)

// turns remembers when the queue was searched for a domain: a search reads all
// of it, and strangers must not make it cheap to keep us busy.
type turns struct {
	mu   sync.Mutex
	last map[string]time.Time // relay domains only
}

// turnPause is how long a search serves all who ask.
const turnPause = 30 * time.Second

func (t *turns) mayScan(domain string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last[domain]) < turnPause {
		return false
	}
	if t.last == nil {
		t.last = map[string]time.Time{}
	}
	t.last[domain] = now
	return true
}

// Turn implements smtp.Session: ETRN starts the queue for a domain that we keep
// mail for (RFC 1985 §5). Anybody may ask: the mail goes where it would go
// anyway, and a destination that cannot be reached stays closed.
func (s *session) Turn(ctx context.Context, node string) error {
	if strings.HasPrefix(node, "#") || strings.HasPrefix(node, "@") {
		return &smtp.Reply{Code: 458, Enhanced: "4.5.0", Text: "Unable to queue messages for this node: name one domain"}
	}
	d, err := s.b.opts.Directory.Domain(ctx, node)
	if postino.Is(err, postino.NotFound) || err == nil && !d.Relay {
		return &smtp.Reply{Code: 459, Enhanced: "4.7.1", Text: "Node not allowed: no mail is kept for it here"}
	}
	if err != nil {
		return err
	}
	if !s.b.turns.mayScan(node, time.Now()) {
		return &smtp.Reply{Code: 252, Enhanced: "2.0.0", Text: "OK, pending messages for node " + node + " started"}
	}
	waiting := queue.Filter{Domain: node}
	n, err := s.b.opts.Queue.Count(ctx, waiting, nil)
	if err != nil {
		return err
	}
	if n.Matched == 0 {
		return &smtp.Reply{Code: 251, Enhanced: "2.0.0", Text: "OK, no messages waiting for node " + node}
	}
	if _, err := s.b.opts.Queue.Retry(ctx, waiting, true, nil); err != nil {
		return err
	}
	return &smtp.Reply{Code: 253, Enhanced: "2.0.0", Text: fmt.Sprintf("OK, %d pending messages for node %s started", n.Matched, node)}
}
