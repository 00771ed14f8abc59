package imap

import (
	"bytes"
	"context"
	"slices"
	"sort"

	"github.com/postino-mail/postino/imap/internal/wire"
)

// contextNumbers is how much all contexts of a session may hold in all, of numbers
// and ranges. The first context may hold more: RFC 5267 §4.3.1 promises one.
const contextNumbers = 1 << 18

// searchContext is a search of the selected mailbox whose changes the client wants to
// be told (RFC 5267 §4.3). Only the UIDs that it holds are kept; what is new or
// changed is searched again.
type searchContext struct {
	tag []byte
	req SearchRequest
	// found are the UIDs of a search, order those of a sort in its order.
	found []Range
	order []uint32
	fetch *FetchRequest // of messages that come
}

// searchContexts are those of a session, and what happened since they were last
// brought up to date.
type searchContexts struct {
	list    []*searchContext
	top     uint32   // the largest UID that they know
	grown   bool     // there are messages above top
	changed []uint32 // UIDs whose flags may have changed
	gone    []uint32 // UIDs that were expunged
}

func (t *searchContexts) named(tag []byte) *searchContext {
	for _, s := range t.list {
		if bytes.Equal(s.tag, tag) {
			return s
		}
	}
	return nil
}

// drop ends the updates of a context.
func (t *searchContexts) drop(tag []byte) {
	t.list = slices.DeleteFunc(t.list, func(s *searchContext) bool { return bytes.Equal(s.tag, tag) })
}

// size is what the contexts hold.
func (t *searchContexts) size() (n int) {
	for _, s := range t.list {
		n += len(s.found) + len(s.order)
	}
	return n
}

// tracked returns the contexts when there are any.
func (c *conn) tracked() *searchContexts {
	if c.extras == nil || len(c.extras.contexts.list) == 0 {
		return nil
	}
	return &c.extras.contexts
}

// watchSearch makes a context of a search that was answered, or refuses to.
func (c *conn) watchSearch(q *searchCommand, d *SearchData) {
	t := &c.extra().contexts
	s := &searchContext{tag: bytes.Clone(c.tag), req: q.SearchRequest, fetch: q.update}
	found := d.found()
	s.found, s.order = found.ranges, slices.Clone(found.nums)
	s.req.Return, s.req.Partial = ReturnAll, nil
	switch n := t.size(); {
	case len(t.list) >= c.lim.Contexts, n > 0 && n+len(s.found)+len(s.order) > contextNumbers:
		c.refuseUpdates(s.tag)
		return
	case len(t.list) == 0:
		t.top = c.topUID()
	}
	// RFC 5267 §4.3: sequence numbers mean what they did when the command came.
	c.freezeNumbers(&s.req.Key)
	t.list = append(t.list, s)
}

// refuseUpdates tells that a context is not kept up to date (RFC 5267 §4.3.1).
func (c *conn) refuseUpdates(tag []byte) {
	c.out.str("* NO [NOUPDATE ")
	c.out.buf = wire.AppendString(c.out.buf, string(tag), false)
	c.out.codeEnd("Too many contexts")
}

// topUID is the UID of the last message, 0 when there is none.
func (c *conn) topUID() uint32 {
	n := c.out.exists
	if n == 0 {
		return 0
	}
	return c.sess.UID(n)
}

// freezeNumbers puts UIDs for sequence numbers in a key, whose depth is bounded. The
// key's own slices stay as they are.
func (c *conn) freezeNumbers(k *SearchKey) {
	k.Keys = slices.Clone(k.Keys)
	for i := range k.Keys {
		c.freezeNumbers(&k.Keys[i])
	}
	if k.Op != SearchSet || k.Set.UID {
		return
	}
	n := c.out.exists
	set := NumSet{UID: true}
	for _, r := range k.Set.Ranges {
		if lo, hi := r.Resolve(n); n > 0 && lo <= n {
			set.Ranges = append(set.Ranges, Range{c.sess.UID(max(lo, 1)), c.sess.UID(min(hi, n))})
		}
	}
	k.Set = set
}

