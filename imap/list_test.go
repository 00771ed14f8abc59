package imap

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestListExamples: the examples of RFC 9051 §6.3.9.8 where RECURSIVEMATCH and missing
// levels meet. Redundant CHILDINFO is left out, as §6.3.9.6 wants; names come
// sorted and with the attributes of CHILDREN.
func TestListExamples(t *testing.T) {
	for _, x := range []struct {
		name, boxes, subs, command string
		want                       []string
	}{
		{"7A", "Foo Foo/Bar Foo/Baz Moo", "Foo/Baz", `LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"`,
			[]string{`(\HasChildren) "/" "Foo" ("CHILDINFO" ("SUBSCRIBED"))`}},
		{"7A plain", "Foo Foo/Bar Foo/Baz Moo", "Foo/Baz", `LIST (SUBSCRIBED) "" "%"`, nil},
		{"8", "foo2 foo2/bar1 foo2/bar2 baz2 baz2/bar2 baz2/bar22 baz2/bar222 eps2 eps2/mamba qux2/bar2",
			"foo2/bar1 foo2/bar2 baz2/bar2 baz2/bar22 baz2/bar222 eps2 eps2/mamba qux2/bar2", `LIST (RECURSIVEMATCH SUBSCRIBED) "" "*2"`,
			[]string{
				`(\HasNoChildren \Subscribed) "/" "baz2/bar2"`,
				`(\HasNoChildren \Subscribed) "/" "baz2/bar22"`,
				`(\HasNoChildren \Subscribed) "/" "baz2/bar222"`,
				`(\HasChildren \Subscribed) "/" "eps2" ("CHILDINFO" ("SUBSCRIBED"))`,
				`(\HasChildren) "/" "foo2" ("CHILDINFO" ("SUBSCRIBED"))`,
				`(\HasNoChildren \Subscribed) "/" "foo2/bar2"`,
				`(\HasNoChildren \Subscribed) "/" "qux2/bar2"`,
			}},
		{"9", "foo", "foo/bar", `LIST (SUBSCRIBED RECURSIVEMATCH) "" foo RETURN (CHILDREN)`,
			[]string{`(\HasNoChildren) "/" "foo" ("CHILDINFO" ("SUBSCRIBED"))`}},
		{"10", "music/rock also/jazz", "", `LIST () "" (m%)`, []string{`(\NonExistent \HasChildren) "/" "music"`}},
		{"10 rev1", "music/rock", "", `LIST "" m%`, []string{`(\Noselect \HasChildren) "/" "music"`}},
		{"no level for *", "music/rock", "", `LIST "" mus*`, []string{`(\HasNoChildren) "/" "music/rock"`}},
		{"INBOX", "", "", `LIST "" inb%`, []string{`(\HasNoChildren) "/" "INBOX"`}},
		{"INBOX below", "INBOX/a", "", `LIST "inbox/" %`, []string{`(\HasNoChildren) "/" "INBOX/a"`}},
		{"empty pattern, extended", "a", "", `LIST "" ("")`, nil},
		{"undecodable pattern", "a", "", `LIST "" "&"`, nil},
	} {
		store := newMemStore(strings.Fields(x.boxes)...)
		for _, s := range strings.Fields(x.subs) {
			store.subs[s] = true
		}
		_, connect := start(t, store, nil)
		lines := login(t, connect).do(x.command)
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "* LIST ")
		}
		if got := lines[:len(lines)-1]; !slices.Equal(got, x.want) || lines[len(lines)-1] != "x OK LIST completed" {
			t.Errorf("%s: got\n%s\nwant\n%s", x.name, strings.Join(lines, "\n"), strings.Join(x.want, "\n"))
		}
	}
}

// TestListTree: every name has its parent right above, and what judge carries up
// is what a look at all pairs finds.
func TestListTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.StringMatching(`(INBOX|[ab.!]{1,2})(/[ab0]{1,2}){0,3}`), rapid.ID[string]).Draw(t, "names")
		var boxes []Mailbox
		for _, n := range names {
			m := Mailbox{Name: n, Subscribed: rapid.Bool().Draw(t, "subscribed")}
			if m.Subscribed && rapid.Bool().Draw(t, "gone") {
				m.Attrs = AttrNonExistent
			}
			boxes = append(boxes, m)
		}
		entries := listTree(boxes)
		req := listRequest{subscribed: rapid.Bool().Draw(t, "select"), patterns: []pattern{compilePattern("%")}}
		req.judge(entries)
		seen := map[string]bool{}
		for i, e := range entries {
			if seen[e.Name] {
				t.Fatalf("%q twice", e.Name)
			}
			seen[e.Name] = true
			parent := ""
			if j := strings.LastIndex(e.Name, "/"); j >= 0 {
				parent = e.Name[:j]
			}
			if (e.parent < 0) != (parent == "") || e.parent >= i || e.parent >= 0 && entries[e.parent].Name != parent {
				t.Fatalf("parent of %q is %d", e.Name, e.parent)
			}
			var children, selected, unmatched bool
			for _, o := range entries {
				if strings.HasPrefix(o.Name, e.Name+"/") {
					children = children || o.exists
					selected = selected || o.selected
					unmatched = unmatched || o.selected && !o.matched
				}
			}
			if e.children != children || e.childSelected != selected || e.childUnmatched != unmatched {
				t.Fatalf("%q: %+v", e.Name, e)
			}
		}
		for _, n := range names {
			if !seen[n] {
				t.Fatalf("%q is missing", n)
			}
		}
	})
}
