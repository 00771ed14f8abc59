package mailbox

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/message"
)

// scraps are what random texts are made of: few, so that needles are found.
var scraps = []string{
	"a", "b", "ab", "Hello", "world", "caf\u00e9", "cafe\u0301", "\u00c9cole", "\u6771\u4eac", "\u6771", "\u4eac\u90fd", "\u304c\u304e", "\u30ab\u3099", "\U0001f389", "\u2764\ufe0f",
	"\u0e01\u0e32\u0e23", "\ufb01n", "\u00df", "12", "x_y", "ada@example.org", "\u2014", "\u2019", "don't", "\u200d", "\u0301", "\xff", "\ufffd", "\uac00\uac01",
	strings.Repeat("Z", 31), strings.Repeat("Z", 33), strings.Repeat("abcdefghij", 7), strings.Repeat("Zq1\u00e9", 30), strings.Repeat("\u6771\u4eac\u90fd", 5),
}

var seams = []string{"", "", " ", " ", "  ", "\n", ".", ", ", "-", "\u3002", "\u00a0"}

func drawText(t *rapid.T, most int) string {
	var b strings.Builder
	for range rapid.IntRange(0, most).Draw(t, "scraps") {
		b.WriteString(rapid.SampledFrom(scraps).Draw(t, "scrap"))
		b.WriteString(rapid.SampledFrom(seams).Draw(t, "seam"))
	}
	return b.String()
}

// drawLetter draws a message and the texts that went into it.
func drawLetter(t *rapid.T) (octets, prefix []byte, texts []string) {
	draw := func(most int) string {
		s := drawText(t, most)
		texts = append(texts, s)
		return s
	}
	line := func() string { return strings.ReplaceAll(draw(4), "\n", " ") }
	word := func(s string) string {
		if rapid.Bool().Draw(t, "encoded") {
			return mime.BEncoding.Encode("utf-8", s)
		}
		return s
	}
	part := func() string {
		s := draw(8)
		kind := rapid.SampledFrom([]string{"text/plain; charset=utf-8", "text/html; charset=utf-8", "text/plain; charset=iso-8859-1", "application/octet-stream"}).Draw(t, "type")
		if strings.Contains(kind, "html") {
			s = "<p>" + strings.ReplaceAll(s, "a", "<b>a</b>") + "</p>&eacute;<script>no</script>"
		}
		head := "Content-Type: " + kind
		if rapid.Bool().Draw(t, "named") {
			name := line()
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				head += "; name=\"" + mime.BEncoding.Encode("utf-8", name) + "\""
			case 1:
				head += "\r\nContent-Disposition: attachment; filename*=utf-8''" + percent(name)
			case 2:
				head += "\r\nContent-Disposition: attachment; filename*0*=utf-8''" + percent(name) + "; filename*1=\"tail.txt\""
			}
		}
		switch rapid.IntRange(0, 2).Draw(t, "encoding") {
		case 0:
			return head + "\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(s))
		case 1:
			var b strings.Builder
			q := quotedprintable.NewWriter(&b)
			q.Write([]byte(s))
			q.Close()
			return head + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b.String()
		}
		return head + "\r\n\r\n" + s
	}
	var b strings.Builder
	for _, name := range []string{"Subject", "From", "To", "Cc", "X-Other", "Subject"} {
		if rapid.Bool().Draw(t, name) {
			fmt.Fprintf(&b, "%s: %s\r\n", name, word(line()))
		}
	}
	if rapid.Bool().Draw(t, "multipart") {
		b.WriteString("Content-Type: multipart/mixed; boundary=QQ\r\n\r\n")
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			b.WriteString("--QQ\r\n" + part() + "\r\n")
		}
		b.WriteString("--QQ--\r\n")
	} else {
		b.WriteString(part())
	}
	if rapid.Bool().Draw(t, "prefixed") {
		prefix = []byte("X-Trace: " + word(line()) + "\r\n")
	}
	return []byte(b.String()), prefix, texts
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func drawNeedle(t *rapid.T, texts []string) string {
	if len(texts) > 0 && rapid.Bool().Draw(t, "from text") {
		r := []rune(rapid.SampledFrom(texts).Draw(t, "text"))
		lo := rapid.IntRange(0, len(r)).Draw(t, "lo")
		return string(r[lo:rapid.IntRange(lo, len(r)).Draw(t, "hi")])
	}
	return drawText(t, 2)
}

func drawQuery(t *rapid.T, texts []string, depth int) *Query {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "tree") > 0 {
		q := &Query{Op: rapid.SampledFrom([]Op{OpAnd, OpOr, OpNot, OpFuzzy}).Draw(t, "group")}
		for range 2 {
			if q.Op < OpNot || len(q.Subs) == 0 {
				q.Subs = append(q.Subs, drawQuery(t, texts, depth-1))
			}
		}
		return q
	}
	op := rapid.SampledFrom([]Op{OpText, OpText, OpText, OpBody, OpBody, OpSubject, OpFrom, OpTo, OpCc, OpBcc, OpHeader, OpFlag, OpUID}).Draw(t, "op")
	q := &Query{Op: op, Text: drawNeedle(t, texts), Flags: Seen, Set: Ranges{{2, 5}}}
	if op == OpHeader {
		q.Field = rapid.SampledFrom([]string{"X-Other", "x-trace", "Subject", "Content-Type"}).Draw(t, "field")
	}
	return q
}

