package mailbox

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

var ctx = context.Background()

// failer is a test or a property.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// ok fails the test on an error: ok(t)(f()).
func ok[T any](t failer) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantKind(t failer, err error, k postino.Kind) {
	t.Helper()
	if !postino.Is(err, k) {
		t.Fatalf("error is %v, want kind %v", err, k)
	}
}

func equal[T comparable](t failer, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

func uidsOf(s *Snapshot) (uids []UID) {
	for _, r := range s.Rows(0, s.Len()) {
		uids = append(uids, r.UID)
	}
	return uids
}

func TestLifeOfMessages(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	v := ok[*View](t)(a.Open(ctx, inbox))
	res := w.append(a, inbox, 10, Seen, "$Forwarded")
	equal(t, "UIDs", res.UIDs, Range{1, 10})
	s := v.Snapshot()
	equal(t, "messages", s.Len(), 10)
	equal(t, "keyword", s.Keywords()[0], "$Forwarded")
	if r := s.Row(3); r.UID != 4 || r.Flags.System() != Seen || !r.Flags.Has(5) || r.Date != began.Unix() || r.ModSeq != res.ModSeq {
		t.Fatalf("row %+v", r)
	}
	st := ok[StoreResult](t)(a.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{2, 5}, {20, 30}}, Op: AddFlags, Flags: Deleted, Keywords: []string{"$FORWARDED", "x"}}))
	equal(t, "changed", st.Changed.Count(), 4)
	equal(t, "changed flags", st.Snapshot.Row(1).Flags, Mask{uint64(Seen|Deleted) | 3<<5})
	equal(t, "old snapshot", s.Row(1).Flags, Mask{uint64(Seen) | 1<<5})
	again := ok[StoreResult](t)(a.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{2, 5}}, Op: AddFlags, Flags: Deleted}))
	equal(t, "nothing changed", again.ModSeq, 0)
	since := res.ModSeq
	failed := ok[StoreResult](t)(a.Store(ctx, inbox, StoreRequest{UIDs: All(), Op: ReplaceFlags, Flags: Flagged, UnchangedSince: &since}))
	if !slices.Equal(failed.Modified, Ranges{{2, 5}}) || failed.Changed.Count() != 6 {
		t.Fatalf("conditional store: %+v", failed)
	}
	trash := ok[MailboxID](t)(w.lookup(`\Trash`))
	cp := ok[CopyResult](t)(a.Copy(ctx, inbox, Ranges{{4, 6}}, trash))
	if !slices.Equal(cp.Source, Ranges{{4, 6}}) || !slices.Equal(cp.Dest, Ranges{{1, 3}}) {
		t.Fatalf("copy %+v", cp)
	}
	mv := ok[CopyResult](t)(a.Move(ctx, inbox, Ranges{{7, 8}}, trash))
	if !slices.Equal(mv.Dest, Ranges{{4, 5}}) || mv.Snapshot.Len() != 8 {
		t.Fatalf("move %+v", mv)
	}
	tv := ok[*View](t)(a.Open(ctx, trash))
	equal(t, "keyword in trash", slices.Contains(tv.Snapshot().Keywords(), "$Forwarded"), true)
	equal(t, "email of the copy", tv.Snapshot().Row(0).Email, s.Row(3).Email)
	ex := ok[ExpungeResult](t)(a.Expunge(ctx, inbox, All()))
	if !slices.Equal(ex.Expunged, Ranges{{2, 5}}) {
		t.Fatalf("expunged %v", ex.Expunged)
	}
	if got := uidsOf(v.Snapshot()); !slices.Equal(got, []UID{1, 6, 9, 10}) {
		t.Fatalf("UIDs %v", got)
	}
	d := s.Diff(v.Snapshot())
	if !slices.Equal(d.Expunged, []int{1, 2, 3, 4, 6, 7}) || !slices.Equal(d.Changed, []int{0, 1, 2, 3}) || d.Exists {
		t.Fatalf("diff %+v", d)
	}
	kept := s.Keep(v.Snapshot())
	if kept.Len() != 10 || kept.Row(0).Flags.System() != Flagged || kept.Row(1).Flags != s.Row(1).Flags {
		t.Fatalf("kept %v", uidsOf(kept))
	}
	ch := ok[Changes](t)(v.Changes(ctx, v.Snapshot(), res.ModSeq))
	if !ch.Complete || !slices.Equal(ch.Vanished, Ranges{{2, 5}, {7, 8}}) || !slices.Equal(ch.Flagged, Ranges{{1, 1}, {6, 6}, {9, 10}}) {
		t.Fatalf("changes %+v", ch)
	}
	w.check()
	a.Close()
	w.reopen()
	a = w.account()
	v = ok[*View](t)(a.Open(ctx, inbox))
	if got := uidsOf(v.Snapshot()); !slices.Equal(got, []UID{1, 6, 9, 10}) {
		t.Fatalf("UIDs after a restart %v", got)
	}
}

