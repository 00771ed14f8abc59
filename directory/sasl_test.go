package directory

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/sasl"
)

var everyMechanism = []string{"CRAM-MD5", "DIGEST-MD5"}

// idTokens takes "token-of-ADDRESS".
type idTokens struct{}

func (idTokens) Discovery() sasl.Discovery { return sasl.Discovery{Scope: "mail"} }

func (idTokens) Validate(_ context.Context, t sasl.Token) (string, error) {
	user, ok := strings.CutPrefix(t.Token, "token-of-")
	switch {
	case user == "nobody-knows":
		return "", postino.E(postino.Transient, "check token", "", nil)
	case !ok:
		return "", postino.E(postino.Denied, "check token", "", nil)
	}
	return strings.Replace(user, "~", "@", 1), nil
}

// clientCertificate makes one for addresses.
func clientCertificate(t testing.TB, emails ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), EmailAddresses: emails, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	ok(t, err)
	leaf, err := x509.ParseCertificate(der)
	ok(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// connection makes a TLS connection to a server that trusts trusted, if there is
// one, and returns what both ends know of it.
func connection(t testing.TB, own, trusted *tls.Certificate) (client, server *tls.ConnectionState) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	clientConfig := &tls.Config{InsecureSkipVerify: true}
	if own != nil {
		clientConfig.Certificates = []tls.Certificate{*own}
	}
	serverConfig := &tls.Config{Certificates: []tls.Certificate{clientCertificate(t)}, SessionTicketsDisabled: true}
	if trusted != nil {
		serverConfig.ClientAuth, serverConfig.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
		serverConfig.ClientCAs.AddCert(trusted.Leaf)
	}
	c, s := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = s.Handshake() })
	ok(t, c.Handshake())
	wg.Wait()
	ok(t, err)
	cs, ss := c.ConnectionState(), s.ConnectionState()
	return &cs, &ss
}

// saslPeer is who logs in, with what.
type saslPeer struct {
	sasl.ClientOptions
	from   netip.Addr
	server *tls.ConnectionState
	during func() // between the first message and the proof
}

// over logs in by one mechanism, over a connection as it is.
func over(d *Directory, mechanism string, p saslPeer) (u User, err error) {
	if !p.from.IsValid() {
		p.from = stranger
	}
	verdicts := 0
	a := d.SASL(Peer{Service: ServiceIMAP, Remote: p.from, TLS: p.server}, func(_ string, got User, err error) error {
		verdicts++
		u = got
		return err
	})
	s, err := a.Start(mechanism)
	if err != nil {
		return u, err
	}
	c := clientFor(mechanism, p.ClientOptions)
	response, err := c.Start()
	for step := 0; err == nil; step++ {
		var challenge []byte
		var done bool
		if step == 1 && p.during != nil {
			p.during()
		}
		if challenge, done, err = s.Next(context.Background(), response); done {
			if s.Identity() != u.Address.String() || verdicts != 1 {
				return u, fmt.Errorf("%d verdicts, identity %q, user %v", verdicts, s.Identity(), u)
			}
			return u, c.Done()
		}
		if err == nil {
			response, err = c.Next(challenge)
		}
	}
	if u != (User{}) {
		err = fmt.Errorf("user %v together with %w", u, err)
	}
	return u, err
}

func clientFor(mechanism string, o sasl.ClientOptions) sasl.Client {
	switch mechanism {
	case "DIGEST-MD5":
		return &digestClient{o: o}
	case "EXTERNAL":
		return externalClient(o)
	}
	o.AllowClear = true
	if !strings.HasSuffix(mechanism, "-PLUS") {
		o.TLS = nil // it does not know channel binding; else it would see a downgrade
	}
	return sasl.ChooseClient(mechanism, o)
}

// externalClient says who it wants to be.
type externalClient sasl.ClientOptions

func (externalClient) Mechanism() string           { return "EXTERNAL" }
func (externalClient) Secret() bool                { return false }
func (externalClient) Done() error                 { return nil }
func (e externalClient) Start() ([]byte, error)    { return []byte(e.Authz), nil }
func (externalClient) Next([]byte) ([]byte, error) { return nil, errors.New("asked for more") }

