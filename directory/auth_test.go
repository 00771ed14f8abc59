package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

var stranger = netip.MustParseAddr("203.0.113.7")

// quick answers failures at once.
var quick = FailureLimits{MinDelay: 1, MaxDelay: 1, PerNetwork: 1000}

func logIn(d *Directory, user, password string) (User, error) {
	return d.Authenticate(context.Background(), Credentials{User: user, Password: password, Service: ServiceIMAP, Remote: stranger, Secure: true})
}

func TestAuthenticate(t *testing.T) { // AU2, AU5
	d, _ := open(t, Options{Failures: quick})
	ctx := t.Context()
	addUser(t, d, NewUser{Address: addr("jörg@example.org"), Password: "pass wörd\u3000x"})
	addUser(t, d, NewUser{Address: addr("off@example.org"), Password: "correct horse", Disabled: true})
	shared := addUser(t, d, NewUser{Address: addr("shared@example.org"), Shared: true})
	if _, err := d.AddUser(ctx, NewUser{Address: addr("other@example.org"), Shared: true, Password: "correct horse"}); !postino.Is(err, postino.Invalid) {
		t.Error("a shared account with a password:", err)
	}
	ok(t, d.SetPassword(ctx, shared.Address, "correct horse")) // it opens nothing all the same
	for _, c := range []struct{ user, password string }{
		{"ana@example.org", "correct horse"},
		{"ANA@Example.ORG", "correct horse"},
		{"ana", "correct horse"},
		{"jo\u0308rg@example.org", "pass wo\u0308rd x"}, // RFC 8265 §4.2: NFC, spaces mapped
		{"ＪÖRG", "pass wörd x"},                         // RFC 8265 §3.3: width and case mapped
	} {
		for range 2 {
			if _, err := logIn(d, c.user, c.password); err != nil {
				t.Errorf("%q with %q: %v", c.user, c.password, err)
			}
		}
	}
	var text string
	for _, c := range []struct{ user, password string }{
		{"ana@example.org", "wrong"},
		{"ana@example.org", ""},
		{"ana@example.org", "correct horse\x00"},
		{"ana@example.org", strings.Repeat("x", 5000)},
		{"ana@elsewhere.example", "correct horse"},
		{"carl@example.org", "correct horse"},
		{"off@example.org", "correct horse"},
		{"shared@example.org", "correct horse"},
		{"bob@example.org", ""}, // has no password at all
		{"bob@example.org", "anything"},
		{"", ""},
		{"ana@example.org\r\n", "correct horse"},
		{"@", "x"},
		{strings.Repeat("a", 1000), "x"},
		{"ana+x@example.org", "correct horse"},
	} {
		for range 2 {
			_, err := logIn(d, c.user, c.password)
			want(t, err, postino.Denied, "")
			if !errors.Is(err, ErrCredentials) {
				t.Fatalf("%q with %q: %v", c.user, c.password, err)
			}
			if text == "" {
				text = err.Error()
			}
			if err.Error() != text {
				t.Errorf("answers differ: %q and %q", err, text)
			}
		}
	}
	ok(t, d.AddDomain(ctx, Domain{Name: "second.example"}))
	if _, err := logIn(d, "ana", "correct horse"); !errors.Is(err, ErrCredentials) {
		t.Errorf("a local part is enough with two domains: %v", err)
	}
	ok(t, d.UpdateDomain(ctx, "example.org", func(x *Domain) { x.Disabled = true }))
	if _, err := logIn(d, "ana@example.org", "correct horse"); !errors.Is(err, ErrCredentials) {
		t.Errorf("login in a disabled domain: %v", err)
	}
}

func TestAuthenticateInClear(t *testing.T) { // SS22, AU4
	d, _ := open(t, Options{})
	c := Credentials{User: "ana", Password: "correct horse", Service: ServiceSMTP, Remote: stranger}
	_, err := d.Authenticate(t.Context(), c)
	want(t, err, postino.Denied, ErrInsecure.Error())
	for _, near := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		c.Remote = netip.MustParseAddr(near)
		_, err = d.Authenticate(t.Context(), c)
		ok(t, err)
	}
}

func TestChangesEndRights(t *testing.T) { // AU8
	d, _ := open(t, Options{Failures: quick})
	ctx := t.Context()
	ana := addr("ana@example.org")
	_, err := logIn(d, "ana", "correct horse")
	ok(t, err)
	ok(t, d.SetPassword(ctx, ana, "battery staple"))
	if _, err := logIn(d, "ana", "correct horse"); !errors.Is(err, ErrCredentials) {
		t.Errorf("the old password still works: %v", err)
	}
	_, err = logIn(d, "ana", "battery staple")
	ok(t, err)
	_, err = d.UpdateUser(ctx, ana, func(u *User) { u.Disabled = true })
	ok(t, err)
	if _, err := logIn(d, "ana", "battery staple"); !errors.Is(err, ErrCredentials) {
		t.Errorf("a disabled user logged in: %v", err)
	}
	_, err = d.UpdateUser(ctx, ana, func(u *User) { u.Disabled = false })
	ok(t, err)
	_, err = logIn(d, "ana", "battery staple")
	ok(t, err)
	ok(t, d.RemoveUser(ctx, ana))
	if _, err := logIn(d, "ana", "battery staple"); !errors.Is(err, ErrCredentials) {
		t.Errorf("a removed user logged in: %v", err)
	}
}