// expunged notes that a message goes. Where the client counts by sequence numbers
// it is told before they change (RFC 5267 §4.3.4).
func (t *searchContexts) expunged(o *output, seq, uid uint32) {
	t.gone = append(t.gone, uid)
	for _, s := range t.list {
		if s.req.UID {
			continue
		}
		pos := 0
		if len(s.req.Sort) > 0 {
			i := slices.Index(s.order, uid)
			if i < 0 {
				continue
			}
			s.order = slices.Delete(s.order, i, i+1)
			pos = i + 1
		} else if _, ok := slices.BinarySearchFunc(s.found, uid, compareRange); !ok {
			continue
		}
		s.begin(o)
		o.str(" REMOVEFROM (")
		o.num(uint32(pos))
		o.str(" ")
		o.num(seq)
		o.str(")\r\n")
		o.flushFull()
	}
}

func compareRange(r Range, n uint32) int {
	switch {
	case r.Stop < n:
		return -1
	case r.Start > n:
		return 1
	}
	return 0
}

// begin begins the response that tells of changes.
func (s *searchContext) begin(o *output) {
	o.str("* ESEARCH (TAG ")
	o.buf = wire.AppendString(o.buf, string(s.tag), false)
	o.str(")")
	if s.req.UID {
		o.str(" UID")
	}
}

// updateContexts brings the contexts up to date after a Poll and tells what became
// different. What cannot be searched again is told no more.
func (c *conn) updateContexts(t *searchContexts) {
	if !t.grown && len(t.changed) == 0 && len(t.gone) == 0 {
		return
	}
	gone := rangesOf(t.gone)
	changed := minusRanges(rangesOf(t.changed), gone)
	var news []Range
	if t.grown {
		news = []Range{{t.top + 1, 1<<32 - 1}}
		t.top = max(t.top, c.topUID())
	}
	t.grown, t.changed, t.gone = false, nil, nil
	ctx, cancel := context.WithTimeout(c.ctx, c.lim.CommandTime)
	defer cancel()
	for _, s := range slices.Clone(t.list) {
		var err error
		if len(s.req.Sort) > 0 {
			err = c.updateSort(ctx, s, news)
		} else {
			err = c.updateSearch(ctx, s, changed, gone, news)
		}
		if err != nil {
			c.srv.observe.internalError(c, "update context", err)
			t.drop(s.tag)
			c.refuseUpdates(s.tag)
		}
	}
}

// updateSearch asks only for the messages that are new or changed.
func (c *conn) updateSearch(ctx context.Context, s *searchContext, changed, gone, news []Range) error {
	asked := unionRanges(changed, news)
	var match []Range
	if len(asked) > 0 {
		req := s.req
		req.Key = SearchKey{Op: SearchAnd, Keys: []SearchKey{{Op: SearchSet, Set: NumSet{UID: true, Ranges: asked}}, s.req.Key}}
		req.UID, req.ModSeq = true, false
		data, err := c.sess.Search(ctx, req)
		err = withoutLimited(err)
		if err != nil {
			return err
		}
		match = data.all.ranges
	}
	expunged := commonRanges(s.found, gone)
	s.found = minusRanges(s.found, gone)
	removed := minusRanges(commonRanges(s.found, asked), match)
	added := minusRanges(match, s.found)
	s.found = unionRanges(minusRanges(s.found, removed), added)
	if s.req.UID {
		removed = unionRanges(removed, expunged)
	}
	if err := c.fetchNews(ctx, s, commonRanges(added, news)); err != nil {
		return err
	}
	if len(removed) == 0 && len(added) == 0 {
		return nil
	}
	s.begin(&c.out)
	if len(removed) > 0 {
		c.out.str(" REMOVEFROM (0 ")
		c.out.set(results{ranges: c.numbers(s, removed)})
		c.out.str(")")
	}
	if len(added) > 0 {
		c.out.str(" ADDTO (0 ")
		c.out.set(results{ranges: c.numbers(s, added)})
		c.out.str(")")
	}
	c.out.str("\r\n")
	return c.out.flushFull()
}

// fetchNews sends what the client wants of new messages that match, before it is
// told that they do (RFC 5465 §7).
func (c *conn) fetchNews(ctx context.Context, s *searchContext, uids []Range) error {
	if s.fetch == nil || len(uids) == 0 {
		return nil
	}
	req := *s.fetch
	req.Set = NumSet{UID: true, Ranges: uids}
	req.MarkSeen = false
	w := FetchWriter{out: &c.out, modseq: req.Items&FetchModSeq != 0}
	return withoutLimited(c.sess.Fetch(ctx, &w, req))
}

