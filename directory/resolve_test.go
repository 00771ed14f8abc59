package directory

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"pgregory.net/rapid"
)

// answer writes a resolution as "account+detail<via …" or the kind of error.
func answer(t testing.TB, d *Directory, a postino.Address) string {
	t.Helper()
	r, err := d.Resolve(t.Context(), a)
	if err != nil {
		return postino.KindOf(err).String()
	}
	if r.Relay != nil {
		return "relay " + r.Relay.Name
	}
	if !r.Local {
		return "foreign"
	}
	var parts []string
	for _, x := range r.Targets {
		s := x.User.Local
		if x.Detail != "" {
			s += "+" + x.Detail
		}
		if !x.Via.IsNull() {
			s += "<" + name(x.Via)
		}
		parts = append(parts, s)
	}
	for _, f := range r.Forwards {
		parts = append(parts, "to "+f.Address.String()+"<"+name(f.Via))
	}
	return strings.Join(parts, " ")
}

func TestResolve(t *testing.T) { // SS18, SS19, SS20
	d, _ := open(t, Options{})
	ctx := t.Context()
	ok(t, d.AddDomain(ctx, Domain{Name: "old.example", Separator: NoSeparator}))
	ok(t, d.AddDomain(ctx, Domain{Name: "all.example", Separator: "-"}))
	ok(t, d.AddDomain(ctx, Domain{Name: "Bücher.example"}))
	ok(t, d.AddDomain(ctx, Domain{Name: "off.example", Disabled: true}))
	addUser(t, d, NewUser{Address: addr("jörg@bücher.example")})
	ok(t, d.SetAlias(ctx, Alias{Address: addr("sales@example.org"), Targets: []postino.Address{addr("bob@example.org"), addr("ana+orders@example.org")}}))
	ok(t, d.SetAlias(ctx, Alias{Address: addr("info@example.org"), Targets: []postino.Address{addr("sales@example.org"), addr("bob@example.org")}}))
	ok(t, d.SetAlias(ctx, Alias{Address: addr("@old.example"), Targets: []postino.Address{addr("@example.org")}}))
	ok(t, d.UpdateDomain(ctx, "all.example", func(x *Domain) { x.CatchAll = addr("bob@example.org") }))
	for _, c := range []struct{ in, want string }{
		{"ana@example.org", "Ana"},
		{"ANA@EXAMPLE.org", "Ana"},
		{`"ana"@example.org`, "Ana"},
		{"ana+lists@example.org", "Ana+lists"},
		{"ana+Lists+x@example.org", "Ana+Lists+x"},
		{"ana+@example.org", "Ana"},
		{"+x@example.org", "not found"},
		{"ana-lists@example.org", "not found"},
		{"carl@example.org", "not found"},
		{"ana@elsewhere.example", "foreign"},
		{"ana%elsewhere.example@example.org", "not found"},
		{"elsewhere.example!ana@example.org", "not found"},
		{`"ana@elsewhere.example"@example.org`, "not found"},
		{"sales@example.org", "bob<sales@example.org Ana+orders<sales@example.org"},
		{"sales+x@example.org", "bob+x<sales@example.org Ana+orders<sales@example.org"},
		{"info@example.org", "bob<info@example.org Ana+orders<info@example.org"},
		{"bob@old.example", "bob<@old.example"},
		{"bob+x@old.example", "bob+x<@old.example"},
		{"carl@old.example", "not found"},
		{"whoever@all.example", "bob<@all.example"},
		{"JÖRG@bücher.example", "jörg"},
		{"jo\u0308rg@bücher.example", "jörg"},
		{"ana@off.example", "denied"},
		// RFC 5321 §4.5.1
		{"postmaster", "Ana<postmaster"},
		{"PostMaster@example.org", "Ana<PostMaster@example.org"},
		{"postmaster@old.example", "Ana<@old.example"},
		{"postmaster-x@all.example", "Ana<postmaster-x@all.example"},
	} {
		for range 2 { // from the store, then from the cache
			if got := answer(t, d, addr(c.in)); got != c.want {
				t.Errorf("%s leads to %q, want %q", c.in, got, c.want)
			}
		}
	}
}

func TestPostmaster(t *testing.T) {
	db := newMemory()
	d := New(db, Options{Argon2: cheap})
	defer d.Close()
	ctx := t.Context()
	if got := answer(t, d, addr("postmaster")); got != "temporary failure" {
		t.Errorf("without users: %s", got)
	}
	ok(t, d.AddDomain(ctx, Domain{Name: "example.org"}))
	addUser(t, d, NewUser{Address: addr("u@example.org")})
	step := func(want string) {
		t.Helper()
		for _, a := range []string{"postmaster", "postmaster@example.org"} {
			if got, _, _ := strings.Cut(answer(t, d, addr(a)), "<"); got != want {
				t.Errorf("%s leads to %s, want %s", a, got, want)
			}
		}
	}
	step("u")
	addUser(t, d, NewUser{Address: addr("off@example.org"), Role: RoleAdmin, Disabled: true})
	step("off")
	addUser(t, d, NewUser{Address: addr("admin@example.org"), Role: RoleAdmin})
	step("admin")
	ok(t, d.SetAlias(ctx, Alias{Address: addr("postmaster@example.org"), Targets: []postino.Address{addr("u@example.org")}}))
	step("u")
	ok(t, d.RemoveAlias(ctx, addr("Postmaster@example.org")))
	_, err := d.UpdateUser(ctx, addr("admin@example.org"), func(u *User) { u.Role = RoleUser })
	ok(t, err)
	step("off")
}

