package mailbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
	"pgregory.net/rapid"
)

// put appends letters to a mailbox, with internal dates a day apart, and returns
// the snapshot after that.
func (w *world) put(a *Account, box MailboxID, letters ...string) *Snapshot {
	w.Helper()
	var msgs []AppendMessage
	for i, l := range letters {
		msgs = append(msgs, AppendMessage{Message: w.stage([]byte(l)), Date: began.AddDate(0, 0, i)})
	}
	ok[AppendResult](w.TB)(a.Append(ctx, box, msgs))
	return ok[*View](w.TB)(a.Open(ctx, box)).Snapshot()
}

func everything(s *Snapshot) []int {
	all := make([]int, s.Len())
	for i := range all {
		all[i] = i
	}
	return all
}

func TestSort(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	s := w.put(a, inbox,
		"From: =?utf-8?q?=C3=89mile?= <zola@example.org>\r\nTo: b@example.org\r\nCc: y@x\r\nSubject: Re: [list] beta\r\nDate: 31 Dec 2000 16:01:33 -0800\r\n\r\n"+strings.Repeat("x", 300),
		"From: Team: ann@example.org, bob@example.org;\r\nTo: \"Zed\" <a@example.org>\r\nSubject: Alpha (fwd)\r\nDate: 1 Jan 2001 00:01:32 +0000\r\n\r\n",
		"From: bob@example.org\r\nTo: undisclosed-recipients:;\r\nSubject: [fwd: BETA]\r\n\r\n"+strings.Repeat("x", 50),
		"From: \"\" <carl@example.net>\r\nTo:\r\nTo: B@example.net\r\nSubject: =?iso-8859-1?q?=E9tude?=\r\nDate: 1 Jan 2001 00:01:33 nonsense\r\n\r\n",
		"\r\nno header at all",
	)
	for _, c := range []struct {
		keys   []SortKey
		scores []uint8
		want   []int
	}{
		{nil, nil, []int{0, 1, 2, 3, 4}},
		{[]SortKey{{By: SortArrival, Reverse: true}}, nil, []int{4, 3, 2, 1, 0}},
		{[]SortKey{{By: SortSize}}, nil, []int{4, 3, 2, 1, 0}},
		{[]SortKey{{By: SortSubject}}, nil, []int{4, 1, 0, 2, 3}},
		{[]SortKey{{By: SortSubject, Reverse: true}}, nil, []int{3, 0, 2, 1, 4}},
		{[]SortKey{{By: SortSubject}, {By: SortDate, Reverse: true}}, nil, []int{4, 1, 2, 0, 3}},
		{[]SortKey{{By: SortDate}}, nil, []int{1, 0, 3, 2, 4}},
		{[]SortKey{{By: SortFrom}}, nil, []int{4, 2, 3, 1, 0}},
		{[]SortKey{{By: SortTo}}, nil, []int{4, 1, 0, 3, 2}},
		{[]SortKey{{By: SortCc}}, nil, []int{1, 2, 3, 4, 0}},
		{[]SortKey{{By: SortDisplayFrom}}, nil, []int{4, 2, 3, 0, 1}},
		{[]SortKey{{By: SortDisplayTo}}, nil, []int{4, 3, 0, 2, 1}},
		{[]SortKey{{By: SortRelevancy}}, []uint8{3, 100, 3, 1, 7}, []int{1, 4, 0, 2, 3}},
		{[]SortKey{{By: SortRelevancy, Reverse: true}}, []uint8{3, 100, 3, 1, 7}, []int{3, 0, 2, 4, 1}},
		{[]SortKey{{By: SortRelevancy}}, nil, []int{0, 1, 2, 3, 4}},
	} {
		for range 2 { // read, then from memory
			got := ok[[]int](t)(a.Sort(ctx, s, everything(s), c.keys, UnicodeCasemap, c.scores))
			if !slices.Equal(got, c.want) {
				t.Errorf("sort by %v gives %v, want %v", c.keys, got, c.want)
			}
		}
	}
	some := ok[[]int](t)(a.Sort(ctx, s, []int{0, 3}, []SortKey{{By: SortDisplayFrom}}, UnicodeCasemap, nil))
	equal(t, "sorted part", fmt.Sprint(some), "[3 0]")
	none := ok[[]int](t)(a.Sort(ctx, s, nil, []SortKey{{By: SortSubject}}, UnicodeCasemap, nil))
	equal(t, "sorted nothing", len(none), 0)

	_, err := a.Sort(ctx, s, everything(s), make([]SortKey, 21), UnicodeCasemap, nil)
	wantKind(t, err, postino.Invalid)
	_, err = a.Sort(ctx, s, everything(s), nil, UnicodeCasemap, []uint8{1})
	wantKind(t, err, postino.Invalid)
	_, err = a.Sort(ctx, s, everything(s), []SortKey{{By: 99}}, UnicodeCasemap, nil)
	wantKind(t, err, postino.Invalid)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.Sort(gone, s, everything(s), []SortKey{{By: SortCc}}, UnicodeCasemap, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("sort after its end: %v", err)
	}
}