// numbers gives UIDs that the session has as the context's client counts: consecutive
// UIDs have consecutive sequence numbers.
func (c *conn) numbers(s *searchContext, uids []Range) (out []Range) {
	if s.req.UID {
		return uids
	}
	for _, r := range uids {
		seq := c.seqOf(r.Start)
		stop := seq + r.Stop - r.Start
		if k := len(out) - 1; k >= 0 && out[k].Stop+1 == seq {
			out[k].Stop = stop
		} else {
			out = append(out, Range{seq, stop})
		}
	}
	return out
}

// seqOf returns the sequence number of a message by its UID.
func (c *conn) seqOf(uid uint32) uint32 {
	i := sort.Search(int(c.out.exists), func(i int) bool { return c.sess.UID(uint32(i)+1) >= uid })
	return uint32(i + 1)
}

// updateSort sorts again and tells by what steps the client's list becomes the new one:
// removals from the front to the end, then insertions likewise.
func (c *conn) updateSort(ctx context.Context, s *searchContext, news []Range) error {
	req := s.req
	req.UID, req.ModSeq = true, false
	data, err := c.sess.Search(ctx, req)
	err = withoutLimited(err)
	if err != nil {
		return err
	}
	before, after := s.order, data.all.nums
	s.order = after
	place := make(map[uint32]int, len(after))
	for i, uid := range after {
		place[uid] = i
	}
	kept := make([]bool, len(after))
	var removed, added []listStep
	last, n := -1, 0
	for _, uid := range before {
		if i, ok := place[uid]; ok && i > last {
			kept[i], last = true, i
			n++
		} else {
			removed = addStep(removed, n+1, n+1, uid)
		}
	}
	var came []uint32
	for i, uid := range after {
		if kept[i] {
			continue
		}
		run := 0
		if i > 0 && !kept[i-1] {
			run = added[len(added)-1].pos
		}
		added = addStep(added, i+1, run, uid)
		came = append(came, uid)
	}
	if err := c.fetchNews(ctx, s, commonRanges(rangesOf(came), news)); err != nil || len(removed)+len(added) == 0 {
		return err
	}
	s.begin(&c.out)
	c.printSteps(s, " REMOVEFROM (", removed)
	c.printSteps(s, " ADDTO (", added)
	c.out.str("\r\n")
	return c.out.flushFull()
}

// listStep is a run of results at a position, counted from 1.
type listStep struct {
	pos  int
	uids []uint32
}

// addStep adds a result at pos, to the last step if that is the one of position run.
func addStep(steps []listStep, pos, run int, uid uint32) []listStep {
	if k := len(steps) - 1; k >= 0 && steps[k].pos == run {
		steps[k].uids = append(steps[k].uids, uid)
		return steps
	}
	return append(steps, listStep{pos, []uint32{uid}})
}

func (c *conn) printSteps(s *searchContext, name string, steps []listStep) {
	for i, step := range steps {
		if i > 0 {
			name = " "
		}
		c.out.str(name)
		c.out.num(uint32(step.pos))
		c.out.str(" ")
		if !s.req.UID {
			for j, uid := range step.uids {
				step.uids[j] = c.seqOf(uid)
			}
		}
		c.out.set(results{nums: step.uids})
	}
	if len(steps) > 0 {
		c.out.str(")")
	}
}

// cancelUpdate is CANCELUPDATE (RFC 5267 §4.3.5).
func (c *conn) cancelUpdate() error {
	var tags [][]byte
	for len(tags) == 0 || len(c.p.Rest()) > 1 {
		if err := c.p.SP(); err != nil {
			return err
		}
		if c.p.Peek() != '"' || len(tags) == c.lim.Items {
			return syntax("Expected tags in quotes")
		}
		tag, err := c.p.String()
		if err != nil {
			return err
		}
		tags = append(tags, []byte(tag))
	}
	if err := c.end(); err != nil {
		return err
	}
	if t := c.tracked(); t != nil {
		for _, tag := range tags {
			t.drop(tag)
		}
	}
	return nil
}
