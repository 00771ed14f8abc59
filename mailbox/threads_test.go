package mailbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"pgregory.net/rapid"
)

// threadText writes threads as RFC 5256 §4 does, with 1 for index 0.
func threadText(nodes []ThreadNode) string {
	kids := make([][]int, len(nodes)+1) // of node i-1; 0 is the root
	var way []int
	for i, n := range nodes {
		way = append(way[:n.Depth], i+1)
		above := 0
		if n.Depth > 0 {
			above = way[n.Depth-1]
		}
		kids[above] = append(kids[above], i+1)
	}
	var write func(node int) string
	write = func(node int) string {
		text := ""
		if i := nodes[node-1].Index; i >= 0 {
			text = fmt.Sprint(i + 1)
		}
		if len(kids[node]) == 1 {
			return strings.TrimSpace(text + " " + write(kids[node][0]))
		}
		for n, k := range kids[node] {
			if n == 0 && text != "" {
				text += " "
			}
			text += "(" + write(k) + ")"
		}
		return text
	}
	all := ""
	for _, k := range kids[0] {
		all += "(" + write(k) + ")"
	}
	return all
}

// said is what a message says that matters for threads.
type said struct {
	id         string
	refs       []string
	base       string
	reply      bool
	date       int64
	internally int64
}

func (s said) letter() string {
	b := "Subject: "
	if s.reply {
		b += "Re: "
	}
	b += s.base + "\r\n"
	if s.id != "" {
		b += "Message-ID: <" + s.id + ">\r\n"
	}
	if len(s.refs) > 0 {
		b += "References: <" + strings.Join(s.refs, "> <") + ">\r\n"
	}
	if s.date != 0 {
		b += "Date: " + time.Unix(s.date, 0).UTC().Format(time.RFC1123Z) + "\r\n"
	}
	return b + "\r\n"
}

