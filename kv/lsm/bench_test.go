package lsm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/postino-mail/postino/kv"
	"github.com/postino-mail/postino/vfs"
)

func benchDB(b *testing.B, opts Options) *DB {
	b.Helper()
	opts.Guard.Ballast = -1
	db, err := Open(vfs.OS(), filepath.Join(b.TempDir(), "data"), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// mailish fills b with octets that compress about as mail does, to a half.
func mailish(b []byte, rng *rand.Rand) {
	const letters = "etaoin shrdlu0123ETAOIN\r\n"
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
}

// mail is one acceptance: five small rows and a body.
func mail(tx kv.Tx, n uint64, body []byte) error {
	var key [24]byte
	for i := range 5 {
		k := append(key[:0], "a0"...)
		k = binary.BigEndian.AppendUint64(k, n%100)
		k = append(k, byte(i))
		k = binary.BigEndian.AppendUint64(k, n)
		if err := tx.Set(k, body[:30]); err != nil {
			return err
		}
	}
	return tx.Set(binary.BigEndian.AppendUint64(append(key[:0], "bd"...), n), body)
}

func BenchmarkUpdate(b *testing.B) {
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("mail4K/%d", workers), func(b *testing.B) { benchUpdate(b, Options{}, workers, 4096, false) })
	}
	b.Run("oneScope/16", func(b *testing.B) { benchUpdate(b, Options{}, 16, 4096, true) })
}

func benchUpdate(b *testing.B, opts Options, workers, size int, oneScope bool) {
	db := benchDB(b, opts)
	var n atomic.Uint64
	b.SetParallelism((workers + 1) / 2)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, n.Load()))
		body := make([]byte, size)
		mailish(body, rng)
		for pb.Next() {
			i := n.Add(1)
			scope := kv.Scope(fmt.Sprint("a/", i%100))
			if oneScope {
				scope = "a/1"
			}
			if err := db.Update(context.Background(), []kv.Scope{scope}, func(tx kv.Tx) error { return mail(tx, i, body) }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
