package mailbox

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

// digest writes down all that clients can see of the account, and of another one.
func (w *world) digest(a *Account) string {
	w.Helper()
	var out strings.Builder
	w.digestOf(&out, a)
	c := ok[*Account](w.TB)(w.Account(ctx, carol))
	defer c.Close()
	w.digestOf(&out, c)
	return out.String()
}

func (w *world) digestOf(out *strings.Builder, a *Account) {
	w.Helper()
	fmt.Fprintln(out, a.ModSeq(), a.Usage(), a.Subscriptions())
	for _, m := range a.Mailboxes() {
		fmt.Fprintf(out, "%+v\n", m)
		s := ok[*View](w.TB)(a.Open(ctx, m.ID)).Snapshot()
		for _, r := range s.Rows(0, s.Len()) {
			fmt.Fprintf(out, " %+v\n", r)
		}
		fmt.Fprintln(out, ok[[]ACLEntry](w.TB)(a.ACL(ctx, m.ID)), notes(ok[[]Annotation](w.TB)(a.Metadata(ctx, m.ID, nil))))
		// What a guest sees of it; he has l there while he is asked.
		g := ok[*Account](w.TB)(w.Account(ctx, a.id))
		g.role, g.lens = asGuest, g.lensFor(asCarol)
		if i, err := g.Status(m.ID); err == nil {
			s := ok[*View](w.TB)(g.Open(ctx, m.ID)).Snapshot()
			fmt.Fprintf(out, "guest %+v\n", i)
			for _, r := range s.Rows(0, s.Len()) {
				fmt.Fprintf(out, " %d %x %d", r.UID, r.Flags[0], r.ModSeq)
			}
		}
		g.Close()
	}
}

// crashSteps is a life of an account in which every operation occurs.
func crashSteps(w *world, a *Account) []func() error {
	var archive MailboxID
	var other *Account // of the guest
	add := func(box MailboxID, n int) func() error {
		return func() error {
			var msgs []AppendMessage
			for i := range n {
				msgs = append(msgs, AppendMessage{Message: w.stage(letter(i)), Date: began})
			}
			_, err := a.Append(ctx, box, msgs)
			return err
		}
	}
	flag := func(r Range, f Flags) func() error {
		return func() error {
			_, err := a.Store(ctx, inbox, StoreRequest{UIDs: Ranges{r}, Flags: f, Keywords: []string{"$Work"}})
			return err
		}
	}
	fold := func() error { return w.Fold(ctx, acct) }
	return []func() error{
		add(inbox, 20), add(inbox, 1), flag(Range{1, 10}, Deleted), add(4, 600), fold,
		func() error { _, err := a.Copy(ctx, inbox, Ranges{{1, 12}}, 2); return err },
		func() error { _, err := a.Move(ctx, inbox, Ranges{{3, 4}}, 2); return err },
		func() error { _, err := a.Expunge(ctx, inbox, All()); return err },
		fold,
		func() error { i, err := a.Create(ctx, "x/y", UseNone); archive = i.ID; return err },
		func() error { _, err := a.Move(ctx, 2, All(), archive); return err },
		func() error { return a.Rename(ctx, archive, "z") },
		flag(Range{11, 21}, Seen), fold,
		func() error { return a.Rename(ctx, inbox, "old") },
		func() error {
			m := w.stage(letter(5))
			err := w.db.Update(ctx, []kv.Scope{w.Scope(acct)}, func(tx kv.Tx) error {
				_, err := w.Deliver(tx, acct, Delivery{Message: m, Prefix: []byte("A: b\r\n"), Date: began})
				return err
			})
			if err == nil {
				err = a.Sync(ctx)
			}
			return err
		},
		func() error { return a.Delete(ctx, archive) },
		func() error { return a.Unsubscribe(ctx, "Junk") },
		fold, add(inbox, 3), fold,
		func() error {
			return a.SetACL(ctx, inbox, Subject{Account: carol}, false, ReplaceFlags, AllRights&^RightWrite)
		},
		func() error {
			g, err := w.AccountFor(ctx, acct, asCarol)
			if err != nil {
				return err
			}
			defer g.Close()
			_, err = g.Store(ctx, inbox, StoreRequest{UIDs: All(), Flags: Seen | Deleted})
			return err
		},
		func() error { return a.SetMetadata(ctx, inbox, []Annotation{{"/shared/comment", []byte("x")}}) },
		fold,
		func() (err error) {
			if other, err = w.Account(ctx, carol); err == nil {
				_, err = w.CopyBetween(ctx, other, inbox, All(), a, 2)
			}
			return err
		},
		func() error { _, err := w.MoveBetween(ctx, a, 2, All(), other, inbox); return err },
		func() error { defer other.Close(); return nil },
		func() error {
			_, _, err := a.Replace(ctx, inbox, a.published.Load().box(inbox).row.status.UIDNext-1, 3, AppendMessage{Message: w.stage(letter(7)), Date: began})
			return err
		},
		func() error {
			return a.SetACL(ctx, inbox, Subject{Account: carol}, false, RemoveFlags, RightDeleted)
		},
	}
}

