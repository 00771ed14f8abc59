package tlspolicy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postino-mail/postino/dns"
)

// maxChain is how many certificates a server may show (TL1).
const maxChain = 10

// The numbers of RFC 6698 §2.1 that are in use for SMTP (RFC 7672 §3.1).
const (
	usageTA  = 2
	usageEE  = 3
	fullCert = 0 // selector, and matching: no digest
	onlyKey  = 1
	sha2_256 = 1
	sha2_512 = 2
)

// What certificates fail by.
var (
	ErrNoTLSA        = errors.New("no TLSA record matches the certificate")
	ErrNoCertificate = errors.New("the server showed no certificate")
	ErrLongChain     = errors.New("the server showed more than 10 certificates")
)

// UsableTLSA returns the records by which a server can be authenticated: usages 2
// and 3 (RFC 7672 §3.1.3) with data that make sense (RFC 6698 §4.1), and of those
// with a digest the strongest digest only of each usage and selector (RFC 7671 §9).
func UsableTLSA(records []dns.TLSA) []dns.TLSA {
	var strongest [4][2]uint8
	var usable []dns.TLSA
	for _, r := range records {
		if wellFormed(r) {
			usable = append(usable, r)
			strongest[r.Usage][r.Selector] = max(strongest[r.Usage][r.Selector], r.Matching)
		}
	}
	return slices.DeleteFunc(usable, func(r dns.TLSA) bool {
		return r.Matching != fullCert && r.Matching < strongest[r.Usage][r.Selector]
	})
}

// wellFormed tells whether a record can match anything.
func wellFormed(r dns.TLSA) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector > onlyKey {
		return false
	}
	switch r.Matching {
	case sha2_256:
		return len(r.Data) == sha256.Size
	case sha2_512:
		return len(r.Data) == sha512.Size
	case fullCert:
		if r.Selector == onlyKey {
			_, err := x509.ParsePKIXPublicKey(r.Data)
			return err == nil
		}
		_, err := x509.ParseCertificate(r.Data)
		return err == nil
	}
	return false
}

// MatchTLSA tells whether a record is that of a certificate; its usage is not
// looked at.
func MatchTLSA(r dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == onlyKey {
		data = c.RawSubjectPublicKeyInfo
	} else if r.Selector != fullCert {
		return false
	}
	switch r.Matching {
	case fullCert:
		return bytes.Equal(r.Data, data)
	case sha2_256:
		sum := sha256.Sum256(data)
		return bytes.Equal(r.Data, sum[:])
	case sha2_512:
		sum := sha512.Sum512(data)
		return bytes.Equal(r.Data, sum[:])
	}
	return false
}

// FormatTLSA writes a record as in a zone file, for people and reports (RFC 8460
// §4.5): "3 1 1 1F850A…".
func FormatTLSA(r dns.TLSA) string {
	return fmt.Sprintf("%d %d %d %X", r.Usage, r.Selector, r.Matching, r.Data)
}

// VerifyTLSA checks the certificates that a server showed, its own first, by
// usable records, and returns the one that proved it. names are what a certificate
// under a trust anchor may be for; a record of the server's own certificate needs
// neither name nor date (RFC 7672 §3.1.1, §3.2).
func VerifyTLSA(usable []dns.TLSA, chain []*x509.Certificate, names []string, now time.Time) (dns.TLSA, error) {
	switch {
	case len(chain) == 0:
		return dns.TLSA{}, ErrNoCertificate
	case len(chain) > maxChain:
		return dns.TLSA{}, ErrLongChain
	}
	err := ErrNoTLSA
	for _, r := range usable {
		if r.Usage == usageEE && MatchTLSA(r, chain[0]) {
			return r, nil
		}
	}
	for _, r := range usable {
		if r.Usage != usageTA {
			continue
		}
		anchor := findAnchor(r, chain)
		if anchor == nil {
			continue
		}
		if err = verifyChain(chain, anchor, now); err == nil {
			err = verifyNames(chain[0], names)
		}
		if err == nil {
			return r, nil
		}
	}
	return dns.TLSA{}, err
}