func TestThread(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	at := func(n int64) int64 { return began.Unix() + n*3600 }
	for i, c := range []struct {
		letters                   []said
		ordered, references, refs string
	}{
		// The response that RFC 5256 §4 explains.
		{[]said{
			{id: "1"}, {id: "2"}, {id: "3"}, {id: "4", refs: []string{"3", "6"}}, {id: "5"}, {id: "6", refs: []string{"3"}},
			{id: "7", refs: []string{"44"}}, {id: "23", refs: []string{"4"}}, {id: "44", refs: []string{"3", "6"}}, {id: "96", refs: []string{"3", "6", "44", "7"}},
		}, "(1 (2)(3)(4)(5)(6)(7)(8)(9)(10))", "(1)(2)(3 6 (4 8)(9 7 10))(5)", "(1)(2)(5)(3 6 (4 8)(9 7 10))"},
		// Siblings of a parent that is not there; a chain of two that are not.
		{[]said{{refs: []string{"x"}}, {refs: []string{"x"}, date: at(-1)}}, "(2 1)", "((2)(1))", "((2)(1))"},
		{[]said{{refs: []string{"x", "y"}}, {id: "b", refs: []string{"x", "y"}}, {refs: []string{"b"}}, {refs: []string{"x"}}}, "(1 (2)(3)(4))", "((1)(2 3)(4))", "((1)(2 3)(4))"},
		{[]said{{refs: []string{"x", "y"}}}, "(1)", "(1)", "(1)"},
		// A loop, a message that refers to itself, two with one id.
		{[]said{{id: "a", refs: []string{"b"}}, {id: "b", refs: []string{"a"}}, {id: "c", refs: []string{"c"}}, {id: "a"}, {refs: []string{"a"}}}, "(1 (2)(3)(4)(5))", "(2 1 5)(3)(4)", "(3)(4)(2 1 5)"},
		// A parent from truncated references is put right by the message itself.
		{[]said{{refs: []string{"a", "c"}}, {id: "a"}, {id: "b", refs: []string{"a"}}, {id: "c", refs: []string{"a", "b"}}}, "(1 (2)(3)(4))", "(2 3 4 1)", "(2 3 4 1)"},
		// Subjects.
		{[]said{{base: "s", reply: true}, {base: "S"}, {base: "s"}, {base: "other"}}, "(1 (2)(3))(4)", "((2 1)(3))(4)", "(1)(2)(3)(4)"},
		{[]said{{base: "s", reply: true, date: at(9)}, {base: "s", date: at(8)}, {base: "other", date: at(7)}}, "(3)(2 1)", "(3)(2 1)", "(1)(2)(3)"},
		{[]said{{base: "s", refs: []string{"x"}}, {base: "s", refs: []string{"x"}}, {base: "s", refs: []string{"y"}}, {base: "s", refs: []string{"y"}}, {base: "s"}},
			"(1 (2)(3)(4)(5))", "((1)(2)(3)(4)(5))", "((1)(2))((3)(4))(5)"},
		{[]said{{base: "s", reply: true}, {base: "s", reply: true}}, "(1 2)", "((1)(2))", "(1)(2)"},
	} {
		var letters []string
		for _, l := range c.letters {
			letters = append(letters, l.letter())
		}
		box := ok[Info](t)(a.Create(ctx, fmt.Sprint("box", i), UseNone)).ID
		s := w.put(a, box, letters...)
		for alg, want := range []string{c.ordered, c.references, c.refs} {
			nodes := ok[[]ThreadNode](t)(a.Thread(ctx, s, everything(s), ThreadAlgorithm(alg), UnicodeCasemap))
			if got := threadText(nodes); got != want {
				t.Errorf("case %d by %d: %s, want %s", i, alg, got, want)
			}
		}
	}
	s := ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
	equal(t, "threads of nothing", len(ok[[]ThreadNode](t)(a.Thread(ctx, s, nil, ThreadReferences, UnicodeCasemap))), 0)
	s = w.put(a, inbox, "Subject: a\r\n\r\n", "Subject: A\r\n\r\n", "Subject: a\r\n\r\n")
	nodes := ok[[]ThreadNode](t)(a.Thread(ctx, s, []int{1, 2}, ThreadOrderedSubject, Octet))
	equal(t, "threads of some", threadText(nodes), "(2)(3)")
	_, err := a.Thread(ctx, s, nil, 9, UnicodeCasemap)
	wantKind(t, err, postino.Invalid)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.Thread(gone, s, everything(s), ThreadReferences, UnicodeCasemap); !errors.Is(err, context.Canceled) {
		t.Errorf("threads after their end: %v", err)
	}
}

var testSeed = maphash.MakeSeed()

