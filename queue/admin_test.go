package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

// Many items are changed by what they have in common, in memory and in the
// store, with a count before and progress meanwhile.
func TestFilters(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		n.answer = dead("dead.example", "slow.example")
		q := h.relay(n, Options{Limits: Limits{Ready: 200}})
		for i := range 300 {
			h.post(q, letter([]string{"dead.example", "slow.example", "Fine.example"}[i%3], func(it *Item) {
				if i%2 == 0 {
					it.From = postino.Address{}
				}
				it.Rcpts[0].Address.Local = fmt.Sprint("bob", i%10)
			}))
		}
		for name, tc := range map[string]struct {
			f    Filter
			want int
		}{
			"all":        {Filter{}, 300},
			"site":       {Filter{Dest: "dead.example"}, 100},
			"null":       {Filter{Sender: "<>"}, 150},
			"sender":     {Filter{Sender: "ANA@"}, 150},
			"recipient":  {Filter{Recipient: "bob3@"}, 30},
			"domain":     {Filter{Domain: "fine.example", Transport: remote}, 100},
			"transport":  {Filter{Transport: "shelf"}, 0},
			"too young":  {Filter{Older: time.Hour}, 0},
			"two things": {Filter{Dest: "slow.example", Sender: "<>"}, 50},
		} {
			if d, err := q.Count(context.Background(), tc.f, nil); err != nil || d.Matched != tc.want {
				t.Errorf("%s: %+v, %v, want %d", name, d, err, tc.want)
			}
		}
		calls := 0
		d, err := q.Hold(context.Background(), Filter{Dest: "Fine.example"}, "let me see", func(Changes) { calls++ })
		if err != nil || d.Changed != 100 || calls == 0 || h.rows("qh") != 100 {
			t.Errorf("Hold: %+v, %v, %d held", d, err, h.rows("qh"))
		}
		h.start(q)
		soon(30 * time.Second)
		if d, err := q.Count(context.Background(), Filter{Reason: "REFUSED"}, nil); err != nil || d.Matched < 50 {
			t.Errorf("by reason: %+v, %v", d, err)
		}
		groups, err := q.Summary(context.Background(), 2, nil)
		if err != nil || len(groups) != 3 || groups[0].Count < 95 || groups[2].Dest != Others || groups[0].Count+groups[1].Count+groups[2].Count != 300 {
			t.Errorf("Summary: %+v, %v", groups, err)
		}
		if top := q.Top(5); len(top) != 2 || top[0].Health != "closed" {
			t.Errorf("Top: %+v", top)
		}
		if d, err := q.Remove(context.Background(), Filter{Dest: "slow.example"}, "spam", nil); err != nil || d.Changed != 100 {
			t.Errorf("Remove: %+v, %v", d, err)
		}
		if d, err := q.Release(context.Background(), Filter{Reason: "let me"}, nil); err != nil || d.Changed != 100 {
			t.Errorf("Release: %+v, %v", d, err)
		}
		soon(time.Second)
		if n.relayed() != 100 {
			t.Errorf("%d relayed after release", n.relayed())
		}
		n.say(nil)
		if d, err := q.Retry(context.Background(), Filter{Dest: "dead.example"}, true, nil); err != nil || d.Changed != 100 {
			t.Errorf("Retry: %+v, %v", d, err)
		}
		soon(time.Second)
		if n.relayed() != 200 || h.rows("q") != 0 || h.rows("br") != 0 {
			t.Errorf("%d relayed in the end, %d rows and %d references left", n.relayed(), h.rows("q"), h.rows("br"))
		}
	})
}

// An item is split where its recipients lead to different places now.
func TestReroute(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		q := h.relay(n, Options{})
		it := h.post(q, letter("old.example", func(it *Item) {
			for i := 1; i < 6; i++ {
				it.Rcpts = append(it.Rcpts, it.Rcpts[0])
			}
			for i := range it.Rcpts {
				it.Rcpts[i].Address.Local = fmt.Sprint("r", i)
			}
		}))
		lead := func(it *Item) (string, string, error) {
			switch r := &it.Rcpts[0]; r.Address.Local {
			case "r0", "r3":
				return remote, "one.example", nil
			case "r1":
				r.Account = 7
				return "shelf", "", nil
			}
			return remote, "two.example", nil
		}
		if _, err := q.Reroute(context.Background(), Filter{}, func(*Item) (string, string, error) { return "pigeon", "", nil }, nil); !postino.Is(err, postino.Invalid) {
			t.Errorf("unknown transport: %v", err)
		}
		d, err := q.Reroute(context.Background(), Filter{Dest: "old.example"}, lead, nil)
		if err != nil || d.Changed != 1 || h.rows("qw") != 3 || h.rows("br") != 3 {
			t.Errorf("Reroute: %+v, %v, %d items, %d references", d, err, h.rows("qw"), h.rows("br"))
		}
		h.start(q)
		soon(time.Minute)
		total := 0
		for _, count := range n.sent {
			total += count
		}
		if n.attempts("one.example") != 1 || n.attempts("two.example") != 1 || total != 5 || h.shelved() != 1 || h.rows("q") != 0 {
			t.Errorf("%v relayed, %d delivered, %d rows left", n.sent, h.shelved(), h.rows("q"))
		}
		if kinds := h.kinds(it.Message); !strings.HasPrefix(kinds, "accepted queued ") {
			t.Errorf("story: %s", kinds)
		}
	})
}

// PutIn is part of the caller's transaction: nothing of it remains when that
// fails, and a closure that runs twice puts one message.
func TestPutIn(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		q := h.relay(n, Options{})
		h.start(q)
		first := h.post(q, letter("b.example", func(it *Item) { it.HoldUntil = time.Now().Add(time.Hour) }))
		forward := letter("c.example", func(it *Item) { it.Blob, it.Size, it.Message = first.Blob, first.Size, first.Message })
		m := &Message{Items: []*Item{forward}}
		for _, fail := range []bool{true, false} {
			var committed func()
			err := h.db.Update(context.Background(), nil, func(tx kv.Tx) (err error) {
				for range 2 {
					if committed, err = q.PutIn(tx, m); err != nil {
						return err
					}
				}
				if fail {
					return errors.New("not today")
				}
				return nil
			})
			if (err != nil) != fail {
				t.Fatal(err)
			}
			if !fail {
				committed()
			}
			soon(time.Second)
			if want := map[bool]int{true: 0, false: 1}[fail]; n.attempts("c.example") != want {
				t.Errorf("failed %v: %d attempts", fail, n.attempts("c.example"))
			}
		}
		soon(2 * time.Hour)
		if n.relayed() != 2 || h.rows("q") != 0 || h.rows("br") != 0 {
			t.Errorf("%d relayed, %d rows and %d references left", n.relayed(), h.rows("q"), h.rows("br"))
		}
	})
}
