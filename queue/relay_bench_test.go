package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postino-mail/postino/kv"
)

// sink is a transport that takes everything at once.
type sink struct{}

func (sink) Deliver(ctx context.Context, b *Batch) error {
	it := b.Items[0]
	b.Site(Fine, "")
	return b.Update(ctx, nil, func(tx kv.Tx) error {
		return b.Finish(tx, it, Outcome{Result: Relayed, Where: "mx", Reply: "250 ok", DSN: true})
	})
}

// BenchmarkRelay measures acceptance, hand-over, attempt and its result, each
// with a durable commit.
func BenchmarkRelay(b *testing.B) {
	for _, senders := range []int{10, 50} {
		for _, sites := range []int{1, 1000} {
			b.Run(fmt.Sprintf("senders=%d/sites=%d", senders, sites), func(b *testing.B) {
				h := newHouse(b)
				q := New(h.db, h.blobs, h.stories, Options{IDs: h.ids, Transports: map[string]TransportOptions{remote: {Transport: sink{}, Sites: true}}})
				h.start(q)
				var n atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for s := range senders {
					wg.Go(func() {
						for k := n.Add(1); k <= int64(b.N); k = n.Add(1) {
							h.post(q, letter(fmt.Sprintf("d%d.example", k%int64(sites)), func(it *Item) { it.User = uint64(s + 1) }))
						}
					})
				}
				wg.Wait()
				for h.rows("qn")+h.rows("qp")+h.rows("qw") > 0 {
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
}
