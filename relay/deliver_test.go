package relay

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/directory"
	"github.com/postino-mail/postino/queue"
	"github.com/postino-mail/postino/tlspolicy"
)

// Every class of reply at every stage gives the outcome that the standard wants.
func TestReplies(t *testing.T) {
	for _, tc := range []struct {
		name    string
		replies map[string]string
		result  queue.Result
		reply   string
	}{
		{"taken", nil, queue.Relayed, "250 2.0.0 queued as 42"},
		{"greeting 4yz", map[string]string{"greeting": "450 4.3.2 later"}, queue.Deferred, "450 4.3.2 later"},
		{"greeting 421", map[string]string{"greeting": "421 4.7.0 too many"}, queue.Deferred, "421 4.7.0 too many"},
		{"greeting 554", map[string]string{"greeting": "554 5.7.1 not you"}, queue.Deferred, "554 5.7.1 not you"},
		{"greeting 521", map[string]string{"greeting": "521 no mail here"}, queue.Rejected, "521 no mail here"},
		{"greeting lost", map[string]string{"greeting": "close"}, queue.Deferred, "4.4.2 "},
		{"greeting silent", map[string]string{"greeting": "hang"}, queue.Deferred, "4.4.2 "},
		{"ehlo 4yz", map[string]string{"ehlo": "421 4.3.2 busy"}, queue.Deferred, "421 4.3.2 busy"},
		{"ehlo 554", map[string]string{"ehlo": "554 5.7.1 no", "helo": "554 5.7.1 no"}, queue.Deferred, "554 5.7.1 no"},
		{"ehlo unknown", map[string]string{"ehlo": "502 5.5.1 what"}, queue.Relayed, "250 2.0.0 queued"},
		{"ehlo lost", map[string]string{"ehlo": "close"}, queue.Deferred, "4.4.2 "},
		{"mail 4yz", map[string]string{"mail": "451 4.7.1 grey"}, queue.Deferred, "451 4.7.1 grey"},
		{"mail 421", map[string]string{"mail": "421 4.7.0 slow down"}, queue.Deferred, "421 4.7.0 slow down"},
		{"mail 5yz", map[string]string{"mail": "550 5.7.1 no"}, queue.Rejected, "550 5.7.1 no"},
		{"mail lost", map[string]string{"mail": "close"}, queue.Deferred, "4.4.2 "},
		{"mail silent", map[string]string{"mail": "hang"}, queue.Deferred, "4.4.2 "},
		{"rcpt 4yz", map[string]string{"rcpt": "450 4.2.1 grey"}, queue.Deferred, "450 4.2.1 grey"},
		{"rcpt 5yz", map[string]string{"rcpt": "550 5.1.1 who?"}, queue.Rejected, "550 5.1.1 who?"},
		{"rcpt 552 alone", map[string]string{"rcpt": "552 5.2.2 full"}, queue.Rejected, "552 5.2.2 full"},
		{"rcpt lost", map[string]string{"rcpt": "close"}, queue.Deferred, "4.4.2 "},
		{"data 4yz", map[string]string{"data": "451 4.3.0 later"}, queue.Deferred, "451 4.3.0 later"},
		{"data 5yz", map[string]string{"data": "554 5.6.0 no"}, queue.Rejected, "554 5.6.0 no"},
		{"data lost", map[string]string{"data": "close"}, queue.Deferred, "4.4.2 "},
		{"dot 4yz", map[string]string{"dot": "452 4.3.1 disk"}, queue.Deferred, "452 4.3.1 disk"},
		{"dot 5yz", map[string]string{"dot": "554 5.7.1 spam"}, queue.Rejected, "554 5.7.1 spam"},
		{"dot lost", map[string]string{"dot": "close"}, queue.Deferred, "4.4.2 mx.b.example got the message and did not answer: reply lost, it may be delivered twice"},
		{"dot silent", map[string]string{"dot": "hang"}, queue.Deferred, "4.4.2 mx.b.example got the message"},
		{"many lines", map[string]string{"rcpt": "550-5.1.1 no\n550 5.1.1 such user"}, queue.Rejected, "550 5.1.1 no such user"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				w.simple("b.example", "192.0.2.10", &server{replies: tc.replies})
				w.one("bob@b.example", tc.result, tc.reply)
				if st := w.queue.Site(Name, "b.example"); tc.name == "greeting 421" && !strings.Contains(st.Words, tc.reply) {
					t.Errorf("the queue knows of the site: %+v", st)
				}
			})
		})
	}
}

// A host that offers DSN takes the requests over; LMTP without it has delivered
// (RFC 3461 §5.2.1, RFC 2033 §4.2).
func TestTaken(t *testing.T) {
	for _, tc := range []struct {
		offers []string
		lmtp   bool
		want   queue.Outcome
	}{
		{[]string{"DSN"}, false, queue.Outcome{Result: queue.Relayed, DSN: true}},
		{[]string{"PIPELINING"}, false, queue.Outcome{Result: queue.Relayed}},
		{[]string{"DSN"}, true, queue.Outcome{Result: queue.Relayed, DSN: true}},
		{[]string{"PIPELINING"}, true, queue.Outcome{Result: queue.Delivered}},
	} {
		bubble(t, nil, func(w *world) {
			route := &directory.Route{Name: "up", Action: directory.Smarthost, Hosts: []string{"[192.0.2.10]:2424"}}
			if tc.lmtp {
				route.Action = directory.LMTP
			}
			w.listen(&server{offers: tc.offers, lmtp: tc.lmtp}, "192.0.2.10:2424")
			l := &leg{attempt: &attempt{}, w: &way{route: route}}
			targets, _ := w.relay.targets(context.Background(), l.w)
			s, trouble := w.relay.open(context.Background(), l.w, &targets[0], tlspolicy.NoWish, &calls{budget: 1})
			if trouble != nil {
				t.Fatal(trouble.words())
			}
			tc.want.Where = "192.0.2.10 (192.0.2.10:2424), in clear"
			if got := l.taken(s, queue.Outcome{}); got != tc.want {
				t.Errorf("%v: %+v, want %+v", tc.offers, got, tc.want)
			}
			s.Close()
		})
	}
}

