package imap

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// memFilters are filters, good and bad.
var memFilters = map[string]string{
	"/private/filters/values/seen":   `SEEN`,
	"/private/filters/values/on":     `OR SMALLER 5000 FROM "boss@example.com"`,
	"/shared/filters/values/on":      `ALL`,
	"/shared/filters/values/shared":  `SUBJECT {3}` + "\r\n" + `two UNDELETED`,
	"/private/filters/values/deep":   `(FILTER seen) NOT FILTER on`,
	"/private/filters/values/loop":   `FILTER loop2`,
	"/private/filters/values/loop2":  `FILTER loop`,
	"/private/filters/values/broken": `OR SMALLER`,
	"/private/filters/values/lines":  "SEEN\r\nDELETED",
	"/private/filters/values/many":   strings.Repeat("FILTER seen ", 150) + "ALL",
}

// withFilters stores memFilters.
func (s *memStore) withFilters() *memStore {
	s.metadata = map[string]map[string][]byte{"": {}}
	for name, v := range memFilters {
		s.metadata[""][name] = []byte(v)
	}
	return s
}

func (s *memSession) SearchMailbox(ctx context.Context, mailbox string, req SearchRequest) (*SearchData, uint32, error) {
	unlock := s.lock()
	b := s.store.boxes[mailbox]
	unlock()
	if b == nil {
		return nil, 0, notFound(mailbox)
	}
	other := &memSession{store: s.store, user: s.user}
	if _, err := other.Select(ctx, SelectRequest{Mailbox: mailbox}); err != nil {
		return nil, 0, err
	}
	d, err := other.Search(ctx, req)
	return d, b.valid, err
}

// Thread puts every message below the one before it with the same size, or makes a
// parent that is not there for messages of the same flags.
func (s *memSession) Thread(ctx context.Context, req ThreadRequest) (nodes []ThreadNode, err error) {
	d, err := s.Search(ctx, SearchRequest{Key: req.Key, UID: req.UID, Return: ReturnAll, Sort: []SortKey{{By: SortSize}}})
	if err != nil {
		return nil, err
	}
	for i, n := range d.all.nums {
		depth := 0
		if req.Algorithm != ThreadOrderedSubject && i > 0 {
			depth = 1 + i%2
			if i == 1 {
				depth = 1
			}
		}
		nodes = append(nodes, ThreadNode{Depth: depth, Num: n})
	}
	return nodes, nil
}

// memResults are found messages in ascending order.
type memResults []memFound

type memFound struct {
	seq uint32
	m   *memMsg
}

// score is more the shorter a message is.
func (f memFound) score() uint8 { return uint8(max(1, 100-len(f.m.body))) }

func (r memResults) deliver(req *SearchRequest, d *SearchData) {
	slices.SortStableFunc(r, func(a, b memFound) int {
		for _, k := range req.Sort {
			if x := k.By.compare(a, b); x != 0 && k.Reverse {
				return -x
			} else if x != 0 {
				return x
			}
		}
		return cmp.Compare(a.seq, b.seq)
	})
	for _, f := range r {
		d.Add(f.seq, f.m.uid, f.m.modseq)
		d.Relevancy(f.score())
	}
}

func (by SortBy) compare(a, b memFound) int {
	text := func(m *memMsg) string {
		name := map[SortBy]string{SortCc: "cc:", SortFrom: "from:", SortDisplayFrom: "from:", SortSubject: "subject:",
			SortTo: "to:", SortDisplayTo: "to:"}[by]
		for line := range strings.SplitSeq(strings.ToLower(string(m.body)), "\r\n") {
			if name != "" && strings.HasPrefix(line, name) {
				return line
			}
		}
		return ""
	}
	switch by {
	case SortArrival, SortDate:
		return a.m.date.Compare(b.m.date)
	case SortSize:
		return cmp.Compare(len(a.m.body), len(b.m.body))
	case SortRelevancy:
		return cmp.Compare(b.score(), a.score())
	}
	return cmp.Compare(text(a.m), text(b.m))
}

// matchesMore knows the keys that extensions add. A text taken loosely is one
// whose first three letters are found.
func (s *memSession) matchesMore(k *SearchKey, m *memMsg, seq uint32) (bool, error) {
	age := s.store.now.Sub(m.date)
	day := m.date.Truncate(24 * time.Hour)
	switch k.Op {
	case SearchYounger:
		return age < time.Duration(k.Size)*time.Second, nil
	case SearchOlder:
		return age >= time.Duration(k.Size)*time.Second, nil
	case SearchSavedBefore:
		return day.Before(k.Date), nil
	case SearchSavedOn:
		return day.Equal(k.Date), nil
	case SearchSavedSince:
		return !day.Before(k.Date), nil
	case SearchEmailID, SearchThreadID:
		return k.Text == "M1-1" && m.uid == 1, nil
	case SearchFuzzy:
		return s.matches(loosely(k.Keys[0]), m, seq)
	}
	return false, errors.New("unknown search key")
}

func loosely(k SearchKey) *SearchKey {
	k.Text = k.Text[:min(3, len(k.Text))]
	k.Keys = slices.Clone(k.Keys)
	for i := range k.Keys {
		k.Keys[i] = *loosely(k.Keys[i])
	}
	return &k
}