// digestClient is as much of DIGEST-MD5 as is needed here.
type digestClient struct {
	o    sasl.ClientOptions
	done bool
}

func (c *digestClient) Mechanism() string      { return "DIGEST-MD5" }
func (c *digestClient) Secret() bool           { return false }
func (c *digestClient) Done() error            { return nil }
func (c *digestClient) Start() ([]byte, error) { return nil, nil }

func (c *digestClient) Next(challenge []byte) ([]byte, error) {
	if c.done {
		return []byte{}, nil
	}
	c.done = true
	part := func(name string) string {
		_, after, _ := strings.Cut(string(challenge), name+`="`)
		v, _, _ := strings.Cut(after, `"`)
		return v
	}
	sum := func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) }
	realm, nonce := part("realm"), part("nonce")
	authz, a1 := "", string(sasl.DigestSecret(c.o.User, realm, c.o.Password))+":"+nonce+":cc"
	if c.o.Authz != "" {
		authz, a1 = `,authzid="`+c.o.Authz+`"`, a1+":"+c.o.Authz
	}
	response := sum(sum(a1) + ":" + nonce + ":00000001:cc:auth:" + sum("AUTHENTICATE:imap/h"))
	return fmt.Appendf(nil, `username="%s",realm="%s",nonce="%s",cnonce="cc",nc=00000001,qop=auth,digest-uri="imap/h",response=%s%s`, c.o.User, realm, nonce, response, authz), nil
}

// mechanismWorld is a directory with everything on, and a connection to it of
// ana's certificate.
func mechanismWorld(t testing.TB, f FailureLimits) (d *Directory, good func(mechanism string) saslPeer) {
	d, _ = open(t, Options{Failures: f, Legacy: everyMechanism, Realm: "mx.example.org", Tokens: idTokens{}})
	cert := clientCertificate(t, "stranger@elsewhere.example", "Ana@example.org")
	client, server := connection(t, &cert, &cert)
	return d, func(mechanism string) saslPeer {
		p := saslPeer{server: server, ClientOptions: sasl.ClientOptions{User: "ana@example.org", Password: "correct horse", TLS: client}}
		if mechanism == "OAUTHBEARER" || mechanism == "XOAUTH2" {
			p.Token = "token-of-ana~example.org"
		}
		return p
	}
}

