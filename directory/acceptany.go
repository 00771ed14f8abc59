package directory

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// maxInvented bounds the users that AcceptAny makes, so that a test that sends
// to random addresses for ever does not fill the memory.
const maxInvented = 100_000

// inventedDomain is given to user names and recipients without one.
const inventedDomain = "localhost"

// inventAll resolves an address where every domain is local: what leads
// elsewhere leads to users made on the fly.
func (d *Directory) inventAll(ctx context.Context, a postino.Address, x *expansion) (Resolution, error) {
	if len(x.forwards) == 0 {
		return d.invent(ctx, a)
	}
	all := Resolution{Local: true, Targets: x.out}
	for _, f := range x.forwards {
		if !d.opts.AcceptAny.invents(f.Address.Domain) {
			all.Forwards = append(all.Forwards, f)
			continue
		}
		r, err := d.invent(ctx, f.Address)
		if err != nil {
			return r, err
		}
		t := r.Targets[0]
		t.Via = f.Via
		if !slices.ContainsFunc(all.Targets, func(o Target) bool { return o.Account == t.Account }) {
			all.Targets = append(all.Targets, t)
		}
	}
	return all, nil
}

// invent creates the user that an unknown address wants and resolves it.
func (d *Directory) invent(ctx context.Context, a postino.Address) (Resolution, error) {
	if a.Domain == "" {
		a.Domain = inventedDomain
	}
	base, detail := a, ""
	if user, rest, ok := (Domain{}).split(a.Local); ok {
		base.Local, detail = user, rest
	}
	u, err := d.findOrAdd(ctx, base)
	if err != nil {
		return Resolution{Local: true}, err
	}
	return Resolution{Local: true, Targets: []Target{{Account: u.ID, User: u.Address, Detail: detail, Quota: u.Quota, Since: u.Created}}}, nil
}

// findOrAdd returns the user at an address, made on the fly if need be.
func (d *Directory) findOrAdd(ctx context.Context, a postino.Address) (User, error) {
	for {
		u, err := d.User(ctx, a)
		if !postino.Is(err, postino.NotFound) {
			return u, err
		}
		full := false
		err = d.view(ctx, func(r kv.Reader) error {
			last, err := getNumber(r, key('i'))
			full = last >= maxInvented
			return err
		})
		if err != nil {
			return User{}, err
		}
		if full {
			return User{}, postino.E(postino.Full, "add user", name(a), errors.New("too many users were made on the fly"))
		}
		u, err = d.addUser(ctx, "add user", record{User: User{
			Address: postino.Address{Local: fold(a.Local), Domain: a.Domain},
			Created: time.Now().UTC().Truncate(time.Second),
		}})
		if !postino.Is(err, postino.Conflict) { // else somebody was faster
			return u, err
		}
	}
}

// acceptLogin lets in whoever knows the one password, without delays.
func (d *Directory) acceptLogin(ctx context.Context, c Credentials) (User, error) {
	want := d.opts.AcceptAny.Password
	if want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(c.Password)) != 1 {
		return User{}, refuse(postino.Denied, ErrCredentials)
	}
	a, ok := inventedUser(c.User)
	if !ok {
		return User{}, refuse(postino.Denied, ErrCredentials)
	}
	if other, ok := inventedUser(c.Authz); c.Authz != "" && (!ok || other != a) {
		return User{}, refuse(postino.Denied, ErrAuthorization)
	}
	return d.findOrAdd(ctx, a)
}

// inventedUser reads a user name, with or without domain.
func inventedUser(name string) (postino.Address, bool) {
	if a, ok := parseUser(name); ok {
		return a, true
	}
	return parseUser(name + "@" + inventedDomain)
}
