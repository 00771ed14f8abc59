package sasl

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	other "github.com/xdg-go/scram"
	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

// keeper is a directory that keeps keys as ours does: of "user" with the password
// "pencil", and of nobody else.
type keeper struct {
	salt       []byte
	iterations int
	passwords  []string
	fail       error // of Begin
	verdicts   []int
}

func (k *keeper) begin(_ context.Context, c Claim) (*Attempt, error) {
	if k.fail != nil {
		return nil, k.fail
	}
	a := &Attempt{Salt: k.salt, Iterations: k.iterations}
	if c.User == "user" {
		for _, p := range k.passwords {
			a.Keys = append(a.Keys, NewKey(c.Hash, p, k.salt, k.iterations))
		}
		switch c.Mechanism {
		case "CRAM-MD5":
			a.Secret = CRAMSecret(k.passwords[0])
		case "DIGEST-MD5":
			a.Secret = DigestSecret("user", c.Realm, k.passwords[0])
		}
	}
	a.End = func(_ context.Context, proved int) (string, error) {
		k.verdicts = append(k.verdicts, proved)
		if proved < 0 || c.Authz != "" && c.Authz != "user" {
			return "", postino.E(postino.Denied, "authenticate", "", nil)
		}
		return "user@example.org", nil
	}
	return a, nil
}

var pencil = keeper{salt: []byte("salt and pepper!"), iterations: MinIterations, passwords: []string{"pencil"}}