var mechanisms = []string{"EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "DIGEST-MD5", "CRAM-MD5"}

// spoil makes credentials wrong.
func spoil(mechanism string, p saslPeer, i int) saslPeer {
	p.Password = fmt.Sprint("wrong", i)
	if p.Token != "" {
		p.Token = "stale"
	}
	if mechanism == "EXTERNAL" {
		p.Authz = "bob@example.org"
	}
	return p
}

func TestEveryMechanism(t *testing.T) { // AU2, AU5
	d, good := mechanismWorld(t, quick)
	addUser(t, d, NewUser{Address: addr("off@example.org"), Password: "correct horse", Disabled: true})
	offered := d.SASL(Peer{Service: ServiceIMAP, Remote: stranger, TLS: good("").server}, nil).Mechanisms()
	if !slices.Equal(offered, mechanisms) {
		t.Errorf("offered %v", offered)
	}
	for _, m := range mechanisms {
		u, err := over(d, m, good(m))
		if err != nil || u.ID != 1 {
			t.Errorf("%s: %v, %v", m, u, err)
		}
		text := ""
		denied := func(what string, p saslPeer) {
			t.Helper()
			u, err := over(d, m, p)
			if !errors.Is(err, ErrCredentials) || !postino.Is(err, postino.Denied) || u.ID != 0 {
				t.Errorf("%s, %s: %v, %v", m, what, u, err)
			}
			if text == "" {
				text = err.Error()
			}
			if err.Error() != text {
				t.Errorf("%s: answers differ: %q and %q", m, err, text)
			}
		}
		denied("wrong", spoil(m, good(m), 1))
		if m == "EXTERNAL" {
			continue
		}
		for _, user := range []string{"nobody@example.org", "off@example.org", "bob@example.org", "x@elsewhere.example", "no address", strings.Repeat("x", 255)} {
			p := good(m)
			p.User = user
			denied(user, p)
		}
		// Nobody acts for another, whether there is one or not.
		for _, authz := range []string{"bob@example.org", "nobody@example.org", "ANA@example.org"} {
			p := good(m)
			p.Authz = authz
			if m == "LOGIN" || m == "CRAM-MD5" || p.Token != "" {
				continue // they have no place for it
			}
			if u, err := over(d, m, p); authz == "ANA@example.org" != (err == nil) || err != nil && !errors.Is(err, ErrAuthorization) {
				t.Errorf("%s as %s: %v, %v", m, authz, u, err)
			}
			p.Password = "wrong"
			denied("wrong as "+authz, p)
		}
	}
	clear := d.SASL(Peer{Service: ServiceIMAP, Remote: stranger}, nil)
	if got := clear.Mechanisms(); len(got) != 0 {
		t.Errorf("in clear there is %v", got)
	}
}

// The same network is blocked, the same delays are made, whatever the mechanism.
func TestFailuresOfEveryMechanism(t *testing.T) { // AU3
	for _, m := range mechanisms {
		d, good := mechanismWorld(t, FailureLimits{})
		// Handshakes and hashes are done by now: the bubble only sees the guard's clock.
		p := good(m)
		synctest.Test(t, func(t *testing.T) {
			d.guard = newGuard(FailureLimits{})
			for i := range 10 {
				begin := time.Now()
				_, err := over(d, m, spoil(m, p, i))
				if want, took := min(time.Duration(i+1)*time.Second, 5*time.Second), time.Since(begin); took != want || !errors.Is(err, ErrCredentials) {
					t.Errorf("%s: failure %d took %v, want %v: %v", m, i, took, want, err)
				}
			}
			if _, err := over(d, m, p); !errors.Is(err, ErrBlocked) || !postino.Is(err, postino.Transient) {
				t.Errorf("%s is not blocked: %v", m, err)
			}
			if _, err := over(d, "PLAIN", good("PLAIN")); !errors.Is(err, ErrBlocked) {
				t.Errorf("after failures of %s PLAIN is not blocked: %v", m, err)
			}
			time.Sleep(16 * time.Minute)
			if u, err := over(d, m, p); err != nil || u.ID != 1 {
				t.Errorf("%s after the block: %v, %v", m, u, err)
			}
		})
	}
}

// Good and bad logins by all mechanisms at once disturb none of each other.
func TestMixedLogins(t *testing.T) {
	d, good := mechanismWorld(t, quick)
	d.guard = newGuard(FailureLimits{MinDelay: 1, MaxDelay: 1, PerNetwork: 1 << 20, PerAccount: 1 << 20})
	var wg sync.WaitGroup
	for i := range 2 * len(mechanisms) {
		m, p := mechanisms[i/2], good(mechanisms[i/2])
		if i%2 == 1 {
			p = spoil(m, p, i)
		}
		wg.Go(func() {
			for range 3 {
				if u, err := over(d, m, p); (err == nil) != (i%2 == 0) || (u.ID == 1) != (err == nil) || err != nil && !errors.Is(err, ErrCredentials) {
					t.Errorf("%s: %v, %v", m, u, err)
				}
			}
		})
	}
	wg.Wait()
}

// Tries that were begun before a block are no way around it.
func TestBlockBetweenMessages(t *testing.T) { // AU3
	d, good := mechanismWorld(t, FailureLimits{MinDelay: 1, MaxDelay: 1, PerNetwork: 2})
	p := good("SCRAM-SHA-256")
	p.during = func() {
		for i := range 2 {
			if _, err := over(d, "PLAIN", spoil("PLAIN", good("PLAIN"), i)); !errors.Is(err, ErrCredentials) {
				t.Error(err)
			}
		}
	}
	if _, err := over(d, "SCRAM-SHA-256", p); !errors.Is(err, ErrBlocked) {
		t.Errorf("a try that was begun before: %v", err)
	}
}

// What changes between the messages counts.
func TestChangesDuringExchange(t *testing.T) { // AU8
	ana := addr("ana@example.org")
	for what, change := range map[string]func(d *Directory) error{
		"password": func(d *Directory) error { return d.SetPassword(t.Context(), ana, "battery staple") },
		"disabled": func(d *Directory) error {
			_, err := d.UpdateUser(t.Context(), ana, func(u *User) { u.Disabled = true })
			return err
		},
		"removed": func(d *Directory) error { return d.RemoveUser(t.Context(), ana) },
	} {
		for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"} {
			d, good := mechanismWorld(t, quick)
			p := good(m)
			p.during = func() { ok(t, change(d)) }
			if _, err := over(d, m, p); !errors.Is(err, ErrCredentials) {
				t.Errorf("%s, %s: %v", m, what, err)
			}
		}
	}
	// What changes beside the credentials does not.
	d, good := mechanismWorld(t, quick)
	p := good("SCRAM-SHA-256")
	p.during = func() {
		_, err := d.UpdateUser(t.Context(), ana, func(u *User) { u.Name = "Ana" })
		ok(t, err)
	}
	if _, err := over(d, "SCRAM-SHA-256", p); err != nil {
		t.Error(err)
	}
}

