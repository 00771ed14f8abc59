//go:build pkcs11

package directory

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/ThalesGroup/crypto11"

	"github.com/postino-mail/postino"
)

// pkcs11 is a token behind a module. It is opened when a key is wanted, and again
// after it failed.
type pkcs11 struct {
	config crypto11.Config

	mu   sync.Mutex // also keeps two from making the same key
	open *crypto11.Context
}

// OpenPKCS11 returns the token of a PKCS #11 module, without touching it yet. Its
// keys are RSA of 2,048 bits, and sensitive: the token does not give them away.
func OpenPKCS11(o PKCS11) (Token, error) {
	return &pkcs11{config: crypto11.Config{Path: o.Module, TokenLabel: o.Label, Pin: o.PIN}}, nil
}

// with calls fn with the open token. Any error but NotFound closes it.
func (t *pkcs11) with(op, label string, fn func(*crypto11.Context) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.open == nil {
		config := t.config // Configure writes into it
		t.open, err = crypto11.Configure(&config)
	}
	if err == nil {
		err = fn(t.open)
	}
	if err == nil || postino.Is(err, postino.NotFound) {
		return err
	}
	t.drop()
	return postino.E(postino.Transient, op, label, t.hide(err))
}

// drop closes the token, for the next one to open it.
func (t *pkcs11) drop() {
	if t.open != nil {
		_ = t.open.Close() // it is of no use any more
		t.open = nil
	}
}

// hide keeps the PIN out of what a module says.
func (t *pkcs11) hide(err error) error {
	if text := err.Error(); t.config.Pin != "" && strings.Contains(text, t.config.Pin) {
		return errors.New(strings.ReplaceAll(text, t.config.Pin, "…"))
	}
	return err
}

// find returns the key with a label.
func find(c *crypto11.Context, label string) (crypto11.Signer, error) {
	list, err := c.FindKeyPairs(nil, []byte(label))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, postino.E(postino.NotFound, "find key", label, errors.New("the token has no such key"))
	}
	return list[0], nil
}

// Key implements Token.
func (t *pkcs11) Key(_ context.Context, label string) (crypto.Signer, error) {
	return t.key("make key", label, func(c *crypto11.Context) (crypto.Signer, error) {
		s, err := find(c, label)
		if !postino.Is(err, postino.NotFound) {
			return s, err
		}
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		return c.GenerateRSAKeyPairWithLabel(id, []byte(label), 2048)
	})
}

// Find implements Token.
func (t *pkcs11) Find(_ context.Context, label string) (crypto.Signer, error) {
	return t.key("find key", label, func(c *crypto11.Context) (crypto.Signer, error) { return find(c, label) })
}

func (t *pkcs11) key(op, label string, get func(*crypto11.Context) (crypto.Signer, error)) (crypto.Signer, error) {
	k := &tokenKey{t: t, label: label}
	err := t.with(op, label, func(c *crypto11.Context) (err error) {
		k.of = c
		k.signer, err = get(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	k.pub = k.signer.Public()
	return k, nil
}

// Remove implements Token.
func (t *pkcs11) Remove(_ context.Context, label string) error {
	return t.with("remove key", label, func(c *crypto11.Context) error {
		s, err := find(c, label)
		if postino.Is(err, postino.NotFound) {
			return nil
		}
		if err == nil {
			err = s.Delete()
		}
		return err
	})
}

// tokenKey is a key that outlives a token which was pulled out and put in again.
type tokenKey struct {
	t     *pkcs11
	label string
	pub   crypto.PublicKey

	// Protected by t.mu.
	signer crypto.Signer
	of     *crypto11.Context
}

// Public implements crypto.Signer.
func (k *tokenKey) Public() crypto.PublicKey { return k.pub }

// Sign implements crypto.Signer; several sign at once.
func (k *tokenKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	var signer crypto.Signer
	var of *crypto11.Context
	err := k.t.with("sign", k.label, func(c *crypto11.Context) (err error) {
		if k.of != c {
			if k.signer, err = find(c, k.label); err != nil {
				return err
			}
			k.of = c
		}
		signer, of = k.signer, c
		return nil
	})
	if err != nil {
		return nil, err
	}
	sig, err := signer.Sign(r, digest, opts)
	if err == nil {
		return sig, nil
	}
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	if k.t.open == of {
		k.t.drop()
	}
	return nil, postino.E(postino.Transient, "sign", k.label, k.t.hide(err))
}
