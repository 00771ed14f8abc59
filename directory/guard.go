package directory

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// FailureLimits bound guessing (AU3). Zero fields mean the default. The counts
// live in memory: a restart forgets them, and not the networks that users know.
type FailureLimits struct {
	// A failed login is answered after MinDelay, and after one MinDelay more
	// for each failure that its network has to its name, up to MaxDelay.
	// Default 1 s, 5 s.
	MinDelay, MaxDelay time.Duration
	// PerNetwork failures from one IPv4 address or IPv6 /64 within Window block
	// it for Block. Default 10, 10 min, 15 min.
	PerNetwork    int
	Window, Block time.Duration
	// After PerAccount failures within AccountWindow from networks that never
	// logged in to the account, such networks wait MaxDelay before every try;
	// known ones are not held up. Default 20, 1 h.
	PerAccount    int
	AccountWindow time.Duration
	// PerDomain failures within AccountWindow, on whatever accounts, are
	// reported once as guessing spread over many. Default 200.
	PerDomain int
	// Entries is how many networks, accounts and familiar pairs of both are
	// remembered, each. Default 65,536.
	Entries int
}

func (l FailureLimits) withDefaults() FailureLimits {
	duration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	count := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	duration(&l.MinDelay, time.Second)
	duration(&l.MaxDelay, 5*time.Second)
	count(&l.PerNetwork, 10)
	duration(&l.Window, 10*time.Minute)
	duration(&l.Block, 15*time.Minute)
	count(&l.PerAccount, 20)
	duration(&l.AccountWindow, time.Hour)
	count(&l.PerDomain, 200)
	count(&l.Entries, cacheEntries)
	return l
}

// tally counts within a window that begins with its first event.
type tally struct {
	count   int
	since   time.Time
	blocked time.Time // until then
}

// add returns the count with one more event.
func (t *tally) add(now time.Time, window time.Duration) int {
	if now.Sub(t.since) > window {
		t.count, t.since = 0, now
	}
	t.count++
	return t.count
}

// current returns the count without adding.
func (t tally) current(now time.Time, window time.Duration) int {
	if now.Sub(t.since) > window {
		return 0
	}
	return t.count
}

// familiar is a network from which an account was opened.
type familiar struct {
	account string
	network netip.Prefix
}

// guard keeps the failure counts. Accounts go by the user name in canonical
// form, existing or not, so that the counts tell nothing about existence (AU2).
type guard struct {
	limits FailureLimits

	mu       sync.Mutex // makes read-and-count one step
	networks *cache[netip.Prefix, tally]
	accounts *cache[string, tally]
	familiar *cache[familiar, struct{}]
}

func newGuard(l FailureLimits) *guard {
	l = l.withDefaults()
	return &guard{
		limits:   l,
		networks: newCache[netip.Prefix, tally](l.Entries),
		accounts: newCache[string, tally](l.Entries),
		familiar: newCache[familiar, struct{}](l.Entries),
	}
}

// network is what failures of an address are counted on: itself for IPv4, the
// /64 for IPv6. Unknown addresses and loopback give the zero Prefix: they are
// never blocked, since they stand for proxies, tests and this machine.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// admit tells whether the network may try at all, and how long the try is to
// wait first. remembers is asked whether the account was opened from there before
// what is in memory.
func (g *guard) admit(net netip.Prefix, account string, now time.Time, remembers func() bool) (wait time.Duration, ok bool) {
	if net.IsValid() {
		if t, _, _ := g.networks.get(net); now.Before(t.blocked) {
			return 0, false
		}
	}
	t, _, seen := g.accounts.get(account)
	if !seen || t.current(now, g.limits.AccountWindow) < g.limits.PerAccount {
		return 0, true
	}
	if _, _, known := g.familiar.get(familiar{account, net}); known {
		return 0, true
	}
	if remembers() {
		g.succeeded(net, account)
		return 0, true
	}
	return g.limits.MaxDelay, true
}

// alarm says which limit a failure has just reached.
type alarm struct{ network, account, domain bool }

// failed counts a failure and returns how long its answer is held back.
func (g *guard) failed(net netip.Prefix, account, domain string, now time.Time) (time.Duration, alarm) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var a alarm
	t, gen, _ := g.networks.get(net)
	n := t.add(now, g.limits.Window)
	if net.IsValid() && n >= g.limits.PerNetwork {
		t = tally{blocked: now.Add(g.limits.Block)}
		a.network = true
	}
	g.networks.put(gen, net, t)
	if _, _, known := g.familiar.get(familiar{account, net}); !known {
		a.account = g.count(account, now) == g.limits.PerAccount
		a.domain = domain != "" && g.count("@"+domain, now) == g.limits.PerDomain
	}
	return min(time.Duration(n)*g.limits.MinDelay, g.limits.MaxDelay), a
}

func (g *guard) count(account string, now time.Time) int {
	t, gen, _ := g.accounts.get(account)
	n := t.add(now, g.limits.AccountWindow)
	g.accounts.put(gen, account, t)
	return n
}

// succeeded remembers the network as the account's own, and tells whether it is
// new in memory.
func (g *guard) succeeded(net netip.Prefix, account string) bool {
	k := familiar{account, net}
	_, gen, known := g.familiar.get(k)
	if !known {
		g.familiar.put(gen, k, struct{}{})
	}
	return !known
}

// pause waits, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
