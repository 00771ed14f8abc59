package mailbox

import (
	"fmt"
	"testing"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/message"
)

// TestFuzzy: what is found loosely, and how the finds rank (RFC 6203).
func TestFuzzy(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	for _, l := range []string{
		"Subject: meeting on Monday\r\nX-Trace: secretword\r\n\r\nbring the caf\u00e9 menu\r\n",
		"Subject: mieting\r\nFrom: Jos\u00e9 <jose@example.org>\r\n\r\nthe meetings\r\n",
		"Subject: other\r\n\r\nmeeting \u6771\u4eac\u90fd accomodation\r\n",
		"Subject: last\r\n\r\nmeat\r\n",
	} {
		ok[AppendResult](t)(a.Append(ctx, inbox, []AppendMessage{{Message: w.stage([]byte(l))}}))
	}
	s := ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
	fuzzy := func(q *Query) *Query { return &Query{Op: OpFuzzy, Subs: []*Query{q}} }
	text := func(op Op, s string) *Query { return &Query{Op: op, Text: s} }
	check := func() {
		t.Helper()
		for _, c := range []struct {
			q    *Query
			want string
		}{
			{fuzzy(text(OpSubject, "meeting")), "[0 1] [100 60]"},
			{fuzzy(text(OpText, "meeting")), "[0 1 2] [100 72 85]"},
			{fuzzy(text(OpText, "monday MEETING")), "[0] [100]"},
			{fuzzy(text(OpBody, "cafe")), "[0] [80]"},
			{fuzzy(text(OpFrom, "jose")), "[1] [95]"},
			{fuzzy(text(OpText, "accommodation")), "[2] [51]"},
			{fuzzy(text(OpText, "\u4eac\u90fd")), "[2] [85]"},
			{fuzzy(text(OpText, "secretword")), "[] []"},
			{fuzzy(&Query{Op: OpHeader, Field: "x-trace", Text: "secret"}), "[0] [80]"},
			{fuzzy(text(OpText, "met")), "[] []"},
			{fuzzy(&Query{Op: OpOr, Subs: []*Query{text(OpSubject, "last"), text(OpBody, "menu")}}), "[0 3] [85 100]"},
			{&Query{Op: OpAnd, Subs: []*Query{text(OpSubject, "m"), fuzzy(text(OpSubject, "meetin"))}}, "[0] [92]"},
			{&Query{Op: OpNot, Subs: []*Query{fuzzy(text(OpSubject, "meeting"))}}, "[2 3] [100 100]"},
			{text(OpSubject, "meeting"), "[0] [100]"},
		} {
			found, scores, err := a.SearchScored(ctx, s, c.q)
			if got := fmt.Sprint(found, scores); err != nil || got != c.want {
				t.Errorf("%s: %s, want %s, %v", describe(c.q), got, c.want, err)
			}
		}
	}
	check()
	w.indexWorth = 1
	if err := w.Index(ctx, acct); err != nil {
		t.Fatal(err)
	}
	check()
	_, err := a.Search(ctx, s, &Query{Op: OpFuzzy})
	wantKind(t, err, postino.Invalid)
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		word, term string
		want       int
	}{
		{"meeting", "meeting", 0}, {"meeting", "meting", 1}, {"meeting", "meetting", 1}, {"meeting", "metinge", 2}, {"meeting", "meetign", 1},
		{"absolutely", "absoltuelly", 2}, {"absolutely", "bsolutel", 2}, {"caf\u00e9s", "cafes", 0},
	} {
		w := looseWords(message.Fold(nil, []byte(c.word)))[0]
		got := w.distance(message.Fold(nil, []byte(c.term)))
		if got != c.want && (c.want <= w.wrong || got <= w.wrong) {
			t.Errorf("%s and %s: %d, want %d", c.word, c.term, got, c.want)
		}
	}
}