// TestPass: a login ends with what it stands on, by whatever mechanism (AU8).
func TestPass(t *testing.T) {
	ctx, ana := t.Context(), addr("ana@example.org")
	stays := func(d *Directory, p Pass) bool {
		t.Helper()
		may, err := d.Stays(ctx, p)
		ok(t, err)
		return may
	}
	for _, m := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "DIGEST-MD5"} {
		d, good := mechanismWorld(t, quick)
		u, err := over(d, m, good(m))
		ok(t, err)
		_, err = d.UpdateUser(ctx, ana, func(u *User) { u.Name = "Ana" })
		ok(t, err)
		_, _, err = d.AddAppPassword(ctx, ana, "phone", ServiceIMAP)
		ok(t, err)
		if !stays(d, u.Pass) {
			t.Error(m, "ended by something else")
		}
		ok(t, d.SetPassword(ctx, ana, "battery staple"))
		if stays(d, u.Pass) {
			t.Error(m, "outlived the password")
		}
	}
	d, _ := mechanismWorld(t, quick)
	secret, app, err := d.AddAppPassword(ctx, ana, "phone", AllServices)
	ok(t, err)
	u, err := logIn(d, "ana@example.org", secret)
	ok(t, err)
	ok(t, d.SetPassword(ctx, ana, "battery staple"))
	if !stays(d, u.Pass) {
		t.Error("an app password ended with the user's own")
	}
	_, err = d.UpdateUser(ctx, ana, func(u *User) { u.Disabled = true })
	ok(t, err)
	if stays(d, u.Pass) {
		t.Error("a disabled user stays")
	}
	_, err = d.UpdateUser(ctx, ana, func(u *User) { u.Disabled = false })
	ok(t, err)
	if !stays(d, u.Pass) || !stays(d, Vouched(u).Pass) {
		t.Error("enabled again, but may not stay")
	}
	ok(t, d.RemoveAppPassword(ctx, ana, app.ID))
	if stays(d, u.Pass) {
		t.Error("outlived the app password")
	}
	if stays(d, Pass{}) {
		t.Error("the zero pass holds")
	}
	ok(t, d.RemoveUser(ctx, ana))
	if stays(d, Vouched(u).Pass) {
		t.Error("a removed user stays")
	}
}

