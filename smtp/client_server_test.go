package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.org", NextProtos: []string{"smtp"}}
}

// TestClientWithServer sends all parameters to our own server, through STARTTLS
// and AUTH, and finds them there as they were.
func TestClientWithServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{login: "tim"}
		s := NewServer(Options{Hostname: "mx.example.org", Backend: f, TLS: serverTLS(), DSN: true, BinaryMIME: true, RequireTLSOption: true,
			FutureRelease: time.Hour, DeliverBy: true, Priority: true, RRVS: true})
		cc, sc := pipe()
		go s.ServeConn(context.Background(), sc)
		ctx := context.Background()
		c, err := NewClient(ctx, cc, ClientOptions{Name: "client.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Auth(ctx, sasl.PlainClient("", "tim", "tim")); clientError(t, err).Stage != StageCheck {
			t.Fatal(err)
		}
		if err := c.StartTLS(ctx, clientTLS()); err != nil || c.TLS() == nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(ctx, clientTLS()); !errors.Is(err, ErrNotOffered) {
			t.Fatal(err)
		}
		for _, bad := range []sasl.Client{sasl.PlainClient("", "tim", "wrong"), sasl.LoginClient("tim", "wrong")} {
			if e := clientError(t, c.Auth(ctx, bad)); e.Stage != StageAuth || e.Reply.Code != 550 && e.Reply.Code != 535 || !c.Usable() {
				t.Fatal(e)
			}
		}
		mechs, _ := c.Has("AUTH")
		if err := c.Auth(ctx, sasl.ChooseClient(mechs, sasl.ClientOptions{User: "tim", Password: "tim", TLS: c.TLS()})); err != nil {
			t.Fatal(err)
		}
		when := time.Now().UTC().Truncate(time.Second).Add(10 * time.Minute)
		binary := "Subject: x\r\n\r\n\x00\n\r.\r\n" + strings.Repeat("\xff", 20000)
		submitter := postino.Address{Local: "e=mc2 +", Domain: "example.com"}
		env := &postino.Envelope{From: postino.Address{Local: "j\u00f6rg \"x\\", Domain: "xn--bcher-kva.example"}, SMTPUTF8: true, Body: postino.BodyBinaryMIME, EnvID: "a+b=c d", Ret: postino.DSNReturnHeaders,
			Terms: postino.Terms{RequireTLS: true, HoldUntil: when, DeliverBy: when.Add(time.Minute), DeliverByReturn: true, DeliverByTrace: true, Priority: 7}}
		env.Rcpts = []postino.Recipient{
			{Address: postino.Address{Local: "a", Domain: "[IPv6:2001:db8::1]"}, Notify: postino.DSNSuccess | postino.DSNDelay, ORcpt: "rfc822;a+b=@example.org", ValidSince: when.Add(-time.Hour)},
			{Address: postino.Address{Local: "postmaster"}, Notify: postino.DSNNever, ORcpt: "utf-8;j\u00f6 +rg@example.org"},
		}
		m := &Mail{Envelope: env, Size: int64(len(binary)), Auth: &submitter, Content: text(binary), Has8Bit: true}
		for range 2 {
			if res, err := c.Send(ctx, m); err != nil || !res.Final(0).Success() || !res.Final(1).Success() || res.Normalised {
				t.Fatal(res, err)
			}
		}
		small := letter(".x\ny\r\n", "a")
		if res, err := c.Send(ctx, small); err != nil || !res.Normalised {
			t.Fatal(res, err)
		}
		if r, err := c.Verify(ctx, postino.Address{}, postino.Address{Local: "no", Domain: "example.org"}); err != nil || r.Code != 550 {
			t.Fatal(r, err)
		}
		if r, err := c.Verify(ctx, postino.Address{}, postino.Address{Local: "yes", Domain: "example.org"}); err != nil || r.Code != 250 {
			t.Fatal(r, err)
		}
		if err := c.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Quit(ctx); err != nil || c.Usable() {
			t.Fatal(err)
		}
		synctest.Wait()
		f.check(t)
		p := f.posts[0]
		want := MailOptions{Size: m.Size, Body: env.Body, SMTPUTF8: true, EnvID: env.EnvID, Ret: env.Ret, Auth: submitter, HasAuth: true, Terms: env.Terms}
		if got, want := fmt.Sprintf("%+v %+v %+v", p.opts, p.from, p.rcpts), fmt.Sprintf("%+v %+v %+v", want, env.From, env.Rcpts); got != want || p.content != binary {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		if p := f.posts[2]; p.content != ".x\r\ny\r\n" || !p.opts.HasAuth || !p.opts.Auth.IsNull() || p.opts.Body != postino.BodyDefault {
			t.Fatalf("%+v", p)
		}
	})
}

