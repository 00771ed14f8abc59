package directory

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

var grantTime = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// signIn logs ana in and grants her something.
func signIn(t *testing.T, d *Directory, n NewGrant, now time.Time) (string, Grant) {
	t.Helper()
	u, err := logIn(d, "ana", "correct horse")
	ok(t, err)
	secret, g, err := d.Grant(t.Context(), u, n, now)
	ok(t, err)
	return secret, g
}

func TestWebSession(t *testing.T) { // WM6, AU9
	d, _ := open(t, Options{Failures: quick})
	ctx, ana := t.Context(), addr("ana@example.org")
	now := grantTime
	redeem := func(secret string, at time.Time) error {
		u, g, err := d.Redeem(ctx, secret, WebSession, 0, at)
		if err == nil && (u.Address != addr("Ana@example.org") || g.Kind != WebSession) {
			t.Errorf("stands for %v, %+v", u.Address, g)
		}
		if err != nil {
			want(t, err, postino.Denied, ErrGrant.Error())
		}
		return err
	}
	secret, g := signIn(t, d, NewGrant{Kind: WebSession, Name: "Firefox", Remote: netip.MustParseAddr("192.0.2.7")}, now)
	if len(secret) != len(tokenPrefix)+43 || g.Name != "Firefox" || g.Remote != "192.0.2.7" {
		t.Errorf("%q %+v", secret, g)
	}
	if !g.Recent(now.Add(9*time.Minute)) || g.Recent(now.Add(10*time.Minute)) || g.Recent(now.Add(-time.Minute)) {
		t.Error("a login is recent for ten minutes")
	}
	// Its use keeps it alive, 12 hours of rest end it, and 30 days.
	for at := now; at.Before(now.Add(30 * 24 * time.Hour)); at = at.Add(11 * time.Hour) {
		if err := redeem(secret, at); err != nil {
			t.Fatal(at, err)
		}
	}
	if redeem(secret, now.Add(30*24*time.Hour)) == nil {
		t.Error("a session outlived 30 days")
	}
	idle, _ := signIn(t, d, NewGrant{Kind: WebSession}, now)
	if redeem(idle, now.Add(12*time.Hour)) == nil {
		t.Error("a session outlived 12 hours without use")
	}

	// Others and other kinds are one answer.
	token, _ := signIn(t, d, NewGrant{Kind: AccessToken, Services: ServiceIMAP}, now)
	for _, wrong := range []string{"", "x", tokenPrefix, secret + "x", strings.ToUpper(secret), token} {
		if redeem(wrong, now) == nil {
			t.Errorf("%q opens", wrong)
		}
	}

	// To prove it again gives another secret.
	secret, _ = signIn(t, d, NewGrant{Kind: WebSession}, now)
	u, err := logIn(d, "ana", "correct horse")
	ok(t, err)
	later := now.Add(time.Hour)
	renewed, g, err := d.Renew(ctx, secret, u, later)
	ok(t, err)
	if redeem(secret, later) == nil || redeem(renewed, later) != nil || !g.Recent(later) {
		t.Error("the old secret lives, the new one does not, or it is not recent")
	}
	bob := addUser(t, d, NewUser{Address: addr("ben@example.org"), Password: "correct horse"})
	if _, _, err := d.Renew(ctx, renewed, bob, later); !errors.Is(err, ErrGrant) {
		t.Error("somebody else renewed it:", err)
	}

	// It ends with the password, one by one, all together, and with the user.
	ok(t, d.SetPassword(ctx, ana, "battery staple"))
	if redeem(renewed, later) == nil {
		t.Error("it outlived the password")
	}
	u, err = logIn(d, "ana", "battery staple")
	ok(t, err)
	var secrets [3]string
	var ids [3]uint64
	for i := range secrets {
		secrets[i], g, err = d.Grant(ctx, u, NewGrant{Kind: WebSession}, later)
		ok(t, err)
		ids[i] = g.ID
	}
	n, err := d.Revoke(ctx, ana, ids[0])
	ok(t, err)
	if n != 1 || redeem(secrets[0], later) == nil || redeem(secrets[1], later) != nil {
		t.Error("ended", n)
	}
	_, err = d.Revoke(ctx, ana, ids[0])
	want(t, err, postino.NotFound, "")
	list, err := d.Grants(ctx, ana, later)
	ok(t, err)
	if n, err = d.Revoke(ctx, ana, 0); err != nil || n < len(list) || redeem(secrets[1], later) == nil || redeem(secrets[2], later) == nil {
		t.Error("ended", n, err)
	}
	secret, _, err = d.Grant(ctx, u, NewGrant{Kind: WebSession}, later)
	ok(t, err)
	ok(t, d.RemoveUser(ctx, ana))
	if redeem(secret, later) == nil {
		t.Error("it outlived the user")
	}
}

