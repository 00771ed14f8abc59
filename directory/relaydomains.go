package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// MaxBatch is how many listed recipients one call changes.
const MaxBatch = 10_000

var errRelaysAll = errors.New("all addresses of this relay domain are relayed; list its recipients first")

// relaysAll tells that no address of the domain is left over for a catch-all.
func (dom Domain) relaysAll() bool { return dom.Relay && dom.Recipients != ListedRecipients }

// checkRelay refuses what would have no effect.
func checkRelay(r kv.Reader, dom Domain) error {
	switch {
	case dom.Recipients > CallAhead:
		return errors.New("no such way of knowing recipients")
	case !dom.Relay && dom.Recipients != AnyRecipient:
		return errors.New("only a relay domain says how its recipients are known")
	case !dom.relaysAll():
		return nil
	case !dom.CatchAll.IsNull():
		return fmt.Errorf("catch-all: %w", errRelaysAll)
	}
	e, ok, err := getEntry(r, postino.Address{Domain: dom.Name})
	if err == nil && ok && e.Alias != nil {
		err = fmt.Errorf("alias %s: %w", name(e.Alias.Address), errRelaysAll)
	}
	return err
}

// recipientKey takes a folded local part.
func recipientKey(domain, local string) []byte {
	k := append(key('l'), domain...)
	return append(append(k, 0), local...)
}

// knowsRecipient tells whether an address of a relay domain is relayed as far
// as is known here. postmaster always is (RFC 5321 §4.5.1).
func knowsRecipient(r kv.Reader, dom Domain, a postino.Address) (bool, error) {
	local := fold(a.Local)
	if dom.Recipients != ListedRecipients || local == "postmaster" {
		return true, nil
	}
	_, ok, err := r.Get(recipientKey(dom.Name, local))
	if ok || err != nil {
		return ok, err
	}
	base, _, split := dom.split(local)
	if !split {
		return false, nil
	}
	_, ok, err = r.Get(recipientKey(dom.Name, base))
	return ok, err
}

// KnowsRelayRecipient tells whether an address is in a relay domain and taken
// there: always unless the domain has ListedRecipients. Local parts are
// compared without case, and the sub-address is taken off, as for users.
func (d *Directory) KnowsRelayRecipient(ctx context.Context, a postino.Address) (known bool, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		known = false
		dom, ok, err := getDomain(r, a.Domain)
		if err == nil && ok && dom.Relay {
			known, err = knowsRecipient(r, dom, a)
		}
		return err
	})
	return known, err
}

// SetRelayRecipients puts addresses on the list of a relay domain, or takes
// them off, and tells how many of them it changed. Invalid: they are to be listed
// and the domain is no relay domain, an address is not in it, or they are more than MaxBatch; then nothing
// was changed.
func (d *Directory) SetRelayRecipients(ctx context.Context, domain string, list []postino.Address, listed bool) (changed int, err error) {
	const op = "list recipients"
	if len(list) > MaxBatch {
		return 0, postino.E(postino.Invalid, op, postino.Printable(domain), fmt.Errorf("%d at once, %d are possible", len(list), MaxBatch))
	}
	err = d.update(ctx, nil, func(tx kv.Tx) error {
		changed = 0
		dom, err := needDomain(tx, op, domain)
		if err != nil {
			return err
		}
		if listed && !dom.Relay {
			return postino.E(postino.Invalid, op, dom.Name, errors.New("it is not a relay domain"))
		}
		for _, a := range list {
			if a.Domain != dom.Name || a.Local == "" {
				return postino.E(postino.Invalid, op, dom.Name, fmt.Errorf("%s is not an address of it", name(a)))
			}
			k := recipientKey(dom.Name, fold(a.Local))
			_, ok, err := tx.Get(k)
			if err == nil && ok != listed {
				changed++
				if listed {
					err = setRecord(tx, k, a.Local)
				} else {
					err = tx.Delete(k)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return changed, err
}

// RelayRecipients lists at most limit recipients of a domain in order,
// from the one after after; the zero Address begins at the start.
func (d *Directory) RelayRecipients(ctx context.Context, domain string, after postino.Address, limit int) (list []postino.Address, err error) {
	if limit <= 0 || limit > MaxBatch {
		limit = MaxBatch
	}
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		dom, err := needDomain(r, "list recipients", domain)
		if err != nil {
			return err
		}
		rest := kv.Prefix(recipientKey(dom.Name, ""))
		if after.Local != "" {
			rest.Start = append(recipientKey(dom.Name, fold(after.Local)), 0)
		}
		return scanRange(r, rest, func(_ []byte, local string) (bool, error) {
			list = append(list, postino.Address{Local: local, Domain: dom.Name})
			return len(list) < limit, nil
		})
	})
	return list, err
}

// ClearRelayRecipients empties the list of a domain, in several
// transactions when it is long, and tells how many there were.
func (d *Directory) ClearRelayRecipients(ctx context.Context, domain string) (int, error) {
	var last postino.Address // the store is slow to pass over what was just removed
	for n := 0; ; {
		list, err := d.RelayRecipients(ctx, domain, last, MaxBatch)
		if err != nil || len(list) == 0 {
			return n, err
		}
		last = list[len(list)-1]
		changed, err := d.SetRelayRecipients(ctx, domain, list, false)
		n += changed
		if err != nil {
			return n, err
		}
	}
}
