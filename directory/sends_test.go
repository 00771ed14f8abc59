package directory

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/vfs"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func TestTakeSend(t *testing.T) { // SS22
	var log bytes.Buffer
	d, _ := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := t.Context()
	take := func(user uint64, n int, at time.Duration, why string) {
		t.Helper()
		err := d.TakeSend(ctx, user, n, noon.Add(at))
		if why == "" {
			ok(t, err)
		} else {
			want(t, err, postino.Full, why)
		}
	}
	take(1, 400, 0, "")
	take(1, 101, 0, "limit of 500 recipients in an hour")
	take(1, 100, 50*time.Minute, "")
	take(1, 1, 59*time.Minute, "500 recipients in an hour")
	take(2, 500, 0, "") // each user for himself
	take(1, 400, 66*time.Minute, "")
	take(1, 1, 66*time.Minute, "500 recipients in an hour")
	for i := range 2 {
		take(1, 500, time.Duration(4+2*i)*time.Hour, "")
	}
	take(1, 101, 12*time.Hour, "limit of 2000 recipients in a day")
	take(1, 100, 12*time.Hour, "")
	take(1, 1, 23*time.Hour, "2000 recipients in a day")
	take(1, 500, 26*time.Hour, "")
	take(1, 501, 48*time.Hour, "500 recipients in an hour")
	take(0, 1<<30, 0, "") // nobody has no limits
	take(1, 0, 26*time.Hour, "")
	want(t, d.TakeSend(ctx, 99, 1, noon), postino.NotFound, "no such user")
	if n := strings.Count(log.String(), "reached a limit"); n != 5 { // not twice within an hour
		t.Errorf("%d alerts:\n%s", n, log.String())
	}

	_, err := d.UpdateUser(ctx, addr("bob@example.org"), func(u *User) { u.Sends = SendLimits{Hour: NoSendLimit, Day: 10_000} })
	ok(t, err)
	take(2, 9_500, time.Minute, "")
	take(2, 1, time.Minute, "10000 recipients in a day")
	_, err = d.UpdateUser(ctx, addr("bob@example.org"), func(u *User) { u.Sends.Day = NoSendLimit })
	ok(t, err)
	take(2, 1_000_000, time.Minute, "")
	_, err = d.UpdateUser(ctx, addr("bob@example.org"), func(u *User) { u.Sends.Hour = -2 })
	want(t, err, postino.Invalid, "negative")
}

// In every 60 minutes and every 24 hours no more recipients are let through than the
// limits say, whatever the clock does meanwhile, and after a while some are
// again.
func TestLimitsHoldInEveryWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := SendLimits{Hour: 20, Day: 60}
		var c tallies
		type taken struct {
			at time.Time
			n  int
		}
		var all []taken
		now := noon
		for range 200 {
			now = now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 17 * time.Minute, time.Hour, 5 * time.Hour}).Draw(t, "pause"))
			n := rapid.IntRange(1, 10).Draw(t, "n")
			c.advance(now)
			if limits.allow(&c, n) == nil {
				c.add(n)
				all = append(all, taken{now, n})
			}
			hour, day := 0, 0
			for _, x := range all {
				if now.Sub(x.at) < time.Hour {
					hour += x.n
				}
				if now.Sub(x.at) < 24*time.Hour {
					day += x.n
				}
			}
			if hour > limits.Hour || day > limits.Day {
				t.Fatalf("%d in an hour, %d in a day", hour, day)
			}
		}
		c.advance(now.Add(25 * time.Hour))
		if err := limits.allow(&c, limits.Hour); err != nil {
			t.Fatal(err)
		}
	})
}

// Merging what two took is what one would have taken, in any order.
func TestMergeOfWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var one, a, b window
		slot := int64(1000)
		for range 60 {
			slot += rapid.Int64Range(0, 3).Draw(t, "step")
			w := rapid.SampledFrom([]*window{&a, &b}).Draw(t, "who")
			w.advance(slot, hourShape)
			w.add(1)
			one.advance(slot, hourShape)
			one.add(1)
		}
		for _, pair := range [][2]window{{a, b}, {b, a}} {
			var m window
			m.merge(&pair[0], hourShape)
			m.merge(&pair[1], hourShape)
			if m.advance(slot, hourShape); m.sum() != one.sum() {
				t.Fatalf("merged %v, want %v", m, one)
			}
		}
	})
}

func TestClockThatGoesBack(t *testing.T) {
	var w window
	w.advance(1000, hourShape)
	w.add(5)
	if w.advance(998, hourShape); w.sum() != 5 || w.Last != 1000 {
		t.Errorf("a little: %v", w)
	}
	if w.advance(400, hourShape); w.sum() != 0 || w.Last != 400 {
		t.Errorf("far: %v", w)
	}
}

