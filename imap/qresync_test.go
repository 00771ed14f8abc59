package imap

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// five is a store with five messages in INBOX.
func five() *memStore {
	store := newMemStore("Work")
	for range 5 {
		store.put("INBOX", mail1, 0)
	}
	return store
}

// TestEnable: RFC 5161 §3.1, ENABLED names what this command turned on.
func TestEnable(t *testing.T) {
	_, connect := start(t, newMemStore(), nil)
	login(t, connect).play(`
		C: a ENABLE X-UNKNOWN qresync
		S: * ENABLED QRESYNC
		S: a OK ENABLE completed
		C: b ENABLE CONDSTORE QRESYNC UTF8=ACCEPT IMAP4rev2 IMAP4rev2
		S: * ENABLED IMAP4rev2 UTF8=ACCEPT
		S: b OK ENABLE completed
		C: c ENABLE UIDONLY
		S: * ENABLED UIDONLY
		S: c OK ENABLE completed
		C: d ENABLE UIDONLY
		S: * ENABLED
		S: d OK ENABLE completed
		C: e ENABLE
		S: e BAD Expected a space`)
}

// TestQResync: RFC 7162 §3.2.
func TestQResync(t *testing.T) {
	store := five()
	_, connect := start(t, store, nil)
	c, other := login(t, connect), login(t, connect)
	c.play(`
		C: a SELECT INBOX (QRESYNC (101 3))
		S: a BAD ENABLE QRESYNC first
		C: b ENABLE QRESYNC
		S: * ENABLED QRESYNC
		S: b OK ENABLE completed`)
	selectInbox(c)
	selectInbox(other)
	other.do(`STORE 2,3,5 +FLAGS.SILENT (\Deleted)`)
	other.do("EXPUNGE")
	c.play(`
		C: a NOOP
		S: * VANISHED 2:3,5
		S: a OK NOOP completed
		C: b UID FETCH 1:* FLAGS (CHANGEDSINCE 6 VANISHED)
		S: * VANISHED (EARLIER) 2:3,5
		S: b OK UID FETCH completed
		C: c UID FETCH 3:4 (FLAGS) (VANISHED CHANGEDSINCE 1)
		S: * VANISHED (EARLIER) 3
		S: * 2 FETCH (UID 4 FLAGS () MODSEQ (5))
		S: c OK UID FETCH completed
		C: d UID FETCH 1 FLAGS (VANISHED)
		S: d BAD VANISHED needs CHANGEDSINCE
		C: e FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)
		S: e BAD VANISHED needs UID FETCH and ENABLE QRESYNC
		C: f STORE 1 +FLAGS.SILENT (\Deleted)
		S~ \* 1 FETCH \(UID 1 MODSEQ \(.*\)\)
		S: f OK STORE completed
		C: g EXPUNGE
		S: * VANISHED 1
		S~ g OK \[HIGHESTMODSEQ [0-9]+\] EXPUNGE completed
		C: h UID MOVE 4 Work
		S: * OK [COPYUID 102 4 1] Moved
		S: * VANISHED 4
		S~ h OK \[HIGHESTMODSEQ [0-9]+\] UID MOVE completed`)
	other.do(`NOOP`)
	store.put("INBOX", mail1, Seen)
	c.play(`
		C: a SELECT INBOX (QRESYNC (101 9 1:5))
		S: * OK [CLOSED] Previous mailbox is closed
		S~ \* FLAGS .*
		S~ \* OK \[PERMANENTFLAGS .*
		S: * 1 EXISTS
		S: * 0 RECENT
		S~ \* OK \[UIDVALIDITY 101\] .*
		S~ \* OK \[UIDNEXT 7\] .*
		S~ \* OK \[HIGHESTMODSEQ .*
		S: * VANISHED (EARLIER) 1:5
		S: a OK [READ-WRITE] SELECT completed
		C: b EXAMINE INBOX (CONDSTORE QRESYNC (101 12 (1:2 4:5)))
		S: * OK [CLOSED] Previous mailbox is closed
		S~ \* FLAGS .*
		S~ \* OK \[PERMANENTFLAGS .*
		S: * 1 EXISTS
		S: * 0 RECENT
		S~ \* OK \[UIDVALIDITY 101\] .*
		S~ \* OK \[UIDNEXT 7\] .*
		S~ \* OK \[HIGHESTMODSEQ .*
		S~ \* VANISHED \(EARLIER\) .*
		S~ \* 1 FETCH \(UID 6 FLAGS \(.Seen\) MODSEQ .*
		S: b OK [READ-ONLY] EXAMINE completed
		C: c SELECT INBOX (QRESYNC (7 12))
		S: * OK [CLOSED] Previous mailbox is closed
		S~ \* FLAGS .*
		S~ \* OK \[PERMANENTFLAGS .*
		S: * 1 EXISTS
		S: * 0 RECENT
		S~ \* OK \[UIDVALIDITY 101\] .*
		S~ \* OK \[UIDNEXT 7\] .*
		S~ \* OK \[HIGHESTMODSEQ .*
		S: c OK [READ-WRITE] SELECT completed`)
}

