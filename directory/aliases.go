package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// entry is what stands at an address: a user or an alias.
type entry struct {
	User  uint64 `json:",omitempty"`
	Alias *Alias `json:",omitempty"`
}

func (e entry) String() string {
	if e.Alias == nil {
		return "users"
	}
	return "the alias " + name(e.Alias.Address)
}

// name writes an address for messages; the alias of a whole domain is "@domain".
func name(a postino.Address) string {
	if a.Local == "" {
		return "@" + a.Domain
	}
	return postino.Printable(a.String())
}

// SetAlias adds an alias or replaces its targets. Conflict: the address is a
// user's; NotFound: the domain is not ours; Invalid: a target in a domain of
// ours is unknown, or the alias leads to itself.
func (d *Directory) SetAlias(ctx context.Context, a Alias) error {
	const op = "set alias"
	if n := len(a.Targets); n == 0 || n > MaxTargets {
		return postino.E(postino.Invalid, op, name(a.Address), fmt.Errorf("%d targets, 1 to %d are possible", n, MaxTargets))
	}
	return d.update(ctx, nil, func(tx kv.Tx) error {
		if _, err := needDomain(tx, op, a.Address.Domain); err != nil {
			return err
		}
		e, ok, err := getEntry(tx, a.Address)
		if err != nil {
			return err
		}
		if ok && e.Alias == nil {
			return postino.E(postino.Conflict, op, name(a.Address), errors.New("the address is a user's"))
		}
		a.Since = time.Now().UTC().Truncate(time.Second)
		if ok && slices.Equal(e.Alias.Targets, a.Targets) {
			a.Since = e.Alias.Since
		}
		if err := setEntry(tx, a.Address, entry{Alias: &a}); err != nil {
			return err
		}
		if a.Address.Local == "" {
			err = checkDomainAlias(tx, a)
		} else {
			err = checkAlias(tx, a)
		}
		if err != nil {
			return postino.E(postino.Invalid, op, name(a.Address), err)
		}
		return nil
	})
}

// checkAlias follows an alias to its end: every loop that it closes begins at it.
func checkAlias(r kv.Reader, a Alias) error {
	for _, t := range a.Targets {
		if t.Local == "" || t.Domain == "" {
			return fmt.Errorf("target %s is no address", name(t))
		}
	}
	x := expansion{r: r, strict: true}
	return x.add(a.Address, postino.Address{})
}

// checkDomainAlias follows the domains, then the aliases that lead into the
// domain, since the addresses of which a loop could be made are not listed
// anywhere else.
func checkDomainAlias(r kv.Reader, a Alias) error {
	dom, err := needDomain(r, "find domain", a.Address.Domain)
	if err != nil {
		return err
	}
	if dom.relaysAll() {
		return errRelaysAll
	}
	seen := map[string]bool{}
	next := []string{}
	for _, t := range a.Targets {
		if t.Local != "" {
			return fmt.Errorf("target %s of a whole domain must be a whole domain", name(t))
		}
		if t.Domain == "" {
			return errors.New("a target has no domain")
		}
		next = append(next, t.Domain)
	}
	for len(next) > 0 {
		domain := next[len(next)-1]
		next = next[:len(next)-1]
		if domain == a.Address.Domain {
			return fmt.Errorf("alias loop at %s", name(a.Address))
		}
		if seen[domain] {
			continue
		}
		seen[domain] = true
		e, ok, err := getEntry(r, postino.Address{Domain: domain})
		if err != nil {
			return err
		}
		if ok && e.Alias != nil {
			for _, t := range e.Alias.Targets {
				next = append(next, t.Domain)
			}
		}
	}
	return scan(r, key('a'), func(_ []byte, e entry) (bool, error) {
		if e.Alias == nil || e.Alias.Address.Local == "" {
			return true, nil
		}
		for _, t := range e.Alias.Targets {
			if t.Domain == a.Address.Domain {
				return true, checkAlias(r, *e.Alias)
			}
		}
		return true, nil
	})
}

// RemoveAlias removes an alias. Conflict: another alias leads to it.
func (d *Directory) RemoveAlias(ctx context.Context, addr postino.Address) error {
	const op = "remove alias"
	return d.update(ctx, nil, func(tx kv.Tx) error {
		a, err := needAlias(tx, op, addr)
		if err != nil {
			return err
		}
		if a.Address.Local != "" {
			if err := unusedAddress(tx, op, a.Address); err != nil {
				return err
			}
		}
		return tx.Delete(entryKey(a.Address.Domain, fold(a.Address.Local)))
	})
}

// Alias returns the alias at an address. NotFound: there is none.
func (d *Directory) Alias(ctx context.Context, addr postino.Address) (a Alias, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		a, err = needAlias(r, "find alias", addr)
		return err
	})
	return a, err
}

// Aliases lists the aliases of a domain, or all for "", in order of address.
func (d *Directory) Aliases(ctx context.Context, domain string) (list []Alias, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		prefix := key('a')
		if domain != "" {
			dom, err := needDomain(r, "list aliases", domain)
			if err != nil {
				return err
			}
			prefix = entryKey(dom.Name, "")
		}
		return scan(r, prefix, func(_ []byte, e entry) (bool, error) {
			if e.Alias != nil {
				list = append(list, *e.Alias)
			}
			return true, nil
		})
	})
	return list, err
}

func needAlias(r kv.Reader, op string, addr postino.Address) (Alias, error) {
	e, ok, err := getEntry(r, addr)
	if err != nil {
		return Alias{}, err
	}
	if !ok || e.Alias == nil {
		return Alias{}, postino.E(postino.NotFound, op, name(addr), errors.New("no such alias"))
	}
	return *e.Alias, nil
}

func getEntry(r kv.Reader, a postino.Address) (e entry, ok bool, err error) {
	ok, err = getRecord(r, entryKey(a.Domain, fold(a.Local)), &e)
	return e, ok, err
}

func setEntry(tx kv.Tx, a postino.Address, e entry) error {
	return setRecord(tx, entryKey(a.Domain, fold(a.Local)), e)
}

// unusedAddress makes it a Conflict when an alias or a catch-all leads to a.
func unusedAddress(r kv.Reader, op string, a postino.Address) error {
	dom, _, err := getDomain(r, a.Domain)
	if err != nil {
		return err
	}
	want := folded(a)
	return unused(r, op, name(a), func(t postino.Address) bool {
		t = folded(t)
		if t == want {
			return true
		}
		user, _, ok := dom.split(t.Local)
		return ok && t.Domain == want.Domain && user == want.Local
	})
}

// unused makes it a Conflict when the target of an alias or a catch-all is hit.
func unused(r kv.Reader, op, object string, hit func(postino.Address) bool) error {
	err := scan(r, key('a'), func(_ []byte, e entry) (bool, error) {
		if e.Alias == nil {
			return true, nil
		}
		for _, t := range e.Alias.Targets {
			if hit(t) {
				return false, postino.E(postino.Conflict, op, object, fmt.Errorf("the alias %s leads there", name(e.Alias.Address)))
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return scan(r, key('D'), func(_ []byte, dom Domain) (bool, error) {
		if !dom.CatchAll.IsNull() && hit(dom.CatchAll) {
			return false, postino.E(postino.Conflict, op, object, fmt.Errorf("the catch-all of %s leads there", dom.Name))
		}
		return true, nil
	})
}
