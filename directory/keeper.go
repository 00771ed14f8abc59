package directory

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
)

// The rhythm of a Keeper.
const (
	keeperStart  = 10 * time.Second    // before its first look, so that a node starts in peace
	keeperSettle = 5 * time.Second     // after a change by somebody else
	lookFresh    = 5 * time.Minute     // at the record of a key of the last day
	lookLater    = time.Hour           // of the last two weeks, and of one that was missing
	lookRarely   = 6 * time.Hour       // at all others
	keyDue       = 14 * 24 * time.Hour // by when a record should be published
	spread       = time.Hour           // how long a record is seen at least before its key replaces another
	lookTime     = 30 * time.Second    // for one question, or one change of the DNS
	recordTTL    = time.Hour           // of records that we publish
	lookSoon     = time.Minute         // at one that we have just published
	looksAtOnce  = 8                   // domains whose records are looked at at the same time
)

// SignatureLife is how long a signature counts after it was made (MA5: x=).
const SignatureLife = 7 * 24 * time.Hour

// KeeperOptions are the parameters of a Keeper.
type KeeperOptions struct {
	DNS dns.Resolver
	// Rotate is how long a key signs before it gets a successor; 0: for ever.
	Rotate time.Duration
	// Records publishes records; nil: people do.
	Records KeyRecords
	// Hold is how long messages may wait here before they leave: keys that retired
	// stay in DNS for so much longer than SignatureLife.
	Hold time.Duration
}

// KeyRecords changes the DNS. *dns.Updater is one.
type KeyRecords interface {
	// AddTXT adds a record, RemoveTXT takes one away; it may be there, or gone,
	// already.
	AddTXT(ctx context.Context, name, text string, ttl time.Duration) error
	RemoveTXT(ctx context.Context, name, text string) error
}

// Keeper brings the DKIM keys of all domains through their lives: it makes those
// that are missing, looks into the DNS for their records, and changes to new keys
// when everybody can see them. A key signs only after its record was seen.
type Keeper struct {
	d    *Directory
	opts KeeperOptions

	making sync.Mutex // RSA keys are made one after the other
	mu     sync.Mutex
	looks  map[string]look // by name of the record
}

// look is what the DNS said of a record.
type look struct {
	at  time.Time
	ttl time.Duration
	err error
	// added tells that we published it, failed why that did not work.
	added  bool
	failed error
}

// NewKeeper returns a keeper of the keys of d, which must have Options.DKIM.
func NewKeeper(d *Directory, opts KeeperOptions) *Keeper {
	return &Keeper{d: d, opts: opts, looks: map[string]look{}}
}

// KeyStatus is a key with what the DNS said of it last.
type KeyStatus struct {
	DKIMKey
	// Looked is when the DNS was asked; zero: not since the start.
	Looked time.Time
	// Trouble is what is wrong with the record: an error of
	// mailauth.CheckKeyRecord. nil: nothing, or it was not looked at.
	Trouble error
}

// Due is by when the record of a key that waits for it should be published.
func (s *KeyStatus) Due() time.Time { return s.Created.Add(keyDue) }

// Run keeps the keys until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	changed, stop := k.d.db.Watch(key('x'))
	defer stop()
	timer, next := time.NewTimer(keeperStart), time.Now().Add(keeperStart)
	defer timer.Stop()
	wake := func(in time.Duration) {
		timer.Reset(in)
		next = time.Now().Add(in)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if time.Until(next) > keeperSettle {
				wake(keeperSettle)
			}
		case <-timer.C:
			wake(k.round(ctx))
		}
	}
}

// round sees to all domains, and returns when to do it again.
func (k *Keeper) round(ctx context.Context) time.Duration {
	domains, err := k.d.Domains(ctx)
	if err != nil {
		k.d.obs.keysNotKept("", err)
		return lookFresh
	}
	var mu sync.Mutex
	wait, seen := lookRarely, map[string]bool{}
	var g errgroup.Group
	g.SetLimit(looksAtOnce)
	for _, dom := range domains {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			list, next, err := k.see(ctx, dom.Name, visit{})
			if err != nil && ctx.Err() == nil {
				k.d.obs.keysNotKept(dom.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			wait = min(wait, next)
			for i := range list {
				seen[list[i].String()] = true
			}
			return nil
		})
	}
	_ = g.Wait() // nobody returns an error
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.looks {
		if !seen[name] && ctx.Err() == nil {
			delete(k.looks, name)
		}
	}
	return max(wait, time.Second)
}

