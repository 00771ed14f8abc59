package mailbox

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

const (
	carol AccountID = 0x2001
	dave  AccountID = 0x2002
)

var asCarol, asDave = Viewer{carol, "example.org"}, Viewer{dave, "example.net"}

// guest opens the account for a viewer.
func (w *world) guest(v Viewer) *Account {
	w.Helper()
	return ok[*Account](w.TB)(w.AccountFor(ctx, acct, v))
}

func (w *world) createAccount(id AccountID) {
	w.Helper()
	if err := w.db.Update(ctx, []kv.Scope{w.Scope(id)}, func(tx kv.Tx) error { return w.Store.Create(tx, id, Quota{}, began) }); err != nil {
		w.Fatal(err)
	}
}

// grant gives a viewer exactly these rights on a mailbox.
func (w *world) grant(v Viewer, box MailboxID, rights string) {
	w.Helper()
	a := w.account()
	defer a.Close()
	r, known := ParseRights(rights)
	if !known {
		w.Fatal(rights)
	}
	if err := a.SetACL(ctx, box, Subject{Account: v.Account}, false, ReplaceFlags, r); err != nil {
		w.Fatal(err)
	}
}

func TestRightsInLetters(t *testing.T) {
	for in, want := range map[string]string{"": "", "lr": "lr", "rl": "lr", "aetxkpiwsrl": letters, "c": "kx", "d": "te", "lrc": "lrkx"} {
		r, known := ParseRights(in)
		if !known || r.String() != want {
			t.Errorf("%q is read as %v, %v", in, r, known)
		}
	}
	for _, in := range []string{"q", "L", "lr ", "0"} {
		if _, known := ParseRights(in); known {
			t.Errorf("%q is read", in)
		}
	}
	equal(t, "all", AllRights.String(), letters)
}

// TestGuestsHaveTheirOwnSeen shows the private \Seen: other sessions of the guest
// see it, the owner and other guests do not (IM8, IM9).
func TestGuestsHaveTheirOwnSeen(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 5, 0)
	w.append(a, inbox, 5, Seen)
	w.grant(asCarol, inbox, "lrs")
	w.grant(asDave, inbox, "lrswt")
	c, d := w.guest(asCarol), w.guest(asDave)
	defer c.Close()
	defer d.Close()
	own := ok[*View](t)(a.Open(ctx, inbox))
	vc, vd := ok[*View](t)(c.Open(ctx, inbox)), ok[*View](t)(d.Open(ctx, inbox))
	equal(t, "unseen for the owner", own.Snapshot().Status().Unseen, 5)
	equal(t, "unseen for a guest", vc.Snapshot().Status().Unseen, 10)
	told := 0
	defer own.Notify(func() { told++ })()
	toldCarol := 0
	defer vc.Notify(func() { toldCarol++ })()
	before, ownBefore, daveBefore := vc.Snapshot(), own.Snapshot(), vd.Snapshot()
	res := ok[StoreResult](t)(c.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{2, 7}}, Flags: Seen | Flagged}))
	equal(t, "unseen", res.Snapshot.Status().Unseen, 4)
	if own.Snapshot() != ownBefore || vd.Snapshot() != daveBefore || told != 0 || toldCarol != 1 {
		t.Fatal("others see what a guest saw", told, toldCarol)
	}
	diff := before.Diff(vc.Snapshot())
	if !slices.Equal(diff.Changed, []int{1, 2, 3, 4, 5, 6}) || diff.Exists || len(diff.Expunged) > 0 {
		t.Fatalf("%+v", diff)
	}
	for i, r := range vc.Snapshot().Rows(0, 10) {
		in := i >= 1 && i <= 6
		if r.Flags.System() != Flags(btoi(in)) || in != (r.ModSeq == res.ModSeq) {
			t.Fatalf("message %d: %+v", i, r)
		}
	}
	ch := ok[Changes](t)(vc.Changes(ctx, vc.Snapshot(), before.ModSeq()))
	equal(t, "changed", ch.Flagged.Count(), 6)
	if i, found := vc.Snapshot().FirstUnseen(); i != 0 || !found {
		t.Fatal("first unseen", i, found)
	}
	unseen := ok[[]int](t)(c.Search(ctx, vc.Snapshot(), &Query{Op: OpNot, Subs: []*Query{{Op: OpFlag, Flags: Seen}}}))
	equal(t, "unseen by search", len(unseen), 4)
	since := ModSeq(before.ModSeq())
	res = ok[StoreResult](t)(c.Store(ctx, inbox, StoreRequest{UIDs: All(), Op: RemoveFlags, Flags: Seen, UnchangedSince: &since}))
	if len(res.Changed) != 0 || res.Modified.Count() != 6 {
		t.Fatalf("%+v", res)
	}
	// Flags that lack the right are left alone; with none left it is denied.
	_, err := c.Store(ctx, inbox, StoreRequest{UIDs: All(), Flags: Flagged})
	wantKind(t, err, postino.Denied)
	res = ok[StoreResult](t)(d.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{1, 2}}, Op: ReplaceFlags, Flags: Seen | Flagged | Deleted, Keywords: []string{"x"}}))
	equal(t, "flags", res.Snapshot.Row(0).Flags.System(), Seen|Flagged|Deleted)
	equal(t, "flags for the owner", own.Snapshot().Row(0).Flags.System(), Flagged|Deleted)
	equal(t, "flags for the other guest", vc.Snapshot().Row(1).Flags.System(), Seen|Flagged|Deleted)
	for rights, unseen := range map[string]uint32{"lri": 6, "lris": 2} { // of six, of which he saw four
		w.grant(asCarol, 2, rights)
		ok[CopyResult](t)(c.Copy(ctx, inbox, Ranges{{1, 4}, {7, 8}}, 2))
		s := ok[*View](t)(c.Open(ctx, 2)).Snapshot()
		equal(t, "unseen copies with "+rights, s.Status().Unseen, unseen)
		ok[ExpungeResult](t)(a.Destroy(ctx, 2, All()))
	}
	ok[ExpungeResult](t)(a.Expunge(ctx, inbox, All()))
	equal(t, "unseen after an expunge", vc.Snapshot().Status().Unseen, 3)
	w.check()
	w.reopen()
	c2 := w.guest(asCarol)
	defer c2.Close()
	equal(t, "unseen after a restart", ok[Info](t)(c2.Status(inbox)).Unseen, 3)
	w.check()
}

