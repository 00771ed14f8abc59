package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// GrantKind is what a grant is for.
type GrantKind uint8

// The kinds. The numbers are stored.
const (
	// WebSession is somebody signed in with a browser. It ends 12 hours after its
	// last use, and 30 days after it began (WM6).
	WebSession GrantKind = 1
	// AccessToken lets a program log in by OAUTHBEARER and XOAUTH2 for at most an
	// hour (AU7).
	AccessToken GrantKind = 2
)

var grantKinds = words[GrantKind]{"", "session", "token"}

// String is the word for people, "session".
func (k GrantKind) String() string { return grantKinds.name(k) }

const (
	// MaxGrants is how many grants of a kind a user has at once; one more ends
	// the one that was used longest ago.
	MaxGrants = 100
	// MaxTokenLife bounds an AccessToken.
	MaxTokenLife = time.Hour
	// RecentLogin is how long ago a user may have proved who he is for changes of
	// what lets him in or his mail out (AU9).
	RecentLogin = 10 * time.Minute

	sessionIdle = 12 * time.Hour
	sessionLife = 30 * 24 * time.Hour
	// useStep is how exact the last use of a session is kept.
	useStep = 5 * time.Minute
)

// tokenPrefix begins the secrets of grants, so that people and scanners of leaked
// files know them.
const tokenPrefix = "postino_"

// Grant is the right to act as a user, which a login gave and which ends by
// itself. Its secret, 256 random bits, is known to its holder only.
type Grant struct {
	ID       uint64 // unique within the user
	Kind     GrantKind
	Name     string   // what holds it, "Firefox on Linux"
	Services Services // what a token opens
	Remote   string   // where it was asked for
	Created  time.Time
	// Proved is when the user last showed a password or the like.
	Proved time.Time
	// Used is exact to five minutes for sessions; tokens do not keep it.
	Used    time.Time
	Expires time.Time
}

// Recent tells whether the user proved who he is shortly before now (AU9).
func (g *Grant) Recent(now time.Time) bool {
	age := now.Sub(g.Proved)
	return age >= 0 && age < RecentLogin
}

// grant is a Grant as stored, under the sum of its secret.
type grant struct {
	Grant
	User uint64
	// By and Standing are what the login that made it stood on.
	By       proof  `json:",omitempty"`
	Standing uint64 `json:",omitempty"`
}

func (g *grant) ended(now time.Time) bool {
	return !now.Before(g.Expires) || g.Kind == WebSession && now.Sub(g.Used) >= sessionIdle
}

// NewGrant is what Grant makes a grant from.
type NewGrant struct {
	Kind GrantKind
	// Name says what holds it; printable, at most 255 octets, may be empty.
	Name   string
	Remote netip.Addr
	// Services and Life are for tokens: what they open, and for how long;
	// 0 stands for MaxTokenLife.
	Services Services
	Life     time.Duration
}

// Grants are few for each user, and no cache holds them: their changes need no
// mark.
func (d *Directory) updateGrants(ctx context.Context, fn func(tx kv.Tx) error) error {
	return d.db.Update(ctx, []kv.Scope{scope}, fn)
}

func sumKey(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return append(key('h'), sum[:]...)
}

func grantKey(user, id uint64) []byte { return binary.BigEndian.AppendUint64(idKey('y', user), id) }

