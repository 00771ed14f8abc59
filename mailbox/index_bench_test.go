package mailbox

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/vfs"
)

// zipfLetter is a letter of about 3 KB in words as frequent as those of a language.
func zipfLetter(r *rand.Rand, z *rand.Zipf, n int) []byte {
	var b bytes.Buffer
	word := func() {
		for k := z.Uint64() + 1; k > 0; k /= 17 {
			b.WriteString("ka\x00lomeritusanepovidegizuchafobe"[k%15*2 : k%15*2+2])
		}
	}
	fmt.Fprintf(&b, "Received: from mx.example.org by mail.example.net with ESMTPS id %x; Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: Ada <ada%d@example.org>\r\nTo: bob@example.net\r\n"+
		"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <%x.%d@example.org>\r\nSubject: ", r.Uint64(), n%500, r.Uint64(), n)
	for range 5 {
		word()
		b.WriteByte(' ')
	}
	b.WriteString("\r\n\r\n")
	for i := range 350 {
		word()
		b.WriteString([]string{" ", " ", ", ", ".\r\n"}[i%4])
	}
	if n%1000 == 7 {
		b.WriteString("needlework in a haystack\r\n")
	}
	if n%2 == 0 {
		b.WriteString("frequency\r\n")
	}
	return bytes.ReplaceAll(b.Bytes(), []byte{0}, []byte("q"))
}

// indexWorld is a store on disk that takes many bodies at once.
func indexWorld(b *testing.B) *world {
	w := &world{TB: b, fs: vfs.OS()}
	dir := b.TempDir()
	w.db = ok[*lsm.DB](b)(lsm.Open(w.fs, dir+"/kv", lsm.Options{Guard: lsm.GuardOptions{Ballast: -1}}))
	b.Cleanup(func() { w.db.Close() })
	w.blobs = ok[*blob.Store](b)(blob.New(w.db, w.fs, dir+"/blobs", blob.Options{MemoryBudget: 16 << 30}))
	w.Store = New(w.db, w.blobs, Options{})
	w.update(func(tx kv.Tx) error { return w.Store.Create(tx, acct, Quota{}, began) })
	return w
}

// BenchmarkIndex indexes 100,000 letters of 3 KB and searches them; 10,000 with
// -short.
func BenchmarkIndex(b *testing.B) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	w := indexWorld(b)
	a := w.account()
	defer a.Close()
	r := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(r, 1.1, 4, 200_000)
	size := 0
	for at := 0; at < n; at += 50 {
		var msgs []AppendMessage
		for i := range 50 {
			octets := zipfLetter(r, z, at+i)
			size += len(octets)
			msgs = append(msgs, AppendMessage{Message: w.stage(octets)})
		}
		ok[AppendResult](b)(a.Append(ctx, inbox, msgs))
	}
	start := time.Now()
	if err := w.Index(ctx, acct); err != nil {
		b.Fatal(err)
	}
	rate := float64(n) / time.Since(start).Seconds()
	octets := uint64(0)
	m := w.Store
	segments := w.segmentsOf().segments
	for _, g := range segments {
		octets += g.size
	}
	b.Logf("%d messages of %d octets: %.0f/s, %d octets of index each, %d segments", n, size/n, rate, octets/uint64(n), len(segments))
	s := ok[*View](b)(a.Open(ctx, inbox)).Snapshot()
	for _, c := range []struct {
		name string
		q    *Query
	}{
		{"rare", &Query{Op: OpText, Text: "needlework"}},
		{"frequent", &Query{Op: OpText, Text: "frequency"}},
		{"two", &Query{Op: OpAnd, Subs: []*Query{{Op: OpText, Text: "haystack"}, {Op: OpText, Text: "frequency"}}}},
		{"phrase", &Query{Op: OpText, Text: "needlework in a haystack"}},
		{"inside", &Query{Op: OpText, Text: "edlewo"}},
		{"absent", &Query{Op: OpText, Text: "notthere"}},
		{"letter", &Query{Op: OpText, Text: "e"}},
		{"body", &Query{Op: OpBody, Text: "needlework"}},
		{"subject", &Query{Op: OpSubject, Text: "lome"}},
		{"from", &Query{Op: OpFrom, Text: "ada77@"}},
		{"fuzzy", &Query{Op: OpFuzzy, Subs: []*Query{{Op: OpText, Text: "needelwork"}}}},
	} {
		for _, worth := range []int{indexWorth, 1 << 30} {
			if worth > indexWorth && c.name != "rare" && c.name != "subject" {
				continue
			}
			b.Run(c.name+map[bool]string{true: "/scan", false: "/index"}[worth > indexWorth], func(b *testing.B) {
				m.indexWorth = worth
				for b.Loop() {
					ok[[]int](b)(a.Search(ctx, s, c.q))
				}
				b.ReportMetric(float64(len(ok[[]int](b)(a.Search(ctx, s, c.q)))), "found")
			})
		}
	}
	b.Run("rare/cold", func(b *testing.B) {
		m.indexWorth = indexWorth
		for b.Loop() {
			w.index = newIndexCache(64 << 20)
			ok[[]int](b)(a.Search(ctx, s, &Query{Op: OpText, Text: "needlework"}))
		}
	})
}
