package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

// TestCRAMVector is the example of RFC 2195 §2.
func TestCRAMVector(t *testing.T) {
	challenge := "<1896.697170952@postoffice.reston.mci.net>"
	if got := string(cramProof(CRAMSecret("tanstaaftanstaaf"), []byte(challenge))); got != "b913a602c7eda7a495b4e6e7334d3890" {
		t.Errorf("proof %s", got)
	}
}

// The secret stands for the password in any HMAC-MD5.
func TestCRAMSecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringMatching(`[ -~]{1,200}`).Draw(t, "password")
		challenge := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "challenge")
		m := hmac.New(md5.New, []byte(password))
		m.Write(challenge)
		if got := string(cramProof(CRAMSecret(password), challenge)); got != hex.EncodeToString(m.Sum(nil)) {
			t.Errorf("proof %s", got)
		}
	})
}

func TestCRAM(t *testing.T) {
	k := pencil
	a := scramServer(k)
	for password, good := range map[string]bool{"pencil": true, "pen": false} {
		s, _ := a.Start("CRAM-MD5")
		if id, err := converse(&cramClient{o: &ClientOptions{User: "user", Password: password}}, s); (id != "") != good || (err == nil) != good {
			t.Errorf("%q: %q, %v", password, id, err)
		}
	}
	s, _ := a.Start("CRAM-MD5")
	if id, err := converse(&cramClient{o: &ClientOptions{User: "nobody", Password: "pencil"}}, s); id != "" || !postino.Is(err, postino.Denied) {
		t.Errorf("unknown user: %q, %v", id, err)
	}
	ctx := context.Background()
	for _, bad := range []string{"", "user", "user b913a602c7eda7a495b4e6e7334d389", "b913a602c7eda7a495b4e6e7334d3890", " b913a602c7eda7a495b4e6e7334d3890"} {
		s, _ := a.Start("CRAM-MD5")
		if _, _, err := s.Next(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next(ctx, []byte(bad)); !postino.Is(err, postino.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s, _ = a.Start("CRAM-MD5")
	if _, _, err := s.Next(ctx, []byte{}); !postino.Is(err, postino.Invalid) {
		t.Errorf("initial response: %v", err)
	}
}

// The example of RFC 2831 §4.
const (
	digestNonce    = "OA6MG9tEQGm2hh"
	digestResponse = `charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",` +
		`digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth`
)

// digestServer knows chris, with the password "secret".
func digestServer() *Authenticator {
	return &Authenticator{Legacy: []string{"DIGEST-MD5"}, Realm: "elwood.innosoft.com", nonce: func() string { return digestNonce },
		Begin: func(_ context.Context, c Claim) (*Attempt, error) {
			a := &Attempt{End: func(_ context.Context, proved int) (string, error) {
				if proved < 0 {
					return "", postino.E(postino.Denied, "authenticate", "", nil)
				}
				return "chris@example.org", nil
			}}
			if c.User == "chris" {
				a.Secret = DigestSecret("chris", c.Realm, "secret")
			}
			return a, nil
		}}
}

// tryDigest returns the server's proof.
func tryDigest(t testing.TB, response string) (proof string, err error) {
	t.Helper()
	s, err := digestServer().Start("DIGEST-MD5")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	challenge, done, err := s.Next(ctx, nil)
	if err != nil || done || string(challenge) != `realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",charset=utf-8,algorithm=md5-sess` {
		t.Fatalf("%q, %v", challenge, err)
	}
	last, done, err := s.Next(ctx, []byte(response))
	if err != nil {
		return "", err
	}
	if _, ok, err := s.Next(ctx, []byte{}); done || !ok || err != nil || s.Identity() != "chris@example.org" {
		t.Fatal(done, ok, err)
	}
	return string(last), nil
}

func TestDigestVectors(t *testing.T) {
	if proof, err := tryDigest(t, digestResponse); err != nil || proof != "rspauth=ea40f60335c427b5527b84dbabcdfffd" {
		t.Errorf("%q, %v", proof, err)
	}
	// The second example, for ACAP.
	v := map[string]string{"nonce": "OA9BSXrbuRhWay", "nc": "00000001", "cnonce": "OA9BSuZWMSpW8m", "digest-uri": "acap/elwood.innosoft.com"}
	secret := DigestSecret("chris", "elwood.innosoft.com", "secret")
	if r, p := digestProof(secret, v, "AUTHENTICATE:"), digestProof(secret, v, ":"); r != "6084c6db3fede7352c551284490fd0fc" || p != "2f0b3d7c3c2e486600ef710726aa2eae" {
		t.Errorf("response %s, proof %s", r, p)
	}
	// RFC 2831 §2.1.2.1: what fits in ISO 8859-1 is hashed so.
	if sum := md5.Sum([]byte("j\xf6rg:r:p\xe4ss")); !bytes.Equal(DigestSecret("j\u00f6rg", "r", "p\u00e4ss"), sum[:]) {
		t.Error("latin-1 is hashed as UTF-8")
	}
}

func TestDigestRefuses(t *testing.T) {
	for _, swap := range [][2]string{
		{`nonce="OA6MG`, `nonce="XA6MG`}, {"nc=00000001", "nc=00000002"}, {"qop=auth", "qop=auth-int"}, {`username="chris"`, `username=""`},
		{"charset=utf-8,", "charset=latin1,"}, {"realm=", "realm2="}, {"d388dad9", "d388dad"}, {",qop=auth", ",qop=auth,qop=auth"}, {`="chris"`, `="chris`},
		{`="chris"`, `="chris"x`}, {`="chris"`, `="chris\`}, {"charset=utf-8", "charset"}, {`cnonce="OA6MHXh6VqTrRk",`, ""}, {`digest-uri="imap/elwood.innosoft.com",`, ""},
	} {
		bad := strings.Replace(digestResponse, swap[0], swap[1], 1)
		if _, err := tryDigest(t, bad); bad == digestResponse || !postino.Is(err, postino.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, swap := range [][2]string{{"d388dad9", "e388dad9"}, {"d388dad9", "D388dad9"}, {"chris", "carol"}, {"imap/", "smtp/"}, {"OA6MHXh", "XA6MHXh"}, {"qop=auth", `qop=auth,authzid="x"`}} {
		bad := strings.Replace(digestResponse, swap[0], swap[1], 1)
		if _, err := tryDigest(t, bad); bad == digestResponse || !postino.Is(err, postino.Denied) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, same := range []string{strings.ReplaceAll(digestResponse, ",", " ,\t, "), strings.Replace(digestResponse, "qop=auth", `qop="auth"`, 1),
		strings.Replace(digestResponse, ",qop=auth", ",maxbuf=65536,x=y", 1), strings.Replace(digestResponse, `"chris"`, `"ch\ris"`, 1)} {
		if _, err := tryDigest(t, same); err != nil {
			t.Errorf("%s: %v", same, err)
		}
	}
}

// FuzzDigest: nothing but the one response opens.
func FuzzDigest(f *testing.F) {
	f.Add(digestResponse)
	f.Add(`a="b\"c", d = e ,,f="" `)
	f.Fuzz(func(t *testing.T, response string) {
		v, ok := parseDirectives(response)
		if !ok && v != nil {
			t.Fatal("directives of a broken list")
		}
		if len(response) > MaxExchange {
			return
		}
		if proof, err := tryDigest(t, response); err == nil && v["response"] != digestProof(DigestSecret("chris", "elwood.innosoft.com", "secret"), v, "AUTHENTICATE:") {
			t.Fatalf("%q opens with %q", response, proof)
		}
	})
}

// FuzzCRAM: no response opens that was not made for the challenge.
func FuzzCRAM(f *testing.F) {
	f.Add([]byte("user b913a602c7eda7a495b4e6e7334d3890"))
	f.Add([]byte("us er  "))
	f.Fuzz(func(t *testing.T, response []byte) {
		a := scramServer(keeper{passwords: []string{"not to be guessed"}})
		s, _ := a.Start("CRAM-MD5")
		if _, _, err := s.Next(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next(context.Background(), response); done || err == nil {
			t.Fatalf("%q opens", response)
		}
	})
}
