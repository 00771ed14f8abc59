package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/sasl"
)

// scramIterations is the count of new SCRAM keys: a few milliseconds. RFC 7677 §4
// wants 4,096 at least; the argon2id hash beside the keys costs far more, but
// every phone must be able to do this one.
const scramIterations = 10_000

// secrets are what is kept of a password beside its hash.
type secrets struct {
	Keys scramKeys `json:",omitzero"`
	// CRAM and Digest are kept while the mechanisms are offered; the latter
	// stands for one realm.
	CRAM   []byte `json:",omitempty"`
	Digest []byte `json:",omitempty"`
	Realm  string `json:",omitempty"`
}

// scramKeys are the keys of one password for both hashes, StoredKey and ServerKey
// one after the other.
type scramKeys struct {
	Iterations   int
	SHA1, SHA256 []byte
}

// key returns the pair for a hash; ok is false when there is none.
func (k *scramKeys) key(h sasl.Hash) (pair sasl.Key, ok bool) {
	b := k.SHA256
	if h == sasl.SHA1 {
		b = k.SHA1
	}
	if len(b) != 2*h.Size() {
		return pair, false
	}
	return sasl.Key{Stored: b[:h.Size()], Server: b[h.Size():]}, true
}

// salts gives everybody a salt, made from a secret of the store and the user name.
// So nobody who asks learns from it whether there is such a user (AU2), and all
// passwords of a user share it: the client does not say which one it has, and the
// server tries the keys of all.
type salts struct {
	mu     sync.Mutex
	secret []byte
}

// salt is for a user name in canonical form.
func (d *Directory) salt(ctx context.Context, account string) ([]byte, error) {
	secret, err := d.saltSecret(ctx)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("scram salt\x00" + account))
	return m.Sum(nil)[:saltSize], nil
}

// saltSecret reads the secret, and makes it when the store is new.
func (d *Directory) saltSecret(ctx context.Context) ([]byte, error) {
	d.salts.mu.Lock()
	defer d.salts.mu.Unlock()
	if d.salts.secret != nil {
		return d.salts.secret, nil
	}
	const size = 32
	var secret []byte
	read := func(r kv.Reader) error {
		v, ok, err := r.Get(key('k'))
		if err == nil && ok && (len(v) != 1+size || v[0] != numberVersion) {
			err = corrupt(key('k'), nil)
		}
		if secret = nil; err == nil && ok {
			secret = slices.Clone(v[1:])
		}
		return err
	}
	err := d.view(ctx, read)
	if err == nil && secret == nil {
		err = d.db.Update(ctx, []kv.Scope{scope}, func(tx kv.Tx) error {
			if err := read(tx); err != nil || secret != nil {
				return err
			}
			secret = make([]byte, size)
			rand.Read(secret)
			return tx.Set(key('k'), append([]byte{numberVersion}, secret...))
		})
	}
	if err != nil {
		return nil, err
	}
	d.salts.secret = secret
	return secret, nil
}

// scramKeys derives the keys of a password of the user at an address.
func (d *Directory) scramKeys(ctx context.Context, addr postino.Address, password string) (k scramKeys, err error) {
	salt, err := d.salt(ctx, folded(addr).String())
	if err != nil {
		return k, err
	}
	err = d.hasher.run(ctx, func() {
		join := func(h sasl.Hash) []byte {
			pair := sasl.NewKey(h, password, salt, scramIterations)
			return append(pair.Stored, pair.Server...)
		}
		k = scramKeys{scramIterations, join(sasl.SHA1), join(sasl.SHA256)}
	})
	return k, err
}

// offers tells whether an elder mechanism is offered.
func (d *Directory) offers(mechanism string) bool { return slices.Contains(d.opts.Legacy, mechanism) }

// secrets makes what is to be kept of a password.
func (d *Directory) secrets(ctx context.Context, addr postino.Address, password string) (s secrets, err error) {
	if s.Keys, err = d.scramKeys(ctx, addr, password); err != nil {
		return s, err
	}
	if d.offers("CRAM-MD5") {
		s.CRAM = sasl.CRAMSecret(password)
	}
	if d.offers("DIGEST-MD5") {
		s.Realm = d.opts.Realm
		s.Digest = sasl.DigestSecret(folded(addr).String(), s.Realm, password)
	}
	return s, nil
}

// kept tells whether the secrets of a user are those that are to be kept now.
func (d *Directory) kept(u *record) bool {
	s := &u.Secrets
	return s.Keys.Iterations == scramIterations && (s.CRAM != nil) == d.offers("CRAM-MD5") && (s.Digest != nil) == d.offers("DIGEST-MD5") &&
		(s.Digest == nil || s.Realm == d.opts.Realm)
}

// keepAppKeys makes the keys of an app password that is older than SCRAM here, now
// that it is known.
func (d *Directory) keepAppKeys(ctx context.Context, u *record, app uint64, secret string) {
	at := func(u *record) *appPassword {
		for i := range u.Apps {
			if u.Apps[i].ID == app {
				return &u.Apps[i]
			}
		}
		return nil
	}
	if a := at(u); a == nil || a.Keys.Iterations == scramIterations {
		return
	}
	keys, err := d.scramKeys(ctx, u.Address, grouped(plainSecret(secret)))
	if err == nil {
		err = d.onUser(ctx, "renew app password", u.Address, func(_ kv.Tx, now *record) error {
			if a := at(now); a != nil {
				a.Keys = keys
			}
			return nil
		})
	}
	if err != nil {
		d.obs.upgradeFailed(u.ID, err)
	}
}
