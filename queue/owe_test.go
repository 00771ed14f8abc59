package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postino-mail/postino"
)

// clerkship is a Reporter that writes one letter per call to the original sender.
type clerkship struct {
	h     *house
	fail  error
	mute  string
	mu    sync.Mutex
	calls []string // "recipient:debts …" of each call
	done  int
}

func (c *clerkship) Report(_ context.Context, it *Item, owed []int) (*Message, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text []string
	for _, i := range owed {
		r := &it.Rcpts[i]
		text = append(text, fmt.Sprintf("%s:%d %s", r.Address.Domain, r.Owed, r.Reply))
	}
	c.calls = append(c.calls, strings.Join(text, "|"))
	if c.fail != nil || c.mute != "" {
		return nil, c.mute, c.fail
	}
	w := c.h.blobs.Create(time.Now())
	fmt.Fprintf(w, "Subject: report\r\n\r\n%s\r\n", strings.Join(text, "|"))
	staged, err := w.Finish()
	if err != nil {
		return nil, "", err
	}
	report := letter("sender.example", func(r *Item) { r.From = postino.Address{} })
	report.Message = c.h.ids.Next(time.Now())
	return &Message{Staged: &staged, Items: []*Item{report}, Done: func() { w.Abort(); c.done++ }}, "", nil
}

func (c *clerkship) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.calls...)
}

func answer(o Outcome) func(*Item, *Batch) Outcome {
	return func(it *Item, _ *Batch) Outcome {
		if it.Dest == "sender.example" {
			return Outcome{Result: Relayed, DSN: true}
		}
		return o
	}
}

// What is owed follows from the outcome and what the sender asked for (RFC 3461
// §4.1, §5.2.2, RFC 2852 §4.1, RFC 5321 §4.5.5); each debt gives one report.
func TestOwed(t *testing.T) { // SC9
	failed := Outcome{Result: Rejected, Reply: "550 5.1.1 unknown", Remote: "mx.b.example"}
	relayed := Outcome{Result: Relayed}
	passed := Outcome{Result: Relayed, DSN: true}
	for name, tc := range map[string]struct {
		out    Outcome
		notify postino.DSNNotify
		with   func(*Item)
		want   Reports
	}{
		"failure":            {out: failed, want: OwedFailed},
		"failure asked":      {out: failed, notify: postino.DSNFailure, want: OwedFailed},
		"failure not asked":  {out: failed, notify: postino.DSNSuccess | postino.DSNDelay},
		"never":              {out: failed, notify: postino.DSNNever},
		"bounce":             {out: failed, with: func(it *Item) { it.From = postino.Address{} }},
		"relayed":            {out: relayed},
		"relayed asked":      {out: relayed, notify: postino.DSNSuccess, want: OwedRelayed},
		"relayed with DSN":   {out: passed, notify: postino.DSNSuccess},
		"delivered asked":    {out: Outcome{Result: Delivered}, notify: postino.DSNSuccess, want: OwedDelivered},
		"expanded asked":     {out: Outcome{Result: Expanded}, notify: postino.DSNSuccess, want: OwedExpanded},
		"trace":              {out: passed, with: func(it *Item) { it.DeliverBy = time.Now().Add(time.Hour); it.DeliverByTrace = true }, want: OwedRelayed},
		"by, not watched on": {out: passed, with: func(it *Item) { it.DeliverBy = time.Now().Add(time.Hour) }, want: OwedRelayed},
		"by, return":         {out: passed, with: func(it *Item) { it.DeliverBy = time.Now().Add(time.Hour); it.DeliverByReturn = true }},
		"by, never":          {out: passed, notify: postino.DSNNever, with: func(it *Item) { it.DeliverBy = time.Now().Add(time.Hour) }},
		"bounce asks for trace": {out: passed, with: func(it *Item) {
			it.From = postino.Address{}
			it.DeliverBy = time.Now().Add(time.Hour)
			it.DeliverByTrace = true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(h *house) {
				n, c := newInternet(), &clerkship{h: h}
				n.answer = answer(tc.out)
				q := h.relay(n, Options{Reporter: c})
				h.start(q)
				it := h.post(q, letter("b.example", func(it *Item) {
					it.Rcpts[0].Notify = tc.notify
					if tc.with != nil {
						tc.with(it)
					}
				}))
				soon(time.Minute)
				var want []string
				if tc.want != 0 {
					want = []string{fmt.Sprintf("b.example:%d %s", tc.want, tc.out.Reply)}
				}
				if got := c.said(); fmt.Sprint(got) != fmt.Sprint(want) || c.done != len(want) {
					t.Errorf("reports %q, want %q; %d done", got, want, c.done)
				}
				if h.rows("q") != 0 || h.rows("br") != 0 {
					t.Errorf("%d rows and %d references left", h.rows("q"), h.rows("br"))
				}
				kinds := h.kinds(it.Message)
				if strings.Contains(kinds, "bounced") != (tc.want != 0) {
					t.Errorf("story: %s", kinds)
				}
				if tc.out.Result == Rejected && tc.want == 0 && !strings.HasSuffix(kinds, "failed note ") {
					t.Errorf("story of a silent failure: %s", kinds)
				}
			})
		})
	}
}

