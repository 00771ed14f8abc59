package directory

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

func TestDomains(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	want(t, d.AddDomain(ctx, Domain{Name: "EXAMPLE.org"}), postino.Conflict, "exists")
	for _, name := range []string{"", "a b", "x..y", "[127.0.0.1]", "-x.example"} {
		want(t, d.AddDomain(ctx, Domain{Name: name}), postino.Invalid, "not a domain name")
	}
	want(t, d.AddDomain(ctx, Domain{Name: "x.example", Separator: "%"}), postino.Invalid, "separator")
	want(t, d.AddDomain(ctx, Domain{Name: "x.example", CatchAll: addr("q@x.example")}), postino.Invalid, "catch-all")
	ok(t, d.AddDomain(ctx, Domain{Name: "bücher.example", CatchAll: addr("postmaster@bücher.example")}))
	got, err := d.Domain(ctx, "BÜCHER.example")
	ok(t, err)
	if got.Name != "xn--bcher-kva.example" {
		t.Errorf("canonical name is %s", got.Name)
	}
	want(t, d.UpdateDomain(ctx, "bücher.example", func(x *Domain) { x.Name = "y.example" }), postino.Invalid, "renamed")
	want(t, d.RemoveDomain(ctx, "example.org"), postino.Conflict, "still has users")
	ok(t, d.RemoveDomain(ctx, "bücher.example"))
	_, err = d.Domain(ctx, "bücher.example")
	want(t, err, postino.NotFound, "no such domain")
	ok(t, d.AddDomain(ctx, Domain{Name: "y.example"}))
	ok(t, d.SetAlias(ctx, Alias{Address: addr("@y.example"), Targets: []postino.Address{addr("@example.org")}}))
	want(t, d.RemoveDomain(ctx, "y.example"), postino.Conflict, "alias @y.example")
	list, err := d.Domains(ctx)
	ok(t, err)
	if len(list) != 2 || list[0].Name != "example.org" || list[1].Name != "y.example" {
		t.Errorf("domains are %v", list)
	}
}

