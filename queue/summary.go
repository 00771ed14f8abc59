package queue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/postino-mail/postino"
)

// Stats is a picture of what the queue holds in memory.
type Stats struct {
	InMemory int  // items in memory: to be tried, being tried, or owing a report
	Backlog  bool // items wait in the store for room in memory
}

// Stats returns what the queue holds in memory now.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{InMemory: len(q.claimed), Backlog: q.missed != 0 || q.hungry.len() > 0}
}

// SiteStatus is how a destination stands.
type SiteStatus struct {
	Transport, Dest string
	InFlight        int       // attempts under way
	Ready           int       // items in memory that wait for one
	Limit           int       // attempts that may be under way
	Parked          bool      // further items wait in the store
	Health          string    // "open", "paused", "closed", "probing"
	Failures        int       // attempts in a row that could not reach it
	Since, Until    time.Time // of its trouble; when it is tried again
	Words           string    // that told of the trouble
}

func (s *site) status() SiteStatus {
	st := SiteStatus{Transport: s.line.name, Dest: s.dest, InFlight: s.flying, Ready: s.ready, Limit: s.limit, Parked: s.parked,
		Health: s.health.String(), Failures: s.failures, Since: s.since, Words: postino.Printable(s.words)}
	if s.health == paused || s.health == closed {
		st.Until = s.until
	}
	return st
}

// Site tells how a destination stands; one that is not remembered is open.
func (q *Queue) Site(transport, dest string) SiteStatus {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.sites[siteKey{transport, dest}]; s != nil {
		return s.status()
	}
	return SiteStatus{Transport: transport, Dest: dest, Health: open.String()}
}

// OpenSite forgets the trouble of a destination.
func (q *Queue) OpenSite(transport, dest string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.sites[siteKey{transport, dest}]; s != nil && (s.health != open || s.failures > 0) {
		q.reopen(s)
	}
}

// Top returns the n destinations (0: 20) with the most attempts under way, then
// with the most items in memory, then with trouble.
func (q *Queue) Top(n int) []SiteStatus {
	if n <= 0 {
		n = 20
	}
	q.mu.Lock()
	all := make([]SiteStatus, 0, len(q.sites))
	for _, s := range q.sites {
		all = append(all, s.status())
	}
	q.mu.Unlock()
	slices.SortFunc(all, func(a, b SiteStatus) int {
		return cmp.Or(cmp.Compare(b.InFlight, a.InFlight), cmp.Compare(b.Ready, a.Ready), cmp.Compare(b.Failures, a.Failures),
			cmp.Compare(a.Transport, b.Transport), cmp.Compare(a.Dest, b.Dest))
	})
	return all[:min(n, len(all))]
}

// Group is items that go to the same destination and wait for the same reason.
type Group struct {
	Transport, Dest string
	State           State
	Reason          string // the last answer, without what differs from item to item
	Count           int
	Octets          int64
	Oldest, NextDue time.Time
	Site            SiteStatus
}

// Others is the Dest of the group of all that Summary does not list.
const Others = "(others)"

type groupKey struct {
	siteKey
	state  State
	reason string
}

// Summary walks the queue and returns the top groups (0: 100), largest first,
// and one for all others. Its memory is bounded: when there are very many
// groups the small ones are counted with the others from then on.
func (q *Queue) Summary(ctx context.Context, top int, p Progress) ([]Group, error) {
	if top <= 0 {
		top = 100
	}
	groups := map[groupKey]*Group{}
	others := &Group{Dest: Others}
	most := max(10_000, 10*top)
	var d Changes
	err := q.pages(ctx, &Filter{}, func(seen int, found []*Item) error {
		for _, it := range found {
			key := groupKey{siteKey{it.Transport, it.Dest}, it.State, reasonClass(it)}
			g := groups[key]
			if g == nil {
				g = &Group{Transport: it.Transport, Dest: it.Dest, State: it.State, Reason: key.reason}
				groups[key] = g
			}
			g.add(&Group{Count: 1, Octets: it.Size, Oldest: it.Received, NextDue: it.Due})
		}
		if len(groups) > most {
			for key, g := range cutGroups(groups, most/2) {
				others.add(g)
				delete(groups, key)
			}
		}
		d.Seen += seen
		d.Matched += len(found)
		p.tell(d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for key, g := range cutGroups(groups, top) {
		others.add(g)
		delete(groups, key)
	}
	var all []Group
	for _, g := range groups {
		g.Site = q.Site(g.Transport, g.Dest)
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Dest, b.Dest), cmp.Compare(a.State, b.State), cmp.Compare(a.Reason, b.Reason))
	})
	if others.Count > 0 {
		all = append(all, *others)
	}
	return all, nil
}

func (g *Group) add(o *Group) {
	g.Count += o.Count
	g.Octets += o.Octets
	g.Oldest = earlier(g.Oldest, o.Oldest)
	g.NextDue = earlier(g.NextDue, o.NextDue)
}

// cutGroups returns all but the keep largest.
func cutGroups(groups map[groupKey]*Group, keep int) map[groupKey]*Group {
	if len(groups) <= keep {
		return nil
	}
	counts := make([]int, 0, len(groups))
	for _, g := range groups {
		counts = append(counts, g.Count)
	}
	slices.Sort(counts)
	least := counts[len(counts)-keep] // the smallest count that stays
	more := 0                         // groups that are larger
	for _, c := range counts {
		if c > least {
			more++
		}
	}
	small := map[groupKey]*Group{}
	for key, g := range groups {
		switch {
		case g.Count > least:
		case g.Count == least && more < keep:
			more++
		default:
			small[key] = g
		}
	}
	return small
}

// reasonClass is why an item waits, without the numbers and names that differ
// from item to item.
func reasonClass(it *Item) string {
	reason := it.Reason
	for i := range it.Rcpts {
		if r := &it.Rcpts[i]; reason == "" && r.State != Done {
			reason = r.Reply
		}
	}
	const most = 80
	b := make([]byte, 0, most)
	digits := false
	for i := 0; i < len(reason) && len(b) < most; i++ {
		c := reason[i]
		// The code at the front is what tells reasons apart.
		if i >= 10 && c >= '0' && c <= '9' {
			if !digits {
				b = append(b, '#')
			}
			digits = true
			continue
		}
		digits = false
		b = append(b, c)
	}
	return postino.Printable(string(b))
}