// Check looks at the records of a domain now and moves its keys on as far as they
// are. With hurry a key whose record is right signs at once, although caches may
// not have it yet. NotFound: the domain is not ours.
func (k *Keeper) Check(ctx context.Context, domain string, hurry bool) ([]KeyStatus, error) {
	list, _, err := k.see(ctx, domain, visit{look: true, hurry: hurry})
	return list, err
}

// Retire stops signing with a key at once, and makes one to come after it. Errors
// are those of RetireDKIM.
func (k *Keeper) Retire(ctx context.Context, domain, selector string) error {
	if err := k.d.RetireDKIM(ctx, domain, selector, time.Now()); err != nil {
		return err
	}
	return k.make(ctx, domain, time.Time{})
}

// Remove destroys the private part of a key, and takes its record out of the DNS if
// it may. Errors are those of RemoveDKIM.
func (k *Keeper) Remove(ctx context.Context, domain, selector string) error {
	key, err := k.d.needKey(ctx, "remove DKIM key", domain, selector)
	if err == nil {
		err = k.d.RemoveDKIM(ctx, domain, selector, time.Now())
	}
	if err == nil {
		k.withdraw(ctx, key)
	}
	return err
}

// Status lists the keys of a domain, or of all for "", with what is known of them
// without asking. NotFound: the domain is not ours.
func (k *Keeper) Status(ctx context.Context, domain string) ([]KeyStatus, error) {
	keys, err := k.d.DKIMKeys(ctx, domain)
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]KeyStatus, len(keys))
	for i, key := range keys {
		l := k.looks[key.String()]
		list[i] = KeyStatus{key, l.at, l.err}
	}
	return list, err
}

// visit is how a domain is looked after: with a look at every record, and without
// waiting for caches.
type visit struct{ look, hurry bool }

// see looks after the keys of a domain and says when it is to be done again.
func (k *Keeper) see(ctx context.Context, domain string, v visit) (list []KeyStatus, next time.Duration, err error) {
	if err := k.make(ctx, domain, time.Time{}); err != nil {
		return nil, lookFresh, err
	}
	keys, err := k.d.DKIMKeys(ctx, domain)
	if err != nil {
		return nil, lookFresh, err
	}
	next = lookRarely
	for _, key := range keys {
		in, err := k.tend(ctx, key, keys, v)
		if err != nil {
			return nil, lookFresh, err
		}
		next = min(next, in)
	}
	list, err = k.Status(ctx, domain)
	return list, next, err
}

// make makes the keys that a domain lacks, and successors of those that have
// signed since old or longer.
func (k *Keeper) make(ctx context.Context, domain string, old time.Time) error {
	k.making.Lock()
	defer k.making.Unlock()
	made, err := k.d.ensureKeys(ctx, domain, old, time.Now())
	for _, key := range made {
		k.d.obs.keyMade(key)
	}
	return err
}

// tend moves a key on, if it is time, and says when to come again.
func (k *Keeper) tend(ctx context.Context, key DKIMKey, all []DKIMKey, v visit) (again time.Duration, err error) {
	now := time.Now()
	if key.State == KeyRetiring {
		gone := key.Since.Add(SignatureLife + k.opts.Hold)
		if now.Before(gone) {
			return gone.Sub(now), nil
		}
		k.withdraw(ctx, key)
		if err := k.d.removeKey(ctx, key, now); err != nil {
			return lookFresh, err
		}
		k.d.obs.keyRemoved(key)
		return lookRarely, nil
	}
	l, again := k.look(ctx, key, v.look)
	if ctx.Err() != nil {
		return again, ctx.Err()
	}
	switch now = time.Now(); key.State {
	case KeyPlanned:
		if l.err != nil {
			return again, nil
		}
		return k.published(ctx, key, l, all, v, now)
	case KeyPublished:
		return k.ready(ctx, key, l, again, v, now)
	}
	if old := key.Since.Add(k.opts.Rotate); k.opts.Rotate <= 0 {
		return again, nil
	} else if now.Before(old) {
		return min(again, old.Sub(now)), nil
	}
	slack := k.opts.Rotate / 6 // so that keys which began together go together
	return again, k.make(ctx, key.Domain, now.Add(slack-k.opts.Rotate))
}

