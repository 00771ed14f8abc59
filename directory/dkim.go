package directory

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
)

// KeyState is how far a DKIM key is in its life. It moves on only, but from
// published back to planned when the record is gone.
type KeyState uint8

// The states: made, its record is to be published; seen in DNS, waiting until
// everybody can see it; signing; no longer signing, while messages that it signed
// are on their way; its private part is gone and its record may go. The last ones
// are kept so that no selector is used twice (RFC 5863 §3.5).
const (
	KeyPlanned KeyState = iota
	KeyPublished
	KeySigning
	KeyRetiring
	KeyRemoved
)

var keyStateWords = words[KeyState]{"planned", "published", "signing", "retiring", "removed"}

// String is the word for people, "signing".
func (s KeyState) String() string { return keyStateWords.name(s) }

// KeyAlgorithm is what a DKIM key is for.
type KeyAlgorithm uint8

// The algorithms of RFC 8301 and RFC 8463; every verifier knows the first.
const (
	RSA2048 KeyAlgorithm = iota
	Ed25519
)

var algorithmWords = words[KeyAlgorithm]{"rsa", "ed25519"}

// String is the word for people, "rsa".
func (a KeyAlgorithm) String() string { return algorithmWords.name(a) }

// DKIMKey is a key that signs for a domain (MA5). Its private part is in no list,
// no log and no JSON.
type DKIMKey struct {
	// Domain is canonical. Selector is the year, a letter and the algorithm,
	// "2026a-rsa".
	Domain, Selector string
	Algorithm        KeyAlgorithm
	State            KeyState
	// Public is SubjectPublicKeyInfo in DER.
	Public []byte
	// Created is when it was made, Since when it came into its state.
	Created, Since time.Time
	// Ready is when a published key may sign, as far as caches are concerned.
	Ready time.Time `json:",omitzero"`
	// Token is the label of the private part in a token; empty: it is in the store.
	Token string `json:",omitempty"`

	secret []byte // PKCS #8, unless Token
}

// String names the key, so that no log shows more.
func (k DKIMKey) String() string { return k.Selector + "._domainkey." + k.Domain }

// GoString is String.
func (k DKIMKey) GoString() string { return k.String() }