func TestSCRAMOfAppPasswords(t *testing.T) { // AU1
	d, good := mechanismWorld(t, quick)
	ctx := t.Context()
	bob := addr("bob@example.org")
	secret, p, err := d.AddAppPassword(ctx, bob, "phone", ServiceIMAP)
	ok(t, err)
	mail, _, err := d.AddAppPassword(ctx, bob, "mailer", ServiceSMTP)
	ok(t, err)
	try := func(password string) error {
		p := good("SCRAM-SHA-256")
		p.User, p.Password = "bob@example.org", password
		_, err := over(d, "SCRAM-SHA-256", p)
		return err
	}
	ok(t, try(secret))
	want(t, try(mail), postino.Denied, ErrCredentials.Error()) // not for IMAP
	ok(t, d.SetPassword(ctx, bob, "battery staple"))
	ok(t, try("battery staple"))
	ok(t, try(secret))
	list, err := d.AppPasswords(ctx, bob)
	ok(t, err)
	if list[0].LastUse.IsZero() || !list[1].LastUse.IsZero() {
		t.Errorf("last uses: %+v", list)
	}
	ok(t, d.RemoveAppPassword(ctx, bob, p.ID))
	want(t, try(secret), postino.Denied, ErrCredentials.Error())
}

// Passwords of an older store open by SCRAM after they were used once.
func TestKeysAreMadeAtLogin(t *testing.T) { // AU1
	d, good := mechanismWorld(t, quick)
	ctx := t.Context()
	secret, _, err := d.AddAppPassword(ctx, addr("ana@example.org"), "phone", AllServices)
	ok(t, err)
	ok(t, d.onUser(ctx, "", addr("ana@example.org"), func(_ kv.Tx, u *record) error {
		u.Secrets, u.Apps[0].Keys = secrets{}, scramKeys{}
		return nil
	}))
	try := func(m, password string) error {
		p := good(m)
		p.Password = password
		_, err := over(d, m, p)
		return err
	}
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "DIGEST-MD5"} {
		want(t, try(m, "correct horse"), postino.Denied, ErrCredentials.Error())
	}
	ok(t, try("PLAIN", "correct horse"))
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "DIGEST-MD5"} {
		ok(t, try(m, "correct horse"))
	}
	want(t, try("SCRAM-SHA-256", secret), postino.Denied, ErrCredentials.Error())
	ok(t, try("PLAIN", strings.ToUpper(strings.ReplaceAll(secret, "-", ""))))
	ok(t, try("SCRAM-SHA-256", secret))
}

// Secrets of the elder mechanisms are there while they are offered, not longer.
func TestLegacyIsNotKept(t *testing.T) {
	ctx := t.Context()
	d, db := open(t, Options{Failures: quick})
	kept := func() (s secrets) {
		ok(t, d.view(ctx, func(r kv.Reader) error {
			u, err := userAt(r, "", addr("ana@example.org"))
			s = u.Secrets
			return err
		}))
		return s
	}
	logInTo := func(d *Directory) {
		_, err := d.Authenticate(ctx, Credentials{User: "ana@example.org", Password: "correct horse", Service: ServiceIMAP, Secure: true})
		ok(t, err)
	}
	if s := kept(); s.CRAM != nil || s.Digest != nil || s.Keys.SHA256 == nil {
		t.Errorf("kept %+v", s)
	}
	for _, realm := range []string{"mx.example.org", "new.example.org"} {
		on := New(db, Options{Argon2: cheap, Legacy: everyMechanism, Realm: realm})
		logInTo(on)
		on.Close()
		if s := kept(); len(s.CRAM) != sasl.CRAMSecretSize || len(s.Digest) != md5.Size || s.Realm != realm {
			t.Errorf("kept %+v", s)
		}
	}
	off := New(db, Options{Argon2: cheap})
	defer off.Close()
	logInTo(off)
	if s := kept(); s.CRAM != nil || s.Digest != nil || s.Realm != "" {
		t.Errorf("kept %+v", s)
	}
}