func TestAppPasswords(t *testing.T) { // AU1
	d, db := open(t, Options{Failures: quick})
	ctx := t.Context()
	bob := addr("bob@example.org")
	secret, p, err := d.AddAppPassword(ctx, bob, "phone", ServiceIMAP|ServicePOP3)
	ok(t, err)
	if n := len(plainSecret(secret)); n*5 < 128 {
		t.Errorf("a secret of %d bits", n*5)
	}
	try := func(s string, service Services) error {
		_, err := d.Authenticate(ctx, Credentials{User: "bob", Password: s, Service: service, Remote: stranger, Secure: true})
		return err
	}
	ok(t, try(secret, ServiceIMAP))
	ok(t, try(strings.ToUpper(strings.ReplaceAll(secret, "-", " ")), ServicePOP3))
	want(t, try(secret, ServiceSMTP), postino.Denied, ErrCredentials.Error())
	for k, v := range db.m {
		if strings.Contains(string(v), secret) || strings.Contains(string(v), plainSecret(secret)) {
			t.Errorf("the secret is stored at %q", k)
		}
	}
	list, err := d.AppPasswords(ctx, bob)
	ok(t, err)
	if len(list) != 1 || list[0].LastUse.IsZero() || list[0].Name != "phone" || list[0].ID != p.ID {
		t.Errorf("list is %+v", list)
	}
	before := db.updates
	ok(t, try(secret, ServiceIMAP))
	if db.updates != before {
		t.Error("every login writes")
	}
	ok(t, d.RemoveAppPassword(ctx, bob, p.ID))
	want(t, try(secret, ServiceIMAP), postino.Denied, ErrCredentials.Error())
	want(t, d.RemoveAppPassword(ctx, bob, p.ID), postino.NotFound, "app password")
	_, second, err := d.AddAppPassword(ctx, bob, "phone", AllServices)
	ok(t, err)
	if second.ID == p.ID {
		t.Error("an id was given twice")
	}
	_, _, err = d.AddAppPassword(ctx, bob, "x", 0)
	want(t, err, postino.Invalid, "service")
	_, _, err = d.AddAppPassword(ctx, bob, "a\nb", AllServices)
	want(t, err, postino.Invalid, "name")
	for range MaxAppPasswords - 1 {
		_, _, err = d.AddAppPassword(ctx, bob, "x", AllServices)
		ok(t, err)
	}
	_, _, err = d.AddAppPassword(ctx, bob, "x", AllServices)
	want(t, err, postino.Full, "")
}

func TestHashIsRenewedAtLogin(t *testing.T) { // AU1
	d, db := open(t, Options{})
	costly := New(db, Options{Argon2: Argon2{MemoryKiB: 16, Time: 2, Threads: 1}})
	defer costly.Close()
	for range 3 {
		_, err := logIn(costly, "ana", "correct horse")
		ok(t, err)
	}
	var u record
	ok(t, d.view(t.Context(), func(r kv.Reader) (err error) {
		u, err = userAt(r, "", addr("ana@example.org"))
		return err
	}))
	if !strings.HasPrefix(u.Hash, "$argon2id$v=19$m=16,t=2,p=1$") || u.Credentials != 1 {
		t.Errorf("hash is %s after %d changes", u.Hash, u.Credentials)
	}
}

func TestDefaultCost(t *testing.T) { // AU1
	h := newHasher(Argon2{}, 1, 1)
	phc, err := h.hash(t.Context(), "correct horse")
	ok(t, err)
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %s", phc)
	}
	for password, want := range map[string]bool{"correct horse": true, "wrong horse": false} {
		if got, err := h.match(t.Context(), phc, password); err != nil || got != want {
			t.Errorf("match of %q: %v, %v", password, got, err)
		}
	}
}

func TestHashQueue(t *testing.T) { // AU1
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(cheap, 2, 3)
		release := make(chan struct{})
		results := make(chan error, 9)
		for range 9 {
			go func() { results <- h.run(t.Context(), func() { <-release }) }()
		}
		synctest.Wait()
		if n := len(results); n != 4 {
			t.Errorf("%d of 9 were turned away, want 4", n)
		}
		close(release)
		synctest.Wait()
		busy := 0
		for range 9 {
			if err := <-results; errors.Is(err, ErrBusy) && postino.Is(err, postino.Transient) {
				busy++
			} else if err != nil {
				t.Error(err)
			}
		}
		if busy != 4 {
			t.Errorf("%d were turned away, want 4", busy)
		}
	})
}

