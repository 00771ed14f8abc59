package directory

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/mailauth"
)

const (
	// maxParents is how many labels are taken off a name to find a domain of ours.
	maxParents = 8
	// parsedKeys bounds the private keys that are held ready to sign.
	parsedKeys = 8192
)

// SignKeys returns the keys that sign for authors in a domain, RSA first: those of
// the domain if it is ours, else of the nearest one above it that is, so that d=
// is aligned with From (RFC 9989 §4.4). It is empty when none signs.
func (d *Directory) SignKeys(ctx context.Context, from string) ([]mailauth.SignKey, error) {
	keys, generation, ok := d.signers.get(from)
	if ok {
		return keys, nil
	}
	var list []DKIMKey
	err := d.view(ctx, func(r kv.Reader) (err error) {
		list = nil
		for name, n := from, 0; name != "" && n < maxParents; n++ {
			dom, found, err := getDomain(r, name)
			if err != nil {
				return err
			}
			if found && !dom.Disabled {
				list, err = domainKeys(r, name)
				return err
			}
			if found {
				return nil
			}
			_, name, _ = strings.Cut(name, ".")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b DKIMKey) int { return int(a.Algorithm) - int(b.Algorithm) })
	for _, k := range list {
		if k.State != KeySigning {
			continue
		}
		private, err := d.private(ctx, &k)
		if err != nil {
			return nil, err
		}
		keys = append(keys, mailauth.SignKey{Domain: k.Domain, Selector: k.Selector, Key: private})
	}
	d.signers.put(generation, from, keys)
	return keys, nil
}

// private returns the private part of a key. Parsed ones are kept longer than
// anything else: they do not change, and RSA keys are slow to read.
func (d *Directory) private(ctx context.Context, k *DKIMKey) (crypto.Signer, error) {
	id := sha256.Sum256(append([]byte(k.Token+"\x00"), k.Public...))
	if s, _, ok := d.parsed.get(id); ok {
		return s, nil
	}
	s, err := d.open(ctx, k)
	if err != nil {
		return nil, err
	}
	d.parsed.put(0, id, s)
	return s, nil
}

func (d *Directory) open(ctx context.Context, k *DKIMKey) (crypto.Signer, error) {
	const op = "open DKIM key"
	if k.Token != "" {
		if d.opts.DKIM == nil || d.opts.DKIM.Token == nil {
			return nil, postino.E(postino.Transient, op, k.String(), errors.New("it is in a token, and none is configured"))
		}
		return d.opts.DKIM.Token.Find(ctx, k.Token)
	}
	any, err := x509.ParsePKCS8PrivateKey(k.secret)
	if err != nil {
		return nil, postino.E(postino.Corrupt, op, k.String(), errors.New("its private part cannot be read"))
	}
	s, ok := any.(crypto.Signer)
	if !ok {
		return nil, postino.E(postino.Corrupt, op, k.String(), errors.New("it cannot sign"))
	}
	return s, nil
}
