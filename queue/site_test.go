package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/story"
)

// net is a transport by sites: each site answers as a test says.
type internet struct {
	mu     sync.Mutex
	answer func(it *Item, b *Batch) Outcome // nil: relayed
	flying map[string]int
	most   map[string]int
	tried  []*Item // in the order of attempts
	times  []time.Time
	sent   map[postino.ID]int // recipients relayed
	hold   chan struct{}      // when set, an attempt waits for it
	fail   error
}

func newInternet() *internet {
	return &internet{flying: map[string]int{}, most: map[string]int{}, sent: map[postino.ID]int{}}
}

func (n *internet) Deliver(ctx context.Context, b *Batch) error {
	if len(b.Items) != 1 {
		return errors.New("a site gets one item at a time")
	}
	it := b.Items[0]
	n.mu.Lock()
	n.flying[it.Dest]++
	n.most[it.Dest] = max(n.most[it.Dest], n.flying[it.Dest])
	n.tried, n.times = append(n.tried, it), append(n.times, time.Now())
	answer, hold, fail := n.answer, n.hold, n.fail
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.flying[it.Dest]--
		n.mu.Unlock()
	}()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	var outcomes []Outcome
	for i := range it.Pending() {
		o := Outcome{Result: Relayed, Where: "mx." + it.Dest, DSN: true}
		if answer != nil {
			o = answer(it, b)
		}
		o.Rcpt = i
		outcomes = append(outcomes, o)
	}
	err := b.Update(ctx, nil, func(tx kv.Tx) error { return b.Finish(tx, it, outcomes...) })
	if err == nil {
		n.mu.Lock()
		for _, o := range outcomes {
			if o.served() {
				n.sent[it.ID]++
			}
		}
		n.mu.Unlock()
	}
	return err
}

func (n *internet) attempts(dest string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, it := range n.tried {
		if it.Dest == dest {
			count++
		}
	}
	return count
}

func (n *internet) relayed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sent)
}

func (n *internet) say(fn func(it *Item, b *Batch) Outcome) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = fn
}

var down = Outcome{Result: Deferred, Reply: "4.4.1 connection refused"}

// dead answers for sites that cannot be reached.
func dead(dests ...string) func(*Item, *Batch) Outcome {
	return func(it *Item, b *Batch) Outcome {
		for _, d := range dests {
			if it.Dest == d {
				b.Site(Down, "connection refused")
				return down
			}
		}
		b.Site(Fine, "")
		return Outcome{Result: Relayed, Where: "mx." + it.Dest, DSN: true}
	}
}

const remote = "remote"

// relay opens a queue with a transport by sites.
func (h *house) relay(n *internet, opts Options) *Queue {
	opts.IDs = h.ids
	opts.Transports = map[string]TransportOptions{remote: {Transport: n, Sites: true, Slots: 20}, "shelf": {Transport: &shelf{}}}
	return New(h.db, h.blobs, h.stories, opts)
}

// letter is an item for one recipient at dest, changed by with.
func letter(dest string, with ...func(*Item)) *Item {
	it := &Item{Transport: remote, Dest: dest, From: postino.Address{Local: "ana", Domain: "a.example"},
		Rcpts: []Rcpt{{Recipient: postino.Recipient{Address: postino.Address{Local: "bob", Domain: dest}}}}}
	for _, fn := range with {
		fn(it)
	}
	return it
}

// post puts an item on the queue.
func (h *house) post(q *Queue, it *Item) *Item {
	h.Helper()
	w := h.blobs.Create(time.Now())
	defer w.Abort()
	fmt.Fprintf(w, "Subject: test\r\n\r\nhello\r\n")
	staged, err := w.Finish()
	if err != nil {
		h.Fatal(err)
	}
	it.Message = h.ids.Next(time.Now())
	err = q.Put(context.Background(), &Message{Staged: &staged, Items: []*Item{it}, Events: []*story.Event{h.stories.Event(it.Message, story.Accepted, time.Now())}})
	if err != nil {
		h.Fatal(err)
	}
	return it
}

// bubble runs fn in a bubble of its own time with a house in it.
func bubble(t *testing.T, fn func(h *house)) {
	synctest.Test(t, func(t *testing.T) { fn(buildHouse(t, lsm.Options{MemTableBytes: 4 << 20, Still: true})) })
}

