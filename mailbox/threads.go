package mailbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"

	"github.com/postino-mail/postino"
)

// ThreadAlgorithm is how [Account.Thread] makes threads.
type ThreadAlgorithm uint8

// The algorithms of RFC 5256 §3, and REFS (draft-ietf-morg-inthread), which is
// REFERENCES without the subjects (step 5) and with the threads in the order of
// their latest arrival, that is the internal date, so that a new message makes
// its thread the last one; within threads sent dates order. (Dovecot 2.3 takes
// the latest sent date instead.)
const (
	ThreadOrderedSubject ThreadAlgorithm = iota
	ThreadReferences
	ThreadRefs
)

// ThreadNode is a message in a forest that is written out parent before children.
type ThreadNode struct {
	// Depth is 0 for the top of a thread; it grows by at most 1 from node to node.
	Depth int
	// Index is the message's in the snapshot, -1 for a parent that is not there:
	// only at the top, and then it has two children or more.
	Index int
}

// maxMissing is how many messages that are not there are remembered for those
// that refer to them. Further ones are passed over as in References that a mail
// program has cut short.
const maxMissing = 1 << 20

// Thread orders messages of a snapshot in threads. found are indexes in s,
// ascending. Base subjects compare by c. Of the references of a message the last
// 100 count. A message that was swept is a thread of its own. ctx ends the work
// soon.
func (a *Account) Thread(ctx context.Context, s *Snapshot, found []int, alg ThreadAlgorithm, c Collation) ([]ThreadNode, error) {
	if err := a.mayUse(s); err != nil {
		return nil, err
	}
	if alg > ThreadRefs || c > Octet || len(found) > math.MaxInt32-2*maxMissing {
		return nil, postino.E(postino.Invalid, "thread", "", nil)
	}
	if len(found) == 0 {
		return nil, ctx.Err()
	}
	t, err := a.newThreader(ctx, s, found, alg, c)
	if err != nil {
		return nil, err
	}
	if alg == ThreadOrderedSubject {
		t.bySubject()
	} else {
		if err := t.byReferences(ctx); err != nil {
			return nil, err
		}
		t.gather(alg == ThreadReferences)
	}
	t.connect()
	if alg == ThreadRefs {
		t.latestLast(s, found)
	}
	return t.nodes(found), ctx.Err()
}

// none is no node.
const none int32 = -1

// threader makes threads of n messages, which are nodes 0 to n-1 in the order of
// sequence numbers. Nodes from n on are dummies: messages that are not there.
type threader struct {
	n        int
	order    []sortEntry // messages by date
	emails   []EmailID
	ids      lookup // fieldIDs
	subjects lookup // fieldSubject
	seed     maphash.Seed

	parent []int32
	kids   []bool // there are children, or were
	tree   forest // the same as parent, one number higher

	// The threads, once connect has made them.
	tops              []int32
	first, last, next []int32
}

func (a *Account) newThreader(ctx context.Context, s *Snapshot, found []int, alg ThreadAlgorithm, c Collation) (*threader, error) {
	fields := []sortField{fieldSubject, fieldIDs}
	switch alg {
	case ThreadOrderedSubject:
		fields = fields[:1]
	case ThreadRefs:
		fields = fields[1:]
	}
	o, err := a.newSorter(ctx, s, found, []SortKey{{By: SortDate}}, c, nil, fields...)
	if err != nil {
		return nil, err
	}
	if err := o.sort(); err != nil {
		return nil, err
	}
	columns := o.extra
	t := &threader{n: len(found), order: o.order, emails: o.emails, subjects: columns[0], ids: columns[len(columns)-1], seed: a.s.columns.seed}
	t.parent = make([]int32, t.n, t.n+t.n/2)
	for i := range t.parent {
		t.parent[i] = none
	}
	return t, nil
}

// subject returns a hash of the base subject of a message; 0 for an empty one.
func (t *threader) subject(message int32) uint64 {
	text, _ := t.subjects.at(t.emails[message])
	if len(text) == 0 {
		return 0
	}
	return max(1, maphash.Bytes(t.seed, text))
}