// The first message of the server tells nobody who exists: everybody has a salt,
// the same for ever.
func TestFirstMessageTellsNothing(t *testing.T) { // AU2
	_, server := connection(t, nil, nil)
	d, db := open(t, Options{Failures: quick})
	first := func(d *Directory, user string) string {
		a := d.SASL(Peer{Service: ServiceIMAP, Remote: stranger, TLS: server}, func(_ string, _ User, err error) error { return err })
		s, err := a.Start("SCRAM-SHA-256")
		ok(t, err)
		challenge, _, err := s.Next(t.Context(), []byte("n,,n="+user+",r=abc"))
		ok(t, err)
		_, salt, _ := strings.Cut(string(challenge), ",")
		return salt
	}
	seen := map[string]string{}
	for _, user := range []string{"ana@example.org", "bob@example.org", "nobody@example.org", "x@elsewhere.example", "no address"} {
		salt := first(d, user)
		if seen[salt] != "" || !strings.HasPrefix(salt, "s=") || !strings.HasSuffix(salt, fmt.Sprint(",i=", scramIterations)) || len(salt) != len("s=")+24+len(",i=10000") {
			t.Errorf("%s has %s, as %q", user, salt, seen[salt])
		}
		seen[salt] = user
		again := New(db, Options{Argon2: cheap})
		if other := first(again, user); other != salt {
			t.Errorf("%s has %s after a restart, %s before", user, other, salt)
		}
		again.Close()
	}
	if first(d, "ANA@example.org") != first(d, "ana@example.org") || first(d, "NOBODY@example.org") != first(d, "nobody@example.org") {
		t.Error("the salt depends on the spelling")
	}
	if first(d, "nobody") != first(d, "nobody@example.org") {
		t.Error("the salt of a local part alone is another one")
	}
}

func TestClientCertificates(t *testing.T) { // AU5
	d, _ := open(t, Options{Failures: quick})
	own, other := clientCertificate(t, "ana@example.org", "BOB@example.org"), clientCertificate(t, "x@elsewhere.example")
	for _, c := range []struct {
		what         string
		own, trusted *tls.Certificate
		authz        string
		offered      bool
		want         string
	}{
		{"the first", &own, &own, "", true, "Ana@example.org"},
		{"the second, by name", &own, &own, "bob@example.org", true, "bob@example.org"},
		{"another", &own, &own, "carl@example.org", true, ""},
		{"nobody of ours", &other, &other, "", true, ""},
		{"nobody of ours, by name", &other, &other, "ana@example.org", true, ""},
		{"no certificate", nil, &own, "", false, ""},
		{"not verified", &own, nil, "", false, ""},
	} {
		_, server := connection(t, c.own, c.trusted)
		peer := Peer{Service: ServiceIMAP, Remote: stranger, TLS: server}
		if offered := slices.Contains(d.SASL(peer, nil).Mechanisms(), "EXTERNAL"); offered != c.offered {
			t.Errorf("%s: offered %v", c.what, offered)
			continue
		}
		if !c.offered {
			continue
		}
		u, err := over(d, "EXTERNAL", saslPeer{server: server, ClientOptions: sasl.ClientOptions{Authz: c.authz}})
		if u.Address.String() != c.want && !(c.want == "" && u.ID == 0) || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v, %v", c.what, u.Address, err)
		}
	}
}

