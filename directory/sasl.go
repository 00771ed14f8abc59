package directory

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

// Peer is what a desk knows of a connection on which somebody logs in.
type Peer struct {
	// Service is the one that is asked for.
	Service Services
	// Remote is the client; the zero Addr when it has none.
	Remote netip.Addr
	// TLS is the state of the connection, nil in clear. A client certificate that
	// the listener has verified offers EXTERNAL.
	TLS *tls.ConnectionState
}

// RemoteOf returns the address of a TCP peer as Peer and Credentials take it, zero
// for others.
func RemoteOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// TokenValidator knows the tokens of an OAuth 2.0 authorisation server.
type TokenValidator interface {
	// Validate returns the address of the user whose token it is; Denied when it
	// is not good, Transient when that cannot be told now. The token's User, Host
	// and Port are what the client claims; whether the user is the same is checked
	// afterwards.
	Validate(ctx context.Context, t sasl.Token) (user string, err error)
	// Discovery tells clients where to get a token.
	Discovery() sasl.Discovery
}

// SASL returns what logs in on a connection. done is told how each exchange ended
// that came to a verdict: with a user, or with the error that Authenticate would
// have given, under the name that was claimed. It returns the error to answer with.
func (d *Directory) SASL(p Peer, done func(name string, u User, err error) error) *sasl.Authenticator {
	b := &binding{d: d, peer: p, done: done}
	a := &sasl.Authenticator{Realm: d.opts.Realm}
	if p.TLS == nil && network(p.Remote).IsValid() && d.opts.AcceptAny == nil {
		return a // AU4: nothing in clear over a network
	}
	a.Password = b.password
	if d.opts.AcceptAny == nil || d.opts.AcceptAny.Password != "" { // SCRAM cannot take every password
		a.Begin = b.begin
	}
	var shown []*x509.Certificate
	if p.TLS != nil && d.opts.Certificates != nil {
		shown = d.opts.Certificates(p.TLS.ServerName)
	}
	if !d.opts.NoChannelBinding {
		a.Bindings = sasl.ServerBindings(p.TLS, shown)
	}
	if d.opts.AcceptAny != nil {
		return a
	}
	a.Legacy = d.opts.Legacy
	if d.opts.OwnTokens || d.opts.Tokens != nil {
		a.Token = b.token
	}
	if d.opts.Tokens != nil {
		a.Discovery = d.opts.Tokens.Discovery()
	}
	if len(b.certified()) > 0 {
		a.External = b.external
	}
	return a
}

// binding is the directory as one connection sees it.
type binding struct {
	d    *Directory
	peer Peer
	done func(name string, u User, err error) error
}

func (b *binding) credentials(mechanism, user, authz string) Credentials {
	return Credentials{User: user, Authz: authz, Mechanism: mechanism, Service: b.peer.Service, Remote: b.peer.Remote, Secure: b.peer.TLS != nil}
}

// verdict tells the desk, and the mechanism what it wants to know.
func (b *binding) verdict(name string, u User, err error) (string, error) {
	if err = b.done(name, u, err); err != nil {
		return "", err
	}
	return u.Address.String(), nil
}

func (b *binding) password(ctx context.Context, in sasl.Credentials) (string, error) {
	c := b.credentials(in.Mechanism, in.User, in.Authz)
	c.Password = in.Password
	u, err := b.d.Authenticate(ctx, c)
	return b.verdict(in.User, u, err)
}

// begin hands out what is kept of a user, or the like of it.
func (b *binding) begin(ctx context.Context, c sasl.Claim) (*sasl.Attempt, error) {
	if b.d.opts.AcceptAny != nil {
		return b.beginAny(ctx, c)
	}
	t, err := b.d.begin(ctx, b.credentials(c.Mechanism, c.User, c.Authz))
	if err != nil {
		return nil, b.done(c.User, User{}, err)
	}
	a := &sasl.Attempt{Iterations: t.login.iterations()}
	if a.Salt, err = b.d.salt(ctx, t.login.account); err != nil {
		_, err = t.end(ctx, false, false, err)
		return nil, b.done(c.User, User{}, err)
	}
	a.Secret = b.d.elder(t.login, c)
	for _, k := range t.login.keys(c.Hash, b.peer.Service) {
		a.Keys = append(a.Keys, k.Key)
	}
	if len(a.Keys) == 0 { // as many steps as for somebody who has one
		a.Keys = []sasl.Key{{Stored: make([]byte, c.Hash.Size()), Server: nil}}
	}
	a.End = func(ctx context.Context, proved int) (string, error) {
		u, err := t.prove(ctx, c, a, proved)
		return b.verdict(c.User, u, err)
	}
	return a, nil
}

// prove ends an attempt. What was proved must still be kept, since the client may
// have taken its time.
func (t *attempt) prove(ctx context.Context, c sasl.Claim, a *sasl.Attempt, proved int) (User, error) {
	if err := t.look(ctx); err != nil {
		return User{}, err
	}
	if _, ok := t.admit(ctx); !ok { // tries that were begun before the block
		t.d.obs.blocked(t.c)
		return User{}, refuse(postino.Transient, ErrBlocked)
	}
	if proved < 0 {
		return t.end(ctx, false, false, nil)
	}
	if a.Secret != nil {
		if t.login.user != nil {
			t.by, t.id = byPassword, t.login.user.Revision
		}
		return t.end(ctx, hmac.Equal(a.Secret, t.d.elder(t.login, c)), false, nil)
	}
	keys := t.login.keys(c.Hash, t.c.Service)
	i := slices.IndexFunc(keys, func(k appliedKey) bool { return hmac.Equal(k.Stored, a.Keys[proved].Stored) })
	if i >= 0 {
		if t.by, t.id = byPassword, t.login.user.Revision; keys[i].app != 0 {
			t.by, t.id = byApp, keys[i].app
		}
	}
	if i >= 0 && keys[i].app != 0 && !t.login.denied {
		t.d.touch(ctx, appKey{t.login.user.ID, keys[i].app}, time.Now())
	}
	return t.end(ctx, i >= 0, false, nil)
}

