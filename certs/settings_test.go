package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino/test/memnet"
)

// connect runs a whole connection, so that the client gets a ticket.
func connect(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	net := memnet.New()
	ln, err := net.Listen("tcp", "192.0.2.1:993")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b, err := net.Dial(t.Context(), "tcp", "192.0.2.1:993")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer a.Close()
		s := tls.Server(a, server)
		if s.Handshake() == nil {
			_, _ = s.Write([]byte("x"))
			_, _ = io.ReadAll(s)
		}
	}()
	c := tls.Client(b, client)
	err = c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1)) // what comes before it are tickets
	}
	state := c.ConnectionState()
	c.Close()
	<-done
	return state, err
}

// Tickets are good for the listener that gave them, for the certificate that was
// shown with them, and for seven days; their keys change every day.
func TestTickets(t *testing.T) { // TL2
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			f := files{}
			f.put(t, "a", nil, year, "mail.example")
			f.put(t, "b", nil, year, "other.example")
			s := f.source(t, "mail.example", "a", "b")
			imap, smtp := s.Config(Service{ALPN: []string{"imap"}}), s.Config(Service{ALPN: []string{"smtp"}})
			pool := x509.NewCertPool()
			users := s.Config(Service{ALPN: []string{"imap"}, ClientCAs: pool})
			web := s.Config(Service{ALPN: []string{"imap"}, Challenges: true})
			client := &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example", ClientSessionCache: tls.NewLRUClientSessionCache(8), MaxVersion: version}
			resumed := func(cfg *tls.Config, name string) bool {
				t.Helper()
				c := client.Clone()
				c.ServerName = name
				if name != "mail.example" { // the client offers what it has, whatever the name
					c.ClientSessionCache = lent{client.ClientSessionCache, "mail.example"}
				}
				st, err := connect(t, cfg, c)
				if err != nil {
					t.Fatal(err)
				}
				return st.DidResume
			}
			if resumed(imap, "mail.example") || !resumed(imap, "mail.example") {
				t.Error("a ticket is not taken by the listener that gave it")
			}
			if resumed(smtp, "mail.example") {
				t.Error("SMTP took a ticket of IMAP")
			}
			resumed(imap, "mail.example")
			if resumed(users, "mail.example") {
				t.Error("a listener with client authorities took a ticket of one without")
			}
			if resumed(web, "mail.example") || !resumed(web, "mail.example") {
				t.Error("a listener that may show challenges: tickets are taken from others, or not at all")
			}
			resumed(imap, "mail.example")
			if resumed(imap, "other.example") {
				t.Error("a ticket of a session with another certificate was taken")
			}
			resumed(imap, "mail.example")
			time.Sleep(25 * time.Hour)
			if !resumed(imap, "mail.example") {
				t.Error("a ticket of yesterday is not taken")
			}
			time.Sleep(8 * 24 * time.Hour)
			if resumed(imap, "mail.example") {
				t.Error("a ticket of last week is taken")
			}
			f.put(t, "a", nil, year, "mail.example")
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
			if resumed(imap, "mail.example") {
				t.Error("a ticket outlived the certificate that it stands for")
			}
			if !resumed(imap, "mail.example") {
				t.Error("the ticket with the new certificate is not taken")
			}
		})
	}
}

// lent is a session cache under another name.
type lent struct {
	tls.ClientSessionCache
	key string
}

func (l lent) Get(string) (*tls.ClientSessionState, bool) { return l.ClientSessionCache.Get(l.key) }

// What RFC 9325 wants: versions, suites, curves; and ALPN names the service or
// nothing.
func TestSettings(t *testing.T) { // TL1, TL2
	f := files{}
	f.put(t, "a", nil, year, "mail.example")
	s := f.source(t, "mail.example", "a")
	for name, c := range map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"TLS 1.3":                  {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"TLS 1.2":                  {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.1":                  {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"no forward secrecy":       {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		"CBC":                      {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		"ChaCha20":                 {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}}, true},
		"post-quantum":             {&tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, true},
		"P-384":                    {&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}}, true},
		"P-521":                    {&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}, false},
		"its own protocol":         {&tls.Config{NextProtos: []string{"x", "imap"}}, true},
		"another protocol":         {&tls.Config{NextProtos: []string{"http/1.1", "h2"}}, false},
		"a challenge":              {&tls.Config{NextProtos: []string{acmeALPN}}, false},
		"a challenge with another": {&tls.Config{NextProtos: []string{acmeALPN, "imap"}}, true},
	} {
		c.client.InsecureSkipVerify, c.client.ServerName = true, "mail.example"
		for _, challenges := range []bool{false, true} {
			cfg := s.Config(Service{ALPN: []string{"imap"}, Challenges: challenges})
			st, err := handshake(t, cfg, c.client)
			if (err == nil) != c.ok {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil && len(c.client.NextProtos) > 0 && st.NegotiatedProtocol != "imap" {
				t.Errorf("%s: negotiated %q", name, st.NegotiatedProtocol)
			}
		}
	}
	if cfg := s.Config(Service{}); cfg.Renegotiation != tls.RenegotiateNever {
		t.Error("renegotiation")
	}
}

// A client's chain has at most ten certificates, and a message of the handshake at
// most 64 KiB, or 256 KiB with certificates, which is crypto/tls's limit.
func TestClientChain(t *testing.T) { // TL1
	f := files{}
	f.put(t, "a", nil, year, "mail.example")
	s := f.source(t, "mail.example", "a")
	key, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), EmailAddresses: []string{"user@example.org"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	user, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(user)
	for n, want := range map[int]bool{1: true, 10: true, 11: false, 2000: false} {
		chain := tls.Certificate{PrivateKey: key}
		for range n {
			chain.Certificate = append(chain.Certificate, der)
		}
		cfg := s.Config(Service{ClientCAs: pool})
		_, err := connect(t, cfg, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &chain, nil }})
		if (err == nil) != want {
			t.Errorf("%d certificates: %v", n, err)
		}
	}
}