// thread makes threads of messages without a store.
func thread(t failer, all []said, alg ThreadAlgorithm) []ThreadNode {
	t.Helper()
	ids, subjects := column{}, column{}
	add := func(c column, i int, text []byte) {
		p := c[EmailID(i>>pageBits)]
		if p == nil {
			p = &columnPage{}
			c[EmailID(i>>pageBits)] = p
		}
		at := i & (1<<pageBits - 1)
		p.have[at>>6] |= 1 << (at & 63)
		p.text = append(p.text, text...)
		p.ends[at] = uint32(len(p.text))
	}
	th := &threader{n: len(all), ids: lookup{pages: ids}, subjects: lookup{pages: subjects}, seed: testSeed}
	for i, m := range all {
		sum := Summary{MessageID: m.id, References: m.refs, BaseSubject: m.base, Reply: m.reply}
		row, err := decodeSortRow(sum.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		add(ids, i, row.appendIDs(nil, testSeed))
		add(subjects, i, UnicodeCasemap.append(nil, []byte(m.base)))
		th.emails, th.order, th.parent = append(th.emails, EmailID(i)), append(th.order, sortEntry{at: uint32(i)}), append(th.parent, none)
	}
	slices.SortStableFunc(th.order, func(a, b sortEntry) int {
		return cmp.Compare(all[a.at].date, all[b.at].date)
	})
	if alg == ThreadOrderedSubject {
		th.bySubject()
	} else {
		if err := th.byReferences(ctx); err != nil {
			t.Fatal(err)
		}
		th.gather(alg == ThreadReferences)
	}
	th.connect()
	if alg == ThreadRefs {
		dates := make([]int64, len(all))
		for i, m := range all {
			dates[i] = m.internally
		}
		th.lastBy(dates)
	}
	found := make([]int, len(all))
	for i := range found {
		found[i] = i
	}
	return th.nodes(found)
}

// container is a message of the plain implementation below; message is -1 for a dummy.
type container struct {
	message int
	parent  *container
	kids    []*container
}

func (c *container) remove(kid *container) {
	c.kids = slices.DeleteFunc(c.kids, func(k *container) bool { return k == kid })
}

func (c *container) isBelow(other *container) bool {
	for ; c != nil; c = c.parent {
		if c == other {
			return true
		}
	}
	return false
}

// plain follows RFC 5256 §3 word for word.
func plain(all []said, alg ThreadAlgorithm) []ThreadNode {
	root := &container{message: -1}
	hang := func(c, under *container) { c.parent = under; under.kids = append(under.kids, c) }
	date := func(c *container) (int64, int) {
		if c.message < 0 {
			c = c.kids[0]
		}
		return all[c.message].date, c.message
	}
	sorted := func(list []*container) {
		slices.SortFunc(list, func(a, b *container) int {
			ad, am := date(a)
			bd, bm := date(b)
			return cmp.Or(cmp.Compare(ad, bd), cmp.Compare(am, bm))
		})
	}
	var sortBelow func(c *container)
	sortBelow = func(c *container) { // (6)
		for _, k := range c.kids {
			sortBelow(k)
		}
		sorted(c.kids)
	}
	subject := func(c *container) string {
		if c.message < 0 {
			c = c.kids[0]
		}
		return strings.ToUpper(all[c.message].base)
	}
	if alg == ThreadOrderedSubject {
		messages := make([]*container, len(all))
		for i := range all {
			messages[i] = &container{message: i}
		}
		sorted(messages)
		slices.SortStableFunc(messages, func(a, b *container) int { return cmp.Compare(subject(a), subject(b)) })
		for i, c := range messages {
			if i == 0 || subject(c) != subject(messages[i-1]) {
				hang(c, root)
			} else {
				hang(c, root.kids[len(root.kids)-1])
			}
		}
		sorted(root.kids)
		return flatten(root)
	}
	// (1)
	var nodes []*container
	byID := map[string]*container{}
	for i, m := range all {
		nodes = append(nodes, &container{message: i})
		if m.id != "" && byID[m.id] == nil {
			byID[m.id] = nodes[i]
		}
	}
	every := slices.Clone(nodes)
	for i, m := range all {
		var last *container
		for _, ref := range m.refs {
			c := byID[ref]
			if c == nil {
				c = &container{message: -1}
				byID[ref], every = c, append(every, c)
			}
			if last != nil && c.parent == nil && !last.isBelow(c) {
				hang(c, last)
			}
			last = c
		}
		c := nodes[i]
		if c.parent != nil {
			c.parent.remove(c)
			c.parent = nil
		}
		if last != nil && !last.isBelow(c) {
			hang(c, last)
		}
	}
	// (2)
	for _, c := range every {
		if c.parent == nil {
			hang(c, root)
		}
	}
	// (3)
	var prune func(c *container)
	prune = func(c *container) {
		for _, k := range slices.Clone(c.kids) {
			prune(k)
			if k.message >= 0 || c == root && len(k.kids) > 1 {
				continue
			}
			c.remove(k)
			for _, kk := range k.kids {
				hang(kk, c)
			}
		}
	}
	prune(root)
	// (4)
	for _, c := range root.kids {
		if c.message < 0 {
			sorted(c.kids)
		}
	}
	sorted(root.kids)
	if alg == ThreadReferences { // (5)
		reply := func(c *container) bool { return c.message >= 0 && all[c.message].reply }
		table := map[string]*container{}
		for _, c := range root.kids {
			s := subject(c)
			if s == "" {
				continue
			}
			had := table[s]
			if had == nil || had.message >= 0 && (c.message < 0 || reply(had) && !reply(c)) {
				table[s] = c
			}
		}
		for _, c := range slices.Clone(root.kids) {
			s := subject(c)
			to := table[s]
			if s == "" || to == c {
				continue
			}
			root.remove(c)
			switch {
			case to.message < 0 && c.message < 0:
				for _, k := range c.kids {
					hang(k, to)
				}
			case to.message < 0, reply(c) && !reply(to):
				hang(c, to)
			default:
				root.remove(to)
				d := &container{message: -1}
				hang(d, root)
				hang(c, d)
				hang(to, d)
				table[s] = d
			}
		}
	}
	sortBelow(root)
	if alg == ThreadRefs {
		slices.SortFunc(root.kids, func(a, b *container) int { return slices.Compare(latest(a, all), latest(b, all)) })
	}
	return flatten(root)
}

// latest returns internal date and number of the latest message of a thread.
func latest(c *container, all []said) []int64 {
	best := []int64{-1 << 62}
	if c.message >= 0 {
		best = []int64{all[c.message].internally, int64(c.message)}
	}
	for _, k := range c.kids {
		if l := latest(k, all); slices.Compare(l, best) > 0 {
			best = l
		}
	}
	return best
}

func flatten(root *container) (out []ThreadNode) {
	var walk func(c *container, depth int)
	walk = func(c *container, depth int) {
		out = append(out, ThreadNode{depth, c.message})
		for _, k := range c.kids {
			walk(k, depth+1)
		}
	}
	for _, c := range root.kids {
		walk(c, 0)
	}
	return out
}

// TestThreadsAreAsTheStandardSays compares with the plain implementation, and
// looks at what must hold of all threads.
func TestThreadsAreAsTheStandardSays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		id := rapid.Custom(func(r *rapid.T) string { return fmt.Sprint("id", rapid.IntRange(0, 14).Draw(r, "id")) })
		all := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) said {
			return said{
				id:    rapid.OneOf(rapid.Just(""), id, id, id).Draw(r, "id"),
				refs:  rapid.SliceOfN(id, 0, 5).Draw(r, "refs"),
				base:  rapid.SampledFrom([]string{"", "a", "A", "b", "c"}).Draw(r, "base"),
				reply: rapid.Bool().Draw(r, "reply"),
				date:  int64(rapid.IntRange(0, 5).Draw(r, "date")), internally: int64(rapid.IntRange(0, 5).Draw(r, "internal date")),
			}
		}), 1, 14).Draw(r, "messages")
		for alg := range ThreadRefs + 1 {
			got := thread(r, all, alg)
			if want := plain(all, alg); !slices.Equal(got, want) {
				r.Fatalf("algorithm %d gives %s, want %s", alg, threadText(got), threadText(want))
			}
			seen := make([]bool, len(all))
			depth := -1
			for i, n := range got {
				if n.Depth > depth+1 || n.Index < 0 && (n.Depth > 0 || i+2 >= len(got) || got[i+1].Depth != 1) {
					r.Fatalf("node %d of %v stands wrong", i, got)
				}
				depth = n.Depth
				if n.Index >= 0 {
					if seen[n.Index] {
						r.Fatalf("message %d is there twice", n.Index)
					}
					seen[n.Index] = true
				}
			}
			if slices.Contains(seen, false) {
				r.Fatalf("a message is missing in %v", got)
			}
		}
	})
}

