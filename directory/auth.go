package directory

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/text/secure/precis"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// What the errors of Authenticate wrap; see also [ErrBusy].
var (
	// ErrCredentials is the one answer to unknown, disabled and wrong.
	ErrCredentials = errors.New("user name or password is wrong")
	// ErrInsecure asks for TLS before any password.
	ErrInsecure = errors.New("login needs an encrypted connection")
	// ErrAuthorization tells who has proved to be somebody that he may not act for
	// the other one whom he named, whether there is one or not (AU5).
	ErrAuthorization = errors.New("no right to act for that user")
	// ErrBlocked answers networks with too many failures, right password or not.
	ErrBlocked = errors.New("too many failed logins, try again later")
)

// Credentials are what somebody shows to log in.
type Credentials struct {
	// User is an address, or its local part while there is one domain only.
	User, Password string
	// Service is the one service that is asked for.
	Service Services
	// Remote is the client; the zero Addr when it has none.
	Remote netip.Addr
	// Secure tells that the password did not cross a network in clear.
	Secure bool
	// Authz is who to act as; empty means User.
	Authz string
	// Mechanism is that of SASL, for counting; empty for a command of its own.
	Mechanism string
}

// verdictLife is how long the result of a slow check is believed.
const verdictLife = 5 * time.Minute

// verdict is the remembered result of an argon2id check.
type verdict struct {
	ok      bool
	expires time.Time
}

// login is what a user name leads to; user is nil for an unknown one.
type login struct {
	account string // user name in canonical form, for counting
	domain  string
	user    *record
	denied  bool // the user or the domain is disabled
}

// Authenticate finds the user whom the credentials prove. Denied with
// ErrCredentials: they prove nobody; with ErrInsecure: not asked on this
// connection; with ErrAuthorization: they prove another one; Transient with
// ErrBlocked or ErrBusy, or from the store: try later. Failures are answered
// late, see [FailureLimits]; the end of ctx cuts the wait short.
func (d *Directory) Authenticate(ctx context.Context, c Credentials) (User, error) {
	if d.opts.AcceptAny != nil {
		return d.acceptLogin(ctx, c)
	}
	t, err := d.begin(ctx, c)
	if err != nil {
		return User{}, err
	}
	ok, repeated, err := t.verify(ctx)
	return t.end(ctx, ok, repeated, err)
}

// attempt is one try to log in, by whatever mechanism: begin admits it, end
// counts its verdict (AU3).
type attempt struct {
	d     *Directory
	c     Credentials
	net   netip.Prefix
	login *login
	// by and id are what the pass of a success stands on.
	by proof
	id uint64
}

// begin looks up the user and waits, or turns away, as earlier failures have it.
func (d *Directory) begin(ctx context.Context, c Credentials) (*attempt, error) {
	t := &attempt{d: d, c: c, net: network(c.Remote)}
	if !c.Secure && t.net.IsValid() {
		return nil, refuse(postino.Denied, ErrInsecure)
	}
	if err := t.look(ctx); err != nil {
		return nil, err
	}
	wait, ok := t.admit(ctx)
	if !ok {
		d.obs.blocked(c)
		return nil, refuse(postino.Transient, ErrBlocked)
	}
	pause(ctx, wait)
	return t, nil
}

// admit asks the guard.
func (t *attempt) admit(ctx context.Context) (time.Duration, bool) {
	now := time.Now()
	return t.d.guard.admit(t.net, t.login.account, now, func() bool { return t.d.knowsNetwork(ctx, t.login, t.net, now) })
}

// look finds what the user name leads to now.
func (t *attempt) look(ctx context.Context) (err error) {
	if t.login, err = t.d.login(ctx, t.c.User); err != nil {
		t.d.obs.deferred(t.c, err)
		return refuse(postino.Transient, err)
	}
	return nil
}

// end gives the verdict; err tells that there is none.
func (t *attempt) end(ctx context.Context, ok, repeated bool, err error) (User, error) {
	switch {
	case err != nil:
		t.d.obs.deferred(t.c, err)
		return User{}, refuse(postino.Transient, err)
	case !ok || t.login.user == nil || t.login.denied:
		return User{}, t.fail(ctx, repeated)
	}
	if t.d.guard.succeeded(t.net, t.login.account) {
		t.d.keepNetwork(ctx, t.login.user.ID, t.net, time.Now())
	}
	if err := t.authorise(ctx); err != nil {
		return User{}, err
	}
	t.d.obs.loggedIn(t.c, t.login)
	u := t.login.user.User
	u.Pass = Pass{user: t.login.account, account: u.ID, by: t.by, id: t.id}
	return u, nil
}

// authorise refuses to act for others: nobody may yet (AU5).
func (t *attempt) authorise(ctx context.Context) error {
	if t.c.Authz == "" || t.c.Authz == t.c.User {
		return nil
	}
	other, err := t.d.login(ctx, t.c.Authz)
	if err != nil {
		return refuse(postino.Transient, err)
	}
	if other.account != t.login.account {
		t.d.obs.foreign(t.c, t.login)
		return refuse(postino.Denied, ErrAuthorization)
	}
	return nil
}

// refuse makes the error of a login, without naming the user.
func refuse(kind postino.Kind, cause error) error {
	return postino.E(kind, "log in", "", cause)
}

// fail counts and delays a failure. A device that repeats one outdated
// password is delayed but counts once.
func (t *attempt) fail(ctx context.Context, repeated bool) error {
	delay := t.d.guard.limits.MinDelay
	if !repeated {
		var a alarm
		delay, a = t.d.guard.failed(t.net, t.login.account, t.login.domain, time.Now())
		t.d.obs.failed(t.c, t.login, a)
	}
	pause(ctx, delay)
	return refuse(postino.Denied, ErrCredentials)
}