func TestSortCollations(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	s := w.put(a, inbox, "Subject: b\r\n\r\n", "Subject: C\r\n\r\n", "Subject: =?utf-8?q?=C3=A9?=\r\n\r\n",
		"Subject: B\r\n\r\n", "Subject: =?utf-8?q?=C3=89?=\r\n\r\n", "Subject: a\r\n\r\n", "Subject: f\r\n\r\n")
	for c, want := range map[Collation][]int{
		UnicodeCasemap: {5, 0, 3, 1, 2, 4, 6}, // an accented E is E and something behind
		ASCIICasemap:   {5, 0, 3, 1, 6, 4, 2},
		Octet:          {3, 1, 5, 0, 6, 4, 2},
	} {
		got := ok[[]int](t)(a.Sort(ctx, s, everything(s), []SortKey{{By: SortSubject}}, c, nil))
		if !slices.Equal(got, want) {
			t.Errorf("%v sorts %v, want %v", c, got, want)
		}
		again, ok := ParseCollation(c.String())
		if !ok || again != c {
			t.Errorf("%v is read as %v, %v", c, again, ok)
		}
	}
	if _, ok := ParseCollation("i;basic"); ok {
		t.Error("i;basic is taken")
	}
	c, ok := ParseCollation("default")
	equal(t, "default", c, UnicodeCasemap)
	equal(t, "default known", ok, true)
}

// headerOf makes a letter of arbitrary values. Long subjects differ in their
// beginning: what is equal for 512 octets has no order.
func headerOf(r *rapid.T) string {
	var b strings.Builder
	for _, f := range []string{"From", "To", "Cc", "To", "From"} {
		if rapid.Bool().Draw(r, f) {
			list := rapid.SampledFrom([]string{"", "ann@example.org", "Ann <b@x>", "\"a \\\" b\" <c@x>", "=?utf-8?q?=C3=A9?= <d@x>", "g: e@x;", "g:;",
				"<@r,@s:f@x>", "=?utf-8?b?w6k=?=: z@x;", "\"quoted local\"@x", "just words", "caf\xc3\xa9 <x@y>", "Ann (note) <b@x>, c@d", "ANN@example.org"}).Draw(r, f+" list")
			fmt.Fprintf(&b, "%s: %s\r\n", f, list)
		}
	}
	if rapid.Bool().Draw(r, "subject") {
		fmt.Fprintf(&b, "Subject: %s%s\r\n", rapid.SampledFrom([]string{"", "Re: ", "[x] ", "Fwd: Re: "}).Draw(r, "mark"),
			rapid.SampledFrom([]string{"", "a", "A", "abcdefg", "abcdefgh", "ABCDEFGA", "abcdefghijklmn", "abcdefghijklmno", strings.Repeat("long ", 130) + "1", strings.Repeat("lower ", 130)}).Draw(r, "text"))
	}
	if rapid.Bool().Draw(r, "date") {
		fmt.Fprintf(&b, "Date: %s\r\n", began.Add(time.Duration(rapid.IntRange(-3, 3).Draw(r, "moment"))*time.Hour).Format(time.RFC1123Z))
	}
	return b.String() + "\r\n" + rapid.SampledFrom([]string{"", "body"}).Draw(r, "body")
}

// TestSortIsSorted compares with an ordinary stable sort of what the messages say.
func TestSortIsSorted(t *testing.T) {
	w := newWorld(t, Options{SortCache: 20 << 10}) // too small for all columns
	a := w.account()
	defer a.Close()
	box := inbox
	rapid.Check(t, func(r *rapid.T) {
		letters := rapid.SliceOfN(rapid.Custom(headerOf), 1, 12).Draw(r, "letters")
		box = ok[Info](t)(a.Create(ctx, fmt.Sprintf("box%d", box), UseNone)).ID
		s := w.put(a, box, letters...)
		keys := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) SortKey {
			return SortKey{SortBy(rapid.IntRange(0, int(SortRelevancy)).Draw(r, "by")), rapid.Bool().Draw(r, "reverse")}
		}), 0, 4).Draw(r, "keys")
		c := Collation(rapid.IntRange(0, int(Octet)).Draw(r, "collation"))
		var found []int
		var scores []uint8
		for i := range letters {
			if rapid.IntRange(0, 3).Draw(r, "take") > 0 {
				found, scores = append(found, i), append(scores, uint8(rapid.IntRange(1, 3).Draw(r, "score")))
			}
		}
		want := slices.Clone(found)
		values := map[int][]any{}
		for n, i := range found {
			for _, k := range keys {
				values[i] = append(values[i], plainKey(letters[i], s.Row(i), k.By, c, scores[n]))
			}
		}
		slices.SortStableFunc(want, func(i, j int) int {
			for n, k := range keys {
				d := 0
				switch v := values[i][n].(type) {
				case int64:
					d = cmp.Compare(v, values[j][n].(int64))
				case []byte:
					d = bytes.Compare(v, values[j][n].([]byte))
				}
				if d != 0 && k.Reverse {
					d = -d
				}
				if d != 0 {
					return d
				}
			}
			return 0
		})
		got := ok[[]int](r)(a.Sort(ctx, s, found, keys, c, scores))
		if !slices.Equal(got, want) {
			r.Fatalf("sort %v by %v with %v gives %v, want %v", found, keys, c, got, want)
		}
	})
}