// Grant gives a user who has just logged in the secret of a new grant. Invalid:
// the kind, the services or the life cannot be.
func (d *Directory) Grant(ctx context.Context, u User, n NewGrant, now time.Time) (secret string, g Grant, err error) {
	const op = "grant access"
	invalid := func(why string) error { return postino.E(postino.Invalid, op, name(u.Address), errors.New(why)) }
	now = now.UTC().Truncate(time.Second)
	rec := grant{User: u.ID, By: u.Pass.by, Standing: u.Pass.id}
	rec.Grant = Grant{Kind: n.Kind, Name: n.Name, Services: n.Services, Created: now, Proved: now, Used: now}
	if n.Remote.IsValid() {
		rec.Remote = n.Remote.Unmap().String()
	}
	if len(n.Name) > maxText || !utf8.ValidString(n.Name) || postino.Printable(n.Name) != n.Name {
		return "", g, invalid("its name is too long or not printable")
	}
	switch n.Kind {
	case WebSession:
		rec.Expires = now.Add(sessionLife)
	case AccessToken:
		if n.Services == 0 || n.Services&^AllServices != 0 {
			return "", g, invalid("a token needs at least one known service")
		}
		if n.Life == 0 {
			n.Life = MaxTokenLife
		}
		if n.Life < time.Second || n.Life > MaxTokenLife {
			return "", g, invalid(fmt.Sprintf("a token lasts from a second to %v", MaxTokenLife))
		}
		rec.Expires = now.Add(n.Life)
	default:
		return "", g, invalid("no such kind")
	}
	secret = newGrantSecret()
	err = d.updateGrants(ctx, func(tx kv.Tx) error {
		if _, err := needUser(tx, op, u.ID); err != nil {
			return err
		}
		if rec.ID, err = makeRoom(tx, u.ID, n.Kind, now); err != nil {
			return err
		}
		return putGrant(tx, secret, &rec)
	})
	if err != nil {
		return "", Grant{}, err
	}
	if d.obs.granted(u, rec.Grant); n.Kind == AccessToken {
		d.notify(ctx, TokenMade, u, n.Name)
	}
	return secret, rec.Grant, nil
}

