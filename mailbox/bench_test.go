package mailbox

import (
	"context"
	"fmt"
	"testing"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/kv/lsm"
	"github.com/postino-mail/postino/message"
	"github.com/postino-mail/postino/vfs"
)

// benchLetter is a message of about 5 KB as mailing lists send them.
func benchLetter() []byte {
	b := fmt.Appendf(nil, "Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.net with ESMTPS id 1234;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n"+
		"From: \"Ada Lovelace\" <ada@example.org>\r\nTo: Bob Example <bob@example.net>, carol@example.net\r\nCc: dave@example.com\r\nSubject: [list] Re: The engine weaves algebraical patterns\r\n"+
		"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <12345.6789@example.org>\r\nIn-Reply-To: <12344.1@example.org>\r\nReferences: <1.1@example.org> <12344.1@example.org>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b1\"\r\n\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	for len(b) < 3000 {
		b = append(b, "The Analytical Engine weaves algebraical patterns just as the loom weaves flowers.\r\n"...)
	}
	b = append(b, "--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"...)
	for len(b) < 5000 {
		b = append(b, "<p>The Analytical Engine weaves algebraical patterns.</p>\r\n"...)
	}
	return append(b, "--b1--\r\n"...)
}

// benchWorld is a store on disk with one mailbox of n messages that share a body.
func benchWorld(b *testing.B, n int) (*world, *Account, *Message) {
	b.Helper()
	w := &world{TB: b, fs: vfs.OS()}
	dir := b.TempDir()
	var err error
	if w.db, err = lsm.Open(w.fs, dir+"/kv", lsm.Options{Guard: lsm.GuardOptions{Ballast: -1}}); err != nil {
		b.Fatal(err)
	}
	if w.blobs, err = blob.New(w.db, w.fs, dir+"/blobs", blob.Options{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.db.Close() })
	w.Store = New(w.db, w.blobs, Options{})
	m := w.stage(benchLetter())
	w.update(func(tx kv.Tx) error {
		if err := w.blobs.Put(tx, m.Staged, []byte("q")); err != nil {
			return err
		}
		return w.Store.Create(tx, acct, Quota{}, began)
	})
	m.Staged = nil
	for left := n; left > 0; left -= 2000 {
		w.deliver(m, acct, min(left, 2000))
	}
	if err := w.Fold(ctx, acct); err != nil {
		b.Fatal(err)
	}
	a := w.account()
	b.Cleanup(a.Close)
	return w, a, m
}

// deliver puts a message n times into INBOX in one transaction.
func (w *world) deliver(m *Message, id AccountID, n int) {
	w.Helper()
	err := w.db.Update(ctx, []kv.Scope{w.Scope(id)}, func(tx kv.Tx) error {
		batch := w.Batch(tx)
		for range n {
			if _, err := batch.Deliver(id, Delivery{Message: m, Prefix: []byte("Return-Path: <ada@example.org>\r\nDelivered-To: bob@example.net\r\n"), Date: began}); err != nil {
				return err
			}
		}
		return batch.Flush()
	})
	if err != nil {
		w.Fatal(err)
	}
}

const benchSize = 100_000

func BenchmarkDeliver(b *testing.B) {
	for _, n := range []int{1, 32} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			w, _, m := benchWorld(b, 1000)
			b.ResetTimer()
			for b.Loop() {
				w.deliver(m, acct, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
		})
	}
}

func BenchmarkNewMessage(b *testing.B) {
	octets := benchLetter()
	ix := message.Parse(octets, message.Limits{})
	header := ix.Header()
	b.ReportAllocs()
	for b.Loop() {
		NewMessage([40]byte{}, ix, header)
	}
}

// BenchmarkLarge works on one mailbox of 100,000 messages.
func BenchmarkLarge(b *testing.B) {
	w, a, _ := benchWorld(b, benchSize)
	b.Run("open", func(b *testing.B) { benchOpen(b, w, a) })
	b.Run("rows", func(b *testing.B) { benchRows(b, a) })
	b.Run("envelopes", func(b *testing.B) { benchEnvelopes(b, a) })
	b.Run("search", func(b *testing.B) { benchSearch(b, a) })
	b.Run("store10000", func(b *testing.B) { benchStore(b, a) })
	b.Run("copy1000", func(b *testing.B) { benchCopy(b, a) })
	b.Run("move1000", func(b *testing.B) { benchMove(b, a) })
	b.Run("expunge1000", func(b *testing.B) { benchExpunge(b, a) })
}

func benchStore(b *testing.B, a *Account) {
	op := AddFlags
	ok[*View](b)(a.Open(ctx, inbox))
	for b.Loop() {
		res := ok[StoreResult](b)(a.Store(ctx, inbox, StoreRequest{UIDs: Ranges{{20_001, 30_000}}, Op: op, Flags: Flagged}))
		if res.Changed.Count() != 10_000 {
			b.Fatal(res)
		}
		op ^= 1
	}
}

