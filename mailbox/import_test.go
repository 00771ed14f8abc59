package mailbox

import (
	"fmt"
	"slices"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// moving makes a request of messages with these UIDs (0: fresh) and items.
func (w *world) moving(box MailboxID, validity uint32, uids ...UID) ImportRequest {
	req := ImportRequest{Source: "there", SourceValidity: validity, UIDValidity: validity}
	for i, u := range uids {
		m := ImportMessage{Mailbox: box, UID: u, Item: fmt.Sprint(box, "/", validity, "/", u, "/", i)}
		m.Message, m.Date = w.stage(letter(i)), began
		req.Messages = append(req.Messages, m)
	}
	return req
}

// TestImportKeepsUIDs is IM9 for mail that moves in.
func TestImportKeepsUIDs(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	ctx := t.Context()
	req := w.moving(inbox, 4711, 3, 4, 9, 2000, 2001)
	done, err := a.Import(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	for i, u := range []UID{3, 4, 9, 2000, 2001} {
		if done[i].UID != u || done[i].Again {
			t.Errorf("message %d: %+v, want UID %d", i, done[i], u)
		}
	}
	box, _ := a.Mailbox("INBOX")
	if box.UIDValidity != 4711 || box.UIDNext != 2002 || box.Messages != 5 {
		t.Errorf("INBOX is %+v", box.Status)
	}
	// The same once more changes nothing.
	again := w.moving(inbox, 4711, 3, 4, 9, 2000, 2001)
	if done, err = a.Import(ctx, again); err != nil || !done[4].Again || done[4].UID != 2001 {
		t.Errorf("again: %+v, %v", done, err)
	}
	for _, bad := range []struct {
		validity uint32
		uid      UID
	}{{4711, 2001}, {4712, 3000}, {4711, maxUID - 1}} {
		if _, err := a.Import(ctx, w.moving(inbox, bad.validity, bad.uid)); !postino.Is(err, postino.Conflict) {
			t.Errorf("UIDVALIDITY %d, UID %d: %v", bad.validity, bad.uid, err)
		}
	}
	if _, err := a.Import(ctx, w.moving(inbox, 0, 0)); err != nil {
		t.Error(err)
	}
	w.check()
	w.reopen()
	w.check()
	b := w.account()
	defer b.Close()
	if box, _ := b.Mailbox("INBOX"); box.UIDValidity != 4711 || box.UIDNext != 2003 || box.Messages != 6 {
		t.Errorf("INBOX after opening again: %+v", box.Status)
	}
	all, err := b.Imports(ctx, "there", []string{again.Messages[2].Item, "never"})
	if err != nil || all[0].UID != 9 || all[1].Mailbox != 0 {
		t.Errorf("journal: %+v, %v", all, err)
	}
}

// TestImportOldValidity is IM9: a UIDVALIDITY that a name had does not come back.
func TestImportOldValidity(t *testing.T) {
	for _, lose := range []string{"delete", "rename", "rename parent"} {
		t.Run(lose, func(t *testing.T) {
			w := newWorld(t, Options{})
			a := w.account()
			defer a.Close()
			ctx := t.Context()
			box, err := a.Newborn(ctx, "Top/Box", UseNone)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Import(ctx, w.moving(box.ID, 100, 5)); err != nil {
				t.Fatal(err)
			}
			switch lose {
			case "delete":
				err = a.Delete(ctx, box.ID)
			case "rename":
				err = a.Rename(ctx, box.ID, "Other")
			default:
				top, _ := a.Mailbox("Top")
				err = a.Rename(ctx, top.ID, "Other")
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := a.ForgetImport(ctx, "there"); err != nil {
				t.Fatal(err)
			}
			if _, known, _ := a.ImportedFrom(ctx, "there"); known {
				t.Error("the journal still knows the source")
			}
			if box, err = a.Newborn(ctx, "Top/Box", UseNone); err != nil {
				t.Fatal(err)
			}
			for _, v := range []uint32{99, 100} {
				if _, err := a.Import(ctx, w.moving(box.ID, v, 6)); !postino.Is(err, postino.Conflict) {
					t.Errorf("UIDVALIDITY %d: %v", v, err)
				}
			}
			if _, err := a.Import(ctx, w.moving(box.ID, 101, 6)); err != nil {
				t.Errorf("UIDVALIDITY 101: %v", err)
			}
			w.check()
		})
	}
}

func TestImportQuotaUIDLsKeywords(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	ctx := t.Context()
	w.update(func(tx kv.Tx) error { return w.SetQuota(tx, acct, Quota{Messages: 2}) })
	if err := a.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	req := w.moving(inbox, 7, 1, 2, 3)
	req.Messages[0].UIDL, req.Messages[1].UIDL, req.Messages[2].UIDL = "first", "first", "no good"
	req.Messages[0].Keywords = []string{"good", "not good"}
	if _, err := a.Import(ctx, req); !postino.Is(err, postino.Full) {
		t.Errorf("over quota: %v", err)
	}
	if box, _ := a.Mailbox("INBOX"); box.Messages != 0 || box.UIDValidity == 7 {
		t.Errorf("what failed changed INBOX: %+v", box.Status)
	}
	req.OverQuota = true
	done, err := a.Import(ctx, req)
	if err != nil || !slices.Equal(done[0].Dropped, []string{"not good"}) {
		t.Fatalf("%+v, %v", done, err)
	}
	if u := a.Usage(); u.Limit.Messages != 2 || u.Used.Messages != 3 {
		t.Errorf("usage %+v", u)
	}
	ids, err := a.UIDLs(ctx, inbox)
	if err != nil || len(ids) != 1 || ids[1] != "first" {
		t.Errorf("unique-ids %v, %v", ids, err)
	}
	w.check()
}
