package imap

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/imap/internal/wire"
)

func FuzzMailboxFilter(f *testing.F) {
	for _, s := range []string{"selected", "subtree (a \"b c\" INBOX)", "subtree-one x/y", "mailboxes (&AOk- *)", "personal x", "inboxes"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(in, "{") {
			return // literals need a connection
		}
		filter, err := parsing(in).mailboxFilter()
		if err != nil {
			return
		}
		print := []string{"selected", "selected-delayed", "inboxes", "personal", "subscribed", "subtree", "subtree-one", "mailboxes"}[filter.Kind]
		if named := filter.Kind >= FilterSubtree; named != (len(filter.Names) > 0) {
			t.Fatalf("%+v", filter)
		}
		for i, name := range filter.Names {
			if !parsing("").lim.nameAllowed(name) || strings.Contains(name, "{") {
				t.Fatalf("name %q", name) // IM10; the brace is in no input
			}
			print += map[bool]string{true: " (", false: " "}[i == 0] + string(wire.AppendString(nil, string(wire.AppendUTF7(nil, name)), false))
		}
		if len(filter.Names) > 0 {
			print += ")"
		}
		if strings.Contains(print, "{") {
			return
		}
		if again, err := parsing(print).mailboxFilter(); err != nil || !reflect.DeepEqual(again, filter) {
			t.Fatalf("%q becomes %+v, %v, not %+v", print, again, err, filter)
		}
	})
}

func FuzzSearchReturn(f *testing.F) {
	for _, s := range []string{" (MIN MAX COUNT)", " (PARTIAL 1:5 UPDATE (UID BODY.PEEK[TEXT]) CONTEXT)", " (PARTIAL -1:-4294967295)", " ()",
		" (ALL RELEVANCY SAVE)", " (PARTIAL 1:2 ALL)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(in, "{") {
			return
		}
		var q searchCommand
		if parsing(in).searchReturn(&q) != nil {
			return
		}
		if q.Return == 0 || q.Return&(ReturnAll|ReturnPartial) == ReturnAll|ReturnPartial || (q.Partial != nil) != (q.Return&ReturnPartial != 0) {
			t.Fatalf("%+v", q)
		}
		if p := q.Partial; p != nil {
			if p.Lo == 0 || (p.Lo < 0) != (p.Hi < 0) {
				t.Fatalf("%+v", *p)
			}
			for _, n := range []int{0, 1, 7} {
				if lo, hi := p.Window(n); lo < 0 || hi < lo || hi > n {
					t.Fatalf("window of %d: %d %d", n, lo, hi)
				}
			}
		}
	})
}

func FuzzSortCriteria(f *testing.F) {
	for _, s := range []string{"(SUBJECT REVERSE DATE)", "(REVERSE REVERSE)", "(DISPLAYFROM DISPLAYTO RELEVANCY ARRIVAL CC FROM SIZE TO TO)", "()"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var req SearchRequest
		if parsing(in).sortCriteria(&req) != nil {
			return
		}
		var print []string
		for _, k := range req.Sort {
			for name, by := range sortNames {
				if by == k.By && k.Reverse {
					name = "REVERSE " + name
				}
				if by == k.By {
					print = append(print, name)
				}
			}
		}
		var again SearchRequest
		line := "(" + strings.Join(print, " ") + ")"
		if err := parsing(line).sortCriteria(&again); err != nil || !slices.Equal(again.Sort, req.Sort) || len(print) > len(sortNames) {
			t.Fatalf("%q: %v %v", line, err, again.Sort)
		}
	})
}

// FuzzFilterText is a filter that is stored, with the filters of memFilters to refer to.
func FuzzFilterText(f *testing.F) {
	for _, s := range memFilters {
		f.Add(s)
	}
	f.Add("SUBJECT {3}\r\nabc (FILTER deep FUZZY FILTER on)")
	f.Add("BODY {999999999999}\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		c := parsing("rest")
		before := strings.Clone(in)
		if err := c.checkFilter([]byte(in)); err == nil && in == "" {
			t.Fatal("an empty filter")
		}
		if in != before || string(c.p.Rest()) != "rest" {
			t.Fatal("the command's own line changed")
		}
	})
}

