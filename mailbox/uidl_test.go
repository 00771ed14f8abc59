package mailbox

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

func (w *world) uidls(box MailboxID) map[UID]string {
	w.Helper()
	a := w.account()
	defer a.Close()
	ids, err := a.UIDLs(context.Background(), box)
	if err != nil {
		w.Fatal(err)
	}
	return ids
}

// TestUIDLs: unique-ids that messages brought along stay with them and go with them.
func TestUIDLs(t *testing.T) { // IM12
	w := newWorld(t, Options{})
	ctx := context.Background()
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 520, 0)
	want := map[UID]string{1: "first", 2: strings.Repeat("~", 70), 511: "!", 512: "x", 520: "last"}
	given := maps.Clone(want)
	given[1000] = "ofNobody"
	if err := a.SetUIDLs(ctx, inbox, given); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if got := w.uidls(inbox); !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	check()
	w.reopenAs(&a)
	check()
	if _, err := a.Destroy(ctx, inbox, Ranges{{2, 2}, {512, 520}}); err != nil {
		t.Fatal(err)
	}
	delete(want, 2)
	delete(want, 512)
	delete(want, 520)
	if err := w.Fold(ctx, acct); err != nil {
		t.Fatal(err)
	}
	check()
	n := 0
	err := w.db.View(ctx, nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix(accountKey(nil, acct, keyUIDL)), func(_, _ []byte) bool { n++; return true })
	})
	if err != nil || n != 1 {
		t.Errorf("%d rows left, %v", n, err)
	}
	w.check()
}

// TestUIDLsThatCannotBe: RFC 1939 §7.
func TestUIDLsThatCannotBe(t *testing.T) {
	w := newWorld(t, Options{})
	ctx := context.Background()
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 5, 0)
	info, _ := a.Status(inbox)
	own := func(uid UID) string { return string(AppendUIDL(nil, info.UIDValidity, uid)) }
	if err := a.SetUIDLs(ctx, inbox, map[UID]string{1: "a", 2: own(2)}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		ids  map[UID]string
		kind postino.Kind
	}{
		{"empty", map[UID]string{3: ""}, postino.Invalid},
		{"too long", map[UID]string{3: strings.Repeat("x", 71)}, postino.Invalid},
		{"space", map[UID]string{3: "a b"}, postino.Invalid},
		{"beyond ASCII", map[UID]string{3: "\x7f"}, postino.Invalid},
		{"twice", map[UID]string{3: "b", 4: "b"}, postino.Conflict},
		{"another's", map[UID]string{3: "a"}, postino.Conflict},
		{"another's by default", map[UID]string{3: own(5)}, postino.Conflict},
		{"that of one to come", map[UID]string{3: own(99)}, postino.Conflict},
	} {
		if err := a.SetUIDLs(ctx, inbox, x.ids); !postino.Is(err, x.kind) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if err := a.SetUIDLs(ctx, 99, map[UID]string{3: "c"}); !postino.Is(err, postino.NotFound) {
		t.Error(err)
	}
	if got := w.uidls(inbox); len(got) != 2 {
		t.Errorf("refused unique-ids were kept: %v", got)
	}
}

// TestUIDLsOfNewcomers: a checkpoint that began before messages came does not take
// their unique-ids.
func TestUIDLsOfNewcomers(t *testing.T) {
	w := newWorld(t, Options{})
	ctx := context.Background()
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 3, 0)
	if _, err := a.Destroy(ctx, inbox, All()); err != nil {
		t.Fatal(err)
	}
	var f *folding
	err := w.db.View(ctx, nil, func(r kv.Reader) (err error) { f, err = w.readFolding(r, acct); return err })
	if err != nil {
		t.Fatal(err)
	}
	f.writes = append(f.writes, chunkWrite{box: inbox, next: 4})
	w.append(a, inbox, 1, 0)
	if err := a.SetUIDLs(ctx, inbox, map[UID]string{4: "new"}); err != nil {
		t.Fatal(err)
	}
	w.update(func(tx kv.Tx) error {
		h, err := readHead(tx, acct)
		if err != nil {
			return err
		}
		_, err = newWriter(w.Store, tx, acct, h, began).writeChunks(f)
		return err
	})
	if got := w.uidls(inbox); got[4] != "new" {
		t.Errorf("got %v", got)
	}
}