func countRows(t *testing.T, db *memory) (n int) {
	ok(t, db.View(t.Context(), nil, func(r kv.Reader) error {
		return r.Scan(kv.Range{}, func(_, _ []byte) bool { n++; return true })
	}))
	return n
}

func TestGrantsAreBounded(t *testing.T) { // G10
	d, db := open(t, Options{Failures: quick})
	ctx := t.Context()
	u, err := logIn(d, "ana", "correct horse")
	ok(t, err)
	before := countRows(t, db)
	var first, second string
	for i := range MaxGrants + 1 {
		now := grantTime.Add(time.Duration(i) * time.Second)
		secret, _, err := d.Grant(ctx, u, NewGrant{Kind: WebSession}, now)
		ok(t, err)
		switch i {
		case 0:
			first = secret
		case 1:
			second = secret
		}
	}
	at := grantTime.Add(time.Hour)
	if _, _, err := d.Redeem(ctx, first, WebSession, 0, at); !errors.Is(err, ErrGrant) {
		t.Error("the oldest is still there:", err)
	}
	if _, _, err := d.Redeem(ctx, second, WebSession, 0, at); err != nil {
		t.Error(err)
	}
	list, err := d.Grants(ctx, addr("ana@example.org"), at)
	ok(t, err)
	if len(list) != MaxGrants {
		t.Errorf("%d grants", len(list))
	}
	// What has ended leaves nothing.
	_, _, err = d.Grant(ctx, u, NewGrant{Kind: AccessToken, Services: AllServices}, grantTime.Add(40*24*time.Hour))
	ok(t, err)
	if n := countRows(t, db) - before; n != 2 {
		t.Errorf("%d rows for one grant", n)
	}
	for _, bad := range []NewGrant{
		{}, {Kind: 3}, {Kind: AccessToken}, {Kind: AccessToken, Services: 128}, {Kind: WebSession, Name: "a\nb"}, {Kind: WebSession, Name: strings.Repeat("x", 256)},
		{Kind: AccessToken, Services: ServiceIMAP, Life: MaxTokenLife + 1}, {Kind: AccessToken, Services: ServiceIMAP, Life: -1},
	} {
		_, _, err := d.Grant(ctx, u, bad, grantTime)
		want(t, err, postino.Invalid, "")
	}
}

func TestOwnTokens(t *testing.T) { // AU7, AU8
	d, _ := open(t, Options{Failures: quick, OwnTokens: true})
	ctx, ana := t.Context(), addr("ana@example.org")
	client, server := connection(t, nil, nil)
	login := func(m, user, token string) (User, error) {
		p := saslPeer{server: server}
		p.User, p.Token, p.TLS = user, token, client
		return over(d, m, p)
	}
	now := time.Now()
	token, g := signIn(t, d, NewGrant{Kind: AccessToken, Services: ServiceIMAP}, now)
	smtp, _ := signIn(t, d, NewGrant{Kind: AccessToken, Services: ServiceSMTP}, now)
	old, _ := signIn(t, d, NewGrant{Kind: AccessToken, Services: ServiceIMAP, Life: time.Minute}, now.Add(-time.Hour))
	session, _ := signIn(t, d, NewGrant{Kind: WebSession}, now)
	for _, m := range []string{"OAUTHBEARER", "XOAUTH2"} {
		u, err := login(m, "ana@example.org", token)
		ok(t, err)
		if u.Address != addr("Ana@example.org") {
			t.Error(u.Address)
		}
		for what, c := range map[string][2]string{
			"another user": {"bob@example.org", token}, "another service": {"ana@example.org", smtp}, "expired": {"ana@example.org", old},
			"a session": {"ana@example.org", session}, "nonsense": {"ana@example.org", tokenPrefix + "x"}, "foreign": {"ana@example.org", "eyJ"},
		} {
			if _, err := login(m, c[0], c[1]); !errors.Is(err, ErrCredentials) {
				t.Errorf("%s, %s: %v", m, what, err)
			}
		}
	}
	u, err := login("OAUTHBEARER", "ana@example.org", token)
	ok(t, err)
	stays := func(p Pass) bool {
		may, err := d.Stays(ctx, p)
		ok(t, err)
		return may
	}
	if !stays(u.Pass) {
		t.Error("may not stay")
	}
	// A token that was asked for in a session ends with the session.
	su, _, err := d.Redeem(ctx, session, WebSession, 0, now)
	ok(t, err)
	inner, _, err := d.Grant(ctx, su, NewGrant{Kind: AccessToken, Services: ServiceIMAP}, now)
	ok(t, err)
	iu, err := login("OAUTHBEARER", "ana@example.org", inner)
	ok(t, err)
	if !stays(iu.Pass) {
		t.Error("may not stay")
	}
	_, err = d.Revoke(ctx, ana, g.ID)
	ok(t, err)
	if stays(u.Pass) || !stays(iu.Pass) {
		t.Error("a revoked token holds, or another one does not")
	}
	ok(t, d.SetPassword(ctx, ana, "battery staple"))
	if stays(iu.Pass) {
		t.Error("it outlived the password that the session stood on")
	}
	if _, err := login("OAUTHBEARER", "ana@example.org", inner); !errors.Is(err, ErrCredentials) {
		t.Error(err)
	}
}

