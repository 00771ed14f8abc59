// Package kv is the contract of the store under everything: an ordered,
// transactional map from byte strings to byte strings. Package kv/lsm keeps it
// on one machine with Pebble; kv/kvtest is the suite that every engine passes.
//
// Flow:
//  1. A desk or a work package calls [DB.Update] with the scopes that its
//     closure depends on, and a closure that reads and writes.
//  2. The engine makes updates that share a scope serial, runs the closure,
//     commits its writes atomically and returns when they are on stable storage.
//  3. [DB.Watch] wakes those who wait for keys under a prefix, after the commit
//     is durable; they read again.
//
// Invariants:
//   - When Update returns nil, a power cut does not take the writes back. When
//     it returns an error, the writes are wholly there or wholly absent after
//     a restart.
//   - A View never shows a write that a power cut could still take back.
//   - A closure may run again from its beginning, so it only reads and writes;
//     what it returns is used only from its last run.
//   - Key and value slices given to closures are valid until the closure
//     returns (values of Get) or the callback returns (Scan); copy to keep.
//
// Limits: keys 1 to 1,024 octets; values up to 16 MiB; a transaction up to 64 MiB.
package kv

import (
	"context"
	"errors"
	"fmt"

	"github.com/postino-mail/postino"
)

// MaxKey, MaxValue and MaxTx are the sizes in octets that every engine takes.
const (
	MaxKey   = 1024
	MaxValue = 16 << 20
	MaxTx    = 64 << 20
)

// Scope names what a closure may depend on: an account, a queue item, the
// directory. Updates that share a scope are serial.
type Scope string

// DB is an open store. All methods may be called from any goroutine.
type DB interface {
	// View runs fn over a consistent, durable state. Scopes name what the
	// state must be current for: View waits until every update of them that
	// was committed before it began is durable, and sees it. Without scopes it
	// sees some recent durable state.
	View(ctx context.Context, scopes []Scope, fn func(Reader) error) error

	// Update runs fn and commits what it wrote as one atomic batch; it returns
	// nil when the batch is on stable storage. An error of fn is returned as it
	// is and nothing is written. Reads of fn outside its scopes are not
	// protected against concurrent updates.
	Update(ctx context.Context, scopes []Scope, fn func(Tx) error) error

	// Watch returns a channel that receives after a durable change of any key
	// that begins with prefix. Notices are merged: one may stand for many
	// changes. The caller ends it with stop.
	Watch(prefix []byte) (changed <-chan struct{}, stop func())

	// Close waits for running transactions and closes the store.
	Close() error
}

// Reader reads one consistent state.
type Reader interface {
	// Get returns the value of key, or nil, false when there is none.
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan calls fn for the keys of r in order until fn returns false.
	Scan(r Range, fn func(key, value []byte) bool) error
}

// Tx reads, and writes what Update will commit. Reads see the writes made
// before them in the same transaction. Set copies key and value.
type Tx interface {
	Reader
	Set(key, value []byte) error
	Delete(key []byte) error
}

// Range is the half-open interval [Start, End) of keys; a nil End has no bound.
// Reverse walks it from the end. A Limit of 0 means all.
type Range struct {
	Start, End []byte
	Reverse    bool
	Limit      int
}

// Prefix returns the range of all keys that begin with p.
func Prefix(p []byte) Range { return Range{Start: p, End: PrefixEnd(p)} }

// PrefixEnd returns the first key after all keys that begin with p, or nil when
// there is none.
func PrefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// ErrStopped is returned by Update after the store has stopped writing: a sync
// failed or the store is closed. What was not acknowledged must be tried again
// after a restart.
var ErrStopped = errors.New("store stopped writing")

// ErrFull is returned by Update when the disk is nearly full and the update may
// add data; see [Deleting].
var ErrFull = fmt.Errorf("%w on the disk", postino.ErrNoSpace)

// freeing is the context key of [Deleting].
type freeing struct{}

// Deleting marks the updates of ctx as ones that free space or record the
// result of work already done: they are written also when the disk is nearly
// full.
func Deleting(ctx context.Context) context.Context {
	return context.WithValue(ctx, freeing{}, true)
}

// IsDeleting tells engines whether ctx was marked by [Deleting].
func IsDeleting(ctx context.Context) bool {
	v, _ := ctx.Value(freeing{}).(bool)
	return v
}
