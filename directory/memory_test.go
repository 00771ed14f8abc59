package directory

import (
	"context"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// memory is the smallest kv.DB: one map, one lock.
type memory struct {
	mu       sync.Mutex
	m        map[string][]byte
	watchers []watcher
	updates  int
	fail     error // returned by every call while set
}

type watcher struct {
	prefix string
	ch     chan struct{}
}

func newMemory() *memory { return &memory{m: map[string][]byte{}} }

func (db *memory) View(_ context.Context, _ []kv.Scope, fn func(kv.Reader) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.fail != nil {
		return db.fail
	}
	return fn(memoryTx{db.m})
}

func (db *memory) Update(_ context.Context, _ []kv.Scope, fn func(kv.Tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.fail != nil {
		return db.fail
	}
	next := make(map[string][]byte, len(db.m))
	for k, v := range db.m {
		next[k] = v
	}
	if err := fn(memoryTx{next}); err != nil {
		return err
	}
	changed := db.m
	db.m = next
	db.updates++
	for _, w := range db.watchers {
		for k, v := range next {
			if strings.HasPrefix(k, w.prefix) && string(changed[k]) != string(v) {
				select {
				case w.ch <- struct{}{}:
				default:
				}
			}
		}
	}
	return nil
}

func (db *memory) Watch(prefix []byte) (<-chan struct{}, func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	w := watcher{string(prefix), make(chan struct{}, 1)}
	db.watchers = append(db.watchers, w)
	return w.ch, func() {}
}

func (db *memory) Close() error { return nil }

type memoryTx struct{ m map[string][]byte }

func (t memoryTx) Get(k []byte) ([]byte, bool, error) {
	v, ok := t.m[string(k)]
	return v, ok, nil
}

func (t memoryTx) Scan(r kv.Range, fn func(k, v []byte) bool) error {
	var keys []string
	for k := range t.m {
		if k >= string(r.Start) && (r.End == nil || k < string(r.End)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if !fn([]byte(k), t.m[k]) {
			return nil
		}
	}
	return nil
}

func (t memoryTx) Set(k, v []byte) error {
	t.m[string(k)] = append([]byte(nil), v...)
	return nil
}

func (t memoryTx) Delete(k []byte) error {
	delete(t.m, string(k))
	return nil
}

// cheap makes password hashes that tests can afford.
var cheap = Argon2{MemoryKiB: 8, Time: 1, Threads: 1}

// open returns a directory with the domain example.org and the users ana
// (administrator, password "correct horse") and bob.
func open(t testing.TB, opts Options) (*Directory, *memory) {
	t.Helper()
	db := newMemory()
	if opts.Argon2 == (Argon2{}) {
		opts.Argon2 = cheap
	}
	d := New(db, opts)
	t.Cleanup(d.Close)
	ok(t, d.AddDomain(t.Context(), Domain{Name: "example.org"}))
	addUser(t, d, NewUser{Address: addr("Ana@example.org"), Password: "correct horse", Role: RoleAdmin})
	addUser(t, d, NewUser{Address: addr("bob@example.org")})
	return d, db
}

func addUser(t testing.TB, d *Directory, n NewUser) User {
	t.Helper()
	u, err := d.AddUser(t.Context(), n)
	ok(t, err)
	return u
}

func addr(s string) postino.Address {
	if domain, whole := strings.CutPrefix(s, "@"); whole {
		return postino.Address{Domain: domain}
	}
	if s == "postmaster" {
		return postino.Address{Local: s}
	}
	a, err := postino.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, err error, kind postino.Kind, text string) {
	t.Helper()
	if !postino.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %v (%v), want %v with %q", err, postino.KindOf(err), kind, text)
	}
}