// lookup finds a mailbox in a view.
func (w *world) lookup(name string) (box MailboxID, err error) {
	err = w.view(ctx, acct, func(r kv.Reader) (err error) {
		box, err = w.Lookup(r, acct, name)
		return err
	})
	return box, err
}

func TestBodiesAreExact(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	big := append(letter(1), bytes.Repeat([]byte("0123456789abcde\n"), 8192)...)
	bodies := [][]byte{letter(7), big, []byte("\r\n"), {}, []byte("no header\x00 at all")}
	prefix := []byte("Return-Path: <>\r\nDelivered-To: x@example.org\r\n")
	var ids []EmailID
	for i, b := range bodies {
		m := w.stage(b)
		var p []byte
		if i%2 == 0 {
			p = prefix
		}
		bodies[i] = append(slices.Clone(p), b...)
		res := ok[AppendResult](t)(a.Append(ctx, inbox, []AppendMessage{{Message: m, Prefix: p}}))
		ids = append(ids, res.Emails...)
	}
	n := 0
	err := a.Emails(ctx, ids, WantRow|WantIndex|WantSummary|WantBody, func(i int, e *Email) bool {
		n++
		equal(t, "size", e.Size, int64(len(bodies[i])))
		if i == 1 {
			equal(t, "inline", e.Body == nil, true)
		} else if !bytes.Equal(e.Body, bodies[i]) {
			t.Errorf("body %d: %q", i, e.Body)
		}
		b := ok[*Body](t)(a.OpenBody(ctx, e))
		defer b.Close()
		equal(t, "size of body", b.Size(), e.Size)
		var buf bytes.Buffer
		if _, err := b.WriteTo(&buf); err != nil || !bytes.Equal(buf.Bytes(), bodies[i]) {
			t.Errorf("body %d differs, %v", i, err)
		}
		at := ok[[]byte](t)(io.ReadAll(io.NewSectionReader(b, 10, b.Size())))
		if want := bodies[i][min(10, len(bodies[i])):]; !bytes.Equal(at, want) {
			t.Errorf("body %d from 10: %q", i, at)
		}
		return true
	})
	if err != nil || n != len(bodies) {
		t.Fatal(n, err)
	}
	w.check()
}

