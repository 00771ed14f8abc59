package sasl

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
)

const goodToken = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

// tokens takes one token, of user@example.com.
func tokens(asked *[]Token) *Authenticator {
	return &Authenticator{Discovery: Discovery{Scope: "mail", OpenIDConfiguration: "https://id.example.org/.well-known/openid-configuration"},
		Token: func(_ context.Context, t Token) (string, error) {
			*asked = append(*asked, t)
			if t.Token == "busy" {
				return "", postino.E(postino.Transient, "check token", "", nil)
			}
			if t.Token != goodToken || t.User != "" && t.User != "user@example.com" {
				return "", postino.E(postino.Denied, "check token", "", nil)
			}
			return "user@example.com", nil
		}}
}

// TestTokenVectors are RFC 7628 §4.1 and the vendor's example.
func TestTokenVectors(t *testing.T) {
	for _, c := range []struct {
		mechanism, msg string
		want           Token
	}{
		{"OAUTHBEARER", "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer " + goodToken + "\x01\x01",
			Token{"OAUTHBEARER", "user@example.com", goodToken, "server.example.com", 143}},
		{"OAUTHBEARER", "y,,\x01auth=bearer " + goodToken + "\x01\x01", Token{"OAUTHBEARER", "", goodToken, "", 0}},
		{"XOAUTH2", "user=user@example.com\x01auth=Bearer " + goodToken + "\x01\x01", Token{"XOAUTH2", "user@example.com", goodToken, "", 0}},
	} {
		var asked []Token
		s, err := tokens(&asked).Start(c.mechanism)
		if err != nil {
			t.Fatal(err)
		}
		if challenge, done, err := s.Next(context.Background(), nil); done || err != nil || len(challenge) != 0 {
			t.Fatal(challenge, done, err)
		}
		if _, done, err := s.Next(context.Background(), []byte(c.msg)); !done || err != nil || s.Identity() != "user@example.com" {
			t.Errorf("%q: %v, %v", c.msg, done, err)
		}
		if len(asked) != 1 || asked[0] != c.want {
			t.Errorf("%q is read as %+v", c.msg, asked)
		}
	}
}

// TestTokenRefused: the client is told in a message of its own, then refused (RFC
// 7628 §3.2.3).
func TestTokenRefused(t *testing.T) {
	for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
		for _, o := range []ClientOptions{{User: "user@example.com", Token: "stale"}, {User: "other@example.com", Token: goodToken}} {
			var asked []Token
			o.AllowClear = true
			s, _ := tokens(&asked).Start(mechanism)
			c := ChooseClient(mechanism, o)
			msg, err := c.Start()
			if err != nil {
				t.Fatal(err)
			}
			help, done, err := s.Next(context.Background(), msg)
			var v map[string]string
			if err != nil || done || json.Unmarshal(help, &v) != nil || v["status"] == "" || v["scope"] != "mail" {
				t.Fatalf("%s: %q, %v, %v", mechanism, help, done, err)
			}
			answer, err := c.Next(help)
			if err != nil || mechanism == "OAUTHBEARER" && string(answer) != "\x01" {
				t.Fatalf("%q, %v", answer, err)
			}
			if _, done, err = s.Next(context.Background(), answer); done || !postino.Is(err, postino.Denied) || s.Identity() != "" || c.Done() == nil {
				t.Errorf("%s: %v, %v", mechanism, done, err)
			}
		}
		var asked []Token
		s, _ := tokens(&asked).Start(mechanism)
		if id, err := converse(ChooseClient(mechanism, ClientOptions{User: "user@example.com", Token: "busy", AllowClear: true}), s); id != "" || !postino.Is(err, postino.Transient) {
			t.Errorf("%s: %q, %v", mechanism, id, err)
		}
		s, _ = tokens(&asked).Start(mechanism)
		if id, err := converse(ChooseClient(mechanism, ClientOptions{User: "user@example.com", Token: goodToken, Host: "h.example", Port: 993, AllowClear: true}), s); id == "" || err != nil {
			t.Errorf("%s: %q, %v", mechanism, id, err)
		}
	}
}

// A client without a token asks where to get one (RFC 7628 §4.3); nobody is asked
// about it.
func TestTokenQuery(t *testing.T) {
	var asked []Token
	a := tokens(&asked)
	a.Discovery.Scope, a.Discovery.OpenIDConfiguration = "example_scope", "https://example.com/.well-known/openid-configuration"
	s, _ := a.Start("OAUTHBEARER")
	help, done, err := s.Next(context.Background(), []byte("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01"))
	want := `{"openid-configuration":"https://example.com/.well-known/openid-configuration","scope":"example_scope","status":"invalid_token"}`
	if string(help) != want || done || err != nil {
		t.Errorf("%s, %v, %v", help, done, err)
	}
	if _, done, err := s.Next(context.Background(), []byte("\x01")); done || !postino.Is(err, postino.Denied) || len(asked) > 0 {
		t.Errorf("%v, %v, asked %v", done, err, asked)
	}
}

