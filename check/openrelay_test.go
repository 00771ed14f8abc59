package check

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// listener is a server that a test scripts: answer gives the reply to a line, ""
// ends the dialogue.
type listener struct {
	answer func(line string) string
	cert   *tls.Certificate
	greet  string

	mu    sync.Mutex
	heard []string
}

func (l *listener) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	a, b := net.Pipe()
	go l.serve(b)
	return a, nil
}

func (l *listener) serve(c net.Conn) {
	defer c.Close()
	if l.greet == "" {
		if l.cert != nil {
			_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*l.cert}}).Handshake() // the client tells what became of it
		}
		return
	}
	fmt.Fprintf(c, "%s\r\n", l.greet)
	for in := bufio.NewScanner(c); in.Scan(); {
		l.mu.Lock()
		l.heard = append(l.heard, in.Text())
		l.mu.Unlock()
		reply := l.answer(in.Text())
		if reply == "" {
			return
		}
		fmt.Fprintf(c, "%s\r\n", reply)
		if strings.Contains(in.Text(), "STARTTLS") || in.Text() == "STLS" {
			if l.cert != nil {
				_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*l.cert}}).Handshake()
			}
			return
		}
	}
}

// smtpd answers like a server that takes the recipients that takes says.
func smtpd(takes func(from, to string) string) func(string) string {
	from := ""
	return func(line string) string {
		verb, arg, _ := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(verb, "MAIL"):
			from = arg
			return "250 2.1.0 ok"
		case strings.HasPrefix(verb, "RCPT"):
			return takes(from, arg)
		case strings.HasPrefix(verb, "DATA"), strings.HasPrefix(verb, "BDAT"):
			panic("nothing may be sent")
		case strings.HasPrefix(verb, "EHLO"):
			return "250-mail.example.org\r\n250 STARTTLS"
		case strings.HasPrefix(verb, "STARTTLS"):
			return "220 go on"
		}
		return "250 2.0.0 ok"
	}
}

func withListener(service string, usesTLS bool, l *listener) func(*world) {
	return func(w *world) {
		w.opts.Node.Services = []Service{{Name: service, Addr: netip.MustParseAddrPort("203.0.113.7:25"), TLS: usesTLS}}
		w.opts.Dial = l.dial
	}
}

func closed(_, _ string) string { return "550 5.7.1 no relaying" }

