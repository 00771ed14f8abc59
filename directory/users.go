package directory

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// record is a user as stored.
type record struct {
	User
	// Hash is the password in PHC form; empty: none.
	Hash string `json:",omitempty"`
	// Revision counts how often the password was set anew.
	Revision uint64 `json:",omitempty"`
	// Secrets are what other mechanisms know the same password by.
	Secrets secrets       `json:",omitzero"`
	Apps    []appPassword `json:",omitempty"`
	// LastApp is the last id given to an app password.
	LastApp uint64 `json:",omitempty"`
	// Credentials grows with every change that may end a right to log in.
	Credentials uint64
}

// AddUser makes a user, and its account in other rooms, in one transaction.
// Conflict: the address is taken; NotFound: the domain is not ours; Invalid:
// the address or the password cannot be used.
func (d *Directory) AddUser(ctx context.Context, n NewUser) (User, error) {
	const op = "add user"
	// RFC 8265 §3.3: the address must be its own user name.
	if p, err := precis.UsernameCaseMapped.String(n.Address.Local); err != nil || p != fold(n.Address.Local) {
		return User{}, postino.E(postino.Invalid, op, name(n.Address), errors.New("the local part cannot be used as a user name"))
	}
	if n.Shared && n.Password != "" {
		return User{}, postino.E(postino.Invalid, op, name(n.Address), errors.New("nobody logs in as a shared account, so it has no password"))
	}
	var hash string
	var kept secrets
	if n.Password != "" {
		password, err := newPassword(op, n.Password)
		if err != nil {
			return User{}, err
		}
		if hash, err = d.hasher.hash(ctx, password); err != nil {
			return User{}, err
		}
		if kept, err = d.secrets(ctx, n.Address, password); err != nil {
			return User{}, err
		}
	}
	return d.addUser(ctx, op, record{Hash: hash, Secrets: kept, User: User{
		Address: n.Address, Name: n.Name, Language: n.Language, Role: n.Role,
		Quota: n.Quota, Disabled: n.Disabled, Shared: n.Shared, Created: time.Now().UTC().Truncate(time.Second),
	}})
}

// errMoved tells that another user was added meanwhile.
var errMoved = errors.New("account id was taken")

// addUser gives the record an id and writes it. The scopes of an account must
// be named before its id is given inside the transaction, so the id is foreseen
// and the transaction tried again when that was wrong.
func (d *Directory) addUser(ctx context.Context, op string, u record) (User, error) {
	if err := checkUser(op, u.User); err != nil {
		return User{}, err
	}
	for {
		var last uint64
		err := d.view(ctx, func(r kv.Reader) (err error) {
			last, err = getNumber(r, key('i'))
			return err
		})
		if err != nil {
			return User{}, err
		}
		u.ID = last + 1
		var scopes []kv.Scope
		if d.opts.Accounts.Scopes != nil {
			scopes = d.opts.Accounts.Scopes(u.ID)
		}
		err = d.update(ctx, scopes, func(tx kv.Tx) error { return d.writeNewUser(tx, op, u) })
		if !errors.Is(err, errMoved) {
			return u.User, err
		}
	}
}

func (d *Directory) writeNewUser(tx kv.Tx, op string, u record) error {
	last, err := getNumber(tx, key('i'))
	if err != nil {
		return err
	}
	if last+1 != u.ID {
		return errMoved
	}
	if d.opts.AcceptAny == nil {
		if _, err := needDomain(tx, op, u.Address.Domain); err != nil {
			return err
		}
	}
	if _, ok, err := getEntry(tx, u.Address); err != nil || ok {
		return taken(ok, op, name(u.Address), err)
	}
	if err := setNumber(tx, key('i'), u.ID); err != nil {
		return err
	}
	if err := setEntry(tx, u.Address, entry{User: u.ID}); err != nil {
		return err
	}
	if err := putUser(tx, u); err != nil {
		return err
	}
	if d.opts.Accounts.Create == nil {
		return nil
	}
	return d.opts.Accounts.Create(tx, u.User)
}

