package queue

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
)

// TestSiteModel drives the scheduler of sites alone, by random steps, and holds
// it against what it promises: limits, shares, nothing for closed sites, one
// attempt while half open, and no item forgotten (SC8, QU8).
func TestSiteModel(t *testing.T) { // SC8 QU8
	rapid.Check(t, func(rt *rapid.T) {
		slots := rapid.IntRange(1, 12).Draw(rt, "slots")
		q := New(nil, nil, nil, Options{Limits: Limits{Ready: 40}, Transports: map[string]TransportOptions{
			remote: {Sites: true, Slots: slots, SiteLimit: func(string) int { return 4 }}}})
		ln := q.lines[remote]
		type flight struct {
			it    *Item
			s     *site
			u     *sender
			probe bool
		}
		var flying []flight
		listedItems := map[postino.ID]*Item{}
		id := postino.ID(0)
		q.mu.Lock()
		defer q.mu.Unlock()
		// As many attempts begin as may; the workers of the real queue do the same.
		run := func() {
			for len(flying) < slots {
				q.active = true // take needs it; no goroutine is started, as running is at its bound
				ln.running = slots
				it, probe := ln.take()
				q.active = false
				if it == nil {
					break
				}
				s := it.site
				if s.health == closed || s.health == paused {
					rt.Fatalf("an attempt for a site that is %v", s.health)
				}
				if s.flying > max(s.limit, 1) && s.health == open {
					rt.Fatalf("%d attempts, limit %d", s.flying, s.limit)
				}
				if (s.health == halfOpen) != probe {
					rt.Fatalf("probe is %v while %v", probe, s.health)
				}
				if share := ln.share(); s.flying > share || it.sender.flying > share {
					rt.Fatalf("site %d, sender %d of %d slots", s.flying, it.sender.flying, slots)
				}
				for _, f := range flying {
					if probe && f.probe && f.s == s {
						rt.Fatal("two probes")
					}
				}
				delete(listedItems, it.ID)
				flying = append(flying, flight{it, s, it.sender, probe})
			}
			// Work conserving: whoever is left may not go.
			if len(flying) < slots {
				for _, it := range listedItems {
					s := it.site
					if s.runnable() && it.sender.flying < ln.share() {
						rt.Fatalf("item %d of %s waits though it may go", it.ID, s.dest)
					}
				}
			}
		}
		end := func(k int, h Health) {
			f := flying[k]
			flying = append(flying[:k], flying[k+1:]...)
			q.learn(f.s, h, "words", f.probe)
			ln.left(f.s, f.u, f.probe)
			q.release(f.it)
		}
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1, 2:
				id++
				it := &Item{ID: id, Transport: remote, Dest: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "site"),
					User: rapid.Uint64Range(1, 3).Draw(rt, "user"), Terms: postino.Terms{Priority: rapid.Int8Range(-1, 1).Draw(rt, "priority")},
					Rcpts: make([]Rcpt, 1)}
				if q.seat(it, true) {
					listedItems[id] = it
					q.hand(it)
				} else if s := q.sites[siteKey{remote, it.Dest}]; s != nil && s.health == open && q.siteRoom.items < 10 {
					rt.Fatalf("no room with %d of 40 items", q.siteRoom.items)
				}
			case 3:
				if len(flying) > 0 {
					end(rapid.IntRange(0, len(flying)-1).Draw(rt, "flight"), rapid.SampledFrom([]Health{0, Fine, Fine, Busy, Down, Down, Down}).Draw(rt, "health"))
				}
			case 4:
				s := q.sites[siteKey{remote, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "site")}]
				if s != nil && (s.health == paused || s.health == closed) {
					s.until = time.Time{}
					q.mu.Unlock()
					q.elapsed(s)
					q.mu.Lock()
				}
			case 5:
				for _, it := range listedItems {
					if it.ID%3 == 0 {
						delete(listedItems, it.ID)
						q.withdraw(it)
						break
					}
				}
			}
			run()
			held := 0
			for _, s := range q.sites {
				if held += s.held; s.held > 20 {
					rt.Fatalf("a site holds %d of 40 places", s.held)
				}
			}
			if held != q.siteRoom.items || held != len(q.claimed) || held != len(flying)+len(listedItems) {
				rt.Fatalf("%d held, %d counted, %d claimed, %d flying and %d listed", held, q.siteRoom.items, len(q.claimed), len(flying), len(listedItems))
			}
		}
		// Every site opens and answers: all is served.
		for rounds := 0; len(flying)+len(listedItems) > 0; rounds++ {
			if rounds > 1000 {
				rt.Fatalf("%d items are never served", len(listedItems))
			}
			for _, s := range q.sites {
				if s.health != open {
					q.reopen(s)
				}
			}
			run()
			for len(flying) > 0 {
				end(0, Fine)
			}
		}
		if len(q.senders)+len(q.flows) != 0 {
			rt.Fatalf("%d senders and %d flows left", len(q.senders), len(q.flows))
		}
	})
}