// TestIndexFindsWhatReadingFinds: with segments, merged ones, some messages
// that are not indexed and some that are gone, every search gives what it gives
// without an index.
func TestIndexFindsWhatReadingFinds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := &world{TB: t, opts: Options{Limits: Limits{IndexTerms: rapid.SampledFrom([]int{10, 60, 50_000}).Draw(r, "terms")}}}
		t := r
		w.openMemory()
		defer w.db.Close()
		w.update(func(tx kv.Tx) error { return w.Store.Create(tx, acct, Quota{}, began) })
		w.indexWorth = 1
		a := w.account()
		defer a.Close()
		var texts []string
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			var msgs []AppendMessage
			for range rapid.IntRange(1, 3).Draw(t, "messages") {
				octets, prefix, some := drawLetter(t)
				texts = append(texts, some...)
				msgs = append(msgs, AppendMessage{Message: w.stage(octets), Prefix: prefix, Flags: Flags(rapid.IntRange(0, 1).Draw(t, "seen"))})
			}
			ok[AppendResult](t)(a.Append(ctx, inbox, msgs))
			if rapid.IntRange(0, 4).Draw(t, "index") > 0 {
				if err := w.Index(ctx, acct); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "expunge") == 0 {
				ok[ExpungeResult](t)(a.Destroy(ctx, inbox, Ranges{{1, 2}}))
			}
		}
		s := ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
		for range 12 {
			q := drawQuery(t, texts, 2)
			q.Collation = rapid.SampledFrom([]Collation{UnicodeCasemap, UnicodeCasemap, ASCIICasemap, Octet}).Draw(t, "collation")
			w.indexWorth = 1
			got := ok[[]int](t)(a.Search(ctx, s, q))
			w.indexWorth = 1 << 30
			want := ok[[]int](t)(a.Search(ctx, s, q))
			w.indexWorth = 1
			again, scores, err := a.SearchScored(ctx, s, q)
			w.indexWorth = 1 << 30
			_, plain, err2 := a.SearchScored(ctx, s, q)
			if err != nil || err2 != nil || !slices.Equal(got, again) || !slices.Equal(scores, plain) || len(scores) != len(got) || slices.Contains(scores, 0) {
				t.Fatalf("scores %v of %v, without the index %v of %v: %s, %v, %v", scores, again, plain, got, describe(q), err, err2)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("with the index %v, without %v: %s", got, want, describe(q))
			}
		}
	})
}

func describe(q *Query) string {
	s := fmt.Sprintf("%d %q %q", q.Op, q.Field, q.Text)
	for _, sub := range q.Subs {
		s += " (" + describe(sub) + ")"
	}
	return s
}

// TestPatterns: what the terms of a text tell about a needle is what bytes tell.
func TestPatterns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawText(t, 6)
		needle := drawNeedle(t, []string{text})
		dict := []byte{0}
		eachTerm(message.Fold(nil, []byte(text)), true, func(term []byte) { dict = append(append(dict, term...), 0) })
		inside := strings.Contains(message.FoldString(text), message.FoldString(needle))
		list, exact := patterns(message.Fold(nil, []byte(needle)))
		all := true
		for _, p := range list {
			all = all && strings.Contains(string(dict), string(p))
		}
		if inside && !all || exact && inside != all {
			t.Fatalf("%q in %q: %v, its patterns %q: %v, exact: %v", needle, text, inside, list, all, exact)
		}
	})
}

// TestTermsDoNotDependOnPieces: a text gives the same terms in one piece and in
// many.
func TestTermsDoNotDependOnPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := message.Fold(nil, []byte(drawText(t, 10)))
		gather := func(list *[]string) func([]byte) {
			return func(term []byte) { *list = append(*list, string(term)) }
		}
		var whole, pieces []string
		eachTerm(text, true, gather(&whole))
		var b []byte
		for i, c := range text {
			b = append(b, c)
			if n := message.WholeRunes(b); n == len(b) && i < len(text)-1 {
				b = append(b[:0], b[eachTerm(b, false, gather(&pieces)):]...)
			}
		}
		eachTerm(b, true, gather(&pieces))
		if !slices.Equal(whole, pieces) {
			t.Fatalf("%q: %q in pieces %q", text, whole, pieces)
		}
	})
}

// rowsOfIndex counts the rows of segments.
func (w *world) rowsOfIndex() (n int) {
	err := w.db.View(ctx, nil, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix(accountKey(nil, acct, keySegment)), func(k, _ []byte) bool { n++; return true })
	})
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// filled is a world with n letters in INBOX, indexed, and a snapshot of them.
func filled(t *testing.T, n int) (*world, *Account, *Snapshot) {
	w := newWorld(t, Options{})
	w.indexWorth = 1
	a := w.account()
	t.Cleanup(a.Close)
	w.append(a, inbox, n, 0)
	if err := w.Index(ctx, acct); err != nil {
		t.Fatal(err)
	}
	return w, a, ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
}

