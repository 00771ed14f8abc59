package app

import (
	"context"
	"net"
	"net/netip"

	"github.com/postino-mail/postino/fetch"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/relay"
	"github.com/postino-mail/postino/tlspolicy"
)

// openPolicies makes what finds out about the TLS of others. own tells the
// addresses of this node.
func (s *Stores) openPolicies(o *StoreOptions, own func() []netip.Addr) (err error) {
	s.Fetch = fetch.New(s.fetchOptions(o, own))
	s.Policies, err = tlspolicy.New(tlspolicy.Options{
		DNS: s.Resolver, Fetch: s.Fetch, Cache: policyRows{s.DB}, Logger: o.Logger, Metrics: o.Metrics,
	})
	return err
}

// fetchOptions say how what outside data names is fetched.
func (s *Stores) fetchOptions(o *StoreOptions, own func() []netip.Addr) fetch.Options {
	opts := fetch.Options{
		DNS: s.Resolver, Guard: fetch.Guard{Allow: o.Outward.Private, Own: own}, Roots: o.Outward.Roots,
		Agent: "Postino (" + o.Hostname + ")", Logger: o.Logger, Metrics: o.Metrics,
	}
	if dial := o.Outward.Dial; dial != nil {
		opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address, netip.Addr{})
		}
	}
	return opts
}

var _ relay.Policies = (*tlspolicy.Policies)(nil)

// policyRows keeps policies of MTA-STS in the store:
//
//	'M' 't' domain → a row of tlspolicy
type policyRows struct{ db kv.DB }

const policyPrefix = "Mt"

func policyScope(domain string) []kv.Scope { return []kv.Scope{kv.Scope("M/sts/" + domain)} }

// Get implements tlspolicy.Cache.
func (p policyRows) Get(ctx context.Context, domain string) (row []byte, err error) {
	err = p.db.View(ctx, policyScope(domain), func(r kv.Reader) error {
		v, ok, err := r.Get([]byte(policyPrefix + domain))
		if row = nil; ok {
			row = append([]byte{}, v...)
		}
		return err
	})
	return row, err
}

// Put implements tlspolicy.Cache.
func (p policyRows) Put(ctx context.Context, domain string, row []byte) error {
	return p.db.Update(ctx, policyScope(domain), func(tx kv.Tx) error { return tx.Set([]byte(policyPrefix+domain), row) })
}

// Delete implements tlspolicy.Cache.
func (p policyRows) Delete(ctx context.Context, domain string) error {
	return p.db.Update(ctx, policyScope(domain), func(tx kv.Tx) error { return tx.Delete([]byte(policyPrefix + domain)) })
}

// Each implements tlspolicy.Cache.
func (p policyRows) Each(ctx context.Context, fn func(domain string, row []byte) bool) error {
	return p.db.View(ctx, nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte(policyPrefix)), func(k, v []byte) bool { return fn(string(k[len(policyPrefix):]), v) })
	})
}