// bySubject is ORDEREDSUBJECT: the first message of a subject is the parent of
// the others.
func (t *threader) bySubject() {
	tops := make(map[uint64]int32, t.n/2)
	for _, e := range t.order {
		m := int32(e.at)
		if top, ok := tops[t.subject(m)]; ok {
			t.parent[m] = top
		} else {
			tops[t.subject(m)] = m
		}
	}
}

// byReferences is step 1 of REFERENCES: parents by message-ids.
func (t *threader) byReferences(ctx context.Context) error {
	t.kids = make([]bool, t.n, cap(t.parent))
	t.tree = make(forest, t.n+1, cap(t.parent)+1)
	byID := make(map[uint64]int32, t.n)
	for m := range int32(t.n) {
		if ids, ok := t.ids.at(t.emails[m]); ok {
			id := binary.LittleEndian.Uint64(ids[1:])
			if _, known := byID[id]; id != 0 && !known {
				byID[id] = m // others with this id have none
			}
		}
	}
	for m := range int32(t.n) {
		if m&0xff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		last := none
		ids, ok := t.ids.at(t.emails[m])
		for refs := ids[min(len(ids), 9):]; ok && len(refs) > 0; refs = refs[8:] {
			id := binary.LittleEndian.Uint64(refs)
			ref, known := byID[id]
			if !known {
				if ref = t.dummy(); ref == none {
					continue
				}
				byID[id] = ref
			}
			if t.parent[ref] == none { // (A)
				t.link(last, ref)
			}
			last = ref
		}
		if t.parent[m] != none { // (B)
			t.parent[m] = none
			t.tree.cut(m + 1)
		}
		t.link(last, m)
	}
	return nil
}

// dummy makes a node for a message that is not there; none when there are too many.
func (t *threader) dummy() int32 {
	if len(t.parent)-t.n >= maxMissing {
		return none
	}
	t.parent, t.kids, t.tree = append(t.parent, none), append(t.kids, false), append(t.tree, forestNode{})
	return int32(len(t.parent) - 1)
}

// link makes a child, which has no parent, the child of a parent, unless the
// parent is none or the child itself or below it.
func (t *threader) link(parent, child int32) {
	if parent == none || parent == child || t.kids[child] && t.tree.root(parent+1) == child+1 {
		return
	}
	t.parent[child], t.kids[parent] = parent, true
	t.tree.link(child+1, parent+1)
}

// gather does steps 2 to 4, after which the parents are the nearest messages that
// are there, or dummies at the top with more than one child, and with subjects
// step 5.
func (t *threader) gather(subjects bool) {
	t.prune()
	members := make([]int32, len(t.parent)) // children of dummies
	for _, p := range t.parent[:t.n] {
		if p >= int32(t.n) {
			members[p]++
		}
	}
	for m, p := range t.parent[:t.n] {
		if p >= int32(t.n) && members[p] == 1 {
			t.parent[m] = none
		}
	}
	if subjects {
		t.joinSubjects()
	}
}

// prune takes dummies out between messages: the parent of a message becomes the
// nearest one that is there, else the dummy at the top (step 3).
func (t *threader) prune() {
	var way []int32
	for m := range int32(t.n) {
		x := t.parent[m]
		way = way[:0]
		for x >= int32(t.n) && t.parent[x] != none {
			way = append(way, x)
			x = t.parent[x]
		}
		for _, d := range way {
			t.parent[d] = x // so that no part of the way is gone again
		}
		t.parent[m] = x
	}
}

