package relay

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/postino-mail/postino/blob"
	"github.com/postino-mail/postino/dns"
	"github.com/postino-mail/postino/queue"
)

// BenchmarkDeliver sends messages of 4 KiB through the queue to a server in
// memory, on connections that are used again.
func BenchmarkDeliver(b *testing.B) {
	w := newWorld(b, func(o *Options) { o.Logger = slog.New(slog.DiscardHandler) })
	w.settle = func() {
		for w.net.Open() > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	defer w.close()
	w.zone("b.example", "@ MX 10 mx\nmx A 192.0.2.10\n", dns.Insecure)
	s := w.listen(&server{}, "192.0.2.10:25")
	body := letter + strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 64)
	rcpt := queue.Rcpt{}
	rcpt.Address = addr(b, "bob@b.example")
	from := addr(b, "ann@a.example")
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	for n := range b.N {
		for n-s.total() > 200 { // as a queue that is not too long
			time.Sleep(100 * time.Microsecond)
		}
		bw := w.blobs.Create(time.Now())
		io.WriteString(bw, body)
		st, err := bw.Finish()
		if err != nil {
			b.Fatal(err)
		}
		err = w.queue.Put(context.Background(), &queue.Message{Staged: (*blob.Staged)(&st), Items: []*queue.Item{{Transport: Name, Dest: "b.example",
			From: from, Received: time.Now(), Rcpts: []queue.Rcpt{rcpt}}}})
		if err != nil {
			b.Fatal(err)
		}
		bw.Abort()
	}
	for s.total() < b.N {
		time.Sleep(100 * time.Microsecond)
	}
}

// BenchmarkScan looks for 8-bit octets in 64 KiB.
func BenchmarkScan(b *testing.B) {
	body := []byte(letter + strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 1000))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		s := scanner{whole: true}
		if _, err := s.Write(body); err != nil || s.eight {
			b.Fatal(err)
		}
	}
}