// TestCrash cuts the power at every write of a life and looks whether what was
// acknowledged is there, and what was not is there wholly or not at all (QU2,
// IM8, IM9).
func TestCrash(t *testing.T) {
	type point struct {
		fs    *vfs.Mem
		acked int
	}
	var (
		mu     sync.Mutex
		points []point
		acked  = -1 // not yet to be taken
		n      uint64
	)
	mem := vfs.Memory()
	w := &world{TB: t, opts: Options{LogBytes: 600}}
	w.fs = vfs.Hook(mem, func(op vfs.Op) error {
		if !op.Writes() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; acked >= 0 && (!testing.Short() || n%4 == 0) {
			points = append(points, point{mem.Crash([]int{0, 50, 100}[n%3], n), acked})
		}
		return nil
	})
	w.open()
	defer w.db.Close()
	w.foldTx = 1 // a transaction for each chunk, so that folds are cut short
	w.update(func(tx kv.Tx) error { return w.Store.Create(tx, acct, Quota{}, began) })
	w.createAccount(carol)
	c := ok[*Account](t)(w.Account(ctx, carol))
	w.append(c, inbox, 3, Flagged)
	c.Close()
	a := w.account()
	defer a.Close()
	states := []string{w.digest(a)}
	for i, step := range crashSteps(w, a) {
		mu.Lock()
		acked = i
		mu.Unlock()
		if err := step(); err != nil {
			t.Fatal(i, err)
		}
		states = append(states, w.digest(a))
	}
	mu.Lock()
	acked = -1
	mu.Unlock()
	for _, p := range points {
		verifyPoint(t, p.fs, states, p.acked)
	}
	if len(points) < 20 {
		t.Fatalf("only %d points", len(points))
	}
	t.Logf("%d points", len(points))
}

func verifyPoint(t *testing.T, fs vfs.FS, states []string, acked int) {
	t.Helper()
	w := &world{TB: t, fs: fs}
	w.open()
	defer w.db.Close()
	a := w.account()
	defer a.Close()
	got := w.digest(a)
	if got != states[acked] && got != states[acked+1] {
		t.Fatalf("after a crash in step %d:\n%s\nwant\n%s\nor\n%s", acked, got, states[acked], states[acked+1])
	}
	w.checkAll(acct, carol)
	before := ok[Info](t)(a.Status(inbox)).UIDNext
	res := w.append(a, inbox, 1, 0)
	equal(t, "next UID", res.UIDs.Lo, before)
	if err := w.Fold(ctx, acct); err != nil {
		t.Fatal(err)
	}
	w.check()
}

// TestManyAtOnce lets sessions read, write and deliver side by side; every
// reader sees states that make sense.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, Options{FoldRecords: 16, Resident: 1})
	letters := make([]*Message, 400)
	for i := range letters {
		letters[i] = w.stage(letter(i))
	}
	var wg sync.WaitGroup
	run := func(name string, fn func(i int, a *Account, v *View) error) {
		wg.Go(func() {
			for i := range 100 {
				a, err := w.Account(ctx, acct)
				if err != nil {
					t.Error(err)
					return
				}
				v, err := a.Open(ctx, inbox)
				if err == nil {
					err = fn(i, a, v)
				}
				a.Close()
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	for k := range 2 {
		run("append", func(i int, a *Account, _ *View) error {
			_, err := a.Append(ctx, inbox, []AppendMessage{{Message: letters[k*100+i], Date: began}})
			return err
		})
		run("deliver", func(i int, _ *Account, _ *View) error {
			return w.db.Update(ctx, []kv.Scope{w.Scope(acct)}, func(tx kv.Tx) error {
				_, err := w.Deliver(tx, acct, Delivery{Message: letters[200+k*100+i], Date: began})
				return err
			})
		})
	}
	run("store", func(i int, a *Account, _ *View) error {
		_, err := a.Store(ctx, inbox, StoreRequest{UIDs: All(), Op: FlagOp(i % 2), Flags: Flagged})
		return err
	})
	run("move", func(i int, a *Account, _ *View) error {
		_, err := a.Move(ctx, inbox, Ranges{{UID(i), UID(i)}}, 2)
		return err
	})
	run("fold", func(i int, _ *Account, _ *View) error {
		if i%10 != 0 {
			return nil
		}
		return w.Fold(ctx, acct)
	})
	var session *Snapshot
	run("read", func(i int, _ *Account, v *View) error {
		s := v.Snapshot()
		if s.Len() != int(s.Status().Messages) {
			return fmt.Errorf("%d messages, the counter says %d", s.Len(), s.Status().Messages)
		}
		last := UID(0)
		for _, r := range s.Rows(0, s.Len()) {
			if r.UID <= last || r.UID >= s.Status().UIDNext {
				return fmt.Errorf("UID %d after %d, UIDNEXT %d", r.UID, last, s.Status().UIDNext)
			}
			last = r.UID
		}
		if session != nil {
			if d := session.Diff(s); session.Len()-len(d.Expunged)+s.Len()-d.First != s.Len() {
				return fmt.Errorf("%d messages, %d after %+v", session.Len(), s.Len(), d)
			}
		}
		session = s
		return nil
	})
	wg.Wait()
	a := w.account()
	defer a.Close()
	used := a.Usage().Used.Messages
	equal(t, "messages", used, 400)
	w.check()
}