// joinSubjects is step 5: threads of the same subject become one.
func (t *threader) joinSubjects() {
	type top struct {
		node    int32
		message int32 // itself, or the first child of a dummy
	}
	var tops []top // in order of date (step 4)
	placed := make([]bool, len(t.parent))
	for _, e := range t.order {
		m := int32(e.at)
		switch p := t.parent[m]; {
		case p == none:
			tops = append(tops, top{m, m})
		case p >= int32(t.n) && !placed[p]:
			placed[p] = true
			tops = append(tops, top{p, m})
		}
	}
	isDummy := func(node int32) bool { return node >= int32(t.n) }
	table := make(map[uint64]int32, len(tops))
	for _, x := range tops { // (B)
		subject := t.subject(x.message)
		if subject == 0 {
			continue
		}
		had, ok := table[subject]
		if !ok || !isDummy(had) && (isDummy(x.node) || t.reply(had) && !t.reply(x.node)) {
			table[subject] = x.node
		}
	}
	joined := make(map[int32]int32) // dummies by what they became
	for _, x := range tops {        // (C)
		subject := t.subject(x.message)
		to := table[subject]
		switch {
		case subject == 0 || to == x.node:
		case isDummy(to) && isDummy(x.node):
			joined[x.node] = to
		case isDummy(to) || t.reply(x.node) && !t.reply(to):
			t.parent[x.node] = to
		default:
			d := int32(len(t.parent))
			t.parent = append(t.parent, none)
			t.parent[x.node], t.parent[to], table[subject] = d, d, d
		}
	}
	if len(joined) == 0 {
		return
	}
	for m, p := range t.parent[:t.n] {
		if to, ok := joined[p]; ok {
			t.parent[m] = to
		}
	}
}

// reply tells whether a message's subject is that of a reply or forward.
func (t *threader) reply(message int32) bool {
	ids, _ := t.ids.at(t.emails[message])
	return len(ids) > 0 && ids[0] != 0
}

// connect makes lists of children from the parents, all in order of date; a
// dummy stands where its first child would (step 6).
func (t *threader) connect() {
	all := make([]int32, 3*len(t.parent))
	for i := range all {
		all[i] = none
	}
	k := len(t.parent)
	t.first, t.last, t.next = all[:k], all[k:2*k], all[2*k:]
	for _, e := range t.order {
		m := int32(e.at)
		p := t.parent[m]
		if p == none {
			t.tops = append(t.tops, m)
			continue
		}
		if t.first[p] == none {
			t.first[p] = m
			if p >= int32(t.n) {
				t.tops = append(t.tops, p)
			}
		} else {
			t.next[t.last[p]] = m
		}
		t.last[p] = m
	}
}

// walk calls fn for a top and all that is below it, parents before children.
func (t *threader) walk(top int32, fn func(node int32, depth int)) {
	for x, depth := top, 0; ; x = t.next[x] {
		fn(x, depth)
		for ; t.first[x] != none; fn(x, depth) {
			x, depth = t.first[x], depth+1
		}
		for ; x != top && t.next[x] == none; depth-- {
			x = t.parent[x]
		}
		if x == top {
			return
		}
	}
}

// latestLast puts the threads in the order of their latest arrivals.
func (t *threader) latestLast(s *Snapshot, found []int) {
	dates := make([]int64, t.n)
	for at, row := range s.rowsOf(found) {
		dates[at] = row.Date
	}
	t.lastBy(dates)
}

// lastBy puts the threads in the order of the latest dates in them and, of the
// same date, of the sequence numbers of those.
func (t *threader) lastBy(dates []int64) {
	type latest struct {
		date         int64
		message, top int32
	}
	threads := make([]latest, len(t.tops))
	for i, top := range t.tops {
		l := latest{math.MinInt64, none, top}
		t.walk(top, func(node int32, _ int) {
			if node < int32(t.n) && (dates[node] > l.date || dates[node] == l.date && node > l.message) {
				l.date, l.message = dates[node], node
			}
		})
		threads[i] = l
	}
	slices.SortFunc(threads, func(a, b latest) int {
		return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.message, b.message))
	})
	for i, l := range threads {
		t.tops[i] = l.top
	}
}

// nodes writes the threads out.
func (t *threader) nodes(found []int) []ThreadNode {
	out := make([]ThreadNode, 0, t.n+t.n/4)
	for _, top := range t.tops {
		t.walk(top, func(node int32, depth int) {
			index := -1
			if node < int32(t.n) {
				index = found[node]
			}
			out = append(out, ThreadNode{depth, index})
		})
	}
	return out
}
