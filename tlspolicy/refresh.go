package tlspolicy

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Run fetches policies of MTA-STS again before they end, whatever the DNS says
// (RFC 8461 §3.3, §10.2), and forgets what has ended, until ctx is done.
func (p *Policies) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := p.round(ctx); err != nil && ctx.Err() == nil {
			p.observe.lost("", err)
		}
		timer.Reset(roundTime)
	}
}

// kept is what a round needs to know of a row.
type kept struct {
	domain, id    string
	fetched, used time.Time
	mode          Mode
	end           time.Time
}

// round looks through all policies once.
func (p *Policies) round(ctx context.Context) error {
	all, err := p.all(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, k := range p.trim(ctx, all, now) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now.Sub(k.fetched) >= refreshTime && now.Sub(k.used) < forgetTime {
			p.refresh(ctx, k)
		}
	}
	return nil
}

// all lists the rows; those that cannot be read have ended.
func (p *Policies) all(ctx context.Context) ([]kept, error) {
	var list []kept
	err := p.opts.Cache.Each(ctx, func(domain string, row []byte) bool {
		k := kept{domain: domain}
		if e, err := parseRow(domain, row); err == nil {
			k = kept{domain, e.id, e.fetched, e.used, e.policy.Mode, e.fetched.Add(e.policy.MaxAge)}
		}
		list = append(list, k)
		return ctx.Err() == nil
	})
	return list, err
}

// trim deletes what has ended, and of too many the policies that were not used for
// longest (G10), and returns the others.
func (p *Policies) trim(ctx context.Context, all []kept, now time.Time) []kept {
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.domain, b.domain)) })
	var keep []kept
	for _, k := range all {
		if now.Before(k.end) && len(keep) < p.opts.Max*9/10 {
			keep = append(keep, k)
		} else if err := p.opts.Cache.Delete(ctx, k.domain); err != nil {
			p.observe.lost(k.domain, err)
		}
	}
	p.mu.Lock()
	p.stored = len(keep)
	p.mu.Unlock()
	return keep
}

// refresh fetches a policy again. While that fails the old one holds.
func (p *Policies) refresh(ctx context.Context, k kept) {
	policy, err := FetchSTS(ctx, p.opts.Fetch, k.domain)
	if ctx.Err() != nil {
		return
	}
	p.observe.refreshed(k, classifyFetch(err), err)
	if err != nil {
		return
	}
	id, err := LookupSTS(ctx, p.opts.DNS, k.domain)
	if err != nil {
		id = k.id
	}
	p.put(ctx, &entry{domain: k.domain, id: id, fetched: time.Now(), used: k.used, policy: policy}, false)
}
