package kvtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/postino-mail/postino/kv"
)

// Store makes and remakes one store. Each call of a factory gives a Store whose
// data is empty.
type Store struct {
	// Open opens the store over the data so far. Run closes what it opens
	// before it opens again, but for crashes.
	Open func() (kv.DB, error)
	// OnWrite, when the engine can crash, sets a function that is called just
	// before each operation that writes to the disk, from any goroutine; nil
	// ends it. The engine may leave it nil: then there are no crash tests.
	OnWrite func(func())
	// Crash returns the store that a power cut at this moment would leave,
	// with a share of what was not synced: percent in 100, chosen by seed.
	Crash func(percent int, seed uint64) Store
}

// Factory makes the Store of one test.
type Factory func(t *testing.T) Store

// Run runs the whole suite.
func Run(t *testing.T, factory Factory) {
	tests := []struct {
		name string
		fn   func(*testing.T, Store)
	}{
		{"Order", testOrder}, {"Ranges", testRanges}, {"Model", testModel},
		{"OwnWrites", testOwnWrites}, {"ScanWhileWriting", testScanWhileWriting}, {"NestedScan", testNestedScan},
		{"Errors", testErrors}, {"Panic", testPanic}, {"Limits", testLimits}, {"Lifetime", testLifetime},
		{"LostUpdate", testLostUpdate}, {"ManyScopes", testManyScopes}, {"Snapshot", testSnapshot},
		{"Context", testContext}, {"Watch", testWatch}, {"WatchMany", testWatchMany},
		{"Close", testClose}, {"Reopen", testReopen},
		{"CrashDurable", testCrashDurable}, {"CrashEverywhere", testCrashEverywhere}, {"ViewIsDurable", testViewIsDurable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leak := goleak.IgnoreCurrent()
			test.fn(t, factory(t))
			goleak.VerifyNone(t, leak)
		})
	}
}

var ctx = context.Background()

// open opens the store; stop closes it.
func open(t *testing.T, s Store) (db kv.DB, stop func()) {
	t.Helper()
	db, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	return db, func() {
		t.Helper()
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func update(t *testing.T, db kv.DB, fn func(kv.Tx) error, scopes ...kv.Scope) {
	t.Helper()
	if err := db.Update(ctx, scopes, fn); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, db kv.DB, fn func(kv.Reader) error, scopes ...kv.Scope) {
	t.Helper()
	if err := db.View(ctx, scopes, fn); err != nil {
		t.Fatal(err)
	}
}

// set writes pairs of keys and values.
func set(tx kv.Tx, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := tx.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// get returns the value of key, "-" when there is none.
func get(r kv.Reader, key string) (string, error) {
	v, ok, err := r.Get([]byte(key))
	switch {
	case err != nil:
		return "", err
	case !ok && v != nil:
		return "", errors.New("a value for a missing key")
	case !ok:
		return "-", nil
	}
	return string(v), nil
}

// dump writes what a range holds as "key=value key=value".
func dump(r kv.Reader, rng kv.Range) (string, error) {
	s := ""
	err := r.Scan(rng, func(k, v []byte) bool {
		if s != "" {
			s += " "
		}
		s += fmt.Sprintf("%s=%s", k, v)
		return true
	})
	return s, err
}

// app is the range of the keys that the tests write; the engine's own lie
// elsewhere.
var app = kv.Prefix([]byte("t"))

func wantDump(t *testing.T, r kv.Reader, rng kv.Range, want string) {
	t.Helper()
	got, err := dump(r, rng)
	if err != nil {
		t.Error(err)
	}
	if got != want {
		t.Errorf("%q..%q reverse %v limit %d: %q, want %q", rng.Start, rng.End, rng.Reverse, rng.Limit, got, want)
	}
}
