package imap

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress: RFC 9585 §4. What a session tells reaches the client at once, never
// within a FETCH response, and the goal is always above the progress.
func TestProgress(t *testing.T) {
	store := newMemStore()
	store.put("INBOX", mail1, 0)
	_, connect := start(t, store, troubled(store, &trouble{steps: [][2]int{{0, 9}, {5, 0}, {9, 9}, {-1, 4}, {7, math.MaxInt}}}))
	c := login(t, connect)
	selectInbox(c)
	c.play(`
		C: a SEARCH ALL
		S: * OK [INPROGRESS ("a" 0 9)] Still working
		S: * OK [INPROGRESS ("a" 5 NIL)] Still working
		S: * OK [INPROGRESS ("a" NIL NIL)] Still working
		S: * OK [INPROGRESS ("a" NIL NIL)] Still working
		S: * OK [INPROGRESS ("a" NIL NIL)] Still working
		S: * SEARCH 1
		S: a OK SEARCH completed
		C: b]c UID SEARCH ALL
		S: * OK [INPROGRESS (NIL 0 9)] Still working
		S: * OK [INPROGRESS (NIL 5 NIL)] Still working
		S: * OK [INPROGRESS (NIL NIL NIL)] Still working
		S: * OK [INPROGRESS (NIL NIL NIL)] Still working
		S: * OK [INPROGRESS (NIL NIL NIL)] Still working
		S: * SEARCH 1
		S: b]c OK UID SEARCH completed
		C: d FETCH 1 UID
		S: * 1 FETCH (UID 1)
		S: * OK [INPROGRESS ("d" 0 9)] Still working
		S: * OK [INPROGRESS ("d" 5 NIL)] Still working
		S: * OK [INPROGRESS ("d" NIL NIL)] Still working
		S: * OK [INPROGRESS ("d" NIL NIL)] Still working
		S: * OK [INPROGRESS ("d" NIL NIL)] Still working
		S: d OK FETCH completed`)
	Progress(context.Background(), 1, 2) // nobody listens
}

// TestProgressRate: a notice every ten seconds, and none before.
func TestProgressRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		slow := &trouble{steps: make([][2]int, 45), pause: func() { time.Sleep(time.Second) }}
		for i := range slow.steps {
			slow.steps[i] = [2]int{i + 1, 100}
		}
		opts := Options{AllowClear: true, Name: "mx.example.org"}
		troubled(store, slow)(&opts)
		opts.Limits.ProgressTime = 0
		near, far := net.Pipe()
		go NewServer(opts).ServeConn(far)
		c := &client{t: t, nc: near, r: bufio.NewReader(near)}
		c.play(`
			S~ \* OK .*
			C: a LOGIN ann secret
			S~ a OK .*`)
		if lines := c.do("SELECT INBOX"); !strings.HasPrefix(lines[len(lines)-1], "x OK") {
			t.Fatal(lines)
		}
		c.play(`
			C: b SEARCH ALL
			S: * OK [INPROGRESS ("b" 10 100)] Still working
			S: * OK [INPROGRESS ("b" 20 100)] Still working
			S: * OK [INPROGRESS ("b" 30 100)] Still working
			S: * OK [INPROGRESS ("b" 40 100)] Still working
			S: * SEARCH
			S: b OK SEARCH completed`)
		near.Close()
		synctest.Wait()
	})
}

// TestMessageLimit: RFC 9738 §3.1, what the engine makes of a session's Limited.
func TestMessageLimit(t *testing.T) {
	part, none := &Limited{UID: 2}, &Limited{UID: 2, Refused: true}
	for _, d := range []struct {
		err    error
		script string
	}{
		{part, `
			C: a CAPABILITY
			S~ \* CAPABILITY .* INPROGRESS .* MESSAGELIMIT=7
			S: a OK CAPABILITY completed
			C: a SEARCH ALL
			S: * SEARCH 1 2
			S: a OK [MESSAGELIMIT 7 2] SEARCH completed
			C: b FETCH 1 UID
			S: * 1 FETCH (UID 1)
			S: b OK [MESSAGELIMIT 7 2] FETCH completed
			C: c STORE 1 FLAGS (\Seen)
			S: * 1 FETCH (FLAGS (\Seen))
			S: c OK [MESSAGELIMIT 7 2] STORE completed
			C: d STORE 1 (UNCHANGEDSINCE 1) FLAGS (\Seen)
			S~ \* OK \[HIGHESTMODSEQ .*
			S: * NO [MESSAGELIMIT 7 2] Too many messages
			S: d OK [MODIFIED 1] STORE completed
			C: e UID MOVE 1 Other
			S~ \* OK \[COPYUID .*
			S: * 1 EXPUNGE
			S: * NO [MESSAGELIMIT 7 2] Too many messages
			S~ e OK \[HIGHESTMODSEQ .*\] UID MOVE completed
			C: f NOOP
			S: f OK NOOP completed`},
		{none, `
			C: a SEARCH ALL
			S: a NO [MESSAGELIMIT 7 2] Too many messages
			C: b COPY 1 Other
			S: b NO [MESSAGELIMIT 7 2] Too many messages
			C: c NOOP
			S: c OK NOOP completed`},
		{errors.Join(part, ErrExpungeIssued), `
			C: a FETCH 1 UID
			S: * 1 FETCH (UID 1)
			S: * NO [MESSAGELIMIT 7 2] Too many messages
			S: a OK [EXPUNGEISSUED] FETCH completed`},
	} {
		store := newMemStore("Other")
		store.put("INBOX", mail1, 0)
		store.put("INBOX", mail1, 0)
		_, connect := start(t, store, func(o *Options) {
			troubled(store, &trouble{err: d.err})(o)
			o.Limits.MessageLimit = 7
		})
		c := login(t, connect)
		selectInbox(c)
		c.play(d.script)
	}
}

// TestUIDAfter: RFC 9738 §3.2.
func TestUIDAfter(t *testing.T) {
	store := newMemStore()
	for range 4 {
		store.put("INBOX", mail1, 0)
	}
	_, connect := start(t, store, nil)
	c := login(t, connect)
	selectInbox(c)
	c.play(`
		C: a UID SEARCH UIDAFTER 2
		S: * SEARCH 3 4
		S: a OK UID SEARCH completed
		C: b UID SEARCH UIDAFTER 4
		S: * SEARCH
		S: b OK UID SEARCH completed
		C: c UID SEARCH UIDBEFORE 1
		S: * SEARCH
		S: c OK UID SEARCH completed
		C: d SEARCH UIDAFTER 1 UIDBEFORE 4
		S: * SEARCH 2 3
		S: d OK SEARCH completed
		C: e SEARCH UIDAFTER 4294967295
		S: * SEARCH
		S: e OK SEARCH completed
		C: f SEARCH NOT UIDBEFORE 4
		S: * SEARCH 4
		S: f OK SEARCH completed
		C: g SEARCH UIDAFTER 0
		S: g BAD Expected a number above 0
		C: h SEARCH UIDAFTER *
		S~ h BAD .*`)
}