func TestNotices(t *testing.T) { // AU9
	var told []string
	d, _ := open(t, Options{Failures: quick, Notify: func(_ context.Context, n Notice) {
		told = append(told, n.Kind.String()+" "+n.User.Address.String()+" "+n.Name)
	}})
	ctx, ana := t.Context(), addr("ana@example.org")
	_, _, err := d.AddAppPassword(ctx, ana, "phone", ServiceIMAP)
	ok(t, err)
	ok(t, d.RemoveAppPassword(ctx, ana, 1))
	want(t, d.RemoveAppPassword(ctx, ana, 1), postino.NotFound, "")
	signIn(t, d, NewGrant{Kind: AccessToken, Name: "script", Services: ServiceIMAP}, grantTime)
	signIn(t, d, NewGrant{Kind: WebSession}, grantTime)
	ok(t, d.SetPassword(ctx, ana, "battery staple"))
	wanted := "app-password Ana@example.org phone|app-password-removed Ana@example.org phone|token Ana@example.org script|password Ana@example.org "
	if got := strings.Join(told, "|"); got != wanted {
		t.Errorf("told %q", got)
	}
}

// TestFamiliarNetworks: while somebody guesses, the networks that the user came
// from go on unhindered, after a restart too (AU3).
func TestFamiliarNetworks(t *testing.T) {
	f := FailureLimits{MinDelay: 1, MaxDelay: 300 * time.Millisecond, PerNetwork: 1000, PerAccount: 3}
	first, db := open(t, Options{Failures: f})
	home := netip.MustParseAddr("2001:db8:7::5")
	from := func(d *Directory, a netip.Addr, password string) error {
		_, err := d.Authenticate(t.Context(), Credentials{User: "ana", Password: password, Service: ServiceIMAP, Remote: a, Secure: true})
		return err
	}
	err := from(first, home, "correct horse")
	ok(t, err)
	d := New(db, Options{Failures: f, Argon2: cheap}) // as after a restart
	defer d.Close()
	for i := range 5 {
		if err := from(d, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), "guess"+string(rune('a'+i))); !errors.Is(err, ErrCredentials) {
			t.Fatal(err)
		}
	}
	// What is asked is which wait was chosen, and not how long it took.
	l, err := d.login(t.Context(), "ana")
	ok(t, err)
	for _, c := range []struct {
		net  netip.Addr
		want time.Duration
	}{{home, 0}, {netip.MustParseAddr("2001:db8:7::9"), 0}, {netip.MustParseAddr("2001:db8:8::5"), f.MaxDelay}, {netip.MustParseAddr("198.51.100.200"), f.MaxDelay}} {
		a := &attempt{d: d, net: network(c.net), login: l}
		if wait, ok := a.admit(t.Context()); !ok || wait != c.want {
			t.Errorf("%v waits %v", c.net, wait)
		}
	}
	// They are few, the oldest go, and with the user all.
	ctx := t.Context()
	now := time.Now()
	for i := range 2 * maxFamiliar {
		d.keepNetwork(ctx, l.user.ID, network(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})), now.Add(time.Duration(i)*time.Second))
	}
	n := 0
	count := func() int {
		n = 0
		ok(t, d.view(ctx, func(r kv.Reader) error { return scanFamiliar(r, l.user.ID, func([]byte, uint64) { n++ }) }))
		return n
	}
	if count() != maxFamiliar {
		t.Errorf("%d networks are kept", n)
	}
	if d.knowsNetwork(ctx, l, network(netip.MustParseAddr("203.0.113.127")), now.Add(familiarLife+time.Hour)) {
		t.Error("known for ever")
	}
	ok(t, d.RemoveUser(ctx, addr("ana@example.org")))
	if count() != 0 {
		t.Errorf("%d networks outlived the user", n)
	}
}