// appliedKey is a key and the app password that it is of; 0: the user's own.
type appliedKey struct {
	sasl.Key
	app uint64
}

// iterations is the count of the user's keys.
func (l *login) iterations() int {
	if l.user != nil {
		if n := l.user.Secrets.Keys.Iterations; n != 0 {
			return n
		}
		for i := range l.user.Apps {
			if n := l.user.Apps[i].Keys.Iterations; n != 0 {
				return n
			}
		}
	}
	return scramIterations
}

// keys are those of the user's passwords that open a service, made with the same
// count.
func (l *login) keys(h sasl.Hash, service Services) (list []appliedKey) {
	if l.user == nil {
		return nil
	}
	count := l.iterations()
	add := func(k *scramKeys, app uint64) {
		if pair, ok := k.key(h); ok && k.Iterations == count {
			list = append(list, appliedKey{pair, app})
		}
	}
	add(&l.user.Secrets.Keys, 0)
	for i := range l.user.Apps {
		if a := &l.user.Apps[i]; a.Services&service != 0 {
			add(&a.Keys, a.ID)
		}
	}
	return list
}

// elder is what is kept for CRAM-MD5 or DIGEST-MD5.
func (d *Directory) elder(l *login, c sasl.Claim) []byte {
	switch {
	case l.user == nil:
	case c.Mechanism == "CRAM-MD5":
		return l.user.Secrets.CRAM
	case c.Mechanism == "DIGEST-MD5" && l.user.Secrets.Realm == c.Realm && c.User == l.account:
		return l.user.Secrets.Digest
	}
	return nil
}

// token lets in whose token it is.
func (b *binding) token(ctx context.Context, in sasl.Token) (string, error) {
	t, err := b.d.begin(ctx, b.credentials(in.Mechanism, in.User, in.User))
	if err != nil {
		return b.verdict(in.User, User{}, err)
	}
	name, err := b.validate(ctx, t, in)
	ok := err == nil
	if postino.Is(err, postino.Denied) {
		err = nil
	}
	if ok {
		claimed := t.login
		t.c.User = name
		if err = t.look(ctx); err != nil {
			return b.verdict(in.User, User{}, err)
		}
		// AU5: a name that is said must be the one of the token.
		ok = in.User == "" || claimed.account == t.login.account
		t.c.Authz = ""
	}
	u, err := t.end(ctx, ok, false, err)
	return b.verdict(in.User, u, err)
}

// validate finds whose token it is: one of ours, or of somebody whom we ask.
func (b *binding) validate(ctx context.Context, t *attempt, in sasl.Token) (string, error) {
	switch own := strings.HasPrefix(in.Token, tokenPrefix); {
	case own && b.d.opts.OwnTokens:
		u, g, err := b.d.Redeem(ctx, in.Token, AccessToken, b.peer.Service, time.Now())
		t.by, t.id = byGrant, g.ID
		return u.Address.String(), err
	case own || b.d.opts.Tokens == nil:
		return "", refuse(postino.Denied, ErrCredentials)
	}
	return b.d.opts.Tokens.Validate(ctx, in)
}

// certified are the addresses that a verified client certificate is for.
func (b *binding) certified() []string {
	if b.peer.TLS == nil || len(b.peer.TLS.VerifiedChains) == 0 {
		return nil
	}
	return b.peer.TLS.VerifiedChains[0][0].EmailAddresses // RFC 5280 §4.2.1.6, rfc822Name
}

// external lets in the user of the certificate: the one whom the client names, or
// the first who is ours.
func (b *binding) external(ctx context.Context, authz string) (string, error) {
	name := authz
	for _, address := range b.certified() {
		l, err := b.d.login(ctx, address)
		if err != nil {
			return b.verdict(name, User{}, refuse(postino.Transient, err))
		}
		if l.user == nil {
			continue
		}
		if authz != "" {
			other, err := b.d.login(ctx, authz)
			if err != nil {
				return b.verdict(name, User{}, refuse(postino.Transient, err))
			}
			if other.account != l.account {
				continue
			}
		}
		t, err := b.d.begin(ctx, b.credentials("EXTERNAL", address, ""))
		if err != nil {
			return b.verdict(address, User{}, err)
		}
		u, err := t.end(ctx, true, false, nil)
		return b.verdict(address, u, err)
	}
	t, err := b.d.begin(ctx, b.credentials("EXTERNAL", name, ""))
	if err != nil {
		return b.verdict(name, User{}, err)
	}
	u, err := t.end(ctx, false, false, nil)
	return b.verdict(name, u, err)
}

// beginAny takes the one password of a development server for anybody.
func (b *binding) beginAny(ctx context.Context, c sasl.Claim) (*sasl.Attempt, error) {
	salt, err := b.d.salt(ctx, c.User)
	if err != nil {
		return nil, b.done(c.User, User{}, refuse(postino.Transient, err))
	}
	password := b.d.opts.AcceptAny.Password
	key := sasl.NewKey(c.Hash, password, salt, scramIterations)
	return &sasl.Attempt{Salt: salt, Iterations: scramIterations, Keys: []sasl.Key{key}, End: func(ctx context.Context, proved int) (string, error) {
		in := sasl.Credentials{Mechanism: c.Mechanism, Authz: c.Authz, User: c.User}
		if proved == 0 {
			in.Password = password
		}
		return b.password(ctx, in)
	}}, nil
}