// plainKey is what a criterion compares, from the message itself.
func plainKey(letter string, row Row, by SortBy, c Collation, score uint8) any {
	h := message.Summarize([]byte(letter))
	text := func(s string) any { return c.append(nil, []byte(s)) }
	local := func(list []message.Address) any {
		if len(list) == 0 {
			return text("")
		}
		return text(sortMailbox(&list[0]))
	}
	display := func(list []message.Address) any {
		if len(list) == 0 {
			return text("")
		}
		switch a := list[0]; {
		case a.Name != "":
			return text(a.Name)
		case a.Host != "":
			return text(a.Mailbox + "@" + a.Host)
		default:
			return text(a.Mailbox)
		}
	}
	switch by {
	case SortArrival:
		return row.Date
	case SortDate:
		if h.Sent.IsZero() {
			return row.Date
		}
		return h.Sent.Unix()
	case SortSize:
		return row.Size
	case SortRelevancy:
		return -int64(score)
	case SortSubject:
		return text(h.Base)
	case SortFrom:
		return local(h.From())
	case SortTo:
		return local(h.To())
	case SortCc:
		return local(h.Cc())
	case SortDisplayFrom:
		return display(h.From())
	}
	return display(h.To())
}

// TestSortOfOldRows sorts messages whose summaries are of format 1: what these
// lack comes from the envelopes.
func TestSortOfOldRows(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.account()
	defer a.Close()
	rapid.Check(t, func(r *rapid.T) {
		letter := rapid.Custom(headerOf).Draw(r, "letter")
		m := w.stage([]byte(letter))
		row, err := decodeSortRow(m.Summary.append(nil))
		if err != nil {
			r.Fatal(err)
		}
		m.Summary.bare = true
		old, err := decodeSortRow(m.Summary.append(nil))
		if err != nil || !old.bare {
			r.Fatal(err)
		}
		old.fromEnvelope(m.Envelope)
		for i := range row.texts {
			if string(row.texts[i]) != string(old.texts[i]) {
				r.Fatalf("field %d of %q is %q, from the envelope %s %q", i, letter, row.texts[i], m.Envelope, old.texts[i])
			}
		}
	})
	s := w.put(a, inbox, "From: zoe@x\r\n\r\n", "From: Ann <x@x>\r\nTo: y@x\r\n\r\n", "From: bob@x\r\n\r\n")
	w.update(func(tx kv.Tx) error {
		for i := range 2 {
			key := numberKey(nil, acct, keySummary, uint64(s.Email(i)))
			v, _, err := tx.Get(key)
			if err != nil {
				return err
			}
			sum, err := decodeSummary(v)
			if err != nil {
				return err
			}
			sum.bare = true
			if err := tx.Set(key, sum.append(nil)); err != nil {
				return err
			}
		}
		return nil
	})
	got := ok[[]int](t)(a.Sort(ctx, s, everything(s), []SortKey{{By: SortDisplayFrom}}, UnicodeCasemap, nil))
	equal(t, "order", fmt.Sprint(got), "[1 2 0]")
	w.check()
}

func FuzzImapScanner(f *testing.F) {
	f.Add([]byte("(NIL NIL ((NIL NIL \"a\" \"b\")) NIL NIL ({3}\r\na\"c NIL) ((\"x\\\"\" NIL NIL NIL)))"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var row sortRow
		row.fromEnvelope(b)
		for i, text := range row.texts {
			if len(text) > maxSortText {
				t.Fatalf("text %d has %d octets", i, len(text))
			}
		}
		header := append([]byte("From: "), bytes.ReplaceAll(b, []byte("\n"), []byte(" "))...)
		header = append(header, "\r\n\r\n"...)
		sum := summarize(header)
		row.fromEnvelope(message.AppendEnvelope(nil, header))
		if bytes.ContainsAny(b, "\x00\r") {
			return // an envelope cannot hold them
		}
		if want := sum.FromMailbox; string(row.texts[1]) != want && len(want) < 500 {
			t.Fatalf("mailbox of %q is %q, from the envelope %q", header, want, row.texts[1])
		}
	})
}

