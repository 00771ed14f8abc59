package directory

import (
	"fmt"
	"sync"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/vfs"
)

func openStore(t testing.TB, fs vfs.FS) *lsm.DB {
	t.Helper()
	db, err := lsm.Open(fs, "db", lsm.Options{CacheBytes: 8 << 20, MemTableBytes: 1 << 20, Guard: lsm.GuardOptions{Ballast: -1}})
	ok(t, err)
	return db
}

// accounts notes each account beside its user, as the mailbox room does.
var accounts = AccountHooks{
	Scopes: func(id uint64) []kv.Scope { return []kv.Scope{kv.Scope(fmt.Sprintf("a/%x", id))} },
	Create: func(tx kv.Tx, u User) error {
		k := fmt.Appendf(nil, "a%d", u.ID)
		if _, there, err := tx.Get(k); err != nil || there {
			return taken(there, "create account", u.Address.String(), err)
		}
		return tx.Set(k, []byte(u.Address.String()))
	},
	Remove: func(tx kv.Tx, u User) error { return tx.Delete(fmt.Appendf(nil, "a%d", u.ID)) },
}

// What was acknowledged is there after a power cut, a user always with its
// account, and no id is given again (QU2).
func TestPowerCut(t *testing.T) {
	for seed := range uint64(5) {
		fs := vfs.Memory()
		db := openStore(t, fs)
		d := New(db, Options{Argon2: cheap, Accounts: accounts})
		ok(t, d.AddDomain(t.Context(), Domain{Name: "example.org"}))
		var mu sync.Mutex
		added := map[postino.Address]uint64{}
		var last uint64
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 10 {
					a := addr(fmt.Sprintf("u%d-%d@example.org", w, i))
					u, err := d.AddUser(t.Context(), NewUser{Address: a})
					if err == nil && i%3 == 0 {
						err = d.RemoveUser(t.Context(), a)
						a = postino.Address{}
					}
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					added[a] = u.ID
					last = max(last, u.ID)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		delete(added, postino.Address{})
		after := fs.Crash(int(seed)*25, seed)
		d.Close()
		ok(t, db.Close())

		db = openStore(t, after)
		d = New(db, Options{Argon2: cheap, Accounts: accounts})
		users, err := d.Users(t.Context(), "example.org")
		ok(t, err)
		if len(users) != len(added) {
			t.Errorf("%d users are there, %d were added", len(users), len(added))
		}
		for _, u := range users {
			if added[u.Address] != u.ID {
				t.Errorf("%v has id %d, want %d", u.Address, u.ID, added[u.Address])
			}
			ok(t, db.View(t.Context(), nil, func(r kv.Reader) error {
				v, _, err := r.Get(fmt.Appendf(nil, "a%d", u.ID))
				if string(v) != u.Address.String() {
					t.Errorf("the account of %v is %q", u.Address, v)
				}
				return err
			}))
		}
		if u := addUser(t, d, NewUser{Address: addr("new@example.org")}); u.ID != last+1 {
			t.Errorf("id %d after %d", u.ID, last)
		}
		d.Close()
		ok(t, db.Close())
	}
}

// BenchmarkResolveMiss is what the first mail to an address costs.
func BenchmarkResolveMiss(b *testing.B) {
	db := openStore(b, vfs.Memory())
	defer db.Close()
	d := New(db, Options{Argon2: cheap})
	defer d.Close()
	ok(b, d.AddDomain(b.Context(), Domain{Name: "example.org"}))
	addUser(b, d, NewUser{Address: addr("ana@example.org")})
	a := addr("ana+lists@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.resolve(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}