// TestDeepThreads makes threads of 100,000 generations, in whatever order the
// messages came, and of as many loops.
func TestDeepThreads(t *testing.T) {
	const n = 100_000
	chain := make([]said, n)
	for i := range chain {
		chain[i] = said{id: fmt.Sprint(i), date: int64(i)}
		if i > 0 {
			chain[i].refs = []string{fmt.Sprint(i - 1)}
		}
	}
	depth := func(nodes []ThreadNode) int {
		return slices.MaxFunc(nodes, func(a, b ThreadNode) int { return a.Depth - b.Depth }).Depth
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for name, arrange := range map[string]func(){
		"in order":  func() {},
		"backwards": func() { slices.Reverse(chain) },
		"shuffled":  func() { rng.Shuffle(n, func(i, j int) { chain[i], chain[j] = chain[j], chain[i] }) },
	} {
		arrange()
		for _, alg := range []ThreadAlgorithm{ThreadReferences, ThreadRefs} {
			if got := depth(thread(t, chain, alg)); got != n-1 {
				t.Errorf("chain %s by %d is %d deep", name, alg, got+1)
			}
		}
	}
	// Each message asks whether the root of a deep thread can go below its end.
	slices.SortFunc(chain, func(a, b said) int { return cmp.Compare(a.date, b.date) })
	for i := n / 2; i < n; i++ {
		end := fmt.Sprint(n/2 - 1)
		chain[i].refs = []string{end, "0", end, "0", end, "0"}
	}
	nodes := thread(t, chain, ThreadReferences)
	equal(t, "messages", len(nodes), n)
	equal(t, "depth", depth(nodes), n/2-1)
}

// TestMissingMessages remembers only so many messages that are not there.
func TestMissingMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("a million message-ids")
	}
	all := make([]said, maxMissing/100+100)
	for i := range all {
		for j := range 100 {
			all[i].refs = append(all[i].refs, fmt.Sprint(i, ".", j))
		}
	}
	last := len(all) - 1
	all[last-1].id, all[last].refs = "known", []string{"unknown", "known"}
	nodes := thread(t, all, ThreadReferences)
	equal(t, "messages", len(nodes), len(all))
	equal(t, "depth of the last one", nodes[last].Depth, 1)
}

