package directory

import (
	"crypto"
	"flag"
	"net/netip"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/sasl"
)

var keepSample = flag.Bool("keep", false, "write testdata/store-v4.txt anew")

// readStore loads a store that an earlier version of the program wrote.
func readStore(t *testing.T, file string) *Directory {
	t.Helper()
	text, err := os.ReadFile(file)
	ok(t, err)
	db := newMemory()
	for line := range strings.Lines(string(text)) {
		k, err := strconv.QuotedPrefix(line)
		ok(t, err)
		v, err := strconv.Unquote(strings.TrimSpace(line[len(k):]))
		ok(t, err)
		k, err = strconv.Unquote(k)
		ok(t, err)
		db.m[k] = []byte(v)
	}
	d := New(db, Options{Argon2: cheap})
	t.Cleanup(d.Close)
	return d
}

// Stores of every version so far can be read and changed (ST7).
func TestStoredFormat(t *testing.T) {
	ctx := t.Context()
	if *keepSample {
		keepStore(t, "testdata/store-v4.txt")
	}
	for _, file := range []string{"testdata/store-v1.txt", "testdata/store-v2.txt", "testdata/store-v3.txt", "testdata/store-v4.txt"} {
		d := readStore(t, file)
		u, err := d.Authenticate(ctx, Credentials{User: "ana@example.org", Password: "correct horse"})
		ok(t, err)
		if u.ID != 1 || u.Role != RoleAdmin || u.Created.IsZero() {
			t.Errorf("%s: ana is %+v", file, u)
		}
		if got := answer(t, d, addr("sales@example.org")); got != "bob<sales@example.org Ana+x<sales@example.org" {
			t.Errorf("%s: sales leads to %s", file, got)
		}
		if got := answer(t, d, addr("any@old.example")); got != "bob<@old.example" {
			t.Errorf("%s: the catch-all leads to %s", file, got)
		}
		ok(t, d.UpdateDomain(ctx, "example.org", func(x *Domain) { x.Separator = "-" }))
		if got := answer(t, d, addr("bob-x@example.org")); got != "bob+x" {
			t.Errorf("%s: after a change bob-x leads to %s", file, got)
		}
		if n := addUser(t, d, NewUser{Address: addr("new@example.org")}); n.ID != 3 {
			t.Errorf("%s: the next id is %d", file, n.ID)
		}
	}
	// What version 3 has is there, and comes to the others with the first login (AU1).
	for _, file := range []string{"testdata/store-v1.txt", "testdata/store-v2.txt", "testdata/store-v3.txt", "testdata/store-v4.txt"} {
		d := readStore(t, file)
		try := func() error {
			_, err := over(d, "SCRAM-SHA-256", saslPeer{from: netip.MustParseAddr("127.0.0.1"), ClientOptions: sasl.ClientOptions{User: "ana@example.org", Password: "correct horse"}})
			return err
		}
		d.guard = newGuard(quick)
		if err := try(); (err == nil) != (file >= "testdata/store-v3.txt") {
			t.Errorf("%s: SCRAM: %v", file, err)
		}
		_, err := d.Authenticate(ctx, Credentials{User: "ana@example.org", Password: "correct horse"})
		ok(t, err)
		if err := try(); err != nil {
			t.Errorf("%s: SCRAM after a login: %v", file, err)
		}
	}
	d := readStore(t, "testdata/store-v2.txt")
	if got := answer(t, d, addr("away@example.org")); got != "to ana@elsewhere.example<away@example.org" {
		t.Errorf("away leads to %s", got)
	}
	for in, want := range map[string]string{"known+x@relay.example": "relay relay.example", "other@relay.example": "not found"} {
		if got := answer(t, d, addr(in)); got != want {
			t.Errorf("%s leads to %s", in, got)
		}
	}
	if may, err := d.MaySendAs(ctx, 1, addr("bob@example.org")); err != nil || !may {
		t.Errorf("the delegate: %v, %v", may, err)
	}
	r, err := d.RouteFor(ctx, addr("ana@example.org"), 0, addr("x@sub.example.com"))
	ok(t, err)
	if r == nil || r.Name != "smart" || r.Password != "hush" || r.Action != Smarthost || r.TLS != TLSVerified || len(r.Hosts) != 2 || r.Source[0] != netip.MustParseAddr("192.0.2.9") {
		t.Errorf("the route is %#v", r)
	}
	sent, limits, err := d.SendCounts(ctx, 2, time.Unix(1_700_000_100, 0))
	ok(t, err)
	if sent != (SendLimits{7, 7}) || limits != (SendLimits{10, 2000}) {
		t.Errorf("bob sent %v of %v", sent, limits)
	}
}

