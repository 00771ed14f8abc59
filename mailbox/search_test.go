package mailbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
)

func TestSearch(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	long := strings.Repeat("someone@example.org, ", 400) + "last@example.net"
	day := time.Date(2024, 2, 10, 0, 0, 0, 0, time.UTC)
	letters := []struct {
		octets string
		prefix string
		flags  Flags
		words  []string
		date   time.Time
	}{
		{"From: Ada <ada@example.org>\r\nSubject: =?utf-8?q?Caf=C3=A9?= plans\r\nDate: Sat, 10 Feb 2024 23:30:00 -0500\r\nMessage-ID: <one@x>\r\n\r\nMeet me at noon.\r\n", "", Seen, nil, day},
		{"From: bob@example.net\r\nTo: " + long + "\r\nSubject: two\r\nX-List: golang\r\nContent-Transfer-Encoding: base64\r\nContent-Type: text/plain; charset=utf-8\r\n\r\naGlkZGVuIHRyZWFzdXJl\r\n", "Return-Path: <owner@lists.example>\r\n", Flagged | Seen, []string{"$Junk"}, day.Add(-time.Second)},
		{"Subject: three\r\nDate: Sun, 11 Feb 2024 03:00:00 +0900\r\n\r\n" + strings.Repeat("long body\r\n", 10_000) + "needle", "", 0, nil, day.Add(24 * time.Hour)},
		{"\r\nno header", "", Deleted, []string{"$junk"}, day.Add(23 * time.Hour)},
	}
	for _, l := range letters {
		_, err := a.Append(ctx, inbox, []AppendMessage{{Message: w.stage([]byte(l.octets)), Prefix: []byte(l.prefix), Flags: l.flags, Keywords: l.words, Date: l.date}})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
	not := func(q *Query) *Query { return &Query{Op: OpNot, Subs: []*Query{q}} }
	and := func(q ...*Query) *Query { return &Query{Op: OpAnd, Subs: q} }
	or := func(q ...*Query) *Query { return &Query{Op: OpOr, Subs: q} }
	flag := func(f Flags) *Query { return &Query{Op: OpFlag, Flags: f} }
	text := func(op Op, s string) *Query { return &Query{Op: op, Text: s} }
	head := func(f, s string) *Query { return &Query{Op: OpHeader, Field: f, Text: s} }
	on := func(op Op, d int) *Query { return &Query{Op: op, Date: day.AddDate(0, 0, d).Unix()} }
	for _, c := range []struct {
		q    *Query
		want []int
	}{
		{&Query{}, []int{0, 1, 2, 3}},
		{and(), []int{0, 1, 2, 3}},
		{flag(Seen), []int{0, 1}},
		{flag(Seen | Flagged), []int{1}},
		{not(flag(Seen)), []int{2, 3}},
		{&Query{Op: OpKeyword, Keyword: "$JUNK"}, []int{1, 3}},
		{&Query{Op: OpKeyword, Keyword: "never"}, nil},
		{&Query{Op: OpSeq, Set: Ranges{{2, 3}}}, []int{1, 2}},
		{&Query{Op: OpUID, Set: Ranges{{1, 1}, {4, 9}}}, []int{0, 3}},
		{&Query{Op: OpLarger, N: 10_000}, []int{2}},
		{&Query{Op: OpSmaller, N: uint64(len(letters[3].octets))}, nil},
		{on(OpBefore, 0), []int{1}},
		{on(OpOn, 0), []int{0, 3}},
		{on(OpSince, 0), []int{0, 2, 3}},
		{on(OpSentOn, 0), []int{0}},
		{on(OpSentOn, 1), []int{2}},
		{on(OpSentBefore, 1), []int{0}},
		{on(OpSentSince, 0), []int{0, 2}},
		{&Query{Op: OpYounger, N: 3600, Date: day.Add(24 * time.Hour).Unix()}, []int{2}},
		{&Query{Op: OpOlder, N: 3600, Date: day.Add(24 * time.Hour).Unix()}, []int{0, 1, 3}},
		{&Query{Op: OpModSeq, N: uint64(s.Row(2).ModSeq)}, []int{2, 3}},
		{&Query{Op: OpEmail, N: uint64(s.Email(1))}, []int{1}},
		{text(OpSubject, "CAFÉ PLANS"), []int{0}},
		{text(OpFrom, "ada"), []int{0}},
		{text(OpTo, "last@example.net"), []int{1}},
		{text(OpTo, "nobody"), nil},
		{head("To", "last@"), []int{1}},
		{head("x-list", ""), []int{1}},
		{head("Return-Path", "owner"), []int{1}},
		{head("Message-Id", "<one@x>"), []int{0}},
		{head("Subject", ""), []int{0, 1, 2}},
		{text(OpBody, "Hidden Treasure"), []int{1}},
		{text(OpBody, "golang"), nil},
		{text(OpText, "GOLANG"), []int{1}},
		{text(OpText, "lists.example"), []int{1}},
		{text(OpBody, "needle"), []int{2}},
		{not(text(OpText, "example")), []int{2, 3}},
		{or(text(OpSubject, "two"), flag(Deleted)), []int{1, 3}},
		{and(text(OpBody, "needle"), flag(Seen)), nil},
		{and(flag(Seen), not(text(OpBody, "noon"))), []int{1}},
	} {
		got := ok[[]int](t)(a.Search(ctx, s, c.q))
		if !slices.Equal(got, c.want) {
			t.Errorf("search %+v finds %v, want %v", *c.q, got, c.want)
		}
	}
	deep := &Query{}
	for range 60 {
		deep = not(deep)
	}
	_, err := a.Search(ctx, s, deep)
	wantKind(t, err, postino.Invalid)
	_, err = a.Search(ctx, s, &Query{Op: OpNot})
	wantKind(t, err, postino.Invalid)
}

func TestThreads(t *testing.T) {
	w := newWorld(t, Options{Grace: time.Second})
	a := w.account()
	defer a.Close()
	var threads []ThreadID
	send := func(id, refs, reply, subject string) ThreadID {
		t.Helper()
		b := fmt.Sprintf("Message-ID: <%s@x>\r\nSubject: %s\r\n", id, subject)
		if refs != "" {
			b += "References: " + refs + "\r\n"
		}
		if reply != "" {
			b += "In-Reply-To: " + reply + "\r\n"
		}
		var d Delivered
		m := w.stage([]byte(b + "\r\n"))
		w.update(func(tx kv.Tx) (err error) { d, err = w.Deliver(tx, acct, Delivery{Message: m}); return err })
		threads = append(threads, d.Thread)
		return d.Thread
	}
	one := send("1", "", "", "Lunch")
	equal(t, "answer", send("2", "<1@x>", "", "Re: Lunch"), one)
	equal(t, "answer to an answer", send("3", "<1@x> <2@x>", "<2@x>", "Dinner?"), one)
	equal(t, "by In-Reply-To", send("4", "", "<3@x>", "x"), one)
	two := send("5", "", "", "Lunch")
	if two == one {
		t.Fatal("a new message joined by its subject alone")
	}
	equal(t, "reply without references joins the newest with its subject", send("6", "", "", "Re: Lunch"), two)
	missing := send("8", "<7@x>", "", "Late parent")
	equal(t, "parent that comes after its answer", send("7", "", "", "Parent"), missing)
	equal(t, "nearest reference first", send("9", "<1@x> <5@x>", "", "both"), two)
	equal(t, "same message again", send("1", "", "", "Lunch"), one)
	if err := a.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	s := ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
	for i, r := range s.Rows(0, s.Len()) {
		equal(t, "thread in the columns", r.Thread, threads[i])
	}
	w.check()
	// What threading remembers goes with the last message.
	ok[ExpungeResult](t)(a.Destroy(ctx, inbox, All()))
	now := time.Now()
	ok[int](t)(w.Sweep(ctx, acct, now))
	equal(t, "swept", ok[int](t)(w.Sweep(ctx, acct, now.Add(time.Minute))), len(threads))
	n := 0
	err := w.db.View(ctx, nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix(accountKey(nil, acct, keyThread)), func(_, _ []byte) bool { n++; return true })
	})
	if err != nil || n != 0 {
		t.Fatalf("%d thread rows left, %v", n, err)
	}
}