func TestQuotaIM13(t *testing.T) {
	w := newWorld(t, Options{})
	m := w.stage(letter(1))
	w.update(func(tx kv.Tx) error { return w.SetQuota(tx, acct, Quota{Bytes: 3*m.Size + 1, Messages: 10}) })
	a := w.account()
	defer a.Close()
	for range 3 {
		w.append(a, inbox, 1, 0)
	}
	size := w.stage(letter(0)).Size
	_, err := a.Append(ctx, inbox, []AppendMessage{{Message: w.stage(letter(0))}})
	if used := a.Usage().Used; used.Bytes+size > 3*m.Size+1 {
		wantKind(t, err, postino.Full)
	} else if err != nil {
		t.Fatal(err)
	}
	full := a.Usage().Used
	_, err = a.Copy(ctx, inbox, All(), 2)
	wantKind(t, err, postino.Full)
	equal(t, "usage after a refused copy", a.Usage().Used, full)
	ok[CopyResult](t)(a.Move(ctx, inbox, All(), 2))
	equal(t, "usage after a move", a.Usage().Used, full)
	w.update(func(tx kv.Tx) error {
		_, err := w.Deliver(tx, acct, Delivery{Message: w.stage(letter(9))})
		wantKind(t, err, postino.Full)
		return nil
	})
	if err := a.Delete(ctx, 2); err != nil {
		t.Fatal(err)
	}
	equal(t, "usage when all is deleted", a.Usage().Used, Quota{Mailboxes: 5})
	w.check()
}

