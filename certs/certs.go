package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"sync/atomic"
	"time"

	"github.com/postino-mail/postino"
)

// Source holds the certificate in use.
type Source struct {
	load func() (*tls.Certificate, error)
	cur  atomic.Pointer[tls.Certificate]
	old  atomic.Pointer[replaced]
}

// replaced is the certificate that was in use until then.
type replaced struct {
	cert  *tls.Certificate
	until time.Time
}

// shownFor is how long a connection may take between its handshake and the login
// that is bound to the certificate.
const shownFor = 5 * time.Minute

// FromFiles reads a PEM certificate chain and its key with read. The error is
// of kind Invalid.
func FromFiles(read func(name string) ([]byte, error), certFile, keyFile string) (*Source, error) {
	return newSource(func() (*tls.Certificate, error) {
		certPEM, err := read(certFile)
		if err != nil {
			return nil, postino.E(postino.Invalid, "read certificate", certFile, err)
		}
		keyPEM, err := read(keyFile)
		if err != nil {
			return nil, postino.E(postino.Invalid, "read key", keyFile, err)
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, postino.E(postino.Invalid, "load certificate", certFile, err)
		}
		return &pair, nil
	})
}

// SelfSigned makes a key and a certificate for the names that nobody else
// vouches for, valid for a year from now.
func SelfSigned(now time.Time, names ...string) (*Source, error) {
	return newSource(func() (*tls.Certificate, error) { return selfSign(now, names) })
}

func newSource(load func() (*tls.Certificate, error)) (*Source, error) {
	s := &Source{load: load}
	return s, s.Reload()
}

// Reload loads the certificate again; on error the old one stays in use.
func (s *Source) Reload() error {
	pair, err := s.load()
	if err != nil {
		return err
	}
	if before := s.cur.Swap(pair); before != nil {
		s.old.Store(&replaced{before, time.Now()})
	}
	return nil
}

// Leaves are the certificates that a connection may have seen that is about to log
// in: the one in use, and for five minutes the one before it.
func (s *Source) Leaves() []*x509.Certificate {
	list := []*x509.Certificate{s.cur.Load().Leaf}
	if o := s.old.Load(); o != nil && time.Since(o.until) < shownFor {
		list = append(list, o.cert.Leaf)
	}
	return list
}

// Pool reads the authorities in a PEM file. The error is of kind Invalid.
func Pool(read func(name string) ([]byte, error), file string) (*x509.CertPool, error) {
	text, err := read(file)
	if err != nil {
		return nil, postino.E(postino.Invalid, "read certificates", file, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, postino.E(postino.Invalid, "read certificates", file, errors.New("it holds none"))
	}
	return pool, nil
}

// Expires returns when the certificate in use ends.
func (s *Source) Expires() time.Time { return s.cur.Load().Leaf.NotAfter }

// Config returns TLS settings for a listener of the service that the ALPN
// names stand for ("imap", "smtp"); without names ALPN is ignored.
func (s *Source) Config(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: alpn,
		CipherSuites: []uint16{ // TLS 1.2: AEAD and forward secrecy only (RFC 9325 §4.2)
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cur.Load(), nil },
	}
}

// selfSign makes an ECDSA P-256 certificate.
func selfSign(now time.Time, names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, postino.E(postino.Internal, "make key", "", err)
	}
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
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, postino.E(postino.Internal, "sign certificate", "", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, postino.E(postino.Internal, "sign certificate", "", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