// TestRevocation shows that a right that was taken away is gone for sessions that
// are open, at once, and looks as if the mailbox was not there (AU8).
func TestRevocation(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 3, 0)
	w.append(a, 2, 1, 0)
	w.grant(asCarol, inbox, "lr")
	w.grant(asCarol, 3, "l")
	c := w.guest(asCarol)
	defer c.Close()
	v := ok[*View](t)(c.Open(ctx, inbox))
	s := v.Snapshot()
	read := func(id EmailID) (n int) {
		if err := c.Emails(ctx, []EmailID{id}, WantRow, func(_ int, e *Email) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		if _, err := c.OpenBody(ctx, &Email{ID: id}); (err == nil) != (n == 1) {
			t.Fatal(err)
		}
		return n
	}
	equal(t, "readable", read(s.Email(0)), 1)
	for id := EmailID(4); id < 8; id++ {
		equal(t, "email by number", read(id), 0)
	}
	told := 0
	defer v.Notify(func() { told++ })()
	w.grant(asCarol, inbox, "")
	if told == 0 || !v.Snapshot().Gone() {
		t.Fatal("still there", told)
	}
	equal(t, "readable", read(s.Email(0)), 0)
	_, err := c.Search(ctx, s, &Query{})
	wantKind(t, err, postino.NotFound)
	equal(t, "rights", c.Rights(inbox), 0)
	equal(t, "mailboxes", len(c.Mailboxes()), 1)
	_, err = w.AccountFor(ctx, acct, asDave)
	_, none := w.AccountFor(ctx, 99, asDave)
	wantKind(t, err, postino.NotFound)
	if fmt.Sprint(none) != fmt.Sprint(noAccount(99)) || fmt.Sprint(err) != fmt.Sprint(noAccount(acct)) {
		t.Fatal(err, none)
	}
}

