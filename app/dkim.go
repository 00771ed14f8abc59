package app

import (
	"context"
	"crypto/rsa"
	"net/netip"
	"strings"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/mailauth"
)

// Signing says how the keys of domains are made and kept. The zero value is fit for
// use: keys are in the store and sign for ever.
type Signing struct {
	// Rotate is how long a key signs before it gets a successor; 0: for ever.
	Rotate time.Duration
	// Hold is how long messages may be scheduled ahead.
	Hold time.Duration
	// Token takes the private keys; nil: they are in the store.
	Token directory.Token
	// Records publishes the records of keys and takes them away; nil: people do.
	Records directory.KeyRecords
	// RSA makes keys, for tests and development; nil makes real ones.
	RSA func() (*rsa.PrivateKey, error)
}

// signing reads what the configuration says of keys.
func (c *Config) signing() (s Signing, err error) {
	s = Signing{Rotate: c.c.DKIM.Rotate, Hold: c.c.SMTP.FutureRelease}
	if d := &c.c.DKIM; d.DNSServer != "" {
		u := &dns.Updater{Server: netip.MustParseAddrPort(d.DNSServer)} // config has parsed it
		if u.Key, err = dns.ParseTSIG(d.DNSKey); err != nil {
			return s, err
		}
		s.Records = u
	}
	p := &c.c.PKCS11
	if p.Module == "" {
		return s, nil
	}
	var pin []byte
	if p.PINFile != "" {
		if pin, err = readFile(p.PINFile); err != nil {
			return s, postino.E(postino.Invalid, "read PIN", p.PINFile, err)
		}
	}
	line, _, _ := strings.Cut(string(pin), "\n")
	s.Token, err = directory.OpenPKCS11(directory.PKCS11{Module: p.Module, Label: p.Token, PIN: strings.TrimSuffix(line, "\r")})
	return s, err
}

// DKIMKey is a key of a domain as the command line sees it.
type DKIMKey struct {
	Domain, Selector, Algorithm, State string
	Created, Since                     time.Time
	// Token tells that the private part is in a token.
	Token bool `json:",omitempty"`
	// Name and Text are the TXT record to publish, Zone is the same as a line of a
	// zone file.
	Name, Text, Zone string
	// Due is by when it should be published, while it is not.
	Due time.Time `json:",omitzero"`
	// Looked is when the DNS was asked last, zero for not since the server started,
	// and Trouble what was wrong then.
	Looked  time.Time `json:",omitzero"`
	Trouble string    `json:",omitempty"`
}

// DKIMDomain names a domain, "" for all where that makes sense.
type DKIMDomain struct {
	Domain string
	// Now does not wait for caches to see new records.
	Now bool `json:",omitempty"`
}

// DKIMSelector names a key.
type DKIMSelector struct{ Domain, Selector string }

func dkimKeys(list []directory.KeyStatus) []DKIMKey {
	out := make([]DKIMKey, 0, len(list))
	for _, s := range list {
		name, text := s.Record()
		k := DKIMKey{
			Domain: s.Domain, Selector: s.Selector, Algorithm: s.Algorithm.String(), State: s.State.String(), Created: s.Created, Since: s.Since,
			Token: s.Token != "", Name: name, Text: text, Zone: name + ". IN TXT " + mailauth.ZoneText(text), Looked: s.Looked,
		}
		if s.State == directory.KeyPlanned {
			k.Due = s.Due()
		}
		if s.Trouble != nil {
			k.Trouble = s.Trouble.Error()
		}
		out = append(out, k)
	}
	return out
}

func (s *Stores) listDKIM(ctx context.Context, in DKIMDomain) ([]DKIMKey, error) {
	list, err := s.Keys.Status(ctx, in.Domain)
	return dkimKeys(list), err
}

// checkDKIM asks the DNS about the keys of a domain, or of all, and moves them on.
func (s *Stores) checkDKIM(ctx context.Context, in DKIMDomain) ([]DKIMKey, error) {
	names := []string{in.Domain}
	if in.Domain == "" {
		domains, err := s.Directory.Domains(ctx)
		if err != nil {
			return nil, err
		}
		names = names[:0]
		for _, d := range domains {
			names = append(names, d.Name)
		}
	}
	var all []directory.KeyStatus
	for _, name := range names {
		list, err := s.Keys.Check(ctx, name, in.Now)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return dkimKeys(all), nil
}

func (s *Stores) rotateDKIM(ctx context.Context, in DKIMDomain) ([]DKIMKey, error) {
	if _, err := s.Directory.RotateDKIM(ctx, in.Domain, time.Now()); err != nil {
		return nil, err
	}
	if in.Now {
		return s.checkDKIM(ctx, in)
	}
	return s.listDKIM(ctx, in)
}

func (s *Stores) retireDKIM(ctx context.Context, in DKIMSelector) (None, error) {
	return None{}, s.Keys.Retire(ctx, in.Domain, strings.ToLower(in.Selector))
}

func (s *Stores) removeDKIM(ctx context.Context, in DKIMSelector) (None, error) {
	return None{}, s.Keys.Remove(ctx, in.Domain, strings.ToLower(in.Selector))
}