// findAnchor returns the certificate that a record of a trust anchor makes one:
// of those that the server showed above its own, or in the record itself. A bare
// key in the record makes an anchor of the last certificate that it has signed
// (RFC 7671 §5.2.2, §5.2.3).
func findAnchor(r dns.TLSA, chain []*x509.Certificate) *x509.Certificate {
	for _, c := range chain[1:] {
		if MatchTLSA(r, c) {
			return c
		}
	}
	if r.Matching != fullCert {
		return nil
	}
	if r.Selector == fullCert {
		c, err := x509.ParseCertificate(r.Data)
		if err != nil {
			return nil
		}
		return c
	}
	key, err := x509.ParsePKIXPublicKey(r.Data)
	if err != nil {
		return nil
	}
	top := chain[len(chain)-1]
	signer := &x509.Certificate{PublicKey: key, PublicKeyAlgorithm: keyAlgorithm(top.SignatureAlgorithm)}
	if signer.CheckSignature(top.SignatureAlgorithm, top.RawTBSCertificate, top.Signature) != nil {
		return nil
	}
	return top
}

// keyAlgorithm is what kind of key makes a kind of signature.
func keyAlgorithm(a x509.SignatureAlgorithm) x509.PublicKeyAlgorithm {
	switch a {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return x509.ECDSA
	case x509.PureEd25519:
		return x509.Ed25519
	}
	return x509.RSA
}

// verifyChain checks that the server's certificate is one of the anchor, at a time.
func verifyChain(chain []*x509.Certificate, anchor *x509.Certificate, now time.Time) error {
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	opts.Roots.AddCert(anchor)
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opts)
	return err
}

// verifyNames checks that a certificate is for one of some names: by subject
// alternative names only, where a wildcard is a whole leftmost label (TL4).
func verifyNames(leaf *x509.Certificate, names []string) error {
	err := error(x509.HostnameError{Certificate: leaf})
	for _, name := range names {
		if err = leaf.VerifyHostname(name); err == nil {
			return nil
		}
	}
	return err
}

// VerifyPKIX checks the certificate of a connection for a name, a domain name or
// the text of an address, by the roots, nil meaning those of the system: only
// subject alternative names count (RFC 9525 §6.3, TL4).
func VerifyPKIX(cs tls.ConnectionState, roots *x509.CertPool, name string) error {
	switch {
	case len(cs.PeerCertificates) == 0:
		return ErrNoCertificate
	case len(cs.PeerCertificates) > maxChain:
		return ErrLongChain
	}
	opts := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}

// tlsaFound is what was found of TLSA records.
type tlsaFound struct {
	base    string // the TLSA base domain
	records []dns.TLSA
	err     error // the lookup failed: nothing may be sent there now
}

// lookupTLSA finds the TLSA records of a host whose name and addresses are proven
// (RFC 7672 §2.2.2, §2.2.3). Nothing found is no error.
func lookupTLSA(ctx context.Context, r dns.Resolver, q *Question) tlsaFound {
	bases, err := baseDomains(ctx, r, q)
	if err != nil {
		return tlsaFound{err: err}
	}
	for _, base := range bases {
		a, err := r.Lookup(ctx, fmt.Sprintf("_%d._tcp.%s", q.Port, base), dns.TypeTLSA)
		switch {
		case definite(err):
		case err != nil:
			return tlsaFound{err: err}
		case a.Security == dns.Secure && len(a.TLSA) > 0:
			return tlsaFound{base: base, records: a.TLSA}
		}
	}
	return tlsaFound{}
}

// baseDomains returns the candidates for the TLSA base domain, best first.
func baseDomains(ctx context.Context, r dns.Resolver, q *Question) ([]string, error) {
	alias := q.HostName != "" && q.HostName != q.Host
	switch {
	case !alias && q.Addresses == dns.Secure:
		return []string{q.Host}, nil
	case !alias:
		return nil, nil
	case q.Addresses == dns.Secure:
		return []string{q.HostName, q.Host}, nil
	}
	// The alias may lead out of signed zones and be signed itself.
	a, err := r.Lookup(ctx, q.Host, dns.TypeCNAME)
	switch {
	case definite(err):
		return nil, nil
	case err != nil:
		return nil, err
	case a.Security == dns.Secure:
		return []string{q.Host}, nil
	}
	return nil, nil
}
