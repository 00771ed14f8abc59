package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// TrustKind says as what somebody is trusted.
type TrustKind uint8

// The kinds. The numbers are stored; new ones go to the end.
const (
	// TrustForwarder is a host that sends our users their mail from elsewhere: a
	// network, or a name that its addresses lead to and back.
	TrustForwarder TrustKind = iota + 1
	// TrustList is a mailing list, by the domain that signs for it or by its List-Id.
	TrustList
	// TrustSealer is a domain whose ARC seals are believed (MA6).
	TrustSealer
)

var trustKinds = words[TrustKind]{"", "forwarder", "list", "sealer"}

// String is the kind as commands name it.
func (k TrustKind) String() string { return trustKinds.name(k) }

// ParseTrustKind reads what String writes.
func ParseTrustKind(s string) (TrustKind, error) {
	k, err := trustKinds[TrustForwarder:].parse("kind of trust", s)
	return k + TrustForwarder, err
}

// Trust is one of those whose mail is taken although the policy of the domain in
// From would have it refused.
type Trust struct {
	Kind TrustKind
	// Name is a network or an address (forwarders only), or a domain, which stands
	// for the names below it too.
	Name  string
	Added time.Time
}

// MaxTrust is how many may be listed.
const MaxTrust = 10_000

var errTrustMany = fmt.Errorf("%d are trusted already", MaxTrust)

// canonical returns the one form in which it is kept.
func (t Trust) canonical() (Trust, error) {
	const op = "trust"
	if t.Kind < TrustForwarder || t.Kind > TrustSealer {
		return t, postino.E(postino.Invalid, op, postino.Printable(t.Name), errors.New("no such kind"))
	}
	if p, ok := parseNetwork(t.Name); ok {
		if t.Kind != TrustForwarder {
			return t, postino.E(postino.Invalid, op, postino.Printable(t.Name), fmt.Errorf("a %s is a domain", t.Kind))
		}
		if p.Bits() == 0 {
			return t, postino.E(postino.Invalid, op, postino.Printable(t.Name), errors.New("that is everybody"))
		}
		t.Name = p.String()
		return t, nil
	}
	name, err := postino.CanonicalDomain(strings.TrimSuffix(t.Name, "."))
	if err != nil || strings.HasPrefix(name, "[") {
		return t, postino.E(postino.Invalid, op, postino.Printable(t.Name), err)
	}
	if !strings.Contains(name, ".") {
		return t, postino.E(postino.Invalid, op, postino.Printable(t.Name), errors.New("a domain has at least two labels"))
	}
	t.Name = name
	return t, nil
}

// parseNetwork reads a network or an address, which is a network of one.
func parseNetwork(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

func trustKey(t Trust) []byte { return append(append(key('v'), byte(t.Kind)), t.Name...) }

// AddTrust trusts somebody from now on. Conflict when it is so already, Invalid
// for a name that is none, Full when there are too many.
func (d *Directory) AddTrust(ctx context.Context, t Trust) error {
	t, err := t.canonical()
	if err != nil {
		return err
	}
	return d.update(ctx, nil, func(tx kv.Tx) error {
		if _, ok, err := tx.Get(trustKey(t)); ok || err != nil {
			return postino.E(postino.Conflict, "trust "+t.Kind.String(), t.Name, err)
		}
		n := 0
		if err := tx.Scan(kv.Prefix(key('v')), func(_, _ []byte) bool { n++; return n < MaxTrust }); err != nil {
			return err
		}
		if n >= MaxTrust {
			return postino.E(postino.Full, "trust "+t.Kind.String(), t.Name, errTrustMany)
		}
		return setRecord(tx, trustKey(t), t)
	})
}

// RemoveTrust ends it: for this node at once, for others within a minute (AU8).
// NotFound when there was none.
func (d *Directory) RemoveTrust(ctx context.Context, t Trust) error {
	t, err := t.canonical()
	if err != nil {
		return err
	}
	return d.update(ctx, nil, func(tx kv.Tx) error {
		if _, ok, err := tx.Get(trustKey(t)); !ok || err != nil {
			if err == nil {
				err = postino.E(postino.NotFound, "end trust in "+t.Kind.String(), t.Name, nil)
			}
			return err
		}
		return tx.Delete(trustKey(t))
	})
}

// Trusts lists all, by kind and name.
func (d *Directory) Trusts(ctx context.Context) (list []Trust, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		return scan(r, key('v'), func(_ []byte, t Trust) (bool, error) {
			list = append(list, t)
			return true, nil
		})
	})
	return list, err
}

// TrustTable answers quickly who is trusted. It does not change.
type TrustTable struct {
	networks []netip.Prefix
	names    [TrustSealer + 1]map[string]bool
}

// Trusted returns the table as it is now.
func (d *Directory) Trusted(ctx context.Context) (*TrustTable, error) {
	t, generation, ok := d.trust.get(struct{}{})
	if ok {
		return t, nil
	}
	list, err := d.Trusts(ctx)
	if err != nil {
		return nil, err
	}
	t = &TrustTable{}
	for _, one := range list {
		if p, ok := parseNetwork(one.Name); ok {
			t.networks = append(t.networks, p)
			continue
		}
		if one.Kind > TrustSealer {
			continue // of a newer version
		}
		if t.names[one.Kind] == nil {
			t.names[one.Kind] = map[string]bool{}
		}
		t.names[one.Kind][one.Name] = true
	}
	d.trust.put(generation, struct{}{}, t)
	return t, nil
}

// Forwarder tells as what an address is listed among the forwarders, by its
// network or by the name that was confirmed for it; "" when it is not, and for
// the nil table.
func (t *TrustTable) Forwarder(a netip.Addr, confirmed string) string {
	if t == nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	for _, p := range t.networks {
		if p.Contains(a) {
			return p.String()
		}
	}
	return t.under(TrustForwarder, confirmed)
}

// List is the entry of the list, or the domain above it, that a domain belongs to.
func (t *TrustTable) List(domain string) string { return t.under(TrustList, domain) }

// Sealer is the same for sealers of ARC.
func (t *TrustTable) Sealer(domain string) string { return t.under(TrustSealer, domain) }

// Empty tells that nobody of a kind is trusted, so that nothing need be found out.
func (t *TrustTable) Empty(k TrustKind) bool {
	return t == nil || len(t.names[k]) == 0 && (k != TrustForwarder || len(t.networks) == 0)
}

// under looks for a canonical name and those above it.
func (t *TrustTable) under(k TrustKind, name string) string {
	if t == nil || len(t.names[k]) == 0 {
		return ""
	}
	for name != "" {
		if t.names[k][name] {
			return name
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return ""
}