// segmentsOf reads the manifest.
func (w *world) segmentsOf() (m *manifest) {
	err := w.db.View(ctx, nil, func(r kv.Reader) (err error) {
		m, err = readManifest(r, acct)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return m
}

// TestIndexDamage: whatever row of the index is lost or altered, searches find
// the same, and the next run makes the index whole.
func TestIndexDamage(t *testing.T) {
	w, a, s := filled(t, 40)
	q := &Query{Op: OpText, Text: "number 7"}
	word := &Query{Op: OpBody, Text: "ello"}
	var keys [][]byte
	err := w.db.View(ctx, nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix(accountKey(nil, acct, keySegment)), func(k, _ []byte) bool {
			keys = append(keys, slices.Clone(k))
			return true
		})
	})
	if err != nil || len(keys) < 6 {
		t.Fatal(len(keys), err)
	}
	for n := range keys {
		for _, how := range []string{"lost", "cut", "newer", "other"} {
			var k []byte
			ok := false
			w.update(func(tx kv.Tx) error {
				// The n-th row as it is now: segments get new numbers.
				i := 0
				var value []byte
				err := tx.Scan(kv.Prefix(accountKey(nil, acct, keySegment)), func(key, v []byte) bool {
					k, value = slices.Clone(key), slices.Clone(v)
					ok = i == n
					i++
					return !ok
				})
				if err != nil || !ok {
					return err
				}
				switch how {
				case "lost":
					return tx.Delete(k)
				case "cut":
					return tx.Set(k, value[:len(value)/2])
				case "newer":
					value[0] = 99
				case "other":
					value[len(value)/2] ^= 0x55
				}
				return tx.Set(k, value)
			})
			if !ok {
				t.Fatalf("there is no row %d", n)
			}
			w.index = newIndexCache(1 << 20) // forgets
			equal(t, "found", fmt.Sprint(must(a.Search(ctx, s, q))), "[7]")
			equal(t, "found", len(must(a.Search(ctx, s, word))), 40)
			if err := w.Index(ctx, acct); err != nil {
				t.Fatal(err)
			}
			w.index = newIndexCache(1 << 20)
			equal(t, "rows", w.rowsOfIndex(), len(keys))
			equal(t, "found", fmt.Sprint(must(a.Search(ctx, s, q))), "[7]")
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestIndexMerges: segments become fewer, lose what was expunged, and nothing
// that they replaced is left.
func TestIndexMerges(t *testing.T) {
	w := newWorld(t, Options{})
	w.indexWorth = 1
	a := w.account()
	defer a.Close()
	for range 30 {
		w.append(a, inbox, 10, 0)
		if err := w.Index(ctx, acct); err != nil {
			t.Fatal(err)
		}
	}
	m := w.segmentsOf()
	if len(m.segments) > 8 {
		t.Errorf("%d segments of 300 messages", len(m.segments))
	}
	equal(t, "indexed up to", m.upTo, EmailID(300))
	ok[ExpungeResult](t)(a.Destroy(ctx, inbox, Ranges{{1, 250}}))
	now := began
	ok[int](t)(w.Sweep(ctx, acct, now))
	equal(t, "swept", ok[int](t)(w.Sweep(ctx, acct, now.Add(w.Store.opts.Grace))), 250)
	for range 30 {
		w.append(a, inbox, 10, 0)
		if err := w.Index(ctx, acct); err != nil {
			t.Fatal(err)
		}
	}
	emails := 0
	for _, g := range w.segmentsOf().segments {
		emails += int(g.emails)
	}
	if emails >= 600-100 {
		t.Errorf("%d emails in segments, 350 stored", emails)
	}
	s := ok[*View](t)(a.Open(ctx, inbox)).Snapshot()
	equal(t, "found", len(ok[[]int](t)(a.Search(ctx, s, &Query{Op: OpBody, Text: "number"}))), 350)
	w.check()
	// Nothing is left of a removed account.
	w.update(func(tx kv.Tx) error { return w.Remove(tx, acct) })
	ok[int](t)(w.Sweep(ctx, acct, now))
	equal(t, "rows left", w.rowsOfIndex(), 0)
	wantKind(t, w.Index(ctx, acct), postino.NotFound)
}

// TestFinder: a pattern is found where bytes.Index finds it, by whichever way.
func TestFinder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) []byte {
			return []byte(rapid.StringOfN(rapid.RuneFrom([]rune("\x00AEZ7é")), 1, -1, -1).Draw(t, name))
		}
		p := append(text("pattern"), 'E')
		f := newFinder(p)
		f.mistaken = rapid.SampledFrom([]int{0, 60, 100}).Draw(t, "mistaken")
		for range 3 {
			b := append(bytes.Repeat(text("text"), 40), text("end")...)
			if rapid.Bool().Draw(t, "contained") {
				b = append(append(b, p...), text("behind")...)
			}
			if got, want := f.index(b), bytes.Index(b, p); got != want {
				t.Fatalf("%q in %q: %d, want %d", p, b, got, want)
			}
		}
	})
}
