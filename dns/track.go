package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Times of RFC 5011 §2.3 and §2.4.
const (
	addHold      = 30 * 24 * time.Hour // how long a new key must have been seen
	refreshLeast = time.Hour
	refreshMost  = 24 * time.Hour // 15 days would do
	maxTracked   = 64             // keys of the root that are remembered
)

// trackedKey is a key of the root as RFC 5011 §4 has it: pending while it has no
// Trusted and no Revoked. Keys that Postino comes with are trusted from the
// start.
type trackedKey struct {
	Anchor  DS
	Seen    time.Time `json:",omitzero"`  // pending: since when in every set of keys,
	By      []DS      `json:",omitempty"` // … and the anchors that signed the first of them
	Trusted time.Time `json:",omitzero"`
	Missing time.Time `json:",omitzero"` // not in the set any more, though not revoked
	Revoked time.Time `json:",omitzero"`
}

// tracker follows the changes of the root's keys.
type tracker struct{ Keys []trackedKey }

// anchors are the keys that are trusted. Without any, nothing can be proven: so
// RFC 5011 §5 has it, and a root that revoked all its keys asks for a new
// release.
func (t *tracker) anchors() (all []Anchor) {
	for _, k := range t.Keys {
		if !k.Trusted.IsZero() && k.Revoked.IsZero() {
			all = append(all, k.Anchor)
		}
	}
	return all
}

func (t *tracker) find(a DS) *trackedKey {
	for i := range t.Keys {
		if equalDS(t.Keys[i].Anchor, a) {
			return &t.Keys[i]
		}
	}
	return nil
}

func equalDS(a, b DS) bool {
	return a.KeyTag == b.KeyTag && a.Algorithm == b.Algorithm && a.Digest == b.Digest && slices.Equal(a.Hash, b.Hash)
}

// see takes in a set of keys, and returns what changed, for people.
func (t *tracker) see(set rootSet, now time.Time) (changes []string) {
	for _, a := range set.revoked { // RevBit
		if k := t.find(a); k != nil && k.Revoked.IsZero() {
			k.Revoked = now
			changes = append(changes, fmt.Sprintf("key %d of the root is revoked", a.KeyTag))
		}
	}
	var kept []trackedKey
	for _, k := range t.Keys {
		here := slices.ContainsFunc(set.present, func(a DS) bool { return equalDS(a, k.Anchor) })
		switch pending := k.Trusted.IsZero(); {
		case !k.Revoked.IsZero():
		case pending && (!here || t.allRevoked(k.By)): // KeyRem; RFC 5011 §2.2
			changes = append(changes, fmt.Sprintf("new key %d of the root is gone again, or those that vouched for it are", k.Anchor.KeyTag))
			continue
		case pending && now.Sub(k.Seen) >= set.hold: // AddTime
			k.Trusted, k.By = now, nil
			changes = append(changes, fmt.Sprintf("key %d of the root is trusted from now on", k.Anchor.KeyTag))
		case pending:
		case here: // KeyPres
			k.Missing = time.Time{}
		case k.Missing.IsZero(): // KeyRem
			k.Missing = now
			changes = append(changes, fmt.Sprintf("key %d of the root is missing", k.Anchor.KeyTag))
		}
		kept = append(kept, k)
	}
	t.Keys = kept
	for _, a := range set.present { // NewKey
		if t.find(a) == nil && len(t.Keys) < maxTracked {
			t.Keys = append(t.Keys, trackedKey{Anchor: a, Seen: now, By: set.by})
			changes = append(changes, fmt.Sprintf("key %d of the root is new: it will be trusted in %d days", a.KeyTag, int(set.hold.Hours()/24)))
		}
	}
	return changes
}

func (t *tracker) allRevoked(by []DS) bool {
	return !slices.ContainsFunc(by, func(a DS) bool {
		k := t.find(a)
		return k != nil && k.Revoked.IsZero()
	})
}

// rootSet is a set of keys of the root that an anchor proved.
type rootSet struct {
	present, revoked []DS // entry points; those that revoke themselves, as they were
	by               []DS // the anchors that signed the set
	hold             time.Duration
	again            time.Duration // when to ask again
}

// rootKeys asks for the keys of the root.
func (v *Validator) rootKeys(ctx context.Context) (set rootSet, err error) {
	for _, source := range v.sources {
		l := &lookup{&work{now: time.Now(), skew: v.skew}, v, source}
		if set, err = l.rootKeys(ctx); err == nil {
			break
		}
	}
	return set, err
}