// TestForest compares with parents followed one by one.
func TestForest(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(r, "nodes")
		f, parent := make(forest, n+1), make([]int32, n+1)
		root := func(x int32) int32 {
			for parent[x] != 0 {
				x = parent[x]
			}
			return x
		}
		for range rapid.IntRange(0, 200).Draw(r, "steps") {
			x, y := int32(rapid.IntRange(1, n).Draw(r, "x")), int32(rapid.IntRange(1, n).Draw(r, "y"))
			switch {
			case rapid.IntRange(0, 3).Draw(r, "cut") == 0:
				f.cut(x)
				parent[x] = 0
			case parent[x] == 0 && root(y) != x:
				f.link(x, y)
				parent[x] = y
			}
			if got := f.root(y); got != root(y) {
				r.Fatalf("root of %d is %d, want %d", y, got, root(y))
			}
		}
	})
}

func TestReferencesAreHashes(t *testing.T) {
	sum := Summary{MessageID: "a", InReplyTo: []string{"c"}, References: []string{"b", "", "a"}, Reply: true}
	row := ok[sortRow](t)(decodeSortRow(sum.append(nil)))
	ids := row.appendIDs(nil, testSeed)
	equal(t, "octets", len(ids), 1+3*8)
	equal(t, "reply", ids[0], 1)
	equal(t, "same id", binary.LittleEndian.Uint64(ids[1:]), binary.LittleEndian.Uint64(ids[17:]))
}

// BenchmarkThread makes threads of 100,000 messages.
func BenchmarkThread(b *testing.B) {
	w, a, s := sortWorld(b, benchSize)
	all := everything(s)
	for alg, name := range []string{"orderedsubject", "references", "refs"} {
		b.Run("first/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.columns = newColumnCache(w.Store.opts.SortCache)
				ok[[]ThreadNode](b)(a.Thread(ctx, s, all, ThreadAlgorithm(alg), UnicodeCasemap))
			}
		})
		b.Run("again/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ok[[]ThreadNode](b)(a.Thread(ctx, s, all, ThreadAlgorithm(alg), UnicodeCasemap))
			}
		})
	}
}