// LogValue is String.
func (k DKIMKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// PublicKey returns the public part, nil when it cannot be read.
func (k DKIMKey) PublicKey() crypto.PublicKey {
	pub, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil {
		return nil
	}
	return pub
}

// Record returns the TXT record that publishes the key: its name and its text. It
// must be in DNS in all states but KeyRemoved.
func (k DKIMKey) Record() (name, text string) {
	return mailauth.KeyRecord(k.Selector, k.Domain, k.PublicKey())
}

// storedKey is a key with its secret.
type storedKey struct {
	DKIMKey
	Secret []byte `json:",omitempty"`
}

func (s storedKey) key() DKIMKey {
	s.secret = s.Secret
	return s.DKIMKey
}

// dkimKey takes a canonical domain.
func dkimKey(domain, selector string) []byte {
	k := append(key('x'), domain...)
	return append(append(k, 0), selector...)
}

func putKey(tx kv.Tx, k DKIMKey) error {
	return setRecord(tx, dkimKey(k.Domain, k.Selector), storedKey{k, k.secret})
}

// domainKeys reads all keys of a domain, also removed ones, in order of selector.
func domainKeys(r kv.Reader, domain string) (list []DKIMKey, err error) {
	err = scan(r, dkimKey(domain, ""), func(_ []byte, s storedKey) (bool, error) {
		list = append(list, s.key())
		return true, nil
	})
	return list, err
}

// DKIMKeys lists the keys of a domain, of all domains for "", in order of domain
// and selector, without those that are removed. NotFound: the domain is not ours.
func (d *Directory) DKIMKeys(ctx context.Context, domain string) (list []DKIMKey, err error) {
	err = d.view(ctx, func(r kv.Reader) error {
		list = nil
		prefix := key('x')
		if domain != "" {
			dom, err := needDomain(r, "list DKIM keys", domain)
			if err != nil {
				return err
			}
			prefix = dkimKey(dom.Name, "")
		}
		return scan(r, prefix, func(_ []byte, s storedKey) (bool, error) {
			if s.State != KeyRemoved {
				list = append(list, s.DKIMKey)
			}
			return true, nil
		})
	})
	return list, err
}

// Token keeps private keys where nobody can take them out (PKCS #11).
type Token interface {
	// Key returns the RSA key of 2,048 bits with a label, made if there is none.
	Key(ctx context.Context, label string) (crypto.Signer, error)
	// Find returns the key with a label. NotFound: there is none.
	Find(ctx context.Context, label string) (crypto.Signer, error)
	// Remove destroys the key with a label, if there is one.
	Remove(ctx context.Context, label string) error
}

// PKCS11 names a token of a PKCS #11 module.
type PKCS11 struct {
	// Module is the file with the shared library, Label the name of the token.
	Module, Label string
	PIN           string
}

// String names the token, so that no log shows the PIN.
func (o PKCS11) String() string { return "token " + o.Label }

// GoString is String.
func (o PKCS11) GoString() string { return o.String() }

// LogValue is String.
func (o PKCS11) LogValue() slog.Value { return slog.StringValue(o.String()) }

// DKIM says how keys are made.
type DKIM struct {
	// RSA makes the key of a new selector; nil makes one of 2,048 bits, which takes
	// a tenth of a second.
	RSA func() (*rsa.PrivateKey, error)
	// Token takes the private keys; then there are RSA keys only, since Ed25519 is
	// not for tokens. nil: they are in the store.
	Token Token
}

// algorithms are those of which a domain has keys: none for a top-level one, as
// localhost, whose signatures nobody takes (RFC 6376 §6.1.1).
func (o *DKIM) algorithms(domain string) []KeyAlgorithm {
	if !strings.Contains(domain, ".") {
		return nil
	}
	if o.Token != nil {
		return []KeyAlgorithm{RSA2048}
	}
	return []KeyAlgorithm{RSA2048, Ed25519}
}

// makeKeys makes a key for each of the algorithms, with names that none of those
// that the domain has or had bears. It takes long: no transaction may be open.
func (o *DKIM) makeKeys(ctx context.Context, domain string, algorithms []KeyAlgorithm, have []DKIMKey, now time.Time) ([]DKIMKey, error) {
	now = now.UTC().Truncate(time.Second)
	stem, list := nextName(have, now.Year()), make([]DKIMKey, len(algorithms))
	for i, a := range algorithms {
		k := &list[i]
		*k = DKIMKey{Domain: domain, Selector: stem + "-" + a.String(), Algorithm: a, Created: now, Since: now}
		private, err := o.makeKey(ctx, k)
		if err == nil {
			k.Public, err = x509.MarshalPKIXPublicKey(private.Public())
		}
		if err == nil && k.Token == "" {
			k.secret, err = x509.MarshalPKCS8PrivateKey(private)
		}
		if err != nil {
			return nil, postino.E(postino.KindOf(err), "make DKIM key", k.String(), err)
		}
	}
	return list, nil
}

func (o *DKIM) makeKey(ctx context.Context, k *DKIMKey) (private crypto.Signer, err error) {
	switch {
	case o.Token != nil: // before the row that names it: what a crash leaves is found by its label
		k.Token = "postino " + k.String()
		return o.Token.Key(ctx, k.Token)
	case k.Algorithm == Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
		return private, err
	case o.RSA != nil:
		return o.RSA()
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// nextName is the year and the letter after those of the keys that a domain has or
// had: keys that are made together share it.
func nextName(have []DKIMKey, year int) string {
	y, last := strconv.Itoa(year), 0
	for i := range have {
		name, _, _ := strings.Cut(have[i].Selector, "-")
		if letters, ok := strings.CutPrefix(name, y); ok {
			last = max(last, number(letters))
		}
	}
	return y + letters(last+1)
}

// letters counts a, b, … z, aa, ab, …; number reads it, 0 for what it does not write.
func letters(n int) string {
	s := ""
	for ; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

func number(s string) (n int) {
	for _, c := range s {
		if c < 'a' || c > 'z' || n > 1<<20 {
			return 0
		}
		n = n*26 + int(c-'a') + 1
	}
	return n
}

// lacking are the algorithms of which a domain has no key that waits for DNS, and
// none that signs, or one that has signed since old or longer.
func (o *DKIM) lacking(domain string, have []DKIMKey, old time.Time) []KeyAlgorithm {
	return slices.DeleteFunc(o.algorithms(domain), func(a KeyAlgorithm) bool {
		return slices.ContainsFunc(have, func(k DKIMKey) bool {
			return k.Algorithm == a && (k.State < KeySigning || k.State == KeySigning && k.Since.After(old))
		})
	})
}

// ensureKeys makes the keys that a domain lacks, successors of those that have
// signed since old or longer among them. It returns what it made.
func (d *Directory) ensureKeys(ctx context.Context, domain string, old, now time.Time) (made []DKIMKey, err error) {
	const op = "make DKIM keys"
	if d.opts.DKIM == nil {
		return nil, postino.E(postino.Invalid, op, domain, errors.New("this directory makes no keys"))
	}
	var dom Domain
	var have []DKIMKey
	read := func(r kv.Reader) (err error) {
		if dom, err = needDomain(r, op, domain); err == nil {
			have, err = domainKeys(r, dom.Name)
		}
		return err
	}
	if err := d.view(ctx, read); err != nil {
		return nil, err
	}
	lacking := d.opts.DKIM.lacking(dom.Name, have, old)
	if len(lacking) == 0 {
		return nil, nil
	}
	list, err := d.opts.DKIM.makeKeys(ctx, dom.Name, lacking, have, now)
	if err != nil {
		return nil, err
	}
	err = d.update(ctx, nil, func(tx kv.Tx) error {
		if err := read(tx); err != nil {
			return err
		}
		lacking, made = d.opts.DKIM.lacking(dom.Name, have, old), nil
		for _, k := range list {
			taken := slices.ContainsFunc(have, func(o DKIMKey) bool { return o.Selector == k.Selector })
			if taken || !slices.Contains(lacking, k.Algorithm) { // somebody was faster
				continue
			}
			if err := putKey(tx, k); err != nil {
				return err
			}
			made = append(made, k)
		}
		return nil
	})
	return made, err
}

// RotateDKIM makes the next keys of a domain, unless some are waiting already, and
// returns all that wait for DNS: when their records are published the old ones
// retire. NotFound: the domain is not ours.
func (d *Directory) RotateDKIM(ctx context.Context, domain string, now time.Time) ([]DKIMKey, error) {
	if _, err := d.ensureKeys(ctx, domain, now, now); err != nil {
		return nil, err
	}
	all, err := d.DKIMKeys(ctx, domain)
	return slices.DeleteFunc(all, func(k DKIMKey) bool { return k.State >= KeySigning }), err
}

// moveKey brings a key from one state into another. A successor that signs takes
// the place of the key of the same algorithm. moved is false when the key is not
// in the state from any more.
func (d *Directory) moveKey(ctx context.Context, k DKIMKey, to KeyState, ready, now time.Time) (moved bool, err error) {
	now = now.UTC().Truncate(time.Second)
	err = d.update(ctx, nil, func(tx kv.Tx) error {
		moved = false
		var s storedKey
		ok, err := getRecord(tx, dkimKey(k.Domain, k.Selector), &s)
		if err != nil || !ok || s.State != k.State {
			return err
		}
		moved = true
		if to == KeySigning {
			all, err := domainKeys(tx, k.Domain)
			if err != nil {
				return err
			}
			for _, old := range all {
				if old.State == KeySigning && old.Algorithm == k.Algorithm {
					old.State, old.Since = KeyRetiring, now
					if err := putKey(tx, old); err != nil {
						return err
					}
				}
			}
		}
		next := s.key()
		next.State, next.Since, next.Ready = to, now, ready.UTC().Truncate(time.Second)
		if to == KeyRemoved {
			next.secret = nil
		}
		return putKey(tx, next)
	})
	return moved, err
}

// RetireDKIM stops signing with a key at once. While the domain has no other key
// of the algorithm, its mail goes without that signature. NotFound: there is no such
// key; Conflict: it is no key that signs or will.
func (d *Directory) RetireDKIM(ctx context.Context, domain, selector string, now time.Time) error {
	k, err := d.needKey(ctx, "retire DKIM key", domain, selector)
	if err == nil && k.State >= KeyRetiring {
		err = postino.E(postino.Conflict, "retire DKIM key", k.String(), fmt.Errorf("it is %s already", k.State))
	}
	if err == nil {
		_, err = d.moveKey(ctx, k, KeyRetiring, time.Time{}, now)
	}
	return err
}

// RemoveDKIM destroys the private part of a key. NotFound: there is no such key;
// Conflict: it signs.
func (d *Directory) RemoveDKIM(ctx context.Context, domain, selector string, now time.Time) error {
	k, err := d.needKey(ctx, "remove DKIM key", domain, selector)
	if err == nil && k.State == KeySigning {
		err = postino.E(postino.Conflict, "remove DKIM key", k.String(), errors.New("it signs; retire it first"))
	}
	if err == nil {
		err = d.removeKey(ctx, k, now)
	}
	return err
}

func (d *Directory) removeKey(ctx context.Context, k DKIMKey, now time.Time) error {
	moved, err := d.moveKey(ctx, k, KeyRemoved, time.Time{}, now)
	if err == nil && moved {
		err = d.opts.DKIM.forget(ctx, &k)
	}
	return err
}

// forget destroys the private part of a key that is in the token.
func (o *DKIM) forget(ctx context.Context, k *DKIMKey) error {
	if o == nil || o.Token == nil || k.Token == "" || k.State == KeyRemoved {
		return nil
	}
	return o.Token.Remove(ctx, k.Token)
}

func (d *Directory) needKey(ctx context.Context, op, domain, selector string) (k DKIMKey, err error) {
	list, err := d.DKIMKeys(ctx, domain)
	if err != nil {
		return k, err
	}
	i := slices.IndexFunc(list, func(k DKIMKey) bool { return k.Selector == selector })
	if i < 0 {
		return k, postino.E(postino.NotFound, op, postino.Printable(selector), errors.New("the domain has no such key"))
	}
	return list[i], nil
}