// verify checks the password; repeated tells that the same wrong one was
// checked in the last minutes.
func (t *attempt) verify(ctx context.Context) (ok, repeated bool, err error) {
	d, l, c := t.d, t.login, &t.c
	if app, ok := l.appPassword(c.Password, c.Service); ok && !l.denied {
		t.by, t.id = byApp, app
		d.touch(ctx, appKey{l.user.ID, app}, time.Now())
		d.keepAppKeys(ctx, l.user, app, c.Password)
		return true, false, nil
	}
	password, err := canonicalPassword(c.Password)
	if err != nil {
		password = "" // no password is empty: this runs the clock and fails
	}
	if l.user != nil {
		t.by, t.id = byPassword, l.user.Revision
	}
	k := d.verdictKey(l, password)
	now := time.Now()
	v, generation, hit := d.verdicts.get(k)
	if hit && now.Before(v.expires) {
		return v.ok && !l.denied, !v.ok, nil
	}
	phc := ""
	if l.user != nil {
		phc = l.user.Hash
	}
	ok, err = d.hasher.match(ctx, phc, password)
	if err != nil {
		return false, false, err
	}
	d.verdicts.put(generation, k, verdict{ok, now.Add(verdictLife)})
	if ok && (!strings.HasPrefix(phc, d.hasher.cost.prefix()) || !d.kept(l.user)) {
		d.upgrade(ctx, l.user, password)
	}
	return ok && !l.denied, false, nil
}

// verdictKey stands for an account in the state of its credentials, and a
// password; it tells neither to a reader of memory.
func (d *Directory) verdictKey(l *login, password string) (k [32]byte) {
	var state [16]byte
	if l.user != nil {
		binary.BigEndian.PutUint64(state[:], l.user.ID)
		binary.BigEndian.PutUint64(state[8:], l.user.Credentials)
	}
	m := hmac.New(sha256.New, d.secret[:])
	m.Write(state[:])
	if l.user == nil {
		sum := sha256.Sum256([]byte(l.account))
		m.Write(sum[:])
	}
	m.Write([]byte(password))
	m.Sum(k[:0])
	return k
}

// upgrade renews what is kept of a password when it was made at another cost, or
// for other mechanisms (AU1).
func (d *Directory) upgrade(ctx context.Context, u *record, password string) {
	var next secrets
	hash, err := d.hasher.hash(ctx, password)
	if err == nil {
		next, err = d.secrets(ctx, u.Address, password)
	}
	if err == nil {
		err = d.onUser(ctx, "renew password hash", u.Address, func(_ kv.Tx, now *record) error {
			if now.Hash == u.Hash {
				now.Hash, now.Secrets = hash, next
			}
			return nil
		})
	}
	if err != nil { // the old hash is still good for this login
		d.obs.upgradeFailed(u.ID, err)
	}
}

// appPassword finds the app password that the secret is, if it opens the service.
func (l *login) appPassword(secret string, service Services) (id uint64, ok bool) {
	if l.user == nil || len(l.user.Apps) == 0 {
		return 0, false
	}
	sum := sha256.Sum256([]byte(plainSecret(secret)))
	for _, a := range l.user.Apps {
		if subtle.ConstantTimeCompare(a.Sum, sum[:]) == 1 && a.Services&service != 0 {
			id, ok = a.ID, true
		}
	}
	return id, ok
}

// login looks up a user name. The answer is cached under the name as typed.
func (d *Directory) login(ctx context.Context, user string) (*login, error) {
	const maxUser = postino.MaxLocal + 1 + postino.MaxDomain
	if len(user) > maxUser {
		return &login{account: "?"}, nil
	}
	l, generation, ok := d.logins.get(user)
	if ok {
		return l, nil
	}
	err := d.view(ctx, func(r kv.Reader) (err error) {
		l, err = findLogin(r, user)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.logins.put(generation, strings.Clone(user), l)
	return l, nil
}

// findLogin brings a user name into its one form (AU5) and reads the user.
func findLogin(r kv.Reader, user string) (*login, error) {
	addr, known, err := userAddress(r, user)
	if err != nil {
		return nil, err
	}
	if !known {
		return &login{account: "?" + strings.Clone(user)}, nil
	}
	l := &login{account: addr.String(), domain: addr.Domain}
	dom, local, err := getDomain(r, addr.Domain)
	if err != nil || !local {
		return l, err
	}
	u, err := userAt(r, "log in", addr)
	if postino.Is(err, postino.NotFound) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	l.user, l.denied = &u, u.Disabled || u.Shared || dom.Disabled
	return l, nil
}

// userAddress reads a user name as an address in folded form. The local part
// alone is enough while there is one domain.
func userAddress(r kv.Reader, user string) (a postino.Address, known bool, err error) {
	if !strings.Contains(user, "@") {
		var names []string
		err := scan(r, key('D'), func(_ []byte, dom Domain) (bool, error) {
			names = append(names, dom.Name)
			return len(names) < 2, nil
		})
		if err != nil || len(names) != 1 {
			return a, false, err
		}
		user += "@" + names[0]
	}
	a, ok := parseUser(user)
	return a, ok, nil
}

// parseUser reads user names of the form local@domain: RFC 8265 §3.3 for the
// local part, IDNA for the domain.
func parseUser(user string) (postino.Address, bool) {
	a, err := postino.ParseAddress(user)
	if err != nil {
		return a, false
	}
	if a.Local, err = precis.UsernameCaseMapped.String(a.Local); err != nil {
		return a, false
	}
	return folded(a), true
}