// TestQResyncRefused: what is not well formed selects nothing.
func TestQResyncRefused(t *testing.T) {
	_, connect := start(t, newMemStore(), func(o *Options) { o.Limits.Errors = 100 })
	c := login(t, connect)
	c.do("ENABLE QRESYNC")
	for _, bad := range []string{"0 1", "101 0", "101", "101 1 *", "101 1 1:*", "101 1 (1 2", "101 1 1 (1:2 3)", "101 1 (2,1 3:4)", "101 1 1 2",
		"101 9223372036854775808", "4294967296 1", "101 1 "} {
		if got := c.do("SELECT INBOX (QRESYNC (" + bad + "))"); len(got) != 1 || got[0][:5] != "x BAD" {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// TestUIDOnly: RFC 9586.
func TestUIDOnly(t *testing.T) {
	store := five()
	_, connect := start(t, store, nil)
	c, other := login(t, connect), login(t, connect)
	c.play(`
		C: a ENABLE UIDONLY QRESYNC
		S: * ENABLED QRESYNC UIDONLY
		S: a OK ENABLE completed`)
	selectInbox(c)
	selectInbox(other)
	c.play(`
		C: a FETCH 1 FLAGS
		S: a BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY
		C: b SEARCH ALL
		S: b BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY
		C: c COPY 1 Work
		S: c BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY
		C: d UID SEARCH 1:3
		S: d BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY
		C: e UID SEARCH UID 2:3 UNSEEN
		S: * SEARCH 2 3
		S: e OK UID SEARCH completed
		C: f UID FETCH 2 FLAGS
		S: * 2 UIDFETCH (UID 2 FLAGS () MODSEQ (3))
		S: f OK UID FETCH completed
		C: g UID STORE 2,4 +FLAGS (\Deleted)
		S: * 2 UIDFETCH (FLAGS (\Deleted) MODSEQ (7))
		S: * 4 UIDFETCH (FLAGS (\Deleted) MODSEQ (8))
		S: g OK UID STORE completed
		C: h EXPUNGE
		S: * VANISHED 2,4
		S: h OK [HIGHESTMODSEQ 10] EXPUNGE completed
		!
		C: i NOOP
		S: * 5 UIDFETCH (FLAGS (\Seen) MODSEQ (11))
		S: i OK NOOP completed
		C: j SELECT INBOX (QRESYNC (101 4 (1 1)))
		S: j BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY`,
		func() { other.do(`UID STORE 5 +FLAGS.SILENT (\Seen)`) })
}

// TestUTF8Accept: RFC 9755 §3.
func TestUTF8Accept(t *testing.T) {
	_, connect := start(t, newMemStore("Caf\u00e9"), nil)
	c := login(t, connect)
	c.play(`
		C: a LIST "" Caf*
		S: * LIST (\HasNoChildren) "/" "Caf&AOk-"
		S: a OK LIST completed
		C: b ENABLE UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: b OK ENABLE completed
		C: c LIST "" Caf*
		S: * LIST (\HasNoChildren) "/" "Café"
		S: c OK LIST completed
		C: d STATUS "Café" (MESSAGES)
		S: * STATUS "Café" (MESSAGES 0)
		S: d OK STATUS completed
		C: e CREATE "a&b"
		S: e OK CREATE completed
		C: f LIST "" a*
		S: * LIST (\HasNoChildren) "/" "a&b"
		S: f OK LIST completed`)
	c.send("g SELECT \"Caf\xe9\"\r\n")
	c.play(`S: g BAD Octet not allowed in a quoted string`)
	selectInbox(c)
	c.play(`
		C: h SEARCH CHARSET UTF-8 SUBJECT "é"
		S: h BAD CHARSET after ENABLE UTF8=ACCEPT
		C: i SEARCH SUBJECT "é"
		S: * SEARCH
		S: i OK SEARCH completed`)
}

// TestSearchBySequenceWithinUID: RFC 9051 §6.4.9, the key is by sequence number all
// the same, and nothing is expunged meanwhile (RFC 7162 §3.2.10.2).
func TestSearchBySequenceWithinUID(t *testing.T) {
	_, connect := start(t, five(), nil)
	c, other := login(t, connect), login(t, connect)
	selectInbox(c)
	selectInbox(other)
	other.do(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	other.do("EXPUNGE")
	c.play(`
		C: a UID SEARCH 2:3
		S: * SEARCH 2 3
		S: a OK UID SEARCH completed
		C: b UID SEARCH UID 2:3
		S: * SEARCH 2 3
		S: * 1 EXPUNGE
		S: b OK UID SEARCH completed
		C: c UID SEARCH 2:3
		S: * SEARCH 3 4
		S: c OK UID SEARCH completed`)
}

// TestPairRanges: what is cut is the same numbers, and ranges are equally long.
func TestPairRanges(t *testing.T) {
	expand := func(r []Range) (out []uint32) {
		for _, x := range r {
			for n := x.Start; n <= x.Stop; n++ {
				out = append(out, n)
			}
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		set := func(name string) (out []Range) {
			last := uint32(0)
			for range rapid.IntRange(1, 8).Draw(t, name) {
				lo := last + rapid.Uint32Range(1, 5).Draw(t, "gap")
				last = lo + rapid.Uint32Range(0, 6).Draw(t, "length")
				out = append(out, Range{lo, last})
			}
			return out
		}
		a, b := set("a"), set("b")
		as, bs, ok := pairRanges(slices.Clone(a), slices.Clone(b))
		ea, eb := expand(a), expand(b)
		if ok != (len(ea) == len(eb)) {
			t.Fatalf("%v %v: %v", a, b, ok)
		}
		if !ok {
			return
		}
		if !reflect.DeepEqual(expand(as), ea) || !reflect.DeepEqual(expand(bs), eb) || len(as) >= len(a)+len(b) {
			t.Fatalf("%v %v became %v %v", a, b, as, bs)
		}
		for i := range as {
			if as[i].Stop-as[i].Start != bs[i].Stop-bs[i].Start {
				t.Fatalf("%v and %v differ", as[i], bs[i])
			}
		}
	})
	if _, _, ok := pairRanges([]Range{{5, 6}, {1, 2}}, []Range{{1, 4}}); ok {
		t.Error("a set that descends passed")
	}
}

// FuzzQResync: no input makes more of itself, and what passes is in order.
func FuzzQResync(f *testing.F) {
	for _, s := range []string{"(101 3)", "(67890007 90060115194045000 41:211,214:541)", "(1 2 1:29997 (5000,7500,9990:9999 15000,22500,29970:29979))", "(1 2 (1:4294967295 1:4294967295))"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c := parsing(" " + in)
		c.out.qresync = true
		q, err := c.qresync()
		if err != nil {
			return
		}
		if q.UIDValidity == 0 || q.ModSeq == 0 || len(q.SeqMatch) != len(q.UIDMatch) || len(q.SeqMatch) > len(in) {
			t.Fatalf("%q gave %+v", in, q)
		}
		for i := 1; i < len(q.UIDMatch); i++ {
			if q.UIDMatch[i].Start <= q.UIDMatch[i-1].Stop || q.SeqMatch[i].Start <= q.SeqMatch[i-1].Stop {
				t.Fatalf("%q gave %+v", in, q)
			}
		}
	})
}
