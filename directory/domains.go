package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// AddDomain makes a domain local, with keys that sign for it as soon as they are
// published. Conflict: it is already; Invalid: the name, the separator, the
// catch-all address or the way of relaying cannot be used.
func (d *Directory) AddDomain(ctx context.Context, dom Domain) error {
	const op = "add domain"
	name, err := postino.CanonicalDomain(dom.Name)
	if err != nil || strings.HasPrefix(name, "[") {
		return postino.E(postino.Invalid, op, postino.Printable(dom.Name), errors.New("not a domain name"))
	}
	dom.Name = name
	absent := func(r kv.Reader) error {
		_, ok, err := r.Get(domainKey(name))
		return taken(ok, op, name, err)
	}
	if err := d.view(ctx, absent); err != nil {
		return err
	}
	var keys []DKIMKey
	if o := d.opts.DKIM; o != nil {
		if keys, err = o.makeKeys(ctx, name, o.algorithms(name), nil, time.Now()); err != nil {
			return err
		}
	}
	return d.update(ctx, nil, func(tx kv.Tx) error {
		if err := absent(tx); err != nil {
			return err
		}
		for _, k := range keys {
			if err := putKey(tx, k); err != nil {
				return err
			}
		}
		return putDomain(tx, op, dom)
	})
}

// UpdateDomain changes a domain; its name stays. Invalid: as AddDomain.
func (d *Directory) UpdateDomain(ctx context.Context, name string, change func(*Domain)) error {
	const op = "change domain"
	return d.update(ctx, nil, func(tx kv.Tx) error {
		dom, err := needDomain(tx, op, name)
		if err != nil {
			return err
		}
		after := dom
		change(&after)
		if after.Name != dom.Name {
			return postino.E(postino.Invalid, op, dom.Name, errors.New("a domain cannot be renamed"))
		}
		return putDomain(tx, op, after)
	})
}

// RemoveDomain makes a domain foreign again. Conflict: it still has users,
// aliases or listed recipients, or somebody's mail leads into it.
func (d *Directory) RemoveDomain(ctx context.Context, name string) error {
	const op = "remove domain"
	var keys []DKIMKey
	err := d.update(ctx, nil, func(tx kv.Tx) error {
		dom, err := needDomain(tx, op, name)
		if err != nil {
			return err
		}
		err = scan(tx, entryKey(dom.Name, ""), func(_ []byte, e entry) (bool, error) {
			return false, postino.E(postino.Conflict, op, dom.Name, fmt.Errorf("it still has %s", e))
		})
		if err != nil {
			return err
		}
		err = scan(tx, recipientKey(dom.Name, ""), func(_ []byte, _ string) (bool, error) {
			return false, postino.E(postino.Conflict, op, dom.Name, errors.New("it still has listed recipients"))
		})
		if err != nil {
			return err
		}
		if keys, err = domainKeys(tx, dom.Name); err != nil {
			return err
		}
		for _, k := range keys {
			if err := tx.Delete(dkimKey(k.Domain, k.Selector)); err != nil {
				return err
			}
		}
		if err := tx.Delete(domainKey(dom.Name)); err != nil { // first, so that its own catch-all does not count
			return err
		}
		return unused(tx, op, dom.Name, func(a postino.Address) bool { return a.Domain == dom.Name })
	})
	if err != nil {
		return err
	}
	for i := range keys {
		err = errors.Join(err, d.opts.DKIM.forget(ctx, &keys[i]))
	}
	return err
}

// Domain returns a domain. NotFound: it is not one of ours.
func (d *Directory) Domain(ctx context.Context, name string) (dom Domain, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		dom, err = needDomain(r, "find domain", name)
		return err
	})
	return dom, err
}

// Domains lists all domains in order of name.
func (d *Directory) Domains(ctx context.Context) (list []Domain, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		return scan(r, key('D'), func(_ []byte, dom Domain) (bool, error) {
			list = append(list, dom)
			return true, nil
		})
	})
	return list, err
}

// WatchDomains tells of changes of domains until stop is called; notices are
// merged.
func (d *Directory) WatchDomains() (changed <-chan struct{}, stop func()) {
	return d.db.Watch(key('D'))
}

// getDomain takes a canonical name.
func getDomain(r kv.Reader, name string) (dom Domain, ok bool, err error) {
	ok, err = getRecord(r, domainKey(name), &dom)
	return dom, ok, err
}

// needDomain takes a name as people write it and makes its absence an error.
func needDomain(r kv.Reader, op, name string) (dom Domain, err error) {
	canonical, err := postino.CanonicalDomain(name)
	if err != nil {
		return dom, err
	}
	dom, ok, err := getDomain(r, canonical)
	if err == nil && !ok {
		err = postino.E(postino.NotFound, op, canonical, errors.New("no such domain here"))
	}
	return dom, err
}

// putDomain checks and writes a domain.
func putDomain(tx kv.Tx, op string, dom Domain) error {
	switch dom.Separator {
	case "", NoSeparator, "+", "-", "_", "=", "#":
	default:
		return postino.E(postino.Invalid, op, dom.Name,
			fmt.Errorf("separator %q is none of + - _ = # or %q", dom.Separator, NoSeparator))
	}
	if err := errors.Join(checkRelay(tx, dom), checkSTS(&dom.MTASTS)); err != nil {
		return postino.E(postino.Invalid, op, dom.Name, err)
	}
	if err := setRecord(tx, domainKey(dom.Name), dom); err != nil {
		return err
	}
	if dom.CatchAll.IsNull() {
		return nil
	}
	x := expansion{r: tx, strict: true, path: []step{{catchAll, postino.Address{Domain: dom.Name}}}}
	if err := x.add(dom.CatchAll, postino.Address{Domain: dom.Name}); err != nil {
		return postino.E(postino.Invalid, op, dom.Name, fmt.Errorf("catch-all: %w", err))
	}
	return nil
}

// split parts a local part at the domain's separator: "ana+lists" into "ana"
// and "lists" (RFC 5233 §1).
func (dom Domain) split(local string) (user, detail string, ok bool) {
	sep := dom.Separator
	switch sep {
	case "":
		sep = DefaultSeparator
	case NoSeparator:
		return local, "", false
	}
	user, detail, ok = strings.Cut(local, sep)
	return user, detail, ok && user != ""
}

// taken is the error of adding what exists.
func taken(exists bool, op, object string, err error) error {
	if err == nil && exists {
		err = postino.E(postino.Conflict, op, object, errors.New("it exists already"))
	}
	return err
}