// UpdateUser changes what the user's record says; ID, Address and Created stay.
func (d *Directory) UpdateUser(ctx context.Context, addr postino.Address, change func(*User)) (after User, err error) {
	const op = "change user"
	// On a full disk too: who fills it has to be stopped.
	err = d.onUser(kv.Deleting(ctx), op, addr, func(tx kv.Tx, u *record) error {
		before := u.User
		change(&u.User)
		if u.ID != before.ID || u.Address != before.Address || !u.Created.Equal(before.Created) {
			return postino.E(postino.Invalid, op, name(addr), errors.New("id, address and creation cannot be changed"))
		}
		if err := checkUser(op, u.User); err != nil {
			return err
		}
		after = u.User
		if d.opts.Accounts.Change == nil {
			return nil
		}
		return d.opts.Accounts.Change(tx, before, after)
	})
	return after, err
}

// SetPassword replaces a user's password, which ends the logins that stand on the
// old one, and leaves the app passwords. Invalid:
// it is shorter than MinPassword characters or not text.
func (d *Directory) SetPassword(ctx context.Context, addr postino.Address, password string) error {
	const op = "set password"
	password, err := newPassword(op, password)
	if err != nil {
		return err
	}
	hash, err := d.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	kept, err := d.secrets(ctx, addr, password)
	if err != nil {
		return err
	}
	var who User
	// A password that got about is changed on a full disk too.
	err = d.onUser(kv.Deleting(ctx), op, addr, func(_ kv.Tx, u *record) error {
		u.Hash, u.Secrets = hash, kept
		u.Revision++
		who = u.User
		return nil
	})
	if err == nil {
		d.notify(ctx, PasswordChanged, who, "")
	}
	return err
}

// RemoveUser removes a user, and its account in other rooms. Conflict: an
// alias or a catch-all leads to it.
func (d *Directory) RemoveUser(ctx context.Context, addr postino.Address) error {
	const op = "remove user"
	return d.onAccount(kv.Deleting(ctx), op, addr, func(tx kv.Tx, u record) error {
		if err := unusedAddress(tx, op, u.Address); err != nil {
			return err
		}
		for _, k := range [][]byte{entryKey(u.Address.Domain, fold(u.Address.Local)), idKey('u', u.ID), idKey('r', u.ID)} {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		for _, a := range u.Apps {
			if err := tx.Delete(touchKey(appKey{u.ID, a.ID})); err != nil {
				return err
			}
		}
		if err := removeDelegations(tx, u.ID); err != nil {
			return err
		}
		if err := removeGrants(tx, u.ID); err != nil {
			return err
		}
		if err := removeFamiliar(tx, u.ID); err != nil {
			return err
		}
		if err := tx.Delete(idKey('s', u.ID)); err != nil {
			return err
		}
		if d.opts.Accounts.Remove == nil {
			return nil
		}
		return d.opts.Accounts.Remove(tx, u.User)
	})
}

// User returns the user with the address. NotFound: there is none.
func (d *Directory) User(ctx context.Context, addr postino.Address) (u User, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		rec, err := userAt(r, "find user", addr)
		u = rec.User
		return err
	})
	return u, err
}

// UserByID returns the user of an account. NotFound: there is none.
func (d *Directory) UserByID(ctx context.Context, id uint64) (u User, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		rec, err := needUser(r, "find user", id)
		u = rec.User
		return err
	})
	return u, err
}

// Users lists the users of a domain in order of address, or all for "" in
// order of id.
func (d *Directory) Users(ctx context.Context, domain string) (list []User, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		if domain == "" {
			return scan(r, key('u'), func(_ []byte, u record) (bool, error) {
				list = append(list, u.User)
				return true, nil
			})
		}
		canonical, err := postino.CanonicalDomain(domain)
		if err != nil {
			return err
		}
		return scan(r, entryKey(canonical, ""), func(_ []byte, e entry) (bool, error) {
			if e.Alias != nil {
				return true, nil
			}
			u, err := needUser(r, "list users", e.User)
			list = append(list, u.User)
			return true, err
		})
	})
	return list, err
}

// onUser changes the stored record of a user.
func (d *Directory) onUser(ctx context.Context, op string, addr postino.Address, fn func(kv.Tx, *record) error) error {
	return d.onAccount(ctx, op, addr, func(tx kv.Tx, u record) error {
		if err := fn(tx, &u); err != nil {
			return err
		}
		u.Credentials++
		return putUser(tx, u)
	})
}