// After four hours the sender is told once of the delay, after five days of the
// failure; mail of the null sender goes after one day without a word (QU7).
func TestNoticeAndExpiry(t *testing.T) { // QU7
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed=%v", alone), func(t *testing.T) {
			bubble(t, func(h *house) {
				n, c := newInternet(), &clerkship{h: h}
				n.answer = answer(Outcome{Result: Deferred, Reply: "450 4.2.0 later"})
				if alone { // the site is closed, and most items never get an attempt
					n.answer = dead("b.example")
				}
				q := h.relay(n, Options{Reporter: c})
				h.start(q)
				begin := time.Now()
				const items = 12
				for range items {
					h.post(q, letter("b.example"))
				}
				bounce := h.post(q, letter("b.example", func(it *Item) { it.From = postino.Address{} }))
				soon(4*time.Hour - time.Minute)
				if got := c.said(); len(got) != 0 {
					t.Errorf("reports too early: %q", got)
				}
				soon(35 * time.Minute)
				if got := c.said(); len(got) != items || !strings.HasPrefix(got[0], "b.example:2 4") {
					t.Errorf("notices: %q", got)
				}
				soon(21 * time.Hour)
				if _, err := q.Get(context.Background(), bounce.ID); !postino.Is(err, postino.NotFound) {
					t.Errorf("the bounce is still there: %v", err)
				}
				soon(time.Until(begin.Add(5*24*time.Hour + time.Hour)))
				got := c.said()
				if len(got) != 2*items || !strings.HasPrefix(got[items], "b.example:1 4") {
					t.Errorf("%d reports: %q", len(got), got)
				}
				if h.rows("q") != 0 || h.rows("br") != 0 {
					t.Errorf("%d rows and %d references left", h.rows("q"), h.rows("br"))
				}
			})
		})
	}
}

// DELIVERBY: with R the message comes back when its time is over and is not tried
// again, with N the sender is told and it stays (RFC 2852 §4.1.3).
func TestDeliverBy(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("return=%v", back), func(t *testing.T) {
			bubble(t, func(h *house) {
				n, c := newInternet(), &clerkship{h: h}
				n.answer = answer(Outcome{Result: Deferred, Reply: "450 4.2.0 later"})
				q := h.relay(n, Options{Reporter: c})
				h.start(q)
				h.post(q, letter("b.example", func(it *Item) { it.DeliverBy = time.Now().Add(17 * time.Minute); it.DeliverByReturn = back }))
				soon(18 * time.Minute)
				want, tries := "b.example:2 450 4.2.0 later", n.attempts("b.example")
				if back {
					want = "b.example:1 450 4.2.0 later"
				}
				if got := c.said(); len(got) != 1 || got[0] != want {
					t.Errorf("reports %q, want %q", got, want)
				}
				soon(3 * time.Hour)
				if more := n.attempts("b.example") > tries; more == back {
					t.Errorf("tried again: %v", more)
				}
			})
		})
	}
}

// A reporter that fails is asked again, one that has nothing to say ends the
// debt, and an item with recipients left goes on.
func TestReporterFails(t *testing.T) {
	bubble(t, func(h *house) {
		n, c := newInternet(), &clerkship{h: h, fail: errors.New("no paper")}
		tries := 0
		n.answer = func(it *Item, _ *Batch) Outcome {
			if it.Dest == "sender.example" {
				return Outcome{Result: Relayed}
			}
			if tries++; tries == 1 {
				return Outcome{Result: Rejected, Reply: "550 no"}
			}
			return Outcome{Result: Deferred, Reply: "450 later"}
		}
		q := h.relay(n, Options{Reporter: c})
		h.start(q)
		it := h.post(q, letter("b.example", func(it *Item) { it.Rcpts = append(it.Rcpts, it.Rcpts[0]) }))
		soon(30 * time.Minute)
		if got := len(c.said()); got < 2 || got > 4 {
			t.Errorf("the reporter was asked %d times", got)
		}
		got, err := q.Get(context.Background(), it.ID)
		if err != nil || got.Rcpts[0].Owed != OwedFailed || got.Rcpts[1].State != Pending || got.Attempts < 2 {
			t.Errorf("stored: %+v, %v", got, err)
		}
		c.mu.Lock()
		c.fail, c.mute = nil, "too many"
		c.mu.Unlock()
		soon(time.Hour)
		got, err = q.Get(context.Background(), it.ID)
		if err != nil || got.Rcpts[0].Owed != 0 || got.Rcpts[0].Told != OwedFailed {
			t.Errorf("stored: %+v, %v", got, err)
		}
		if kinds := h.kinds(it.Message); !strings.Contains(kinds, "note") {
			t.Errorf("story: %s", kinds)
		}
	})
}