// soon lets d pass in a synctest bubble, until all is quiet.
func soon(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A site begins with two attempts at once and gets one more with each success,
// up to its limit (SC8).
func TestSlowStart(t *testing.T) { // SC8
	bubble(t, func(h *house) {
		n := newInternet()
		n.hold = make(chan struct{})
		q := h.relay(n, Options{})
		h.start(q)
		for range 60 {
			h.post(q, letter("b.example"))
		}
		soon(time.Second)
		if got := n.attempts("b.example"); got != startLimit {
			t.Errorf("%d attempts at the start", got)
		}
		n.hold <- struct{}{}
		soon(time.Second)
		if st := q.Site(remote, "b.example"); st.InFlight != 3 || st.Limit != 3 {
			t.Errorf("after a success: %+v", st)
		}
		close(n.hold)
		soon(time.Second)
		if n.relayed() != 60 || n.most["b.example"] > defaultLimit || n.most["b.example"] < 4 {
			t.Errorf("%d relayed, at most %d at once", n.relayed(), n.most["b.example"])
		}
		if n := h.rows("q"); n != 0 {
			t.Errorf("%d rows left", n)
		}
	})
}

// Five times Down in a row close a site: nothing is tried until its time is
// over, then one attempt, and the time doubles (SC8). Its mail is parked, and
// memory knows nothing of it. When it answers all goes out.
func TestBreaker(t *testing.T) { // SC8
	bubble(t, func(h *house) {
		n := newInternet()
		n.answer = dead("dead.example")
		q := h.relay(n, Options{})
		h.start(q)
		for range 100 {
			h.post(q, letter("dead.example"))
		}
		soon(10 * time.Second)
		if got := n.attempts("dead.example"); got < breakAfter || got > breakAfter+startLimit {
			t.Errorf("%d attempts closed it", got)
		}
		st := q.Site(remote, "dead.example")
		if st.Health != "closed" || st.Words != "connection refused" || st.InFlight+st.Ready != 0 {
			t.Errorf("status: %+v", st)
		}
		if got := h.rows("qp"); got < 90 || h.rows("qb") != got || h.rows("qt") != got || q.Stats() != (Stats{}) {
			t.Errorf("%d parked, %d by site, %d by time, %+v", got, h.rows("qb"), h.rows("qt"), q.Stats())
		}
		late := h.post(q, letter("dead.example"))
		if got, err := q.Get(context.Background(), late.ID); err != nil || got.State != StateParked || !strings.Contains(got.Reason, "connection refused") {
			t.Errorf("put to a closed site: %+v, %v", got, err)
		}
		before := n.attempts("dead.example")
		soon(70 * time.Second)
		if got := n.attempts("dead.example") - before; got != 1 {
			t.Errorf("%d attempts when half open", got)
		}
		before++
		soon(60 * time.Second)
		if got := n.attempts("dead.example") - before; got != 0 {
			t.Errorf("%d attempts before twice the time was over", got)
		}
		n.say(nil)
		soon(2 * time.Hour) // also those that had an attempt
		if n.relayed() != 101 || h.rows("q") != 0 {
			t.Errorf("%d relayed, %d rows left", n.relayed(), h.rows("q"))
		}
	})
}

// Busy halves the limit and pauses the site for a second, then two.
func TestBusy(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		n.answer = func(it *Item, b *Batch) Outcome {
			b.Site(Busy, "421 too many connections")
			return Outcome{Result: Deferred, Reply: "421 too many connections", Remote: "mx.b.example"}
		}
		q := h.relay(n, Options{})
		for range 20 {
			h.post(q, letter("b.example"))
		}
		h.start(q)
		soon(500 * time.Millisecond)
		before := n.attempts("b.example")
		if before > startLimit {
			t.Errorf("%d attempts before the pause", before)
		}
		if st := q.Site(remote, "b.example"); st.Health != "paused" || st.Limit != 1 {
			t.Errorf("status: %+v", st)
		}
		soon(time.Second)
		if got := n.attempts("b.example") - before; got != 1 {
			t.Errorf("%d attempts after one pause", got)
		}
		n.say(nil)
		soon(time.Hour)
		if n.relayed() != 20 || h.rows("q") != 0 {
			t.Errorf("%d relayed, %d rows left", n.relayed(), h.rows("q"))
		}
	})
}

