package imap

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestStays: who may not stay is told so in whatever state (AU8); others are not.
func TestStays(t *testing.T) {
	store := newMemStore()
	var asked atomic.Int32
	var withdrawn, broken atomic.Bool
	broken.Store(true)
	store.stays = func(_ context.Context, user string) (bool, error) {
		asked.Add(1)
		if user != "ann@example.org" {
			t.Error("asked for", user)
		}
		if broken.Load() {
			return false, errors.New("no answer")
		}
		return !withdrawn.Load(), nil
	}
	s, connect := start(t, store, func(o *Options) {
		o.Limits.StayTime = time.Millisecond
	})
	quiet, idle, other := login(t, connect), login(t, connect), connect()
	other.line()
	selectInbox(idle)
	idle.play(`
		C: a IDLE
		S: + idling`)
	for asked.Load() < 3 { // who cannot be asked about stays
		quiet.do("NOOP")
	}
	broken.Store(false)
	for n := asked.Load(); asked.Load() < n+3; {
		quiet.do("NOOP")
	}
	withdrawn.Store(true)
	for _, c := range []*client{quiet, idle} {
		c.play(`
			S: * BYE [CONTACTADMIN] Access was withdrawn
			EOF`)
	}
	withdrawn.Store(false)
	other.play(`
		C: a LOGIN ann secret
		S~ a OK .*
		C: b LANGUAGE it
		S~ \* LANGUAGE .*
		S~ \* NAMESPACE .*
		S~ b OK .*`)
	n := asked.Load()
	for asked.Load() < n+2 {
		other.do("NOOP")
	}
	withdrawn.Store(true)
	other.play(`
		S: * BYE [CONTACTADMIN] Accesso revocato
		EOF`)
	left := func() int {
		_, users := s.conns.Len()
		return users
	}
	for until := time.Now().Add(5 * time.Second); left() > 0; runtime.Gosched() { // the connection ends before the count
		if time.Now().After(until) {
			t.Fatal("users are left:", left())
		}
	}
}
