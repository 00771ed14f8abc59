package mailbox

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postino-mail/postino/message"
	"pgregory.net/rapid"
)

func TestSearchCollations(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	long := strings.Repeat("someone@example.org, ", 400) + "Last@example.net"
	s := w.put(a, inbox,
		"From: Ada <Ada@example.org>\r\nSubject: =?utf-8?q?Caf=C3=A9?= Plans\r\nMessage-ID: <One@x>\r\n\r\nMeet Me at noon.\r\n",
		"From: ada@example.org\r\nSubject: CAF=?utf-8?q?=C3=89?= plans\r\nTo: "+long+"\r\nMessage-ID: <one@x>\r\n\r\n"+strings.Repeat("x", 100_000)+"meet me\r\n",
	)
	not := func(q *Query) *Query { return &Query{Op: OpNot, Subs: []*Query{q}} }
	for _, c := range []struct {
		q    *Query
		want [3][]int // by collation
	}{
		{&Query{Op: OpSubject, Text: "caf\u00e9 PLANS"}, [3][]int{{0, 1}, {0}, nil}},
		{&Query{Op: OpSubject, Text: "CAF\u00c9"}, [3][]int{{0, 1}, {1}, {1}}},
		{&Query{Op: OpFrom, Text: "Ada"}, [3][]int{{0, 1}, {0, 1}, {0}}},
		{&Query{Op: OpFrom, Text: "ada"}, [3][]int{{0, 1}, {0, 1}, {1}}},
		{&Query{Op: OpTo, Text: "Last@example"}, [3][]int{{1}, {1}, {1}}},
		{&Query{Op: OpTo, Text: "last@example"}, [3][]int{{1}, {1}, nil}},
		{&Query{Op: OpHeader, Field: "Message-ID", Text: "<one@x>"}, [3][]int{{0, 1}, {0, 1}, {1}}},
		{&Query{Op: OpHeader, Field: "Subject", Text: "Plans"}, [3][]int{{0, 1}, {0, 1}, {0}}},
		{&Query{Op: OpHeader, Field: "to"}, [3][]int{{1}, {1}, {1}}},
		{&Query{Op: OpBody, Text: "MEET ME"}, [3][]int{{0, 1}, {0, 1}, nil}},
		{&Query{Op: OpText, Text: "meet me"}, [3][]int{{0, 1}, {0, 1}, {1}}},
		{&Query{Op: OpText, Text: "Ada"}, [3][]int{{0, 1}, {0, 1}, {0}}},
		{&Query{Op: OpBody, Text: ""}, [3][]int{{0, 1}, {0, 1}, {0, 1}}},
		{not(&Query{Op: OpSubject, Text: "plans", Collation: Octet}), [3][]int{nil, nil, {0}}},
	} {
		for collation, want := range c.want {
			q := *c.q
			q.Collation = Collation(collation)
			if got := ok[[]int](t)(a.Search(ctx, s, &q)); !slices.Equal(got, want) {
				t.Errorf("search %+v by %v finds %v, want %v", *c.q, q.Collation, got, want)
			}
		}
	}
}

// TestCollationsNarrow shows what searching rests on: what octet or ASCII
// collations find, the default finds too.
func TestCollationsNarrow(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		piece := rapid.StringOf(rapid.SampledFrom([]rune("aA \t\x01\u00e9\u00c9e\u0301\ufb01\u01c4\u01c5\uac00\u1100\u1161\u0130\u2003\ufffd")))
		before, needle, after := piece.Draw(r, "before"), piece.Draw(r, "needle"), piece.Draw(r, "after")
		for c := ASCIICasemap; c <= Octet; c++ {
			same := needle
			if c == ASCIICasemap {
				same = strings.Map(func(r rune) rune {
					if 'a' <= r && r <= 'z' {
						return r - 'a' + 'A'
					}
					return r
				}, needle)
			}
			text := before + same + after
			if !c.matcher(needle).MatchString(text) {
				r.Fatalf("%v does not find %q in %q", c, needle, text)
			}
			found, err := c.matcher(needle).Match(iotest.OneByteReader(strings.NewReader(text)))
			if err != nil || !found {
				r.Fatalf("%v does not find %q in the pieces of %q: %v", c, needle, text, err)
			}
			if !message.NewMatcher(needle).MatchString(text) {
				r.Fatalf("the default does not find %q in %q", needle, text)
			}
			if c == Octet && needle != "" {
				other := before + after
				if found, _ := c.matcher(needle).Match(strings.NewReader(other)); found != strings.Contains(other, needle) {
					r.Fatalf("%q in %q: %v", needle, other, found)
				}
			}
		}
	})
	broken := errors.New("broken")
	if _, err := Octet.matcher("x").Match(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("reading fails with %v", err)
	}
}
