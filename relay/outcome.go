package relay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/smtp"
)

// trouble is why mail cannot go out now or ever: what a server said, or our own
// words in the form of a reply.
type trouble struct {
	reply  smtp.Reply
	remote string // host that said it; empty: we did
	health queue.Health
	// retry makes a permanent reply temporary: it is about us, the host or our
	// settings, not about the mail.
	retry bool
	cause error // where somebody looks for it
}

// ours makes a trouble of our own words.
func ours(code int, enhanced, format string, args ...any) *trouble {
	t := &trouble{reply: smtp.Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}}
	if code < 500 {
		t.health = queue.Down
	}
	return t
}

// permanent tells whether it would be the same next time.
func (t *trouble) permanent() bool { return t.reply.Code >= 500 && !t.retry }

// words writes a trouble as queue.Outcome wants it. Our own words have no code.
func (t *trouble) words() string {
	if t.remote != "" {
		return words(t.reply)
	}
	enhanced := t.reply.Enhanced
	if t.retry && enhanced != "" {
		enhanced = "4" + enhanced[1:] // RFC 3463 §2: the class is that of the outcome
	}
	return strings.TrimLeft(enhanced+" "+oneLine(t.reply.Text), " ")
}

// later makes a trouble temporary.
func (t *trouble) later() *trouble {
	t.retry = true
	return t
}

// words writes a reply of a server on one line, as it was.
func words(r smtp.Reply) string {
	s := fmt.Sprintf("%03d ", r.Code)
	if r.Enhanced != "" {
		s += r.Enhanced + " "
	}
	return strings.TrimRight(s+oneLine(r.Text), " ")
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// asReply is a trouble as the answer to somebody who asks about a recipient.
func (t *trouble) asReply() smtp.Reply {
	r := t.reply
	if t.retry && r.Code >= 500 {
		r.Code = 451
	}
	if r.Code < 500 && r.Enhanced != "" {
		r.Enhanced = "4" + r.Enhanced[1:]
	}
	return r
}

// failed turns an error of the SMTP client into a trouble with a host.
func failed(host string, err error) *trouble {
	var ce *smtp.ClientError
	if !errors.As(err, &ce) {
		return ours(451, "4.4.2", "talking to %s: %v", host, err)
	}
	if ce.Reply != nil && ce.Reply.Code != 0 {
		t := &trouble{reply: *ce.Reply, remote: host, health: queue.Fine}
		if ce.Stage == smtp.StageCheck { // ours, about what the host lacks
			t.remote = ""
			t.reply.Text = host + ": " + t.reply.Text
			return t
		}
		if ce.Reply.Code == 421 || ce.Stage == smtp.StageGreeting || ce.Stage == smtp.StageHello {
			t.health = queue.Busy
		}
		return t
	}
	return ours(451, "4.4.2", "connection to %s failed at %s: %v", host, ce.Stage, cause(ce))
}

// cause is the innermost reason that is fit for people.
func cause(ce *smtp.ClientError) error {
	if ce.Err == nil {
		return errLost
	}
	return plainError(ce.Err)
}

var (
	errLost = errors.New("the connection was lost")
	errTime = errors.New("no answer in time")
)

// outcome is the result of an attempt for a recipient that is in trouble.
func (t *trouble) outcome(rcpt int) queue.Outcome {
	o := queue.Outcome{Rcpt: rcpt, Result: queue.Deferred, Reply: t.words(), Remote: t.remote}
	if t.permanent() {
		o.Result = queue.Rejected
	}
	return o
}