func TestUsers(t *testing.T) {
	var log []string
	d, db := open(t, Options{Accounts: AccountHooks{
		Scopes: func(id uint64) []kv.Scope { return []kv.Scope{kv.Scope(fmt.Sprint("a/", id))} },
		Create: func(tx kv.Tx, u User) error {
			log = append(log, fmt.Sprint("create ", u.ID))
			if u.Name == "refuse" {
				return errors.New("no room")
			}
			return tx.Set([]byte(fmt.Sprint("account", u.ID)), []byte("x"))
		},
		Change: func(_ kv.Tx, before, after User) error {
			log = append(log, fmt.Sprintf("change %d: %d to %d", after.ID, before.Quota, after.Quota))
			return nil
		},
		Remove: func(tx kv.Tx, u User) error {
			log = append(log, fmt.Sprint("remove ", u.ID))
			return tx.Delete([]byte(fmt.Sprint("account", u.ID)))
		},
	}})
	ctx := t.Context()
	add := func(n NewUser) error { _, err := d.AddUser(ctx, n); return err }
	want(t, add(NewUser{Address: addr("ANA@example.org")}), postino.Conflict, "exists")
	want(t, add(NewUser{Address: addr("ana@elsewhere.example")}), postino.NotFound, "no such domain")
	want(t, add(NewUser{Address: addr(`"a b"@example.org`)}), postino.Invalid, "user name")
	want(t, add(NewUser{Address: addr("postmaster")}), postino.Invalid, "domain")
	want(t, add(NewUser{}), postino.Invalid, "")
	want(t, add(NewUser{Address: addr("x@example.org"), Password: "short"}), postino.Invalid, "shorter than 8")
	want(t, add(NewUser{Address: addr("x@example.org"), Password: "12345678\n"}), postino.Invalid, "control")
	want(t, add(NewUser{Address: addr("x@example.org"), Quota: -1}), postino.Invalid, "quota")
	want(t, add(NewUser{Address: addr("x@example.org"), Name: "a\u202eb"}), postino.Invalid, "printable")
	want(t, add(NewUser{Address: addr("x@example.org"), Role: 7}), postino.Invalid, "role")

	if err := add(NewUser{Address: addr("x@example.org"), Name: "refuse"}); err == nil || err.Error() != "no room" {
		t.Errorf("the hook's error is %v", err)
	}
	_, err := d.User(ctx, addr("x@example.org"))
	want(t, err, postino.NotFound, "no such user")

	x := addUser(t, d, NewUser{Address: addr("X@example.org"), Quota: 5})
	if x.ID != 3 || db.m["account3"] == nil {
		t.Errorf("id is %d", x.ID)
	}
	got, err := d.UpdateUser(ctx, addr("x@example.org"), func(u *User) { u.Quota, u.Name, u.Language = 7, "Ex", "it" })
	ok(t, err)
	if got.Quota != 7 || got.Name != "Ex" || got.Address.Local != "X" {
		t.Errorf("updated user is %+v", got)
	}
	_, err = d.UpdateUser(ctx, addr("x@example.org"), func(u *User) { u.ID = 9 })
	want(t, err, postino.Invalid, "cannot be changed")
	if again, err := d.UserByID(ctx, 3); err != nil || again != got {
		t.Errorf("by id: %+v, %v", again, err)
	}

	ok(t, d.SetAlias(ctx, Alias{Address: addr("y@example.org"), Targets: []postino.Address{addr("x+z@example.org")}}))
	want(t, d.RemoveUser(ctx, addr("x@example.org")), postino.Conflict, "alias y@example.org")
	want(t, add(NewUser{Address: addr("y@example.org")}), postino.Conflict, "exists")
	ok(t, d.RemoveAlias(ctx, addr("y@example.org")))
	ok(t, d.RemoveUser(ctx, addr("x@example.org")))
	if db.m["account3"] != nil {
		t.Error("the account is still there")
	}
	if y := addUser(t, d, NewUser{Address: addr("x@example.org")}); y.ID != 4 {
		t.Errorf("id %d after 3 was removed", y.ID)
	}
	all, err := d.Users(ctx, "")
	ok(t, err)
	there, err := d.Users(ctx, "Example.org")
	ok(t, err)
	if len(all) != 3 || len(there) != 3 || all[0].Address.Local != "Ana" || there[2].ID != 4 {
		t.Errorf("users are %v and %v", all, there)
	}
	const wantLog = "create 1, create 2, create 3, create 3, change 3: 5 to 7, remove 3, create 4"
	if got := strings.Join(log, ", "); got != wantLog {
		t.Errorf("hooks ran as %s\nwant %s", got, wantLog)
	}
}

func TestIDsUnderConcurrency(t *testing.T) {
	d, _ := open(t, Options{})
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			u, err := d.AddUser(t.Context(), NewUser{Address: addr(fmt.Sprintf("u%d@example.org", i))})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[u.ID] {
				t.Errorf("id %d: %v", u.ID, err)
			}
			seen[u.ID] = true
		})
	}
	wg.Wait()
}

func TestRecordsOfOtherVersions(t *testing.T) { // ST7
	d, db := open(t, Options{})
	k := string(domainKey("example.org"))
	good := db.m[k]
	set := func(v []byte) {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.m[k] = v
	}
	set(append([]byte{version + 1}, good[1:]...))
	_, err := d.Domain(t.Context(), "example.org")
	want(t, err, postino.Invalid, "newer version")
	for _, bad := range [][]byte{{}, {0}, {1, '{'}} {
		set(bad)
		_, err = d.Domain(t.Context(), "example.org")
		want(t, err, postino.Corrupt, "directory record")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{1, '{', '}'})
	f.Add([]byte(`{"ID":1,"Address":{"Local":"a","Domain":"b"},"Apps":[{"ID":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u record
		if err := decode(key('u'), b, &u); err != nil && postino.KindOf(err) != postino.Corrupt && postino.KindOf(err) != postino.Invalid {
			t.Errorf("error is %v", err)
		}
		var e entry
		decode(key('a'), b, &e)
	})
}