func TestAliasLoops(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	ok(t, d.AddDomain(ctx, Domain{Name: "a.example"}))
	ok(t, d.AddDomain(ctx, Domain{Name: "b.example"}))
	set := func(from string, to ...string) error {
		var targets []postino.Address
		for _, s := range to {
			targets = append(targets, addr(s))
		}
		return d.SetAlias(ctx, Alias{Address: addr(from), Targets: targets})
	}
	want(t, set("x@example.org"), postino.Invalid, "0 targets")
	want(t, set("x@example.org", "x@example.org"), postino.Invalid, "loop")
	want(t, set("x@example.org", "x+y@example.org"), postino.Invalid, "loop")
	want(t, set("x@example.org", "nobody@example.org"), postino.Invalid, "no such recipient")
	want(t, set("x@example.org", "bob@example.org", "nobody@example.org"), postino.Invalid, "no such recipient")
	want(t, set("x@example.org", "@elsewhere.example"), postino.Invalid, "no address")
	want(t, set("bob@example.org", "ana@example.org"), postino.Conflict, "user")
	want(t, set("x@elsewhere.example", "bob@example.org"), postino.NotFound, "no such domain")
	ok(t, set("x@example.org", "bob@example.org"))
	ok(t, set("y@example.org", "x@example.org"))
	want(t, set("x@example.org", "bob@example.org", "y@example.org"), postino.Invalid, "loop")

	ok(t, set("@a.example", "@b.example"))
	want(t, set("@b.example", "@a.example"), postino.Invalid, "loop")
	want(t, set("@b.example", "bob@example.org"), postino.Invalid, "whole domain")
	want(t, set("x@b.example", "x@a.example"), postino.Invalid, "loop")
	ok(t, set("x@b.example", "bob@example.org"))
	ok(t, set("z@example.org", "x@a.example"))
	want(t, set("x@b.example", "z@example.org"), postino.Invalid, "loop")
	want(t, d.UpdateDomain(ctx, "b.example", func(x *Domain) { x.CatchAll = addr("q@a.example") }), postino.Invalid, "loop")
	ok(t, d.UpdateDomain(ctx, "b.example", func(x *Domain) { x.CatchAll = addr("bob@example.org") }))
	if got := answer(t, d, addr("q@a.example")); got != "bob<@a.example" {
		t.Errorf("catch-all behind the alias of a domain: %s", got)
	}

	// The alias of a domain that closes a loop over aliases that exist.
	ok(t, d.RemoveAlias(ctx, addr("z@example.org")))
	ok(t, d.RemoveAlias(ctx, addr("@a.example")))
	addUser(t, d, NewUser{Address: addr("w@a.example")})
	ok(t, set("v@b.example", "w@a.example"))
	ok(t, set("v@a.example", "v@b.example"))
	ok(t, set("@a.example", "@b.example"))

	at := "ana@example.org"
	for i := range MaxDepth {
		next := fmt.Sprintf("deep%d@example.org", i)
		ok(t, set(next, at))
		at = next
	}
	want(t, set("deeper@example.org", at), postino.Invalid, "steps")
}

// Loops that a change elsewhere makes are passed over, and mail to the other
// members goes on.
func TestLoopMadeBySeparator(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	ok(t, d.AddDomain(ctx, Domain{Name: "s.example", Separator: NoSeparator}))
	addUser(t, d, NewUser{Address: addr("l+x@s.example")})
	ok(t, d.SetAlias(ctx, Alias{Address: addr("l@s.example"), Targets: []postino.Address{addr("l+x@s.example"), addr("bob@example.org")}}))
	u, err := d.User(ctx, addr("l+x@s.example"))
	ok(t, err)
	ok(t, d.update(ctx, nil, func(tx kv.Tx) error { // as if it had been removed
		return tx.Delete(entryKey(u.Address.Domain, u.Address.Local))
	}))
	ok(t, d.UpdateDomain(ctx, "s.example", func(x *Domain) { x.Separator = "" }))
	if got := answer(t, d, addr("l@s.example")); got != "bob<l@s.example" {
		t.Errorf("leads to %s", got)
	}
}

