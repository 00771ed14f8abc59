package dns

import (
	"context"
	"errors"
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
	// Anchors are the keys of the root; none means RootAnchors.
	Anchors []Anchor
	// NegativeAnchors are zones that count as unsigned from their top down, for
	// as long as their keys are known to be broken (RFC 7646).
	NegativeAnchors []string
	// ClockSkew is how far signatures may begin after now or have ended before
	// it; default 5 min, at most 1 h, none if negative.
	ClockSkew time.Duration
}

// Validator proves answers by the chain of signatures from the root (DNSSEC),
// whoever they come from. Its answers are Secure or Insecure; what cannot be
// proven and should be is an error with ErrBogus.
type Validator struct {
	stub    *Stub // its servers and cache
	anchors []Anchor
	exempt  map[string]bool
	skew    time.Duration
	trusts  *otter.Cache[string, *trust]
	refused *otter.Cache[cacheKey, refusal]
}

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
	v := &Validator{
		stub: NewStub(opts.Options), anchors: opts.Anchors, exempt: map[string]bool{}, skew: opts.ClockSkew,
		trusts:  otter.Must(&otter.Options[string, *trust]{MaximumSize: maxTrustNames}),
		refused: otter.Must(&otter.Options[cacheKey, refusal]{MaximumSize: maxRefusals}),
	}
	if len(v.anchors) == 0 {
		v.anchors = RootAnchors()
	}
	for _, name := range opts.NegativeAnchors {
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
	if a, err, ok := v.stub.cache.get(name, t, now); ok {
		v.stub.obs.hit()
		return a, err
	}
	if r, ok := v.refused.GetIfPresent(cacheKey{name, t}); ok && r.expires.After(now) {
		v.stub.obs.hit()
		return nil, r.err
	}
	a, err := v.ask(ctx, name, t)
	switch {
	case a != nil:
		v.stub.cache.put(name, t, a, err, time.Now())
	case errors.Is(err, ErrBogus):
		v.refused.Set(cacheKey{name, t}, refusal{err, time.Now().Add(keepRefusal)})
	}
	return a, err
}

// ask goes round the servers until the answer of one is proven. One bogus
// answer may be the fault of the server, the same from all is not.
func (v *Validator) ask(ctx context.Context, name string, t Type) (*Answer, error) {
	var last error
	for range v.stub.opts.Attempts {
		for _, server := range v.stub.opts.Servers {
			l := &lookup{&work{now: time.Now(), skew: v.skew}, v, server}
			a, err := l.answer(ctx, name, t)
			if a == nil {
				err = postino.E(postino.Transient, "look up "+dns.TypeToString[uint16(t)], name, err)
			}
			v.stub.obs.asked(server, name, t, err)
			if a != nil {
				return a, err
			}
			if last == nil || !errors.Is(last, ErrBogus) {
				last = err
			}
			if ctx.Err() != nil {
				return nil, last
			}
		}
		if errors.Is(last, ErrBogus) {
			break
		}
	}
	return nil, last
}