// What was counted is there after a restart, but for the last seconds before a
// crash, and never more than a tenth of the limit is forgotten.
func TestCountsSurvive(t *testing.T) {
	for seed := range uint64(4) {
		fs := vfs.Memory()
		db := openStore(t, fs)
		d := New(db, Options{Argon2: cheap})
		ctx := t.Context()
		ok(t, d.AddDomain(ctx, Domain{Name: "example.org"}))
		u := addUser(t, d, NewUser{Address: addr("u@example.org")})
		now := time.Now()
		for range 137 {
			ok(t, d.TakeSend(ctx, u.ID, 1, now))
		}
		after := fs.Crash(int(seed)*33, seed)
		d.Close()
		ok(t, db.Close())
		db = openStore(t, after)
		d = New(db, Options{Argon2: cheap})
		sent, _, err := d.SendCounts(ctx, u.ID, now)
		ok(t, err)
		if sent.Hour < 100 || sent.Hour > 137 || sent.Day != sent.Hour {
			t.Errorf("after a crash %v are counted", sent)
		}
		ok(t, d.TakeSend(ctx, u.ID, 3, now))
		d.Close()
		d = New(db, Options{Argon2: cheap})
		if got, _, err := d.SendCounts(ctx, u.ID, now); err != nil || got.Hour != sent.Hour+3 {
			t.Errorf("after a stop %v are counted, %v", got, err)
		}
		d.Close()
		ok(t, db.Close())
	}
}

// Two nodes on one store count together, and a failing store stops no mail.
func TestCountsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, db := open(t, Options{})
		other := New(db, Options{Argon2: cheap})
		defer other.Close()
		ctx := t.Context()
		for range 20 {
			ok(t, d.TakeSend(ctx, 1, 10, time.Now()))
			ok(t, other.TakeSend(ctx, 1, 10, time.Now()))
		}
		time.Sleep(saveEvery + time.Second)
		ok(t, d.TakeSend(ctx, 1, 1, time.Now()))
		ok(t, other.TakeSend(ctx, 1, 1, time.Now()))
		time.Sleep(saveEvery + time.Second)
		for _, x := range []*Directory{d, other} {
			if sent, _, err := x.SendCounts(ctx, 1, time.Now()); err != nil || sent.Hour < 401 || sent.Hour > 402 {
				t.Errorf("%v sent, %v", sent, err)
			}
		}
		db.mu.Lock()
		db.fail = errors.New("disk on fire")
		db.mu.Unlock()
		for range 60 {
			ok(t, d.TakeSend(ctx, 1, 1, time.Now()))
		}
		want(t, d.TakeSend(ctx, 1, 60, time.Now()), postino.Full, "500 recipients")
		db.mu.Lock()
		db.fail = nil
		db.mu.Unlock()
		time.Sleep(saveEvery + time.Second)
		if sent, _, err := d.SendCounts(ctx, 1, time.Now()); err != nil || sent.Hour != 462 {
			t.Errorf("%v sent, %v", sent, err)
		}
	})
}

// The table of users has an end, and what it drops is not forgotten (G10).
func TestCountsOfManyUsers(t *testing.T) {
	d, _ := open(t, Options{})
	ctx := t.Context()
	d.sends.max = 4
	var users []uint64
	for i := range 20 {
		users = append(users, addUser(t, d, NewUser{Address: addr(fmt.Sprintf("u%d@example.org", i))}).ID)
	}
	var wg sync.WaitGroup
	for _, id := range users {
		wg.Go(func() {
			for range 5 {
				if err := d.TakeSend(ctx, id, 1, noon); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, id := range users {
		if sent, _, err := d.SendCounts(ctx, id, noon); err != nil || sent.Hour != 5 {
			t.Errorf("user %d sent %v, %v", id, sent, err)
		}
	}
	if len(d.sends.users) > 4 {
		t.Errorf("%d users are kept", len(d.sends.users))
	}
}

// Whatever is stored, counting goes on.
func FuzzTallies(f *testing.F) {
	f.Add([]byte(`{"Hour":{"Last":5666666,"Counts":[0,0,0,0,0,7,0,0,0,0,0,0,0]},"Day":{"Last":-1,"Counts":[1]}}`), int64(1_700_000_000))
	f.Fuzz(func(t *testing.T, b []byte, sec int64) {
		var c, m tallies
		if decode(key('s'), append([]byte{version}, b...), &c) != nil {
			return
		}
		m.merge(&c)
		c.merge(&c)
		for _, x := range []*tallies{&c, &m} {
			x.advance(time.Unix(sec, 0))
			x.add(1)
			if (SendLimits{Hour: 0, Day: 0}).allow(x, 1) == nil {
				t.Error("nothing is allowed, and was")
			}
		}
	})
}

func BenchmarkTakeSend(b *testing.B) {
	db := openStore(b, vfs.Memory())
	defer db.Close()
	d := New(db, Options{Argon2: cheap, Sends: SendLimits{Hour: 1 << 40, Day: 1 << 40}})
	defer d.Close()
	ok(b, d.AddDomain(b.Context(), Domain{Name: "example.org"}))
	u := addUser(b, d, NewUser{Address: addr("u@example.org")})
	b.ReportAllocs()
	for b.Loop() {
		if err := d.TakeSend(b.Context(), u.ID, 3, noon); err != nil {
			b.Fatal(err)
		}
	}
}