// onAccount runs a transaction on a user with the scopes of its account. An
// address that changed hands between looking and writing is a Conflict.
func (d *Directory) onAccount(ctx context.Context, op string, addr postino.Address, fn func(kv.Tx, record) error) error {
	u, err := d.User(ctx, addr)
	if err != nil {
		return postino.E(postino.Internal, op, name(addr), err)
	}
	var scopes []kv.Scope
	if d.opts.Accounts.Scopes != nil {
		scopes = d.opts.Accounts.Scopes(u.ID)
	}
	return d.update(ctx, scopes, func(tx kv.Tx) error {
		rec, err := userAt(tx, op, addr)
		if err != nil {
			return err
		}
		if rec.ID != u.ID {
			return postino.E(postino.Conflict, op, name(addr), errors.New("the user was replaced meanwhile"))
		}
		return fn(tx, rec)
	})
}

// putUser writes the record and the list of administrators.
func putUser(tx kv.Tx, u record) error {
	if err := setRecord(tx, idKey('u', u.ID), u); err != nil {
		return err
	}
	if u.Role == RoleAdmin {
		return setRecord(tx, idKey('r', u.ID), u.ID)
	}
	return tx.Delete(idKey('r', u.ID))
}

func needUser(r kv.Reader, op string, id uint64) (u record, err error) {
	ok, err := getRecord(r, idKey('u', id), &u)
	if err == nil && !ok {
		err = postino.E(postino.NotFound, op, fmt.Sprintf("account %d", id), errors.New("no such user"))
	}
	return u, err
}

// userAt looks at the address only, not at aliases.
func userAt(r kv.Reader, op string, addr postino.Address) (record, error) {
	e, ok, err := getEntry(r, addr)
	if err != nil {
		return record{}, err
	}
	if !ok || e.Alias != nil {
		return record{}, postino.E(postino.NotFound, op, name(addr), errors.New("no such user"))
	}
	return needUser(r, op, e.User)
}

// checkUser refuses what could not be shown, or typed as a user name.
func checkUser(op string, u User) error {
	invalid := func(why string) error {
		return postino.E(postino.Invalid, op, name(u.Address), errors.New(why))
	}
	if u.Address.Local == "" || u.Address.Domain == "" {
		return invalid("a user needs an address with a domain")
	}
	if u.Role > RoleAdmin {
		return invalid("no such role")
	}
	if u.Quota < 0 || u.MaxMessages < 0 || u.MaxMailboxes < 0 {
		return invalid("a quota is negative")
	}
	if u.Sends.Hour < NoSendLimit || u.Sends.Day < NoSendLimit {
		return invalid("a limit of recipients is negative")
	}
	for _, s := range []string{u.Name, u.Language} {
		if len(s) > maxText || !utf8.ValidString(s) || postino.Printable(s) != s {
			return invalid("name or language is too long or not printable text")
		}
	}
	return nil
}

// newPassword returns the form of a password that is hashed, after checking
// that it is fit to be set.
func newPassword(op, s string) (string, error) {
	p, err := canonicalPassword(s)
	if err != nil {
		return "", postino.E(postino.Invalid, op, "", errors.New("the password has control characters or is longer than 1 KiB"))
	}
	if utf8.RuneCountInString(p) < MinPassword {
		return "", postino.E(postino.Invalid, op, "", fmt.Errorf("the password is shorter than %d characters", MinPassword))
	}
	return p, nil
}

// canonicalPassword is the OpaqueString of RFC 8265 §4.2; ASCII needs no table.
func canonicalPassword(s string) (string, error) {
	if len(s) > MaxPassword {
		return "", errors.New("password too long")
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) < 0 {
		return s, nil
	}
	return precis.OpaqueString.String(s)
}

// lastUse reads when an app password was used, zero for never.
func lastUse(r kv.Reader, k appKey) (time.Time, error) {
	n, err := getNumber(r, touchKey(k))
	if err != nil || n == 0 {
		return time.Time{}, err
	}
	return time.Unix(int64(n), 0).UTC(), nil
}

// touch notes the use of an app password, at most once an hour, outside the
// mark: the caches need not know.
func (d *Directory) touch(ctx context.Context, k appKey, now time.Time) {
	last, generation, ok := d.touched.get(k)
	if ok && now.Sub(last) < time.Hour {
		return
	}
	d.touched.put(generation, k, now)
	err := d.db.Update(ctx, []kv.Scope{scope}, func(tx kv.Tx) error {
		if _, ok, err := tx.Get(idKey('u', k.user)); err != nil || !ok {
			return err
		}
		return tx.Set(touchKey(k), binary.BigEndian.AppendUint64([]byte{numberVersion}, uint64(now.Unix())))
	})
	if err != nil { // a login must not fail for its statistics
		d.obs.touchFailed(k, err)
	}
}