// Without channel binding a client that could do it is no downgrade.
func TestNoChannelBinding(t *testing.T) {
	d, _ := open(t, Options{Failures: quick, NoChannelBinding: true})
	client, server := connection(t, nil, nil)
	offered := d.SASL(Peer{Service: ServiceIMAP, Remote: stranger, TLS: server}, nil).Mechanisms()
	if !slices.Equal(offered, []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"}) {
		t.Errorf("offered %v", offered)
	}
	c := sasl.ChooseClient(strings.Join(offered, " "), sasl.ClientOptions{User: "ana", Password: "correct horse", TLS: client})
	if first, err := c.Start(); err != nil || !strings.HasPrefix(string(first), "y,,") {
		t.Errorf("the client says %q, %v", first, err)
	}
	a := d.SASL(Peer{Service: ServiceIMAP, Remote: stranger, TLS: server}, nil)
	s, err := a.Start(c.Mechanism())
	ok(t, err)
	if _, _, err := s.Next(t.Context(), []byte("y,,n=ana,r=abc")); err != nil {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) { // AU5
	d, good := mechanismWorld(t, quick)
	for _, m := range []string{"OAUTHBEARER", "XOAUTH2"} {
		for token, cause := range map[string]error{"token-of-ANA~example.org": nil, "token-of-bob~example.org": ErrCredentials, "token-of-x~elsewhere.example": ErrCredentials, "stale": ErrCredentials} {
			p := good(m)
			p.Token = token
			if u, err := over(d, m, p); !errors.Is(err, cause) || (u.ID == 1) != (cause == nil) {
				t.Errorf("%s with %s: %v, %v", m, token, u, err)
			}
		}
		p := good(m)
		p.Token = "token-of-nobody-knows"
		_, err := over(d, m, p)
		want(t, err, postino.Transient, "")
	}
	p := good("OAUTHBEARER")
	p.User = "" // whoever the token says
	if u, err := over(d, "OAUTHBEARER", p); err != nil || u.ID != 1 {
		t.Error(u, err)
	}
}

// A development server takes its one password by SCRAM too, for anybody.
func TestSCRAMForAnybody(t *testing.T) {
	db := newMemory()
	d := New(db, Options{AcceptAny: &AcceptAny{Password: "dev"}})
	defer d.Close()
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"} {
		p := saslPeer{ClientOptions: sasl.ClientOptions{User: "someone@shop.test", Password: "dev"}}
		if u, err := over(d, m, p); err != nil || u.Address != addr("someone@shop.test") {
			t.Errorf("%s: %v, %v", m, u, err)
		}
		p.Authz = "other@shop.test"
		if _, err := over(d, m, p); !errors.Is(err, ErrAuthorization) {
			t.Errorf("%s for another: %v", m, err)
		}
		p.Authz, p.Password = "", "wrong"
		if _, err := over(d, m, p); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", m, err)
		}
	}
	any := New(newMemory(), Options{AcceptAny: &AcceptAny{}})
	defer any.Close()
	if got := any.SASL(Peer{Service: ServiceIMAP}, nil).Mechanisms(); !slices.Equal(got, []string{"PLAIN", "LOGIN"}) {
		t.Errorf("where every password is good there is %v", got)
	}
}

// TestTiming measures that unknown, disabled and wrong take the same time (AU2):
// 10,000 tries each, medians within 5 % or 1 ms. It says so only when the machine is quiet.
func TestTiming(t *testing.T) {
	if os.Getenv("POSTINO_LONG") == "" {
		t.Skip("POSTINO_LONG=1 runs 10,000 tries")
	}
	d, good := mechanismWorld(t, FailureLimits{MinDelay: 1, MaxDelay: 1, PerNetwork: 1 << 30, PerAccount: 1 << 30})
	addUser(t, d, NewUser{Address: addr("off@example.org"), Password: "correct horse", Disabled: true})
	users := []string{"ana@example.org", "nobody@example.org", "off@example.org", "bob@example.org", "x@elsewhere.example"}
	for _, m := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "CRAM-MD5"} {
		took := make([][]time.Duration, len(users))
		p := good(m)
		for i := range 10_000 {
			for j, user := range users {
				p.User, p.Password = user, fmt.Sprint("wrong", i)
				var spent time.Duration
				begin := time.Now()
				p.during = func() { begin = time.Now() } // the client's own work is behind it
				_, err := over(d, m, p)
				if spent = time.Since(begin); !errors.Is(err, ErrCredentials) {
					t.Fatal(err)
				}
				took[j] = append(took[j], spent)
			}
		}
		for j := range users {
			slices.Sort(took[j])
			mine, first := took[j][5000], took[0][5000]
			t.Logf("%s %s: median %v", m, users[j], mine)
			if diff := (mine - first).Abs(); diff > time.Millisecond && diff > first/20 {
				t.Errorf("%s: %s takes %v, %s %v", m, users[j], mine, users[0], first)
			}
		}
	}
}

func BenchmarkSASL(b *testing.B) {
	d, good := mechanismWorld(b, FailureLimits{})
	for _, m := range mechanisms {
		b.Run(m, func(b *testing.B) {
			p := good(m)
			for b.Loop() {
				if _, err := over(d, m, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
