package mailbox

import (
	"bytes"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

func (w *world) checkAll(ids ...AccountID) {
	w.Helper()
	for _, id := range ids {
		if problems, err := w.Check(ctx, id); err != nil || len(problems) > 0 {
			w.Fatal(id, problems, err)
		}
	}
}

// TestBetweenAccounts copies and moves from a shared mailbox into an account of
// one's own and back (IM8, IM9, IM13).
func TestBetweenAccounts(t *testing.T) {
	w := newWorld(t, Options{})
	w.createAccount(carol)
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 3, Answered|Deleted, "$Work")
	w.append(a, inbox, 2, Seen, "x", "$Work")
	ok[CopyResult](t)(a.Copy(ctx, inbox, Ranges{{1, 1}}, inbox))
	w.grant(asCarol, inbox, "lrste")
	g := w.guest(asCarol)
	defer g.Close()
	own := ok[*Account](t)(w.AccountFor(ctx, carol, asCarol))
	defer own.Close()
	shared, mine := ok[*View](t)(g.Open(ctx, inbox)), ok[*View](t)(own.Open(ctx, inbox))
	told := 0
	defer mine.Notify(func() { told++ })()
	ok[StoreResult](t)(g.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{2, 2}, {4, 4}}, Flags: Seen}))
	res := ok[CopyResult](t)(w.CopyBetween(ctx, g, inbox, Ranges{{1, 2}, {5, 6}, {50, 60}}, own, inbox))
	s := mine.Snapshot()
	if res.Source.Count() != 4 || res.Dest.Count() != 4 || s.Len() != 4 || told == 0 || res.UIDValidity != s.Status().UIDValidity {
		t.Fatalf("%+v, %d messages", res, s.Len())
	}
	equal(t, "flags", s.Row(1).Flags.System(), Seen|Answered|Deleted)
	equal(t, "flags", s.Row(2).Flags.System(), 0) // seen by the owner only
	equal(t, "same email twice", s.Email(0), s.Email(3))
	bit, found := s.Bit("x")
	equal(t, "keyword", found && s.Row(2).Flags.Has(bit), true)
	var want, got []byte
	read := func(a *Account, id EmailID, to *[]byte) {
		t.Helper()
		if err := a.Emails(ctx, []EmailID{id}, WantRow|WantIndex|WantSummary|WantBody, func(_ int, e *Email) bool {
			*to = append(append(bytes.Clone(e.Body), e.Envelope...), e.Summary.MessageID...)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	read(g, shared.Snapshot().Email(1), &want)
	read(own, s.Email(1), &got)
	if len(want) == 0 || !bytes.Equal(want, got) {
		t.Fatalf("%q\n%q", want, got)
	}
	// Move, with the quota of the destination.
	w.update(func(tx kv.Tx) error { return w.SetQuota(tx, carol, Quota{Messages: 5}) })
	_, err := w.MoveBetween(ctx, g, inbox, All(), own, inbox)
	wantKind(t, err, postino.Full)
	equal(t, "messages", shared.Snapshot().Len(), 6)
	equal(t, "messages", mine.Snapshot().Len(), 4)
	res = ok[CopyResult](t)(w.MoveBetween(ctx, g, inbox, Ranges{{4, 4}}, own, inbox))
	equal(t, "messages", shared.Snapshot().Len(), 5)
	equal(t, "messages", mine.Snapshot().Len(), 5)
	equal(t, "seen by the guest, so seen by him", mine.Snapshot().Row(4).Flags.System(), Seen)
	equal(t, "source", res.Snapshot.Len(), 5)
	// Into the shared mailbox, where flags need rights and \Seen is one's own.
	w.grant(asCarol, 2, "lrsi")
	res = ok[CopyResult](t)(w.CopyBetween(ctx, own, inbox, All(), g, 2))
	to := ok[*View](t)(g.Open(ctx, 2)).Snapshot()
	equal(t, "copied", to.Len(), 5)
	equal(t, "flags", to.Row(1).Flags, Mask{uint64(Seen)})
	equal(t, "unseen for the guest", to.Status().Unseen, 3)
	equal(t, "unseen for the owner", ok[Info](t)(a.Status(2)).Unseen, 5)
	w.grant(asCarol, 2, "li")
	res = ok[CopyResult](t)(w.CopyBetween(ctx, own, inbox, All(), g, 2))
	if len(res.Dest) != 0 || res.UIDValidity != 0 {
		t.Fatalf("who may not read is told %+v", res)
	}
	w.checkAll(acct, carol)
	// The copies live on when the account they came from is removed.
	id := mine.Snapshot().Email(1)
	w.update(func(tx kv.Tx) error { return w.Remove(tx, acct) })
	ok[int](t)(w.Sweep(ctx, acct, began))
	got = nil
	read(own, id, &got)
	if !bytes.Equal(want, got) {
		t.Fatalf("%q", got)
	}
	w.checkAll(carol)
}

// TestReplace exchanges a message within a full quota (RFC 8508 §3.4, IM8, IM13).
func TestReplace(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 4, Seen)
	small, large := w.stage(letter(0)), w.stage(letter(49))
	used := a.Usage().Used
	if err := a.SetQuota(ctx, Quota{Bytes: used.Bytes, Messages: 2}); err != nil {
		t.Fatal(err)
	}
	_, err := a.Append(ctx, inbox, []AppendMessage{{Message: small}})
	wantKind(t, err, postino.Full)
	_, _, err = a.Replace(ctx, inbox, 1, 2, AppendMessage{Message: large})
	wantKind(t, err, postino.Full)
	equal(t, "used", a.Usage().Used, used)
	_, _, err = a.Replace(ctx, inbox, 77, 2, AppendMessage{Message: small})
	wantKind(t, err, postino.NotFound)
	_, _, err = a.Replace(ctx, inbox, 1, 99, AppendMessage{Message: small})
	wantKind(t, err, postino.NotFound)
	res, gone, err := a.Replace(ctx, inbox, 4, inbox, AppendMessage{Message: w.stage(letter(1)), Flags: Draft, Date: began})
	if err != nil || res.UIDs != (Range{5, 5}) || gone.Expunged[0] != (Range{4, 4}) || gone.ModSeq == 0 || gone.Snapshot.Len() != 4 {
		t.Fatalf("%+v %+v %v", res, gone, err)
	}
	equal(t, "flags", gone.Snapshot.Row(3).Flags.System(), Draft)
	equal(t, "messages", a.Usage().Used.Messages, 4)
	equal(t, "quota", a.Usage().Limit, Quota{Bytes: used.Bytes, Messages: 2})
	w.check()
}

func TestQuotaOfMailboxesIM13(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	if err := a.SetQuota(ctx, Quota{Mailboxes: 8}); err != nil {
		t.Fatal(err)
	}
	ok[Info](t)(a.Create(ctx, "x", UseNone))
	_, err := a.Create(ctx, "y/z", UseNone)
	wantKind(t, err, postino.Full)
	equal(t, "mailboxes", a.Usage(), Usage{Limit: Quota{Mailboxes: 8}, Used: Quota{Mailboxes: 7}})
	ok[Info](t)(a.Create(ctx, "x/z", UseNone))
	wantKind(t, a.Rename(ctx, 8, "v/w"), postino.Full)
	wantKind(t, a.SetQuota(ctx, Quota{Mailboxes: -1}), postino.Invalid)
	w.check()
	w.reopen()
	b := w.account()
	defer b.Close()
	equal(t, "mailboxes", b.Usage().Used.Mailboxes, 8)
	owner := ok[*Account](t)(w.AccountFor(ctx, acct, Viewer{Account: acct}))
	defer owner.Close()
	wantKind(t, owner.SetQuota(ctx, Quota{}), postino.Denied)
}
