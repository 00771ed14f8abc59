package sasl

import (
	"context"
	"strings"
	"testing"
)

// TestClientMeetsServer runs both sides against each other.
func TestClientMeetsServer(t *testing.T) {
	a := &Authenticator{Password: func(_ context.Context, c Credentials) (string, error) {
		return c.Authz + "/" + c.User + "/" + c.Password, nil
	}}
	for want, c := range map[string]Client{
		"/tim/s\u00e4cret": PlainClient("", "tim", "s\u00e4cret"), "bob/tim/x": PlainClient("bob", "tim", "x"), "/tim/x": LoginClient("tim", "x"),
	} {
		s, err := a.Start(c.Mechanism())
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.Start()
		for done := false; err == nil && !done; {
			var challenge []byte
			if challenge, done, err = s.Next(context.Background(), response); err == nil && !done {
				response, err = c.Next(challenge)
			}
		}
		if err != nil || s.Identity() != want || !c.Secret() {
			t.Errorf("%s: %q, %v", c.Mechanism(), s.Identity(), err)
		}
		if _, err := c.Next(nil); err == nil {
			t.Errorf("%s answers after its end", c.Mechanism())
		}
	}
}

// TestClientRefuses what could mean something else to the server.
func TestClientRefuses(t *testing.T) {
	for _, c := range []Client{PlainClient("", "a\x00b", "x"), PlainClient("\n", "a", "x"), PlainClient("", "", "x"), PlainClient("", "a", ""), LoginClient("a", "\r"),
		LoginClient(strings.Repeat("a", MaxName+1), "x"), PlainClient("", "a", "\xff")} {
		if b, err := c.Start(); err == nil || b != nil {
			t.Errorf("%q", b)
		}
	}
}

// TestChooseClient takes the best that both know.
func TestChooseClient(t *testing.T) {
	for announced, want := range map[string]string{"LOGIN PLAIN X": "PLAIN", "login": "LOGIN", "CRAM-MD5": "CRAM-MD5", "LOGIN CRAM-MD5": "LOGIN", "X": "", "": ""} {
		got := ""
		if c := ChooseClient(announced, ClientOptions{User: "u", Password: "p", AllowClear: true}); c != nil {
			got = c.Mechanism()
		}
		if got != want {
			t.Errorf("%q gave %q", announced, got)
		}
	}
}