func newGrantSecret() string {
	var random [32]byte
	rand.Read(random[:]) // never fails
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

func putGrant(tx kv.Tx, secret string, g *grant) error {
	k := sumKey(secret)
	if err := setRecord(tx, k, g); err != nil {
		return err
	}
	return tx.Set(grantKey(g.User, g.ID), append([]byte{numberVersion}, k[2:]...))
}

// makeRoom drops what has ended of a user, and the least used of a kind that is
// full. It returns the id of the next grant, which is the moment it is made at.
func makeRoom(tx kv.Tx, user uint64, kind GrantKind, now time.Time) (next uint64, err error) {
	next = uint64(now.UnixNano())
	var idle *grant
	n := 0
	err = scanGrants(tx, user, func(sum []byte, g *grant) error {
		next = max(next, g.ID+1)
		if g.ended(now) {
			return dropGrant(tx, sum, g)
		}
		if g.Kind == kind {
			n++
			if idle == nil || g.Used.Before(idle.Used) {
				idle = g
			}
		}
		return nil
	})
	if err != nil || n < MaxGrants {
		return next, err
	}
	return next, scanGrants(tx, user, func(sum []byte, g *grant) error {
		if g.ID == idle.ID {
			return dropGrant(tx, sum, g)
		}
		return nil
	})
}

// scanGrants walks the grants of a user, oldest first; fn may drop them.
func scanGrants(r kv.Reader, user uint64, fn func(sum []byte, g *grant) error) error {
	var sums [][]byte
	err := r.Scan(kv.Prefix(idKey('y', user)), func(_, v []byte) bool {
		sums = append(sums, append(key('h'), v[1:]...))
		return true
	})
	if err != nil {
		return err
	}
	for _, k := range sums {
		var g grant
		ok, err := getRecord(r, k, &g)
		if err == nil && !ok {
			err = corrupt(k, errors.New("a grant is missing"))
		}
		if err == nil {
			err = fn(k, &g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func dropGrant(tx kv.Tx, sum []byte, g *grant) error {
	if err := tx.Delete(grantKey(g.User, g.ID)); err != nil {
		return err
	}
	return tx.Delete(sum)
}

// ErrGrant is the one answer to grants that are unknown, have ended, are of
// another kind or do not open the service.
var ErrGrant = errors.New("sign in again")

// Redeem finds the user whom the secret of a grant stands for, as one who has
// logged in. Denied with ErrGrant: it stands for nobody (now).
func (d *Directory) Redeem(ctx context.Context, secret string, kind GrantKind, service Services, now time.Time) (u User, g Grant, err error) {
	const op = "sign in"
	denied := postino.E(postino.Denied, op, "", ErrGrant)
	var rec grant
	read := func(r kv.Reader) error {
		rec = grant{}
		if ok, err := getRecord(r, sumKey(secret), &rec); err != nil || !ok || rec.Kind != kind || rec.ended(now) || rec.Services&service != service {
			rec.ID = 0
			return err
		}
		user, err := needUser(r, op, rec.User)
		u = user.User
		return err
	}
	if !strings.HasPrefix(secret, tokenPrefix) {
		return User{}, Grant{}, denied
	}
	if err := d.view(ctx, read); err != nil && !postino.Is(err, postino.NotFound) {
		return User{}, Grant{}, err
	} else if err != nil || rec.ID == 0 {
		return User{}, Grant{}, denied
	}
	u.Pass = Pass{user: u.Address.String(), account: u.ID, by: byGrant, id: rec.ID}
	if may, err := d.Stays(ctx, u.Pass); err != nil || !may {
		if err == nil {
			err = denied
		}
		return User{}, Grant{}, err
	}
	if kind == WebSession && now.Sub(rec.Used) >= useStep {
		d.used(ctx, secret, now)
	}
	return u, rec.Grant, nil
}

// used notes the use of a session; a sign-in must not fail for it.
func (d *Directory) used(ctx context.Context, secret string, now time.Time) {
	err := d.updateGrants(ctx, func(tx kv.Tx) error {
		var g grant
		if ok, err := getRecord(tx, sumKey(secret), &g); err != nil || !ok {
			return err
		}
		g.Used = now.UTC().Truncate(time.Second)
		return setRecord(tx, sumKey(secret), &g)
	})
	if err != nil {
		d.obs.useNotNoted(err)
	}
}

// Renew replaces the secret of a session whose user has just proved again who he
// is: u is what Authenticate returned (AU9, WM6). Denied with ErrGrant: the old
// secret is not the user's.
func (d *Directory) Renew(ctx context.Context, secret string, u User, now time.Time) (renewed string, g Grant, err error) {
	const op = "sign in again"
	renewed = newGrantSecret()
	err = d.updateGrants(ctx, func(tx kv.Tx) error {
		var rec grant
		k := sumKey(secret)
		ok, err := getRecord(tx, k, &rec)
		if err != nil {
			return err
		}
		if !ok || rec.User != u.ID || rec.Kind != WebSession || rec.ended(now) {
			return postino.E(postino.Denied, op, "", ErrGrant)
		}
		rec.Proved = now.UTC().Truncate(time.Second)
		rec.Used, rec.By, rec.Standing = rec.Proved, u.Pass.by, u.Pass.id
		if err := dropGrant(tx, k, &rec); err != nil {
			return err
		}
		g = rec.Grant
		return putGrant(tx, renewed, &rec)
	})
	if err != nil {
		return "", Grant{}, err
	}
	return renewed, g, nil
}

// Grants lists what a user has granted and has not ended, oldest first.
func (d *Directory) Grants(ctx context.Context, addr postino.Address, now time.Time) (list []Grant, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		u, err := userAt(r, "list grants", addr)
		if err != nil {
			return err
		}
		return scanGrants(r, u.ID, func(_ []byte, g *grant) error {
			if !g.ended(now) {
				list = append(list, g.Grant)
			}
			return nil
		})
	})
	return list, err
}

// Revoke ends one grant of a user, or with id 0 all of them; connections that
// stand on it end within a minute (AU8). NotFound: there is none of the id.
func (d *Directory) Revoke(ctx context.Context, addr postino.Address, id uint64) (ended int, err error) {
	const op = "end grant"
	err = d.updateGrants(kv.Deleting(ctx), func(tx kv.Tx) error {
		ended = 0
		u, err := userAt(tx, op, addr)
		if err != nil {
			return err
		}
		return scanGrants(tx, u.ID, func(sum []byte, g *grant) error {
			if id != 0 && g.ID != id {
				return nil
			}
			ended++
			return dropGrant(tx, sum, g)
		})
	})
	if err == nil && id != 0 && ended == 0 {
		err = postino.E(postino.NotFound, op, name(addr), fmt.Errorf("no session or token %d", id))
	}
	return ended, err
}

// standing is what the login stood on that made a grant; the zero Pass if the
// grant has ended.
func (d *Directory) standing(ctx context.Context, p Pass, now time.Time) (under Pass, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		under = Pass{}
		v, ok, err := r.Get(grantKey(p.account, p.id))
		if err != nil || !ok {
			return err
		}
		var g grant
		if ok, err := getRecord(r, append(key('h'), v[1:]...), &g); err != nil || !ok || g.ended(now) {
			return err
		}
		under = Pass{user: p.user, account: p.account, by: g.By, id: g.Standing}
		return nil
	})
	return under, err
}

// removeGrants drops all that a user granted.
func removeGrants(tx kv.Tx, user uint64) error {
	return scanGrants(tx, user, func(sum []byte, g *grant) error { return dropGrant(tx, sum, g) })
}
