package imap

import (
	"context"
	"strings"
	"testing"
	"time"
)

// selectInbox makes c select INBOX and skips what that says.
func selectInbox(c *client) {
	c.t.Helper()
	lines := c.do("SELECT INBOX")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "x OK [READ-WRITE]") {
		c.t.Fatal(lines)
	}
}

// TestIdle: RFC 9051 §6.3.13; changes of others arrive without a command.
func TestIdle(t *testing.T) {
	store := newMemStore()
	store.put("INBOX", mail1, 0)
	_, connect := start(t, store, nil)
	a, b := login(t, connect), login(t, connect)
	selectInbox(a)
	selectInbox(b)
	a.play(`
		C: i IDLE
		S: + idling
		!
		S: * 2 EXISTS
		!
		S: * 1 FETCH (FLAGS (\Seen \Deleted))
		!
		S: * 1 EXPUNGE
		C: done
		S: i OK IDLE completed
		C: j NOOP
		S: j OK NOOP completed
		C: k IDLE
		S: + idling
		C: NOOP
		S: k BAD Expected DONE`,
		func() { store.put("INBOX", mail1, 0) },
		func() { b.do(`STORE 1 +FLAGS.SILENT (\Seen \Deleted)`) },
		func() { b.do("EXPUNGE") })
}

// TestIdleUnselected: IDLE is for the authenticated state too.
func TestIdleUnselected(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	login(t, connect).play(`
		C: i IDLE
		S: + idling
		C: DONE
		S: i OK IDLE completed`)
}

// TestIdleSplitDone: DONE may come in pieces while changes are told.
func TestIdleSplitDone(t *testing.T) {
	store := newMemStore()
	_, connect := start(t, store, nil)
	c := login(t, connect)
	selectInbox(c)
	c.send("i IDLE\r\n")
	c.line()
	c.send("DO")
	store.put("INBOX", mail1, 0)
	c.play(`S: * 1 EXISTS`)
	c.send("NE\r\n")
	c.play(`S: i OK IDLE completed`)
}

// TestExpungeRules: RFC 9051 §7.5.1. No EXPUNGE while sequence numbers are in use.
func TestExpungeRules(t *testing.T) {
	store := newMemStore("Other")
	for range 4 {
		store.put("INBOX", mail1, 0)
	}
	_, connect := start(t, store, nil)
	a, b := login(t, connect), login(t, connect)
	selectInbox(a)
	selectInbox(b)
	b.do(`STORE 2 +FLAGS.SILENT (\Deleted)`)
	b.do("EXPUNGE")
	a.play(`
		C: a FETCH 1,3 UID
		S: * 1 FETCH (UID 1)
		S: * 3 FETCH (UID 3)
		S: a OK FETCH completed
		C: b FETCH 2 FLAGS
		S: b NO [EXPUNGEISSUED] Some of the messages no longer exist
		C: c STORE 2:3 +FLAGS (\Seen)
		S: * 3 FETCH (FLAGS (\Seen))
		S: c NO [EXPUNGEISSUED] Some of the messages no longer exist
		C: d SEARCH ALL
		S: * SEARCH 1 3 4
		S: d OK SEARCH completed
		C: e UID FETCH 4 UID
		S: * 4 FETCH (UID 4)
		S: * 2 EXPUNGE
		S: e OK UID FETCH completed
		C: f FETCH 3 UID
		S: * 3 FETCH (UID 4)
		S: f OK FETCH completed`)
	b.do(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	b.do("EXPUNGE")
	a.play(`
		C: g FETCH 9 (
		S: g BAD Expected a name
		C: h NOOP
		S: * 1 EXPUNGE
		S: h OK NOOP completed`)
}

// TestTimeouts: who says nothing is sent away (IM1, IM5).
func TestTimeouts(t *testing.T) {
	_, connect := start(t, newMemStore(), func(o *Options) {
		o.Limits.LoginTime, o.Limits.IdleTime = 300*time.Millisecond, 50*time.Millisecond
	})
	c := connect()
	c.play(`
		S~ \* OK .*
		S: * BYE Idle for too long
		EOF`)
	login(t, connect).play(`
		S: * BYE Idle for too long
		EOF`)
}

// TestShutdown: waiting clients hear BYE.
func TestShutdown(t *testing.T) {
	s, connect := start(t, newMemStore(), nil)
	a, b := login(t, connect), login(t, connect)
	selectInbox(b)
	b.play(`
		C: i IDLE
		S: + idling`)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{a, b} {
		c.play(`
			S: * BYE Server is shutting down
			EOF`)
	}
}

// TestShutdownCuts: a client that does not read cannot hold the server up.
func TestShutdownCuts(t *testing.T) {
	store := newMemStore()
	store.put("INBOX", strings.Repeat("x", 20<<20), 0)
	s, connect := start(t, store, nil)
	c := login(t, connect)
	selectInbox(c)
	c.send("a FETCH 1 BODY[]\r\n")
	c.line()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Fatal(err)
	}
}
