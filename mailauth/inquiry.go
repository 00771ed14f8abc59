package mailauth

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// ErrBudget is what Lookup of an Inquiry wraps when the DNS work for the message
// is used up (MA7).
var ErrBudget = errors.New("the message needs too much of the DNS")

// Inquiry is the DNS work for one message: a dns.Resolver that bounds it (MA7) and
// remembers what was answered, for the story of the message. All methods may be
// called from any goroutine.
type Inquiry struct {
	resolver dns.Resolver

	mu      sync.Mutex
	queries int           // that may still be asked
	wait    time.Duration // that may still be spent waiting, in sum
	asked   int
	waited  time.Duration
	answers []answered
}

// answered is a question and what came of it.
type answered struct {
	name   string
	t      dns.Type
	answer *dns.Answer
	err    error
}

// Fact is a DNS answer that a judgement rests on.
type Fact struct {
	Name string
	Type dns.Type
	// Security and TTL are those of the answer, of a denial too.
	Security dns.Security
	TTL      time.Duration
	// Outcome are the records, abridged, or why there are none: printable, at most
	// about 500 octets.
	Outcome string
}

// NewInquiry returns an Inquiry that asks r, within Limits.Queries and
// Limits.Timeout.
func NewInquiry(r dns.Resolver, lim Limits) *Inquiry {
	lim = lim.withDefaults()
	return &Inquiry{resolver: r, queries: lim.Queries, wait: lim.Timeout}
}

// Lookup implements dns.Resolver. Beyond the budget it fails with
// postino.Transient and ErrBudget, without asking.
func (q *Inquiry) Lookup(ctx context.Context, name string, t dns.Type) (*dns.Answer, error) {
	q.mu.Lock()
	if q.asked >= q.queries || q.waited >= q.wait {
		q.mu.Unlock()
		return nil, postino.E(postino.Transient, "look up", postino.Printable(name), ErrBudget)
	}
	q.asked++
	left := q.wait - q.waited
	q.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	begin := time.Now()
	a, err := q.resolver.Lookup(ctx, name, t)

	q.mu.Lock()
	defer q.mu.Unlock()
	q.waited += time.Since(begin)
	q.answers = append(q.answers, answered{name, t, a, err})
	return a, err
}

// Spent tells how many questions were asked, and how long all of them waited.
func (q *Inquiry) Spent() (queries int, waited time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked, q.waited
}

// Facts returns what was answered so far, in the order of the answers; of a
// question that was asked again, the last answer.
func (q *Inquiry) Facts() []Fact {
	q.mu.Lock()
	answers := q.answers[:len(q.answers):len(q.answers)]
	q.mu.Unlock()
	type question struct {
		name string
		t    dns.Type
	}
	at := make(map[question]int, len(answers))
	facts := make([]Fact, 0, len(answers))
	for _, a := range answers {
		k := question{strings.ToLower(strings.TrimSuffix(a.name, ".")), a.t}
		i, again := at[k]
		if !again {
			i = len(facts)
			at[k] = i
			facts = append(facts, Fact{})
		}
		facts[i] = a.fact(k.name)
	}
	return facts
}

const maxOutcome = 500

func (a *answered) fact(name string) Fact {
	f := Fact{Name: postino.Printable(name[:min(len(name), postino.MaxDomain)]), Type: a.t}
	if a.answer != nil {
		f.Security, f.TTL = a.answer.Security, a.answer.TTL
	}
	if errors.Is(a.err, dns.ErrBogus) {
		f.Security = dns.Bogus
	}
	if a.err != nil {
		f.Outcome = dnsReason(a.err)
		return f
	}
	var b strings.Builder
	for text := range records(a.answer) {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		text = postino.Printable(text)
		if b.Len()+len(text) > maxOutcome {
			b.WriteString(strings.ToValidUTF8(text[:max(0, min(len(text), maxOutcome-b.Len()))], ""))
			b.WriteString("…")
			break
		}
		b.WriteString(text)
	}
	f.Outcome = b.String()
	return f
}

// records iterates over the records of an answer as people write them.
func records(a *dns.Answer) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, ip := range a.Addrs {
			if !yield(ip.String()) {
				return
			}
		}
		for _, mx := range a.MX {
			if !yield(strconv.Itoa(int(mx.Preference)) + " " + mx.Host) {
				return
			}
		}
		for _, t := range a.TXT {
			if !yield(strconv.Quote(t)) {
				return
			}
		}
		for _, h := range a.Hosts {
			if !yield(h) {
				return
			}
		}
	}
}

// dnsReason says in a few words why a lookup gave no records.
func dnsReason(err error) string {
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return "the name does not exist"
	case postino.Is(err, postino.NotFound):
		return "no such records"
	case postino.Is(err, postino.Invalid):
		return "not a domain name"
	case errors.Is(err, ErrBudget):
		return ErrBudget.Error()
	case errors.Is(err, dns.ErrBogus):
		return "the answer is not authentic (DNSSEC)"
	case errors.Is(err, dns.ErrServer):
		return "the name server cannot answer"
	case errors.Is(err, dns.ErrChain):
		return "the chain of CNAMEs is too long"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "no answer in time"
	}
	return "no answer"
}
