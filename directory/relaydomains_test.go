package directory

import (
	"fmt"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Aliases lead elsewhere, over other aliases and past each other.
func TestForwards(t *testing.T) { // SS18
	d, _ := open(t, Options{})
	ctx := t.Context()
	set := func(from string, to ...string) error {
		var targets []postino.Address
		for _, s := range to {
			targets = append(targets, addr(s))
		}
		return d.SetAlias(ctx, Alias{Address: addr(from), Targets: targets})
	}
	ok(t, d.AddDomain(ctx, Domain{Name: "moved.example"}))
	ok(t, d.AddDomain(ctx, Domain{Name: "catch.example", CatchAll: addr("All@elsewhere.example")}))
	ok(t, d.AddDomain(ctx, Domain{Name: "relay.example", Relay: true, Recipients: ListedRecipients}))
	_, err := d.SetRelayRecipients(ctx, "relay.example", []postino.Address{addr("known@relay.example")}, true)
	ok(t, err)
	ok(t, set("away@example.org", "Ana@elsewhere.example"))
	ok(t, set("both@example.org", "bob@example.org", "away@example.org", "Ana@elsewhere.example", "ana@elsewhere.example"))
	ok(t, set("literal@example.org", "x@[192.0.2.1]"))
	ok(t, set("inner@example.org", "known@relay.example"))
	ok(t, set("virtual@relay.example", "bob@example.org"))
	ok(t, set("@moved.example", "@elsewhere.example"))
	want(t, set("bad@example.org", "unknown@relay.example"), postino.Invalid, "no such recipient")
	want(t, set("bad@example.org", "nobody@example.org", "x@elsewhere.example"), postino.Invalid, "no such recipient")
	want(t, set("@moved.example", "@"), postino.Invalid, "no domain")
	for _, c := range []struct{ in, want string }{
		{"away@example.org", "to Ana@elsewhere.example<away@example.org"},
		{"away+x@example.org", "to Ana@elsewhere.example<away@example.org"},
		{"both@example.org", "bob<both@example.org to Ana@elsewhere.example<both@example.org to ana@elsewhere.example<both@example.org"},
		{"literal@example.org", "to x@[192.0.2.1]<literal@example.org"},
		{"inner@example.org", "to known@relay.example<inner@example.org"},
		{"virtual@relay.example", "bob<virtual@relay.example"},
		{"virtual+x@relay.example", "bob+x<virtual@relay.example"},
		{"Who@moved.example", "to Who@elsewhere.example<@moved.example"},
		{"who@catch.example", "to All@elsewhere.example<@catch.example"},
		{"known@relay.example", "relay relay.example"},
		{"Known+x@relay.example", "relay relay.example"},
		{"Postmaster@relay.example", "relay relay.example"},
		{"other@relay.example", "not found"},
		{"postmaster", "Ana<postmaster"},
		{"x@elsewhere.example", "foreign"},
	} {
		for range 2 {
			if got := answer(t, d, addr(c.in)); got != c.want {
				t.Errorf("%s leads to %q, want %q", c.in, got, c.want)
			}
		}
	}

	var wide []postino.Address
	for i := range MaxTargets {
		wide = append(wide, addr(fmt.Sprintf("u%d@elsewhere.example", i)))
	}
	ok(t, d.SetAlias(ctx, Alias{Address: addr("wide@example.org"), Targets: wide}))
	want(t, set("wider@example.org", "wide@example.org", "bob@example.org"), postino.Invalid, "more than 1000")
}

func TestRelayDomains(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	ok(t, d.AddDomain(ctx, Domain{Name: "relay.example", Relay: true}))
	if got := answer(t, d, addr("whoever@relay.example")); got != "relay relay.example" {
		t.Errorf("any recipient: %s", got)
	}
	r, err := d.Resolve(ctx, addr("whoever@relay.example"))
	if ok(t, err); r.Local || r.Relay.Recipients != AnyRecipient {
		t.Errorf("resolution is %+v", r)
	}
	change := func(f func(*Domain)) error { return d.UpdateDomain(ctx, "relay.example", f) }
	want(t, change(func(x *Domain) { x.Relay, x.Recipients = false, ListedRecipients }), postino.Invalid, "only a relay domain")
	want(t, change(func(x *Domain) { x.Recipients = 9 }), postino.Invalid, "no such way")
	want(t, change(func(x *Domain) { x.CatchAll = addr("bob@example.org") }), postino.Invalid, "list its recipients first")
	whole := Alias{Address: addr("@relay.example"), Targets: []postino.Address{addr("@example.org")}}
	want(t, d.SetAlias(ctx, whole), postino.Invalid, "list its recipients first")
	ok(t, change(func(x *Domain) { x.Recipients = ListedRecipients }))
	ok(t, d.SetAlias(ctx, whole))
	want(t, change(func(x *Domain) { x.Recipients = CallAhead }), postino.Invalid, "alias @relay.example")
	if got := answer(t, d, addr("bob@relay.example")); got != "bob<@relay.example" {
		t.Errorf("unlisted, known behind the alias: %s", got)
	}
	ok(t, d.RemoveAlias(ctx, addr("@relay.example")))

	set := func(listed bool, list ...string) (int, error) {
		var all []postino.Address
		for _, s := range list {
			all = append(all, addr(s))
		}
		return d.SetRelayRecipients(ctx, "Relay.example", all, listed)
	}
	n, err := set(true, "c@relay.example", "A@relay.example", "b@relay.example", "B@relay.example")
	if err != nil || n != 3 {
		t.Errorf("%d listed, %v", n, err)
	}
	_, err = set(true, "d@relay.example", "d@example.org")
	want(t, err, postino.Invalid, "not an address of it")
	_, err = d.SetRelayRecipients(ctx, "example.org", []postino.Address{addr("x@example.org")}, true)
	want(t, err, postino.Invalid, "not a relay domain")
	_, err = d.SetRelayRecipients(ctx, "relay.example", make([]postino.Address, MaxBatch+1), true)
	want(t, err, postino.Invalid, "10001 at once")
	for in, known := range map[string]bool{"a@relay.example": true, "a+x@relay.example": true, "d@relay.example": false, "postmaster@relay.example": true, "a@example.org": false} {
		if got, err := d.KnowsRelayRecipient(ctx, addr(in)); err != nil || got != known {
			t.Errorf("%s known: %v, %v", in, got, err)
		}
	}
	first, err := d.RelayRecipients(ctx, "relay.example", postino.Address{}, 2)
	ok(t, err)
	rest, err := d.RelayRecipients(ctx, "relay.example", first[1], 2)
	ok(t, err)
	if got := fmt.Sprint(first, rest); got != "[A@relay.example b@relay.example] [c@relay.example]" {
		t.Errorf("pages are %s", got)
	}
	if n, err := set(false, "a@relay.example", "x@relay.example"); err != nil || n != 1 {
		t.Errorf("%d taken off, %v", n, err)
	}
	if got := answer(t, d, addr("a@relay.example")); got != "not found" {
		t.Errorf("taken off the list: %s", got)
	}
	want(t, d.RemoveDomain(ctx, "relay.example"), postino.Conflict, "listed recipients")
	if n, err := d.ClearRelayRecipients(ctx, "relay.example"); err != nil || n != 2 {
		t.Errorf("%d cleared, %v", n, err)
	}
	ok(t, d.RemoveDomain(ctx, "relay.example"))
	if got := answer(t, d, addr("c@relay.example")); got != "foreign" {
		t.Errorf("after the domain is gone: %s", got)
	}
}

// RFC 7293 §5: an address changes hands with its user, and with its alias.
func TestSince(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	since := func(s string) time.Time {
		t.Helper()
		r, err := d.Resolve(ctx, addr(s))
		ok(t, err)
		return r.Targets[0].Since
	}
	age := func(u record) { // as if it had been made long ago
		u.Created = old
		ok(t, d.update(ctx, nil, func(tx kv.Tx) error { return putUser(tx, u) }))
	}
	var u record
	ok(t, d.view(ctx, func(r kv.Reader) (err error) { u, err = needUser(r, "", 2); return err }))
	age(u)
	alias := Alias{Address: addr("b@example.org"), Targets: []postino.Address{addr("bob@example.org")}}
	ok(t, d.SetAlias(ctx, alias))
	if got := since("bob@example.org"); got != old {
		t.Errorf("bob is there since %v", got)
	}
	made := since("b@example.org")
	if !made.After(old) {
		t.Errorf("the alias leads to bob since %v", made)
	}
	ok(t, d.update(ctx, nil, func(tx kv.Tx) error {
		alias.Since = old.Add(time.Hour)
		return setEntry(tx, alias.Address, entry{Alias: &alias})
	}))
	ok(t, d.SetAlias(ctx, Alias{Address: alias.Address, Targets: alias.Targets, MembersSend: true}))
	if got := since("b@example.org"); got != old.Add(time.Hour) {
		t.Errorf("pointed to the same user again: since %v", got)
	}
	ok(t, d.SetAlias(ctx, Alias{Address: alias.Address, Targets: append(alias.Targets, addr("ana@example.org"))}))
	if got := since("b@example.org"); got != old {
		t.Errorf("a list: since %v", got)
	}
	if !RoleAddress(addr("Postmaster@example.org")) || RoleAddress(addr("bob@example.org")) {
		t.Error("roles of RFC 2142 are mistaken")
	}
}
