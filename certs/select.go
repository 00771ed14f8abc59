package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/postino-mail/postino"
)

// Origin is where a certificate comes from.
type Origin string

// The origins, in the order in which they are preferred.
const (
	FromFile   Origin = "file"
	FromACME   Origin = "acme"
	FromItself Origin = "self-signed"
)

// entry is a certificate that can be shown. It does not change.
type entry struct {
	cert   *tls.Certificate // with Leaf
	chain  []*x509.Certificate
	names  []string // canonical; wildcards begin with "*."
	origin Origin
	file   string // of a certificate from a file
	ca     string // directory of a certificate that was issued
	hash   [sha256.Size]byte
}

// newEntry reads a chain and the key of its first certificate.
func newEntry(origin Origin, certPEM, keyPEM []byte) (*entry, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return entryOf(origin, &pair)
}

func entryOf(origin Origin, pair *tls.Certificate) (*entry, error) {
	e := &entry{cert: pair, origin: origin, hash: sha256.Sum256(pair.Certificate[0])}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		e.chain = append(e.chain, c)
	}
	pair.Leaf = e.chain[0]
	e.names = namesOf(e.chain[0])
	return e, nil
}

// namesOf are the names that a certificate is good for: subject alternative names
// only, wildcards as the whole leftmost label only (RFC 9525 §6.3, TL4).
func namesOf(c *x509.Certificate) (names []string) {
	for _, name := range c.DNSNames {
		rest, wild := strings.CutPrefix(name, "*.")
		canonical, err := postino.CanonicalDomain(rest)
		if err != nil {
			continue
		}
		if wild {
			canonical = "*." + canonical
		}
		names = append(names, canonical)
	}
	return names
}

// set is what is in use at one time. It does not change.
type set struct {
	entries []*entry
	byName  map[string][]*entry
	rest    []*entry // for all other names
}

func newSet(hostnames []string, groups ...[]*entry) *set {
	s := &set{byName: map[string][]*entry{}}
	for _, g := range groups {
		for _, e := range g {
			s.entries = append(s.entries, e)
			for _, name := range e.names {
				s.byName[name] = append(s.byName[name], e)
			}
		}
	}
	if len(hostnames) > 0 {
		s.rest = s.named(hostnames[0])
	}
	if len(s.rest) == 0 || s.rest[0].origin == FromItself {
		s.rest = s.entries // what somebody vouches for comes first
	}
	return s
}

// named are the certificates for a name, the most exact and preferred first.
func (s *set) named(name string) []*entry {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	exact := s.byName[name]
	_, rest, _ := strings.Cut(name, ".")
	wild := s.byName["*."+rest]
	if len(wild) == 0 {
		return exact
	}
	// A wildcard of the admin is better than what stands in for the exact name.
	if len(exact) > 0 && exact[0].origin != FromItself {
		return append(exact[:len(exact):len(exact)], wild...)
	}
	return append(wild[:len(wild):len(wild)], exact...)
}

// candidates are the certificates that a client may get that asks for a name.
func (s *set) candidates(name string) []*entry {
	if list := s.named(name); len(list) > 0 {
		return list
	}
	return s.rest
}

// choose finds the best certificate that the client can use: the first that has
// not ended; failing that, one that has.
func (s *set) choose(hello *tls.ClientHelloInfo, now time.Time) *entry {
	list := s.candidates(hello.ServerName)
	able := *hello
	able.ServerName = "" // what it is good for in other respects: names were looked at
	var ended *entry
	for _, e := range list {
		if able.SupportsCertificate(e.cert) != nil {
			continue
		}
		if now.Before(e.chain[0].NotAfter) {
			return e
		}
		if ended == nil {
			ended = e
		}
	}
	if ended == nil {
		ended = list[0]
	}
	return ended
}

// mark stands in session tickets for the certificates that a name has: when they
// change, the ticket is void. So a session is bound to what it was shown.
func (s *set) mark(name string) []byte {
	h := sha256.New()
	h.Write([]byte("postino certificates\x00"))
	for _, e := range s.candidates(name) {
		h.Write(e.hash[:])
	}
	return h.Sum(nil)
}

// selfSigned makes a key and a certificate for names.
func selfSigned(now time.Time, names []string) (*entry, error) {
	key, _, err := newKey()
	if err != nil {
		return nil, postino.E(postino.Internal, "make key", "", err)
	}
	return signWith(key, now, names)
}

// signWith makes a certificate that a key signs for itself.
func signWith(key crypto.Signer, now time.Time, names []string) (*entry, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, postino.E(postino.Internal, "make serial", "", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-time.Hour), // clients with a slow clock
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for i, name := range names {
		if i == 0 {
			t.Subject = pkix.Name{CommonName: name}
		}
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, postino.E(postino.Internal, "sign certificate", "", err)
	}
	return entryOf(FromItself, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
}
