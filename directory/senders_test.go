package directory

import (
	"errors"
	"testing"

	"github.com/postino-mail/postino"
)

func TestMaySendAs(t *testing.T) { // SS22, AU8
	d, db := open(t, Options{})
	ctx := t.Context()
	const ana, bob, carl = 1, 2, 3 // ana is an administrator
	addUser(t, d, NewUser{Address: addr("carl@example.org")})
	ok(t, d.AddDomain(ctx, Domain{Name: "old.example"}))
	ok(t, d.AddDomain(ctx, Domain{Name: "bob.example", CatchAll: addr("bob@example.org")}))
	ok(t, d.AddDomain(ctx, Domain{Name: "off.example"}))
	ok(t, d.AddDomain(ctx, Domain{Name: "relay.example", Relay: true}))
	addUser(t, d, NewUser{Address: addr("dan@off.example")})
	ok(t, d.UpdateDomain(ctx, "off.example", func(x *Domain) { x.Disabled = true }))
	set := func(members bool, from string, to ...string) {
		t.Helper()
		a := Alias{Address: addr(from), MembersSend: members}
		for _, s := range to {
			a.Targets = append(a.Targets, addr(s))
		}
		ok(t, d.SetAlias(ctx, a))
	}
	set(false, "robert@example.org", "bob@example.org")
	set(false, "rob@example.org", "robert@example.org")
	set(false, "list@example.org", "bob@example.org", "carl@example.org")
	set(true, "team@example.org", "bob@example.org", "carl@example.org")
	set(false, "over@example.org", "list@example.org")
	set(true, "outer@example.org", "list@example.org", "ana@example.org")
	set(false, "copy@example.org", "bob@example.org", "bob@elsewhere.example")
	set(false, "gone@example.org", "bob@elsewhere.example")
	set(false, "@old.example", "@example.org")
	test := func(user uint64, a string, want bool) {
		t.Helper()
		for range 2 {
			if got, err := d.MaySendAs(ctx, user, addr(a)); err != nil || got != want {
				t.Errorf("user %d as %s: %v, %v", user, a, got, err)
			}
		}
	}
	for a, who := range map[string][]uint64{
		"bob@example.org": {bob}, "BOB+x@example.org": {bob}, "robert@example.org": {bob}, "rob+x@example.org": {bob},
		"list@example.org": {}, "team@example.org": {bob, carl}, "over@example.org": {}, "outer@example.org": {ana},
		"copy@example.org": {}, "gone@example.org": {}, "bob@old.example": {bob}, "list@old.example": {}, "nobody@old.example": {},
		"whatever@bob.example": {bob}, "dan@off.example": {}, "x@relay.example": {}, "bob@elsewhere.example": {}, "nobody@example.org": {},
		"postmaster@example.org": {ana},
	} {
		for _, user := range []uint64{0, ana, bob, carl, 4, 99} {
			may := false
			for _, w := range who {
				may = may || w == user
			}
			test(user, a, may)
		}
	}
	if may, err := d.MaySendAs(ctx, bob, postino.Address{}); may || err != nil {
		t.Errorf("as nobody: %v, %v", may, err)
	}

	want(t, d.SetDelegate(ctx, addr("bob@example.org"), addr("bob@example.org"), true), postino.Invalid, "himself")
	want(t, d.SetDelegate(ctx, addr("robert@example.org"), addr("carl@example.org"), true), postino.NotFound, "no such user")
	want(t, d.SetDelegate(ctx, addr("bob@example.org"), addr("nobody@example.org"), true), postino.NotFound, "no such user")
	ok(t, d.SetDelegate(ctx, addr("bob@example.org"), addr("carl@example.org"), true))
	ok(t, d.SetDelegate(ctx, addr("carl@example.org"), addr("ana@example.org"), true))
	test(carl, "bob@example.org", true)
	test(carl, "rob@example.org", true)
	test(carl, "copy@example.org", false)
	test(ana, "carl@example.org", true)
	test(ana, "bob@example.org", false)  // what was delegated to him is not carl's to pass on
	test(ana, "team@example.org", false) // nor is what belongs to several
	list, err := d.Delegates(ctx, addr("bob@example.org"))
	ok(t, err)
	if len(list) != 1 || list[0] != addr("carl@example.org") {
		t.Errorf("delegates of bob: %v", list)
	}
	ok(t, d.SetDelegate(ctx, addr("bob@example.org"), addr("carl@example.org"), false))
	test(carl, "bob@example.org", false)
	ok(t, d.SetDelegate(ctx, addr("bob@example.org"), addr("carl@example.org"), true))
	ok(t, d.RemoveAlias(ctx, addr("outer@example.org")))
	ok(t, d.RemoveAlias(ctx, addr("over@example.org")))
	ok(t, d.RemoveAlias(ctx, addr("list@example.org")))
	ok(t, d.RemoveAlias(ctx, addr("team@example.org")))
	ok(t, d.RemoveUser(ctx, addr("carl@example.org")))
	for k := range db.m {
		if k[1] == 'e' || k[1] == 'f' {
			t.Errorf("%q was left behind", k)
		}
	}
	if list, err := d.Delegates(ctx, addr("bob@example.org")); err != nil || len(list) != 0 {
		t.Errorf("delegates of bob: %v, %v", list, err)
	}
}

// An error of the store is no answer, neither now nor later.
func TestMaySendAsStoreError(t *testing.T) {
	d, db := open(t, Options{})
	db.mu.Lock()
	db.fail = errors.New("disk on fire")
	db.mu.Unlock()
	if _, err := d.MaySendAs(t.Context(), 1, addr("ana@example.org")); !errors.Is(err, db.fail) {
		t.Errorf("error is %v", err)
	}
	db.mu.Lock()
	db.fail = nil
	db.mu.Unlock()
	if may, err := d.MaySendAs(t.Context(), 1, addr("ana@example.org")); !may || err != nil {
		t.Errorf("%v, %v", may, err)
	}
}

// With AcceptAny nothing leads elsewhere, and everybody may everything.
func TestAcceptAnyRouting(t *testing.T) {
	d, _ := open(t, Options{AcceptAny: &AcceptAny{}})
	ctx := t.Context()
	ok(t, d.AddDomain(ctx, Domain{Name: "relay.example", Relay: true}))
	ok(t, d.SetAlias(ctx, Alias{Address: addr("both@example.org"), Targets: []postino.Address{addr("bob@example.org"), addr("x+y@elsewhere.example"), addr("z@relay.example")}}))
	for in, want := range map[string]string{
		"both@example.org": "bob<both@example.org x+y<both@example.org z<both@example.org", "q@relay.example": "q",
	} {
		if got := answer(t, d, addr(in)); got != want {
			t.Errorf("%s leads to %s, want %s", in, got, want)
		}
	}
	if may, err := d.MaySendAs(ctx, 99, addr("x@elsewhere.example")); !may || err != nil {
		t.Errorf("%v, %v", may, err)
	}
}