func TestFailures(t *testing.T) { // AU3
	synctest.Test(t, func(t *testing.T) {
		db := newMemory()
		d := New(db, Options{Argon2: cheap})
		defer d.Close()
		ctx := t.Context()
		ok(t, d.AddDomain(ctx, Domain{Name: "example.org"}))
		addUser(t, d, NewUser{Address: addr("ana@example.org"), Password: "correct horse"})
		try := func(from, password string) (time.Duration, error) {
			start := time.Now()
			_, err := d.Authenticate(ctx, Credentials{User: "ana", Password: password, Service: ServiceIMAP, Remote: netip.MustParseAddr(from), Secure: true})
			return time.Since(start), err
		}
		home := "2001:db8:0:1::1"
		if took, err := try(home, "correct horse"); err != nil || took != 0 {
			t.Fatal(took, err)
		}
		// Each failure takes longer, up to the limit; the tenth blocks the /64.
		for i := range 10 {
			took, err := try(fmt.Sprintf("2001:db8:0:2::%d", i), fmt.Sprint("guess", i))
			if want := min(time.Duration(i+1)*time.Second, 5*time.Second); took != want || !errors.Is(err, ErrCredentials) {
				t.Errorf("failure %d took %v, want %v: %v", i, took, want, err)
			}
		}
		_, err := try("2001:db8:0:2::99", "correct horse")
		want(t, err, postino.Transient, ErrBlocked.Error())
		if _, err := try("2001:db8:0:3::1", "correct horse"); err != nil {
			t.Errorf("the network beside is blocked too: %v", err)
		}
		time.Sleep(15 * time.Minute)
		if _, err := try("2001:db8:0:2::99", "correct horse"); err != nil {
			t.Errorf("still blocked after the time: %v", err)
		}
		// Guessing from many networks slows the unknown ones and leaves home alone.
		for i := range 20 {
			try(fmt.Sprintf("198.51.100.%d", i), fmt.Sprint("other", i))
		}
		if took, err := try("198.51.100.200", "correct horse"); err != nil || took != 5*time.Second {
			t.Errorf("unknown network: %v, %v", took, err)
		}
		if took, err := try(home, "correct horse"); err != nil || took != 0 {
			t.Errorf("known network: %v, %v", took, err)
		}
		// A device that repeats an outdated password is never blocked.
		for range 30 {
			if took, err := try("192.0.2.1", "outdated"); took > 6*time.Second || !errors.Is(err, ErrCredentials) {
				t.Fatal(took, err)
			}
		}
	})
}

func TestGuardIsBounded(t *testing.T) { // G10
	g := newGuard(FailureLimits{Entries: 100})
	now := time.Now()
	for i := range 10000 {
		net := network(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		g.failed(net, fmt.Sprint("user", i), "example.org", now)
		g.succeeded(net, fmt.Sprint("user", i))
	}
	for _, n := range []int{len(g.networks.young) + len(g.networks.old), len(g.accounts.young) + len(g.accounts.old), len(g.familiar.young) + len(g.familiar.old)} {
		if n > 100 {
			t.Errorf("%d entries, want at most 100", n)
		}
	}
}

func FuzzUserName(f *testing.F) {
	for _, s := range []string{"ana", "ana@example.org", "ANA@EXAMPLE.ORG", "ｊörg@bücher.example", `"a b"@x`, "@", "a@b@c", "a@[127.0.0.1]", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseUser(s)
		if !ok {
			return
		}
		b, ok := parseUser(a.String())
		if !ok || b != a {
			t.Errorf("%q is %q, which is %q", s, a, b)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	d, _ := open(b, Options{Argon2: Argon2{MemoryKiB: 19456, Time: 2, Threads: 1}})
	secret, _, err := d.AddAppPassword(b.Context(), addr("bob@example.org"), "phone", AllServices)
	ok(b, err)
	for _, c := range []struct{ name, user, password string }{
		{"password", "ana@example.org", "correct horse"},
		{"app", "bob@example.org", secret},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := logIn(d, c.user, c.password); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("argon2id", func(b *testing.B) {
		for b.Loop() {
			d.hasher.match(b.Context(), "", "x")
		}
	})
}

// Unknown, disabled, without password and wrong all take the time of one hash:
// none of them is answered while the hasher has no room.
func TestEveryFailureCostsOneHash(t *testing.T) { // AU2
	d, _ := open(t, Options{Failures: quick})
	addUser(t, d, NewUser{Address: addr("off@example.org"), Password: "correct horse", Disabled: true})
	d.hasher.users.Store(d.hasher.most)
	for _, user := range []string{"ana@example.org", "bob@example.org", "off@example.org", "carl@example.org", "x@elsewhere.example", "no address", ""} {
		if _, err := logIn(d, user, "wrong"); !errors.Is(err, ErrBusy) || !postino.Is(err, postino.Transient) {
			t.Errorf("%q: %v", user, err)
		}
	}
}