// A recipient that failed and was reported has failed for good: an administrator
// who holds and releases the rest brings neither it nor its report again.
func TestReleaseAfterReport(t *testing.T) {
	bubble(t, func(h *house) {
		n, c := newInternet(), &clerkship{h: h}
		tries := 0
		n.answer = func(it *Item, _ *Batch) Outcome {
			if it.Dest == "sender.example" {
				return Outcome{Result: Relayed, DSN: true}
			}
			switch tries++; tries {
			case 1:
				return Outcome{Result: Rejected, Reply: "550 no"}
			case 2:
				return Outcome{Result: Deferred, Reply: "450 later"}
			}
			return Outcome{Result: Relayed, DSN: true}
		}
		q := h.relay(n, Options{Reporter: c})
		h.start(q)
		it := h.post(q, letter("b.example", func(it *Item) { it.Rcpts = append(it.Rcpts, it.Rcpts[0]) }))
		soon(time.Minute)
		if d, err := q.Hold(context.Background(), Filter{IDs: []postino.ID{it.ID}}, "a look", nil); err != nil || d.Changed != 1 {
			t.Fatalf("held: %+v, %v", d, err)
		}
		if d, err := q.Release(context.Background(), Filter{IDs: []postino.ID{it.ID}}, nil); err != nil || d.Changed != 1 {
			t.Fatalf("released: %+v, %v", d, err)
		}
		soon(time.Minute)
		if got := c.said(); len(got) != 1 || tries != 3 || h.rows("q") != 0 {
			t.Errorf("reports %q, %d tries, %d rows left", got, tries, h.rows("q"))
		}
	})
}

// A process that ended between the failure and its report leaves the debt to the
// next one.
func TestDebtSurvives(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		n.answer = answer(Outcome{Result: Rejected, Reply: "550 no"})
		q := h.relay(n, Options{Reporter: &clerkship{h: h, fail: errors.New("the process ends here")}})
		q.Start()
		h.post(q, letter("b.example"))
		soon(time.Minute)
		if err := q.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		c := &clerkship{h: h}
		again := h.relay(n, Options{Reporter: c})
		h.start(again)
		soon(time.Hour)
		if got := c.said(); len(got) != 1 || got[0] != "b.example:1 550 no" || h.rows("q") != 0 {
			t.Errorf("reports %q, %d rows left", got, h.rows("q"))
		}
	})
}

// A report is about so many recipients that it stays short (SC9): more of them
// make more reports.
func TestManyDebts(t *testing.T) {
	bubble(t, func(h *house) {
		n, c := newInternet(), &clerkship{h: h}
		n.answer = answer(Outcome{Result: Rejected, Reply: "550 5.1.1 unknown"})
		q := h.relay(n, Options{Reporter: c})
		h.start(q)
		it := letter("b.example")
		one := it.Rcpts[0]
		for i := range 2 * maxReport {
			next := one
			next.Address.Local = fmt.Sprint("u", i)
			it.Rcpts = append(it.Rcpts, next)
		}
		h.post(q, it)
		soon(time.Minute)
		said := c.said()
		if len(said) != 3 {
			t.Fatalf("%d reports", len(said))
		}
		about := 0
		for _, s := range said {
			k := strings.Count(s, "|") + 1
			if k > maxReport {
				t.Errorf("a report about %d recipients", k)
			}
			about += k
		}
		if about != 2*maxReport+1 {
			t.Errorf("reports about %d recipients of %d", about, 2*maxReport+1)
		}
		if left, err := q.List(t.Context(), Filter{}); err != nil || len(left) > 0 {
			t.Errorf("%d items are left, %v", len(left), err)
		}
	})
}
