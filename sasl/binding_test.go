package sasl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// certificate makes one for tests.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mx.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// handshake returns what both ends know of a TLS connection.
func handshake(t testing.TB, version uint16, cert *tls.Certificate) (client, server tls.ConnectionState) {
	t.Helper()
	if cert == nil {
		c := certificate(t)
		cert = &c
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{*cert}, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

// TestBindings: what a client is bound by is among what the server knows, by
// TLS 1.3 and 1.2, and differs between connections.
func TestBindings(t *testing.T) {
	cert, old := certificate(t), certificate(t)
	for version, want := range map[uint16]string{tls.VersionTLS13: Exporter, tls.VersionTLS12: Unique} {
		client, server := handshake(t, version, &cert)
		kind, data := clientBinding(&client)
		b := ServerBindings(&server, []*x509.Certificate{cert.Leaf, old.Leaf})
		if kind != want || len(data) == 0 || len(b[kind]) != 1 || !bytes.Equal(b[kind][0], data) {
			t.Errorf("%s: %q %x, server %x", tls.VersionName(version), kind, data, b[kind])
		}
		if len(b[Exporter]) != 1 || len(b[Exporter][0]) != 32 || (len(b[Unique]) > 0) != (version == tls.VersionTLS12) {
			t.Errorf("%s: %x", tls.VersionName(version), b)
		}
		if end := endPoint(client.PeerCertificates[0]); len(b[EndPoint]) != 2 || !bytes.Equal(end, b[EndPoint][0]) || bytes.Equal(end, b[EndPoint][1]) {
			t.Errorf("%s: end points %x", tls.VersionName(version), b[EndPoint])
		}
		again, _ := handshake(t, version, &cert)
		if _, other := clientBinding(&again); bytes.Equal(other, data) {
			t.Error("two connections have one binding")
		}
		// A whole exchange, and one that somebody in the middle passes on.
		a := scramServer(pencil)
		a.Bindings = b
		for state, good := range map[*tls.ConnectionState]bool{&client: true, &again: false} {
			c := ChooseClient("SCRAM-SHA-256 SCRAM-SHA-256-PLUS PLAIN", ClientOptions{User: "user", Password: "pencil", TLS: state})
			s, err := a.Start(c.Mechanism())
			if err != nil {
				t.Fatal(err)
			}
			if id, err := converse(c, s); (err == nil) != good || (id != "") != good || c.Mechanism() != "SCRAM-SHA-256-PLUS" {
				t.Errorf("%s over %s: %q, %v", c.Mechanism(), tls.VersionName(version), id, err)
			}
		}
	}
	if ServerBindings(nil, []*x509.Certificate{cert.Leaf}) != nil {
		t.Error("binding in clear")
	}
	if endPoint(&x509.Certificate{SignatureAlgorithm: x509.PureEd25519}) != nil {
		t.Error("end point without a hash")
	}
}