// What a server took is durable before its connection is used again (SC6): a
// power cut repeats no more than what is in flight.
func TestDurableBeforeNext(t *testing.T) {
	bubble(t, func(o *Options) { o.Limits.Recipients = 2 }, func(w *world) {
		var stored []int // recipients that are done, at each MAIL
		s := &server{}
		s.onMail = func() {
			items, err := w.queue.List(context.Background(), queue.Filter{})
			if err != nil || len(items) != 1 {
				t.Errorf("%d items, %v", len(items), err)
				return
			}
			done := 0
			for _, r := range items[0].Rcpts {
				if r.State == queue.Done {
					done++
				}
			}
			stored = append(stored, done)
		}
		w.simple("b.example", "192.0.2.10", s)
		w.send(nil, locals(8, "b.example")...)
		if !slices.Equal(stored, []int{0, 2, 4, 6}) {
			t.Errorf("stored at each MAIL: %v", stored)
		}
		if items, err := w.queue.List(context.Background(), queue.Filter{}); err != nil || len(items) != 0 {
			t.Errorf("%d items remain, %v", len(items), err)
		}
	})
}

// A stop of the queue cuts an attempt off: nothing is decided, nothing lost, and
// it counts as no attempt (QU10).
func TestStop(t *testing.T) {
	for _, stage := range []string{"greeting", "mail", "rcpt", "data"} {
		t.Run(stage, func(t *testing.T) {
			bubble(t, nil, func(w *world) {
				s := w.simple("b.example", "192.0.2.10", &server{replies: map[string]string{stage: "hang"}})
				w.put(nil, "bob@b.example")
				time.Sleep(10 * time.Second)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				began := time.Now()
				w.queue.Stop(ctx)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("the stop took %v", took)
				}
				items, err := w.queue.List(context.Background(), queue.Filter{})
				if err != nil || len(items) != 1 || items[0].Attempts != 0 || items[0].Rcpts[0].State != queue.Pending {
					t.Errorf("items %+v, %v", items, err)
				}
				if s.count() != 1 || len(w.results) != 0 {
					t.Errorf("%d connections, outcomes %v", s.count(), w.results)
				}
			})
		})
	}
}

// A message whose end was sent when the queue stopped may have been taken: that
// is written down, so that it is not sent again at once.
func TestStopAfterDot(t *testing.T) {
	bubble(t, nil, func(w *world) {
		w.simple("b.example", "192.0.2.10", &server{replies: map[string]string{"dot": "hang"}})
		w.put(nil, "bob@b.example")
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.queue.Stop(ctx)
		if o := w.results["bob@b.example"]; o.result != queue.Deferred || !strings.Contains(o.reply, "reply lost") {
			t.Errorf("%+v", o)
		}
	})
}

// Recipients go the way that the directory says at the time of the attempt.
func TestRouteChanges(t *testing.T) {
	bubble(t, nil, func(w *world) {
		s := w.listen(&server{}, "192.0.2.20:25")
		w.routes.routes = []*directory.Route{{Name: "up", Domain: "b.example", Action: directory.Smarthost, Hosts: []string{"[192.0.2.20]"}, Connections: 7}}
		w.oneItem(func(it *queue.Item) { it.Dest = "b.example" }, "bob@b.example", queue.Relayed, "250")
		if len(s.taken()) != 1 || w.relay.SiteLimit("route/up") != 7 || w.relay.SiteLimit("b.example") != 0 {
			t.Errorf("%d messages, limit %d", len(s.taken()), w.relay.SiteLimit("route/up"))
		}
	})
}

// An administrator may let go what its sender wanted to be held longer, also to a
// server that cannot hold it (RFC 4865 §4.2).
func TestHurried(t *testing.T) {
	bubble(t, nil, func(w *world) {
		s := w.simple("b.example", "203.0.113.2", &server{})
		w.put(func(it *queue.Item) { it.HoldUntil = time.Now().Add(48 * time.Hour) }, "bob@b.example")
		time.Sleep(time.Hour)
		if n := len(s.taken()); n != 0 {
			t.Fatalf("%d messages were sent before their time", n)
		}
		if d, err := w.queue.Retry(t.Context(), queue.Filter{}, false, nil); err != nil || d.Changed != 1 {
			t.Fatalf("retry: %+v, %v", d, err)
		}
		time.Sleep(time.Second)
		if n := len(s.taken()); n != 1 {
			t.Errorf("%d messages were sent", n)
		}
	})
}

func TestNewNeeds(t *testing.T) {
	if _, err := New(Options{Hostname: "x.example"}); !postino.Is(err, postino.Invalid) {
		t.Error(err)
	}
}