func TestIndexOfShares(t *testing.T) {
	w := newWorld(t, Options{})
	for _, id := range []AccountID{carol, dave} {
		w.createAccount(id)
	}
	a := w.account()
	w.grant(asCarol, inbox, "lr")
	w.grant(asCarol, 3, "lr")
	if err := a.SetACL(ctx, 2, Subject{Domain: "example.net"}, false, ReplaceFlags, RightLookup); err != nil {
		t.Fatal(err)
	}
	d := ok[*Account](t)(w.AccountFor(ctx, dave, Viewer{dave, "example.net"}))
	if err := d.SetACL(ctx, inbox, Subject{Account: carol}, false, AddFlags, AllRights); err != nil {
		t.Fatal(err)
	}
	d.Close()
	with := func(v Viewer, want ...AccountID) {
		t.Helper()
		if got := ok[[]AccountID](t)(w.SharedWith(ctx, v)); !slices.Equal(got, want) {
			t.Fatalf("shared by %x, want %x", got, want)
		}
	}
	with(asCarol, acct, dave)
	with(asDave, acct)
	with(Viewer{99, "example.com"})
	g := w.guest(asDave)
	equal(t, "mailboxes", len(g.Mailboxes()), 1)
	g.Close()
	i := ok[Info](t)(a.Create(ctx, "Archive/x/y", UseNone))
	equal(t, "inherited", len(ok[[]ACLEntry](t)(a.ACL(ctx, i.ID))), 1)
	for _, box := range []MailboxID{2, i.ID, i.ID - 1} {
		if err := a.Delete(ctx, box); err != nil {
			t.Fatal(err)
		}
	}
	with(asDave)
	w.check()
	a.Close()
	for _, id := range []AccountID{carol, dave} {
		if err := w.db.Update(ctx, []kv.Scope{w.Scope(id)}, func(tx kv.Tx) error { return w.Remove(tx, id) }); err != nil {
			t.Fatal(err)
		}
		ok[int](t)(w.Sweep(ctx, id, began))
	}
	with(asCarol)
	a = w.account()
	defer a.Close()
	equal(t, "entries for a removed account", len(ok[[]ACLEntry](t)(a.ACL(ctx, inbox))), 0)
	w.check()
}

// TestGuestsAtOnce: guests and the owner work side by side while rights come and
// go; nobody sees counters that do not fit what he is shown.
func TestGuestsAtOnce(t *testing.T) {
	w := newWorld(t, Options{FoldRecords: 16})
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 600, 0)
	w.grant(asCarol, inbox, letters)
	w.grant(asDave, inbox, "lr")
	var wg sync.WaitGroup
	run := func(v Viewer, fn func(i int, g *Account, s *Snapshot) error) {
		wg.Go(func() {
			for i := range 40 {
				g, err := w.AccountFor(ctx, acct, v)
				if postino.Is(err, postino.NotFound) && v == asDave {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				view, err := g.Open(ctx, inbox)
				if err == nil {
					err = fn(i, g, view.Snapshot())
				}
				g.Close()
				if err != nil && !(v == asDave && postino.Is(err, postino.NotFound)) {
					t.Error(err)
					return
				}
			}
		})
	}
	consistent := func(s *Snapshot) error {
		unseen := uint32(0)
		for _, r := range s.Rows(0, s.Len()) {
			unseen += uint32(btoi(r.Flags.System()&Seen == 0))
		}
		if unseen != s.Status().Unseen {
			return fmt.Errorf("%d unseen, the counter says %d", unseen, s.Status().Unseen)
		}
		return nil
	}
	for k := range 2 {
		run(asCarol, func(i int, g *Account, s *Snapshot) error {
			_, err := g.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{UID(1 + i*10), UID(100 + i*10 + k)}}, Op: FlagOp(i % 2), Flags: Seen})
			return cmp.Or(err, consistent(s))
		})
	}
	run(asCarol, func(i int, g *Account, s *Snapshot) error {
		_, err := g.Destroy(ctx, inbox, Ranges{{UID(i * 7), UID(i * 7)}})
		return cmp.Or(err, consistent(s))
	})
	run(asDave, func(_ int, g *Account, s *Snapshot) error {
		return cmp.Or(consistent(s), g.Emails(ctx, []EmailID{s.Email(0)}, WantRow, func(int, *Email) bool { return true }))
	})
	run(Viewer{Account: acct}, func(i int, o *Account, s *Snapshot) error {
		rights := Rights(0)
		if i%2 == 0 {
			rights = RightLookup | RightRead
		}
		return cmp.Or(o.SetACL(ctx, inbox, Subject{Account: dave}, false, ReplaceFlags, rights), consistent(s), w.Fold(ctx, acct))
	})
	wg.Wait()
	w.check()
}