// published notes that the record of a key was seen. It signs when whoever asked
// before has forgotten that there was none; the first key of a domain at once,
// since it has nothing to lose.
func (k *Keeper) published(ctx context.Context, key DKIMKey, l look, all []DKIMKey, v visit, now time.Time) (time.Duration, error) {
	to, wait := KeyPublished, max(spread, l.ttl)
	replaces := slices.ContainsFunc(all, func(o DKIMKey) bool { return o.State == KeySigning && o.Algorithm == key.Algorithm })
	if v.hurry || !replaces {
		to, wait = KeySigning, 0
	}
	return k.move(ctx, key, to, now.Add(wait), now)
}

// ready lets a published key sign when its time has come and its record is still
// right.
func (k *Keeper) ready(ctx context.Context, key DKIMKey, l look, again time.Duration, v visit, now time.Time) (time.Duration, error) {
	due := v.hurry || !now.Before(key.Ready)
	switch {
	case postino.Is(l.err, postino.Transient):
		return again, nil
	case l.err != nil:
		return k.move(ctx, key, KeyPlanned, time.Time{}, now)
	case !due:
		return min(again, key.Ready.Sub(now)), nil
	case now.Sub(l.at) > time.Minute: // look once more before
		if l, again = k.look(ctx, key, true); l.err != nil {
			return min(again, lookFresh), nil
		}
	}
	return k.move(ctx, key, KeySigning, time.Time{}, now)
}

func (k *Keeper) move(ctx context.Context, key DKIMKey, to KeyState, ready, now time.Time) (time.Duration, error) {
	moved, err := k.d.moveKey(ctx, key, to, ready, now)
	if moved && err == nil {
		k.d.obs.keyMoved(key, to)
	}
	if to == KeyPublished {
		return ready.Sub(now), err
	}
	return lookFresh, err
}

// look asks the DNS for a record, unless it did so lately, and says when it wants
// to look again.
func (k *Keeper) look(ctx context.Context, key DKIMKey, always bool) (l look, again time.Duration) {
	name := key.String()
	k.mu.Lock()
	last := k.looks[name]
	k.mu.Unlock()
	every := lookEvery(key, last, time.Now())
	if since := time.Since(last.at); !always && !last.at.IsZero() && since < every {
		return last, every - since
	}
	l.added, l.failed = last.added, last.failed
	if key.State == KeyPlanned && (last.at.IsZero() || last.err != nil) { // before the look, whose failure would be remembered
		k.publish(ctx, key, &l)
	}
	within, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	ttl, err := mailauth.CheckKeyRecord(within, k.opts.DNS, key.Selector, key.Domain, key.PublicKey())
	if ctx.Err() != nil {
		return last, every
	}
	l.at, l.ttl, l.err = time.Now(), ttl, err
	k.mu.Lock()
	k.looks[name] = l
	k.mu.Unlock()
	k.d.obs.keyLooked(key, last.err, err, time.Since(key.Created) > keyDue)
	return l, lookEvery(key, l, l.at)
}

// lookEvery is how often a record is looked at.
func lookEvery(key DKIMKey, last look, now time.Time) time.Duration {
	switch age := now.Sub(key.Since); {
	case key.State == KeySigning && last.err == nil:
		return lookRarely
	case key.State == KeySigning:
		return lookLater
	case last.added && age < time.Hour:
		return lookSoon
	case age < 24*time.Hour:
		return lookFresh
	case age < keyDue:
		return lookLater
	}
	return lookRarely
}

// publish puts the record of a key into the DNS, if we may.
func (k *Keeper) publish(ctx context.Context, key DKIMKey, l *look) {
	if k.opts.Records == nil {
		return
	}
	within, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	before := l.failed
	name, text := key.Record()
	l.failed = k.opts.Records.AddTXT(within, name, text, recordTTL)
	l.added = l.failed == nil
	if ctx.Err() == nil && l.failed != nil && before == nil {
		k.d.obs.recordNotChanged(key, l.failed)
	}
}

// withdraw takes the record of a key out of the DNS, if we may. A record that stays
// is of no harm: nobody has its key any more.
func (k *Keeper) withdraw(ctx context.Context, key DKIMKey) {
	if k.opts.Records == nil {
		return
	}
	within, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	name, text := key.Record()
	if err := k.opts.Records.RemoveTXT(within, name, text); err != nil && ctx.Err() == nil {
		k.d.obs.recordNotChanged(key, err)
	}
}