func TestTooWide(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	var all []postino.Address
	ok(t, d.update(ctx, nil, func(tx kv.Tx) error {
		for i := range MaxTargets + 1 {
			u := record{User: User{ID: uint64(100 + i), Address: postino.Address{Local: fmt.Sprintf("u%d", i), Domain: "example.org"}}}
			ok(t, setEntry(tx, u.Address, entry{User: u.ID}))
			ok(t, putUser(tx, u))
			all = append(all, u.Address)
		}
		return nil
	}))
	want(t, d.SetAlias(ctx, Alias{Address: addr("all@example.org"), Targets: all}), postino.Invalid, "1001 targets")
	ok(t, d.SetAlias(ctx, Alias{Address: addr("most@example.org"), Targets: all[:MaxTargets]}))
	want(t, d.SetAlias(ctx, Alias{Address: addr("all@example.org"), Targets: []postino.Address{addr("most@example.org"), all[MaxTargets]}}),
		postino.Invalid, "more than 1000")
}

// Another process that shares the store changes it: the watch tells.
func TestCachesFollowTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, db := open(t, Options{})
		other := New(db, Options{Argon2: cheap})
		defer other.Close()
		if got := answer(t, d, addr("carl@example.org")); got != "not found" {
			t.Fatal(got)
		}
		addUser(t, other, NewUser{Address: addr("carl@example.org")})
		synctest.Wait()
		if got := answer(t, d, addr("carl@example.org")); got != "carl" {
			t.Errorf("the new user is %s", got)
		}
	})
}

func TestStoreErrorsAreNotCached(t *testing.T) {
	d, db := open(t, Options{})
	db.mu.Lock()
	db.fail = errors.New("disk on fire")
	db.mu.Unlock()
	if _, err := d.Resolve(t.Context(), addr("ana@example.org")); !errors.Is(err, db.fail) {
		t.Errorf("error is %v", err)
	}
	db.mu.Lock()
	db.fail = nil
	db.mu.Unlock()
	if got := answer(t, d, addr("ana@example.org")); got != "Ana" {
		t.Errorf("leads to %s", got)
	}
}

func TestFoldIsOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "local")
		once := fold(s)
		if fold(once) != once {
			t.Fatalf("fold(%q) = %q, again %q", s, once, fold(once))
		}
		if fold(strings.ToLower(s)) != once {
			t.Fatalf("lower case of %q folds differently", s)
		}
	})
}

// Domains that AcceptAny leaves to others are foreign, also as the targets of
// aliases, while all others stay open to everybody.
func TestAcceptAnyForeign(t *testing.T) {
	d, _ := open(t, Options{AcceptAny: &AcceptAny{Foreign: func(domain string) bool { return domain == "far.test" }}})
	ctx := t.Context()
	if err := d.AddDomain(ctx, Domain{Name: "localhost"}); err != nil {
		t.Fatal(err)
	}
	far := postino.Address{Local: "ana", Domain: "far.test"}
	alias := postino.Address{Local: "away", Domain: "localhost"}
	if err := d.SetAlias(ctx, Alias{Address: alias, Targets: []postino.Address{far}}); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Resolve(ctx, far); err != nil || r.Local || r.Relay != nil {
		t.Errorf("a foreign address resolves to %+v, %v", r, err)
	}
	if r, err := d.Resolve(ctx, alias); err != nil || !r.Local || len(r.Targets) != 0 || len(r.Forwards) != 1 || r.Forwards[0].Address != far {
		t.Errorf("the alias resolves to %+v, %v", r, err)
	}
	if r, err := d.Resolve(ctx, postino.Address{Local: "x", Domain: "any.test"}); err != nil || len(r.Targets) != 1 {
		t.Errorf("any other address resolves to %+v, %v", r, err)
	}
}

func TestAcceptAny(t *testing.T) {
	made := map[uint64]string{}
	d, _ := open(t, Options{
		AcceptAny: &AcceptAny{Password: "dev"},
		Accounts: AccountHooks{
			Scopes: func(id uint64) []kv.Scope { return []kv.Scope{kv.Scope(fmt.Sprint("a/", id))} },
			Create: func(_ kv.Tx, u User) error { made[u.ID] = u.Address.String(); return nil },
		},
	})
	for in, want := range map[string]string{
		"someone@shop.test": "someone", "Some.One+news@shop.test": "some.one+news", "ana@example.org": "Ana",
		`"a b"@shop.test`: "a b", "x@[127.0.0.1]": "x", "postmaster": "Ana<postmaster@example.org",
	} {
		if got := answer(t, d, addr(in)); got != want {
			t.Errorf("%s leads to %s, want %s", in, got, want)
		}
	}
	if len(made) != 6 {
		t.Errorf("accounts made: %v", made)
	}
	u, err := d.Authenticate(t.Context(), Credentials{User: "someone@shop.test", Password: "dev", Service: ServiceIMAP})
	ok(t, err)
	if made[u.ID] != "someone@shop.test" {
		t.Errorf("logged in as %v", u)
	}
	u, err = d.Authenticate(t.Context(), Credentials{User: "dev", Password: "dev", Service: ServiceIMAP})
	ok(t, err)
	if u.Address != addr("dev@localhost") {
		t.Errorf("logged in as %v", u)
	}
	_, err = d.Authenticate(t.Context(), Credentials{User: "dev", Password: "wrong"})
	want(t, err, postino.Denied, ErrCredentials.Error())
}

func BenchmarkResolve(b *testing.B) {
	d, _ := open(b, Options{})
	a := addr("ana+lists@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Resolve(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}