// SS18: every way that a relay may be open is found, and a closed one is not
// called open.
func TestOpenRelay(t *testing.T) {
	server := func(takes func(from, to string) string) func(*world) {
		return withListener("smtp", true, &listener{greet: "220 mail.example.org", answer: smtpd(takes)})
	}
	cases := []testCase{
		{"closed", server(closed), OK, "18 ways tried"},
		{"open to all", server(func(_, _ string) string { return "250 ok" }), Fix, "a plain address"},
		{"open to the null sender", server(func(from, to string) string {
			if from == "<>" {
				return "250 ok"
			}
			return closed(from, to)
		}), Fix, "it took the null sender)"},
		{"catch-all", server(func(from, to string) string { // which takes what is nowhere to go but here
			if strings.HasSuffix(to, "@mail.example.org>") {
				return "250 ok"
			}
			return closed(from, to)
		}), OK, "18 ways tried"},
		{"later", server(func(_, _ string) string { return "451 4.7.1 greylisted" }), Unknown, "greylisted"},
		{"hangs up after each error", withListener("smtp", true, &listener{greet: "220 mail.example.org", answer: func(line string) string {
			if strings.HasPrefix(line, "RCPT") {
				return "421 4.7.0 enough"
			}
			return smtpd(closed)(line)
		}}), Unknown, "ended the dialogue"},
		{"no mail server", withListener("smtp", true, &listener{greet: "* OK imap"}), Unknown, "whether"},
		{"not there", func(w *world) {
			w.opts.Node.Services = []Service{{Name: "smtp", Addr: netip.MustParseAddrPort("203.0.113.7:25")}}
		}, Unknown, "refused"},
	}
	for _, a := range attempts(host, addr4) {
		want := Fix
		if strings.HasSuffix(a.to, "@"+host+">") {
			continue // looks like a mailbox of ours: see catch-all
		}
		cases = append(cases, testCase{"open to " + a.name, server(func(from, to string) string {
			if from == a.from && to == a.to {
				return "250 ok"
			}
			return closed(from, to)
		}), want, a.name})
	}
	for i := range cases {
		cases[i].text = strings.TrimSuffix(cases[i].text, ")")
	}
	checkCases(t, "", "relay.closed", cases)

	t.Run("one who takes % beside no other mailbox", func(t *testing.T) {
		w := newWorld()
		server(func(from, to string) string {
			if strings.Contains(to, "%") {
				return "250 ok"
			}
			return closed(from, to)
		})(w)
		if f := one(t, w.node(t), "relay.closed"); f.Status != Fix || f.Detail != "it took %, % at our address, % without a domain" {
			t.Errorf("%s %s", f.Status, f.Detail)
		}
	})
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	c := a.make(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Test CA"}, NotAfter: now.Add(9999 * day), IsCA: true, BasicConstraintsValid: true})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) make(t *testing.T, tmpl *x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore = big.NewInt(1), now.Add(-9999*day)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	cert := func(name string, left time.Duration) *tls.Certificate {
		return ca.make(t, &x509.Certificate{DNSNames: []string{name}, NotAfter: now.Add(left)})
	}
	server := func(service string, c *tls.Certificate) func(*world) {
		l := &listener{cert: c}
		switch service {
		case "smtp":
			l.greet, l.answer = "220 hello", smtpd(closed)
		case "imap":
			l.greet, l.answer = "* OK hello", func(string) string { return "a OK go on" }
		case "pop3":
			l.greet, l.answer = "+OK hello", func(string) string { return "+OK go on" }
		}
		return func(w *world) { withListener(service, true, l)(w); w.opts.Roots = roots }
	}
	self := (&authority{}).make(t, &x509.Certificate{DNSNames: []string{host}, NotAfter: now.Add(99 * day)})
	checkCases(t, "", "tls.certificate", []testCase{
		{"smtp", server("smtp", cert(host, 99*day)), OK, "good for 99 days"},
		{"imap", server("imap", cert(host, 99*day)), OK, "TLS 1.3, issued by CN=Test CA"},
		{"pop3", server("pop3", cert(host, 99*day)), OK, ""},
		{"imaps", server("imaps", cert(host, 99*day)), OK, ""},
		{"not renewed", server("imaps", cert(host, 19*day)), Advice, "in 19 days"},
		{"ends", server("imaps", cert(host, 6*day)), Fix, "in 6 days"},
		{"ended", server("imaps", cert(host, -day)), Fix, "has ended"},
		{"TL4 another name", server("imaps", cert("www.example.org", 99*day)), Fix, "not for mail.example.org"},
		{"own authority, programs", server("imaps", self), Fix, "mail programs refuse"},
		{"own authority, servers", server("smtp", self), Advice, "servers that look refuse"},
		{"none offered", withListener("smtp", true, &listener{greet: "220 hello", answer: func(line string) string {
			if line == "STARTTLS" {
				return "502 no"
			}
			return "250 ok"
		}}), Fix, "does not offer TLS"},
		{"imap none offered", withListener("imap", true, &listener{greet: "* OK", answer: func(string) string { return "a BAD what" }}), Fix, "does not offer TLS"},
		{"hangs up", withListener("smtp", true, &listener{greet: "220 hello", answer: func(string) string { return "" }}), Unknown, "EOF"},
		{"nonsense", withListener("smtp", true, &listener{greet: "xx"}), Unknown, "understood"},
	})
	checkCases(t, "", "tls.offered", []testCase{{"clear", withListener("smtp", false, &listener{greet: "220 hello", answer: smtpd(func(_, _ string) string { return "550 no" })}), Fix, "in clear"}})
}

// What answers at the addresses of our name is this server, another one or nobody.
func TestReached(t *testing.T) {
	ca := newAuthority(t)
	make := func() *listener {
		return &listener{greet: "220 hello", answer: smtpd(closed), cert: ca.make(t, &x509.Certificate{DNSNames: []string{host}, NotAfter: now.Add(99 * day)})}
	}
	here, other := make(), make()
	at := func(six func(context.Context, netip.AddrPort) (net.Conn, error), addrs ...netip.Addr) func(*world) {
		return func(w *world) {
			withListener("smtp", true, here)(w)
			w.opts.Node.Addrs = addrs
			w.opts.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
				if to.Addr() == addr6 {
					return six(ctx, to)
				}
				return here.dial(ctx, to)
			}
		}
	}
	nobody := func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errors.New("refused") }
	checkCases(t, "", "host.reached 2001:db8::7", []testCase{
		{"this", at(here.dial, addr4, addr6), OK, "this server"},
		{"this, behind NAT", at(here.dial), OK, "this server"},
		{"another", at(other.dial), Fix, "another server"},
		{"nobody", at(nobody, addr4, addr6), Fix, "no mail server"},
		{"nobody, behind NAT", at(nobody, addr4), Unknown, "leads here"},
	})
	checkCases(t, "", "host.reached 203.0.113.7", []testCase{{"this", at(nobody, addr4), OK, "this server"}})
}