func benchCopy(b *testing.B, a *Account) {
	for b.Loop() {
		ok[CopyResult](b)(a.Copy(ctx, inbox, Ranges{{20_001, 21_000}}, 2))
	}
}

func benchMove(b *testing.B, a *Account) {
	from, to := inbox, MailboxID(2)
	for b.Loop() {
		s := ok[*View](b)(a.Open(ctx, from)).Snapshot()
		i := s.Len() / 2
		ok[CopyResult](b)(a.Move(ctx, from, Ranges{{s.UID(i), s.UID(i + 999)}}, to))
		from, to = to, from
	}
}

func benchExpunge(b *testing.B, a *Account) {
	for b.Loop() {
		b.StopTimer()
		c := ok[CopyResult](b)(a.Copy(ctx, inbox, Ranges{{20_001, 21_000}}, 2))
		ok[StoreResult](b)(a.Store(ctx, 2, StoreRequest{UIDs: c.Dest, Flags: Deleted}))
		b.StartTimer()
		res := ok[ExpungeResult](b)(a.Expunge(ctx, 2, All()))
		if res.Expunged.Count() == 0 {
			b.Fatal(res)
		}
	}
}

func benchOpen(b *testing.B, w *world, a *Account) {
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Store = New(w.db, w.blobs, Options{})
			c := w.account()
			if ok[*View](b)(c.Open(ctx, inbox)).Snapshot().Len() != benchSize {
				b.Fatal("messages are missing")
			}
		}
	})
	b.Run("warm", func(b *testing.B) {
		ok[*View](b)(a.Open(ctx, inbox))
		for b.Loop() {
			ok[*View](b)(a.Open(ctx, inbox))
		}
	})
}

func benchRows(b *testing.B, a *Account) {
	s := ok[*View](b)(a.Open(ctx, inbox)).Snapshot()
	for b.Loop() {
		n := 0
		for _, r := range s.Rows(0, s.Len()) {
			n += int(r.UID) & 1
		}
		if n != benchSize/2 {
			b.Fatal(n)
		}
	}
}

func benchEnvelopes(b *testing.B, a *Account) {
	s := ok[*View](b)(a.Open(ctx, inbox)).Snapshot()
	ids := make([]EmailID, 0, s.Len())
	for _, r := range s.Rows(0, s.Len()) {
		ids = append(ids, r.Email)
	}
	b.ReportAllocs()
	for b.Loop() {
		var out int64
		err := a.Emails(context.Background(), ids, WantRow, func(_ int, e *Email) bool {
			out += int64(len(e.Envelope) + len(e.BodyStructure))
			return true
		})
		if err != nil || out == 0 {
			b.Fatal(err)
		}
		b.SetBytes(out)
	}
}

func BenchmarkBodies1000(b *testing.B) {
	w, a, _ := benchWorld(b, 0)
	var msgs []AppendMessage
	for range 1000 {
		msgs = append(msgs, AppendMessage{Message: w.stage(benchLetter())})
	}
	res := ok[AppendResult](b)(a.Append(ctx, inbox, msgs))
	for b.Loop() {
		n := 0
		err := a.Emails(ctx, res.Emails, WantBody, func(_ int, e *Email) bool { n += len(e.Body); return true })
		if err != nil || n < 5000*1000 {
			b.Fatal(n, err)
		}
	}
}

func benchSearch(b *testing.B, a *Account) {
	s := ok[*View](b)(a.Open(ctx, inbox)).Snapshot()
	for name, q := range map[string]*Query{
		"flags":   {Op: OpFlag, Flags: Seen},
		"subject": {Op: OpSubject, Text: "not there"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if len(ok[[]int](b)(a.Search(ctx, s, q))) != 0 {
					b.Fatal("found what is not there")
				}
			}
		})
	}
}

// BenchmarkSearchText reads 2,000 messages of 5 KB.
func BenchmarkSearchText(b *testing.B) {
	w, a, _ := benchWorld(b, 0)
	for range 20 {
		var msgs []AppendMessage
		for range 100 {
			msgs = append(msgs, AppendMessage{Message: w.stage(benchLetter())})
		}
		ok[AppendResult](b)(a.Append(ctx, inbox, msgs))
	}
	s := ok[*View](b)(a.Open(ctx, inbox)).Snapshot()
	for b.Loop() {
		if len(ok[[]int](b)(a.Search(ctx, s, &Query{Op: OpText, Text: "not there"}))) != 0 {
			b.Fatal("found what is not there")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*s.Len()), "ns/message")
}

func BenchmarkFold(b *testing.B) {
	w, _, m := benchWorld(b, benchSize)
	for b.Loop() {
		b.StopTimer()
		for range 4 {
			w.deliver(m, acct, 1)
		}
		b.StartTimer()
		if err := w.Fold(ctx, acct); err != nil {
			b.Fatal(err)
		}
	}
}
