package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// handshake runs one TLS handshake against cfg and returns the client's view.
func handshake(t *testing.T, cfg *tls.Config, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		if tls.Server(a, cfg).Handshake() != nil {
			a.Close()
		}
	}()
	c := tls.Client(b, client)
	err := c.Handshake()
	return c.ConnectionState(), err
}

func TestSelfSigned(t *testing.T) { // TL1, TL2
	s, err := SelfSigned(time.Now(), "mail.example.org", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.cur.Load().Leaf)
	for _, name := range []string{"mail.example.org", "127.0.0.1"} {
		if _, err := handshake(t, s.Config("imap"), &tls.Config{ServerName: name, RootCAs: pool, NextProtos: []string{"imap"}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := handshake(t, s.Config("imap"), &tls.Config{ServerName: "mail.example.org", RootCAs: pool, NextProtos: []string{"http/1.1"}}); err == nil {
		t.Error("a client of another protocol got through")
	}
	if _, err := handshake(t, s.Config("imap"), &tls.Config{ServerName: "mail.example.org", RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 got through")
	}
	if left := time.Until(s.Expires()); left < 360*24*time.Hour || left > 367*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
}

func TestReload(t *testing.T) {
	files := map[string][]byte{}
	put := func(name string) {
		pair, err := selfSign(time.Now(), []string{name})
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		files["cert"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
		files["key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	read := func(name string) ([]byte, error) {
		if b := files[name]; b != nil {
			return b, nil
		}
		return nil, errors.New("no such file")
	}
	if _, err := FromFiles(read, "cert", "key"); !postino.Is(err, postino.Invalid) {
		t.Fatalf("missing files: %v", err)
	}
	put("one.example")
	s, err := FromFiles(read, "cert", "key")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.Config()
	name := func() string {
		st, err := handshake(t, cfg, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return st.PeerCertificates[0].DNSNames[0]
	}
	if got := name(); got != "one.example" {
		t.Errorf("got %s", got)
	}
	put("two.example")
	if err := s.Reload(); err != nil || name() != "two.example" {
		t.Errorf("after a reload: %v, %s", err, name())
	}
	var shown []string
	for _, c := range s.Leaves() {
		shown = append(shown, c.DNSNames...)
	}
	if strings.Join(shown, " ") != "two.example one.example" {
		t.Errorf("certificates that a client may have seen: %s", shown)
	}
	if _, err := Pool(read, "cert"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"key", "missing"} {
		if _, err := Pool(read, name); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s as authorities: %v", name, err)
		}
	}
	files["key"] = []byte("garbage")
	if err := s.Reload(); !postino.Is(err, postino.Invalid) || name() != "two.example" {
		t.Errorf("a bad pair: %v, %s", err, name())
	}
}