func (l *lookup) rootKeys(ctx context.Context) (set rootSet, err error) {
	var anchors []*dns.DS
	for _, a := range *l.v.anchors.Load() {
		anchors = append(anchors, a.ds())
	}
	r, err := l.fetch(ctx, ".", dns.TypeDNSKEY)
	if err != nil {
		return set, err
	}
	_, entry, _, err := l.prove(r, ".", anchors)
	if err != nil {
		return set, err
	}
	s := r.find(".", dns.TypeDNSKEY)
	for _, k := range entry {
		if _, err := l.authenticate(s, ".", []key{k}); err == nil {
			set.by = append(set.by, anchorOf(k.DNSKEY))
		}
	}
	for _, rr := range s.records {
		k, ok := rr.(*dns.DNSKEY)
		if !ok || k.Flags&dns.SEP == 0 || k.Flags&dns.ZONE == 0 || k.Protocol != 3 || !supported(k.Algorithm) {
			continue
		}
		if k.Flags&dns.REVOKE == 0 {
			set.present = append(set.present, anchorOf(k))
		} else if _, err := l.authenticate(s, ".", []key{{k, k.KeyTag()}}); err == nil { // RFC 5011 §2.1: it signs its own end
			was := *k
			was.Flags &^= dns.REVOKE
			set.revoked = append(set.revoked, anchorOf(&was))
		}
	}
	original, left := refreshMost, refreshMost
	for _, sig := range s.sigs {
		original = min(original, seconds(min(sig.OrigTtl, 1<<31-1)))
		left = min(left, time.Duration(int32(sig.Expiration-uint32(l.now.Unix())))*time.Second)
	}
	set.hold, set.again = max(addHold, original), max(refreshLeast, min(original, left)/2)
	return set, nil
}

// anchorOf is the anchor that a key would be.
func anchorOf(k *dns.DNSKEY) DS {
	var a Answer
	a.add(k.ToDS(dns.SHA256))
	return a.DS[0]
}

// keptKeys is the name of what a Keeper keeps of the root's keys: a version,
// and a tracker as JSON.
const (
	keptKeys        = "root-keys"
	keptKeysVersion = 1
)

// Anchors are the keys of the root that are trusted now.
func (a *Auto) Anchors() []Anchor { return slices.Clone(*a.anchors.Load()) }

// loadKeys begins with the keys that are remembered, and those that Postino
// comes with unless they were revoked.
func (a *Auto) loadKeys(ctx context.Context) {
	if a.opts.Keep != nil {
		b, err := a.opts.Keep.Load(ctx, keptKeys)
		if err == nil && len(b) > 0 {
			if b[0] != keptKeysVersion {
				err = errors.New("written by a newer version, or damaged")
			} else {
				err = json.Unmarshal(b[1:], &a.keys)
			}
		}
		if err != nil {
			a.opts.Logger.Warn("what is known of the root's keys cannot be read", "err", err)
			a.keys = tracker{}
		}
	}
	for _, anchor := range a.opts.Anchors {
		if k := a.keys.find(anchor); k == nil {
			a.keys.Keys = append(a.keys.Keys, trackedKey{Anchor: anchor, Trusted: time.Now()})
		} else if k.Trusted.IsZero() { // a release is as good as 30 days
			k.Trusted = time.Now()
		}
	}
	anchors := a.keys.anchors()
	a.anchors.Store(&anchors)
}

// track follows the root's keys, and tells when to do so again (RFC 5011 §2.3).
func (a *Auto) track(ctx context.Context) time.Duration {
	opts := a.opts.ValidatorOptions
	opts.shared, opts.CacheBytes = &a.anchors, 1<<20
	v, err := NewValidator(opts)
	if err != nil {
		return refreshMost // NewAuto has tried the same
	}
	set, err := v.rootKeys(ctx)
	if err != nil {
		return refreshLeast
	}
	changes := a.keys.see(set, time.Now())
	if len(changes) == 0 {
		return set.again
	}
	anchors := a.keys.anchors()
	a.anchors.Store(&anchors)
	if v, ok := a.current.Load().Resolver.(*Validator); ok {
		v.trusts.InvalidateAll()
	}
	a.opts.Logger.Info("DNSSEC: " + strings.Join(changes, "; "))
	if a.opts.Keep != nil {
		b, err := json.Marshal(&a.keys)
		if err == nil {
			err = a.opts.Keep.Save(ctx, keptKeys, append([]byte{keptKeysVersion}, b...))
		}
		if err != nil && ctx.Err() == nil {
			a.opts.Logger.Warn("what is known of the root's keys cannot be kept", "err", err)
		}
	}
	return set.again
}