func TestBatchDelivery(t *testing.T) {
	w := newWorld(t, Options{})
	w.update(func(tx kv.Tx) error { return w.Store.Create(tx, 77, Quota{Messages: 2}, began) })
	first := w.stage(letter(0))
	w.update(func(tx kv.Tx) error { return w.blobs.Put(tx, first.Staged, []byte("q1")) })
	shared := *first
	shared.Staged = nil
	var got []Delivered
	var errs []error
	err := w.db.Update(ctx, []kv.Scope{w.Scope(acct), w.Scope(77)}, func(tx kv.Tx) error {
		got, errs = nil, nil
		b := w.Batch(tx)
		for i := range 10 {
			id := acct
			if i%2 == 1 {
				id = 77
			}
			d, err := b.Deliver(id, Delivery{Message: &shared, Prefix: []byte("Return-Path: <>\r\n"), Mailbox: MailboxID(i % 3), Date: began})
			got, errs = append(got, d), append(errs, err)
		}
		staged := w.stage(letter(3))
		for _, id := range []AccountID{acct, acct} {
			if _, err := b.Deliver(id, Delivery{Message: staged}); err != nil {
				return err
			}
		}
		_, err := b.Deliver(5, Delivery{Message: &shared})
		wantKind(t, err, postino.NotFound)
		return b.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if i == 5 || i == 7 || i == 9 {
			wantKind(t, err, postino.Full)
		} else if err != nil {
			t.Fatal(i, err)
		}
	}
	equal(t, "mailbox 0 means INBOX", got[0].Mailbox, inbox)
	equal(t, "UID of the third in INBOX", got[6].UID, got[4].UID+1)
	equal(t, "one record for a mailbox", got[0].ModSeq, got[4].ModSeq)
	w.check()
	problems, err := w.Check(ctx, 77)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
}

func TestNoticesOfDeliveries(t *testing.T) {
	w := newWorld(t, Options{})
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(run) }()
	a := w.account()
	defer a.Close()
	v := ok[*View](t)(a.Open(ctx, inbox))
	other := ok[*View](t)(a.Open(ctx, 2))
	changed := make(chan struct{}, 1)
	quiet := make(chan struct{}, 1)
	defer v.Notify(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	defer other.Notify(func() { quiet <- struct{}{} })()
	m := w.stage(letter(1))
	w.update(func(tx kv.Tx) error {
		_, err := w.Deliver(tx, acct, Delivery{Message: m})
		return err
	})
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("no notice")
	}
	equal(t, "messages", v.Snapshot().Len(), 1)
	equal(t, "notices of the other mailbox", len(quiet), 0)
	if err := a.Delete(ctx, 2); err != nil {
		t.Fatal(err)
	}
	equal(t, "other mailbox is gone", other.Snapshot().Gone(), true)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestTree(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	create := func(name string) MailboxID {
		t.Helper()
		return ok[Info](t)(a.Create(ctx, name, UseNone)).ID
	}
	names := func() (list []string) {
		for _, m := range a.Mailboxes() {
			list = append(list, m.Name)
		}
		return list
	}
	ab := create("a/b/")
	create("a/b/c")
	equal(t, "canonical name", ok[Info](t)(a.Create(ctx, "inbox/Cafe\u0301", UseNone)).Name, "INBOX/Caf\u00e9")
	_, err := a.Create(ctx, "a", UseNone)
	wantKind(t, err, postino.Conflict)
	_, err = a.Create(ctx, "InBox", UseNone)
	wantKind(t, err, postino.Conflict)
	for _, bad := range []string{"", "/", "Shared/a@b", "Other Users/a@b.example/INBOX", "a//b", "/a", "a/../b", ".", "a\x00", "a\u202e", "\xff", string(bytes.Repeat([]byte("x"), 256)), string(bytes.Repeat([]byte("x/"), 20)) + "y"} {
		_, err := a.Create(ctx, bad, UseNone)
		wantKind(t, err, postino.Invalid)
	}
	_, err = a.Create(ctx, "Second trash", UseTrash)
	wantKind(t, err, postino.Conflict)
	wantKind(t, a.Rename(ctx, ab, "a/b/c/d"), postino.Invalid)
	wantKind(t, a.Rename(ctx, ab, "Sent"), postino.Conflict)
	wantKind(t, a.Rename(ctx, 999, "x"), postino.NotFound)
	wantKind(t, a.Delete(ctx, inbox), postino.Denied)
	before := ok[Info](t)(a.Status(ab))
	if err := a.Rename(ctx, ab, "z/y"); err != nil {
		t.Fatal(err)
	}
	want := []string{"INBOX", "Archive", "Drafts", "INBOX/Caf\u00e9", "Junk", "Sent", "Trash", "a", "z", "z/y", "z/y/c"}
	if got := names(); !slices.Equal(got, want) {
		t.Fatalf("names %q", got)
	}
	equal(t, "UIDVALIDITY after rename", ok[Info](t)(a.Status(ab)).UIDValidity, before.UIDValidity)
	if err := a.Delete(ctx, ab); err != nil {
		t.Fatal(err)
	}
	again := create("z/y")
	if i := ok[Info](t)(a.Status(again)); i.UIDValidity <= before.UIDValidity || i.ID <= ab {
		t.Fatalf("used again: %+v", i)
	}
	w.append(a, inbox, 3, 0)
	if err := a.Rename(ctx, inbox, "old/mail"); err != nil {
		t.Fatal(err)
	}
	equal(t, "moved out of INBOX", ok[Info](t)(a.Mailbox("old/mail")).Messages, 3)
	equal(t, "left in INBOX", ok[Info](t)(a.Mailbox("inbox")).Messages, 0)
	if err := a.Subscribe(ctx, "nowhere/at all"); err != nil {
		t.Fatal(err)
	}
	if err := a.Unsubscribe(ctx, "Junk"); err != nil {
		t.Fatal(err)
	}
	subs := []string{"Archive", "Drafts", "INBOX", "Sent", "Trash", "nowhere/at all"}
	if got := a.Subscriptions(); !slices.Equal(got, subs) {
		t.Fatalf("subscriptions %q", got)
	}
	equal(t, "subscribed", ok[Info](t)(a.Mailbox("Junk")).Subscribed, false)
	if err := a.SetSpecialUse(ctx, again, UseFlagged); err != nil {
		t.Fatal(err)
	}
	var box MailboxID
	w.update(func(tx kv.Tx) (err error) { box, err = w.Ensure(tx, acct, "lists/go", began); return err })
	if err := a.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if i := ok[Info](t)(a.Mailbox("lists/go")); i.ID != box || !i.Subscribed {
		t.Fatalf("ensured %+v", i)
	}
	all, subs := names(), a.Subscriptions()
	w.check()
	a.Close()
	w.reopen()
	a = w.account()
	if got := names(); !slices.Equal(got, all) {
		t.Fatalf("names after a restart %q", got)
	}
	if got := a.Subscriptions(); !slices.Equal(got, subs) {
		t.Fatalf("subscriptions after a restart %q", got)
	}
	equal(t, "special use", ok[Info](t)(a.Status(again)).SpecialUse, UseFlagged)
}

func TestFoldTrimAndSweep(t *testing.T) {
	w := newWorld(t, Options{LogBytes: 1, Grace: time.Hour})
	a := w.account()
	defer func() { a.Close() }()
	w.append(a, inbox, 700, 0)
	ok[StoreResult](t)(a.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{1, 600}}, Flags: Deleted}))
	v := ok[*View](t)(a.Open(ctx, inbox))
	before := v.Snapshot()
	if err := w.Fold(ctx, acct); err != nil {
		t.Fatal(err)
	}
	ok[ExpungeResult](t)(a.Expunge(ctx, inbox, All()))
	if err := w.Fold(ctx, acct); err != nil {
		t.Fatal(err)
	}
	w.check()
	if err := a.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "floor", a.Floor(), a.ModSeq())
	ch := ok[Changes](t)(v.Changes(ctx, v.Snapshot(), before.ModSeq()))
	equal(t, "changes are complete", ch.Complete, false)
	a.Close()
	w.reopen()
	a = w.account()
	v = ok[*View](t)(a.Open(ctx, inbox))
	if uids := uidsOf(v.Snapshot()); len(uids) != 100 || uids[0] != 601 {
		t.Fatalf("after a restart: %v", uids)
	}
	equal(t, "row", v.Snapshot().Row(0), before.Row(600))
	now := time.Now()
	equal(t, "swept before the grace", ok[int](t)(w.Sweep(ctx, acct, now)), 0)
	equal(t, "swept within the grace", ok[int](t)(w.Sweep(ctx, acct, now.Add(time.Minute))), 0)
	equal(t, "swept after it", ok[int](t)(w.Sweep(ctx, acct, now.Add(time.Hour))), 600)
	w.check()
	w.update(func(tx kv.Tx) error { return w.Remove(tx, acct) })
	wantKind(t, a.Sync(ctx), postino.NotFound)
	w.update(func(tx kv.Tx) error {
		wantKind(t, w.Store.Create(tx, acct, Quota{}, began), postino.Conflict)
		return nil
	})
	equal(t, "swept with the account", ok[int](t)(w.Sweep(ctx, acct, now)), 100)
	left := 0
	err := w.db.View(ctx, nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte{'a'}), func(_, _ []byte) bool { left++; return true })
	})
	if err != nil || left > 0 {
		t.Fatal(left, err)
	}
}

// Nobody runs Store.Run here: views hear of a delivery by Committed alone, and
// a state that is not the one before the delivery is left to the log.
func TestCommittedDelivery(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	v := ok[*View](t)(a.Open(ctx, inbox))
	heard := 0
	defer a.Notify(func() { heard++ })()
	deliver := func() *Batch {
		var b *Batch
		w.update(func(tx kv.Tx) error {
			b = w.Batch(tx)
			if _, err := b.Deliver(acct, Delivery{Message: w.stage(letter(1)), Date: began}); err != nil {
				return err
			}
			return b.Flush()
		})
		return b
	}
	first := deliver()
	equal(t, "messages before Committed", v.Snapshot().Len(), 0)
	first.Committed()
	equal(t, "messages", v.Snapshot().Len(), 1)
	equal(t, "notices", heard, 1)
	second, third := deliver(), deliver()
	third.Committed()
	equal(t, "messages when one is missing", v.Snapshot().Len(), 1)
	second.Committed()
	third.Committed()
	equal(t, "messages in order", v.Snapshot().Len(), 3)
	deliver()
	if err := a.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	third.Committed() // late, and known
	equal(t, "messages by the log", v.Snapshot().Len(), 4)
	w.check()
}
