package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
)

// ACMEOptions say who issues certificates, for which names, and how we prove that
// they are ours.
type ACMEOptions struct {
	// Source takes them into use. Files that are good for a name come first: no
	// certificate is asked for then.
	Source *Source
	Store  Store
	// Directories are the URLs of the authorities; the next is asked when one
	// fails.
	Directories []string
	// Email is where they may write to; may be empty.
	Email string
	// EAB binds our account to one that an authority knows already, by directory.
	EAB map[string]EAB
	// Roots vouch for the authorities themselves; nil: those of the system.
	Roots *x509.CertPool
	// Names are those that shall have a certificate, each its own; asked every ten
	// minutes and after Wake.
	Names func(context.Context) ([]string, error)
	// HTTP01 and TLSALPN01 tell that a listener answers on port 80, on port 443.
	HTTP01, TLSALPN01 bool
	// DNS01 puts answers into DNS; nil: not. DNSWait is how long the servers of a
	// zone take to learn it from each other.
	DNS01   Updater
	DNSWait time.Duration
	// DNS is asked whether a name exists before an authority is, and where its
	// challenge leads to.
	DNS dns.Resolver
	// Dial connects to authorities; nil is the network of the system.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Holder names this node in leases.
	Holder string
	Logger *slog.Logger // nil discards
}

// EAB is an external account binding (RFC 8555 §7.3.4); Key is base64url.
type EAB struct{ ID, Key string }

// ACME gets certificates and keeps them fresh.
type ACME struct {
	opts ACMEOptions
	obs  observer
	wake chan struct{}

	mu    sync.Mutex
	known map[string]*record // what was loaded last
}

// NewACME loads what was issued before into the source. The error is that of the
// store.
func NewACME(ctx context.Context, opts ACMEOptions) (*ACME, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	a := &ACME{opts: opts, obs: opts.Source.obs, wake: make(chan struct{}, 1), known: map[string]*record{}}
	a.obs.log = opts.Logger
	return a, a.load(ctx)
}

// load reads the records of all names and shows what they hold.
func (a *ACME) load(ctx context.Context) error {
	keys, err := a.opts.Store.Keys(ctx, "name/")
	if err != nil {
		return err
	}
	known := map[string]*record{}
	for _, k := range keys {
		name := strings.TrimPrefix(k, "name/")
		b, err := a.opts.Store.Get(ctx, k)
		if err != nil {
			return err
		}
		r := new(record)
		if err = decodeRow(b, r); err == nil {
			err = r.load()
		}
		if err != nil { // the others must not suffer; this one is asked for anew
			a.obs.log.Error("certificate cannot be read", "name", name, "err", err)
			r = new(record)
		}
		known[name] = r
	}
	a.mu.Lock()
	a.known = known
	a.mu.Unlock()
	a.show()
	return nil
}

func (r *record) load() error {
	for _, i := range []*issued{r.Current, r.Held} {
		if i != nil {
			if err := i.load(); err != nil {
				return err
			}
		}
	}
	return nil
}

// show takes into use what is current.
func (a *ACME) show() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*entry
	for _, name := range slices.Sorted(keysOf(a.known)) {
		if c := a.known[name].Current; c != nil && c.entry != nil {
			list = append(list, c.entry)
		}
	}
	a.opts.Source.setACME(list)
}

func keysOf(m map[string]*record) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// change changes the record of a name in the store and here.
func (a *ACME) change(ctx context.Context, name string, fn func(*record) error) (*record, error) {
	r, err := updateRow(ctx, a.opts.Store, "name/"+name, fn)
	if err == nil {
		err = r.load()
	}
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.known[name] = &r
	a.mu.Unlock()
	a.show()
	return &r, nil
}