// TestClientImplicitTLS greets inside TLS, and a bad certificate is an error of
// that stage.
func TestClientImplicitTLS(t *testing.T) {
	for _, cfg := range []*tls.Config{clientTLS(), {ServerName: "mx.example.org", NextProtos: []string{"smtp"}}} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			s := NewServer(Options{Hostname: "mx.example.org", Backend: f, TLS: serverTLS(), ImplicitTLS: true})
			cc, sc := pipe()
			go s.ServeConn(context.Background(), sc)
			c, err := NewClient(t.Context(), tls.Client(cc, cfg), ClientOptions{Name: "x.example"})
			if !cfg.InsecureSkipVerify {
				if clientError(t, err).Stage != StageTLS {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // a look does no harm
				if res, err := c.Send(t.Context(), letter("x\r\n", "a")); err != nil || !res.Final(0).Success() || !c.Alive() {
					t.Fatal(res, err)
				}
			}
			c.Close()
		})
	}
}

// TestClientStartTLSInjection is SC5: what came before TLS fails the connection;
// a refusal does not.
func TestClientStartTLSInjection(t *testing.T) {
	for reply, want := range map[string]error{
		"220 go\r\n250 injected\r\n": ErrBuffered,
		"220 go\r\n2":                ErrBuffered,
		"454 4.7.0 not now\r\n":      nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &stub{caps: "PIPELINING,STARTTLS,REQUIRETLS", say: map[string]string{"STARTTLS": reply}}
			c, done := s.connect(t, ClientOptions{})
			defer done()
			e := clientError(t, c.StartTLS(t.Context(), clientTLS()))
			if e.Stage != StageTLS || want != nil && !errors.Is(e, want) || c.Usable() != (want == nil) || e.Permanent() {
				t.Fatal(e)
			}
			if c.offers.requireTLS {
				t.Fatal("REQUIRETLS in clear counts for nothing")
			}
		})
	}
	// The handshake itself fails.
	s := &stub{caps: "STARTTLS", say: map[string]string{"STARTTLS": "220 go\r\n"}, after: func(nc net.Conn, verb string) net.Conn {
		if verb == "STARTTLS" {
			io.WriteString(nc, "250 plain\r\n")
		}
		return nil
	}}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	if e := clientError(t, c.StartTLS(context.Background(), clientTLS())); e.Stage != StageTLS || c.Usable() {
		t.Fatal(e)
	}
}

// TestClientForgetsAfterTLS: capabilities are taken again.
func TestClientForgetsAfterTLS(t *testing.T) {
	s := &stub{caps: "STARTTLS,PIPELINING,CHUNKING,SIZE 10", say: map[string]string{"STARTTLS": "220 go\r\n"}}
	s.after = func(nc net.Conn, verb string) net.Conn {
		if verb != "STARTTLS" {
			return nil
		}
		s.caps = "DSN"
		up := tls.Server(nc, serverTLS())
		if up.Handshake() != nil {
			return nil
		}
		return up
	}
	c, done := s.connect(t, ClientOptions{})
	defer done()
	if err := c.StartTLS(context.Background(), clientTLS()); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Has("SIZE"); ok || c.offers != (offers{dsn: true}) {
		t.Fatalf("%+v", c.offers)
	}
}

