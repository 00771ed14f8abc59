package dns

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/miekg/dns"

	"github.com/postino-mail/postino"
)

// ValidatorOptions are the parameters of a Validator; zero fields are the
// default.
type ValidatorOptions struct {
	// Options name the servers. Those need not be trusted nor validate, but
	// must hand out signatures when asked (DO). Trusted is passed over.
	Options
	// Recursive asks the name servers of the zones themselves, from the root
	// down, instead of Servers.
	Recursive bool
	// Hints are addresses of root servers for that; nil are those of the Internet.
	Hints []netip.Addr
	// AllowPrivate tells which addresses may be asked for that although they are
	// not public; nil: none.
	AllowPrivate func(netip.Addr) bool
	// Anchors are the keys of the root; nil means RootAnchors.
	Anchors []Anchor
	// NegativeAnchors are zones that count as unsigned from their top down, for
	// as long as their keys are known to be broken (RFC 7646); "." is all of them.
	NegativeAnchors []string
	// ClockSkew is how far signatures may begin after now or have ended before
	// it; default 5 min, at most 1 h, none if negative.
	ClockSkew time.Duration

	shared *atomic.Pointer[[]Anchor] // instead of Anchors: they may change
}

// Validator proves answers by the chain of signatures from the root (DNSSEC),
// whoever they come from. Its answers are Secure or Insecure; what cannot be
// proven and should be is an error with ErrBogus.
type Validator struct {
	sources  []source
	attempts int
	cache    *cache
	obs      observer
	anchors  *atomic.Pointer[[]Anchor]
	exempt   map[string]bool
	skew     time.Duration
	trusts   *otter.Cache[string, *trust]
	refused  *otter.Cache[cacheKey, refusal]
}

// source is whom a Validator asks.
type source interface {
	// fetch gets the reply to a question, with signatures and proofs.
	fetch(ctx context.Context, w *work, name string, t Type) (*dns.Msg, error)
	String() string
}

// forwarder is a recursive server as a source.
type forwarder struct {
	*client
	server  Server
	timeout time.Duration
}

func (f forwarder) fetch(ctx context.Context, _ *work, name string, t Type) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return f.client.fetch(ctx, f.server, name, t, withProof)
}

func (f forwarder) String() string { return f.server.String() }

// refusal keeps that an answer was bogus (RFC 4035 §4.7, RFC 9520 §3.2).
type refusal struct {
	err     error
	expires time.Time
}

const (
	keepRefusal   = 5 * time.Second
	maxTrustNames = 50_000
	maxRefusals   = 10_000
)

// NewValidator returns a resolver that asks the servers of opts and believes
// none of them. The error, of kind Invalid, tells of a name that is none.
func NewValidator(opts ValidatorOptions) (*Validator, error) {
	opts.Options = opts.withDefaults()
	v := &Validator{
		attempts: opts.Attempts, cache: newCache(opts.Options), obs: newObserver(opts.Options), exempt: map[string]bool{}, skew: opts.ClockSkew,
		trusts:  otter.Must(&otter.Options[string, *trust]{MaximumSize: maxTrustNames}),
		refused: otter.Must(&otter.Options[cacheKey, refusal]{MaximumSize: maxRefusals}),
	}
	c := opts.client()
	if opts.Recursive {
		opts.Servers, v.sources = nil, []source{newRecursor(opts)}
	}
	for _, server := range opts.Servers {
		v.sources = append(v.sources, forwarder{c, server, opts.Timeout})
	}
	if v.anchors = opts.shared; v.anchors == nil {
		if opts.Anchors == nil {
			opts.Anchors = RootAnchors()
		}
		v.anchors = new(atomic.Pointer[[]Anchor])
		v.anchors.Store(&opts.Anchors)
	}
	for _, name := range opts.NegativeAnchors {
		if name == "." {
			v.exempt[name] = true
			continue
		}
		name, err := canonical(name)
		if err != nil {
			return nil, err
		}
		v.exempt[name+"."] = true
	}
	switch {
	case v.skew == 0:
		v.skew = 5 * time.Minute
	case v.skew < 0:
		v.skew = 0
	}
	v.skew = min(v.skew, time.Hour)
	return v, nil
}

// Lookup implements Resolver.
func (v *Validator) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if a, err, ok := v.cache.get(name, t, now); ok {
		v.obs.hit()
		return a, err
	}
	if r, ok := v.refused.GetIfPresent(cacheKey{name, t}); ok && r.expires.After(now) {
		v.obs.hit()
		return nil, r.err
	}
	a, err := v.ask(ctx, name, t)
	switch {
	case a != nil:
		v.cache.put(name, t, a, err, time.Now())
	case errors.Is(err, ErrBogus):
		v.refused.Set(cacheKey{name, t}, refusal{err, time.Now().Add(keepRefusal)})
	}
	return a, err
}

// ask goes round the servers until the answer of one is proven. One bogus
// answer may be the fault of the server, the same from all is not.
func (v *Validator) ask(ctx context.Context, name string, t Type) (*Answer, error) {
	var last error
	avoid := map[netip.Addr]bool{}
	for range v.attempts {
		for _, source := range v.sources {
			l := &lookup{&work{now: time.Now(), skew: v.skew, avoid: avoid}, v, source}
			a, err := l.answer(ctx, name, t)
			if a == nil {
				err = postino.E(postino.Transient, "look up "+t.String(), name, err)
			}
			v.obs.asked(source.String(), name, t, err)
			if a != nil {
				return a, err
			}
			if last == nil || !errors.Is(last, ErrBogus) {
				last = err
			}
			if ctx.Err() != nil {
				return nil, last
			}
			for _, used := range l.used {
				avoid[used] = true
			}
		}
		if errors.Is(last, ErrBogus) && len(avoid) == 0 { // a recursor has others to ask
			break
		}
	}
	return nil, last
}
