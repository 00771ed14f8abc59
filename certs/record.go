package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"time"

	"github.com/postino-mail/postino"
)

// Store keeps what must outlive the process: keys, certificates, accounts. It is
// as secret as they are.
type Store interface {
	// Get returns nil when there is nothing.
	Get(ctx context.Context, key string) ([]byte, error)
	// Update changes one value, durably and with nobody between: fn gets what is
	// there and returns what shall be; nil removes it. fn may run again.
	Update(ctx context.Context, key string, fn func(old []byte) ([]byte, error)) error
	// Keys lists the keys that begin with prefix, in order.
	Keys(ctx context.Context, prefix string) ([]string, error)
}

// Keys of the store: "name/NAME", "account/DIRECTORY", "lease/NAME". Values are a
// version octet and JSON.
const storeVersion = 1

// record is all that is known of a name that certificates are asked for.
type record struct {
	// Current is in use; Held waits until DNS vouches for its key.
	Current, Held *issued `json:",omitempty"`
	// NextKey, PEM, takes the place of the key when DNS vouches for it, or, with
	// Rotate, when DNS does not speak against it.
	NextKey string `json:",omitempty"`
	Rotate  bool   `json:",omitempty"`
	// Failures counts failed orders in a row; there is no other before Retry.
	Failures int       `json:",omitempty"`
	Retry    time.Time `json:",omitzero"`
	Problem  string    `json:",omitempty"`
}

// issued is a certificate from an authority.
type issued struct {
	Chain, Key string // PEM
	Directory  string
	// Renew is when the authority wants it renewed (RFC 9773), zero when it does
	// not say; it is asked again at Ask.
	Renew time.Time `json:",omitzero"`
	Ask   time.Time `json:",omitzero"`

	entry *entry
}

// load makes what can be shown.
func (i *issued) load() error {
	e, err := newEntry(FromACME, []byte(i.Chain), []byte(i.Key))
	if err != nil {
		return err
	}
	e.ca = i.Directory
	i.entry = e
	return nil
}

func decodeRow(b []byte, v any) error {
	switch {
	case len(b) == 0:
		return nil
	case b[0] != storeVersion:
		return postino.E(postino.Invalid, "read certificates", "", errors.New("written by a newer version of the program, or damaged"))
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return postino.E(postino.Corrupt, "read certificates", "", err)
	}
	return nil
}

func encodeRow(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append([]byte{storeVersion}, b...), err
}

// updateRow changes one row.
func updateRow[T any](ctx context.Context, s Store, key string, fn func(*T) error) (now T, err error) {
	err = s.Update(ctx, key, func(old []byte) ([]byte, error) {
		var v T
		if err := decodeRow(old, &v); err != nil {
			return nil, err
		}
		if err := fn(&v); err != nil {
			return nil, err
		}
		now = v
		return encodeRow(v)
	})
	return now, err
}

// lease is a right to work on a name, of one node for some time.
type lease struct {
	Holder string
	Until  time.Time
}

// leaseFor is longer than an order takes; what a node left behind that died ends by
// itself.
const leaseFor = 15 * time.Minute

// take gets the lease of a name, or tells that another node has it.
func (a *ACME) take(ctx context.Context, name string) (bool, error) {
	ok := false
	_, err := updateRow(ctx, a.opts.Store, "lease/"+name, func(l *lease) error {
		ok = l.Holder == a.opts.Holder || !time.Now().Before(l.Until)
		if ok {
			*l = lease{a.opts.Holder, time.Now().Add(leaseFor)}
		}
		return nil
	})
	return ok, err
}

func (a *ACME) release(ctx context.Context, name string) error {
	return a.opts.Store.Update(ctx, "lease/"+name, func(old []byte) ([]byte, error) {
		var l lease
		if err := decodeRow(old, &l); err != nil || l.Holder != a.opts.Holder {
			return old, err
		}
		return nil, nil
	})
}

// newKey makes an ECDSA P-256 key, which everybody knows (RFC 9325 §4.5).
func newKey() (crypto.Signer, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}

// readKey reads what newKey wrote.
func readKey(text string) (crypto.Signer, error) {
	b, _ := pem.Decode([]byte(text))
	if b == nil {
		return nil, postino.E(postino.Corrupt, "read key", "", errors.New("no PEM"))
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, postino.E(postino.Corrupt, "read key", "", err)
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, postino.E(postino.Corrupt, "read key", "", errors.New("it cannot sign"))
	}
	return s, nil
}
