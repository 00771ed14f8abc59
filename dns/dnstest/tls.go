package dnstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// ServeTLS is like Serve for questions by TLS (RFC 7858): the server shows a
// certificate for the name, whose authority is in the configuration that is
// made for dns.Options.TLS. It keeps connections open.
func (w *World) ServeTLS(t testing.TB, name string) (netip.AddrPort, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(tcp, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"dot"}, MinVersion: tls.VersionTLS12,
	})
	var running sync.WaitGroup
	running.Go(func() { w.serveTCP(l, w.recursive(netip.AddrFrom4([4]byte{127, 0, 0, 1}))) })
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return tcp.Addr().(*net.TCPAddr).AddrPort(), &tls.Config{RootCAs: roots}
}
