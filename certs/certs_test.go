package certs

import (
	"crypto"
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
	pool.AddCert(s.Leaves("")[0])
	for _, name := range []string{"mail.example.org", "127.0.0.1"} {
		if _, err := handshake(t, s.Config(Service{ALPN: []string{"imap"}}), &tls.Config{ServerName: name, RootCAs: pool, NextProtos: []string{"imap"}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := handshake(t, s.Config(Service{ALPN: []string{"imap"}}), &tls.Config{ServerName: "mail.example.org", RootCAs: pool, NextProtos: []string{"http/1.1"}}); err == nil {
		t.Error("a client of another protocol got through")
	}
	if _, err := handshake(t, s.Config(Service{ALPN: []string{"imap"}}), &tls.Config{ServerName: "mail.example.org", RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 got through")
	}
	if left := time.Until(s.For("").NotAfter); left < 360*24*time.Hour || left > 367*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
}

// files is a directory in memory.
type files map[string][]byte

func (f files) read(name string) ([]byte, error) {
	if b := f[name]; b != nil {
		return b, nil
	}
	return nil, errors.New("no such file")
}

// put writes a certificate that ends after life, and its key; key nil makes one.
func (f files) put(t *testing.T, file string, key crypto.Signer, life time.Duration, names ...string) (used crypto.Signer) {
	t.Helper()
	var err error
	if key == nil {
		if key, _, err = newKey(); err != nil {
			t.Fatal(err)
		}
	}
	e, err := signWith(key, time.Now().Add(life).AddDate(-1, 0, 0), names)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f[file+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.chain[0].Raw})
	f[file+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return key
}

// source reads the files of these names.
func (f files) source(t *testing.T, hostname string, names ...string) *Source {
	t.Helper()
	o := Options{Names: []string{hostname}, Read: f.read}
	for _, n := range names {
		o.Files = append(o.Files, Pair{n + ".pem", n + ".key"})
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const year = 365 * 24 * time.Hour

// shown is the first name of the certificate that a client gets for a name.
func shown(t *testing.T, cfg *tls.Config, name string) string {
	t.Helper()
	st, err := handshake(t, cfg, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return st.PeerCertificates[0].DNSNames[0]
}

func TestReload(t *testing.T) {
	f := files{}
	if _, err := New(Options{Read: f.read, Files: []Pair{{"a.pem", "a.key"}}}); !postino.Is(err, postino.Invalid) {
		t.Fatalf("missing files: %v", err)
	}
	f.put(t, "a", nil, year, "one.example")
	s := f.source(t, "mail.example", "a")
	cfg := s.Config(Service{})
	if got := shown(t, cfg, ""); got != "one.example" {
		t.Errorf("got %s", got)
	}
	f.put(t, "a", nil, year, "two.example")
	if err := s.Reload(); err != nil || shown(t, cfg, "") != "two.example" {
		t.Errorf("after a reload: %v, %s", err, shown(t, cfg, ""))
	}
	var seen []string
	for _, c := range s.Leaves("") {
		seen = append(seen, c.DNSNames...)
	}
	if got := strings.Join(seen, " "); got != "two.example mail.example one.example" {
		t.Errorf("certificates that a client may have seen: %s", got)
	}
	if _, err := Pool(f.read, "a.pem"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a.key", "missing"} {
		if _, err := Pool(f.read, name); !postino.Is(err, postino.Invalid) {
			t.Errorf("%s as authorities: %v", name, err)
		}
	}
	f["a.key"] = []byte("garbage")
	if err := s.Reload(); !postino.Is(err, postino.Invalid) || shown(t, cfg, "") != "two.example" {
		t.Errorf("a bad pair: %v, %s", err, shown(t, cfg, ""))
	}
}

// The name that a client asks for chooses the certificate: exact, then wildcard,
// then that of the host.
func TestSelection(t *testing.T) { // TL4
	f := files{}
	f.put(t, "wild", nil, year, "*.example.org")
	f.put(t, "host", nil, year, "mail.example.org", "MX.example.org")
	f.put(t, "other", nil, year, "example.net")
	f.put(t, "ended", nil, -time.Hour, "late.example.net")
	f.put(t, "fresh", nil, year, "late.example.net", "second.example")
	f.put(t, "odd", nil, year, "*.*.bad.example", "w*.bad.example", "odd.example")
	s := f.source(t, "mail.example.org", "wild", "host", "other", "ended", "fresh", "odd")
	cfg := s.Config(Service{})
	fresh, err := x509.ParseCertificate(s.inUse.Load().entries[4].chain[0].Raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"mail.example.org": "mail.example.org",
		"MAIL.Example.ORG": "mail.example.org",
		"mx.example.org":   "mail.example.org",
		"imap.example.org": "*.example.org",
		"a.b.example.org":  "mail.example.org", // a wildcard stands for one label
		"example.org":      "mail.example.org",
		"example.net":      "example.net",
		"":                 "mail.example.org",
		"unknown.example":  "mail.example.org",
		"x.y.bad.example":  "mail.example.org",
		"what.bad.example": "mail.example.org",
		"second.example":   fresh.DNSNames[0],
	} {
		if got := shown(t, cfg, name); got != want {
			t.Errorf("%q gets %s, want %s", name, got, want)
		}
	}
	if got := s.For("late.example.net"); got.NotAfter.Before(time.Now()) && shown(t, cfg, "late.example.net") != "late.example.net" {
		t.Errorf("one that has ended is preferred: %v", got.Names)
	}
	st, err := handshake(t, cfg, &tls.Config{InsecureSkipVerify: true, ServerName: "late.example.net"})
	if err != nil || !st.PeerCertificates[0].Equal(fresh) {
		t.Errorf("late.example.net gets the certificate that has ended: %v", err)
	}
	if l := s.Leaves("example.net"); len(l) != 1 || l[0].DNSNames[0] != "example.net" {
		t.Errorf("channel binding for example.net takes %d certificates", len(l))
	}
}

// hello is what a client of today offers.
func hello(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
	}
}