func TestTokenMalformed(t *testing.T) {
	for _, bad := range []string{"", "n,,", "n,,\x01", "n,,\x01\x01", "p=tls-exporter,,\x01auth=Bearer x\x01\x01", "n,,\x01auth=Bearer x\x01", "n,,\x01auth=Bearer x\x01\x01x",
		"n,,\x01auth=Basic x\x01\x01", "n,,\x01auth=Bearer\x01\x01", "n,,\x01auth=Bearer x y\x01\x01", "n,,\x01auth=Bearer ==\x01\x01", "n,,\x01port=70000\x01auth=Bearer x\x01\x01",
		"n,,\x01auth=Bearer x\x01auth=Bearer x\x01\x01", "n,,\x01a1=b\x01auth=Bearer x\x01\x01", "n,a=,\x01auth=Bearer x\x01\x01", "n,a=\n,\x01auth=Bearer x\x01\x01", "n,,\x01host=\n\x01auth=Bearer x\x01\x01"} {
		var asked []Token
		s, _ := tokens(&asked).Start("OAUTHBEARER")
		if _, done, err := s.Next(context.Background(), []byte(bad)); done || !postino.Is(err, postino.Invalid) || len(asked) > 0 {
			t.Errorf("%q: %v, %v, asked %v", bad, done, err, asked)
		}
	}
	for _, bad := range []string{"", "user=x\x01auth=Bearer x\x01", "user=\x01auth=Bearer x\x01\x01", "auth=Bearer x\x01\x01", "user=x\x01auth=Bearer x\x01a=b\x01\x01"} {
		var asked []Token
		s, _ := tokens(&asked).Start("XOAUTH2")
		if _, done, err := s.Next(context.Background(), []byte(bad)); done || !postino.Is(err, postino.Invalid) || len(asked) > 0 {
			t.Errorf("%q: %v, %v, asked %v", bad, done, err, asked)
		}
	}
	for _, o := range []ClientOptions{{Token: "a b"}, {Token: "a\x01"}, {Token: "x", User: "\n"}, {Token: "x", Host: "\x01"}} {
		o.AllowClear = true
		if b, err := ChooseClient("OAUTHBEARER", o).Start(); err == nil {
			t.Errorf("%q is sent", b)
		}
	}
}

// FuzzToken: what is read is what the client writes.
func FuzzToken(f *testing.F) {
	f.Add("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer abc==\x01\x01")
	f.Add("user=someuser@example.com\x01auth=Bearer abc\x01\x01")
	f.Fuzz(func(t *testing.T, msg string) {
		if v, ok := parseVendor(msg); ok && strings.Contains(v.User+v.Token, kvsep) {
			t.Fatalf("%+v", v)
		}
		v, ok := parseBearer(msg)
		if !ok || v.Token == "" {
			return
		}
		again, ok := parseBearer(string(appendBearer(&ClientOptions{User: v.User, Token: v.Token, Host: v.Host, Port: v.Port})))
		if !ok || again != v {
			t.Fatalf("%+v is written as %+v", v, again)
		}
	})
}

// TestExternal hands the authorisation identity on.
func TestExternal(t *testing.T) {
	for _, c := range []struct {
		msg  []byte
		kind postino.Kind // 0: in
	}{{[]byte{}, 0}, {[]byte("user"), 0}, {[]byte("other"), postino.Denied}, {[]byte("a\x00b"), postino.Invalid}, {[]byte(strings.Repeat("x", MaxName+1)), postino.Invalid}} {
		a := &Authenticator{External: func(_ context.Context, authz string) (string, error) {
			if authz == "other" {
				return "", postino.E(postino.Denied, "authenticate", "", nil)
			}
			return "user@example.org", nil
		}}
		s, _ := a.Start("EXTERNAL")
		if challenge, done, err := s.Next(context.Background(), nil); challenge == nil || done || err != nil {
			t.Fatal(challenge, done, err)
		}
		_, done, err := s.Next(context.Background(), c.msg)
		if done != (c.kind == 0) || err != nil && postino.KindOf(err) != c.kind {
			t.Errorf("%q: %v, %v", c.msg, done, err)
		}
	}
}