// TestEndSession: one commit, and counters that equal a recount.
func TestEndSession(t *testing.T) { // IM12, IM13
	w := newWorld(t, Options{})
	ctx := context.Background()
	a := w.account()
	defer a.Close()
	w.append(a, inbox, 6, 0)
	w.append(a, inbox, 2, Seen)
	before := a.ModSeq()
	res, err := a.EndSession(ctx, inbox, Ranges{{2, 3}, {7, 7}, {50, 60}}, Ranges{{1, 4}, {8, 8}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := a.Status(inbox); got.Messages != 5 || got.Unseen != 2 || res.Expunged.Count() != 3 {
		t.Errorf("%+v, %+v", got, res)
	}
	for i, want := range []UID{1, 4, 5, 6, 8} {
		r := res.Snapshot.Row(i)
		if seen := r.Flags.System()&Seen != 0; r.UID != want || seen != (want == 1 || want == 4 || want == 8) {
			t.Errorf("message %d is %+v", i, r)
		}
	}
	if got := a.ModSeq() - before; got != 2 {
		t.Errorf("%d changes", got)
	}
	w.check()
	before = a.ModSeq()
	if _, err := a.EndSession(ctx, inbox, Ranges{{2, 3}}, Ranges{{8, 8}}); err != nil || a.ModSeq() != before {
		t.Errorf("nothing to do: %v, %d", err, a.ModSeq()-before)
	}
	if _, err := a.EndSession(ctx, 99, Ranges{{2, 3}}, nil); !postino.Is(err, postino.NotFound) {
		t.Error(err)
	}
	w.check()
}

// reopenAs opens the store again and makes the handle anew.
func (w *world) reopenAs(a **Account) {
	w.Helper()
	(*a).Close()
	w.reopen()
	*a = w.account()
}

// TestCheckUIDLs: Check finds unique-ids that nothing could have written (IM12).
func TestCheckUIDLs(t *testing.T) {
	ctx := context.Background()
	row := func(ids map[UID]string) []byte {
		return appendUIDLs(nil, slices.Sorted(maps.Keys(ids)), ids)
	}
	for name, c := range map[string]struct {
		key   []byte
		value []byte
		want  string
	}{
		"damaged":          {uidlKey(nil, acct, inbox, 0), []byte{uidlVersion, 9}, "unique-ids 0 of mailbox 1: "},
		"no mailbox":       {uidlKey(nil, acct, 99, 0), row(map[UID]string{1: "a"}), "are of no mailbox"},
		"another chunk":    {uidlKey(nil, acct, inbox, 3), row(map[UID]string{1: "a"}), "unique-ids 3 of mailbox 1: have UID 1"},
		"beyond the end":   {uidlKey(nil, acct, inbox, 0), row(map[UID]string{4: "a"}), "have UID 4"},
		"two alike":        {uidlKey(nil, acct, inbox, 0), row(map[UID]string{1: "a", 2: "a"}), "same as of message"},
		"all that is well": {uidlKey(nil, acct, inbox, 0), row(map[UID]string{1: "a", 3: "b"}), ""},
	} {
		w := newWorld(t, Options{})
		a := w.account()
		w.append(a, inbox, 3, 0)
		if _, err := a.Destroy(ctx, inbox, Ranges{{3, 3}}); err != nil { // until the log is folded its unique-id may stay
			t.Fatal(err)
		}
		if err := w.db.Update(ctx, nil, func(tx kv.Tx) error { return tx.Set(c.key, c.value) }); err != nil {
			t.Fatal(err)
		}
		problems, err := w.Check(ctx, acct)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if len(problems) > 0 {
				t.Errorf("%s: %v", name, problems)
			}
		} else if len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) {
			t.Errorf("%s: %v, want %q", name, problems, c.want)
		}
		a.Close()
	}
}