// A site that hangs holds its slots and half of the room at most; the others go on.
// What finds no room is parked and comes back (QU6, QU8, SC8).
func TestHangingSite(t *testing.T) { // QU6 QU8 SC8
	bubble(t, func(h *house) {
		n := newInternet()
		release := make(chan struct{})
		n.answer = func(it *Item, b *Batch) Outcome {
			if it.Dest == "tar.example" {
				<-release
			}
			return Outcome{Result: Relayed, DSN: true}
		}
		q := h.relay(n, Options{Limits: Limits{Ready: 64}})
		h.start(q)
		for range 200 {
			h.post(q, letter("tar.example"))
		}
		soon(time.Second)
		if st := q.Site(remote, "tar.example"); st.InFlight != startLimit || st.InFlight+st.Ready > 32 || !st.Parked {
			t.Errorf("the hanging site: %+v", st)
		}
		for i := range 300 {
			h.post(q, letter(fmt.Sprintf("d%d.example", i%30), func(it *Item) { it.User = uint64(i + 1) }))
			if n := q.Stats().InMemory; n > 64 {
				t.Fatalf("%d items in memory", n)
			}
		}
		soon(time.Second)
		if n.relayed() != 300 {
			t.Errorf("%d of 300 relayed beside the hanging site", n.relayed())
		}
		close(release)
		soon(time.Minute)
		if n.relayed() != 500 || h.rows("q") != 0 {
			t.Errorf("%d of 500 relayed in the end, %d rows left", n.relayed(), h.rows("q"))
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if len(q.senders)+len(q.flows)+len(q.claimed)+q.siteRoom.items+q.siteRoom.bytes != 0 {
			t.Errorf("left in memory: %d senders, %d flows, %d claims, %+v", len(q.senders), len(q.flows), len(q.claimed), q.siteRoom)
		}
	})
}

// A sender with much mail has half of the slots, and its mail for a site does
// not stand before that of others (QU8).
func TestSenderShare(t *testing.T) { // QU8
	bubble(t, func(h *house) {
		n := newInternet()
		n.hold = make(chan struct{})
		q := h.relay(n, Options{})
		h.start(q)
		for i := range 400 {
			h.post(q, letter(fmt.Sprintf("d%d.example", i%40), func(it *Item) { it.User = 1 }))
		}
		soon(time.Second)
		if got := len(n.tried); got != 10 {
			t.Errorf("a sender has %d of 20 slots", got)
		}
		for i := range 8 {
			h.post(q, letter(fmt.Sprintf("d%d.example", 20+i), func(it *Item) { it.User = 2 }))
		}
		soon(time.Second)
		if got := len(n.tried); got != 18 {
			t.Errorf("the other sender's 8 items: %d attempts in all", got)
		}
		close(n.hold)
		soon(time.Minute)
		if n.relayed() != 408 || h.rows("q") != 0 {
			t.Errorf("%d relayed, %d rows left", n.relayed(), h.rows("q"))
		}
	})
}

// Mail of high priority overtakes, but not all of the time (RFC 6710).
func TestPriority(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		q := h.relay(n, Options{})
		for i := range 90 {
			h.post(q, letter("b.example", func(it *Item) { it.Priority = int8(i%3*4 - 4) }))
		}
		h.start(q)
		soon(time.Second)
		high, low := 0, 0
		for _, it := range n.tried[:32] {
			switch {
			case it.Priority > 0:
				high++
			case it.Priority < 0:
				low++
			}
		}
		if high < 16 || low == 0 {
			t.Errorf("of the first 32 attempts %d have high and %d low priority", high, low)
		}
	})
}

// A new process finds parked items by site, whatever their number (QU6).
func TestParkedRestart(t *testing.T) { // QU6
	bubble(t, func(h *house) {
		n := newInternet()
		old := h.relay(n, Options{Limits: Limits{Ready: 32, Sites: 8}}) // never started
		for i := range 600 {
			h.post(old, letter(fmt.Sprintf("d%d.example", i%100)))
		}
		if len(old.sites) > old.mostSites() {
			t.Errorf("%d sites in memory", len(old.sites))
		}
		if got := h.rows("qp"); got < 560 {
			t.Errorf("%d parked", got)
		}
		n = newInternet()
		q := h.relay(n, Options{Limits: Limits{Ready: 32, Sites: 8}})
		h.start(q)
		soon(10 * time.Minute)
		if n.relayed() != 600 || h.rows("q") != 0 || q.Stats() != (Stats{}) {
			t.Errorf("%d relayed, %d rows left, %+v", n.relayed(), h.rows("q"), q.Stats())
		}
	})
}

// An item that is to be held until later waits, and its life begins then (RFC 4865 §4).
func TestHoldUntil(t *testing.T) {
	bubble(t, func(h *house) {
		n := newInternet()
		q := h.relay(n, Options{})
		h.start(q)
		until := time.Now().Add(36 * time.Hour)
		it := h.post(q, letter("b.example", func(it *Item) { it.HoldUntil = until }))
		got, err := q.Get(context.Background(), it.ID)
		if err != nil || got.State != StateWaiting || got.Expires.Sub(until) != 5*24*time.Hour {
			t.Errorf("stored: %+v, %v", got, err)
		}
		soon(36*time.Hour - time.Minute)
		if n.relayed() != 0 {
			t.Error("it left too early")
		}
		soon(3 * time.Minute)
		if n.relayed() != 1 || n.times[0].Before(until) {
			t.Errorf("%d relayed, at %v", n.relayed(), n.times)
		}
	})
}