// Run works until ctx ends. What fails is tried again, with pauses from 5 minutes
// to 6 hours.
func (a *ACME) Run(ctx context.Context) error {
	for {
		if err := a.pass(ctx); err != nil && ctx.Err() == nil {
			a.obs.log.Error("certificates cannot be looked after", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-time.After(lookEvery):
		}
	}
}

// maxNames bounds the names that are looked after.
const maxNames = 10_000

// pass looks after every name once, one after the other.
func (a *ACME) pass(ctx context.Context) error {
	names, err := a.opts.Names(ctx)
	if err != nil {
		return err
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxNames {
		a.obs.log.Error("too many names for certificates", "names", len(names), "limit", maxNames)
		names = names[:maxNames]
	}
	if err := a.load(ctx); err != nil { // another node may have been here
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := a.tend(ctx, name); err != nil {
			a.obs.log.Warn("no certificate", "name", name, "err", err)
		}
	}
	return a.forget(ctx, names)
}

// forget removes the records of names that are no longer ours when their
// certificates have ended.
func (a *ACME) forget(ctx context.Context, names []string) error {
	a.mu.Lock()
	var gone []string
	for name, r := range a.known {
		if !slices.Contains(names, name) && (r.Current == nil || time.Now().After(r.Current.entry.chain[0].NotAfter)) {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		delete(a.known, name)
	}
	a.mu.Unlock()
	for _, name := range gone {
		if err := a.opts.Store.Update(ctx, "name/"+name, func([]byte) ([]byte, error) { return nil, nil }); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		a.show()
	}
	return nil
}

// tend does what is due for a name.
func (a *ACME) tend(ctx context.Context, name string) error {
	if a.fromFile(name) {
		return nil
	}
	a.mu.Lock()
	r := a.known[name]
	a.mu.Unlock()
	if r == nil {
		r = new(record)
	}
	if r.Held != nil {
		return a.promote(ctx, name, r)
	}
	key, changes, err := a.keyFor(ctx, name, r)
	if err != nil {
		return err
	}
	if err := a.ask(ctx, name, r); err != nil {
		a.obs.log.Info("renewal info not known", "name", name, "err", err) // then the life of the certificate decides
	}
	now := time.Now()
	if !changes && r.Current != nil && now.Before(r.Current.due()) || now.Before(r.Retry) {
		return nil
	}
	ok, err := a.take(ctx, name)
	if err != nil || !ok {
		return err
	}
	i, err := a.obtain(ctx, name, r, key)
	if err == nil {
		a.obs.orders.With("issued").Inc()
		err = a.keep(ctx, name, i, key)
	} else if ctx.Err() == nil {
		a.obs.orders.With("failed").Inc()
		err = errors.Join(err, a.failed(ctx, name, err))
	}
	return errors.Join(err, a.release(context.WithoutCancel(ctx), name))
}

// fromFile tells whether a file has a certificate for the name that has not ended.
func (a *ACME) fromFile(name string) bool {
	for _, e := range a.opts.Source.inUse.Load().named(name) {
		if e.origin == FromFile && time.Now().Before(e.chain[0].NotAfter) {
			return true
		}
	}
	return false
}

// due is when a certificate is to be renewed: when the authority says; else with a
// third of its life left, or half of it when it lives less than ten days.
func (i *issued) due() time.Time {
	leaf := i.entry.chain[0]
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	left := life / 3
	if life < 10*24*time.Hour {
		left = life / 2
	}
	if at := leaf.NotAfter.Add(-left / 4); !i.Renew.IsZero() && i.Renew.Before(at) {
		return i.Renew
	}
	return leaf.NotAfter.Add(-left)
}

// keyFor is the key of the next certificate: that of the one before, so that TLSA
// records stay true, unless the next one may take its place.
func (a *ACME) keyFor(ctx context.Context, name string, r *record) (key string, changes bool, err error) {
	if r.NextKey != "" {
		ok, err := a.mayChange(ctx, name, r)
		if err != nil {
			return "", false, err
		}
		if ok {
			return r.NextKey, true, nil
		}
	}
	if r.Current != nil {
		return r.Current.Key, false, nil
	}
	_, key, err = newKey()
	return key, false, err
}

// mayChange tells whether the next key can be used.
func (a *ACME) mayChange(ctx context.Context, name string, r *record) (bool, error) {
	if r.Current == nil {
		return true, nil
	}
	// A certificate of our own for the key shows what DNS says of it.
	key, err := readKey(r.NextKey)
	if err != nil {
		return false, err
	}
	e, err := signWith(key, time.Now(), []string{name})
	if err != nil {
		return false, err
	}
	known := a.opts.Source.roll.vouchedFor(ctx, name, e.chain)
	if !known && !r.Rotate {
		return false, nil
	}
	return a.opts.Source.roll.hold(ctx, a.opts.Source.inUse.Load(), e) == "", nil
}

// keep stores what was issued, and takes it into use unless DNS vouches for the
// old key alone.
func (a *ACME) keep(ctx context.Context, name string, i *issued, key string) error {
	why := a.opts.Source.roll.hold(ctx, a.opts.Source.inUse.Load(), i.entry)
	_, err := a.change(ctx, name, func(r *record) error {
		r.Failures, r.Retry, r.Problem = 0, time.Time{}, why
		if r.NextKey == key {
			r.NextKey, r.Rotate = "", false
		}
		if why != "" && r.Current != nil {
			r.Held = i
		} else {
			r.Current, r.Held = i, nil
		}
		return nil
	})
	if err == nil && why != "" {
		return postino.E(postino.Conflict, "change certificate", name, errors.New(why))
	}
	if err == nil {
		a.obs.log.Info("certificate issued", "name", name, "until", i.entry.chain[0].NotAfter, "by", i.Directory)
	}
	return err
}

// promote takes a held certificate into use when DNS allows it.
func (a *ACME) promote(ctx context.Context, name string, r *record) error {
	why := a.opts.Source.roll.hold(ctx, a.opts.Source.inUse.Load(), r.Held.entry)
	if why != "" {
		if why == r.Problem { // told already
			return nil
		}
		_, err := a.change(ctx, name, func(r *record) error { r.Problem = why; return nil })
		return errors.Join(err, postino.E(postino.Conflict, "change certificate", name, errors.New(why)))
	}
	_, err := a.change(ctx, name, func(r *record) error {
		if r.Held != nil {
			r.Current, r.Held, r.Problem = r.Held, nil, ""
		}
		return nil
	})
	return err
}

// Pauses after failures.
const (
	firstPause = 5 * time.Minute
	lastPause  = 6 * time.Hour
)

// failed notes a failure and when to try again. Authorities count failures: five
// an hour are too many for some. Without an address none was asked.
func (a *ACME) failed(ctx context.Context, name string, cause error) error {
	_, err := a.change(ctx, name, func(r *record) error {
		if errors.Is(cause, errNoAddress) {
			r.Failures = 0
		}
		pause := min(firstPause<<min(r.Failures, 10), lastPause)
		r.Failures, r.Retry, r.Problem = r.Failures+1, time.Now().Add(pause), postino.Printable(cause.Error())
		return nil
	})
	return err
}

// State is how a name stands that certificates are asked for.
type State struct {
	Name     string
	Problem  string    // what went wrong last, or why a certificate is held back
	Retry    time.Time // when it is tried again; zero: nothing failed
	Renew    time.Time // when it is renewed; zero: there is none yet
	NextTLSA []dns.TLSA
}

// States lists the names in order.
func (a *ACME) States() (list []State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(keysOf(a.known)) {
		r := a.known[name]
		s := State{Name: name, Problem: r.Problem, Retry: r.Retry}
		if r.Current != nil {
			s.Renew = r.Current.due()
		}
		if key, err := readKey(r.NextKey); r.NextKey != "" && err == nil {
			if spki, err := x509.MarshalPKIXPublicKey(key.Public()); err == nil {
				s.NextTLSA = tlsaOf(spki)
			}
		}
		list = append(list, s)
	}
	return list
}

// NextKey makes the key that will take the place of the one in use for a name, if
// there is none yet, and returns the record to publish for it. It is used as soon
// as DNS has had the record for two TTLs. NotFound: no certificates are asked for
// for that name.
func (a *ACME) NextKey(ctx context.Context, name string) ([]dns.TLSA, error) {
	_, fresh, err := newKey()
	if err != nil {
		return nil, err
	}
	r, err := a.known1(ctx, name, func(r *record) error {
		if r.NextKey == "" {
			r.NextKey = fresh
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	key, err := readKey(r.NextKey)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	return tlsaOf(spki), err
}

// Rotate changes the key of a name as soon as DNS does not speak against it: at
// once when there are no TLSA records. It makes the next key if there is none.
func (a *ACME) Rotate(ctx context.Context, name string) error {
	_, fresh, err := newKey()
	if err != nil {
		return err
	}
	_, err = a.known1(ctx, name, func(r *record) error {
		if r.NextKey == "" {
			r.NextKey = fresh
		}
		r.Rotate = true
		return nil
	})
	return err
}

// known1 changes the record of a name that has one, and wakes Run.
func (a *ACME) known1(ctx context.Context, name string, fn func(*record) error) (*record, error) {
	names, err := a.opts.Names(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, name) {
		return nil, postino.E(postino.NotFound, "change key", name, fmt.Errorf("certificates are asked for for: %s", strings.Join(names, ", ")))
	}
	r, err := a.change(ctx, name, fn)
	if err == nil {
		a.Wake()
	}
	return r, err
}

// Wake makes Run look at once.
func (a *ACME) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