// FuzzThreads prints any forest that a session may give.
func FuzzThreads(f *testing.F) {
	f.Add([]byte{0, 1, 2, 2, 1, 0})
	f.Add([]byte{0x80, 1, 1, 0x80})
	f.Fuzz(func(t *testing.T, in []byte) {
		var nodes []ThreadNode
		depth, n := -1, 0
		for _, b := range in {
			depth = min(int(b&0x7f), depth+1)
			node := ThreadNode{Depth: depth}
			if b&0x80 == 0 {
				n++
				node.Num = uint32(n)
			}
			nodes = append(nodes, node)
		}
		for i := range nodes { // parents that are not there have two children at least
			if nodes[i].Num == 0 && countChildren(nodes)[i] < 2 {
				return
			}
		}
		out := printThreads(nodes)
		if err := checkResponses([]byte(out), false); err != nil {
			t.Fatalf("%v: %q of %v", err, out, nodes)
		}
		if got := len(strings.FieldsFunc(out, func(r rune) bool { return r < '0' || r > '9' })); got != n {
			t.Fatalf("%d of %d numbers: %q", got, n, out)
		}
	})
}

// TestFindNesting: IM3 for the keys that hold keys, also across filters.
func TestFindNesting(t *testing.T) {
	parse := func(s string) error {
		p := searchParser{conn: parsing(s), req: &SearchRequest{}}
		_, err := p.parse()
		return err
	}
	if err := parse(strings.Repeat("FUZZY ", 50) + "ALL"); err != nil {
		t.Error(err)
	}
	if err := parse(strings.Repeat("FUZZY ", 51) + "ALL"); err == nil {
		t.Error("51 levels")
	}
	if err := parse(strings.Repeat("NOT ", 50) + "FILTER seen"); err == nil {
		t.Error("the filter's level does not count")
	}
	if err := parse(strings.Repeat("NOT ", 49) + "FILTER seen"); err != nil {
		t.Error(err)
	}
}

// findings are 100,000 results, every other message.
func findings(req *SearchRequest) *SearchData {
	d := NewSearchData(req)
	for i := range uint32(100_000) {
		n := 2*i + 1
		if len(req.Sort) > 0 {
			n = (i*7919)%200_003 + 1
		}
		d.Add(n, n, 1)
	}
	return d
}

// TestFindAllocations: printing costs nothing, gathering no more than growing a slice.
func TestFindAllocations(t *testing.T) {
	o := &output{conn: &sink{}, stall: time.Minute}
	o.open()
	for _, req := range []*SearchRequest{
		{Return: ReturnAll | ReturnCount},
		{Return: ReturnAll, Sort: []SortKey{{By: SortSize}}},
		{Return: ReturnPartial, Sort: []SortKey{{By: SortSize}}, Partial: &Partial{-1, -1000}},
	} {
		d := findings(req)
		if n := testing.AllocsPerRun(3, func() { o.esearch(req, d); o.numbers(req, d) }); n > 2 {
			t.Errorf("%+v: %v allocations to print", req, n)
		}
		if n := testing.AllocsPerRun(3, func() { findings(req) }); n > 60 {
			t.Errorf("%+v: %v allocations to gather", req, n)
		}
	}
}

func BenchmarkSearchData100k(b *testing.B) {
	o := &output{conn: &sink{}, stall: time.Minute}
	o.open()
	for name, req := range map[string]*SearchRequest{
		"Search": {Return: ReturnAll}, "Sort": {Return: ReturnAll, Sort: []SortKey{{By: SortSize}}},
		"PartialLast": {Return: ReturnPartial, Partial: &Partial{-1, -100}}, "PartialFirst": {Return: ReturnPartial, Partial: &Partial{1, 100}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o.esearch(req, findings(req))
			}
		})
	}
}

func BenchmarkThreads100k(b *testing.B) {
	o := &output{conn: &sink{}, stall: time.Minute}
	o.open()
	nodes := make([]ThreadNode, 100_000)
	for i := range nodes {
		nodes[i] = ThreadNode{Depth: i % 5, Num: uint32(i + 1)}
	}
	b.ReportAllocs()
	for b.Loop() {
		o.threads(nodes)
	}
}