// TestClientAuth shows the dialogue of RFC 4954 §4.
func TestClientAuth(t *testing.T) {
	long := strings.Repeat("p", 500)
	for _, k := range []struct {
		name  string
		m     sasl.Client
		say   string
		heard string
		ok    bool
	}{
		{"plain", sasl.PlainClient("", "tim", "secret"), "235 2.7.0 ok\r\n", "AUTH PLAIN " + b64("\x00tim\x00secret"), true},
		{"refused", sasl.PlainClient("", "tim", "secret"), "535 5.7.8 no\r\n", "AUTH PLAIN " + b64("\x00tim\x00secret"), false},
		{"too long for the command", sasl.PlainClient("", "tim", long), "334 \r\n", "AUTH PLAIN/" + b64("\x00tim\x00"+long), true},
		{"login", sasl.LoginClient("tim", "secret"), "334 VXNlcm5hbWU6\r\n", "AUTH LOGIN/" + b64("tim") + "/" + b64("secret"), true},
		{"bad challenge", sasl.LoginClient("tim", "secret"), "334 not base64\r\n", "AUTH LOGIN/*", false},
		{"too much asked", sasl.PlainClient("", "tim", "secret"), "334 eA==\r\n", "AUTH PLAIN " + b64("\x00tim\x00secret") + "/*", false},
	} {
		t.Run(k.name, func(t *testing.T) {
			s := &stub{caps: "AUTH PLAIN LOGIN", say: map[string]string{"AUTH": k.say, "*": "501 5.7.0 cancelled\r\n",
				b64("tim"): "334 UGFzc3dvcmQ6\r\n", b64("secret"): "235 2.7.0 ok\r\n", b64("\x00tim\x00" + long): "235 2.7.0 ok\r\n"}}
			c, done := s.connect(t, ClientOptions{AuthInsecure: true})
			defer done()
			err := c.Auth(context.Background(), k.m)
			if got := strings.Join(s.heard[1:], "/"); got != k.heard || (err == nil) != k.ok || !c.Usable() || c.authed != k.ok {
				t.Fatalf("%q: %v", got, err)
			}
		})
	}
	// A server that says yes without having proved that it knows the password too.
	liar := &stub{caps: "AUTH SCRAM-SHA-256", say: map[string]string{"AUTH": "235 2.7.0 ok\r\n"}}
	lied, end := liar.connect(t, ClientOptions{AuthInsecure: true})
	defer end()
	if err := lied.Auth(context.Background(), sasl.ChooseClient("SCRAM-SHA-256", sasl.ClientOptions{User: "tim", Password: "secret"})); err == nil || lied.authed || lied.Usable() {
		t.Errorf("a server without proof is believed: %v", err)
	}
	s := &stub{caps: "AUTH PLAIN"}
	c, done := s.connect(t, ClientOptions{AuthInsecure: true})
	defer done()
	if e := clientError(t, c.Auth(context.Background(), sasl.PlainClient("", "a\x00b", "x"))); e.Stage != StageCheck || s.commands() != "EHLO" {
		t.Fatal(e)
	}
}

// TestClientLMTPWithServer has one reply for each recipient from our own server.
func TestClientLMTPWithServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := NewServer(Options{Hostname: "mx.example.org", Backend: f, LMTP: true})
		cc, sc := pipe()
		go s.ServeConn(context.Background(), sc)
		c, err := NewClient(t.Context(), cc, ClientOptions{Name: "x.example", LMTP: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, locals := range [][]string{{"a", "no", "b"}, {"no"}, {"c"}} {
			res, err := c.Send(t.Context(), letter("x\r\n", locals...))
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range locals {
				if res.Final(i).Success() != (l != "no") {
					t.Fatal(locals, i, res.Final(i))
				}
			}
		}
		c.Quit(t.Context())
		synctest.Wait()
		f.check(t)
	})
}

// TestClientBodyLinear counts what the content costs, not how long it takes (G2):
// no octet is searched more than a few times whatever the line ends are.
func TestClientBodyLinear(t *testing.T) {
	for _, unit := range []string{"\r", "\n", "\r\n", ".\r\n", "a", "\r.", "\n.", "a\r", strings.Repeat("x", 70) + "\r\n"} {
		for _, n := range []int{4 << 10, 4 << 20} {
			in := bytes.Repeat([]byte(unit), n/len(unit))
			out, flushes := 0, 0
			b := body{buf: make([]byte, 0, bufferSize), stuff: true, bol: true}
			b.flush = func(p []byte) error { out += len(p); flushes++; return nil }
			if allocs := testing.AllocsPerRun(1, func() {
				b.bol, b.cr, b.in, out, flushes = true, false, 0, 0, 0
				b.Write(in)
				b.finish()
			}); allocs != 0 || out > 3*n+2 || flushes > out/bufferSize+1 {
				t.Fatalf("%q × %d: %v allocations, %d octets, %d writes", unit, n, allocs, out, flushes)
			}
		}
	}
}
