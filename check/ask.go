package check

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

var (
	errNotOurs   = errors.New("not a domain of this server")
	errNoAddress = errors.New("this machine does not know its addresses")
	errTooMany   = errors.New("too many questions for one report")
	errNotKnown  = errors.New("the server does not run, or cannot be reached from here")
)

// inquiry asks the DNS for one report: each question once, few at a time.
type inquiry struct {
	ask func(name string, t dns.Type) (*dns.Answer, error)
	max int

	mu    sync.Mutex
	known map[question]func() (*dns.Answer, error)
}

type question struct {
	name string
	t    dns.Type
}

// newInquiry lives as long as ctx: who waits for an answer with less patience
// must not spoil it for others.
func newInquiry(ctx context.Context, r dns.Resolver, l Limits) *inquiry {
	slots := make(chan struct{}, l.AtOnce)
	return &inquiry{max: l.Questions, known: map[question]func() (*dns.Answer, error){}, ask: func(name string, t dns.Type) (*dns.Answer, error) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil, postino.E(postino.Transient, "look up", name, ctx.Err())
		}
		defer func() { <-slots }()
		return r.Lookup(ctx, name, t)
	}}
}

// Lookup implements dns.Resolver.
func (q *inquiry) Lookup(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	k := question{strings.ToLower(strings.TrimSuffix(name, ".")), t}
	q.mu.Lock()
	f := q.known[k]
	if f == nil && len(q.known) >= q.max {
		q.mu.Unlock()
		return nil, postino.E(postino.Transient, "look up", k.name, errTooMany)
	}
	if f == nil {
		f = sync.OnceValues(func() (*dns.Answer, error) { return q.ask(k.name, k.t) })
		q.known[k] = f
	}
	q.mu.Unlock()
	return f()
}

// absent tells that there is definitely nothing, unlike what cannot be told now.
func absent(err error) bool { return postino.Is(err, postino.NotFound) }

// texts are the TXT records at a name that begin with a version; none is no error.
func (q *inquiry) texts(ctx context.Context, name, version string) ([]string, error) {
	a, err := q.Lookup(ctx, name, dns.TypeTXT)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []string
	for _, t := range a.TXT {
		// The version is a whole word: v=spf10 is no SPF record (RFC 7208 §4.5).
		if rest, ok := cutFold(t, version); ok && (rest == "" || rest[0] == ' ' || rest[0] == ';' || rest[0] == '\t') {
			list = append(list, t)
		}
	}
	slices.Sort(list)
	return list, nil
}

func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// why says in words why something could not be asked.
func why(err error) string {
	switch {
	case errors.Is(err, dns.ErrBogus):
		return "the answer of the DNS is not authentic (DNSSEC)"
	case errors.Is(err, dns.ErrServer):
		return "the name servers cannot answer now"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	var op *net.OpError
	if errors.As(err, &op) { // without addresses and ports that change each time
		return op.Op + ": " + op.Err.Error()
	}
	var e *postino.Error
	if errors.As(err, &e) && e.Err != nil {
		return why(e.Err)
	}
	return err.Error()
}
