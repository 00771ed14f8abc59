package tlspolicy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/metric"
)

// How policies of MTA-STS are kept.
const (
	failureTime = 5 * time.Minute     // a policy that cannot be fetched is not asked for again (RFC 8461 §3.3)
	refreshTime = 24 * time.Hour      // then a policy is fetched again (RFC 8461 §3.3)
	forgetTime  = 30 * 24 * time.Hour // one that nobody uses is not
	roundTime   = time.Hour           // how often Run looks for those
	maxFailures = 10_000
)

// Options says what [Policies] work with. All but Logger, Metrics and Max are needed.
type Options struct {
	DNS     dns.Resolver
	Fetch   *fetch.Client
	Cache   Cache
	Max     int              // policies that are kept; 0 means 10,000
	Logger  *slog.Logger     // nil discards
	Metrics *metric.Registry // nil counts nothing
}

// Policies finds out what the domains of others publish about TLS. Its methods may
// be called from any goroutine.
type Policies struct {
	opts    Options
	observe observer

	mu       sync.Mutex
	stored   int                      // rows, about
	flights  map[string]chan struct{} // fetches under way, by domain
	failures map[failure]outcome
}

// failure is what failed: the policy of a domain by an id.
type failure struct{ domain, id string }

// outcome is how a fetch ended.
type outcome struct {
	until  time.Time
	result Result
	err    error
}

// New returns the policies. The error is Invalid when an option that is needed is
// missing.
func New(opts Options) (*Policies, error) {
	if opts.DNS == nil || opts.Fetch == nil || opts.Cache == nil {
		return nil, postino.E(postino.Invalid, "make TLS policies", "", errors.New("the options DNS, Fetch and Cache are needed"))
	}
	if opts.Max <= 0 {
		opts.Max = 10_000
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Policies{
		opts: opts, observe: newObserver(opts.Logger, opts.Metrics),
		flights: map[string]chan struct{}{}, failures: map[failure]outcome{},
	}, nil
}

// stsFound is what was found of MTA-STS.
type stsFound struct {
	policy *STSPolicy // nil: none holds
	id     string
	cached bool // nothing newer could be had
	fact   STS  // where there is no policy: NoSTS, STSUnknown, STSBogus, STSLost
	result Result
	err    error // why there is none, or nothing newer
}

// sts finds the policy of a domain: the one that the record in the DNS names, or
// else the one that was fetched before (RFC 8461 §3.3, §5.1). An error is one of
// our own store, or of ctx.
func (p *Policies) sts(ctx context.Context, domain string) (stsFound, error) {
	id, lookupErr := LookupSTS(ctx, p.opts.DNS, domain)
	for {
		have, err := p.cached(ctx, domain)
		if err != nil {
			return stsFound{}, err
		}
		if lookupErr != nil {
			if err := ctx.Err(); err != nil {
				return stsFound{}, err
			}
			f := have.found()
			f.err, f.cached = lookupErr, true
			switch {
			case have != nil, definite(lookupErr):
			case errors.Is(lookupErr, dns.ErrBogus):
				f.fact, f.result = STSBogus, STSFetchError
			default:
				f.fact = STSUnknown
			}
			return f, nil
		}
		if have != nil && have.id == id {
			return have.found(), nil
		}
		if o, failed := p.failed(failure{domain, id}); failed {
			f := have.found()
			f.result, f.err, f.cached = o.result, o.err, true
			if have == nil {
				f.fact = STSLost
			}
			return f, nil
		}
		fresh, err := p.update(ctx, domain, id)
		switch {
		case err != nil:
			return stsFound{}, err
		case fresh != nil:
			return fresh.found(), nil
		}
	}
}

// found is what an entry, or none, tells.
func (e *entry) found() stsFound {
	if e == nil {
		return stsFound{}
	}
	return stsFound{policy: e.policy, id: e.id}
}

// cached returns the policy that is kept for a domain, if it still holds. A row
// that cannot be read is as good as none: what made it so is not the doing of who
// is between us and the domain.
func (p *Policies) cached(ctx context.Context, domain string) (*entry, error) {
	row, err := p.opts.Cache.Get(ctx, domain)
	if err != nil || row == nil {
		return nil, err
	}
	e, err := parseRow(domain, row)
	if err != nil {
		p.observe.damaged(err)
		return nil, nil
	}
	now := time.Now()
	if !e.valid(now) {
		return nil, nil
	}
	if now.Sub(e.used) > refreshTime {
		e.used = now
		p.put(ctx, e, false)
	}
	return e, nil
}

// update fetches the policy of a domain, or waits for somebody who does; then it
// returns nil, and what came of it is in the cache or among the failures.
func (p *Policies) update(ctx context.Context, domain, id string) (*entry, error) {
	p.mu.Lock()
	flight, busy := p.flights[domain]
	if !busy {
		p.flights[domain] = make(chan struct{})
	}
	p.mu.Unlock()
	if busy {
		select {
		case <-flight:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() {
		p.mu.Lock()
		close(p.flights[domain])
		delete(p.flights, domain)
		p.mu.Unlock()
	}()
	policy, err := FetchSTS(ctx, p.opts.Fetch, domain)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.observe.fetched(domain, classifyFetch(err), err)
	if err != nil {
		p.fail(failure{domain, id}, outcome{time.Now().Add(failureTime), classifyFetch(err), err})
		return nil, nil
	}
	now := time.Now()
	e := &entry{domain: domain, id: id, fetched: now, used: now, policy: policy}
	p.put(ctx, e, true)
	return e, nil
}

// put keeps a policy, unless there are too many. That it cannot be kept does not
// keep mail from going by it now.
func (p *Policies) put(ctx context.Context, e *entry, fresh bool) {
	p.mu.Lock()
	full := fresh && p.stored >= p.opts.Max
	if fresh && !full {
		p.stored++ // too much where the row is an old one; trim counts again
	}
	p.mu.Unlock()
	if full {
		p.observe.full(e.domain)
		return
	}
	if err := p.opts.Cache.Put(ctx, e.domain, e.row()); err != nil {
		p.observe.lost(e.domain, err)
	}
}

// failed tells whether a fetch failed a short while ago.
func (p *Policies) failed(f failure) (outcome, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.failures[f]
	if ok && !time.Now().Before(o.until) {
		delete(p.failures, f)
		return outcome{}, false
	}
	return o, ok
}

// fail remembers a fetch that failed.
func (p *Policies) fail(f failure, o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for old := range p.failures { // any one goes
		if len(p.failures) < maxFailures {
			break
		}
		delete(p.failures, old)
	}
	p.failures[f] = o
}

// definite tells whether an error of a lookup is a definite no.
func definite(err error) bool {
	return postino.Is(err, postino.NotFound) || postino.Is(err, postino.Invalid)
}