// TestColumnCache keeps no more than it may and drops what was used least lately.
func TestColumnCache(t *testing.T) {
	c := newColumnCache(10_000)
	page := func(n int) column { return column{EmailID(n): {text: make([]byte, 2000)}} }
	size := page(0)[0].size()
	for i := range 3 {
		c.put(columnKey{account: AccountID(i)}, page(1))
	}
	c.get(columnKey{account: 0})
	c.put(columnKey{account: 3}, page(1))
	kept := slices.Sorted(maps.Keys(func() map[AccountID]bool {
		m := map[AccountID]bool{}
		for k := range c.kept {
			m[k.account] = true
		}
		return m
	}()))
	equal(t, "kept", fmt.Sprint(kept), "[0 2 3]")
	equal(t, "size", c.size, 3*size)
	all := c.put(columnKey{account: 0}, page(2))
	equal(t, "pages", len(all), 2)
	equal(t, "size", c.size, 3*size)
	big := column{}
	for i := range 9 {
		big[EmailID(i)] = page(0)[0]
	}
	equal(t, "too large", len(c.put(columnKey{account: 9}, big)), 9)
	if c.get(columnKey{account: 9}) != nil || c.size > c.limit {
		t.Errorf("%d octets are kept", c.size)
	}
}

// sortWorld is a store on disk with n different messages in INBOX, as in a
// mailbox of lists: a quarter begins threads, the others reply.
func sortWorld(b *testing.B, n int) (*world, *Account, *Snapshot) {
	w, a, m := benchWorld(b, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("analytical engine weaves algebraical patterns just as the loom flowers leaves index kernel patch review release notes meeting invoice holiday")
	subjects, chains := []string{}, [][]string{}
	for done := 0; done < n; done += 2000 {
		err := w.db.Update(ctx, []kv.Scope{w.Scope(acct)}, func(tx kv.Tx) error {
			batch := w.Batch(tx)
			for i := done; i < min(n, done+2000); i++ {
				t := rng.IntN(max(1, len(subjects)))
				if rng.IntN(4) == 0 || len(subjects) == 0 {
					t = len(subjects)
					subject := ""
					for range 5 {
						subject += " " + words[rng.IntN(len(words))]
					}
					subjects, chains = append(subjects, subject[1:]), append(chains, nil)
				}
				id := fmt.Sprintf("%d.%d@mail%d.example.org", i, rng.Int32(), i%50)
				d := *m
				from, date := words[rng.IntN(len(words))], began.Add(time.Duration(i)*time.Minute+time.Duration(rng.IntN(7200))*time.Second)
				header := fmt.Sprintf("From: %s Lovelace <%s%d@example.org>\r\nTo: list@example.net\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s>\r\n", from, from, rng.IntN(900), subjects[t], date.Format(time.RFC1123Z), id)
				if len(chains[t]) > 0 {
					header += "References: <" + strings.Join(chains[t][max(0, len(chains[t])-10):], "> <") + ">\r\n"
				}
				chains[t] = append(chains[t], id)
				d.Summary = summarize([]byte(header + "\r\n"))
				d.Envelope = message.AppendEnvelope(nil, []byte(header+"\r\n"))
				if _, err := batch.Deliver(acct, Delivery{Message: &d, Prefix: fmt.Appendf(nil, "X: %0*d\r\n", rng.IntN(900), 0), Date: date}); err != nil {
					return err
				}
			}
			return batch.Flush()
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Fold(ctx, acct); err != nil {
		b.Fatal(err)
	}
	return w, a, ok[*View](b)(a.Open(ctx, inbox)).Snapshot()
}

// BenchmarkSort sorts 100,000 messages: first with the columns to be read from
// the store, then from memory.
func BenchmarkSort(b *testing.B) {
	w, a, s := sortWorld(b, benchSize)
	all := everything(s)
	for by, name := range []string{"arrival", "cc", "date", "from", "size", "subject", "to", "displayfrom", "displayto"} {
		keys := []SortKey{{By: SortBy(by)}}
		b.Run("first/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.columns = newColumnCache(w.Store.opts.SortCache)
				ok[[]int](b)(a.Sort(ctx, s, all, keys, UnicodeCasemap, nil))
			}
		})
		b.Run("again/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ok[[]int](b)(a.Sort(ctx, s, all, keys, UnicodeCasemap, nil))
			}
		})
	}
	b.Run("again/subject date", func(b *testing.B) {
		for b.Loop() {
			ok[[]int](b)(a.Sort(ctx, s, all, []SortKey{{By: SortSubject}, {By: SortDate, Reverse: true}}, UnicodeCasemap, nil))
		}
	})
}