func scramServer(k keeper) *Authenticator {
	return &Authenticator{Begin: k.begin, Legacy: []string{"CRAM-MD5", "DIGEST-MD5"}, Realm: "mx.example.org"}
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector is an exchange of a standard.
type vector struct {
	hash               Hash
	salt, cnonce, more string
	first, serverFirst string
	final, serverFinal string
}

var vectors = []vector{
	// RFC 5802 §5
	{SHA1, "QSXCR+Q6sek8bf92", "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j",
		"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
	// RFC 7677 §3
	{SHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
		"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
}

func TestSCRAMVectors(t *testing.T) {
	ctx := context.Background()
	for _, v := range vectors {
		a := scramServer(keeper{salt: unbase64(t, v.salt), iterations: 4096, passwords: []string{"pencil"}})
		a.nonce = func() string { return v.more }
		s, err := a.Start(v.hash.mechanism(false))
		if err != nil {
			t.Fatal(err)
		}
		c := &scramClient{o: &ClientOptions{User: "user", Password: "pencil"}, hash: v.hash, flag: "n", nonce: v.cnonce}
		first, err := c.Start()
		if err != nil || string(first) != v.first {
			t.Fatalf("first %q, %v", first, err)
		}
		serverFirst, done, err := s.Next(ctx, first)
		if err != nil || done || string(serverFirst) != v.serverFirst {
			t.Fatalf("server's first %q, %v", serverFirst, err)
		}
		final, err := c.Next(serverFirst)
		if err != nil || string(final) != v.final {
			t.Fatalf("final %q, %v", final, err)
		}
		if c.Done() == nil {
			t.Fatal("a server that proved nothing is believed")
		}
		serverFinal, done, err := s.Next(ctx, final)
		if err != nil || done || string(serverFinal) != v.serverFinal || s.Identity() != "" {
			t.Fatalf("server's final %q, %v", serverFinal, err)
		}
		nothing, err := c.Next(serverFinal)
		if err != nil || len(nothing) != 0 || c.Done() != nil {
			t.Fatalf("%q, %v", nothing, err)
		}
		if _, done, err = s.Next(ctx, nothing); err != nil || !done || s.Identity() != "user@example.org" {
			t.Fatal(done, err)
		}
	}
}

// converse runs a client against a server and returns what was proved.
func converse(c Client, s Server) (string, error) {
	ctx := context.Background()
	response, err := c.Start()
	for err == nil {
		var challenge []byte
		var done bool
		if challenge, done, err = s.Next(ctx, response); done {
			return s.Identity(), c.Done()
		}
		if err == nil {
			response, err = c.Next(challenge)
		}
	}
	return s.Identity(), err
}

// TestSCRAMMany: all of a user's passwords open, an unknown user none (AU2).
func TestSCRAMMany(t *testing.T) {
	k := pencil
	k.passwords = []string{"pencil", "abcd-efgh-ijkm", "I\u00adX"} // RFC 4013 §3: the soft hyphen goes
	a := scramServer(k)
	for _, h := range []Hash{SHA1, SHA256} {
		for password, good := range map[string]bool{"pencil": true, "abcd-efgh-ijkm": true, "IX": true, "pen": false, "\u2168": true} {
			s, err := a.Start(h.mechanism(false))
			if err != nil {
				t.Fatal(err)
			}
			id, err := converse(&scramClient{o: &ClientOptions{User: "user", Password: password}, hash: h, flag: "n"}, s)
			if (id == "user@example.org") != good || (err == nil) != good || !good && !postino.Is(err, postino.Denied) {
				t.Errorf("%q: %q, %v", password, id, err)
			}
		}
		s, _ := a.Start(h.mechanism(false))
		if id, err := converse(&scramClient{o: &ClientOptions{User: "nobody", Password: "pencil"}, hash: h, flag: "n"}, s); id != "" || !postino.Is(err, postino.Denied) {
			t.Errorf("unknown user: %q, %v", id, err)
		}
		for authz, good := range map[string]bool{"user": true, "other": false} {
			s, _ := a.Start(h.mechanism(false))
			if id, err := converse(&scramClient{o: &ClientOptions{User: "user", Authz: authz, Password: "pencil"}, hash: h, flag: "n"}, s); (id != "") != good || (err == nil) != good {
				t.Errorf("as %q: %q, %v", authz, id, err)
			}
		}
	}
}

// foreign is the other implementation as a Client.
type foreign struct {
	conv *other.ClientConversation
	name string
}

func (f *foreign) Mechanism() string { return f.name }
func (f *foreign) Secret() bool      { return false }
func (f *foreign) Done() error {
	if !f.conv.Valid() {
		return fmt.Errorf("not valid")
	}
	return nil
}
func (f *foreign) Start() ([]byte, error) { return f.Next(nil) }
func (f *foreign) Next(challenge []byte) ([]byte, error) {
	text, err := f.conv.Step(string(challenge))
	return []byte(text), err
}

// TestSCRAMForeign meets another implementation on both sides, with and without
// channel binding.
func TestSCRAMForeign(t *testing.T) {
	hashes := map[Hash]other.HashGeneratorFcn{SHA1: other.SHA1, SHA256: other.SHA256}
	binding := []byte("thirty-two octets of the exporter")
	for h, theirs := range hashes {
		for _, password := range []string{"pencil", "p\u00ebn,c=il \u00bd"} {
			for _, plus := range []bool{false, true} {
				k := pencil
				k.passwords = []string{password}
				a := scramServer(k)
				a.Bindings = Bindings{Exporter: {[]byte("of a certificate that is gone"), binding}}
				client, err := theirs.NewClient("user", password, "")
				if err != nil {
					t.Fatal(err)
				}
				conv := client.NewConversation()
				if plus {
					conv = client.NewConversationWithChannelBinding(other.ChannelBinding{Type: other.ChannelBindingTLSExporter, Data: binding})
				}
				s, err := a.Start(h.mechanism(plus))
				if err != nil {
					t.Fatal(err)
				}
				if id, err := converse(&foreign{conv, h.mechanism(plus)}, s); id == "" || err != nil {
					t.Errorf("their client, %q: %v", password, err)
				}
				// Our client, their server.
				keys, err := client.GetStoredCredentialsWithError(other.KeyFactors{Salt: string(k.salt), Iters: k.iterations})
				if err != nil {
					t.Fatal(err)
				}
				if ours := NewKey(h, password, k.salt, k.iterations); !bytes.Equal(ours.Stored, keys.StoredKey) || !bytes.Equal(ours.Server, keys.ServerKey) {
					t.Errorf("keys of %q differ", password)
				}
				server, err := theirs.NewServer(func(string) (other.StoredCredentials, error) { return keys, nil })
				if err != nil {
					t.Fatal(err)
				}
				there := server.NewConversation()
				c := &scramClient{o: &ClientOptions{User: "user", Password: password}, hash: h, plus: plus, flag: "n"}
				if plus {
					there = server.NewConversationWithChannelBinding(other.ChannelBinding{Type: other.ChannelBindingTLSExporter, Data: binding})
					c.flag, c.data = "p="+Exporter, binding
				}
				msg, err := c.Start()
				for err == nil && !there.Done() {
					var answer string
					if answer, err = there.Step(string(msg)); err == nil {
						msg, err = c.Next([]byte(answer))
					}
				}
				if err != nil || !there.Valid() || c.Done() != nil {
					t.Errorf("their server, %q: %v", password, err)
				}
			}
		}
	}
}

// TestDowngrade: channel binding that was offered cannot be talked away (RFC 5802 §6).
func TestDowngrade(t *testing.T) {
	bound := Bindings{Exporter: {[]byte("here")}, EndPoint: {[]byte("certificate")}}
	for _, c := range []struct {
		what, mechanism, flag, data string
		bindings                    Bindings
		kind                        postino.Kind // of the error; 0: none
	}{
		{"bound", "SCRAM-SHA-256-PLUS", "p=tls-exporter", "here", bound, 0},
		{"bound by the certificate", "SCRAM-SHA-256-PLUS", "p=tls-server-end-point", "certificate", bound, 0},
		{"not able", "SCRAM-SHA-256", "n", "", bound, 0},
		{"able, not offered", "SCRAM-SHA-256", "y", "", nil, 0},
		{"able, offered, not seen", "SCRAM-SHA-256", "y", "", bound, postino.Invalid},
		{"another channel", "SCRAM-SHA-256-PLUS", "p=tls-exporter", "there", bound, postino.Denied},
		{"no data", "SCRAM-SHA-256-PLUS", "p=tls-exporter", "", bound, postino.Denied},
		{"data of another type", "SCRAM-SHA-256-PLUS", "p=tls-exporter", "certificate", bound, postino.Denied},
		{"data without binding", "SCRAM-SHA-256", "n", "here", bound, postino.Denied},
		{"type not offered", "SCRAM-SHA-256-PLUS", "p=tls-unique", "here", bound, postino.Invalid},
		{"PLUS without binding", "SCRAM-SHA-256-PLUS", "n", "", bound, postino.Invalid},
		{"PLUS without binding", "SCRAM-SHA-256-PLUS", "y", "", bound, postino.Invalid},
		{"binding without PLUS", "SCRAM-SHA-256", "p=tls-exporter", "here", bound, postino.Invalid},
		{"no flag", "SCRAM-SHA-256", "x", "", bound, postino.Invalid},
	} {
		a := scramServer(pencil)
		a.Bindings = c.bindings
		s, err := a.Start(c.mechanism)
		if err != nil {
			t.Fatal(c.what, err)
		}
		id, err := converse(&scramClient{o: &ClientOptions{User: "user", Password: "pencil"}, hash: SHA256, flag: c.flag, data: []byte(c.data)}, s)
		if (c.kind == 0) != (err == nil) || err != nil && postino.KindOf(err) != c.kind || (id != "") != (err == nil) {
			t.Errorf("%s: %q, %v", c.what, id, err)
		}
	}
	if _, err := scramServer(pencil).Start("SCRAM-SHA-256-PLUS"); !postino.Is(err, postino.NotFound) {
		t.Errorf("binding without TLS: %v", err)
	}
}

// TestMutations: no octet of a good exchange can be changed, lost or added, not
// even in ways that mean the same.
func TestMutations(t *testing.T) {
	a := scramServer(pencil)
	a.Bindings = Bindings{Exporter: {[]byte("here")}}
	a.nonce = func() string { return "0123456789" }
	ctx := context.Background()
	for _, mech := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"} {
		h := SHA256
		if strings.Contains(mech, "SHA-1") {
			h = SHA1
		}
		c := &scramClient{o: &ClientOptions{User: "user", Authz: "user", Password: "pencil"}, hash: h, flag: "p=tls-exporter", data: []byte("here"), nonce: "fyko"}
		first, err := c.Start()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := a.Start(mech)
		reply, _, err := s.Next(ctx, bytes.Clone(first))
		if err != nil {
			t.Fatal(err)
		}
		final, err := c.Next(reply)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next(ctx, bytes.Clone(final)); err != nil {
			t.Fatal("the exchange is not good:", err)
		}
		try := func(one, two []byte) bool {
			s, _ := a.Start(mech)
			if _, _, err := s.Next(ctx, one); err != nil {
				return false
			}
			answer, _, err := s.Next(ctx, two)
			return err == nil && answer != nil
		}
		rapid.Check(t, func(t *rapid.T) {
			messages := [][]byte{bytes.Clone(first), bytes.Clone(final)}
			n := rapid.IntRange(0, 1).Draw(t, "message")
			m := messages[n]
			i := rapid.IntRange(0, len(m)-1).Draw(t, "place")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				m = slices.Delete(m, i, i+1)
			case 1:
				m = slices.Insert(m, i, rapid.Byte().Draw(t, "octet"))
			case 2:
				b := rapid.Byte().Draw(t, "octet")
				if m[i] == b {
					t.Skip()
				}
				m[i] = b
			}
			if bytes.Equal(m, [][]byte{first, final}[n]) {
				t.Skip()
			}
			messages[n] = m
			if try(messages[0], messages[1]) {
				t.Fatalf("taken: %q, %q", messages[0], messages[1])
			}
		})
	}
}

// TestSCRAMClientRefuses servers that are weak, costly or somebody else.
func TestSCRAMClientRefuses(t *testing.T) {
	for _, serverFirst := range []string{
		"", "e=other-error", "r=abcX,s=c2FsdA==,i=4095", "r=abcX,s=c2FsdA==,i=1000001", "r=abcX,s=c2FsdA==,i=99999999999999999999", "r=abcX,s=c2FsdA==,i=-1",
		"r=abc,s=c2FsdA==,i=4096", "r=xyz,s=c2FsdA==,i=4096", "r=abcX,s=,i=4096", "r=abcX,s=c2FsdA,i=4096", "m=x,r=abcX,s=c2FsdA==,i=4096", "r=abcX,i=4096,s=c2FsdA==",
	} {
		c := &scramClient{o: &ClientOptions{User: "user", Password: "pencil"}, hash: SHA256, flag: "n", nonce: "abc"}
		if _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Next([]byte(serverFirst)); err == nil || b != nil {
			t.Errorf("%q: %q", serverFirst, b)
		}
	}
	for _, serverFinal := range []string{"", "e=invalid-proof", "v=", "v=AAAA", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ"} {
		c := &scramClient{o: &ClientOptions{User: "user", Password: "pencil"}, hash: SHA256, flag: "n", nonce: "abc"}
		if _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next([]byte("r=abcX,s=c2FsdA==,i=4096")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next([]byte(serverFinal)); err == nil || c.Done() == nil {
			t.Errorf("%q is taken for a proof", serverFinal)
		}
	}
}

// TestConcurrency runs good and bad exchanges of one Authenticator at once; run
// with -race.
func TestConcurrency(t *testing.T) {
	a := scramServer(keeper{salt: pencil.salt, iterations: MinIterations, passwords: pencil.passwords})
	a.Begin = func(ctx context.Context, c Claim) (*Attempt, error) { k := pencil; return k.begin(ctx, c) }
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			password := []string{"pencil", "wrong"}[i%2]
			o := &ClientOptions{User: "user", Password: password}
			for _, c := range []Client{&scramClient{o: o, hash: SHA256, flag: "n"}, &scramClient{o: o, hash: SHA1, flag: "n"}} {
				s, err := a.Start(c.Mechanism())
				if err != nil {
					t.Error(err)
					return
				}
				if id, err := converse(c, s); (id != "") != (i%2 == 0) || (err == nil) != (i%2 == 0) {
					t.Errorf("%s with %q: %q, %v", c.Mechanism(), password, id, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestChooseStrongest, and nothing in clear that shows a secret (AU4).
func TestChooseStrongest(t *testing.T) {
	all := "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS OAUTHBEARER XOAUTH2"
	clear, secret := ClientOptions{User: "u", Password: "p"}, ClientOptions{User: "u", Token: "t"}
	under := clear
	state, _ := handshake(t, tls.VersionTLS13, nil)
	under.TLS = &state
	secretUnder := secret
	secretUnder.TLS = under.TLS
	for _, c := range []struct {
		announced string
		o         ClientOptions
		want      string
	}{
		{all, under, "SCRAM-SHA-256-PLUS"}, {"PLAIN SCRAM-SHA-256 SCRAM-SHA-1-PLUS", under, "SCRAM-SHA-1-PLUS"}, {all, clear, "SCRAM-SHA-256"}, {"PLAIN SCRAM-SHA-1", under, "SCRAM-SHA-1"},
		{"PLAIN LOGIN", clear, ""}, {"PLAIN CRAM-MD5", clear, "CRAM-MD5"}, {"PLAIN CRAM-MD5", under, "PLAIN"}, {"LOGIN", under, "LOGIN"},
		{all, secret, ""}, {all, secretUnder, "OAUTHBEARER"}, {"PLAIN XOAUTH2", secretUnder, "XOAUTH2"}, {"PLAIN", secretUnder, ""},
	} {
		got := ""
		if m := ChooseClient(c.announced, c.o); m != nil {
			got = m.Mechanism()
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.announced, got, c.want)
		}
	}
}

// TestOffered lists what there is for each thing that the directory can do.
func TestOffered(t *testing.T) {
	a := scramServer(pencil)
	want := func(names string) {
		t.Helper()
		if got := strings.Join(a.Mechanisms(), " "); got != names {
			t.Errorf("offered %s, want %s", got, names)
		}
	}
	want("SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5")
	a.Legacy, a.Bindings = nil, Bindings{Exporter: {{1}}}
	want("SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1")
	a = &Authenticator{External: func(context.Context, string) (string, error) { return "x", nil }}
	want("EXTERNAL")
	a.Token = func(context.Context, Token) (string, error) { return "x", nil }
	want("EXTERNAL OAUTHBEARER XOAUTH2")
	for _, name := range []string{"ANONYMOUS", "PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "external", ""} {
		if _, err := a.Start(name); !postino.Is(err, postino.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// FuzzSCRAM feeds two messages: nothing but the proof opens.
func FuzzSCRAM(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.first), []byte(v.final))
	}
	f.Add([]byte("p=tls-exporter,a=x,n=a=2Cb,r=z,x=y"), []byte("c=,r=z,x=y,p="))
	f.Add([]byte("n,,m=x,n=user,r=a"), []byte("c=biws,r=a,p=AAAA"))
	f.Fuzz(func(t *testing.T, first, final []byte) {
		if len(first)+len(final) > MaxExchange {
			return
		}
		a := scramServer(keeper{salt: pencil.salt, iterations: 1, passwords: []string{string(rune(0x1F600)) + "not to be guessed"}})
		for _, name := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
			s, err := a.Start(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, done, err := s.Next(context.Background(), append([]byte{}, first...)); done || err != nil && !postino.Is(err, postino.Invalid) {
				t.Fatal(done, err)
			}
			if _, done, err := s.Next(context.Background(), final); done || err == nil && first != nil {
				t.Fatalf("%q, %q: %v, %v", first, final, done, err)
			}
			if header, rest, ok := cutHeader(string(first)); ok {
				if g, ok := parseHeader(header); ok && g.authz != "" {
					if back, ok := unescape(escape(g.authz)); !ok || back != g.authz || header+rest != string(first) {
						t.Fatalf("%q is read as %q", g.authz, back)
					}
				}
			}
		}
	})
}

// FuzzSCRAMClient feeds what a server may say.
func FuzzSCRAMClient(f *testing.F) {
	f.Add([]byte("r=abcX,s=c2FsdA==,i=4096"), []byte("v=AAAA"))
	f.Add([]byte("r=abcX,s=c2FsdA==,i=4096,x=y"), []byte("e=other-error"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if strings.Contains(string(one), ",i=") && !strings.HasSuffix(string(one), "i=4096") {
			return // only costs time
		}
		c := &scramClient{o: &ClientOptions{User: "user", Password: "pencil"}, hash: SHA256, flag: "n", nonce: "abc"}
		if _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next(one); err == nil {
			_, _ = c.Next(two)
		}
		if c.Done() == nil {
			t.Fatalf("%q, %q is taken for a proof", one, two)
		}
	})
}

func BenchmarkSCRAM(b *testing.B) {
	k := pencil
	k.iterations = 10_000
	keys := map[Hash]Key{SHA1: NewKey(SHA1, "pencil", k.salt, k.iterations), SHA256: NewKey(SHA256, "pencil", k.salt, k.iterations)}
	for _, h := range slices.Sorted(maps.Keys(keys)) {
		b.Run(h.mechanism(false)+"/key", func(b *testing.B) {
			for b.Loop() {
				NewKey(h, "pencil", k.salt, k.iterations)
			}
		})
		b.Run(h.mechanism(false)+"/server", func(b *testing.B) {
			b.ReportAllocs()
			v := vectors[h]
			a := &Authenticator{nonce: func() string { return v.more }}
			key := NewKey(h, "pencil", unbase64(b, v.salt), 4096)
			a.Begin = func(context.Context, Claim) (*Attempt, error) {
				return &Attempt{Salt: unbase64(b, v.salt), Iterations: 4096, Keys: []Key{key}, End: func(context.Context, int) (string, error) { return "x", nil }}, nil
			}
			for b.Loop() {
				s, _ := a.Start(h.mechanism(false))
				if _, _, err := s.Next(context.Background(), []byte(v.first)); err != nil {
					b.Fatal(err)
				}
				if _, _, err := s.Next(context.Background(), []byte(v.final)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
