package imap

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

func TestLoginDialogues(t *testing.T) {
	for _, d := range []struct {
		name, script string
		change       func(*Options)
	}{
		{name: "greeting and wrong password", script: `
			S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL- SASL-IR ID ENABLE IDLE LANGUAGE AUTH=PLAIN AUTH=LOGIN] mx.example.org IMAP ready
			C: a LOGIN ann wrong
			S: a NO [AUTHENTICATIONFAILED] Authentication failed
			C: b SELECT INBOX
			S: b BAD Log in first
			C: c LOGIN "ann" {6}
			S: + Ready
			C: secret
			S~ c OK \[CAPABILITY .* IDLE .*\] LOGIN completed`},
		{name: "literals", script: `
			S~ .*
			C: a LOGIN {3+}
			C: ann {6+}
			C: secret
			S~ a OK .*`},
		{name: "PLAIN", script: `
			S~ .*
			C: a AUTHENTICATE PLAIN
			S: + 
			C: AGFubgBzZWNyZXQ=
			S~ a OK \[CAPABILITY .*\] AUTHENTICATE completed`},
		{name: "PLAIN with initial response", script: `
			S~ .*
			C: a AUTHENTICATE PLAIN =
			S: a NO [AUTHENTICATIONFAILED] Authentication failed
			C: b authenticate plain AGFubgBzZWNyZXQ=
			S~ b OK .*
			C: c AUTHENTICATE PLAIN
			S: c BAD Already logged in`},
		{name: "LOGIN mechanism, cancelled and nonsense", script: `
			S~ .*
			C: a AUTHENTICATE LOGIN
			S~ \+ .*
			C: *
			S: a BAD Authentication cancelled
			C: b AUTHENTICATE LOGIN
			S~ \+ .*
			C: YW5u
			S~ \+ .*
			C: c2VjcmV0
			S~ b OK .*`},
		{name: "unknown mechanism, bad base64", script: `
			S~ .*
			C: a AUTHENTICATE KERBEROS_V4
			S: a NO [CANNOT] No such mechanism
			C: b AUTHENTICATE PLAIN !!!!
			S: b BAD Malformed base64`},
		{name: "no TLS, no login", change: func(o *Options) { o.AllowClear = false }, script: `
			S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL- SASL-IR ID ENABLE IDLE LANGUAGE LOGINDISABLED] mx.example.org IMAP ready
			C: a LOGIN ann {6}
			S: a NO [PRIVACYREQUIRED] Use TLS first
			C: b AUTHENTICATE PLAIN
			S: b NO [PRIVACYREQUIRED] Use TLS first
			C: c STARTTLS
			S: c BAD STARTTLS is not offered
			C: d ID NIL
			S~ \* ID .*
			S~ d OK .*`},
	} {
		t.Run(d.name, func(t *testing.T) {
			_, connect := start(t, newMemStore(), d.change)
			connect().play(d.script)
		})
	}
}

// testTLS returns a server configuration with a certificate of its own and a
// client's that trusts anything.
func testTLS(t testing.TB) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mx.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{InsecureSkipVerify: true}
}

func withTLS(t testing.TB) func(*Options) {
	server, _ := testTLS(t)
	return func(o *Options) { o.TLS, o.AllowClear = server, false }
}

// TestStartTLS: RFC 9051 §6.2.1.
func TestStartTLS(t *testing.T) {
	store := newMemStore()
	_, connect := start(t, store, withTLS(t))
	c := connect()
	c.play(`
		S~ \* OK \[CAPABILITY .* STARTTLS LOGINDISABLED\] .*
		C: a STARTTLS
		S: a OK Begin TLS negotiation now`)
	tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.nc, c.r = tc, bufio.NewReader(tc)
	c.play(`
		C: b CAPABILITY
		S: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL- SASL-IR ID ENABLE IDLE LANGUAGE AUTH=PLAIN AUTH=LOGIN
		S: b OK CAPABILITY completed
		C: c STARTTLS
		S: c BAD STARTTLS is not offered
		C: d LOGIN ann secret
		S~ d OK .*
		C: e SELECT INBOX`)
	for !strings.HasPrefix(c.line(), "e OK") {
	}
	// IDLE wakes by the read deadline, which TLS has to survive.
	c.play(`
		C: f IDLE
		S: + idling`)
	for n := range 50 {
		store.put("INBOX", mail1, 0)
		c.play(fmt.Sprintf("S: * %d EXISTS", n+1))
	}
	c.play(`
		C: DONE
		S: f OK IDLE completed`)
}

// TestStartTLSInjection: what comes with STARTTLS in clear ends the session.
func TestStartTLSInjection(t *testing.T) {
	_, connect := start(t, newMemStore(), withTLS(t))
	c := connect()
	c.line()
	c.send("a STARTTLS\r\nb NOOP\r\n")
	c.play(`
		S: * BYE Data after STARTTLS
		EOF`)
}

// TestTL1TL2: no TLS before 1.2; ALPN for another service is refused.
func TestTL1TL2(t *testing.T) {
	server, client := testTLS(t)
	for _, x := range []struct {
		name   string
		change func(*tls.Config)
		ok     bool
	}{
		{"plain", func(*tls.Config) {}, true},
		{"imap", func(c *tls.Config) { c.NextProtos = []string{"imap"} }, true},
		{"http", func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, false},
		{"1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
	} {
		s := NewServer(Options{NewSession: newMemStore().session, TLS: server})
		a, b := net.Pipe()
		done := make(chan struct{})
		go func() { s.ServeConn(tls.Server(a, s.tls)); close(done) }()
		cfg := client.Clone()
		x.change(cfg)
		tc := tls.Client(b, cfg)
		tc.SetDeadline(time.Now().Add(5 * time.Second))
		err := tc.Handshake()
		if err == nil {
			_, err = io.ReadFull(tc, make([]byte, 4))
		}
		if (err == nil) != x.ok {
			t.Errorf("TL1 TL2 %s: %v", x.name, err)
		}
		b.Close()
		<-done
	}
}