// What version 4 has: a domain that seals, and keys in all states that sign as
// they did (MA5).
func TestStoredKeys(t *testing.T) {
	d := readStore(t, "testdata/store-v4.txt")
	dom, err := d.Domain(t.Context(), "example.org")
	ok(t, err)
	if !dom.Seal {
		t.Error("the domain does not seal")
	}
	want := "a-ed25519 retiring, a-rsa retiring, b-ed25519 signing, b-rsa signing, c-ed25519 published, c-rsa planned"
	if got := strings.ReplaceAll(states(t, d, "example.org"), "2026", ""); got != want {
		t.Errorf("the keys are %s", got)
	}
	keys, err := d.SignKeys(t.Context(), "example.org")
	ok(t, err)
	if len(keys) != 2 || keys[0].Selector != "2026b-rsa" || keys[1].Selector != "2026b-ed25519" {
		t.Fatalf("%d keys sign", len(keys))
	}
	list, err := d.DKIMKeys(t.Context(), "example.org")
	ok(t, err)
	for _, k := range list {
		for _, s := range keys {
			if same := k.PublicKey().(interface{ Equal(crypto.PublicKey) bool }).Equal(s.Key.Public()); same != (k.Selector == s.Selector) {
				t.Errorf("the public part of %s is that of %s: %v", k, s.Selector, same)
			}
		}
	}
	if list[4].Ready.IsZero() || list[0].Created.After(list[0].Since) {
		t.Errorf("the times are %+v", list)
	}
}

// It keeps who is trusted, too.
func TestStoredTrust(t *testing.T) {
	list, err := readStore(t, "testdata/store-v4.txt").Trusts(t.Context())
	ok(t, err)
	if len(list) != 1 || list[0] != (Trust{TrustList, "lists.example", time.Unix(1_700_000_000, 0).UTC()}) {
		t.Errorf("trusted are %v", list)
	}
}

// keepKeys makes a domain seal and gives it keys in all states.
func keepKeys(t *testing.T, d *Directory) {
	ctx, net := t.Context(), newNames()
	ok(t, d.UpdateDomain(ctx, "example.org", func(dom *Domain) { dom.Seal = true }))
	k := NewKeeper(d, KeeperOptions{DNS: net})
	for i := range 3 {
		list, err := d.RotateDKIM(ctx, "example.org", time.Now().Add(time.Duration(i)*time.Hour))
		ok(t, err)
		if i == 2 {
			list = list[:1]
		}
		net.publish(list...)
		_, err = k.Check(ctx, "example.org", i < 2)
		ok(t, err)
	}
	old, err := d.DKIMKeys(ctx, "old.example")
	ok(t, err)
	ok(t, d.RemoveDKIM(ctx, "old.example", old[0].Selector, time.Now()))
}

// keepStore writes a store with a record of every kind.
func keepStore(t *testing.T, file string) {
	d, db := open(t, Options{Legacy: []string{"CRAM-MD5", "DIGEST-MD5"}, Realm: "mx.example.org", DKIM: new(DKIM)})
	ctx := t.Context()
	_, err := d.UpdateUser(ctx, addr("bob@example.org"), func(u *User) { u.Sends.Hour = 10 })
	ok(t, err)
	ok(t, d.AddDomain(ctx, Domain{Name: "old.example", Separator: "-", CatchAll: addr("bob@example.org")}))
	keepKeys(t, d)
	ok(t, d.AddDomain(ctx, Domain{Name: "relay.example", Relay: true, Recipients: ListedRecipients}))
	_, err = d.SetRelayRecipients(ctx, "relay.example", []postino.Address{addr("Known@relay.example")}, true)
	ok(t, err)
	ok(t, d.SetAlias(ctx, Alias{Address: addr("sales@example.org"), MembersSend: true, Targets: []postino.Address{addr("bob@example.org"), addr("Ana+x@example.org")}}))
	ok(t, d.SetAlias(ctx, Alias{Address: addr("away@example.org"), Targets: []postino.Address{addr("ana@elsewhere.example")}}))
	ok(t, d.SetDelegate(ctx, addr("bob@example.org"), addr("ana@example.org"), true))
	ok(t, d.AddTrust(ctx, Trust{TrustList, "lists.example", time.Unix(1_700_000_000, 0).UTC()}))
	ok(t, d.SetRoute(ctx, Route{Name: "spare", Domain: "*"}))
	ok(t, d.SetRoute(ctx, Route{Name: "smart", Domain: ".example.com", Sender: "ana@example.org", Action: Smarthost, Hosts: []string{"a.example", "[2001:db8::1]:26"},
		TLS: TLSVerified, User: "u", Password: "hush", Source: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, Helo: "h.example",
		Fallback: "spare", Connections: 3, PerConnection: 4}))
	_, _, err = d.AddAppPassword(ctx, addr("ana@example.org"), "phone", AllServices)
	ok(t, err)
	d.touch(ctx, appKey{1, 1}, time.Unix(1_700_000_000, 0))
	ok(t, d.TakeSend(ctx, 2, 7, time.Unix(1_700_000_000, 0)))
	var keys []string
	for k := range db.m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(strconv.Quote(k) + " " + strconv.Quote(string(db.m[k])) + "\n")
	}
	ok(t, os.WriteFile(file, []byte(b.String()), 0o644))
}
