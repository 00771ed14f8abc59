package story

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postino-mail/postino"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/vfs"
)

func openDB(t testing.TB) kv.DB {
	t.Helper()
	db, err := lsm.Open(vfs.Memory(), "db", lsm.Options{MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openStore(t testing.TB, opts Options) *Store {
	s := New(openDB(t), opts)
	t.Cleanup(s.Close)
	return s
}

func appendAll(t testing.TB, s *Store, events ...*Event) {
	t.Helper()
	err := s.db.Update(context.Background(), nil, func(tx kv.Tx) error {
		for _, e := range events {
			if err := s.Append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestFindAndGet(t *testing.T) {
	s := openStore(t, Options{})
	var ids postino.IDs
	ana, bob := postino.Address{Local: "Ana", Domain: "a.example"}, postino.Address{Local: "bob", Domain: "b.example"}
	first, second := ids.Next(day), ids.Next(day.Add(time.Second))
	appendAll(t, s,
		s.Event(first, Accepted, day).Address(Sender, ana).Address(Recipient, bob).Text(MessageID, "<1@a.example>").Int(Size, 4096),
		s.Event(first, Delivered, day.Add(time.Millisecond)).Address(For, bob).Text(Where, "bob@b.example INBOX").Int(UID, 7),
		s.Event(second, Accepted, day.Add(time.Second)).Address(Sender, postino.Address{}).Address(Recipient, bob))

	for _, tc := range []struct {
		text string
		want []postino.ID
	}{
		{first.String(), []postino.ID{first}},
		{"<1@a.example>", []postino.ID{first}},
		{"1@a.example", []postino.ID{first}}, // a Message-ID without its brackets
		{"ana@A.example", []postino.ID{first}},
		{" bob@b.example ", []postino.ID{second, first}},
		{"<bob@b.example>", []postino.ID{second, first}},
	} {
		got, err := s.Find(context.Background(), Query{Text: tc.text})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("Find(%q) = %v, %v, want %v", tc.text, got, err, tc.want)
		}
	}
	if got, _ := s.Find(context.Background(), Query{Text: "bob@b.example", Limit: 1}); len(got) != 1 || got[0] != second {
		t.Errorf("limit 1 gives %v", got)
	}
	if _, err := s.Find(context.Background(), Query{Text: "nobody@b.example"}); !postino.Is(err, postino.NotFound) {
		t.Errorf("unknown address: %v", err)
	}
	events, err := s.Get(context.Background(), first)
	if err != nil || len(events) != 2 || events[0].Kind != Accepted || events[1].Kind != Delivered || !events[0].Time().Equal(day) {
		t.Fatalf("Get = %v, %v", events, err)
	}
	if got, want := Describe(events[1]), "delivered: for <bob@b.example>, in bob@b.example INBOX, uid 7"; got != want {
		t.Errorf("Describe = %q, want %q", got, want)
	}
	if _, err := s.Get(context.Background(), 12345); !postino.Is(err, postino.NotFound) {
		t.Errorf("Get of an unknown id: %v", err)
	}
}

// A hash that two words share must not mix up their stories.
func TestCollisionIsSortedOut(t *testing.T) {
	s := openStore(t, Options{})
	e := s.Event(77<<20, Accepted, day).Text(Recipient, "other@b.example")
	appendAll(t, s, e)
	err := s.db.Update(context.Background(), nil, func(tx kv.Tx) error {
		return tx.Set(indexKey(nil, hashOf([]byte("bob@b.example")), e.Message), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Find(context.Background(), Query{Text: "bob@b.example"}); !postino.Is(err, postino.NotFound) {
		t.Errorf("found %v, %v", got, err)
	}
}

func TestNotesAreWrittenAndBounded(t *testing.T) {
	db := openDB(t)
	s := New(db, Options{Pending: 10})
	for i := range 1000 {
		s.Note(s.Event(postino.ID(i+1)<<20, Refused, day).Text(Recipient, "x@y.example").Text(Reply, "550 5.1.1 no"))
	}
	s.Close()
	s = New(db, Options{})
	defer s.Close()
	found, err := s.Find(context.Background(), Query{Text: "x@y.example", Limit: 2000})
	if err != nil || len(found) < 10 || len(found) > 900 {
		t.Fatalf("%d refusals found, %v", len(found), err)
	}
	dropped := 0
	err = db.View(context.Background(), nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte("se")), func(k, v []byte) bool {
			m, seq, _ := parseKey(k)
			if e, err := decode(postino.ID(m), postino.ID(seq), v); err == nil && e.Kind == Note {
				var n int
				fmt.Sscan(e.First(Count), &n)
				dropped += n
			}
			return true
		})
	})
	if err != nil || dropped+len(found) != 1000 {
		t.Errorf("%d found and %d counted as dropped, want 1000 in all; %v", len(found), dropped, err)
	}
}

func TestTrim(t *testing.T) {
	s := openStore(t, Options{MaxAge: 10 * 24 * time.Hour, MaxBytes: 40_000})
	var ids postino.IDs
	var all []postino.ID
	for i := range 20 {
		at := day.Add(time.Duration(i) * 24 * time.Hour)
		id := ids.Next(at)
		all = append(all, id)
		appendAll(t, s, s.Event(id, Accepted, at).Text(Recipient, "x@y.example").Text(Reason, strings.Repeat("r", 900)))
	}
	now := day.Add(20 * 24 * time.Hour)
	if err := s.Trim(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	found, err := s.Find(context.Background(), Query{Text: "x@y.example"})
	if err != nil || len(found) != 10 || found[9] != all[10] {
		t.Fatalf("after trimming by age: %v, %v", found, err)
	}
	for range 60 { // far over MaxBytes
		appendAll(t, s, s.Event(ids.Next(now), Accepted, now).Text(Recipient, "z@y.example").Text(Reason, strings.Repeat("r", 900)))
	}
	if err := s.Trim(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	if n := s.bytes.Load(); n > 40_000 {
		t.Errorf("%d octets left", n)
	}
	if _, err := s.Find(context.Background(), Query{Text: "x@y.example"}); !postino.Is(err, postino.NotFound) {
		t.Errorf("the oldest survive: %v", err)
	}
	n := 0
	if err := s.db.View(context.Background(), nil, func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte("sx")), func(_, _ []byte) bool { n++; return true })
	}); err != nil || n > 60 {
		t.Errorf("%d index rows are left, %v", n, err)
	}
}

func TestIDsGoOn(t *testing.T) {
	s := openStore(t, Options{})
	future := time.Now().Add(time.Hour)
	e := s.Event(5<<20, Accepted, future)
	appendAll(t, s, e)
	ids := new(postino.IDs)
	New(s.db, Options{IDs: ids}).Close()
	if next := ids.Next(time.Now()); next <= e.Seq {
		t.Errorf("after a restart with the clock behind, id %v follows %v", next, e.Seq)
	}
}

func TestDetails(t *testing.T) {
	e := newEvent(1, 1, Judged).Text(Decision, "taken").Text(Rule, "no policy is against it").Text(Method, "spf").Text(Result, "pass").Text(About, "smtp.mailfrom=a.example").
		Text(Reason, "ip4:192.0.2.1\r\nmatches").Text(Method, "dmarc").Text(Result, "none").Text(DNS, `a.example TXT "v=spf1 ip4:192.0.2.1" (insecure)`)
	if got := Describe(e); got != "judged: taken, rule no policy is against it" {
		t.Errorf("Describe = %q", got)
	}
	got := strings.Join(Details(e), "\n")
	want := "spf=pass smtp.mailfrom=a.example: ip4:192.0.2.1\\x0d\\x0amatches\ndmarc=none\ndns a.example TXT \"v=spf1 ip4:192.0.2.1\" (insecure)"
	if got != want {
		t.Errorf("Details = %q, want %q", got, want)
	}
	if lines := Details(newEvent(1, 1, Refused).Text(Reason, "x").Text(Stage, "MAIL")); len(lines) != 0 {
		t.Errorf("details of what has none: %q", lines)
	}
}

func TestDescribeEscapes(t *testing.T) { // G6
	e := newEvent(1, 1, Refused).Text(Helo, "a\r\nb\x1b[2J\u202e").Text(Key(200), "new")
	got := Describe(e)
	if strings.ContainsAny(got, "\r\n\x1b\u202e") || !strings.HasSuffix(got, "fact-200 new") {
		t.Errorf("Describe = %q", got)
	}
	b, err := json.Marshal(e)
	if err != nil || !strings.Contains(string(b), `["helo","a\r\nb`) || !strings.Contains(string(b), `"kind":"refused"`) {
		t.Errorf("JSON = %s, %v", b, err)
	}
}

func TestFactsAreBounded(t *testing.T) {
	e := newEvent(1, 1, Note).Text(Reason, strings.Repeat("è", 4000))
	if v := e.First(Reason); len(v) > maxText || !strings.HasSuffix(v, "è") {
		t.Errorf("a long fact became %d octets", len(v))
	}
	for range 2000 {
		e.Text(Reason, strings.Repeat("x", 1000))
	}
	if len(e.packed) > maxEvent {
		t.Errorf("event of %d octets", len(e.packed))
	}
}

// The first stored format must stay readable.
func TestStoredFormat(t *testing.T) {
	const sample = "\x01\x01" + "\x01\x0bana@a.test " + "\x03\x05<1@a>" + "\x09\x044096"
	e, err := decode(1, 2, []byte(sample))
	if err != nil || e.Kind != Accepted || e.First(Sender) != "ana@a.test " || e.First(MessageID) != "<1@a>" || e.First(Size) != "4096" {
		t.Fatalf("decode = %v, %v", e, err)
	}
	if _, err := decode(1, 2, []byte("\x02\x01")); !postino.Is(err, postino.Corrupt) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer version: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newEvent(1, 2, Kind(rapid.Uint8().Draw(t, "kind")))
		type fact struct {
			k Key
			v string
		}
		var want []fact
		for range rapid.IntRange(0, 20).Draw(t, "facts") {
			f := fact{Key(rapid.Uint8().Draw(t, "key")), rapid.StringN(1, 60, 200).Draw(t, "text")}
			want = append(want, f)
			e.Text(f.k, f.v)
		}
		got, err := decode(1, 2, e.packed)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for k, v := range got.Facts() {
			if want[i] != (fact{k, v}) {
				t.Fatalf("fact %d is %v %q, want %v", i, k, v, want[i])
			}
			i++
		}
		if i != len(want) {
			t.Fatalf("%d facts, want %d", i, len(want))
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x01\x01\x01\x0bana@a.test \x09\x044096"))
	f.Add([]byte("\x01\x02\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decode(1, 2, b)
		if err != nil {
			if !postino.Is(err, postino.Corrupt) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		total := 0
		for _, v := range e.Facts() {
			total += len(v)
		}
		if total > len(b) {
			t.Fatalf("%d octets of facts out of %d", total, len(b))
		}
		if s := Describe(e); strings.ContainsAny(s, "\r\n\x00\x1b") {
			t.Fatalf("unescaped: %q", s)
		}
	})
}

func BenchmarkAccepted(b *testing.B) {
	s := openStore(b, Options{})
	ana := postino.Address{Local: "ana", Domain: "a.example"}
	b.ReportAllocs()
	for b.Loop() {
		s.Event(1, Accepted, day).Address(Sender, ana).Address(Recipient, ana).Text(MessageID, "<1234@a.example>").
			Text(Remote, "192.0.2.1").Text(Helo, "mail.a.example").Text(Protocol, "ESMTPS").Int(Size, 4096)
	}
}
